//! `cargo xtask ci`: everything that must hold before a change is accepted.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use crate::{Outcome, cache, chromium, demo, image, ops, parts, progress::Progress, repo, run, test};

pub(crate) const HELP: &str = "\
Everything that must hold, one step after the other, with the time of each: formatting, clippy without warnings, cargo-deny
(when it is installed, or when CI is set: then it is installed first), our contracts, compose file, chart and dashboard, the
documentation without warnings, all tests, a demo of 20 seconds, and the image (as root, with buildah). `.ci/run` calls it.

Usage: cargo xtask ci
";

type Step = (&'static str, fn() -> Outcome);

const STEPS: [Step; 10] = [
    ("parts", || parts::ensure(&Progress::new(&["parts"])).map(|_| ())),
    ("fmt", || run::must(run::cargo().args(["fmt", "--all", "--check"]))),
    // With every feature: nobody here can log in to AWS; that it builds is what can be known. The tests build without.
    ("clippy", || {
        run::must(run::cargo().args([
            "clippy",
            "--workspace",
            "--all-targets",
            "--all-features",
            "--quiet",
            "--",
            "-D",
            "warnings",
        ]))
    }),
    ("deny", deny),
    ("contracts", || parts::contracts(&["--check".to_owned()])),
    ("ops", ops::ops),
    ("doc", || {
        run::must(
            run::cargo()
                .args(["doc", "--workspace", "--no-deps", "--document-private-items", "--quiet"])
                .env("RUSTDOCFLAGS", "-D warnings -A rustdoc::private-intra-doc-links"),
        )
    }),
    ("test", || test::test(&[])),
    ("demo", || demo::run(&["--seconds".to_owned(), "20".to_owned()])),
    ("image", image::step),
];

pub(crate) fn ci() -> Outcome {
    let start = Instant::now();
    let mut times = Vec::new();
    for (name, step) in STEPS {
        println!("── {name}");
        let began = Instant::now();
        let outcome = step();
        times.push((name, began.elapsed()));
        println!("── {name}: {} in {}", if outcome.is_ok() { "ok" } else { "FAILED" }, seconds(began.elapsed()));
        outcome?;
    }
    let list: Vec<String> = times.iter().map(|(name, time)| format!("{name} {}", seconds(*time))).collect();
    println!("ci: everything holds, in {} ({})", seconds(start.elapsed()), list.join(", "));
    Ok(())
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// The version that CI installs.
const DENY_VERSION: &str = "0.20.2";

/// cargo-deny from PATH, or from our cache. In CI it is built once (about 5 CPU-minutes) where there is none; a developer is told.
fn deny() -> Outcome {
    let tools = cache::cache_root(&repo()).join("tools");
    let own = tools.join("bin").join(format!("cargo-deny{}", std::env::consts::EXE_SUFFIX));
    let program = match cache::on_path("cargo-deny") {
        Some(file) => file,
        None if own.is_file() => own,
        None if chromium::is_ci() => {
            let install = ["install", "--locked", "--quiet", "cargo-deny", "--version", DENY_VERSION, "--root"];
            run::must(run::cargo().args(install).arg(&tools))?;
            own
        }
        None => {
            println!("licences and advisories are not checked here: `cargo install --locked cargo-deny`");
            return Ok(());
        }
    };
    let deny = |checks: &[&str]| {
        let mut command = Command::new(&program);
        command.current_dir(repo()).args(["--workspace", "check"]).args(checks);
        command
    };
    run::must(&mut deny(&["bans", "licenses", "sources"]))?;
    let advisories = deny(&["advisories"]).output().map_err(|e| format!("cargo-deny cannot be started: {e}"))?;
    let said = String::from_utf8_lossy(&advisories.stderr);
    if !advisories.status.success() && said.contains("failed to fetch advisory database") {
        // The list of advisories is on GitHub; a machine that cannot reach it must still be able to run everything else.
        println!("advisories are not checked: their database cannot be fetched from here");
        return Ok(());
    }
    print!("{said}");
    if advisories.status.success() { Ok(()) } else { Err("cargo-deny found advisories: see above".to_owned()) }
}
