//! The best shares of ways that have no pool in common: by number of parts, way after way.

use alloy::primitives::{I256, U256};

use super::{Dealt, PARTS, Task};

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

impl Task<'_> {
    /// The best shares, in parts, of every few of these ways that have no pool in common.
    pub(super) fn choose(&self, few: &[usize], legs_max: usize) -> Option<Dealt> {
        let part = self.known().checked_div(U256::from(PARTS))?;
        let parts = usize::try_from(PARTS).ok()?;
        let amount = |share: usize| if share == parts { self.known() } else { part.saturating_mul(U256::from(share)) };
        let worths: Vec<Vec<Option<I256>>> =
            few.iter().map(|path| (0..=parts).map(|share| self.net(&[(*path, amount(share))])).collect()).collect();
        let mut best: Option<(I256, Vec<(usize, usize)>)> = None;
        // Sets that are still to be made wider: their ways, and the best that they are worth for each number of parts, with the shares.
        let empty: Row = std::iter::once(Some((I256::ZERO, Vec::new()))).chain((0..parts).map(|_| None)).collect();
        let mut open: Vec<(Vec<usize>, Row)> = vec![(Vec::new(), empty)];
        let apart = |a: usize, b: usize| few.get(a).zip(few.get(b)).is_some_and(|(a, b)| !self.meet(*a, *b));
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
            for next in (first..few.len()).filter(|next| set.iter().all(|known| apart(*known, *next))) {
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
            Some((*few.get(at)?, amount(share).checked_add(extra)?))
        });
        Some(dealt.collect())
    }
}
