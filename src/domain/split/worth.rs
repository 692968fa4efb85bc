//! What ways side by side come to, to the wei.
//!
//! Ways that share no pool have nothing to do with each other: what each comes to for an amount is computed once. Ways that share one are
//! swapped in their order, each in the pools as the ones before left them.

use std::{collections::HashMap, rc::Rc};

use alloy::primitives::{Address, I256, U256};

use super::{Dealt, Task};
use crate::domain::{
    pool::{
        PoolState,
        exchange::{Order, TickSwap},
        step::Amount,
        trade::{Swap, Traded, after, trade},
    },
    route::{Hop, Route},
};

/// The amount that was not known, and what it costs beside it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sum {
    amount: U256,
    cost: U256,
}

/// What was computed already; `None`: the pools have no room for it.
#[derive(Default)]
pub(super) struct Memo {
    alone: HashMap<(usize, U256), Option<Sum>>,
    together: HashMap<Dealt, Option<After>>,
}

/// What some ways come to, and how they leave the pools: the last one's last.
#[derive(Clone, Default)]
struct After {
    sum: Sum,
    moved: Vec<Rc<Moved>>,
}

/// Pools as a way left them.
pub(super) type Moved = Vec<(usize, Left)>;

/// A pool after swaps.
#[derive(Clone)]
pub(super) enum Left {
    State(PoolState),
    /// All that was swapped, in one direction, from where the pool stands. Where liquidity does not grow by fees, many swaps move a price as
    /// one of them all does; but for what each rounds.
    Ticks(bool, TickSwap),
}

fn signed(amount: U256) -> I256 {
    I256::try_from(amount).unwrap_or(I256::MAX)
}

impl Task<'_> {
    /// What a plan is worth: more is better. `None`: the pools have no room for it.
    pub(super) fn net(&self, dealt: &[(usize, U256)]) -> Option<I256> {
        let mut all = Sum::default();
        let mut done = 0_u64;
        for (at, (path, amount)) in dealt.iter().enumerate() {
            if amount.is_zero() || done.wrapping_shr(u32::try_from(at).ok()?) & 1 == 1 {
                continue;
            }
            let group = self.group(dealt, at);
            done |= group;
            let sum = if group.is_power_of_two() { self.alone(*path, *amount) } else { self.together(dealt, group) }?;
            all = Sum { amount: all.amount.checked_add(sum.amount)?, cost: all.cost.saturating_add(sum.cost) };
        }
        self.worth(all)
    }

    fn worth(&self, Sum { amount, cost }: Sum) -> Option<I256> {
        let (amount, cost) = (signed(amount), signed(cost));
        let net = if self.is_in() { amount.saturating_sub(cost) } else { amount.saturating_add(cost).saturating_neg() };
        (!amount.is_zero()).then_some(net)
    }

    /// Whether so much by this way can be worth more than that: not where prices alone say that it cannot.
    pub(super) fn may_add(&self, path: usize, amount: U256, worth: I256) -> bool {
        // What is paid counts below zero.
        if worth.is_negative() == self.is_in() {
            return self.is_in();
        }
        self.rates.get(path).is_none_or(|rate| !rate.falls_short(amount, worth.unsigned_abs(), self.is_in()))
    }

    /// Those that share a pool with this one, or with one that does, as bits of their places in the plan.
    fn group(&self, dealt: &[(usize, U256)], at: usize) -> u64 {
        let bit = |at: usize| 1_u64.wrapping_shl(u32::try_from(at).unwrap_or_default());
        let mut group = bit(at);
        loop {
            let before = group;
            for (b, (other, amount)) in dealt.iter().enumerate().filter(|(b, _)| before & bit(*b) == 0) {
                let meets = |(a, (path, _)): (usize, &(usize, U256))| before & bit(a) != 0 && self.meet(*path, *other);
                if !amount.is_zero() && dealt.iter().enumerate().any(meets) {
                    group |= bit(b);
                }
            }
            if group == before {
                return group;
            }
        }
    }

    fn alone(&self, path: usize, amount: U256) -> Option<Sum> {
        if let Some(known) = self.memo.borrow().alone.get(&(path, amount)) {
            return *known;
        }
        let sum = self.route(path, amount).map(|route| self.sum(&route));
        self.memo.borrow_mut().alone.insert((path, amount), sum);
        sum
    }

    fn together(&self, dealt: &[(usize, U256)], group: u64) -> Option<Sum> {
        let is_in = |at: &usize| group.wrapping_shr(u32::try_from(*at).unwrap_or_default()) & 1 == 1;
        let these: Dealt = dealt.iter().enumerate().filter(|(at, _)| is_in(at)).map(|(_, leg)| *leg).collect();
        self.after(&these).map(|after| after.sum)
    }

    /// Swap after swap. Where only the last ones are others, those before are not computed again.
    fn after(&self, these: &[(usize, U256)]) -> Option<After> {
        let Some(((path, amount), before)) = these.split_last() else { return Some(After::default()) };
        if let Some(known) = self.memo.borrow().together.get(these) {
            return known.clone();
        }
        let after = self.after(before).and_then(|mut after| {
            let (route, moved) = self.run(*path, *amount, &after.moved, false)?;
            let Sum { amount, cost } = self.sum(&route);
            after.sum = Sum { amount: after.sum.amount.checked_add(amount)?, cost: after.sum.cost.saturating_add(cost) };
            after.moved.push(Rc::new(moved));
            Some(after)
        });
        self.memo.borrow_mut().together.insert(these.to_vec(), after.clone());
        after
    }

    fn sum(&self, route: &Route) -> Sum {
        Sum { amount: self.other_end(route), cost: (self.cost)(route) }
    }

    /// The unknown amount of a way.
    pub(super) fn other_end(&self, route: &Route) -> U256 {
        if self.is_in() { route.amount_out() } else { route.amount_in() }
    }

    /// One way in the pools as they are.
    pub(super) fn route(&self, path: usize, amount: U256) -> Option<Route> {
        let amount = if self.is_in() { Amount::In(amount) } else { Amount::Out(amount) };
        self.venues.route(self.paths.get(path)?, self.from, self.to, amount)
    }

    /// Swap after swap, to the wei.
    pub(super) fn legs(&self, dealt: &[(usize, U256)]) -> Option<Vec<Route>> {
        let mut moved: Vec<Rc<Moved>> = Vec::new();
        let some = dealt.iter().filter(|(_, amount)| !amount.is_zero());
        some.map(|(path, amount)| {
            let (route, after) = self.run(*path, *amount, &moved, true)?;
            moved.push(Rc::new(after));
            Some(route)
        })
        .collect()
    }

    /// One way, in the pools as they were left, and how it leaves them. Where it need not be exact, some wei may be missing.
    pub(super) fn run(&self, path: usize, amount: U256, moved: &[Rc<Moved>], is_exact: bool) -> Option<(Route, Moved)> {
        let path = self.paths.get(path)?;
        let mut hops = Vec::with_capacity(path.len());
        let mut left: Moved = Vec::with_capacity(path.len());
        let (mut token, mut amount) = (if self.is_in() { self.from } else { self.to }, amount);
        for step in 0..path.len() {
            let step = if self.is_in() { step } else { path.len().checked_sub(step)?.checked_sub(1)? };
            let at = *path.get(step)?;
            let newest = moved.iter().rev().flat_map(|moved| moved.iter()).find(|(moved, _)| *moved == at);
            let (hop, after) = self.hop(at, token, amount, newest.map(|(_, left)| left), is_exact)?;
            (token, amount) = if self.is_in() { (hop.token_out, hop.amount_out) } else { (hop.token_in, hop.amount_in) };
            hops.push(hop);
            left.push((at, after));
        }
        if !self.is_in() {
            hops.reverse();
        }
        Some((Route { hops }, left))
    }

    /// A swap in a pool as it was left.
    fn hop(&self, at: usize, token: Address, amount: U256, before: Option<&Left>, is_exact: bool) -> Option<(Hop, Left)> {
        let venue = self.venues.get(at)?;
        let other = venue.other(&token)?;
        let (token_in, token_out) = if self.is_in() { (token, other) } else { (other, token) };
        let down = token_in == venue.meta.token0;
        let whole = |amount: U256| self.venues.swap_whole(at, token == venue.meta.token0, amount, self.is_in());
        let known = |swap: &TickSwap| if self.is_in() { swap.amount_in } else { swap.amount_out };
        let trade = |state: &PoolState| {
            let asked = if self.is_in() { Amount::In(amount) } else { Amount::Out(amount) };
            let traded = trade(venue.meta, state, Order { down, amount: asked, limit: None }).ok()?;
            traded.left.is_zero().then_some((traded.amount_in, traded.amount_out, traded.crossed, Left::State(traded.after)))
        };
        let (amount_in, amount_out, crossed, left) = match before {
            None => match whole(amount)? {
                Swap::Ticks(swap) if !is_exact => (swap.amount_in, swap.amount_out, swap.crossed, Left::Ticks(down, swap)),
                swap => {
                    let Traded { amount_in, amount_out, crossed, after, .. } = after(venue.state, swap).ok()?;
                    (amount_in, amount_out, crossed, Left::State(after))
                }
            },
            Some(Left::State(state)) => trade(state)?,
            Some(Left::Ticks(was_down, swap)) if *was_down == down => {
                let Swap::Ticks(all) = whole(known(swap).checked_add(amount)?)? else { return None };
                let amount_in = all.amount_in.checked_sub(swap.amount_in)?;
                let amount_out = all.amount_out.checked_sub(swap.amount_out)?;
                (amount_in, amount_out, all.crossed.saturating_sub(swap.crossed), Left::Ticks(down, all))
            }
            Some(Left::Ticks(_, swap)) => trade(&after(venue.state, Swap::Ticks(*swap)).ok()?.after)?,
        };
        if amount_in.is_zero() || amount_out.is_zero() {
            return None;
        }
        let (pool, protocol) = (venue.meta.id, venue.meta.protocol);
        Some((Hop { pool, protocol, token_in, token_out, amount_in, amount_out, crossed }, left))
    }
}
