//! The integer math of Uniswap V3's pools, equal in every bit: ticks, and what liquidity is worth between two prices.
//!
//! Prices are roots, Q64.96 (`sqrt(token1 / token0) * 2^96`, raw units). `None` is where the contract reverts. What is absent: the
//! state of a pool, and floats.

use alloy::primitives::{U128, U256, U512};

/// `TickMath.MAX_TICK`; the least is its negative.
pub const MAX_TICK: i32 = 887_272;

/// A fee is so many parts of this.
pub const PIPS: u32 = 1_000_000;

/// `TickMath.MIN_SQRT_RATIO`: the root at the lowest tick.
pub const MIN_SQRT_RATIO: U256 = U256::from_limbs([4_295_128_739, 0, 0, 0]);
/// `TickMath.MAX_SQRT_RATIO`: the root at the highest tick. No price reaches it.
pub const MAX_SQRT_RATIO: U256 = U256::from_limbs([0x5d95_1d52_6398_8d26, 0xefd1_fc6a_5064_8849, 0xfffd_8963, 0x0]);

/// `sqrt(1.0001^-(2^i))`, Q128: `TickMath.getSqrtRatioAtTick`.
const POWERS: [u128; 20] = [
    0xfffc_b933_bd6f_ad37_aa2d_162d_1a59_4001,
    0xfff9_7272_373d_4132_59a4_6990_580e_213a,
    0xfff2_e50f_5f65_6932_ef12_357c_f3c7_fdcc,
    0xffe5_caca_7e10_e4e6_1c36_24ea_a094_1cd0,
    0xffcb_9843_d60f_6159_c9db_5883_5c92_6644,
    0xff97_3b41_fa98_c081_472e_6896_dfb2_54c0,
    0xff2e_a164_66c9_6a38_43ec_78b3_26b5_2861,
    0xfe5d_ee04_6a99_a2a8_11c4_61f1_969c_3053,
    0xfcbe_86c7_900a_88ae_dcff_c83b_479a_a3a4,
    0xf987_a725_3ac4_1317_6f2b_074c_f781_5e54,
    0xf339_2b08_22b7_0005_940c_7a39_8e4b_70f3,
    0xe715_9475_a2c2_9b74_43b2_9c7f_a6e8_89d9,
    0xd097_f3bd_fd20_22b8_845a_d8f7_92aa_5825,
    0xa9f7_4646_2d87_0fdf_8a65_dc1f_90e0_61e5,
    0x70d8_69a1_56d2_a1b8_90bb_3df6_2baf_32f7,
    0x31be_135f_97d0_8fd9_8123_1505_542f_cfa6,
    0x09aa_508b_5b7a_84e1_c677_de54_f3e9_9bc9,
    0x005d_6af8_dedb_8119_6699_c329_225e_e604,
    0x0000_2216_e584_f5fa_1ea9_2604_1bed_fe98,
    0x0000_0000_048a_1703_91f7_dc42_444e_8fa2,
];

/// How a division that leaves a rest ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Round {
    Down,
    Up,
}

/// The root of the price at a tick: `TickMath.getSqrtRatioAtTick`.
#[must_use]
pub fn sqrt_ratio_at_tick(tick: i32) -> Option<U256> {
    let steps = tick.unsigned_abs();
    if steps > MAX_TICK.unsigned_abs() {
        return None;
    }
    // Of the powers that are in it; `None` is 1, which has a bit more than they.
    let mut ratio: Option<u128> = None;
    let mut rest = steps;
    for power in &POWERS {
        if rest & 1 == 1 {
            ratio = Some(ratio.map_or(*power, |ratio| high(product(ratio, *power))));
        }
        rest = rest.wrapping_shr(1);
    }
    let mut ratio = ratio.map_or(U256::ONE.wrapping_shl(128), U256::from);
    if tick > 0 {
        ratio = U256::MAX.checked_div(ratio)?;
    }
    // From Q128 to Q96, up: so that a price at a tick is never below it.
    let is_exact = ratio.as_limbs().first()? & u64::from(u32::MAX) == 0;
    ratio.wrapping_shr(32).checked_add(if is_exact { U256::ZERO } else { U256::ONE })
}

/// The highest tick whose root is not above this one: `TickMath.getTickAtSqrtRatio`.
#[must_use]
pub fn tick_at_sqrt_ratio(sqrt_price_x96: U256) -> Option<i32> {
    if !(MIN_SQRT_RATIO..MAX_SQRT_RATIO).contains(&sqrt_price_x96) {
        return None;
    }
    // log2 of the price, with 14 binary places: a digit for each time that the square passes 2.
    let mut log2 = i128::try_from(sqrt_price_x96.bit_len()).ok()?.checked_sub(97)?;
    // The 128 highest bits of it: between 1 and 2, Q127.
    let mut r = high(sqrt_price_x96.wrapping_shl(sqrt_price_x96.leading_zeros()));
    for _ in 0..14 {
        let square = product(r, r);
        let is_two = square.bit(255);
        log2 = log2.wrapping_shl(1) | i128::from(is_two);
        r = high(if is_two { square } else { square.wrapping_shl(1) });
    }
    // In ticks, Q78, with what the places that are missing may come to.
    let ticks = log2.checked_mul(LOG2_TO_TICKS)?;
    let floor = |value: i128| i32::try_from(value.wrapping_shr(78)).ok();
    let (low, high) = (floor(ticks.checked_sub(ERROR_BELOW)?)?, floor(ticks.checked_add(ERROR_ABOVE)?)?);
    if low == high || sqrt_ratio_at_tick(high)? > sqrt_price_x96 { Some(low) } else { Some(high) }
}

/// 1 / log2(sqrt(1.0001)), Q64.
const LOG2_TO_TICKS: i128 = 0x3627_a301_d710_5577_4c85;
/// How far the logarithm may be above and below the truth: the constants of `TickMath`, which are Q128. The logarithm's last 50 bits are 0
/// there, so that Q78 decides the same, with what is taken off rounded up.
const ERROR_BELOW: i128 = (0x028f_6481_ab7f_045a_5af0_12a1_9d00_3aaa >> 50) + 1;
const ERROR_ABOVE: i128 = (0xdb2d_f09e_8195_9a81_455e_2607_99a0_632f_u128 >> 50).cast_signed();

/// Of two numbers of 128 bits, whole.
pub(super) fn product(a: u128, b: u128) -> U256 {
    U128::from(a).widening_mul(U128::from(b))
}

/// The upper half.
fn high(value: U256) -> u128 {
    let [_, _, low, high] = value.into_limbs();
    u128::from(high).wrapping_shl(64) | u128::from(low)
}

/// `a * b / divisor` without losing a bit on the way: `FullMath.mulDiv` and `mulDivRoundingUp`.
#[must_use]
pub fn mul_div(a: U256, b: U256, divisor: U256, round: Round) -> Option<U256> {
    if divisor.is_zero() {
        return None;
    }
    if a.bit_len().saturating_add(b.bit_len()) <= 256 {
        return div(a.wrapping_mul(b), divisor, round);
    }
    let product: U512 = a.widening_mul(b);
    let (quotient, rest) = product.div_rem(U512::from(divisor));
    let quotient = U256::checked_from_limbs_slice(quotient.as_limbs())?;
    if round == Round::Up && !rest.is_zero() { quotient.checked_add(U256::ONE) } else { Some(quotient) }
}

/// `UnsafeMath.divRoundingUp`, and down.
pub(super) fn div(value: U256, by: U256, round: Round) -> Option<U256> {
    if by.is_zero() {
        return None;
    }
    let (quotient, rest) = value.div_rem(by);
    if round == Round::Up && !rest.is_zero() { quotient.checked_add(U256::ONE) } else { Some(quotient) }
}

/// What this liquidity takes of token0 between two prices, in any order: `SqrtPriceMath.getAmount0Delta`.
#[must_use]
pub fn amount0_between(a: U256, b: U256, liquidity: u128, round: Round) -> Option<U256> {
    let (lower, upper) = if a < b { (a, b) } else { (b, a) };
    if lower.is_zero() {
        return None;
    }
    let scaled = U256::from(liquidity).wrapping_shl(96);
    let over_upper = mul_div(scaled, upper.checked_sub(lower)?, upper, round)?;
    div(over_upper, lower, round)
}

/// What this liquidity takes of token1 between two prices, in any order: `SqrtPriceMath.getAmount1Delta`.
#[must_use]
pub fn amount1_between(a: U256, b: U256, liquidity: u128, round: Round) -> Option<U256> {
    let (liquidity, between) = (U256::from(liquidity), a.abs_diff(b));
    if liquidity.bit_len().saturating_add(between.bit_len()) > 256 {
        return mul_div(liquidity, between, U256::ONE.wrapping_shl(96), round);
    }
    let product = liquidity.wrapping_mul(between);
    let is_whole = product.trailing_zeros() >= 96;
    let down = product.wrapping_shr(96);
    Some(if round == Round::Up && !is_whole { down.wrapping_add(U256::ONE) } else { down })
}

/// The fee on top of an input that is known without it: `SwapMath.computeSwapStep`. V4 admits a fee of everything; then it is as much again.
#[must_use]
pub fn fee_on_top(amount_in: U256, fee_pips: u32) -> Option<U256> {
    if fee_pips == PIPS {
        return Some(amount_in);
    }
    mul_div(amount_in, U256::from(fee_pips), U256::from(PIPS.checked_sub(fee_pips)?), Round::Up)
}

/// What every unit of liquidity gets of an amount, Q128.
#[must_use]
pub fn per_liquidity(amount: U256, liquidity: u128) -> Option<U256> {
    mul_div(amount, U256::ONE.wrapping_shl(128), U256::from(liquidity), Round::Down)
}

#[cfg(test)]
mod tests;
