//! `_id`s: binary, of one length per collection, so that MongoDB orders them as the chain does.
//!
//! A range of blocks, or of (block, log) of one kind, is a range of `_id`. Numbers are big-endian.

use alloy::primitives::{Address, B256};
use mongodb::bson::{Binary, Document, doc, spec::BinarySubtype};

use super::error::{Result, corrupt};
use crate::{
    domain::{
        ChainId,
        block::BlockRef,
        event::EventKind,
        market::{Subject, Track},
        pool::{CreatedAt, PoolId},
    },
    store::query::Place,
};

/// So many bytes of the block's hash make an event's `_id` unique: enough against accident and attack (2^128 work to hit one).
const HASH_BYTES: usize = 16;
/// chain, length of a name, the name padded to 32 bytes.
const PREFIX: usize = 41;
/// Where the length is.
const LENGTH_AT: usize = 8;

pub(super) fn binary(bytes: impl Into<Vec<u8>>) -> Binary {
    Binary { subtype: BinarySubtype::Generic, bytes: bytes.into() }
}

/// A number of the chain as BSON keeps it. Beyond 2^63 none is real.
pub(super) fn int(value: u64) -> Result<i64> {
    i64::try_from(value).map_err(|_| corrupt(format!("{value} is no height, time or index of a real chain")))
}

/// The same where it only limits a search.
pub(super) fn bound(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn log(index: u64) -> [u8; 4] {
    u32::try_from(index).unwrap_or(u32::MAX).to_be_bytes()
}

fn event_key(chain: ChainId, kind: EventKind, place: Place, tail: &[u8]) -> Binary {
    let mut key = Vec::with_capacity(21 + HASH_BYTES);
    key.extend_from_slice(&chain.to_be_bytes());
    key.push(kind as u8);
    key.extend_from_slice(&place.block_number.to_be_bytes());
    key.extend_from_slice(&log(place.log_index));
    key.extend_from_slice(tail);
    binary(key)
}

/// chain, kind, block number, log index, hash: the natural key, in the order of every answer.
pub(super) fn event(chain: ChainId, kind: EventKind, number: u64, hash: &B256, log_index: u64) -> Binary {
    let place = Place { block_number: number, log_index };
    event_key(chain, kind, place, hash.get(..HASH_BYTES).unwrap_or_default())
}

/// Chain and place of such a key.
pub(super) fn read_event(key: &[u8]) -> Option<(ChainId, Place)> {
    let (chain, rest) = key.split_first_chunk()?;
    let (_kind, rest) = rest.split_first()?;
    let (number, rest) = rest.split_first_chunk()?;
    let (log, hash) = rest.split_first_chunk()?;
    let place = Place { block_number: u64::from_be_bytes(*number), log_index: u32::from_be_bytes(*log).into() };
    (hash.len() == HASH_BYTES).then_some((u64::from_be_bytes(*chain), place))
}

/// Events of one kind strictly between two places.
pub(super) fn events_between(chain: ChainId, kind: EventKind, after: Option<Place>, before: Option<Place>) -> Document {
    let first = Place { block_number: 0, log_index: 0 };
    let last = Place { block_number: u64::MAX, log_index: u64::MAX };
    let low = match after {
        Some(place) => event_key(chain, kind, place, &[0xff; HASH_BYTES]),
        None => event_key(chain, kind, first, &[0; HASH_BYTES]),
    };
    let high = match before {
        Some(place) => event_key(chain, kind, place, &[0; HASH_BYTES]),
        None => event_key(chain, kind, last, &[0xff; HASH_BYTES]),
    };
    // Both ends are no keys of events, except the very first: a log with index 0 in block 0 whose hash begins with zeros.
    doc! { "$gte": low, "$lte": high }
}

/// Events of every kind in blocks `from..=to`: one range of `_id` for each kind.
pub(super) fn events_in_blocks(chain: ChainId, from: u64, to: u64) -> Document {
    let range = |kind: EventKind| {
        let low = event_key(chain, kind, Place { block_number: from, log_index: 0 }, &[0; HASH_BYTES]);
        let high = event_key(chain, kind, Place { block_number: to, log_index: u64::MAX }, &[0xff; HASH_BYTES]);
        doc! { "_id": { "$gte": low, "$lte": high } }
    };
    doc! { "$or": EventKind::ALL.map(range).to_vec() }
}

/// chain, block number, hash.
pub(super) fn block(chain: ChainId, number: u64, hash: &B256) -> Binary {
    let mut key = Vec::with_capacity(48);
    key.extend_from_slice(&chain.to_be_bytes());
    key.extend_from_slice(&number.to_be_bytes());
    key.extend_from_slice(hash.as_slice());
    binary(key)
}

/// Blocks `from..=to`.
pub(super) fn blocks_between(chain: ChainId, from: u64, to: u64) -> Document {
    doc! { "$gte": block(chain, from, &B256::ZERO), "$lte": block(chain, to, &B256::repeat_byte(0xff)) }
}

/// chain, block number, log index, hash of the block that created it. Where no log did, the pool itself tells those apart that were
/// read at one block.
pub(super) fn pool(chain: ChainId, pool: &PoolId, created: &CreatedAt) -> Binary {
    let mut last = [0_u8; 32];
    let last: &[u8] = match created.tx_hash {
        Some(_) => created.block.hash.as_slice(),
        None => {
            last.iter_mut().zip(pool.as_slice()).for_each(|(to, from)| *to = *from);
            &last
        }
    };
    pool_key(chain, created.block.number, created.log_index, last)
}

fn pool_key(chain: ChainId, number: u64, log_index: u64, last: &[u8]) -> Binary {
    let mut key = Vec::with_capacity(52);
    key.extend_from_slice(&chain.to_be_bytes());
    key.extend_from_slice(&number.to_be_bytes());
    key.extend_from_slice(&log(log_index));
    key.extend_from_slice(last);
    binary(key)
}

/// Pools created in blocks `from..=to`.
pub(super) fn pools_between(chain: ChainId, from: u64, to: u64) -> Document {
    doc! { "$gte": pool_key(chain, from, 0, &[0; 32]), "$lte": pool_key(chain, to, u64::MAX, &[0xff; 32]) }
}

fn pool_prefix(chain: ChainId, pool: &PoolId) -> Vec<u8> {
    prefix(chain, pool.as_slice())
}

fn prefix(chain: ChainId, name: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(81);
    key.extend_from_slice(&chain.to_be_bytes());
    // An address and an id that begins with it must not mix.
    key.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
    key.extend_from_slice(name);
    key.resize(PREFIX, 0);
    key
}

fn snapshot_key(chain: ChainId, pool: &PoolId, number: u64, hash: &B256) -> Binary {
    let mut key = pool_prefix(chain, pool);
    key.extend_from_slice(&number.to_be_bytes());
    key.extend_from_slice(hash.as_slice());
    binary(key)
}

/// chain, pool, block number, hash.
pub(super) fn snapshot(chain: ChainId, pool: &PoolId, number: u64, hash: &B256) -> Binary {
    snapshot_key(chain, pool, number, hash)
}

/// All snapshots of a pool.
pub(super) fn snapshots_of(chain: ChainId, pool: &PoolId) -> Document {
    doc! {
        "$gte": snapshot_key(chain, pool, 0, &B256::ZERO),
        "$lte": snapshot_key(chain, pool, u64::MAX, &B256::repeat_byte(0xff)),
    }
}

/// Block, pool, field, number: so that those of a block, and those of a snapshot, are each a range.
pub(super) fn part(chain: ChainId, at: &BlockRef, pool: &PoolId, field: u8, number: u8) -> Binary {
    let mut key = block(chain, at.number, &at.hash).bytes;
    key.extend_from_slice(&pool_prefix(chain, pool));
    key.extend_from_slice(&[field, number]);
    binary(key)
}

/// One field's of a snapshot.
pub(super) fn parts_of(chain: ChainId, at: &BlockRef, pool: &PoolId, field: u8) -> Document {
    doc! { "$gte": part(chain, at, pool, field, 0), "$lte": part(chain, at, pool, field, u8::MAX) }
}

/// All of a snapshot.
pub(super) fn parts_of_snapshot(chain: ChainId, at: &BlockRef, pool: &PoolId) -> Document {
    doc! { "$gte": part(chain, at, pool, 0, 0), "$lte": part(chain, at, pool, u8::MAX, u8::MAX) }
}

/// All of a block's snapshots. Longer than the block's own key, and shorter than the next one's.
pub(super) fn parts_of_block(chain: ChainId, at: &BlockRef) -> Document {
    let mut end = block(chain, at.number, &at.hash).bytes;
    end.resize(block(chain, 0, &B256::ZERO).bytes.len().saturating_add(43), 0xff);
    doc! { "$gte": part(chain, at, &PoolId::Address(Address::ZERO), 0, 0), "$lte": binary(end) }
}

/// chain, whose, track, where the first candle begins.
pub(super) fn chunk(chain: ChainId, of: &Subject, track: Track, first: u64) -> Binary {
    let mut key = prefix(chain, &of.bytes());
    key.push(track.code());
    key.extend_from_slice(&first.to_be_bytes());
    binary(key)
}

/// Chunks of one track that begin before `to`.
pub(super) fn chunks_before(chain: ChainId, of: &Subject, track: Track, to: u64) -> Document {
    doc! { "$gte": chunk(chain, of, track, 0), "$lt": chunk(chain, of, track, to) }
}

/// Of everything that is no pool: names of tokens and factories have a length of their own.
pub(super) fn chunks_of_tokens(chain: ChainId) -> Document {
    let mut begin = prefix(chain, &[0; 21]);
    begin.truncate(LENGTH_AT.saturating_add(1));
    let mut end = begin.clone();
    if let Some(length) = end.get_mut(LENGTH_AT) {
        *length = length.saturating_add(1);
    }
    doc! { "$gte": padded(begin), "$lt": padded(end) }
}

/// As long as the key of a chunk: MongoDB orders by length first.
fn padded(mut key: Vec<u8>) -> Binary {
    key.resize(PREFIX.saturating_add(9), 0);
    binary(key)
}

/// chain, whose, piece.
pub(super) fn book(chain: ChainId, of: &Subject, piece: u8) -> Binary {
    let mut key = prefix(chain, &of.bytes());
    key.push(piece);
    binary(key)
}

/// Whose it is.
pub(super) fn read_book(key: &[u8]) -> Option<Subject> {
    let length = usize::from(*key.get(LENGTH_AT)?);
    let begin = LENGTH_AT.checked_add(1)?;
    Subject::from_bytes(key.get(begin..begin.checked_add(length)?)?)
}

/// All of a chain.
pub(super) fn books_of(chain: ChainId) -> Document {
    let end = |fill: u8| {
        let mut key = chain.to_be_bytes().to_vec();
        key.resize(PREFIX.saturating_add(1), fill);
        binary(key)
    };
    doc! { "$gte": end(0), "$lte": end(u8::MAX) }
}

/// chain, address.
pub(super) fn token(chain: ChainId, address: &Address) -> Binary {
    let mut key = Vec::with_capacity(28);
    key.extend_from_slice(&chain.to_be_bytes());
    key.extend_from_slice(address.as_slice());
    binary(key)
}

/// All tokens of a chain.
pub(super) fn tokens_of(chain: ChainId) -> Document {
    doc! { "$gte": token(chain, &Address::ZERO), "$lte": token(chain, &Address::repeat_byte(0xff)) }
}

/// The first eight bytes of a transaction's hash: they find it, the row decides.
pub(super) fn tx_prefix(hash: &B256) -> i64 {
    hash.first_chunk::<8>().map_or(0, |first| i64::from_be_bytes(*first))
}
