//! What the PoolManager of V4 keeps of a pool: read from its storage, which is what `StateLibrary` and `StateView` do, so that no other
//! contract is needed. Its layout is that of v4-core 1.0.

use std::collections::BTreeMap;

use alloy::primitives::{Address, B256, I256, U256, hex, keccak256};

use super::{Answer, Reading, batched, uint, words};
use crate::{
    chain::{Call, CallOutcome, ChainError, ChainSource},
    domain::pool::{
        PoolId, PoolState, V3State,
        fees::{Books, Position, PositionKey},
    },
};

/// `extsload(bytes32)`
const LOAD: [u8; 4] = hex!("1e2eaeaf");
/// `extsload(bytes32,uint256)`: so many slots in a row.
const LOAD_MANY: [u8; 4] = hex!("35fd631a");

/// `mapping(PoolId => Pool.State) _pools`
const POOLS_SLOT: u64 = 6;
// Of a pool's state: slot0, fee growth of either token, liquidity, and then its mappings.
const TICKS: u64 = 4;
const BITMAP: u64 = 5;
const POSITIONS: u64 = 6;

/// Two words before what was asked for: an offset and a length.
const MANY_BYTES: usize = 6 * 32;

fn pool_slot(id: B256) -> U256 {
    keccak256([id.0, U256::from(POOLS_SLOT).to_be_bytes()].concat()).into()
}

/// Where a mapping of a pool keeps the value of a key.
fn mapped(id: B256, mapping: u64, key: [u8; 32]) -> U256 {
    let slot = pool_slot(id).wrapping_add(U256::from(mapping));
    keccak256([key, slot.to_be_bytes()].concat()).into()
}

fn signed(value: i32) -> [u8; 32] {
    I256::unchecked_from(value).to_be_bytes()
}

fn load_many(manager: Address, slot: U256, count: u64) -> Call {
    let [slot, count] = [slot, U256::from(count)].map(|word| word.to_be_bytes::<32>());
    Call { to: manager, data: [&LOAD_MANY[..], &slot, &count].concat().into() }
}

/// Price and tick, fee growth, liquidity.
pub(super) fn pool_call(manager: Address, id: B256) -> Call {
    load_many(manager, pool_slot(id), 4)
}

pub(super) fn bitmap_call(manager: Address, id: B256, word: i16) -> Call {
    let slot = mapped(id, BITMAP, signed(word.into()));
    Call { to: manager, data: [&LOAD[..], &slot.to_be_bytes::<32>()].concat().into() }
}

pub(super) fn tick_call(manager: Address, id: B256, tick: i32) -> Call {
    load_many(manager, mapped(id, TICKS, signed(tick)), 3)
}

/// The key is `keccak256(abi.encodePacked(owner, tickLower, tickUpper, salt))`.
pub(super) fn position_call(manager: Address, id: B256, key: &PositionKey) -> Call {
    let tick = |tick: i32| {
        let [_, rest @ ..] = tick.to_be_bytes();
        rest
    };
    let packed = [key.owner.as_slice(), &tick(key.tick_lower), &tick(key.tick_upper), key.salt.as_slice()].concat();
    load_many(manager, mapped(id, POSITIONS, keccak256(packed).0), 3)
}

/// The state without ticks. What the protocol took it keeps by token, not by pool: that is 0 here.
pub(super) fn pool(answer: &CallOutcome) -> Reading<Answer> {
    let [_, _, slot0, growth0, growth1, liquidity] = words(answer, "extsload()")?;
    let bits = |from: usize, count: usize| slot0.wrapping_shr(from) & U256::ONE.wrapping_shl(count).wrapping_sub(U256::ONE);
    let sqrt_price_x96 = bits(0, 160);
    if sqrt_price_x96.is_zero() {
        return Err("the PoolManager has no such pool".to_owned());
    }
    let tick = bits(160, 24).wrapping_to::<u32>();
    // 24 bits with a sign.
    let tick = tick.wrapping_shl(8).cast_signed().wrapping_shr(8);
    let state = V3State {
        sqrt_price_x96,
        tick,
        liquidity: uint(liquidity, 128, "liquidity")?,
        fee_protocol: bits(184, 24).wrapping_to(),
        ..V3State::default()
    };
    let books = Books { growth: [growth0, growth1], protocol: [0; 2], outside: BTreeMap::new() };
    Ok(Answer { state: PoolState::V4(state), books: Some(books) })
}

/// As `ticks()` of V3 answers: gross and net liquidity, which share a slot here, and fee growth outside.
pub(super) fn tick(answer: &CallOutcome) -> Reading<[U256; 4]> {
    let [_, _, both, outside0, outside1] = words(answer, "extsload()")?;
    let gross = both & U256::from(u128::MAX);
    // Wide again, with its sign.
    let net = I256::unchecked_from(both.wrapping_shr(128).wrapping_to::<u128>().cast_signed()).into_raw();
    Ok([gross, net, outside0, outside1])
}

pub(super) fn position(answer: &CallOutcome) -> Reading<Position> {
    let [_, _, liquidity, inside0, inside1] = words(answer, "extsload()")?;
    let liquidity = uint(liquidity, 128, "liquidity")?;
    Ok(Position { liquidity, inside_last: [inside0, inside1], ..Position::default() })
}

/// Which of these pools the PoolManager knows.
///
/// # Errors
/// When the node cannot be asked.
pub async fn initialised(
    source: &dyn ChainSource,
    at: B256,
    manager: Address,
    pools: &[PoolId],
) -> Result<Vec<PoolId>, ChainError> {
    let ids = pools.iter().filter_map(|pool| match pool {
        PoolId::Id(id) => Some(*id),
        PoolId::Address(_) => None,
    });
    let ids: Vec<B256> = ids.collect();
    let answers = batched(source, at, ids.iter().map(|id| pool_call(manager, *id)).collect(), MANY_BYTES).await?;
    let known = ids.iter().zip(answers).filter(|(_, answer)| pool(answer).is_ok());
    Ok(known.map(|(id, _)| PoolId::Id(*id)).collect())
}
