//! Everything that happens, as it happens: events of pools, and pools that are created.

use std::sync::Arc;

use alloy::primitives::Address;
use async_graphql::{Enum, Result, Union};
use futures_util::stream::{self, Stream};

use super::{
    block::Protocol,
    event::{At, Burn, Mint, Swap},
    feed::known_block,
    following::{Following, events},
    frame::{DexEvent, PoolEvent},
    pool::Pool,
};
use crate::{
    domain::{
        block, event,
        image::PoolImage,
        pool::{self, PoolId},
    },
    store::{
        Live, Pin, PoolStatus, PoolView,
        follow::{Happened, Interest, News},
        query::Narrow,
        topics::FrameKind as Kind,
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
    /// What history is asked for: one condition has an index, the others are looked at afterwards.
    pub(super) fn interest(&self) -> Interest {
        let narrow = match (self.pool, self.token) {
            (Some(pool), _) => Narrow::Pool(pool),
            (None, Some(token)) => Narrow::Token(token),
            (None, None) => Narrow::All,
        };
        let mut kinds = self.kinds.clone();
        kinds.sort_unstable();
        kinds.dedup();
        Interest::Events { kinds, narrow }
    }

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

pub(super) fn on_events(following: Following, wanted: Wanted) -> impl Stream<Item = Result<DexEvent>> + use<> {
    stream::unfold((following, wanted), |(mut following, wanted)| async move {
        let keep = |pin: &Arc<Pin>, news: &News| -> Vec<DexEventItem> {
            let all = events(news).iter().map(|event| At::new(pin, event.clone()));
            all.filter(|at| wanted.admits(at)).map(DexEventItem::from).collect()
        };
        let item = following.next(keep).await?.map(|(envelope, data)| DexEvent { envelope, data });
        Some((item.map_err(Into::into), (following, wanted)))
    })
}

impl From<At> for DexEventItem {
    fn from(at: At) -> Self {
        match at.event().row.kind() {
            event::EventKind::Mint => Self::Mint(at.into()),
            event::EventKind::Burn => Self::Burn(at.into()),
            _ => Self::Swap(at.into()),
        }
    }
}

pub(super) fn on_pools(
    following: Following,
    live: Arc<Live>,
    protocol: Option<Protocol>,
) -> impl Stream<Item = Result<PoolEvent>> + use<> {
    let protocol: Option<pool::Protocol> = protocol.map(Into::into);
    stream::unfold((following, live), move |(mut following, live)| async move {
        let keep = |pin: &Arc<Pin>, news: &News| -> Vec<Pool> {
            let Happened::Created(created) = &news.happened else { return Vec::new() };
            let is_back = news.kind == Kind::Retract;
            let block = known_block(&live, news.block);
            let wanted = created.iter().filter(|meta| protocol.is_none_or(|protocol| meta.protocol == protocol));
            wanted.map(|meta| pool_of(pin, meta, is_back, block)).collect()
        };
        let item = following.next(keep).await?.map(|(envelope, data)| PoolEvent { envelope, data });
        Some((item.map_err(Into::into), (following, live)))
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
