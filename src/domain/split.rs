//! An amount over several ways side by side: what one pool gives less and less for is taken from others.
//!
//! The ways of a plan are swapped one after the other, as a router does it, each in the pools as the ones before left them: so two ways may
//! share a pool, and every amount is what the contracts would pay. Which ways there are to choose from comes from the graph; then the amount
//! is dealt out in parts, each to the way that gives most for it, and at last parts are shifted between the chosen ways as long as that pays.
//!
//! What a way costs beside its amounts (gas) the caller says. What is absent: who is asked, and the gas itself.

mod choice;
mod deal;
mod table;
mod worth;

use std::cell::RefCell;

use alloy::primitives::{Address, U256};

use self::worth::Memo;
use super::{
    pool::step::Amount,
    route::{Bound, NoRoute, Path, Route, Venues},
};

/// Ways that one plan may have.
pub const LEGS_MAX: usize = 4;
/// Parts that are dealt out.
const PARTS: u64 = 20;
/// What a plan may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// 1 to [`super::route::HOPS_MAX`].
    pub hops: usize,
    /// 1 to [`LEGS_MAX`].
    pub legs: usize,
}

/// Ways side by side, in the order of their swaps; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub legs: Vec<Route>,
}

impl Plan {
    #[must_use]
    pub fn amount_in(&self) -> U256 {
        self.legs.iter().fold(U256::ZERO, |sum, leg| sum.saturating_add(leg.amount_in()))
    }

    #[must_use]
    pub fn amount_out(&self) -> U256 {
        self.legs.iter().fold(U256::ZERO, |sum, leg| sum.saturating_add(leg.amount_out()))
    }
}

/// Ways, by their places among those of the task, with what each gets of the amount; in the order of their swaps.
type Dealt = Vec<(usize, U256)>;

/// What is to be split, and the ways there are.
struct Task<'a> {
    venues: &'a Venues<'a>,
    from: Address,
    to: Address,
    amount: Amount,
    /// Of a way, in the token whose amount is not known.
    cost: &'a dyn Fn(&Route) -> U256,
    paths: Vec<Path>,
    /// Of each way the ways that it shares a pool with, itself included, as bits.
    overlaps: Vec<u64>,
    /// Of each way what a unit comes to at most.
    rates: Vec<Bound>,
    memo: RefCell<Memo>,
}

impl Venues<'_> {
    /// The plan that leaves most of an input, or takes least for an output, after its `cost`: that of a way, in the token whose amount is not
    /// given. Of all ways in a small graph, and of good ones in a large one; of several ways it is as good as what dealing out [`PARTS`] parts
    /// finds.
    ///
    /// # Errors
    /// Where there is none.
    pub fn plan(
        &self,
        (from, to): (Address, Address),
        amount: Amount,
        limits: Limits,
        cost: impl Fn(&Route) -> U256,
    ) -> Result<Plan, NoRoute> {
        let ends = self.place(&from).zip(self.place(&to)).filter(|(from, to)| from != to).ok_or(NoRoute::None)?;
        let paths = match self.all_ways(ends, limits.hops) {
            Some(all) if all.is_empty() => return Err(NoRoute::None),
            Some(all) => all,
            None => self.good_ways((from, to), ends, amount, limits),
        };
        let task = Task::new(self, (from, to), amount, &cost, paths);
        let one = (0..task.paths.len()).filter_map(|path| {
            let dealt = vec![(path, task.known())];
            Some((task.net(&dealt)?, dealt))
        });
        let mut best = one.max_by_key(|(net, _)| *net);
        if limits.legs > 1 && task.paths.len() > 1 {
            best = best.into_iter().chain(task.split(limits.legs.min(LEGS_MAX))).max_by_key(|(net, _)| *net);
        }
        best.and_then(|(_, dealt)| task.legs(&dealt)).map(|legs| Plan { legs }).ok_or(NoRoute::TooMuch)
    }
}

impl<'a> Task<'a> {
    fn new(
        venues: &'a Venues<'a>,
        (from, to): (Address, Address),
        amount: Amount,
        cost: &'a dyn Fn(&Route) -> U256,
        paths: Vec<Path>,
    ) -> Self {
        let meet = |a: &Path, b: &Path| a.iter().any(|at| b.contains(at));
        let bits = |a: &Path| paths.iter().rev().fold(0_u64, |bits, b| bits.wrapping_shl(1) | u64::from(meet(a, b)));
        let overlaps = paths.iter().map(bits).collect();
        let start = venues.place(&from).unwrap_or_default();
        let rates = paths.iter().map(|path| venues.rate(path, start)).collect();
        Self { venues, from, to, amount, cost, paths, overlaps, rates, memo: RefCell::default() }
    }

    fn known(&self) -> U256 {
        let (Amount::In(known) | Amount::Out(known)) = self.amount;
        known
    }

    fn is_in(&self) -> bool {
        matches!(self.amount, Amount::In(_))
    }

    /// They share a pool, and take it in opposite directions.
    fn oppose(&self, a: usize, b: usize) -> bool {
        let Some((from, (a_path, b_path))) = self.venues.place(&self.from).zip(self.paths.get(a).zip(self.paths.get(b))) else {
            return false;
        };
        let turned = |(at, down): (usize, bool)| self.venues.directions(b_path, from).any(|other| other == (at, !down));
        self.meet(a, b) && self.venues.directions(a_path, from).any(turned)
    }

    /// They share a pool.
    fn meet(&self, a: usize, b: usize) -> bool {
        self.overlaps.get(a).is_some_and(|bits| bits.wrapping_shr(u32::try_from(b).unwrap_or(u32::MAX)) & 1 == 1)
    }
}

#[cfg(test)]
mod tests;
