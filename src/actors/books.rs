//! What tokens and factories traded: the book at the head, as it was before each block that can be taken back, and how much of it was
//! given to the store.

mod restore;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use alloy::primitives::B256;

pub(super) use self::restore::restore;
use super::{markets::Shelf, table::Due};
use crate::{
    domain::{
        block::BlockRef,
        book::Book,
        market::{Market, Subject, Track},
        pool::PoolMeta,
        record::{BlockRecord, BookSnapshot, ChunkOf},
    },
    store::view::Snapshots,
};

/// No source is called so.
const PARTIAL: &str = "partial";
/// Of a snapshot, for each row since the last one: it is of two tokens and a factory.
const ROW_MARKETS: u32 = 3;
/// However little a snapshot pays: after so many rows, or so many occasions, there is one, so that candles go to the store.
const ROWS_MAX: u32 = 200_000;
const OCCASIONS_MAX: u32 = 16;
/// Of markets that are written at once where all of them are.
const WRITE_BYTES: usize = 32 * 1024 * 1024;

#[derive(Default)]
pub(super) struct Books {
    pub(super) book: Book,
    before: HashMap<B256, Book>,
    /// As it was given to the store last.
    given: Book,
    shelves: HashMap<Subject, Shelf>,
    /// Sources whose pools are in it from the beginning on.
    sources: BTreeSet<String>,
    events_since_snapshot: u32,
    /// Snapshots that did not pay.
    put_off: u32,
}

impl Books {
    /// A book that the store has.
    pub(super) fn new(book: Book, sources: BTreeSet<String>) -> Self {
        Self { given: book.clone(), book, sources, ..Self::default() }
    }

    /// The next block of the chain; `metas` are the pools of its rows.
    pub(super) fn fold(&mut self, record: &BlockRecord, metas: &[Option<&PoolMeta>], can_be_taken_back: bool) {
        if record.rows.is_empty() {
            return;
        }
        if can_be_taken_back {
            self.before.insert(record.block.hash, self.book.clone());
        }
        self.book.fold(record, metas);
        let events = u32::try_from(record.rows.len()).unwrap_or(u32::MAX);
        self.events_since_snapshot = self.events_since_snapshot.saturating_add(events);
    }

    /// It has pools in it only since they joined, or lacks what was not told: the next start makes it again.
    pub(super) fn mark_partial(&mut self) {
        self.sources.insert(PARTIAL.to_owned());
    }

    /// As it was before these blocks, newest first.
    pub(super) fn take_back(&mut self, reverted: &[BlockRef]) {
        if let Some(before) = self.before_all(reverted) {
            self.book = before;
        }
    }

    fn before_all(&self, newest_first: &[BlockRef]) -> Option<Book> {
        newest_first.iter().rev().find_map(|block| self.before.get(&block.hash)).cloned()
    }

    pub(super) fn forget_undo(&mut self, keep: impl Fn(&B256) -> bool) {
        self.before.retain(|hash, _| keep(hash));
    }

    /// The store has it.
    pub(super) fn forget(&mut self, of: Subject, track: Track, last: u64) {
        self.shelves.entry(of).or_default().stored(track, last);
        self.book.change(&of, |market| market.forget_stored(track, last));
    }

    /// Whole chunks of markets that changed since, as far as they were not given before.
    fn chunks(&mut self, since: &Book) -> Vec<ChunkOf> {
        let mut chunks = Vec::new();
        for (of, market) in self.book.changed_since(since) {
            let given = self.shelves.entry(*of).or_default().give(market);
            chunks.extend(given.into_iter().map(|chunk| ChunkOf { of: *of, chunk: chunk.into() }));
        }
        chunks
    }

    /// The store has everything that it was given.
    fn forget_given(&mut self) {
        for (of, shelf) in &mut self.shelves {
            for (track, last) in shelf.take_given() {
                self.book.change(of, |market| market.forget_stored(track, last));
            }
        }
    }

    /// All of it, at a final block, in parts that a store can write at once: the last makes it whole. The store has it from then on.
    fn all(&mut self, at: BlockRef) -> Vec<BookSnapshot> {
        let snapshot = |sources: &BTreeSet<String>| BookSnapshot {
            block: at,
            hour: self.book.hour(),
            sources: sources.clone(),
            markets: BTreeMap::new(),
        };
        let partial: BTreeSet<String> = [PARTIAL.to_owned()].into();
        let mut parts = vec![snapshot(&partial)];
        let mut bytes = 0_usize;
        for (of, market) in self.book.markets() {
            bytes = bytes.saturating_add(market.weight());
            if bytes > WRITE_BYTES {
                bytes = market.weight();
                parts.push(snapshot(&partial));
            }
            parts.last_mut().iter_mut().for_each(|part| drop(part.markets.insert(*of, market.clone())));
        }
        parts.last_mut().iter_mut().for_each(|last| last.sources = self.sources.clone());
        self.given = self.book.clone();
        self.events_since_snapshot = 0;
        parts
    }

    /// What changed, if it is time. `at` is final; `later` are the canonical blocks above it, newest first.
    pub(super) fn snapshot(&mut self, at: BlockRef, later: &[BlockRef], which: Due, into: &mut Snapshots) {
        let events = self.events_since_snapshot;
        if events == 0 {
            return;
        }
        let book = self.before_all(later).unwrap_or_else(|| self.book.clone());
        let weight = || book.changed_since(&self.given).map(|(_, market)| market.weight()).sum();
        let is_forced = events >= ROWS_MAX || (which == Due::Changed && self.put_off >= OCCASIONS_MAX);
        if !is_forced && !which.holds(events.saturating_mul(ROW_MARKETS), weight) {
            self.put_off = self.put_off.saturating_add(u32::from(which == Due::Changed));
            return;
        }
        self.put_off = 0;
        let markets: BTreeMap<Subject, Arc<Market>> =
            book.changed_since(&self.given).map(|(of, market)| (*of, market.clone())).collect();
        for (of, market) in &markets {
            let given = self.shelves.entry(*of).or_default().give(market);
            into.candles.extend(given.into_iter().map(|chunk| ChunkOf { of: *of, chunk: chunk.into() }));
        }
        into.book = Some(BookSnapshot { block: at, hour: book.hour(), sources: self.sources.clone(), markets });
        self.events_since_snapshot = 0;
        self.given = book;
    }
}
