//! The demo itself: what a person sees of the chain and the engine together.
//!
//! `args` says what is wanted, `engine` runs the child, `view` asks it what it serves, `screen` draws that, `play` trades until the
//! end, `verdict` compares and says how it went.

mod args;
mod engine;
mod paid;
mod play;
mod screen;
mod verdict;
mod view;
mod workdir;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use swaptide_demo::{Clock, Devnet, DevnetConfig, Mongod};
use tokio::sync::watch;

pub(crate) use self::args::{Args, HELP};
use self::{args::StoreKind, engine::Engine, screen::Screen, workdir::Workdir};

/// Why the demo could not go on, in words for the person in front of it.
pub(crate) type Outcome<T = ()> = Result<T, String>;

/// Turns true once when the person wants to stop: Ctrl-C or SIGTERM.
pub(crate) type Stop = watch::Receiver<bool>;

/// Runs the demo from start to end.
pub(crate) async fn run(args: Args) -> ExitCode {
    let stop = watch_signals();
    let mut workdir = match Workdir::new() {
        Ok(dir) => dir,
        Err(e) => return report(Err(format!("no temporary folder could be made: {e}")), None),
    };
    let mut screen = Screen::new(args.color);
    let outcome = whole(&args, &workdir, &mut screen, stop).await;
    if outcome.is_err() {
        workdir.keep();
    }
    let kept = outcome.is_err().then(|| workdir.path().to_owned());
    report(outcome, kept)
}

fn report(outcome: Outcome, kept: Option<PathBuf>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("demo: {problem}");
            if let Some(dir) = kept {
                eprintln!("demo: its files (engine.log, swaptide.toml, the database) are kept in {}", dir.display());
            }
            ExitCode::FAILURE
        }
    }
}

async fn whole(args: &Args, workdir: &Workdir, screen: &mut Screen, mut stop: Stop) -> Outcome {
    let engine_binary = args.engine.clone().ok_or("--engine is missing: start the demo with `cargo xtask demo`")?;
    if !engine_binary.is_file() {
        return Err(format!("{} does not exist: `cargo xtask demo` builds it", engine_binary.display()));
    }
    screen.say("starting a chain (anvil) and deploying Uniswap V2, V3 and V4 …");
    let started = tokio::select! {
        started = start(args, workdir, screen, engine_binary) => started?,
        _ = stop.wait_for(|stop| *stop) => return Err("stopped before it had started".to_owned()),
    };
    let (mut devnet, mongod, mut engine) = started;
    let played = play::play(args, &mut devnet, &mut engine, screen, &mut stop).await;
    screen.end_table();
    let verdict = match played {
        Ok(played) => verdict::verdict(&mut devnet, &mut engine, screen, &played).await,
        Err(problem) => Err(problem),
    };
    // The engine goes first, so that it does not log a lost node.
    let ended = engine.stop().await;
    drop((devnet, mongod));
    verdict.and(ended)
}

async fn start(
    args: &Args,
    workdir: &Workdir,
    screen: &mut Screen,
    binary: PathBuf,
) -> Outcome<(Devnet, Option<Mongod>, Engine)> {
    let v4_pools = (args.pools / 3).min(4);
    let v2_pools = (args.pools - v4_pools) / 2;
    let devnet = Devnet::start(DevnetConfig {
        seed: args.seed,
        tokens: tokens_for(v2_pools),
        v2_pools,
        v3_pools: args.pools - v4_pools - v2_pools,
        clock: Clock::Real,
        v4_pools,
        ..DevnetConfig::default()
    })
    .await
    .map_err(|e| e.to_string())?;
    let mongod = match args.store {
        StoreKind::Sqlite => None,
        StoreKind::Mongodb => {
            screen.say("starting a mongod …");
            let folder = workdir.file("mongod");
            Some(Mongod::over(&folder).await.map_err(|e| e.to_string())?)
        }
    };
    let store_url = match &mongod {
        Some(mongod) => mongod.uri("swaptide"),
        None => format!("sqlite:{}", workdir.file("swaptide.db").display()),
    };
    screen.say(&format!("{} pools of {} tokens are there; starting the engine …", args.pools, devnet.deployment.tokens.len()));
    let mut engine = Engine::start(&binary, workdir, &devnet, &store_url, args.port)?;
    engine.wait_ready(Duration::from_secs(60)).await?;
    screen.say_urls(&engine, &devnet);
    Ok((devnet, mongod, engine))
}

/// As many tokens as it takes for so many different V2 pairs; at least the nine that the known pools need.
fn tokens_for(v2_pools: usize) -> usize {
    (9..).find(|n| n * (n - 1) / 2 >= v2_pools).unwrap_or(9)
}

/// Listens from the start, so that Ctrl-C never leaves anything behind. A second Ctrl-C ends at once: the children's guards see
/// that we are gone.
fn watch_signals() -> Stop {
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        one_signal().await;
        let _ = stop.send(true);
        one_signal().await;
        std::process::exit(130);
    });
    stopped
}

#[cfg(unix)]
async fn one_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        },
        Err(_) => drop(tokio::signal::ctrl_c().await),
    }
}

#[cfg(not(unix))]
async fn one_signal() {
    let _ = tokio::signal::ctrl_c().await;
}
