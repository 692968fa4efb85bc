//! A market as it is kept: plain values, from which the same market is made again.

use std::sync::Arc;

use alloy::primitives::Address;

use super::{
    Candle, Interval, LastSeen, Market, Period, Periods, Seen, Side,
    series::{Piece, Series},
};
use crate::domain::{image::Held, pool::StateAfter};

/// A market as of the end of a block.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    /// Of each stored interval.
    pub series: Vec<KeptSeries<Candle>>,
    /// Hours and days.
    pub periods: Vec<KeptSeries<Period>>,
    /// How a pool stands.
    pub after: Option<StateAfter>,
    pub held: Held,
    /// Since the first trade: bought, sold.
    pub totals: [Side; 2],
    /// Who traded, and when last: bought, sold; 0: never.
    pub traders: Vec<(Address, u64, u64)>,
}

/// One interval's candles or periods that the store has no chunk of, or that memory keeps anyway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptSeries<C> {
    pub interval: Interval,
    /// All that begin here or later.
    pub known_from: u64,
    /// Closed ones, oldest first.
    pub closed: Vec<C>,
    pub open: Option<C>,
}

impl<C: Piece> KeptSeries<C> {
    fn of(series: &Series<C>) -> Self {
        Self {
            interval: series.interval,
            known_from: series.known_from,
            closed: series.closed.iter().skip(series.gone).copied().collect(),
            open: series.open,
        }
    }

    fn restore(self, all: &mut [Series<C>]) {
        if let Some(series) = all.iter_mut().find(|series| series.interval == self.interval) {
            series.restore(self.known_from, self.closed, self.open);
        }
    }
}

impl Market {
    /// About so many bytes it takes to write it down.
    #[must_use]
    pub fn weight(&self) -> usize {
        let stored = self.series.iter().filter(|series| series.interval.is_stored());
        let candles: usize = stored.map(|series| series.closed.len().saturating_sub(series.gone).saturating_add(1)).sum();
        let periods: usize = self.periods.series().iter().map(|series| series.closed.len().saturating_add(1)).sum();
        let traders = self.seen.size().saturating_mul(30);
        candles.saturating_mul(100).saturating_add(periods.saturating_mul(60)).saturating_add(traders)
    }

    /// Candles of seconds are left out: they are made of swaps.
    #[must_use]
    pub fn kept(&self) -> Kept {
        let mut traders: Vec<_> = self.seen.iter().map(|(address, seen)| (*address, seen.buy, seen.sell)).collect();
        traders.sort_unstable();
        Kept {
            series: self.series.iter().filter(|series| series.interval.is_stored()).map(KeptSeries::of).collect(),
            periods: self.periods.series().iter().map(KeptSeries::of).collect(),
            after: self.periods.after,
            held: self.periods.held,
            totals: self.totals,
            traders,
        }
    }

    /// The inverse of [`Market::kept`], as of a block's time: candles of seconds are known from the next one on.
    #[must_use]
    pub fn restored(kept: Kept, timestamp: u64) -> Self {
        let periods = Periods::seeded(kept.after, kept.held);
        let mut market = Self { totals: kept.totals, periods, ..Self::default() };
        if kept.series.iter().any(|from| from.open.is_some()) {
            let series = Arc::make_mut(&mut market.series);
            kept.series.into_iter().for_each(|from| from.restore(series));
        }
        kept.periods.into_iter().for_each(|from| from.restore(market.periods.series_mut()));
        let newest = market.series(Interval::M1).and_then(|series| series.open);
        if let Some(newest) = newest {
            let all = Arc::make_mut(&mut market.series);
            for series in all.iter_mut().filter(|series| !series.interval.is_stored()) {
                let start = series.interval.start_of(timestamp);
                series.begin(Candle::empty(start, newest.close));
                series.known_from = series.interval.end_of(start);
            }
        }
        let day_ago = newest.map_or(0, |newest| super::Window::H24.start_at(newest.start));
        for (address, buy, sell) in kept.traders {
            market.seen.insert_mut(address, Seen { buy, sell });
            for (last, is_buy) in [(buy, true), (sell, false)] {
                let minute = Interval::M1.start_of(last);
                if last > 0 && minute >= day_ago {
                    let mut counted = market.last_seen.get(&minute).copied().unwrap_or_default();
                    let LastSeen { buyers, sellers } = &mut counted;
                    let side = if is_buy { buyers } else { sellers };
                    *side = side.saturating_add(1);
                    market.last_seen.insert_mut(minute, counted);
                }
            }
        }
        market
    }
}
