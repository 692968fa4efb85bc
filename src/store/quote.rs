//! What a swap would pay at a pinned block: the best way over the pools as they stand there.

use std::{collections::HashMap, sync::Arc};

use alloy::primitives::{Address, U256};

use super::{
    pin::Pin,
    view::{PoolStatus, PoolView},
};
use crate::domain::{
    dollars::Usd,
    gas::{self, InToken},
    pool::{PoolId, Protocol, step::Amount},
    route::{NoRoute, Route, Venue, Venues},
    split::{Limits, Plan},
};

/// Who does swaps for others, on one chain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routers {
    /// Uniswap's Universal Router: of all protocols.
    pub universal: Option<Address>,
    /// Of each exchange its own: of V2 a Router02, of V3 a SwapRouter.
    pub by_dex: HashMap<String, Address>,
    /// Who says of each exchange what a swap comes to: of V3 a QuoterV2, of V4 a V4Quoter.
    pub quoters: HashMap<String, Address>,
}

/// Halvings on the way to what would have worked: to a part in four million.
const HALVINGS: usize = 22;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    pub token_in: Address,
    pub token_out: Address,
    pub amount: Amount,
    pub limits: Limits,
    /// What gas costs, in wei; `None`: it is not counted.
    pub gas_price_wei: Option<U256>,
    /// Only pools of these; of all where there are none.
    pub protocols: Vec<Protocol>,
}

impl Ask {
    /// The token whose amount is not given.
    #[must_use]
    pub fn other(&self) -> Address {
        match self.amount {
            Amount::In(_) => self.token_out,
            Amount::Out(_) => self.token_in,
        }
    }
}

/// The best plan, with its pools.
#[derive(Debug, Clone)]
pub struct Quoted {
    pub plan: Plan,
    /// Each once.
    pub pools: Vec<Arc<PoolView>>,
    /// About.
    pub gas: u64,
    /// What that costs in [`Ask::other`], raw units. `None`: no price of gas was given, or nothing says what one of the two is worth.
    pub gas_cost: Option<U256>,
    /// And in dollars.
    pub gas_usd: Option<Usd>,
}

impl Quoted {
    #[must_use]
    pub fn pool(&self, id: &PoolId) -> Option<&Arc<PoolView>> {
        self.pools.iter().find(|view| view.meta.id == *id)
    }
}

impl Pin {
    /// The best plan at this epoch. Pools whose state is not of its block are left out.
    ///
    /// # Errors
    /// Where no way leads there, or none has room for the amount.
    pub fn quote(&self, ask: &Ask) -> Result<Quoted, NoRoute> {
        let views = self.venues(ask);
        let in_token = self.gas_in(ask);
        let cost = |route: &Route| in_token.map_or(U256::ZERO, |gas| gas.of(gas::of_leg(route)));
        let plan = graph(&views).plan((ask.token_in, ask.token_out), ask.amount, ask.limits, cost)?;
        Ok(self.quoted(plan, &views, ask))
    }

    /// A plan with what it costs; `views` have at least its pools.
    #[must_use]
    pub fn quoted(&self, plan: Plan, views: &[Arc<PoolView>], ask: &Ask) -> Quoted {
        let used = |view: &&Arc<PoolView>| plan.legs.iter().flat_map(|leg| &leg.hops).any(|hop| hop.pool == view.meta.id);
        let pools = views.iter().filter(used).cloned().collect();
        let gas = gas::of_plan(&plan.legs);
        let wei = ask.gas_price_wei.map(|price| price.saturating_mul(U256::from(gas)));
        let gas_usd = wei.and_then(|wei| self.with_prices(|prices| prices.price(&Address::ZERO)).flatten()?.value(wei));
        let gas_cost = self.gas_in(ask).map(|in_token| in_token.of(gas));
        Quoted { plan, pools, gas, gas_cost, gas_usd }
    }

    fn gas_in(&self, ask: &Ask) -> Option<InToken> {
        let price_wei = ask.gas_price_wei?;
        let prices = self.with_prices(|prices| prices.price(&Address::ZERO).zip(prices.price(&ask.other())));
        let (wei, unit) = prices.flatten()?;
        Some(InToken { price_wei, wei: wei.raw(), unit: unit.raw() })
    }

    /// About how much would go where so much does not, raw units of the same token; 0 where nothing does. Some thirty quotes long.
    #[must_use]
    pub fn most(&self, ask: &Ask) -> U256 {
        let views = self.venues(ask);
        let graph = graph(&views);
        let ends = (ask.token_in, ask.token_out);
        most(ask.amount, |amount| graph.plan(ends, amount, ask.limits, |_| U256::ZERO).is_ok())
    }

    /// Pools of these two tokens whose hooks have a say in swaps: only their contracts know what they pay.
    #[must_use]
    pub fn hooked(&self, ask: &Ask) -> Vec<Arc<PoolView>> {
        let mut views = self.venues(ask);
        let ends = [ask.token_in.min(ask.token_out), ask.token_in.max(ask.token_out)];
        views.retain(|view| view.meta.is_hooked() && [view.meta.token0, view.meta.token1] == ends);
        views.sort_unstable_by_key(|view| view.meta.id);
        views
    }

    fn venues(&self, ask: &Ask) -> Vec<Arc<PoolView>> {
        let mut views = self.pools();
        let is_wanted = |protocol: &Protocol| ask.protocols.is_empty() || ask.protocols.contains(protocol);
        // Of a token that keeps a part a next pool would get less than the one before pays.
        let with_fee = self.live().conduct.with_fee();
        let goes_on = |token: &Address| *token == ask.token_in || *token == ask.token_out || !with_fee.contains(token);
        views.retain(|view| {
            let meta = &view.meta;
            let goes_on = with_fee.is_empty() || (goes_on(&meta.token0) && goes_on(&meta.token1));
            view.status == PoolStatus::Live && is_wanted(&meta.protocol) && goes_on
        });
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
