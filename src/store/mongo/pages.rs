//! Several pages in one command.
//!
//! A page is a branch: `$match`, `$sort`, `$limit`, `$project`. The first is the pipeline itself, all others stand under `$unionWith`,
//! and every row says which branch it is of. Pages that differ in nothing but their transaction share a branch: their rows are few,
//! and are told apart here.
//!
//! A hint reaches the first branch only. So that the others do not depend on what the server has sampled either, a branch asks for
//! the order of its index, with the fields that are fixed anyway: any other index would have to sort in memory for it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use alloy::primitives::B256;
use mongodb::bson::{Bson, Document, doc};

use super::{
    Store,
    error::{Result, corrupt},
    key::{self, binary},
    query::{self, Asked, hint},
    row::{self, Doc},
    schema::EVENTS,
};
use crate::{
    domain::{event::EventKind, record::EventAt},
    store::query::{EventQuery, Fields, Narrow, Place},
};

/// Branches of one command; what is beyond takes another. MongoDB accepts 1,000 stages.
const BRANCHES_MAX: usize = 500;
/// Rows that a shared branch may always have. Where there are more than this, and more than its pages ask for, they are asked for
/// one by one: transactions of that size come one in a million.
const SHARED_ROWS: usize = 1_000;

/// One page, with its place among those asked for and its times made heights.
#[derive(Clone, Copy)]
struct Part {
    at: usize,
    query: EventQuery,
    after: Option<Place>,
    before: Option<Place>,
}

/// One page, or several that differ in nothing but their transaction, range and limit.
struct Branch(Vec<Part>);

pub(super) async fn pages(store: &Store, queries: &[EventQuery]) -> Result<Vec<Vec<EventAt>>> {
    if let [one] = queries {
        return Ok(vec![query::events(store, one).await?]);
    }
    let mut parts = Vec::with_capacity(queries.len());
    for (at, query) in queries.iter().enumerate() {
        let limit = query.limit.min(EventQuery::LIMIT_MAX);
        if limit > 0
            && let Some((after, before)) = query::places(store, query).await?
        {
            parts.push(Part { at, query: EventQuery { limit, ..*query }, after, before });
        }
    }
    let mut pages = vec![Vec::new(); queries.len()];
    let mut left = branches(parts);
    while !left.is_empty() {
        let later = left.split_off(left.len().min(BRANCHES_MAX));
        let alone = ask(store, &left, &mut pages).await?;
        left = later;
        left.extend(alone.into_iter().map(|part| Branch(vec![part])));
    }
    Ok(pages)
}

/// Pages of transactions share a branch where one range of the index and one projection do for all of them.
fn branches(parts: Vec<Part>) -> Vec<Branch> {
    let mut shared: HashMap<(u64, EventKind, Fields), usize> = HashMap::new();
    let mut branches: Vec<Branch> = Vec::new();
    for part in parts {
        if let Narrow::Transaction(_) = part.query.narrow {
            let alike = (part.query.chain, part.query.kind, part.query.fields);
            let at = *shared.entry(alike).or_insert(branches.len());
            if let Some(branch) = branches.get_mut(at) {
                branch.0.push(part);
                continue;
            }
        }
        branches.push(Branch(vec![part]));
    }
    branches
}

/// Asks for these in one command. Gives back the parts of shared branches that turned out too large.
async fn ask(store: &Store, branches: &[Branch], pages: &mut [Vec<EventAt>]) -> Result<Vec<Part>> {
    let Some((pipeline, first)) = pipeline(branches) else { return Ok(Vec::new()) };
    let rows = branches.iter().map(Branch::limit).fold(1_usize, usize::saturating_add);
    let events = store.collection(EVENTS);
    // All of them in one answer, as far as 16 MiB hold them.
    let mut cursor = events.aggregate(pipeline).hint(hint(first)).batch_size(u32::try_from(rows).unwrap_or(u32::MAX)).await?;
    let mut found: Vec<Vec<EventAt>> = branches.iter().map(|_| Vec::new()).collect();
    while cursor.advance().await? {
        let of = usize::try_from(Doc(cursor.current()).uint("branch")?).unwrap_or(usize::MAX);
        let rows = found.get_mut(of).ok_or_else(|| corrupt("a row of a page that was not asked for"))?;
        rows.push(row::read_event(cursor.current())?);
    }
    let mut alone = Vec::new();
    for (branch, rows) in branches.iter().zip(found) {
        match branch.0.as_slice() {
            [part] => {
                if let Some(page) = pages.get_mut(part.at) {
                    *page = rows;
                }
            }
            parts if rows.len() > branch.rows_max() => alone.extend(parts),
            parts => tell_apart(parts, &rows, pages),
        }
    }
    Ok(alone)
}

fn tell_apart(parts: &[Part], rows: &[EventAt], pages: &mut [Vec<EventAt>]) {
    let mut of: HashMap<B256, BTreeMap<Place, &EventAt>> = HashMap::new();
    for row in rows {
        let place = Place { block_number: row.block.number, log_index: row.row.log_index() };
        of.entry(row.row.event.raw.tx_hash).or_default().insert(place, row);
    }
    for part in parts {
        let Narrow::Transaction(hash) = part.query.narrow else { continue };
        let (Some(rows), Some(page)) = (of.get(&hash), pages.get_mut(part.at)) else { continue };
        let within = rows
            .iter()
            .filter(|(place, _)| part.after.is_none_or(|after| **place > after) && part.before.is_none_or(|b| **place < b))
            .map(|(_, row)| (*row).clone());
        *page = if part.query.newest_first {
            within.rev().take(part.query.limit).collect()
        } else {
            within.take(part.query.limit).collect()
        };
    }
}

/// What a command for queries without times says, for the test that reads its plan.
#[cfg(test)]
pub(super) fn pipeline_of(queries: &[EventQuery]) -> Option<(Vec<Document>, &'static str)> {
    let part = |(at, query): (usize, &EventQuery)| Part { at, query: *query, after: query.after, before: query.before };
    pipeline(&branches(queries.iter().enumerate().map(part).collect()))
}

/// The command's pipeline, and the index of its first branch. `None`: there is nothing to ask.
fn pipeline(branches: &[Branch]) -> Option<(Vec<Document>, &'static str)> {
    let (first, others) = branches.split_first()?;
    let (mut pipeline, index) = first.stages(0)?;
    for (number, branch) in others.iter().enumerate() {
        let (stages, _) = branch.stages(number.saturating_add(1))?;
        pipeline.push(doc! { "$unionWith": { "coll": EVENTS, "pipeline": stages } });
    }
    Some((pipeline, index))
}

impl Branch {
    fn rows_max(&self) -> usize {
        let asked = self.0.iter().map(|part| part.query.limit).fold(0, usize::saturating_add);
        if self.0.len() == 1 { asked } else { asked.max(SHARED_ROWS) }
    }

    /// One more than a shared branch may have says that it has more.
    fn limit(&self) -> usize {
        self.rows_max().saturating_add(usize::from(self.0.len() > 1))
    }

    fn stages(&self, number: usize) -> Option<(Vec<Document>, &'static str)> {
        let first = self.0.first()?;
        let query = &first.query;
        let Asked { mut filter, index, .. } = query::asked(query, first.after, first.before);
        let mut way = if query.newest_first { -1 } else { 1 };
        if self.0.len() > 1 {
            filter = self.shared_filter(query);
            way = 1;
        }
        let limit = i64::try_from(self.limit()).unwrap_or(i64::MAX);
        let mut fields = row::projection(query.fields);
        fields.insert("branch", doc! { "$literal": i32::try_from(number).unwrap_or(i32::MAX) });
        let stages = vec![
            doc! { "$match": filter },
            doc! { "$sort": order(query.narrow, way) },
            doc! { "$limit": limit },
            doc! { "$project": fields },
        ];
        Some((stages, index))
    }

    /// All of these transactions, from the earliest place that any of them asks for to the latest.
    fn shared_filter(&self, query: &EventQuery) -> Document {
        let hashes = self.0.iter().filter_map(|part| match part.query.narrow {
            Narrow::Transaction(hash) => Some(hash),
            _ => None,
        });
        let hashes: BTreeSet<B256> = hashes.collect();
        let prefixes: Vec<Bson> = hashes.iter().map(|hash| key::tx_prefix(hash).into()).collect();
        let whole: Vec<Bson> = hashes.iter().map(|hash| binary(hash.as_slice()).into()).collect();
        let after = self.0.iter().map(|part| part.after).min().flatten();
        let before = self.0.iter().map(|part| part.before).collect::<Option<Vec<_>>>().and_then(|all| all.into_iter().max());
        let range = key::events_between(query.chain, query.kind, after, before);
        doc! { "tx_prefix": { "$in": prefixes }, "_id": range, "tx": { "$in": whole }, "canonical": true }
    }
}

/// The order of the narrow's index, which is the order of the chain within what the branch matches.
fn order(narrow: Narrow, way: i32) -> Document {
    match narrow {
        Narrow::All => doc! { "_id": way },
        Narrow::Pool(_) => doc! { "pool": way, "canonical": way, "_id": way },
        // Without `tokens`: an index over a list gives no order of the list.
        Narrow::Token(_) => doc! { "canonical": way, "_id": way },
        Narrow::Origin(_) => doc! { "origin": way, "canonical": way, "_id": way },
        Narrow::Transaction(_) => doc! { "tx_prefix": way, "log_index": way },
    }
}
