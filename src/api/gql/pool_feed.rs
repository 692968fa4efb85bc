//! States of pools as they change.

use std::{collections::BTreeMap, collections::VecDeque, sync::Arc};

use async_graphql::Result;
use futures_util::{
    future::{BoxFuture, select_all},
    stream::{self, Stream},
};

use super::{
    core::Core,
    feed::{Feed, Said},
    frame::{self, FrameKind, PoolEvent},
    link::{Fact, Link, Nature, Opening, Replaces},
};
use crate::{
    domain::{block::BlockRef, cursor::Cursor, pool::PoolId},
    store::{
        Live, Pin, PoolView,
        topics::{Frame, FrameData, Topic},
    },
};

/// One pool, and what was told of it last.
struct OnePool {
    feed: Feed,
    told: Option<Told>,
}

#[derive(Clone)]
struct Told {
    view: Option<Arc<PoolView>>,
    block: BlockRef,
    cursor: Cursor,
}

pub(super) struct Pools {
    live: Arc<Live>,
    link: Arc<Link>,
    pools: Vec<OnePool>,
    /// Pools that are to be told as they were told last, and whether only newcomers need that.
    openings: VecDeque<(usize, Opening)>,
}

impl Pools {
    pub(super) fn new(core: &Arc<Core>, live: &Arc<Live>, link: Arc<Link>, ids: impl IntoIterator<Item = PoolId>) -> Self {
        // Subscribe first, then look: no change can fall between.
        let feeds: BTreeMap<PoolId, Feed> = ids.into_iter().map(|id| (id, Feed::new(core, live, Topic::Pool(id)))).collect();
        let pin = live.pin();
        let one = |(id, mut feed): (PoolId, Feed)| {
            feed.seen(&pin);
            OnePool { told: state(&pin, &id), feed }
        };
        let pools: Vec<OnePool> = feeds.into_iter().map(one).collect();
        let mut new = Self { live: live.clone(), link, pools, openings: VecDeque::new() };
        new.open(false);
        new
    }

    /// All of them, as they were told last.
    fn open(&mut self, only: bool) {
        // Before the first block there is nothing to say; then the frames are the beginning.
        let known: Vec<usize> = self.pools.iter().enumerate().filter(|(_, pool)| pool.told.is_some()).map(|(at, _)| at).collect();
        let last = known.len().saturating_sub(1);
        let opening = |(count, at): (usize, usize)| (at, Opening { first: count == 0, last: count == last, only });
        self.openings.extend(known.into_iter().enumerate().map(opening));
    }

    async fn next(&mut self) -> PoolEvent {
        loop {
            if let Some((at, opening)) = self.openings.pop_front()
                && let Some(event) = self.opened(at, opening)
            {
                return event;
            }
            // Cancel-safe: what is not taken waits in its topic.
            let heard: Vec<BoxFuture<'_, Said>> = self.pools.iter_mut().map(|pool| Box::pin(pool.feed.next()) as _).collect();
            let said = async {
                tokio::select! {
                    () = self.link.called() => None,
                    (said, at, _) = select_all(heard) => Some((said, at)),
                }
            };
            let said = self.link.rest(said).await;
            let Some((said, at)) = said else {
                self.open(true);
                continue;
            };
            match said {
                Said::Frame(frame) => {
                    if let Some(event) = self.framed(at, &frame) {
                        return event;
                    }
                }
                Said::Lost => self.look_again(at),
            }
        }
    }

    /// For everybody: its state as it is now.
    fn look_again(&mut self, at: usize) {
        let pin = self.live.pin();
        let Some(pool) = self.pools.get_mut(at) else { return };
        pool.feed.seen(&pin);
        if let Some(told) = pool.feed.pool().and_then(|id| state(&pin, &id)) {
            pool.told = Some(told);
            self.openings.push_back((at, Opening { first: false, last: false, only: false }));
        }
    }

    fn opened(&mut self, at: usize, opening: Opening) -> Option<PoolEvent> {
        let pin = Arc::new(self.live.pin());
        let pool = self.pools.get_mut(at)?;
        let told = pool.told.clone()?;
        let envelope = pool.feed.envelope(FrameKind::Snapshot, told.block, &told.cursor, opening.only);
        self.link.tell(fact(at, &told.cursor, Some(opening)));
        Some(frame::pool(envelope, told.view, told.block, &pin))
    }

    fn framed(&mut self, at: usize, frame: &Frame) -> Option<PoolEvent> {
        let FrameData::Pool(views) = &frame.data else { return None };
        let pin = Arc::new(self.live.pin());
        let pool = self.pools.get_mut(at)?;
        let told = Told { view: views.first().cloned(), block: frame.block, cursor: frame.cursor };
        if pool.told.replace(told.clone()).is_none() {
            // The first block: everybody begins with it.
            self.open(false);
            return None;
        }
        let envelope = pool.feed.envelope(frame.kind.into(), told.block, &told.cursor, false);
        self.link.tell(fact(at, &told.cursor, None));
        Some(frame::pool(envelope, told.view, told.block, &pin))
    }
}

fn fact(at: usize, cursor: &Cursor, opening: Option<Opening>) -> Fact {
    let key = u64::try_from(at).unwrap_or(u64::MAX);
    let nature = Nature::State { replaces: Some(Replaces { key, from: 0 }) };
    Fact { nature, opening, cursor: Some(*cursor), ..Fact::default() }
}

fn state(pin: &Pin, id: &PoolId) -> Option<Told> {
    Some(Told { view: pin.pool(id), block: pin.head().block?, cursor: pin.cursor()? })
}

pub(super) fn on_pools(pools: Pools) -> impl Stream<Item = Result<PoolEvent>> + use<> {
    stream::unfold(pools, |mut pools| async move {
        let event = pools.next().await;
        Some((Ok(event), pools))
    })
}
