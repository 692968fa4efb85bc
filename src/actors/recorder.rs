//! Keeps prices from outside the chain: each pair's, once a minute. Nobody can tell them again.
//!
//! What cannot be written waits, up to a week of one pair; the oldest goes then, and that is said. What is absent: any judgement.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Supervised, WrapFuture};
use tokio_util::sync::CancellationToken;

use super::supervise::{Restart, Spec, supervise};
use crate::{
    store::{
        StoreError,
        keep::{EVERY_S, Keep, RecordedPrice},
        prices::Prices,
    },
    telemetry::{Board, Metrics},
};

/// Prices that wait for their store, at the most: about 3 MB.
const WAITING_MAX: usize = 10_080;
/// Of one write.
const WRITE_MAX: usize = 500;
/// Half a minute: what is not written then waits for the next.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// What a recorder is made of.
pub struct RecorderDeps {
    pub keep: Arc<dyn Keep>,
    pub prices: Arc<Prices>,
    pub metrics: Metrics,
    pub board: Board,
    pub stop: CancellationToken,
    pub now_unix_ms: fn() -> u64,
}

pub struct Recorder {
    deps: Arc<RecorderDeps>,
}

/// Starts it on the current `LocalSet`.
#[must_use]
pub fn start(deps: RecorderDeps) -> actix::Addr<Recorder> {
    let deps = Arc::new(deps);
    let spec = Spec {
        kind: "recorder",
        name: "recorder".to_owned(),
        restart: Restart::Transient,
        board: deps.board.clone(),
        metrics: deps.metrics.clone(),
        on_give_up: Box::new(|_| tracing::error!("FAULTED: prices from outside the chain are not recorded any more")),
    };
    supervise(spec, |_| Recorder { deps })
}

impl Actor for Recorder {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let deps = self.deps.clone();
        let run = async move { run(&deps).await };
        ctx.spawn(run.into_actor(self).map(|(), _, ctx| ctx.stop()));
    }
}

impl Supervised for Recorder {}

async fn run(deps: &RecorderDeps) {
    let mut waiting: VecDeque<RecordedPrice> = VecDeque::new();
    // What the log said last.
    let mut told: Option<bool> = None;
    let mut done = 0;
    loop {
        let now_ms = (deps.now_unix_ms)();
        if done > now_ms / 1_000 + 2 * EVERY_S {
            // The clock was put back.
            done = 0;
        }
        // A timer may be a little early: no minute comes twice.
        let next = minute_of(now_ms / 1_000).max(done).saturating_add(EVERY_S);
        let rest = Duration::from_millis(next.saturating_mul(1_000).saturating_sub(now_ms));
        tokio::select! {
            () = tokio::time::sleep(rest) => {}
            () = deps.stop.cancelled() => return,
        }
        let now_ms = (deps.now_unix_ms)();
        let minute = minute_of(now_ms / 1_000).max(next);
        done = minute;
        waiting.extend(deps.prices.all(now_ms).iter().filter_map(|report| RecordedPrice::of(report, minute)));
        let lost = waiting.len().saturating_sub(WAITING_MAX);
        waiting.drain(..lost);
        deps.metrics.recorded_prices_total.with_label_values(&["lost"]).inc_by(u64::try_from(lost).unwrap_or(0));
        // The next minute is not missed, whatever the store does.
        let written = tokio::time::timeout(WRITE_TIMEOUT, write(deps, &mut waiting)).await;
        let outcome = written.unwrap_or_else(|_| Err(StoreError::Unavailable("it does not answer".to_owned())));
        deps.metrics.recorded_prices_waiting.set(i64::try_from(waiting.len()).unwrap_or(i64::MAX));
        match outcome {
            Err(error) if told != Some(false) => {
                told = Some(false);
                tracing::warn!(%error, "prices cannot be recorded: they wait in memory, and it is tried again each minute");
            }
            Ok(written) if written > 0 && told != Some(true) => {
                told = Some(true);
                tracing::info!(written, "prices from outside the chain are recorded, once a minute");
            }
            Err(_) | Ok(_) => {}
        }
        if lost > 0 {
            tracing::error!(lost, "prices were not recorded: their store was away for too long");
        }
    }
}

fn minute_of(seconds: u64) -> u64 {
    seconds.saturating_sub(seconds % EVERY_S)
}

/// Oldest first; what is written waits no more. Gives how many were.
async fn write(deps: &RecorderDeps, waiting: &mut VecDeque<RecordedPrice>) -> Result<usize, StoreError> {
    let mut written = 0_usize;
    while !waiting.is_empty() {
        let some: Vec<RecordedPrice> = waiting.iter().take(WRITE_MAX).cloned().collect();
        let count = some.len();
        deps.keep.record(some).await?;
        waiting.drain(..count);
        written = written.saturating_add(count);
        deps.metrics.recorded_prices_total.with_label_values(&["written"]).inc_by(u64::try_from(count).unwrap_or(0));
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    };

    use futures_util::future::BoxFuture;
    use tokio::task::LocalSet;

    use super::*;
    use crate::{
        domain::{
            feed::{Rules, Tick},
            fixed::Fixed18,
        },
        store::prices::{PairSpec, SourceSpec},
    };

    /// The paused clock moves it; it begins within a minute.
    static NOW_MS: AtomicU64 = AtomicU64::new(0);
    const BEGIN_MS: u64 = 1_700_000_017_000;

    #[derive(Default)]
    struct List {
        away: AtomicBool,
        written: Mutex<Vec<RecordedPrice>>,
    }

    impl Keep for List {
        fn record(&self, prices: Vec<RecordedPrice>) -> BoxFuture<'_, Result<(), StoreError>> {
            Box::pin(async move {
                if self.away.load(Ordering::Acquire) {
                    return Err(StoreError::Unavailable("away".to_owned()));
                }
                self.written.lock().unwrap().extend(prices);
                Ok(())
            })
        }

        fn price(&self, _: &str, _: u64, _: u64) -> BoxFuture<'_, Result<Option<RecordedPrice>, StoreError>> {
            Box::pin(async { Ok(None) })
        }
    }

    /// Minute by minute, also those in which the store was away, each once; and none of a pair that has no price.
    #[tokio::test(flavor = "current_thread", start_paused = true)]
    async fn every_minute_has_its_price_also_when_the_store_was_away() {
        let started = tokio::time::Instant::now();
        let list = Arc::new(List::default());
        let source = SourceSpec { name: "binance".to_owned(), stale_after_ms: 3_600_000 };
        let rules = Rules { min_sources: 1, max_deviation_bps: 100, halt_after_ms: 1 };
        let pair = |name: &str| PairSpec { name: name.to_owned(), rules, sources: vec![source.clone()], tokens: Vec::new() };
        let prices = Arc::new(Prices::new(vec![pair("ETH/USD"), pair("BTC/USD")]));
        let stop = CancellationToken::new();
        let deps = RecorderDeps {
            keep: list.clone(),
            prices: prices.clone(),
            metrics: Metrics::new().unwrap(),
            board: Board::default(),
            stop: stop.clone(),
            now_unix_ms: || NOW_MS.load(Ordering::Acquire),
        };
        NOW_MS.store(BEGIN_MS, Ordering::Release);
        let metrics = deps.metrics.clone();
        LocalSet::new()
            .run_until(async move {
                let clock = tokio::task::spawn_local(async move {
                    loop {
                        let passed = u64::try_from(started.elapsed().as_millis()).unwrap();
                        NOW_MS.store(BEGIN_MS + passed, Ordering::Release);
                        tokio::time::sleep(Duration::from_millis(500)).await;
                    }
                });
                let _recorder = start(deps);
                let binance = prices.source("ETH/USD", "binance").unwrap();
                for minute in 0..6_u64 {
                    let now = NOW_MS.load(Ordering::Acquire);
                    let tick = Tick { price: Fixed18::parse(&(100 + minute).to_string()).unwrap(), at_ms: now, id: None };
                    prices.hear(binance, tick, now).unwrap();
                    list.away.store((2..4).contains(&minute), Ordering::Release);
                    tokio::time::sleep(Duration::from_secs(60)).await;
                }
                stop.cancel();
                clock.abort();
                let written = list.written.lock().unwrap();
                let found: Vec<(u64, String)> = written.iter().map(|price| (price.minute, price.value.to_string())).collect();
                let minute = |n: u64| (BEGIN_MS / 60_000 + 1 + n) * 60;
                let expected: Vec<(u64, String)> = (0..6).map(|n| (minute(n), (100 + n).to_string())).collect();
                assert_eq!(found, expected);
                assert!(written.iter().all(|price| price.pair == "ETH/USD"), "BTC/USD has none");
                assert_eq!(metrics.recorded_prices_total.with_label_values(&["written"]).get(), 6);
                assert_eq!(metrics.recorded_prices_waiting.get(), 0);
            })
            .await;
    }
}
