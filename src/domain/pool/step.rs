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
    /// Without the fee.
    pub amount_in: U256,
    pub amount_out: U256,
    pub fee: U256,
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
    match left {
        Amount::In(left) => {
            let without_fee = less_fee(left, fee_pips)?;
            let needed = whole_in(target)?;
            if without_fee >= needed {
                let fee = fee_on_top(needed, fee_pips)?;
                return Some(Moved { sqrt_price_x96: target, amount_in: needed, amount_out: whole_out(target)?, fee });
            }
            let to = after_input(from, liquidity, without_fee, down)?;
            // A price that is met by accident counts as reached.
            let amount_in = if to == target { needed } else { whole_in(to)? };
            let fee = if to == target { fee_on_top(amount_in, fee_pips)? } else { left.checked_sub(amount_in)? };
            Some(Moved { sqrt_price_x96: to, amount_in, amount_out: whole_out(to)?, fee })
        }
        Amount::Out(left) => {
            let there = whole_out(target)?;
            let to = if left >= there { target } else { after_output(from, liquidity, left, down)? };
            let amount_out = if to == target { there } else { whole_out(to)? };
            let amount_in = whole_in(to)?;
            Some(Moved { sqrt_price_x96: to, amount_in, amount_out: amount_out.min(left), fee: fee_on_top(amount_in, fee_pips)? })
        }
    }
}

/// The same of V4 (its own `SwapMath`): what comes in and does not reach the target is all taken, its fee first.
#[must_use]
pub fn step_v4(from: U256, target: U256, liquidity: u128, left: Amount, fee_pips: u32) -> Option<Moved> {
    let Amount::In(all) = left else { return step(from, target, liquidity, left, fee_pips) };
    let down = from >= target;
    let without_fee = less_fee(all, fee_pips)?;
    let needed = whole_in(from, target, liquidity, down)?;
    let (to, amount_in, fee) = if without_fee >= needed {
        (target, needed, fee_on_top(needed, fee_pips)?)
    } else {
        (after_input(from, liquidity, without_fee, down)?, without_fee, all.checked_sub(without_fee)?)
    };
    Some(Moved { sqrt_price_x96: to, amount_in, amount_out: whole_out(from, to, liquidity, down)?, fee })
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
