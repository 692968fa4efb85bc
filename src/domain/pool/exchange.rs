//! A swap of an amount, as the contracts do it: what comes in, what goes out, and where it leaves the pool. Of pairs (`UniswapV2Library`,
//! with any fee) and of pools with ticks (`UniswapV3Pool.swap`, `Pool.swap` of V4). Raw units, integers all the way; nothing is allocated.
//!
//! What is absent: which pools to take, tokens that keep a part of what is sent, and gas.

use std::collections::BTreeMap;

use alloy::primitives::U256;

use super::{
    Tick, V2State, V3State,
    ladder::{Ladder, done},
    math::{MAX_SQRT_RATIO, MIN_SQRT_RATIO, PIPS, product, sqrt_ratio_at_tick, tick_at_sqrt_ratio},
    step::{Amount, Moved, part, step, step_v4},
    swap::{Terms, next_of_all, next_tick},
};

/// Why there is no swap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoSwap {
    #[error("the amount is 0")]
    Nothing,
    #[error("the pool is empty")]
    Empty,
    /// So much is the most that could go out, raw units.
    #[error("the pool has not so much: at most {most}")]
    TooMuch { most: U256 },
    #[error("the price limit is none that this swap can reach")]
    Limit,
    /// Only where a [`Ladder`] limits them.
    #[error("that takes more steps than are allowed")]
    Far,
    #[error("the amount is beyond what the contract computes with")]
    Overflow,
    #[error("the pool's hook has a say in its swaps: only its contracts know what they come to")]
    Hooked,
}

/// What is asked of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// token0 comes in, and the price of it falls.
    pub down: bool,
    pub amount: Amount,
    /// Of a pool with ticks: no further than this root of a price, Q64.96. `None`: as far as there is one.
    pub limit: Option<U256>,
}

/// What a swap of a pair comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PairSwap {
    /// With the fee.
    pub amount_in: U256,
    pub amount_out: U256,
    pub after: V2State,
}

/// What a swap of a pool with ticks comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TickSwap {
    /// With the fee.
    pub amount_in: U256,
    pub amount_out: U256,
    /// What of the amount asked for was not swapped: the limit, or the last price, came first.
    pub left: U256,
    pub sqrt_price_x96: U256,
    /// `None`: the one at its price, which few want to know and takes as long as the rest of a step.
    at_tick: Option<i32>,
    pub liquidity: u128,
    /// Initialised ticks that were crossed.
    pub crossed: u32,
}

impl TickSwap {
    /// The pool's tick after it.
    #[must_use]
    pub fn tick(&self) -> i32 {
        // Every price that a swap leaves has one.
        self.at_tick.or_else(|| tick_at_sqrt_ratio(self.sqrt_price_x96)).unwrap_or_default()
    }

    /// A step further, taken off what is `left`.
    fn go(&mut self, moved: &Moved, left: &mut U256, amount: Amount) -> Option<()> {
        self.amount_in = self.amount_in.checked_add(moved.amount_in)?;
        self.amount_out = self.amount_out.checked_add(moved.amount_out)?;
        if self.sqrt_price_x96 != moved.sqrt_price_x96 {
            (self.sqrt_price_x96, self.at_tick) = (moved.sqrt_price_x96, None);
        }
        *left = left.checked_sub(match amount {
            Amount::In(_) => moved.amount_in,
            Amount::Out(_) => moved.amount_out,
        })?;
        Some(())
    }
}

/// A pair's reserves have so many bits.
const RESERVE_BITS: usize = 112;
/// The most that a pair can hold of a token.
pub(super) const RESERVE_MAX: u128 = (1 << RESERVE_BITS) - 1;

/// One step, as the protocol does it.
trait Step: Fn(U256, U256, u128, Amount, u32) -> Option<Moved> + Copy {}

impl<F: Fn(U256, U256, u128, Amount, u32) -> Option<Moved> + Copy> Step for F {}

impl V2State {
    /// `getAmountOut` and `getAmountIn`, with the pair's own bounds.
    ///
    /// # Errors
    /// Where the router or the pair reverts.
    #[inline]
    pub fn exchange(&self, fee_pips: u32, down: bool, amount: Amount) -> Result<PairSwap, NoSwap> {
        let (reserve_in, reserve_out) = if down { (self.reserve0, self.reserve1) } else { (self.reserve1, self.reserve0) };
        if reserve_in == 0 || reserve_out == 0 {
            return Err(NoSwap::Empty);
        }
        let kept = u128::from(PIPS.checked_sub(fee_pips).ok_or(NoSwap::Overflow)?);
        let narrow = |amount: U256| u128::try_from(amount).map_err(|_| NoSwap::Overflow);
        // 112 bits, 20 of the fee, 112 of the reserve: no product here needs more than 244.
        let with_pips = |product: U256, pips: u128| product.wrapping_mul(U256::from(pips));
        let (amount_in, amount_out) = match amount {
            Amount::In(amount) | Amount::Out(amount) if amount.is_zero() => return Err(NoSwap::Nothing),
            Amount::In(amount) => {
                let amount = narrow(amount)?;
                if amount > RESERVE_MAX {
                    return Err(NoSwap::Overflow);
                }
                let whole = product(reserve_in, PIPS.into()).wrapping_add(product(amount, kept));
                let out = with_pips(product(amount, reserve_out), kept).checked_div(whole);
                (amount, narrow(out.ok_or(NoSwap::Overflow)?)?)
            }
            Amount::Out(amount) => {
                if amount >= U256::from(reserve_out) {
                    return Err(NoSwap::TooMuch { most: U256::from(reserve_out.saturating_sub(1)) });
                }
                let amount = narrow(amount)?;
                let rest = product(reserve_out.saturating_sub(amount), kept);
                let needed = with_pips(product(reserve_in, amount), PIPS.into()).checked_div(rest);
                (narrow(needed.ok_or(NoSwap::Overflow)?)?.saturating_add(1), amount)
            }
        };
        let reserve_in = reserve_in.saturating_add(amount_in);
        if reserve_in > RESERVE_MAX {
            return Err(NoSwap::Overflow);
        }
        let reserve_out = reserve_out.saturating_sub(amount_out);
        let (reserve0, reserve1) = if down { (reserve_in, reserve_out) } else { (reserve_out, reserve_in) };
        Ok(PairSwap {
            amount_in: U256::from(amount_in),
            amount_out: U256::from(amount_out),
            after: V2State { reserve0, reserve1 },
        })
    }
}

impl V3State {
    /// `UniswapV3Pool.swap`. Where the pool, or the limit, ends before the amount does, `left` says so: that is no error to the contract.
    ///
    /// # Errors
    /// Where the contract reverts.
    pub fn exchange(&self, terms: Terms, order: Order) -> Result<TickSwap, NoSwap> {
        self.exchange_by(&mut Ladder::none(), terms, order)
    }

    /// The same, and what other swaps of this pool, in this direction at this fee, went over is not computed again.
    ///
    /// # Errors
    /// As [`V3State::exchange`].
    pub fn exchange_by(&self, ladder: &mut Ladder, terms: Terms, order: Order) -> Result<TickSwap, NoSwap> {
        self.run(ladder, terms, order, step)
    }

    /// `PoolManager.swap` of V4, without hooks. `terms` have the fee of the direction, the protocol's part included ([`v4_swap_fee`]).
    ///
    /// # Errors
    /// Where the contract reverts.
    pub fn exchange_v4(&self, terms: Terms, order: Order) -> Result<TickSwap, NoSwap> {
        self.exchange_v4_by(&mut Ladder::none(), terms, order)
    }

    /// The same, and what other swaps of this pool, in this direction at this fee, went over is not computed again.
    ///
    /// # Errors
    /// As [`V3State::exchange_v4`].
    pub fn exchange_v4_by(&self, ladder: &mut Ladder, terms: Terms, order: Order) -> Result<TickSwap, NoSwap> {
        // `InvalidFeeForExactOut`
        if terms.fee_pips >= PIPS && matches!(order.amount, Amount::Out(_)) {
            return Err(NoSwap::Overflow);
        }
        let swap = self.run(ladder, terms, order, step_v4)?;
        // A `BalanceDelta` has 128 bits for each side.
        let fits = |amount: U256| amount.bit_len() < 128;
        if fits(swap.amount_in) && fits(swap.amount_out) { Ok(swap) } else { Err(NoSwap::Overflow) }
    }

    #[inline]
    fn run(&self, ladder: &mut Ladder, terms: Terms, order: Order, step: impl Step) -> Result<TickSwap, NoSwap> {
        let Order { down, amount, limit } = order;
        if self.sqrt_price_x96.is_zero() {
            return Err(NoSwap::Empty);
        }
        let limit = limit.unwrap_or(match down {
            true => MIN_SQRT_RATIO.wrapping_add(U256::ONE),
            false => MAX_SQRT_RATIO.wrapping_sub(U256::ONE),
        });
        let reaches = match down {
            true => limit < self.sqrt_price_x96 && limit > MIN_SQRT_RATIO,
            false => limit > self.sqrt_price_x96 && limit < MAX_SQRT_RATIO,
        };
        if !reaches {
            return Err(NoSwap::Limit);
        }
        let (Amount::In(all) | Amount::Out(all)) = amount;
        let mut left = all;
        if left.is_zero() {
            return Err(NoSwap::Nothing);
        }
        if left.bit(255) {
            return Err(NoSwap::Overflow);
        }
        let mut way = TickSwap {
            amount_in: U256::ZERO,
            amount_out: U256::ZERO,
            left,
            sqrt_price_x96: self.sqrt_price_x96,
            at_tick: Some(self.tick),
            liquidity: self.liquidity,
            crossed: 0,
        };
        // With a fee of all of it no input reaches anything, and an output does; and a step may end beyond a limit.
        let mut none = Ladder::none();
        let ladder = if terms.fee_pips < PIPS && order.limit.is_none() { ladder } else { &mut none };
        let mut place = 0;
        if let Some((rung, gone)) = ladder.below(amount) {
            (place, way) = (rung, gone);
            left = all.checked_sub(done(&way, amount)).ok_or(NoSwap::Overflow)?;
        }
        if ladder.is_busy(place) {
            // Other swaps ended in this step, too: more will.
            let (mut end, mut more) = (way, U256::MAX >> 1);
            if self.one_step(terms, (down, amount, limit), &mut more, &mut end, step) == Some(true) {
                ladder.reach(place, &end);
            }
        }
        match ladder.get(place) {
            Some(end) if done(end, amount) == all => return Ok(TickSwap { left: U256::ZERO, ..*end }),
            Some(end) if done(end, amount) > all => {
                let asked = asked(amount, left);
                if let Some(moved) = part(way.sqrt_price_x96, end.sqrt_price_x96, way.liquidity, asked, terms.fee_pips) {
                    way.go(&moved, &mut left, amount).ok_or(NoSwap::Overflow)?;
                }
            }
            _ => {}
        }
        let mut steps = 0_u32;
        while !left.is_zero() && way.sqrt_price_x96 != limit {
            if steps >= ladder.steps_max() {
                return Err(NoSwap::Far);
            }
            steps = steps.saturating_add(1);
            let at_tick = self.one_step(terms, (down, amount, limit), &mut left, &mut way, step).ok_or(NoSwap::Overflow)?;
            // Something is left: so the step went as far as any larger swap's.
            if at_tick && !left.is_zero() {
                place = ladder.reach(place, &way);
            }
        }
        way.left = left;
        Ok(way)
    }

    /// `true`: it ends at the next tick, or where a word of the bitmap does.
    fn one_step(
        &self,
        terms: Terms,
        (down, amount, limit): (bool, Amount, U256),
        left: &mut U256,
        way: &mut TickSwap,
        step: impl Step,
    ) -> Option<bool> {
        let next = if way.liquidity == 0 { next_of_all } else { next_tick };
        let (next, found) = next(&self.ticks, way.tick(), terms.tick_spacing, down)?;
        let at_next = sqrt_ratio_at_tick(next)?;
        let target = if down { at_next.max(limit) } else { at_next.min(limit) };
        let asked = asked(amount, *left);
        let moved = step(way.sqrt_price_x96, target, way.liquidity, asked, terms.fee_pips)?;
        way.go(&moved, left, amount)?;
        let is_at_next = moved.sqrt_price_x96 == at_next;
        if is_at_next {
            if let Some(crossed) = found {
                let net = if down { crossed.liquidity_net.checked_neg()? } else { crossed.liquidity_net };
                way.liquidity = way.liquidity.checked_add_signed(net)?;
                way.crossed = way.crossed.saturating_add(1);
            }
            way.at_tick = Some(if down { next.checked_sub(1)? } else { next });
        }
        Some(is_at_next)
    }
}

/// So much of the kind that is asked for.
fn asked(amount: Amount, left: U256) -> Amount {
    match amount {
        Amount::In(_) => Amount::In(left),
        Amount::Out(_) => Amount::Out(left),
    }
}

/// The protocol's fee in one direction, of the 12 bits that `slot0` has for each; hundredths of a basis point.
#[must_use]
pub fn of_direction(protocol_fee: u32, down: bool) -> u32 {
    if down { protocol_fee & 0xfff } else { protocol_fee.wrapping_shr(12) & 0xfff }
}

/// What a swap of V4 pays in all, in hundredths of a basis point: the protocol's part first, of the rest the pool's
/// (`ProtocolFeeLibrary.calculateSwapFee`). `protocol_fee` is as in `slot0`: 12 bits for each direction. With this fee V4 swaps as V3 does.
#[must_use]
pub fn v4_swap_fee(protocol_fee: u32, lp_fee: u32, down: bool) -> Option<u32> {
    let of_protocol = of_direction(protocol_fee, down);
    let both = u64::from(of_protocol).saturating_mul(lp_fee.into()).checked_div(PIPS.into())?;
    of_protocol.checked_add(lp_fee)?.checked_sub(u32::try_from(both).ok()?)
}

/// `initializedTicksCrossed` of QuoterV2 (`PoolTicksCounter`): what lies between two ticks in the bitmap, whose places round towards 0. Not
/// the same as what was crossed.
#[must_use]
pub fn ticks_between(ticks: &BTreeMap<i32, Tick>, spacing: i32, before: i32, after: i32) -> Option<u32> {
    let place = |tick: i32| tick.checked_div(spacing)?.checked_mul(spacing);
    let (from, to) = (place(before)?, place(after)?);
    let is_counted_twice = |tick: i32, at: i32| at == tick && ticks.contains_key(&at);
    let all = ticks.range(from.min(to)..=from.max(to)).count();
    let fewer = usize::from(is_counted_twice(after, to) && before > after)
        + usize::from(is_counted_twice(before, from) && before < after);
    u32::try_from(all.saturating_sub(fewer)).ok()
}

#[cfg(test)]
mod tests;
