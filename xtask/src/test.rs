//! `cargo xtask test`: every part, then every test.

use std::process::Command;

use crate::{Outcome, chromium, parts, progress::Progress, run};

pub(crate) const HELP: &str = "\
Fetches every real part that the tests need (see `cargo xtask parts --help`), finds Chromium for the browser test (on PATH, or by apt
where there is root), and runs all tests of the workspace and of the documentation.

Usage: cargo xtask test [arguments for the test runner, such as a part of a test's name]

Uses cargo-nextest when it is installed, and `cargo test` otherwise.
";

/// Runs everything; arguments are handed to the runner, and then the documentation's tests are left out.
pub(crate) fn test(args: &[String]) -> Outcome {
    let progress = Progress::new(&["parts"]);
    parts::ensure_mongod(&progress)?;
    parts::ensure_example(&progress)?;
    parts::ensure_schemathesis(&progress)?;
    parts::ensure(&progress)?;
    let chromium = chromium::find()?;
    let with_browser = |command: &mut Command| {
        if let Some(file) = &chromium {
            command.env("SWAPTIDE_CHROMIUM", file);
        }
        run::must(command)
    };
    if run::has_cargo_command("nextest") {
        with_browser(run::cargo().args(["nextest", "run", "--workspace"]).args(args))?;
        if !args.is_empty() {
            return Ok(());
        }
        // nextest does not run these.
        return with_browser(run::cargo().args(["test", "--workspace", "--doc", "--quiet"]));
    }
    with_browser(run::cargo().args(["test", "--workspace"]).args(args))
}
