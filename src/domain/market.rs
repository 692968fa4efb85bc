//! Candles and windows of one pool, folded swap by swap.
//!
//! A [`Market`] is a value: cloning it costs a few pointers, so the market at each block of the undo window is simply kept, and a reorg
//! is a look at an older one. Nothing of it has to be taken back. What is absent: dollars, and what is older than memory keeps.

mod candle;
mod interval;
#[cfg(test)]
mod tests;

use std::collections::HashSet;

use alloy::primitives::Address;
use rpds::{HashTrieMapSync, RedBlackTreeMapSync, VectorSync};

pub use candle::{Candle, RawPrice, Side, Trade};
pub use interval::{Interval, Window};

/// Closed candles that memory keeps of each interval; of minutes a day, for windows.
const KEPT: usize = 512;
const KEPT_MINUTES: usize = 1_440;

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

/// One interval's candles, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Series {
    interval: Interval,
    /// Later trades have left them alone. The first `gone` are let go of, and stay until it is worth to copy the rest.
    closed: VectorSync<Candle>,
    gone: usize,
    /// Something was let go of.
    forgot: bool,
    open: Option<Candle>,
}

/// Everything that is known of a pool's trading, as of its last swap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Market {
    series: [Series; Interval::ALL.len()],
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
        Self {
            series: Interval::ALL.map(Series::new),
            seen: HashTrieMapSync::new_sync(),
            last_seen: RedBlackTreeMapSync::new_sync(),
        }
    }
}

impl Market {
    /// Takes the next swap of the chain. Block times never fall.
    pub fn trade(&mut self, trade: &Trade) {
        let before = self.seen.get(&trade.trader).copied().unwrap_or_default();
        let is_buy = trade.is_buy();
        let last = if is_buy { before.buy } else { before.sell };
        let mut is_new_day = false;
        for series in &mut self.series {
            let began = series.trade(trade, last);
            is_new_day |= began && series.interval == Interval::D1;
        }
        self.count(trade, before);
        self.forget(trade.timestamp, is_new_day);
    }

    /// Candles that began at `from` or later and before `to`, oldest first; those in which nobody traded are left out.
    #[must_use]
    pub fn candles(&self, interval: Interval, from: u64, to: u64) -> Vec<Candle> {
        let Some(series) = self.series(interval) else { return Vec::new() };
        series.all().filter(|candle| (from..to).contains(&candle.start)).collect()
    }

    /// Where memory begins: candles before it are known to the store alone. `None`: nothing was let go of yet.
    #[must_use]
    pub fn memory_begins(&self, interval: Interval) -> Option<u64> {
        let series = self.series(interval).filter(|series| series.forgot)?;
        series.all().next().map(|candle| candle.start)
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

    fn series(&self, interval: Interval) -> Option<&Series> {
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

impl Series {
    fn new(interval: Interval) -> Self {
        Self { interval, closed: VectorSync::new_sync(), gone: 0, forgot: false, open: None }
    }

    /// `last`: when the address traded in this direction before. `true`: a candle began.
    fn trade(&mut self, trade: &Trade, last: u64) -> bool {
        let start = self.interval.start_of(trade.timestamp);
        let began = self.open.as_ref().is_none_or(|open| open.start < start);
        if began {
            let price = self.open.as_ref().map_or(trade.price, |before| before.close);
            if let Some(before) = self.open.replace(Candle::empty(start, price)) {
                self.close(before);
            }
        }
        if let Some(open) = &mut self.open {
            open.add(trade, last == 0 || last < start);
        }
        began
    }

    fn close(&mut self, candle: Candle) {
        self.closed.push_back_mut(candle);
        let kept = if self.interval == Interval::M1 { KEPT_MINUTES } else { KEPT };
        if self.closed.len().saturating_sub(self.gone) > kept {
            self.gone = self.gone.saturating_add(1);
            self.forgot = true;
        }
        if self.gone > kept {
            self.closed = self.closed.iter().skip(self.gone).copied().collect();
            self.gone = 0;
        }
    }

    fn all(&self) -> impl Iterator<Item = Candle> + '_ {
        self.closed.iter().skip(self.gone).copied().chain(self.open)
    }

    fn newest_first(&self) -> impl Iterator<Item = Candle> + '_ {
        let closed = (self.gone..self.closed.len()).rev().filter_map(|i| self.closed.get(i).copied());
        self.open.into_iter().chain(closed)
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
            candle.add(trade, is_new_trader);
        }
        price = Some(trade.price);
    }
    candles
}

/// The same for a window: `trades` are all since it began, `before` the price then.
#[must_use]
pub fn stats(trades: &[Trade], window: Window, now: u64, before: Option<RawPrice>) -> WindowStats {
    let (mut buys, mut sells) = (Side::default(), Side::default());
    let (mut buyers, mut sellers) = (HashSet::new(), HashSet::new());
    for trade in trades {
        let (side, traders) = if trade.is_buy() { (&mut buys, &mut buyers) } else { (&mut sells, &mut sellers) };
        side.add(trade, traders.insert(trade.trader));
    }
    let first = before.or(trades.first().map(|trade| trade.price));
    let last = trades.last().map(|trade| trade.price).or(before);
    WindowStats { start: window.start_at(now), prices: first.zip(last), buys, sells }
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
