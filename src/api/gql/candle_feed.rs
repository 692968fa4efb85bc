//! Candles as they change: with every swap, and when a reorg takes swaps back.

use std::sync::Arc;

use async_graphql::{Object, Result};
use futures_util::stream::{self, Stream};

use super::{
    block::BlockRef,
    candle::{Candle, Written},
    core::Core,
    error::ApiError,
    feed::Feed,
    frame::{Envelope, FrameKind},
    scalars::{Cursor, Timestamp},
};
use crate::{
    domain::{
        market::{Interval, Subject},
        record::EventAt,
    },
    store::{
        Live, Pin,
        candles::CandleQuery,
        reader::ReadError,
        topics::{FrameData, Topic},
    },
};

/// A reorg reaches back as far as the undo window, and no further than this is told.
const CANDLES_MAX: u64 = 1_000;

/// What is subscribed to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    /// A pool or a token.
    pub(super) of: Subject,
    pub(super) interval: Interval,
    pub(super) invert: bool,
}

/// Candles that changed. It replaces every candle that begins at `from` or later: what is not in `data` any more, a reorg took back.
pub(crate) struct CandleFrame {
    envelope: Envelope,
    from: u64,
    data: Vec<Candle>,
}

/// Candles that changed. It replaces every candle that begins at `from` or later: what is not in `data` any more, a reorg took back.
#[Object]
impl CandleFrame {
    /// `swaps:1:0x…`: what it follows.
    async fn topic(&self) -> &str {
        &self.envelope.topic
    }

    /// Counts the frames of this subscription: a number left out is a frame lost.
    async fn seq(&self) -> u64 {
        self.envelope.seq
    }

    /// The position after this frame is applied.
    async fn cursor(&self) -> Cursor {
        Cursor(self.envelope.cursor.clone())
    }

    /// SNAPSHOT: the candle under way. UPDATE: what swaps, or a reorg, changed.
    async fn kind(&self) -> FrameKind {
        self.envelope.kind
    }

    /// The block that the candles are true at.
    async fn block(&self) -> BlockRef {
        self.envelope.block.into()
    }

    /// Every candle that begins here or later is in `data`, or is none.
    async fn from(&self) -> Timestamp {
        Timestamp(self.from)
    }

    /// Oldest first; those in which nobody traded are left out.
    #[graphql(complexity = "10 * child_complexity + 1")]
    async fn data(&self) -> &[Candle] {
        &self.data
    }
}

/// As of the newest block: several frames that wait are told as one state, and then again, which changes nothing.
async fn candles(core: &Core, pin: &Pin, asked: Asked, from: u64) -> std::result::Result<Vec<Candle>, ApiError> {
    let Asked { of, interval, invert } = asked;
    let written = match of {
        // A pool that does not exist yet, or not any more, has none.
        Subject::Pool(pool) => match pin.pool(&pool) {
            Some(view) => Written::new(pin, &view.meta, interval, invert),
            None => return Ok(Vec::new()),
        },
        Subject::Token(token) | Subject::Factory(token) => Written::token(pin, &token, interval),
    };
    let query = CandleQuery { of, interval, from: Some(from), to: None, count: CANDLES_MAX, fill: false };
    let found = core.reader.candles(pin, query).await?;
    Ok(found.candles.into_iter().map(|candle| Candle { candle, written }).collect())
}

/// When the oldest of these swaps was that is of the pool or the token. `None`: none is.
fn oldest(pin: &Pin, of: Subject, swaps: &[EventAt]) -> Option<u64> {
    let concerns = |swap: &&EventAt| match of {
        Subject::Pool(pool) => swap.row.event.pool == pool,
        // A pool that a reorg took away may have been one of the token's.
        Subject::Token(token) => {
            pin.pool(&swap.row.event.pool).is_none_or(|view| [view.meta.token0, view.meta.token1].contains(&token))
        }
        Subject::Factory(_) => false,
    };
    swaps.iter().filter(concerns).map(|swap| swap.block.timestamp).min()
}

pub(super) fn stream(core: Arc<Core>, live: &Arc<Live>, asked: Asked) -> impl Stream<Item = Result<CandleFrame>> + use<> {
    // Subscribe first, then look: no swap can fall between.
    let topic = match asked.of {
        Subject::Pool(pool) => Topic::PoolSwaps(pool),
        Subject::Token(_) | Subject::Factory(_) => Topic::Swaps,
    };
    let feed = Feed::new(&core, live, topic);
    stream::unfold((core, feed, None), move |(core, mut feed, told)| async move {
        let (kind, from) = if let Some(told) = told {
            let oldest = loop {
                let frame = match feed.next().await? {
                    Ok(frame) => frame,
                    Err(error) => return Some((Err(error.into()), (core, feed, Some(told)))),
                };
                let FrameData::Swaps(swaps) = &frame.data else { return None };
                if let Some(oldest) = oldest(&feed.live().pin(), asked.of, swaps) {
                    break oldest;
                }
            };
            // The one that was told last may be closed by now.
            (FrameKind::Update, asked.interval.start_of(oldest).min(told))
        } else {
            let now = feed.live().head().block.map_or(0, |b| b.timestamp);
            (FrameKind::Snapshot, asked.interval.start_of(now))
        };
        let pin = feed.live().pin();
        let found = candles(&core, &pin, asked, from).await;
        let told = found.as_ref().ok().and_then(|data| data.last()).map_or(from, |last| last.candle.start);
        let item = found.and_then(|data| {
            let envelope = feed.envelope_at(&pin, kind).ok_or(ReadError::Starting)?;
            Ok(CandleFrame { envelope, from, data })
        });
        Some((item.map_err(Into::into), (core, feed, Some(told))))
    })
}
