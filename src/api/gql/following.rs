//! A subscription to what happens: [`Follow`] with a name and a count, for as long as somebody reads.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep_until};

use super::{
    core::Core,
    error::{ApiError, Code},
    feed::Running,
    frame::Envelope,
    link::{self, Fact, Link, Nature, Opening},
    scalars,
};
use crate::{
    api::in_a,
    domain::{cursor::Cursor, event::EventKind},
    store::{
        Live, Pin,
        follow::{Follow, Happened, Interest, News},
        query::Narrow,
        topics,
    },
};

/// A cursor of another replica may be some blocks ahead. 10,000: over half a day of Base.
const AHEAD_MAX_BLOCKS: u64 = 10_000;
/// Whoever hears nothing for this long is told where it is.
const HEARTBEAT: Duration = Duration::from_secs(30);

pub(super) struct Following {
    core: Arc<Core>,
    live: Arc<Live>,
    link: Arc<Link>,
    topic: Arc<str>,
    follow: Follow,
    seq: u64,
    ended: bool,
    heartbeat_at: Instant,
    _running: Running,
}

impl Following {
    /// After a position, or from the head on.
    pub(super) fn new(core: &Arc<Core>, live: &Arc<Live>, link: Arc<Link>, interest: Interest, after: Option<Cursor>) -> Self {
        let topic = name(live, &interest).into();
        let follow =
            Follow::new(core.reader.clone(), live.clone(), interest, after, link.turns().unwrap_or_else(|| core.turns.clone()));
        let running = Running::new(&core.metrics.subscriptions);
        Self {
            core: core.clone(),
            live: live.clone(),
            link,
            topic,
            follow,
            seq: 0,
            ended: false,
            heartbeat_at: in_a(HEARTBEAT),
            _running: running,
        }
    }

    /// The next frame that has data by `keep`, or says where the stream is. `None` after the end; an error is the end.
    pub(super) async fn next<T>(
        &mut self,
        keep: impl Fn(&Arc<Pin>, &News) -> Vec<T>,
    ) -> Option<Result<(Envelope, Vec<T>), ApiError>> {
        while !self.ended {
            // On its way to the head a stream is not disturbed: there it says by itself where it is.
            let is_live = self.follow.is_live();
            let beat = if is_live {
                let heard = async {
                    tokio::select! {
                        biased;
                        () = self.link.called() => Err(true),
                        () = sleep_until(self.heartbeat_at) => Err(false),
                        news = self.follow.look() => Ok(news),
                    }
                };
                self.link.rest(heard).await
            } else {
                Ok(self.follow.look().await)
            };
            let (news, only) = match beat {
                Ok(news) => (news, false),
                Err(only) => (Ok(self.follow.beat()), only),
            };
            let mut news = match news {
                Ok(Some(news)) => news,
                Ok(None) => continue,
                Err(expired) => {
                    self.ended = true;
                    return Some(Err(expired_at(expired.oldest)));
                }
            };
            let pin = Arc::new(self.live.pin());
            let data = keep(&pin, &news);
            let mut counts = matches!(news.kind, topics::FrameKind::Update | topics::FrameKind::Retract);
            if counts && data.is_empty() {
                if is_live || news.kind == topics::FrameKind::Retract {
                    continue;
                }
                // History has much that is not wanted: whoever goes through it is told how far it is, and is waited for.
                (news.kind, counts) = (topics::FrameKind::Heartbeat, false);
            }
            return Some(Ok((self.envelope(&news, counts, only), data)));
        }
        None
    }

    fn envelope(&mut self, news: &News, counts: bool, only: bool) -> Envelope {
        if !only {
            // Of what nobody is told a position grows old all the same: only what is said counts.
            self.heartbeat_at = in_a(HEARTBEAT);
        }
        let opening = (news.kind == topics::FrameKind::Heartbeat).then_some(Opening { only, ..Opening::WHOLE });
        let (nature, cursor) = (Nature::Event, Some(news.cursor));
        self.link.tell(Fact { nature, opening, cursor, epoch: news.epoch, through: news.through });
        self.core.metrics.frames_made_total.inc();
        let seq = self.seq;
        self.seq = seq.saturating_add(u64::from(counts));
        Envelope::new(&self.live, self.topic.clone(), seq, news.kind.into(), news.block, &news.cursor)
    }
}

/// `swaps:1`, `swaps:1:0x…`, `blocks:1`: what it is about.
fn name(live: &Live, interest: &Interest) -> String {
    let chain = live.chain;
    match interest {
        Interest::Events { kinds, narrow } => {
            let what = if *kinds == [EventKind::Swap] { "swaps" } else { "events" };
            match narrow {
                Narrow::Pool(pool) => format!("{what}:{chain}:{pool}"),
                _ => format!("{what}:{chain}"),
            }
        }
        Interest::Blocks => format!("blocks:{chain}"),
        Interest::Created => format!("pools:{chain}"),
    }
}

fn expired_at(oldest: Option<Cursor>) -> ApiError {
    let message = "what happened after this cursor is not known here any more in full: read the state again, and resume at \
                   `extensions.cursor`, the oldest that works, or leave `resumeFrom` out";
    ApiError { cursor: oldest.map(|cursor| cursor.encode()), ..ApiError::new(Code::CursorExpired, message) }
}

/// Where a stream begins: where whoever carries it says, else at `resumeFrom`.
pub(super) fn start(link: &Link, live: &Live, resume_from: Option<scalars::Cursor>) -> Result<Option<Cursor>, ApiError> {
    let asked = match resume_from {
        Some(cursor) if link.follows_document() => Some(Cursor::decode(&cursor.0)?),
        _ => None,
    };
    let start = link.start(asked).map(|cursor| link::of_chain(cursor, live.chain)).transpose()?;
    let head = live.head();
    if let (Some(start), Some(block)) = (start, head.block.filter(|_| head.at_head))
        && start.block_number > block.number.saturating_add(AHEAD_MAX_BLOCKS)
    {
        let message = format!("this cursor is of block {}, and the newest block here is {}", start.block_number, block.number);
        return Err(ApiError::input(message));
    }
    Ok(start)
}

/// The swaps, mints and burns of what happened.
pub(super) fn events(news: &News) -> &[crate::domain::record::EventAt] {
    match &news.happened {
        Happened::Events(events) => events,
        Happened::Nothing | Happened::Blocks(_) | Happened::Created(_) => &[],
    }
}
