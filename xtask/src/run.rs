//! Running other programs.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use crate::{Outcome, cache, repo};

/// The cargo that started us, so that the toolchain stays the same.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(repo());
    command
}

/// Runs it with our terminal; fails when it fails.
pub(crate) fn must(command: &mut Command) -> Outcome {
    let what = text(command);
    let status = command.status().map_err(|e| format!("`{what}` cannot be started: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("`{what}` failed ({status})")) }
}

/// Whether it runs at all and ends well; its output is not shown.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
}

/// Whether `cargo <name>` is installed.
pub(crate) fn has_cargo_command(name: &str) -> bool {
    cache::on_path(&format!("cargo-{name}")).is_some() || succeeds(cargo().args([name, "--version"]))
}

/// The command as a person would type it.
fn text(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    command.get_args().fold(program, |text, arg| format!("{text} {}", arg.to_string_lossy()))
}
