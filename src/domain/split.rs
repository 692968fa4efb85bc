//! An amount over several ways side by side: what one pool gives less and less for is taken from others.
//!
//! The ways of a plan are swapped one after the other, as a router does it, each in the pools as the ones before left them: so two ways may
//! share a pool, and every amount is what the contracts would pay. Which ways there are to choose from comes from the graph; then the amount
//! is dealt out in parts, each to the way that gives most for it, and at last parts are shifted between the chosen ways as long as that pays.
//!
//! What a way costs beside its amounts (gas) the caller says. What is absent: who is asked, and the gas itself.

mod deal;
mod table;
mod worth;

use std::{cell::RefCell, collections::HashSet};

use alloy::primitives::{Address, U256};

use self::worth::Memo;
use super::{
    pool::step::Amount,
    route::{NoRoute, Path, Route, Venues},
};

/// Ways that one plan may have.
pub const LEGS_MAX: usize = 4;
/// Parts that are dealt out.
const PARTS: u64 = 20;
/// Simple ways that are all looked at; where there are more, the best for large and for small amounts.
const PATHS_ALL: usize = 48;
const PATHS_BEST: usize = 12;
/// The best of each smaller number of hops.
const PATHS_SHORT: usize = 3;

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
        let ends = self.place(&from).zip(self.place(&to)).ok_or(NoRoute::None)?;
        let best = self.ways(ends, amount, limits.hops, PATHS_BEST);
        if matches!(best, Err(NoRoute::None)) {
            return Err(NoRoute::None);
        }
        // A shorter way may pay less, and less gas.
        let shorter = (1..limits.hops).flat_map(|hops| self.ways(ends, amount, hops, PATHS_SHORT).unwrap_or_default());
        let best = best.unwrap_or_default().into_iter().chain(shorter).collect();
        let paths = self.choice(ends, amount, limits, best);
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

    /// Ways to choose from: all of them, or else good ones; the best ones for the whole amount first.
    fn choice(&self, (from, to): (usize, usize), amount: Amount, Limits { hops, legs }: Limits, best: Vec<Path>) -> Vec<Path> {
        let mut all = Vec::new();
        let far = self.distances(to, hops);
        let more = if self.walk((to, &far), hops, &mut vec![from], &mut Vec::new(), &mut all) {
            all
        } else if legs > 1 {
            // What a small pool has room for.
            let part = |amount: U256| amount.wrapping_shr(4).max(U256::ONE);
            let part = match amount {
                Amount::In(amount) => Amount::In(part(amount)),
                Amount::Out(amount) => Amount::Out(part(amount)),
            };
            self.ways((from, to), part, hops, PATHS_BEST).unwrap_or_default()
        } else {
            Vec::new()
        };
        let mut seen = HashSet::new();
        best.into_iter().chain(more).filter(|path| seen.insert(path.clone())).collect()
    }

    /// Every way that visits no token twice. False: there are too many.
    fn walk(
        &self,
        (to, far): (usize, &[Option<usize>]),
        hops: usize,
        visited: &mut Vec<usize>,
        path: &mut Path,
        all: &mut Vec<Path>,
    ) -> bool {
        let Some(token) = visited.last().copied() else { return true };
        if token == to {
            all.push(path.clone());
            return all.len() <= PATHS_ALL;
        }
        let Some(left) = hops.checked_sub(1) else { return true };
        for (at, other) in self.at(token) {
            if visited.contains(&other) || far.get(other).copied().flatten().is_none_or(|far| far > left) {
                continue;
            }
            visited.push(other);
            path.push(at);
            let goes_on = self.walk((to, far), left, visited, path, all);
            path.pop();
            visited.pop();
            if !goes_on {
                return false;
            }
        }
        true
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
        Self { venues, from, to, amount, cost, paths, overlaps, memo: RefCell::default() }
    }

    fn known(&self) -> U256 {
        let (Amount::In(known) | Amount::Out(known)) = self.amount;
        known
    }

    fn is_in(&self) -> bool {
        matches!(self.amount, Amount::In(_))
    }

    /// They share a pool.
    fn meet(&self, a: usize, b: usize) -> bool {
        self.overlaps.get(a).is_some_and(|bits| bits.wrapping_shr(u32::try_from(b).unwrap_or(u32::MAX)) & 1 == 1)
    }
}

#[cfg(test)]
mod tests;
