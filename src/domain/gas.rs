//! What a plan of swaps costs in gas, about: constants that were measured, by protocol, as they are paid through the Universal Router by
//! somebody who holds both tokens and has let it spend them. A test compares them with receipts.

use alloy::primitives::U256;

use super::{
    pool::Protocol,
    route::{Hop, Route},
};

/// The transaction, its calldata, the router's own work, and what is paid with.
const BASE: u64 = 52_500;
/// Each way after the first.
const LEG: u64 = 16_000;
const V2_HOP: u64 = 54_500;
const V3_HOP: u64 = 53_000;
/// With the lock and what is settled …
const V4_FIRST: u64 = 57_500;
/// … and right after another one.
const V4_NEXT: u64 = 26_000;
/// What is between goes through the router.
const SWITCH: u64 = 10_000;
/// An initialised tick that is crossed, and the words of the bitmap on the way.
const TICK: u64 = 40_000;

/// Of a way, without what all of them share.
fn of_route(route: &Route) -> u64 {
    let mut before: Option<Protocol> = None;
    route.hops.iter().fold(0, |sum: u64, hop: &Hop| {
        let fixed = match hop.protocol {
            Protocol::UniswapV2 => V2_HOP,
            Protocol::UniswapV3 => V3_HOP,
            Protocol::UniswapV4 if before == Some(Protocol::UniswapV4) => V4_NEXT,
            Protocol::UniswapV4 => V4_FIRST,
        };
        let switch = if before.is_some_and(|before| before != hop.protocol) { SWITCH } else { 0 };
        before = Some(hop.protocol);
        sum.saturating_add(fixed).saturating_add(switch).saturating_add(TICK.saturating_mul(hop.crossed.into()))
    })
}

/// What a way more in the same transaction takes.
#[must_use]
pub fn of_leg(route: &Route) -> u64 {
    of_route(route).saturating_add(LEG)
}

/// Of ways side by side, in one transaction.
#[must_use]
pub fn of_plan(legs: &[Route]) -> u64 {
    let more = LEG.saturating_mul(u64::try_from(legs.len()).unwrap_or(u64::MAX).saturating_sub(1));
    legs.iter().fold(BASE.saturating_add(more), |sum, leg| sum.saturating_add(of_route(leg)))
}

/// What gas costs in a token: so many raw units for so much gas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InToken {
    pub price_wei: U256,
    /// What a wei is worth, and a raw unit of the token, in the same measure.
    pub wei: U256,
    pub unit: U256,
}

impl InToken {
    /// Raw units, rounded down; as much as there can be where the token is worth nothing.
    #[must_use]
    pub fn of(&self, gas: u64) -> U256 {
        let wei = self.price_wei.saturating_mul(U256::from(gas));
        super::pool::math::mul_div(wei, self.wei, self.unit, super::pool::math::Round::Down).unwrap_or(U256::MAX)
    }
}
