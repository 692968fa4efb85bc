//! Everything that happens, as it happens: events of pools, and pools that are created. Both follow the topic of blocks, and look into each
//! block's record: what a reader misses there ends its subscription, it is never left out in silence.

use std::sync::Arc;

use alloy::primitives::Address;
use async_graphql::{Enum, Result, Union};
use futures_util::stream::{self, Stream};

use super::{
    block::Protocol,
    core::Core,
    error::{ApiError, Code},
    event::{At, Burn, Mint, Swap},
    feed::Feed,
    frame::{DexEvent, PoolEvent},
    pool::Pool,
};
use crate::{
    domain::{
        block, event,
        image::PoolImage,
        pool::{self, PoolId},
        record::{BlockRecord, EventAt},
    },
    store::{
        Live, Pin, PoolStatus, PoolView,
        topics::{Frame, FrameData, FrameKind as Kind, Topic},
    },
};

/// The events that are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub(crate) enum EventKind {
    /// An exchange of one token for the other.
    Swap,
    /// Liquidity put in.
    Mint,
    /// Liquidity taken out.
    Burn,
}

impl From<EventKind> for event::EventKind {
    fn from(kind: EventKind) -> Self {
        match kind {
            EventKind::Swap => Self::Swap,
            EventKind::Mint => Self::Mint,
            EventKind::Burn => Self::Burn,
        }
    }
}

/// Something that happened in a pool.
#[derive(Union)]
pub(crate) enum DexEventItem {
    Swap(Swap),
    Mint(Mint),
    Burn(Burn),
}

/// Which events.
#[derive(Debug, Clone, Default)]
pub(super) struct Wanted {
    pub(super) pool: Option<PoolId>,
    pub(super) token: Option<Address>,
    pub(super) maker: Option<Address>,
    pub(super) kinds: Vec<event::EventKind>,
}

impl Wanted {
    fn admits(&self, at: &At) -> bool {
        let row = &at.event().row;
        let is_maker = |maker: &Address| {
            let owner = at.position().map(|(owner, ..)| owner);
            [at.sender(), at.recipient(), owner].contains(&Some(*maker)) || row.enrichment.is_some_and(|e| e.origin == *maker)
        };
        self.kinds.contains(&row.kind())
            && self.pool.is_none_or(|pool| row.event.pool == pool)
            && self.token.is_none_or(|token| at.trades(&token))
            && self.maker.as_ref().is_none_or(is_maker)
    }
}

/// The records of a frame's blocks, in its order.
fn records(live: &Live, frame: &Frame) -> std::result::Result<Vec<Arc<BlockRecord>>, ApiError> {
    let FrameData::Blocks(blocks) = &frame.data else { return Ok(Vec::new()) };
    let record = |block: &block::BlockRef| {
        live.record(&block.hash).ok_or_else(|| ApiError {
            code: Code::SlowConsumer,
            message: format!("this subscription was read too slowly: block {} has left memory. Subscribe anew", block.number),
            cursor: Some(frame.cursor.encode()),
        })
    };
    blocks.iter().map(record).collect()
}

pub(super) fn on_events(core: Arc<Core>, live: &Arc<Live>, wanted: Wanted) -> impl Stream<Item = Result<DexEvent>> + use<> {
    let feed = Feed::new(&core, live, Topic::Blocks);
    stream::unfold((feed, wanted), |(mut feed, wanted)| async move {
        loop {
            let frame = match feed.next().await? {
                Ok(frame) => frame,
                Err(error) => return Some((Err(error.into()), (feed, wanted))),
            };
            let records = match records(feed.live(), &frame) {
                Ok(records) => records,
                Err(error) => {
                    feed.end();
                    return Some((Err(error.into()), (feed, wanted)));
                }
            };
            let pin = Arc::new(feed.live().pin());
            let is_back = frame.kind == Kind::Retract;
            let data: Vec<DexEventItem> = records.iter().flat_map(|record| events(&pin, record, is_back, &wanted)).collect();
            if !data.is_empty() {
                return Some((Ok(DexEvent { envelope: feed.envelope_of(&frame), data }), (feed, wanted)));
            }
        }
    })
}

fn events(pin: &Arc<Pin>, record: &BlockRecord, is_back: bool, wanted: &Wanted) -> Vec<DexEventItem> {
    let at = |row: &crate::domain::record::EventRow| {
        let event = EventAt { chain: record.chain, block: record.block, row: row.clone(), canonical: !is_back };
        At::new(pin, event)
    };
    let mut found: Vec<DexEventItem> = record
        .rows
        .iter()
        .filter(|row| wanted.kinds.contains(&row.kind()))
        .map(at)
        .filter(|at| wanted.admits(at))
        .map(|at| match at.event().row.kind() {
            event::EventKind::Mint => DexEventItem::Mint(at.into()),
            event::EventKind::Burn => DexEventItem::Burn(at.into()),
            _ => DexEventItem::Swap(at.into()),
        })
        .collect();
    if is_back {
        found.reverse();
    }
    found
}

pub(super) fn on_pools(
    core: Arc<Core>,
    live: &Arc<Live>,
    protocol: Option<Protocol>,
) -> impl Stream<Item = Result<PoolEvent>> + use<> {
    let protocol: Option<pool::Protocol> = protocol.map(Into::into);
    let feed = Feed::new(&core, live, Topic::Blocks);
    stream::unfold(feed, move |mut feed| async move {
        loop {
            let frame = match feed.next().await? {
                Ok(frame) => frame,
                Err(error) => return Some((Err(error.into()), feed)),
            };
            let records = match records(feed.live(), &frame) {
                Ok(records) => records,
                Err(error) => {
                    feed.end();
                    return Some((Err(error.into()), feed));
                }
            };
            let pin = Arc::new(feed.live().pin());
            let is_back = frame.kind == Kind::Retract;
            // Records of what is taken back come newest first; so do their pools.
            let created = records.iter().flat_map(|record| {
                let mut created: Vec<_> = record.created.iter().collect();
                if is_back {
                    created.reverse();
                }
                created
            });
            let wanted = created.filter(|meta| protocol.is_none_or(|protocol| meta.protocol == protocol));
            let data: Vec<Pool> = wanted.map(|meta| pool_of(&pin, meta, is_back, frame.block)).collect();
            if !data.is_empty() {
                return Some((Ok(PoolEvent { envelope: feed.envelope_of(&frame), data }), feed));
            }
        }
    })
}

/// As it is now, and of which block that is; as it was created, where that is taken back.
fn pool_of(pin: &Arc<Pin>, meta: &Arc<pool::PoolMeta>, is_back: bool, block: block::BlockRef) -> Pool {
    match pin.pool(&meta.id).filter(|_| !is_back) {
        Some(view) => Pool::new(pin, view),
        None => Pool::at(pin, created(meta), block),
    }
}

fn created(meta: &Arc<pool::PoolMeta>) -> Arc<PoolView> {
    Arc::new(PoolView {
        meta: meta.clone(),
        image: PoolImage::new(meta),
        market: Arc::default(),
        status: PoolStatus::Live,
        held_at: None,
        updated: meta.created.block,
    })
}
