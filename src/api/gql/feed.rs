//! A subscription's supply of frames: one topic, in order, until its reader is too slow.

use std::sync::Arc;

use prometheus::IntGauge;
use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::{
    core::Core,
    error::{ApiError, Code},
    frame::{Envelope, FrameKind},
};
use crate::{
    domain::block::BlockRef,
    store::{
        Live, Pin,
        topics::{Frame, Topic},
    },
};

/// Counts running subscriptions for as long as it lives.
struct Running(IntGauge);

impl Running {
    fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.dec();
    }
}

pub(super) struct Feed {
    core: Arc<Core>,
    live: Arc<Live>,
    topic: Arc<str>,
    frames: Receiver<Arc<Frame>>,
    seq: u64,
    last_cursor: Option<String>,
    /// Frames up to this epoch are part of the snapshot already.
    seen_epoch: u64,
    ended: bool,
    _running: Running,
}

impl Feed {
    /// Frames from now on.
    pub(super) fn new(core: &Arc<Core>, live: &Arc<Live>, topic: Topic) -> Self {
        let chain = live.chain;
        let name = match topic {
            Topic::Blocks => format!("blocks:{chain}"),
            Topic::Swaps => format!("swaps:{chain}"),
            Topic::PoolSwaps(pool) => format!("swaps:{chain}:{pool}"),
            Topic::Pool(pool) => format!("pool:{chain}:{pool}"),
        };
        Self {
            core: core.clone(),
            live: live.clone(),
            topic: name.into(),
            frames: live.topics.subscribe(topic),
            seq: 0,
            last_cursor: None,
            seen_epoch: 0,
            ended: false,
            _running: Running::new(&core.metrics.subscriptions),
        }
    }

    /// Makes `pin` the state that later frames build on. It must have been taken after [`Feed::new`].
    pub(super) fn snapshot(&mut self, pin: &Pin) -> Option<(Envelope, BlockRef)> {
        let block = pin.head().block?;
        let cursor = pin.cursor()?.encode();
        self.seen_epoch = pin.head().epoch;
        Some((self.envelope(FrameKind::Snapshot, block, cursor), block))
    }

    /// Of what was worked out at `pin`, which may be newer than the frame that was the reason to.
    pub(super) fn envelope_at(&mut self, pin: &Pin, kind: FrameKind) -> Option<Envelope> {
        let (block, cursor) = (pin.head().block?, pin.cursor()?.encode());
        Some(self.envelope(kind, block, cursor))
    }

    /// Nothing comes after what is said now.
    pub(super) fn end(&mut self) {
        self.ended = true;
        self.core.metrics.slow_consumers_total.inc();
    }

    pub(super) fn live(&self) -> &Arc<Live> {
        &self.live
    }

    /// The next frame that the snapshot does not contain. `None` after the end; an error is the end.
    pub(super) async fn next(&mut self) -> Option<Result<Arc<Frame>, ApiError>> {
        if self.ended {
            return None;
        }
        loop {
            match self.frames.recv().await {
                Ok(frame) if frame.epoch <= self.seen_epoch => {}
                Ok(frame) => return Some(Ok(frame)),
                Err(RecvError::Lagged(lost)) => {
                    self.ended = true;
                    self.core.metrics.slow_consumers_total.inc();
                    return Some(Err(ApiError {
                        code: Code::SlowConsumer,
                        message: format!(
                            "this subscription was read too slowly and missed {lost} frames: read the state again and subscribe anew"
                        ),
                        cursor: self.last_cursor.clone(),
                    }));
                }
                Err(RecvError::Closed) => {
                    self.ended = true;
                    return Some(Err(ApiError {
                        code: Code::CursorExpired,
                        message: "the server was cut off from the chain and caught up without single blocks: read the state again and subscribe anew".into(),
                        cursor: self.last_cursor.clone(),
                    }));
                }
            }
        }
    }

    /// Names and counts a frame that is about to be sent.
    pub(super) fn envelope_of(&mut self, frame: &Frame) -> Envelope {
        self.envelope(frame.kind.into(), frame.block, frame.cursor.encode())
    }

    fn envelope(&mut self, kind: FrameKind, block: BlockRef, cursor: String) -> Envelope {
        self.core.metrics.frames_sent_total.inc();
        let seq = self.seq;
        self.seq = self.seq.saturating_add(1);
        self.last_cursor = Some(cursor.clone());
        // A RETRACT knows the number and hash of the block that is left; the rest is usually still in memory.
        let block = if block.parent_hash.is_zero() { self.live.record(&block.hash).map_or(block, |r| r.block) } else { block };
        Envelope { topic: self.topic.clone(), seq, kind, block, cursor }
    }
}
