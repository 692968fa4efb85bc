//! One actor per price source: it runs the connection, again and again, and puts what it hears into the read model.
//!
//! What is absent: any judgement. A source that is away ages in the read model by itself; one whose actor keeps failing is left
//! out as FAULTED, and everything else goes on.

use std::{sync::Arc, time::Duration};

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Supervised, WrapFuture};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::supervise::{Restart, Spec, supervise};
use crate::{
    feeds::{FeedError, Heard, PriceSource},
    store::prices::{Prices, SourceId},
    telemetry::{Board, Metrics},
};

const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(60);
/// Who asks for patience and does not say how much.
const PATIENCE: Duration = Duration::from_secs(60);
const PATIENCE_MAX: Duration = Duration::from_secs(3_600);
/// A connection that lasted so long was a good one: the next begins without a pause.
const GOOD_RUN: Duration = Duration::from_secs(60);

/// What a feed is made of.
pub struct FeedDeps {
    /// `ETH/USD binance`.
    pub name: String,
    pub source: Box<dyn PriceSource>,
    pub id: SourceId,
    pub prices: Arc<Prices>,
    pub metrics: Metrics,
    pub board: Board,
    pub stop: CancellationToken,
    pub now_unix_ms: fn() -> u64,
}

pub struct Feed {
    deps: Arc<FeedDeps>,
}

/// Starts it on the current `LocalSet`.
#[must_use]
pub fn start(deps: FeedDeps) -> actix::Addr<Feed> {
    let deps = Arc::new(deps);
    let spec = spec(&deps.name, deps.id, &deps.prices, &deps.board, &deps.metrics);
    supervise(spec, |_| Feed { deps })
}

/// How the actor of a price source is kept: once it is given up the source is FAULTED, and everything else goes on.
pub(super) fn spec(name: &str, id: SourceId, prices: &Arc<Prices>, board: &Board, metrics: &Metrics) -> Spec {
    prices.begin(id);
    let prices = prices.clone();
    Spec {
        kind: "feed",
        name: format!("feed/{name}"),
        restart: Restart::Transient,
        board: board.clone(),
        metrics: metrics.clone(),
        on_give_up: Box::new(move |_| prices.faulted(id)),
    }
}

impl Actor for Feed {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let deps = self.deps.clone();
        let run = async move {
            tokio::select! { () = run(&deps) => {}, () = deps.stop.cancelled() => {} }
        };
        ctx.spawn(run.into_actor(self).map(|(), _, ctx| ctx.stop()));
    }
}

impl Supervised for Feed {}

async fn run(deps: &FeedDeps) {
    let mut pause = RETRY_FIRST;
    let mut told = None;
    loop {
        let began = Instant::now();
        let error = deps.source.run(&|heard| hear(deps, heard)).await;
        deps.prices.disconnected(deps.id, &error.to_string());
        deps.metrics.feed_errors_total.with_label_values(&[&deps.name]).inc();
        if began.elapsed() >= GOOD_RUN {
            pause = RETRY_FIRST;
        }
        let wait = match &error {
            FeedError::RateLimited { retry_after } => retry_after.unwrap_or(PATIENCE).min(PATIENCE_MAX).max(pause),
            _ => pause,
        };
        // Once per kind of trouble: an exchange that is away for a night fills no log.
        let kind = std::mem::discriminant(&error);
        if told.replace(kind) != Some(kind) || began.elapsed() >= GOOD_RUN {
            let retry_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(feed = %deps.name, host = %deps.source.host(), %error, retry_ms, "a price source is away");
        }
        tokio::time::sleep(jittered(wait, &deps.name)).await;
        pause = pause.saturating_mul(2).min(RETRY_MAX);
    }
}

fn hear(deps: &FeedDeps, heard: Heard) {
    let now_ms = (deps.now_unix_ms)();
    match heard {
        Heard::Connected => {
            tracing::info!(feed = %deps.name, host = %deps.source.host(), "a price source is there");
            deps.prices.connected(deps.id);
        }
        Heard::Alive => deps.prices.alive(deps.id, now_ms),
        Heard::Tick(tick) => {
            let outcome = match deps.prices.hear(deps.id, tick, now_ms) {
                Ok(true) => "taken",
                Ok(false) => "repeated",
                Err(refusal) => {
                    tracing::debug!(feed = %deps.name, %refusal, "a tick was refused");
                    "refused"
                }
            };
            deps.metrics.feed_ticks_total.with_label_values(&[&deps.name, outcome]).inc();
        }
        Heard::Garbage(why) => {
            tracing::debug!(feed = %deps.name, why, "a price source says what makes no sense");
            deps.metrics.feed_ticks_total.with_label_values(&[&deps.name, "garbage"]).inc();
            deps.prices.garbage(deps.id, &why);
        }
    }
}

/// Up to a quarter more, by name: sources that went away together do not come back together.
fn jittered(pause: Duration, name: &str) -> Duration {
    let spread = name.bytes().fold(0_u32, |acc, b| acc.wrapping_mul(31).wrapping_add(u32::from(b))) % 25;
    pause.saturating_mul(spread.saturating_add(100)) / 100
}
