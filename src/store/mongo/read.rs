//! What a restart reads, and single look-ups. What must be of one moment is read in one snapshot.

use std::{collections::BTreeMap, sync::Arc};

use alloy::primitives::B256;
use futures_util::{StreamExt, TryStreamExt, stream};
use mongodb::{
    ClientSession,
    bson::{Bson, Document, RawDocumentBuf, doc},
};

use super::{
    Store, book,
    error::{Result, corrupt},
    key::{self, binary, bound},
    query::hint,
    row::{self, Doc},
    schema::{self, BLOCKS, BOOKS, EVENTS, HEADS, POOLS, SNAPSHOTS, SOURCES, TOKENS},
    snapshot,
    write::not_claimed,
};
use crate::{
    domain::{
        ChainId,
        block::BlockRef,
        event::EventKind,
        pool::{PoolId, PoolMeta},
        record::{BlockRecord, BookSnapshot},
        token::TokenMeta,
    },
    store::{
        codec,
        history::{Boot, PoolReplay, Unenriched},
        query::{Moment, Place},
    },
};

/// Pools whose rows are asked for at once.
const REPLAYS: usize = 8;
/// Documents of one answer where many are read: the server stops at 16 MiB anyway.
const BATCH: u32 = 10_000;

/// Reads every document, one after the other, as of the session's moment.
async fn each(
    store: &Store,
    session: &mut ClientSession,
    collection: &str,
    filter: Document,
    sort: Option<Document>,
    mut take: impl FnMut(&mongodb::bson::RawDocument) -> Result<()>,
) -> Result<()> {
    // Without a read concern of its own: it would win over the session's, and each answer would be of another moment.
    let plain = store.client.database(store.database.name());
    let collection = schema::collection(&plain, collection);
    let mut find = collection.find(filter).batch_size(BATCH);
    if let Some(sort) = sort {
        find = find.sort(sort);
    }
    let mut cursor = find.session(&mut *session).await?;
    while cursor.advance(session).await? {
        take(cursor.current())?;
    }
    Ok(())
}

pub(super) async fn boot(store: &Store, chain: ChainId) -> Result<Boot> {
    let mut session = store.client.start_session().snapshot(true).await?;
    let session = &mut session;
    let mut boot = Boot::default();
    let mut claimed = false;
    each(store, session, HEADS, doc! { "_id": chain.cast_signed() }, None, |found| {
        claimed = true;
        let doc = Doc(found);
        boot.finalized_number = doc.uint("finalized_number")?;
        boot.head = doc.maybe_uint("number")?.map(|_| doc.block()).transpose()?;
        Ok(())
    })
    .await?;
    if !claimed {
        return Err(not_claimed(chain));
    }
    let by_id = || Some(doc! { "_id": 1 });
    let pools = doc! { "_id": key::pools_between(chain, 0, u64::MAX), "canonical": true };
    each(store, session, POOLS, pools, by_id(), |found| {
        boot.pools.push(row::read_pool(chain, found)?);
        Ok(())
    })
    .await?;
    store.learn(chain, &boot.pools);
    each(store, session, TOKENS, doc! { "_id": key::tokens_of(chain) }, by_id(), |found| {
        boot.tokens.push(token(found)?);
        Ok(())
    })
    .await?;
    let of_chain = doc! { "_id": { "$gte": { "chain": chain.cast_signed(), "name": "" }, "$lt": { "chain": chain.cast_signed().saturating_add(1) } } };
    each(store, session, SOURCES, of_chain, by_id(), |found| {
        let name = found.get_document("_id").and_then(|id| id.get_str("name")).map_err(|_| corrupt("a source without a name"))?;
        boot.sources.push((name.to_owned(), Doc(found).uint("next_block")?));
        Ok(())
    })
    .await?;
    boot.window = window(store, session, chain, &boot).await?;
    Ok(boot)
}

pub(super) async fn book(store: &Store, chain: ChainId) -> Result<Option<BookSnapshot>> {
    let mut session = store.client.start_session().snapshot(true).await?;
    let mut found = None;
    each(store, &mut session, HEADS, doc! { "_id": chain.cast_signed() }, None, |head| {
        found = book::read_head(head)?;
        Ok(())
    })
    .await?;
    let Some(mut book) = found else { return Ok(None) };
    let mut pieces = book::Pieces::default();
    each(store, &mut session, BOOKS, book::filter(chain), Some(doc! { "_id": 1 }), |piece| pieces.take(piece)).await?;
    pieces.markets(&mut book)?;
    Ok(Some(book))
}

fn token(found: &mongodb::bson::RawDocument) -> Result<TokenMeta> {
    let mut document = Document::try_from(found)?;
    // Ours beside the domain's fields.
    document.remove("_id");
    if let Some(Bson::Binary(address)) = document.remove("address") {
        document.insert("address", alloy::primitives::hex::encode_prefixed(address.bytes));
    }
    Ok(mongodb::bson::deserialize_from_document(document)?)
}

/// As of the session's moment.
async fn window(store: &Store, session: &mut ClientSession, chain: ChainId, boot: &Boot) -> Result<Vec<BlockRecord>> {
    let from = boot.finalized_number;
    let mut records = Records::new(chain);
    each(store, session, BLOCKS, Records::blocks(chain, from), None, |found| records.block(found)).await?;
    each(store, session, EVENTS, Records::events(chain, from, u64::MAX), None, |found| records.event(found)).await?;
    let mut window = records.done();
    for pool in boot.pools.iter().rev().take_while(|p| p.created.block.number >= from) {
        if let Ok(at) = window.binary_search_by_key(&pool.created.block.number, |record| record.block.number)
            && let Some(record) = window.get_mut(at)
        {
            record.created.insert(0, Arc::new(pool.clone()));
        }
    }
    Ok(window)
}

/// Of what is final, so that it need not be of one moment.
pub(super) async fn records(store: &Store, chain: ChainId, from: u64, limit: usize) -> Result<Vec<BlockRecord>> {
    let mut records = Records::new(chain);
    let blocks = store.collection(BLOCKS);
    let find = blocks.find(Records::blocks(chain, from)).sort(doc! { "_id": 1 });
    let mut cursor = find.limit(i64::try_from(limit).unwrap_or(i64::MAX)).batch_size(BATCH).await?;
    while cursor.advance().await? {
        records.block(cursor.current())?;
    }
    let Some((last, _)) = records.found.last_key_value() else { return Ok(Vec::new()) };
    let mut cursor = store.collection(EVENTS).find(Records::events(chain, from, *last)).batch_size(BATCH).await?;
    while cursor.advance().await? {
        records.event(cursor.current())?;
    }
    Ok(records.done())
}

/// Blocks, and then their events.
struct Records {
    chain: ChainId,
    found: BTreeMap<u64, BlockRecord>,
}

impl Records {
    fn new(chain: ChainId) -> Self {
        Self { chain, found: BTreeMap::new() }
    }

    fn blocks(chain: ChainId, from: u64) -> Document {
        doc! { "_id": key::blocks_between(chain, from, u64::MAX), "canonical": true }
    }

    fn events(chain: ChainId, from: u64, to: u64) -> Document {
        let mut events = key::events_in_blocks(chain, from, to);
        events.insert("canonical", true);
        events
    }

    fn block(&mut self, found: &mongodb::bson::RawDocument) -> Result<()> {
        let block = Doc(found).block()?;
        let told = Doc(found).maybe_bytes("told")?.map(codec::decode_told).transpose()?.map(Arc::new);
        self.found.insert(block.number, BlockRecord { told, ..BlockRecord::new(self.chain, block, Vec::new()) });
        Ok(())
    }

    fn event(&mut self, found: &mongodb::bson::RawDocument) -> Result<()> {
        let event = row::read_event(found)?;
        if let Some(record) = self.found.get_mut(&event.block.number) {
            record.rows.push(event.row);
        }
        Ok(())
    }

    fn done(mut self) -> Vec<BlockRecord> {
        for record in self.found.values_mut() {
            // Kind by kind, as the key has them.
            record.rows.sort_by_key(crate::domain::record::EventRow::log_index);
        }
        self.found.into_values().collect()
    }
}

pub(super) async fn replay(store: &Store, chain: ChainId, pools: &[PoolMeta]) -> Result<Vec<PoolReplay>> {
    let head = store.collection(HEADS).find_one(doc! { "_id": chain.cast_signed() }).projection(doc! { "number": 1 }).await?;
    let head = head.ok_or_else(|| not_claimed(chain))?;
    let Some(head) = Doc(&head).maybe_uint("number")? else { return Ok(vec![PoolReplay::default(); pools.len()]) };
    let replays: Vec<_> = pools.iter().map(|pool| replay_one(store, chain, pool.id, head)).collect();
    stream::iter(replays).buffered(REPLAYS).try_collect().await
}

/// Rows above the cursor are of a backfill that was cut off: they come again.
async fn replay_one(store: &Store, chain: ChainId, pool: PoolId, head: u64) -> Result<PoolReplay> {
    let newest = doc! { "_id": key::snapshots_of(chain, &pool), "canonical": true };
    let found: Option<RawDocumentBuf> = store.collection(SNAPSHOTS).find_one(newest).sort(doc! { "_id": -1 }).await?;
    let snapshot = match found {
        Some(found) => Some(snapshot::read(store, chain, pool, &found).await?),
        None => None,
    };
    let from = snapshot.as_ref().map_or(0, |s| s.block.number.saturating_add(1));
    let filter = replay_filter(chain, &pool, from, head);
    let mut cursor = store.collection(EVENTS).find(filter).hint(hint("pool")).batch_size(BATCH).await?;
    let mut rows = Vec::new();
    while cursor.advance().await? {
        rows.push(row::read_event(cursor.current())?);
    }
    rows.sort_unstable_by_key(|e| Place { block_number: e.block.number, log_index: e.row.log_index() });
    Ok(PoolReplay { snapshot, rows })
}

/// A pool's rows of the blocks `from..=to`: one range of the index for each kind.
pub(super) fn replay_filter(chain: ChainId, pool: &PoolId, from: u64, to: u64) -> Document {
    let before = to.checked_add(1).map(|n| Place { block_number: n, log_index: 0 });
    let of_kind = |kind: EventKind| {
        let after = from.checked_sub(1).map(|n| Place { block_number: n, log_index: u64::MAX });
        doc! { "pool": binary(pool.as_slice()), "canonical": true, "_id": key::events_between(chain, kind, after, before) }
    };
    doc! { "$or": EventKind::ALL.map(of_kind).to_vec() }
}

pub(super) async fn block(store: &Store, chain: ChainId, hash: &B256) -> Result<Option<(BlockRef, bool)>> {
    let filter = doc! { "hash": binary(hash.as_slice()), "chain": chain.cast_signed() };
    let found = store.collection(BLOCKS).find_one(filter).hint(hint("hash")).await?;
    found.map(|found| Ok((Doc(&found).block()?, Doc(&found).flag("canonical")?))).transpose()
}

pub(super) async fn record(store: &Store, chain: ChainId, hash: &B256) -> Result<Option<BlockRecord>> {
    let Some((block, _)) = self::block(store, chain, hash).await? else { return Ok(None) };
    let mut record = BlockRecord::new(chain, block, Vec::new());
    let at = key::events_in_blocks(chain, block.number, block.number);
    let mut cursor = store.collection(EVENTS).find(at).batch_size(BATCH).await?;
    while cursor.advance().await? {
        // Several branches may have a block of that height.
        let event = row::read_event(cursor.current())?;
        if event.block.hash == *hash {
            record.rows.push(event.row);
        }
    }
    record.rows.sort_by_key(crate::domain::record::EventRow::log_index);
    Ok(Some(record))
}

/// The filter, the index and its order.
pub(super) fn block_at_filter(chain: ChainId, moment: Moment) -> (Document, &'static str, Document) {
    match moment {
        Moment::Number(number) => {
            (doc! { "_id": key::blocks_between(chain, 0, number), "canonical": true }, "_id_", doc! { "_id": -1 })
        }
        Moment::Time(time) => {
            let filter = doc! { "chain": chain.cast_signed(), "canonical": true, "timestamp": { "$lte": bound(time) } };
            (filter, "time", doc! { "timestamp": -1, "_id": -1 })
        }
    }
}

pub(super) async fn block_at(store: &Store, chain: ChainId, moment: Moment) -> Result<Option<BlockRef>> {
    let (filter, index, order) = block_at_filter(chain, moment);
    let found = store.collection(BLOCKS).find_one(filter).hint(hint(index)).sort(order).await?;
    found.map(|found| Doc(&found).block()).transpose()
}

/// Blocks that are looked at in one step: a range of `_id` for each kind.
const UNENRICHED_BLOCKS: i64 = 64;

pub(super) async fn unenriched(store: &Store, chain: ChainId, from: u64, to: u64) -> Result<Unenriched> {
    let done = Unenriched { blocks: Vec::new(), next_block: to.saturating_add(1) };
    let blocks = store.collection(BLOCKS);
    let find = blocks.find(doc! { "_id": key::blocks_between(chain, from, to), "canonical": true });
    let mut cursor = find.sort(doc! { "_id": 1 }).limit(UNENRICHED_BLOCKS).await?;
    let mut known: BTreeMap<B256, BlockRef> = BTreeMap::new();
    while cursor.advance().await? {
        let block = Doc(cursor.current()).block()?;
        known.insert(block.hash, block);
    }
    let numbers = || known.values().map(|block| block.number);
    let (Some(first), Some(last)) = (numbers().min(), numbers().max()) else { return Ok(done) };
    let mut filter = key::events_in_blocks(chain, first, last);
    filter.insert("canonical", true);
    filter.insert("origin", doc! { "$exists": false });
    let fields = doc! { "_id": 0, "tx": 1, "hash": 1 };
    let mut cursor = store.collection(EVENTS).find(filter).projection(fields).batch_size(BATCH).await?;
    let mut found: BTreeMap<u64, (BlockRef, Vec<B256>)> = BTreeMap::new();
    while cursor.advance().await? {
        let doc = Doc(cursor.current());
        if let Some(block) = known.get(&doc.hash("hash")?) {
            found.entry(block.number).or_insert_with(|| (*block, Vec::new())).1.push(doc.hash("tx")?);
        }
    }
    found.values_mut().for_each(|(_, transactions)| {
        transactions.sort_unstable();
        transactions.dedup();
    });
    let full = known.len() == usize::try_from(UNENRICHED_BLOCKS).unwrap_or(usize::MAX);
    let next_block = if full { last.saturating_add(1) } else { done.next_block };
    Ok(Unenriched { blocks: found.into_values().collect(), next_block })
}

/// The only one that reads everything: the audit asks it, no client can.
pub(super) async fn log_counts(store: &Store, chain: ChainId) -> Result<(u64, u64)> {
    let logs = doc! { "$cond": [{ "$gt": ["$sync_log_index", Bson::Null] }, 2_i64, 1_i64] };
    let pipeline = [
        doc! { "$match": key::events_in_blocks(chain, 0, u64::MAX) },
        doc! { "$group": {
            "_id": Bson::Null,
            "all": { "$sum": logs.clone() },
            "canonical": { "$sum": { "$cond": ["$canonical", logs, 0_i64] } },
        } },
    ];
    let mut cursor = store.database.collection::<Document>(EVENTS).aggregate(pipeline).await?;
    if !cursor.advance().await? {
        return Ok((0, 0));
    }
    let doc = Doc(cursor.current());
    Ok((doc.uint("all")?, doc.uint("canonical")?))
}

/// Tokens of every pool that was ever created, on whatever branch: they are the same on each.
pub(super) async fn known_pools(
    store: &Store,
    chain: ChainId,
) -> Result<Vec<(PoolId, (alloy::primitives::Address, alloy::primitives::Address))>> {
    let fields = doc! { "pool": 1, "token0": 1, "token1": 1 };
    let created = store.collection(POOLS);
    let find = created.find(doc! { "_id": key::pools_between(chain, 0, u64::MAX) });
    let mut cursor = find.projection(fields).batch_size(BATCH).await?;
    let mut pools = Vec::new();
    while cursor.advance().await? {
        let doc = Doc(cursor.current());
        let id = PoolId::from_slice(doc.bytes("pool")?).ok_or_else(|| corrupt("a pool id that has neither 20 nor 32 bytes"))?;
        pools.push((id, (doc.address("token0")?, doc.address("token1")?)));
    }
    Ok(pools)
}
