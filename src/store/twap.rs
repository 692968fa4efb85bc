//! The time-weighted mean tick of a pool with ticks, as `OracleLibrary.consult` makes it of `observe()`: out of swaps, so it needs no
//! observations in the contract and reaches as far back as history does.

use super::{
    candles::TRADES_MAX,
    history::DataSource,
    pin::Pin,
    query::{EventQuery, Fields, Narrow, Place},
    reader::{ReadError, Reader},
};
use crate::domain::{
    event::{EventBody, EventKind},
    pool::PoolId,
    record::EventAt,
};

impl Reader {
    /// Over the `seconds` before the pinned block's time; rounded down. `None`: the pool has no ticks, or had no price then.
    ///
    /// # Errors
    /// Also where there are too many swaps within that time.
    pub async fn mean_tick(&self, pin: &Pin, pool: PoolId, seconds: u64) -> Result<Option<(i32, DataSource)>, ReadError> {
        let now = pin.head().block.ok_or(ReadError::Starting)?.timestamp;
        let Some(start) = now.checked_sub(seconds).filter(|_| seconds > 0) else { return Ok(None) };
        let base = EventQuery {
            chain: pin.chain(),
            kind: EventKind::Swap,
            narrow: Narrow::Pool(pool),
            after: None,
            before: None,
            time_from: Some(start.saturating_add(1)),
            time_to: Some(now.saturating_add(1)),
            newest_first: false,
            fields: Fields::default(),
            limit: EventQuery::LIMIT_MAX,
        };
        let newest = EventQuery { time_from: None, time_to: Some(start.saturating_add(1)), newest_first: true, limit: 1, ..base };
        let mut source = DataSource::Memory;
        let mut before: Option<EventAt> = None;
        // A V4 pool has its first price from the log that creates it.
        for kind in [EventKind::PoolCreated, EventKind::Initialize, EventKind::Swap] {
            let found = self.events(pin, EventQuery { kind, ..newest }).await?;
            source = if found.source == DataSource::Memory { source } else { found.source };
            before = found.events.into_iter().next().or(before);
        }
        let Some(mut tick) = before.as_ref().and_then(tick_of) else { return Ok(None) };
        // 24 bits times as many seconds as there are: far below 64 bits.
        let (mut sum, mut at) = (0_i64, start);
        let mut held = |tick: i32, until: u64| {
            let passed = i64::try_from(until.saturating_sub(at)).unwrap_or(i64::MAX);
            sum = sum.saturating_add(i64::from(tick).saturating_mul(passed));
            at = until;
        };
        let (mut after, mut read) = (None, 0_usize);
        loop {
            let found = self.events(pin, EventQuery { after, ..base }).await?;
            source = if found.source == DataSource::Memory { source } else { found.source };
            read = read.saturating_add(found.events.len());
            if read > TRADES_MAX {
                return Err(ReadError::TooMuch { most: TRADES_MAX });
            }
            for event in &found.events {
                held(tick, event.block.timestamp);
                tick = tick_of(event).unwrap_or(tick);
            }
            let Some(last) = found.events.last().filter(|_| found.events.len() == EventQuery::LIMIT_MAX) else { break };
            after = Some(Place { block_number: last.block.number, log_index: last.row.log_index() });
        }
        held(tick, now);
        let mean = sum.checked_div_euclid(i64::try_from(seconds).unwrap_or(i64::MAX));
        Ok(mean.and_then(|mean| i32::try_from(mean).ok()).map(|mean| (mean, source)))
    }
}

fn tick_of(event: &EventAt) -> Option<i32> {
    match event.row.event.body {
        EventBody::V3Swap { tick, .. }
        | EventBody::V3Initialize { tick, .. }
        | EventBody::V4Swap { tick, .. }
        | EventBody::V4Initialize { tick, .. } => Some(tick),
        _ => None,
    }
}
