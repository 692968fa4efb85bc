use std::sync::Arc;

use alloy::primitives::U512;
use proptest::prelude::*;
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

fn amount() -> impl Strategy<Value = u128> {
    (0_u32..100, any::<u128>()).prop_map(|(shift, value)| ((value >> 28) >> shift).max(1))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 1_000 } else { 20_000 }))]

    /// k never falls, nothing beyond the reserves comes out, and what an output costs buys it, and no wei less does.
    #[test]
    fn pairs_never_lose(r0 in amount(), r1 in amount(), a in amount(), fee in 0_u32..999_999, down in any::<bool>()) {
        let pair = V2State { reserve0: r0.max(1), reserve1: r1.max(1) };
        let k = |pair: &V2State| U256::from(pair.reserve0) * U256::from(pair.reserve1);
        if let Ok(swap) = pair.exchange(fee, down, Amount::In(U256::from(a))) {
            prop_assert!(k(&swap.after) >= k(&pair));
            // There and back is never more.
            if let Ok(back) = swap.after.exchange(fee, !down, Amount::In(swap.amount_out)) {
                prop_assert!(back.amount_out <= U256::from(a));
            }
        }
        if let Ok(swap) = pair.exchange(fee, down, Amount::Out(U256::from(a))) {
            prop_assert!(k(&swap.after) >= k(&pair));
            let bought = pair.exchange(fee, down, Amount::In(swap.amount_in)).unwrap();
            prop_assert!(bought.amount_out >= U256::from(a));
        }
    }

    /// The formulas of `UniswapV2Library` as they are written, in integers that nothing here can fill; up to the last reserve.
    #[test]
    fn pairs_pay_what_the_plain_formula_says(
        r0 in 0_u128..=RESERVE_MAX, r1 in 0_u128..=RESERVE_MAX, a in 0_u128..=RESERVE_MAX,
        shifts in [0_u32..112, 0_u32..112, 0_u32..112],
        fee in prop_oneof![Just(3_000_u32), Just(2_500), Just(0), Just(1_000_000), 0_u32..1_000_001],
    ) {
        let [r0, r1, a] = [r0 >> shifts[0], r1 >> shifts[1], a >> shifts[2]];
        let pair = V2State { reserve0: r0, reserve1: r1 };
        let [x, y, amount, all, kept] = [r0, r1, a, 1_000_000, 1_000_000 - u128::from(fee)].map(U512::from);
        let most = U512::from(RESERVE_MAX);
        let moved = |found: Result<PairSwap, NoSwap>| found.ok().map(|s| [s.amount_in, s.amount_out].map(U512::from));
        let after = |found: Result<PairSwap, NoSwap>| found.ok().map(|s| [s.after.reserve0, s.after.reserve1].map(U512::from));
        let is_empty = r0 == 0 || r1 == 0 || a == 0;

        let found = pair.exchange(fee, true, Amount::In(U256::from(a)));
        let paid = (!is_empty && x + amount <= most).then(|| [amount, amount * kept * y / (x * all + amount * kept)]);
        prop_assert_eq!(moved(found), paid);
        prop_assert_eq!(after(found), paid.map(|[paid, got]| [x + paid, y - got]));

        let found = pair.exchange(fee, true, Amount::Out(U256::from(a)));
        let paid = (!is_empty && amount < y && !kept.is_zero())
            .then(|| [x * amount * all / ((y - amount) * kept) + U512::ONE, amount])
            .filter(|[paid, _]| x + *paid <= most);
        prop_assert_eq!(moved(found), paid);
        prop_assert_eq!(after(found), paid.map(|[paid, got]| [x + paid, y - got]));
    }

    /// Liquidity of anybody anywhere: no wei is made out of nothing, in whatever direction and whichever way it is asked.
    #[test]
    fn pools_with_ticks_never_lose(
        positions in proptest::collection::vec((-40_i32..40, 1_i32..40, 1_u128..1 << 90), 1..8),
        fee in prop_oneof![Just(100_u32), Just(500), Just(3_000), Just(10_000)],
        a in amount(),
        down in any::<bool>(),
    ) {
        let positions: Vec<_> = positions.into_iter().map(|(at, width, l)| (at * 60, (at + width) * 60, l)).collect();
        let pool = of_positions(&positions);
        let terms = Terms { fee_pips: fee, tick_spacing: 60 };
        let there = pool.exchange(terms, order(down, Amount::In(U256::from(a)), None)).unwrap();
        prop_assert_eq!(there.amount_in + there.left, U256::from(a));
        let after = V3State { sqrt_price_x96: there.sqrt_price_x96, tick: there.tick(), liquidity: there.liquidity, ..pool.clone() };
        prop_assert_eq!(tick_at_sqrt_ratio(after.sqrt_price_x96).map(|tick| tick - after.tick).map(|d| (0..=1).contains(&d)), Some(true));
        if !there.amount_out.is_zero() {
            let back = after.exchange(terms, order(!down, Amount::In(there.amount_out), None)).unwrap();
            prop_assert!(back.amount_out <= there.amount_in, "a round trip profits");
            // What the same output costs is no more than what was paid for it, and buys no less.
            let cost = pool.exchange(terms, order(down, Amount::Out(there.amount_out), None)).unwrap();
            prop_assert!(cost.left.is_zero() && cost.amount_in <= there.amount_in);
            let bought = pool.exchange(terms, order(down, Amount::In(cost.amount_in), None)).unwrap();
            prop_assert!(bought.amount_out >= there.amount_out);
        }
    }

    /// Whatever swaps went before, in whatever order: not a bit of any swap is another. At the very ends of steps, too.
    #[test]
    fn what_other_swaps_went_over_changes_none(
        positions in proptest::collection::vec((-40_i32..40, 1_i32..40, amount()), 1..8),
        fee in prop_oneof![Just(0_u32), Just(100), Just(3_000), Just(10_000), 0_u32..1_000_000, Just(1_000_000)],
        amounts in proptest::collection::vec((amount(), any::<bool>()), 1..5),
        down in any::<bool>(),
        is_v4 in any::<bool>(),
    ) {
        let positions: Vec<_> = positions.into_iter().map(|(at, width, l)| (at * 60, (at + width) * 60, l.max(1) >> 12)).collect();
        let pool = of_positions(&positions);
        let terms = Terms { fee_pips: fee, tick_spacing: 60 };
        let alone = |order: Order| if is_v4 { pool.exchange_v4(terms, order) } else { pool.exchange(terms, order) };
        let mut ladder = Ladder::new();
        let mut next: Vec<Amount> = Vec::new();
        for (amount, is_in) in amounts {
            let amount = U256::from(amount);
            next.push(if is_in { Amount::In(amount) } else { Amount::Out(amount) });
        }
        for round in 0..2 {
            for amount in std::mem::take(&mut next) {
                let order = order(down, amount, None);
                let by = if is_v4 { pool.exchange_v4_by(&mut ladder, terms, order) } else { pool.exchange_by(&mut ladder, terms, order) };
                prop_assert_eq!(by, alone(order), "{:?}", order);
            }
            if round == 0 {
                let around = |amount: U256| [amount.saturating_sub(U256::ONE), amount, amount.saturating_add(U256::ONE)];
                for rung in ladder.rungs().iter().take(6) {
                    next.extend(around(rung.amount_in).map(Amount::In));
                    next.extend(around(rung.amount_out).map(Amount::Out));
                }
            }
        }
    }

    /// Where nobody provides anything a swap goes to the next tick at once; the contracts go word by word of the bitmap. Not a bit is another.
    #[test]
    fn empty_stretches_are_crossed_as_word_by_word(
        positions in proptest::collection::vec((-8_i32..8, 1_i32..4, amount()), 1..5),
        scale in prop_oneof![Just(1), Just(70), Just(400)],
        spacing in prop_oneof![Just(1), Just(10), Just(60)],
        fee in prop_oneof![Just(0_u32), Just(100), Just(10_000), Just(1_000_000)],
        (a, is_in, down) in (amount(), any::<bool>(), any::<bool>()),
        limit in proptest::option::of(-12_i32..12),
        is_v4 in any::<bool>(),
    ) {
        let edge = |at: i32| at * scale * spacing;
        let positions: Vec<_> = positions.into_iter().map(|(at, width, l)| (edge(at), edge(at + width), l.max(1) >> 12)).collect();
        let pool = of_positions(&positions);
        let terms = Terms { fee_pips: fee, tick_spacing: spacing };
        let amount = if is_in { Amount::In(U256::from(a)) } else { Amount::Out(U256::from(a)) };
        let order = order(down, amount, limit.and_then(|limit| sqrt_ratio_at_tick(edge(limit) + 1)));
        let found = if is_v4 { pool.exchange_v4(terms, order) } else { pool.exchange(terms, order) };
        let Ok(found) = found else { return Ok(()) };
        prop_assert_eq!(Some(found), word_by_word(&pool, terms, order, if is_v4 { step_v4 } else { step }));
    }
}

/// The contracts' loop, as it is written there.
fn word_by_word(
    pool: &V3State,
    terms: Terms,
    order: Order,
    step: fn(U256, U256, u128, Amount, u32) -> Option<Moved>,
) -> Option<TickSwap> {
    let Order { down, amount, .. } = order;
    let last = if down { MIN_SQRT_RATIO + U256::ONE } else { MAX_SQRT_RATIO - U256::ONE };
    let limit = order.limit.unwrap_or(last);
    let (Amount::In(mut left) | Amount::Out(mut left)) = amount;
    let mut all = TickSwap {
        amount_in: U256::ZERO,
        amount_out: U256::ZERO,
        left,
        sqrt_price_x96: pool.sqrt_price_x96,
        at_tick: Some(pool.tick),
        liquidity: pool.liquidity,
        crossed: 0,
    };
    while !left.is_zero() && all.sqrt_price_x96 != limit {
        let (next, begins) = next_tick(&pool.ticks, all.tick(), terms.tick_spacing, down)?;
        let price = sqrt_ratio_at_tick(next)?;
        let target = if down { price.max(limit) } else { price.min(limit) };
        let rest = if matches!(amount, Amount::In(_)) { Amount::In(left) } else { Amount::Out(left) };
        let moved = step(all.sqrt_price_x96, target, all.liquidity, rest, terms.fee_pips)?;
        let before = all.sqrt_price_x96;
        all.amount_in += moved.amount_in;
        all.amount_out += moved.amount_out;
        all.sqrt_price_x96 = moved.sqrt_price_x96;
        left -= if matches!(amount, Amount::In(_)) { moved.amount_in } else { moved.amount_out };
        if moved.sqrt_price_x96 == price {
            if let Some(tick) = begins {
                all.liquidity = all.liquidity.checked_add_signed(if down { -tick.liquidity_net } else { tick.liquidity_net })?;
                all.crossed += 1;
            }
            all.at_tick = Some(if down { next - 1 } else { next });
        } else if moved.sqrt_price_x96 != before {
            all.at_tick = None;
        }
    }
    Some(TickSwap { left, ..all })
}
