//! Candles as they change: with every swap, and when a reorg takes swaps back.

use std::sync::Arc;

use async_graphql::{Object, Result};
use futures_util::stream::{self, Stream};

use super::{
    block::BlockRef,
    candle::{Candle, Written},
    core::Core,
    error::ApiError,
    feed::{Feed, Said},
    frame::{Envelope, FrameKind},
    link::{Fact, Link, Nature, Opening, Replaces},
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

    /// Counts the frames. Since the last SNAPSHOT, a number left out is a frame lost; after that the count may go on anywhere.
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

struct Candles {
    core: Arc<Core>,
    link: Arc<Link>,
    feed: Feed,
    asked: Asked,
    /// The start of the newest candle that was told.
    told: Option<u64>,
}

impl Candles {
    /// Why there is something to say, and from which candle on.
    async fn reason(&mut self) -> (FrameKind, u64, Option<Opening>) {
        let start_of = |time: u64| self.asked.interval.start_of(time);
        let Some(told) = self.told else {
            let now = self.feed.live().head().block.map_or(0, |b| b.timestamp);
            return (FrameKind::Snapshot, start_of(now), Some(Opening { only: false, ..Opening::WHOLE }));
        };
        loop {
            let said = async {
                tokio::select! {
                    () = self.link.called() => None,
                    said = self.feed.next() => Some(said),
                }
            };
            match self.link.rest(said).await {
                None => return (FrameKind::Snapshot, told, Some(Opening::WHOLE)),
                Some(Said::Frame(frame)) => {
                    let FrameData::Swaps(swaps) = &frame.data else { continue };
                    if let Some(oldest) = oldest(&self.feed.live().pin(), self.asked.of, swaps) {
                        // The one that was told last may be closed by now.
                        return (FrameKind::Update, start_of(oldest).min(told), None);
                    }
                }
                // Whatever changed lies within what can still be taken back.
                Some(Said::Lost) => {
                    let head = self.feed.live().head();
                    let oldest = head.window.first().map_or(told, |record| record.block.timestamp);
                    return (FrameKind::Update, start_of(oldest).min(told), None);
                }
            }
        }
    }

    async fn next(&mut self) -> std::result::Result<CandleFrame, ApiError> {
        let (kind, from, opening) = self.reason().await;
        let pin = self.feed.live().pin();
        let data = candles(&self.core, &pin, self.asked, from).await?;
        self.told = Some(data.last().map_or(from, |last| last.candle.start));
        let (block, cursor) = pin.head().block.zip(pin.cursor()).ok_or(ReadError::Starting)?;
        let only = opening.is_some_and(|opening| opening.only);
        let envelope = self.feed.envelope(kind, block, &cursor, only);
        let nature = Nature::State { replaces: Some(Replaces { key: 0, from }) };
        self.link.tell(Fact { nature, opening, cursor: Some(cursor), ..Fact::default() });
        Ok(CandleFrame { envelope, from, data })
    }
}

pub(super) fn stream(
    core: Arc<Core>,
    live: &Arc<Live>,
    link: Arc<Link>,
    asked: Asked,
) -> impl Stream<Item = Result<CandleFrame>> + use<> {
    // Subscribe first, then look: no swap can fall between.
    let topic = match asked.of {
        Subject::Pool(pool) => Topic::PoolSwaps(pool),
        Subject::Token(_) | Subject::Factory(_) => Topic::Swaps,
    };
    let feed = Feed::new(&core, live, topic);
    stream::unfold(Candles { core, link, feed, asked, told: None }, |mut candles| async move {
        let item = candles.next().await;
        Some((item.map_err(Into::into), candles))
    })
}
