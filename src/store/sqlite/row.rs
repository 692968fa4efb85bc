//! Between SQL rows and domain values.

use alloy::primitives::{Address, B256, U256};
use rusqlite::Row;

use super::error::{Failure, Result, corrupt};
use crate::{
    domain::{
        ChainId,
        block::BlockRef,
        dollars::Usd,
        event::{Event, RawLog},
        image::Origin,
        pool::{CreatedAt, PoolId, PoolMeta, Protocol},
        record::{Enrichment, EventAt, EventRow},
    },
    store::codec,
};

/// What [`event`] reads, of `events AS e` with [`EVENT_JOINS`].
pub(super) const EVENT_COLUMNS: &str = "b.number, b.hash, b.parent_hash, b.timestamp, e.canonical, p.id, e.address, e.tx_hash, e.tx_index, \
     e.log_index, e.log, e.body, e.state_after, e.sync_log_index, e.origin, e.gas_used, e.gas_price, e.usd, e.gauge";

/// `CROSS` keeps the order: events drive, the others are looked up by their primary keys.
pub(super) const EVENT_JOINS: &str = "CROSS JOIN blocks AS b ON b.chain = e.chain AND b.number = e.number AND b.fork = e.fork CROSS JOIN pools AS p ON p.key = e.pool";

/// A number of the chain as SQLite keeps it. Beyond 2^63 none is real.
pub(super) fn int(value: u64) -> Result<i64> {
    i64::try_from(value).map_err(|_| corrupt(format!("{value} is no height, time or index of a real chain")))
}

/// The same where it only limits a search.
pub(super) fn bound(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn uint(row: &Row<'_>, at: usize) -> Result<u64> {
    u64::try_from(row.get::<_, i64>(at)?).map_err(|_| corrupt("a negative height, time or index"))
}

fn hash(row: &Row<'_>, at: usize) -> Result<B256> {
    Ok(row.get::<_, [u8; 32]>(at)?.into())
}

fn address(row: &Row<'_>, at: usize) -> Result<Address> {
    Ok(row.get::<_, [u8; 20]>(at)?.into())
}

fn blob<'a>(row: &'a Row<'_>, at: usize) -> Result<&'a [u8]> {
    row.get_ref(at)?.as_blob().map_err(|error| Failure::Sql(error.into()))
}

/// Number, hash, parent hash and timestamp, from column `at` on.
pub(super) fn block(row: &Row<'_>, at: usize) -> Result<BlockRef> {
    let next = |n: usize| at.saturating_add(n);
    Ok(BlockRef {
        number: uint(row, at)?,
        hash: hash(row, next(1))?,
        parent_hash: hash(row, next(2))?,
        timestamp: uint(row, next(3))?,
    })
}

fn pool_id(row: &Row<'_>, at: usize) -> Result<PoolId> {
    PoolId::from_slice(blob(row, at)?).ok_or_else(|| corrupt("a pool id that has neither 20 nor 32 bytes"))
}

/// One row of [`EVENT_COLUMNS`].
pub(super) fn event(chain: ChainId, row: &Row<'_>) -> Result<EventAt> {
    let pool = pool_id(row, 5)?;
    let emitter = match (row.get::<_, Option<[u8; 20]>>(6)?, pool) {
        (Some(address), _) => address.into(),
        (None, PoolId::Address(address)) => address,
        (None, PoolId::Id(_)) => return Err(corrupt("a log without the address that emitted it")),
    };
    let (topics, data) = codec::decode_log(blob(row, 10)?)?;
    let body = codec::decode_body(blob(row, 11)?, &topics, &data)?;
    let after = match row.get_ref(12)?.as_blob_or_null().map_err(rusqlite::Error::from)? {
        Some(bytes) => Some(codec::decode_after(bytes, &topics, &data)?),
        None => None,
    };
    let sync_log_index =
        row.get::<_, Option<i64>>(13)?.map(u64::try_from).transpose().map_err(|_| corrupt("a negative index"))?;
    let enrichment = match row.get::<_, Option<[u8; 20]>>(14)? {
        Some(origin) => Some(Enrichment {
            origin: origin.into(),
            gas_used: row.get::<_, i64>(15)?.cast_unsigned(),
            gas_price_wei: U256::from_be_bytes(row.get::<_, [u8; 32]>(16)?),
        }),
        None => None,
    };
    let usd = row.get::<_, Option<i64>>(17)?.map(|micro| Usd(micro.cast_unsigned()));
    let gauge = match (row.get_ref(18)?.as_blob_or_null().map_err(rusqlite::Error::from)?, &after) {
        (Some(bytes), Some(after)) => Some(Box::new(codec::decode_gauge(bytes, after)?)),
        _ => None,
    };
    let raw =
        RawLog { address: emitter, topics, data, tx_hash: hash(row, 7)?, tx_index: uint(row, 8)?, log_index: uint(row, 9)? };
    Ok(EventAt {
        chain,
        block: block(row, 0)?,
        row: EventRow { event: Event { pool, body, raw }, sync_log_index, after, usd, gauge, enrichment },
        canonical: row.get(4)?,
    })
}

/// Nothing where the blob is empty.
fn maybe_hash(row: &Row<'_>, column: usize) -> Result<Option<B256>> {
    let empty = row.get_ref(column)?.as_blob().map_err(rusqlite::Error::from)?.is_empty();
    if empty { Ok(None) } else { hash(row, column).map(Some) }
}

/// What [`pool`] reads, of `pools_created AS c`, `blocks AS b`, `pools AS p`.
pub(super) const POOL_COLUMNS: &str = "b.number, b.hash, b.parent_hash, b.timestamp, p.id, c.protocol, c.dex, c.factory, c.token0, c.token1, \
     c.fee_pips, c.tick_spacing, c.tx_hash, c.log_index, c.origin, c.hooks";

/// One row of [`POOL_COLUMNS`].
pub(super) fn pool(chain: ChainId, row: &Row<'_>) -> Result<PoolMeta> {
    Ok(PoolMeta {
        chain,
        id: pool_id(row, 4)?,
        protocol: protocol(row.get(5)?).ok_or_else(|| corrupt("a protocol that this version does not know"))?,
        dex: row.get(6)?,
        factory: address(row, 7)?,
        token0: address(row, 8)?,
        token1: address(row, 9)?,
        fee_pips: row.get(10)?,
        tick_spacing: row.get(11)?,
        hooks: row.get::<_, Option<[u8; 20]>>(15)?.map(Address::from),
        created: CreatedAt { block: block(row, 0)?, tx_hash: maybe_hash(row, 12)?, log_index: uint(row, 13)? },
        origin: origin(row, 14)?,
    })
}

fn origin(row: &Row<'_>, column: usize) -> Result<Option<Box<Origin>>> {
    let bytes: Option<Vec<u8>> = row.get(column)?;
    Ok(bytes.map(|bytes| codec::decode_origin(&bytes)).transpose()?.map(Box::new))
}

pub(super) fn protocol_code(protocol: Protocol) -> i64 {
    match protocol {
        Protocol::UniswapV2 => 2,
        Protocol::UniswapV3 => 3,
        Protocol::UniswapV4 => 4,
    }
}

fn protocol(code: i64) -> Option<Protocol> {
    match code {
        2 => Some(Protocol::UniswapV2),
        3 => Some(Protocol::UniswapV3),
        4 => Some(Protocol::UniswapV4),
        _ => None,
    }
}
