//! What waits to be written beside records, and what of it was.

use super::{Live, relock};
use crate::{
    domain::{
        market::{Subject, Track},
        record::ChunkOf,
    },
    store::view::{Side, Snapshots, merge_books},
};

impl Live {
    /// What waits to be written beside records; the caller owns it now.
    #[must_use]
    pub fn take_side(&self) -> Side {
        std::mem::take(&mut *relock(&self.side))
    }

    /// Gives back a [`Side`] that could not be written.
    pub fn return_side(&self, older: Side) {
        relock(&self.side).merge_older(older);
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
        let mut side = relock(&self.side);
        side.snapshots.extend(pools.into_iter().map(|s| (s.pool, s)));
        let keyed = |c: ChunkOf| Some(((c.of, c.chunk.track(), c.chunk.span()?.0), c.chunk));
        side.candles.extend(candles.into_iter().filter_map(keyed));
        side.book = merge_books(side.book.take(), book);
        side.sources.extend(sources);
    }
}
