//! What is known of all pools before any amount is swapped: how far the end of a way is, and what a unit comes to there at most.
//!
//! Computed once, for ways of any length and any amount that end there.

use super::{Bound, Venues};

/// From every token to the end of the ways: the one whose amount is not known.
pub(in crate::domain) struct Reach {
    pub(super) end: usize,
    pub(super) is_in: bool,
    pub(super) hops_max: usize,
    /// Hops to the end at least, by token.
    far: Vec<Option<usize>>,
    /// By number of hops and token: what a unit of it comes to at the end at most, or what a unit at the end comes to in it. Empty where ways
    /// are so short that nothing is gained.
    most: Vec<Vec<Bound>>,
}

impl Reach {
    /// Whether ways of so many hops lead there.
    pub(super) fn leads(&self, token: usize, hops: usize) -> bool {
        self.far.get(token).copied().flatten().is_some_and(|far| far <= hops)
    }

    /// What a unit of a token comes to at the end at most, in so many hops at most.
    pub(super) fn most(&self, token: usize, hops: usize) -> Bound {
        self.most.get(hops).map_or(Bound::MOST, |most| most.get(token).copied().unwrap_or(Bound::NONE))
    }
}

impl Venues<'_> {
    /// To `end`, in at most so many hops. `is_in`: what comes in is known, so ways are looked for in the order of their swaps.
    pub(in crate::domain) fn reach(&self, end: usize, is_in: bool, hops_max: usize) -> Reach {
        let most = if hops_max > 2 { self.most(end, is_in, hops_max) } else { Vec::new() };
        Reach { end, is_in, hops_max, far: self.distances(end, hops_max), most }
    }

    fn most(&self, end: usize, is_in: bool, hops_max: usize) -> Vec<Vec<Bound>> {
        let mut at_end = vec![Bound::NONE; self.token_count()];
        if let Some(end) = at_end.get_mut(end) {
            *end = Bound::ONE;
        }
        let mut all = vec![at_end];
        for _ in 1..hops_max {
            let Some(before) = all.last() else { break };
            let mut now = before.clone();
            let rest = |token: usize| before.get(token).copied().unwrap_or(Bound::NONE);
            for (at, (token0, token1)) in self.all_ends() {
                for (is_token0, token, rest) in [(true, token0, rest(token1)), (false, token1, rest(token0))] {
                    if rest == Bound::NONE {
                        continue;
                    }
                    let [rate0, rate1] = self.rates_of(at, is_in);
                    let through = rest.times(if is_token0 { rate0 } else { rate1 });
                    if let Some(known) = now.get_mut(token) {
                        *known = through.max(*known);
                    }
                }
            }
            all.push(now);
        }
        all
    }
}
