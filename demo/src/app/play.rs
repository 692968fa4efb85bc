//! Trading until the end, with a reorg now and then, and the picture of it.

use std::time::{Duration, Instant};

use swaptide_demo::{Devnet, rng::Rng};
use tokio::time::MissedTickBehavior;

use super::{Args, Outcome, Stop, engine::Engine, screen::Screen, view::View};

/// What happened on the chain.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Played {
    pub(crate) blocks: u64,
    pub(crate) transactions: u64,
    pub(crate) reorgs: u64,
    pub(crate) reorged_blocks: u64,
    pub(crate) time: Duration,
}

/// Trades, mines, reorganises and draws until the time is over or somebody stops it. An engine that ends is noticed within 0.1 s.
pub(crate) async fn play(
    args: &Args,
    devnet: &mut Devnet,
    engine: &mut Engine,
    screen: &mut Screen,
    stop: &mut Stop,
) -> Outcome<Played> {
    let mut rng = Rng::new(args.seed ^ 0x0de_0107);
    let mut next_reorg = pause(args, &mut rng);
    let mut played = Played::default();
    let began = Instant::now();
    let end = args.duration.map(|d| tokio::time::Instant::now() + d);
    let mut block = tokio::time::interval(args.block_time);
    let mut picture = tokio::time::interval(screen.refresh());
    let mut pulse = tokio::time::interval(Duration::from_millis(100));
    for timer in [&mut block, &mut picture, &mut pulse] {
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    }
    loop {
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            () = at(end) => break,
            _ = pulse.tick() => engine.check_alive()?,
            _ = block.tick() => {
                if !devnet.is_running() {
                    return Err("the chain (anvil) ended by itself".to_owned());
                }
                next_reorg -= 1;
                if next_reorg == 0 {
                    next_reorg = pause(args, &mut rng);
                    reorg(devnet, &mut rng, &mut played, screen).await?;
                } else {
                    devnet.trader.push_random(args.rate).await.map_err(|e| e.to_string())?;
                    let mined = devnet.mine().await.map_err(|e| e.to_string())?;
                    played.blocks += 1;
                    played.transactions += mined.transactions as u64;
                }
            }
            _ = picture.tick() => {
                let head = devnet.head().await.map_err(|e| e.to_string())?;
                screen.draw(engine, &devnet.deployment, head.number, View::read(engine).await, began.elapsed());
            }
        }
    }
    played.time = began.elapsed();
    Ok(played)
}

/// 1 to 3 blocks; about two thirds of their transactions come again.
async fn reorg(devnet: &mut Devnet, rng: &mut Rng, played: &mut Played, screen: &mut Screen) -> Outcome {
    let head = devnet.head().await.map_err(|e| e.to_string())?;
    let depth = (1 + rng.below(3)).min(head.number.saturating_sub(devnet.deployment.setup_end_block));
    if depth == 0 {
        return Ok(());
    }
    let reorged = devnet.reorg_keeping(depth, 650).await.map_err(|e| e.to_string())?;
    played.reorgs += 1;
    played.reorged_blocks += depth;
    screen.note(&format!(
        "reorg of depth {depth}: everything after block {} replaced, transactions orphaned: {}",
        reorged.ancestor, reorged.orphaned_transactions
    ));
    Ok(())
}

/// Blocks until the next reorg: the wanted number, give or take a third. Never, when none are wanted.
fn pause(args: &Args, rng: &mut Rng) -> u64 {
    match args.reorg_every {
        0 => u64::MAX,
        every => (every - every / 3 + rng.below(every / 3 * 2 + 1)).max(2),
    }
}

async fn at(end: Option<tokio::time::Instant>) {
    match end {
        Some(end) => tokio::time::sleep_until(end).await,
        None => std::future::pending().await,
    }
}
