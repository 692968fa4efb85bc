//! Collections, indexes, versions. `docs/data-model.md` explains each; a test compares it with what is here.
//!
//! A change of the schema is a new entry in [`MIGRATIONS`]. It runs under a lock in the database, so that of several replicas that
//! start together one migrates and the others wait.

use std::time::Duration;

use alloy::primitives::B256;
use mongodb::{
    Collection, Database, IndexModel,
    bson::{Document, RawDocumentBuf, doc},
    error::ErrorKind,
    options::{IndexOptions, ReturnDocument},
};

use super::error::{Failure, Result, corrupt};
use crate::{domain::ChainId, store::history::StoreError};

/// Says whose database it is, at which version.
pub(super) const META: &str = "meta";
pub(super) const CHAINS: &str = "chains";
pub(super) const HEADS: &str = "heads";
pub(super) const SOURCES: &str = "sources";
pub(super) const TOKENS: &str = "tokens";
pub(super) const BLOCKS: &str = "blocks";
pub(super) const POOLS: &str = "pools";
pub(super) const EVENTS: &str = "events";
pub(super) const SNAPSHOTS: &str = "snapshots";
pub(super) const CANDLES: &str = "candles";
pub(super) const PARTS: &str = "snapshot_parts";
pub(super) const BOOKS: &str = "books";

const APPLICATION: &str = "swaptide";
/// A migration that shows no sign of life for two minutes is taken over: its steps are harmless the second time.
const LOCK_S: i64 = 120;
const LOCK_RETRY: Duration = Duration::from_millis(200);

/// A row has about 650 bytes, and nothing of its neighbours is wanted with it: WiredTiger's own 32 kB, compressed, hold a hundred. In
/// units of 4 kB such a page would not become smaller by compression.
const EVENTS_PAGES: &str = "allocation_size=1KB,leaf_page_max=8KB";
const NAMESPACE_EXISTS: i32 = 48;

/// One index: its collection, its name, its keys, and which documents it holds.
pub(super) struct Index {
    pub(super) collection: &'static str,
    pub(super) name: &'static str,
    pub(super) keys: fn() -> Document,
    pub(super) partial: Option<fn() -> Document>,
}

/// Every index beside `_id`. Those of events end in the place in the chain: a page is a range of one of them, in its order. For a
/// transaction, which is in one block, the log index is the whole place: hashes come in no order, so of all indexes this one is
/// written at the most random places, and each byte of it costs cache.
pub(super) const INDEXES: [Index; 8] = [
    Index { collection: EVENTS, name: "pool", keys: || doc! { "pool": 1, "canonical": 1, "_id": 1 }, partial: None },
    Index { collection: EVENTS, name: "tokens", keys: || doc! { "tokens": 1, "canonical": 1, "_id": 1 }, partial: None },
    Index { collection: EVENTS, name: "tx", keys: || doc! { "tx_prefix": 1, "log_index": 1 }, partial: None },
    Index {
        collection: EVENTS,
        name: "origin",
        keys: || doc! { "origin": 1, "canonical": 1, "_id": 1 },
        partial: Some(|| doc! { "origin": { "$exists": true } }),
    },
    Index { collection: BLOCKS, name: "hash", keys: || doc! { "hash": 1 }, partial: None },
    // A time range becomes a range of numbers: timestamps never fall along a chain.
    Index {
        collection: BLOCKS,
        name: "time",
        keys: || doc! { "chain": 1, "timestamp": 1, "_id": 1 },
        partial: Some(|| doc! { "canonical": true }),
    },
    Index {
        collection: BLOCKS,
        name: "orphaned",
        keys: || doc! { "chain": 1, "orphaned_at": 1 },
        partial: Some(|| doc! { "orphaned_at": { "$exists": true } }),
    },
    Index { collection: SNAPSHOTS, name: "block", keys: || doc! { "block": 1 }, partial: None },
];

/// Entry n brings version n to n + 1. Never change one that was released: add another.
/// The second brought what rows moved in dollars, gauges, markets and candles: fields and a collection without an index beside `_id`.
/// The third brought snapshots in pieces, and events of position managers.
/// The fourth brought markets of tokens and factories, and what blocks tell of them.
/// The fifth brought transfers of pairs' shares, and what pools were that are older than what is read.
/// The sixth brought V4: pools with hooks, positions with salts.
const MIGRATIONS: [&[Index]; 6] = [&INDEXES, &[], &[], &[], &[], &[]];

pub(super) fn collection(database: &Database, name: &str) -> Collection<RawDocumentBuf> {
    database.collection(name)
}

/// Refuses what is not ours, or newer than us, without writing. `None`: nothing is there yet.
pub(super) async fn check(database: &Database) -> Result<Option<usize>> {
    let name = database.name();
    let schema = database.collection::<Document>(META).find_one(doc! { "_id": "schema" }).await?;
    let Some(schema) = schema else {
        let names = database.list_collection_names().await?;
        // Another replica may be at the beginning of the first migration.
        let foreign = names.iter().find(|n| !n.starts_with("system.") && *n != META);
        return match foreign {
            None => Ok(None),
            Some(_) if database.collection::<Document>(META).find_one(doc! { "_id": "migration" }).await?.is_some() => Ok(None),
            Some(other) => Err(StoreError::Foreign(format!(
                "the MongoDB database `{name}` is not empty and not ours (it has a collection `{other}`): name another database in [store] url"
            ))
            .into()),
        };
    };
    if schema.get_str("application").ok() != Some(APPLICATION) {
        let text = format!("the MongoDB database `{name}` belongs to another program: name another database in [store] url");
        return Err(StoreError::Foreign(text).into());
    }
    let version = schema.get_i32("version").map_err(|_| corrupt("the schema has no version"))?;
    match usize::try_from(version) {
        Ok(version) if version <= MIGRATIONS.len() => Ok(Some(version)),
        _ => Err(StoreError::Foreign(format!(
            "the MongoDB database `{name}` was written by a newer swaptide (schema {version}, this one knows {}): use that version, or name another database in [store] url",
            MIGRATIONS.len()
        ))
        .into()),
    }
}

/// Brings the schema up to date; one process at a time. `owner` names this one, `now` gives Unix seconds.
pub(super) async fn migrate(database: &Database, owner: &str, now: impl Fn() -> i64) -> Result<()> {
    let meta = database.collection::<Document>(META);
    let mut told = false;
    loop {
        let version = check(database).await?.unwrap_or(0);
        if version == MIGRATIONS.len() {
            return Ok(());
        }
        if !lock(&meta, owner, now()).await? {
            if !std::mem::replace(&mut told, true) {
                tracing::info!(
                    "another process is bringing the database's schema up to date: waiting for it, or two minutes if it is gone"
                );
            }
            tokio::time::sleep(LOCK_RETRY).await;
            continue;
        }
        let outcome = run(database, &meta, owner, &now).await;
        meta.delete_one(doc! { "_id": "migration", "owner": owner }).await?;
        return outcome;
    }
}

/// Whether this process may migrate now.
async fn lock(meta: &Collection<Document>, owner: &str, now: i64) -> Result<bool> {
    let free = doc! { "_id": "migration", "$or": [{ "until": { "$lt": now } }, { "owner": owner }] };
    let ours = doc! { "$set": { "owner": owner, "until": now.saturating_add(LOCK_S) } };
    match meta.find_one_and_update(free, ours).upsert(true).return_document(ReturnDocument::After).await {
        Ok(_) => Ok(true),
        // Somebody holds it: the upsert met the document that its filter does not match.
        Err(error) => {
            let failure = Failure::from(error);
            if failure.is_duplicate() { Ok(false) } else { Err(failure) }
        }
    }
}

async fn run(database: &Database, meta: &Collection<Document>, owner: &str, now: &impl Fn() -> i64) -> Result<()> {
    // Another replica may have finished between the look and the lock.
    let from = check(database).await?.unwrap_or(0);
    // Before anything else is there: cut off half-way, it must still be known as ours.
    let ours = doc! { "$setOnInsert": { "application": APPLICATION, "version": 0 } };
    meta.update_one(doc! { "_id": "schema" }, ours).upsert(true).await?;
    create_events(database).await?;
    for (step, indexes) in MIGRATIONS.iter().enumerate().skip(from) {
        for index in *indexes {
            let alive = doc! { "$set": { "until": now().saturating_add(LOCK_S) } };
            meta.update_one(doc! { "_id": "migration", "owner": owner }, alive).await?;
            tracing::debug!(collection = index.collection, index = index.name, "creating an index");
            let options = IndexOptions::builder()
                .name(index.name.to_owned())
                .partial_filter_expression(index.partial.map(|partial| partial()))
                .build();
            let model = IndexModel::builder().keys((index.keys)()).options(options).build();
            collection(database, index.collection).create_index(model).await?;
        }
        let version = i32::try_from(step.saturating_add(1)).unwrap_or(i32::MAX);
        let set = doc! { "$set": { "application": APPLICATION, "version": version } };
        meta.update_one(doc! { "_id": "schema" }, set).upsert(true).await?;
    }
    Ok(())
}

/// A page of an old stretch touches as many pages of the disk as it has rows: they are small. Servers with another storage engine,
/// or that do not let it be tuned, make the collection as they do.
async fn create_events(database: &Database) -> Result<()> {
    let tuned = doc! { "wiredTiger": { "configString": EVENTS_PAGES } };
    let Err(error) = database.create_collection(EVENTS).storage_engine(tuned).await else { return Ok(()) };
    match error.kind.as_ref() {
        ErrorKind::Command(command) if command.code != NAMESPACE_EXISTS => {
            tracing::warn!(
                reason = command.message,
                "MongoDB does not take small pages for `events`: old history is read more slowly"
            );
            Ok(())
        }
        ErrorKind::Command(_) => Ok(()),
        _ => Err(error.into()),
    }
}

/// Chains of a database, with their genesis.
pub(super) async fn claims(database: &Database) -> Result<Vec<(ChainId, B256)>> {
    let mut cursor = database.collection::<Document>(CHAINS).find(doc! {}).await?;
    let mut claims = Vec::new();
    while cursor.advance().await? {
        let row = cursor.current();
        let chain = row.get_i64("_id").map_err(|_| corrupt("a chain without a number"))?;
        let genesis = row.get_binary("genesis").map_err(|_| corrupt("a chain without its genesis"))?;
        let genesis = B256::try_from(genesis.bytes).map_err(|_| corrupt("a genesis hash that has not 32 bytes"))?;
        claims.push((chain.cast_unsigned(), genesis));
    }
    Ok(claims)
}
