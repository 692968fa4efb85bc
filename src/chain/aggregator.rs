//! Chainlink price feeds, read from the chain itself: what a proxy answers at one block, and which logs say that it changed.
//!
//! Source: `AggregatorV3Interface` (`latestRoundData`, `decimals`) and `AggregatorProxy` (`aggregator`). Who writes is the proxy's
//! current aggregator: `AnswerUpdated` from all generations of it, `NewTransmission` from OCR2 alone. A proxy that changes its
//! aggregator says nothing: it has to be asked.

use alloy::{
    primitives::{Address, B256, Bytes, I256, U256, b256, hex},
    sol_types::SolValue,
};

use super::{Call, CallOutcome, ChainError, ChainSource};
use crate::domain::{event::RawLog, feed::Tick, fixed::Fixed18};

const LATEST_ROUND_DATA: [u8; 4] = hex!("feaf968c");
const DECIMALS: [u8; 4] = hex!("313ce567");
const AGGREGATOR: [u8; 4] = hex!("245a7bfc");
const ANSWER_UPDATED: B256 = b256!("0559884fd3a460db3073b7fc896cc77986f16e378210ded43186175bf646fc5f");
const NEW_TRANSMISSION: B256 = b256!("c797025feeeaf2cd924c99e9205acb8ec04d5cad21c41ce637a38fb6dee6016a");

/// Five words.
const ANSWER_BYTES: usize = 160;

/// What a proxy says at one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Whose logs announce the next answer.
    pub aggregator: Address,
    /// The answer, or what is wrong with it.
    pub answer: Result<Tick, NoAnswer>,
}

/// Why a proxy has no price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    #[error("its answer is zero or negative")]
    NotPositive,
    #[error("its answer does not fit a price of 18 decimal places")]
    OutOfRange,
    #[error("its round is not complete")]
    Incomplete,
}

/// Why a contract cannot be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NoReading {
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error("what is at {0} does not answer as a Chainlink proxy")]
    NoProxy(Address),
}

/// Asks the proxy at the state of one block.
///
/// # Errors
/// Where the node cannot answer, or there is no proxy.
pub async fn read(source: &dyn ChainSource, proxy: Address, at: B256) -> Result<Reading, NoReading> {
    let calls =
        [LATEST_ROUND_DATA, DECIMALS, AGGREGATOR].map(|selector| Call { to: proxy, data: Bytes::copy_from_slice(&selector) });
    let answers = source.call_batch(at, calls.to_vec(), ANSWER_BYTES).await?;
    decode(&answers).ok_or(NoReading::NoProxy(proxy))
}

/// Whether a log of an aggregator announces another answer.
#[must_use]
pub fn announces(log: &RawLog) -> bool {
    log.topics.first().is_some_and(|topic| *topic == ANSWER_UPDATED || *topic == NEW_TRANSMISSION)
}

fn decode(answers: &[CallOutcome]) -> Option<Reading> {
    let [CallOutcome::Returned(round), CallOutcome::Returned(decimals), CallOutcome::Returned(aggregator)] = answers else {
        return None;
    };
    // As wide as words: what is out of its type's range is no reading either.
    let (_, answer, _, updated_at, _) = <(U256, I256, U256, U256, U256)>::abi_decode(round).ok()?;
    let decimals = u8::try_from(U256::abi_decode(decimals).ok()?).ok()?;
    let aggregator = Address::abi_decode(aggregator).ok()?;
    Some(Reading { aggregator, answer: price(answer, decimals, updated_at) })
}

fn price(answer: I256, decimals: u8, updated_at: U256) -> Result<Tick, NoAnswer> {
    let at_s = u64::try_from(updated_at).ok().filter(|at| *at > 0).ok_or(NoAnswer::Incomplete)?;
    if !answer.is_positive() {
        return Err(NoAnswer::NotPositive);
    }
    let raw = u128::try_from(answer.unsigned_abs()).map_err(|_| NoAnswer::OutOfRange)?;
    let price = Fixed18::from_integer(raw, decimals).ok_or(NoAnswer::OutOfRange)?;
    Ok(Tick { price, at_ms: at_s.saturating_mul(1_000), id: None })
}

#[cfg(test)]
mod tests {
    use alloy::primitives::keccak256;

    use super::*;

    fn words(words: &[I256]) -> CallOutcome {
        CallOutcome::Returned(words.iter().flat_map(|w| w.to_be_bytes::<32>()).collect())
    }

    fn int(n: i128) -> I256 {
        I256::try_from(n).unwrap()
    }

    fn round(answer: I256, updated_at: i128) -> CallOutcome {
        let id = int((3_i128 << 64) | 17);
        words(&[id, answer, int(updated_at), int(updated_at), id])
    }

    #[test]
    fn selectors_and_topics_are_those_of_the_interface() {
        let selector = |text: &str| keccak256(text)[..4].to_vec();
        assert_eq!(selector("latestRoundData()"), LATEST_ROUND_DATA);
        assert_eq!(selector("decimals()"), DECIMALS);
        assert_eq!(selector("aggregator()"), AGGREGATOR);
        assert_eq!(keccak256("AnswerUpdated(int256,uint256,uint256)"), ANSWER_UPDATED);
        let transmission = "NewTransmission(uint32,int192,address,uint32,int192[],bytes,int192,bytes32,uint40)";
        assert_eq!(keccak256(transmission), NEW_TRANSMISSION);
    }

    #[test]
    fn answers_are_scaled_by_the_proxys_decimals() {
        let aggregator = words(&[int(0xa99)]);
        let read = |answer, decimals, at| decode(&[round(int(answer), at), words(&[int(decimals)]), aggregator.clone()]);
        let reading = read(185_025_000_000, 8, 1_711_356_300).unwrap();
        assert_eq!(reading.aggregator, Address::from_word(U256::from(0xa99).into()));
        let tick = reading.answer.unwrap();
        assert_eq!((tick.price, tick.at_ms), (Fixed18::parse("1850.25").unwrap(), 1_711_356_300_000));
        assert_eq!(read(1_850_250_000_000_000_000_000, 18, 1).unwrap().answer.unwrap().price, tick.price);
        assert_eq!(read(0, 8, 1).unwrap().answer, Err(NoAnswer::NotPositive));
        assert_eq!(read(-5, 8, 1).unwrap().answer, Err(NoAnswer::NotPositive));
        assert_eq!(read(5, 8, 0).unwrap().answer, Err(NoAnswer::Incomplete));
        assert_eq!(read(i128::MAX, 0, 1).unwrap().answer, Err(NoAnswer::OutOfRange));
        assert_eq!(
            decode(&[round(I256::MAX, 1), words(&[int(8)]), aggregator.clone()]).unwrap().answer,
            Err(NoAnswer::OutOfRange)
        );
    }

    #[test]
    fn what_does_not_answer_as_a_proxy_is_none() {
        let good = [round(int(5), 1), words(&[int(8)]), words(&[int(7)])];
        assert!(decode(&good).is_some());
        for broken in 0..3 {
            for answer in [CallOutcome::Failed, CallOutcome::Returned(Bytes::new()), CallOutcome::Returned(vec![1; 31].into())] {
                let mut answers = good.to_vec();
                answers[broken] = answer;
                assert_eq!(decode(&answers), None);
            }
        }
        let mut answers = good.to_vec();
        answers[1] = words(&[int(256)]);
        assert_eq!(decode(&answers), None, "decimals is a uint8");
        assert_eq!(decode(&good[..2]), None);
    }
}
