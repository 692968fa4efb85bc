//! The words of a log, cut strictly: what does not fit its type is malformed.

use alloy::primitives::{Address, B256, I256, U256};

/// Where a log departs from its event's ABI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in crate::chain) enum Wrong {
    #[error("{found} topics where the event has {expected}")]
    Topics { expected: usize, found: usize },
    #[error("{found} bytes of data where the event has {expected}")]
    Length { expected: usize, found: usize },
    #[error("`{0}` is outside the range of its type")]
    Range(&'static str),
}

pub(super) type Word = [u8; 32];

/// The topics after topic0, exactly `N`.
pub(super) fn indexed<const N: usize>(topics: &[B256]) -> Result<[&Word; N], Wrong> {
    let rest = topics.split_first().map_or(&[][..], |(_, rest)| rest);
    let exact: &[B256; N] = rest.try_into().map_err(|_| Wrong::Topics { expected: N.saturating_add(1), found: topics.len() })?;
    Ok(exact.each_ref().map(|topic| &topic.0))
}

/// The data, exactly `N` words: Solidity never emits more or less for static types.
pub(super) fn words<const N: usize>(data: &[u8]) -> Result<&[Word; N], Wrong> {
    let (chunks, rest) = data.as_chunks::<32>();
    match <&[Word; N]>::try_from(chunks) {
        Ok(exact) if rest.is_empty() => Ok(exact),
        _ => Err(Wrong::Length { expected: N.saturating_mul(32), found: data.len() }),
    }
}

/// The last `N` bytes of a word whose other bytes must all be zero.
pub(super) fn low<const N: usize>(word: &Word, field: &'static str) -> Result<[u8; N], Wrong> {
    match word.split_last_chunk::<N>() {
        Some((padding, value)) if padding.iter().all(|b| *b == 0) => Ok(*value),
        _ => Err(Wrong::Range(field)),
    }
}

pub(super) fn address(word: &Word, field: &'static str) -> Result<Address, Wrong> {
    low::<20>(word, field).map(Address::from)
}

pub(super) fn u256(word: &Word) -> U256 {
    U256::from_be_bytes(*word)
}

pub(super) fn i256(word: &Word) -> I256 {
    I256::from_be_bytes(*word)
}

pub(super) fn i128_(word: &Word, field: &'static str) -> Result<i128, Wrong> {
    i128::try_from(i256(word)).map_err(|_| Wrong::Range(field))
}

pub(super) fn u160(word: &Word, field: &'static str) -> Result<U256, Wrong> {
    low::<20>(word, field)?;
    Ok(u256(word))
}

pub(super) fn u128_(word: &Word, field: &'static str) -> Result<u128, Wrong> {
    low::<16>(word, field).map(u128::from_be_bytes)
}

pub(super) fn u112(word: &Word, field: &'static str) -> Result<u128, Wrong> {
    low::<14>(word, field)?;
    u128_(word, field)
}

pub(super) fn u24(word: &Word, field: &'static str) -> Result<u32, Wrong> {
    low::<3>(word, field)?;
    low::<4>(word, field).map(u32::from_be_bytes)
}

pub(super) fn u16_(word: &Word, field: &'static str) -> Result<u16, Wrong> {
    low::<2>(word, field).map(u16::from_be_bytes)
}

pub(super) fn u8_(word: &Word, field: &'static str) -> Result<u8, Wrong> {
    low::<1>(word, field).map(u8::from_be_bytes)
}

/// 24 bits, sign-extended over the whole word.
pub(super) fn i24(word: &Word, field: &'static str) -> Result<i32, Wrong> {
    let Some((padding, [high, rest @ ..])) = word.split_last_chunk::<3>() else { return Err(Wrong::Range(field)) };
    let sign = if *high >= 0x80 { 0xff } else { 0 };
    if padding.iter().any(|b| *b != sign) {
        return Err(Wrong::Range(field));
    }
    let [mid, low] = *rest;
    Ok(i32::from_be_bytes([sign, *high, mid, low]))
}
