//! The crate `uniswap_v3_math` with the loop that its users write around it (as the crate amms does): bitmap and ticks in hash maps.

use std::collections::HashMap;

use alloy::primitives::{I256, U256};
use swaptide::domain::pool::V3State;
use uniswap_v3_math::{
    liquidity_math::add_delta,
    swap_math::compute_swap_step,
    tick_bitmap::{flip_tick, next_initialized_tick_within_one_word},
    tick_math::{MAX_SQRT_RATIO, MAX_TICK, MIN_SQRT_RATIO, MIN_TICK, get_sqrt_ratio_at_tick, get_tick_at_sqrt_ratio},
};

use super::pools::TERMS;

/// A pool as it wants it.
pub(crate) struct Peer {
    sqrt_price_x96: U256,
    tick: i32,
    liquidity: u128,
    bitmap: HashMap<i16, U256>,
    liquidity_net: HashMap<i32, i128>,
}

/// What a swap comes to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Swapped {
    pub(crate) amount_in: U256,
    pub(crate) amount_out: U256,
    pub(crate) sqrt_price_x96: U256,
    pub(crate) tick: i32,
    pub(crate) liquidity: u128,
}

impl Peer {
    pub(crate) fn of(pool: &V3State) -> Self {
        let mut bitmap = HashMap::new();
        pool.ticks.keys().for_each(|tick| flip_tick(&mut bitmap, *tick, TERMS.tick_spacing).unwrap());
        Self {
            sqrt_price_x96: pool.sqrt_price_x96,
            tick: pool.tick,
            liquidity: pool.liquidity,
            bitmap,
            liquidity_net: pool.ticks.iter().map(|(at, tick)| (*at, tick.liquidity_net)).collect(),
        }
    }

    pub(crate) fn exact_input(&self, down: bool, amount: U256) -> Swapped {
        let limit = if down { MIN_SQRT_RATIO + U256::ONE } else { MAX_SQRT_RATIO - U256::ONE };
        let (mut price, mut tick, mut liquidity) = (self.sqrt_price_x96, self.tick, self.liquidity);
        let asked = I256::from_raw(amount);
        let (mut left, mut amount_out) = (asked, U256::ZERO);
        while !left.is_zero() && price != limit {
            let (next, is_initialised) =
                next_initialized_tick_within_one_word(&self.bitmap, tick, TERMS.tick_spacing, down).unwrap();
            let next = next.clamp(MIN_TICK, MAX_TICK);
            let at_next = get_sqrt_ratio_at_tick(next).unwrap();
            let target = if down { at_next.max(limit) } else { at_next.min(limit) };
            let (to, paid, got, fee) = compute_swap_step(price, target, liquidity, left, TERMS.fee_pips).unwrap();
            left -= I256::from_raw(paid + fee);
            amount_out += got;
            let from = std::mem::replace(&mut price, to);
            if price == at_next {
                if is_initialised {
                    let net = self.liquidity_net[&next];
                    liquidity = add_delta(liquidity, if down { -net } else { net }).unwrap();
                }
                tick = if down { next - 1 } else { next };
            } else if price != from {
                tick = get_tick_at_sqrt_ratio(price).unwrap();
            }
        }
        Swapped { amount_in: (asked - left).into_raw(), amount_out, sqrt_price_x96: price, tick, liquidity }
    }
}
