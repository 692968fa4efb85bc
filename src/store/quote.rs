//! What a swap would pay at a pinned block: the best way over the pools as they stand there.

use std::sync::Arc;

use alloy::primitives::{Address, U256};

use super::{
    pin::Pin,
    view::{PoolStatus, PoolView},
};
use crate::domain::{
    pool::{Protocol, step::Amount},
    route::{NoRoute, Route, Venue, Venues},
};

/// Halvings on the way to what would have worked: to a part in four million.
const HALVINGS: usize = 22;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    pub token_in: Address,
    pub token_out: Address,
    pub amount: Amount,
    /// 1 to [`crate::domain::route::HOPS_MAX`].
    pub hops_max: usize,
    /// Only pools of these; of all where there are none.
    pub protocols: Vec<Protocol>,
}

/// The best way, with its pools in the same order.
#[derive(Debug, Clone)]
pub struct Quoted {
    pub route: Route,
    pub pools: Vec<Arc<PoolView>>,
}

impl Pin {
    /// The best way at this epoch. Pools whose state is not of its block are left out.
    ///
    /// # Errors
    /// Where no way leads there, or none has room for the amount.
    pub fn quote(&self, ask: &Ask) -> Result<Quoted, NoRoute> {
        let views = self.venues(&ask.protocols);
        let route = graph(&views).best(ask.token_in, ask.token_out, ask.amount, ask.hops_max)?;
        let pool = |id| views.iter().find(|view| view.meta.id == id).cloned();
        let pools = route.hops.iter().filter_map(|hop| pool(hop.pool)).collect();
        Ok(Quoted { route, pools })
    }

    /// About how much would go where so much does not, raw units of the same token; 0 where nothing does. Some thirty quotes long.
    #[must_use]
    pub fn most(&self, ask: &Ask) -> U256 {
        let views = self.venues(&ask.protocols);
        let graph = graph(&views);
        most(ask.amount, |amount| graph.best(ask.token_in, ask.token_out, amount, ask.hops_max).is_ok())
    }

    fn venues(&self, protocols: &[Protocol]) -> Vec<Arc<PoolView>> {
        let mut views = self.pools();
        let is_wanted = |protocol: &Protocol| protocols.is_empty() || protocols.contains(protocol);
        views.retain(|view| view.status == PoolStatus::Live && is_wanted(&view.meta.protocol));
        views
    }
}

fn graph(views: &[Arc<PoolView>]) -> Venues<'_> {
    Venues::new(views.iter().map(|view| Venue { meta: &view.meta, state: &view.image.state }))
}

/// The most that works, below what does not: its size first, then by halves.
fn most(amount: Amount, works: impl Fn(Amount) -> bool) -> U256 {
    let (asked, of): (U256, fn(U256) -> Amount) = match amount {
        Amount::In(asked) => (asked, Amount::In),
        Amount::Out(asked) => (asked, Amount::Out),
    };
    let power = |bits: usize| U256::ONE.wrapping_shl(bits);
    // Of the powers of two, so many from the smallest on work.
    let (mut low, mut high) = (0, asked.bit_len());
    while low < high {
        let middle = low.midpoint(high);
        if power(middle) < asked && works(of(power(middle))) { low = middle.saturating_add(1) } else { high = middle }
    }
    let Some(bits) = low.checked_sub(1) else { return U256::ZERO };
    let (mut below, mut above) = (power(bits), asked.min(power(low)));
    for _ in 0..HALVINGS {
        let middle = below.saturating_add(above.saturating_sub(below).wrapping_shr(1));
        if middle == below {
            break;
        }
        if works(of(middle)) { below = middle } else { above = middle }
    }
    below
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_have_worked_is_found_to_a_millionth() {
        for (asked, limit) in [(1_000_u64, 999_u64), (1_000, 1), (1_000, 0), (u64::MAX, 3), (u64::MAX, 1 << 62), (2, 1), (1, 0)] {
            let found = most(Amount::In(U256::from(asked)), |amount| matches!(amount, Amount::In(a) if a <= U256::from(limit)));
            let exact = U256::from(limit);
            assert!(found <= exact && exact - found <= exact >> 20, "{asked} {limit}: {found}");
        }
    }
}
