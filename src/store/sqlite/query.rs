//! The closed set of event queries, each on one index.
//!
//! Every statement is fixed text with the same seven parameters, so it is prepared once per connection, and a test reads the plan
//! of each. Times become heights first; a page is then a range of (height, log index) on an index that ends in just that.

use std::collections::BTreeMap;

use rusqlite::{
    OptionalExtension, ToSql, Transaction, params,
    types::{ToSqlOutput, Value},
};

use super::{
    error::Result,
    open,
    row::{self, EVENT_COLUMNS, EVENT_JOINS, bound},
};
use crate::{
    domain::{event::EventKind, record::EventAt},
    store::query::{EventQuery, Narrow, Place},
};

/// (height, log index) as SQLite keeps them.
type Spot = (i64, i64);

/// Both ends exclusive.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    low: Spot,
    high: Spot,
}

/// Which index serves a query, and what it is looked up with. `?1` is the chain, `?2` the kind, `?3` the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// All swaps: in the order of the primary key.
    Swaps,
    /// All events of a rarer kind.
    Rare,
    Pool,
    Origin,
    Transaction,
}

impl By {
    fn source(self) -> &'static str {
        match self {
            Self::Swaps => "events AS e WHERE e.chain = ?1 AND e.kind = ?2 AND ?3 IS NULL",
            Self::Rare => "events AS e INDEXED BY events_rare WHERE e.chain = ?1 AND e.kind = ?2 AND e.kind <> 1 AND ?3 IS NULL",
            Self::Pool => "events AS e INDEXED BY events_pool WHERE e.chain = ?1 AND e.kind = ?2 AND e.pool = ?3",
            Self::Origin => "events AS e INDEXED BY events_origin WHERE e.chain = ?1 AND e.kind = ?2 AND e.origin = ?3",
            Self::Transaction => {
                "events AS e INDEXED BY events_tx WHERE e.chain = ?1 AND e.kind = ?2 AND substr(e.tx_hash, 1, 8) = substr(?3, 1, 8) AND e.tx_hash = ?3"
            }
        }
    }

    fn range(self) -> &'static str {
        "AND e.canonical = 1 AND (e.number, e.log_index) > (?4, ?5) AND (e.number, e.log_index) < (?6, ?7)"
    }

    /// Places only: the index alone answers.
    fn places(self, newest_first: bool) -> String {
        let order = order(newest_first);
        format!("SELECT e.number, e.log_index, e.fork FROM {} {} {order} LIMIT ?8", self.source(), self.range())
    }

    fn events(self, newest_first: bool) -> String {
        let source = self.source().replace(" WHERE ", &format!(" {EVENT_JOINS} WHERE "));
        format!("SELECT {EVENT_COLUMNS} FROM {source} {} {} LIMIT ?8", self.range(), order(newest_first))
    }

    fn count(self) -> String {
        format!("SELECT count(*) FROM (SELECT 1 FROM {} {} LIMIT ?8)", self.source(), self.range())
    }
}

fn order(newest_first: bool) -> &'static str {
    if newest_first { "ORDER BY e.number DESC, e.log_index DESC" } else { "ORDER BY e.number, e.log_index" }
}

/// What a query is looked up with.
enum Key {
    None,
    Pool(i64),
    Bytes(Vec<u8>),
}

impl ToSql for Key {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        match self {
            Self::None => Ok(ToSqlOutput::Owned(Value::Null)),
            Self::Pool(key) => Ok((*key).into()),
            Self::Bytes(bytes) => bytes.to_sql(),
        }
    }
}

/// How a query is answered.
enum Plan {
    /// Nothing can match: an unknown pool, a time after the last block.
    Nothing,
    One(By, Key, Stretch),
    /// The token's pools, each with its first and last height.
    Pools(Vec<(i64, i64, i64)>, Stretch),
}

pub(super) fn events(tx: &Transaction<'_>, query: &EventQuery) -> Result<Vec<EventAt>> {
    let chain = open::chain_key(tx, query.chain)?;
    let limit = query.limit.min(EventQuery::LIMIT_MAX);
    match plan(tx, chain, query)? {
        Plan::Nothing => Ok(Vec::new()),
        Plan::One(by, key, stretch) => {
            let mut statement = tx.prepare_cached(&by.events(query.newest_first))?;
            let Stretch { low, high } = stretch;
            let limit = i64::try_from(limit).unwrap_or(0);
            let mut rows = statement.query(params![chain, query.kind as u8, key, low.0, low.1, high.0, high.1, limit])?;
            let mut events = Vec::new();
            while let Some(row) = rows.next()? {
                events.push(row::event(query.chain, row)?);
            }
            Ok(events)
        }
        Plan::Pools(pools, stretch) => {
            let places = merge(tx, chain, query, pools, stretch, limit)?;
            let text = format!("SELECT {EVENT_COLUMNS} FROM events AS e {EVENT_JOINS} {}", At::WHERE);
            let mut statement = tx.prepare_cached(&text)?;
            let load = |((number, log_index), fork): (Spot, i64)| {
                let mut rows = statement.query(params![chain, number, log_index, fork])?;
                rows.next()?.map(|row| row::event(query.chain, row)).transpose()
            };
            let found: Vec<Option<EventAt>> = if query.newest_first {
                places.into_iter().rev().map(load).collect::<Result<_>>()?
            } else {
                places.into_iter().map(load).collect::<Result<_>>()?
            };
            Ok(found.into_iter().flatten().collect())
        }
    }
}

/// One event by its key.
struct At;

impl At {
    const WHERE: &str = "WHERE e.chain = ?1 AND e.number = ?2 AND e.log_index = ?3 AND e.fork = ?4";
}

pub(super) fn count(tx: &Transaction<'_>, query: &EventQuery, cap: u64) -> Result<u64> {
    let chain = open::chain_key(tx, query.chain)?;
    let one = |by: By, key: &Key, Stretch { low, high }: Stretch, cap: u64| -> Result<u64> {
        let counted: i64 = tx
            .prepare_cached(&by.count())?
            .query_row(params![chain, query.kind as u8, key, low.0, low.1, high.0, high.1, bound(cap)], |row| row.get(0))?;
        Ok(counted.cast_unsigned())
    };
    match plan(tx, chain, query)? {
        Plan::Nothing => Ok(0),
        Plan::One(by, key, stretch) => one(by, &key, stretch, cap),
        Plan::Pools(pools, stretch) => {
            let mut counted = 0_u64;
            for (pool, ..) in pools {
                let left = cap.saturating_sub(counted);
                if left == 0 {
                    break;
                }
                counted = counted.saturating_add(one(By::Pool, &Key::Pool(pool), stretch, left)?);
            }
            Ok(counted)
        }
    }
}

fn plan(tx: &Transaction<'_>, chain: i64, query: &EventQuery) -> Result<Plan> {
    let Some(stretch) = stretch(tx, chain, query)? else { return Ok(Plan::Nothing) };
    Ok(match &query.narrow {
        Narrow::All if query.kind == EventKind::Swap => Plan::One(By::Swaps, Key::None, stretch),
        Narrow::All => Plan::One(By::Rare, Key::None, stretch),
        Narrow::Pool(id) => match super::read::pool_key(tx, chain, id)? {
            Some(key) => Plan::One(By::Pool, Key::Pool(key), stretch),
            None => Plan::Nothing,
        },
        Narrow::Token(token) => {
            let mut pools = BTreeMap::new();
            for text in TOKEN_POOLS {
                let mut statement = tx.prepare_cached(text)?;
                let mut rows = statement.query(params![chain, token.as_slice()])?;
                while let Some(row) = rows.next()? {
                    let (first, last): (i64, i64) = (row.get(1)?, row.get(2)?);
                    if last >= stretch.low.0 && first <= stretch.high.0 {
                        pools.insert(row.get::<_, i64>(0)?, (first, last));
                    }
                }
            }
            Plan::Pools(pools.into_iter().map(|(key, (first, last))| (key, first, last)).collect(), stretch)
        }
        Narrow::Origin(origin) => Plan::One(By::Origin, Key::Bytes(origin.to_vec()), stretch),
        Narrow::Transaction(hash) => Plan::One(By::Transaction, Key::Bytes(hash.to_vec()), stretch),
    })
}

/// Pools with events that have the token at one side.
const TOKEN_POOLS: [&str; 2] = [
    "SELECT p.key, p.first_number, p.last_number FROM pools_created AS c INDEXED BY pools_token0 CROSS JOIN pools AS p ON p.key = c.pool
     WHERE c.chain = ?1 AND c.token0 = ?2 AND c.canonical = 1 AND p.first_number IS NOT NULL",
    "SELECT p.key, p.first_number, p.last_number FROM pools_created AS c INDEXED BY pools_token1 CROSS JOIN pools AS p ON p.key = c.pool
     WHERE c.chain = ?1 AND c.token1 = ?2 AND c.canonical = 1 AND p.first_number IS NOT NULL",
];

const FIRST_BLOCK_AT: &str = "SELECT number FROM blocks INDEXED BY blocks_time
     WHERE chain = ?1 AND canonical = 1 AND timestamp >= ?2 ORDER BY timestamp, number LIMIT 1";

/// The stretch of the chain that a query asks for. `None`: nothing lies in it.
fn stretch(tx: &Transaction<'_>, chain: i64, query: &EventQuery) -> Result<Option<Stretch>> {
    let spot = |place: Place| (bound(place.block_number), bound(place.log_index));
    let mut low = query.after.map_or((-1, -1), spot);
    let mut high = query.before.map_or((i64::MAX, i64::MAX), spot);
    let first_at = |time: u64| -> Result<Option<i64>> {
        Ok(tx.prepare_cached(FIRST_BLOCK_AT)?.query_row(params![chain, bound(time)], |row| row.get(0)).optional()?)
    };
    if let Some(from) = query.time_from {
        let Some(number) = first_at(from)? else { return Ok(None) };
        low = low.max((number, -1));
    }
    if let Some(to) = query.time_to
        && let Some(number) = first_at(to)?
    {
        high = high.min((number, -1));
    }
    Ok((low < high).then_some(Stretch { low, high }))
}

/// The best `limit` places over all pools of a token, in chain order.
///
/// Pools are visited from the one that was active last (or first), each only beyond the worst place that is still good enough;
/// the first pool that was quiet there ends the search. A token with many dead pools costs what its living ones cost.
fn merge(
    tx: &Transaction<'_>,
    chain: i64,
    query: &EventQuery,
    mut pools: Vec<(i64, i64, i64)>,
    stretch: Stretch,
    limit: usize,
) -> Result<BTreeMap<Spot, i64>> {
    let newest_first = query.newest_first;
    pools.sort_unstable_by_key(|(_, first, last)| if newest_first { last.saturating_neg() } else { *first });
    let mut statement = tx.prepare_cached(&By::Pool.places(newest_first))?;
    let mut best = BTreeMap::new();
    let Stretch { mut low, mut high } = stretch;
    for (pool, first, last) in pools {
        if limit == 0 || (if newest_first { last < low.0 } else { first > high.0 }) {
            break;
        }
        let asked = i64::try_from(limit).unwrap_or(0);
        let mut rows = statement.query(params![chain, query.kind as u8, pool, low.0, low.1, high.0, high.1, asked])?;
        while let Some(row) = rows.next()? {
            best.insert((row.get(0)?, row.get(1)?), row.get(2)?);
        }
        while best.len() > limit {
            if newest_first {
                best.pop_first()
            } else {
                best.pop_last()
            };
        }
        if best.len() == limit {
            let worst = if newest_first { best.first_key_value() } else { best.last_key_value() };
            match worst {
                Some((worst, _)) if newest_first => low = *worst,
                Some((worst, _)) => high = *worst,
                None => {}
            }
        }
    }
    Ok(best)
}

/// Every statement that a query of the API can run, for the test that reads their plans.
#[cfg(test)]
pub(super) fn statements() -> Vec<String> {
    let mut all: Vec<String> = TOKEN_POOLS.iter().chain([&FIRST_BLOCK_AT]).map(|s| (*s).to_owned()).collect();
    for by in [By::Swaps, By::Rare, By::Pool, By::Origin, By::Transaction] {
        all.push(by.count());
        for newest_first in [true, false] {
            all.extend([by.events(newest_first), by.places(newest_first)]);
        }
    }
    all.push(format!("SELECT {EVENT_COLUMNS} FROM events AS e {EVENT_JOINS} {}", At::WHERE));
    all
}
