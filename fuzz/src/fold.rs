//! Events, one after the other, folded into a pool: any in any order, which must not panic and must leave no trace where they do not fit; and
//! those of a pool that is really traded with, whose books must then add up.

use std::collections::BTreeMap;

use alloy::primitives::{Address, B256, I256, U256};
use swaptide::{
    domain::{
        event::EventBody,
        image::{Held, PoolImage},
        pool::{
            PoolId, PoolMeta, PoolState, Protocol,
            exchange::{TickSwap, v4_swap_fee},
            fees::{Books, Fees, PositionKey},
            held_between,
            math::Round,
            swap::Terms,
            trade::Swap,
        },
    },
    store::codec::{decode_image, encode_image},
};

use super::{
    fee::fee,
    input::Input,
    pools::{self, Pool, block},
};

/// More is more of the same.
const EVENTS_MAX: usize = 64;

/// The pool, whether its events are real, and the events.
pub fn fold(data: &[u8]) {
    let input = &mut Input::new(data);
    let is_real = input.is();
    let Pool { meta, state, is_sound } = pools::pool(input, 0, [[1; 20].into(), [2; 20].into()]);
    let mut image = PoolImage::new(&meta);
    if is_real && is_sound && meta.protocol != Protocol::UniswapV2 {
        return real(input, &meta, image);
    }
    if input.is() {
        // As one that is older than what is read.
        let fees = Terms::of(&meta).map(|terms| Fees::seeded(terms, Books::default()));
        image = PoolImage::seeded(state, Held::Unknown, fees, &block(0, 0));
    }
    for number in 0..EVENTS_MAX {
        if input.is_empty() {
            break;
        }
        any(input, &meta, &mut image, u64::try_from(number).expect("a few"));
    }
}

fn any(input: &mut Input<'_>, meta: &PoolMeta, image: &mut PoolImage, number: u64) {
    let kind = input.byte();
    if kind >= 0xf0 {
        // The store's times have 63 bits.
        image.end_block(&block(number, input.u64() >> 1), true);
        return comes_back(image);
    }
    let event = event(kind, input);
    let before = image.clone();
    if image.apply(&event).is_err() {
        assert_eq!(*image, before, "{event:?} left a trace");
    }
    look(meta, image);
}

/// What is read of a pool at any time.
fn look(meta: &PoolMeta, image: &PoolImage) {
    let _ = (image.locked(), image.weight(), image.mark(), image.providers(&meta.id), image.state.after());
    let _ = image.providers(&PoolId::Id(B256::ZERO));
    if let (Some(fees), Some(state)) = (&image.fees, image.state.v3()) {
        let _ = (state.held_by_all(), state.ranges().count(), fees.books());
        for (key, position) in image.positions() {
            let _ = (fees.owed(state.tick, &key, &position), fees.uncollected(state.tick, &key, &position));
            let _ = state.held_by(key.tick_lower, key.tick_upper, position.liquidity);
        }
        for (_, token) in image.tokens() {
            let _ = fees.inside(state.tick, token.tick_lower, token.tick_upper);
        }
    }
}

/// At the end of a block everything of it can be kept.
fn comes_back(image: &PoolImage) {
    let again = decode_image(&encode_image(image), 0).expect("what was just written");
    assert_eq!(again, *image);
}

fn event(kind: u8, input: &mut Input<'_>) -> EventBody {
    let (sender, owner, recipient) = (input.address(), input.address(), input.address());
    let (token0, token1, to) = (sender, owner, recipient);
    let price = |input: &mut Input<'_>| {
        if input.is() { pools::price(input, 60) } else { (input.bits(160), input.i24()) }
    };
    let ticks = |input: &mut Input<'_>| {
        if input.is() { (i32::from(input.i16()) * 60, i32::from(input.i16()) * 60) } else { (input.i24(), input.i24()) }
    };
    let signed = |input: &mut Input<'_>| {
        let amount = I256::from_raw(input.u256());
        if input.is() { amount.wrapping_neg() } else { amount }
    };
    match kind % 27 {
        0 => EventBody::V2PairCreated { token0, token1, pair: to, pair_count: input.u256() },
        1 => EventBody::V2Sync { reserve0: input.u128(112), reserve1: input.u128(112) },
        2 => EventBody::V2Swap {
            sender,
            to,
            amount0_in: input.u256(),
            amount1_in: input.u256(),
            amount0_out: input.u256(),
            amount1_out: input.u256(),
        },
        3 => EventBody::V2Mint { sender, amount0: input.u256(), amount1: input.u256() },
        4 => EventBody::V2Burn { sender, to, amount0: input.u256(), amount1: input.u256() },
        5 => EventBody::V2Transfer { from: owner, to, value: input.u256() },
        6 => EventBody::V3PoolCreated { token0, token1, fee_pips: input.u24(), tick_spacing: input.i24(), pool: to },
        7 => {
            let (sqrt_price_x96, tick) = price(input);
            EventBody::V3Initialize { sqrt_price_x96, tick }
        }
        8 => {
            let (sqrt_price_x96, tick) = price(input);
            let (amount0, amount1, liquidity) = (signed(input), signed(input), input.u128(128));
            EventBody::V3Swap { sender, recipient, amount0, amount1, sqrt_price_x96, liquidity, tick }
        }
        9 | 10 => {
            let (tick_lower, tick_upper) = ticks(input);
            let (amount, amount0, amount1) = (input.u128(128), input.u256(), input.u256());
            if kind % 27 == 9 {
                EventBody::V3Mint { sender, owner, tick_lower, tick_upper, amount, amount0, amount1 }
            } else {
                EventBody::V3Burn { owner, tick_lower, tick_upper, amount, amount0, amount1 }
            }
        }
        11 => {
            let (tick_lower, tick_upper) = ticks(input);
            let (amount0, amount1) = (input.u128(128), input.u128(128));
            EventBody::V3Collect { owner, recipient, tick_lower, tick_upper, amount0, amount1 }
        }
        12 => EventBody::V3Flash {
            sender,
            recipient,
            amount0: input.u256(),
            amount1: input.u256(),
            paid0: input.u256(),
            paid1: input.u256(),
        },
        13 => EventBody::V3CollectProtocol { sender, recipient, amount0: input.u128(128), amount1: input.u128(128) },
        14 => EventBody::V3SetFeeProtocol {
            fee_protocol0_old: input.byte(),
            fee_protocol1_old: input.byte(),
            fee_protocol0_new: input.byte(),
            fee_protocol1_new: input.byte(),
        },
        15 => EventBody::V3IncreaseObservationCardinalityNext { old: 1, new: u16::from(input.byte()) },
        16 => EventBody::V3IncreaseLiquidity {
            token_id: input.u256(),
            liquidity: input.u128(128),
            amount0: input.u256(),
            amount1: input.u256(),
        },
        17 => EventBody::V3DecreaseLiquidity {
            token_id: input.u256(),
            liquidity: input.u128(128),
            amount0: input.u256(),
            amount1: input.u256(),
        },
        18 => EventBody::V3CollectPosition { token_id: input.u256(), recipient, amount0: input.u256(), amount1: input.u256() },
        19 => EventBody::V3TransferPosition { from: owner, to, token_id: input.u256() },
        20 => {
            let (sqrt_price_x96, tick) = price(input);
            let (fee_pips, tick_spacing) = (input.u24(), input.i24());
            EventBody::V4Initialize { token0, token1, fee_pips, tick_spacing, hooks: to, sqrt_price_x96, tick }
        }
        21 => {
            let (tick_lower, tick_upper) = ticks(input);
            let liquidity_delta = input.u128(128).cast_signed();
            EventBody::V4ModifyLiquidity { sender, tick_lower, tick_upper, liquidity_delta, salt: input.u256().into() }
        }
        22 => {
            let (sqrt_price_x96, tick) = price(input);
            let (amount0, amount1, liquidity) = (signed(input), signed(input), input.u128(128));
            let fee_pips = input.u24();
            EventBody::V4Swap { sender, amount0, amount1, sqrt_price_x96, liquidity, tick, fee_pips }
        }
        23 => EventBody::V4Donate { sender, amount0: input.u256(), amount1: input.u256() },
        24 => EventBody::V4ProtocolFee { protocol_fee: input.u24() },
        25 => EventBody::V4TransferPosition { manager: sender, from: owner, to, token_id: input.u256() },
        _ => EventBody::Undecodable { reason: String::new() },
    }
}

/// What real owners have: liquidity by ticks.
type Owned = BTreeMap<PositionKey, u128>;

fn real(input: &mut Input<'_>, meta: &PoolMeta, mut image: PoolImage) {
    let spacing = meta.tick_spacing.expect("a pool with ticks");
    let (sqrt_price_x96, tick) = pools::price(input, spacing);
    let begins = match meta.protocol {
        Protocol::UniswapV4 => EventBody::V4Initialize {
            token0: meta.token0,
            token1: meta.token1,
            fee_pips: meta.fee_pips,
            tick_spacing: spacing,
            hooks: Address::ZERO,
            sqrt_price_x96,
            tick,
        },
        _ => EventBody::V3Initialize { sqrt_price_x96, tick },
    };
    image.apply(&begins).expect("its first event");
    let mut owned = Owned::new();
    for number in 0..EVENTS_MAX {
        if input.is_empty() {
            break;
        }
        if let Some((event, swap)) = happens(input, meta, &image, &mut owned) {
            let paid = image.fees.as_ref().expect("a pool that follows its contract").paid;
            image.apply(&event).unwrap_or_else(|error| panic!("{event:?}: {error}"));
            let fees = image.fees.as_ref().unwrap_or_else(|| panic!("{event:?} is one that the contract does"));
            if let Some((down, fee)) = swap {
                let side = usize::from(!down);
                assert_eq!(fees.paid[side] - paid[side], fee, "what a swap pays is what its event says that it paid");
                assert_eq!(fees.paid[1 - side], paid[1 - side]);
            }
            stands(&image, &owned);
        }
        if number % 4 == 3 {
            image.end_block(&block(1, 1_700_000_000), true);
            comes_back(&image);
        }
    }
    look(meta, &image);
}

/// Liquidity in range is that of the positions in range, and each is in the books.
fn stands(image: &PoolImage, owned: &Owned) {
    let state = image.state.v3().expect("a pool with ticks");
    let in_range = |key: &PositionKey| (key.tick_lower..key.tick_upper).contains(&state.tick);
    let sum: u128 = owned.iter().filter(|(key, _)| in_range(key)).map(|(_, liquidity)| liquidity).sum();
    assert_eq!(state.liquidity, sum);
    let books: Owned = image.positions().filter(|(_, p)| p.liquidity > 0).map(|(key, p)| (key, p.liquidity)).collect();
    assert_eq!(books, owned.iter().filter(|(_, l)| **l > 0).map(|(key, l)| (*key, *l)).collect());
    let outside = |tick: &i32| image.fees.as_ref().is_some_and(|fees| fees.outside.contains_key(tick));
    assert!(state.ticks.keys().all(outside));
}

/// What somebody does with the pool, if it can be done.
fn happens(
    input: &mut Input<'_>,
    meta: &PoolMeta,
    image: &PoolImage,
    owned: &mut Owned,
) -> Option<(EventBody, Option<(bool, U256)>)> {
    let state = image.state.v3()?;
    let is_v4 = meta.protocol == Protocol::UniswapV4;
    let quiet = |event| Some((event, None));
    let worth = |key: &PositionKey, liquidity, round| {
        held_between((state.sqrt_price_x96, state.tick), (key.tick_lower, key.tick_upper), liquidity, round)
    };
    match input.byte() % 8 {
        0..=2 => swaps(input, meta, image),
        3 | 4 => {
            if owned.len() == 8 {
                return None;
            }
            let (tick_lower, tick_upper, amount) = pools::position(input, meta.tick_spacing?);
            let mut key = PositionKey::new(input.address(), tick_lower, tick_upper);
            if is_v4 {
                key.salt = B256::repeat_byte(input.byte() % 3);
            }
            // So no tick gets more than eight times what one position may have.
            if owned.contains_key(&key) || amount == 0 {
                return None;
            }
            let [amount0, amount1] = worth(&key, amount, Round::Up)?;
            owned.insert(key, amount);
            quiet(if is_v4 {
                modified(key, i128::try_from(amount).ok()?)
            } else {
                let (sender, owner) = (Address::ZERO, key.owner);
                EventBody::V3Mint { sender, owner, tick_lower, tick_upper, amount, amount0, amount1 }
            })
        }
        5 => {
            let key = *owned.keys().nth(input.below(owned.len().max(1)))?;
            let has = owned.get_mut(&key)?;
            let amount = if input.is() { *has } else { input.u128(128) % has.saturating_add(1) };
            let [amount0, amount1] = worth(&key, amount, Round::Down)?;
            *has -= amount;
            if *has == 0 && amount > 0 {
                owned.remove(&key);
            }
            let PositionKey { owner, tick_lower, tick_upper, .. } = key;
            quiet(if is_v4 {
                modified(key, -i128::try_from(amount).ok()?)
            } else {
                EventBody::V3Burn { owner, tick_lower, tick_upper, amount, amount0, amount1 }
            })
        }
        6 if is_v4 => {
            // `NoLiquidityToReceiveFees`
            let (amount0, amount1) = (U256::from(input.u128(127)), U256::from(input.u128(127)));
            if state.liquidity > 0 { quiet(EventBody::V4Donate { sender: Address::ZERO, amount0, amount1 }) } else { None }
        }
        6 => {
            let (key, position) = image.positions().nth(input.below(8))?;
            let [amount0, amount1] = position.owed.map(|owed| owed / 2);
            let PositionKey { owner, tick_lower, tick_upper, .. } = key;
            quiet(EventBody::V3Collect { owner, recipient: owner, tick_lower, tick_upper, amount0, amount1 })
        }
        _ if is_v4 => {
            let mut fee = || u32::from(input.byte()) * 4 % 1_001;
            quiet(EventBody::V4ProtocolFee { protocol_fee: fee() | fee() << 12 })
        }
        _ => {
            // `setFeeProtocol` admits these alone.
            let mut part = || [0, 4, 7, 10][input.below(4)];
            let (fee_protocol0_new, fee_protocol1_new) = (part(), part());
            let (fee_protocol0_old, fee_protocol1_old) = (0, 0);
            quiet(EventBody::V3SetFeeProtocol { fee_protocol0_old, fee_protocol1_old, fee_protocol0_new, fee_protocol1_new })
        }
    }
}

fn modified(key: PositionKey, liquidity_delta: i128) -> EventBody {
    let PositionKey { owner: sender, tick_lower, tick_upper, salt } = key;
    EventBody::V4ModifyLiquidity { sender, tick_lower, tick_upper, liquidity_delta, salt }
}

/// What the contract emits for an order.
fn swaps(input: &mut Input<'_>, meta: &PoolMeta, image: &PoolImage) -> Option<(EventBody, Option<(bool, U256)>)> {
    let order = pools::order(input);
    let Ok(Swap::Ticks(swap)) = image.state.swap(meta, order) else { return None };
    // No token has more; beyond that fee growth leaves its 256 bits and the contract reverts.
    if swap.amount_in.bit_len() > 127 || swap.amount_out.bit_len() > 127 {
        return None;
    }
    let (paid, got) = (I256::try_from(swap.amount_in).ok()?, I256::try_from(swap.amount_out).ok()?.checked_neg()?);
    let (amount0, amount1) = if order.down { (paid, got) } else { (got, paid) };
    let TickSwap { sqrt_price_x96, liquidity, .. } = swap;
    let tick = swap.tick();
    let sender = Address::ZERO;
    let tick_spacing = meta.tick_spacing?;
    let (event, fee) = match &image.state {
        PoolState::V4(pool) => {
            let fee_pips = v4_swap_fee(pool.fee_protocol, meta.fee_pips, order.down)?;
            let fee = fee(pool, true, Terms { fee_pips, tick_spacing }, order, &swap)?;
            let event = EventBody::V4Swap { sender, amount0, amount1, sqrt_price_x96, liquidity, tick, fee_pips };
            (event, fee)
        }
        PoolState::V3(pool) => {
            let fee = fee(pool, false, Terms { fee_pips: meta.fee_pips, tick_spacing }, order, &swap)?;
            (EventBody::V3Swap { sender, recipient: sender, amount0, amount1, sqrt_price_x96, liquidity, tick }, fee)
        }
        PoolState::V2(_) => return None,
    };
    Some((event, Some((order.down, fee))))
}
