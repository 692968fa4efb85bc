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
    // What cargo tells the program that it runs, us, is not for the cargo that we run: build scripts look at it, and everything
    // behind them would be compiled again each time that somebody changes between xtask and plain cargo.
    let told_to_us = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") || name == "OUT_DIR";
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(told_to_us) {
            command.env_remove(name);
        }
    }
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
pub(crate) fn text(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    command.get_args().fold(program, |text, arg| format!("{text} {}", arg.to_string_lossy()))
}
