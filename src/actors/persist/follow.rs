//! Of several instances one writes. The others see how far it is, keep what it may not come to, and take over.

use std::{collections::BTreeSet, time::Duration};

use alloy::primitives::B256;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Writer, retrying};
use crate::{
    actors::sources,
    domain::{block::BlockRef, record::ChunkOf},
    store::{
        Head, StoreError,
        history::{Boot, WriteBatch},
    },
};

/// How often somebody who does not write looks how far the store is.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Another instance may have taken it over, and follow something else.
const LOOK_AT_SOURCES_EVERY: Duration = Duration::from_secs(60);
/// Who takes over may be behind whoever wrote before: its node is.
const CATCH_UP_MAX: Duration = Duration::from_secs(10);

impl Writer {
    /// What the store has by now need not wait in memory. Trouble is told at the next look that has none.
    pub(super) async fn follow(&mut self) -> Result<(), StoreError> {
        if self.fence.take().is_some() {
            self.looked = None;
        }
        match self.try_follow().await {
            Err(StoreError::Unavailable(reason)) => {
                tracing::debug!(%reason, "how far the store is cannot be seen now");
                Ok(())
            }
            outcome => outcome,
        }
    }

    async fn try_follow(&mut self) -> Result<(), StoreError> {
        let (deps, head) = (self.deps.clone(), self.deps.live.head());
        if self.looked.is_none_or(|looked| looked.elapsed() >= LOOK_AT_SOURCES_EVERY) {
            let boot = deps.history.boot(deps.chain).await?;
            self.looked = Some(Instant::now());
            if boot.head.is_some() && !self.follows_no_more_than(&boot) {
                tracing::warn!("whoever writes does not follow a source that this instance follows: starting over without it");
                deps.lease.declare_unfit();
                return Ok(());
            }
        }
        deps.live.see_durable(self.newest_stored(&head).await?);
        self.count_durable();
        let durable = *deps.live.watch_durable().borrow();
        let mut side = deps.live.take_side();
        // What memory mends it mends there, too. A snapshot of a writer and the rows since say what a newer one says.
        side.amended.retain(|_, record| record.block.number > durable);
        side.snapshots.clear();
        let waiting: Vec<ChunkOf> =
            side.candles.iter().map(|((of, ..), chunk)| ChunkOf { of: *of, chunk: chunk.clone() }).collect();
        let lacking = deps.history.lacks(deps.chain, waiting.clone()).await;
        if let Ok(lacking) = &lacking {
            let key = |chunk: &ChunkOf| Some((chunk.of, chunk.chunk.track(), chunk.chunk.span()?.0));
            let lacks: BTreeSet<_> = lacking.iter().filter_map(key).collect();
            side.candles.retain(|key, _| lacks.contains(key));
            let stored: Vec<ChunkOf> =
                waiting.into_iter().filter(|chunk| key(chunk).is_some_and(|key| !lacks.contains(&key))).collect();
            deps.live.stored_candles(&stored);
        }
        deps.live.return_side(side);
        deps.live.wrote_side();
        lacking.map(drop)
    }

    /// Every source that is followed here is followed by whoever writes: otherwise the store has blocks without its events, and they are not
    /// missed.
    fn follows_no_more_than(&self, boot: &Boot) -> bool {
        let joined = self.deps.joined.get();
        sources::followed(&joined, &boot.sources).len() == joined.len()
    }

    /// The newest block of ours that is stored as canonical: the head, or one with events; of those without some are stored by one and not
    /// by another. Where there is none of the window, what is below it.
    async fn newest_stored(&self, head: &Head) -> Result<u64, StoreError> {
        let is_stored = async |block: &BlockRef| -> Result<bool, StoreError> {
            Ok(self.deps.history.block(self.deps.chain, block.hash).await?.is_some_and(|(_, is_canonical)| is_canonical))
        };
        if let Some(tip) = head.block
            && is_stored(&tip).await?
        {
            return Ok(tip.number);
        }
        let known: Vec<BlockRef> =
            head.window.iter().filter(|record| !record.rows.is_empty()).map(|record| record.block).collect();
        // Whoever writes writes in order: those that are stored come first.
        let (mut stored, mut missing) = (0_usize, known.len());
        while let Some(middle) = stored.checked_add(missing).map(|sum| sum / 2).filter(|middle| *middle < missing) {
            match known.get(middle) {
                Some(block) if is_stored(block).await? => stored = middle.saturating_add(1),
                _ => missing = middle,
            }
        }
        let before = *self.deps.live.watch_durable().borrow();
        Ok(match (stored.checked_sub(1).and_then(|newest| known.get(newest)), known.first()) {
            (Some(newest), _) => newest.number,
            (None, Some(first)) => before.min(first.number.saturating_sub(1)),
            // Nothing happened: then nothing is lost, either.
            (None, None) => before,
        })
    }

    /// Reads where the store is, and leaves nothing in it that says more than is there. `false`: this instance does not write, because it
    /// ends or has to start over.
    pub(super) async fn take_over(&mut self, fence: u64, flush: &CancellationToken) -> Result<bool, StoreError> {
        let deps = self.deps.clone();
        let boot = retrying(&deps, flush, async || deps.history.boot(deps.chain).await).await?;
        // Otherwise memory is what was stored, and more.
        if let Some(stored) = boot.head.filter(|_| !deps.lease.was_read_with(fence))
            && !self.joins(fence, &boot, stored, flush).await?
        {
            return Ok(false);
        }
        self.durable = boot.window.iter().map(|record| (record.block.number, record.block.hash)).collect();
        self.head = boot.head.map(|block| (block.number, block.hash));
        self.fence = Some(fence);
        self.looked = None;
        self.count_durable();
        deps.lease.begin(fence);
        Ok(true)
    }

    /// Makes memory and store, to which another instance wrote, one again. `false`: they cannot be, or this is the end.
    async fn joins(&self, fence: u64, boot: &Boot, stored: BlockRef, flush: &CancellationToken) -> Result<bool, StoreError> {
        let deps = self.deps.clone();
        let reason = if deps.lease.is_unwritten() {
            Some("what it made of the store at its start was not written")
        } else if !self.follows_no_more_than(boot) {
            Some("whoever wrote before did not follow all sources that it follows")
        } else {
            None
        };
        if let Some(reason) = reason {
            tracing::warn!(
                "this instance is to write and cannot do so from what it has in memory ({reason}): starting over from the store"
            );
            deps.lease.declare_unfit();
            flush.cancelled().await;
            return Ok(false);
        }
        if !self.reaches(stored.number, flush).await {
            if !flush.is_cancelled() {
                tracing::warn!(
                    stored = stored.number,
                    "this instance is to write, and its node is behind what is stored: somebody else may"
                );
                deps.history.release(fence).await?;
                deps.lease.lose(fence);
            }
            return Ok(false);
        }
        let common = common(&deps.live.head(), boot, stored);
        tracing::info!(
            chain = deps.chain,
            stored = stored.number,
            common,
            window_from = deps.live.head().window_floor,
            "writing from here on"
        );
        deps.live.see_durable(common);
        // A source that joined with somebody else, and not here, has gaps from now on: it is read back from where it was.
        let left = sources::sort(&deps.joined.get(), &boot.sources).left;
        if !left.is_empty() {
            let batch = WriteBatch { fence, sources: left, finalized_number: boot.finalized_number, ..self.empty() };
            retrying(&deps, flush, async || deps.history.write(batch.clone()).await).await?;
        }
        Ok(true)
    }

    /// A shorter chain would take back what is only not here yet, and what is final with it.
    async fn reaches(&self, number: u64, flush: &CancellationToken) -> bool {
        let live = &self.deps.live;
        let mut epochs = live.watch_epoch();
        let is_there = || live.head().block.is_some_and(|ours| ours.number >= number);
        let there = async { while !is_there() && epochs.changed().await.is_ok() {} };
        tokio::select! {
            outcome = tokio::time::timeout(CATCH_UP_MAX, there) => drop(outcome),
            () = flush.cancelled() => {}
        }
        is_there()
    }
}

/// The newest block that memory and store have in common, as far as that is seen at once: otherwise the last that is final in the store. What
/// is between them is read from the chain again, and what is stored of another branch is found by that.
fn common(head: &Head, boot: &Boot, stored: BlockRef) -> u64 {
    if head.block.is_some_and(|ours| ours.hash == stored.hash) {
        return stored.number;
    }
    let Some(first) = head.window.first().map(|record| record.block) else {
        // Nothing happened in what memory holds: it begins above what is final.
        return stored.number.min(head.window_floor.saturating_sub(1));
    };
    let ours = |hash: &B256| *hash == first.parent_hash || head.window.iter().any(|record| record.block.hash == *hash);
    let newest = boot.window.iter().rev().map(|record| record.block).chain([stored]).filter(|block| ours(&block.hash));
    let below = boot.finalized_number.min(first.number.saturating_sub(1));
    newest.map(|block| block.number).max().unwrap_or(below)
}
