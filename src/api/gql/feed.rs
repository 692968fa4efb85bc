//! A subscription's supply of states: frames of topics, of which only the newest counts.

use std::sync::Arc;

use prometheus::IntGauge;
use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::{
    core::Core,
    frame::{Envelope, FrameKind},
};
use crate::{
    domain::{block::BlockRef, cursor::Cursor, pool::PoolId},
    store::{
        Live, Pin,
        topics::{Frame, Topic},
    },
};

/// Counts running subscriptions for as long as it lives.
pub(super) struct Running(IntGauge);

impl Running {
    pub(super) fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// What a topic says next.
pub(super) enum Said {
    Frame(Arc<Frame>),
    /// Frames were lost: look at the state.
    Lost,
}

pub(super) struct Feed {
    core: Arc<Core>,
    live: Arc<Live>,
    of: Topic,
    topic: Arc<str>,
    frames: Receiver<Arc<Frame>>,
    seq: u64,
    /// Frames up to this epoch are part of what was told already.
    seen_epoch: u64,
    _running: Running,
}

impl Feed {
    /// Frames from now on.
    pub(super) fn new(core: &Arc<Core>, live: &Arc<Live>, of: Topic) -> Self {
        let chain = live.chain;
        let name = match of {
            Topic::Blocks => format!("blocks:{chain}"),
            Topic::Swaps => format!("swaps:{chain}"),
            Topic::PoolSwaps(pool) => format!("swaps:{chain}:{pool}"),
            Topic::Pool(pool) => format!("pool:{chain}:{pool}"),
        };
        Self {
            core: core.clone(),
            live: live.clone(),
            of,
            topic: name.into(),
            frames: live.topics.subscribe(of),
            seq: 0,
            seen_epoch: 0,
            _running: Running::new(&core.metrics.subscriptions),
        }
    }

    /// Makes `pin` the state that later frames build on. It must have been taken after [`Feed::new`], or after [`Said::Lost`].
    pub(super) fn seen(&mut self, pin: &Pin) {
        self.seen_epoch = pin.head().epoch;
    }

    /// The pool whose state it is about.
    pub(super) fn pool(&self) -> Option<PoolId> {
        if let Topic::Pool(id) = self.of { Some(id) } else { None }
    }

    pub(super) fn live(&self) -> &Arc<Live> {
        &self.live
    }

    /// The next frame that was not seen. Cancel-safe.
    pub(super) async fn next(&mut self) -> Said {
        loop {
            match self.frames.recv().await {
                Ok(frame) if frame.epoch <= self.seen_epoch => {}
                Ok(frame) => return Said::Frame(frame),
                Err(RecvError::Lagged(_)) => return Said::Lost,
                Err(RecvError::Closed) => {
                    self.frames = self.live.topics.subscribe(self.of);
                    return Said::Lost;
                }
            }
        }
    }

    /// Names and counts a frame that is about to be sent. One that is for newcomers only is not counted: it has the number of the one
    /// that comes next.
    pub(super) fn envelope(&mut self, kind: FrameKind, block: BlockRef, cursor: &Cursor, only_newcomers: bool) -> Envelope {
        self.core.metrics.frames_made_total.inc();
        let seq = self.seq;
        self.seq = seq.saturating_add(u64::from(!only_newcomers));
        Envelope::new(&self.live, self.topic.clone(), seq, kind, block, cursor)
    }
}

/// A RETRACT or a cursor knows number and hash of its block; the rest is usually still in memory.
pub(super) fn known_block(live: &Live, block: BlockRef) -> BlockRef {
    if !block.parent_hash.is_zero() {
        return block;
    }
    let head = live.head().block.filter(|head| head.hash == block.hash);
    head.or_else(|| live.record(&block.hash).map(|record| record.block)).unwrap_or(block)
}
