//! [`History`] on one SQLite file: the default, nothing to install.
//!
//! Read in this order: `schema.sql` (what is kept, and why each index is there), [`mod@write`] (one batch, one transaction), [`query`]
//! (the closed set of questions, one index each), [`read`] (what a restart needs), [`connections`] (who may use the file when),
//! [`open`] (how a file is looked at before anything touches it).
//!
//! Decoded events are kept relative to their raw log (see [`crate::store::codec`]): about ten bytes each. The other way, decoding
//! again on every read, would let a new version of `decode` silently change what old rows say; here `derive_version` tells.
//!
//! What is absent: any deletion on a revert, any state that is not in the file (but the keys of pools), any query without an
//! index.

mod book;
mod connections;
mod error;
mod inspect;
mod keep;
mod open;
mod query;
mod read;
mod row;
mod schema;
mod write;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use alloy::primitives::B256;
use futures_util::future::BoxFuture;

use self::{
    connections::{Connections, Memory, Writer, blocking},
    open::{Claims, Found},
};
pub use self::{inspect::inspect, keep::SqliteKeep};
use super::{
    history::{Boot, DataSource, History, PoolReplay, SeriesRange, StoreError, Unenriched, WriteBatch},
    query::{EventQuery, Moment},
};
use crate::{
    domain::{
        ChainId,
        block::BlockRef,
        market::{Candle, Period, Track},
        pool::PoolMeta,
        record::{BlockRecord, BookSnapshot, EventAt},
    },
    store::codec,
};

/// A database file. Share it as `Arc<dyn History>`.
pub struct SqliteHistory {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    state: Mutex<State>,
    /// Held while a chain claims the file, so that two of one process do not create it twice.
    claiming: Mutex<()>,
}

#[derive(Default)]
struct State {
    /// `None` until a chain has claimed the file: until then nothing is opened for writing.
    connections: Option<Arc<Connections>>,
    /// What this process has claimed.
    claims: Claims,
}

impl SqliteHistory {
    /// Looks at the path, and refuses what cannot become our database. Writes nothing: a file that does not exist is created by
    /// the first [`History::claim`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        open::look(path).map_err(|failure| failure.at(path))?;
        let shared = Shared { path: path.to_owned(), state: Mutex::default(), claiming: Mutex::default() };
        Ok(Self { shared: Arc::new(shared) })
    }
}

impl Shared {
    fn connections(&self) -> Result<Arc<Connections>, StoreError> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = || StoreError::Unavailable(format!("`{}` has not been claimed for a chain", self.path.display()));
        state.connections.clone().ok_or_else(missing)
    }

    /// Blocks: for a blocking thread only.
    fn claim(&self, chain: ChainId, genesis: B256) -> error::Result<()> {
        let _one_at_a_time = self.claiming.lock().unwrap_or_else(PoisonError::into_inner);
        let (connections, ours) = {
            let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            (state.connections.clone(), state.claims.clone())
        };
        let connections = match connections {
            Some(connections) => {
                connections.write_now(|tx, _| open::enter(tx, &self.path, &ours, chain, genesis))?;
                connections
            }
            None => {
                if let Found::Ours(there) = open::look(&self.path)? {
                    open::judge(&self.path, &there, &ours, chain, genesis)?;
                }
                let conn = open::writer(&self.path, chain, genesis)?;
                Arc::new(Connections::new(&self.path, Writer { conn, memory: Memory::default() }))
            }
        };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.connections = Some(connections);
        state.claims.insert(chain, genesis);
        Ok(())
    }
}

impl History for SqliteHistory {
    fn source(&self) -> DataSource {
        DataSource::Sqlite
    }

    fn claim(&self, chain: ChainId, genesis: B256) -> BoxFuture<'_, Result<(), StoreError>> {
        let shared = self.shared.clone();
        Box::pin(blocking(move || shared.claim(chain, genesis).map_err(|failure| failure.at(&shared.path))))
    }

    fn take_fence(&self, owner: &str) -> BoxFuture<'_, Result<u64, StoreError>> {
        let owner = owner.to_owned();
        Box::pin(async move { self.shared.connections()?.write(move |tx, _| write::take_fence(tx, &owner)).await })
    }

    fn boot(&self, chain: ChainId) -> BoxFuture<'_, Result<Boot, StoreError>> {
        Box::pin(async move { self.shared.connections()?.read(move |tx| read::boot(tx, chain)).await })
    }

    fn book(&self, chain: ChainId) -> BoxFuture<'_, Result<Option<BookSnapshot>, StoreError>> {
        Box::pin(async move { self.shared.connections()?.read(move |tx| book::read(tx, chain)).await })
    }

    fn replay(&self, chain: ChainId, pools: Vec<PoolMeta>) -> BoxFuture<'_, Result<Vec<PoolReplay>, StoreError>> {
        Box::pin(async move { self.shared.connections()?.read(move |tx| read::replay(tx, chain, &pools)).await })
    }

    fn write(&self, batch: WriteBatch) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { self.shared.connections()?.write(move |tx, memory| write::apply(tx, memory, &batch)).await })
    }

    fn events(&self, query: EventQuery) -> BoxFuture<'_, Result<Vec<EventAt>, StoreError>> {
        Box::pin(async move { self.shared.connections()?.read(move |tx| query::events(tx, &query)).await })
    }

    fn pages(&self, queries: Vec<EventQuery>) -> BoxFuture<'_, Result<Vec<Vec<EventAt>>, StoreError>> {
        let pages = move |tx: &rusqlite::Transaction<'_>| queries.iter().map(|query| query::events(tx, query)).collect();
        Box::pin(async move { self.shared.connections()?.read(pages).await })
    }

    fn count(&self, query: EventQuery, cap: u64) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(async move { self.shared.connections()?.read(move |tx| query::count(tx, &query, cap)).await })
    }

    fn unenriched(&self, chain: ChainId, from: u64, to: u64) -> BoxFuture<'_, Result<Unenriched, StoreError>> {
        Box::pin(async move { self.shared.connections()?.read(move |tx| read::unenriched(tx, chain, from, to)).await })
    }

    fn block(&self, chain: ChainId, hash: B256) -> BoxFuture<'_, Result<Option<(BlockRef, bool)>, StoreError>> {
        Box::pin(async move { self.shared.connections()?.read(move |tx| read::block(tx, chain, &hash)).await })
    }

    fn record(&self, chain: ChainId, hash: B256) -> BoxFuture<'_, Result<Option<BlockRecord>, StoreError>> {
        Box::pin(async move { self.shared.connections()?.read(move |tx| read::record(tx, chain, &hash)).await })
    }

    fn block_at(&self, chain: ChainId, moment: Moment) -> BoxFuture<'_, Result<Option<BlockRef>, StoreError>> {
        Box::pin(async move { self.shared.connections()?.read(move |tx| read::block_at(tx, chain, moment)).await })
    }

    fn candles(&self, range: SeriesRange) -> BoxFuture<'_, Result<Vec<Candle>, StoreError>> {
        let read = move |tx: &rusqlite::Transaction<'_>| book::pieces(tx, &range, Track::Candles, codec::decode_candles);
        Box::pin(async move { self.shared.connections()?.read(read).await })
    }

    fn periods(&self, range: SeriesRange) -> BoxFuture<'_, Result<Vec<Period>, StoreError>> {
        let read = move |tx: &rusqlite::Transaction<'_>| book::pieces(tx, &range, Track::Periods, codec::decode_periods);
        Box::pin(async move { self.shared.connections()?.read(read).await })
    }

    fn records(&self, chain: ChainId, from: u64, limit: usize) -> BoxFuture<'_, Result<Vec<BlockRecord>, StoreError>> {
        Box::pin(async move { self.shared.connections()?.read(move |tx| read::records(tx, chain, from, limit)).await })
    }

    fn log_counts(&self, chain: ChainId) -> BoxFuture<'_, Result<(u64, u64), StoreError>> {
        Box::pin(async move { self.shared.connections()?.read(move |tx| read::log_counts(tx, chain)).await })
    }
}

#[cfg(test)]
mod tests;
