//! The ways of a quote: pools one after the other, with what each pays and who says so.

use std::sync::Arc;

use alloy::primitives::U256;
use async_graphql::{Enum, Object};

use super::{
    pool::Pool,
    scalars::{AddressScalar, BigInt},
};
use crate::{
    domain::route::{Hop, Route},
    store::{Pin, PoolView},
};

/// A swap in one pool, as its contract would do it.
pub(crate) struct QuoteHop {
    pin: Arc<Pin>,
    hop: Hop,
    said: Option<U256>,
}

/// A swap in one pool, as its contract would do it.
#[Object]
impl QuoteHop {
    /// Where; null only if it is gone meanwhile.
    async fn pool(&self) -> Option<Pool> {
        self.pin.pool(&self.hop.pool).map(|view| Pool::new(&self.pin, view))
    }

    /// What is paid with.
    async fn token_in(&self) -> AddressScalar {
        AddressScalar(self.hop.token_in)
    }

    /// What is bought.
    async fn token_out(&self) -> AddressScalar {
        AddressScalar(self.hop.token_out)
    }

    /// Raw units, the fee included.
    async fn amount_in(&self) -> BigInt {
        self.hop.amount_in.into()
    }

    /// Raw units.
    async fn amount_out(&self) -> BigInt {
        self.hop.amount_out.into()
    }

    /// With `verify: CALL`: the amount that follows from the other, as Router02, QuoterV2 or V4Quoter say it at the same block. Null where none is
    /// configured, where it does not answer, and where a way before goes through the same pool, which no call can see.
    async fn node_amount(&self) -> Option<BigInt> {
        self.said.map(Into::into)
    }

    /// Where the amounts are from: NODE where the pool's hook has a say.
    async fn source(&self) -> QuoteSource {
        source(self.pin.pool(&self.hop.pool).as_deref())
    }

    /// Initialised ticks that are crossed: each takes some gas.
    async fn ticks_crossed(&self) -> u32 {
        self.hop.crossed
    }
}

/// Pools, one after the other.
pub(crate) struct RouteLeg {
    pin: Arc<Pin>,
    route: Route,
    said: Vec<Option<U256>>,
}

/// Pools, one after the other.
#[Object]
impl RouteLeg {
    /// Raw units, fees included.
    async fn amount_in(&self) -> BigInt {
        self.route.amount_in().into()
    }

    /// Raw units.
    async fn amount_out(&self) -> BigInt {
        self.route.amount_out().into()
    }

    /// In the order of the swap.
    #[graphql(complexity = "4 * child_complexity")]
    async fn hops(&self) -> Vec<QuoteHop> {
        let said = self.said.iter().copied().chain(std::iter::repeat(None));
        self.route.hops.iter().zip(said).map(|(hop, said)| QuoteHop { pin: self.pin.clone(), hop: *hop, said }).collect()
    }
}

/// Where amounts are from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub(crate) enum QuoteSource {
    /// Computed here, out of the pool's state.
    Memory,
    /// Asked of the node, at the same block.
    Node,
}

impl RouteLeg {
    /// `said`: what the contracts say of each hop; shorter where nobody asked them.
    pub(super) fn new(pin: Arc<Pin>, route: Route, said: Vec<Option<U256>>) -> Self {
        Self { pin, route, said }
    }
}

pub(super) fn source(pool: Option<&PoolView>) -> QuoteSource {
    if pool.is_some_and(|view| view.meta.is_hooked()) { QuoteSource::Node } else { QuoteSource::Memory }
}
