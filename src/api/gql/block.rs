//! Blocks, and the small closed sets of words.

use async_graphql::{Enum, SimpleObject};

use super::scalars::{Bytes, Timestamp};
use crate::{
    domain::{block, pool},
    store,
};

/// A block of one chain. The hash names it; a number alone does not survive a reorg.
#[derive(Debug, Clone, SimpleObject)]
pub(crate) struct BlockRef {
    /// Height: blocks since genesis.
    number: u64,
    /// Hash of the block, 32 bytes.
    hash: Bytes,
    /// Time in the block's header, seconds since 1970.
    timestamp: Timestamp,
    /// Hash of the block before, 32 bytes. Null where only the position is known.
    parent_hash: Option<Bytes>,
}

impl From<block::BlockRef> for BlockRef {
    fn from(block: block::BlockRef) -> Self {
        let unknown = block.parent_hash.is_zero() && block.number > 0;
        Self {
            number: block.number,
            hash: block.hash.into(),
            timestamp: Timestamp(block.timestamp),
            parent_hash: (!unknown).then(|| block.parent_hash.into()),
        }
    }
}

/// How settled a block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub(crate) enum Commitment {
    /// On the newest chain; a reorg may take it back.
    Latest,
    /// As many blocks deep as the configuration asks for (`confirmations`).
    Safe,
    /// Beyond the undo window: never retracted.
    Finalized,
}

impl From<block::Commitment> for Commitment {
    fn from(commitment: block::Commitment) -> Self {
        match commitment {
            block::Commitment::Latest => Self::Latest,
            block::Commitment::Safe => Self::Safe,
            block::Commitment::Finalized => Self::Finalized,
        }
    }
}

/// Whether an answer is as new as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub(crate) enum Freshness {
    /// The newest block came in time.
    Live,
    /// Catching up, or no block for `stall_timeout_ms`.
    Delayed,
    /// No block for three times that.
    Stale,
}

impl From<store::Freshness> for Freshness {
    fn from(freshness: store::Freshness) -> Self {
        match freshness {
            store::Freshness::Live => Self::Live,
            store::Freshness::Delayed => Self::Delayed,
            store::Freshness::Stale => Self::Stale,
        }
    }
}

impl Freshness {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "LIVE",
            Self::Delayed => "DELAYED",
            Self::Stale => "STALE",
        }
    }
}

/// The exchange protocol that a pool speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub(crate) enum Protocol {
    /// Constant product, two reserves.
    #[graphql(name = "UNISWAP_V2")]
    UniswapV2,
    /// Concentrated liquidity, a contract per pool.
    #[graphql(name = "UNISWAP_V3")]
    UniswapV3,
    /// Concentrated liquidity, all pools in one contract, with hooks.
    #[graphql(name = "UNISWAP_V4")]
    UniswapV4,
}

impl From<pool::Protocol> for Protocol {
    fn from(protocol: pool::Protocol) -> Self {
        match protocol {
            pool::Protocol::UniswapV2 => Self::UniswapV2,
            pool::Protocol::UniswapV3 => Self::UniswapV3,
            pool::Protocol::UniswapV4 => Self::UniswapV4,
        }
    }
}

impl From<Protocol> for pool::Protocol {
    fn from(protocol: Protocol) -> Self {
        match protocol {
            Protocol::UniswapV2 => Self::UniswapV2,
            Protocol::UniswapV3 => Self::UniswapV3,
            Protocol::UniswapV4 => Self::UniswapV4,
        }
    }
}

/// How far a pool's state can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub(crate) enum PoolStatus {
    /// Equals the contract at `asOf`, the newest block.
    Live,
    /// Being rebuilt after a failure: true at `asOf`, which is an older block.
    Rebuilding,
    /// Given up after repeated failures: true at `asOf`, not after.
    Faulted,
}

impl From<store::PoolStatus> for PoolStatus {
    fn from(status: store::PoolStatus) -> Self {
        match status {
            store::PoolStatus::Live => Self::Live,
            store::PoolStatus::Rebuilding => Self::Rebuilding,
            store::PoolStatus::Faulted => Self::Faulted,
        }
    }
}

/// Where an answer came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub(crate) enum DataSource {
    /// The live state in memory.
    Memory,
    /// The SQLite store.
    Sqlite,
    /// The MongoDB store.
    Mongodb,
}

impl From<store::DataSource> for DataSource {
    fn from(source: store::DataSource) -> Self {
        match source {
            store::DataSource::Memory => Self::Memory,
            store::DataSource::Sqlite => Self::Sqlite,
            store::DataSource::Mongodb => Self::Mongodb,
        }
    }
}

/// Ascending or descending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Enum)]
#[graphql(rename_items = "lowercase")]
pub(crate) enum OrderDirection {
    /// Oldest, or smallest, first.
    #[default]
    Asc,
    /// Newest, or largest, first.
    Desc,
}
