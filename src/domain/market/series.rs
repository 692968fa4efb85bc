//! Pieces of time of one length, one after the other: closed ones, and the one under way.

use rpds::VectorSync;

use super::{CHUNK, Candle, Interval, KEPT, RawPrice, candle::Lot};

/// A candle, or a period.
pub trait Piece: Copy {
    /// When it begins, Unix seconds.
    fn start(&self) -> u64;
}

impl Piece for Candle {
    fn start(&self) -> u64 {
        self.start
    }
}

/// Oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Series<C> {
    pub(super) interval: Interval,
    /// Nothing that comes later changes them. The first `gone` are let go of, and stay until it is worth to copy the rest.
    pub(super) closed: VectorSync<C>,
    pub(super) gone: usize,
    /// Pieces that begin here or later are all known: 0, where nothing was let go of.
    pub(super) known_from: u64,
    pub(super) open: Option<C>,
    /// Where the next one begins: nothing is divided while one goes on.
    until: u64,
}

impl<C: Piece> Series<C> {
    pub(super) fn new(interval: Interval) -> Self {
        Self { interval, closed: VectorSync::new_sync(), gone: 0, known_from: 0, open: None, until: 0 }
    }

    /// As they were kept.
    pub(super) fn restore(&mut self, known_from: u64, closed: Vec<C>, open: Option<C>) {
        (self.known_from, self.closed) = (known_from, closed.into_iter().collect());
        if let Some(open) = open {
            self.begin(open);
        }
    }

    /// Gives the one before.
    pub(super) fn begin(&mut self, piece: C) -> Option<C> {
        self.until = self.interval.end_of(piece.start());
        self.open.replace(piece)
    }

    /// The one under way ends before, or there is none.
    pub(super) fn is_over(&self, timestamp: u64) -> bool {
        self.open.is_none() || timestamp >= self.until
    }

    /// Whole chunks that end after `stored`.
    pub(super) fn chunks(&self, stored: Option<u64>) -> Vec<Vec<C>> {
        let mut chunks = Vec::new();
        if self.closed.len().saturating_sub(self.gone) < CHUNK {
            return chunks;
        }
        let mut rest = self.closed.iter().skip(self.gone).copied();
        loop {
            let chunk: Vec<C> = rest.by_ref().take(CHUNK).collect();
            if chunk.len() < CHUNK {
                return chunks;
            }
            if chunk.last().map(Piece::start) > stored {
                chunks.push(chunk);
            }
        }
    }

    /// Up to the one that begins at `last`, chunk by chunk, each only if all of it is before `keep_from`.
    pub(super) fn forget_chunks(&mut self, last: u64, keep_from: u64) {
        let goes = |piece: &C| piece.start() <= last && piece.start() < keep_from;
        let chunks = (1..).take_while(|n: &usize| self.closed.get(n.saturating_mul(CHUNK).saturating_sub(1)).is_some_and(goes));
        let gone = chunks.count().saturating_mul(CHUNK);
        if gone > 0 {
            self.closed = self.closed.iter().skip(gone).copied().collect();
            let first = self.closed.first().or(self.open.as_ref());
            self.known_from = first.map_or(self.known_from, Piece::start);
        }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = C> + '_ {
        self.closed.iter().skip(self.gone).copied().chain(self.open)
    }

    pub(super) fn newest_first(&self) -> impl Iterator<Item = C> + '_ {
        let closed = (self.gone..self.closed.len()).rev().filter_map(|i| self.closed.get(i).copied());
        self.open.into_iter().chain(closed)
    }
}

impl Series<Candle> {
    /// `last`: when the address traded in this direction before. `true`: a candle began.
    pub(super) fn trade(&mut self, (timestamp, price): (u64, RawPrice), lot: &mut Lot, last: u64) -> bool {
        let began = self.is_over(timestamp);
        if began {
            let price = self.open.as_ref().map_or(price, |before| before.close);
            if let Some(before) = self.begin(Candle::empty(self.interval.start_of(timestamp), price)) {
                self.close(before);
            }
        }
        if let Some(open) = &mut self.open {
            open.add(lot, last == 0 || last < open.start);
        }
        began
    }

    fn close(&mut self, candle: Candle) {
        self.closed.push_back_mut(candle);
        if self.interval.is_stored() {
            return;
        }
        if self.closed.len().saturating_sub(self.gone) > KEPT {
            self.gone = self.gone.saturating_add(1);
            self.known_from = self.closed.get(self.gone).map_or(self.known_from, |first| first.start);
        }
        if self.gone > KEPT {
            self.closed = self.closed.iter().skip(self.gone).copied().collect();
            self.gone = 0;
        }
    }
}
