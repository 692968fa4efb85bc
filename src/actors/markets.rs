//! What pools trade, folded beside their states: from rows, once those have their value, block by block. A pool that does not answer
//! goes on trading here, because its swaps say all that is needed.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use alloy::primitives::B256;

use crate::domain::{
    block::BlockRef,
    market::{Chunk, Market, Subject, Track},
    pool::PoolId,
    record::{ChunkOf, EventRow},
};

/// How much of a market was given to the store.
#[derive(Debug, Clone, Default)]
pub(super) struct Shelf {
    /// Where the last piece begins that the store has …
    stored: BTreeMap<Track, u64>,
    /// … and the last one that it was given. What is given may be lost: it is given again until the store has it.
    given: BTreeMap<Track, u64>,
}

impl Shelf {
    /// The chunks of a market that is final, as far as the store does not have them.
    pub(super) fn give(&mut self, market: &Market) -> Vec<Chunk> {
        let chunks = market.chunks(|track| self.stored.get(&track).copied());
        for (track, last) in chunks.iter().filter_map(|chunk| Some((chunk.track(), chunk.span()?.1))) {
            self.given.insert(track, last);
        }
        chunks
    }

    pub(super) fn stored(&mut self, track: Track, last: u64) {
        self.stored.insert(track, last);
    }

    /// The store has everything that it was given: that is.
    pub(super) fn take_given(&mut self) -> BTreeMap<Track, u64> {
        let given = std::mem::take(&mut self.given);
        self.stored.extend(&given);
        given
    }
}

/// A pool's trading, and how much of it was given to the store.
#[derive(Debug, Clone)]
pub(super) struct Trading {
    pub(super) market: Arc<Market>,
    shelf: Shelf,
}

impl Default for Trading {
    fn default() -> Self {
        Self::new(Market::none())
    }
}

impl Trading {
    pub(super) fn new(market: Arc<Market>) -> Self {
        Self { market, shelf: Shelf::default() }
    }

    /// Takes the pool's next row.
    pub(super) fn take(&mut self, timestamp: u64, row: &EventRow, fee_pips: u32) {
        Arc::make_mut(&mut self.market).take(timestamp, row, fee_pips);
    }

    /// The chunks of a market that is final, as far as the store does not have them.
    pub(super) fn give(&mut self, pool: PoolId, market: &Market) -> Vec<ChunkOf> {
        let of = Subject::Pool(pool);
        self.shelf.give(market).into_iter().map(|chunk| ChunkOf { of, chunk: chunk.into() }).collect()
    }

    /// The store has it.
    pub(super) fn forget(&mut self, track: Track, last: u64) {
        self.shelf.stored(track, last);
        Arc::make_mut(&mut self.market).forget_stored(track, last);
    }

    /// The store has everything that it was given.
    pub(super) fn forget_given(&mut self) {
        let given = self.shelf.take_given();
        let market = Arc::make_mut(&mut self.market);
        given.into_iter().for_each(|(track, last)| market.forget_stored(track, last));
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

#[cfg(test)]
mod tests {
    use alloy::primitives::{Address, I256};

    use super::*;
    use crate::domain::market::{CHUNK, Interval, RawPrice, Trade};

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
        let spans = |trading: &mut Trading| -> Vec<(Track, u64, u64)> {
            let market = trading.market.clone();
            let given = trading.give(PoolId::Address(Address::ZERO), &market);
            given
                .iter()
                .map(|one| (one.chunk.track(), one.chunk.span().unwrap().0 / 60, one.chunk.span().unwrap().1 / 60))
                .collect()
        };
        (0..=chunk).for_each(|minute| Arc::make_mut(&mut trading.market).trade(&trade(minute)));
        let minutes = Track::Candles(Interval::M1);
        let first = (minutes, 0, chunk - 1);
        assert_eq!(spans(&mut trading), [first]);
        assert_eq!(spans(&mut trading), [first], "it was lost");
        (chunk + 1..=2 * chunk).for_each(|minute| Arc::make_mut(&mut trading.market).trade(&trade(minute)));
        let second = (minutes, chunk, 2 * chunk - 1);
        assert_eq!(spans(&mut trading), [first, second], "both, so that the store's word for the second is one for the first");
        trading.forget(minutes, 60 * first.2);
        assert_eq!(spans(&mut trading), [second]);
        trading.forget(minutes, 60 * second.2);
        assert_eq!(spans(&mut trading), []);
    }
}
