//! How much it takes to move a pool's price: what comes in and goes out of the smallest swap that does it.
//!
//! Of a pair that is found by bisection over [`V2State::exchange`], of a pool with ticks it is a swap up to a limit
//! ([`V3State::exchange`]): nothing here computes an amount of its own. What is absent: other pools, and what others do meanwhile.

use std::cmp::Ordering;

use alloy::primitives::U256;

use super::{
    PoolMeta, PoolState, V2State, V3State,
    exchange::{NoSwap, Order, RESERVE_MAX, TickSwap},
    math::{MAX_SQRT_RATIO, MIN_SQRT_RATIO},
    step::Amount,
    trade::Swap,
};
use crate::domain::price::{Ratio, token1_per_token0};

/// Parts of a whole.
pub const BPS: u32 = 10_000;

/// What raw token1 per raw token0 should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Target {
    /// token0 comes in, and the price of it falls.
    down: bool,
    price: Ratio,
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
    let price = token1_per_token0(state, 0, 0).ok_or(NoSwap::Empty)?;
    let price = price.part(parts.ok_or(NoSwap::Limit)?, BPS).ok_or(NoSwap::Overflow)?;
    to_price(meta, state, down, price)
}

/// The same, to a price: raw token1 per raw token0.
///
/// # Errors
/// Where there is no price, where it is beyond the target already, or where nobody can bring it there.
pub fn to_price(meta: &PoolMeta, state: &PoolState, down: bool, price: Ratio) -> Result<Move, NoSwap> {
    let target = Target { down, price };
    match state {
        PoolState::V2(pair) => pair.moved(meta.fee_pips, target),
        PoolState::V3(pool) | PoolState::V4(pool) => pool.moved(target, |order| match state.swap(meta, order)? {
            Swap::Ticks(swap) => Ok(swap),
            Swap::Pair(_) => Err(NoSwap::Empty),
        }),
    }
}

impl V2State {
    fn moved(&self, fee_pips: u32, target: Target) -> Result<Move, NoSwap> {
        let Target { down, price } = target;
        let reserve_in = if down { self.reserve0 } else { self.reserve1 };
        if self.reserve0 == 0 || self.reserve1 == 0 {
            return Err(NoSwap::Empty);
        }
        let is_there = |after: &V2State| match price.beside(after.reserve1, after.reserve0) {
            Some(Ordering::Less) => down,
            Some(Ordering::Equal) => true,
            Some(Ordering::Greater) => !down,
            None => false,
        };
        if is_there(self) {
            return Err(NoSwap::Limit);
        }
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
    fn moved(&self, target: Target, exchange: impl Fn(Order) -> Result<TickSwap, NoSwap>) -> Result<Move, NoSwap> {
        if self.sqrt_price_x96.is_zero() {
            return Err(NoSwap::Empty);
        }
        let Target { down, price } = target;
        let root = price.root_x96().ok_or(NoSwap::Limit)?;
        // Rounded away from where it stands.
        let limit = if down { root } else { root.saturating_add(U256::ONE) };
        if limit <= MIN_SQRT_RATIO || limit >= MAX_SQRT_RATIO {
            return Err(NoSwap::Limit);
        }
        let everything = Amount::In(U256::MAX.wrapping_shr(1));
        let there = exchange(Order { down, amount: everything, limit: Some(limit) })?;
        if there.amount_in.is_zero() {
            return Ok(Move::default());
        }
        // Without the limit: what was rounded up for the pool may go a little further, and buy a little more.
        let swap = exchange(Order { down, amount: Amount::In(there.amount_in), limit: None })?;
        Ok(Move { amount_in: swap.amount_in, amount_out: swap.amount_out })
    }
}

#[cfg(test)]
mod tests;
