//! The frame: what every subscription sends.

use std::sync::Arc;

use alloy::primitives::Address;
use async_graphql::{Enum, Object};

use super::{
    block::BlockRef,
    event::{At, Swap},
    events_feed::DexEventItem,
    feed::known_block,
    following::events,
    pool::Pool,
    rows::Rows,
    scalars::Cursor,
};
use crate::{
    domain::{block, cursor},
    store::{
        Live, Pin, PoolView,
        follow::{Happened, News},
        topics,
    },
};

/// What a frame does to what was sent before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub(crate) enum FrameKind {
    /// The state to start from: forget what you had of this topic.
    Snapshot,
    /// New things, oldest first.
    Update,
    /// Takes back what it lists, newest first: a reorg. Remove by `id`, and leave an id alone that was never sent to you: it is from
    /// before you subscribed. The same id may come again later.
    Retract,
    /// Drop everything above `block`; the stream goes on from there. It is sent where a reorg happened while you were away and nobody
    /// remembers what it took back.
    Rollback,
    /// Nothing new: `cursor` says where the stream is. The first frame of a subscription to events, the one with which a resumed
    /// subscription has arrived at the newest block, and one every 30 seconds in which nothing else came.
    Heartbeat,
}

impl From<topics::FrameKind> for FrameKind {
    fn from(kind: topics::FrameKind) -> Self {
        match kind {
            topics::FrameKind::Snapshot => Self::Snapshot,
            topics::FrameKind::Update => Self::Update,
            topics::FrameKind::Retract => Self::Retract,
            topics::FrameKind::Rollback => Self::Rollback,
            topics::FrameKind::Heartbeat => Self::Heartbeat,
        }
    }
}

/// What all frames have beside their data.
pub(super) struct Envelope {
    pub(super) topic: Arc<str>,
    pub(super) seq: u64,
    pub(super) kind: FrameKind,
    pub(super) block: block::BlockRef,
    pub(super) cursor: String,
    pub(super) arrived_at_ms: Option<u64>,
}

impl Envelope {
    pub(super) fn new(
        live: &Live,
        topic: Arc<str>,
        seq: u64,
        kind: FrameKind,
        block: block::BlockRef,
        cursor: &cursor::Cursor,
    ) -> Self {
        let arrived_at_ms = live.arrivals.at_unix_ms(&block.hash);
        Self { topic, seq, kind, block: known_block(live, block), cursor: cursor.encode(), arrived_at_ms }
    }
}

macro_rules! frame {
    ($name:ident, $data:ty, $most:literal, $doc:literal) => {
        #[doc = $doc]
        pub(crate) struct $name {
            pub(super) envelope: Envelope,
            pub(super) data: Vec<$data>,
        }

        impl $name {
            /// So many things a frame is counted as: nobody asks for a number of them.
            const COUNTED: usize = $most;
        }

        #[doc = $doc]
        #[Object]
        impl $name {
            /// What it is about, the same for all frames of one kind of subscription: `swaps:1`, `pool:1:0x…`.
            async fn topic(&self) -> &str {
                &self.envelope.topic
            }

            /// Counts the frames of this topic. Since the last SNAPSHOT or HEARTBEAT, a number left out is a frame lost; after those two the
            /// count may go on anywhere.
            async fn seq(&self) -> u64 {
                self.envelope.seq
            }

            /// The position after this frame is applied. Of a RETRACT of blocks or swaps: the position before what it takes back. A
            /// pool's frame is always of the new head.
            async fn cursor(&self) -> Cursor {
                Cursor(self.envelope.cursor.clone())
            }

            /// What it does to what was sent before.
            async fn kind(&self) -> FrameKind {
                self.envelope.kind
            }

            /// The block of `cursor`: the newest block once this frame is applied. Of a RETRACT of blocks or swaps: the newest that is
            /// left.
            async fn block(&self) -> BlockRef {
                self.envelope.block.into()
            }

            /// When this server took up `block`, before it asked for anything of it: milliseconds since 1970. The rest of the way to you is
            /// the difference to your own clock. Null where it came together with others, before the start, or long ago.
            async fn arrived_at_ms(&self) -> Option<u64> {
                self.envelope.arrived_at_ms
            }

            /// What the frame brings or takes back. Of pools: their new state, also in a RETRACT; empty where there is no such pool,
            /// or not any more.
            #[graphql(complexity = "Self::COUNTED.saturating_mul(child_complexity).saturating_add(1)")]
            async fn data(&self) -> Rows<&$data> {
                Rows(self.data.iter().collect())
            }
        }
    };
}

frame!(BlockEvent, BlockRef, 1, "Blocks that joined the chain, or were taken back. One frame per change of the chain.");
// A busy block has some hundred swaps.
frame!(SwapEvent, Swap, 100, "Swaps that happened, or were taken back. One frame per change of the chain that has any.");
frame!(DexEvent, DexEventItem, 100, "Events that happened, or were taken back. One frame per change of the chain that has any.");
frame!(PoolEvent, Pool, 1, "A pool's new state. One frame per change of the chain that touched it.");

pub(super) fn blocks(news: &News) -> Vec<BlockRef> {
    match &news.happened {
        Happened::Blocks(blocks) => blocks.iter().map(|block| (*block).into()).collect(),
        Happened::Nothing | Happened::Events(_) | Happened::Created(_) => Vec::new(),
    }
}

/// The swaps of what happened, of one token where one is named.
pub(super) fn swaps(pin: &Arc<Pin>, news: &News, token: Option<Address>) -> Vec<Swap> {
    let all = events(news).iter().map(|swap| At::new(pin, swap.clone()));
    all.filter(|at| token.is_none_or(|token| at.trades(&token))).map(Swap::from).collect()
}

/// A pool as a frame has it.
pub(super) fn pool(envelope: Envelope, view: Option<Arc<PoolView>>, block: block::BlockRef, pin: &Arc<Pin>) -> PoolEvent {
    let data = view.into_iter().map(|view| Pool::at(pin, view, block)).collect();
    PoolEvent { envelope, data }
}
