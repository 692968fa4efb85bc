//! What waits to be written beside records, and what of it was.

use std::sync::Arc;

use alloy::primitives::B256;

use super::{Live, relock};
use crate::{
    domain::{
        market::{Subject, Track},
        record::ChunkOf,
    },
    store::view::{Side, Snapshots, merge_books},
};

/// What waits to be written beside new records.
#[derive(Default)]
pub(super) struct Outbox {
    pub(super) side: Side,
    /// What was taken and is not written yet.
    under_way: Side,
}

impl Outbox {
    /// This block is not ours any more.
    pub(super) fn forget(&mut self, block: &B256) {
        self.side.amended.remove(block);
        self.under_way.amended.remove(block);
    }
}

/// The window is not cut above `floor` while this lives.
pub struct WindowHold {
    live: Arc<Live>,
    pub floor: u64,
}

impl Drop for WindowHold {
    fn drop(&mut self) {
        let mut holds = relock(&self.live.holds);
        if let Some(count) = holds.get_mut(&self.floor) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                holds.remove(&self.floor);
            }
        }
    }
}

impl Live {
    /// What waits to be written beside records; the caller owns it now, and says when it is done.
    #[must_use]
    pub fn take_side(&self) -> Side {
        let mut outbox = relock(&self.outbox);
        let side = std::mem::take(&mut outbox.side);
        outbox.under_way = side.clone();
        side
    }

    /// Told by `Persist` as it starts: what one before it took and never wrote is waiting again.
    pub fn reclaim_side(&self) {
        let mut outbox = relock(&self.outbox);
        let lost = std::mem::take(&mut outbox.under_way);
        outbox.side.merge_older(lost);
    }

    /// Gives back a [`Side`] that could not be written.
    pub fn return_side(&self, older: Side) {
        relock(&self.outbox).side.merge_older(older);
    }

    /// Told by `Persist`: everything that it took is in the store, or was returned.
    pub fn wrote_side(&self) {
        relock(&self.outbox).under_way = Side::default();
    }

    /// The lowest block with rows that gained something which is not in the store yet. Until it is, only the window has it.
    #[must_use]
    pub fn unwritten(&self) -> Option<u64> {
        let outbox = relock(&self.outbox);
        let amended = outbox.side.amended.values().chain(outbox.under_way.amended.values());
        amended.map(|record| record.block.number).min()
    }

    /// Keeps the window as deep as it is now. Only `window_rows_max` of a commit goes above it: memory is bounded first.
    #[must_use]
    pub fn hold_window(self: &Arc<Self>) -> WindowHold {
        // A commit that cuts the window holds this, too: the floor cannot move in between.
        let _writer = relock(&self.writer);
        let floor = self.head().window_floor;
        let mut holds = relock(&self.holds);
        let count = holds.entry(floor).or_insert(0);
        *count = count.saturating_add(1);
        WindowHold { live: self.clone(), floor }
    }

    pub(super) fn held(&self) -> Option<u64> {
        relock(&self.holds).keys().next().copied()
    }

    /// Told by `Persist`: the store has these candles, so memory need not.
    pub fn stored_candles(&self, candles: &[ChunkOf]) {
        let last = |c: &ChunkOf| Some((c.of, c.chunk.track(), c.chunk.span()?.1));
        relock(&self.stored).extend(candles.iter().filter_map(last));
    }

    /// What became stored since this was asked last: whose, which track, and where the last piece begins.
    #[must_use]
    pub fn take_stored(&self) -> Vec<(Subject, Track, u64)> {
        std::mem::take(&mut *relock(&self.stored))
    }

    /// Leaves snapshots, candles and source cursors for `Persist`.
    pub fn add_side(&self, snapshots: Snapshots, sources: Vec<(String, u64)>) {
        let Snapshots { pools, candles, book } = snapshots;
        let side = &mut relock(&self.outbox).side;
        side.snapshots.extend(pools.into_iter().map(|s| (s.pool, s)));
        let keyed = |c: ChunkOf| Some(((c.of, c.chunk.track(), c.chunk.span()?.0), c.chunk));
        side.candles.extend(candles.into_iter().filter_map(keyed));
        side.book = merge_books(side.book.take(), book);
        side.sources.extend(sources);
    }
}
