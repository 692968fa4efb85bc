//! Who signed each transaction and what it paid: filled in from receipts, behind everything else.
//!
//! Never on the barrier's path: rows are committed without it, and it comes when it comes. Blocks that memory holds are filled in
//! there, and reach the store with the next write; older ones are filled in in the store, from a cursor of its own upwards. What is
//! absent: epochs and frames. An enriched row is the same row.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Supervised, WrapFuture};
use alloy::primitives::B256;
use futures_util::{StreamExt, stream};
use tokio_util::sync::CancellationToken;

use super::{Deps, sources};
use crate::{
    chain::{ChainError, ChainSource},
    domain::{
        block::BlockRef,
        record::{BlockRecord, Enrichment},
    },
    store::{
        StoreError,
        history::{EnrichedBlock, WriteBatch},
    },
};

/// What the cursor is kept under in the store.
const CURSOR: &str = "enrichment";
/// Receipts that are asked for at once: it has time.
const BLOCKS_PARALLEL: usize = 4;
/// Blocks of the store that are looked at in one step.
const STEP_BLOCKS: u64 = 20_000;
/// Blocks of the store that are filled in with one write.
const WRITE_BLOCKS: usize = 32;
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(60);

pub struct Enrich {
    deps: Arc<Deps>,
    stop: CancellationToken,
}

impl Enrich {
    #[must_use]
    pub fn new(deps: Arc<Deps>) -> Self {
        let stop = deps.stop.clone();
        Self { deps, stop }
    }
}

impl Actor for Enrich {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let (deps, stop) = (self.deps.clone(), self.stop.clone());
        let run = async move {
            tokio::select! {
                outcome = run(&deps) => outcome,
                () = stop.cancelled() => Ok(()),
            }
        };
        ctx.spawn(run.into_actor(self).map(|outcome, actor, ctx| {
            if let Err(reason) = outcome {
                let chain = actor.deps.chain;
                tracing::error!(chain, reason, "`origin` and gas stay null from here on; everything else goes on");
            }
            ctx.stop();
        }));
    }
}

impl Supervised for Enrich {}

/// Where a late source began, so that its rows are looked at once it has joined: what its mark is kept under.
pub(super) fn mark(source: &str) -> String {
    format!("{CURSOR}:{source}")
}

struct Pass<'a> {
    deps: &'a Arc<Deps>,
    /// The next block of the store to look at.
    next_block: u64,
    /// Marks of sources that joined, to be wiped with the next write.
    wipe: Vec<(String, u64)>,
    /// Sources whose rows are all at or above the cursor, or enriched.
    joined: HashSet<String>,
}

/// Ends only with what waiting does not mend.
async fn run(deps: &Arc<Deps>) -> Result<(), String> {
    let mut epochs = deps.live.watch_epoch();
    // A catch-up needs the node for itself, and then the store.
    while !deps.live.head().at_head {
        if epochs.changed().await.is_err() {
            return Ok(());
        }
    }
    let mut durable = deps.live.watch_durable();
    let caught_up = deps.live.head().block.map_or(0, |b| b.number);
    if durable.wait_for(|stored| *stored >= caught_up).await.is_err() {
        return Ok(());
    }
    let mut pause = RETRY_FIRST;
    let mut pass = Pass { deps, next_block: 0, wipe: Vec::new(), joined: HashSet::new() };
    loop {
        epochs.mark_unchanged();
        durable.mark_unchanged();
        match pass.step().await {
            Ok(true) => pause = RETRY_FIRST,
            Ok(false) => {
                pause = RETRY_FIRST;
                // A new block, or something reached the store.
                let changed = tokio::select! { changed = epochs.changed() => changed, changed = durable.changed() => changed };
                if changed.is_err() {
                    return Ok(());
                }
            }
            Err(Trouble::Chain(ChainError::Refused(reason))) => {
                return Err(format!("no endpoint gives receipts ({reason}): add one that does, or set enrichment = false"));
            }
            Err(Trouble::Store(StoreError::Fenced { ours, .. })) if pass.deps.fenced(ours) => {}
            Err(Trouble::Store(error @ (StoreError::Fenced { .. } | StoreError::Foreign(_) | StoreError::Corrupt(_)))) => {
                return Err(error.to_string());
            }
            Err(trouble) => {
                tracing::debug!(%trouble, "receipts are asked for again");
                tokio::time::sleep(pause).await;
                pause = pause.saturating_mul(2).min(RETRY_MAX);
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

type Answer = Result<HashMap<B256, Enrichment>, ChainError>;

impl Pass<'_> {
    /// The newest first, then a part of the rest. `false`: there is nothing to do until the next block.
    async fn step(&mut self) -> Result<bool, Trouble> {
        self.window().await?;
        self.look_back().await?;
        let more = self.backlog().await?;
        self.observe();
        Ok(more)
    }

    /// What memory holds.
    async fn window(&self) -> Result<(), Trouble> {
        let head = self.deps.live.head();
        let plain = |record: &&Arc<BlockRecord>| record.rows.iter().any(|row| row.enrichment.is_none());
        let wanted: Vec<(BlockRef, Vec<B256>)> =
            head.window.iter().filter(plain).map(|record| (record.block, transactions(record))).collect();
        let mut answers = self.receipts(wanted);
        while let Some((block, answer)) = answers.next().await {
            match answer {
                Ok(found) => self.deps.live.enrich(&block.hash, &found),
                // A reorg took it.
                Err(ChainError::UnknownBlock(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Where the cursor is, and whether a source joined that has rows behind it. A source counts once the store says that it has
    /// joined: before that not all of its rows are there.
    async fn look_back(&mut self) -> Result<(), Trouble> {
        let names: Vec<String> = self.deps.joined.get().iter().map(sources::name).collect();
        if names.iter().all(|name| self.joined.contains(name)) {
            return Ok(());
        }
        let boot = self.deps.history.boot(self.deps.chain).await?;
        let stored = |wanted: &str| boot.sources.iter().find(|(name, next)| name == wanted && *next > 0).map(|(_, next)| *next);
        if self.joined.is_empty() {
            self.next_block = stored(CURSOR).unwrap_or(0);
        }
        for name in names.into_iter().filter(|name| stored(name).is_some()) {
            if let Some(from) = stored(&mark(&name)).filter(|_| !self.joined.contains(&name)) {
                self.next_block = self.next_block.min(from);
                self.wipe.push((mark(&name), 0));
            }
            self.joined.insert(name);
        }
        Ok(())
    }

    /// What only the store holds, from the cursor upwards. `false`: all of it is done.
    async fn backlog(&mut self) -> Result<bool, Trouble> {
        let deps = self.deps;
        // Whoever writes does it.
        let Some(fence) = deps.lease.fence() else { return Ok(false) };
        let Some(last) = self.last_stored().filter(|_| !self.joined.is_empty()) else { return Ok(false) };
        let to = last.min(self.next_block.saturating_add(STEP_BLOCKS));
        let found = deps.history.unenriched(deps.chain, self.next_block, to).await?;
        let mut blocks = found.blocks;
        let rest = blocks.split_off(blocks.len().min(WRITE_BLOCKS));
        let next_block = rest.first().map_or(found.next_block, |(block, _)| block.number);
        let mut enriched = Vec::with_capacity(blocks.len());
        let mut answers = self.receipts(blocks);
        while let Some((block, answer)) = answers.next().await {
            match answer {
                Ok(found) => enriched.push(EnrichedBlock { block, transactions: found.into_iter().collect() }),
                // Receipts that old are not kept any more: they stay null.
                Err(ChainError::UnknownBlock(_)) => {
                    tracing::warn!(
                        block = block.number,
                        "the node keeps no receipts of this block: its rows stay without `origin`"
                    );
                }
                Err(error) => return Err(error.into()),
            }
        }
        let cursor = (CURSOR.to_owned(), next_block);
        let sources = self.wipe.iter().cloned().chain([cursor]).collect();
        let now = deps.now_unix_s();
        deps.history.write(WriteBatch { chain: deps.chain, fence, enriched, sources, now, ..WriteBatch::default() }).await?;
        self.wipe.clear();
        self.next_block = next_block;
        Ok(next_block <= last)
    }

    /// The last block that is not in memory, and final: what may still be taken back is not asked for twice.
    fn last_stored(&self) -> Option<u64> {
        let head = self.deps.live.head();
        let durable = *self.deps.live.watch_durable().borrow();
        let last = head.window_floor.checked_sub(1)?.min(head.finalized_number).min(durable);
        (self.next_block <= last).then_some(last)
    }

    fn receipts(&self, wanted: Vec<(BlockRef, Vec<B256>)>) -> stream::BoxStream<'static, (BlockRef, Answer)> {
        let source = self.deps.source.clone();
        let one = move |(block, transactions): (BlockRef, Vec<B256>)| {
            let source: Arc<dyn ChainSource> = source.clone();
            async move {
                let task = tokio::spawn(async move { source.receipts(block.hash, transactions).await });
                let answer = task.await.unwrap_or_else(|e| Err(ChainError::Unavailable(e.to_string())));
                (block, answer.map(|found| found.into_iter().collect()))
            }
        };
        Box::pin(stream::iter(wanted).map(one).buffered(BLOCKS_PARALLEL))
    }

    fn observe(&self) {
        let last = self.deps.live.head().window_floor.saturating_sub(1);
        let left = if last == u64::MAX { 0 } else { last.saturating_add(1).saturating_sub(self.next_block) };
        let left = i64::try_from(left).unwrap_or(i64::MAX);
        self.deps.metrics.enrichment_backlog_blocks.with_label_values(&[&self.deps.label()]).set(left);
    }
}

/// Of the rows that lack it, each once.
fn transactions(record: &BlockRecord) -> Vec<B256> {
    let mut hashes: Vec<B256> =
        record.rows.iter().filter(|row| row.enrichment.is_none()).map(|row| row.event.raw.tx_hash).collect();
    hashes.sort_unstable();
    hashes.dedup();
    hashes
}
