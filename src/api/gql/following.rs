//! A subscription to what happens: [`Follow`] with a name and a count, for as long as somebody reads.

use std::sync::Arc;

use super::{
    core::Core,
    error::{ApiError, Code},
    feed::{Running, known_block},
    frame::{Envelope, FrameKind},
    link::{self, Fact, Link, Nature, Opening},
    scalars,
};
use crate::{
    domain::{cursor::Cursor, event::EventKind},
    store::{
        Live, Pin,
        follow::{Follow, Happened, Interest, News},
        query::Narrow,
        topics,
    },
};

pub(super) struct Following {
    core: Arc<Core>,
    live: Arc<Live>,
    link: Arc<Link>,
    topic: Arc<str>,
    follow: Follow,
    seq: u64,
    ended: bool,
    _running: Running,
}

impl Following {
    /// After a position, or from the head on.
    pub(super) fn new(core: &Arc<Core>, live: &Arc<Live>, link: Arc<Link>, interest: Interest, after: Option<Cursor>) -> Self {
        let topic = name(live, &interest).into();
        let follow = Follow::new(core.reader.clone(), live.clone(), interest, after, core.replays.clone());
        let running = Running::new(&core.metrics.subscriptions);
        Self { core: core.clone(), live: live.clone(), link, topic, follow, seq: 0, ended: false, _running: running }
    }

    /// The next frame that has data by `keep`, or says where the stream is. `None` after the end; an error is the end.
    pub(super) async fn next<T>(
        &mut self,
        keep: impl Fn(&Arc<Pin>, &News) -> Vec<T>,
    ) -> Option<Result<(Envelope, Vec<T>), ApiError>> {
        while !self.ended {
            let (news, only) = tokio::select! {
                biased;
                () = self.link.called() => match self.follow.beat() {
                    Some(news) => (Ok(news), true),
                    // On its way to the head, where it says so by itself.
                    None => continue,
                },
                news = self.follow.next() => (news, false),
            };
            let news = match news {
                Ok(news) => news,
                Err(expired) => {
                    self.ended = true;
                    return Some(Err(expired_at(expired.oldest)));
                }
            };
            let pin = Arc::new(self.live.pin());
            let data = keep(&pin, &news);
            let counts = matches!(news.kind, topics::FrameKind::Update | topics::FrameKind::Retract);
            if counts && data.is_empty() {
                continue;
            }
            return Some(Ok((self.envelope(&news, counts, only), data)));
        }
        None
    }

    fn envelope(&mut self, news: &News, counts: bool, only: bool) -> Envelope {
        let opening = (news.kind == topics::FrameKind::Heartbeat).then_some(Opening { only, ..Opening::WHOLE });
        let (nature, cursor) = (Nature::Event, Some(news.cursor));
        self.link.tell(Fact { nature, opening, cursor, epoch: news.epoch, through: news.through });
        self.core.metrics.frames_made_total.inc();
        let seq = self.seq;
        self.seq = seq.saturating_add(u64::from(counts));
        let block = known_block(&self.live, news.block);
        Envelope { topic: self.topic.clone(), seq, kind: FrameKind::from(news.kind), block, cursor: news.cursor.encode() }
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
    link.start(asked).map(|cursor| link::of_chain(cursor, live.chain)).transpose()
}

/// The swaps, mints and burns of what happened.
pub(super) fn events(news: &News) -> &[crate::domain::record::EventAt] {
    match &news.happened {
        Happened::Events(events) => events,
        Happened::Nothing | Happened::Blocks(_) | Happened::Created(_) => &[],
    }
}
