//! Fetches the pinned parts. npm verifies every package against the hash in the lock file.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{Outcome, cache, progress::Progress, repo, run};

pub(crate) const HELP: &str = "\
Fetches the pinned parts of demo/package-lock.json into the cache folder: anvil, the Uniswap and OpenZeppelin contracts, npm clients
for the tests, and GraphiQL, whose files it also copies to web/vendor/ where the engine embeds them. Each package is verified against
the lock file. Does nothing when everything is there; a half-finished installation is made again.

Usage: cargo xtask parts

To start over, remove the folder that it prints.
";

pub(crate) const CONTRACTS_HELP: &str = "\
Compiles our Solidity (contracts/ and demo/contracts/) with the pinned solc. The results are committed beside the sources.

Usage: cargo xtask contracts [--check]

  --check   change nothing; fail when a result is not what its source compiles to
";

/// The engine's contracts and the demo's: each has a script that takes `--check`.
const CONTRACT_SCRIPTS: [&str; 2] = ["contracts/build.mjs", "demo/contracts/build.mjs"];

/// What GraphiQL needs, from where in node_modules to which name in web/vendor/. A Dockerfile without xtask copies the same files.
pub(crate) const VENDOR: [(&str, &str); 5] = [
    ("react/umd/react.production.min.js", "react.production.min.js"),
    ("react-dom/umd/react-dom.production.min.js", "react-dom.production.min.js"),
    ("graphiql/graphiql.min.js", "graphiql.min.js"),
    ("graphiql/graphiql.min.css", "graphiql.min.css"),
    ("graphiql/LICENSE", "graphiql.LICENSE.txt"),
];

/// An installed set of parts.
pub(crate) struct Parts {
    pub(crate) dir: PathBuf,
    /// Files in web/vendor/ were written just now: an engine that was compiled before does not have them.
    pub(crate) vendor_changed: bool,
}

/// Installs what is missing.
pub(crate) fn ensure(progress: &Progress) -> Outcome<Parts> {
    let dir = cache::npm_dir(&repo()).map_err(|e| format!("the pins in demo/ cannot be read: {e}"))?;
    if !dir.join(cache::STAMP).is_file() {
        install(&dir, progress)?;
    }
    let vendor_changed = copy_vendor(&dir)?;
    progress.done("parts", "ready");
    if std::env::var_os("SWAPTIDE_ANVIL").is_none() && cache::on_path("anvil").is_none() && !npm_anvil(&dir).is_file() {
        return Err(cache::no_anvil_text());
    }
    Ok(Parts { dir, vendor_changed })
}

/// Compiles our Solidity, or checks that it is compiled.
pub(crate) fn contracts(args: &[String]) -> Outcome {
    if let Some(other) = args.iter().find(|a| *a != "--check") {
        return Err(format!("`{other}` is not an option of this command: see --help"));
    }
    let parts = ensure(&Progress::new(&["parts"]))?;
    for script in CONTRACT_SCRIPTS {
        run::must(Command::new("node").arg(repo().join(script)).args(args).env("SWAPTIDE_PARTS", &parts.dir))?;
    }
    Ok(())
}

fn npm_anvil(dir: &Path) -> PathBuf {
    dir.join("node_modules").join(cache::npm_anvil_package()).join("bin/anvil")
}

/// Installs next to the final place and renames at the end, so that two runs at once cannot spoil each other.
fn install(dir: &Path, progress: &Progress) -> Outcome {
    if cache::on_path("node").is_none() || cache::on_path("npm").is_none() {
        return Err(
            "Node with npm is not on PATH: install Node 20 or newer (https://nodejs.org, or your system's package)".to_owned()
        );
    }
    let work = dir.with_extension(format!("tmp-{}", std::process::id()));
    let failed = |what: &str, e: std::io::Error| format!("{what} {}: {e}", work.display());
    let _ = fs::remove_dir_all(&work);
    fs::create_dir_all(&work).map_err(|e| failed("cannot create", e))?;
    for file in cache::NPM_FILES {
        fs::copy(repo().join("demo").join(file), work.join(file)).map_err(|e| failed("cannot copy the pins to", e))?;
    }
    let outcome = npm_ci(&work, progress).and_then(|()| {
        fs::write(work.join(cache::STAMP), "").map_err(|e| failed("cannot write to", e))?;
        if dir.exists() && !dir.join(cache::STAMP).is_file() {
            fs::remove_dir_all(dir).map_err(|e| failed("cannot replace the broken installation beside", e))?;
        }
        match fs::rename(&work, dir) {
            // Somebody else was faster: theirs is as good.
            Err(_) if dir.join(cache::STAMP).is_file() => Ok(()),
            renamed => renamed.map_err(|e| failed("cannot rename", e)),
        }
    });
    let _ = fs::remove_dir_all(&work);
    outcome
}

fn npm_ci(work: &Path, progress: &Progress) -> Outcome {
    let lock = fs::read_to_string(work.join("package-lock.json")).map_err(|e| e.to_string())?;
    let total = lock.matches("\"integrity\"").count();
    progress.set("parts", &format!("npm ci: 0 of {total} packages"));
    let mut npm = Command::new("npm")
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "http"])
        .current_dir(work)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| format!("npm cannot be started: {e}"))?;
    let (mut fetched, mut said) = (0, Vec::new());
    for line in npm.stderr.take().into_iter().flat_map(|e| BufReader::new(e).lines()).map_while(Result::ok) {
        // npm names every tarball that it has fetched (or had in its own cache); that is all the progress it shows.
        if line.contains("http fetch") || line.contains("http cache") {
            fetched = usize::min(fetched + usize::from(line.contains(".tgz")), total);
            progress.set("parts", &format!("npm ci: {fetched} of {total} packages"));
        } else if line.contains("error") {
            said.push(line);
        }
    }
    let status = npm.wait().map_err(|e| format!("npm: {e}"))?;
    if status.success() {
        return Ok(());
    }
    Err(format!("`npm ci` failed ({status}); is the registry reachable?\n{}", said.join("\n")))
}

/// Copies what is new or different. Returns whether anything was.
fn copy_vendor(dir: &Path) -> Outcome<bool> {
    let target = repo().join("web/vendor");
    fs::create_dir_all(&target).map_err(|e| format!("cannot create {}: {e}", target.display()))?;
    let mut changed = false;
    for (from, to) in VENDOR {
        let file = dir.join("node_modules").join(from);
        let new = fs::read(&file).map_err(|e| format!("{}: {e}; remove {} and run this again", file.display(), dir.display()))?;
        let to = target.join(to);
        if fs::read(&to).ok().as_ref() != Some(&new) {
            fs::write(&to, new).map_err(|e| format!("cannot write {}: {e}", to.display()))?;
            changed = true;
        }
    }
    Ok(changed)
}
