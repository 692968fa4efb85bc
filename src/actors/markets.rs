//! What pools trade, folded beside their states: from rows, once those have their value, block by block. A pool that does not answer
//! goes on trading here, because its swaps say all that is needed.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use alloy::primitives::{B256, I256, U256};

use super::Deps;
use crate::{
    domain::{
        block::BlockRef,
        event::EventKind,
        image::Held,
        market::{Interval, Market, Trade},
        pool::{PoolId, PoolMeta},
        record::{EventAt, EventRow, PoolChunk},
    },
    store::{
        StoreError,
        history::{PoolReplay, WriteBatch},
        query::{EventQuery, Fields, Narrow, Place},
    },
};

/// A pool's trading, and how much of it was given to the store.
#[derive(Debug, Clone)]
pub(super) struct Trading {
    pub(super) market: Arc<Market>,
    /// Where the last candle begins that the store has …
    stored: BTreeMap<Interval, u64>,
    /// … and the last one that it was given. What is given may be lost: it is given again until the store has it.
    given: BTreeMap<Interval, u64>,
}

impl Default for Trading {
    fn default() -> Self {
        Self::new(Market::none())
    }
}

impl Trading {
    pub(super) fn new(market: Arc<Market>) -> Self {
        Self { market, stored: BTreeMap::new(), given: BTreeMap::new() }
    }

    /// Takes a row, if it is a swap.
    pub(super) fn take(&mut self, timestamp: u64, row: &EventRow) {
        if let Some(trade) = Trade::of(timestamp, row) {
            Arc::make_mut(&mut self.market).trade(&trade);
        }
    }

    /// The chunks of a market that is final, as far as the store does not have them.
    pub(super) fn give(&mut self, pool: PoolId, market: &Market) -> Vec<PoolChunk> {
        let chunks = market.chunks(|interval| self.stored.get(&interval).copied());
        for (interval, last) in chunks.iter().filter_map(|chunk| Some((chunk.interval, chunk.span()?.1))) {
            self.given.insert(interval, last);
        }
        chunks.into_iter().map(|chunk| PoolChunk { pool, chunk }).collect()
    }

    /// The store has it.
    pub(super) fn forget(&mut self, interval: Interval, last: u64) {
        self.stored.insert(interval, last);
        Arc::make_mut(&mut self.market).forget_stored(interval, last);
    }

    /// The store has everything that it was given.
    pub(super) fn forget_given(&mut self) {
        for (interval, last) in self.given.clone() {
            self.forget(interval, last);
        }
    }
}

/// By block: what each pool had traded before it.
#[derive(Debug, Default)]
pub(super) struct Before(HashMap<B256, Vec<(PoolId, Arc<Market>)>>);

impl Before {
    /// The first word about a pool and a block counts: later ones are of the middle of it.
    pub(super) fn remember(&mut self, block: B256, pool: PoolId, market: &Arc<Market>) {
        let before = self.0.entry(block).or_default();
        if !before.iter().any(|(id, _)| *id == pool) {
            before.push((pool, market.clone()));
        }
    }

    /// What every pool had traded before these blocks, newest first.
    pub(super) fn all(&self, newest_first: &[BlockRef]) -> HashMap<PoolId, Arc<Market>> {
        newest_first.iter().filter_map(|b| self.0.get(&b.hash)).flatten().map(|(id, market)| (*id, market.clone())).collect()
    }

    pub(super) fn forget(&mut self, keep: impl Fn(&B256) -> bool) {
        self.0.retain(|hash, _| keep(hash));
    }
}

/// A snapshot of a version that kept less: what it lacks is made of what is stored. No node is asked.
pub(super) async fn mend(deps: &Deps, pool: &PoolMeta, replay: &mut PoolReplay) -> Result<(), StoreError> {
    let Some(snapshot) = replay.snapshot.as_mut().filter(|snapshot| snapshot.market.is_none()) else { return Ok(()) };
    snapshot.market = Some(derive(deps, pool, &snapshot.block).await?.market);
    snapshot.image.held = held(deps, pool, &snapshot.block).await?;
    Ok(())
}

/// What moves tokens into a pool with ticks, and out of it.
const FLOWS: [EventKind; 5] =
    [EventKind::Mint, EventKind::Swap, EventKind::Flash, EventKind::Collect, EventKind::CollectProtocol];

/// What a pool holds, of one whose snapshot does not say it: the sum of its stored rows up to the snapshot, page by page. Not of one
/// that is older than what is read.
async fn held(deps: &Deps, pool: &PoolMeta, to: &BlockRef) -> Result<Held, StoreError> {
    if pool.creation().is_none() {
        return Ok(Held::Unknown);
    }
    let mut sums = Some((I256::ZERO, I256::ZERO));
    for kind in FLOWS {
        let mut query = EventQuery { kind, ..rows_of(deps, pool, to) };
        loop {
            let page = deps.history.events(query).await?;
            for (amount0, amount1) in page.iter().filter_map(|event| event.row.event.body.amounts()) {
                sums = sums.and_then(|(sum0, sum1)| Some((sum0.checked_add(amount0)?, sum1.checked_add(amount1)?)));
            }
            let Some(last) = page.last().filter(|_| page.len() == EventQuery::LIMIT_MAX) else { break };
            query.after = Some(Place { block_number: last.block.number, log_index: last.row.log_index() });
        }
    }
    let size = |sum: I256| if sum.is_negative() { U256::ZERO } else { sum.unsigned_abs() };
    Ok(sums.map_or(Held::Unknown, |(sum0, sum1)| Held::Amounts(size(sum0), size(sum1))))
}

/// All of a pool's stored rows up to a block, oldest first; the kind is the caller's.
fn rows_of(deps: &Deps, pool: &PoolMeta, to: &BlockRef) -> EventQuery {
    EventQuery {
        chain: deps.chain,
        kind: EventKind::Swap,
        narrow: Narrow::Pool(pool.id),
        after: None,
        before: Some(Place { block_number: to.number.saturating_add(1), log_index: 0 }),
        time_from: None,
        time_to: None,
        newest_first: false,
        fields: Fields { state_after: true, enrichment: false },
        limit: EventQuery::LIMIT_MAX,
    }
}

/// Of a pool whose snapshot is of a version that kept none: from its stored swaps up to the snapshot, page by page. Its candles are
/// stored as they come.
async fn derive(deps: &Deps, pool: &PoolMeta, to: &BlockRef) -> Result<Trading, StoreError> {
    tracing::info!(pool = %pool.id, "candles are made of the swaps that are stored");
    let mut trading = Trading::default();
    let mut query = rows_of(deps, pool, to);
    loop {
        let page: Vec<EventAt> = deps.history.events(query).await?;
        for event in &page {
            trading.take(event.block.timestamp, &event.row);
        }
        let market = trading.market.clone();
        let candles = trading.give(pool.id, &market);
        if !candles.is_empty() {
            deps.history.write(WriteBatch { candles, ..super::seed::batch(deps, *to) }).await?;
            trading.forget_given();
        }
        let Some(last) = page.last().filter(|_| page.len() == EventQuery::LIMIT_MAX) else { return Ok(trading) };
        query.after = Some(Place { block_number: last.block.number, log_index: last.row.log_index() });
    }
}

#[cfg(test)]
mod tests {
    use alloy::primitives::Address;

    use super::*;
    use crate::domain::market::{CHUNK, RawPrice};

    /// What was given may never arrive: whoever asks again gets it again, until the store said that it has it.
    #[test]
    fn a_chunk_is_given_until_the_store_has_it_and_then_never_again() {
        let mut trading = Trading::default();
        let trade = |minute: u64| Trade {
            timestamp: 60 * minute,
            price: RawPrice::Reserves { reserve0: 1, reserve1: 1 },
            amount0: I256::ONE,
            amount1: I256::MINUS_ONE,
            usd: None,
            trader: Address::ZERO,
        };
        let chunk = u64::try_from(CHUNK).unwrap();
        let spans = |trading: &mut Trading| -> Vec<(Interval, u64, u64)> {
            let market = trading.market.clone();
            let given = trading.give(PoolId::Address(Address::ZERO), &market);
            given
                .iter()
                .map(|one| (one.chunk.interval, one.chunk.span().unwrap().0 / 60, one.chunk.span().unwrap().1 / 60))
                .collect()
        };
        (0..=chunk).for_each(|minute| Arc::make_mut(&mut trading.market).trade(&trade(minute)));
        let first = (Interval::M1, 0, chunk - 1);
        assert_eq!(spans(&mut trading), [first]);
        assert_eq!(spans(&mut trading), [first], "it was lost");
        (chunk + 1..=2 * chunk).for_each(|minute| Arc::make_mut(&mut trading.market).trade(&trade(minute)));
        let second = (Interval::M1, chunk, 2 * chunk - 1);
        assert_eq!(spans(&mut trading), [first, second], "both, so that the store's word for the second is one for the first");
        trading.forget(Interval::M1, 60 * first.2);
        assert_eq!(spans(&mut trading), [second]);
        trading.forget(Interval::M1, 60 * second.2);
        assert_eq!(spans(&mut trading), []);
    }
}
