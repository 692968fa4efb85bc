//! `swaptide init`: a commented configuration of a well-known chain, to start from.
//!
//! Each is a file in `src/init`, written as it stands. Another chain is another file and its line in [`TEMPLATES`]; the tests then
//! hold it to the same: it parses, addresses are checksummed, and pools follow from their factory and tokens.

use std::{fs::File, io::Write as _, path::Path};

/// A configuration to start from.
#[derive(Debug, Clone, Copy)]
pub struct Template {
    /// What `--chain` calls it; also `name` in the file.
    pub chain: &'static str,
    pub toml: &'static str,
}

pub const TEMPLATES: [Template; 5] = [
    Template { chain: "ethereum", toml: include_str!("init/ethereum.toml") },
    Template { chain: "base", toml: include_str!("init/base.toml") },
    Template { chain: "arbitrum", toml: include_str!("init/arbitrum.toml") },
    Template { chain: "polygon", toml: include_str!("init/polygon.toml") },
    Template { chain: "kaia", toml: include_str!("init/kaia.toml") },
];

/// The template of a chain, by its name.
#[must_use]
pub fn template(chain: &str) -> Option<&'static Template> {
    TEMPLATES.iter().find(|template| template.chain == chain)
}

/// Writes a file that was not there before; says what to do next.
///
/// # Errors
/// One line: the file exists (it is left as it is), or cannot be written.
pub fn write(template: &Template, path: &Path) -> Result<String, String> {
    let shown = path.display();
    // Not a look first: somebody could make the file in between.
    let mut file = File::create_new(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::AlreadyExists => {
            format!("{shown} is there already and stays as it is: name another file with `-o FILE`")
        }
        _ => format!("{shown} cannot be written: {e}"),
    })?;
    file.write_all(template.toml.as_bytes()).map_err(|e| format!("{shown} cannot be written: {e}"))?;
    let option = if path == Path::new("swaptide.toml") { String::new() } else { format!(" -c {shown}") };
    Ok(format!(
        "{shown}: {chain}, to be read and changed. Next:\n\n  \
         export RPC_URL=wss://…         # your node; what is in the file is only this name\n  \
         swaptide doctor{option}\n  \
         swaptide run{option}\n",
        chain = template.chain
    ))
}

#[cfg(test)]
mod tests;
