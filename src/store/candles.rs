//! Candles and windows of a pool: recent ones from its market in memory, older ones from the chunks in the store. Where neither has
//! them (seconds of long ago, minutes whose retention is over) they are made of swaps, and so the stretch is bounded.

use super::{
    history::{DataSource, SeriesRange},
    pin::Pin,
    query::{EventQuery, Fields, Narrow, Place},
    reader::{Events, ReadError, Reader},
};
use crate::domain::{
    event::EventKind,
    market::{Candle, Interval, RawPrice, Subject, Trade, filled, fold},
    pool::PoolId,
    record::EventAt,
};

/// Swaps that one question may read.
pub const TRADES_MAX: usize = 20_000;
const PAGE: usize = EventQuery::LIMIT_MAX;

/// Which candles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CandleQuery {
    /// A pool or a token; a factory has none.
    pub of: Subject,
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

/// Candles in which there were trades.
pub(super) struct Joined {
    pub(super) candles: Vec<Candle>,
    /// The price before the first, where `fill` asked for it.
    pub(super) before: Option<RawPrice>,
    pub(super) source: DataSource,
    /// Both beginnings of candles.
    stretch: (u64, u64),
}

impl Reader {
    /// As of the pinned block: the newest candle ends with it.
    ///
    /// # Errors
    /// Also where they have to be made of swaps, and there are too many in the stretch; and where those of a token are not kept so long.
    pub async fn candles(&self, pin: &Pin, query: CandleQuery) -> Result<Candles, ReadError> {
        let Joined { candles, before, source, stretch: (from, to) } = self.joined(pin, query).await?;
        let candles = if query.fill { filled(&candles, query.interval, from, to, before) } else { candles };
        Ok(Candles { candles, source })
    }

    pub(super) async fn joined(&self, pin: &Pin, query: CandleQuery) -> Result<Joined, ReadError> {
        let now = pin.head().block.ok_or(ReadError::Starting)?.timestamp;
        let none = Joined { candles: Vec::new(), before: None, source: DataSource::Memory, stretch: (0, 0) };
        let Some((mut from, to)) = stretch(&query, now) else { return Ok(none) };
        let Some(market) = pin.market(&query.of) else { return Ok(none) };
        let interval = query.interval;
        let known_from = market.known_from(interval);
        let is_pool = matches!(query.of, Subject::Pool(_));
        if !is_pool && from < known_from {
            // What a token cost at each block is not told again.
            let kept_from = if interval.is_stored() { first_kept(interval, now) } else { known_from };
            if from < kept_from && query.from.is_some() {
                return Err(ReadError::NotKept { from: kept_from });
            }
            from = from.max(kept_from);
        }
        let is_kept = from >= first_kept(interval, now);
        // The price before the first that memory has is in the store, where there are any.
        let has_before = known_from == 0 || !query.fill || from > known_from || !(is_pool || interval.is_stored());
        let (candles, before, source) = if from >= known_from && has_before {
            (market.candles(interval, from, to), market.price_before(interval, from), DataSource::Memory)
        } else if interval.is_stored() && is_kept {
            let of = query.of;
            let range = SeriesRange { chain: pin.chain(), of, interval, from, to: to.min(known_from), newest: usize::MAX };
            let mut candles = self.history().candles(range).await?;
            let before = candles.first().filter(|candle| candle.start < from).map(|candle| candle.close);
            candles.retain(|candle| candle.start >= from);
            candles.extend(market.candles(interval, from, to));
            (candles, before, self.history().source())
        } else if let Subject::Pool(pool) = query.of {
            let read = self.trades(pin, pool, from, to).await?;
            (fold(&read.trades, interval, read.before), read.before, read.source)
        } else {
            return Err(ReadError::NotKept { from: known_from });
        };
        Ok(Joined { candles, before, source, stretch: (from, to) })
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

/// Where the oldest candle begins whose retention is not over.
fn first_kept(interval: Interval, now: u64) -> u64 {
    let Some(kept) = interval.retention_seconds() else { return 0 };
    let floor = now.saturating_sub(kept);
    let start = interval.start_of(floor);
    if start < floor { interval.end_of(start) } else { start }
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
mod tests;
