//! The fee of a swap, by the contracts' own loop: step for step from one word of the bitmap to the next, each with what it keeps.

use alloy::primitives::U256;
use swaptide::domain::pool::{
    V3State,
    exchange::{Order, TickSwap},
    math::{
        MAX_SQRT_RATIO, MAX_TICK, MIN_SQRT_RATIO, PIPS, Round, amount0_between, amount1_between, mul_div, sqrt_ratio_at_tick,
        tick_at_sqrt_ratio,
    },
    step::{Amount, step, step_v4},
    swap::Terms,
};

/// Of what comes in, raw units; the swap is what the loop comes to in everything else.
pub(crate) fn fee(before: &V3State, is_v4: bool, terms: Terms, order: Order, swap: &TickSwap) -> Option<U256> {
    let Order { down, amount, limit } = order;
    let last = if down { MIN_SQRT_RATIO + U256::ONE } else { MAX_SQRT_RATIO - U256::ONE };
    let (limit, Amount::In(mut left) | Amount::Out(mut left)) = (limit.unwrap_or(last), amount);
    let (mut price, mut tick, mut liquidity) = (before.sqrt_price_x96, before.tick, before.liquidity);
    let (mut amount_in, mut amount_out, mut fee) = (U256::ZERO, U256::ZERO, U256::ZERO);
    while !left.is_zero() && price != limit {
        let next = next(before, tick, terms.tick_spacing, down);
        let at_next = sqrt_ratio_at_tick(next)?;
        let target = if down { at_next.max(limit) } else { at_next.min(limit) };
        let asked = if matches!(amount, Amount::In(_)) { Amount::In(left) } else { Amount::Out(left) };
        let go = if is_v4 { step_v4 } else { step };
        let moved = go(price, target, liquidity, asked, terms.fee_pips)?;
        let to = moved.sqrt_price_x96;
        let without_fee = match asked {
            // What does not reach the target is all taken, its fee first.
            Amount::In(left) if is_v4 && moved.amount_in == left && to != target => {
                mul_div(left, U256::from(PIPS - terms.fee_pips), U256::from(PIPS), Round::Down)?
            }
            _ if down => amount0_between(to, price, liquidity, Round::Up)?,
            _ => amount1_between(price, to, liquidity, Round::Up)?,
        };
        fee += moved.amount_in - without_fee;
        (amount_in, amount_out) = (amount_in + moved.amount_in, amount_out + moved.amount_out);
        left -= if matches!(amount, Amount::In(_)) { moved.amount_in } else { moved.amount_out };
        if to == at_next {
            let net = before.ticks.get(&next).map_or(0, |tick| tick.liquidity_net);
            liquidity = liquidity.checked_add_signed(if down { -net } else { net })?;
            tick = if down { next - 1 } else { next };
        } else if to != price {
            tick = tick_at_sqrt_ratio(to)?;
        }
        price = to;
    }
    let found = (swap.amount_in, swap.amount_out, swap.left, swap.sqrt_price_x96, swap.tick(), swap.liquidity);
    assert_eq!(found, (amount_in, amount_out, left, price, tick, liquidity));
    Some(fee)
}

/// Where a step ends at the latest.
fn next(pool: &V3State, tick: i32, spacing: i32, down: bool) -> i32 {
    let at = tick.div_euclid(spacing);
    if down {
        let word = (at & !255) * spacing;
        pool.ticks.range(word..=at * spacing).next_back().map_or(word.max(-MAX_TICK), |(tick, _)| *tick)
    } else {
        let word = ((at + 1) | 255) * spacing;
        pool.ticks.range((at + 1) * spacing..=word).next().map_or(word.min(MAX_TICK), |(tick, _)| *tick)
    }
}
