//! What a pool holds, traded and took for it, ready to be written: for GraphQL and REST.

use alloy::primitives::U256;

use super::token::decimals;
use crate::{
    domain::{
        dollars::usd_text,
        pool::{PoolState, fees::Both},
        price,
    },
    store::{Pin, PoolView},
};

/// Hundredths of a basis point in all.
const PIPS: u128 = 1_000_000;

/// Amounts in the tokens' own units; null where a token has no decimals, or nobody knows.
#[derive(Debug, Clone, Default)]
pub(in crate::api) struct PoolValue {
    pub(in crate::api) locked0: Option<String>,
    pub(in crate::api) locked1: Option<String>,
    pub(in crate::api) volume0: Option<String>,
    pub(in crate::api) volume1: Option<String>,
    /// Null where the value of some swap is not known.
    pub(in crate::api) volume_usd: Option<String>,
    pub(in crate::api) fees_usd: Option<String>,
    /// What traders paid, the protocol's part included.
    pub(in crate::api) fees0: Option<String>,
    pub(in crate::api) fees1: Option<String>,
    /// Fees that owners of positions took out.
    pub(in crate::api) collected0: Option<String>,
    pub(in crate::api) collected1: Option<String>,
    /// What the protocol may take out.
    pub(in crate::api) protocol0: Option<String>,
    pub(in crate::api) protocol1: Option<String>,
    pub(in crate::api) swaps: u32,
}

impl PoolValue {
    pub(in crate::api) fn new(pin: &Pin, view: &PoolView) -> Self {
        let (decimals0, decimals1) = (decimals(pin, &view.meta.token0), decimals(pin, &view.meta.token1));
        let written = |raw: U256, decimals: Option<u8>| price::unsigned_amount(raw, decimals?);
        let locked = view.locked();
        let (buys, sells) = view.market.totals();
        let usd = buys.volume_usd().zip(sells.volume_usd()).map(|(bought, sold)| bought.saturating_add(sold));
        // Where swaps have fees of their own, hours and days know them, but not all of the past together.
        let has_own_fees =
            view.meta.has_dynamic_fee() || matches!(&view.image.state, PoolState::V4(pool) if pool.fee_protocol != 0);
        let of = |usd: u128| usd.saturating_mul(u128::from(view.meta.fee_pips)).checked_div(PIPS);
        let fees = |usd: u128| of(usd).filter(|_| !has_own_fees);
        let [fees0, fees1] = paid(view).map_or([None, None], |paid| paid.map(Some));
        let books = view.image.fees.as_deref();
        let [collected0, collected1] =
            books.filter(|fees| fees.positions.is_some()).map_or([None, None], |fees| fees.collected.map(Some));
        let [protocol0, protocol1] = books.map_or([None, None], |fees| fees.protocol.map(|raw| Some(U256::from(raw))));
        Self {
            fees0: fees0.and_then(|raw| written(raw, decimals0)),
            fees1: fees1.and_then(|raw| written(raw, decimals1)),
            collected0: collected0.and_then(|raw| written(raw, decimals0)),
            collected1: collected1.and_then(|raw| written(raw, decimals1)),
            protocol0: protocol0.and_then(|raw| written(raw, decimals0)),
            protocol1: protocol1.and_then(|raw| written(raw, decimals1)),
            locked0: locked.and_then(|(held, _)| written(held, decimals0)),
            locked1: locked.and_then(|(_, held)| written(held, decimals1)),
            volume0: written(buys.volume0.saturating_add(sells.volume0), decimals0),
            volume1: written(buys.volume1.saturating_add(sells.volume1), decimals1),
            volume_usd: usd.map(usd_text),
            fees_usd: usd.and_then(fees).map(usd_text),
            swaps: buys.trades.saturating_add(sells.trades),
        }
    }
}

/// What traders paid in token0 and token1, raw units. A pair takes its part of all that comes in; a buy pays token1.
fn paid(view: &PoolView) -> Option<Both<U256>> {
    if view.image.state.v3().is_some() {
        return Some(view.image.fees.as_ref()?.paid);
    }
    let (buys, sells) = view.market.totals();
    let part = |raw: U256| raw.saturating_mul(U256::from(view.meta.fee_pips)).checked_div(U256::from(PIPS));
    Some([part(sells.volume0)?, part(buys.volume1)?])
}

/// What a pool holds in dollars, both tokens together. `None` where one that is there has no price.
pub(in crate::api) fn locked_usd(pin: &Pin, view: &PoolView) -> Option<String> {
    let locked = view.locked()?;
    let usd = pin.with_prices(|prices| prices.both(&view.meta, locked)).flatten()?;
    Some(usd.to_string())
}
