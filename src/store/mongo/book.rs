//! What is kept of tokens and factories, and chunks of candles and periods: of these, and of pools.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use mongodb::{
    ClientSession,
    bson::{Bson, Document, RawDocument, RawDocumentBuf, cstr, doc},
};

use super::{
    Store,
    command::{command, update, upsert},
    error::{Result, corrupt},
    key::{self, binary, int},
    parts,
    row::Doc,
    schema::{BOOKS, CANDLES, HEADS},
};
use crate::{
    domain::{
        ChainId,
        block::BlockRef,
        market::{Interval, Piece, Subject, Track},
        record::{BookSnapshot, ChunkOf},
    },
    store::{
        codec::{self, CodecError},
        history::{SeriesRange, WriteBatch},
    },
};

/// Chunks of one answer: a day of minutes has six at most.
const CHUNKS: u32 = 8;
/// Ranges of one delete command.
const DELETE_PARTS: usize = 500;
/// Keys of one question.
const LOOK_PARTS: usize = 1_000;

/// Newest first, until one begins before the range.
pub(super) async fn pieces<C: Piece>(
    store: &Store,
    range: &SeriesRange,
    track: fn(Interval) -> Track,
    decode: fn(&[u8]) -> std::result::Result<Vec<C>, CodecError>,
) -> Result<Vec<C>> {
    let filter = doc! { "_id": key::chunks_before(range.chain, &range.of, track(range.interval), range.to) };
    let mut cursor = store.collection(CANDLES).find(filter).sort(doc! { "_id": -1 }).batch_size(CHUNKS).await?;
    let mut chunks = Vec::new();
    while cursor.advance().await? {
        let doc = Doc(cursor.current());
        chunks.push(decode(doc.bytes("candles")?)?);
        if doc.uint("first")? < range.from || range.suffices(&chunks) {
            break;
        }
    }
    Ok(range.pieces(chunks))
}

/// Each once and for good; what is older than its retention goes as something newer comes.
pub(super) async fn write_chunks(store: &Store, session: &mut ClientSession, batch: &WriteBatch) -> Result<()> {
    let (mut new, mut old) = (Vec::new(), Vec::new());
    for ChunkOf { of, chunk } in &batch.candles {
        let Some((first, last)) = chunk.span() else { continue };
        let track = chunk.track();
        let mut out = RawDocumentBuf::new();
        out.append(cstr!("_id"), key::chunk(batch.chain, of, track, first));
        out.append(cstr!("first"), int(first)?);
        out.append(cstr!("last"), int(last)?);
        out.append(cstr!("candles"), binary(codec::encode_closed(&chunk.closed)));
        new.push(upsert(&out, &[])?);
        if let Some(retention) = track.interval().retention_seconds() {
            let keep_from = last.saturating_sub(retention);
            let range = key::chunks_before(batch.chain, of, track, keep_from);
            old.push(doc! { "q": { "_id": range, "last": { "$lt": int(keep_from)? } }, "limit": 0 });
        }
    }
    update(store, Some(session), CANDLES, new).await?;
    for some in old.chunks(DELETE_PARTS) {
        command(store, Some(&mut *session), doc! { "delete": CANDLES, "deletes": some.to_vec() }).await?;
    }
    Ok(())
}

/// Those that are not stored.
pub(super) async fn lacks(store: &Store, chain: ChainId, candles: Vec<ChunkOf>) -> Result<Vec<ChunkOf>> {
    let keyed = |of: ChunkOf| Some((key::chunk(chain, &of.of, of.chunk.track(), of.chunk.span()?.0), of));
    let mut missing: Vec<_> = candles.into_iter().filter_map(keyed).collect();
    let mut there = BTreeSet::new();
    for some in missing.chunks(LOOK_PARTS) {
        let keys: Vec<Bson> = some.iter().map(|(key, _)| key.clone().into()).collect();
        let chunks = store.collection(CANDLES);
        let mut cursor = chunks.find(doc! { "_id": { "$in": keys } }).projection(doc! { "_id": 1 }).await?;
        while cursor.advance().await? {
            there.insert(Doc(cursor.current()).bytes("_id")?.to_vec());
        }
    }
    missing.retain(|(key, _)| !there.contains(&key.bytes));
    Ok(missing.into_iter().map(|(_, of)| of).collect())
}

/// Everything of tokens and factories.
pub(super) async fn forget(store: &Store, session: &mut ClientSession, chain: ChainId) -> Result<()> {
    for (collection, range) in [(CANDLES, key::chunks_of_tokens(chain)), (BOOKS, key::books_of(chain))] {
        let all = doc! { "q": { "_id": range }, "limit": 0 };
        command(store, Some(&mut *session), doc! { "delete": collection, "deletes": [all] }).await?;
    }
    let none = doc! { "q": { "_id": chain.cast_signed() }, "u": { "$unset": { "book": "" } } };
    update(store, Some(session), HEADS, vec![none]).await
}

/// A market takes as many documents as it is large.
pub(super) async fn write(store: &Store, session: &mut ClientSession, chain: ChainId, book: &BookSnapshot) -> Result<()> {
    // Of an instance that wrote before us, at a later block: it has everything that this one has.
    let newer = doc! { "_id": chain.cast_signed(), "book.number": { "$gt": int(book.block.number)? } };
    if store.collection(HEADS).find_one(newer).projection(doc! { "_id": 1 }).session(&mut *session).await?.is_some() {
        return Ok(());
    }
    let (mut pieces, mut gone) = (Vec::new(), Vec::new());
    for (of, market) in &book.markets {
        let bytes = codec::encode_market(market);
        let mut next = 0_u8;
        for part in bytes.chunks(parts::PART_BYTES) {
            let mut out = RawDocumentBuf::new();
            out.append(cstr!("_id"), key::book(chain, of, next));
            out.append(cstr!("market"), binary(part));
            pieces.push(upsert(&out, &["market"])?);
            next = next.checked_add(1).ok_or_else(|| corrupt("a market of more than two gigabytes"))?;
        }
        gone.push(
            doc! { "q": { "_id": { "$gte": key::book(chain, of, next), "$lte": key::book(chain, of, u8::MAX) } }, "limit": 0 },
        );
    }
    update(store, Some(session), BOOKS, pieces).await?;
    for some in gone.chunks(DELETE_PARTS) {
        command(store, Some(&mut *session), doc! { "delete": BOOKS, "deletes": some.to_vec() }).await?;
    }
    let BlockRef { number, hash, parent_hash, timestamp } = &book.block;
    let sources: Vec<Bson> = book.sources.iter().map(|name| name.as_str().into()).collect();
    let head = doc! {
        "number": int(*number)?, "hash": binary(hash.as_slice()), "parent": binary(parent_hash.as_slice()), "timestamp": int(*timestamp)?,
        "hour": int(book.hour)?, "sources": sources,
    };
    let set = doc! { "q": { "_id": chain.cast_signed() }, "u": { "$set": { "book": head } } };
    update(store, Some(session), HEADS, vec![set]).await
}

/// Where the book is, of the document of the head; its markets are still to come.
pub(super) fn read_head(head: &RawDocument) -> Result<Option<BookSnapshot>> {
    let Some(found) = head.get("book")? else { return Ok(None) };
    let found = found.as_document().ok_or_else(|| corrupt("a book that is none"))?;
    let doc = Doc(found);
    let mut book = BookSnapshot {
        block: doc.block()?,
        hour: doc.uint("hour")?,
        sources: std::collections::BTreeSet::new(),
        markets: BTreeMap::new(),
    };
    let sources = found.get_array("sources").map_err(|_| corrupt("a book without its sources"))?;
    for name in sources {
        book.sources.insert(name?.as_str().ok_or_else(|| corrupt("a source without a name"))?.to_owned());
    }
    Ok(Some(book))
}

/// Pieces in the order of their keys.
#[derive(Default)]
pub(super) struct Pieces(BTreeMap<Subject, Vec<u8>>);

impl Pieces {
    pub(super) fn take(&mut self, found: &RawDocument) -> Result<()> {
        let doc = Doc(found);
        let of = key::read_book(doc.bytes("_id")?).ok_or_else(|| corrupt("a market of nobody"))?;
        self.0.entry(of).or_default().extend_from_slice(doc.bytes("market")?);
        Ok(())
    }

    pub(super) fn markets(self, book: &mut BookSnapshot) -> Result<()> {
        for (of, bytes) in self.0 {
            let market =
                codec::decode_market(&bytes, book.block.timestamp)?.ok_or_else(|| corrupt("a market of an older version"))?;
            book.markets.insert(of, Arc::new(market));
        }
        Ok(())
    }
}

/// All of a chain, in the order of their keys.
pub(super) fn filter(chain: ChainId) -> Document {
    doc! { "_id": key::books_of(chain) }
}
