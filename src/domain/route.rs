//! The best way from one token to another over pools as they stand: hop by hop, by what the contracts would pay.
//!
//! More in is never less out, so the best way to a token in so many hops begins with a best way to the one before: a table, hop by hop, of
//! the best few ways to each token. Few and not one, because a way visits no token twice, and the best one may be in its own way. Where prices
//! alone say that a way cannot be among the best, it is not computed. What is absent: several ways side by side ([`super::split`]), gas, and who is asked.

mod rate;
mod reach;
mod search;

use std::{
    cell::{Cell, OnceCell, RefCell},
    collections::{HashMap, VecDeque},
};

use alloy::primitives::{Address, U256};

use self::rate::rates;
pub(super) use self::{rate::Bound, reach::Reach, search::Floor};
use super::pool::{
    PoolId, PoolMeta, PoolState, Protocol,
    exchange::{NoSwap, Order},
    ladder::Ladder,
    step::Amount,
    trade::Swap,
};

/// Pools that a way may go through.
pub const HOPS_MAX: usize = 4;
/// Ways that are kept to each token.
const KEPT: usize = 4;
/// At most 25 MB of them, however many pools there are.
const LADDERS_MAX: usize = 512;

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
        let swap = self.state.swap(self.meta, Order { down, amount, limit: None })?;
        let (amount_in, amount_out, crossed) = swap.moves();
        if matches!(swap, Swap::Ticks(swap) if !swap.left.is_zero()) {
            return Err(NoSwap::TooMuch { most: amount_out });
        }
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
    /// Places of tokens.
    tokens: HashMap<Address, usize>,
    /// Of each pool token0 and token1.
    ends: Vec<(usize, usize)>,
    /// Of each token its pools, and where they lead.
    by_token: Vec<Vec<(usize, usize)>>,
    /// Of each pool, once somebody asks.
    rates: Vec<OnceCell<[Bound; 2]>>,
    /// Of each pool the least amount that it had no room for: of token0 and token1 in, of token0 and token1 out. More has no room either.
    too_much: Vec<[Cell<U256>; 4]>,
    ladders: RefCell<Ladders>,
}

/// What swaps went over, of pools that they went through.
struct Ladders {
    /// Of each pool down and up.
    all: Vec<[Option<Box<Ladder>>; 2]>,
    /// That may still be made.
    left: usize,
}

impl Ladders {
    /// `None`: there are enough.
    fn of(&mut self, at: usize, down: bool) -> Option<&mut Ladder> {
        let [going_down, going_up] = self.all.get_mut(at)?;
        let ladder = if down { going_down } else { going_up };
        if ladder.is_none() {
            self.left = self.left.checked_sub(1)?;
        }
        Some(ladder.get_or_insert_with(|| Box::new(Ladder::new())))
    }
}

/// A way by the places of its pools, in the order of the swaps.
pub(super) type Path = Vec<usize>;

impl<'a> Venues<'a> {
    #[must_use]
    pub fn new(all: impl IntoIterator<Item = Venue<'a>>) -> Self {
        let all: Vec<Venue<'a>> = all.into_iter().collect();
        let mut tokens: HashMap<Address, usize> = HashMap::new();
        let mut by_token: Vec<Vec<(usize, usize)>> = Vec::new();
        let mut ends = Vec::with_capacity(all.len());
        for (at, venue) in all.iter().enumerate() {
            let mut place = |token: Address| {
                *tokens.entry(token).or_insert_with(|| {
                    by_token.push(Vec::new());
                    by_token.len().saturating_sub(1)
                })
            };
            let (token0, token1) = (place(venue.meta.token0), place(venue.meta.token1));
            ends.push((token0, token1));
            for (token, other) in [(token0, token1), (token1, token0)] {
                if let Some(pools) = by_token.get_mut(token) {
                    pools.push((at, other));
                }
            }
        }
        let too_much = all.iter().map(|_| [U256::MAX; 4].map(Cell::new)).collect();
        let rates = all.iter().map(|_| OnceCell::new()).collect();
        let ladders = RefCell::new(Ladders { all: all.iter().map(|_| [None, None]).collect(), left: LADDERS_MAX });
        Self { all, tokens, ends, by_token, rates, too_much, ladders }
    }

    pub(super) fn get(&self, at: usize) -> Option<&Venue<'a>> {
        self.all.get(at)
    }

    /// `None`: no pool trades it.
    pub(super) fn place(&self, token: &Address) -> Option<usize> {
        self.tokens.get(token).copied()
    }

    /// Pools of a token, and where they lead.
    pub(super) fn at(&self, token: usize) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.by_token.get(token).into_iter().flatten().copied()
    }

    fn token_count(&self) -> usize {
        self.by_token.len()
    }

    fn ends(&self, at: usize) -> Option<(usize, usize)> {
        self.ends.get(at).copied()
    }

    fn all_ends(&self) -> impl Iterator<Item = (usize, (usize, usize))> + '_ {
        self.ends.iter().copied().enumerate()
    }

    /// What a pool gives at most for a unit of token0, and for one of token1.
    fn rates(&self, at: usize) -> [Bound; 2] {
        let known = self.rates.get(at).zip(self.all.get(at));
        known.map_or([Bound::NONE; 2], |(known, venue)| *known.get_or_init(|| rates(venue.meta, venue.state)))
    }

    /// The same by which of the two is known: a unit of it that comes in, or at most what a unit at the other end comes to in it.
    fn rates_of(&self, at: usize, is_in: bool) -> [Bound; 2] {
        let [rate0, rate1] = self.rates(at);
        if is_in { [rate0, rate1] } else { [rate1, rate0] }
    }

    /// The pools of a way, each with whether token0 comes in.
    pub(super) fn directions(&self, path: &[usize], from: usize) -> impl Iterator<Item = (usize, bool)> {
        path.iter().scan(from, |token, at| {
            let (token0, token1) = self.ends(*at)?;
            let down = *token == token0;
            *token = if down { token1 } else { token0 };
            Some((*at, down))
        })
    }

    /// What a unit comes to at the end of a way at most.
    pub(super) fn rate(&self, path: &[usize], from: usize) -> Bound {
        self.directions(path, from).fold(Bound::ONE, |rate, (at, down)| {
            let [by_0, by_1] = self.rates(at);
            rate.times(if down { by_0 } else { by_1 })
        })
    }

    /// The way that pays most for an input, or costs least for an output: of those that go by the best few ways to each token.
    ///
    /// # Errors
    /// Where there is none.
    pub fn best(&self, from: Address, to: Address, amount: Amount, hops_max: usize) -> Result<Route, NoRoute> {
        let ends = self.place(&from).zip(self.place(&to)).ok_or(NoRoute::None)?;
        let (start, reach, known) = self.looked_for(ends, amount, hops_max);
        let ways = self.ways((start, &reach), known, (hops_max, 1), None)?;
        ways.first().and_then(|path| self.route(path, from, to, amount)).ok_or(NoRoute::TooMuch)
    }

    /// Where ways begin, to where they lead, and the amount that is known: ways grow from the end whose amount that is.
    pub(super) fn looked_for(&self, (from, to): (usize, usize), amount: Amount, hops_max: usize) -> (usize, Reach, U256) {
        match amount {
            Amount::In(known) => (from, self.reach(to, true, hops_max), known),
            Amount::Out(known) => (to, self.reach(from, false, hops_max), known),
        }
    }

    /// A way with its amounts. `None`: a pool does not give, or take, so much.
    pub(super) fn route(&self, path: &[usize], from: Address, to: Address, amount: Amount) -> Option<Route> {
        let mut hops: Vec<Hop> = Vec::with_capacity(path.len());
        let (mut token, mut known, is_in) = match amount {
            Amount::In(known) => (from, known, true),
            Amount::Out(known) => (to, known, false),
        };
        for step in 0..path.len() {
            let step = if is_in { step } else { path.len().checked_sub(step)?.checked_sub(1)? };
            let at = *path.get(step)?;
            let meta = self.get(at)?.meta;
            let is_token0 = token == meta.token0;
            let (amount_in, amount_out, crossed) = self.swap(at, is_token0, known, is_in)?;
            let other = if is_token0 { meta.token1 } else { meta.token0 };
            let (token_in, token_out) = if is_in { (token, other) } else { (other, token) };
            hops.push(Hop { pool: meta.id, protocol: meta.protocol, token_in, token_out, amount_in, amount_out, crossed });
            (token, known) = (other, if is_in { amount_out } else { amount_in });
        }
        if !is_in {
            hops.reverse();
        }
        Some(Route { hops })
    }

    /// What a pool makes of an amount of one of its tokens that comes in, or takes for one that goes out; never 0.
    fn amount(&self, at: usize, token: usize, amount: U256, is_in: bool, steps_max: u32) -> Option<U256> {
        let is_token0 = self.ends(at)?.0 == token;
        let (amount_in, amount_out, _) = self.swap_within(at, is_token0, amount, is_in, steps_max)?.moves();
        Some(if is_in { amount_out } else { amount_in })
    }

    /// A swap whose amount of one token is known; neither is 0, and all of it is swapped. In, out, and the ticks that are crossed.
    fn swap(&self, at: usize, is_token0: bool, amount: U256, is_in: bool) -> Option<(U256, U256, u32)> {
        Some(self.swap_whole(at, is_token0, amount, is_in)?.moves())
    }

    /// The same, with where it leaves the pool.
    pub(super) fn swap_whole(&self, at: usize, is_token0: bool, amount: U256, is_in: bool) -> Option<Swap> {
        self.swap_within(at, is_token0, amount, is_in, u32::MAX)
    }

    /// The same, if it takes no more steps between ticks than so many that are not known yet.
    fn swap_within(&self, at: usize, is_token0: bool, amount: U256, is_in: bool, steps_max: u32) -> Option<Swap> {
        let (venue, [in0, in1, out0, out1]) = (self.all.get(at)?, self.too_much.get(at)?);
        let too_much = match (is_in, is_token0) {
            (true, true) => in0,
            (true, false) => in1,
            (false, true) => out0,
            (false, false) => out1,
        };
        if amount >= too_much.get() {
            return None;
        }
        let asked = if is_in { Amount::In(amount) } else { Amount::Out(amount) };
        let order = Order { down: is_token0 == is_in, amount: asked, limit: None };
        let swap = match venue.state {
            PoolState::V2(_) => venue.state.swap(venue.meta, order),
            PoolState::V3(_) | PoolState::V4(_) => {
                let (mut ladders, mut none) = (self.ladders.borrow_mut(), Ladder::none());
                let ladder = ladders.of(at, order.down).unwrap_or(&mut none);
                ladder.limit(steps_max);
                venue.state.swap_by(ladder, venue.meta, order)
            }
        };
        match swap {
            Ok(Swap::Ticks(swap)) if !swap.left.is_zero() => {
                too_much.set(amount);
                None
            }
            Ok(swap) => {
                let (amount_in, amount_out, _) = swap.moves();
                (!amount_in.is_zero() && !amount_out.is_zero()).then_some(swap)
            }
            Err(NoSwap::TooMuch { .. }) => {
                too_much.set(amount);
                None
            }
            Err(NoSwap::Empty | NoSwap::Hooked) => {
                too_much.set(U256::ZERO);
                None
            }
            Err(NoSwap::Nothing | NoSwap::Limit | NoSwap::Overflow | NoSwap::Far) => None,
        }
    }

    /// How many hops it takes from each token at least, up to so many.
    pub(super) fn distances(&self, to: usize, hops_max: usize) -> Vec<Option<usize>> {
        let mut far = vec![None; self.token_count()];
        let mut rest = VecDeque::from([(to, 0_usize)]);
        while let Some((token, hops)) = rest.pop_front() {
            let Some(known) = far.get_mut(token).filter(|known| known.is_none()) else { continue };
            *known = Some(hops);
            let next = hops.saturating_add(1);
            if next <= hops_max {
                rest.extend(self.at(token).map(|(_, other)| (other, next)));
            }
        }
        far
    }
}

#[cfg(test)]
mod tests;
