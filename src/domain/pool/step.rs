//! One step of a swap at one liquidity: `SwapMath.computeSwapStep` and what of `SqrtPriceMath` it needs. Roots of prices are Q64.96, amounts
//! raw units. `None` is where the contract reverts.

use alloy::primitives::U256;

use super::math::{PIPS, Round, amount0_between, amount1_between, div, fee_on_top, mul_div};

/// How much is to be swapped: what comes in with its fee, or what goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Amount {
    In(U256),
    Out(U256),
}

/// What one step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    pub sqrt_price_x96: U256,
    /// With the fee.
    pub amount_in: U256,
    pub amount_out: U256,
}

const X96: usize = 96;
/// Prices have 160 bits.
const PRICE_BITS: usize = 160;

/// From one price towards another, as far as what is left reaches.
#[must_use]
pub fn step(from: U256, target: U256, liquidity: u128, left: Amount, fee_pips: u32) -> Option<Moved> {
    let down = from >= target;
    let whole_in = |to: U256| whole_in(from, to, liquidity, down);
    let whole_out = |to: U256| whole_out(from, to, liquidity, down);
    let (to, paid, amount_out) = match left {
        Amount::In(left) => {
            let (without_fee, needed) = (less_fee(left, fee_pips)?, whole_in(target)?);
            let to = if without_fee >= needed { target } else { after_input(from, liquidity, without_fee, down)? };
            // A price that is met by accident counts as reached; short of it all is taken, and what moves no price is the fee's.
            (to, if to == target { with_fee(needed, fee_pips)? } else { left }, whole_out(to)?)
        }
        Amount::Out(left) => {
            let there = whole_out(target)?;
            let to = if left >= there { target } else { after_output(from, liquidity, left, down)? };
            let amount_out = if to == target { there } else { whole_out(to)? };
            (to, with_fee(whole_in(to)?, fee_pips)?, amount_out.min(left))
        }
    };
    Some(Moved { sqrt_price_x96: to, amount_in: paid, amount_out })
}

/// The same of V4 (its own `SwapMath`): what comes in and does not reach the target is all taken, its fee first.
#[must_use]
pub fn step_v4(from: U256, target: U256, liquidity: u128, left: Amount, fee_pips: u32) -> Option<Moved> {
    let Amount::In(all) = left else { return step(from, target, liquidity, left, fee_pips) };
    let down = from >= target;
    let without_fee = less_fee(all, fee_pips)?;
    let needed = whole_in(from, target, liquidity, down)?;
    let (to, amount_in) = if without_fee >= needed {
        (target, with_fee(needed, fee_pips)?)
    } else {
        (after_input(from, liquidity, without_fee, down)?, all)
    };
    Some(Moved { sqrt_price_x96: to, amount_in, amount_out: whole_out(from, to, liquidity, down)? })
}

/// A step that ends before its target, which it is known not to reach: what the whole of it takes is not computed. `None`: it meets it by
/// accident, or has more to say.
pub(super) fn part(from: U256, target: U256, liquidity: u128, left: Amount, fee_pips: u32) -> Option<Moved> {
    let down = from >= target;
    let (to, amount_in, amount_out) = match left {
        Amount::In(left) => {
            let to = after_input(from, liquidity, less_fee(left, fee_pips)?, down)?;
            (to, left, whole_out(from, to, liquidity, down)?)
        }
        Amount::Out(left) => {
            let to = after_output(from, liquidity, left, down)?;
            let amount_out = whole_out(from, to, liquidity, down)?.min(left);
            (to, with_fee(whole_in(from, to, liquidity, down)?, fee_pips)?, amount_out)
        }
    };
    (to != target).then_some(Moved { sqrt_price_x96: to, amount_in, amount_out })
}

fn with_fee(amount_in: U256, fee_pips: u32) -> Option<U256> {
    amount_in.checked_add(fee_on_top(amount_in, fee_pips)?)
}

fn less_fee(amount: U256, fee_pips: u32) -> Option<U256> {
    mul_div(amount, U256::from(PIPS.checked_sub(fee_pips)?), U256::from(PIPS), Round::Down)
}

fn whole_in(from: U256, to: U256, liquidity: u128, down: bool) -> Option<U256> {
    if down { amount0_between(to, from, liquidity, Round::Up) } else { amount1_between(from, to, liquidity, Round::Up) }
}

fn whole_out(from: U256, to: U256, liquidity: u128, down: bool) -> Option<U256> {
    if down { amount1_between(to, from, liquidity, Round::Down) } else { amount0_between(from, to, liquidity, Round::Down) }
}

/// Where an input without its fee moves the price: `SqrtPriceMath.getNextSqrtPriceFromInput`.
#[must_use]
pub fn after_input(from: U256, liquidity: u128, amount: U256, down: bool) -> Option<U256> {
    if from.is_zero() || liquidity == 0 {
        return None;
    }
    if down { by_amount0(from, liquidity, amount, true) } else { by_amount1(from, liquidity, amount, true) }
}

/// Where an output moves the price: `SqrtPriceMath.getNextSqrtPriceFromOutput`.
#[must_use]
pub fn after_output(from: U256, liquidity: u128, amount: U256, down: bool) -> Option<U256> {
    if from.is_zero() || liquidity == 0 {
        return None;
    }
    if down { by_amount1(from, liquidity, amount, false) } else { by_amount0(from, liquidity, amount, false) }
}

/// `getNextSqrtPriceFromAmount0RoundingUp`: `comes`, or goes.
fn by_amount0(from: U256, liquidity: u128, amount: U256, comes: bool) -> Option<U256> {
    if amount.is_zero() {
        return Some(from);
    }
    let scaled = U256::from(liquidity).wrapping_shl(X96);
    let product = amount.checked_mul(from);
    if comes {
        return match product.and_then(|product| scaled.checked_add(product)) {
            Some(all) => price(mul_div(scaled, from, all, Round::Up)?),
            None => price(div(scaled, scaled.checked_div(from)?.checked_add(amount)?, Round::Up)?),
        };
    }
    let rest = scaled.checked_sub(product?).filter(|rest| !rest.is_zero())?;
    price(mul_div(scaled, from, rest, Round::Up)?)
}

/// `getNextSqrtPriceFromAmount1RoundingDown`: `comes`, or goes.
fn by_amount1(from: U256, liquidity: u128, amount: U256, comes: bool) -> Option<U256> {
    let round = if comes { Round::Down } else { Round::Up };
    let by = mul_div(amount, U256::ONE.wrapping_shl(X96), U256::from(liquidity), round)?;
    if comes { price(from.checked_add(by)?) } else { from.checked_sub(by).filter(|to| !to.is_zero()) }
}

/// `toUint160`.
fn price(value: U256) -> Option<U256> {
    (value.bit_len() <= PRICE_BITS).then_some(value)
}

#[cfg(test)]
mod tests;
