//! What holds of any pool and any amount.

use alloy::primitives::U512;
use proptest::prelude::*;

use super::*;

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
