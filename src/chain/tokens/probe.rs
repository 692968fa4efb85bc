//! How tokens behave when they are moved: each is borrowed from a pool and given back, in one `eth_call` (`contracts/TokenProbe.sol`).
//!
//! A token may say what it likes of itself; what arrives is what counts. What is absent: which pool is taken, and when.

use std::sync::LazyLock;

use alloy::{
    hex,
    primitives::{Address, B256, Bytes, U256},
    sol_types::SolValue,
};

use crate::{
    chain::{CallOutcome, ChainError, ChainSource},
    domain::{pool::Protocol, token::Loan},
};

/// First byte of every answer.
const FORMAT: u8 = 1;
/// Of one answer: whether there is one, and five words.
const ANSWER_BYTES: usize = 161;
/// Questions of one request: with 2 M gas each they may take what a request usually gets, and commonly take a tenth of it.
pub const QUESTIONS_MAX: usize = 16;

static CREATION_CODE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    // Compiled in, and a test decodes it.
    hex::decode(include_str!("../../../contracts/TokenProbe.hex").trim()).unwrap_or_default()
});

/// Who is to lend a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    pub token: Address,
    /// The pool's contract; of V4 the PoolManager.
    pub lender: Address,
    pub protocol: Protocol,
    /// It is the pool's token0.
    pub is_token0: bool,
}

impl Question {
    fn kind(&self) -> u8 {
        match (self.protocol, self.is_token0) {
            (Protocol::UniswapV2, true) => 0,
            (Protocol::UniswapV2, false) => 1,
            (Protocol::UniswapV3, true) => 2,
            (Protocol::UniswapV3, false) => 3,
            (Protocol::UniswapV4, _) => 4,
        }
    }
}

/// Asks as many as go into one request: answers in the order of `questions`, and maybe fewer. `None`: the pool does not lend.
///
/// # Errors
/// When the node does not answer, or cannot do this.
pub async fn ask(source: &dyn ChainSource, at: B256, questions: &[Question]) -> Result<Vec<Option<Loan>>, ChainError> {
    let asked = questions.get(..questions.len().min(QUESTIONS_MAX)).unwrap_or(questions);
    match source.call(at, None, encode(asked)).await? {
        CallOutcome::Returned(answer) => decode(&answer, asked.len()),
        CallOutcome::Failed => Err(ChainError::Refused("`eth_call` without `to` reverts".to_owned())),
    }
}

fn encode(questions: &[Question]) -> Bytes {
    let mut input = Vec::with_capacity(questions.len().saturating_mul(41));
    for question in questions {
        input.push(question.kind());
        input.extend_from_slice(question.token.as_slice());
        input.extend_from_slice(question.lender.as_slice());
    }
    let mut code = CREATION_CODE.clone();
    code.extend_from_slice(&(Bytes::from(input),).abi_encode_params());
    code.into()
}

fn decode(answer: &[u8], asked: usize) -> Result<Vec<Option<Loan>>, ChainError> {
    let wrong = || ChainError::Refused("`eth_call` without `to` does not give what the code returned".to_owned());
    let (&format, rest) = answer.split_first().ok_or_else(wrong)?;
    let (loans, cut) = rest.as_chunks::<ANSWER_BYTES>();
    if format != FORMAT || !cut.is_empty() || loans.is_empty() || loans.len() > asked {
        return Err(wrong());
    }
    Ok(loans.iter().map(loan).collect())
}

fn loan(answer: &[u8; ANSWER_BYTES]) -> Option<Loan> {
    let (&ok, words) = answer.split_first()?;
    let (words, _) = words.as_chunks::<32>();
    let [held, lent, received, given, arrived] = words else { return None };
    let word = |word: &[u8; 32]| U256::from_be_bytes(*word);
    let (held, lent, received, arrived) = (word(held), word(lent), word(received), word(arrived));
    let given = !word(given).is_zero();
    (ok == 1).then_some(Loan { held, lent, received, given, arrived })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(ok: u8, words: [u64; 5]) -> Vec<u8> {
        let words = words.iter().flat_map(|word| U256::from(*word).to_be_bytes::<32>());
        std::iter::once(ok).chain(words).collect()
    }

    #[test]
    fn answers_are_read_back_and_what_is_none_is_refused() {
        let both = [&[1][..], &answer(1, [9, 8, 7, 1, 6]), &answer(0, [0; 5])].concat();
        let word = U256::from;
        let loan = Loan { held: word(9), lent: word(8), received: word(7), given: true, arrived: word(6) };
        assert_eq!(decode(&both, 2).unwrap(), [Some(loan), None]);
        for wrong in [&[][..], &[1], &[2, 0], &both[..both.len() - 1], &both[1..]] {
            assert!(matches!(decode(wrong, 2), Err(ChainError::Refused(_))), "{} bytes", wrong.len());
        }
        assert!(decode(&both, 1).is_err(), "more answers than questions");
    }

    #[test]
    fn the_question_is_creation_code_and_one_abi_argument() {
        let question = Question {
            token: Address::repeat_byte(1),
            lender: Address::repeat_byte(2),
            protocol: Protocol::UniswapV3,
            is_token0: false,
        };
        let data = encode(&[question]);
        assert!(CREATION_CODE.len() > 1_000, "TokenProbe.hex did not decode");
        let (input,) = <(Bytes,)>::abi_decode_params(&data[CREATION_CODE.len()..]).unwrap();
        assert_eq!(input.len(), 41);
        assert_eq!((input[0], &input[1..21], &input[21..]), (3, &[1; 20][..], &[2; 20][..]));
    }
}
