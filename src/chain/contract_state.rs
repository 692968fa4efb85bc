//! What the contracts themselves answer at one block: the other side of every comparison with our state.
//!
//! It reads all words of the tick bitmap of a pool with ticks, so that ticks which we do not know of are found too.

pub mod v4;

use std::{collections::BTreeMap, sync::Arc};

use alloy::primitives::{Address, B256, I256, U256, hex, keccak256};

use super::{Call, CallOutcome, ChainError, ChainSource};
use crate::domain::pool::{
    PoolId, PoolMeta, PoolState, Protocol, Tick, V2State, V3State,
    fees::{Books, Position, PositionKey, Token},
    math::MAX_TICK,
};

const GET_RESERVES: [u8; 4] = hex!("0902f1ac");
const SLOT0: [u8; 4] = hex!("3850c7bd");
const LIQUIDITY: [u8; 4] = hex!("1a686502");
const TICK_BITMAP: [u8; 4] = hex!("5339c296");
const TICKS: [u8; 4] = hex!("f30dba93");
const FEE_GROWTH_GLOBAL_0: [u8; 4] = hex!("f3058399");
const FEE_GROWTH_GLOBAL_1: [u8; 4] = hex!("46141319");
const PROTOCOL_FEES: [u8; 4] = hex!("1ad8b03b");
const POSITIONS: [u8; 4] = hex!("514ea4bf");
const OWNER_OF: [u8; 4] = hex!("6352211e");
/// `positions(uint256)` of a position manager.
const MANAGED: [u8; 4] = hex!("99fbab88");
const BALANCE_OF: [u8; 4] = hex!("70a08231");

/// `slot0` has seven words: the longest answer of the first round.
const SLOT0_BYTES: usize = 7 * 32;

/// The first four words of `ticks`: gross and net liquidity, fee growth outside. V4 has five with its storage.
const TICK_BYTES: usize = 5 * 32;

/// `positions` has five: liquidity, fee growth inside, what is owed.
const POSITION_BYTES: usize = 5 * 32;

/// `positions` of a position manager has twelve.
const MANAGED_BYTES: usize = 12 * 32;

/// Calls of one `call_batch`: 64 pools of tick spacing 60, or 1 of tick spacing 1. It bounds the memory of an audit.
const ROUND_MAX_CALLS: usize = 8_192;

/// `Err` says why a pool's contract did not answer as its protocol does.
type Reading<T> = Result<T, String>;

/// What the contract of one pool says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub state: PoolState,
    /// `None`: a pair, or a fork of V3 that keeps other books.
    pub books: Option<Books>,
}

/// Everything without ticks, and which ticks are initialised.
type HalfRead = (Answer, Vec<i32>);

/// Reads every pool at the block `at`. The outer error is the node's; the inner one is about that pool alone.
pub async fn read(
    source: &dyn ChainSource,
    at: B256,
    pools: &[Arc<PoolMeta>],
) -> Result<Vec<(PoolId, Result<Answer, String>)>, ChainError> {
    let mut read = Vec::with_capacity(pools.len());
    let mut batch: Vec<(&PoolMeta, Plan)> = Vec::new();
    let mut batch_calls = 0_usize;
    for meta in pools {
        let plan = Plan::of(meta);
        let calls = plan.calls.len();
        if batch_calls.saturating_add(calls) > ROUND_MAX_CALLS {
            read.extend(read_batch(source, at, std::mem::take(&mut batch)).await?);
            batch_calls = 0;
        }
        batch_calls = batch_calls.saturating_add(calls);
        batch.push((meta, plan));
    }
    read.extend(read_batch(source, at, batch).await?);
    Ok(read)
}

/// What each of these pools holds of its tokens, by their own word, raw units. `None` where one of them does not say it.
///
/// # Errors
/// When the node cannot be asked.
pub async fn balances(
    source: &dyn ChainSource,
    at: B256,
    pools: &[Arc<PoolMeta>],
) -> Result<Vec<Option<(U256, U256)>>, ChainError> {
    let mut balances = Vec::with_capacity(pools.len());
    for some in pools.chunks(ROUND_MAX_CALLS / 2) {
        let of = |pool: &PoolMeta, token: Address| {
            let holder = match pool.id {
                PoolId::Address(pool) => pool.into_word(),
                PoolId::Id(id) => id,
            };
            Call { to: token, data: [&BALANCE_OF[..], holder.as_slice()].concat().into() }
        };
        let calls = some.iter().flat_map(|pool| [of(pool, pool.token0), of(pool, pool.token1)]).collect();
        let answers = batched(source, at, calls, 32).await?;
        let (pairs, _) = answers.as_chunks::<2>();
        balances.extend(pairs.iter().map(|[zero, one]| {
            let [balance0] = words(zero, "balanceOf()").ok()?;
            let [balance1] = words(one, "balanceOf()").ok()?;
            Some((balance0, balance1))
        }));
    }
    Ok(balances)
}

/// What each of these positions of a pool is, in the order asked. `Err` says why the contract did not answer.
///
/// # Errors
/// When the node cannot be asked.
pub async fn positions(
    source: &dyn ChainSource,
    at: B256,
    pool: &PoolMeta,
    keys: &[PositionKey],
) -> Result<Vec<Reading<Position>>, ChainError> {
    let mut found = Vec::with_capacity(keys.len());
    for some in keys.chunks(ROUND_MAX_CALLS) {
        let calls = some.iter().map(|key| match pool.id {
            PoolId::Address(to) => Call { to, data: [&POSITIONS[..], &position_hash(key)[..]].concat().into() },
            PoolId::Id(id) => v4::position_call(pool.factory, id, key),
        });
        let answers = batched(source, at, calls.collect(), POSITION_BYTES).await?;
        found.extend(answers.iter().map(|answer| {
            if pool.protocol == Protocol::UniswapV4 {
                return v4::position(answer);
            }
            let [liquidity, inside0, inside1, owed0, owed1] = words(answer, "positions()")?;
            let owed = [uint(owed0, 128, "tokensOwed0")?, uint(owed1, 128, "tokensOwed1")?];
            // What of it is principal the contract does not know.
            let principal = [0; 2];
            Ok(Position { liquidity: uint(liquidity, 128, "liquidity")?, inside_last: [inside0, inside1], owed, principal })
        }));
    }
    Ok(found)
}

/// Who owns each of these tokens of a position manager and what is behind it, in the order asked. `Err` says why it did not answer.
///
/// # Errors
/// When the node cannot be asked.
pub async fn tokens(
    source: &dyn ChainSource,
    at: B256,
    pool: &PoolMeta,
    asked: &[(U256, Token)],
) -> Result<Vec<Reading<(Address, Position)>>, ChainError> {
    let mut found = Vec::with_capacity(asked.len());
    for some in asked.chunks(ROUND_MAX_CALLS / 2) {
        let of = |(token_id, token): &(U256, Token), selector: [u8; 4]| Call {
            to: token.manager,
            data: [&selector[..], &token_id.to_be_bytes::<32>()].concat().into(),
        };
        let held = |asked: &(U256, Token)| match pool.id {
            PoolId::Address(_) => of(asked, MANAGED),
            // A V4 token is one position in the PoolManager.
            PoolId::Id(id) => v4::position_call(pool.factory, id, &asked.1.key()),
        };
        let calls = some.iter().flat_map(|token| [of(token, OWNER_OF), held(token)]).collect();
        let answers = batched(source, at, calls, MANAGED_BYTES).await?;
        let (pairs, _) = answers.as_chunks::<2>();
        found.extend(pairs.iter().map(|[owner, position]| {
            let [owner] = words(owner, "ownerOf()")?;
            if pool.protocol == Protocol::UniswapV4 {
                return Ok((Address::from_word(owner.into()), v4::position(position)?));
            }
            let [_, _, _, _, _, _, _, liquidity, inside0, inside1, owed0, owed1] = words(position, "positions()")?;
            let owed = [uint(owed0, 128, "tokensOwed0")?, uint(owed1, 128, "tokensOwed1")?];
            let position = Position {
                liquidity: uint(liquidity, 128, "liquidity")?,
                inside_last: [inside0, inside1],
                owed,
                principal: [0; 2],
            };
            Ok((Address::from_word(owner.into()), position))
        }));
    }
    Ok(found)
}

/// The key of a position in its pool's mapping: `keccak256(abi.encodePacked(owner, tickLower, tickUpper))`.
fn position_hash(key: &PositionKey) -> B256 {
    let tick = |tick: i32| {
        let [_, rest @ ..] = tick.to_be_bytes();
        rest
    };
    let packed = [key.owner.as_slice(), &tick(key.tick_lower), &tick(key.tick_upper)].concat();
    keccak256(packed)
}

/// The calls of the first round for one pool.
struct Plan {
    calls: Vec<Call>,
    /// Positions of the bitmap words, in the order of their calls.
    words: Vec<i16>,
}

impl Plan {
    fn of(meta: &PoolMeta) -> Self {
        let to = match meta.id {
            PoolId::Address(to) => to,
            PoolId::Id(id) => {
                let words = bitmap_words(meta.tick_spacing.unwrap_or(0));
                let first = std::iter::once(v4::pool_call(meta.factory, id));
                let calls = first.chain(words.iter().map(|word| v4::bitmap_call(meta.factory, id, *word))).collect();
                return Self { calls, words };
            }
        };
        match meta.protocol {
            Protocol::UniswapV2 => Self { calls: vec![call(to, GET_RESERVES, None)], words: Vec::new() },
            Protocol::UniswapV3 | Protocol::UniswapV4 => {
                let words = bitmap_words(meta.tick_spacing.unwrap_or(0));
                let first = [SLOT0, LIQUIDITY, FEE_GROWTH_GLOBAL_0, FEE_GROWTH_GLOBAL_1, PROTOCOL_FEES];
                let mut calls = first.map(|selector| call(to, selector, None)).to_vec();
                calls.extend(words.iter().map(|word| call(to, TICK_BITMAP, Some(i32::from(*word)))));
                Self { calls, words }
            }
        }
    }
}

async fn read_batch(
    source: &dyn ChainSource,
    at: B256,
    batch: Vec<(&PoolMeta, Plan)>,
) -> Result<Vec<(PoolId, Result<Answer, String>)>, ChainError> {
    let calls: Vec<Call> = batch.iter().flat_map(|(_, plan)| plan.calls.iter().cloned()).collect();
    if calls.is_empty() {
        return Ok(batch.iter().map(|(meta, _)| (meta.id, Err("not a pool of its own contract".to_owned()))).collect());
    }
    let answers = batched(source, at, calls, SLOT0_BYTES).await?;
    let mut answers = answers.iter();
    let mut half_read: Vec<(PoolId, Reading<HalfRead>)> = Vec::with_capacity(batch.len());
    let mut tick_calls = Vec::new();
    for (meta, plan) in &batch {
        let mine: Vec<&CallOutcome> = answers.by_ref().take(plan.calls.len()).collect();
        let first = first_round(meta, plan, &mine);
        for tick in first.iter().flat_map(|(_, ticks)| ticks) {
            tick_calls.push(match meta.id {
                PoolId::Address(to) => call(to, TICKS, Some(*tick)),
                PoolId::Id(id) => v4::tick_call(meta.factory, id, *tick),
            });
        }
        half_read.push((meta.id, first));
    }
    let mut ticks = Vec::with_capacity(tick_calls.len());
    for part in tick_calls.chunks(ROUND_MAX_CALLS) {
        ticks.extend(batched(source, at, part.to_vec(), TICK_BYTES).await?);
    }
    let mut ticks = ticks.iter();
    Ok(half_read
        .into_iter()
        .map(|(id, first)| {
            let answer = first.and_then(|(answer, indexes)| {
                // All of this pool's answers are taken, also when one is bad: the next pool's come after them.
                let mine: Vec<&CallOutcome> = ticks.by_ref().take(indexes.len()).collect();
                second_round(answer, &indexes, &mine)
            });
            (id, answer)
        })
        .collect())
}

async fn batched(source: &dyn ChainSource, at: B256, calls: Vec<Call>, max_bytes: usize) -> Result<Vec<CallOutcome>, ChainError> {
    let expected = calls.len();
    let answers = source.call_batch(at, calls, max_bytes).await?;
    if answers.len() != expected {
        return Err(ChainError::Contradiction(format!("{} answers to {expected} calls", answers.len())));
    }
    Ok(answers)
}

fn first_round(meta: &PoolMeta, plan: &Plan, answers: &[&CallOutcome]) -> Reading<HalfRead> {
    match (meta.protocol, answers) {
        (Protocol::UniswapV2, [reserves]) => {
            let [reserve0, reserve1] = words(reserves, "getReserves()")?;
            let state = V2State { reserve0: uint(reserve0, 112, "reserve0")?, reserve1: uint(reserve1, 112, "reserve1")? };
            Ok((Answer { state: PoolState::V2(state), books: None }, Vec::new()))
        }
        (Protocol::UniswapV3, [slot0, liquidity, growth0, growth1, protocol, bitmap @ ..]) => {
            let spacing = meta.tick_spacing.filter(|s| *s > 0).ok_or("the tick spacing is unknown")?;
            let [price, tick, _, _, cardinality_next, fee_protocol, _] = words(slot0, "slot0()")?;
            let [liquidity] = words(liquidity, "liquidity()")?;
            let state = V3State {
                sqrt_price_x96: Some(price).filter(|p| p.bit_len() <= 160).ok_or("sqrtPriceX96 leaves its 160 bits")?,
                tick: i32::try_from(I256::from_raw(tick)).map_err(|_| "tick leaves its 24 bits")?,
                liquidity: uint(liquidity, 128, "liquidity")?,
                fee_protocol: u8::try_from(fee_protocol).map_err(|_| "feeProtocol leaves its 8 bits")?.into(),
                observation_cardinality_next: u16::try_from(cardinality_next)
                    .map_err(|_| "observationCardinalityNext leaves its 16 bits")?,
                ticks: Arc::default(),
            };
            let mut ticks = Vec::new();
            for (position, answer) in plan.words.iter().zip(bitmap) {
                let [word] = words(answer, "tickBitmap()")?;
                ticks.extend(initialised(*position, word, spacing));
            }
            let books = books(growth0, growth1, protocol).ok();
            Ok((Answer { state: PoolState::V3(state), books }, ticks))
        }
        (Protocol::UniswapV4, [pool, bitmap @ ..]) => {
            let spacing = meta.tick_spacing.filter(|s| *s > 0).ok_or("the tick spacing is unknown")?;
            let mut ticks = Vec::new();
            for (position, answer) in plan.words.iter().zip(bitmap) {
                let [word] = words(answer, "extsload()")?;
                ticks.extend(initialised(*position, word, spacing));
            }
            Ok((v4::pool(pool)?, ticks))
        }
        _ => Err("not a pool of its protocol".to_owned()),
    }
}

fn books(growth0: &CallOutcome, growth1: &CallOutcome, protocol: &CallOutcome) -> Reading<Books> {
    let [growth0] = words(growth0, "feeGrowthGlobal0X128()")?;
    let [growth1] = words(growth1, "feeGrowthGlobal1X128()")?;
    let [protocol0, protocol1] = words(protocol, "protocolFees()")?;
    let protocol = [uint(protocol0, 128, "protocolFees")?, uint(protocol1, 128, "protocolFees")?];
    Ok(Books { growth: [growth0, growth1], protocol, outside: BTreeMap::new() })
}

fn second_round(first: Answer, indexes: &[i32], answers: &[&CallOutcome]) -> Reading<Answer> {
    let Answer { mut state, mut books } = first;
    let is_v4 = matches!(state, PoolState::V4(_));
    let (PoolState::V3(v3) | PoolState::V4(v3)) = &mut state else { return Ok(Answer { state, books }) };
    let mut ticks = BTreeMap::new();
    for (index, answer) in indexes.iter().zip(answers) {
        let [gross, net, outside0, outside1] = if is_v4 { v4::tick(answer)? } else { words(answer, "ticks()")? };
        if let Some(books) = &mut books {
            books.outside.insert(*index, [outside0, outside1]);
        }
        let liquidity_net =
            i128::try_from(I256::from_raw(net)).map_err(|_| format!("liquidityNet of tick {index} leaves its 128 bits"))?;
        ticks.insert(*index, Tick { liquidity_gross: uint(gross, 128, "liquidityGross")?, liquidity_net });
    }
    v3.ticks = Arc::new(ticks);
    Ok(Answer { state, books })
}

/// Every word that can hold a tick of this spacing: `(tick / spacing) >> 8` over the valid range. Empty for no spacing.
fn bitmap_words(tick_spacing: i32) -> Vec<i16> {
    let Some(most) = MAX_TICK.checked_div(tick_spacing).filter(|_| tick_spacing > 0) else { return Vec::new() };
    (most.saturating_neg() >> 8..=most >> 8).filter_map(|word| i16::try_from(word).ok()).collect()
}

/// The ticks whose bit is set in one word.
fn initialised(position: i16, word: U256, tick_spacing: i32) -> impl Iterator<Item = i32> {
    (0..256_i32)
        .filter(move |bit| word.bit(bit.unsigned_abs() as usize))
        .filter_map(move |bit| i32::from(position).checked_mul(256)?.checked_add(bit)?.checked_mul(tick_spacing))
}

fn call(to: Address, selector: [u8; 4], argument: Option<i32>) -> Call {
    let mut data = selector.to_vec();
    if let Some(argument) = argument {
        data.extend_from_slice(&I256::unchecked_from(argument).to_be_bytes::<32>());
    }
    Call { to, data: data.into() }
}

/// The first `N` words of an answer.
fn words<const N: usize>(answer: &CallOutcome, what: &str) -> Reading<[U256; N]> {
    let CallOutcome::Returned(data) = answer else { return Err(format!("{what} failed")) };
    let (chunks, _) = data.as_chunks::<32>();
    let first = chunks.first_chunk::<N>().ok_or_else(|| format!("{what} answered {} bytes", data.len()))?;
    Ok(first.map(U256::from_be_bytes))
}

fn uint(value: U256, bits: usize, what: &str) -> Reading<u128> {
    if value.bit_len() > bits {
        return Err(format!("{what} leaves its {bits} bits"));
    }
    u128::try_from(value).map_err(|_| format!("{what} leaves its {bits} bits"))
}

#[cfg(test)]
mod tests;
