//! The best way from one token to another over pools as they stand: hop by hop, by what the contracts would pay.
//!
//! More in is never less out, so the best way to a token in so many hops begins with a best way to the one before: a table, hop by hop, of
//! the best few ways to each token. Few and not one, because a way visits no token twice, and the best one may be in its own way. What is
//! absent: several ways side by side ([`super::split`]), gas, and who is asked.

use std::collections::{HashMap, HashSet, VecDeque};

use alloy::primitives::{Address, U256};

use super::pool::{
    PoolId, PoolMeta, PoolState, Protocol,
    exchange::{NoSwap, Order},
    step::Amount,
    trade::Swap,
};

/// Pools that a way may go through.
pub const HOPS_MAX: usize = 4;
/// Ways that are kept to each token.
const KEPT: usize = 4;

/// A pool that may be swapped with.
#[derive(Debug, Clone, Copy)]
pub struct Venue<'a> {
    pub meta: &'a PoolMeta,
    pub state: &'a PoolState,
}

/// A swap in one pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hop {
    pub pool: PoolId,
    pub protocol: Protocol,
    pub token_in: Address,
    pub token_out: Address,
    /// With the fee.
    pub amount_in: U256,
    pub amount_out: U256,
    /// Initialised ticks that are crossed.
    pub crossed: u32,
}

/// Pools, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// In the order of the swap; never empty.
    pub hops: Vec<Hop>,
}

impl Route {
    #[must_use]
    pub fn amount_in(&self) -> U256 {
        self.hops.first().map_or(U256::ZERO, |hop| hop.amount_in)
    }

    #[must_use]
    pub fn amount_out(&self) -> U256 {
        self.hops.last().map_or(U256::ZERO, |hop| hop.amount_out)
    }
}

/// Why there is no way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoRoute {
    #[error("no pools lead from one token to the other in so many hops")]
    None,
    /// Some do, but not with so much.
    #[error("pools lead there, but not with so much")]
    TooMuch,
}

impl<'a> Venue<'a> {
    pub(super) fn other(&self, token: &Address) -> Option<Address> {
        let PoolMeta { token0, token1, .. } = self.meta;
        if token == token0 { Some(*token1) } else { (token == token1).then_some(*token0) }
    }

    /// All of an amount or nothing: what comes in and goes out, and how many ticks it crosses.
    ///
    /// # Errors
    /// Where the contracts would revert, or swap less.
    pub fn swap(&self, token_in: &Address, amount: Amount) -> Result<Hop, NoSwap> {
        let down = *token_in == self.meta.token0;
        let (amount_in, amount_out, crossed) = match self.state.swap(self.meta, Order { down, amount, limit: None })? {
            Swap::Pair(swap) => (swap.amount_in, swap.amount_out, 0),
            Swap::Ticks(swap) if !swap.left.is_zero() => return Err(NoSwap::TooMuch { most: swap.amount_out }),
            Swap::Ticks(swap) => (swap.amount_in, swap.amount_out, swap.crossed),
        };
        let token_out = if down { self.meta.token1 } else { self.meta.token0 };
        Ok(Hop {
            pool: self.meta.id,
            protocol: self.meta.protocol,
            token_in: *token_in,
            token_out,
            amount_in,
            amount_out,
            crossed,
        })
    }
}

/// Pools by their tokens.
pub struct Venues<'a> {
    all: Vec<Venue<'a>>,
    by_token: HashMap<Address, Vec<usize>>,
}

/// A way by the places of its pools, and its hops.
pub(super) type Placed = (Vec<usize>, Vec<Hop>);

/// A way that is under construction, from the end whose amount is known.
#[derive(Clone)]
struct Way {
    /// Places of its pools.
    via: Vec<usize>,
    hops: Vec<Hop>,
    /// Where it has come to, with how much.
    token: Address,
    amount: U256,
}

impl<'a> Venues<'a> {
    #[must_use]
    pub fn new(all: impl IntoIterator<Item = Venue<'a>>) -> Self {
        let all: Vec<Venue<'a>> = all.into_iter().collect();
        let mut by_token: HashMap<Address, Vec<usize>> = HashMap::new();
        for (at, venue) in all.iter().enumerate() {
            for token in [venue.meta.token0, venue.meta.token1] {
                by_token.entry(token).or_default().push(at);
            }
        }
        Self { all, by_token }
    }

    /// With their places in all of them.
    pub(super) fn of(&self, token: &Address) -> impl Iterator<Item = (usize, &Venue<'a>)> + '_ {
        self.by_token.get(token).into_iter().flatten().filter_map(|at| Some((*at, self.all.get(*at)?)))
    }

    pub(super) fn get(&self, at: usize) -> Option<&Venue<'a>> {
        self.all.get(at)
    }

    /// The way that pays most for an input, or costs least for an output.
    ///
    /// # Errors
    /// Where there is none.
    pub fn best(&self, from: Address, to: Address, amount: Amount, hops_max: usize) -> Result<Route, NoRoute> {
        let mut ways = self.ways(from, to, amount, hops_max, 1)?;
        let (_, hops) = ways.pop().ok_or(NoRoute::TooMuch)?;
        Ok(Route { hops })
    }

    /// Good ways for this amount, the best one first, at most so many, with their places; the first is the best there is.
    pub(super) fn ways(
        &self,
        from: Address,
        to: Address,
        amount: Amount,
        hops_max: usize,
        keep: usize,
    ) -> Result<Vec<Placed>, NoRoute> {
        // From the end whose amount is known to the other.
        let (start, end, known) = match amount {
            Amount::In(known) => (from, to, known),
            Amount::Out(known) => (to, from, known),
        };
        let hops_max = hops_max.min(HOPS_MAX);
        let far = self.distances(&end, hops_max);
        if far.get(&start).is_none_or(|hops| *hops > hops_max) || start == end {
            return Err(NoRoute::None);
        }
        let is_better = |a: U256, b: U256| match amount {
            Amount::In(_) => a > b,
            Amount::Out(_) => a < b,
        };
        let put = |ways: &mut Vec<Way>, way: Way, keep: usize| {
            let at = ways.iter().position(|known| is_better(way.amount, known.amount)).unwrap_or(ways.len());
            if at < keep {
                ways.insert(at, way);
                ways.truncate(keep);
            }
        };
        let mut found: Vec<Way> = Vec::new();
        let mut level = vec![Way { via: Vec::new(), hops: Vec::new(), token: start, amount: known }];
        for hops_left in (0..hops_max).rev() {
            let mut next: HashMap<Address, Vec<Way>> = HashMap::new();
            for way in &level {
                for (at, venue) in self.of(&way.token) {
                    let Some(other) = venue.other(&way.token) else { continue };
                    let leads = other == end || far.get(&other).is_some_and(|hops| *hops <= hops_left);
                    if !leads || other == start || way.hops.iter().any(|hop| hop.token_in == other || hop.token_out == other) {
                        continue;
                    }
                    let Some(longer) = way.longer((at, venue), other, amount) else { continue };
                    if other == end {
                        put(&mut found, longer, keep);
                    } else {
                        put(next.entry(other).or_default(), longer, KEPT);
                    }
                }
            }
            level = next.into_values().flatten().collect();
        }
        if found.is_empty() {
            return Err(NoRoute::TooMuch);
        }
        let forward = |mut way: Way| {
            if let Amount::Out(_) = amount {
                way.hops.reverse();
                way.via.reverse();
            }
            (way.via, way.hops)
        };
        Ok(found.into_iter().map(forward).collect())
    }

    /// How many hops it takes to a token at least, up to so many.
    pub(super) fn distances(&self, to: &Address, hops_max: usize) -> HashMap<Address, usize> {
        let mut far: HashMap<Address, usize> = HashMap::from([(*to, 0)]);
        let mut rest = VecDeque::from([*to]);
        while let Some(token) = rest.pop_front() {
            let hops = far.get(&token).copied().unwrap_or(0).saturating_add(1);
            if hops > hops_max {
                continue;
            }
            let mut seen = HashSet::new();
            for other in self.of(&token).filter_map(|(_, venue)| venue.other(&token)).filter(|other| seen.insert(*other)) {
                far.entry(other).or_insert_with(|| {
                    rest.push_back(other);
                    hops
                });
            }
        }
        far
    }
}

impl Way {
    /// `None`: the pool does not give, or take, so much.
    fn longer(&self, (at, venue): (usize, &Venue<'_>), other: Address, amount: Amount) -> Option<Self> {
        let (hop, amount) = match amount {
            Amount::In(_) => {
                let hop = venue.swap(&self.token, Amount::In(self.amount)).ok()?;
                (hop, hop.amount_out)
            }
            Amount::Out(_) => {
                let hop = venue.swap(&other, Amount::Out(self.amount)).ok()?;
                (hop, hop.amount_in)
            }
        };
        if amount.is_zero() {
            return None;
        }
        let mut hops = Vec::with_capacity(HOPS_MAX);
        hops.extend_from_slice(&self.hops);
        hops.push(hop);
        let mut via = Vec::with_capacity(HOPS_MAX);
        via.extend_from_slice(&self.via);
        via.push(at);
        Some(Self { via, hops, token: other, amount })
    }
}

#[cfg(test)]
mod tests;
