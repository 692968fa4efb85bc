//! Hours and days of pools, tokens and factories: what memory has joined with the store, and how each ended in dollars.

use std::collections::HashMap;

use alloy::primitives::{Address, U256};

use super::{
    candles::CandleQuery,
    history::{DataSource, SeriesRange},
    pin::Pin,
    reader::{ReadError, Reader},
};
use crate::domain::{
    book::{Closing, Due},
    dollars::{Dollars, Usd},
    market::{Candle, End, Interval, Period, RawPrice, Subject},
    pool::StateAfter,
};

/// Which hours or days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeriodQuery {
    pub of: Subject,
    pub interval: Interval,
    /// Unix seconds: those that begin here or later …
    pub from: u64,
    /// … and before this.
    pub to: u64,
    pub limit: usize,
    pub newest_first: bool,
}

/// An hour or a day with everything that is told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeriodAt {
    pub period: Period,
    /// Its candle; where nobody traded, one price. `None`: there was no trade yet.
    pub candle: Option<Candle>,
    /// How it stood at its end, or stands now.
    pub standing: Standing,
}

/// How it stood at its end, or stands now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// Of a pool.
    pub after: Option<StateAfter>,
    /// Raw units: of a pool both of its tokens, of a token its own.
    pub locked: [Option<U256>; 2],
    /// Of a token, for one raw unit.
    pub price: Option<Dollars>,
    /// Millionths of a dollar. `None`: something has no price.
    pub locked_usd: Option<u128>,
}

/// In the order asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Periods {
    pub periods: Vec<PeriodAt>,
    pub source: DataSource,
}

impl Reader {
    /// As of the pinned block: the newest is under way.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn periods(&self, pin: &Pin, query: PeriodQuery) -> Result<Periods, ReadError> {
        let PeriodQuery { of, interval, limit, newest_first, .. } = query;
        let (mut periods, mut source) = self.bare(pin, query).await?;
        if newest_first {
            periods.drain(..periods.len().saturating_sub(limit));
        } else {
            periods.truncate(limit);
        }
        let (Some(first), Some(last)) = (periods.first().map(|p| p.start), periods.last().map(|p| p.start)) else {
            return Ok(Periods { periods: Vec::new(), source });
        };
        let mut told = |from: DataSource| source = if source == DataSource::Memory { from } else { source };
        let mut candles = CandleWalk::new(Vec::new(), None);
        if !matches!(of, Subject::Factory(_)) {
            let count = last.saturating_sub(first).checked_div(interval.seconds()).unwrap_or(0).saturating_add(1);
            let to = Some(interval.end_of(last));
            let joined = self.joined(pin, CandleQuery { of, interval, from: Some(first), to, count, fill: true }).await?;
            told(joined.source);
            candles = CandleWalk::new(joined.candles, joined.before);
        }
        let span = PeriodQuery { from: first, to: interval.end_of(last), limit: usize::MAX, ..query };
        let standings = match of {
            Subject::Pool(id) => {
                let Some(view) = pin.pool(&id) else { return Ok(Periods { periods: Vec::new(), source }) };
                let mut prices = [HashMap::new(), HashMap::new()];
                for (prices, token) in prices.iter_mut().zip([view.meta.token0, view.meta.token1]) {
                    let (ends, from) = self.token_prices(pin, token, span).await?;
                    told(from);
                    *prices = ends;
                }
                periods.iter().map(|period| of_pool(period, &prices)).collect::<Vec<_>>()
            }
            Subject::Token(_) | Subject::Factory(_) => {
                let now = under_way(pin, interval, &periods).and_then(|hour| Some((hour, stands(pin, of, hour)?)));
                periods.iter().map(|period| of_end(period, interval, now.as_ref())).collect()
            }
        };
        let all = periods.into_iter().zip(standings);
        let mut periods: Vec<PeriodAt> =
            all.map(|(period, standing)| PeriodAt { period, candle: candles.at(period.start), standing }).collect();
        if newest_first {
            periods.reverse();
        }
        Ok(Periods { periods, source })
    }

    /// Oldest first, as they are kept: at least `limit` of them, where there are so many.
    async fn bare(&self, pin: &Pin, query: PeriodQuery) -> Result<(Vec<Period>, DataSource), ReadError> {
        let PeriodQuery { of, interval, from, to, limit, newest_first } = query;
        let Some(market) = pin.market(&of) else { return Ok((Vec::new(), DataSource::Memory)) };
        let known_from = market.periods.known_from(interval);
        let here = market.periods.list(interval, from, to);
        if from >= known_from || (newest_first && here.len() >= limit) {
            return Ok((here, DataSource::Memory));
        }
        let newest = if newest_first { limit.saturating_sub(here.len()) } else { usize::MAX };
        let range = SeriesRange { chain: pin.chain(), of, interval, from, to: to.min(known_from), newest };
        let mut periods = self.history().periods(range).await?;
        periods.retain(|period| period.start >= from);
        periods.extend(here);
        Ok((periods, self.history().source()))
    }

    /// What a token cost at their ends, by the beginnings of hours or days.
    async fn token_prices(
        &self,
        pin: &Pin,
        token: Address,
        span: PeriodQuery,
    ) -> Result<(HashMap<u64, Option<Dollars>>, DataSource), ReadError> {
        let of = Subject::Token(token);
        let (periods, source) = self.bare(pin, PeriodQuery { of, newest_first: false, ..span }).await?;
        let hour = under_way(pin, span.interval, &periods);
        let now = hour.and_then(|hour| pin.prices_at(last_second(pin, hour)?, |prices| prices.price(&token)));
        let price = |period: &Period| match period.end {
            End::Token { price, .. } => price,
            _ => now.filter(|_| hour.is_some_and(|hour| span.interval.start_of(hour) == period.start)),
        };
        Ok((periods.iter().map(|period| (period.start, price(period))).collect(), source))
    }

    /// How many there are: at least so many, if there are more than `query.limit`.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn count_periods(&self, pin: &Pin, query: PeriodQuery) -> Result<usize, ReadError> {
        Ok(self.bare(pin, query).await?.0.len())
    }
}

/// How a pool stood: its dollars are what its tokens cost then.
fn of_pool(period: &Period, prices: &[HashMap<u64, Option<Dollars>>; 2]) -> Standing {
    let End::Pool { after, held } = period.end else { return Standing::default() };
    let locked = match after {
        Some(StateAfter::V2 { reserve0, reserve1 }) => Some((U256::from(reserve0), U256::from(reserve1))),
        Some(StateAfter::V3 { .. }) | None => held.amounts(),
    };
    let side = |raw: U256, prices: &HashMap<u64, Option<Dollars>>| match raw.is_zero() {
        true => Some(Usd(0)),
        false => (*prices.get(&period.start)?)?.value(raw),
    };
    let usd = |(locked0, locked1): (U256, U256)| {
        let (zero, one) = (side(locked0, &prices[0])?, side(locked1, &prices[1])?);
        Some(u128::from(zero.0).saturating_add(one.0.into()))
    };
    let locked_usd = locked.and_then(usd);
    Standing { after, locked: [locked.map(|(raw, _)| raw), locked.map(|(_, raw)| raw)], price: None, locked_usd }
}

/// How a token or a factory stood. The one under way stands as everything does now.
fn of_end(period: &Period, interval: Interval, now: Option<&(u64, End)>) -> Standing {
    let end = match (period.end, now) {
        (End::Unknown, Some((hour, now))) if interval.start_of(*hour) == period.start => *now,
        (end, _) => end,
    };
    match end {
        End::Token { price, locked } => {
            let value = if locked.is_zero() { Some(Usd(0)) } else { price.and_then(|price| price.value(locked)) };
            Standing { locked: [Some(locked), None], price, locked_usd: value.map(|usd| usd.0.into()), after: None }
        }
        End::Factory { locked } => Standing { locked_usd: Some(locked), ..Standing::default() },
        End::Pool { .. } | End::Unknown => Standing::default(),
    }
}

/// The hour of the newest event, where one of these periods is of it and has no end yet.
fn under_way(pin: &Pin, interval: Interval, periods: &[Period]) -> Option<u64> {
    let hour = pin.head().book.hour();
    let last = periods.iter().rfind(|period| period.start == interval.start_of(hour))?;
    (last.end == End::Unknown).then_some(hour)
}

/// When everything is valued: when the hour is over, or now.
fn last_second(pin: &Pin, hour: u64) -> Option<u64> {
    Some(Interval::H1.end_of(hour).saturating_sub(1).min(pin.head().block?.timestamp))
}

/// How a token or a factory stands: goes over all pools.
fn stands(pin: &Pin, of: Subject, hour: u64) -> Option<End> {
    let (tokens, factories) = match of {
        Subject::Token(token) => (vec![token], Vec::new()),
        Subject::Factory(factory) => (Vec::new(), vec![factory]),
        Subject::Pool(_) => return None,
    };
    let Closing { tokens, factories, .. } = pin.closing(&Due { at: last_second(pin, hour)?, tokens, factories });
    let token = tokens.first().map(|token| End::Token { price: token.price, locked: token.locked });
    token.or(factories.first().map(|(_, locked)| End::Factory { locked: *locked }))
}

/// Candles in the order of their beginnings, and the price in between.
struct CandleWalk {
    rest: std::iter::Peekable<std::vec::IntoIter<Candle>>,
    price: Option<RawPrice>,
}

impl CandleWalk {
    fn new(candles: Vec<Candle>, before: Option<RawPrice>) -> Self {
        Self { rest: candles.into_iter().peekable(), price: before }
    }

    /// Beginnings are asked for in ascending order.
    fn at(&mut self, start: u64) -> Option<Candle> {
        while let Some(candle) = self.rest.next_if(|candle| candle.start <= start) {
            self.price = Some(candle.close);
            if candle.start == start {
                return Some(candle);
            }
        }
        self.price.map(|price| Candle::empty(start, price))
    }
}

#[cfg(test)]
mod tests;
