//! A price out of pools, for GraphQL and REST.

use alloy::primitives::{Address, U256};

use super::{price::parts_text, token::decimals};
use crate::{
    domain::{
        dollars::{Dollars, Priced, Say},
        feed,
    },
    store::{Freshness, Pin},
};

/// A price out of pools, ready to be written.
pub(in crate::api) struct PoolPrice {
    pub(in crate::api) value: Option<String>,
    /// As new as the chain that the pools are of.
    pub(in crate::api) status: feed::FeedStatus,
    pub(in crate::api) says: Vec<PoolSay>,
}

/// What one pool says.
pub(in crate::api) struct PoolSay {
    /// `pool:0x…`
    pub(in crate::api) name: String,
    pub(in crate::api) value: Option<String>,
    /// 0 to 1.
    pub(in crate::api) weight: String,
    pub(in crate::api) is_thin: bool,
}

impl PoolPrice {
    /// Nothing where the token's decimals are not known.
    pub(in crate::api) fn new(pin: &Pin, token: &Address, priced: Option<&Priced>) -> Self {
        let decimals = decimals(pin, token);
        let written = |price: Dollars| price.decimal(decimals?);
        let says = priced.map_or(&[][..], |priced| priced.says.as_slice());
        let all = says.iter().filter(|say| !say.is_thin).fold(U256::ZERO, |all, say| all.saturating_add(U256::from(say.weight)));
        let part = |say: &Say| {
            let millionths = U256::from(say.weight).saturating_mul(U256::from(feed::WEIGHT_ONE)).checked_div(all);
            let part = millionths.filter(|_| !say.is_thin).and_then(|part| u32::try_from(part).ok());
            parts_text(part.unwrap_or(0))
        };
        let say = |say: &Say| PoolSay {
            name: format!("pool:{}", say.pool),
            value: written(say.price),
            weight: part(say),
            is_thin: say.is_thin,
        };
        let value = priced.and_then(|priced| written(priced.price));
        let status = match (&value, pin.freshness()) {
            (None, _) => feed::FeedStatus::Halted,
            (Some(_), Freshness::Live) => feed::FeedStatus::Fresh,
            (Some(_), Freshness::Delayed | Freshness::Stale) => feed::FeedStatus::Stale,
        };
        Self { value, status, says: says.iter().map(say).collect() }
    }
}
