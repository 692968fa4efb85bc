//! The way of a swap through a pool with ticks: from initialised tick to initialised tick, a word of the bitmap at a time, rounding at
//! each step, as `UniswapV3Pool.swap` does it. What is absent: who gets the fees, and swaps that end where an amount does.

use std::collections::BTreeMap;

use alloy::primitives::{Address, I256, U256};

use super::{
    PoolMeta, Tick, V3State,
    math::{MAX_TICK, Round, amount0_between, amount1_between, fee_on_top, sqrt_ratio_at_tick},
};
use crate::domain::event::EventBody;

/// What of a pool decides how it swaps, for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Hundredths of a basis point.
    pub fee_pips: u32,
    pub tick_spacing: i32,
}

impl Terms {
    /// `None`: a pair has none.
    #[must_use]
    pub fn of(meta: &PoolMeta) -> Option<Self> {
        Some(Self { fee_pips: meta.fee_pips, tick_spacing: meta.tick_spacing? })
    }
}

/// Where a swap ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    pub(super) sqrt_price_x96: U256,
    pub(super) tick: i32,
}

/// One step: at one liquidity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) liquidity: u128,
    /// Roots of prices.
    pub(super) from: U256,
    pub(super) to: U256,
    /// Without the fee, raw units.
    pub(super) amount_in: U256,
    pub(super) ends: StepEnd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StepEnd {
    /// Liquidity begins or ends here.
    Crossed(i32),
    /// A word of the bitmap ends, and nothing else.
    Word,
    /// The swap is over.
    Swap,
}

/// Follows a swap from `before` to its end; `down`: token0 comes in. Gives the liquidity at its end. `None`: there is no such way.
pub(super) fn walk(
    before: &V3State,
    tick_spacing: i32,
    down: bool,
    end: End,
    mut take: impl FnMut(Step) -> Option<()>,
) -> Option<u128> {
    let between = if down { amount0_between } else { amount1_between };
    let (mut from, mut tick, mut liquidity) = (before.sqrt_price_x96, before.tick, before.liquidity);
    loop {
        let (next, found) = next_tick(&before.ticks, tick, tick_spacing, down)?;
        // A swap that ends on a tick has crossed it.
        let is_over = if down { end.tick >= next } else { end.tick < next };
        let to = if is_over { end.sqrt_price_x96 } else { sqrt_ratio_at_tick(next)? };
        let ends = match found {
            _ if is_over => StepEnd::Swap,
            Some(_) => StepEnd::Crossed(next),
            None => StepEnd::Word,
        };
        if if down { to > from } else { to < from } {
            return None;
        }
        take(Step { liquidity, from, to, amount_in: between(from, to, liquidity, Round::Up)?, ends })?;
        if is_over {
            return Some(liquidity);
        }
        if let Some(crossed) = found {
            let net = if down { crossed.liquidity_net.checked_neg()? } else { crossed.liquidity_net };
            liquidity = liquidity.checked_add_signed(net)?;
        }
        from = to;
        tick = if down { next.checked_sub(1)? } else { next };
    }
}

impl V3State {
    /// What the contract emits when it is moved to the price of a tick, whatever that costs. `None`: it is there already, or there is no
    /// such price.
    #[must_use]
    pub fn swap_to(&self, terms: Terms, tick: i32) -> Option<EventBody> {
        let price = sqrt_ratio_at_tick(tick)?;
        let down = price < self.sqrt_price_x96;
        if price == self.sqrt_price_x96 {
            return None;
        }
        // Where a step ends just there, the tick is behind the price.
        let crosses = down && next_tick(&self.ticks, tick, terms.tick_spacing, down)?.0 == tick;
        let end = End { sqrt_price_x96: price, tick: if crosses { tick.checked_sub(1)? } else { tick } };
        let out = if down { amount1_between } else { amount0_between };
        let (mut amount_in, mut amount_out) = (U256::ZERO, U256::ZERO);
        let liquidity = walk(self, terms.tick_spacing, down, end, |step| {
            let fee = fee_on_top(step.amount_in, terms.fee_pips)?;
            amount_in = amount_in.checked_add(step.amount_in)?.checked_add(fee)?;
            amount_out = amount_out.checked_add(out(step.from, step.to, step.liquidity, Round::Down)?)?;
            Some(())
        })?;
        let (paid, got) = (I256::try_from(amount_in).ok()?, I256::try_from(amount_out).ok()?.checked_neg()?);
        let (amount0, amount1) = if down { (paid, got) } else { (got, paid) };
        let (sender, recipient) = (Address::ZERO, Address::ZERO);
        Some(EventBody::V3Swap { sender, recipient, amount0, amount1, sqrt_price_x96: price, liquidity, tick: end.tick })
    }
}

/// Where a step of a swap ends at the latest: the next initialised tick, or the end of its word of the bitmap
/// (`TickBitmap.nextInitializedTickWithinOneWord`). `None`: beyond the last price.
pub(super) fn next_tick(ticks: &BTreeMap<i32, Tick>, tick: i32, spacing: i32, down: bool) -> Option<(i32, Option<&Tick>)> {
    next_before(ticks, tick, spacing, down, |at| (if down { at & !255 } else { at | 255 }).checked_mul(spacing))
}

/// The same where no liquidity is in range: no amount moves before the next initialised tick, so no word before it rounds anything.
pub(super) fn next_of_all(ticks: &BTreeMap<i32, Tick>, tick: i32, spacing: i32, down: bool) -> Option<(i32, Option<&Tick>)> {
    next_before(ticks, tick, spacing, down, |_| if down { MAX_TICK.checked_neg() } else { Some(MAX_TICK) })
}

/// The next initialised tick, no further than the end that the first place, in spacings, has.
fn next_before(
    ticks: &BTreeMap<i32, Tick>,
    tick: i32,
    spacing: i32,
    down: bool,
    end: impl Fn(i32) -> Option<i32>,
) -> Option<(i32, Option<&Tick>)> {
    // A factory that is none of theirs may say anything, and between ticks that go backwards there is no next one.
    let at = tick.checked_div_euclid(spacing).filter(|_| spacing > 0)?;
    let (end, found) = if down {
        let (end, from) = (end(at)?, at.checked_mul(spacing)?);
        // Beyond the last price there is no tick, and a range must not be one backwards.
        (end.max(MAX_TICK.checked_neg()?), ticks.range(end.min(from)..=from).next_back())
    } else {
        let first = at.checked_add(1)?;
        let (from, end) = (first.checked_mul(spacing)?, end(first)?);
        (end.min(MAX_TICK), ticks.range(from..=end.max(from)).next())
    };
    let (next, found) = found.map_or((end, None), |(at, tick)| (*at, Some(tick)));
    let moves = if down { next <= tick } else { next > tick };
    moves.then_some((next, found))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At the edge of a word of the bitmap a step ends, and rounds, whether anything begins there or not.
    #[test]
    fn steps_end_where_words_of_the_bitmap_do() {
        let none = BTreeMap::new();
        let at = |tick, down| next_tick(&none, tick, 60, down).map(|(next, _)| next);
        for (tick, down, next) in [
            (0, true, 0),
            (-1, true, -256 * 60),
            (59, true, 0),
            (255 * 60 + 59, true, 0),
            (256 * 60, true, 256 * 60),
            (0, false, 255 * 60),
            (255 * 60, false, 511 * 60),
            (-1, false, 255 * 60),
            (-61, false, -60),
        ] {
            assert_eq!(at(tick, down), Some(next), "from {tick}, down: {down}");
        }
        assert_eq!((at(-887_272, true), at(887_272, false)), (Some(-887_272), None), "not beyond the last price");
        let one = BTreeMap::from([(120, Tick::default())]);
        let found = |tick, down| next_tick(&one, tick, 60, down).map(|(next, tick)| (next, tick.is_some()));
        assert_eq!(found(120, true), Some((120, true)), "the tick itself, on the way down");
        assert_eq!(found(120, false), Some((255 * 60, false)), "the next one, on the way up");
        assert_eq!(found(119, false), Some((120, true)));
        assert_eq!(found(119, true), Some((0, false)));
        for spacing in [0, -1, -60, i32::MIN] {
            for down in [true, false] {
                assert_eq!(next_tick(&one, 0, spacing, down), None, "spacing {spacing}, down: {down}");
            }
        }
    }
}
