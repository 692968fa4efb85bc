//! What waits to be written beside records, and what of it was.

use super::{Live, relock};
use crate::{
    domain::{
        market::Interval,
        pool::PoolId,
        record::{PoolChunk, PoolSnapshot},
    },
    store::view::Side,
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
    pub fn stored_candles(&self, candles: &[PoolChunk]) {
        let last = |c: &PoolChunk| Some((c.pool, c.chunk.interval, c.chunk.span()?.1));
        relock(&self.stored).extend(candles.iter().filter_map(last));
    }

    /// What became stored since this was asked last: pool, interval, and where the last candle begins.
    #[must_use]
    pub fn take_stored(&self) -> Vec<(PoolId, Interval, u64)> {
        std::mem::take(&mut *relock(&self.stored))
    }

    /// Leaves snapshots, candles and source cursors for `Persist`.
    pub fn add_side(&self, snapshots: Vec<PoolSnapshot>, candles: Vec<PoolChunk>, sources: Vec<(String, u64)>) {
        let mut side = relock(&self.side);
        side.snapshots.extend(snapshots.into_iter().map(|s| (s.pool, s)));
        let keyed = |c: PoolChunk| Some(((c.pool, c.chunk.interval, c.chunk.span()?.0), c.chunk));
        side.candles.extend(candles.into_iter().filter_map(keyed));
        side.sources.extend(sources);
    }
}
