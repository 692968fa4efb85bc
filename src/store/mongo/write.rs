//! One [`WriteBatch`]: a transaction behind the writer's fence.
//!
//! What the batch does to blocks is worked out in memory first ([`Plan`]); then each collection gets one command. Rows of a batch
//! that is final as a whole (a backfill) are inserted before the transaction, unordered and in parallel: a transaction would be
//! slower, and a row that is there already is the same row.

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use mongodb::{
    ClientSession,
    bson::{Bson, Document, RawDocumentBuf, doc},
    options::{ReadConcern, WriteConcern},
};

use super::{
    Store, book,
    command::{command, update, upsert},
    error::{Failure, Result},
    events::{enrichment_fields, insert_missing, insert_rows},
    key::{self, binary, bound, int},
    parts,
    plan::Plan,
    row::{self, Doc},
    schema::{BLOCKS, EVENTS, HEADS, POOLS, SNAPSHOTS, SOURCES, TOKENS},
    snapshot,
};
use crate::{
    domain::{ChainId, block::BlockRef, pool::PoolId},
    store::{
        codec,
        history::{PurgeOrphans, StoreError, WriteBatch},
    },
};

/// A write conflict is with a transaction that is being ended: over in a moment.
const TRANSACTION_TRIES: usize = 8;
/// Of each pool: the one that a restart takes, and the one before it.
const SNAPSHOTS_KEPT: usize = 2;
/// Blocks of one delete command: each is a dozen ranges, about 1.5 kB.
const DELETE_PARTS: usize = 500;
/// Pools that are looked after at once.
const PRUNES: usize = 8;

pub(super) async fn apply(store: &Store, batch: &WriteBatch) -> Result<()> {
    store.learn(batch.chain, batch.records.iter().flat_map(|r| r.created.iter().map(Arc::as_ref)));
    let ahead = is_final(batch) && is_new(store, batch).await?;
    if ahead {
        let held = store.meta().find_one(doc! { "_id": "fence" }).await?;
        of_ours(batch.fence, held.as_ref().and_then(|found| found.get_i64("token").ok()))?;
        insert_rows(store, batch).await?;
    }
    let mut tries = 1;
    let mut rows = if ahead { Rows::Inserted } else { Rows::OfNewBlocksAreNew };
    loop {
        match transaction(store, batch, rows).await {
            Err(failure) if failure.is_transient() && tries < TRANSACTION_TRIES => tries = tries.saturating_add(1),
            // What a backfill left that was cut off, of blocks that this batch brings in another order.
            Err(failure) if failure.is_duplicate() && rows == Rows::OfNewBlocksAreNew => rows = Rows::AnyMayBeThere,
            outcome => {
                outcome?;
                return prune_snapshots(store, batch).await;
            }
        }
    }
}

/// What the transaction has to do about rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rows {
    /// Nothing: they are there.
    Inserted,
    /// Look only for those of blocks that are stored.
    OfNewBlocksAreNew,
    /// Look for each.
    AnyMayBeThere,
}

/// Nothing of it can be taken back any more.
fn is_final(batch: &WriteBatch) -> bool {
    batch.revert.is_empty() && !batch.records.is_empty() && batch.head.is_some_and(|head| head.number <= batch.finalized_number)
}

/// None of its heights is known yet, so none of its rows can be but by a write that was cut short.
async fn is_new(store: &Store, batch: &WriteBatch) -> Result<bool> {
    let heights = batch.records.iter().map(|r| r.block.number);
    let (Some(first), Some(last)) = (heights.clone().min(), heights.max()) else { return Ok(true) };
    let range = doc! { "_id": key::blocks_between(batch.chain, first, last) };
    Ok(store.collection(BLOCKS).find_one(range).projection(doc! { "_id": 1 }).await?.is_none())
}

async fn transaction(store: &Store, batch: &WriteBatch, rows: Rows) -> Result<()> {
    let mut session = store.session().await?;
    session.start_transaction().read_concern(ReadConcern::snapshot()).write_concern(WriteConcern::majority()).await?;
    if let Err(failure) = steps(store, &mut session, batch, rows).await {
        // A server that is away ends it by itself; waiting for it to hear so would only hide that it is away.
        if failure.is_answer() && session.abort_transaction().await.is_ok() {
            store.give_back(session);
        }
        return Err(failure);
    }
    // Where the answer is lost it may have happened: the caller writes the batch again, and that changes nothing.
    session.commit_transaction().await?;
    store.give_back(session);
    Ok(())
}

async fn steps(store: &Store, session: &mut ClientSession, batch: &WriteBatch, rows: Rows) -> Result<()> {
    check_fence(store, session, batch.fence).await?;
    head(store, session, batch).await?;
    let mut plan = Plan::read(store, session, batch).await?;
    plan.run(batch);
    flip(store, session, batch, &plan.flips()).await?;
    blocks(store, session, batch, &plan).await?;
    if rows != Rows::Inserted {
        insert_missing(store, session, batch, &plan, rows == Rows::AnyMayBeThere).await?;
    }
    let mut pools = Vec::new();
    for meta in batch.records.iter().flat_map(|r| &r.created) {
        let document = row::pool(batch.chain, meta, plan.is_canonical(&meta.created.block.hash))?;
        // The configuration may call the dex otherwise by now, and know its fee better.
        pools.push(upsert(&document, &["dex", "fee_pips", "origin"])?);
    }
    update(store, Some(session), POOLS, pools).await?;
    let tokens = batch.tokens.iter().map(|token| {
        let mut fields = mongodb::bson::serialize_to_document(&**token)?;
        fields.insert("address", binary(token.address.as_slice()));
        fields.insert("chain", batch.chain.cast_signed());
        Ok(doc! { "q": { "_id": key::token(batch.chain, &token.address) }, "u": { "$set": fields }, "upsert": true })
    });
    update(store, Some(session), TOKENS, tokens.collect::<Result<_>>()?).await?;
    for pool in &batch.forget_snapshots {
        let all = doc! { "_id": key::snapshots_of(batch.chain, pool) };
        delete_snapshots(store, session, batch.chain, pool, all).await?;
    }
    // Of one that is written again, with fewer pieces or none.
    let pieces = batch.snapshots.iter().map(|s| key::parts_of_snapshot(batch.chain, &s.block, &s.pool)).collect();
    parts::delete(store, Some(&mut *session), pieces).await?;
    let mut snapshots = Vec::new();
    for snapshot in &batch.snapshots {
        let (document, parts) = snapshot::write(batch.chain, snapshot, plan.is_canonical(&snapshot.block.hash))?;
        let changeable = ["state", "state_parts", "market", "market_parts"];
        let mut update = upsert(&document, &changeable)?;
        // Whoever writes it again leaves nothing of before that he does not have.
        let absent: Document = changeable
            .into_iter()
            .filter(|name| !matches!(document.get(name), Ok(Some(_))))
            .map(|name| (name.to_owned(), Bson::from("")))
            .collect();
        if let Ok(change) = update.get_document_mut("u") {
            change.insert("$unset", absent);
        }
        snapshots.push(update);
        parts::write(store, session, &parts).await?;
    }
    update(store, Some(session), SNAPSHOTS, snapshots).await?;
    if batch.forget_book {
        book::forget(store, session, batch.chain).await?;
    }
    book::write_chunks(store, session, batch).await?;
    if let Some(book) = &batch.book {
        book::write(store, session, batch.chain, book).await?;
    }
    let sources = batch.sources.iter().map(|(name, next)| {
        let key = doc! { "chain": batch.chain.cast_signed(), "name": name.as_str() };
        Ok(doc! { "q": { "_id": key }, "u": { "$set": { "next_block": int(*next)? } }, "upsert": true })
    });
    update(store, Some(session), SOURCES, sources.collect::<Result<_>>()?).await?;
    let enriched = batch.enriched.iter().flat_map(|enriched| {
        enriched.transactions.iter().map(|(hash, enrichment)| {
            let mut filter = events_of(batch.chain, &enriched.block);
            filter.insert("tx", binary(hash.as_slice()));
            filter.insert("origin", doc! { "$exists": false });
            doc! { "q": filter, "u": { "$set": enrichment_fields(enrichment) }, "multi": true }
        })
    });
    update(store, Some(session), EVENTS, enriched.collect()).await?;
    match batch.purge_orphans {
        Some(orphans) => purge(store, session, batch.chain, orphans).await,
        None => Ok(()),
    }
}

/// Nobody took the fence since. It is written, not read: whoever takes it while this transaction is open meets it, and one of the two
/// has to give way.
async fn check_fence(store: &Store, session: &mut ClientSession, ours: u64) -> Result<()> {
    let meta = store.meta();
    let touch = doc! { "$inc": { "writes": 1_i64 } };
    let touched = meta.update_one(doc! { "_id": "fence", "token": int(ours)? }, touch).session(&mut *session).await?;
    if touched.matched_count > 0 {
        return Ok(());
    }
    let held = meta.find_one(doc! { "_id": "fence" }).session(session).await?;
    of_ours(ours, held.as_ref().and_then(|found| found.get_i64("token").ok()))
}

fn of_ours(ours: u64, held: Option<i64>) -> Result<()> {
    let held = held.unwrap_or(0).cast_unsigned();
    if held == ours { Ok(()) } else { Err(StoreError::Fenced { ours, held }.into()) }
}

/// The cursor. What is final stays final.
async fn head(store: &Store, session: &mut ClientSession, batch: &WriteBatch) -> Result<()> {
    let chain = batch.chain.cast_signed();
    let mut set = doc! { "written_at": int(batch.now)? };
    if let Some(head) = &batch.head {
        set.insert("number", int(head.number)?);
        set.insert("hash", binary(head.hash.as_slice()));
        set.insert("parent", binary(head.parent_hash.as_slice()));
        set.insert("timestamp", int(head.timestamp)?);
    }
    let change = doc! { "$set": set, "$max": { "finalized_number": int(batch.finalized_number)? } };
    let written = store.collection(HEADS).update_one(doc! { "_id": chain }, change).session(session).await?;
    if written.matched_count > 0 { Ok(()) } else { Err(not_claimed(batch.chain)) }
}

pub(super) fn not_claimed(chain: ChainId) -> Failure {
    StoreError::Unavailable(format!("chain {chain} has not claimed this database")).into()
}

/// New blocks, and parents that were learnt: of the block and of everything that carries it.
async fn blocks(store: &Store, session: &mut ClientSession, batch: &WriteBatch, plan: &Plan) -> Result<()> {
    let told = |block: &BlockRef| {
        let at = batch.records.partition_point(|record| record.block.number < block.number);
        let same = batch.records.get(at..)?.iter().take_while(|record| record.block.number == block.number);
        same.filter(|record| record.block.hash == block.hash).find_map(|record| record.told.as_deref())
    };
    let new = plan.new_blocks().map(|b| row::block(batch.chain, &b.block, b.canonical, batch.now, told(&b.block)));
    let new: Vec<RawDocumentBuf> = new.collect::<Result<_>>()?;
    if !new.is_empty() {
        store.collection(BLOCKS).insert_many(&new).session(&mut *session).await?;
    }
    let mut learnt_told = Vec::new();
    for record in batch.records.iter().filter(|r| plan.find(&r.block.hash).is_some_and(|block| block.stored.is_some())) {
        let Some(told) = &record.told else { continue };
        let filter =
            doc! { "_id": key::block(batch.chain, record.block.number, &record.block.hash), "told": { "$exists": false } };
        learnt_told.push(doc! { "q": filter, "u": { "$set": { "told": binary(codec::encode_told(told)) } } });
    }
    update(store, Some(session), BLOCKS, learnt_told).await?;
    let learnt = plan.parents_learnt();
    let set = |block: &BlockRef| doc! { "$set": { "parent": binary(block.parent_hash.as_slice()) } };
    let of = |block: &BlockRef, filter: Document| doc! { "q": filter, "u": set(block), "multi": true };
    let blocks = learnt.iter().map(|b| of(b, doc! { "_id": key::block(batch.chain, b.number, &b.hash) }));
    update(store, Some(session), BLOCKS, blocks.collect()).await?;
    let events = learnt.iter().map(|b| of(b, events_of(batch.chain, b)));
    update(store, Some(session), EVENTS, events.collect()).await?;
    let pools = learnt.iter().map(|b| of(b, pools_of(batch.chain, b)));
    update(store, Some(session), POOLS, pools.collect()).await?;
    let snapshots = learnt.iter().map(|b| of(b, doc! { "block": key::block(batch.chain, b.number, &b.hash) }));
    update(store, Some(session), SNAPSHOTS, snapshots.collect()).await
}

fn events_of(chain: ChainId, block: &BlockRef) -> Document {
    let mut filter = key::events_in_blocks(chain, block.number, block.number);
    filter.insert("hash", binary(block.hash.as_slice()));
    filter
}

fn pools_of(chain: ChainId, block: &BlockRef) -> Document {
    doc! { "_id": key::pools_between(chain, block.number, block.number), "hash": binary(block.hash.as_slice()) }
}

/// Nothing is deleted: what a block holds changes sides with it.
async fn flip(store: &Store, session: &mut ClientSession, batch: &WriteBatch, flips: &[(BlockRef, bool)]) -> Result<()> {
    let chain = batch.chain;
    let set = |canonical: bool| doc! { "$set": { "canonical": canonical } };
    let many = |filter: Document, canonical: bool| doc! { "q": filter, "u": set(canonical), "multi": true };
    let now = int(batch.now)?;
    let blocks = flips.iter().map(|(block, canonical)| {
        let change = if *canonical {
            doc! { "$set": { "canonical": true }, "$unset": { "orphaned_at": "" } }
        } else {
            doc! { "$set": { "canonical": false, "orphaned_at": now } }
        };
        doc! { "q": { "_id": key::block(chain, block.number, &block.hash) }, "u": change }
    });
    update(store, Some(session), BLOCKS, blocks.collect()).await?;
    let events = flips.iter().map(|(block, canonical)| many(events_of(chain, block), *canonical));
    update(store, Some(session), EVENTS, events.collect()).await?;
    let pools = flips.iter().map(|(block, canonical)| many(pools_of(chain, block), *canonical));
    update(store, Some(session), POOLS, pools.collect()).await?;
    let snapshots =
        flips.iter().map(|(block, canonical)| many(doc! { "block": key::block(chain, block.number, &block.hash) }, *canonical));
    update(store, Some(session), SNAPSHOTS, snapshots.collect()).await
}

/// And what is beside them: nobody would find it afterwards.
async fn delete_snapshots(
    store: &Store,
    session: &mut ClientSession,
    chain: ChainId,
    pool: &PoolId,
    which: Document,
) -> Result<()> {
    let fields = doc! { "state": 0, "market": 0 };
    let mut cursor = store.collection(SNAPSHOTS).find(which.clone()).projection(fields).session(&mut *session).await?;
    let mut ranges = Vec::new();
    while cursor.advance(session).await? {
        ranges.push(key::parts_of_snapshot(chain, &Doc(cursor.current()).block()?, pool));
    }
    parts::delete(store, Some(&mut *session), ranges).await?;
    command(store, Some(session), doc! { "delete": SNAPSHOTS, "deletes": [{ "q": which, "limit": 0 }] }).await
}

async fn purge(store: &Store, session: &mut ClientSession, chain: ChainId, purge: PurgeOrphans) -> Result<()> {
    let old = doc! {
        "chain": chain.cast_signed(),
        "orphaned_at": { "$lt": bound(purge.orphaned_before) },
        "number": { "$lte": bound(purge.final_number) },
    };
    let mut orphans = Vec::new();
    let mut cursor = store
        .collection(BLOCKS)
        .find(old)
        .hint(mongodb::options::Hint::Name("orphaned".to_owned()))
        .session(&mut *session)
        .await?;
    while cursor.advance(session).await? {
        orphans.push(Doc(cursor.current()).block()?);
    }
    for some in orphans.chunks(DELETE_PARTS) {
        parts::delete(store, Some(&mut *session), some.iter().map(|b| key::parts_of_block(chain, b)).collect()).await?;
    }
    let all = |filters: &[Document]| filters.iter().map(|q| doc! { "q": q.clone(), "limit": 0 }).collect::<Vec<_>>();
    let id = |b: &BlockRef| key::block(chain, b.number, &b.hash);
    for (collection, filters) in [
        (EVENTS, orphans.iter().map(|b| events_of(chain, b)).collect::<Vec<_>>()),
        (POOLS, orphans.iter().map(|b| pools_of(chain, b)).collect()),
        (SNAPSHOTS, orphans.iter().map(|b| doc! { "block": id(b) }).collect()),
        (BLOCKS, orphans.iter().map(|b| doc! { "_id": id(b) }).collect()),
    ] {
        for some in filters.chunks(DELETE_PARTS) {
            command(store, Some(&mut *session), doc! { "delete": collection, "deletes": all(some) }).await?;
        }
    }
    Ok(())
}

/// Keeps the newest few of each pool that got one. Only tidying: done after the batch, and again with the next one.
async fn prune_snapshots(store: &Store, batch: &WriteBatch) -> Result<()> {
    let prune = |pool| async move {
        let snapshots = store.collection(SNAPSHOTS);
        let range = key::snapshots_of(batch.chain, pool);
        let skip = u64::try_from(SNAPSHOTS_KEPT.saturating_sub(1)).unwrap_or(0);
        let last = snapshots.find_one(doc! { "_id": range.clone() }).sort(doc! { "_id": -1 }).skip(skip);
        let Some(last) = last.projection(doc! { "number": 1 }).await? else { return Ok(()) };
        let older = doc! { "_id": range, "number": { "$lt": bound(Doc(&last).uint("number")?) } };
        // First what is beside them: nobody would find it afterwards.
        let in_parts = doc! { "$or": [{ "state_parts": { "$exists": true } }, { "market_parts": { "$exists": true } }] };
        let mut cursor =
            snapshots.find(doc! { "$and": [older.clone(), in_parts] }).projection(doc! { "state": 0, "market": 0 }).await?;
        let mut ranges = Vec::new();
        while cursor.advance().await? {
            ranges.push(key::parts_of_snapshot(batch.chain, &Doc(cursor.current()).block()?, pool));
        }
        parts::delete(store, None, ranges).await?;
        snapshots.delete_many(older).await?;
        Ok(())
    };
    let prunes: Vec<_> = batch.snapshots.iter().map(|s| prune(&s.pool)).collect();
    stream::iter(prunes).buffer_unordered(PRUNES).try_collect::<()>().await
}
