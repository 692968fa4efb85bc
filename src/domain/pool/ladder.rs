//! What swaps of one pool have in common: a step that goes to its end is the same for every larger swap of that direction.
//!
//! So a swap starts from the last such end below its amount. What a step takes whole does not depend on what is left, and neither whether it
//! is taken whole: an input reaches the end exactly if it is no less than what the step takes in with its fee.

use alloy::primitives::U256;

use super::{exchange::TickSwap, step::Amount};

/// Swaps that end in a step before its end is worth knowing.
const BUSY: u32 = 1;
/// 200 bytes each.
const RUNGS_MAX: usize = 256;

/// Ends of steps, from the pool's price on: of one pool, one direction and one fee.
#[derive(Debug, Clone)]
pub struct Ladder {
    rungs: Vec<TickSwap>,
    rungs_max: usize,
    /// Swaps that ended in the step after the last end.
    ended: u32,
    steps_max: u32,
}

impl Ladder {
    /// Keeps nothing.
    #[must_use]
    pub const fn none() -> Self {
        Self { rungs: Vec::new(), rungs_max: 0, ended: 0, steps_max: u32::MAX }
    }

    #[must_use]
    #[expect(clippy::new_without_default, reason = "one that keeps nothing is as good a default")]
    pub fn new() -> Self {
        Self { rungs: Vec::new(), rungs_max: RUNGS_MAX, ended: 0, steps_max: u32::MAX }
    }

    /// A swap that takes more steps than these beyond the ends that are known is [`super::exchange::NoSwap::Far`], from now on.
    pub fn limit(&mut self, steps_max: u32) {
        self.steps_max = steps_max;
    }

    pub(super) fn steps_max(&self) -> u32 {
        self.steps_max
    }

    #[cfg(test)]
    pub(super) fn rungs(&self) -> &[TickSwap] {
        &self.rungs
    }

    /// The last end before the amount is used up, and which one that is.
    pub(super) fn below(&self, amount: Amount) -> Option<(usize, TickSwap)> {
        let (Amount::In(all) | Amount::Out(all)) = amount;
        let count = self.rungs.partition_point(|rung| done(rung, amount) < all);
        Some((count, *self.rungs.get(count.checked_sub(1)?)?))
    }

    /// A swap ends in the step after this end, or goes on; others did before, and where the step ends is not known.
    pub(super) fn is_busy(&mut self, place: usize) -> bool {
        if place != self.rungs.len() || place >= self.rungs_max {
            return false;
        }
        self.ended = self.ended.saturating_add(1);
        self.ended > BUSY
    }

    /// The end of the step after this one, where it is known: no swap that is below it reaches it.
    pub(super) fn get(&self, place: usize) -> Option<&TickSwap> {
        self.rungs.get(place)
    }

    /// A step from this end went to the next one; which one that is.
    pub(super) fn reach(&mut self, place: usize, way: &TickSwap) -> usize {
        if place == self.rungs.len() && place < self.rungs_max {
            self.rungs.push(*way);
            self.ended = 0;
        }
        place.saturating_add(1)
    }
}

/// What of the known amount is swapped by then.
pub(super) fn done(way: &TickSwap, amount: Amount) -> U256 {
    match amount {
        Amount::In(_) => way.amount_in,
        Amount::Out(_) => way.amount_out,
    }
}
