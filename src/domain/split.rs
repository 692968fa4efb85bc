//! An amount over several ways side by side: what one pool gives less and less for is taken from others.
//!
//! The ways of a plan are swapped one after the other, as a router does it, each in the pools as the ones before left them: so two ways may
//! share a pool, and every amount is what the contracts would pay. Which ways there are to choose from comes from the graph; then the amount
//! is dealt out in parts, each to the way that gives most for it, and at last parts are shifted between the chosen ways as long as that pays.
//!
//! What a way costs beside its amounts (gas) the caller says. What is absent: who is asked, and the gas itself.

use std::collections::HashSet;

use alloy::primitives::{Address, I256, U256};

use super::{
    pool::{
        PoolState,
        exchange::Order,
        step::Amount,
        trade::{Traded, trade},
    },
    route::{Hop, NoRoute, Route, Venues},
};

/// Ways that one plan may have.
pub const LEGS_MAX: usize = 4;
/// Parts that are dealt out.
const PARTS: u64 = 20;
/// Simple ways that are all looked at; where there are more, the best for large and for small amounts.
const PATHS_ALL: usize = 48;
const PATHS_BEST: usize = 8;
/// Ways that are left over for a careful choice.
const CHOSEN_MAX: usize = 10;
/// Shares that are shifted at last: half of the amount, and each half of the one before, so many.
const SHIFTS: usize = 11;
/// Times that a way is exchanged for another.
const EXCHANGES: usize = 3;

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

/// Places of pools, in the order of the swap.
type Path = Vec<usize>;

/// Pools as swaps left them.
type Moved = Vec<(usize, PoolState)>;

/// By number of parts: the most that so many are worth over some ways, and the share of each way.
type Row = Vec<Option<(I256, Vec<(usize, usize)>)>>;

/// The best of so many parts in all, of which this way gets at least one.
fn widened(row: &Row, worth: &[Option<I256>], way: usize, all: usize) -> Option<(I256, Vec<(usize, usize)>)> {
    let options = (1..=all).filter_map(|share| {
        let (before, shares) = row.get(all.checked_sub(share)?)?.as_ref()?;
        Some((before.saturating_add((*worth.get(share)?)?), share, shares))
    });
    let (net, share, shares) = options.max_by_key(|(net, ..)| *net)?;
    let mut shares = shares.clone();
    shares.push((way, share));
    Some((net, shares))
}

/// What is to be split.
struct Task<'a, C> {
    venues: &'a Venues<'a>,
    from: Address,
    to: Address,
    amount: Amount,
    /// Of a way, in the token whose amount is not known.
    cost: C,
}

/// Ways with what each gets of the amount.
type Dealt = Vec<(Path, U256)>;

/// A plan with what it is worth: more is better.
struct Worth {
    dealt: Dealt,
    legs: Vec<Route>,
    net: I256,
}

impl Venues<'_> {
    /// The plan that leaves most of an input, or takes least for an output, after its `cost`: that of a way, in the token whose amount is not
    /// given. Of plans with one way it is the best; of others it is as good as what dealing out [`PARTS`] parts finds.
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
        let task = Task { venues: self, from, to, amount, cost };
        let single = self.ways(from, to, amount, limits.hops, PATHS_BEST);
        if matches!(single, Err(NoRoute::None)) {
            return Err(NoRoute::None);
        }
        let single = single.unwrap_or_default();
        // The ways themselves are as of before: none of them stands on another.
        let alone = single.iter().filter_map(|(via, _)| task.worth(vec![(via.clone(), task.known())]));
        let mut best = alone.max_by_key(|worth| worth.net);
        if limits.legs > 1 {
            let paths = task.paths(limits.hops, single.into_iter().map(|(via, _)| via));
            let split = if paths.len() > 1 { task.split(&paths, limits.legs.min(LEGS_MAX)) } else { None };
            best = best.into_iter().chain(split).max_by_key(|worth| worth.net);
        }
        best.map(|worth| Plan { legs: worth.legs }).ok_or(NoRoute::TooMuch)
    }
}

impl<C: Fn(&Route) -> U256> Task<'_, C> {
    fn known(&self) -> U256 {
        let (Amount::In(known) | Amount::Out(known)) = self.amount;
        known
    }

    /// Ways to choose from: all of them, or else good ones.
    fn paths(&self, hops: usize, best: impl Iterator<Item = Path>) -> Vec<Path> {
        let far = self.venues.distances(&self.to, hops);
        let mut all = Vec::new();
        let mut visited = vec![self.from];
        if self.walk(&far, hops, &mut visited, &mut Vec::new(), &mut all) {
            return all;
        }
        let part = self.known().wrapping_shr(4).max(U256::ONE);
        let part = if self.is_in() { Amount::In(part) } else { Amount::Out(part) };
        let small = self.venues.ways(self.from, self.to, part, hops, PATHS_BEST).unwrap_or_default();
        let mut seen = HashSet::new();
        best.chain(small.into_iter().map(|(via, _)| via)).filter(|path| seen.insert(path.clone())).collect()
    }

    /// Every way that visits no token twice. False: there are too many.
    fn walk(
        &self,
        far: &std::collections::HashMap<Address, usize>,
        hops: usize,
        visited: &mut Vec<Address>,
        path: &mut Path,
        all: &mut Vec<Path>,
    ) -> bool {
        let Some(token) = visited.last().copied() else { return true };
        if token == self.to {
            all.push(path.clone());
            return all.len() <= PATHS_ALL;
        }
        let Some(left) = hops.checked_sub(1) else { return true };
        for (at, venue) in self.venues.of(&token) {
            let Some(other) = venue.other(&token).filter(|other| !visited.contains(other)) else { continue };
            if far.get(&other).is_none_or(|far| *far > left) {
                continue;
            }
            visited.push(other);
            path.push(at);
            let goes_on = self.walk(far, left, visited, path, all);
            path.pop();
            visited.pop();
            if !goes_on {
                return false;
            }
        }
        true
    }

    fn is_in(&self) -> bool {
        matches!(self.amount, Amount::In(_))
    }

    /// One way, in the pools as they were left; they are moved only if all of it goes.
    fn run(&self, path: &Path, amount: U256, moved: &mut Moved) -> Option<Route> {
        let mut hops = Vec::with_capacity(path.len());
        let mut after: Moved = Vec::with_capacity(path.len());
        let (mut token, mut amount) = (if self.is_in() { self.from } else { self.to }, amount);
        for step in 0..path.len() {
            let step = if self.is_in() { step } else { path.len().checked_sub(step)?.checked_sub(1)? };
            let at = *path.get(step)?;
            let venue = self.venues.get(at)?;
            let other = venue.other(&token)?;
            let (token_in, token_out) = if self.is_in() { (token, other) } else { (other, token) };
            let asked = if self.is_in() { Amount::In(amount) } else { Amount::Out(amount) };
            let order = Order { down: token_in == venue.meta.token0, amount: asked, limit: None };
            let state = moved.iter().find(|(moved, _)| *moved == at).map_or(venue.state, |(_, state)| state);
            let done = trade(venue.meta, state, order).ok().filter(|done| done.left.is_zero())?;
            let Traded { amount_in, amount_out, crossed, after: left, .. } = done;
            amount = if self.is_in() { amount_out } else { amount_in };
            if amount.is_zero() {
                return None;
            }
            let (pool, protocol) = (venue.meta.id, venue.meta.protocol);
            hops.push(Hop { pool, protocol, token_in, token_out, amount_in, amount_out, crossed });
            after.push((at, left));
            token = other;
        }
        for (at, state) in after {
            match moved.iter_mut().find(|(moved, _)| *moved == at) {
                Some(place) => place.1 = state,
                None => moved.push((at, state)),
            }
        }
        if !self.is_in() {
            hops.reverse();
        }
        Some(Route { hops })
    }

    /// The unknown amount of a way.
    fn other_end(&self, route: &Route) -> U256 {
        if self.is_in() { route.amount_out() } else { route.amount_in() }
    }

    /// What a plan comes to. `None`: the pools have no room for it.
    fn worth(&self, mut dealt: Dealt) -> Option<Worth> {
        dealt.retain(|(_, amount)| !amount.is_zero());
        let mut moved = Moved::new();
        let mut legs = Vec::with_capacity(dealt.len());
        let (mut sum, mut cost) = (U256::ZERO, U256::ZERO);
        for (path, amount) in &dealt {
            let leg = self.run(path, *amount, &mut moved)?;
            sum = sum.checked_add(self.other_end(&leg))?;
            cost = cost.saturating_add((self.cost)(&leg));
            legs.push(leg);
        }
        let signed = |amount: U256| I256::try_from(amount).unwrap_or(I256::MAX);
        let (sum, cost) = (signed(sum), signed(cost));
        let net = if self.is_in() { sum.saturating_sub(cost) } else { sum.saturating_add(cost).saturating_neg() };
        (!legs.is_empty()).then_some(Worth { dealt, legs, net })
    }

    /// Dealt out part by part, each to the way that gives most for it, or takes least, after the parts before.
    fn deal(&self, paths: &[&Path]) -> Option<Dealt> {
        let part = self.known().checked_div(U256::from(PARTS))?;
        let first = self.known().checked_sub(part.checked_mul(U256::from(PARTS.checked_sub(1)?))?)?;
        let mut dealt: Dealt = paths.iter().map(|path| ((*path).clone(), U256::ZERO)).collect();
        let mut moved = Moved::new();
        // What each way would give for the next part, as long as no pool of it was moved.
        let mut offers: Vec<Option<Option<U256>>> = vec![None; paths.len()];
        let parts = std::iter::once(first).chain((1..PARTS).map(|_| part)).filter(|part| !part.is_zero());
        for (n, part) in parts.enumerate() {
            if n == 1 {
                offers.fill(None); // the first part is larger
            }
            for (path, offer) in paths.iter().zip(&mut offers) {
                if offer.is_none() {
                    *offer = Some(self.run(path, part, &mut moved.clone()).map(|route| self.other_end(&route)));
                }
            }
            let known = offers.iter().enumerate().filter_map(|(at, offer)| Some((at, (*offer)??)));
            let (at, _) = if self.is_in() { known.max_by_key(|(_, out)| *out)? } else { known.min_by_key(|(_, paid)| *paid)? };
            let taken = paths.get(at)?;
            self.run(taken, part, &mut moved)?;
            if let Some((_, amount)) = dealt.get_mut(at) {
                *amount = amount.checked_add(part)?;
            }
            for (path, offer) in paths.iter().zip(&mut offers) {
                if path.iter().any(|at| taken.contains(at)) {
                    *offer = None;
                }
            }
        }
        dealt.retain(|(_, amount)| !amount.is_zero());
        dealt.sort_by(|(_, a), (_, b)| b.cmp(a));
        Some(dealt)
    }

    fn split(&self, paths: &[Path], legs_max: usize) -> Option<Worth> {
        let all: Vec<&Path> = paths.iter().collect();
        let dealt = self.deal(&all)?;
        let fits = |dealt: &Dealt| dealt.len() <= legs_max;
        let as_dealt = fits(&dealt).then(|| self.worth(dealt.clone())).flatten();
        let few = self.few(paths, &dealt, legs_max);
        let chosen = self.choose(&few, legs_max).and_then(|dealt| self.worth(dealt));
        // Fewer ways dealt anew: also where they share pools.
        let mut dealt = dealt.clone();
        dealt.truncate(legs_max);
        let again = self.deal(&dealt.iter().map(|(path, _)| path).collect::<Vec<_>>()).and_then(|dealt| self.worth(dealt));
        let started = [as_dealt, chosen, again].into_iter().flatten().map(|worth| self.shifted(worth));
        let mut best = started.max_by_key(|worth| worth.net)?;
        for _ in 0..EXCHANGES {
            match self.exchanged(&best, &few, legs_max).map(|worth| self.shifted(worth)) {
                Some(better) if better.net > best.net => best = better,
                _ => break,
            }
        }
        Some(best)
    }

    /// The best plan that has another order, another way in place of one, or a part of its share on one way more.
    fn exchanged(&self, best: &Worth, few: &[&Path], legs_max: usize) -> Option<Worth> {
        let is_new = |path: &&&Path| best.dealt.iter().all(|(known, _)| known != **path);
        // Two ways may take a pool in opposite directions: then it counts which comes first.
        let turned = (1..best.dealt.len()).flat_map(|a| (0..a).map(move |b| (a, b))).filter_map(|(a, b)| {
            let mut turned = best.dealt.clone();
            turned.swap(a, b);
            self.worth(turned)
        });
        let mut found: Option<Worth> = turned.max_by_key(|worth| worth.net);
        for path in few.iter().filter(is_new) {
            for at in 0..best.dealt.len() {
                let mut instead = best.dealt.clone();
                if let Some((old, _)) = instead.get_mut(at) {
                    old.clone_from(path);
                }
                // Half of it, an eighth, a thirty-second: a small pool has no room for more.
                let parts = [1, 3, 5].into_iter().filter(|_| best.dealt.len() < legs_max);
                let beside = parts.map(|bits: usize| {
                    let mut beside = best.dealt.clone();
                    if let Some((_, amount)) = beside.get_mut(at) {
                        let given = amount.wrapping_shr(bits);
                        *amount = amount.saturating_sub(given);
                        beside.push(((*path).clone(), given));
                    }
                    beside
                });
                for other in std::iter::once(instead).chain(beside).filter_map(|dealt| self.worth(dealt)) {
                    if found.as_ref().is_none_or(|found| other.net > found.net) {
                        found = Some(other);
                    }
                }
            }
        }
        found
    }

    /// Ways for a careful choice: those that were dealt most to, and those that are worth most for an even share.
    fn few<'p>(&self, paths: &'p [Path], dealt: &'p Dealt, legs_max: usize) -> Vec<&'p Path> {
        let even = self.known().checked_div(U256::from(legs_max)).unwrap_or_default().max(U256::ONE);
        let worth = |path: &'p Path| Some((self.worth(vec![(path.clone(), even)])?.net, path));
        let mut ranked: Vec<(I256, &Path)> = paths.iter().filter_map(worth).collect();
        ranked.sort_by(|(a, _), (b, _)| b.cmp(a));
        let mut few: Vec<&Path> = dealt.iter().map(|(path, _)| path).take(CHOSEN_MAX / 2).collect();
        for (_, path) in ranked {
            if few.len() < CHOSEN_MAX && !few.contains(&path) {
                few.push(path);
            }
        }
        few
    }

    /// The best shares, in parts, of every few ways that have no pool in common.
    fn choose(&self, paths: &[&Path], legs_max: usize) -> Option<Dealt> {
        let part = self.known().checked_div(U256::from(PARTS))?;
        let parts = usize::try_from(PARTS).ok()?;
        let amount = |share: usize| if share == parts { self.known() } else { part.saturating_mul(U256::from(share)) };
        let alone = |path: &Path, share: usize| Some(self.worth(vec![(path.clone(), amount(share))])?.net);
        let worths: Vec<Vec<Option<I256>>> =
            paths.iter().map(|path| (0..=parts).map(|share| alone(path, share)).collect()).collect();
        let apart = |a: usize, b: usize| match (paths.get(a), paths.get(b)) {
            (Some(a), Some(b)) => !a.iter().any(|at| b.contains(at)),
            _ => false,
        };
        let mut best: Option<(I256, Vec<(usize, usize)>)> = None;
        // Sets that are still to be made wider: their ways, and the best that they are worth for each number of parts, with the shares.
        let empty: Row = std::iter::once(Some((I256::ZERO, Vec::new()))).chain((0..parts).map(|_| None)).collect();
        let mut open: Vec<(Vec<usize>, Row)> = vec![(Vec::new(), empty)];
        while let Some((set, row)) = open.pop() {
            if let Some(Some((net, shares))) = row.last()
                && best.as_ref().is_none_or(|(best, _)| net > best)
            {
                best = Some((*net, shares.clone()));
            }
            if set.len() == legs_max {
                continue;
            }
            let first = set.last().map_or(0, |last| last.saturating_add(1));
            for next in (first..paths.len()).filter(|next| set.iter().all(|known| apart(*known, *next))) {
                let Some(worth) = worths.get(next) else { continue };
                let wider = (0..=parts).map(|all| widened(&row, worth, next, all)).collect();
                let mut with = set.clone();
                with.push(next);
                open.push((with, wider));
            }
        }
        let (_, shares) = best?;
        // What a division leaves goes to the first.
        let mut rest = self.known().checked_sub(part.checked_mul(U256::from(PARTS))?)?;
        let dealt = shares.into_iter().filter_map(|(at, share)| {
            let extra = if share == parts { U256::ZERO } else { std::mem::take(&mut rest) };
            Some(((*paths.get(at)?).clone(), amount(share).checked_add(extra)?))
        });
        Some(dealt.collect())
    }

    /// Shares are shifted from way to way as long as that pays, smaller and smaller ones.
    fn shifted(&self, mut best: Worth) -> Worth {
        let mut share = self.known().wrapping_shr(1);
        for _ in 0..SHIFTS {
            if share.is_zero() || best.dealt.len() < 2 {
                break;
            }
            let legs = best.dealt.len();
            for (giver, taker) in (0..legs).flat_map(|giver| (0..legs).map(move |taker| (giver, taker))) {
                if giver == taker {
                    continue;
                }
                let mut other = best.dealt.clone();
                let Some(given) = other.get_mut(giver).map(|(_, amount)| share.min(*amount)) else { continue };
                for (at, (_, amount)) in other.iter_mut().enumerate() {
                    if at == giver {
                        *amount = amount.saturating_sub(given);
                    } else if at == taker {
                        *amount = amount.saturating_add(given);
                    }
                }
                match self.worth(other) {
                    Some(other) if other.net > best.net => best = other,
                    _ => {}
                }
                if best.dealt.len() != legs {
                    break;
                }
            }
            share = share.wrapping_shr(1);
        }
        best
    }
}

#[cfg(test)]
mod tests;
