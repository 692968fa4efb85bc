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
    chain::{BlockTag, ChainError, HeadEvent},
    domain::{block::Header, reconcile::Advice},
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
                Halt::Fenced => actor.deps.lease.declare_unfit(),
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
        None => {
            let stop = deps.stop.clone();
            // It may wait for the node or the store: a stop ends that, too.
            tokio::select! {
                booted = Follower::boot(deps, table) => booted,
                () = stop.cancelled() => return Halt::Stopped,
            }
        }
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
        let mut retry: Option<(Instant, Duration)> = Some((Instant::now(), RETRY_FIRST));
        let mut looked_for_pools = false;
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
                source = self.late.next(), if retry.is_none() => self.join(source).await,
                () = tokio::time::sleep(HEAL_EVERY), if heal => { self.heal().await; continue }
            };
            if !looked_for_pools && self.deps.live.head().at_head {
                looked_for_pools = true;
                self.name_missing_pools();
            }
            retry = match step {
                Ok(()) => None,
                Err(FollowError::Stopped) => return Halt::Stopped,
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

    /// What is asked for and not served is worth a line, once everything that was to be read is read.
    fn name_missing_pools(&self) {
        for (dex, factory) in self.registry.without_pools() {
            tracing::warn!(
                dex,
                factory = %format_args!("{factory:#x}"),
                "no pool of this dex was found: its factory has created none since `start_block`. Set `older_pools = true`, list \
                 `pools`, or check `factory` and `protocol`; a new pool is served as soon as it is created"
            );
        }
        for (dex, pool) in self.registry.not_created() {
            tracing::warn!(
                dex,
                pool = %pool,
                "the configuration lists this pool, and its factory does not know it: correct the address, or `factory`. If it is \
                 created later, it is served from then on"
            );
        }
    }

    async fn on_latest(&mut self) -> Result<(), FollowError> {
        let Some(header) = self.ask(self.deps.source.header(BlockTag::Latest)).await? else { return Ok(()) };
        let tip = self.reconciler.tip();
        if header.block.hash != tip.hash && self.reconciler.contains(&header.block.hash) {
            // Behind us. A node that still knows our tip only lags; at a start there is no head stream's word for it yet.
            return match self.ask(self.deps.source.header(BlockTag::Hash(tip.hash))).await? {
                Some(ours) => {
                    self.arrived(ours);
                    Ok(())
                }
                None => self.on_head(header).await,
            };
        }
        self.on_head(header).await
    }

    async fn on_head(&mut self, header: Header) -> Result<(), FollowError> {
        if self.reconciler.tip().hash == header.block.hash {
            self.arrived(header);
            return Ok(());
        }
        if self.is_far(header.block.number) {
            // A head's number is a hint, too: how far ranges go is asked anew.
            self.catch_up().await?;
        }
        self.follow(header).await
    }

    /// The head is where we are already (an empty chain, a restart): that is "at the head" too.
    fn arrived(&self, header: Header) {
        let head = self.deps.live.head();
        if !head.current {
            self.deps.live.commit(crate::store::Commit {
                head: Some(header.block),
                base_fee_wei: header.base_fee_wei,
                finalized_number: head.finalized_number,
                at_head: true,
                quiet: true,
                ..Default::default()
            });
        }
    }

    /// History in ranges, as far as it is final, before the head is followed block by block.
    async fn catch_up(&mut self) -> Result<(), FollowError> {
        loop {
            let Some(latest) = self.ask(self.deps.source.header(BlockTag::Latest)).await? else { return Ok(()) };
            let tip = self.reconciler.tip().number;
            let to = self.final_number(latest.block.number).await?.unwrap_or(tip);
            if to <= tip.saturating_add(RANGE_GAP_BLOCKS) {
                return Ok(());
            }
            self.back_to_the_fork().await?;
            self.backfill(to).await?;
            // The chain went on meanwhile.
        }
    }

    /// Whether a head is so far ahead that ranges are worth a look.
    fn is_far(&self, head: u64) -> bool {
        let depth = match self.deps.plan.finality {
            Finality::Depth(depth) => depth,
            Finality::Tag => 0,
        };
        head > self.reconciler.tip().number.saturating_add(depth).saturating_add(RANGE_GAP_BLOCKS)
    }

    /// Takes back what the node replaced while we were away, so that ranges go on from a block of its chain.
    async fn back_to_the_fork(&mut self) -> Result<(), FollowError> {
        let mut number = self.reconciler.tip().number;
        let anchor = self.reconciler.anchor();
        loop {
            let theirs = self.ask(self.deps.source.header(BlockTag::Number(number))).await?;
            let theirs = theirs.ok_or_else(|| ChainError::Unavailable(format!("the node does not know block {number}")))?;
            match self.reconciler.head(theirs.block) {
                Advice::Known => return Ok(()),
                Advice::Update(update) if update.extend.is_empty() => {
                    self.apply(update, Vec::new(), false, Instant::now()).await;
                    return Ok(());
                }
                _ if number <= anchor.number => {
                    return Err(FollowError::TooDeep { fork_below: anchor.number, head: theirs.block });
                }
                _ => number = number.saturating_sub(1),
            }
        }
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
