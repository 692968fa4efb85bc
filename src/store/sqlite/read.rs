//! What a restart reads, and single look-ups.

use std::{collections::BTreeMap, sync::Arc};

use alloy::primitives::B256;
use rusqlite::{OptionalExtension, Transaction, params};

use super::{
    error::{Result, corrupt},
    open,
    row::{self, EVENT_COLUMNS, EVENT_JOINS, POOL_COLUMNS, bound},
};
use crate::{
    domain::{
        ChainId,
        block::BlockRef,
        event::EventKind,
        pool::{PoolId, PoolMeta},
        record::{BlockRecord, PoolSnapshot},
        token::TokenMeta,
    },
    store::{
        codec,
        history::{Boot, PoolReplay, Unenriched},
        query::{Moment, Place},
    },
};

const HEAD: &str = "SELECT finalized_number, number, hash, parent_hash, timestamp FROM heads WHERE chain = ?1";
const TOKENS: &str = "SELECT meta FROM tokens WHERE chain = ?1 ORDER BY address";
const SOURCES: &str = "SELECT name, next_block FROM sources WHERE chain = ?1 ORDER BY name";
const RECORDS: &str = "SELECT number, hash, parent_hash, timestamp, told FROM blocks
     WHERE chain = ?1 AND number >= ?2 AND canonical = 1 ORDER BY number LIMIT ?3";
const POOL_KEY: &str = "SELECT key FROM pools WHERE chain = ?1 AND id = ?2";
const SNAPSHOT: &str = "SELECT b.number, b.hash, b.parent_hash, b.timestamp, s.state, s.market FROM snapshots AS s
     CROSS JOIN blocks AS b ON b.chain = s.chain AND b.number = s.number AND b.fork = s.fork
     WHERE s.pool = ?1 AND b.canonical = 1 ORDER BY s.number DESC LIMIT 1";
const BLOCK: &str = "SELECT number, hash, parent_hash, timestamp, canonical FROM blocks WHERE chain = ?1 AND hash = ?2";
const BLOCK_BELOW: &str = "SELECT number, hash, parent_hash, timestamp FROM blocks
     WHERE chain = ?1 AND number <= ?2 AND canonical = 1 ORDER BY number DESC LIMIT 1";
const BLOCK_BEFORE: &str = "SELECT number, hash, parent_hash, timestamp FROM blocks INDEXED BY blocks_time
     WHERE chain = ?1 AND canonical = 1 AND timestamp <= ?2 ORDER BY timestamp DESC, number DESC LIMIT 1";
/// By the primary key: no index is kept for what is done once.
const UNENRICHED: &str = "SELECT b.number, b.hash, b.parent_hash, b.timestamp, e.tx_hash FROM events AS e
     CROSS JOIN blocks AS b ON b.chain = e.chain AND b.number = e.number AND b.fork = e.fork
     WHERE e.chain = ?1 AND e.number >= ?2 AND e.number <= ?3 AND e.canonical = 1 AND e.origin IS NULL ORDER BY e.number LIMIT ?4";
/// Rows of one question for what is to be enriched.
const UNENRICHED_ROWS: i64 = 2_000;
/// The only one that reads everything: the audit asks it, no client can.
const LOG_COUNTS: &str =
    "SELECT count(*) + count(sync_log_index), coalesce(sum((1 + (sync_log_index IS NOT NULL)) * canonical), 0)
     FROM events WHERE chain = ?1";

fn pools_sql() -> String {
    format!(
        "SELECT {POOL_COLUMNS} FROM pools_created AS c
         CROSS JOIN blocks AS b ON b.chain = c.chain AND b.number = c.number AND b.fork = c.fork CROSS JOIN pools AS p ON p.key = c.pool
         WHERE c.chain = ?1 AND c.canonical = 1 ORDER BY c.number, c.log_index"
    )
}

fn records_events_sql() -> String {
    format!(
        "SELECT {EVENT_COLUMNS} FROM events AS e {EVENT_JOINS}
         WHERE e.chain = ?1 AND e.number >= ?2 AND e.number <= ?3 AND e.canonical = 1 ORDER BY e.number, e.log_index"
    )
}

fn record_events_sql() -> String {
    format!(
        "SELECT {EVENT_COLUMNS} FROM events AS e {EVENT_JOINS}
         WHERE e.chain = ?1 AND e.number = ?2 AND b.hash = ?3 ORDER BY e.log_index"
    )
}

/// Kind by kind, as the index has them: the order of the chain is made afterwards.
fn replay_sql() -> String {
    let kinds = EventKind::ALL.map(|kind| (kind as u8).to_string()).join(", ");
    format!(
        "SELECT {EVENT_COLUMNS} FROM events AS e INDEXED BY events_pool {EVENT_JOINS}
         WHERE e.pool = ?1 AND e.kind IN ({kinds}) AND e.number > ?2 AND e.canonical = 1"
    )
}

pub(super) fn boot(tx: &Transaction<'_>, chain_id: ChainId) -> Result<Boot> {
    let chain = open::chain_key(tx, chain_id)?;
    let mut boot = Boot::default();
    {
        let mut statement = tx.prepare_cached(HEAD)?;
        let mut rows = statement.query([chain])?;
        if let Some(row) = rows.next()? {
            boot.finalized_number = unsigned(row.get(0)?)?;
            if row.get::<_, Option<i64>>(1)?.is_some() {
                boot.head = Some(row::block(row, 1)?);
            }
        }
    }
    {
        let mut statement = tx.prepare_cached(&pools_sql())?;
        let mut rows = statement.query([chain])?;
        while let Some(row) = rows.next()? {
            boot.pools.push(row::pool(chain_id, row)?);
        }
    }
    {
        let mut statement = tx.prepare_cached(TOKENS)?;
        let mut rows = statement.query([chain])?;
        while let Some(row) = rows.next()? {
            let token: TokenMeta = serde_json::from_str(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?)
                .map_err(|error| corrupt(format!("a token: {error}")))?;
            boot.tokens.push(token);
        }
    }
    {
        let mut statement = tx.prepare_cached(SOURCES)?;
        let mut rows = statement.query([chain])?;
        while let Some(row) = rows.next()? {
            boot.sources.push((row.get(0)?, unsigned(row.get(1)?)?));
        }
    }
    let mut window = records(tx, chain_id, boot.finalized_number, usize::MAX)?;
    for pool in boot.pools.iter().rev().take_while(|p| p.created.block.number >= boot.finalized_number) {
        if let Ok(at) = window.binary_search_by_key(&pool.created.block.number, |record| record.block.number)
            && let Some(record) = window.get_mut(at)
        {
            record.created.insert(0, Arc::new(pool.clone()));
        }
    }
    boot.window = window;
    Ok(boot)
}

pub(super) fn records(tx: &Transaction<'_>, chain_id: ChainId, from: u64, limit: usize) -> Result<Vec<BlockRecord>> {
    let chain = open::chain_key(tx, chain_id)?;
    let mut records: BTreeMap<u64, BlockRecord> = BTreeMap::new();
    let mut statement = tx.prepare_cached(RECORDS)?;
    let mut rows = statement.query(params![chain, bound(from), i64::try_from(limit).unwrap_or(i64::MAX)])?;
    while let Some(row) = rows.next()? {
        let block = row::block(row, 0)?;
        let told = row.get_ref(4)?.as_blob_or_null().map_err(rusqlite::Error::from)?;
        let told = told.map(codec::decode_told).transpose()?.map(Arc::new);
        records.insert(block.number, BlockRecord { told, ..BlockRecord::new(chain_id, block, Vec::new()) });
    }
    let Some((last, _)) = records.last_key_value() else { return Ok(Vec::new()) };
    let mut statement = tx.prepare_cached(&records_events_sql())?;
    let mut rows = statement.query(params![chain, bound(from), bound(*last)])?;
    while let Some(row) = rows.next()? {
        let event = row::event(chain_id, row)?;
        if let Some(record) = records.get_mut(&event.block.number) {
            record.rows.push(event.row);
        }
    }
    Ok(records.into_values().collect())
}

pub(super) fn pool_key(tx: &Transaction<'_>, chain: i64, id: &PoolId) -> Result<Option<i64>> {
    key(tx, chain, id.as_slice())
}

/// Of a pool, or of whatever else has candles.
pub(super) fn key(tx: &Transaction<'_>, chain: i64, id: &[u8]) -> Result<Option<i64>> {
    Ok(tx.prepare_cached(POOL_KEY)?.query_row(params![chain, id], |row| row.get(0)).optional()?)
}

pub(super) fn replay(tx: &Transaction<'_>, chain_id: ChainId, pools: &[PoolMeta]) -> Result<Vec<PoolReplay>> {
    let chain = open::chain_key(tx, chain_id)?;
    pools.iter().map(|pool| replay_one(tx, chain_id, chain, &pool.id)).collect()
}

fn replay_one(tx: &Transaction<'_>, chain_id: ChainId, chain: i64, pool: &PoolId) -> Result<PoolReplay> {
    let Some(key) = pool_key(tx, chain, pool)? else { return Ok(PoolReplay::default()) };
    let mut statement = tx.prepare_cached(SNAPSHOT)?;
    let mut rows = statement.query([key])?;
    let snapshot = match rows.next()? {
        Some(row) => {
            let block = row::block(row, 0)?;
            let image = codec::decode_image(row.get_ref(4)?.as_blob().map_err(rusqlite::Error::from)?, block.timestamp)?;
            let market = row.get_ref(5)?.as_blob_or_null().map_err(rusqlite::Error::from)?;
            let market = market.map(|bytes| codec::decode_market(bytes, block.timestamp)).transpose()?.flatten().map(Arc::new);
            Some(PoolSnapshot { chain: chain_id, pool: *pool, block, image, market })
        }
        None => None,
    };
    let after = snapshot.as_ref().map_or(-1, |s| bound(s.block.number));
    let mut statement = tx.prepare_cached(&replay_sql())?;
    let mut rows = statement.query([key, after])?;
    let mut events = Vec::new();
    while let Some(row) = rows.next()? {
        events.push(row::event(chain_id, row)?);
    }
    events.sort_unstable_by_key(|e| Place { block_number: e.block.number, log_index: e.row.log_index() });
    Ok(PoolReplay { snapshot, rows: events })
}

pub(super) fn block(tx: &Transaction<'_>, chain: ChainId, hash: &B256) -> Result<Option<(BlockRef, bool)>> {
    let chain = open::chain_key(tx, chain)?;
    let mut statement = tx.prepare_cached(BLOCK)?;
    let mut rows = statement.query(params![chain, hash.as_slice()])?;
    rows.next()?.map(|row| Ok((row::block(row, 0)?, row.get(4)?))).transpose()
}

pub(super) fn record(tx: &Transaction<'_>, chain_id: ChainId, hash: &B256) -> Result<Option<BlockRecord>> {
    let Some((block, _)) = block(tx, chain_id, hash)? else { return Ok(None) };
    let chain = open::chain_key(tx, chain_id)?;
    let mut record = BlockRecord::new(chain_id, block, Vec::new());
    let mut statement = tx.prepare_cached(&record_events_sql())?;
    let mut rows = statement.query(params![chain, bound(block.number), hash.as_slice()])?;
    while let Some(row) = rows.next()? {
        record.rows.push(row::event(chain_id, row)?.row);
    }
    Ok(Some(record))
}

pub(super) fn block_at(tx: &Transaction<'_>, chain: ChainId, moment: Moment) -> Result<Option<BlockRef>> {
    let chain = open::chain_key(tx, chain)?;
    let (text, most) = match moment {
        Moment::Number(number) => (BLOCK_BELOW, number),
        Moment::Time(time) => (BLOCK_BEFORE, time),
    };
    let mut statement = tx.prepare_cached(text)?;
    let mut rows = statement.query(params![chain, bound(most)])?;
    rows.next()?.map(|row| row::block(row, 0)).transpose()
}

pub(super) fn log_counts(tx: &Transaction<'_>, chain: ChainId) -> Result<(u64, u64)> {
    let chain = open::chain_key(tx, chain)?;
    let (all, canonical) = tx.prepare_cached(LOG_COUNTS)?.query_row([chain], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok((unsigned(all)?, unsigned(canonical)?))
}

fn unsigned(value: i64) -> Result<u64> {
    u64::try_from(value).map_err(|_| corrupt("a negative number"))
}

/// Every statement of this file, for the test that reads their plans.
#[cfg(test)]
pub(super) fn statements() -> Vec<String> {
    let mut all: Vec<String> = [HEAD, TOKENS, SOURCES, RECORDS, POOL_KEY, SNAPSHOT, BLOCK, BLOCK_BELOW, BLOCK_BEFORE, LOG_COUNTS]
        .map(str::to_owned)
        .to_vec();
    all.extend(super::book::STATEMENTS.map(str::to_owned));
    all.extend([pools_sql(), records_events_sql(), record_events_sql(), replay_sql()]);
    all
}

pub(super) fn unenriched(tx: &Transaction<'_>, chain: ChainId, from: u64, to: u64) -> Result<Unenriched> {
    let key = open::chain_key(tx, chain)?;
    let mut found = Unenriched { blocks: Vec::new(), next_block: to.saturating_add(1) };
    // A block that has more rows than one question is asked for alone.
    for (to, limit) in [(to, UNENRICHED_ROWS), (from, i64::MAX)] {
        let mut statement = tx.prepare_cached(UNENRICHED)?;
        let mut rows = statement.query(params![key, bound(from), bound(to), limit])?;
        let mut count = 0_i64;
        found.blocks.clear();
        while let Some(row) = rows.next()? {
            count = count.saturating_add(1);
            let (block, tx_hash) = (row::block(row, 0)?, B256::from(row.get::<_, [u8; 32]>(4)?));
            match found.blocks.last_mut() {
                Some((last, transactions)) if last.hash == block.hash => transactions.push(tx_hash),
                _ => found.blocks.push((block, vec![tx_hash])),
            }
        }
        let cut = (count == limit).then(|| found.blocks.pop()).flatten();
        found.next_block = cut.map_or(to.saturating_add(1), |(block, _)| block.number);
        if found.next_block > from {
            break;
        }
    }
    found.blocks.iter_mut().for_each(|(_, transactions)| {
        transactions.sort_unstable();
        transactions.dedup();
    });
    Ok(found)
}
