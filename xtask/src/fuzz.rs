//! `cargo xtask fuzz`: what libFuzzer finds beyond the corpus that every test run replays.

use std::{fs, process::Command};

use crate::{Outcome, repo, run};

pub(crate) const HELP: &str = "\
Gives each fuzz target of `fuzz/` to libFuzzer for a while, one after the other, and fails at the first input that breaks one. The input is
then in fuzz/artifacts/TARGET/; `cargo fuzz run --sanitizer none TARGET FILE`, in the repository, repeats it. What the tests
should keep, copy into fuzz/corpus/TARGET/ under a name that says what it is.

Usage: cargo xtask fuzz [--seconds N] [TARGET]...

  --seconds N   of each target, without its build (default: 60)
  TARGET        codec, decode, fold, request, route, swap (default: all)

Needs cargo-fuzz (`cargo install --locked cargo-fuzz`) and a C++ compiler. The toolchain is the pinned stable one: sanitizers are what
would need another, and they look for what code without `unsafe` does not have. The first build takes about 15 minutes on 2 cores.
";

const SECONDS: u32 = 60;
/// An input that takes longer hangs: the slowest that is meant to be there takes a tenth of a second.
const TIMEOUT_SECONDS: u32 = 10;
/// Longer ones only say the same more often.
const LENGTH_MAX_BYTES: u32 = 2_048;
/// libFuzzer's own limit is of memory that is left, and this one is of all that is there.
const MEMORY_MAX_MB: u32 = 2_048;

pub(crate) fn fuzz(args: &[String]) -> Outcome {
    let (seconds, chosen) = options(args)?;
    let known = targets()?;
    if let Some(name) = chosen.iter().find(|name| !known.contains(name)) {
        return Err(format!("there is no fuzz target `{name}`, only {}", known.join(", ")));
    }
    if !run::has_cargo_command("fuzz") {
        return Err("cargo-fuzz is not installed: `cargo install --locked cargo-fuzz` (half a minute), then again. Without it \
            `cargo test --test fuzz_corpus` gives the targets the corpus and seeded chance"
            .to_owned());
    }
    for target in if chosen.is_empty() { &known } else { &chosen } {
        run::must(&mut command(target, seconds)?)?;
    }
    Ok(())
}

/// What is found goes to a folder of its own, that nobody commits; the corpus is only read.
fn command(target: &str, seconds: u32) -> Outcome<Command> {
    let found = repo().join("fuzz/target/found").join(target);
    fs::create_dir_all(&found).map_err(|e| format!("{} cannot be made: {e}", found.display()))?;
    let mut command = run::cargo();
    command.args(["fuzz", "run", "--sanitizer", "none", target]).arg(found).arg(format!("fuzz/corpus/{target}"));
    command.arg("--").arg(format!("-max_total_time={seconds}")).arg(format!("-timeout={TIMEOUT_SECONDS}"));
    command.arg(format!("-max_len={LENGTH_MAX_BYTES}")).arg(format!("-rss_limit_mb={MEMORY_MAX_MB}"));
    Ok(command)
}

fn options(args: &[String]) -> Outcome<(u32, Vec<String>)> {
    let (mut seconds, mut chosen) = (SECONDS, Vec::new());
    let mut rest = args.iter();
    while let Some(word) = rest.next() {
        match word.as_str() {
            "--seconds" => {
                let value = rest.next().and_then(|value| value.parse().ok()).filter(|seconds| *seconds > 0);
                seconds = value.ok_or("`--seconds` needs a whole number above 0")?;
            }
            option if option.starts_with('-') => return Err(format!("`{option}` is not an option of this command: see --help")),
            name => chosen.push(name.to_owned()),
        }
    }
    Ok((seconds, chosen))
}

/// By their files, in order.
fn targets() -> Outcome<Vec<String>> {
    let folder = repo().join("fuzz/fuzz_targets");
    let entries = fs::read_dir(&folder).map_err(|e| format!("{} cannot be read: {e}", folder.display()))?;
    let name = |entry: fs::DirEntry| Some(entry.file_name().to_str()?.strip_suffix(".rs")?.to_owned());
    let mut names: Vec<String> = entries.filter_map(Result::ok).filter_map(name).collect();
    names.sort();
    Ok(names)
}
