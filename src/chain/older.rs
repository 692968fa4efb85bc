//! Listed pools that are older than the first block that is read: what their contracts, and the factory, say they are. A V4 pool is no
//! contract: what it is only the log says that created it.

use alloy::primitives::{Address, B256, Bytes, U256, hex};

use super::{Call, CallOutcome, ChainError, ChainSource, registry::DexSpec};
use crate::domain::{
    ChainId,
    block::BlockRef,
    pool::{CreatedAt, PoolId, PoolMeta, Protocol},
};

const TOKEN0: [u8; 4] = hex!("0dfe1681");
const TOKEN1: [u8; 4] = hex!("d21220a7");
const FEE: [u8; 4] = hex!("ddca3f43");
const TICK_SPACING: [u8; 4] = hex!("d0c93a7c");
const GET_PAIR: [u8; 4] = hex!("e6a43905");
const GET_POOL: [u8; 4] = hex!("1698ee82");

const WORD: usize = 32;

/// What a pool says of itself.
#[derive(Debug, Clone, Copy)]
struct Claim {
    pool: Address,
    token0: Address,
    token1: Address,
    fee_pips: u32,
    tick_spacing: Option<i32>,
}

/// The listed pools that exist at `at` and that the factory knows as its own. What is not there yet is left out, because its
/// creation will be seen; what belongs to somebody else is left out, because anybody can answer `token0()`.
pub async fn listed(source: &dyn ChainSource, chain: ChainId, dex: &DexSpec, at: BlockRef) -> Result<Vec<PoolMeta>, ChainError> {
    let selectors: &[[u8; 4]] = match dex.protocol {
        Protocol::UniswapV4 => return Ok(Vec::new()),
        Protocol::UniswapV2 => &[TOKEN0, TOKEN1],
        Protocol::UniswapV3 => &[TOKEN0, TOKEN1, FEE, TICK_SPACING],
    };
    let call = |to: &Address, selector: &[u8; 4]| Call { to: *to, data: Bytes::copy_from_slice(selector) };
    let address = |pool: &PoolId| match pool {
        PoolId::Address(pool) => Some(*pool),
        PoolId::Id(_) => None,
    };
    let pools: Vec<Address> = dex.pools.iter().filter_map(address).collect();
    let calls = pools.iter().flat_map(|pool| selectors.iter().map(move |selector| call(pool, selector))).collect();
    let answers = ask(source, at.hash, calls).await?;
    let claims: Vec<Claim> = pools
        .iter()
        .zip(answers.chunks(selectors.len().max(1)))
        .filter_map(|(pool, answers)| claim(*pool, dex, answers))
        .collect();
    let questions = claims.iter().map(|claim| Call { to: dex.factory, data: question(dex.protocol, claim) }).collect();
    let owned = ask(source, at.hash, questions).await?;
    let confirmed = claims.iter().zip(owned).filter(|(claim, answer)| answer.and_then(of_word) == Some(claim.pool));
    let meta = |claim: &Claim| PoolMeta {
        chain,
        id: PoolId::Address(claim.pool),
        protocol: dex.protocol,
        dex: dex.name.clone(),
        factory: dex.factory,
        token0: claim.token0,
        token1: claim.token1,
        fee_pips: claim.fee_pips,
        tick_spacing: claim.tick_spacing,
        hooks: None,
        created: CreatedAt { block: at, tx_hash: None, log_index: 0 },
        origin: None,
    };
    Ok(confirmed.map(|(claim, _)| meta(claim)).collect())
}

async fn ask(source: &dyn ChainSource, at: B256, calls: Vec<Call>) -> Result<Vec<Option<U256>>, ChainError> {
    if calls.is_empty() {
        return Ok(Vec::new());
    }
    let expected = calls.len();
    let answers = source.call_batch(at, calls, WORD).await?;
    if answers.len() != expected {
        return Err(ChainError::Contradiction(format!("{} answers to {expected} calls", answers.len())));
    }
    let word = |answer: &CallOutcome| match answer {
        CallOutcome::Returned(data) => data.first_chunk::<WORD>().map(|word| U256::from_be_bytes(*word)),
        CallOutcome::Failed => None,
    };
    Ok(answers.iter().map(word).collect())
}

fn claim(pool: Address, dex: &DexSpec, answers: &[Option<U256>]) -> Option<Claim> {
    let (token0, token1) = (of_word((*answers.first()?)?)?, of_word((*answers.get(1)?)?)?);
    let (fee_pips, tick_spacing) = match dex.protocol {
        Protocol::UniswapV2 => (dex.fee_pips, None),
        Protocol::UniswapV4 => return None,
        Protocol::UniswapV3 => {
            let spacing = i32::try_from((*answers.get(3)?)?).ok()?;
            (u32::try_from((*answers.get(2)?)?).ok()?, Some(spacing))
        }
    };
    Some(Claim { pool, token0, token1, fee_pips, tick_spacing })
}

/// `getPair(token0, token1)`, `getPool(token0, token1, fee)`.
fn question(protocol: Protocol, claim: &Claim) -> Bytes {
    let (selector, fee) = match protocol {
        Protocol::UniswapV2 => (GET_PAIR, None),
        Protocol::UniswapV3 | Protocol::UniswapV4 => (GET_POOL, Some(U256::from(claim.fee_pips))),
    };
    let tokens = [claim.token0.into_word(), claim.token1.into_word()];
    let words = tokens.into_iter().chain(fee.map(B256::from));
    words
        .fold(selector.to_vec(), |mut data, word| {
            data.extend_from_slice(word.as_slice());
            data
        })
        .into()
}

/// A word that is an address.
fn of_word(word: U256) -> Option<Address> {
    let bytes = word.to_be_bytes::<WORD>();
    let (padding, address) = bytes.split_at_checked(12)?;
    padding.iter().all(|b| *b == 0).then(|| Address::from_slice(address))
}
