//! One order in one pool. What the contracts guarantee of a pool that can be must hold; of one that cannot, that there is an answer.

use std::cmp::Ordering;

use alloy::primitives::U256;
use swaptide::domain::{
    pool::{
        PoolMeta, PoolState, V2State, V3State,
        depth::{self, Move},
        exchange::{NoSwap, Order, PairSwap, TickSwap, ticks_between},
        math::{PIPS, sqrt_ratio_at_tick, tick_at_sqrt_ratio},
        step::Amount,
        trade::{Swap, Traded, trade},
    },
    price::{Ratio, quotient},
};

use super::{
    input::Input,
    pools::{self, Pool},
};

/// The pool, an order, how much more is asked the second time, a price.
pub fn swap(data: &[u8]) {
    let input = &mut Input::new(data);
    let pool = pools::pool(input, 0, [[1; 20].into(), [2; 20].into()]);
    let order = pools::order(input);
    let more = input.u256();
    promises(&pool, order, more);
    let price = quotient((input.u256(), 0), (input.u256(), 0));
    let bps = u32::from(input.i16().unsigned_abs());
    for down in [true, false] {
        let _ = depth::depth(&pool.meta, &pool.state, down, bps);
        if let Some(price) = price {
            moves(&pool, down, price);
        }
    }
}

fn promises(pool: &Pool, order: Order, more: U256) {
    let Pool { meta, state, is_sound } = pool;
    let swap = state.swap(meta, order);
    let traded = trade(meta, state, order);
    match (state, swap) {
        (_, Err(error)) => {
            assert_eq!(traded, Err(error), "a trade is a swap");
            if let (NoSwap::TooMuch { most }, Amount::Out(asked)) = (error, order.amount) {
                assert!(asked > most, "{most} would go");
            }
        }
        (PoolState::V2(before), Ok(Swap::Pair(swap))) => of_pair(*before, order, swap, *is_sound),
        (PoolState::V3(before) | PoolState::V4(before), Ok(Swap::Ticks(swap))) => {
            of_ticks(before, order, &swap);
            let spacing = meta.tick_spacing.unwrap_or_default();
            let _ = ticks_between(&before.ticks, spacing, before.tick, swap.tick());
            if *is_sound {
                of_sound_ticks(before, order, &swap);
            }
        }
        (state, swap) => panic!("{swap:?} in {state:?}"),
    }
    if let (Ok(traded), true) = (traded, is_sound) {
        of_others(pool, order, &traded, more);
    }
}

fn of_pair(before: V2State, order: Order, swap: PairSwap, is_sound: bool) {
    let PairSwap { amount_in, amount_out, after } = swap;
    match order.amount {
        Amount::In(asked) => assert_eq!(amount_in, asked),
        Amount::Out(asked) => assert_eq!(amount_out, asked),
    }
    let sides = |state: V2State| {
        let (side0, side1) = (U256::from(state.reserve0), U256::from(state.reserve1));
        if order.down { (side0, side1) } else { (side1, side0) }
    };
    let ((in_before, out_before), (in_after, out_after)) = (sides(before), sides(after));
    assert!(amount_out < out_before, "not all of it");
    if is_sound {
        assert_eq!((in_before + amount_in, out_before - amount_out), (in_after, out_after));
        assert!(in_after * out_after >= in_before * out_before, "k does not fall");
    }
}

/// Whatever the pool is.
fn of_ticks(before: &V3State, order: Order, swap: &TickSwap) {
    match order.amount {
        Amount::In(asked) => assert_eq!(swap.amount_in + swap.left, asked),
        Amount::Out(asked) => {
            assert!(swap.amount_out <= asked);
            assert_eq!(swap.amount_out + swap.left, asked);
        }
    }
    assert!(usize::try_from(swap.crossed).expect("so many") <= before.ticks.len());
}

fn of_sound_ticks(before: &V3State, order: Order, swap: &TickSwap) {
    let (from, to) = (before.sqrt_price_x96, swap.sqrt_price_x96);
    let (lowest, highest) = if order.down { (to, from) } else { (from, to) };
    assert!(lowest <= highest, "the price goes one way");
    if let Some(limit) = order.limit {
        assert!(if order.down { to >= limit } else { to <= limit }, "and not beyond the limit");
    }
    let tick = tick_at_sqrt_ratio(to).expect("a price that there is");
    let has_crossed = swap.tick() == tick - 1 && sqrt_ratio_at_tick(tick) == Some(to);
    assert!(swap.tick() == tick || has_crossed, "tick {} at {to}, of tick {tick}", swap.tick());
    let in_range: i128 = before.ticks.range(..=swap.tick()).map(|(_, tick)| tick.liquidity_net).sum();
    assert_eq!(Ok(swap.liquidity), u128::try_from(in_range), "what begins and does not end below the price");
    let (all0, all1) = before.held_by_all();
    assert!(swap.amount_out <= if order.down { all1 } else { all0 }, "no more than all liquidity is worth");
    // What is not swapped stopped at the limit, or where there is no further price.
    assert!(swap.left.is_zero() || order.limit.is_none_or(|limit| limit == to));
}

/// What a swap is worth beside others in the same pool.
fn of_others(pool: &Pool, order: Order, traded: &Traded, more: U256) {
    let Pool { meta, state, .. } = pool;
    let Order { down, amount, limit } = order;
    let of = |amount: U256| match order.amount {
        Amount::In(_) => Amount::In(amount),
        Amount::Out(_) => Amount::Out(amount),
    };
    let (Amount::In(asked) | Amount::Out(asked)) = amount;
    if let Ok(larger) = trade(meta, state, Order { amount: of(asked.saturating_add(more)), ..order }) {
        assert!(larger.amount_out >= traded.amount_out, "more in never pays less: {traded:?} and {larger:?}");
        assert!(larger.amount_in >= traded.amount_in, "more out never costs less: {traded:?} and {larger:?}");
    }
    if let (Amount::Out(asked), true, None) = (amount, traded.left.is_zero(), limit) {
        let paid = Order { amount: Amount::In(traded.amount_in), ..order };
        if let Ok(paid) = trade(meta, state, paid) {
            assert!(paid.amount_out >= asked, "what an output costs buys it: {traded:?} and {paid:?}");
        }
    }
    let back = Order { down: !down, amount: Amount::In(traded.amount_out), limit: None };
    if let Ok(back) = trade(meta, &traded.after, back) {
        assert!(back.amount_out <= traded.amount_in, "there and back never profits: {traded:?} and {back:?}");
    }
}

fn moves(pool: &Pool, down: bool, price: Ratio) {
    let Pool { meta, state, is_sound } = pool;
    let Ok(moved) = depth::to_price(meta, state, down, price) else { return };
    if !is_sound || moved == Move::default() {
        return;
    }
    let is_there = |after: &PoolState| match after {
        PoolState::V2(pair) => {
            let beside = price.beside(pair.reserve1, pair.reserve0).expect("it was computed before");
            beside == Ordering::Equal || (beside == Ordering::Less) == down
        }
        PoolState::V3(pool) | PoolState::V4(pool) => {
            let root = price.root_x96().expect("it was computed before");
            if down { pool.sqrt_price_x96 <= root } else { pool.sqrt_price_x96 > root }
        }
    };
    let order = |amount| Order { down, amount: Amount::In(amount), limit: None };
    let swap = |amount| after(meta, state, order(amount));
    let there = swap(moved.amount_in).expect("it was computed before");
    assert_eq!(there.1, moved.amount_out);
    // Where nobody has liquidity the price goes on for nothing, so a swap of an amount stops before. V4 admits a fee of everything.
    let is_for_nothing = there.0.v3().is_some_and(|pool| pool.liquidity == 0) || meta.fee_pips == PIPS;
    assert!(is_there(&there.0) || is_for_nothing, "{moved:?} moves the price there");
    if let (PoolState::V2(_), Some((short, _))) = (state, swap(moved.amount_in - U256::ONE)) {
        assert!(!is_there(&short), "and no less does");
    }
}

/// [`trade`], and also where a pair would give nothing.
fn after(meta: &PoolMeta, state: &PoolState, order: Order) -> Option<(PoolState, U256)> {
    match state.swap(meta, order).ok()? {
        Swap::Pair(swap) => Some((PoolState::V2(swap.after), swap.amount_out)),
        Swap::Ticks(_) => trade(meta, state, order).ok().map(|traded| (traded.after, traded.amount_out)),
    }
}
