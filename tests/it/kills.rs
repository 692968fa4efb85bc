//! Row 1: killed at random instants while the chain trades, and each time it comes back with nothing lost and nothing double.
//!
//! `SWAPTIDE_KILLS=1000 cargo nextest run --test it kills::` kills more often; `SWAPTIDE_SEED=7` is another run of chance.

use std::time::{Duration, Instant};

use swaptide_demo::{Devnet, DevnetConfig};
use tokio_util::sync::CancellationToken;

use super::{
    engine::{self, Engine, Setup},
    fault::oracle::Oracle,
    resume::Follower,
};

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// SplitMix64
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Ten blocks a second of twenty transactions, as far as the machine gives them, with a reorg now and then.
async fn trade(mut devnet: Devnet, seed: u64, stop: CancellationToken) -> Devnet {
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    let mut state = seed;
    for block in 1_u64.. {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => break,
        }
        devnet.fill(1, 20).await.unwrap();
        if block.is_multiple_of(9) {
            devnet.reorg_keeping(1 + next(&mut state) % 4, 650).await.unwrap();
        }
    }
    devnet
}

/// Every so many kills everything is compared.
const ROUND: u64 = 20;

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_instants_under_load_it_loses_nothing_and_doubles_nothing() {
    let (kills, seed) = (number("SWAPTIDE_KILLS", 12), number("SWAPTIDE_SEED", 1));
    println!("{kills} kills, seed {seed}");
    let folder = tempfile::tempdir().unwrap();
    let mut devnet = Devnet::start(DevnetConfig { seed, ..DevnetConfig::default() }).await.unwrap();
    let setup = Setup::of(&devnet, folder.path());
    let (mut follower, mut state, began) = (Follower::default(), seed, Instant::now());
    let (mut slowest_ready, mut killed) = (Duration::ZERO, 0);
    while killed < kills {
        let stop = CancellationToken::new();
        let trading = tokio::spawn(trade(devnet, next(&mut state), stop.clone()));
        for _ in 0..ROUND.min(kills - killed) {
            killed += 1;
            let wait = Duration::from_millis(next(&mut state) % 1_200);
            if next(&mut state).is_multiple_of(3) {
                // Perhaps before it serves, or before it has opened its store.
                engine::killed_after(&setup, folder.path(), wait).await;
                continue;
            }
            let started = Instant::now();
            let engine = Engine::start(&setup, folder.path()).await;
            slowest_ready = slowest_ready.max(started.elapsed());
            // Whoever follows is told until that moment.
            let _ = tokio::time::timeout(wait, follower.listen(&engine, None)).await;
            engine.kill().await;
        }
        stop.cancel();
        devnet = trading.await.unwrap();
        let engine = Engine::start(&setup, folder.path()).await;
        let oracle = Oracle::of(&devnet).await;
        oracle.agrees(&devnet, &engine).await;
        follower.until(&engine, &oracle.head.1.to_string()).await;
        follower.is_the_truth(&engine).await;
        let (events, seconds) = (oracle.events.len(), began.elapsed().as_secs_f64());
        println!(
            "{killed} kills: {events} events in {} blocks, {:.0} a second; none lost, none double; served again after {:.1} s at most",
            oracle.head.0,
            events as f64 / seconds,
            slowest_ready.as_secs_f64()
        );
        assert!(engine.terminate().await.success());
    }
}
