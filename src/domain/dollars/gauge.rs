//! What a pool says about prices: its own price, how hard that is to move, and for how long it has been so.

use alloy::primitives::{U256, U512};

use crate::domain::{
    market::RawPrice,
    pool::{PoolState, StateAfter, V3State},
};

/// One per cent in ticks: 1.0001^100 is 1.01005.
const BAND_TICKS: i32 = 100;
/// Initialised ticks that are looked at on each side; liquidity beyond them does not count.
const TICKS_MAX: usize = 64;
/// Depth has its whole weight when it has been there for a multiple of this: liquidity of one block has nearly none. 30 min, as
/// Uniswap's oracles are mostly asked for.
const STEADY_SECONDS: u64 = 1_800;

/// How hard a pool's price is to move.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Depth {
    /// Raw units of token0 and token1 that it takes to move the price by about one per cent, in the direction where it takes less.
    pub token0: u128,
    pub token1: u128,
    /// The root of their product, which trading does not change.
    pub both: u128,
}

/// A pool as of the last block that changed it. Folded at the ends of blocks: what happens within one is not seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gauge {
    pub price: Option<RawPrice>,
    pub depth: Depth,
    /// What the liquidity of a V4 pool would free, raw units; `None`: another protocol's, which says itself what it holds.
    pub locked: Option<(U256, U256)>,
    /// The time-weighted mean of `depth`, as of `at`.
    steady: Depth,
    /// Block time, Unix seconds.
    at: u64,
}

/// Which token of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Which {
    Token0,
    Token1,
}

impl Which {
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Token0 => Self::Token1,
            Self::Token1 => Self::Token0,
        }
    }
}

impl Gauge {
    /// As it was kept: what is not here follows from the state of the same moment.
    #[must_use]
    pub fn restored(state: &PoolState, steady: Depth, at: u64) -> Self {
        let locked = match state {
            PoolState::V4(pool) => Some(pool.held_by_all()),
            PoolState::V2(_) | PoolState::V3(_) => None,
        };
        Self { price: RawPrice::of(&state.after()), depth: Depth::of(state), locked, steady, at }
    }

    /// The same from a row: what happened last in the block, how deep a pool with ticks was, and what a V4 pool held.
    #[must_use]
    pub fn of_row(after: &StateAfter, both: u128, locked: Option<(U256, U256)>, (steady, at): (Depth, u64)) -> Self {
        let depth = match *after {
            StateAfter::V2 { reserve0, reserve1 } => Depth::of_pair(reserve0, reserve1),
            StateAfter::V3 { sqrt_price_x96, .. } => Depth::of_liquidity(both, sqrt_price_x96),
        };
        Self { price: RawPrice::of(after), depth, locked, steady, at }
    }

    /// What has to be kept beside the state: the mean depth, and the time that it is of.
    #[must_use]
    pub fn kept(&self) -> (Depth, u64) {
        (self.steady, self.at)
    }

    /// A pool that is older than what is read: it is taken to have been as it is.
    #[must_use]
    pub fn seeded(state: &PoolState, timestamp: u64) -> Self {
        Self::restored(state, Depth::of(state), timestamp)
    }

    /// The pool at the end of a block that changed it. Block times never fall.
    pub fn observe(&mut self, state: &PoolState, timestamp: u64) {
        *self = Self::restored(state, self.steady(timestamp), timestamp);
    }

    /// What of the depth counts at this time: the lesser of what there is and of what there was.
    #[must_use]
    pub fn firm_depth(&self, now: u64) -> Depth {
        self.depth.with(&self.steady(now), u128::min)
    }

    /// `(steady · T + depth · dt) / (T + dt)`: what was there for one T counts half.
    fn steady(&self, now: u64) -> Depth {
        let passed = now.saturating_sub(self.at);
        let whole = U256::from(STEADY_SECONDS.saturating_add(passed));
        let weighted = |value: u128, seconds: u64| U256::from(value).wrapping_mul(U256::from(seconds));
        self.steady.with(&self.depth, |steady, depth| {
            // Two products of 192 bits.
            let sum = weighted(steady, STEADY_SECONDS).wrapping_add(weighted(depth, passed));
            sum.checked_div(whole).and_then(|mean| u128::try_from(mean).ok()).unwrap_or(0)
        })
    }
}

impl Depth {
    #[must_use]
    pub fn token(&self, which: Which) -> u128 {
        match which {
            Which::Token0 => self.token0,
            Which::Token1 => self.token1,
        }
    }

    fn with(&self, other: &Self, join: impl Fn(u128, u128) -> u128) -> Self {
        Self {
            token0: join(self.token0, other.token0),
            token1: join(self.token1, other.token1),
            both: join(self.both, other.both),
        }
    }

    /// V2: x·y = k moves by 1 % where a reserve moves by 0.5 %. V3: the same of the reserves that its liquidity stands for.
    fn of(state: &PoolState) -> Self {
        match state {
            PoolState::V2(pair) => Self::of_pair(pair.reserve0, pair.reserve1),
            PoolState::V3(pool) | PoolState::V4(pool) => Self::of_liquidity(mean_liquidity(pool) / 200, pool.sqrt_price_x96),
        }
    }

    fn of_pair(reserve0: u128, reserve1: u128) -> Self {
        let both = U256::from(reserve0).wrapping_mul(U256::from(reserve1)).root(2);
        Self { token0: reserve0 / 200, token1: reserve1 / 200, both: u128::try_from(both).unwrap_or(u128::MAX) / 200 }
    }

    fn of_liquidity(both: u128, sqrt_price_x96: U256) -> Self {
        let liquidity = U256::from(both);
        let token1: U512 = liquidity.widening_mul(sqrt_price_x96);
        let Some(token0) = U512::from(liquidity).wrapping_shl(96).checked_div(U512::from(sqrt_price_x96)) else {
            return Self::default(); // not initialised
        };
        let raw = |depth: U512| u128::try_from(depth).unwrap_or(u128::MAX);
        Self { token0: raw(token0), token1: raw(token1.wrapping_shr(96)), both }
    }
}

/// Mean liquidity over one per cent of the price, on the side that has less. A position that is one tick wide is deep nowhere else.
fn mean_liquidity(pool: &V3State) -> u128 {
    let top = pool.tick.saturating_add(BAND_TICKS);
    let bottom = pool.tick.saturating_sub(BAND_TICKS);
    let above = pool.ticks.range(pool.tick.saturating_add(1)..=top).map(|(index, tick)| (*index, tick.liquidity_net));
    // Downwards a tick takes back what it gives upwards.
    let below = pool.ticks.range(bottom..=pool.tick).rev();
    let below = below.map(|(index, tick)| (*index, tick.liquidity_net.checked_neg().unwrap_or(i128::MAX)));
    let up = covered(pool, above, top);
    up.min(covered(pool, below, bottom)) / u128::from(BAND_TICKS.unsigned_abs())
}

/// The sum of liquidity over ticks from the present one to `end`, as far as [`TICKS_MAX`] initialised ones reach.
fn covered(pool: &V3State, crossed: impl Iterator<Item = (i32, i128)>, end: i32) -> u128 {
    let (mut at, mut liquidity, mut sum) = (pool.tick, pool.liquidity, 0_u128);
    let mut left = TICKS_MAX;
    for (index, net) in crossed {
        sum = sum.saturating_add(liquidity.saturating_mul(u128::from(index.abs_diff(at))));
        left = left.saturating_sub(1);
        if left == 0 {
            return sum;
        }
        (at, liquidity) = (index, liquidity.saturating_add_signed(net));
    }
    sum.saturating_add(liquidity.saturating_mul(u128::from(end.abs_diff(at))))
}
