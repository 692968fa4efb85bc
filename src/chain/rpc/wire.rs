//! JSON-RPC as it comes over the wire, parsed once and only as far as it is needed: a backfill reads hundreds of megabytes.

use std::fmt;

use alloy::{
    consensus::Eip658Value,
    hex,
    primitives::{Address, B256, Bloom, Bytes},
};
use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeOwned, Error as _, Visitor},
};

use super::errors::Failure;
use crate::{
    chain::verify::{BlockReceipt, PlacedLog},
    domain::{
        block::{BlockRef, Header},
        event::RawLog,
    },
};

/// `N` bytes as `0x` and exactly `2 N` hex digits.
pub(super) struct Fixed<const N: usize>(pub(super) [u8; N]);

impl<'de, const N: usize> Deserialize<'de> for Fixed<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Hex<const N: usize>;
        impl<const N: usize> Visitor<'_> for Hex<N> {
            type Value = Fixed<N>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{N} bytes as hex")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                let mut bytes = [0; N];
                hex::decode_to_slice(text, &mut bytes).map_err(E::custom)?;
                Ok(Fixed(bytes))
            }
        }
        deserializer.deserialize_str(Hex)
    }
}

/// Any number of bytes as hex.
pub(super) struct Data(pub(super) Bytes);

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Hex;
        impl Visitor<'_> for Hex {
            type Value = Data;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes as hex")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                hex::decode(text).map(|bytes| Data(bytes.into())).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Hex)
    }
}

/// A number as `0x` hex, or as a plain JSON number (some L2 nodes).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Quantity(pub(super) u64);

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Quantity;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a quantity of at most 64 bits")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                let digits = text.strip_prefix("0x").ok_or_else(|| E::custom("a quantity starts with 0x"))?;
                u64::from_str_radix(digits, 16).map(Quantity).map_err(E::custom)
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Self::Value, E> {
                Ok(Quantity(value))
            }
        }
        deserializer.deserialize_any(Number)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireLog {
    address: Fixed<20>,
    topics: Topics,
    data: Data,
    block_number: Quantity,
    block_hash: Fixed<32>,
    #[serde(default)]
    block_timestamp: Option<Quantity>,
    transaction_hash: Fixed<32>,
    transaction_index: Quantity,
    log_index: Quantity,
    #[serde(default)]
    removed: bool,
}

/// At most four: the EVM has no LOG5.
struct Topics(Vec<B256>);

impl<'de> Deserialize<'de> for Topics {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Topics;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("0 to 4 topics")
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut four = [B256::ZERO; 4];
                let mut count = 0_usize;
                while let Some(Fixed(topic)) = list.next_element::<Fixed<32>>()? {
                    *four.get_mut(count).ok_or_else(|| de::Error::invalid_length(5, &self))? = B256::from(topic);
                    count = count.saturating_add(1);
                }
                // One allocation of the right size.
                Ok(Topics(four.get(..count).unwrap_or_default().to_vec()))
            }
        }
        deserializer.deserialize_seq(List)
    }
}

impl<'de> Deserialize<'de> for PlacedLog {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let log = WireLog::deserialize(deserializer)?;
        Ok(Self {
            block_number: log.block_number.0,
            block_hash: log.block_hash.0.into(),
            block_timestamp: log.block_timestamp.map(|t| t.0),
            removed: log.removed,
            log: RawLog {
                address: Address::from(log.address.0),
                topics: log.topics.0,
                data: log.data.0,
                tx_hash: log.transaction_hash.0.into(),
                tx_index: log.transaction_index.0,
                log_index: log.log_index.0,
            },
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireReceipt {
    #[serde(default, rename = "type")]
    kind: Option<Quantity>,
    #[serde(default)]
    status: Option<Quantity>,
    #[serde(default)]
    root: Option<Fixed<32>>,
    cumulative_gas_used: Quantity,
    logs_bloom: Box<Fixed<256>>,
    logs: Vec<PlacedLog>,
    #[serde(default)]
    deposit_nonce: Option<Quantity>,
    #[serde(default)]
    deposit_receipt_version: Option<Quantity>,
}

impl<'de> Deserialize<'de> for BlockReceipt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let receipt = WireReceipt::deserialize(deserializer)?;
        let outcome = match (receipt.status, receipt.root) {
            (Some(status), _) => Eip658Value::Eip658(status.0 == 1),
            (None, Some(root)) => Eip658Value::PostState(root.0.into()),
            (None, None) => return Err(D::Error::custom("a receipt without a status")),
        };
        let kind = receipt.kind.map_or(0, |kind| kind.0);
        Ok(Self {
            kind: u8::try_from(kind).map_err(|_| D::Error::custom("a receipt of a type beyond 255"))?,
            outcome,
            gas_used: receipt.cumulative_gas_used.0,
            bloom: Bloom::from(receipt.logs_bloom.0),
            logs: receipt.logs,
            deposit: receipt.deposit_nonce.into_iter().chain(receipt.deposit_receipt_version).map(|field| field.0).collect(),
        })
    }
}

/// The few fields of a block that are needed.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireHeader {
    number: Quantity,
    hash: Fixed<32>,
    parent_hash: Fixed<32>,
    timestamp: Quantity,
    logs_bloom: Box<Fixed<256>>,
    #[serde(default)]
    receipts_root: Option<Fixed<32>>,
    /// Not worth a header: one that cannot be read is none.
    #[serde(default)]
    base_fee_per_gas: Option<serde_json::Value>,
}

impl From<WireHeader> for Header {
    fn from(wire: WireHeader) -> Self {
        let block = BlockRef {
            number: wire.number.0,
            hash: wire.hash.0.into(),
            parent_hash: wire.parent_hash.0.into(),
            timestamp: wire.timestamp.0,
        };
        let receipts_root = wire.receipts_root.map(|root| root.0.into());
        let digits = wire.base_fee_per_gas.as_ref().and_then(|fee| fee.as_str()?.strip_prefix("0x"));
        let base_fee_wei = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
        Self { block, logs_bloom: Box::new(Bloom::from(wire.logs_bloom.0)), receipts_root, base_fee_wei }
    }
}

/// The error object of JSON-RPC.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct WireError {
    #[serde(default)]
    pub(super) code: i64,
    #[serde(default)]
    pub(super) message: String,
}

#[derive(Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
struct Envelope<T> {
    /// Outer `None`: absent. Inner `None`: `null`, which is how a node says that it does not know.
    #[serde(default = "absent", deserialize_with = "present")]
    result: Option<Option<T>>,
    #[serde(default)]
    error: Option<WireError>,
}

fn absent<T>() -> Option<Option<T>> {
    None
}

fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// A whole JSON-RPC response; `None` is the result `null`.
pub(super) fn response<T: DeserializeOwned>(body: &[u8]) -> Result<Option<T>, Failure> {
    let envelope: Envelope<T> = serde_json::from_slice(body).map_err(|e| Failure::BadAnswer(e.to_string()))?;
    match (envelope.error, envelope.result) {
        (Some(error), _) => Err(error.into()),
        (None, Some(result)) => Ok(result),
        (None, None) => Err(Failure::BadAnswer("neither a result nor an error".into())),
    }
}

#[cfg(test)]
mod tests;
