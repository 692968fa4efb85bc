//! [`History`] on MongoDB: production, and several processes over one database.
//!
//! Read in this order: `docs/data-model.md` (what is kept, and why each index is there), [`schema`] (collections, indexes,
//! versions), [`key`] (an `_id` is a place in the chain), [`mod@write`] and [`plan`] (one batch), [`query`] (the closed set of questions, one
//! index each), [`mod@pages`] (many of them in one command), [`read`] (what a restart needs), [`connect`] (which server, how patiently).
//!
//! What is absent: any deletion on a revert, any query without an index, any sort that an index does not give.

mod book;
mod command;
mod connect;
mod error;
mod events;
mod inspect;
mod keep;
mod key;
mod pages;
mod parts;
mod plan;
mod query;
mod read;
mod row;
mod schema;
mod snapshot;
mod write;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use alloy::primitives::{Address, B256};
use dashmap::DashMap;
use futures_util::future::BoxFuture;
use mongodb::{
    Client, ClientSession, Collection, Database,
    bson::{Document, RawDocumentBuf, doc, oid::ObjectId},
    options::ReturnDocument,
};

pub use self::{connect::MongoConfig, inspect::inspect, keep::MongoKeep};
use self::{
    error::{Failure, Result, corrupt},
    schema::{CHAINS, HEADS, META},
};
use super::{
    codec,
    history::{Boot, DataSource, History, PoolReplay, SeriesRange, StoreError, Unenriched, WriteBatch},
    lease::{LEASE, Leased, Owner},
    query::{EventQuery, Moment},
};
use crate::domain::{
    ChainId,
    block::BlockRef,
    market::{Candle, Period, Track},
    pool::{PoolId, PoolMeta},
    record::{BlockRecord, BookSnapshot, ChunkOf, EventAt},
};

/// Sessions in the fence's document. A writer has one per chain; a few more after outages.
const SESSIONS_REMEMBERED: i32 = 16;

/// A MongoDB database. Share it as `Arc<dyn History>`.
pub struct MongoHistory {
    store: Arc<Store>,
}

struct Store {
    client: Client,
    database: Database,
    /// Tokens of pools: each row carries them.
    tokens: DashMap<(ChainId, PoolId), (Address, Address)>,
    /// What this process has claimed.
    claims: Mutex<BTreeMap<ChainId, B256>>,
    /// Sessions of transactions that are not in use: one per chain that writes at once.
    sessions: Mutex<Vec<ClientSession>>,
    now_unix_s: fn() -> u64,
}

impl MongoHistory {
    /// Reads the URI and looks the hosts of a `mongodb+srv` up. Connects with the first [`History::claim`].
    ///
    /// # Errors
    /// Where the URI is none, or its name cannot be looked up. Never names the password.
    pub async fn open(config: MongoConfig) -> std::result::Result<Self, StoreError> {
        let now_unix_s = config.now_unix_s;
        let (client, database) = connect::client(config).await.map_err(Failure::told)?;
        let (tokens, claims, sessions) = (DashMap::new(), Mutex::default(), Mutex::default());
        Ok(Self { store: Arc::new(Store { client, database, tokens, claims, sessions, now_unix_s }) })
    }

    /// Why no server takes writes; `None`: one does.
    ///
    /// # Errors
    /// Where there is one, and it refuses us.
    pub async fn away(&self) -> std::result::Result<Option<String>, StoreError> {
        match self.store.database.run_command(doc! { "ping": 1 }).await.map_err(Failure::from) {
            Ok(_) => Ok(None),
            Err(failure) if failure.is_away() => Ok(Some(failure.told().to_string())),
            Err(failure) => Err(failure.told()),
        }
    }
}

impl Store {
    fn collection(&self, name: &str) -> Collection<RawDocumentBuf> {
        schema::collection(&self.database, name)
    }

    fn tokens_of(&self, chain: ChainId, pool: &PoolId) -> Option<(Address, Address)> {
        self.tokens.get(&(chain, *pool)).map(|found| *found)
    }

    fn learn<'a>(&self, chain: ChainId, pools: impl IntoIterator<Item = &'a PoolMeta>) {
        for pool in pools {
            self.tokens.insert((chain, pool.id), (pool.token0, pool.token1));
        }
    }

    async fn claim(&self, chain: ChainId, genesis: B256) -> Result<()> {
        if schema::check(&self.database).await?.is_some() {
            self.judge(chain, genesis).await?;
        }
        let now = self.now_unix_s;
        let owner = ObjectId::new().to_hex();
        schema::migrate(&self.database, &owner, || now().cast_signed()).await?;
        let entry = doc! { "_id": chain.cast_signed(), "genesis": key::binary(genesis.as_slice()) };
        present(self.database.collection::<Document>(CHAINS).insert_one(entry).await)?;
        let heads = self.database.collection::<Document>(HEADS);
        if heads.find_one(doc! { "_id": chain.cast_signed() }).await?.is_none() {
            present(heads.insert_one(doc! { "_id": chain.cast_signed(), "finalized_number": 0_i64 }).await)?;
        }
        // Somebody may have entered it between the look and the insert.
        self.judge(chain, genesis).await?;
        for (pool, tokens) in read::known_pools(self, chain).await? {
            self.tokens.insert((chain, pool), tokens);
        }
        self.claims.lock().unwrap_or_else(PoisonError::into_inner).insert(chain, genesis);
        Ok(())
    }

    fn meta(&self) -> Collection<Document> {
        self.database.collection(META)
    }

    async fn judge(&self, chain: ChainId, genesis: B256) -> Result<()> {
        let there = schema::claims(&self.database).await?.into_iter().collect();
        let ours = self.claims.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(judge(self.database.name(), &there, &ours, chain, genesis)?)
    }

    /// A transaction that was cut off with its process would hold what it wrote for a minute: it is ended.
    async fn end_sessions(&self, fence: &Document) {
        if let Ok(sessions) = fence.get_array("sessions")
            && !sessions.is_empty()
            && let Err(error) = self.client.database("admin").run_command(doc! { "killSessions": sessions.clone() }).await
        {
            let error = Failure::from(error).told();
            tracing::warn!(%error, "open transactions of the writer before could not be ended; the server does it within a minute");
        }
    }

    async fn take_fence(&self, owner: &str) -> Result<u64> {
        // Those of a time when we had it before are in nobody's list.
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let meta = self.meta();
        let before = meta.find_one(doc! { "_id": "fence" }).await?.unwrap_or_default();
        self.end_sessions(&before).await;
        // Waits for a transaction that is still open: each of them has written this document.
        let change = doc! { "$inc": { "token": 1_i64 }, "$set": { "owner": owner, "sessions": [] } };
        let taken = meta.find_one_and_update(doc! { "_id": "fence" }, change).upsert(true).return_document(ReturnDocument::After);
        let token = taken.await?.and_then(|found| found.get_i64("token").ok());
        token.map(i64::cast_unsigned).ok_or_else(|| corrupt("a fence without its token"))
    }

    /// In a document of its own, which no transaction writes: renewing it waits for nobody. The clock is the server's, `$$NOW`.
    async fn lease(&self, owner: &Owner, over: Option<u64>) -> Result<Leased> {
        let meta = self.meta();
        present(meta.insert_one(doc! { "_id": "lease", "term": 0_i64 }).await)?;
        let is_over = doc! { "$not": [{ "$gt": ["$until", "$$NOW"] }] };
        let look = doc! { "term": 1, "owner": 1, "until": 1, "over": is_over };
        let found = meta.find_one(doc! { "_id": "lease" }).projection(look).await?.ok_or_else(|| corrupt("no lease"))?;
        let term = found.get_i64("term").map_err(|_| corrupt("a lease without its term"))?;
        let holder = found.get_str("owner").unwrap_or("somebody").to_owned();
        let theirs = |is_over| Leased::Theirs { owner: holder.clone(), term: term.cast_unsigned(), over: is_over };
        let (until, is_over) = (found.get("until").cloned(), found.get_bool("over").unwrap_or(false));
        if until.is_some() && !owner.outlived(&holder) && !(is_over && over == Some(term.cast_unsigned())) {
            return Ok(theirs(is_over));
        }
        // As it was when we looked: whoever was faster, or renewed it, has it.
        let as_seen = doc! { "_id": "lease", "term": term, "until": until.unwrap_or_else(|| doc! { "$exists": false }.into()) };
        let ours =
            doc! { "term": { "$add": ["$term", 1_i64] }, "owner": { "$literal": owner.to_string() }, "until": lease_end() };
        if meta.update_one(as_seen, vec![doc! { "$set": ours }, doc! { "$unset": "fence" }]).await?.matched_count == 0 {
            return Ok(theirs(false));
        }
        let fence = self.take_fence(&owner.to_string()).await?;
        let ours = doc! { "_id": "lease", "term": term.saturating_add(1) };
        let held = meta.update_one(ours, doc! { "$set": { "fence": key::int(fence)? } }).await?;
        // It took longer than a lease, and somebody has the next one.
        Ok(if held.matched_count > 0 { Leased::Ours(fence) } else { theirs(false) })
    }

    async fn renew(&self, fence: u64) -> Result<()> {
        // One that was given back stays so.
        let ours = doc! { "_id": "lease", "fence": key::int(fence)?, "until": { "$exists": true } };
        if self.meta().update_one(ours, vec![doc! { "$set": { "until": lease_end() } }]).await?.matched_count > 0 {
            return Ok(());
        }
        let found = self.meta().find_one(doc! { "_id": "fence" }).await?;
        let held = found.and_then(|found| found.get_i64("token").ok()).unwrap_or(0).cast_unsigned();
        Err(StoreError::Fenced { ours: fence, held }.into())
    }

    async fn release(&self, fence: u64) -> Result<()> {
        let ours = doc! { "_id": "lease", "fence": key::int(fence)? };
        self.meta().update_one(ours, doc! { "$unset": { "until": "" } }).await?;
        Ok(())
    }

    /// A session for a transaction; whoever takes the fence next knows it by its id.
    async fn session(&self) -> Result<ClientSession> {
        let idle = self.sessions.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(session) = idle {
            return Ok(session);
        }
        let session = self.client.start_session().await?;
        let entry = doc! { "$each": [session.id().clone()], "$slice": -SESSIONS_REMEMBERED };
        self.meta().update_one(doc! { "_id": "fence" }, doc! { "$push": { "sessions": entry } }).await?;
        Ok(session)
    }

    fn give_back(&self, session: ClientSession) {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).push(session);
    }
}

/// By the server's clock.
fn lease_end() -> Document {
    doc! { "$add": ["$$NOW", i64::try_from(LEASE.as_millis()).unwrap_or(i64::MAX)] }
}

/// A chain may join a database only beside chains that this process serves too: otherwise somebody changed the chain and forgot
/// the database.
fn judge(
    name: &str,
    there: &BTreeMap<ChainId, B256>,
    ours: &BTreeMap<ChainId, B256>,
    chain: ChainId,
    genesis: B256,
) -> std::result::Result<(), StoreError> {
    let text = match there.get(&chain) {
        Some(held) if *held == genesis => return Ok(()),
        Some(held) => format!(
            "the MongoDB database `{name}` was filled from another chain {chain}: its genesis is {held}, the node's is {genesis} (a restarted \
             test chain?). Drop it, or name another one in [store] url"
        ),
        None => match there.keys().find(|id| !ours.contains_key(id)) {
            None => return Ok(()),
            Some(other) => format!(
                "the MongoDB database `{name}` belongs to chain {other}, and chain {chain} is asked for: name another database in [store] url"
            ),
        },
    };
    Err(StoreError::Foreign(text))
}

/// A document that is there already is as good.
fn present<T>(inserted: mongodb::error::Result<T>) -> Result<()> {
    match inserted.map_err(Failure::from) {
        Err(failure) if !failure.is_duplicate() => Err(failure),
        _ => Ok(()),
    }
}

impl History for MongoHistory {
    fn source(&self) -> DataSource {
        DataSource::Mongodb
    }

    fn claim(&self, chain: ChainId, genesis: B256) -> BoxFuture<'_, std::result::Result<(), StoreError>> {
        Box::pin(async move { self.store.claim(chain, genesis).await.map_err(Failure::told) })
    }

    fn take_fence(&self, owner: &str) -> BoxFuture<'_, std::result::Result<u64, StoreError>> {
        let owner = owner.to_owned();
        Box::pin(async move { self.store.take_fence(&owner).await.map_err(Failure::told) })
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn lease(&self, owner: &Owner, over: Option<u64>) -> BoxFuture<'_, std::result::Result<Leased, StoreError>> {
        let owner = owner.clone();
        Box::pin(async move { self.store.lease(&owner, over).await.map_err(Failure::told) })
    }

    fn renew(&self, fence: u64) -> BoxFuture<'_, std::result::Result<(), StoreError>> {
        Box::pin(async move { self.store.renew(fence).await.map_err(Failure::told) })
    }

    fn release(&self, fence: u64) -> BoxFuture<'_, std::result::Result<(), StoreError>> {
        Box::pin(async move { self.store.release(fence).await.map_err(Failure::told) })
    }

    fn lacks(&self, chain: ChainId, candles: Vec<ChunkOf>) -> BoxFuture<'_, std::result::Result<Vec<ChunkOf>, StoreError>> {
        Box::pin(async move { book::lacks(&self.store, chain, candles).await.map_err(Failure::told) })
    }

    fn boot(&self, chain: ChainId) -> BoxFuture<'_, std::result::Result<Boot, StoreError>> {
        Box::pin(async move { read::boot(&self.store, chain).await.map_err(Failure::told) })
    }

    fn book(&self, chain: ChainId) -> BoxFuture<'_, std::result::Result<Option<BookSnapshot>, StoreError>> {
        Box::pin(async move { read::book(&self.store, chain).await.map_err(Failure::told) })
    }

    fn replay(&self, chain: ChainId, pools: Vec<PoolMeta>) -> BoxFuture<'_, std::result::Result<Vec<PoolReplay>, StoreError>> {
        Box::pin(async move { read::replay(&self.store, chain, &pools).await.map_err(Failure::told) })
    }

    /// Carried to its end, even where the caller stops waiting: a transaction that is left in the middle holds the fence for a minute,
    /// and the flush of a stop waits for it.
    fn write(&self, batch: WriteBatch) -> BoxFuture<'_, std::result::Result<(), StoreError>> {
        let store = self.store.clone();
        Box::pin(async move {
            let task = tokio::spawn(async move { write::apply(&store, &batch).await.map_err(Failure::told) });
            task.await.unwrap_or_else(|error| match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(error) => Err(StoreError::Unavailable(format!("a write to MongoDB did not end ({error})"))),
            })
        })
    }

    fn events(&self, query: EventQuery) -> BoxFuture<'_, std::result::Result<Vec<EventAt>, StoreError>> {
        Box::pin(async move { query::events(&self.store, &query).await.map_err(Failure::told) })
    }

    fn pages(&self, queries: Vec<EventQuery>) -> BoxFuture<'_, std::result::Result<Vec<Vec<EventAt>>, StoreError>> {
        Box::pin(async move { pages::pages(&self.store, &queries).await.map_err(Failure::told) })
    }

    fn count(&self, query: EventQuery, cap: u64) -> BoxFuture<'_, std::result::Result<u64, StoreError>> {
        Box::pin(async move { query::count(&self.store, &query, cap).await.map_err(Failure::told) })
    }

    fn unenriched(&self, chain: ChainId, from: u64, to: u64) -> BoxFuture<'_, std::result::Result<Unenriched, StoreError>> {
        Box::pin(async move { read::unenriched(&self.store, chain, from, to).await.map_err(Failure::told) })
    }

    fn block(&self, chain: ChainId, hash: B256) -> BoxFuture<'_, std::result::Result<Option<(BlockRef, bool)>, StoreError>> {
        Box::pin(async move { read::block(&self.store, chain, &hash).await.map_err(Failure::told) })
    }

    fn record(&self, chain: ChainId, hash: B256) -> BoxFuture<'_, std::result::Result<Option<BlockRecord>, StoreError>> {
        Box::pin(async move { read::record(&self.store, chain, &hash).await.map_err(Failure::told) })
    }

    fn block_at(&self, chain: ChainId, moment: Moment) -> BoxFuture<'_, std::result::Result<Option<BlockRef>, StoreError>> {
        Box::pin(async move { read::block_at(&self.store, chain, moment).await.map_err(Failure::told) })
    }

    fn candles(&self, range: SeriesRange) -> BoxFuture<'_, std::result::Result<Vec<Candle>, StoreError>> {
        Box::pin(
            async move { book::pieces(&self.store, &range, Track::Candles, codec::decode_candles).await.map_err(Failure::told) },
        )
    }

    fn periods(&self, range: SeriesRange) -> BoxFuture<'_, std::result::Result<Vec<Period>, StoreError>> {
        Box::pin(
            async move { book::pieces(&self.store, &range, Track::Periods, codec::decode_periods).await.map_err(Failure::told) },
        )
    }

    fn records(
        &self,
        chain: ChainId,
        from: u64,
        limit: usize,
    ) -> BoxFuture<'_, std::result::Result<Vec<BlockRecord>, StoreError>> {
        Box::pin(async move { read::records(&self.store, chain, from, limit).await.map_err(Failure::told) })
    }

    fn log_counts(&self, chain: ChainId) -> BoxFuture<'_, std::result::Result<(u64, u64), StoreError>> {
        Box::pin(async move { read::log_counts(&self.store, chain).await.map_err(Failure::told) })
    }
}

#[cfg(test)]
pub(crate) mod tests;
