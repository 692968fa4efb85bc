//! Heads in, chain updates out. A reorg is an ordinary value, found by parent hash and never by number.
//!
//! The machine obeys its input: a head that is an ancestor of the tip takes the chain back to it. Whether such a head is to be
//! believed is for `chain` to decide before it comes here. What is absent: fetching. When a parent is not known the machine
//! names the hash it needs, and is told again.

use std::collections::VecDeque;

use alloy::primitives::B256;

use super::block::BlockRef;

/// One step of the canonical chain: first take back, then go on, then settle. Applied as a whole or not at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChainUpdate {
    /// Newest first.
    pub revert: Vec<BlockRef>,
    /// Oldest first.
    pub extend: Vec<BlockRef>,
    /// The highest block that can no longer be taken back, after this update.
    pub finalize: Option<BlockRef>,
}

/// What the machine makes of a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Advice {
    /// Already the head: nothing changes.
    Known,
    /// Give [`Reconciler::parent`] the header with this hash; the branch does not reach our chain yet.
    Fetch(B256),
    /// The chain moves like this. [`Reconciler::accept`] makes it so.
    Update(ChainUpdate),
    /// The branch leaves our chain below the undo window: it cannot be followed without a resync.
    TooDeep { fork_below: u64, head: BlockRef },
    /// This is not the header that was asked for (or one whose number does not fit): it is not used.
    Unrelated,
}

/// The canonical chain as far back as it can be undone.
#[derive(Debug, Clone)]
pub struct Reconciler {
    /// Ascending and linked; the first is final: it stays as the anchor.
    window: VecDeque<BlockRef>,
    /// A branch that is being traced, newest first.
    branch: Vec<BlockRef>,
}

impl Reconciler {
    /// `anchor` is final by decree: the start block, or the finalized block of a restart.
    #[must_use]
    pub fn new(anchor: BlockRef) -> Self {
        Self { window: VecDeque::from([anchor]), branch: Vec::new() }
    }

    #[must_use]
    pub fn tip(&self) -> BlockRef {
        // The window is never empty: `new` puts the anchor in and `finalize` keeps the last.
        self.window.back().copied().unwrap_or(BlockRef { number: 0, hash: B256::ZERO, parent_hash: B256::ZERO, timestamp: 0 })
    }

    /// The oldest block that is kept: nothing at or below it can be taken back.
    #[must_use]
    pub fn anchor(&self) -> BlockRef {
        self.window.front().copied().unwrap_or_else(|| self.tip())
    }

    /// The canonical chain from the anchor to the tip, ascending.
    pub fn window(&self) -> impl Iterator<Item = &BlockRef> {
        self.window.iter()
    }

    #[must_use]
    pub fn contains(&self, hash: &B256) -> bool {
        self.position(hash).is_some()
    }

    /// A head was heard of. Forgets a branch that was being traced.
    pub fn head(&mut self, head: BlockRef) -> Advice {
        self.branch.clear();
        if head.hash == self.tip().hash {
            return Advice::Known;
        }
        if let Some(at) = self.position(&head.hash) {
            let revert = self.window.iter().skip(at.saturating_add(1)).rev().copied().collect();
            return Advice::Update(ChainUpdate { revert, ..ChainUpdate::default() });
        }
        self.branch.push(head);
        self.trace()
    }

    /// The header that [`Advice::Fetch`] named.
    pub fn parent(&mut self, parent: BlockRef) -> Advice {
        match self.branch.last() {
            Some(child) if child.parent_hash == parent.hash && parent.number.checked_add(1) == Some(child.number) => {
                self.branch.push(parent);
                self.trace()
            }
            _ => Advice::Unrelated,
        }
    }

    fn trace(&self) -> Advice {
        let (Some(oldest), Some(head)) = (self.branch.last(), self.branch.first()) else { return Advice::Unrelated };
        if let Some(at) = self.position(&oldest.parent_hash) {
            let parent_number = self.window.get(at).map(|b| b.number);
            if parent_number.and_then(|n| n.checked_add(1)) != Some(oldest.number) {
                return Advice::Unrelated; // linked by hash, but the number lies: the endpoint is not to be believed
            }
            let revert = self.window.iter().skip(at.saturating_add(1)).rev().copied().collect();
            let extend = self.branch.iter().rev().copied().collect();
            return Advice::Update(ChainUpdate { revert, extend, finalize: None });
        }
        if oldest.number <= self.anchor().number.saturating_add(1) {
            return Advice::TooDeep { fork_below: self.anchor().number, head: *head };
        }
        Advice::Fetch(oldest.parent_hash)
    }

    /// Makes an update so. `finality` is the depth of the undo window in blocks; the update comes back with `finalize` set
    /// where the anchor moved. `None` when the update does not fit the chain (then nothing changed).
    #[must_use]
    pub fn accept(&mut self, mut update: ChainUpdate, finality: u64) -> Option<ChainUpdate> {
        if !self.fits(&update) {
            return None;
        }
        for _ in &update.revert {
            self.window.pop_back();
        }
        self.window.extend(update.extend.iter().copied());
        self.branch.clear();
        let final_number = self.tip().number.saturating_sub(finality);
        update.finalize = self.settle(final_number);
        Some(update)
    }

    /// Everything at or below `number` is final. Returns the new anchor where it moved.
    pub fn settle(&mut self, number: u64) -> Option<BlockRef> {
        let before = self.anchor();
        while self.window.get(1).is_some_and(|next| next.number <= number) {
            self.window.pop_front();
        }
        let after = self.anchor();
        (after != before).then_some(after)
    }

    fn fits(&self, update: &ChainUpdate) -> bool {
        if update.revert.len() >= self.window.len() {
            return false;
        }
        if !self.window.iter().rev().zip(&update.revert).all(|(ours, theirs)| ours == theirs) {
            return false;
        }
        let kept = self.window.len().saturating_sub(update.revert.len()).saturating_sub(1);
        let Some(mut parent) = self.window.get(kept).copied() else { return false };
        update.extend.iter().all(|block| {
            let linked = block.parent_hash == parent.hash && parent.number.checked_add(1) == Some(block.number);
            parent = *block;
            linked
        })
    }

    fn position(&self, hash: &B256) -> Option<usize> {
        // Newest first: nearly every question is about the tip.
        self.window.iter().rposition(|b| b.hash == *hash)
    }
}

#[cfg(test)]
mod tests;
