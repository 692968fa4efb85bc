//! The closed set of event queries, each a range of one index in its order.
//!
//! Times become heights first. Every query names its index, so that a plan never depends on what the server has sampled.

use mongodb::{
    bson::{Document, doc},
    options::Hint,
};

use super::{
    Store,
    error::Result,
    key::{self, binary, bound},
    row::{self, Doc},
    schema::{BLOCKS, EVENTS},
};
use crate::{
    domain::record::EventAt,
    store::query::{EventQuery, Narrow, Place},
};

/// How a query is asked.
pub(super) struct Asked {
    pub(super) filter: Document,
    pub(super) index: &'static str,
    pub(super) sort: Document,
}

pub(super) fn hint(name: &str) -> Hint {
    Hint::Name(name.to_owned())
}

/// `after` and `before` are the query's, narrowed by its times.
pub(super) fn asked(query: &EventQuery, after: Option<Place>, before: Option<Place>) -> Asked {
    let range = key::events_between(query.chain, query.kind, after, before);
    let (filter, index) = match query.narrow {
        Narrow::All => (doc! { "_id": range, "canonical": true }, "_id_"),
        Narrow::Pool(pool) => (doc! { "pool": binary(pool.as_slice()), "canonical": true, "_id": range }, "pool"),
        Narrow::Token(token) => (doc! { "tokens": binary(token.as_slice()), "canonical": true, "_id": range }, "tokens"),
        Narrow::Origin(origin) => (doc! { "origin": binary(origin.as_slice()), "canonical": true, "_id": range }, "origin"),
        Narrow::Transaction(hash) => {
            let prefix = key::tx_prefix(&hash);
            (doc! { "tx_prefix": prefix, "_id": range, "tx": binary(hash.as_slice()), "canonical": true }, "tx")
        }
    };
    // A transaction is in one block: within it the log index is the order.
    let order = if index == "tx" { "log_index" } else { "_id" };
    Asked { filter, index, sort: doc! { order: if query.newest_first { -1 } else { 1 } } }
}

pub(super) async fn events(store: &Store, query: &EventQuery) -> Result<Vec<EventAt>> {
    let limit = query.limit.min(EventQuery::LIMIT_MAX);
    let Some((after, before)) = places(store, query).await? else { return Ok(Vec::new()) };
    if limit == 0 {
        return Ok(Vec::new());
    }
    let Asked { filter, index, sort } = asked(query, after, before);
    let mut cursor = store
        .collection(EVENTS)
        .find(filter)
        .hint(hint(index))
        .sort(sort)
        .limit(i64::try_from(limit).unwrap_or(i64::MAX))
        // All of a page in one answer: the default is 101 documents.
        .batch_size(u32::try_from(limit).unwrap_or(u32::MAX))
        .projection(row::projection(query.fields))
        .await?;
    let mut events = Vec::with_capacity(limit.min(128));
    while cursor.advance().await? {
        events.push(row::read_event(cursor.current())?);
    }
    Ok(events)
}

pub(super) async fn count(store: &Store, query: &EventQuery, cap: u64) -> Result<u64> {
    let Some((after, before)) = places(store, query).await? else { return Ok(0) };
    if cap == 0 {
        return Ok(0);
    }
    let Asked { filter, index, .. } = asked(query, after, before);
    Ok(store.collection(EVENTS).count_documents(filter).hint(hint(index)).limit(cap).await?)
}

/// The stretch that a query asks for, both ends exclusive. Outer `None`: nothing can match.
pub(super) async fn places(store: &Store, query: &EventQuery) -> Result<Option<(Option<Place>, Option<Place>)>> {
    let (mut after, mut before) = (query.after, query.before);
    let at = async |time: Option<u64>| match time {
        Some(time) => first_block_at(store, query, time).await,
        None => Ok(None),
    };
    let (from, to) = tokio::try_join!(at(query.time_from), at(query.time_to))?;
    if query.time_from.is_some() {
        let Some(number) = from else { return Ok(None) };
        // Before the first log of that block.
        let start = number.checked_sub(1).map(|n| Place { block_number: n, log_index: u64::MAX });
        after = after.max(start);
    }
    if let Some(number) = to {
        let end = Place { block_number: number, log_index: 0 };
        before = Some(before.map_or(end, |b| b.min(end)));
    }
    Ok(Some((after, before)))
}

/// The height of the first block that is not older than this.
async fn first_block_at(store: &Store, query: &EventQuery, time: u64) -> Result<Option<u64>> {
    let found = store
        .collection(BLOCKS)
        .find_one(first_block_filter(query, time))
        .sort(doc! { "timestamp": 1, "_id": 1 })
        .hint(hint("time"))
        .projection(doc! { "number": 1 })
        .await?;
    found.map(|found| Doc(&found).uint("number")).transpose()
}

pub(super) fn first_block_filter(query: &EventQuery, time: u64) -> Document {
    doc! { "chain": query.chain.cast_signed(), "canonical": true, "timestamp": { "$gte": bound(time) } }
}
