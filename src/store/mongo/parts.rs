//! What is too large for a document: the state of a pool with very many positions, the trading of one with very many traders. It lies in
//! pieces beside its snapshot, which says how many there are.

use mongodb::{
    ClientSession,
    bson::{Document, RawDocumentBuf, cstr, doc, raw::CStr},
};

use super::{
    Store,
    command::{command, update, upsert},
    error::{Result, corrupt},
    key::{self, binary},
    row::Doc,
    schema::PARTS,
};
use crate::domain::{ChainId, block::BlockRef, pool::PoolId};

/// A quarter of a document; in tests so little that there are many pieces.
const UNIT: usize = if cfg!(test) { 16 * 1024 } else { 4 * 1024 * 1024 };
/// Of one field of a snapshot: two of them leave half a document.
const INLINE_BYTES: usize = UNIT;
/// Of one piece: half a document.
pub(super) const PART_BYTES: usize = 2 * UNIT;
/// A field has fewer: two gigabytes.
const PARTS_MAX: usize = 256;

/// A field of a snapshot that may be in pieces; its number is in their keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    State = 1,
    Market = 2,
}

impl Field {
    /// Where it is when it is small enough.
    pub(super) fn inline(self) -> &'static CStr {
        match self {
            Self::State => cstr!("state"),
            Self::Market => cstr!("market"),
        }
    }

    /// Where the number of its pieces is when it is not.
    pub(super) fn count(self) -> &'static CStr {
        match self {
            Self::State => cstr!("state_parts"),
            Self::Market => cstr!("market_parts"),
        }
    }
}

/// Whose pieces.
#[derive(Debug, Clone, Copy)]
pub(super) struct Of<'a> {
    pub(super) chain: ChainId,
    pub(super) pool: &'a PoolId,
    pub(super) block: &'a BlockRef,
}

/// The pieces of what is too large to be inline; none of what is not.
pub(super) fn cut(of: Of<'_>, field: Field, bytes: &[u8]) -> Vec<RawDocumentBuf> {
    if bytes.len() <= INLINE_BYTES {
        return Vec::new();
    }
    let part = |(i, part): (u8, &[u8])| {
        let mut out = RawDocumentBuf::new();
        out.append(cstr!("_id"), key::part(of.chain, of.block, of.pool, field as u8, i));
        out.append(cstr!("bytes"), binary(part));
        out
    };
    (0..=u8::MAX).zip(bytes.chunks(PART_BYTES)).map(part).collect()
}

/// Within the transaction of the snapshot.
pub(super) async fn write(store: &Store, session: &mut ClientSession, parts: &[RawDocumentBuf]) -> Result<()> {
    let updates = parts.iter().map(|part| upsert(part, &["bytes"])).collect::<Result<Vec<_>>>()?;
    update(store, Some(session), PARTS, updates).await
}

/// A field of a snapshot, from its document or from pieces. `None`: it has none.
pub(super) async fn read(store: &Store, of: Of<'_>, field: Field, found: &Doc<'_>) -> Result<Option<Vec<u8>>> {
    if let Some(bytes) = found.maybe_bytes(field.inline().as_str())? {
        return Ok(Some(bytes.to_vec()));
    }
    let Some(count) = found.maybe_uint(field.count().as_str())? else { return Ok(None) };
    let count = usize::try_from(count)
        .ok()
        .filter(|count| *count <= PARTS_MAX)
        .ok_or_else(|| corrupt("a snapshot of too many pieces"))?;
    let range = doc! { "_id": key::parts_of(of.chain, of.block, of.pool, field as u8) };
    let mut cursor =
        store.collection(PARTS).find(range).sort(doc! { "_id": 1 }).limit(i64::try_from(count).unwrap_or(i64::MAX)).await?;
    let (mut bytes, mut read) = (Vec::new(), 0_usize);
    while cursor.advance().await? {
        bytes.extend_from_slice(Doc(cursor.current()).bytes("bytes")?);
        read = read.saturating_add(1);
    }
    if read == count { Ok(Some(bytes)) } else { Err(corrupt(format!("a snapshot of {count} pieces has {read}"))) }
}

/// Those of snapshots that are gone.
pub(super) async fn delete(store: &Store, session: Option<&mut ClientSession>, ranges: Vec<Document>) -> Result<()> {
    if ranges.is_empty() {
        return Ok(());
    }
    let deletes: Vec<Document> = ranges.into_iter().map(|range| doc! { "q": { "_id": range }, "limit": 0 }).collect();
    command(store, session, doc! { "delete": PARTS, "deletes": deletes }).await
}

/// How many pieces there are is said where there are any.
pub(super) fn count(parts: usize) -> Result<Option<i64>> {
    if parts > PARTS_MAX {
        return Err(corrupt("a pool's snapshot has more than two gigabytes"));
    }
    Ok(i64::try_from(parts).ok().filter(|count| *count > 0))
}
