//! The pools that `Ingest` knows: their addresses, the state each last acknowledged, and the pre-images that undo a block.

use std::{collections::HashMap, sync::Arc};

use actix::Addr;
use alloy::primitives::B256;

use super::{
    Deps,
    books::Books,
    markets::{Before, Trading},
    pool::{Applied, Pool, actor_name},
    supervise::{Restart, Spec, supervise},
};
use crate::{
    chain::registry::Registry,
    domain::{
        block::BlockRef,
        image::{Held, PoolImage},
        market::{Happened, Market, RawPrice, Subject},
        pool::{PoolId, PoolMeta},
        record::{EventRow, PoolSnapshot},
    },
    store::{PoolStatus, PoolView, view::Snapshots},
    telemetry::ActorState,
};

/// In a backfill a pool is written as a snapshot after this many events.
const SNAPSHOT_EVENTS: u32 = 2_000;
/// Of a snapshot, for each event since the last one: about what its row takes. A pool with a hundred thousand positions is so written as a
/// snapshot no more than as rows, and a restart replays some ten thousand of them.
const SNAPSHOT_BYTES_PER_EVENT: usize = 1_000;

/// Which pools get a snapshot, of those that changed since their last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// Those that changed much.
    Often,
    /// Also those that changed little.
    Changed,
    /// All, so that the next start is short.
    Leaving,
}

impl Due {
    /// `weight`: about so many bytes it takes to write it.
    pub(super) fn holds(self, events: u32, weight: impl FnOnce() -> usize) -> bool {
        let earned = usize::try_from(events).unwrap_or(usize::MAX).saturating_mul(SNAPSHOT_BYTES_PER_EVENT);
        let pays = || earned >= weight();
        match self {
            Self::Often => events >= SNAPSHOT_EVENTS && pays(),
            Self::Changed => events > 0 && pays(),
            Self::Leaving => events > 0,
        }
    }
}

pub(super) struct Entry {
    pub(super) meta: Arc<PoolMeta>,
    pub(super) address: Addr<Pool>,
    /// Of the last message that was sent.
    pub(super) seq: u64,
    /// The last state that was acknowledged and committed.
    pub(super) image: PoolImage,
    pub(super) trading: Trading,
    /// The newest block whose events are in `state`.
    pub(super) updated: BlockRef,
    /// `Some`: the pool did not answer; `state` is true at this block and not after.
    pub(super) held_at: Option<BlockRef>,
    pub(super) faulted: bool,
    events_since_snapshot: u32,
}

/// What is known of a pool before its actor starts.
pub(super) struct Known {
    pub(super) image: PoolImage,
    pub(super) trading: Trading,
    /// The newest block whose events are in it.
    pub(super) updated: BlockRef,
}

impl Known {
    /// One that has not traded.
    pub(super) fn new(image: PoolImage, updated: BlockRef) -> Self {
        let is_older = image.held != Held::Nothing || RawPrice::of(&image.state.after()).is_some();
        let market = if is_older { Arc::new(Market::seeded(&image.origin(updated))) } else { Market::none() };
        Self { image, trading: Trading::new(market), updated }
    }
}

/// Looked up for every event: the faster of the hashes.
pub(super) type Entries = alloy::primitives::map::HashMap<PoolId, Entry>;

/// Owned by the chain's tree, so that it outlives a restart of `Ingest`.
#[derive(Default)]
pub(super) struct Table {
    pub(super) entries: Entries,
    /// By block: the state of each pool before the block changed it.
    undo: HashMap<B256, Vec<(PoolId, PoolImage)>>,
    markets_before: Before,
    pub(super) books: Books,
}

impl Entry {
    fn weight(&self) -> usize {
        self.image.weight().saturating_add(self.trading.market.weight())
    }

    pub(super) fn view(&self) -> Arc<PoolView> {
        let status = match (self.faulted, self.held_at) {
            (true, _) => PoolStatus::Faulted,
            (false, Some(_)) => PoolStatus::Rebuilding,
            (false, None) => PoolStatus::Live,
        };
        Arc::new(PoolView {
            meta: self.meta.clone(),
            image: self.image.clone(),
            market: self.trading.market.clone(),
            status,
            held_at: self.held_at,
            updated: self.updated,
        })
    }
}

impl Table {
    /// Starts the actor of a pool, from its creation or from a restored state.
    pub(super) fn start(&mut self, deps: &Deps, meta: &Arc<PoolMeta>, known: Option<Known>) {
        let known = known.unwrap_or_else(|| Known::new(PoolImage::new(meta), meta.created.block));
        let Known { image, trading, updated } = known;
        let spec = Spec {
            kind: "pool",
            name: actor_name(meta),
            restart: Restart::Transient,
            board: deps.board.clone(),
            metrics: deps.metrics.clone(),
            // The board keeps it as quarantined; the next heal marks the view FAULTED. Everything else goes on.
            on_give_up: Box::new(|_| ()),
        };
        deps.live.learn_pool(meta);
        let actor = Pool::new(meta.clone(), image.clone());
        let address = supervise(spec, |_| actor);
        let entry = Entry {
            meta: meta.clone(),
            address,
            seq: 0,
            image,
            trading,
            updated,
            held_at: None,
            faulted: false,
            events_since_snapshot: 0,
        };
        self.entries.insert(meta.id, entry);
    }

    /// Pools to look at, and books to write.
    pub(super) fn parts(&mut self) -> (&Entries, &mut Books) {
        (&self.entries, &mut self.books)
    }

    /// The state of every pool that these blocks (newest first) changed, before they did.
    pub(super) fn bases(&self, reverted: &[BlockRef]) -> HashMap<PoolId, PoolImage> {
        // Oldest last: its pre-image is the one that holds.
        reverted.iter().filter_map(|b| self.undo.get(&b.hash)).flatten().map(|(id, image)| (*id, image.clone())).collect()
    }

    pub(super) fn remember_undo(&mut self, block: B256, pool: PoolId, pre_image: PoolImage) {
        let pre_images = self.undo.entry(block).or_default();
        match pre_images.iter_mut().find(|(id, _)| *id == pool) {
            Some((_, image)) => *image = pre_image,
            None => pre_images.push((pool, pre_image)),
        }
    }

    /// A row of a block, in the order of the chain.
    pub(super) fn trade(&mut self, block: &BlockRef, row: &EventRow, keep_undo: bool) {
        let counts = Happened::counts(row);
        let Some(entry) = self.entries.get_mut(&row.event.pool).filter(|_| counts) else { return };
        if keep_undo {
            self.markets_before.remember(block.hash, row.event.pool, &entry.trading.market);
        }
        entry.trading.take(block.timestamp, row, entry.meta.fee_pips);
    }

    /// What a pool had traded before a block.
    pub(super) fn remember_market(&mut self, block: B256, pool: PoolId, market: &Arc<Market>) {
        self.markets_before.remember(block, pool, market);
    }

    /// Trading is as it was before these blocks, newest first. Which pools' it is: also of such as do not answer.
    pub(super) fn take_back_trades(&mut self, reverted: &[BlockRef]) -> Vec<PoolId> {
        let mut changed = Vec::new();
        self.books.take_back(reverted);
        for (id, market) in self.markets_before.all(reverted) {
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.trading.market = market;
                changed.push(id);
            }
        }
        changed
    }

    pub(super) fn forget_undo(&mut self, keep: impl Fn(&B256) -> bool) {
        self.undo.retain(|hash, _| keep(hash));
        self.books.forget_undo(&keep);
        self.markets_before.forget(keep);
    }

    /// A pool answered: its new state is what the next commit publishes.
    pub(super) fn acknowledge(&mut self, id: &PoolId, applied: &Applied, updated: Option<BlockRef>) {
        if let Some(entry) = self.entries.get_mut(id) {
            entry.image = applied.image.clone();
            entry.held_at = None;
            if let Some(updated) = updated {
                entry.updated = updated;
            }
            let events = u32::try_from(applied.after.len()).unwrap_or(u32::MAX);
            entry.events_since_snapshot = entry.events_since_snapshot.saturating_add(events);
        }
    }

    /// A pool did not answer: it keeps its image, which is true at `held_at`.
    pub(super) fn hold(&mut self, deps: &Deps, id: &PoolId, image: Option<PoolImage>, held_at: BlockRef) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        if let Some(image) = image {
            entry.image = image;
        }
        entry.held_at = Some(entry.held_at.filter(|earlier| earlier.number < held_at.number).unwrap_or(held_at));
        let status = deps.board.get(&actor_name(&entry.meta));
        entry.faulted = status.is_some_and(|s| s.state == ActorState::Quarantined);
    }

    /// A pool whose state is proven wrong; it is not healed.
    pub(super) fn fault(&mut self, id: &PoolId, held_at: BlockRef) {
        if let Some(entry) = self.entries.get_mut(id) {
            entry.faulted = true;
            entry.held_at = Some(held_at);
        }
    }

    pub(super) fn lagging(&self) -> Vec<PoolId> {
        self.entries.iter().filter(|(_, e)| e.held_at.is_some() && !e.faulted).map(|(id, _)| *id).collect()
    }

    /// Snapshots of pools that changed enough since their last one. `at` is final; `later` are the canonical blocks above it,
    /// ascending.
    pub(super) fn snapshots(&mut self, deps: &Deps, at: BlockRef, later: &[BlockRef], which: Due) -> Snapshots {
        let due = |e: &Entry| e.held_at.is_none() && which.holds(e.events_since_snapshot, || e.weight());
        for (of, track, last) in deps.live.take_stored() {
            match of {
                Subject::Pool(id) => {
                    if let Some(entry) = self.entries.get_mut(&id) {
                        entry.trading.forget(track, last);
                    }
                }
                Subject::Token(_) | Subject::Factory(_) => self.books.forget(of, track, last),
            }
        }
        let mut snapshots = Snapshots::default();
        let newest_first: Vec<BlockRef> = later.iter().rev().copied().collect();
        self.books.snapshot(at, &newest_first, which, &mut snapshots);
        if !self.entries.values().any(due) {
            return snapshots;
        }
        let mut before_later = self.bases(&newest_first);
        let mut markets_before_later = self.markets_before.all(&newest_first);
        for (id, entry) in self.entries.iter_mut().filter(|(_, e)| due(e)) {
            if entry.meta.created.block.number > at.number {
                continue;
            }
            let image = before_later.remove(id).unwrap_or_else(|| entry.image.clone());
            let market = markets_before_later.remove(id).unwrap_or_else(|| entry.trading.market.clone());
            entry.events_since_snapshot = 0;
            snapshots.candles.extend(entry.trading.give(*id, &market));
            snapshots.pools.push(PoolSnapshot { chain: deps.chain, pool: *id, block: at, image, market: Some(market) });
        }
        snapshots
    }

    /// Which position managers' tokens are in which pool.
    pub(super) fn tell_tokens(&self, registry: &mut Registry) {
        for (id, entry) in &self.entries {
            entry.image.fees.iter().for_each(|fees| registry.insert_tokens(*id, fees));
        }
    }

    /// After a restart of `Ingest`: what was not committed is forgotten.
    pub(super) fn resync(&mut self, deps: &Deps) {
        self.books.book = deps.live.head().book.as_ref().clone();
        self.entries.retain(|id, entry| match deps.live.newest(id) {
            Some(view) => {
                entry.image = view.image.clone();
                entry.trading.market = view.market.clone();
                entry.updated = view.updated;
                entry.held_at = view.held_at;
                // A gap in the numbers: the pool asks for a base.
                entry.seq = entry.seq.saturating_add(1);
                true
            }
            None => false,
        });
    }
}
