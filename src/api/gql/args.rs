//! Filters and orders: a closed set, because every one of them has an index.

use alloy::primitives::{Address, B256};
use async_graphql::{Enum, ID, InputObject};

use super::{
    block::Protocol,
    error::ApiError,
    scalars::{AddressScalar, Bytes, Timestamp},
};
use crate::{
    domain::pool::{self, PoolId},
    store::{PoolView, query::Narrow},
};

/// Which pools. All conditions that are given must hold.
#[derive(Debug, Clone, Default, InputObject)]
pub(crate) struct PoolWhere {
    /// Only pools of this protocol.
    protocol: Option<Protocol>,
    /// Only pools that trade this token, on either side.
    token: Option<AddressScalar>,
    /// Only pools of exactly these two tokens, in either order.
    tokens: Option<Vec<AddressScalar>>,
    /// Only pools of the exchange with this name in the server's configuration.
    dex: Option<String>,
}

/// What pools can be ordered by. Everything here never changes for a pool, so pages stay true while blocks arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Enum)]
#[graphql(rename_items = "camelCase")]
pub(crate) enum PoolOrder {
    /// Where in the chain they were created.
    #[default]
    CreatedAtBlockNumber,
    /// Their id.
    Id,
}

/// What tokens can be ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Enum)]
#[graphql(rename_items = "camelCase")]
pub(crate) enum TokenOrder {
    /// Their address.
    #[default]
    Id,
    /// Their symbol without regard to case, then their address. Tokens without one come first.
    Symbol,
}

/// What events can be ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Enum)]
#[graphql(rename_items = "camelCase")]
pub(crate) enum EventOrder {
    /// The order of the chain: block, then log index.
    #[default]
    Timestamp,
}

/// The conditions of [`PoolWhere`], checked.
#[derive(Debug, Clone, Default)]
pub(super) struct PoolFilter {
    protocol: Option<pool::Protocol>,
    token: Option<Address>,
    tokens: Option<(Address, Address)>,
    dex: Option<String>,
}

impl PoolFilter {
    pub(super) fn new(given: Option<PoolWhere>) -> Result<Self, ApiError> {
        let given = given.unwrap_or_default();
        let tokens = match given.tokens.as_deref() {
            None => None,
            Some([a, b]) => Some((a.0.min(b.0), a.0.max(b.0))),
            Some(_) => return Err(ApiError::input("`tokens` takes exactly two addresses; for pools with one token use `token`")),
        };
        Ok(Self { protocol: given.protocol.map(Into::into), token: given.token.map(|t| t.0), tokens, dex: given.dex })
    }

    pub(super) fn admits(&self, view: &PoolView) -> bool {
        let meta = &view.meta;
        self.protocol.is_none_or(|p| p == meta.protocol)
            && self.token.is_none_or(|t| t == meta.token0 || t == meta.token1)
            && self.tokens.is_none_or(|pair| pair == (meta.token0.min(meta.token1), meta.token0.max(meta.token1)))
            && self.dex.as_ref().is_none_or(|d| *d == meta.dex)
    }
}

/// The conditions that swaps, mints and burns have in common.
#[derive(Debug, Clone, Default)]
pub(super) struct EventFilter {
    pub(super) pool: Option<PoolId>,
    pub(super) token: Option<Address>,
    pub(super) origin: Option<Address>,
    pub(super) transaction: Option<B256>,
    pub(super) time_from: Option<u64>,
    pub(super) time_to: Option<u64>,
}

impl EventFilter {
    /// At most one of the four, because each has its own index.
    pub(super) fn narrow(&self) -> Result<Narrow, ApiError> {
        match (self.pool, self.token, self.origin, self.transaction) {
            (None, None, None, None) => Ok(Narrow::All),
            (Some(pool), None, None, None) => Ok(Narrow::Pool(pool)),
            (None, Some(token), None, None) => Ok(Narrow::Token(token)),
            (None, None, Some(origin), None) => Ok(Narrow::Origin(origin)),
            (None, None, None, Some(hash)) => Ok(Narrow::Transaction(hash)),
            _ => Err(ApiError::input(
                "`where` takes at most one of pool, token, origin and transaction, together with timestamp_gte and timestamp_lt",
            )),
        }
    }
}

pub(super) fn pool_id(id: &ID) -> Result<PoolId, ApiError> {
    id.to_ascii_lowercase().parse().map_err(|_| {
        ApiError::input(format!(
            "`{}` is no pool id: give a 0x address (20 bytes) or a 0x pool id (32 bytes)",
            super::scalars::shown(id)
        ))
    })
}

pub(super) fn token_id(id: &ID) -> Result<Address, ApiError> {
    id.to_ascii_lowercase().parse().map_err(|_| {
        ApiError::input(format!("`{}` is no token id: give its address, 0x and 40 hex digits", super::scalars::shown(id)))
    })
}

pub(super) fn transaction_id(id: &ID) -> Result<B256, ApiError> {
    id.to_ascii_lowercase().parse().map_err(|_| {
        ApiError::input(format!("`{}` is no transaction: give its hash, 0x and 64 hex digits", super::scalars::shown(id)))
    })
}

macro_rules! event_where {
    ($name:ident, $doc:literal) => {
        #[doc = $doc]
        #[derive(Debug, Clone, Default, InputObject)]
        pub(crate) struct $name {
            /// Only events of this pool.
            pool: Option<ID>,
            /// Only events of pools that trade this token, on either side.
            token: Option<AddressScalar>,
            /// Only events of transactions signed by this account. Known once the transaction has been looked up.
            origin: Option<AddressScalar>,
            /// Only events of the transaction with this hash, 32 bytes.
            transaction: Option<Bytes>,
            /// Only events of blocks at or after this time, seconds since 1970.
            #[graphql(name = "timestamp_gte")]
            timestamp_gte: Option<Timestamp>,
            /// Only events of blocks before this time, seconds since 1970.
            #[graphql(name = "timestamp_lt")]
            timestamp_lt: Option<Timestamp>,
        }

        impl TryFrom<Option<$name>> for EventFilter {
            type Error = ApiError;

            fn try_from(given: Option<$name>) -> Result<Self, ApiError> {
                let given = given.unwrap_or_default();
                Ok(Self {
                    pool: given.pool.as_ref().map(pool_id).transpose()?,
                    token: given.token.map(|t| t.0),
                    origin: given.origin.map(|o| o.0),
                    transaction: given.transaction.map(|t| t.hash()),
                    time_from: given.timestamp_gte.map(|t| t.0),
                    time_to: given.timestamp_lt.map(|t| t.0),
                })
            }
        }
    };
}

event_where!(SwapWhere, "Which swaps: at most one of pool, token, origin and transaction, within a stretch of time.");
event_where!(MintWhere, "Which mints: at most one of pool, token, origin and transaction, within a stretch of time.");
event_where!(BurnWhere, "Which burns: at most one of pool, token, origin and transaction, within a stretch of time.");
