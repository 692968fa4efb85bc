use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::domain::test_support::case_file;

fn number(value: &Value) -> U256 {
    value.as_str().unwrap().parse().unwrap()
}

/// Every case of one function: what it gives, or `None` where the contract reverts.
fn cases(library: &str, function: &str, check: impl Fn(&Value, Option<U256>)) {
    let Some(file) = case_file("swap_v3/math_vectors.json") else { return };
    let all = file["libs"][library].as_array().unwrap();
    let mut some = all.iter().filter(|case| case["fn"] == function).peekable();
    assert!(some.peek().is_some(), "no case of {library}.{function}");
    some.for_each(|case| check(&case["args"], case.get("result").map(number)));
}

#[test]
fn a_product_is_divided_as_the_contract_does_it() {
    for (function, round) in [("mulDiv", Round::Down), ("mulDivRoundingUp", Round::Up)] {
        cases("FullMath", function, |args, expected| {
            let [x, y, z] = ["x", "y", "z"].map(|name| number(&args[name]));
            assert_eq!(mul_div(x, y, z, round), expected, "{function} {args}");
        });
    }
    let most = U256::MAX;
    assert_eq!(mul_div(most, most, most, Round::Up), Some(most));
    assert_eq!(mul_div(most, most, most - U256::ONE, Round::Down), None, "it does not fit 256 bits");
}

#[test]
fn amounts_between_prices_are_the_contracts() {
    for (function, between) in [("getAmount0Delta", amount0_between as fn(_, _, _, _) -> _), ("getAmount1Delta", amount1_between)]
    {
        cases("SqrtPriceMath", function, |args, expected| {
            let (lower, upper) = (number(&args["sqrtLower"]), number(&args["sqrtUpper"]));
            let liquidity = number(&args["liquidity"]).to();
            let round = if args["roundUp"] == true { Round::Up } else { Round::Down };
            assert_eq!(between(lower, upper, liquidity, round), expected, "{function} {args}");
            assert_eq!(between(upper, lower, liquidity, round), expected, "{function}: in any order");
        });
    }
}

#[test]
fn the_price_at_a_tick_is_the_contracts() {
    cases("TickMath", "getSqrtRatioAtTick", |args, expected| {
        let tick: i32 = args["tick"].as_str().unwrap().parse().unwrap();
        assert_eq!(sqrt_ratio_at_tick(tick), expected, "tick {tick}");
    });
    // The constants of `TickMath`.
    assert_eq!(sqrt_ratio_at_tick(-MAX_TICK), Some(U256::from(4_295_128_739_u64)));
    assert_eq!(sqrt_ratio_at_tick(MAX_TICK), "1461446703485210103287273052203988822378723970342".parse().ok());
    assert_eq!(sqrt_ratio_at_tick(0), Some(U256::ONE << 96));
    assert_eq!((sqrt_ratio_at_tick(MAX_TICK + 1), sqrt_ratio_at_tick(i32::MIN)), (None, None));
}

/// A tick is a step of one part in 10,000 of the price, so of its root squared: a wrong power would show at every multiple of it.
#[test]
fn every_tick_is_one_step_above_the_one_before() {
    for tick in (-MAX_TICK..MAX_TICK).step_by(997).chain((0..20).map(|i| (1 << i) - 1)) {
        let [below, above] = [tick, tick + 1].map(|tick| sqrt_ratio_at_tick(tick).unwrap());
        // 1.0001, in parts of 10^9 of the square; the lowest roots have nine digits only.
        let square = mul_div(above, above * U256::from(1_000_000_000_u64), below, Round::Down).unwrap() / below;
        let apart = square.abs_diff(U256::from(1_000_100_000_u64));
        assert!(apart <= U256::from(4), "tick {tick}: {square}");
    }
}

/// A number of every size up to so many bits.
fn number_of(bits: usize) -> impl Strategy<Value = U256> {
    (any::<[u64; 4]>(), 0..bits).prop_map(move |(limbs, shift)| U256::from_limbs(limbs) >> (256 - bits + shift))
}

/// `TickMath.getSqrtRatioAtTick` as it is written, in 256 bits.
fn written_out(tick: i32) -> U256 {
    let mut ratio: U256 = U256::ONE << 128;
    for (i, power) in POWERS.iter().enumerate() {
        if tick.unsigned_abs() & (1 << i) != 0 {
            ratio = (ratio * U256::from(*power)) >> 128;
        }
    }
    if tick > 0 {
        ratio = U256::MAX / ratio;
    }
    ratio.div_ceil(U256::ONE << 32)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 1_000 } else { 100_000 }))]

    #[test]
    fn products_are_divided_as_in_integers_without_end(
        a in number_of(256), b in number_of(256), by in number_of(256), up in any::<bool>(),
    ) {
        let (product, round) = (U512::from(a) * U512::from(b), if up { Round::Up } else { Round::Down });
        let plain = |by: U512| {
            let quotient = if up { product.div_ceil(by) } else { product / by };
            (quotient <= U512::from(U256::MAX)).then(|| quotient.to::<U256>())
        };
        let expected = if by.is_zero() { None } else { plain(U512::from(by)) };
        prop_assert_eq!(mul_div(a, b, by, round), expected);
        prop_assert_eq!(div(a, by, round), mul_div(a, U256::ONE, by, round));
    }

    #[test]
    fn token1_between_prices_is_the_product_without_its_96_bits(
        a in number_of(160), b in number_of(160), liquidity in number_of(128), up in any::<bool>(),
    ) {
        let round = if up { Round::Up } else { Round::Down };
        let expected = mul_div(liquidity, a.abs_diff(b), U256::ONE << 96, round);
        prop_assert_eq!(amount1_between(a, b, liquidity.to(), round), expected);
    }

    #[test]
    fn prices_at_ticks_are_the_formula_written_out(tick in -MAX_TICK..=MAX_TICK) {
        prop_assert_eq!(sqrt_ratio_at_tick(tick), Some(written_out(tick)));
    }

    /// At a tick's own price, next to it, and anywhere.
    #[test]
    fn the_tick_of_a_price_is_the_last_one_not_above_it(at in -MAX_TICK..MAX_TICK, besides in 0_u64..3, anywhere in number_of(160)) {
        let beside = written_out(at) + U256::from(besides) - U256::ONE;
        for price in [beside, anywhere].into_iter().filter(|price| (MIN_SQRT_RATIO..MAX_SQRT_RATIO).contains(price)) {
            let tick = tick_at_sqrt_ratio(price).unwrap();
            prop_assert!(written_out(tick) <= price && price < written_out(tick + 1), "{} at {}", price, tick);
        }
    }
}
