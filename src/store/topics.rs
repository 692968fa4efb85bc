//! Who waits for what. One frame per chain update and topic, made once and shared by everyone who waits.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use alloy::primitives::B256;
use dashmap::DashMap;
use tokio::sync::broadcast;

use super::view::{Commit, Head, PoolView};
use crate::domain::{
    ChainId,
    block::BlockRef,
    cursor::Cursor,
    event::EventKind,
    pool::PoolId,
    record::{BlockRecord, EventAt},
};

/// Frames a subscriber may lag behind before it is told that it is too slow: over a minute of a 250 ms chain.
pub const TOPIC_CAPACITY_FRAMES: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Topic {
    Blocks,
    Swaps,
    /// Swaps of one pool.
    PoolSwaps(PoolId),
    Pool(PoolId),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FrameKind {
    /// The state to start from.
    Snapshot,
    Update,
    /// Takes back what it lists, newest first.
    Retract,
    /// Drop everything above `block`; the stream goes on from there.
    Rollback,
    /// Nothing new: it says where the stream is.
    Heartbeat,
}

#[derive(Debug, Clone)]
pub enum FrameData {
    Blocks(Vec<BlockRef>),
    Swaps(Vec<EventAt>),
    /// Empty when the block that created the pool was taken back.
    Pool(Vec<Arc<PoolView>>),
}

/// What subscribers of one topic get of one chain update.
#[derive(Debug, Clone)]
pub struct Frame {
    pub epoch: u64,
    /// Counts within the topic.
    pub seq: u64,
    pub kind: FrameKind,
    /// The block of `cursor`.
    pub block: BlockRef,
    /// The position after applying this frame; of a RETRACT, the position before the events that it takes back.
    pub cursor: Cursor,
    pub data: FrameData,
}

struct Channel {
    tx: broadcast::Sender<Arc<Frame>>,
    seq: AtomicU64,
}

/// The topics of one chain. A topic exists while somebody waits on it.
#[derive(Default)]
pub struct Topics(DashMap<Topic, Channel>);

impl Topics {
    /// Frames from now on. `Lagged` from the receiver means that frames were lost for this subscriber: end it with its last
    /// cursor.
    #[must_use]
    pub fn subscribe(&self, topic: Topic) -> broadcast::Receiver<Arc<Frame>> {
        self.0
            .entry(topic)
            .or_insert_with(|| Channel { tx: broadcast::channel(TOPIC_CAPACITY_FRAMES).0, seq: AtomicU64::new(0) })
            .tx
            .subscribe()
    }

    /// How many receivers there are in all.
    #[must_use]
    pub fn subscribers(&self) -> usize {
        self.0.iter().map(|c| c.tx.receiver_count()).sum()
    }

    /// Ends every subscription of a topic; its readers see the channel closed.
    pub(super) fn interrupt(&self, topic: &Topic) {
        self.0.remove(topic);
    }

    /// The same of every topic of which each frame counts: all but states.
    pub(super) fn interrupt_events(&self) {
        self.0.retain(|topic, _| matches!(topic, Topic::Pool(_)));
    }

    /// A SNAPSHOT of every pool that somebody waits on.
    pub(super) fn publish_snapshots(&self, chain: ChainId, head: &Head, newest: impl Fn(&PoolId) -> Option<Arc<PoolView>>) {
        let Some(block) = head.block else { return };
        let pools: Vec<PoolId> =
            self.0.iter().filter_map(|c| if let Topic::Pool(id) = c.key() { Some(*id) } else { None }).collect();
        for id in pools {
            let cursor = Cursor {
                chain,
                block_number: block.number,
                block_hash: block.hash,
                next_log_index: Cursor::BLOCK_END,
                finalized_number: head.finalized_number,
            };
            let data = FrameData::Pool(newest(&id).into_iter().collect());
            self.send(Topic::Pool(id), Frame { epoch: head.epoch, seq: 0, kind: FrameKind::Snapshot, block, cursor, data });
        }
    }

    fn send(&self, topic: Topic, frame: Frame) {
        if let Some(channel) = self.0.get(&topic) {
            let seq = channel.seq.fetch_add(1, Ordering::Relaxed);
            // No receiver is no loss: the topic is swept below.
            let _ = channel.tx.send(Arc::new(Frame { seq, ..frame }));
        }
    }

    pub(super) fn publish(&self, chain: ChainId, commit: &Commit, head: &Head) {
        // Only what is waited for costs anything: in a backfill nobody waits.
        self.0.retain(|_, channel| channel.tx.receiver_count() > 0);
        if self.0.is_empty() {
            return;
        }
        let Some(tip) = head.block else { return };
        let at = |block: BlockRef| Cursor {
            chain,
            block_number: block.number,
            block_hash: block.hash,
            next_log_index: Cursor::BLOCK_END,
            finalized_number: head.finalized_number,
        };
        let frame = |kind, block: BlockRef, data| Frame { epoch: head.epoch, seq: 0, kind, block, cursor: at(block), data };
        if !commit.update.revert.is_empty()
            && let Some(ancestor) = ancestor(commit, head, tip)
        {
            self.send(Topic::Blocks, frame(FrameKind::Retract, ancestor, FrameData::Blocks(commit.update.revert.clone())));
            self.swaps(chain, commit.reverted.iter(), true, &|data| frame(FrameKind::Retract, ancestor, data));
        }
        if !commit.update.extend.is_empty() {
            self.send(Topic::Blocks, frame(FrameKind::Update, tip, FrameData::Blocks(commit.update.extend.clone())));
            self.swaps(chain, commit.extended.iter(), false, &|data| frame(FrameKind::Update, tip, data));
        }
        let retracted: Vec<PoolId> = commit.reverted.iter().flat_map(|r| r.rows.iter().map(|row| row.event.pool)).collect();
        for (id, view) in &commit.views {
            let kind = if retracted.contains(id) { FrameKind::Retract } else { FrameKind::Update };
            self.send(Topic::Pool(*id), frame(kind, tip, FrameData::Pool(view.iter().cloned().collect())));
        }
    }

    fn swaps<'a>(
        &self,
        chain: ChainId,
        records: impl Iterator<Item = &'a Arc<BlockRecord>>,
        newest_first: bool,
        frame: &dyn Fn(FrameData) -> Frame,
    ) {
        let mut all: Vec<EventAt> = Vec::new();
        for record in records {
            let swaps = record.rows.iter().filter(|row| row.kind() == EventKind::Swap);
            let event = |row: &crate::domain::record::EventRow| EventAt {
                chain,
                block: record.block,
                row: row.clone(),
                canonical: !newest_first,
            };
            if newest_first {
                all.extend(swaps.rev().map(event));
            } else {
                all.extend(swaps.map(event));
            }
        }
        if all.is_empty() {
            return;
        }
        let mut by_pool: HashMap<PoolId, Vec<EventAt>> = HashMap::new();
        for swap in &all {
            if self.0.contains_key(&Topic::PoolSwaps(swap.row.event.pool)) {
                by_pool.entry(swap.row.event.pool).or_default().push(swap.clone());
            }
        }
        for (pool, swaps) in by_pool {
            self.send(Topic::PoolSwaps(pool), frame(FrameData::Swaps(swaps)));
        }
        self.send(Topic::Swaps, frame(FrameData::Swaps(all)));
    }
}

/// The last block that both branches share.
fn ancestor(commit: &Commit, head: &Head, tip: BlockRef) -> Option<BlockRef> {
    let oldest = commit.update.revert.last()?;
    if commit.update.extend.is_empty() {
        return Some(tip);
    }
    let known = head.window.iter().find(|r| r.block.hash == oldest.parent_hash).map(|r| r.block);
    // The anchor of the chain has no record; its number and hash are the position.
    known.or(Some(BlockRef {
        number: oldest.number.saturating_sub(1),
        hash: oldest.parent_hash,
        parent_hash: B256::ZERO,
        timestamp: 0,
    }))
}
