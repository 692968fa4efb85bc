//! One swap in a pool of either kind, and the pool after it: what a sequence of swaps is made of.
//!
//! The swaps themselves are [`super::V2State::exchange`] and [`super::V3State::exchange`]. What is absent: fee growth, which no price depends on, and
//! tokens that keep a part of what is sent.

use alloy::primitives::U256;

use super::{
    PoolMeta, PoolState, V3State,
    exchange::{NoSwap, Order},
    swap::Terms,
};

/// What a swap comes to. Raw units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traded {
    /// With the fee.
    pub amount_in: U256,
    pub amount_out: U256,
    /// What of the amount was not swapped, because the limit or the pool's last price came first. A pair swaps all or nothing.
    pub left: U256,
    /// Initialised ticks that were crossed.
    pub crossed: u32,
    pub after: PoolState,
}

/// The swap, as the contract does it.
///
/// # Errors
/// Where the contract reverts; a pair has no price limit.
pub fn trade(meta: &PoolMeta, state: &PoolState, order: Order) -> Result<Traded, NoSwap> {
    match state {
        PoolState::V2(_) if order.limit.is_some() => Err(NoSwap::Limit),
        PoolState::V2(pair) => {
            let swap = pair.exchange(meta.fee_pips, order.down, order.amount)?;
            let (amount_in, amount_out, after) = (swap.amount_in, swap.amount_out, PoolState::V2(swap.after));
            // `UniswapV2Pair.swap`: nothing out is no swap.
            if amount_out.is_zero() {
                return Err(NoSwap::Nothing);
            }
            Ok(Traded { amount_in, amount_out, left: U256::ZERO, crossed: 0, after })
        }
        PoolState::V3(pool) => {
            let swap = pool.exchange(Terms::of(meta).ok_or(NoSwap::Empty)?, order)?;
            let after = V3State {
                sqrt_price_x96: swap.sqrt_price_x96,
                tick: swap.tick,
                liquidity: swap.liquidity,
                // A swap changes no tick's liquidity.
                ..pool.clone()
            };
            let (amount_in, amount_out, left) = (swap.amount_in, swap.amount_out, swap.left);
            Ok(Traded { amount_in, amount_out, left, crossed: swap.crossed, after: PoolState::V3(after) })
        }
    }
}
