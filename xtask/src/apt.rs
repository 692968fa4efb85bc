//! System packages that a step needs: installed where there is root, by Debian's apt.

use std::process::Command;

use crate::{Outcome, cache, run};

pub(crate) fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|o| o.stdout.trim_ascii() == b"0")
}

/// Whether this machine is one whose packages we may install.
pub(crate) fn can_install() -> bool {
    cache::on_path("apt-get").is_some() && is_root()
}

pub(crate) fn install(packages: &[&str]) -> Outcome {
    let apt = || {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").arg("-qq");
        command
    };
    run::must(apt().arg("update"))?;
    run::must(apt().args(["install", "-y", "--no-install-recommends"]).args(packages))
}
