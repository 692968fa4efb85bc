//! Good ways from one token to another: a table, hop by hop, of the best few to each token.

use alloy::primitives::U256;

use super::{HOPS_MAX, KEPT, NoRoute, Path, Venues, rate::Bound};
use crate::domain::pool::step::Amount;

/// A way that is under construction, from the end whose amount is known.
#[derive(Clone, Copy)]
struct Way {
    /// Places of its pools, so many of them.
    via: [usize; HOPS_MAX],
    hops: usize,
    /// Tokens that it has visited, one more than hops.
    tokens: [usize; HOPS_MAX + 1],
    /// What it has come to.
    amount: U256,
}

/// Best first, so many at the most.
struct Best {
    ways: Vec<Way>,
    keep: usize,
}

struct Search<'s, 'v> {
    venues: &'s Venues<'v>,
    is_in: bool,
    /// By number of hops and token: what a unit of it comes to at the end of the way at most, or what a unit at its end comes to in it.
    /// Empty: the ways are so short that nothing is gained.
    most: Vec<Vec<Bound>>,
}

impl Way {
    fn token(&self) -> usize {
        self.tokens.get(self.hops).copied().unwrap_or_default()
    }

    fn visits(&self, token: usize) -> bool {
        self.tokens.iter().take(self.hops.saturating_add(1)).any(|known| *known == token)
    }

    fn longer(&self, at: usize, token: usize, amount: U256) -> Self {
        let mut longer = Self { hops: self.hops.saturating_add(1), amount, ..*self };
        if let (Some(pool), Some(place)) = (longer.via.get_mut(self.hops), longer.tokens.get_mut(longer.hops)) {
            (*pool, *place) = (at, token);
        }
        longer
    }
}

impl Best {
    /// The one that has to be beaten. `None`: there is room.
    fn worst(&self) -> Option<U256> {
        if self.ways.len() < self.keep { None } else { self.ways.last().map(|way| way.amount) }
    }

    fn put(&mut self, way: Way, is_in: bool) {
        let is_better = |known: &Way| if is_in { way.amount > known.amount } else { way.amount < known.amount };
        let at = self.ways.iter().position(is_better).unwrap_or(self.ways.len());
        if at < self.keep {
            self.ways.truncate(self.keep.saturating_sub(1));
            self.ways.insert(at, way);
        }
    }
}

impl Search<'_, '_> {
    /// An amount by way of these rates is surely no better than what has to be beaten.
    fn is_hopeless(&self, known: U256, rate: Bound, worst: Option<U256>) -> bool {
        match worst {
            Some(worst) if self.is_in => Bound::up(known).times(rate) <= Bound::down(worst),
            Some(worst) => Bound::up(worst).times(rate) <= Bound::down(known),
            None => false,
        }
    }

    /// What a unit comes to in a pool at most, in the direction of the swap.
    fn rate(&self, at: usize, token: usize) -> Bound {
        let enters_by_0 = self.venues.ends(at).is_some_and(|ends| (ends.0 == token) == self.is_in);
        let rates = self.venues.rates().get(at).copied().unwrap_or([Bound::NONE; 2]);
        if enters_by_0 { rates[0] } else { rates[1] }
    }
}

impl Venues<'_> {
    /// Good ways for this amount, in the order of their swaps, the best one first, at most so many.
    pub(in crate::domain) fn ways(
        &self,
        (from, to): (usize, usize),
        amount: Amount,
        hops_max: usize,
        keep: usize,
    ) -> Result<Vec<Path>, NoRoute> {
        // From the end whose amount is known to the other.
        let (start, end, known, is_in) = match amount {
            Amount::In(known) => (from, to, known, true),
            Amount::Out(known) => (to, from, known, false),
        };
        let hops_max = hops_max.min(HOPS_MAX);
        let far = self.distances(end, hops_max);
        let distance = |token: usize| far.get(token).copied().flatten();
        if start == end || distance(start).is_none_or(|hops| hops > hops_max) {
            return Err(NoRoute::None);
        }
        let mut search = Search { venues: self, is_in, most: Vec::new() };
        if hops_max > 2 {
            search.most = search.most(end, hops_max.saturating_sub(1));
        }
        let mut found = Best { ways: Vec::new(), keep };
        let first = Way { via: [0; HOPS_MAX], hops: 0, tokens: [start; HOPS_MAX + 1], amount: known };
        let mut level = vec![first];
        for hops_left in (0..hops_max).rev() {
            let mut next: Vec<Best> = Vec::new();
            let mut places: Vec<Option<usize>> = vec![None; self.token_count()];
            let rest = search.most.get(hops_left);
            for way in &level {
                let token = way.token();
                for (at, other) in self.at(token) {
                    let leads = other == end || distance(other).is_some_and(|hops| hops <= hops_left);
                    if !leads || way.visits(other) {
                        continue;
                    }
                    if let Some(rest) = rest {
                        let rate = search.rate(at, token);
                        let onward = rate.times(rest.get(other).copied().unwrap_or(Bound::NONE));
                        let there = places.get(other).copied().flatten().and_then(|place| next.get(place));
                        let worst = there.and_then(Best::worst);
                        if search.is_hopeless(way.amount, onward, found.worst()) || search.is_hopeless(way.amount, rate, worst) {
                            continue;
                        }
                    }
                    let Some(amount) = self.amount(at, token, way.amount, is_in) else { continue };
                    let longer = way.longer(at, other, amount);
                    if other == end {
                        found.put(longer, is_in);
                        continue;
                    }
                    let Some(place) = places.get_mut(other) else { continue };
                    let place = *place.get_or_insert_with(|| {
                        next.push(Best { ways: Vec::with_capacity(KEPT), keep: KEPT });
                        next.len().saturating_sub(1)
                    });
                    if let Some(best) = next.get_mut(place) {
                        best.put(longer, is_in);
                    }
                }
            }
            level = next.into_iter().flat_map(|best| best.ways).collect();
        }
        if found.ways.is_empty() {
            return Err(NoRoute::TooMuch);
        }
        let path = |way: Way| {
            let mut path: Path = way.via.iter().copied().take(way.hops).collect();
            if !is_in {
                path.reverse();
            }
            path
        };
        Ok(found.ways.into_iter().map(path).collect())
    }
}

impl Search<'_, '_> {
    fn most(&self, end: usize, hops: usize) -> Vec<Vec<Bound>> {
        let mut at_end = vec![Bound::NONE; self.venues.token_count()];
        if let Some(end) = at_end.get_mut(end) {
            *end = Bound::ONE;
        }
        let mut most = vec![at_end];
        for _ in 0..hops {
            let Some(before) = most.last() else { break };
            let mut now = before.clone();
            for (at, (token0, token1)) in self.venues.all_ends() {
                for (token, other) in [(token0, token1), (token1, token0)] {
                    let Some(rest) = before.get(other).filter(|rest| **rest != Bound::NONE) else { continue };
                    let through = self.rate(at, token).times(*rest);
                    if let Some(known) = now.get_mut(token) {
                        *known = through.max(*known);
                    }
                }
            }
            most.push(now);
        }
        most
    }
}
