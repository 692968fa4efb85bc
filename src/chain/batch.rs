//! Many contract calls in one `eth_call` without `to` (`contracts/BatchCall.sol`): it needs no contract on the chain.
//!
//! Encoding, decoding and chunking are pure; [`execute`] drives them over whatever makes an `eth_call`. What is absent: retries
//! and endpoints.

use std::{future::Future, sync::LazyLock};

use alloy::{
    hex,
    primitives::{Address, Bytes},
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{Call, CallOutcome, ChainError};

/// Gas of one call. A million is ten times what the oddest honest token needs, and thirty hostile ones still fit one request
/// of the usual 30 M.
pub const CALL_GAS_CAP: u32 = 1_000_000;

/// More than this is never kept of one answer: the answers of a request share the 24,576 bytes of EIP-170.
pub const RETURN_MAX_BYTES: usize = 24_000;

/// EIP-3860 allows 49,152 bytes of creation code; the rest is the contract itself and slack.
const INPUT_MAX_BYTES: usize = 46_000;

/// Calls of one request at most: 512 cold storage reads are some 3 M gas.
const CHUNK_MAX_CALLS: usize = 512;

/// Requests of one batch that are under way at once.
const REQUESTS_AT_ONCE: usize = 4;

/// First byte of every answer; also what EIP-3541 asks for (anything but 0xEF).
const FORMAT: u8 = 1;

static CREATION_CODE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    // The file is compiled in and a test decodes it: an empty code would make every request fail, never panic.
    hex::decode(include_str!("../../contracts/BatchCall.hex").trim()).unwrap_or_default()
});

/// Why an answer is not one of `BatchCall`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    #[error("the answer does not start with the format byte")]
    Format,
    #[error("the answer is cut off")]
    Cut,
    #[error("the answer has more results than there were calls")]
    TooMany,
}

/// Creation code and arguments for these calls. Calldata above 65,535 bytes cannot be written down: such a call is cut, and
/// [`chunks`] never lets one through.
#[must_use]
pub fn encode(calls: &[Call], gas_cap: u32, max_return_bytes: u16) -> Bytes {
    let mut input = Vec::with_capacity(6 + calls.iter().map(encoded_bytes).sum::<usize>());
    input.extend_from_slice(&gas_cap.to_be_bytes());
    input.extend_from_slice(&max_return_bytes.to_be_bytes());
    for call in calls {
        let data = call.data.get(..call.data.len().min(usize::from(u16::MAX))).unwrap_or_default();
        input.extend_from_slice(call.to.as_slice());
        input.extend_from_slice(&u16::try_from(data.len()).unwrap_or(u16::MAX).to_be_bytes());
        input.extend_from_slice(data);
    }
    // One ABI argument of type `bytes`: offset, length, content padded to words.
    let padded = input.len().next_multiple_of(32);
    let mut code = Vec::with_capacity(CREATION_CODE.len() + 64 + padded);
    code.extend_from_slice(&CREATION_CODE);
    code.extend_from_slice(&word(32));
    code.extend_from_slice(&word(input.len()));
    code.extend_from_slice(&input);
    code.resize(CREATION_CODE.len() + 64 + padded, 0);
    code.into()
}

/// The answers, in the order of the calls; fewer than `calls` where the contract stopped early.
pub fn decode(answer: &Bytes, calls: usize) -> Result<Vec<CallOutcome>, BatchError> {
    let (&format, mut rest) = answer.split_first().ok_or(BatchError::Format)?;
    if format != FORMAT {
        return Err(BatchError::Format);
    }
    let mut outcomes = Vec::with_capacity(calls);
    while !rest.is_empty() {
        if outcomes.len() == calls {
            return Err(BatchError::TooMany);
        }
        let ([ok, high, low], tail) = rest.split_first_chunk::<3>().ok_or(BatchError::Cut)?;
        let (data, tail) = tail.split_at_checked(usize::from(u16::from_be_bytes([*high, *low]))).ok_or(BatchError::Cut)?;
        outcomes.push(if *ok == 0 { CallOutcome::Failed } else { CallOutcome::Returned(answer.slice_ref(data)) });
        rest = tail;
    }
    Ok(outcomes)
}

/// Where to cut the calls so that each request fits. A call too large for any request is alone in its chunk.
#[must_use]
pub fn chunks(calls: &[Call]) -> Vec<std::ops::Range<usize>> {
    let mut ranges: Vec<std::ops::Range<usize>> = Vec::new();
    let mut bytes = 0_usize;
    for (index, call) in calls.iter().enumerate() {
        let size = encoded_bytes(call);
        match ranges.last_mut() {
            Some(last) if last.len() < CHUNK_MAX_CALLS && bytes.saturating_add(size) <= INPUT_MAX_BYTES => {
                last.end = index.saturating_add(1);
                bytes = bytes.saturating_add(size);
            }
            _ => {
                ranges.push(index..index.saturating_add(1));
                bytes = size;
            }
        }
    }
    ranges
}

/// Makes all calls through `eth_call`, which gets creation code and gives what the constructor returned.
///
/// A request that the node refuses is halved, down to the single call that is to blame: that one is [`CallOutcome::Failed`].
/// When even a request without calls is refused, the node cannot do this at all and the error is returned.
pub async fn execute<F, Fut>(calls: &[Call], max_return_bytes: usize, eth_call: F) -> Result<Vec<CallOutcome>, ChainError>
where
    F: Fn(Bytes) -> Fut + Sync,
    Fut: Future<Output = Result<Bytes, ChainError>> + Send,
{
    let cap = u16::try_from(max_return_bytes.min(RETURN_MAX_BYTES)).unwrap_or(u16::MAX);
    // Owned slices: a borrowed iterator would make the future's Send bound too general for the compiler.
    let parts: Vec<Vec<Call>> = chunks(calls).into_iter().filter_map(|range| calls.get(range).map(<[Call]>::to_vec)).collect();
    let eth_call = &eth_call;
    let done: Vec<Vec<CallOutcome>> = stream::iter(parts)
        .map(|part| async move { chunk(&part, cap, eth_call).await })
        .buffered(REQUESTS_AT_ONCE)
        .try_collect()
        .await?;
    Ok(done.into_iter().flatten().collect())
}

async fn chunk<F, Fut>(calls: &[Call], cap: u16, eth_call: &F) -> Result<Vec<CallOutcome>, ChainError>
where
    F: Fn(Bytes) -> Fut,
    Fut: Future<Output = Result<Bytes, ChainError>>,
{
    let mut outcomes: Vec<CallOutcome> = Vec::with_capacity(calls.len());
    let mut width = calls.len();
    let mut node_can = false;
    while let Some(rest) = calls.get(outcomes.len()..).filter(|rest| !rest.is_empty()) {
        let part = rest.get(..width.min(rest.len())).unwrap_or(rest);
        if let [call] = part
            && encoded_bytes(call) > INPUT_MAX_BYTES
        {
            outcomes.push(CallOutcome::Failed);
            continue;
        }
        let refused = match eth_call(encode(part, CALL_GAS_CAP, cap)).await {
            Ok(answer) => match decode(&answer, part.len()) {
                Ok(some) if !some.is_empty() => {
                    outcomes.extend(some);
                    width = calls.len();
                    continue;
                }
                Ok(_) => ChainError::Refused("the batch contract made no call".into()),
                Err(wrong) => ChainError::Refused(format!("eth_call without `to`: {wrong}")),
            },
            // Too much for one request: smaller ones may pass. Everything else is not about the size.
            Err(error @ (ChainError::Refused(_) | ChainError::RangeTooLarge(_))) => error,
            Err(error) => return Err(error),
        };
        if part.len() > 1 {
            width = part.len().div_ceil(2);
            continue;
        }
        if !node_can {
            let probe = eth_call(encode(&[], CALL_GAS_CAP, cap)).await;
            if !matches!(probe.map(|answer| decode(&answer, 0)), Ok(Ok(_))) {
                return Err(refused);
            }
            node_can = true;
        }
        outcomes.push(CallOutcome::Failed);
        width = calls.len();
    }
    Ok(outcomes)
}

fn encoded_bytes(call: &Call) -> usize {
    Address::len_bytes().saturating_add(2).saturating_add(call.data.len())
}

fn word(value: usize) -> [u8; 32] {
    alloy::primitives::U256::from(value).to_be_bytes()
}

#[cfg(test)]
mod tests;
