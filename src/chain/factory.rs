//! Does a factory answer as its protocol's does? Asked for by `swaptide doctor`; the engine itself only looks whether there is code.

use alloy::primitives::{B256, Bytes, U256, hex};

use super::{Call, CallOutcome, ChainError, ChainSource, registry::DexSpec};
use crate::domain::pool::Protocol;

const ALL_PAIRS_LENGTH: [u8; 4] = hex!("574f2ba3");
const OWNER: [u8; 4] = hex!("8da5cb5b");
/// `protocolFeeController()` of a PoolManager.
const PROTOCOL_FEE_CONTROLLER: [u8; 4] = hex!("f02de3b2");
const FEE_AMOUNT_TICK_SPACING: [u8; 4] = hex!("22afcccb");

const WORD: usize = 32;

/// What is at the address of a factory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// No code.
    Nothing,
    /// It answers as a V2 factory, which has made so many pairs.
    V2 { pairs: u64 },
    /// It answers as a V3 factory.
    V3,
    /// It answers as the PoolManager of V4.
    V4,
    /// A contract, and no factory that we know of.
    Other,
}

impl Found {
    #[must_use]
    pub fn protocol(self) -> Option<Protocol> {
        match self {
            Self::V2 { .. } => Some(Protocol::UniswapV2),
            Self::V3 => Some(Protocol::UniswapV3),
            Self::V4 => Some(Protocol::UniswapV4),
            Self::Nothing | Self::Other => None,
        }
    }
}

/// Looks at the factory of a dex, whatever protocol the configuration says.
///
/// # Errors
/// Where the node cannot answer.
pub async fn look(source: &dyn ChainSource, dex: &DexSpec, at: B256) -> Result<Found, ChainError> {
    if source.code(dex.factory).await?.is_empty() {
        return Ok(Found::Nothing);
    }
    look_at(source, dex, at).await
}

/// The same at an older block, where there is surely a contract.
///
/// # Errors
/// Where the node has no state of that block.
pub async fn look_at(source: &dyn ChainSource, dex: &DexSpec, at: B256) -> Result<Found, ChainError> {
    let fee = [FEE_AMOUNT_TICK_SPACING.as_slice(), &U256::from(3_000).to_be_bytes::<WORD>()].concat();
    let [pairs, owner, controller] = [ALL_PAIRS_LENGTH, OWNER, PROTOCOL_FEE_CONTROLLER].map(|s| Bytes::copy_from_slice(&s));
    let questions = [pairs, owner, fee.into(), controller];
    let calls = questions.map(|data| Call { to: dex.factory, data }).to_vec();
    let answers = source.call_batch(at, calls, WORD).await?;
    let words: Vec<Option<U256>> = answers.iter().map(word).collect();
    Ok(match words.as_slice() {
        [Some(pairs), ..] => Found::V2 { pairs: u64::try_from(pairs).unwrap_or(u64::MAX) },
        [None, Some(_), Some(_), _] => Found::V3,
        [None, Some(_), None, Some(_)] => Found::V4,
        _ => Found::Other,
    })
}

fn word(answer: &CallOutcome) -> Option<U256> {
    match answer {
        CallOutcome::Returned(data) => data.first_chunk::<WORD>().map(|word| U256::from_be_bytes(*word)),
        CallOutcome::Failed => None,
    }
}
