//! What hours and days came to, beside their candles: also such in which nothing was swapped.

use alloy::primitives::U256;

use super::{
    Interval,
    series::{Piece, Series},
};
use crate::domain::{
    dollars::{Dollars, Usd},
    event::{EventBody, EventKind},
    image::Held,
    pool::StateAfter,
    record::EventRow,
};

/// An hour or a day of a pool, a token or a factory, in which there was an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// Unix seconds.
    pub start: u64,
    /// Of whatever kind.
    pub events: u32,
    pub swaps: u32,
    /// Millionths of a dollar that were swapped, as far as …
    pub usd: u128,
    /// … swaps have a value: so many have none.
    pub unvalued: u32,
    /// Swap fees, in units of 10^-12 dollars: the value of each swap times its pool's fee.
    pub fees: u128,
    pub end: End,
}

/// How it stood at the end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum End {
    /// It is under way, or nobody wrote down how it ended.
    #[default]
    Unknown,
    /// After the last event in it.
    Pool { after: Option<StateAfter>, held: Held },
    /// When the last hour of it was over in which anything happened.
    Token { price: Option<Dollars>, locked: U256 },
    /// The same. Millionths of a dollar in pools whose tokens both have a price.
    Factory { locked: u128 },
}

impl Piece for Period {
    fn start(&self) -> u64 {
        self.start
    }
}

impl Period {
    fn new(start: u64) -> Self {
        Self { start, events: 0, swaps: 0, usd: 0, unvalued: 0, fees: 0, end: End::Unknown }
    }

    /// What was swapped, in millionths of a dollar. `None` where the value of some of it is not known.
    #[must_use]
    pub fn volume_usd(&self) -> Option<u128> {
        (self.unvalued == 0).then_some(self.usd)
    }

    /// What it cost, in millionths of a dollar, rounded down.
    #[must_use]
    pub fn fees_usd(&self) -> Option<u128> {
        (self.unvalued == 0).then_some(self.fees / PARTS)
    }

    fn add(&mut self, event: &Happened) {
        self.events = self.events.saturating_add(1);
        if let Happened::Swap { usd, fee_pips } = event {
            self.swaps = self.swaps.saturating_add(1);
            match usd {
                Some(Usd(usd)) => {
                    self.usd = self.usd.saturating_add((*usd).into());
                    self.fees = self.fees.saturating_add(u128::from(*usd).saturating_mul((*fee_pips).into()));
                }
                None => self.unvalued = self.unvalued.saturating_add(1),
            }
        }
    }
}

/// Hundredths of a basis point of a whole.
const PARTS: u128 = 1_000_000;

/// An event, as a period sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happened {
    Swap { usd: Option<Usd>, fee_pips: u32 },
    Else,
}

impl Happened {
    /// Not what a position manager says of a token of its own, which the pool has said before; and not that a pool was created, which is no
    /// event of it and may be older than what is read.
    #[must_use]
    pub fn counts(row: &EventRow) -> bool {
        !row.event.body.is_of_owners() && row.kind() != EventKind::PoolCreated
    }

    #[must_use]
    pub fn of(row: &EventRow, fee_pips: u32) -> Self {
        if row.kind() == EventKind::Swap { Self::Swap { usd: row.usd, fee_pips: row.fee_pips(fee_pips) } } else { Self::Else }
    }
}

/// Hours and days. Of a pool, also how it stands now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Periods {
    series: [Series<Period>; 2],
    pub(super) after: Option<StateAfter>,
    pub(super) held: Held,
}

impl Default for Periods {
    fn default() -> Self {
        let series = [Series::new(Interval::H1), Series::new(Interval::D1)];
        Self { series, after: None, held: Held::Nothing }
    }
}

impl Periods {
    /// Of a pool that is older than what is read.
    #[must_use]
    pub fn seeded(after: Option<StateAfter>, held: Held) -> Self {
        Self { after, held, ..Self::default() }
    }

    /// A pool's next event.
    pub fn take(&mut self, timestamp: u64, row: &EventRow, fee_pips: u32) {
        self.held.follow(self.after.is_some(), row);
        self.after = row.after.or(told(&row.event.body)).or(self.after);
        let end = End::Pool { after: self.after, held: self.held };
        self.count(timestamp, &Happened::of(row, fee_pips));
        self.series.iter_mut().filter_map(|series| series.open.as_mut()).for_each(|open| open.end = end);
    }

    /// An event of a token or of a factory.
    pub fn count(&mut self, timestamp: u64, event: &Happened) {
        for series in &mut self.series {
            if series.is_over(timestamp)
                && let Some(before) = series.begin(Period::new(series.interval.start_of(timestamp)))
            {
                series.closed.push_back_mut(before);
            }
            if let Some(open) = &mut series.open {
                open.add(event);
            }
        }
    }

    /// A period that `at` is in is over at `now`, and nobody has written down how it ended.
    #[must_use]
    pub fn is_over(&self, at: u64, now: u64) -> bool {
        self.series.iter().any(|series| series.open.as_ref().is_some_and(|open| is_over(series.interval, open, at, now)))
    }

    /// How those ended that `at` is in and that are over at `now`.
    pub fn end(&mut self, at: u64, now: u64, end: End) {
        for series in &mut self.series {
            let interval = series.interval;
            series.open.iter_mut().filter(|open| is_over(interval, open, at, now)).for_each(|open| open.end = end);
        }
    }

    /// Those that began at `from` or later and before `to`, oldest first.
    #[must_use]
    pub fn list(&self, interval: Interval, from: u64, to: u64) -> Vec<Period> {
        let Some(series) = self.of(interval) else { return Vec::new() };
        series.all().filter(|period| (from..to).contains(&period.start)).collect()
    }

    /// Periods that begin here or later are all in memory.
    #[must_use]
    pub fn known_from(&self, interval: Interval) -> u64 {
        self.of(interval).map_or(0, |series| series.known_from)
    }

    pub(super) fn forget_stored(&mut self, interval: Interval, last: u64) {
        if let Some(series) = self.series.iter_mut().find(|series| series.interval == interval) {
            series.forget_chunks(last, u64::MAX);
        }
    }

    pub(super) fn series(&self) -> &[Series<Period>; 2] {
        &self.series
    }

    pub(super) fn series_mut(&mut self) -> &mut [Series<Period>; 2] {
        &mut self.series
    }

    fn of(&self, interval: Interval) -> Option<&Series<Period>> {
        self.series.iter().find(|series| series.interval == interval)
    }
}

/// Where an event says itself that it left the pool, should its actor not have answered.
fn told(event: &EventBody) -> Option<StateAfter> {
    match *event {
        EventBody::V3Initialize { sqrt_price_x96, tick } => Some(StateAfter::V3 { sqrt_price_x96, tick, liquidity: 0 }),
        EventBody::V3Swap { sqrt_price_x96, tick, liquidity, .. } | EventBody::V4Swap { sqrt_price_x96, tick, liquidity, .. } => {
            Some(StateAfter::V3 { sqrt_price_x96, tick, liquidity })
        }
        _ => None,
    }
}

fn is_over(interval: Interval, period: &Period, at: u64, now: u64) -> bool {
    period.end == End::Unknown && period.start == interval.start_of(at) && interval.end_of(period.start) <= now
}
