//! The demo's own promises, with an engine that does what it is told: exit codes, cleaning up, and noticing a crash.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

/// The demo with a temporary folder of its own.
fn command(name: &str, verdict: &str, args: &[&str]) -> (Command, PathBuf) {
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&tmp);
    fs::create_dir_all(&tmp).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_swaptide-demo"));
    command
        .arg("--engine")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fake_engine.mjs"))
        .args(["--port", "0", "--pools", "2", "--block-ms", "50", "--reorg-every", "5"])
        .args(args)
        .env("TMPDIR", &tmp)
        .env("FAKE_VERDICT", verdict);
    (command, tmp)
}

/// Runs it to its end. Returns what it said and the files it left behind.
fn demo(name: &str, verdict: &str, args: &[&str]) -> (Output, Vec<PathBuf>) {
    let (mut command, tmp) = command(name, verdict, args);
    let output = command.output().unwrap();
    let left = fs::read_dir(&tmp).unwrap().map(|entry| entry.unwrap().path()).collect();
    (output, left)
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn an_engine_that_is_right_gives_exit_code_0_and_leaves_nothing_behind() {
    let (output, left) = demo("equal", "equal", &["--seconds", "2"]);
    let text = text(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    for part in ["live page  http://127.0.0.1:", "reorg of depth ", "EQUAL the engine's state equals", "pools compared: "] {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    assert!(left.is_empty(), "{left:?}");
    assert!(!text.contains('\x1b'), "no colours where there is no terminal");
}

#[test]
fn drift_gives_exit_code_1_and_keeps_the_files() {
    let (output, left) = demo("drift", "drift", &["--seconds", "1"]);
    let text = text(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("NOT EQUAL") && text.contains("DIFFERS"), "{text}");
    let kept = left.first().unwrap();
    assert!(text.contains(&kept.display().to_string()) && kept.join("engine.log").is_file(), "{text}");
}

#[test]
fn an_audit_that_compared_nothing_is_no_success() {
    let (output, _) = demo("blind", "blind", &["--seconds", "1"]);
    let text = text(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("pools, and the audit compared 0"), "{text}");
}

#[test]
fn a_crash_of_the_engine_is_noticed_and_its_log_is_shown() {
    // Without --seconds it would run for ever.
    let (output, _) = demo("crash", "crash", &[]);
    let text = text(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("ended by itself") && text.contains("fails as it was told to"), "{text}");
}

#[test]
fn a_wrong_option_is_one_line() {
    let (output, left) = demo("option", "equal", &["--pools", "none"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output), "demo: --pools takes a number from 1 to 400, not `none`\n");
    assert!(left.is_empty());
}

#[test]
fn nothing_outlives_a_demo_that_is_killed() {
    let (mut command, tmp) = command("killed", "equal", &[]);
    let mut demo = command.stdout(Stdio::piped()).spawn().unwrap();
    // Kept open to the end: the demo must die of the kill and of nothing else.
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines().map(Result::unwrap);
    let metrics = lines.find_map(|line| Some(line.split_once("metrics    http://")?.1.trim_end_matches("/metrics").to_owned()));
    let toml = fs::read_dir(&tmp).unwrap().map(|e| e.unwrap().path().join("swaptide.toml")).find(|f| f.is_file()).unwrap();
    let toml = fs::read_to_string(toml).unwrap();
    let node = toml.split("\"http://").nth(1).unwrap().split('"').next().unwrap();
    let both = [metrics.unwrap(), node.to_owned()];
    assert!(both.iter().all(|host| TcpStream::connect(host).is_ok()), "{both:?}");
    demo.kill().unwrap();
    demo.wait().unwrap();
    let end = Instant::now() + Duration::from_secs(10);
    while both.iter().any(|host| TcpStream::connect(host).is_ok()) {
        assert!(Instant::now() < end, "one of {both:?} still answers 10 s after the demo was killed");
        std::thread::yield_now();
    }
}
