//! The search for a split: dealt out part by part, chosen from a table, shifted and exchanged as long as that pays.

use std::{
    collections::{BTreeSet, HashSet},
    rc::Rc,
};

use alloy::primitives::{I256, U256};

use super::{Dealt, PARTS, Task, worth::Moved};

/// Ways that are left over for a careful choice.
const CHOSEN_MAX: usize = 10;
/// Shares that are shifted at last: half of the amount, and each half of the one before, so many.
const SHIFTS: usize = 11;
/// Each as long as it pays, and not more often than that.
const SHIFTS_EACH: usize = 4;
/// Times that a way is exchanged for another.
const EXCHANGES: usize = 3;
/// And not after one that has gained less than a part in so many.
const GAINS_MAX: I256 = I256::from_raw(U256::from_limbs([100_000, 0, 0, 0]));

/// A plan, and what it is worth: more is better.
type Worth = (I256, Dealt);

impl Task<'_> {
    /// The best plan that is found.
    pub(super) fn split(&self, legs_max: usize) -> Option<Worth> {
        let all: Vec<usize> = (0..self.paths.len()).collect();
        // Whoever takes the best offer each time may find no room at last; others may.
        let dealt = self.deal(&all).unwrap_or_default();
        let as_dealt = (dealt.len() <= legs_max).then(|| dealt.clone());
        let few = self.few(&dealt, legs_max);
        let chosen = self.choose(&few, legs_max);
        // Fewer ways dealt anew: also where they share pools.
        let most: Vec<usize> = dealt.iter().map(|(path, _)| *path).take(legs_max).collect();
        let again = self.deal(&most);
        let mut started: Vec<Worth> =
            [as_dealt, chosen, again].into_iter().flatten().filter_map(|dealt| self.weighed(dealt)).collect();
        started.sort_by(|(a, _), (b, _)| b.cmp(a));
        // Of the same ways the better shares are enough to begin with.
        let ways = |dealt: &Dealt| dealt.iter().map(|(path, _)| *path).collect::<BTreeSet<_>>();
        let mut seen = HashSet::new();
        started.retain(|(_, dealt)| seen.insert(ways(dealt)));
        let mut best = started.into_iter().map(|worth| self.shifted(worth)).max_by_key(|(net, _)| *net)?;
        for _ in 0..EXCHANGES {
            let exchanged = self.exchanged(&best, &few, legs_max).map(|worth| self.shifted(worth));
            let Some(better) = exchanged.filter(|better| better.0 > best.0) else { break };
            let gain = better.0.saturating_sub(best.0);
            best = better;
            if gain.saturating_mul(GAINS_MAX) < best.0.saturating_abs() {
                break;
            }
        }
        Some(best)
    }

    fn weighed(&self, mut dealt: Dealt) -> Option<Worth> {
        dealt.retain(|(_, amount)| !amount.is_zero());
        Some((self.net(&dealt)?, dealt))
    }

    /// Dealt out part by part, each to the way that gives most for it, or takes least, after the parts before.
    pub(super) fn deal(&self, paths: &[usize]) -> Option<Dealt> {
        self.dealt(paths).map(|(dealt, _)| dealt)
    }

    /// The same, and what the best of them would give for a part more, or take.
    pub(super) fn dealt(&self, paths: &[usize]) -> Option<(Dealt, Option<U256>)> {
        let part = self.known().checked_div(U256::from(PARTS))?;
        let first = self.known().checked_sub(part.checked_mul(U256::from(PARTS.checked_sub(1)?))?)?;
        let mut deal = Deal::new(self, paths);
        for (n, part) in std::iter::once(first).chain((1..PARTS).map(|_| part)).filter(|part| !part.is_zero()).enumerate() {
            if n == 1 && part != first {
                deal.offers.fill_with(|| None);
            }
            let (at, _) = deal.best(part)?;
            deal.take(at, part)?;
        }
        let next = if part.is_zero() { None } else { deal.best(part).map(|(_, amount)| amount) };
        let mut dealt = deal.dealt;
        dealt.retain(|(_, amount)| !amount.is_zero());
        dealt.sort_by(|(_, a), (_, b)| b.cmp(a));
        Some((dealt, next))
    }

    /// Ways for a careful choice: those that were dealt most to, and in turn those that are worth most for an even share and for one part,
    /// which has room in small pools.
    fn few(&self, dealt: &Dealt, legs_max: usize) -> Vec<usize> {
        let share = |of: usize| self.known().checked_div(U256::from(of)).unwrap_or_default().max(U256::ONE);
        let ranked = |share: U256| {
            let worth = |path: usize| Some((self.net(&[(path, share)])?, path));
            let mut ranked: Vec<(I256, usize)> = (0..self.paths.len()).filter_map(worth).collect();
            ranked.sort_by(|(a, _), (b, _)| b.cmp(a));
            ranked.into_iter().map(|(_, path)| path)
        };
        let parts = usize::try_from(PARTS).unwrap_or(1);
        let (mut even, mut small) = (ranked(share(legs_max)), ranked(share(parts)));
        let mut few: Vec<usize> = dealt.iter().map(|(path, _)| *path).take(CHOSEN_MAX / 2).collect();
        loop {
            let next = [even.next(), small.next()];
            if next == [None, None] {
                return few;
            }
            for path in next.into_iter().flatten() {
                if few.len() < CHOSEN_MAX && !few.contains(&path) {
                    few.push(path);
                }
            }
        }
    }

    /// The best plan that has another order, another way in place of one, or a part of its share on one way more.
    fn exchanged(&self, (net, best): &Worth, few: &[usize], legs_max: usize) -> Option<Worth> {
        let mut found: Option<Worth> = None;
        let offer = |dealt: Dealt, found: &mut Option<Worth>| {
            if let Some(other) = self.weighed(dealt).filter(|(net, _)| found.as_ref().is_none_or(|(known, _)| net > known)) {
                *found = Some(other);
            }
        };
        // Where two ways take a pool in opposite directions it counts which comes first.
        for (a, b) in (1..best.len()).flat_map(|a| (0..a).map(move |b| (a, b))) {
            let ways = best.get(a).zip(best.get(b));
            if ways.is_some_and(|((a, _), (b, _))| self.oppose(*a, *b)) {
                let mut turned = best.clone();
                turned.swap(a, b);
                offer(turned, &mut found);
            }
        }
        for at in 0..best.len() {
            // All of it, half, an eighth, and less: a small pool has no room for more.
            for bits in [0, 1, 3, 5].into_iter().filter(|bits| *bits == 0 || best.len() < legs_max) {
                let mut rest = best.clone();
                let Some((_, amount)) = rest.get_mut(at) else { continue };
                let given = amount.wrapping_shr(bits);
                *amount = amount.saturating_sub(given);
                let without = if rest.iter().all(|(_, amount)| amount.is_zero()) { Some(I256::ZERO) } else { self.net(&rest) };
                for path in few.iter().filter(|path| best.iter().all(|(known, _)| known != *path)) {
                    let least = found.as_ref().map_or(*net, |(found, _)| *found.max(net));
                    if without.is_some_and(|without| !self.may_add(*path, given, least.saturating_sub(without))) {
                        continue;
                    }
                    let mut other = rest.clone();
                    match other.get_mut(at) {
                        Some(old) if bits == 0 => *old = (*path, given),
                        _ => other.push((*path, given)),
                    }
                    offer(other, &mut found);
                }
            }
        }
        found
    }

    /// Shares are shifted from way to way as long as that pays, smaller and smaller ones.
    fn shifted(&self, mut best: Worth) -> Worth {
        let mut share = self.known().wrapping_shr(1);
        for _ in 0..SHIFTS {
            for _ in 0..SHIFTS_EACH {
                let before = best.0;
                best = self.shifted_once(best, share);
                if best.0 == before {
                    break;
                }
            }
            share = share.wrapping_shr(1);
        }
        best
    }

    /// So much from each way to each other.
    fn shifted_once(&self, mut best: Worth, share: U256) -> Worth {
        let legs = best.1.len();
        for (giver, taker) in (0..legs).flat_map(|giver| (0..legs).map(move |taker| (giver, taker))) {
            if giver == taker {
                continue;
            }
            let mut other = best.1.clone();
            let Some(given) = other.get_mut(giver).map(|(_, amount)| share.min(*amount)).filter(|given| !given.is_zero()) else {
                continue;
            };
            for (at, (_, amount)) in other.iter_mut().enumerate() {
                if at == giver {
                    *amount = amount.saturating_sub(given);
                } else if at == taker {
                    *amount = amount.saturating_add(given);
                }
            }
            match self.weighed(other) {
                Some(other) if other.0 > best.0 => best = other,
                _ => {}
            }
            if best.1.len() != legs {
                break;
            }
        }
        best
    }
}

/// An amount that is being dealt out.
struct Deal<'t, 'a> {
    task: &'t Task<'a>,
    dealt: Dealt,
    /// Pools as the parts so far left them.
    moved: [Rc<Moved>; 1],
    /// What each way would give for the next part, as long as no pool of it was moved.
    offers: Vec<Option<Option<(U256, Moved)>>>,
}

impl<'t, 'a> Deal<'t, 'a> {
    fn new(task: &'t Task<'a>, paths: &[usize]) -> Self {
        let dealt = paths.iter().map(|path| (*path, U256::ZERO)).collect();
        Self { task, dealt, moved: [Rc::default()], offers: paths.iter().map(|_| None).collect() }
    }

    /// Which place gives most for this part, or takes least, and how much. `None`: none has room for it.
    fn best(&mut self, part: U256) -> Option<(usize, U256)> {
        for ((path, _), offer) in self.dealt.iter().zip(&mut self.offers).filter(|(_, offer)| offer.is_none()) {
            let run = self.task.run(*path, part, &self.moved, false);
            *offer = Some(run.map(|(route, after)| (self.task.other_end(&route), after)));
        }
        let known = self.offers.iter().enumerate().filter_map(|(at, offer)| Some((at, offer.as_ref()?.as_ref()?.0)));
        if self.task.is_in() { known.max_by_key(|(_, out)| *out) } else { known.min_by_key(|(_, paid)| *paid) }
    }

    /// The part goes to this place.
    fn take(&mut self, at: usize, part: U256) -> Option<()> {
        let (_, after) = self.offers.get_mut(at)?.take()??;
        let [moved] = &mut self.moved;
        let moved = Rc::get_mut(moved)?;
        moved.retain(|(at, _)| after.iter().all(|(known, _)| known != at));
        moved.extend(after);
        let (taken, amount) = self.dealt.get_mut(at)?;
        *amount = amount.checked_add(part)?;
        let taken = *taken;
        for ((path, _), offer) in self.dealt.iter().zip(&mut self.offers) {
            if self.task.meet(*path, taken) {
                *offer = None;
            }
        }
        Some(())
    }
}
