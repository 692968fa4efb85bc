use serde_json::Value;

use super::*;
use crate::domain::{
    pool::math::{MAX_SQRT_RATIO, MAX_TICK, MIN_SQRT_RATIO, sqrt_ratio_at_tick, tick_at_sqrt_ratio},
    test_support::case_file,
};

fn number(value: &Value) -> U256 {
    value.as_str().unwrap().parse().unwrap()
}

/// Every case of one function, in whatever library's tests it was called.
fn cases(function: &str, check: impl Fn(&Value, Option<&Value>)) {
    let Some(file) = case_file("swap_v3/math_vectors.json") else { return };
    let all = file["libs"].as_object().unwrap().values().flat_map(|cases| cases.as_array().unwrap());
    let mut some = all.filter(|case| case["fn"] == function).peekable();
    assert!(some.peek().is_some(), "no case of {function}");
    some.for_each(|case| check(&case["args"], case.get("result")));
}

#[test]
fn a_step_is_the_contracts() {
    cases("computeSwapStep", |args, expected| {
        let amount = args["amountRemaining"].as_str().unwrap();
        let left = match amount.strip_prefix('-') {
            Some(out) => Amount::Out(out.parse().unwrap()),
            None => Amount::In(amount.parse().unwrap()),
        };
        let fee_pips = args["feePips"].as_str().unwrap().parse().unwrap();
        let (from, target, liquidity) = (number(&args["sqrtP"]), number(&args["sqrtPTarget"]), number(&args["liquidity"]).to());
        let found = step(from, target, liquidity, left, fee_pips);
        let number = |name: &str| expected.map(|result| number(&result[name]));
        assert_eq!(found.map(|found| found.sqrt_price_x96), number("sqrtQ"), "{args}");
        assert_eq!(found.map(|found| found.amount_out), number("amountOut"), "{args}");
        let without_fee = found.and_then(|found| whole_in(from, found.sqrt_price_x96, liquidity, from >= target));
        assert_eq!(without_fee, number("amountIn"), "{args}");
        assert_eq!(
            found.zip(without_fee).map(|(found, without_fee)| found.amount_in - without_fee),
            number("feeAmount"),
            "{args}"
        );
    });
}

#[test]
fn the_price_after_an_amount_is_the_contracts() {
    for (function, name, after) in [
        ("getNextSqrtPriceFromInput", "amountIn", after_input as fn(_, _, _, _) -> _),
        ("getNextSqrtPriceFromOutput", "amountOut", after_output),
    ] {
        cases(function, |args, expected| {
            let down = args["zeroForOne"] == true;
            let found = after(number(&args["sqrtP"]), number(&args["liquidity"]).to(), number(&args[name]), down);
            assert_eq!(found, expected.map(number), "{function} {args}");
        });
    }
}

#[test]
fn the_tick_of_a_price_is_the_contracts() {
    cases("getTickAtSqrtRatio", |args, expected| {
        let expected = expected.map(|tick| tick.as_str().unwrap().parse().unwrap());
        assert_eq!(tick_at_sqrt_ratio(number(&args["sqrtPriceX96"])), expected, "{args}");
    });
    assert_eq!(tick_at_sqrt_ratio(MIN_SQRT_RATIO), Some(-MAX_TICK));
    assert_eq!(tick_at_sqrt_ratio(MIN_SQRT_RATIO - U256::ONE), None);
    assert_eq!(tick_at_sqrt_ratio(MAX_SQRT_RATIO - U256::ONE), Some(MAX_TICK - 1));
    assert_eq!(tick_at_sqrt_ratio(MAX_SQRT_RATIO), None);
    assert_eq!(sqrt_ratio_at_tick(MAX_TICK), Some(MAX_SQRT_RATIO));
    // By definition: the highest tick that is not above.
    for tick in (-MAX_TICK..MAX_TICK).step_by(if cfg!(debug_assertions) { 211 } else { 1 }) {
        let price = sqrt_ratio_at_tick(tick).unwrap();
        assert_eq!(tick_at_sqrt_ratio(price), Some(tick), "at {tick}");
        if tick > -MAX_TICK {
            assert_eq!(tick_at_sqrt_ratio(price - U256::ONE), Some(tick - 1), "just below {tick}");
        }
    }
}
