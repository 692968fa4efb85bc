//! The scalars. No float anywhere: amounts are strings.

use std::str::FromStr;

use alloy::primitives::{Address, B256, I256, U256};
use async_graphql::{InputValueError, InputValueResult, Scalar, ScalarType, Value};

/// An integer of up to 256 bits as a decimal string: `"-1500000000000000000"`. An integer literal is accepted as input, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BigInt(pub(crate) String);

/// An integer of up to 256 bits as a decimal string: `"-1500000000000000000"`. An integer literal is accepted as input, too.
#[Scalar]
impl ScalarType for BigInt {
    fn parse(value: Value) -> InputValueResult<Self> {
        let wrong =
            |text: &str| InputValueError::custom(format!("`{text}` is no integer: give digits, with a minus sign where needed"));
        let text = match &value {
            Value::Number(number) => number.to_string(),
            Value::String(text) => text.clone(),
            _ => return Err(InputValueError::expected_type(value)),
        };
        let fits = U256::from_str_radix(&text, 10).is_ok() || I256::from_dec_str(&text).is_ok();
        if fits && !text.is_empty() { Ok(Self(text)) } else { Err(wrong(&text)) }
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.clone())
    }
}

macro_rules! big_int_from {
    ($($source:ty),*) => {$(
        impl From<$source> for BigInt {
            fn from(value: $source) -> Self {
                Self(value.to_string())
            }
        }
    )*};
}
big_int_from!(u64, u128, i128, U256, I256);

/// A decimal number as a string of at most 34 significant digits, rounded half to even, without an exponent: `"0.0025"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BigDecimal(pub(crate) String);

/// A decimal number as a string of at most 34 significant digits, rounded half to even, without an exponent: `"0.0025"`.
#[Scalar]
impl ScalarType for BigDecimal {
    fn parse(value: Value) -> InputValueResult<Self> {
        let text = match &value {
            Value::Number(number) => number.to_string(),
            Value::String(text) => text.clone(),
            _ => return Err(InputValueError::expected_type(value)),
        };
        let body = text.strip_prefix('-').unwrap_or(&text);
        let plain = body.bytes().all(|b| b.is_ascii_digit() || b == b'.') && body.bytes().filter(|b| *b == b'.').count() <= 1;
        if plain && body.bytes().any(|b| b.is_ascii_digit()) {
            Ok(Self(text))
        } else {
            Err(InputValueError::custom(format!("`{text}` is no decimal number without an exponent")))
        }
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.clone())
    }
}

/// Bytes as lowercase hex with `0x`: hashes, 32-byte ids, calldata. As an argument a hash of 32 bytes, in any case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bytes(pub(crate) alloy::primitives::Bytes);

impl From<B256> for Bytes {
    fn from(hash: B256) -> Self {
        Self(hash.0.into())
    }
}

impl Bytes {
    /// Of an argument.
    pub(crate) fn hash(&self) -> B256 {
        B256::try_from(self.0.as_ref()).unwrap_or_default()
    }
}

/// Bytes as lowercase hex with `0x`: hashes, 32-byte ids, calldata. As an argument a hash of 32 bytes, in any case.
#[Scalar]
impl ScalarType for Bytes {
    fn parse(value: Value) -> InputValueResult<Self> {
        let Value::String(text) = &value else { return Err(InputValueError::expected_type(value)) };
        hex_text(text, 66)
            .and_then(|t| B256::from_str(&t).ok())
            .map(Self::from)
            .ok_or_else(|| InputValueError::custom(format!("`{}` is no 32-byte hash: give 0x and 64 hex digits", shown(text))))
    }

    fn to_value(&self) -> Value {
        Value::String(format!("{:#x}", self.0))
    }
}

/// A contract or account address: `0x` and 40 hex digits, lowercase in every answer; any case is accepted. The native currency
/// is the zero address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AddressScalar(pub(crate) Address);

/// A contract or account address: `0x` and 40 hex digits, lowercase in every answer; any case is accepted. The native currency
/// is the zero address.
#[Scalar(name = "Address")]
impl ScalarType for AddressScalar {
    fn parse(value: Value) -> InputValueResult<Self> {
        let Value::String(text) = &value else { return Err(InputValueError::expected_type(value)) };
        hex_text(text, 42)
            .and_then(|t| Address::from_str(&t).ok())
            .map(Self)
            .ok_or_else(|| InputValueError::custom(format!("`{}` is no address: give 0x and 40 hex digits", shown(text))))
    }

    fn to_value(&self) -> Value {
        Value::String(format!("{:#x}", self.0))
    }
}

/// A time in whole seconds since 1970-01-01 00:00 UTC, as block headers have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Timestamp(pub(crate) u64);

/// A time in whole seconds since 1970-01-01 00:00 UTC, as block headers have it.
#[Scalar]
impl ScalarType for Timestamp {
    fn parse(value: Value) -> InputValueResult<Self> {
        let seconds = match &value {
            Value::Number(number) => number.as_u64(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        // Stores keep 64-bit signed integers.
        seconds
            .filter(|s| *s <= i64::MAX.unsigned_abs())
            .map(Self)
            .ok_or_else(|| InputValueError::custom("a timestamp is whole seconds since 1970, not negative"))
    }

    fn to_value(&self) -> Value {
        Value::Number(self.0.into())
    }
}

/// An opaque position. Of events: a place on a branch of the chain, which stays true while the chain grows. Pass it back as it
/// came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cursor(pub(crate) String);

/// An opaque position. Of events: a place on a branch of the chain, which stays true while the chain grows. Pass it back as it
/// came.
#[Scalar]
impl ScalarType for Cursor {
    fn parse(value: Value) -> InputValueResult<Self> {
        match value {
            Value::String(text) => Ok(Self(text)),
            other => Err(InputValueError::expected_type(other)),
        }
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.clone())
    }
}

/// Lowercase, with `0x`, of exactly this length.
fn hex_text(text: &str, length: usize) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    (lower.len() == length && lower.starts_with("0x")).then_some(lower)
}

/// At most 80 characters of what a client sent, for an error message.
pub(in crate::api) fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}
