//! What a stream sends: frames, as server-sent events.

use std::sync::Arc;

use axum::response::sse::Event as SseEvent;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    model::{Block, Event, Pool},
    problem::Problem,
    text,
    words::Freshness,
};
use crate::{domain::block::BlockRef, store::topics};

/// What one change of the chain did to one topic.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Frame {
    /// `blocks:1`, `swaps:1`, `swaps:1:0x…`, `pool:1:0x…`; null in a HEARTBEAT, which is about all of them.
    #[schema(value_type = Option<String>)]
    pub(super) topic: Option<Arc<str>>,
    pub(super) kind: FrameKind,
    /// Where the whole stream is after this frame, the same as the message's `id`; null where further frames of the same change follow.
    pub(super) cursor: Option<text::Cursor>,
    /// The newest block once this frame is applied; of RETRACT and ROLLBACK the newest that is left.
    pub(super) block: FrameBlock,
    pub(super) freshness: Freshness,
    /// Blocks, swaps or pools, as the topic says.
    #[schema(value_type = Vec<FrameItem>)]
    pub(super) data: Data,
}

/// What a frame does to what was sent before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum FrameKind {
    /// The state to start from: forget what you had of this topic.
    Snapshot,
    /// New things, oldest first. Of a pool: its new state.
    Update,
    /// Takes back what it lists, newest first. Of a pool: its state after a reorg.
    Retract,
    /// Drop everything above `block`: a reorg took it back while you were away.
    Rollback,
    /// Nothing happened.
    Heartbeat,
}

/// A block, as far as it is known.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct FrameBlock {
    pub(super) number: u64,
    /// Null where only the height is known, which is final then.
    pub(super) hash: Option<text::Hash>,
}

impl From<BlockRef> for FrameBlock {
    fn from(block: BlockRef) -> Self {
        Self { number: block.number, hash: (!block.hash.is_zero()).then(|| block.hash.into()) }
    }
}

/// One of a frame's data.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it is read by the document only; a test holds each frame to it")]
enum FrameItem {
    Block(Block),
    Swap(Box<Event>),
    Pool(Box<Pool>),
}

#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub(super) enum Data {
    Blocks(Vec<Block>),
    Swaps(Vec<Event>),
    Pools(Vec<Pool>),
}

/// One message of a stream.
pub(super) enum Message {
    Frame(Box<Frame>),
    /// History cannot be read now; the stream goes on by itself.
    Problem(Problem),
}

impl Message {
    /// With the length of its JSON, in bytes.
    pub(super) fn into_event(self) -> (SseEvent, usize) {
        let (event, id, json) = match &self {
            Self::Frame(frame) => {
                (SseEvent::default(), frame.cursor.clone().map(text::Cursor::into_text), serde_json::to_string(frame))
            }
            Self::Problem(problem) => (SseEvent::default().event("problem"), None, serde_json::to_string(problem)),
        };
        let event = id.into_iter().fold(event, SseEvent::id);
        let json = json.unwrap_or_else(|_| "{}".to_owned());
        (event.data(&json), json.len())
    }
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
