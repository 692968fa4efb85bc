//! One actor per Chainlink feed: what its proxy answers at the head of its chain, read again whenever that may have changed.
//!
//! A log of the current aggregator, or a reorg, says that it is worth a look; the look itself is a call at the head's hash, so a price
//! is never of another block than the rest. A proxy that changes its aggregator emits nothing, and is asked now and then.

use std::{sync::Arc, time::Duration};

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Supervised, WrapFuture};
use alloy::primitives::Address;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{feed, supervise::supervise};
use crate::{
    chain::{
        ChainError, ChainSource,
        aggregator::{self, NoReading, Reading},
    },
    domain::{block::BlockRef, feed::Tick},
    store::{
        Live,
        prices::{Prices, SourceId},
    },
    telemetry::{Board, Metrics},
};

const RETRY: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);

pub struct OracleDeps {
    /// `ETH/USD chainlink`.
    pub name: String,
    pub proxy: Address,
    /// How often the proxy is asked whether its aggregator is another one.
    pub resolve_every: Duration,
    pub source: Arc<dyn ChainSource>,
    pub live: Arc<Live>,
    pub id: SourceId,
    pub prices: Arc<Prices>,
    pub metrics: Metrics,
    pub board: Board,
    pub stop: CancellationToken,
    pub now_unix_ms: fn() -> u64,
}

pub struct Oracle {
    deps: Arc<OracleDeps>,
}

/// Starts it on the current `LocalSet`.
#[must_use]
pub fn start(deps: OracleDeps) -> actix::Addr<Oracle> {
    let deps = Arc::new(deps);
    let spec = feed::spec(&deps.name, deps.id, &deps.prices, &deps.board, &deps.metrics);
    supervise(spec, |_| Oracle { deps })
}

impl Actor for Oracle {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let deps = self.deps.clone();
        let run = async move {
            let mut watched = Watched { deps: &deps, aggregator: None };
            tokio::select! { () = watched.run() => {}, () = deps.stop.cancelled() => {} }
        };
        ctx.spawn(run.into_actor(self).map(|(), _, ctx| ctx.stop()));
    }
}

impl Supervised for Oracle {}

/// Whose logs are waited for, for as long as this lives.
struct Watched<'a> {
    deps: &'a OracleDeps,
    aggregator: Option<Address>,
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        if let Some(aggregator) = &self.aggregator {
            self.deps.live.touches.unwatch(aggregator);
        }
    }
}

impl Watched<'_> {
    async fn run(&mut self) {
        let deps = self.deps;
        let mut touched = deps.live.touches.subscribe();
        let mut epochs = deps.live.watch_epoch();
        let mut pause = RETRY;
        loop {
            // Before the head is looked at: what comes meanwhile is a reason to look again.
            touched.mark_unchanged();
            let Some(head) = self.head(&mut epochs).await else { return };
            match aggregator::read(deps.source.as_ref(), deps.proxy, head.hash).await {
                Ok(reading) => {
                    pause = RETRY;
                    // A log that came before its aggregator was waited for was not noticed.
                    if !self.take(&reading, &head) && !self.wait(&mut touched).await {
                        return;
                    }
                    continue;
                }
                // A reorg took it meanwhile: the next head is there soon.
                Err(NoReading::Chain(ChainError::UnknownBlock(_))) => {}
                Err(error) => {
                    deps.metrics.feed_errors_total.with_label_values(&[&deps.name]).inc();
                    match &error {
                        // The contract is what it is, and it is no price.
                        NoReading::NoProxy(_) => deps.prices.set(deps.id, Err(error.to_string()), (deps.now_unix_ms)()),
                        // Which endpoint, and what it said, is the operator's business.
                        NoReading::Chain(_) => deps.prices.disconnected(deps.id, "its chain's node cannot be asked"),
                    }
                    tracing::warn!(feed = %deps.name, %error, "an oracle cannot be read");
                    pause = pause.saturating_mul(2).min(RETRY_MAX);
                }
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// The head, once history is caught up with; `None` at the end.
    async fn head(&self, epochs: &mut watch::Receiver<u64>) -> Option<BlockRef> {
        loop {
            let head = self.deps.live.head();
            match head.block.filter(|_| head.at_head) {
                Some(block) => return Some(block),
                None => epochs.changed().await.ok()?,
            }
        }
    }

    /// Until it is time for another look; `false`: the end.
    async fn wait(&self, touched: &mut watch::Receiver<u64>) -> bool {
        tokio::select! {
            changed = touched.changed() => changed.is_ok(),
            () = tokio::time::sleep(self.deps.resolve_every) => true,
        }
    }

    /// `true`: the aggregator is another one.
    fn take(&mut self, reading: &Reading, head: &BlockRef) -> bool {
        let deps = self.deps;
        let outcome = if reading.answer.is_ok() { "taken" } else { "refused" };
        deps.metrics.feed_ticks_total.with_label_values(&[&deps.name, outcome]).inc();
        let age_ms = |tick: &Tick| head.timestamp.saturating_mul(1_000).saturating_sub(tick.at_ms);
        let said = reading.answer.map(|tick| (tick, age_ms(&tick))).map_err(|why| why.to_string());
        deps.prices.set(deps.id, said, (deps.now_unix_ms)());
        if self.aggregator == Some(reading.aggregator) {
            return false;
        }
        tracing::info!(feed = %deps.name, aggregator = %reading.aggregator, "an oracle is read");
        deps.live.touches.watch(reading.aggregator);
        if let Some(before) = self.aggregator.replace(reading.aggregator) {
            deps.live.touches.unwatch(&before);
        }
        true
    }
}
