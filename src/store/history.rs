//! `History`: what is durable. One trait, one conformance suite, two implementations: SQLite and MongoDB.

use std::sync::Arc;

use alloy::primitives::B256;
use futures_util::future::BoxFuture;

use super::{
    lease::{Leased, Owner},
    query::{EventQuery, Moment},
};
use crate::domain::{
    ChainId,
    block::BlockRef,
    market::{Candle, Interval, Period, Piece, Subject},
    pool::{PoolId, PoolMeta},
    record::{BlockRecord, BookSnapshot, ChunkOf, Enrichment, EventAt, PoolSnapshot},
    token::TokenMeta,
};

/// Which store answered; shown to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataSource {
    Memory,
    Sqlite,
    Mongodb,
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The database belongs to another chain, another genesis or a newer version. It was left untouched.
    #[error("{0}")]
    Foreign(String),
    /// Another process took the writer's fence; this one must not write any more.
    #[error("another process writes to this database now (fence {held} is newer than ours, {ours})")]
    Fenced { ours: u64, held: u64 },
    /// The store cannot be reached or refuses: worth trying again.
    #[error("the database cannot be used: {0}")]
    Unavailable(String),
    /// What is stored cannot be read back.
    #[error("the database holds something unreadable: {0}")]
    Corrupt(String),
}

/// One atomic write: all of it becomes visible, or none.
///
/// Applied in the order of the fields. Every part is harmless the second time: rows have a natural key (chain, block hash, log
/// index), a block that is already there is made canonical again (A-B-A), flips are idempotent.
#[derive(Debug, Clone, Default)]
pub struct WriteBatch {
    pub chain: ChainId,
    pub fence: u64,
    /// Blocks (with their rows and created pools) that are no longer canonical. Nothing is deleted.
    pub revert: Vec<B256>,
    /// Canonical blocks with rows, ascending. Where a row exists already, a missing `after` is filled in.
    pub records: Vec<Arc<BlockRecord>>,
    pub tokens: Vec<Arc<TokenMeta>>,
    /// Snapshots of these pools are deleted before anything of the batch is written: they are of another reading of the chain.
    pub forget_snapshots: Vec<PoolId>,
    pub snapshots: Vec<PoolSnapshot>,
    /// Each is written once and never changes; a second time changes nothing.
    pub candles: Vec<ChunkOf>,
    /// Everything that is kept of tokens and factories goes before anything of the batch is written.
    pub forget_book: bool,
    /// These markets take the place of those that are stored, and the others are true at its block too.
    pub book: Option<BookSnapshot>,
    /// The position after this batch; `None` leaves it.
    pub head: Option<BlockRef>,
    pub finalized_number: u64,
    /// `(source name, next block to read)`, one per factory, collection, feed.
    pub sources: Vec<(String, u64)>,
    /// What receipts said of rows that are stored without it.
    pub enriched: Vec<EnrichedBlock>,
    /// Orphans at or below this height are deleted where they became orphans before `purge_orphaned_before` (Unix seconds).
    pub purge_orphans: Option<PurgeOrphans>,
    /// Unix seconds, kept with the flips so that orphans can be purged by age.
    pub now: u64,
}

/// Transactions of one block, each with what its rows gain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrichedBlock {
    pub block: BlockRef,
    pub transactions: Vec<(B256, Enrichment)>,
}

/// Blocks with canonical rows that lack their enrichment, ascending, each with the transactions of those rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unenriched {
    pub blocks: Vec<(BlockRef, Vec<B256>)>,
    /// Everything below was looked at.
    pub next_block: u64,
}

#[derive(Debug, Clone, Copy)]
pub struct PurgeOrphans {
    pub final_number: u64,
    pub orphaned_before: u64,
}

/// What a restart needs, except rows of pools, which are asked for pool by pool.
#[derive(Debug, Clone, Default)]
pub struct Boot {
    /// `None`: nothing was stored yet.
    pub head: Option<BlockRef>,
    pub finalized_number: u64,
    /// Canonical pools, in order of creation.
    pub pools: Vec<PoolMeta>,
    pub tokens: Vec<TokenMeta>,
    pub sources: Vec<(String, u64)>,
    /// Canonical blocks above (and including) finalized with their rows, ascending: the undo window.
    pub window: Vec<BlockRecord>,
}

/// A pool's newest snapshot, and its canonical rows after it in chain order.
#[derive(Debug, Clone, Default)]
pub struct PoolReplay {
    pub snapshot: Option<PoolSnapshot>,
    pub rows: Vec<EventAt>,
}

/// Which stored candles or periods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeriesRange {
    pub chain: ChainId,
    pub of: Subject,
    pub interval: Interval,
    /// Unix seconds.
    pub from: u64,
    /// Exclusive.
    pub to: u64,
    /// So many of the newest are enough.
    pub newest: usize,
}

impl SeriesRange {
    /// These chunks, newest first, hold as many as are wanted.
    #[must_use]
    pub fn suffices<C: Piece>(&self, newest_first: &[Vec<C>]) -> bool {
        self.newest < usize::MAX
            && newest_first.iter().flatten().filter(|piece| piece.start() < self.to).take(self.newest).count() >= self.newest
    }

    /// Pieces of chunks that were read newest first: those in the range, and the newest before it.
    #[must_use]
    pub fn pieces<C: Piece>(&self, newest_first: Vec<Vec<C>>) -> Vec<C> {
        let mut pieces: Vec<C> = newest_first.into_iter().rev().flatten().filter(|c| c.start() < self.to).collect();
        let within = pieces.partition_point(|c| c.start() < self.from);
        pieces.drain(..within.saturating_sub(1));
        pieces
    }
}

/// The durable side. All methods may be called from any task.
pub trait History: Send + Sync + 'static {
    fn source(&self) -> DataSource;

    /// Binds an empty database to this chain, or checks that it is the same chain and genesis. Writes nothing when it is not.
    fn claim(&self, chain: ChainId, genesis: B256) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Takes the writer's fence: every older one is refused from now on. Tokens grow.
    fn take_fence(&self, owner: &str) -> BoxFuture<'_, Result<u64, StoreError>>;

    /// Whether other instances may work on it at the same time; then one of them holds the lease, and writes.
    fn is_shared(&self) -> bool {
        false
    }

    /// The fence for [`LEASE`](super::lease::LEASE), where nobody has it, where its holder is a process that is no more, or where its time is over and was so
    /// already when its term, `over`, was seen before. Otherwise whose it is. A store that is not shared is taken from whoever has it.
    fn lease(&self, owner: &Owner, over: Option<u64>) -> BoxFuture<'_, Result<Leased, StoreError>> {
        let (owner, _) = (owner.to_string(), over);
        Box::pin(async move { Ok(Leased::Ours(self.take_fence(&owner).await?)) })
    }

    /// For [`LEASE`](super::lease::LEASE) from now on.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] where another instance took it.
    fn renew(&self, _fence: u64) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async { Ok(()) })
    }

    /// Whoever comes may have it at once.
    fn release(&self, _fence: u64) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async { Ok(()) })
    }

    /// Those of these chunks that are not stored. One that is not shared is only asked for what it was told by whoever asks: all.
    fn lacks(&self, _chain: ChainId, candles: Vec<ChunkOf>) -> BoxFuture<'_, Result<Vec<ChunkOf>, StoreError>> {
        Box::pin(async move { Ok(candles) })
    }

    fn boot(&self, chain: ChainId) -> BoxFuture<'_, Result<Boot, StoreError>>;

    /// Markets of tokens and factories, all of them. `None`: there are none, or an older version wrote the database.
    fn book(&self, chain: ChainId) -> BoxFuture<'_, Result<Option<BookSnapshot>, StoreError>>;

    /// Snapshot and rows of each of these pools, in the order asked.
    fn replay(&self, chain: ChainId, pools: Vec<PoolMeta>) -> BoxFuture<'_, Result<Vec<PoolReplay>, StoreError>>;

    fn write(&self, batch: WriteBatch) -> BoxFuture<'_, Result<(), StoreError>>;

    /// At most `query.limit` events, newest or oldest first. Canonical ones only.
    fn events(&self, query: EventQuery) -> BoxFuture<'_, Result<Vec<EventAt>, StoreError>>;

    /// Several pages, in the order asked, each as [`History::events`] answers it. One question to the store, however many there are:
    /// one read transaction, or one command for each few hundred.
    fn pages(&self, queries: Vec<EventQuery>) -> BoxFuture<'_, Result<Vec<Vec<EventAt>>, StoreError>>;

    /// Counts what `query` matches, but at most `cap`.
    fn count(&self, query: EventQuery, cap: u64) -> BoxFuture<'_, Result<u64, StoreError>>;

    /// What is to be enriched of the blocks `from..=to`: some hundreds of blocks at most, at least one where there is one.
    fn unenriched(&self, chain: ChainId, from: u64, to: u64) -> BoxFuture<'_, Result<Unenriched, StoreError>>;

    /// A stored block by hash, with whether it is canonical.
    fn block(&self, chain: ChainId, hash: B256) -> BoxFuture<'_, Result<Option<(BlockRef, bool)>, StoreError>>;

    /// A stored block by hash with its rows, whichever branch it is on; without what it created.
    fn record(&self, chain: ChainId, hash: B256) -> BoxFuture<'_, Result<Option<BlockRecord>, StoreError>>;

    /// The newest canonical block at a moment: of that height or a lower one, or of that time or an earlier one.
    fn block_at(&self, chain: ChainId, moment: Moment) -> BoxFuture<'_, Result<Option<BlockRef>, StoreError>>;

    /// Stored candles that begin within `from..to`, and the newest before, oldest first: those of the chunks that are needed.
    fn candles(&self, range: SeriesRange) -> BoxFuture<'_, Result<Vec<Candle>, StoreError>>;

    /// The same of periods.
    fn periods(&self, range: SeriesRange) -> BoxFuture<'_, Result<Vec<Period>, StoreError>>;

    /// The first `limit` canonical blocks from a height on, with their rows; without what they created.
    fn records(&self, chain: ChainId, from: u64, limit: usize) -> BoxFuture<'_, Result<Vec<BlockRecord>, StoreError>>;

    /// Rows in all, and of those canonical, in chain logs (a folded `Sync` counts): what P1 is checked with.
    fn log_counts(&self, chain: ChainId) -> BoxFuture<'_, Result<(u64, u64), StoreError>>;
}
