//! Rows of a [`WriteBatch`]: which are inserted, and what those that are there gain.

use std::collections::{BTreeMap, btree_map::Entry};

use futures_util::{StreamExt, TryStreamExt, stream};
use mongodb::{
    ClientSession,
    bson::{Bson, Document, RawDocumentBuf, doc},
    error::ErrorKind,
};

use super::{
    Store,
    command::update,
    error::{DUPLICATE_KEY, Result},
    key::{self, binary},
    plan::Plan,
    row::{self, Doc},
    schema::EVENTS,
};
use crate::{
    domain::{
        ChainId,
        block::BlockRef,
        event::EventBody,
        record::{BlockRecord, Enrichment, EventRow},
    },
    store::{codec, history::WriteBatch},
};

/// Rows of one `insert_many`: about 1 MB.
const INSERT_ROWS: usize = 2_500;
/// Inserts under way at once: two for a mongod on two cores, and one that is being made.
const INSERTS: usize = 3;

fn document(store: &Store, chain: ChainId, block: &BlockRef, canonical: bool, row: &EventRow) -> Result<RawDocumentBuf> {
    // The pool's, as SQLite joins them; a creation is stored before its pool is where the pool is older than the start, and says them.
    let said = || match row.event.body {
        EventBody::V2PairCreated { token0, token1, .. } | EventBody::V3PoolCreated { token0, token1, .. } => {
            Some((token0, token1))
        }
        _ => None,
    };
    let tokens = store.tokens_of(chain, &row.event.pool).or_else(said);
    row::event(chain, block, row, tokens, canonical)
}

pub(super) async fn insert_rows(store: &Store, batch: &WriteBatch) -> Result<()> {
    let rows: Vec<_> = batch.records.iter().flat_map(|record| record.rows.iter().map(|row| (record.block, row))).collect();
    // Documents are made as their turn comes: the server works on some while the next are made.
    let inserts: Vec<_> = rows.chunks(INSERT_ROWS).map(|rows| insert_unordered(store, batch.chain, rows)).collect();
    let fills: Vec<Vec<Document>> = stream::iter(inserts).buffer_unordered(INSERTS).try_collect().await?;
    update(store, None, EVENTS, fills.concat()).await
}

/// Inserts what is not there; gives what there is to fill in of what was.
async fn insert_unordered(store: &Store, chain: ChainId, rows: &[(BlockRef, &EventRow)]) -> Result<Vec<Document>> {
    let documents: Vec<_> = rows.iter().map(|(block, row)| document(store, chain, block, true, row)).collect::<Result<_>>()?;
    let Err(error) = store.collection(EVENTS).insert_many(documents).ordered(false).await else { return Ok(Vec::new()) };
    match error.kind.as_ref() {
        ErrorKind::InsertMany(many) if many.write_concern_error.is_none() => {
            let errors = many.write_errors.as_deref().unwrap_or_default();
            if errors.is_empty() || errors.iter().any(|e| e.code != DUPLICATE_KEY) {
                return Err(error.into());
            }
            let known = errors.iter().filter_map(|e| rows.get(e.index));
            Ok(known.flat_map(|(block, row)| fill(chain, block, row, Lacks::MAY_BE_ANY)).collect())
        }
        _ => Err(error.into()),
    }
}

/// What a stored row may still gain.
#[derive(Debug, Clone, Copy)]
struct Lacks {
    after: bool,
    gauge: bool,
    usd: bool,
    enrichment: bool,
}

impl Lacks {
    const MAY_BE_ANY: Self = Self { after: true, gauge: true, usd: true, enrichment: true };
}

/// Where a stored row lacks what this one knows, it is filled in.
fn fill(chain: ChainId, block: &BlockRef, row: &EventRow, lacks: Lacks) -> Vec<Document> {
    let id = key::event(chain, row.kind(), block.number, &block.hash, row.log_index());
    let mut updates = Vec::new();
    let mut fill = |field: &str, set: Document| {
        updates.push(doc! { "q": { "_id": id.clone(), field: { "$exists": false } }, "u": { "$set": set } });
    };
    if let Some(after) = row.after.as_ref().filter(|_| lacks.after) {
        fill("state_after", doc! { "state_after": binary(codec::encode_after(after, &row.event.raw)) });
    }
    if let Some(gauge) = row.gauge.as_deref().filter(|_| lacks.gauge) {
        fill("gauge", doc! { "gauge": binary(codec::encode_gauge(gauge)) });
    }
    if let Some(usd) = row.usd.filter(|_| lacks.usd) {
        fill("usd", doc! { "usd": usd.0.cast_signed() });
    }
    if let Some(enrichment) = row.enrichment.as_ref().filter(|_| lacks.enrichment) {
        fill("origin", enrichment_fields(enrichment));
    }
    updates
}

pub(super) fn enrichment_fields(enrichment: &Enrichment) -> Document {
    doc! {
        "origin": binary(enrichment.origin.as_slice()),
        "gas_used": enrichment.gas_used.cast_signed(),
        "gas_price": binary(enrichment.gas_price_wei.to_be_bytes::<32>()),
    }
}

/// Rows of blocks that are new are inserted; of blocks that were known some may be there, and with `any` of every block.
pub(super) async fn insert_missing(
    store: &Store,
    session: &mut ClientSession,
    batch: &WriteBatch,
    plan: &Plan,
    any: bool,
) -> Result<()> {
    let chain = batch.chain;
    let id = |record: &BlockRecord, row: &EventRow| {
        key::event(chain, row.kind(), record.block.number, &record.block.hash, row.log_index())
    };
    let known = |record: &BlockRecord| any || plan.find(&record.block.hash).is_some_and(|b| b.stored.is_some());
    let maybe: Vec<Bson> = batch
        .records
        .iter()
        .filter(|record| known(record))
        .flat_map(|record| record.rows.iter().map(move |row| id(record, row).into()))
        .collect();
    let mut there: BTreeMap<Vec<u8>, Lacks> = BTreeMap::new();
    if !maybe.is_empty() {
        let events = store.collection(EVENTS);
        let gains = doc! { "_id": 1, "state_after": 1, "gauge": 1, "usd": 1, "origin": 1 };
        let mut cursor = events.find(doc! { "_id": { "$in": maybe } }).projection(gains).session(&mut *session).await?;
        while cursor.advance(session).await? {
            let stored = Doc(cursor.current());
            let lacks = |name| stored.0.get(name).map(|found| found.is_none());
            let lacks =
                Lacks { after: lacks("state_after")?, gauge: lacks("gauge")?, usd: lacks("usd")?, enrichment: lacks("origin")? };
            there.insert(stored.bytes("_id")?.to_vec(), lacks);
        }
    }
    let (mut new, mut fills) = (Vec::new(), Vec::new());
    for record in &batch.records {
        let mut missing = Vec::new();
        for row in &record.rows {
            match there.entry(id(record, row).bytes) {
                Entry::Occupied(stored) => fills.extend(fill(chain, &record.block, row, *stored.get())),
                // What stands twice in the batch is inserted once, and filled in like what was there.
                Entry::Vacant(free) => {
                    free.insert(Lacks::MAY_BE_ANY);
                    missing.push(row);
                }
            }
        }
        // What is known of the block is more than a range of logs says: its parent.
        let (block, canonical) = plan.find(&record.block.hash).map_or((record.block, true), |b| (b.block, b.canonical));
        for row in missing {
            new.push(document(store, chain, &block, canonical, row)?);
        }
    }
    if !new.is_empty() {
        store.collection(EVENTS).insert_many(&new).session(&mut *session).await?;
    }
    update(store, Some(session), EVENTS, fills).await
}
