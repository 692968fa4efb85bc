//! The in-memory read model of one chain: one commit per chain update, published as one epoch.
//!
//! Each pool keeps its last few `(epoch, view)`; a reader pins an epoch and sees exactly that one, however many commits happen
//! meanwhile. Nobody ever sees two blocks mixed. What is absent: locks held while anybody computes or waits.

pub mod arrivals;
mod routes;
mod side;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};

use alloy::primitives::{Address, B256};
use dashmap::DashMap;
use tokio::{sync::watch, time::Instant};

pub use self::side::WindowHold;
use self::{arrivals::Arrivals, side::Outbox};
use super::{
    conduct::Conducts,
    node::Node,
    pin::Pin,
    positions::Index,
    quote::Routers,
    topics::{Topic, Topics},
    touches::Touches,
    view::{Commit, Freshness, Head, PoolView},
};
use crate::domain::{
    ChainId,
    dollars::Routes,
    market::{Subject, Track},
    pool::PoolId,
    record::{BlockRecord, Enrichment},
    token::TokenMeta,
};

#[derive(Default)]
struct Versions(Vec<(u64, Option<Arc<PoolView>>)>);

/// The read model of one chain. Share it as `Arc<Live>`.
pub struct Live {
    pub chain: ChainId,
    pub chain_name: String,
    pub confirmations: u64,
    pub stall_timeout: Duration,
    /// The configured store did not answer: what is written goes to one that ends with this run.
    pub stand_in: bool,
    pools: DashMap<PoolId, Versions>,
    tokens: DashMap<Address, Arc<TokenMeta>>,
    positions: Index,
    head: RwLock<Arc<Head>>,
    pins: Mutex<BTreeMap<u64, usize>>,
    /// Below these the window may be cut, and not above: [`Live::hold_window`].
    holds: Mutex<BTreeMap<u64, usize>>,
    /// Blocks taken back lately, for `Persist` and for resuming. Newest last.
    orphans: Mutex<Vec<Arc<BlockRecord>>>,
    outbox: Mutex<Outbox>,
    /// Chunks that became durable and that memory still has.
    stored: Mutex<Vec<(Subject, Track, u64)>>,
    /// Held by whoever makes a new head out of the one before.
    writer: Mutex<()>,
    pub topics: Topics,
    pub touches: Touches,
    pub conduct: Conducts,
    pub arrivals: Arrivals,
    routes: RwLock<Arc<Routes>>,
    /// Set before it is shared.
    pub routers: Routers,
    /// Set before it is shared, too. `None`: nobody can be asked.
    pub node: Option<Arc<dyn Node>>,
    epoch_tx: watch::Sender<u64>,
    durable: watch::Sender<u64>,
}

/// How many orphaned records stay in memory: a reorg of 64 blocks, four times over.
const ORPHANS_MAX: usize = 256;

fn relock<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while this was held cannot leave it half-changed: every critical section is a few moves.
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Live {
    #[must_use]
    pub fn new(chain: ChainId, chain_name: &str, confirmations: u64, stall_timeout: Duration) -> Self {
        let head = Head {
            epoch: 0,
            block: None,
            base_fee_wei: None,
            finalized_number: 0,
            at_head: false,
            untold: false,
            current: false,
            committed_at: Instant::now(),
            reverts: 0,
            window: Arc::new(Vec::new()),
            window_floor: u64::MAX,
            book: Arc::default(),
        };
        Self {
            chain,
            chain_name: chain_name.to_owned(),
            confirmations,
            stall_timeout,
            stand_in: false,
            pools: DashMap::new(),
            tokens: DashMap::new(),
            positions: Index::default(),
            head: RwLock::new(Arc::new(head)),
            pins: Mutex::new(BTreeMap::new()),
            orphans: Mutex::new(Vec::new()),
            arrivals: Arrivals::default(),
            outbox: Mutex::default(),
            holds: Mutex::default(),
            stored: Mutex::default(),
            writer: Mutex::new(()),
            topics: Topics::default(),
            conduct: Conducts::default(),
            touches: Touches::default(),
            routers: Routers::default(),
            node: None,
            routes: RwLock::default(),
            epoch_tx: watch::channel(0).0,
            durable: watch::channel(0).0,
        }
    }

    /// The newest epoch's head, without pinning it. For reads of pools take a [`Pin`].
    #[must_use]
    pub fn head(&self) -> Arc<Head> {
        self.head.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes with every commit.
    #[must_use]
    pub fn watch_epoch(&self) -> watch::Receiver<u64> {
        self.epoch_tx.subscribe()
    }

    /// The highest block number of our chain that is durable.
    #[must_use]
    pub fn watch_durable(&self) -> watch::Receiver<u64> {
        self.durable.subscribe()
    }

    /// Told by `Persist` after each write. A block that was taken back meanwhile makes nothing of our chain durable. `reverts` is
    /// [`Head::reverts`] of the head that the write was planned from.
    pub fn set_durable(&self, number: u64, hash: B256, reverts: u64) {
        let head = self.head();
        // Memory may have let go of it. Then it is ours only if nothing was taken back since it was.
        let ours = (number <= head.finalized_number && reverts == head.reverts)
            || head.block.is_some_and(|b| b.hash == hash)
            || head.window.iter().rev().any(|r| r.block.hash == hash);
        if ours {
            self.durable.send_replace(number);
        }
    }

    /// The same where another instance writes, and what it wrote may have been taken back since.
    pub fn see_durable(&self, number: u64) {
        self.durable.send_if_modified(|durable| std::mem::replace(durable, number) != number);
    }

    /// Height of the newest block that survives a restart.
    #[must_use]
    pub fn durable_block(&self) -> u64 {
        if self.stand_in { 0 } else { *self.durable.borrow() }
    }

    /// Freezes the newest epoch for as long as the pin lives.
    #[must_use]
    pub fn pin(self: &Arc<Self>) -> Pin {
        let mut pins = relock(&self.pins);
        // Read under the pins lock: a commit that prunes takes the same lock, so it cannot miss this pin.
        let head = self.head();
        let count = pins.entry(head.epoch).or_insert(0);
        *count = count.saturating_add(1);
        drop(pins);
        Pin { live: self.clone(), head }
    }

    /// Publishes a whole chain update as one epoch and hands its frames to the topics. Returns the epoch.
    ///
    /// There is one writer per chain (`Ingest`); only [`Live::enrich`] comes between.
    pub fn commit(&self, commit: Commit) -> u64 {
        let _writer = relock(&self.writer);
        self.learn_decimals(&commit.tokens);
        let before = self.head();
        let epoch = before.epoch.saturating_add(1);
        for token in &commit.tokens {
            self.tokens.insert(token.address, token.clone());
        }
        let oldest_pinned = relock(&self.pins).keys().next().copied().unwrap_or(before.epoch).min(before.epoch);
        commit.extended.iter().flat_map(|record| &record.rows).for_each(|row| self.positions.take(row));
        for (id, view) in &commit.views {
            let mut versions = self.pools.entry(*id).or_default();
            if let Some(view) = view.as_ref().filter(|_| versions.0.is_empty()) {
                self.positions.learn(*id, &view.image);
            }
            versions.prune(oldest_pinned);
            versions.0.push((epoch, view.clone()));
        }
        if let Some(oldest) = commit.update.revert.last() {
            // What is stored above the fork is stored of another branch.
            let fork = oldest.number.saturating_sub(1);
            self.durable.send_if_modified(|durable| {
                let lower = fork < *durable;
                *durable = fork.min(*durable);
                lower
            });
        }
        let head = Arc::new(self.next_head(&before, &commit, epoch));
        {
            let outbox = &mut *relock(&self.outbox);
            // What was amended and is taken back now must not be written as canonical.
            commit.reverted.iter().for_each(|gone| outbox.forget(&gone.block.hash));
            let side = &mut outbox.side;
            side.tokens.extend(commit.tokens.iter().map(|t| (t.address, t.clone())));
            side.amended.extend(commit.amended.iter().map(|r| (r.block.hash, r.clone())));
        }
        {
            let mut orphans = relock(&self.orphans);
            orphans.extend(commit.reverted.iter().cloned());
            let surplus = orphans.len().saturating_sub(ORPHANS_MAX);
            orphans.drain(..surplus);
        }
        *self.head.write().unwrap_or_else(PoisonError::into_inner) = head.clone();
        let arrived = head.at_head && !before.at_head;
        if commit.gap {
            self.topics.interrupt(&Topic::Blocks);
        }
        if arrived && before.untold {
            // Whoever subscribed during the first catch-up was told of nothing since.
            self.topics.interrupt_events();
        }
        if !commit.quiet {
            self.topics.publish(self.chain, &commit, &head);
        }
        if arrived {
            self.topics.publish_snapshots(self.chain, &head, |id| self.newest(id));
        }
        self.epoch_tx.send_replace(epoch);
        epoch
    }

    /// Rows of a block of the window gain what receipts said. No epoch: they are the same rows. A block that was taken back
    /// meanwhile gains nothing.
    pub fn enrich(&self, block: &B256, found: &HashMap<B256, Enrichment>) {
        let _writer = relock(&self.writer);
        let before = self.head();
        let Some(at) = before.window.iter().rposition(|record| record.block.hash == *block) else { return };
        let mut window = before.window.as_ref().clone();
        let Some(slot) = window.get_mut(at) else { return };
        let record = Arc::make_mut(slot);
        for row in record.rows.iter_mut().filter(|row| row.enrichment.is_none()) {
            row.enrichment = found.get(&row.event.raw.tx_hash).copied();
        }
        relock(&self.outbox).side.amended.insert(*block, slot.clone());
        let head = Head { window: Arc::new(window), ..before.as_ref().clone() };
        *self.head.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(head);
    }

    fn next_head(&self, before: &Head, commit: &Commit, epoch: u64) -> Head {
        let mut window: Vec<Arc<BlockRecord>> = before.window.as_ref().clone();
        window.truncate(window.len().saturating_sub(commit.reverted.len()));
        for amended in &commit.amended {
            let number = amended.block.number;
            let at = window.partition_point(|r| r.block.number < number);
            match window.get_mut(at).filter(|r| r.block.number == number) {
                Some(record) if record.block.hash == amended.block.hash => *record = amended.clone(),
                // The window leaves out settled blocks without events; this one has some by now.
                None if number >= before.window_floor && number <= before.finalized_number => window.insert(at, amended.clone()),
                Some(_) | None => {}
            }
        }
        window.extend(commit.extended.iter().cloned());
        // What is final and durable is History's; the rest stays here, because only here it is known.
        let unwritten = commit.amended.iter().map(|record| record.block.number).min();
        let mut keep_from = commit.finalized_number.min(self.durable.borrow().saturating_add(1));
        keep_from = [unwritten, self.unwritten(), self.held()].into_iter().flatten().fold(keep_from, u64::min);
        if commit.window_rows_max > 0 {
            keep_from = keep_from.max(overflow(&window, commit.window_rows_max, commit.finalized_number));
        }
        let gone = window.partition_point(|r| r.block.number < keep_from);
        window.drain(..gone);
        let first = commit.extended.first().map_or(u64::MAX, |r| r.block.number);
        let floor = if before.window_floor == u64::MAX { first } else { before.window_floor.max(keep_from) };
        Head {
            epoch,
            block: commit.head.or(before.block),
            base_fee_wei: commit.base_fee_wei.or(before.base_fee_wei.filter(|_| commit.head == before.block)),
            finalized_number: commit.finalized_number,
            at_head: commit.at_head || before.at_head,
            untold: before.untold || (commit.quiet && commit.head != before.block),
            current: commit.at_head,
            // A commit that only mends a pool says nothing about how new the chain is.
            committed_at: if commit.head == before.block { before.committed_at } else { Instant::now() },
            reverts: before.reverts.saturating_add(u64::from(!commit.update.revert.is_empty())),
            window: Arc::new(window),
            window_floor: floor,
            book: commit.book.as_ref().unwrap_or(&before.book).clone(),
        }
    }

    /// The newest committed view of a pool, whatever epoch readers have pinned. For the writer's side.
    #[must_use]
    pub fn newest(&self, id: &PoolId) -> Option<Arc<PoolView>> {
        self.pools.get(id)?.at(u64::MAX).cloned()
    }

    /// A record of the canonical window or of the orphans that are still in memory.
    #[must_use]
    pub fn record(&self, hash: &B256) -> Option<Arc<BlockRecord>> {
        let head = self.head();
        if let Some(found) = head.window.iter().rev().find(|r| r.block.hash == *hash) {
            return Some(found.clone());
        }
        relock(&self.orphans).iter().rev().find(|r| r.block.hash == *hash).cloned()
    }

    /// A block that was taken back lately and is not ours again.
    #[must_use]
    pub fn orphan(&self, hash: &B256) -> Option<Arc<BlockRecord>> {
        if self.head().window.iter().rev().any(|record| record.block.hash == *hash) {
            return None;
        }
        relock(&self.orphans).iter().rev().find(|record| record.block.hash == *hash).cloned()
    }

    /// The state of a restart, before anything is followed: window, pools and tokens as the store had them.
    pub fn restore(&self, commit: Commit, durable: u64, window_floor: u64) {
        self.durable.send_replace(durable);
        self.learn_decimals(&commit.tokens);
        for token in &commit.tokens {
            self.tokens.insert(token.address, token.clone());
        }
        for (id, view) in &commit.views {
            self.pools.insert(*id, Versions(vec![(1, view.clone())]));
            view.iter().for_each(|view| self.positions.learn(*id, &view.image));
        }
        let head = Head {
            epoch: 1,
            block: commit.head,
            base_fee_wei: commit.base_fee_wei,
            finalized_number: commit.finalized_number,
            at_head: false,
            untold: false,
            current: false,
            committed_at: Instant::now(),
            reverts: 0,
            window: Arc::new(commit.extended),
            window_floor,
            book: commit.book.unwrap_or_default(),
        };
        *self.head.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(head);
        self.epoch_tx.send_replace(1);
    }

    #[must_use]
    pub fn freshness(&self, head: &Head, now: Instant) -> Freshness {
        let silent = now.saturating_duration_since(head.committed_at);
        if silent >= self.stall_timeout.saturating_mul(3) {
            Freshness::Stale
        } else if silent >= self.stall_timeout || !head.current {
            Freshness::Delayed
        } else {
            Freshness::Live
        }
    }

    #[cfg(test)]
    pub(super) fn versions_of(&self, id: &PoolId) -> usize {
        self.pools.get(id).map_or(0, |v| v.0.len())
    }

    pub(super) fn pool_at(&self, id: &PoolId, epoch: u64) -> Option<Arc<PoolView>> {
        self.pools.get(id)?.at(epoch).cloned()
    }

    pub(super) fn pools_at(&self, epoch: u64) -> Vec<Arc<PoolView>> {
        self.pools.iter().filter_map(|v| v.at(epoch).cloned()).collect()
    }

    pub(super) fn positions(&self) -> &Index {
        &self.positions
    }

    #[must_use]
    pub fn token(&self, address: &Address) -> Option<Arc<TokenMeta>> {
        self.tokens.get(address).map(|t| t.clone())
    }

    #[must_use]
    pub fn tokens(&self) -> Vec<Arc<TokenMeta>> {
        self.tokens.iter().map(|t| t.clone()).collect()
    }

    pub(super) fn unpin(&self, epoch: u64) {
        let mut pins = relock(&self.pins);
        if let Some(count) = pins.get_mut(&epoch) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                pins.remove(&epoch);
            }
        }
    }
}

/// The number to keep from so that at most `rows_max` rows stay. Never above `finalized`: what can be taken back is needed.
fn overflow(window: &[Arc<BlockRecord>], rows_max: usize, finalized: u64) -> u64 {
    let mut rows = 0usize;
    for record in window.iter().rev() {
        rows = rows.saturating_add(record.rows.len());
        if rows > rows_max {
            return record.block.number.saturating_add(1).min(finalized);
        }
    }
    0
}

impl Versions {
    fn at(&self, epoch: u64) -> Option<&Arc<PoolView>> {
        self.0.iter().rev().find(|(e, _)| *e <= epoch).and_then(|(_, view)| view.as_ref())
    }

    /// Drops every version that no reader can ask for: all but the newest at or below `oldest_pinned`.
    fn prune(&mut self, oldest_pinned: u64) {
        let needed = self.0.iter().rposition(|(e, _)| *e <= oldest_pinned).unwrap_or(0);
        self.0.drain(..needed);
    }
}
