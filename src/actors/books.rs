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

    /// Whole chunks of all markets, as far as they were not given before.
    fn chunks(&mut self) -> Vec<ChunkOf> {
        let mut chunks = Vec::new();
        for (of, market) in self.book.markets() {
            let given = self.shelves.entry(*of).or_default().give(market);
            chunks.extend(given.into_iter().map(|chunk| ChunkOf { of: *of, chunk }));
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

    /// All of it, at a final block: the store has it from now on.
    fn all(&mut self, at: BlockRef) -> BookSnapshot {
        let markets = self.book.markets().map(|(of, market)| (*of, market.clone())).collect();
        self.given = self.book.clone();
        self.events_since_snapshot = 0;
        BookSnapshot { block: at, hour: self.book.hour(), sources: self.sources.clone(), markets }
    }

    /// What changed, if it is time. `at` is final; `later` are the canonical blocks above it, newest first.
    pub(super) fn snapshot(&mut self, at: BlockRef, later: &[BlockRef], which: Due, into: &mut Snapshots) {
        let events = self.events_since_snapshot;
        if events == 0 {
            return;
        }
        let book = self.before_all(later).unwrap_or_else(|| self.book.clone());
        let weight = || book.changed_since(&self.given).map(|(_, market)| market.weight()).sum();
        if !which.holds(events, weight) {
            return;
        }
        let markets: BTreeMap<Subject, Arc<Market>> =
            book.changed_since(&self.given).map(|(of, market)| (*of, market.clone())).collect();
        for (of, market) in &markets {
            let given = self.shelves.entry(*of).or_default().give(market);
            into.candles.extend(given.into_iter().map(|chunk| ChunkOf { of: *of, chunk }));
        }
        into.book = Some(BookSnapshot { block: at, hour: book.hour(), sources: self.sources.clone(), markets });
        self.events_since_snapshot = 0;
        self.given = book;
    }
}
