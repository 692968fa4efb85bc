//! A store with something between it and its writer: how tests make trouble. Nothing else uses it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use alloy::primitives::B256;
use futures_util::future::BoxFuture;

use super::{
    history::{Boot, DataSource, History, PoolReplay, SeriesRange, StoreError, Unenriched, WriteBatch},
    query::{EventQuery, Moment},
};
use crate::domain::{
    ChainId,
    block::BlockRef,
    market::{Candle, Period},
    pool::PoolMeta,
    record::{BlockRecord, BookSnapshot, EventAt},
};

/// Hands every write to `write`, which may delay it, refuse it, or lose its answer; everything else goes straight through.
pub struct Between<W> {
    inner: Arc<dyn History>,
    write: W,
}

impl<W> Between<W>
where
    W: Fn(Arc<dyn History>, WriteBatch) -> BoxFuture<'static, Result<(), StoreError>> + Send + Sync + 'static,
{
    #[must_use]
    pub fn new(inner: Arc<dyn History>, write: W) -> Self {
        Self { inner, write }
    }
}

/// A store whose writes fail while the switch is on.
#[must_use]
pub fn switched(inner: Arc<dyn History>) -> (Arc<dyn History>, Arc<AtomicBool>) {
    let off = Arc::new(AtomicBool::new(false));
    let switch = off.clone();
    let store = Between::new(inner, move |inner, batch| {
        let off = off.load(Ordering::Acquire);
        Box::pin(
            async move { if off { Err(StoreError::Unavailable("switched off".to_owned())) } else { inner.write(batch).await } },
        )
    });
    (Arc::new(store), switch)
}

impl<W> History for Between<W>
where
    W: Fn(Arc<dyn History>, WriteBatch) -> BoxFuture<'static, Result<(), StoreError>> + Send + Sync + 'static,
{
    fn source(&self) -> DataSource {
        self.inner.source()
    }

    fn claim(&self, chain: ChainId, genesis: B256) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.claim(chain, genesis)
    }

    fn take_fence(&self, owner: &str) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.inner.take_fence(owner)
    }

    fn boot(&self, chain: ChainId) -> BoxFuture<'_, Result<Boot, StoreError>> {
        self.inner.boot(chain)
    }

    fn book(&self, chain: ChainId) -> BoxFuture<'_, Result<Option<BookSnapshot>, StoreError>> {
        self.inner.book(chain)
    }

    fn replay(&self, chain: ChainId, pools: Vec<PoolMeta>) -> BoxFuture<'_, Result<Vec<PoolReplay>, StoreError>> {
        self.inner.replay(chain, pools)
    }

    fn write(&self, batch: WriteBatch) -> BoxFuture<'_, Result<(), StoreError>> {
        (self.write)(self.inner.clone(), batch)
    }

    fn events(&self, query: EventQuery) -> BoxFuture<'_, Result<Vec<EventAt>, StoreError>> {
        self.inner.events(query)
    }

    fn pages(&self, queries: Vec<EventQuery>) -> BoxFuture<'_, Result<Vec<Vec<EventAt>>, StoreError>> {
        self.inner.pages(queries)
    }

    fn count(&self, query: EventQuery, cap: u64) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.inner.count(query, cap)
    }

    fn unenriched(&self, chain: ChainId, from: u64, to: u64) -> BoxFuture<'_, Result<Unenriched, StoreError>> {
        self.inner.unenriched(chain, from, to)
    }

    fn block(&self, chain: ChainId, hash: B256) -> BoxFuture<'_, Result<Option<(BlockRef, bool)>, StoreError>> {
        self.inner.block(chain, hash)
    }

    fn record(&self, chain: ChainId, hash: B256) -> BoxFuture<'_, Result<Option<BlockRecord>, StoreError>> {
        self.inner.record(chain, hash)
    }

    fn block_at(&self, chain: ChainId, moment: Moment) -> BoxFuture<'_, Result<Option<BlockRef>, StoreError>> {
        self.inner.block_at(chain, moment)
    }

    fn candles(&self, range: SeriesRange) -> BoxFuture<'_, Result<Vec<Candle>, StoreError>> {
        self.inner.candles(range)
    }

    fn periods(&self, range: SeriesRange) -> BoxFuture<'_, Result<Vec<Period>, StoreError>> {
        self.inner.periods(range)
    }

    fn records(&self, chain: ChainId, from: u64, limit: usize) -> BoxFuture<'_, Result<Vec<BlockRecord>, StoreError>> {
        self.inner.records(chain, from, limit)
    }

    fn log_counts(&self, chain: ChainId) -> BoxFuture<'_, Result<(u64, u64), StoreError>> {
        self.inner.log_counts(chain)
    }
}
