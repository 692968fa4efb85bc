//! Writes what was committed, behind the head and never in its way.
//!
//! `Persist` is a follower of `Live`, as a subscriber is: it knows which blocks of the window are durable, and writes the
//! difference (flips first, then new blocks) as one transaction. Nothing is queued for it: the window is the journal. While another
//! instance writes, it looks how far that is.

mod follow;
#[cfg(test)]
mod tests;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Supervised, WrapFuture};
use alloy::primitives::B256;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    Deps,
    refill::{self, Refill, RefillError},
};
use crate::{
    domain::{
        block::BlockRef,
        record::{BlockRecord, ChunkOf},
    },
    store::{
        Head, StoreError,
        history::{PurgeOrphans, WriteBatch},
        view::Side,
    },
};

/// Every pool that changed gets a snapshot when so many blocks became final.
pub(super) const SNAPSHOT_EVERY_BLOCKS: u64 = 256;
/// Rows of one transaction, at most: about 8 MB.
const BATCH_ROWS: usize = 10_000;
/// The same where all blocks are final: a store may write their rows beside the transaction.
const FINAL_BATCH_ROWS: usize = 50_000;
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(5);
const REFILL_AGAIN: Duration = Duration::from_secs(1);
/// Blocks of one transaction of a refill.
const REFILL_BLOCKS: usize = 64;
const PURGE_EVERY: Duration = Duration::from_secs(600);

pub struct Persist {
    deps: Arc<Deps>,
    /// Cancelled when ingest is done: write the rest and end.
    flush: CancellationToken,
    done: watch::Sender<bool>,
}

impl Persist {
    /// `done` says when everything is written after `flush` was cancelled.
    #[must_use]
    pub fn new(deps: Arc<Deps>, flush: CancellationToken, done: watch::Sender<bool>) -> Self {
        Self { deps, flush, done }
    }
}

impl Actor for Persist {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let run = run(self.deps.clone(), self.flush.clone()).into_actor(self);
        ctx.spawn(run.map(|outcome, actor, ctx| {
            if let Err(error) = outcome {
                actor.deps.fail(format!("chain {}: nothing can be stored any more: {error}", actor.deps.chain));
            }
            actor.done.send_replace(true);
            ctx.stop();
        }));
    }
}

impl Supervised for Persist {}

async fn run(deps: Arc<Deps>, flush: CancellationToken) -> Result<(), StoreError> {
    deps.live.reclaim_side();
    // Zero until something goes wrong, and not absent: a rise from nothing is none to whoever watches.
    deps.metrics.persist_errors_total.with_label_values(&[&deps.label()]).inc_by(0);
    let mut epochs = deps.live.watch_epoch();
    // Nothing to write before `Ingest` has read the store.
    while *epochs.borrow_and_update() == 0 {
        tokio::select! {
            changed = epochs.changed() => if changed.is_err() { return Ok(()) },
            () = flush.cancelled() => return Ok(()),
        }
    }
    let mut leases = deps.lease.watch();
    let mut writer =
        Writer { fence: None, durable: VecDeque::new(), head: None, reverts: 0, last_purge: Instant::now(), looked: None, deps };
    loop {
        let flushing = flush.is_cancelled();
        let fence = *leases.borrow_and_update();
        let outcome = match fence {
            Some(fence) => writer.lead(fence, &flush).await,
            None => writer.follow().await,
        };
        match outcome {
            Err(StoreError::Fenced { ours, .. }) if writer.deps.fenced(ours) => {
                // Of what it took not all came back.
                writer.deps.live.reclaim_side();
                continue;
            }
            outcome => outcome?,
        }
        if flushing {
            return Ok(());
        }
        tokio::select! {
            changed = epochs.changed(), if fence.is_some() => if changed.is_err() { return Ok(()) },
            () = tokio::time::sleep(follow::LOOK_EVERY), if fence.is_none() => {}
            _ = leases.changed() => {}
            () = flush.cancelled() => {}
        }
    }
}

struct Writer {
    deps: Arc<Deps>,
    /// With which the rest of this was read; `None`: another instance writes.
    fence: Option<u64>,
    /// Blocks of our chain that are stored and may still be in the window, ascending.
    durable: VecDeque<(u64, B256)>,
    head: Option<(u64, B256)>,
    /// [`Head::reverts`] of the head that is being written.
    reverts: u64,
    last_purge: Instant,
    /// When it was looked last which sources the store follows.
    looked: Option<Instant>,
}

impl Writer {
    async fn lead(&mut self, fence: u64, flush: &CancellationToken) -> Result<(), StoreError> {
        if self.fence != Some(fence) && !self.take_over(fence, flush).await? {
            return Ok(());
        }
        self.write_all(flush).await
    }

    /// Everything that `Live` has and the store lacks.
    async fn write_all(&mut self, flush: &CancellationToken) -> Result<(), StoreError> {
        // Taken before the head: a snapshot never gets ahead of the rows it stands on.
        let side = self.deps.live.take_side();
        let mut head = self.deps.live.head();
        self.reverts = head.reverts;
        while self.lacks_blocks_below(&head) && !flush.is_cancelled() {
            self.refill(&head, flush).await?;
            head = self.deps.live.head();
            self.reverts = head.reverts;
        }
        if self.lacks_blocks_below(&head) {
            // Stopping: a head above a hole would hide it for ever. The next start reads on from what is stored.
            self.deps.live.return_side(side);
            self.deps.live.wrote_side();
            return Ok(());
        }
        let batches = self.plan(&head, side);
        let last = batches.len().saturating_sub(1);
        for (i, batch) in batches.into_iter().enumerate() {
            let label = self.deps.label();
            let timer = self.deps.metrics.persist_write_seconds.with_label_values(&[&label]).start_timer();
            let outcome = retrying(&self.deps, flush, async || self.deps.history.write(batch.clone()).await).await;
            if outcome.is_err() {
                self.deps.live.return_side(side_of(&batch));
            }
            outcome?;
            timer.observe_duration();
            self.wrote(&batch, i == last);
        }
        self.deps.live.wrote_side();
        Ok(())
    }

    /// Memory had to let go of blocks that are not stored.
    fn lacks_blocks_below(&self, head: &Head) -> bool {
        // Not the store's own head: that may be on a branch which was taken back.
        let stored = *self.deps.live.watch_durable().borrow();
        head.window_floor != u64::MAX && stored.saturating_add(1) < head.window_floor
    }

    /// Reads the blocks between store and memory again from the chain. Trouble with the node is tried again later.
    async fn refill(&mut self, head: &Head, flush: &CancellationToken) -> Result<(), StoreError> {
        let Some(first) = head.window.first() else { return Ok(()) };
        tracing::info!(to = first.block.number, "the store was away longer than memory reaches: reading the rest from the chain");
        match self.try_refill(head, first, flush).await {
            Ok(()) => Ok(()),
            Err(RefillError::Store(error @ StoreError::Unavailable(_))) => {
                tracing::warn!(%error, "the refill is tried again");
                tokio::select! { () = tokio::time::sleep(REFILL_AGAIN) => {}, () = flush.cancelled() => {} }
                Ok(())
            }
            Err(RefillError::Store(error)) => Err(error),
            Err(RefillError::TooFar) => {
                self.deps.fail(format!("chain {}: {}", self.deps.chain, RefillError::TooFar));
                flush.cancelled().await;
                Ok(())
            }
            Err(RefillError::Chain(error)) => {
                tracing::warn!(%error, "the refill is tried again");
                tokio::select! { () = tokio::time::sleep(REFILL_AGAIN) => {}, () = flush.cancelled() => {} }
                Ok(())
            }
        }
    }

    async fn try_refill(&mut self, head: &Head, first: &BlockRecord, flush: &CancellationToken) -> Result<(), RefillError> {
        let stored: Vec<(u64, B256)> = self.durable.iter().copied().chain(self.head).collect();
        let gap = refill::trace(&self.deps, first, &stored).await?;
        let mut revert = gap.revert;
        revert.dedup();
        let mut refill = Refill::new(&self.deps, &revert).await?;
        if gap.headers.is_empty() {
            // Everything is stored already, beside blocks of another branch.
            self.store(WriteBatch { revert: std::mem::take(&mut revert), ..self.empty() }, flush).await?;
            self.deps.live.set_durable(first.block.number.saturating_sub(1), first.block.parent_hash, self.reverts);
        }
        for headers in gap.headers.chunks(REFILL_BLOCKS) {
            if flush.is_cancelled() {
                return Ok(());
            }
            let mut records = Vec::with_capacity(headers.len());
            for header in headers {
                records.push(Arc::new(refill.record(&self.deps, header).await?));
            }
            let tip = records.last().map(|r| r.block);
            let finalized_number = head.finalized_number.min(tip.map_or(0, |b| b.number));
            // The flips go with the first blocks of the other branch: the stored head is never an orphan.
            let revert = std::mem::take(&mut revert);
            self.store(WriteBatch { revert, records, head: tip, finalized_number, ..self.empty() }, flush).await?;
        }
        Ok(())
    }

    async fn store(&mut self, batch: WriteBatch, flush: &CancellationToken) -> Result<(), StoreError> {
        retrying(&self.deps, flush, async || self.deps.history.write(batch.clone()).await).await?;
        self.wrote(&batch, false);
        Ok(())
    }

    fn empty(&self) -> WriteBatch {
        WriteBatch {
            chain: self.deps.chain,
            fence: self.fence.unwrap_or(0),
            now: self.deps.now_unix_s(),
            ..WriteBatch::default()
        }
    }

    fn plan(&mut self, head: &Head, mut side: Side) -> Vec<WriteBatch> {
        let Some(tip) = head.block else { return Vec::new() };
        while self.durable.front().is_some_and(|(number, _)| *number < head.window_floor) {
            self.durable.pop_front();
        }
        let canonical = |hash: &B256| head.window.iter().rev().any(|r| r.block.hash == *hash);
        let revert: Vec<B256> =
            self.durable.iter().rev().take_while(|(_, hash)| !canonical(hash)).map(|(_, hash)| *hash).collect();
        let kept = self.durable.len().saturating_sub(revert.len());
        let stored_up_to = kept.checked_sub(1).and_then(|i| self.durable.get(i)).map(|(number, _)| *number);
        let from = match stored_up_to {
            Some(number) => head.window.partition_point(|r| r.block.number <= number),
            None => 0,
        };
        let new: Vec<Arc<BlockRecord>> = head.window.iter().skip(from).cloned().collect();
        let moved = self.head != Some((tip.number, tip.hash));
        let purge = (self.last_purge.elapsed() >= PURGE_EVERY).then(|| PurgeOrphans {
            final_number: head.finalized_number,
            orphaned_before: self.deps.now_unix_s().saturating_sub(self.deps.plan.orphan_retention_s),
        });
        if !moved && side.is_empty() && revert.is_empty() && new.is_empty() && purge.is_none() {
            return Vec::new();
        }
        // A block that was mended before it was written: the window has it as it is now.
        side.amended.retain(|hash, record| !new.iter().any(|r| r.block.hash == *hash) && may_be_canonical(head, record));
        // With flips all of a batch is one transaction.
        let final_rows = if revert.is_empty() { FINAL_BATCH_ROWS } else { BATCH_ROWS };
        let parts = split(new, side.amended.into_values(), head.finalized_number, final_rows).into_iter();
        let mut batches: Vec<WriteBatch> = parts.map(|(records, head)| WriteBatch { records, head, ..self.empty() }).collect();
        if batches.is_empty() {
            batches.push(self.empty());
        }
        let sources: Vec<(String, u64)> = side.sources.into_iter().collect();
        if let Some(first) = batches.first_mut() {
            first.revert = revert;
            if self.head.is_none() {
                // A store that has a head has the cursors of its sources.
                first.sources = sources.clone();
            }
        }
        if let Some(last) = batches.last_mut() {
            last.head = Some(tip);
            last.tokens = side.tokens.into_values().collect();
            last.snapshots = side.snapshots.into_values().collect();
            last.candles = side.candles.into_iter().map(|((of, ..), chunk)| ChunkOf { of, chunk }).collect();
            last.book = side.book;
            last.sources = sources;
            last.purge_orphans = purge;
        }
        for batch in &mut batches {
            batch.finalized_number = head.finalized_number.min(batch.head.map_or(u64::MAX, |b| b.number));
        }
        batches
    }

    fn wrote(&mut self, batch: &WriteBatch, last: bool) {
        self.durable.retain(|(_, hash)| !batch.revert.contains(hash));
        let known = self.durable.back().map(|(number, _)| *number);
        self.durable
            .extend(batch.records.iter().map(|r| (r.block.number, r.block.hash)).filter(|(n, _)| known.is_none_or(|k| *n > k)));
        self.deps.live.stored_candles(&batch.candles);
        if batch.purge_orphans.is_some() {
            self.last_purge = Instant::now();
        }
        if let Some(head) = batch.head {
            self.head = Some((head.number, head.hash));
            self.deps.live.set_durable(head.number, head.hash, self.reverts);
            self.count_durable();
            if last {
                let label = self.deps.label();
                let ahead = self.deps.live.head().block.map_or(0, |b| b.number.saturating_sub(head.number));
                let ahead = i64::try_from(ahead).unwrap_or(i64::MAX);
                self.deps.metrics.persist_backlog_blocks.with_label_values(&[&label]).set(ahead);
            }
        }
    }

    fn count_durable(&self) {
        let number = i64::try_from(self.deps.live.durable_block()).unwrap_or(i64::MAX);
        self.deps.metrics.durable_block.with_label_values(&[&self.deps.label()]).set(number);
    }
}

/// Memory knows its block, or let go of it when it was final. What was mended is taken before the head is: a block may have been
/// taken back in between, and writing it would turn its rival away.
fn may_be_canonical(head: &Head, record: &BlockRecord) -> bool {
    let at = head.window.partition_point(|r| r.block.number < record.block.number);
    record.block.number < head.window_floor || head.window.get(at).is_some_and(|r| r.block.hash == record.block.hash)
}

/// Records of one batch, ascending, and the head after it.
type Part = (Vec<Arc<BlockRecord>>, Option<BlockRef>);

/// Each part is small enough for one transaction, and final as a whole or not at all. What is new goes first: a block that only
/// gains something is durable already.
fn split(
    mut new: Vec<Arc<BlockRecord>>,
    amended: impl Iterator<Item = Arc<BlockRecord>>,
    finalized_number: u64,
    final_rows: usize,
) -> Vec<Part> {
    let first_new = new.first().map_or(u64::MAX, |r| r.block.number);
    let fresh = new.split_off(new.partition_point(|r| r.block.number <= finalized_number));
    let parts = cut(new.into_iter(), final_rows).into_iter().chain(cut(fresh.into_iter().chain(amended), BATCH_ROWS));
    parts
        .map(|mut records| {
            records.sort_by_key(|r| r.block.number);
            let head = records.last().map(|r| r.block).filter(|b| b.number >= first_new);
            (records, head)
        })
        .collect()
}

/// Parts of so many rows at most, or of one record.
fn cut(records: impl Iterator<Item = Arc<BlockRecord>>, rows_max: usize) -> Vec<Vec<Arc<BlockRecord>>> {
    let mut parts: Vec<Vec<Arc<BlockRecord>>> = Vec::new();
    let mut rows = 0usize;
    for record in records {
        rows = rows.saturating_add(record.rows.len());
        match parts.last_mut() {
            Some(part) if rows <= rows_max => part.push(record),
            _ => {
                rows = record.rows.len();
                parts.push(vec![record]);
            }
        }
    }
    parts
}

/// What would be lost with a batch that cannot be written; its records stay in the window.
fn side_of(batch: &WriteBatch) -> Side {
    Side {
        tokens: batch.tokens.iter().map(|t| (t.address, t.clone())).collect(),
        snapshots: batch.snapshots.iter().map(|s| (s.pool, s.clone())).collect(),
        candles: batch
            .candles
            .iter()
            .filter_map(|c| Some(((c.of, c.chunk.track(), c.chunk.span()?.0), c.chunk.clone())))
            .collect(),
        book: batch.book.clone(),
        sources: batch.sources.iter().cloned().collect(),
        amended: batch.records.iter().map(|r| (r.block.hash, r.clone())).collect(),
    }
}

/// Repeats what the store could not do, with back-off, until it can; while flushing only a few times.
async fn retrying<T>(
    deps: &Deps,
    flush: &CancellationToken,
    work: impl AsyncFn() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let mut pause = RETRY_FIRST;
    loop {
        match work().await {
            Err(StoreError::Unavailable(reason)) if !(flush.is_cancelled() && pause >= RETRY_MAX) => {
                deps.metrics.persist_errors_total.with_label_values(&[&deps.label()]).inc();
                tracing::warn!(%reason, retry_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX), "the store is tried again");
                tokio::time::sleep(pause).await;
                pause = pause.saturating_mul(2).min(RETRY_MAX);
            }
            other => return other,
        }
    }
}
