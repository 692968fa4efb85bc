//! What is kept of tokens and factories, and chunks of candles and periods: of these, and of pools.

use std::{collections::BTreeMap, sync::Arc};

use rusqlite::{Transaction, params};

use super::{
    error::{Result, corrupt},
    open,
    read::key,
    row::{self, bound, int},
};
use crate::{
    domain::{
        ChainId,
        market::{Interval, Piece, Subject, Track},
        record::{BookSnapshot, ChunkOf},
    },
    store::{
        codec::{self, CodecError},
        history::SeriesRange,
    },
};

/// Newest first, until one begins before the range.
const CHUNKS: &str = "SELECT first, candles FROM candles WHERE pool = ?1 AND interval = ?2 AND first < ?3 ORDER BY first DESC";
const BOOK: &str =
    "SELECT book_hour, book_sources, book_number, book_hash, book_parent_hash, book_timestamp FROM heads WHERE chain = ?1";
const MARKETS: &str = "SELECT subject, market FROM books WHERE chain = ?1";

/// For the test that reads their plans.
#[cfg(test)]
pub(super) const STATEMENTS: [&str; 3] = [CHUNKS, BOOK, MARKETS];

pub(super) fn pieces<C: Piece>(
    tx: &Transaction<'_>,
    range: &SeriesRange,
    track: fn(Interval) -> Track,
    decode: fn(&[u8]) -> std::result::Result<Vec<C>, CodecError>,
) -> Result<Vec<C>> {
    let chain = open::chain_key(tx, range.chain)?;
    let Some(of) = key(tx, chain, &range.of.bytes())? else { return Ok(Vec::new()) };
    let mut statement = tx.prepare_cached(CHUNKS)?;
    let mut rows = statement.query(params![of, track(range.interval).code(), bound(range.to)])?;
    let mut chunks: Vec<Vec<C>> = Vec::new();
    while let Some(row) = rows.next()? {
        chunks.push(decode(row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?)?);
        if row.get::<_, i64>(0)? < bound(range.from) || range.suffices(&chunks) {
            break;
        }
    }
    Ok(range.pieces(chunks))
}

/// What is older than its retention goes as something newer comes. `of`: the key of whose chunk it is.
pub(super) fn write_chunk(tx: &Transaction<'_>, of: i64, ChunkOf { chunk, .. }: &ChunkOf) -> Result<()> {
    let Some((first, last)) = chunk.span() else { return Ok(()) };
    let track = chunk.track();
    tx.prepare_cached(
        "INSERT INTO candles (pool, interval, first, last, candles) VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
    )?
    .execute(params![of, track.code(), int(first)?, int(last)?, codec::encode_closed(&chunk.closed)])?;
    if let Some(retention) = track.interval().retention_seconds() {
        tx.prepare_cached("DELETE FROM candles WHERE pool = ?1 AND interval = ?2 AND first < ?3 AND last < ?3")?
            .execute(params![of, track.code(), int(last.saturating_sub(retention))?])?;
    }
    Ok(())
}

pub(super) fn read(tx: &Transaction<'_>, chain: ChainId) -> Result<Option<BookSnapshot>> {
    let chain = open::chain_key(tx, chain)?;
    let mut statement = tx.prepare_cached(BOOK)?;
    let mut rows = statement.query([chain])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let Some(hour) = row.get::<_, Option<i64>>(0)? else { return Ok(None) };
    let sources = serde_json::from_str(row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?)
        .map_err(|error| corrupt(format!("the sources of a book: {error}")))?;
    let hour = u64::try_from(hour).map_err(|_| corrupt("a negative hour"))?;
    let mut book = BookSnapshot { block: row::block(row, 2)?, hour, sources, markets: BTreeMap::new() };
    let mut statement = tx.prepare_cached(MARKETS)?;
    let mut rows = statement.query([chain])?;
    while let Some(row) = rows.next()? {
        let of = Subject::from_bytes(row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?);
        let market = codec::decode_market(row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?, book.block.timestamp)?;
        let (Some(of), Some(market)) = (of, market) else { return Err(corrupt("a market of nobody")) };
        book.markets.insert(of, Arc::new(market));
    }
    Ok(Some(book))
}

pub(super) fn write(tx: &Transaction<'_>, chain: i64, book: &BookSnapshot) -> Result<()> {
    let BookSnapshot { block, hour, sources, markets } = book;
    let sources = serde_json::to_string(sources).map_err(|error| corrupt(format!("a book cannot be kept: {error}")))?;
    tx.prepare_cached(
        "UPDATE heads SET book_number = ?2, book_hash = ?3, book_parent_hash = ?4, book_timestamp = ?5, book_hour = ?6, book_sources = ?7
         WHERE chain = ?1",
    )?
    .execute(params![
        chain,
        int(block.number)?,
        block.hash.as_slice(),
        block.parent_hash.as_slice(),
        int(block.timestamp)?,
        int(*hour)?,
        sources
    ])?;
    for (of, market) in markets {
        tx.prepare_cached(
            "INSERT INTO books (chain, subject, market) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET market = excluded.market",
        )?
        .execute(params![chain, of.bytes(), codec::encode_market(market)])?;
    }
    Ok(())
}

/// Everything of tokens and factories.
pub(super) fn forget(tx: &Transaction<'_>, chain: i64) -> Result<()> {
    // Names of theirs have a length that no pool's has.
    for text in [
        "DELETE FROM candles WHERE pool IN (SELECT key FROM pools WHERE chain = ?1 AND length(id) = 21)",
        "DELETE FROM books WHERE chain = ?1",
        "UPDATE heads SET book_hour = NULL WHERE chain = ?1",
    ] {
        tx.prepare_cached(text)?.execute([chain])?;
    }
    Ok(())
}
