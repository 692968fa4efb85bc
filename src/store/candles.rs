//! Candles and windows of a pool, out of its swaps: recent ones from memory, older ones from the store.
//!
//! Each question reads the swaps of its stretch. That is exact at every block, whatever was reorganised or restarted; it costs what there
//! are swaps, and so the stretch is bounded.

use super::{
    history::DataSource,
    pin::Pin,
    query::{EventQuery, Fields, Narrow, Place},
    reader::{Events, ReadError, Reader},
};
use crate::domain::{
    event::EventKind,
    market::{Candle, Interval, RawPrice, Trade, Window, WindowStats, filled, fold, stats},
    pool::PoolId,
    record::EventAt,
};

/// Swaps that one question may read.
pub const TRADES_MAX: usize = 20_000;
const PAGE: usize = EventQuery::LIMIT_MAX;

/// Which candles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CandleQuery {
    pub pool: PoolId,
    pub interval: Interval,
    /// Unix seconds: the candle that this is in, and later ones. `None`: as many as `count` before `to`.
    pub from: Option<u64>,
    /// Exclusive. `None`: up to the one under way.
    pub to: Option<u64>,
    /// At most so many intervals.
    pub count: u64,
    /// Also those in which nobody traded.
    pub fill: bool,
}

/// Candles with the source that was needed to answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candles {
    /// Oldest first.
    pub candles: Vec<Candle>,
    pub source: DataSource,
}

impl Reader {
    /// As of the pinned block: the newest candle ends with it.
    ///
    /// # Errors
    /// Also where there are too many swaps in the stretch.
    pub async fn candles(&self, pin: &Pin, query: CandleQuery) -> Result<Candles, ReadError> {
        let now = pin.head().block.ok_or(ReadError::Starting)?.timestamp;
        let Some((from, to)) = stretch(&query, now) else {
            return Ok(Candles { candles: Vec::new(), source: DataSource::Memory });
        };
        let read = self.trades(pin, query.pool, from, to).await?;
        let candles = fold(&read.trades, query.interval, read.before);
        let candles = if query.fill { filled(&candles, query.interval, from, to, read.before) } else { candles };
        Ok(Candles { candles, source: read.source })
    }

    /// What a pool did within a window that ends with the pinned block.
    ///
    /// # Errors
    /// Also where there are too many swaps in it.
    pub async fn stats(&self, pin: &Pin, pool: PoolId, window: Window) -> Result<(WindowStats, DataSource), ReadError> {
        let now = pin.head().block.ok_or(ReadError::Starting)?.timestamp;
        let read = self.trades(pin, pool, window.start_at(now), now.saturating_add(1)).await?;
        Ok((stats(&read.trades, window, now, read.before), read.source))
    }

    /// Swaps of `from..to` in the order of the chain, and the price before them.
    async fn trades(&self, pin: &Pin, pool: PoolId, from: u64, to: u64) -> Result<Trades, ReadError> {
        let mut source = DataSource::Memory;
        let base = EventQuery {
            chain: pin.chain(),
            kind: EventKind::Swap,
            narrow: Narrow::Pool(pool),
            after: None,
            before: None,
            time_from: Some(from),
            time_to: Some(to),
            newest_first: false,
            fields: Fields { state_after: true, enrichment: false },
            limit: PAGE,
        };
        let mut told = |found: &Events| {
            if found.source != DataSource::Memory {
                source = found.source;
            }
        };
        let before = EventQuery { time_from: None, time_to: Some(from), newest_first: true, limit: 1, ..base };
        let found = self.events(pin, before).await?;
        told(&found);
        let before = found.events.first().and_then(|event| event.row.after.as_ref()).and_then(RawPrice::of);
        let mut trades: Vec<Trade> = Vec::new();
        let (mut after, mut read) = (None, 0_usize);
        loop {
            let found = self.events(pin, EventQuery { after, ..base }).await?;
            told(&found);
            // Rows, not trades: of a pool that was given up they have no price.
            read = read.saturating_add(found.events.len());
            if read > TRADES_MAX {
                return Err(ReadError::TooMuch { most: TRADES_MAX });
            }
            trades.extend(found.events.iter().filter_map(trade));
            if found.events.len() < PAGE {
                return Ok(Trades { trades, before, source });
            }
            after = found.events.last().map(|e| Place { block_number: e.block.number, log_index: e.row.log_index() });
        }
    }
}

struct Trades {
    trades: Vec<Trade>,
    before: Option<RawPrice>,
    source: DataSource,
}

/// Both ends are beginnings of candles; nothing after the candle under way.
fn stretch(query: &CandleQuery, now: u64) -> Option<(u64, u64)> {
    let interval = query.interval;
    let end = interval.end_of(interval.start_of(now));
    let to = query.to.map_or(end, |to| interval.end_of(interval.start_of(to.saturating_sub(1))).min(end));
    let length = query.count.saturating_mul(interval.seconds());
    let from = match query.from {
        Some(from) => interval.start_of(from),
        None => interval.start_of(to.saturating_sub(length)),
    };
    let to = to.min(from.saturating_add(length));
    (from < to && query.to != Some(0)).then_some((from, to))
}

/// A swap without a price (its pool was given up, or is none) is in no candle.
fn trade(event: &EventAt) -> Option<Trade> {
    Trade::of(event.block.timestamp, &event.row)
}

#[cfg(test)]
mod tests {
    use alloy::primitives::Address;

    use super::*;

    #[test]
    fn a_stretch_begins_and_ends_with_candles_and_not_in_the_future() {
        let query = |from, to, count| CandleQuery {
            pool: PoolId::Address(Address::ZERO),
            interval: Interval::M1,
            from,
            to,
            count,
            fill: false,
        };
        let now = 6_030;
        for (from, to, count, expected) in [
            (None, None, 3, Some((5_880, 6_060))),
            (None, Some(6_000), 2, Some((5_880, 6_000))),
            (None, Some(6_001), 2, Some((5_940, 6_060))),
            (Some(5_950), None, 500, Some((5_940, 6_060))),
            (Some(60), None, 2, Some((60, 180))),
            (Some(60), Some(90), 500, Some((60, 120))),
            (None, None, 500, Some((0, 6_060))),
            (Some(6_060), None, 5, None),
            (Some(u64::MAX), None, 5, None),
            (Some(500), Some(400), 5, None),
            (Some(0), Some(0), 5, None),
            (None, Some(u64::MAX), 1, Some((6_000, 6_060))),
        ] {
            assert_eq!(stretch(&query(from, to, count), now), expected, "{from:?} {to:?} {count}");
        }
    }
}
