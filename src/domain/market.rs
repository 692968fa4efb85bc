//! Candles and windows of a pool, or of a token in all of its pools, folded swap by swap; and what hours and days came to ([`period`]).
//!
//! Closed candles are stored in chunks of [`CHUNK`], each once and for good, counted from the pool's first; what is not stored yet rides
//! with the market. Of minutes a day stays in memory anyway, for windows.
//!
//! A [`Market`] is a value: cloning it costs a few pointers, so the market at each block of the undo window is simply kept, and a reorg
//! is a look at an older one. Nothing of it has to be taken back. What is absent: dollars, and what is older than memory keeps.

mod candle;
mod interval;
mod kept;
mod period;
mod series;
#[cfg(test)]
mod tests;

use std::{
    collections::HashSet,
    sync::{Arc, LazyLock},
};

use alloy::primitives::Address;
use rpds::{HashTrieMapSync, RedBlackTreeMapSync};

use candle::Lot;
pub use candle::{Candle, RawPrice, Side, Trade};
pub use interval::{Interval, Window};
pub use kept::{Kept, KeptSeries};
pub use period::{End, Happened, Period, Periods};
pub use series::Piece;
use series::Series;

use super::{
    image::{Held, Origin},
    pool::{PoolId, StateAfter},
    record::EventRow,
};

/// Closed candles that memory keeps of each interval that is not stored.
const KEPT: usize = 512;
/// Candles, or periods, that are stored as one.
pub const CHUNK: usize = 256;

/// When an address traded last, in the minutes that windows count; 0: never.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Seen {
    buy: u64,
    sell: u64,
}

/// How many addresses bought or sold last in a minute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct LastSeen {
    buyers: u32,
    sellers: u32,
}

/// Closed pieces of one track that are stored as one; oldest first, [`CHUNK`] of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    pub interval: Interval,
    pub closed: Closed,
}

/// What is in a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Closed {
    Candles(Vec<Candle>),
    Periods(Vec<Period>),
}

/// Which series of a market.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Track {
    Candles(Interval),
    Periods(Interval),
}

impl Track {
    #[must_use]
    pub fn interval(self) -> Interval {
        match self {
            Self::Candles(interval) | Self::Periods(interval) => interval,
        }
    }

    /// What a store calls it.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Candles(interval) => interval.code(),
            Self::Periods(interval) => interval.code() | 0x20,
        }
    }
}

impl Chunk {
    #[must_use]
    pub fn track(&self) -> Track {
        match self.closed {
            Closed::Candles(_) => Track::Candles(self.interval),
            Closed::Periods(_) => Track::Periods(self.interval),
        }
    }

    /// Where its first and its last piece begin. `None`: it has none.
    #[must_use]
    pub fn span(&self) -> Option<(u64, u64)> {
        fn of<C: Piece>(pieces: &[C]) -> Option<(u64, u64)> {
            Some((pieces.first()?.start(), pieces.last()?.start()))
        }
        match &self.closed {
            Closed::Candles(candles) => of(candles),
            Closed::Periods(periods) => of(periods),
        }
    }
}

/// Whose market.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    Pool(PoolId),
    /// In all pools together, in dollars.
    Token(Address),
    /// All pools of a factory together.
    Factory(Address),
}

impl Subject {
    /// What a store calls it: a pool's id as it is; the others have a length that no pool's has.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let tagged = |tag: u8, address: &Address| [&[tag], address.as_slice()].concat();
        match self {
            Self::Pool(id) => id.as_slice().to_vec(),
            Self::Token(address) => tagged(b't', address),
            Self::Factory(address) => tagged(b'f', address),
        }
    }

    /// The inverse of [`Subject::bytes`].
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [b't', address @ ..] if address.len() == 20 => Some(Self::Token(Address::from_slice(address))),
            [b'f', address @ ..] if address.len() == 20 => Some(Self::Factory(Address::from_slice(address))),
            _ => PoolId::from_slice(bytes).map(Self::Pool),
        }
    }
}

/// Everything that is known of the trading of a pool, a token or a factory, as of its last event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Market {
    /// One for all pools that never traded: most.
    series: Arc<[Series<Candle>; Interval::ALL.len()]>,
    pub periods: Periods,
    /// Since the first trade: bought, sold. Traders are not counted.
    totals: [Side; 2],
    /// Who traded since the week began, or within a day.
    seen: HashTrieMapSync<Address, Seen>,
    /// By minute (its start); only minutes in which somebody traded last.
    last_seen: RedBlackTreeMapSync<u64, LastSeen>,
}

/// What a pool did within a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowStats {
    /// Unix seconds: the first minute that is counted.
    pub start: u64,
    /// The price when it began, and now; `None` before the first swap.
    pub prices: Option<(RawPrice, RawPrice)>,
    pub buys: Side,
    pub sells: Side,
}

impl Default for Market {
    fn default() -> Self {
        static NONE: LazyLock<Arc<[Series<Candle>; Interval::ALL.len()]>> =
            LazyLock::new(|| Arc::new(Interval::ALL.map(Series::new)));
        Self {
            series: NONE.clone(),
            periods: Periods::default(),
            totals: [Side::default(); 2],
            seen: HashTrieMapSync::new_sync(),
            last_seen: RedBlackTreeMapSync::new_sync(),
        }
    }
}

impl Market {
    /// Nothing traded yet: one for all pools, most of which never trade.
    #[must_use]
    pub fn none() -> Arc<Self> {
        static NONE: LazyLock<Arc<Market>> = LazyLock::new(Arc::default);
        NONE.clone()
    }

    /// Takes the next swap of the chain. Block times never fall.
    pub fn trade(&mut self, trade: &Trade) {
        let before = self.seen.get(&trade.trader).copied().unwrap_or_default();
        let (is_buy, mut lot) = (trade.is_buy(), Lot::new(trade));
        let [buys, sells] = &mut self.totals;
        if is_buy { buys } else { sells }.add(&lot, false);
        let last = if is_buy { before.buy } else { before.sell };
        let mut is_new_day = false;
        for series in Arc::make_mut(&mut self.series) {
            let began = series.trade((trade.timestamp, trade.price), &mut lot, last);
            is_new_day |= began && series.interval == Interval::D1;
        }
        self.count(trade, before);
        self.forget(trade.timestamp, is_new_day);
    }

    /// A pool's next event, in the order of the chain.
    pub fn take(&mut self, timestamp: u64, row: &EventRow, fee_pips: u32) {
        if !Happened::counts(row) {
            return;
        }
        self.periods.take(timestamp, row, fee_pips);
        if let Some(trade) = Trade::of(timestamp, row) {
            self.trade(&trade);
        }
    }

    /// Of a pool that is older than what is read.
    #[must_use]
    pub fn seeded(origin: &Origin) -> Self {
        let after = RawPrice::of(&origin.after).map(|_| origin.after);
        // Of a pair its reserves say what it holds.
        let held = if matches!(origin.after, StateAfter::V3 { .. }) { origin.held } else { Held::Nothing };
        Self::standing(after, held)
    }

    /// A pool that did not trade yet, and stands so.
    #[must_use]
    pub fn standing(after: Option<StateAfter>, held: Held) -> Self {
        Self { periods: Periods::seeded(after, held), ..Self::default() }
    }

    /// Everything since the first trade: bought, sold. Traders are not counted.
    #[must_use]
    pub fn totals(&self) -> (&Side, &Side) {
        let [buys, sells] = &self.totals;
        (buys, sells)
    }

    /// Candles that began at `from` or later and before `to`, oldest first; those in which nobody traded are left out.
    #[must_use]
    pub fn candles(&self, interval: Interval, from: u64, to: u64) -> Vec<Candle> {
        let Some(series) = self.series(interval) else { return Vec::new() };
        let from = from.max(series.known_from);
        series.all().filter(|candle| (from..to).contains(&candle.start)).collect()
    }

    /// Candles that begin here or later are all in memory; older ones are known to the store alone.
    #[must_use]
    pub fn known_from(&self, interval: Interval) -> u64 {
        self.series(interval).map_or(0, |series| series.known_from)
    }

    /// The price when a candle began: the close of the newest one before. `None` where memory has none.
    #[must_use]
    pub fn price_before(&self, interval: Interval, start: u64) -> Option<RawPrice> {
        let series = self.series(interval)?;
        series.newest_first().find(|candle| candle.start < start).map(|candle| candle.close)
    }

    /// Whole chunks of what is closed that begin after `stored`, which is where the last stored piece begins.
    #[must_use]
    pub fn chunks(&self, stored: impl Fn(Track) -> Option<u64>) -> Vec<Chunk> {
        let mut chunks = Vec::new();
        for series in self.series.iter().filter(|series| series.interval.is_stored()) {
            let new = series.chunks(stored(Track::Candles(series.interval)));
            chunks.extend(new.into_iter().map(|c| Chunk { interval: series.interval, closed: Closed::Candles(c) }));
        }
        for series in self.periods.series() {
            let new = series.chunks(stored(Track::Periods(series.interval)));
            chunks.extend(new.into_iter().map(|p| Chunk { interval: series.interval, closed: Closed::Periods(p) }));
        }
        chunks
    }

    /// The store has every piece up to the one that begins here: memory lets go of whole chunks, but of no minute of the last day.
    pub fn forget_stored(&mut self, track: Track, last: u64) {
        let interval = match track {
            Track::Candles(interval) => interval,
            Track::Periods(interval) => return self.periods.forget_stored(interval, last),
        };
        let Some(newest) = self.series(Interval::M1).and_then(|series| series.open.as_ref()).map(|open| open.start) else {
            return;
        };
        let keep_from = if interval == Interval::M1 { Window::H24.start_at(newest) } else { u64::MAX };
        if let Some(series) = Arc::make_mut(&mut self.series).iter_mut().find(|series| series.interval == interval) {
            series.forget_chunks(last, keep_from);
        }
    }

    /// Up to `now`, the newest block's time.
    #[must_use]
    pub fn window(&self, window: Window, now: u64) -> WindowStats {
        let start = window.start_at(now);
        let mut stats = WindowStats { start, prices: None, buys: Side::default(), sells: Side::default() };
        let Some(minutes) = self.series(Interval::M1) else { return stats };
        for candle in minutes.newest_first() {
            let (_, now) = stats.prices.unwrap_or((candle.close, candle.close));
            if candle.start < start {
                // Candles join: where one within the window is, its open is this close already.
                stats.prices.get_or_insert((candle.close, now));
                break;
            }
            stats.prices = Some((candle.open, now));
            stats.buys.join(&candle.buys);
            stats.sells.join(&candle.sells);
        }
        for (_, last) in self.last_seen.range(start..) {
            stats.buys.traders = stats.buys.traders.saturating_add(last.buyers);
            stats.sells.traders = stats.sells.traders.saturating_add(last.sellers);
        }
        stats
    }

    fn series(&self, interval: Interval) -> Option<&Series<Candle>> {
        self.series.iter().find(|series| series.interval == interval)
    }

    fn count(&mut self, trade: &Trade, before: Seen) {
        let minute = Interval::M1.start_of(trade.timestamp);
        let mut seen = before;
        let last = if trade.is_buy() {
            std::mem::replace(&mut seen.buy, trade.timestamp)
        } else {
            std::mem::replace(&mut seen.sell, trade.timestamp)
        };
        self.seen.insert_mut(trade.trader, seen);
        let last_minute = Interval::M1.start_of(last);
        if last > 0 && last_minute == minute {
            return;
        }
        let mut at = |minute: u64, change: fn(u32) -> u32| {
            let mut counted = self.last_seen.get(&minute).copied().unwrap_or_default();
            let side = if trade.is_buy() { &mut counted.buyers } else { &mut counted.sellers };
            *side = change(*side);
            if counted == LastSeen::default() {
                self.last_seen.remove_mut(&minute);
            } else {
                self.last_seen.insert_mut(minute, counted);
            }
        };
        if last > 0 {
            at(last_minute, |n| n.saturating_sub(1));
        }
        at(minute, |n| n.saturating_add(1));
    }

    /// Whoever traded before the week and the last day began is counted nowhere any more. Once a day, and minutes as they pass.
    fn forget(&mut self, now: u64, is_new_day: bool) {
        let day_ago = Window::H24.start_at(now);
        while let Some(minute) = self.last_seen.first().map(|(minute, _)| *minute).filter(|minute| *minute < day_ago) {
            self.last_seen.remove_mut(&minute);
        }
        if is_new_day {
            let keep_from = day_ago.min(Interval::W1.start_of(now));
            let kept = self.seen.iter().filter(|(_, seen)| seen.buy.max(seen.sell) >= keep_from);
            self.seen = kept.map(|(address, seen)| (*address, *seen)).collect();
        }
    }
}

/// Candles of one interval out of swaps alone, oldest first: what [`Market`] folds, where there is none. `before`: the price when the
/// first swap came; where nothing is known of it, the first candle opens at the price after its first swap.
#[must_use]
pub fn fold(trades: &[Trade], interval: Interval, before: Option<RawPrice>) -> Vec<Candle> {
    let mut candles: Vec<Candle> = Vec::new();
    // Who traded since the candle began.
    let (mut buyers, mut sellers) = (HashSet::new(), HashSet::new());
    let mut price = before;
    for trade in trades {
        let start = interval.start_of(trade.timestamp);
        if candles.last().is_none_or(|candle| candle.start < start) {
            candles.push(Candle::empty(start, price.unwrap_or(trade.price)));
            buyers.clear();
            sellers.clear();
        }
        let traders = if trade.is_buy() { &mut buyers } else { &mut sellers };
        let is_new_trader = traders.insert(trade.trader);
        if let Some(candle) = candles.last_mut() {
            candle.add(&mut Lot::new(trade), is_new_trader);
        }
        price = Some(trade.price);
    }
    candles
}

/// The same candles with those in which nobody traded, from `from` (or the first candle, where nothing is known before it) to
/// `to`, both beginnings of candles. `before`: the price when `from` began.
#[must_use]
pub fn filled(candles: &[Candle], interval: Interval, from: u64, to: u64, before: Option<RawPrice>) -> Vec<Candle> {
    let mut all = Vec::with_capacity(candles.len());
    let mut next = if before.is_some() { Some(from) } else { None };
    let mut price = before;
    let fill = |all: &mut Vec<Candle>, next: Option<u64>, until: u64, price: Option<RawPrice>| {
        let (Some(mut start), Some(price)) = (next, price) else { return };
        while start < until {
            all.push(Candle::empty(start, price));
            start = interval.end_of(start);
        }
    };
    for candle in candles {
        fill(&mut all, next, candle.start, price);
        all.push(*candle);
        (next, price) = (Some(interval.end_of(candle.start)), Some(candle.close));
    }
    fill(&mut all, next, to, price);
    all
}
