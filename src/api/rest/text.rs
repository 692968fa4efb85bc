//! Texts with a shape. Amounts are texts, because a number of JSON is a double and an amount has up to 256 bits.

use std::fmt::LowerHex;

use alloy::primitives::{I256, U256};
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::{ChainId, block::BlockRef, pool::PoolId, record::event_id};

/// 20 bytes, lowercase.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(pattern = "^0x[0-9a-f]{40}$", example = "0xc02aaa39b223fe8d0a0e5c4f27ead9083c756cc2")]
pub(super) struct Address(String);

impl From<alloy::primitives::Address> for Address {
    fn from(address: alloy::primitives::Address) -> Self {
        Self(hex(address))
    }
}

/// 32 bytes, lowercase.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(pattern = "^0x[0-9a-f]{64}$", example = "0x88df016429689c079f3b2f6ad39fa052532c56795b733da78a91ebe6a713944b")]
pub(super) struct Hash(String);

impl From<alloy::primitives::B256> for Hash {
    fn from(hash: alloy::primitives::B256) -> Self {
        Self(hex(hash))
    }
}

fn hex(bytes: impl LowerHex) -> String {
    format!("{bytes:#x}")
}

/// The contract's address, lowercase; 32 bytes where pools are no contracts.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(pattern = "^0x([0-9a-f]{40}|[0-9a-f]{64})$", example = "0x88e6a0c2ddd26feeb64f039a2c41296fcb3f5640")]
pub(super) struct PoolKey(String);

impl From<PoolId> for PoolKey {
    fn from(id: PoolId) -> Self {
        Self(id.to_string())
    }
}

/// `manager#tokenId`; of one without a manager `pool#owner:tickLower:tickUpper`, of V4 with `:salt` if it has one.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(
    pattern = "^0x[0-9a-f]{40,64}#([0-9]+|0x[0-9a-f]{40}:-?[0-9]+:-?[0-9]+(:0x[0-9a-f]{64})?)$",
    example = "0xc36442b4a4522e871399cd717abdd847ab11fe88#1"
)]
pub(super) struct PositionKey(String);

impl From<String> for PositionKey {
    fn from(id: String) -> Self {
        Self(id)
    }
}

/// Bytes of a transaction, hexadecimal.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(pattern = "^0x([0-9a-f]{2})*$", example = "0x3593564c")]
pub(super) struct Calldata(String);

impl From<&alloy::primitives::Bytes> for Calldata {
    fn from(data: &alloy::primitives::Bytes) -> Self {
        Self(data.to_string())
    }
}

/// `chainId:blockHash:logIndex`: a transaction that is mined again after a reorg gets a new one.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(
    pattern = "^[0-9]+:0x[0-9a-f]{64}:[0-9]+$",
    example = "1:0x88df016429689c079f3b2f6ad39fa052532c56795b733da78a91ebe6a713944b:7"
)]
pub(super) struct EventId(String);

impl EventId {
    pub(super) fn new(chain: ChainId, block: &BlockRef, log_index: u64) -> Self {
        Self(event_id(chain, &block.hash, log_index))
    }
}

/// A whole number that is never negative, up to 256 bits.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(pattern = "^(0|[1-9][0-9]{0,77})$", example = "340282366920938463463")]
pub(super) struct Unsigned(String);

macro_rules! whole {
    ($name:ident: $($number:ty),+) => {
        $(impl From<$number> for $name {
            fn from(value: $number) -> Self {
                Self(value.to_string())
            }
        })+
    };
}

whole!(Unsigned: u64, u128, U256);

/// A whole number, up to 256 bits.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(pattern = "^(0|-?[1-9][0-9]{0,77})$", example = "-1500000000")]
pub(super) struct Signed(String);

whole!(Signed: i128, I256);

/// A decimal number without an exponent.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(pattern = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?$", example = "3016.0123")]
pub(super) struct Decimal(pub(super) String);

/// A position in a list. It means something to this server only.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(
    pattern = "^[0-9A-Za-z_-]+$",
    max_length = 200,
    example = "cG9vbC8weDg4ZTZhMGMyZGRkMjZmZWViNjRmMDM5YTJjNDEyOTZmY2IzZjU2NDA"
)]
pub(super) struct Cursor(String);

impl Cursor {
    pub(super) fn into_text(self) -> String {
        self.0
    }
}

impl From<String> for Cursor {
    fn from(text: String) -> Self {
        Self(text)
    }
}
