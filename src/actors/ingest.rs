//! One per chain: hears of heads, and moves everything else.
//!
//! The actor is a shell around [`Follower`], which runs as one future. When that panics the supervisor starts it again; pools
//! and pre-images live in the table beside it, everything else is in `Live`.

use std::{cell::RefCell, rc::Rc, sync::Arc, time::Duration};

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Supervised, WrapFuture};
use futures_util::{FutureExt, StreamExt, stream::BoxStream};
use tokio::time::Instant;

use super::{
    Deps, Finality,
    follow::{FollowError, Follower, Halt},
    table::Table,
};
use crate::{
    chain::{BlockTag, HeadEvent},
    domain::block::Header,
};

/// First pause before something that failed is tried again; it doubles up to `RETRY_MAX`.
pub(super) const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// How soon a pool that is behind is tried again.
const HEAL_EVERY: Duration = Duration::from_millis(25);
/// A gap larger than the undo window and this is read in ranges, up to the finalized block.
const RANGE_GAP_BLOCKS: u64 = 16;

pub struct Ingest {
    deps: Arc<Deps>,
    table: Rc<RefCell<Table>>,
    done: tokio::sync::watch::Sender<bool>,
}

impl Ingest {
    /// The table is the tree's, so that it outlives a restart. `done` says when following has ended because `deps.stop` was
    /// cancelled.
    #[must_use]
    pub(super) fn new(deps: Arc<Deps>, table: Rc<RefCell<Table>>, done: tokio::sync::watch::Sender<bool>) -> Self {
        Self { deps, table, done }
    }
}

impl Actor for Ingest {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let run = run(self.deps.clone(), self.table.clone()).into_actor(self);
        ctx.spawn(run.map(|halt, actor, ctx| {
            match halt {
                Halt::Stopped => {}
                Halt::Fatal(reason) => actor.deps.fail(reason),
            }
            actor.done.send_replace(true);
            ctx.stop();
        }));
    }
}

impl Supervised for Ingest {}

async fn run(deps: Arc<Deps>, table: Rc<RefCell<Table>>) -> Halt {
    let follower = match Follower::resume(deps.clone(), table.clone()) {
        Some(follower) => Ok(follower),
        None => Follower::boot(deps, table).await,
    };
    match follower {
        Ok(mut follower) => {
            let halt = follower.run().await;
            follower.leave_snapshots();
            halt
        }
        Err(halt) => halt,
    }
}

impl Follower {
    async fn run(&mut self) -> Halt {
        // Opened first: what is mined during the catch-up is waiting here afterwards.
        let mut heads = self.deps.source.heads();
        if let Err(halt) = self.catch_up().await {
            return halt;
        }
        let mut retry: Option<(Instant, Duration)> = Some((Instant::now(), RETRY_FIRST));
        loop {
            let stop = self.deps.stop.clone();
            let heal = self.ailing();
            let step = tokio::select! {
                biased;
                () = stop.cancelled() => return Halt::Stopped,
                Some(event) = heads.next() => match newest(event, &mut heads) {
                    HeadEvent::Head(header) => self.on_head(header).await,
                    HeadEvent::Down { reason } => {
                        tracing::warn!(%reason, "no endpoint gives heads");
                        Ok(())
                    }
                },
                () = until(retry.map(|(at, _)| at)) => self.on_latest().await,
                () = tokio::time::sleep(HEAL_EVERY), if heal => { self.heal().await; continue }
            };
            retry = match step {
                Ok(()) => None,
                Err(FollowError::TooDeep { fork_below, head }) => {
                    return Halt::Fatal(too_deep(&self.deps, fork_below, head.number));
                }
                Err(FollowError::Chain(error)) => {
                    let pause = retry.map_or(RETRY_FIRST, |(_, pause)| pause.saturating_mul(2).min(RETRY_MAX));
                    tracing::warn!(%error, retry_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX), "the head could not be followed");
                    Some((Instant::now() + pause, pause))
                }
            };
        }
    }

    async fn on_latest(&mut self) -> Result<(), FollowError> {
        match self.deps.source.header(BlockTag::Latest).await? {
            // Behind us: a lagging endpoint, or a rollback that the head stream will confirm.
            Some(header) if self.reconciler.contains(&header.block.hash) && self.deps.live.head().at_head => Ok(()),
            Some(header) => self.on_head(header).await,
            None => Ok(()),
        }
    }

    async fn on_head(&mut self, header: Header) -> Result<(), FollowError> {
        if let Some(to) = self.range_end(header.block.number)
            && self.still_canonical().await?
            && let Err(Halt::Fatal(reason)) = self.backfill(to).await
        {
            self.deps.fail(reason);
        }
        if self.reconciler.tip().hash == header.block.hash {
            self.arrived(header);
            return Ok(());
        }
        self.follow(header).await
    }

    /// The head is where we are already (an empty chain, a restart): that is "at the head" too.
    fn arrived(&self, header: Header) {
        let head = self.deps.live.head();
        if !head.at_head {
            self.deps.live.commit(crate::store::Commit {
                head: Some(header.block),
                finalized_number: head.finalized_number,
                at_head: true,
                quiet: true,
                ..Default::default()
            });
        }
    }

    /// History in ranges, as far as it is final, before the head is followed block by block.
    async fn catch_up(&mut self) -> Result<(), Halt> {
        let mut pause = RETRY_FIRST;
        while !self.deps.stop.is_cancelled() {
            match self.deps.source.header(BlockTag::Latest).await {
                Ok(Some(header)) => {
                    let Some(to) = self.range_end(header.block.number) else { return Ok(()) };
                    match self.still_canonical().await {
                        Ok(true) => self.backfill(to).await?,
                        Ok(false) => return Ok(()),
                        Err(error) => tracing::warn!(%error, "checking where we stopped"),
                    }
                    continue; // the chain went on meanwhile
                }
                Ok(None) => tracing::warn!("the node has no newest block"),
                Err(error) => tracing::warn!(%error, "the newest block could not be asked for"),
            }
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2).min(RETRY_MAX);
        }
        Err(Halt::Stopped)
    }

    /// Up to where ranges are worth it: the finalized block, if our tip is far below.
    fn range_end(&self, head: u64) -> Option<u64> {
        let depth = match self.deps.plan.finality {
            Finality::Depth(depth) => depth,
            // 64 blocks: two epochs; the tag is never that close to the head on a chain that has one.
            Finality::Tag => 64,
        };
        let to = head.saturating_sub(depth);
        (to > self.reconciler.tip().number.saturating_add(RANGE_GAP_BLOCKS)).then_some(to)
    }

    /// Whether our tip is still on the node's chain. If not, the fork is traced block by block.
    async fn still_canonical(&self) -> Result<bool, crate::chain::ChainError> {
        let tip = self.reconciler.tip();
        let there = self.deps.source.header(BlockTag::Number(tip.number)).await?;
        Ok(there.is_some_and(|h| h.block.hash == tip.hash))
    }
}

/// Of heads that wait already only the last counts: the ones before are its ancestors, or were replaced.
fn newest(first: HeadEvent, heads: &mut BoxStream<'static, HeadEvent>) -> HeadEvent {
    let mut last = first;
    while let Some(Some(event)) = heads.next().now_or_never() {
        last = match (event, last) {
            (HeadEvent::Down { .. }, HeadEvent::Head(header)) => HeadEvent::Head(header),
            (event, _) => event,
        };
    }
    last
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn too_deep(deps: &Deps, fork_below: u64, head: u64) -> String {
    format!(
        "chain {}: a reorg goes below block {fork_below}, deeper than `finality` lets us undo (the node is at {head}). Nothing was \
         changed. If the node is right, start again on a new database, with a larger `finality`",
        deps.chain
    )
}
