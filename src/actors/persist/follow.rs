//! Of several instances one writes. The others see how far it is, keep what it may not come to, and take over.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Writer, retrying};
use crate::{
    actors::sources,
    domain::{block::BlockRef, record::ChunkOf},
    store::{Head, StoreError, history::WriteBatch},
};

/// How often somebody who does not write looks how far the store is.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Who takes over may be behind whoever wrote before: its node is.
const CATCH_UP_MAX: Duration = Duration::from_secs(10);

impl Writer {
    /// What the store has by now need not wait in memory. Trouble is told at the next look that has none.
    pub(super) async fn follow(&mut self) -> Result<(), StoreError> {
        self.fence = None;
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
        if let Some(block) = self.newest_stored(&head).await? {
            deps.live.set_durable(block.number, block.hash, head.reverts);
        }
        self.count_durable();
        let durable = *deps.live.watch_durable().borrow();
        let mut side = deps.live.take_side();
        // What memory mends it mends there, too.
        side.amended.retain(|_, record| record.block.number > durable);
        let waiting: Vec<ChunkOf> =
            side.candles.iter().map(|((of, ..), chunk)| ChunkOf { of: *of, chunk: chunk.clone() }).collect();
        let lacking = deps.history.lacks(deps.chain, waiting.clone()).await;
        if let Ok(lacking) = &lacking {
            let stored: Vec<ChunkOf> = waiting.into_iter().filter(|chunk| !lacking.contains(chunk)).collect();
            for ChunkOf { of, chunk } in &stored {
                side.candles.retain(|(whose, track, first), _| {
                    (whose, *track, Some(*first)) != (of, chunk.track(), chunk.span().map(|(first, _)| first))
                });
            }
            deps.live.stored_candles(&stored);
        }
        deps.live.return_side(side);
        deps.live.wrote_side();
        lacking.map(drop)
    }

    /// The newest block of ours that is stored as canonical: the head, or one with events. Of those without some are stored by one and not
    /// by another.
    async fn newest_stored(&self, head: &Head) -> Result<Option<BlockRef>, StoreError> {
        let durable = *self.deps.live.watch_durable().borrow();
        let is_stored = async |block: &BlockRef| -> Result<bool, StoreError> {
            Ok(self.deps.history.block(self.deps.chain, block.hash).await?.is_some_and(|(_, is_canonical)| is_canonical))
        };
        if let Some(tip) = head.block.filter(|tip| tip.number > durable)
            && is_stored(&tip).await?
        {
            return Ok(Some(tip));
        }
        let with_events = head.window.iter().filter(|record| !record.rows.is_empty()).map(|record| record.block);
        let above: Vec<BlockRef> = with_events.filter(|block| block.number > durable).collect();
        // Whoever writes writes in order: those that are stored come first.
        let (mut stored, mut missing) = (0_usize, above.len());
        while let Some(middle) = stored.checked_add(missing).map(|sum| sum / 2).filter(|middle| *middle < missing) {
            match above.get(middle) {
                Some(block) if is_stored(block).await? => stored = middle.saturating_add(1),
                _ => missing = middle,
            }
        }
        Ok(stored.checked_sub(1).and_then(|newest| above.get(newest)).copied())
    }

    /// Reads where the store is, and leaves nothing in it that says more than is there.
    pub(super) async fn take_over(&mut self, fence: u64, flush: &CancellationToken) -> Result<(), StoreError> {
        let deps = self.deps.clone();
        let boot = retrying(&deps, flush, async || deps.history.boot(deps.chain).await).await?;
        if let Some(stored) = boot.head {
            // A shorter chain would take back what is only not here yet.
            let mut epochs = deps.live.watch_epoch();
            let there = async {
                while deps.live.head().block.is_none_or(|ours| ours.number < stored.number) && epochs.changed().await.is_ok() {}
            };
            tokio::select! {
                outcome = tokio::time::timeout(CATCH_UP_MAX, there) => drop(outcome),
                () = flush.cancelled() => {}
            }
            // A source that joined with somebody else, and not here, has gaps from now on: it is read back from where it was.
            let left = sources::sort(&deps.joined.get(), &boot.sources).left;
            if !left.is_empty() {
                let batch = WriteBatch { fence, sources: left, finalized_number: boot.finalized_number, ..self.empty() };
                retrying(&deps, flush, async || deps.history.write(WriteBatch { fence, ..batch.clone() }).await).await?;
            }
        }
        self.durable = boot.window.iter().map(|record| (record.block.number, record.block.hash)).collect();
        self.head = boot.head.map(|block| (block.number, block.hash));
        self.fence = Some(fence);
        self.count_durable();
        deps.lease.begin(fence);
        Ok(())
    }
}
