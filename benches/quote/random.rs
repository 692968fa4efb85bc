//! A market of pools of all kinds at random.

use std::sync::Arc;

use alloy::primitives::U256;
use swaptide::domain::pool::{PoolMeta, PoolState, Tick, V2State, V3State, math::sqrt_ratio_at_tick};

use super::pools::{Rng, meta};

/// A thousand pools between so many tokens, each of a value of its own: two in three with one of four that everything trades with, half of
/// them of V3, of every fee, their prices up to 1 % apart, from a millionth of the largest to the largest, and few of V3 everywhere.
pub(crate) fn random_market(tokens: u64) -> Vec<(PoolMeta, PoolState)> {
    let mut rng = Rng(5);
    let mut below = move |limit: u64| i32::try_from(rng.next() % limit).unwrap();
    let values: Vec<i32> = (0..tokens).map(|_| below(40_000) - 20_000).collect();
    (0..1_000)
        .map(|n| {
            let from = if below(10) < 7 { 4 } else { tokens };
            let a = below(from);
            let b = (a + 1 + below(tokens - 1)) % i32::try_from(tokens).unwrap();
            let (a, b) = (usize::try_from(a.min(b)).unwrap(), usize::try_from(a.max(b)).unwrap());
            let tick = values[a] - values[b] + below(120) - 60;
            let size = 1_u128 << (76 + below(16));
            let root = sqrt_ratio_at_tick(tick).unwrap();
            let ends = (a as u64, b as u64);
            if below(2) == 0 {
                let (at_0, at_1): (U256, U256) = ((U256::from(size) << 96) / root, (U256::from(size) * root) >> 96);
                let pair = V2State { reserve0: at_0.to(), reserve1: at_1.to() };
                return (meta(n, ends, None), PoolState::V2(pair));
            }
            let (fee_pips, spacing) = [(100, 1), (500, 10), (3_000, 60), (10_000, 200)][usize::try_from(below(4)).unwrap()];
            let (many, gap) = (3 + below(18), (1 + below(5)) * spacing);
            let (base, net) = (tick.div_euclid(spacing) * spacing, i128::try_from(size / 2).unwrap());
            let tick_at = |at: i32, net: i128| (at, Tick { liquidity_gross: net.unsigned_abs(), liquidity_net: net });
            let below_it = (0..many).map(|n| tick_at(base - gap * n, net));
            let ticks = below_it.chain((1..=many).map(|n| tick_at(base + gap * n, -net))).collect();
            let liquidity = u128::try_from(many).unwrap() * (size / 2);
            let state = V3State { sqrt_price_x96: root, tick, liquidity, ticks: Arc::new(ticks), ..V3State::default() };
            (meta(n, ends, Some((fee_pips, spacing))), PoolState::V3(state))
        })
        .collect()
}
