//! One swap in a pool of either kind, and the pool after it: what a sequence of swaps is made of.
//!
//! The swaps themselves are [`super::V2State::exchange`], [`super::V3State::exchange`] and [`super::V3State::exchange_v4`]. What is absent: fee growth, which no price depends on, and
//! tokens that keep a part of what is sent.

use alloy::primitives::U256;

use super::{
    PoolMeta, PoolState, V3State,
    exchange::{NoSwap, Order, PairSwap, TickSwap, v4_swap_fee},
    ladder::Ladder,
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

/// What a pool itself makes of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swap {
    Pair(PairSwap),
    Ticks(TickSwap),
}

impl Swap {
    /// What comes in and goes out, and the initialised ticks that are crossed.
    #[must_use]
    pub fn moves(&self) -> (U256, U256, u32) {
        match self {
            Self::Pair(swap) => (swap.amount_in, swap.amount_out, 0),
            Self::Ticks(swap) => (swap.amount_in, swap.amount_out, swap.crossed),
        }
    }
}

impl PoolState {
    /// The swap, as the contract does it; `meta` is of the same pool.
    ///
    /// # Errors
    /// Where the contract reverts, a pair has a price limit, or the pool's hook has a say.
    pub fn swap(&self, meta: &PoolMeta, order: Order) -> Result<Swap, NoSwap> {
        self.swap_by(&mut Ladder::none(), meta, order)
    }

    /// The same, and what other swaps of this very state in this direction went over is not computed again.
    ///
    /// # Errors
    /// As [`PoolState::swap`].
    pub fn swap_by(&self, ladder: &mut Ladder, meta: &PoolMeta, order: Order) -> Result<Swap, NoSwap> {
        match self {
            Self::V2(_) if order.limit.is_some() => Err(NoSwap::Limit),
            Self::V2(pair) => pair.exchange(meta.fee_pips, order.down, order.amount).map(Swap::Pair),
            Self::V3(pool) => pool.exchange_by(ladder, Terms::of(meta).ok_or(NoSwap::Empty)?, order).map(Swap::Ticks),
            Self::V4(_) if meta.is_hooked() => Err(NoSwap::Hooked),
            Self::V4(pool) => {
                let Terms { fee_pips, tick_spacing } = Terms::of(meta).ok_or(NoSwap::Empty)?;
                let fee_pips = v4_swap_fee(pool.fee_protocol, fee_pips, order.down).ok_or(NoSwap::Overflow)?;
                pool.exchange_v4_by(ladder, Terms { fee_pips, tick_spacing }, order).map(Swap::Ticks)
            }
        }
    }
}

/// The swap, as the contract does it.
///
/// # Errors
/// As [`PoolState::swap`]; nothing out is no swap of a pair.
pub fn trade(meta: &PoolMeta, state: &PoolState, order: Order) -> Result<Traded, NoSwap> {
    after(state, state.swap(meta, order)?)
}

/// The pool after a swap of it.
///
/// # Errors
/// Where a pair would revert, for nothing goes out.
pub fn after(state: &PoolState, swap: Swap) -> Result<Traded, NoSwap> {
    match swap {
        Swap::Pair(swap) => {
            let (amount_in, amount_out, after) = (swap.amount_in, swap.amount_out, PoolState::V2(swap.after));
            // `UniswapV2Pair.swap`: nothing out is no swap.
            if amount_out.is_zero() {
                return Err(NoSwap::Nothing);
            }
            Ok(Traded { amount_in, amount_out, left: U256::ZERO, crossed: 0, after })
        }
        Swap::Ticks(swap) => {
            let moved = |pool: &V3State| V3State {
                sqrt_price_x96: swap.sqrt_price_x96,
                tick: swap.tick(),
                liquidity: swap.liquidity,
                // A swap changes no tick's liquidity.
                ..pool.clone()
            };
            let after = match state {
                PoolState::V4(pool) => PoolState::V4(moved(pool)),
                PoolState::V3(pool) => PoolState::V3(moved(pool)),
                PoolState::V2(_) => return Err(NoSwap::Empty),
            };
            let (amount_in, amount_out, left) = (swap.amount_in, swap.amount_out, swap.left);
            Ok(Traded { amount_in, amount_out, left, crossed: swap.crossed, after })
        }
    }
}
