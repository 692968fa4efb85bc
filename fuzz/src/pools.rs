//! Pools of every protocol. Sound ones are what a sequence of real events can leave, with real terms; of the others every field is what it likes.

use std::{collections::BTreeMap, sync::Arc};

use alloy::primitives::{Address, B256, U256};
use swaptide::domain::{
    block::BlockRef,
    pool::{
        CreatedAt, PoolMeta, PoolState, Protocol, Tick, V2State, V3State,
        exchange::Order,
        math::{MAX_TICK, PIPS, sqrt_ratio_at_tick, tick_at_sqrt_ratio},
        step::Amount,
    },
};

use super::input::Input;

pub(super) const CHAIN: u64 = 31_337;
/// A pool gets as much liquidity as one tick may have.
const POSITIONS_MAX: usize = 8;
/// `ProtocolFeeLibrary.MAX_PROTOCOL_FEE`
const PROTOCOL_FEE_MAX: u32 = 1_000;

pub(super) struct Pool {
    pub(super) meta: PoolMeta,
    pub(super) state: PoolState,
    pub(super) is_sound: bool,
}

pub(super) fn block(number: u64, timestamp: u64) -> BlockRef {
    BlockRef { number, timestamp, hash: B256::repeat_byte(1), parent_hash: B256::ZERO }
}

/// Protocol and soundness, terms, state.
pub(super) fn pool(input: &mut Input<'_>, number: u8, [token0, token1]: [Address; 2]) -> Pool {
    let kind = input.byte();
    let protocol = Protocol::ALL[usize::from(kind % 3)];
    // Most bytes: what is found in a pool that cannot be is worth less.
    let is_sound = kind < 0xc0;
    let fee_pips = match (input.byte(), is_sound) {
        (known @ 0..=250, _) => [3_000, 500, 100, 10_000, 0][usize::from(known % 5)],
        (_, false) => u32::from_be_bytes([input.byte(), input.byte(), input.byte(), input.byte()]),
        (_, true) if protocol == Protocol::UniswapV4 => input.u24() % (PIPS + 1),
        (_, true) => input.u24() % PIPS,
    };
    let tick_spacing = match (input.byte(), is_sound) {
        // Every tick: thousands of words of the bitmap from one end to the other. Such pools are slow, so they are rare.
        (0xff, _) => 1,
        (0xfe, false) => input.i32(),
        // `TickMath.MAX_TICK_SPACING`
        (0xfe, true) => i32::from(input.i16()).rem_euclid(32_767) + 1,
        (known, _) => [60, 200, 10, 2_000][usize::from(known % 4)],
    };
    let hooks = (protocol == Protocol::UniswapV4 && !is_sound).then(|| Address::repeat_byte(input.byte()));
    let meta = PoolMeta {
        chain: CHAIN,
        id: Address::repeat_byte(0x10_u8.wrapping_add(number)).into(),
        protocol,
        dex: "any".to_owned(),
        factory: Address::repeat_byte(0xfa),
        token0,
        token1,
        fee_pips,
        tick_spacing: (protocol != Protocol::UniswapV2).then_some(tick_spacing),
        hooks,
        created: CreatedAt { block: block(1, 1), tx_hash: Some(B256::ZERO), log_index: u64::from(number) },
        origin: None,
    };
    let state = match (protocol, is_sound) {
        (Protocol::UniswapV2, true) => PoolState::V2(V2State { reserve0: input.u128(112), reserve1: input.u128(112) }),
        (Protocol::UniswapV2, false) => PoolState::V2(V2State { reserve0: input.u128(128), reserve1: input.u128(128) }),
        (Protocol::UniswapV3, true) => PoolState::V3(V3State { fee_protocol: 0x46, ..ticked(input, tick_spacing) }),
        (Protocol::UniswapV4, true) => {
            let mut fee = || u32::from(input.byte()) * 4 % (PROTOCOL_FEE_MAX + 1);
            let fee_protocol = fee() | fee() << 12;
            PoolState::V4(V3State { fee_protocol, ..ticked(input, tick_spacing) })
        }
        (Protocol::UniswapV3, false) => PoolState::V3(odd(input)),
        (Protocol::UniswapV4, false) => PoolState::V4(odd(input)),
    };
    Pool { meta, state, is_sound }
}

/// A price and its tick: a tick, and how far it is on the way to the next one.
pub(super) fn price(input: &mut Input<'_>, spacing: i32) -> (U256, i32) {
    let tick = input.i24().rem_euclid(2 * MAX_TICK) - MAX_TICK;
    let ratio = |tick: i32| sqrt_ratio_at_tick(tick).expect("a tick");
    let (from, part) = (ratio(tick), input.byte());
    if part == 0xff && tick % spacing == 0 && tick > -MAX_TICK {
        // Where a swap that came from above has just crossed it.
        return (from, tick - 1);
    }
    let price = from + (ratio(tick + 1) - from) * U256::from(part) / U256::from(256);
    (price, tick_at_sqrt_ratio(price).expect("a price"))
}

/// The lowest and highest tick that liquidity may have.
pub(super) fn usable(spacing: i32) -> (i32, i32) {
    let last = MAX_TICK / spacing * spacing;
    (-last, last)
}

/// Two ticks with something between them, and so much liquidity that eight such positions fit any tick.
pub(super) fn position(input: &mut Input<'_>, spacing: i32) -> (i32, i32, u128) {
    let (lowest, highest) = usable(spacing);
    let mut tick = || (i32::from(input.i16()).saturating_mul(spacing)).clamp(lowest, highest);
    let (a, b) = (tick(), tick());
    let (lower, upper) = if a == b { (lowest, highest) } else { (a.min(b), a.max(b)) };
    // `Tick.tickSpacingToMaxLiquidityPerTick`
    let ticks = u128::from((highest / spacing).unsigned_abs()) * 2 + 1;
    let most = u128::MAX / ticks / POSITIONS_MAX as u128;
    (lower, upper, input.u128(128) % (most + 1))
}

fn ticked(input: &mut Input<'_>, spacing: i32) -> V3State {
    let (sqrt_price_x96, tick) = price(input, spacing);
    let mut state = V3State { sqrt_price_x96, tick, ..V3State::default() };
    let mut ticks: BTreeMap<i32, Tick> = BTreeMap::new();
    for _ in 0..input.below(POSITIONS_MAX + 1) {
        let (lower, upper, liquidity) = position(input, spacing);
        if liquidity == 0 {
            continue;
        }
        let net = i128::try_from(liquidity).expect("far from 128 bits");
        for (at, net) in [(lower, net), (upper, -net)] {
            let tick = ticks.entry(at).or_default();
            tick.liquidity_gross += liquidity;
            tick.liquidity_net += net;
        }
        if (lower..upper).contains(&state.tick) {
            state.liquidity += liquidity;
        }
    }
    state.ticks = Arc::new(ticks);
    state
}

fn odd(input: &mut Input<'_>) -> V3State {
    let sqrt_price_x96 = if input.is() { input.u256() } else { sqrt_ratio_at_tick(input.i24() % MAX_TICK).expect("a tick") };
    let mut state = V3State {
        sqrt_price_x96,
        tick: if input.is() { input.i32() } else { tick_at_sqrt_ratio(sqrt_price_x96).unwrap_or_default() },
        liquidity: input.u128(128),
        fee_protocol: input.u24(),
        ..V3State::default()
    };
    let count = input.below(16);
    let tick = |input: &mut Input<'_>| {
        let at = if input.is() { input.i32() } else { i32::from(input.i16()) * 10 };
        (at, Tick { liquidity_gross: input.u128(128), liquidity_net: input.u128(128).cast_signed() })
    };
    state.ticks = Arc::new((0..count).map(|_| tick(input)).collect());
    state
}

pub(super) fn amount(input: &mut Input<'_>) -> Amount {
    if input.is() { Amount::Out(input.u256()) } else { Amount::In(input.u256()) }
}

/// Direction, amount, and no limit, one at a tick, or any.
pub(super) fn order(input: &mut Input<'_>) -> Order {
    let (down, amount) = (input.is(), amount(input));
    let limit = match input.byte() % 4 {
        0 => Some(input.bits(160)),
        1 => sqrt_ratio_at_tick(input.i24() % MAX_TICK),
        _ => None,
    };
    Order { down, amount, limit }
}
