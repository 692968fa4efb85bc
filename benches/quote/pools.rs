//! Pools to ask: what criterion times and what valgrind counts is asked of the same ones.

use std::sync::Arc;

use alloy::primitives::{Address, B256, U256};
use swaptide::domain::{
    block::BlockRef,
    pool::{
        CreatedAt, PoolId, PoolMeta, PoolState, Protocol, Tick, V2State, V3State, exchange::Order, math::sqrt_ratio_at_tick,
        step::Amount, swap::Terms,
    },
};

pub(crate) const TERMS: Terms = Terms { fee_pips: 3_000, tick_spacing: 60 };
/// In the middle of a word of the bitmap, and a price as far from one as ETH in USDC: no shortcut of either end.
const CENTRE: i32 = (12 * 256 + 128) * TERMS.tick_spacing;

/// Reserves as they are after some thousand swaps: no zeros at the end.
pub(crate) fn pair() -> V2State {
    V2State { reserve0: 1_375_488_932_362_216_742_658_885, reserve1: 14_817_736_607_779_199_578_403 }
}

/// Between two ticks; forty positions, each a spacing wider on both sides than the one before.
pub(crate) fn of_ticks() -> V3State {
    let tick = |n: i32, net: i128| (CENTRE + TERMS.tick_spacing * n, Tick { liquidity_gross: 1 << 60, liquidity_net: net });
    let ticks = (-39..=0).map(|n| tick(n, 1 << 60)).chain((1..=40).map(|n| tick(n, -(1 << 60)))).collect();
    let tick = CENTRE + TERMS.tick_spacing / 2;
    let sqrt_price_x96 = sqrt_ratio_at_tick(tick).unwrap() + U256::from(12_345_678_912_345_u64);
    V3State { sqrt_price_x96, tick, liquidity: 40 << 60, ticks: Arc::new(ticks), ..V3State::default() }
}

/// SplitMix64.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Of every size up to so many bits.
    fn amount(&mut self, bits: u64) -> U256 {
        let all = U256::from_limbs([self.next(), self.next(), self.next(), self.next()]);
        (all >> usize::try_from(256 - 1 - self.next() % bits).unwrap()).max(U256::ONE)
    }
}

/// Exact inputs of random amounts, one direction after the other, all of which the pool has room for.
pub(crate) fn orders(pool: &V3State) -> impl Iterator<Item = Order> + '_ {
    let mut rng = Rng(1);
    let all = (0_u64..).map(move |n| {
        let down = n.is_multiple_of(2);
        // Up, the other token comes in, which is worth 2^27 times less.
        Order { down, amount: Amount::In(rng.amount(if down { 49 } else { 77 })), limit: None }
    });
    all.filter(|order| pool.exchange(TERMS, *order).is_ok_and(|swap| swap.left.is_zero()))
}

/// Exact inputs that cross so many ticks and end somewhere between two: 25 in each direction.
pub(crate) fn crossing(pool: &V3State, ticks: u32) -> Vec<Order> {
    let beyond = TERMS.tick_spacing * i32::try_from(ticks).unwrap();
    let to = |n: i32, down: bool| {
        let tick = if down { CENTRE - beyond + 1 + n } else { CENTRE + beyond + TERMS.tick_spacing / 2 + 1 + n };
        let all = Order { down, amount: Amount::In(U256::MAX >> 8), limit: sqrt_ratio_at_tick(tick) };
        let amount = pool.exchange(TERMS, all).unwrap().amount_in;
        let order = Order { down, amount: Amount::In(amount), limit: None };
        assert_eq!(pool.exchange(TERMS, order).unwrap().crossed, ticks, "{order:?}");
        order
    };
    (0..25).flat_map(|n| [to(n, true), to(n, false)]).collect()
}

pub(crate) fn token(n: u64) -> Address {
    Address::left_padding_from(&n.to_be_bytes())
}

pub(crate) fn meta(n: u64, (a, b): (u64, u64), ticks: Option<(u32, i32)>) -> PoolMeta {
    let block = BlockRef { number: 1, hash: B256::ZERO, parent_hash: B256::ZERO, timestamp: 0 };
    PoolMeta {
        chain: 1,
        id: PoolId::from(token(1_000_000 + n)),
        protocol: if ticks.is_some() { Protocol::UniswapV3 } else { Protocol::UniswapV2 },
        dex: String::new(),
        factory: Address::ZERO,
        token0: token(a.min(b)),
        token1: token(a.max(b)),
        fee_pips: ticks.map_or(3_000, |(fee_pips, _)| fee_pips),
        tick_spacing: ticks.map(|(_, spacing)| spacing),
        created: CreatedAt { block, tx_hash: None, log_index: n },
        hooks: None,
        origin: None,
    }
}

/// A thousand pools of many sizes: three tokens that everything trades with, and one market in two of V3.
pub(crate) fn market() -> Vec<(PoolMeta, PoolState)> {
    let mut rng = Rng(7);
    let mut size = move || 1_u128 << (86 + rng.next() % 8);
    let mut pool = |n: u64| {
        let (a, b) = match n {
            0..3 => (n, (n + 1) % 3),
            _ => (n % 3, 3 + n / 3),
        };
        let is_v3 = n % 2 == 1;
        let meta = meta(n, (a, b), is_v3.then_some((3_000, 60)));
        let size = size();
        if is_v3 {
            // Forty positions, one in the other, within 12 % of the price.
            let tick = |n: i32, net: i128| (60 * n, Tick { liquidity_gross: net.unsigned_abs(), liquidity_net: net });
            let net = i128::try_from(size / 2).unwrap();
            let ticks = (-20..0).map(|n| tick(n, net)).chain((1..=20).map(|n| tick(n, -net))).collect();
            let liquidity = 20 * (size / 2);
            let ticked = V3State { sqrt_price_x96: U256::ONE << 96, liquidity, ticks: Arc::new(ticks), ..V3State::default() };
            (meta, PoolState::V3(ticked))
        } else {
            (meta, PoolState::V2(V2State { reserve0: size + u128::from(n), reserve1: size }))
        }
    };
    (0..1_000).map(&mut pool).collect()
}
