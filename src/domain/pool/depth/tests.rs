use std::{collections::BTreeMap, sync::Arc};

use alloy::primitives::U512;
use proptest::prelude::*;

use super::{
    super::{Tick, swap::Terms},
    *,
};

/// So many parts of the price that there is.
fn target(state: &PoolState, down: bool, parts: u32) -> Result<Target, NoSwap> {
    let price = token1_per_token0(state, 0, 0).ok_or(NoSwap::Empty)?.part(parts, BPS).unwrap();
    Ok(Target { down, price })
}

fn of_pair(pair: &V2State, fee_pips: u32, down: bool, parts: u32) -> Result<Move, NoSwap> {
    pair.moved(fee_pips, target(&PoolState::V2(*pair), down, parts)?)
}

fn of_pool(pool: &V3State, terms: Terms, down: bool, parts: u32) -> Result<Move, NoSwap> {
    pool.moved(target(&PoolState::V3(pool.clone()), down, parts)?, |order| pool.exchange(terms, order))
}

/// Of a price anywhere, with liquidity in one range around it and everywhere.
fn pool(root: U256, tick: i32, near: u128, far: u128) -> V3State {
    let (lower, upper) = (tick.div_euclid(60) * 60 - 600, tick.div_euclid(60) * 60 + 660);
    let edges = [(-887_220, far, 1), (lower, near, 1), (upper, near, -1), (887_220, far, -1)];
    let tick_of = |(at, amount, sign): (i32, u128, i128)| {
        (at, Tick { liquidity_gross: amount, liquidity_net: sign * i128::try_from(amount).unwrap() })
    };
    let ticks: BTreeMap<i32, Tick> = edges.into_iter().map(tick_of).collect();
    V3State { sqrt_price_x96: root, tick, liquidity: near + far, ticks: Arc::new(ticks), ..V3State::default() }
}

#[test]
fn a_price_that_nobody_can_bring_about_is_said() {
    let pair = V2State { reserve0: 1_000_000, reserve1: RESERVE_MAX };
    assert_eq!(of_pair(&pair, 3_000, false, BPS + 1), Err(NoSwap::Limit), "a pair cannot hold more");
    assert_eq!(of_pair(&V2State::default(), 3_000, true, 9_000), Err(NoSwap::Empty));
    let terms = Terms { fee_pips: 3_000, tick_spacing: 60 };
    assert_eq!(of_pool(&V3State::default(), terms, true, 9_000), Err(NoSwap::Empty));
    let lowest = pool(MIN_SQRT_RATIO + U256::from(2), -887_272, 1, 1);
    assert_eq!(of_pool(&lowest, terms, true, 5_000), Err(NoSwap::Limit), "there is no price below");
}

/// `sqrt(1.02) - 1` of the reserves, and what that buys: by an independent search.
#[test]
fn two_percent_of_a_pair() {
    let pair = V2State { reserve0: 10u128.pow(24), reserve1: 10u128.pow(24) };
    let up = of_pair(&pair, 0, false, 10_200).unwrap();
    assert_eq!(up.amount_in, U256::from(9_950_493_836_207_795_336_339_u128));
    assert_eq!(up.amount_out, U256::from(9_852_457_023_325_690_846_727_u128));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 500 } else { 5_000 }))]

    /// It brings a pair there, and a wei less does not.
    #[test]
    fn nothing_smaller_moves_a_pair_as_far(
        r0 in 1_u128 << 20..1 << 100, r1 in 1_u128 << 20..1 << 100, fee in 0_u32..100_000, down in any::<bool>(), bps in 1_u32..9_000,
    ) {
        let pair = V2State { reserve0: r0, reserve1: r1 };
        let parts = if down { BPS - bps } else { BPS + bps };
        let is_there = |amount: U256| {
            let after = pair.exchange(fee, down, Amount::In(amount)).unwrap().after;
            let (stands, should) = (
                U512::from(after.reserve1) * U512::from(r0) * U512::from(BPS),
                U512::from(r1) * U512::from(after.reserve0) * U512::from(parts),
            );
            if down { stands <= should } else { stands >= should }
        };
        let moved = of_pair(&pair, fee, down, parts).unwrap();
        prop_assert!(is_there(moved.amount_in));
        prop_assert!(moved.amount_in == U256::ONE || !is_there(moved.amount_in - U256::ONE));
    }

    /// Whoever pays just that gets just that, and leaves the pool at that price.
    #[test]
    fn a_pool_with_ticks_moves_just_so_far(
        at in -700_000_i32..700_000, near in 1_u128..1 << 90, far in 1_u128 << 40..1 << 90, down in any::<bool>(), bps in 1_u32..9_000,
    ) {
        let pool = pool(crate::domain::pool::math::sqrt_ratio_at_tick(at).unwrap(), at, near, far);
        let terms = Terms { fee_pips: 3_000, tick_spacing: 60 };
        let parts = if down { BPS - bps } else { BPS + bps };
        let moved = of_pool(&pool, terms, down, parts).unwrap();
        prop_assume!(!moved.amount_in.is_zero());
        let swap = pool.exchange(terms, Order { down, amount: Amount::In(moved.amount_in), limit: None }).unwrap();
        prop_assert_eq!((swap.amount_out, swap.left), (moved.amount_out, U256::ZERO));
        // Squares: price after in parts of the one before.
        let square = |root: U256| { let square: U512 = root.widening_mul(root); square };
        let is_there = |root: U256| {
            let (after, should) = (square(root) * U512::from(BPS), square(pool.sqrt_price_x96) * U512::from(parts));
            if down { after <= should } else { after >= should }
        };
        prop_assert!(is_there(swap.sqrt_price_x96));
        // Three ranges, each rounded twice.
        let less = moved.amount_in.saturating_sub(U256::from(6));
        if !less.is_zero() {
            let swap = pool.exchange(terms, Order { down, amount: Amount::In(less), limit: None }).unwrap();
            prop_assert!(!is_there(swap.sqrt_price_x96));
        }
    }
}
