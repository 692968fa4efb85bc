//! A history that is a list.

use std::sync::{Arc, Mutex};

use alloy::primitives::B256;
use futures_util::future::BoxFuture;

use crate::{
    domain::{
        ChainId,
        block::BlockRef,
        market::{Candle, Period},
        pool::PoolMeta,
        record::{BlockRecord, BookSnapshot, EventAt},
    },
    store::{
        DataSource, History, StoreError,
        history::{Boot, PoolReplay, SeriesRange, Unenriched, WriteBatch},
        query::{EventQuery, Moment, Narrow, Place},
    },
};

/// A history that is a list of canonical records; it can be told to fail.
#[derive(Default)]
pub(super) struct ListHistory {
    records: Mutex<Vec<Arc<BlockRecord>>>,
    broken: Mutex<bool>,
    /// What was asked for, one entry for each question.
    pub(super) batches: Mutex<Vec<Vec<EventQuery>>>,
}

impl ListHistory {
    pub(super) fn set(&self, records: impl Iterator<Item = Arc<BlockRecord>>) {
        *self.records.lock().unwrap() = records.collect();
    }

    pub(super) fn break_it(&self) {
        *self.broken.lock().unwrap() = true;
    }

    fn matching(&self, query: &EventQuery) -> Result<Vec<EventAt>, StoreError> {
        if *self.broken.lock().unwrap() {
            return Err(StoreError::Unavailable("/secret/path.db is locked".to_owned()));
        }
        let records = self.records.lock().unwrap();
        let mut found: Vec<EventAt> = records
            .iter()
            .flat_map(|r| r.rows.iter().map(|row| EventAt { chain: r.chain, block: r.block, row: row.clone(), canonical: true }))
            .filter(|e| {
                let place = Place { block_number: e.block.number, log_index: e.row.log_index() };
                let narrow = match query.narrow {
                    Narrow::All => true,
                    Narrow::Pool(pool) => e.row.event.pool == pool,
                    Narrow::Transaction(hash) => e.row.event.raw.tx_hash == hash,
                    Narrow::Origin(origin) => e.row.enrichment.is_some_and(|n| n.origin == origin),
                    Narrow::Token(_) => false,
                };
                narrow
                    && e.row.kind() == query.kind
                    && query.after.is_none_or(|a| place > a)
                    && query.before.is_none_or(|b| place < b)
                    && query.time_from.is_none_or(|t| e.block.timestamp >= t)
                    && query.time_to.is_none_or(|t| e.block.timestamp < t)
            })
            .collect();
        if query.newest_first {
            found.reverse();
        }
        Ok(found)
    }
}

fn ready<'a, T: Send + 'a>(value: T) -> BoxFuture<'a, T> {
    Box::pin(std::future::ready(value))
}

impl History for ListHistory {
    fn source(&self) -> DataSource {
        DataSource::Sqlite
    }

    fn claim(&self, _: ChainId, _: B256) -> BoxFuture<'_, Result<(), StoreError>> {
        ready(Ok(()))
    }

    fn take_fence(&self, _: &str) -> BoxFuture<'_, Result<u64, StoreError>> {
        ready(Ok(1))
    }

    fn boot(&self, _: ChainId) -> BoxFuture<'_, Result<Boot, StoreError>> {
        ready(Ok(Boot::default()))
    }

    fn replay(&self, _: ChainId, _: Vec<PoolMeta>) -> BoxFuture<'_, Result<Vec<PoolReplay>, StoreError>> {
        ready(Ok(Vec::new()))
    }

    fn write(&self, _: WriteBatch) -> BoxFuture<'_, Result<(), StoreError>> {
        ready(Ok(()))
    }

    fn events(&self, query: EventQuery) -> BoxFuture<'_, Result<Vec<EventAt>, StoreError>> {
        self.batches.lock().unwrap().push(vec![query]);
        ready(self.matching(&query).map(|mut found| {
            found.truncate(query.limit);
            found
        }))
    }

    fn pages(&self, queries: Vec<EventQuery>) -> BoxFuture<'_, Result<Vec<Vec<EventAt>>, StoreError>> {
        self.batches.lock().unwrap().push(queries.clone());
        let page = |query: EventQuery| {
            self.matching(&query).map(|mut found| {
                found.truncate(query.limit);
                found
            })
        };
        ready(queries.into_iter().map(page).collect())
    }

    fn count(&self, query: EventQuery, cap: u64) -> BoxFuture<'_, Result<u64, StoreError>> {
        ready(self.matching(&query).map(|found| (found.len() as u64).min(cap)))
    }

    fn unenriched(&self, _: ChainId, _: u64, to: u64) -> BoxFuture<'_, Result<Unenriched, StoreError>> {
        ready(Ok(Unenriched { blocks: Vec::new(), next_block: to + 1 }))
    }

    fn block(&self, _: ChainId, hash: B256) -> BoxFuture<'_, Result<Option<(BlockRef, bool)>, StoreError>> {
        let found = self.records.lock().unwrap().iter().find(|record| record.block.hash == hash).map(|r| (r.block, true));
        ready(Ok(found))
    }

    fn record(&self, _: ChainId, hash: B256) -> BoxFuture<'_, Result<Option<BlockRecord>, StoreError>> {
        let found = self.records.lock().unwrap().iter().find(|r| r.block.hash == hash).map(|r| BlockRecord::clone(r));
        ready(Ok(found))
    }

    fn block_at(&self, _: ChainId, moment: Moment) -> BoxFuture<'_, Result<Option<BlockRef>, StoreError>> {
        let records = self.records.lock().unwrap();
        let before = |block: &BlockRef| match moment {
            Moment::Number(number) => block.number <= number,
            Moment::Time(time) => block.timestamp <= time,
        };
        let found = records.iter().map(|record| record.block).rfind(before);
        Box::pin(async move { Ok(found) })
    }

    fn candles(&self, _: SeriesRange) -> BoxFuture<'_, Result<Vec<Candle>, StoreError>> {
        ready(Ok(Vec::new()))
    }

    fn periods(&self, _: SeriesRange) -> BoxFuture<'_, Result<Vec<Period>, StoreError>> {
        ready(Ok(Vec::new()))
    }

    fn book(&self, _: ChainId) -> BoxFuture<'_, Result<Option<BookSnapshot>, StoreError>> {
        ready(Ok(None))
    }

    fn records(&self, _: ChainId, _: u64, _: usize) -> BoxFuture<'_, Result<Vec<BlockRecord>, StoreError>> {
        ready(Ok(Vec::new()))
    }

    fn log_counts(&self, _: ChainId) -> BoxFuture<'_, Result<(u64, u64), StoreError>> {
        ready(Ok((0, 0)))
    }
}
