//! What a commit is made of, and what readers see of it.

use std::{collections::BTreeMap, sync::Arc};

use alloy::primitives::{Address, B256, U256};
use tokio::time::Instant;

use crate::domain::{
    block::BlockRef,
    book::Book,
    image::PoolImage,
    market::{Chunk, Market, Subject, Track},
    pool::{PoolId, PoolMeta},
    reconcile::ChainUpdate,
    record::{BlockRecord, BookSnapshot, ChunkOf, PoolSnapshot},
    token::TokenMeta,
};

/// How far a pool's state can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PoolStatus {
    /// Equals the contract at the head of the epoch.
    Live,
    /// Its actor is being restarted: true at `held_at`, not after.
    Rebuilding,
    /// It kept failing and was given up; an operator has to look.
    Faulted,
}

/// One pool as of one epoch.
#[derive(Debug, Clone)]
pub struct PoolView {
    pub meta: Arc<PoolMeta>,
    pub image: PoolImage,
    /// Its trading so far.
    pub market: Arc<Market>,
    pub status: PoolStatus,
    /// The last block whose events are in `image`, where `status` is not `Live`.
    pub held_at: Option<BlockRef>,
    /// The block of the newest event that changed it.
    pub updated: BlockRef,
}

impl PoolView {
    /// What it holds of token0 and token1, raw units. `None`: not known.
    #[must_use]
    pub fn locked(&self) -> Option<(U256, U256)> {
        self.image.locked()
    }
}

/// P6: whether the answer is as new as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Freshness {
    Live,
    /// Catching up, or no block for `stall_timeout_ms`.
    Delayed,
    /// No block for three times that.
    Stale,
}

/// What a commit publishes beside pools and tokens.
#[derive(Debug, Clone)]
pub struct Head {
    pub epoch: u64,
    /// `None` before the first commit.
    pub block: Option<BlockRef>,
    /// What a unit of gas costs there at least, wei. `None`: the chain does not say, or nothing was followed since the start.
    pub base_fee_wei: Option<u64>,
    pub finalized_number: u64,
    /// The newest known head was reached at least once: what readiness asks.
    pub at_head: bool,
    /// Blocks came without frames on the way there: who waited for them is told when it is reached.
    pub untold: bool,
    /// This epoch is of the newest known head: what freshness asks.
    pub current: bool,
    /// When this epoch was committed.
    pub committed_at: Instant,
    /// How many commits took blocks back so far.
    pub reverts: u64,
    /// Canonical blocks, ascending. Complete from `window_floor` upwards; below it, `History` answers, unless the store is so far
    /// behind that memory had to let go of blocks that it lacks (`durable` below `window_floor` - 1).
    pub window: Arc<Vec<Arc<BlockRecord>>>,
    pub window_floor: u64,
    /// What tokens and factories traded, up to this block.
    pub book: Arc<Book>,
}

/// A whole chain update with everything it changes.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    pub update: ChainUpdate,
    /// Records of `update.revert`, newest first.
    pub reverted: Vec<Arc<BlockRecord>>,
    /// Records of `update.extend`, oldest first. In a backfill blocks without events are left out.
    pub extended: Vec<Arc<BlockRecord>>,
    /// New views; `None`: the block that created the pool was taken back.
    pub views: Vec<(PoolId, Option<Arc<PoolView>>)>,
    pub tokens: Vec<Arc<TokenMeta>>,
    /// `None`: as before.
    pub book: Option<Arc<Book>>,
    /// The block after the update.
    pub head: Option<BlockRef>,
    /// What a unit of gas costs there at least, wei.
    pub base_fee_wei: Option<u64>,
    pub finalized_number: u64,
    pub at_head: bool,
    /// Blocks whose rows gained something: a state after a pool was rebuilt, the events of a source that joined.
    pub amended: Vec<Arc<BlockRecord>>,
    /// Rows that the window may hold, final ones first to go; 0: no limit.
    pub window_rows_max: usize,
    /// Blocks without events were left out: whoever follows every block must subscribe anew.
    pub gap: bool,
    /// First catch-up: nobody is told, the first frame is the first block at the head.
    pub quiet: bool,
}

/// Pools, tokens and factories at a final block, and the candles and periods that closed before it.
#[derive(Debug, Default)]
pub struct Snapshots {
    pub pools: Vec<PoolSnapshot>,
    pub candles: Vec<ChunkOf>,
    pub book: Option<BookSnapshot>,
}

/// A book that was not written yet, and one of a later block: what is not in the later one did not change since.
pub(super) fn merge_books(older: Option<BookSnapshot>, newer: Option<BookSnapshot>) -> Option<BookSnapshot> {
    match (older, newer) {
        (Some(older), Some(mut newer)) => {
            for (of, market) in older.markets {
                newer.markets.entry(of).or_insert(market);
            }
            Some(newer)
        }
        (older, newer) => newer.or(older),
    }
}

/// What `Persist` writes beside records. Keyed, so that it stays small however long the store is away.
#[derive(Debug, Clone, Default)]
pub struct Side {
    pub tokens: BTreeMap<Address, Arc<TokenMeta>>,
    pub snapshots: BTreeMap<PoolId, PoolSnapshot>,
    /// By whose they are, track and beginning.
    pub candles: BTreeMap<(Subject, Track, u64), Arc<Chunk>>,
    pub book: Option<BookSnapshot>,
    pub sources: BTreeMap<String, u64>,
    pub amended: BTreeMap<B256, Arc<BlockRecord>>,
}

impl Side {
    /// Puts back what could not be written, unless something newer came meanwhile.
    pub fn merge_older(&mut self, older: Self) {
        for (k, v) in older.tokens {
            self.tokens.entry(k).or_insert(v);
        }
        for (k, v) in older.snapshots {
            self.snapshots.entry(k).or_insert(v);
        }
        for (k, v) in older.candles {
            self.candles.entry(k).or_insert(v);
        }
        self.book = merge_books(older.book, self.book.take());
        for (k, v) in older.sources {
            self.sources.entry(k).or_insert(v);
        }
        for (k, v) in older.amended {
            self.amended.entry(k).or_insert(v);
        }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
            && self.snapshots.is_empty()
            && self.candles.is_empty()
            && self.book.is_none()
            && self.sources.is_empty()
            && self.amended.is_empty()
    }
}
