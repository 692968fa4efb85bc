//! What a snapshot of an older version lacks is made of the rows that are stored. No node is asked.

use std::{collections::VecDeque, sync::Arc};

use super::{Deps, markets::Trading};
use crate::{
    domain::{
        block::BlockRef,
        event::EventKind,
        image::{Held, PoolImage},
        market::Market,
        pool::{PoolMeta, PoolState},
        record::EventAt,
    },
    store::{
        StoreError,
        history::{PoolReplay, WriteBatch},
        query::{EventQuery, Fields, Narrow, Place},
    },
};

/// What moves a pool with ticks, its books, or what it holds.
const MOVES: [EventKind; 12] = [
    EventKind::Initialize,
    EventKind::Swap,
    EventKind::Mint,
    EventKind::Burn,
    EventKind::Collect,
    EventKind::Flash,
    EventKind::CollectProtocol,
    EventKind::SetFeeProtocol,
    EventKind::IncreaseLiquidity,
    EventKind::DecreaseLiquidity,
    EventKind::CollectPosition,
    EventKind::TransferPosition,
];

/// Rows of one page; fewer in tests, so that there are several.
const PAGE: usize = if cfg!(test) { 20 } else { EventQuery::LIMIT_MAX };

/// Completes the snapshot of a replay, where there is one.
pub(super) async fn mend(deps: &Deps, pool: &PoolMeta, replay: &mut PoolReplay) -> Result<(), StoreError> {
    let Some(snapshot) = &mut replay.snapshot else { return Ok(()) };
    if snapshot.market.is_none() {
        snapshot.market = Some(market(deps, pool, &snapshot.block).await?.market);
    }
    let image = &mut snapshot.image;
    // A pool that never followed the contract's way stops doing so at its first swap: looking again costs a page.
    if matches!(image.state, PoolState::V3(_)) && (image.fees.is_none() || image.held == Held::Unknown) {
        let again = refold(deps, pool, &snapshot.block, image.held == Held::Unknown).await?;
        image.fees = image.fees.take().or(again.fees);
        if image.held == Held::Unknown {
            image.held = again.held;
        }
    }
    Ok(())
}

/// A pool with ticks out of all its stored rows up to a block. Not of one that is older than what is read: its beginning is unknown.
/// `held`: whether that is wanted when nothing else can be told any more.
async fn refold(deps: &Deps, pool: &PoolMeta, to: &BlockRef, held: bool) -> Result<PoolImage, StoreError> {
    let mut image = PoolImage::new(pool);
    if pool.creation().is_none() || pool.origin.is_some() {
        return Ok(PoolImage { held: Held::Unknown, fees: None, ..image });
    }
    tracing::info!(pool = %pool.id, "its fees are made of the events that are stored");
    let mut rows = Rows::new(deps, pool, to, &MOVES).await?;
    while held || image.fees.is_some() {
        let Some(event) = rows.next(deps).await? else { break };
        // One that did not fit then does not fit now.
        let _ = image.apply(&event.row.event.body);
    }
    image.end_block(to, true);
    Ok(image)
}

/// Rows of one kind, a page in memory.
struct Pages {
    query: EventQuery,
    page: VecDeque<EventAt>,
    is_last: bool,
}

impl Pages {
    async fn new(deps: &Deps, query: EventQuery) -> Result<Self, StoreError> {
        let mut pages = Self { query, page: VecDeque::new(), is_last: false };
        pages.read(deps).await?;
        Ok(pages)
    }

    async fn read(&mut self, deps: &Deps) -> Result<(), StoreError> {
        self.page = deps.history.events(self.query).await?.into();
        self.is_last = self.page.len() < PAGE;
        self.query.after = self.page.back().map(place).or(self.query.after);
        Ok(())
    }

    fn first(&self) -> Option<Place> {
        self.page.front().map(place)
    }

    async fn take(&mut self, deps: &Deps) -> Result<Option<EventAt>, StoreError> {
        let event = self.page.pop_front();
        if self.page.is_empty() && !self.is_last {
            self.read(deps).await?;
        }
        Ok(event)
    }
}

fn place(event: &EventAt) -> Place {
    Place { block_number: event.block.number, log_index: event.row.log_index() }
}

/// All of a pool's stored rows up to a block, oldest first; the kind is the caller's.
fn rows_of(deps: &Deps, pool: &PoolMeta, to: &BlockRef) -> EventQuery {
    EventQuery {
        chain: deps.chain,
        kind: EventKind::Swap,
        narrow: Narrow::Pool(pool.id),
        after: None,
        before: Some(Place { block_number: to.number.saturating_add(1), log_index: 0 }),
        time_from: None,
        time_to: None,
        newest_first: false,
        fields: Fields { state_after: true, enrichment: false },
        limit: PAGE,
    }
}

/// A pool's stored rows of some kinds up to a block, in the order of the chain.
struct Rows(Vec<Pages>);

impl Rows {
    async fn new(deps: &Deps, pool: &PoolMeta, to: &BlockRef, kinds: &[EventKind]) -> Result<Self, StoreError> {
        let mut pages = Vec::with_capacity(kinds.len());
        for kind in kinds {
            pages.push(Pages::new(deps, EventQuery { kind: *kind, ..rows_of(deps, pool, to) }).await?);
        }
        Ok(Self(pages))
    }

    async fn next(&mut self, deps: &Deps) -> Result<Option<EventAt>, StoreError> {
        let first = self.0.iter_mut().filter(|pages| pages.first().is_some()).min_by_key(|pages| pages.first());
        match first {
            Some(pages) => pages.take(deps).await,
            None => Ok(None),
        }
    }
}

/// Candles, windows, hours and days out of all stored rows up to a block. Chunks are stored as they come.
async fn market(deps: &Deps, pool: &PoolMeta, to: &BlockRef) -> Result<Trading, StoreError> {
    tracing::info!(pool = %pool.id, "candles are made of the events that are stored");
    let mut trading = match (&pool.origin, pool.creation()) {
        (Some(origin), _) => Trading::new(Arc::new(Market::seeded(origin))),
        // What it held before is not among the rows.
        (None, None) => Trading::new(Arc::new(Market::standing(None, Held::Unknown))),
        (None, Some(_)) => Trading::default(),
    };
    let mut rows = Rows::new(deps, pool, to, &EventKind::ALL).await?;
    let mut taken = 0_usize;
    while let Some(event) = rows.next(deps).await? {
        if pool.origin.as_ref().is_some_and(|origin| event.block.number <= origin.block.number) {
            continue; // of another reading: the contract said what came of it
        }
        trading.take(event.block.timestamp, &event.row, pool.fee_pips);
        taken = taken.saturating_add(1);
        if !taken.is_multiple_of(PAGE) {
            continue;
        }
        let market = trading.market.clone();
        let candles = trading.give(pool.id, &market);
        if !candles.is_empty() {
            deps.keep(WriteBatch { candles, ..super::seed::batch(deps, *to) }).await?;
            trading.forget_given();
        }
    }
    Ok(trading)
}
