//! Ways that a plan may choose from: all of them in a small graph. In a large one good ways that are short, and of the longer ones those that
//! can add to what the short ones come to.

use std::collections::HashSet;

use alloy::primitives::{Address, U256};

use super::{Limits, PARTS, Task};
use crate::domain::{
    pool::step::Amount,
    route::{Floor, Path, Venues},
};

/// Simple ways that are all looked at; where there are more, the best for the whole amount and for a part of it.
const PATHS_ALL: usize = 48;
const PATHS_BEST: usize = 12;
/// The best of each smaller number of hops.
const PATHS_SHORT: usize = 3;

impl Venues<'_> {
    /// Every way that visits no token twice. `None`: there are too many.
    pub(super) fn all_ways(&self, (from, to): (usize, usize), hops: usize) -> Option<Vec<Path>> {
        let mut all = Vec::new();
        let far = self.distances(to, hops);
        self.walk((to, &far), hops, &mut vec![from], &mut Vec::new(), &mut all).then_some(all)
    }

    /// Good ways, each once; none where none has room for the amount, or a part of it.
    pub(super) fn good_ways(
        &self,
        (from, to): (Address, Address),
        ends: (usize, usize),
        amount: Amount,
        limits: Limits,
    ) -> Vec<Path> {
        let (start, reach, known) = self.looked_for(ends, amount, limits.hops);
        // What a small pool has room for.
        let part = known.checked_div(U256::from(PARTS)).unwrap_or_default().max(U256::ONE);
        let amounts = if limits.legs > 1 { [Some(known), Some(part)] } else { [Some(known), None] };
        let mut seen = HashSet::new();
        let mut keep = |good: &mut Vec<Path>, hops: usize, most: usize, known: U256, floor: Option<Floor>| {
            let ways = self.ways((start, &reach), known, (hops, most), floor).unwrap_or_default();
            good.extend(ways.into_iter().filter(|path| seen.insert(path.clone())));
        };
        let mut good = Vec::new();
        for (hops, amount) in (1..limits.hops).flat_map(|hops| amounts.into_iter().flatten().map(move |amount| (hops, amount))) {
            keep(&mut good, hops, PATHS_SHORT, amount, None);
        }
        let floor = Task::new(self, (from, to), amount, &|_| U256::ZERO, good.clone()).floor(limits.legs);
        for amount in amounts.into_iter().flatten() {
            keep(&mut good, limits.hops, PATHS_BEST, amount, floor);
        }
        good
    }

    /// Every way that visits no token twice. False: there are too many.
    pub(super) fn walk(
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

impl Task<'_> {
    /// What gives less for a part than these ways do for one more adds nothing to them; and nothing is better alone than the best of them
    /// that gives less.
    fn floor(&self, legs_max: usize) -> Option<Floor> {
        if legs_max > 1 {
            return self.margin(legs_max);
        }
        let alone = (0..self.paths.len()).filter_map(|path| Some(self.other_end(&self.route(path, self.known())?)));
        let worth = if self.is_in() { alone.max() } else { alone.min() }?;
        Some(Floor { known: self.known(), worth })
    }

    /// What the best of so many ways gives for a part more, or takes, after the amount is dealt out over them.
    fn margin(&self, legs_max: usize) -> Option<Floor> {
        let all: Vec<usize> = (0..self.paths.len()).collect();
        let (dealt, mut next) = self.dealt(&all)?;
        if dealt.len() > legs_max {
            let most: Vec<usize> = dealt.iter().map(|(path, _)| *path).take(legs_max).collect();
            next = self.dealt(&most)?.1;
        }
        Some(Floor { known: self.known().checked_div(U256::from(PARTS))?, worth: next? })
    }
}
