//! What people read, digit for digit.

use std::str::FromStr;

use super::*;
use crate::domain::pool::{V2State, V3State};

fn v3(sqrt_price_x96: U256) -> PoolState {
    PoolState::V3(V3State { sqrt_price_x96, ..V3State::default() })
}

fn check(num: u128, den: u128, expected: &str) {
    assert_eq!(decimal(Wide::from(num), Wide::from(den)).as_deref(), Some(expected), "{num}/{den}");
}

#[test]
fn ratios_are_written_with_34_digits_half_even_and_no_exponent() {
    check(0, 7, "0");
    check(1, 1, "1");
    check(1, 2, "0.5");
    check(1, 3, "0.3333333333333333333333333333333333");
    check(2, 3, "0.6666666666666666666666666666666667");
    check(1, 400, "0.0025");
    check(1200, 1, "1200");
    check(10u128.pow(35) + 5, 1, "100000000000000000000000000000000000");
    // Exactly half: to the even neighbour, in both directions.
    check(10u128.pow(34) * 10 + 5, 10, "10000000000000000000000000000000000");
    check(10u128.pow(34) * 10 + 15, 10, "10000000000000000000000000000000000");
    check((10u128.pow(33) + 1) * 10 + 5, 10, "1000000000000000000000000000000002");
    check((10u128.pow(33) + 2) * 10 + 5, 10, "1000000000000000000000000000000002");
    // Rounding up to another power of ten.
    check(10u128.pow(35) - 1, 10, "10000000000000000000000000000000000");
    assert_eq!(decimal(Wide::ONE, Wide::ZERO), None);
}

/// Prices at ticks by Uniswap's own SDK, to its five digits, and of a real pool.
#[test]
fn the_reference_prices_are_ours() {
    let Some(cases) = crate::domain::test_support::case_file("price/tick_price.json") else { return };
    let five = |ratio: Ratio| rounded(ratio.num, ratio.den, 5).unwrap();
    let decimals = |token: &serde_json::Value| u8::try_from(token["decimals"].as_u64().unwrap()).unwrap();
    for case in cases["cases"].as_array().unwrap() {
        let (base, quote) = (&case["base"], &case["quote"]);
        let (is_token0, tick) = (base["sortOrder"].as_u64() < quote["sortOrder"].as_u64(), case["tick"].as_i64().unwrap());
        let ratio = tick_ratio(i32::try_from(tick).unwrap()).unwrap();
        let ratio = if is_token0 { ratio } else { ratio.inverse().unwrap() };
        assert_eq!(five(ratio.in_units(decimals(base), decimals(quote)).unwrap()), case["priceSignificant5"].as_str().unwrap());
    }
    for pool in cases["real"].as_array().unwrap() {
        let state = v3(pool["sqrtPriceX96"].as_str().unwrap().parse().unwrap());
        let price = token1_per_token0(&state, decimals(&pool["token0"]), decimals(&pool["token1"])).unwrap();
        // It was written with 18 places.
        let said = pool["price0in1"].as_str().unwrap();
        let ours = rounded(price.num, price.den, said.len() - 1).unwrap();
        assert_eq!(&ours[..17], &said[..17], "{ours}");
    }
}

#[test]
fn amounts_are_scaled_exactly_and_keep_their_sign() {
    let cases = [
        ("1500000", 6, "1.5"),
        ("-1500000", 6, "-1.5"),
        ("-1", 18, "-0.000000000000000001"),
        ("0", 18, "0"),
        ("7", 0, "7"),
        ("123456789012345678901234567890", 18, "123456789012.34567890123456789"),
    ];
    for (raw, decimals, expected) in cases {
        let raw = I256::from_dec_str(raw).unwrap();
        assert_eq!(amount(raw, decimals).as_deref(), Some(expected));
    }
    let smallest = amount(I256::MIN, 0).unwrap();
    assert!(smallest.starts_with("-5789604461865809771178549250434395"), "{smallest}");
    assert_eq!(smallest.len(), 78);
    assert_eq!(unsigned_amount(U256::ONE, 77).unwrap().len(), 79);
    assert_eq!(unsigned_amount(U256::ONE, 78), None);
}

proptest::proptest! {
    #[test]
    fn an_amount_is_what_the_division_gives(raw: u128, cut in 0u32..128, decimals in 0u8..=DECIMALS_MAX) {
        let raw = U256::from(raw >> cut);
        let divided = decimal(Wide::from(raw), power_of_ten(decimals).unwrap());
        proptest::prop_assert_eq!(unsigned_amount(raw, decimals), divided);
    }

    #[test]
    fn digits_are_counted_as_they_are_written(limbs: [u64; 16], cut in 0usize..1_024) {
        let value = Wide::from_limbs(limbs) >> cut;
        proptest::prop_assert_eq!(digits(value), Some(value.to_string().len()));
    }
}

#[test]
fn powers_of_ten_have_one_digit_more_than_nines() {
    for exponent in 1..=308 {
        let power = ten_to(exponent).unwrap();
        assert_eq!((digits(power), digits(power - Wide::ONE)), (Some(exponent + 1), Some(exponent)));
    }
    assert_eq!((digits(Wide::ZERO), digits(Wide::MAX), ten_to(309)), (Some(1), Some(309), None));
}

#[test]
fn prices_of_both_protocols_are_inverse_and_null_where_there_is_none() {
    let pair = PoolState::V2(V2State { reserve0: 4_000_000, reserve1: 2 * 10u128.pow(18) });
    let ratio = token1_per_token0(&pair, 6, 18).unwrap();
    assert_eq!(ratio.decimal().as_deref(), Some("0.5"));
    assert_eq!(ratio.inverse().unwrap().decimal().as_deref(), Some("2"));
    let double = v3(U256::from(2u8) << 96);
    assert_eq!(token1_per_token0(&double, 18, 18).unwrap().decimal().as_deref(), Some("4"));
    assert_eq!(token1_per_token0(&v3(U256::ZERO), 18, 18), None);
    assert_eq!(token1_per_token0(&PoolState::V2(V2State { reserve0: 0, reserve1: 5 }), 18, 18), None);
    assert_eq!(token1_per_token0(&double, 78, 18), None);
}

#[test]
fn the_widest_values_do_not_overflow() {
    for root in [U256::ONE, U256::from(4_295_128_739u64), U256::MAX >> 96, (U256::ONE << 160) - U256::ONE] {
        for (d0, d1) in [(0, 0), (0, 77), (77, 0), (77, 77)] {
            let ratio = token1_per_token0(&v3(root), d0, d1).unwrap();
            assert!(ratio.decimal().is_some(), "{root} {d0} {d1}");
            assert!(ratio.inverse().and_then(Ratio::decimal).is_some(), "{root} {d0} {d1}");
        }
    }
}

#[test]
fn powers_of_the_tick_base_are_exact_to_34_digits() {
    let price = |tick| tick_ratio(tick).and_then(Ratio::decimal).unwrap();
    assert_eq!(price(0), "1");
    assert_eq!(price(1), "1.0001");
    assert_eq!(price(2), "1.00020001");
    assert_eq!(price(5), "1.00050010001000050001");
    assert_eq!(price(-1), "0.99990000999900009999000099990001");
    // Python's decimal at 120 digits, rounded once.
    assert_eq!(price(887_272), "340256786836388094050805785052946500000");
    assert_eq!(price(-887_272), "0.000000000000000000000000000000000000002938956807585584838874754864968834");
    assert_eq!(price(-200_697), "0.000000001924313450534642540435141565704402");
}

#[test]
fn the_reference_cases_hold() {
    let Some(cases) = crate::domain::test_support::case_file("price/tick_price.json") else { return };
    for case in cases["cases"].as_array().unwrap() {
        let tick = i32::try_from(case["tick"].as_i64().unwrap()).unwrap();
        let token0_is_base = case["base"]["sortOrder"].as_u64() < case["quote"]["sortOrder"].as_u64();
        let ratio = tick_ratio(tick).unwrap();
        let ratio = if token0_is_base { ratio } else { ratio.inverse().unwrap() };
        let expected: f64 = case["priceSignificant5"].as_str().unwrap().parse().unwrap();
        let ours: f64 = ratio.decimal().unwrap().parse().unwrap();
        assert!((ours / expected - 1.0).abs() < 5e-5, "{ours} {expected}");
    }
    for case in cases["real"].as_array().unwrap() {
        let root = U256::from_str(case["sqrtPriceX96"].as_str().unwrap()).unwrap();
        let decimals = |side: &str| u8::try_from(case[side]["decimals"].as_u64().unwrap()).unwrap();
        let price = token1_per_token0(&v3(root), decimals("token0"), decimals("token1")).unwrap().decimal().unwrap();
        let expected = case["price0in1"].as_str().unwrap();
        assert_eq!(&price[..expected.len().min(18)], &expected[..expected.len().min(18)], "{price}");
    }
}
