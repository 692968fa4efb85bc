//! What a position is worth in tokens, ready to be written: for GraphQL and REST.

use alloy::primitives::U256;

use super::token::decimals;
use crate::{
    domain::{pool::fees::Both, price},
    store::{
        Pin,
        positions::{PositionAt, PositionId},
    },
};

/// Amounts in the tokens' own units; null where a token has no decimals, or nobody knows.
#[derive(Debug, Clone)]
pub(in crate::api) struct PositionValue {
    pub(in crate::api) id: String,
    pub(in crate::api) token_id: Option<U256>,
    /// What burning all of it would free.
    pub(in crate::api) held: Both<Option<String>>,
    pub(in crate::api) uncollected: Both<Option<String>>,
    pub(in crate::api) deposited: Both<Option<String>>,
    pub(in crate::api) withdrawn: Both<Option<String>>,
    pub(in crate::api) collected: Both<Option<String>>,
}

impl PositionValue {
    pub(in crate::api) fn new(pin: &Pin, at: &PositionAt) -> Self {
        let meta = &at.pool.meta;
        let (decimals0, decimals1) = (decimals(pin, &meta.token0), decimals(pin, &meta.token1));
        let written = |[raw0, raw1]: Both<U256>| {
            let one = |raw: U256, decimals: Option<u8>| price::unsigned_amount(raw, decimals?);
            [one(raw0, decimals0), one(raw1, decimals1)]
        };
        let of_token = |raw: Option<Both<U256>>| raw.map_or([None, None], written);
        let (id, token_id) = match (at.id, &at.token) {
            (PositionId::Token(token_id), Some(token)) => (format!("{:#x}#{token_id}", token.manager), Some(token_id)),
            (id, _) => (format!("{}#{id}", meta.id), None),
        };
        Self {
            id,
            token_id,
            held: written(at.held),
            uncollected: written(at.uncollected.map(U256::from)),
            deposited: of_token(at.token.map(|token| token.deposited)),
            withdrawn: of_token(at.token.map(|token| token.withdrawn)),
            collected: of_token(at.token.map(|token| token.collected)),
        }
    }
}
