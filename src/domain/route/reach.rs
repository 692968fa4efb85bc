//! What is known of all pools before any amount is swapped: how far the end of a way is, and what a unit comes to there at most.
//!
//! Computed once, for ways of any length and any amount that end there.

use alloy::primitives::U256;

use super::{Bound, Venues};

/// From every token to the end of the ways: the one whose amount is not known.
pub(in crate::domain) struct Reach {
    pub(super) end: usize,
    pub(super) is_in: bool,
    pub(super) hops_max: usize,
    /// Hops to the end at least, by token.
    far: Vec<Option<usize>>,
    /// By hops that are left after a pool, and by pool: what a unit of its token0 comes to by way of it at most, and a unit of its token1; or
    /// what a unit at the end comes to in them. Empty where ways are so short that nothing is gained.
    onward: Vec<Vec<[Bound; 2]>>,
}

impl Reach {
    /// Whether ways of so many hops lead there.
    pub(super) fn leads(&self, token: usize, hops: usize) -> bool {
        self.far.get(token).copied().flatten().is_some_and(|far| far <= hops)
    }

    /// What a unit of a pool's token comes to at the end at most, by way of this pool and so many others at most.
    pub(super) fn onward(&self, at: usize, is_token0: bool, hops_left: usize) -> Bound {
        let known = self.onward.get(hops_left).and_then(|onward| onward.get(at));
        known.map_or(Bound::MOST, |[by_0, by_1]| if is_token0 { *by_0 } else { *by_1 })
    }

    /// An amount that is known, on its side.
    pub(super) fn known(&self, amount: U256) -> Bound {
        if self.is_in { Bound::up(amount) } else { Bound::down(amount) }
    }

    /// What is to be beaten, on its side.
    pub(super) fn worth(&self, amount: U256) -> Bound {
        if self.is_in { Bound::down(amount) } else { Bound::up(amount) }
    }

    /// At this rate an amount surely comes to no more than that, or takes no less.
    pub(super) fn falls_short(&self, known: Bound, rate: Bound, worth: Bound) -> bool {
        if self.is_in { known.times(rate) <= worth } else { worth.times(rate) <= known }
    }
}

impl Venues<'_> {
    /// To `end`, in at most so many hops. `is_in`: what comes in is known, so ways are looked for in the order of their swaps.
    pub(in crate::domain) fn reach(&self, end: usize, is_in: bool, hops_max: usize) -> Reach {
        let onward = if hops_max > 2 { self.onward(end, is_in, hops_max) } else { Vec::new() };
        Reach { end, is_in, hops_max, far: self.distances(end, hops_max), onward }
    }

    fn onward(&self, end: usize, is_in: bool, hops_max: usize) -> Vec<Vec<[Bound; 2]>> {
        // By token.
        let mut most = vec![Bound::NONE; self.token_count()];
        if let Some(end) = most.get_mut(end) {
            *end = Bound::ONE;
        }
        let mut all = Vec::with_capacity(hops_max);
        for _ in 0..hops_max {
            let mut next = most.clone();
            let mut raise = |token: usize, to: Bound| {
                if let Some(known) = next.get_mut(token) {
                    *known = to.max(*known);
                }
                to
            };
            let rest = |token: usize| most.get(token).copied().unwrap_or(Bound::NONE);
            let pools = self.all_ends().map(|(at, (token0, token1))| {
                let [rate0, rate1] = self.rates_of(at, is_in);
                [raise(token0, rate0.times(rest(token1))), raise(token1, rate1.times(rest(token0)))]
            });
            all.push(pools.collect());
            most = next;
        }
        all
    }
}
