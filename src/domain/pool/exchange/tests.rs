use std::sync::Arc;

use serde_json::Value;

use super::*;
use crate::domain::test_support::case_file;

fn number(value: &Value) -> U256 {
    value.as_str().unwrap().parse().unwrap()
}

fn signed(value: &Value) -> i128 {
    value.as_str().unwrap().parse().unwrap()
}

#[test]
fn pairs_swap_as_router_and_pair_do() {
    let Some(file) = case_file("swap_v2/v2_cases.json") else { return };
    let pair = |reserve_in: &Value, reserve_out: &Value| V2State {
        reserve0: number(reserve_in).to(),
        reserve1: number(reserve_out).to(),
    };
    let mut checked = 0;
    for case in file["swaps"].as_array().unwrap() {
        let (amount, expected) = match case["op"].as_str().unwrap() {
            "exactIn" => (Amount::In(number(&case["amountIn"])), number(&case["amountOut"])),
            "exactOut" => (Amount::Out(number(&case["amountOut"])), number(&case["amountIn"])),
            // Into and out of the same reserve: a repaid loan, which is no swap of one token for another.
            _ => continue,
        };
        let swap = pair(&case["reserveIn"], &case["reserveOut"]).exchange(3_000, true, amount).unwrap();
        let found = if matches!(amount, Amount::In(_)) { swap.amount_out } else { swap.amount_in };
        assert_eq!(found, expected, "{case}");
        if let Some(after) = case.get("reserveInAfter") {
            assert_eq!(U256::from(swap.after.reserve0), number(after));
        }
        // The other way round.
        let turned = V2State { reserve0: number(&case["reserveOut"]).to(), reserve1: number(&case["reserveIn"]).to() };
        assert_eq!(
            turned.exchange(3_000, false, amount).map(|s| (s.amount_in, s.amount_out)),
            Ok((swap.amount_in, swap.amount_out))
        );
        checked += 1;
    }
    for case in file["router_lib"].as_array().unwrap().iter().filter(|case| case["fn"] != "quote") {
        let [amount, reserve_in, reserve_out] = [0, 1, 2].map(|i| case["args"][i].clone());
        let amount = number(&amount);
        let asked = if case["fn"] == "getAmountOut" { Amount::In(amount) } else { Amount::Out(amount) };
        let found = pair(&reserve_in, &reserve_out).exchange(3_000, true, asked);
        let found = found.map(|s| if matches!(asked, Amount::In(_)) { s.amount_out } else { s.amount_in }).ok();
        assert_eq!(found, case.get("result").map(number), "{case}");
        checked += 1;
    }
    assert!(checked > 6, "{checked}");
}

fn ticks(all: impl Iterator<Item = (i32, u128, i128)>) -> Arc<BTreeMap<i32, Tick>> {
    Arc::new(all.map(|(tick, liquidity_gross, liquidity_net)| (tick, Tick { liquidity_gross, liquidity_net })).collect())
}

fn order(down: bool, amount: Amount, limit: Option<U256>) -> Order {
    Order { down, amount, limit }
}

/// Every case of the snapshot of v3-core, with the price and the liquidity that the real bytecode left.
#[test]
fn pools_with_ticks_swap_as_the_snapshot_of_v3_core() {
    let Some(file) = case_file("swap_v3/pool_swaps.json") else { return };
    let mut checked = 0;
    for pool in file["pools"].as_array().unwrap() {
        let all = pool["ticks"].as_array().unwrap().iter();
        let state = V3State {
            sqrt_price_x96: number(&pool["startingSqrtPriceX96"]),
            tick: small(&pool["initialTick"]),
            liquidity: number(&pool["initialLiquidity"]).to(),
            ticks: ticks(all.map(|t| (small(&t["tick"]), number(&t["liquidityGross"]).to(), signed(&t["liquidityNet"])))),
            ..V3State::default()
        };
        let terms =
            Terms { fee_pips: u32::try_from(pool["fee"].as_u64().unwrap()).unwrap(), tick_spacing: small(&pool["tickSpacing"]) };
        for case in pool["swaps"].as_array().unwrap() {
            let amount = case["amountSpecified"].as_str().unwrap();
            let amount = match amount.strip_prefix('-') {
                Some(out) => Amount::Out(out.parse().unwrap()),
                None => Amount::In(amount.parse().unwrap()),
            };
            let down = case["zeroForOne"] == true;
            let found = state.exchange(terms, order(down, amount, Some(number(&case["sqrtPriceLimitX96"]))));
            checked += 1;
            let what = format!("pool {}: {}", pool["id"], case["description"]);
            let expect = &case["expect"];
            if expect.get("revert").is_some() {
                assert_eq!(found, Err(NoSwap::Limit), "{what}");
                continue;
            }
            let found = found.unwrap_or_else(|error| panic!("{what}: {error}"));
            let (paid, got) = if down { ("amount0Delta", "amount1Delta") } else { ("amount1Delta", "amount0Delta") };
            assert_eq!(found.amount_in.to_string(), expect[paid].as_str().unwrap(), "{what}");
            assert_eq!(found.amount_out.to_string(), expect[got].as_str().unwrap().trim_start_matches('-'), "{what}");
            assert_eq!(i64::from(found.tick()), expect["tickAfter"].as_i64().unwrap(), "{what}");
            assert_eq!(found.sqrt_price_x96, number(&case["derived"]["sqrtPriceX96After"]), "{what}");
            assert_eq!(U256::from(found.liquidity), number(&case["derived"]["liquidityAfter"]), "{what}");
        }
    }
    assert!(checked > 60, "{checked}");
}

fn small(value: &Value) -> i32 {
    i32::try_from(value.as_i64().unwrap()).unwrap()
}

/// A pool with its ticks as lists of tick, gross and net.
fn of_ticks(pool: &Value, names: [&str; 3]) -> V3State {
    let [price, tick, liquidity] = names;
    let all = pool["ticks"].as_array().unwrap().iter();
    V3State {
        sqrt_price_x96: number(&pool[price]),
        tick: small(&pool[tick]),
        liquidity: number(&pool[liquidity]).to(),
        ticks: ticks(all.map(|t| (small(&t[0]), number(&t[1]).to(), signed(&t[2])))),
        ..V3State::default()
    }
}

/// Real pools with all of their ticks, and what the Quoters on mainnet said: of V3, and of V4, which takes all or nothing.
#[test]
fn real_pools_swap_as_mainnets_quoters_said() {
    for (name, spacing, fee_pips) in [("swap_v3", 60, 3_000), ("swap_v4", 10, v4_swap_fee(0, 500, true).unwrap())] {
        let Some(file) = case_file(&format!("{name}/mainnet_quoter.json")) else { return };
        let state = of_ticks(&file, ["sqrtPriceX96", "tick", "liquidity"]);
        let terms = Terms { fee_pips, tick_spacing: spacing };
        for quote in file["quotes"].as_array().unwrap() {
            let (amount, is_in) = (number(&quote["amount"]), quote["method"] == "exactIn");
            let asked = if is_in { Amount::In(amount) } else { Amount::Out(amount) };
            let found = state.exchange(terms, order(quote["zeroForOne"] == true, asked, None)).unwrap();
            if quote["reverted"] == true {
                assert!(!found.left.is_zero(), "{name} {quote}");
                continue;
            }
            assert_eq!(!found.left.is_zero(), quote["partial"] == true, "{name} {quote}");
            // Of an output that is not there in full the quoter of V3 still says what it would cost.
            assert_eq!(if is_in { found.amount_out } else { found.amount_in }, number(&quote["result"]), "{name} {quote}");
            let derived = &quote["derived"];
            assert_eq!(found.sqrt_price_x96, number(&derived["sqrtPriceX96After"]), "{name} {quote}");
            assert_eq!(i64::from(found.tick()), derived["tickAfter"].as_i64().unwrap(), "{name} {quote}");
            assert_eq!(U256::from(found.liquidity), number(&derived["liquidityAfter"]), "{name} {quote}");
        }
    }
}

/// From pool to pool: PancakeSwap V3, V4 with a protocol fee, V2.
#[test]
fn a_path_over_real_pools_gives_what_each_of_them_gave() {
    let Some(file) = case_file("swap_multihop/paths.json") else { return };
    for case in file["cases"].as_array().unwrap() {
        let mut amount = number(&case["amountIn"]);
        for (hop, expected) in case["path"].as_array().unwrap().iter().zip(case["expectedHopOutputs"].as_array().unwrap()) {
            let (pool, down) = (&case["pools"][hop["pool"].as_str().unwrap()], hop["zero_for_one"] == true);
            let fee = |name: &str| u32::try_from(pool[name].as_u64().unwrap()).unwrap();
            amount = if pool["family"] == "uniswap_v2" {
                let pair = V2State { reserve0: number(&pool["reserve0"]).to(), reserve1: number(&pool["reserve1"]).to() };
                let fee_pips = 1_000_000 - fee("fee_gamma") * 1_000_000 / fee("fee_denom");
                pair.exchange(fee_pips, down, Amount::In(amount)).unwrap().amount_out
            } else {
                let fee_pips = match pool.get("protocol_fee") {
                    Some(_) => v4_swap_fee(fee("protocol_fee"), fee("lp_fee"), down).unwrap(),
                    None => fee("fee_token0"),
                };
                let terms = Terms { fee_pips, tick_spacing: small(&pool["tick_spacing"]) };
                let state = of_ticks(pool, ["sqrt_price_x96", "tick", "liquidity"]);
                state.exchange(terms, order(down, Amount::In(amount), None)).unwrap().amount_out
            };
            assert_eq!(amount, number(expected), "{} of {}", hop["pool"], case["id"]);
        }
    }
}

#[test]
fn the_fee_of_v4_is_the_protocols_and_of_the_rest_the_pools() {
    // 0x1000 parts are 0.1 % for each direction at the most.
    assert_eq!(v4_swap_fee(0, 3_000, true), Some(3_000));
    assert_eq!((v4_swap_fee(1_000, 3_000, true), v4_swap_fee(1_000, 3_000, false)), (Some(3_997), Some(3_000)));
    assert_eq!((v4_swap_fee(500 << 12, 3_000, true), v4_swap_fee(500 << 12, 3_000, false)), (Some(3_000), Some(3_499)));
    assert_eq!(v4_swap_fee(1_000, 1_000_000, true), Some(1_000_000), "never more than all");
    assert_eq!(v4_swap_fee(0, u32::MAX, true), Some(u32::MAX), "which no pool has, and no swap takes");
}

/// A pool with these positions, at a price of one.
fn of_positions(positions: &[(i32, i32, u128)]) -> V3State {
    let mut all: BTreeMap<i32, Tick> = BTreeMap::new();
    let mut liquidity = 0;
    for (lower, upper, amount) in positions {
        for (tick, net) in [(*lower, i128::try_from(*amount).unwrap()), (*upper, -i128::try_from(*amount).unwrap())] {
            let tick = all.entry(tick).or_default();
            tick.liquidity_gross += amount;
            tick.liquidity_net += net;
        }
        liquidity += if (*lower..*upper).contains(&0) { *amount } else { 0 };
    }
    V3State { sqrt_price_x96: U256::ONE << 96, tick: 0, liquidity, ticks: Arc::new(all), ..V3State::default() }
}

#[test]
fn the_quoters_count_of_ticks_is_its_own() {
    let Some(file) = case_file("swap_v3/quoter_v2_paths.json") else { return };
    let terms = Terms { fee_pips: 3_000, tick_spacing: 60 };
    for case in file["cases"].as_array().unwrap() {
        let [from, to] = [0, 1].map(|i| case["path"][i].as_u64().unwrap());
        let named = format!("{}-{}", from.min(to), from.max(to));
        let positions = file["pools"][case["pools"].as_str().unwrap()][named].as_array().unwrap().iter().map(|position| {
            let tick = |name: &str| i32::try_from(position[name].as_i64().unwrap()).unwrap();
            (tick("tickLower"), tick("tickUpper"), number(&position["liquidity"]).to())
        });
        let state = of_positions(&positions.collect::<Vec<_>>());
        let (amount, is_in) = (number(&case["amount"]), case["method"] == "exactInput");
        let asked = if is_in { Amount::In(amount) } else { Amount::Out(amount) };
        let limit = case["sqrtPriceLimitX96"].as_str().map(|limit| limit.parse().unwrap());
        let found = state.exchange(terms, order(from < to, asked, limit)).unwrap();
        assert_eq!(if is_in { found.amount_out } else { found.amount_in }, number(&case["expect"]["amount"]), "{case}");
        assert_eq!(found.sqrt_price_x96, number(&case["expect"]["sqrtPriceX96AfterList"][0]), "{case}");
        let counted = ticks_between(&state.ticks, 60, state.tick, found.tick());
        assert_eq!(counted.map(u64::from), case["expect"]["initializedTicksCrossedList"][0].as_u64(), "{case}");
    }
}

#[test]
fn what_no_contract_does_is_no_swap() {
    let pair = V2State { reserve0: 1_000, reserve1: 2_000 };
    let of = |amount| pair.exchange(3_000, true, amount);
    assert_eq!(of(Amount::In(U256::ZERO)), Err(NoSwap::Nothing));
    assert_eq!(of(Amount::Out(U256::from(2_000))), Err(NoSwap::TooMuch { most: U256::from(1_999) }));
    assert_eq!(of(Amount::In(U256::MAX)), Err(NoSwap::Overflow));
    assert_eq!(of(Amount::In((U256::ONE << 112) - U256::from(1_000))), Err(NoSwap::Overflow), "a reserve has 112 bits");
    assert!(of(Amount::In((U256::ONE << 112) - U256::from(1_001))).is_ok());
    assert_eq!(V2State::default().exchange(3_000, true, Amount::In(U256::ONE)), Err(NoSwap::Empty));
    assert!(pair.exchange(1_000_000, true, Amount::Out(U256::ONE)).is_err(), "a fee of everything");
    assert!(pair.exchange(u32::MAX, true, Amount::In(U256::ONE)).is_err(), "a fee of more");

    let terms = Terms { fee_pips: 3_000, tick_spacing: 60 };
    let pool = of_positions(&[(-600, 600, 1_000_000)]);
    let of = |down, amount, limit| pool.exchange(terms, order(down, amount, limit));
    assert_eq!(V3State::default().exchange(terms, order(true, Amount::In(U256::ONE), None)), Err(NoSwap::Empty));
    assert_eq!(of(true, Amount::Out(U256::ZERO), None), Err(NoSwap::Nothing));
    assert_eq!(of(true, Amount::In(U256::MAX), None), Err(NoSwap::Overflow));
    for limit in [U256::ONE << 96, U256::MAX, MIN_SQRT_RATIO, U256::ZERO] {
        assert_eq!(of(true, Amount::In(U256::ONE), Some(limit)), Err(NoSwap::Limit), "{limit}");
    }
    for limit in [U256::ONE << 96, U256::MAX, MAX_SQRT_RATIO, U256::ZERO] {
        assert_eq!(of(false, Amount::In(U256::ONE), Some(limit)), Err(NoSwap::Limit), "{limit}");
    }
    // All that there is, and then nothing to the last price.
    let dry = of(true, Amount::In(U256::ONE << 200), None).unwrap();
    assert!(!dry.left.is_zero() && dry.sqrt_price_x96 == MIN_SQRT_RATIO + U256::ONE && dry.liquidity == 0);
    let again = V3State { sqrt_price_x96: dry.sqrt_price_x96, tick: dry.tick(), liquidity: dry.liquidity, ..pool.clone() };
    assert_eq!(again.exchange(terms, order(true, Amount::In(U256::ONE), None)), Err(NoSwap::Limit), "there is no price below");
}

mod properties;
