//! What a token says of itself. Anybody may deploy a token, so every answer is hostile until it parsed; what does not parse
//! becomes a flag, never a guess.

pub mod probe;

use alloy::primitives::{Address, Bytes, U256, hex};

use super::{Call, CallOutcome, ChainError, ChainSource};
use crate::domain::{
    ChainId,
    block::BlockRef,
    token::{TOKEN_TEXT_MAX_BYTES, TokenFlag, TokenMeta},
};

/// `name()`, `symbol()`, `decimals()`, `totalSupply()`.
const SELECTORS: [[u8; 4]; 4] = [hex!("06fdde03"), hex!("95d89b41"), hex!("313ce567"), hex!("18160ddd")];

/// Offset, length, the longest text that is kept, and two words so that a longer one is seen to be longer.
const RETURN_MAX_BYTES: usize = 32 + 32 + TOKEN_TEXT_MAX_BYTES + 64;

/// 2^256 has 78 digits: with more than 77 decimals no amount reaches 1.
const DECIMALS_MAX: u8 = 77;

const NATIVE_SYMBOL: &str = "ETH";
const NATIVE_DECIMALS: u8 = 18;

/// A length above this is no text that was cut, but nonsense. 1 MiB.
const TEXT_PLAUSIBLE_BYTES: usize = 1 << 20;

/// Asks all tokens at one block, in as few requests as it takes; the answers are in the order of `tokens`.
pub async fn fetch(
    source: &dyn ChainSource,
    chain: ChainId,
    at: BlockRef,
    tokens: &[Address],
) -> Result<Vec<TokenMeta>, ChainError> {
    let asked: Vec<Address> = tokens.iter().copied().filter(|token| !token.is_zero()).collect();
    let mut metas = ask(source, chain, at, &asked).await?;
    if let Some(place) = tokens.iter().position(|token| token.is_zero()) {
        metas.insert(place.min(metas.len()), native(chain, at));
    }
    Ok(metas)
}

/// Native currency, which V4 trades as the zero address. No contract says what it is called; that it has 18 decimals holds on every EVM chain.
fn native(chain: ChainId, as_of: BlockRef) -> TokenMeta {
    let said = |text: &str| Some(text.to_owned());
    TokenMeta {
        chain,
        address: Address::ZERO,
        name: said("Native currency"),
        symbol: said(NATIVE_SYMBOL),
        decimals: Some(NATIVE_DECIMALS),
        total_supply: None,
        flags: vec![TokenFlag::TotalSupplyMissing],
        as_of,
    }
}

async fn ask(source: &dyn ChainSource, chain: ChainId, at: BlockRef, tokens: &[Address]) -> Result<Vec<TokenMeta>, ChainError> {
    if tokens.is_empty() {
        return Ok(Vec::new());
    }
    let calls = tokens
        .iter()
        .flat_map(|token| SELECTORS.map(|selector| Call { to: *token, data: Bytes::copy_from_slice(&selector) }))
        .collect();
    let outcomes = source.call_batch(at.hash, calls, RETURN_MAX_BYTES).await?;
    let (answers, rest) = outcomes.as_chunks::<4>();
    if answers.len() != tokens.len() || !rest.is_empty() {
        return Err(ChainError::Contradiction(format!("{} answers to {} calls", outcomes.len(), tokens.len().saturating_mul(4))));
    }
    let mut metas = Vec::with_capacity(tokens.len());
    for (token, answers) in tokens.iter().zip(answers) {
        let mut meta = parse(chain, *token, at, answers);
        // Rare enough for a request of its own: a batched call cannot tell "no code" from "reverts".
        if answers.iter().all(|a| *a == CallOutcome::Failed) && source.code(*token).await?.is_empty() {
            meta.flags.push(TokenFlag::NoCode);
            meta.flags.sort_unstable();
        }
        metas.push(meta);
    }
    Ok(metas)
}

/// The four answers of one token: name, symbol, decimals, total supply.
#[must_use]
pub fn parse(chain: ChainId, address: Address, as_of: BlockRef, answers: &[CallOutcome; 4]) -> TokenMeta {
    let [name, symbol, decimals, supply] = answers;
    let mut flags = Vec::new();
    let name = text(name, TokenFlag::NameMissing, TokenFlag::NameBytes32, &mut flags);
    let symbol = text(symbol, TokenFlag::SymbolMissing, TokenFlag::SymbolBytes32, &mut flags);
    let decimals = match number(decimals) {
        None => {
            flags.push(TokenFlag::DecimalsMissing);
            None
        }
        Some(value) => {
            let sane = u8::try_from(value).ok().filter(|d| *d <= DECIMALS_MAX);
            if sane.is_none() {
                flags.push(TokenFlag::DecimalsAbsurd);
            }
            sane
        }
    };
    let total_supply = number(supply);
    if total_supply.is_none() {
        flags.push(TokenFlag::TotalSupplyMissing);
    }
    flags.sort_unstable();
    flags.dedup();
    TokenMeta { chain, address, name, symbol, decimals, total_supply, flags, as_of }
}

/// The first word. More than one is tolerated, as every ABI decoder does; less is no number.
fn number(answer: &CallOutcome) -> Option<U256> {
    let CallOutcome::Returned(data) = answer else { return None };
    data.first_chunk::<32>().map(|word| U256::from_be_bytes(*word))
}

/// An empty text counts as missing: nobody can show it.
fn text(answer: &CallOutcome, missing: TokenFlag, bytes32: TokenFlag, flags: &mut Vec<TokenFlag>) -> Option<String> {
    let found = match answer {
        CallOutcome::Returned(data) => match <&[u8; 32]>::try_from(data.as_ref()) {
            Ok(word) => {
                let found = from_bytes32(word);
                if found.is_some() {
                    flags.push(bytes32);
                }
                found
            }
            Err(_) => from_string(data),
        },
        CallOutcome::Failed => None,
    };
    let Some(found) = found else {
        flags.push(missing);
        return None;
    };
    if found.mended {
        flags.push(TokenFlag::TextMended);
    }
    Some(found.text)
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    text: String,
    mended: bool,
}

/// MKR and its age: left-aligned, padded with zeros. Anything after the padding was cut off.
fn from_bytes32(word: &[u8; 32]) -> Option<Found> {
    let end = word.iter().position(|b| *b == 0).unwrap_or(word.len());
    let (text, padding) = word.split_at_checked(end)?;
    mend(text, padding.iter().any(|b| *b != 0))
}

/// ABI `string`: an offset to a length and that many bytes. The answer may have been cut at our cap, then the text is longer
/// than we keep anyway.
fn from_string(data: &[u8]) -> Option<Found> {
    let offset = usize::try_from(word_at(data, 0)?).ok()?;
    let length = usize::try_from(word_at(data, offset)?).ok()?;
    let content = data.get(offset.checked_add(32)?..)?;
    if let Some(exact) = content.get(..length) {
        return mend(exact, false);
    }
    // Shorter than it claims: only believable where our cap cut it and enough is left to show.
    let cut_by_us = data.len() >= RETURN_MAX_BYTES && length <= TEXT_PLAUSIBLE_BYTES && content.len() >= TOKEN_TEXT_MAX_BYTES;
    cut_by_us.then(|| mend(content, true)).flatten()
}

fn word_at(data: &[u8], offset: usize) -> Option<U256> {
    data.get(offset..)?.first_chunk::<32>().map(|word| U256::from_be_bytes(*word))
}

/// At most 128 bytes, UTF-8, and nothing that a terminal or a CSV file would obey.
fn mend(bytes: &[u8], mut mended: bool) -> Option<Found> {
    let lossy = String::from_utf8_lossy(bytes);
    mended |= matches!(lossy, std::borrow::Cow::Owned(_));
    let mut text = String::with_capacity(lossy.len().min(TOKEN_TEXT_MAX_BYTES));
    for c in lossy.chars() {
        if c.is_control() {
            mended = true;
            continue;
        }
        if text.len().saturating_add(c.len_utf8()) > TOKEN_TEXT_MAX_BYTES {
            mended = true;
            break;
        }
        text.push(c);
    }
    (!text.is_empty()).then_some(Found { text, mended })
}

#[cfg(test)]
mod tests;
