//! How much it takes to move a pool's price: what comes in and goes out of the smallest swap that does it.
//!
//! Of a pair that is found by bisection over [`V2State::exchange`], of a pool with ticks it is a swap up to a limit
//! ([`V3State::exchange`]): nothing here computes an amount of its own. What is absent: other pools, and what others do meanwhile.

use alloy::primitives::{U256, U512};

use super::{
    PoolMeta, PoolState, V2State, V3State,
    exchange::{NoSwap, Order, RESERVE_MAX},
    math::{MAX_SQRT_RATIO, MIN_SQRT_RATIO},
    step::Amount,
    swap::Terms,
};

/// Parts of a whole.
pub const BPS: u32 = 10_000;

/// What token1 per token0 should be, in parts of what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Target {
    /// token0 comes in, and the price of it falls.
    down: bool,
    parts: u32,
}

/// Raw units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Move {
    /// With the fee.
    pub amount_in: U256,
    pub amount_out: U256,
}

/// The smallest swap after which token1 per token0 is so many basis points lower (`down`) or higher; of a pool with ticks it may be some
/// wei more, which the contract's rounding takes at each of them. Where nobody has liquidity, nothing is paid.
///
/// # Errors
/// Where there is no price, or nobody can bring it there.
pub fn depth(meta: &PoolMeta, state: &PoolState, down: bool, bps: u32) -> Result<Move, NoSwap> {
    let parts = if down { BPS.checked_sub(bps) } else { BPS.checked_add(bps) };
    let target = Target { down, parts: parts.ok_or(NoSwap::Limit)? };
    match state {
        PoolState::V2(pair) => pair.moved(meta.fee_pips, target),
        PoolState::V3(pool) => pool.moved(Terms::of(meta).ok_or(NoSwap::Empty)?, target),
    }
}

impl V2State {
    fn moved(&self, fee_pips: u32, target: Target) -> Result<Move, NoSwap> {
        let Target { down, parts } = target;
        let reserve_in = if down { self.reserve0 } else { self.reserve1 };
        // Three factors of 112, 112 and 15 bits.
        let product = |a: u128, b: u128, parts: u32| U256::from(a).wrapping_mul(U256::from(b)).wrapping_mul(U256::from(parts));
        let is_there = |after: &V2State| {
            let stands = product(after.reserve1, self.reserve0, BPS);
            let should = product(self.reserve1, after.reserve0, parts);
            if down { stands <= should } else { stands >= should }
        };
        let swap = |amount: u128| self.exchange(fee_pips, down, Amount::In(U256::from(amount)));
        let (mut below, mut there) = (0, RESERVE_MAX.saturating_sub(reserve_in));
        let mut found = swap(there).ok().filter(|swap| is_there(&swap.after)).ok_or(NoSwap::Limit)?;
        while there.saturating_sub(below) > 1 {
            let middle = below.midpoint(there);
            let swap = swap(middle)?;
            if is_there(&swap.after) { (there, found) = (middle, swap) } else { below = middle }
        }
        Ok(Move { amount_in: found.amount_in, amount_out: found.amount_out })
    }
}

impl V3State {
    fn moved(&self, terms: Terms, target: Target) -> Result<Move, NoSwap> {
        if self.sqrt_price_x96.is_zero() {
            return Err(NoSwap::Empty);
        }
        let Target { down, parts } = target;
        let square: U512 = self.sqrt_price_x96.widening_mul(self.sqrt_price_x96);
        let price = square.checked_mul(U512::from(parts)).and_then(|price| price.checked_div(U512::from(BPS)));
        let root = U256::saturating_from(price.ok_or(NoSwap::Overflow)?.root(2));
        // Rounded away from where it stands.
        let limit = if down { root } else { root.saturating_add(U256::ONE) };
        if limit <= MIN_SQRT_RATIO || limit >= MAX_SQRT_RATIO {
            return Err(NoSwap::Limit);
        }
        let everything = Amount::In(U256::MAX.wrapping_shr(1));
        let there = self.exchange(terms, Order { down, amount: everything, limit: Some(limit) })?;
        if there.amount_in.is_zero() {
            return Ok(Move::default());
        }
        // Without the limit: what was rounded up for the pool may go a little further, and buy a little more.
        let swap = self.exchange(terms, Order { down, amount: Amount::In(there.amount_in), limit: None })?;
        Ok(Move { amount_in: swap.amount_in, amount_out: swap.amount_out })
    }
}

#[cfg(test)]
mod tests;
