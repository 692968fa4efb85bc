//! The best shares of ways that have no pool in common: by number of parts, way after way.

use alloy::primitives::{I256, U256};

use super::{Dealt, LEGS_MAX, PARTS, Task};

/// Parts of each way of a set, in the order of the set.
type Shares = [u8; LEGS_MAX];

/// By number of parts: the most that so many are worth over some ways, and the share of each way.
type Row = Vec<Option<(I256, Shares)>>;

/// The best of so many parts in all, of which one way more, the `place`th of its set, gets at least one.
fn widened(row: &Row, worth: &[Option<I256>], place: usize, all: usize) -> Option<(I256, Shares)> {
    let mut best: Option<(I256, Shares)> = None;
    for share in 1..=all {
        let before = all.checked_sub(share).and_then(|rest| row.get(rest).copied().flatten());
        let Some(((before, mut shares), more)) = before.zip(worth.get(share).copied().flatten()) else { continue };
        let net = before.saturating_add(more);
        if best.is_none_or(|(best, _)| net > best) {
            *shares.get_mut(place)? = u8::try_from(share).ok()?;
            best = Some((net, shares));
        }
    }
    best
}

impl Task<'_> {
    /// The best shares, in parts, of every few of these ways that have no pool in common.
    pub(super) fn choose(&self, few: &[usize], legs_max: usize) -> Option<Dealt> {
        let part = self.known().checked_div(U256::from(PARTS))?;
        let parts = usize::try_from(PARTS).ok()?;
        let amount = |share: usize| if share == parts { self.known() } else { part.saturating_mul(U256::from(share)) };
        let worths: Vec<Vec<Option<I256>>> =
            few.iter().map(|path| (0..=parts).map(|share| self.net(&[(*path, amount(share))])).collect()).collect();
        let mut best: Option<(I256, Vec<usize>, Shares)> = None;
        // Sets that are still to be made wider: their ways, and the best that they are worth for each number of parts, with the shares.
        let nothing = Some((I256::ZERO, Shares::default()));
        let empty: Row = std::iter::once(nothing).chain((0..parts).map(|_| None)).collect();
        let mut open: Vec<(Vec<usize>, Row)> = vec![(Vec::new(), empty)];
        let apart = |a: usize, b: usize| few.get(a).zip(few.get(b)).is_some_and(|(a, b)| !self.meet(*a, *b));
        while let Some((set, row)) = open.pop() {
            let first = set.last().map_or(0, |last| last.saturating_add(1));
            for next in (first..few.len()).filter(|next| set.iter().all(|known| apart(*known, *next))) {
                let Some(worth) = worths.get(next) else { continue };
                let mut with = set.clone();
                with.push(next);
                let place = set.len();
                let whole = widened(&row, worth, place, parts);
                if let Some((net, shares)) = whole.filter(|(net, _)| best.as_ref().is_none_or(|(best, ..)| net > best)) {
                    best = Some((net, with.clone(), shares));
                }
                if with.len() < legs_max {
                    let wider = (0..parts).map(|all| widened(&row, worth, place, all)).chain([whole]).collect();
                    open.push((with, wider));
                }
            }
        }
        let (_, set, shares) = best?;
        // What a division leaves goes to the first.
        let mut rest = self.known().checked_sub(part.checked_mul(U256::from(PARTS))?)?;
        let dealt = set.into_iter().zip(shares).filter_map(|(at, share)| {
            let share = usize::from(share);
            let extra = if share == parts { U256::ZERO } else { std::mem::take(&mut rest) };
            Some((*few.get(at)?, amount(share).checked_add(extra)?))
        });
        Some(dealt.collect())
    }
}
