//! `cargo xtask demo`: npm fetches while cargo compiles, then the demo's own binary takes over.

use std::{
    fmt::Write as _,
    io::Read,
    path::PathBuf,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
};

use crate::{Outcome, demo_args, parts, progress::Progress, repo, run};

fn wants_mongod(args: &[String]) -> bool {
    args.iter().any(|a| a == "--store=mongodb") || args.windows(2).any(|pair| pair == ["--store", "mongodb"])
}

/// How the binaries are built: cargo's name of the profile, and of its folder.
#[derive(Clone, Copy)]
struct Profile {
    name: &'static str,
    folder: &'static str,
}

/// Fast, without the minutes that a release takes.
const DEMO: Profile = Profile { name: "demo", folder: "demo" };
/// What the tests are built with: in `ci` it is there already.
const DEV: Profile = Profile { name: "dev", folder: "debug" };

/// Builds and fetches, then becomes the demo with these arguments.
pub(crate) fn demo(args: &[String]) -> Outcome {
    exec(command(args, DEMO)?)
}

/// As `demo`, but comes back when it has ended: a step of `ci`.
pub(crate) fn run(args: &[String]) -> Outcome {
    run::must(&mut command(args, DEV)?)
}

fn command(args: &[String], profile: Profile) -> Outcome<Command> {
    demo_args::Args::parse(args.iter().cloned())?;
    let (engine, demo) = prepare(wants_mongod(args), profile)?;
    let mut command = Command::new(demo);
    command.arg("--engine").arg(engine).args(args).current_dir(repo());
    Ok(command)
}

/// The engine's and the demo's binary, with every part in place.
fn prepare(with_mongod: bool, profile: Profile) -> Outcome<(PathBuf, PathBuf)> {
    let progress = Progress::new(&["parts", "build"]);
    let (built_after_parts, fetched) = thread::scope(|scope| {
        let (ready, is_ready) = mpsc::channel();
        let parts = scope.spawn(|| {
            if with_mongod {
                parts::ensure_mongod(&progress)?;
            }
            parts::ensure(&progress).inspect(|_| drop(ready))
        });
        let build = build(&progress, &is_ready, profile);
        let parts = parts.join().unwrap_or_else(|_| Err("fetching the parts panicked".to_owned()));
        (build, parts)
    });
    // GraphiQL's files are embedded when the engine's crate is compiled. On a cold start that is minutes after npm has
    // finished; where it was earlier, the crate (only it) is compiled again.
    if fetched?.vendor_changed && !built_after_parts? {
        run::must(run::cargo().args(["clean", "--quiet", "--profile", profile.name, "-p", "swaptide"]))?;
        let (done, is_done) = mpsc::channel::<()>();
        drop(done);
        build(&progress, &is_done, profile)?;
    }
    let dir = target_dir().join(profile.folder);
    Ok((
        dir.join(format!("swaptide{}", std::env::consts::EXE_SUFFIX)),
        dir.join(format!("swaptide-demo{}", std::env::consts::EXE_SUFFIX)),
    ))
}

/// Returns whether the engine's own crate was compiled after the parts were in place.
fn build(progress: &Progress, parts_ready: &mpsc::Receiver<()>, profile: Profile) -> Outcome<bool> {
    let mut cargo = run::cargo()
        .args(["build", "--profile", profile.name, "-p", "swaptide", "-p", "swaptide-demo", "--bins"])
        .envs([("CARGO_TERM_PROGRESS_WHEN", "always"), ("CARGO_TERM_PROGRESS_WIDTH", "100"), ("CARGO_TERM_COLOR", "never")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| format!("cargo cannot be started: {e}"))?;
    let mut stderr = cargo.stderr.take().ok_or("cargo has no stderr")?;
    let (mut buffer, mut line, mut said) = ([0_u8; 4096], Vec::new(), String::new());
    let (mut after_parts, mut counting) = (false, false);
    loop {
        let read = stderr.read(&mut buffer).map_err(|e| format!("cargo: {e}"))?;
        for &byte in buffer.iter().take(read) {
            if byte != b'\r' && byte != b'\n' {
                line.push(byte);
                continue;
            }
            let text = String::from_utf8_lossy(&line).trim().to_owned();
            line.clear();
            if text.starts_with("Compiling swaptide v") {
                after_parts = matches!(parts_ready.try_recv(), Err(mpsc::TryRecvError::Disconnected));
            }
            match text.strip_prefix("Building [").and_then(|t| t.split_once("] ")) {
                Some((_, counts)) => {
                    counting = true;
                    progress.set("build", counts);
                }
                // Until cargo counts, it downloads.
                None if !counting && text.starts_with("Download") => progress.set("build", &text),
                None if text.is_empty() || text.starts_with("Compiling ") => {}
                None => {
                    let _ = writeln!(said, "{text}");
                }
            }
        }
        if read == 0 {
            break;
        }
    }
    let status = cargo.wait().map_err(|e| format!("cargo: {e}"))?;
    if !status.success() {
        return Err(format!("the build failed ({status}):\n{said}"));
    }
    progress.done("build", "ready");
    Ok(after_parts)
}

fn target_dir() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) if !dir.is_empty() => repo().join(dir),
        _ => repo().join("target"),
    }
}

#[cfg(unix)]
fn exec(mut command: Command) -> Outcome {
    // The demo takes our place: its exit code and its signals are the user's own.
    let error = std::os::unix::process::CommandExt::exec(&mut command);
    Err(format!("the demo cannot be started: {error}"))
}

#[cfg(not(unix))]
fn exec(mut command: Command) -> Outcome {
    run::must(&mut command)
}
