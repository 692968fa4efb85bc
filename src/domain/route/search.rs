//! Good ways from one token to another: a table, hop by hop, of the best few to each token.

use alloy::primitives::U256;

use super::{Bound, HOPS_MAX, KEPT, NoRoute, Path, Venues, reach::Reach};

/// Steps between ticks in one pool, where ways are only looked for that add to others.
const STEPS_MAX: u32 = 8;

/// What a way has to be better than to be of any use.
#[derive(Debug, Clone, Copy)]
pub(in crate::domain) struct Floor {
    pub(in crate::domain) known: U256,
    /// What so much comes to, or takes.
    pub(in crate::domain) worth: U256,
}

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
    /// And a unit at most.
    rate: Bound,
}

/// Best first, so many at the most.
struct Best {
    ways: Vec<Way>,
    keep: usize,
    /// What has to be beaten. `None`: there is room.
    worst: Option<Bound>,
}

impl Way {
    fn token(&self) -> usize {
        self.tokens.get(self.hops).copied().unwrap_or_default()
    }

    fn visits(&self, token: usize) -> bool {
        self.tokens.iter().take(self.hops.saturating_add(1)).any(|known| *known == token)
    }

    fn longer(&self, at: usize, token: usize, (amount, rate): (U256, Bound)) -> Self {
        let mut longer = Self { hops: self.hops.saturating_add(1), amount, rate: self.rate.times(rate), ..*self };
        if let (Some(pool), Some(place)) = (longer.via.get_mut(self.hops), longer.tokens.get_mut(longer.hops)) {
            (*pool, *place) = (at, token);
        }
        longer
    }
}

impl Best {
    fn new(keep: usize, worst: Option<Bound>) -> Self {
        Self { ways: Vec::with_capacity(keep), keep, worst }
    }

    fn put(&mut self, way: Way, is_in: bool) {
        let is_better = |known: &Way| if is_in { way.amount > known.amount } else { way.amount < known.amount };
        let at = self.ways.iter().position(is_better).unwrap_or(self.ways.len());
        if at < self.keep {
            self.ways.truncate(self.keep.saturating_sub(1));
            self.ways.insert(at, way);
        }
        if self.ways.len() == self.keep {
            self.worst = self.ways.last().map(|way| Bound::worth(way.amount, is_in));
        }
    }
}

impl Venues<'_> {
    /// Good ways for this amount, in the order of their swaps, the best one first, at most so many, each of so many hops at most. Those that
    /// surely do not come to more than the `floor`, or do not take less, may be left out.
    pub(in crate::domain) fn ways(
        &self,
        (start, reach): (usize, &Reach),
        known: U256,
        (hops_max, keep): (usize, usize),
        floor: Option<Floor>,
    ) -> Result<Vec<Path>, NoRoute> {
        let hops_max = hops_max.min(reach.hops_max).min(HOPS_MAX);
        let Reach { end, is_in, .. } = *reach;
        if start == end || !reach.leads(start, hops_max) {
            return Err(NoRoute::None);
        }
        let useless = floor.map(|floor| (Bound::known(floor.known, is_in), Bound::worth(floor.worth, is_in)));
        let is_useless = |rate: Bound| useless.is_some_and(|(known, worth)| rate.is_short(known, worth, is_in));
        // A pool that is crossed so far is a small one for that amount: a part of it may go there.
        let steps_max = if floor.is_some() { STEPS_MAX } else { u32::MAX };
        let least = floor.filter(|floor| floor.known == known).map(|floor| floor.worth);
        let mut found = Best::new(keep, least.map(|least| Bound::worth(least, is_in)));
        let first = Way { via: [0; HOPS_MAX], hops: 0, tokens: [start; HOPS_MAX + 1], amount: known, rate: Bound::ONE };
        let mut level = vec![first];
        for hops_left in (0..hops_max).rev() {
            let mut next: Vec<Best> = Vec::new();
            let mut places: Vec<Option<usize>> = vec![None; self.token_count()];
            for way in &level {
                let (token, known) = (way.token(), Bound::known(way.amount, is_in));
                let is_hopeless =
                    |rate: Bound, worst: Option<Bound>| worst.is_some_and(|worst| rate.is_short(known, worst, is_in));
                for (at, other) in self.at(token) {
                    if !reach.leads(other, hops_left) || way.visits(other) {
                        continue;
                    }
                    let is_token0 = self.ends(at).is_some_and(|ends| ends.0 == token);
                    let [rate0, rate1] = self.rates_of(at, is_in);
                    let rate = if is_token0 { rate0 } else { rate1 };
                    let onward = rate.times(reach.most(other, hops_left));
                    if is_hopeless(onward, found.worst) || is_useless(way.rate.times(onward)) {
                        continue;
                    }
                    let there = places.get(other).copied().flatten().and_then(|place| next.get(place));
                    if is_hopeless(rate, there.and_then(|there| there.worst)) {
                        continue;
                    }
                    let Some(amount) = self.amount(at, token, way.amount, is_in, steps_max) else { continue };
                    let longer = way.longer(at, other, (amount, rate));
                    if other == end {
                        found.put(longer, is_in);
                        continue;
                    }
                    let Some(place) = places.get_mut(other) else { continue };
                    let place = *place.get_or_insert_with(|| {
                        next.push(Best::new(KEPT, None));
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
