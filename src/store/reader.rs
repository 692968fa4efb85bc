//! The only door for reads: memory first, then history.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    history::{DataSource, History, StoreError},
    keep::{HOLDS_S, Keep, RecordedPrice},
    live::Live,
    pin::Pin,
    prices::Prices,
    query::{EventQuery, Narrow, Place},
};
use alloy::primitives::Address;

use crate::domain::{
    ChainId,
    pool::PoolId,
    record::{BlockRecord, EventAt, EventRow},
};

#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    #[error("chain {0} is not configured here")]
    UnknownChain(ChainId),
    #[error("several chains are configured: say which one with `chainId`")]
    ChainNeeded,
    /// The state is still being read from the store, or the first block is on its way.
    #[error("the server is starting: its first block is on the way. Try again in a moment")]
    Starting,
    /// Another server, or this one before a restart, was further.
    #[error("this cursor is of block {cursor}, and the newest block here is {head}: try again in a moment")]
    Ahead { cursor: u64, head: u64 },
    /// The store was away for so long that memory let go of blocks which it has not caught up with yet.
    #[error("the store is catching up after an outage: events of blocks {from} to {to} are not back yet. Try again later")]
    CatchingUp { from: u64, to: u64 },
    /// A question about more than one answer may hold.
    #[error("there are more than {most} swaps in that stretch: ask for a shorter one")]
    TooMuch { most: usize },
    /// Unix seconds.
    #[error(
        "candles so short are kept of tokens from {from} on only (seconds since 1970): ask for later ones, or for longer ones"
    )]
    NotKept { from: u64 },
    #[error("block {asked} has not arrived here yet, the newest is {head}: ask again in a moment")]
    Future { asked: u64, head: u64 },
    #[error("more than {most} pools have a say in these prices: ask for fewer tokens")]
    TooManyPools { most: usize },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Events with the source that was needed to answer.
#[derive(Debug, Clone)]
pub struct Events {
    pub events: Vec<EventAt>,
    pub source: DataSource,
}

/// What was found by looking at one event after the other.
#[derive(Debug, Clone)]
pub struct Scan {
    pub events: Vec<EventAt>,
    pub source: DataSource,
    /// The last one that was looked at.
    pub last: Option<EventAt>,
    /// There may be more after `last`.
    pub more: bool,
}

/// Events that one question looks at.
pub const SCAN_MAX: usize = 10_010;

/// Shared by every request. Cheap to clone.
#[derive(Clone)]
pub struct Reader {
    chains: Arc<BTreeMap<ChainId, Arc<Live>>>,
    history: Arc<dyn History>,
    prices: Arc<Prices>,
    keep: Option<Arc<dyn Keep>>,
}

impl Reader {
    #[must_use]
    pub fn new(chains: impl IntoIterator<Item = Arc<Live>>, history: Arc<dyn History>) -> Self {
        let chains = chains.into_iter().map(|live| (live.chain, live)).collect();
        Self { chains: Arc::new(chains), history, prices: Arc::new(Prices::new(Vec::new())), keep: None }
    }

    /// With prices from outside the chain.
    #[must_use]
    pub fn with_prices(self, prices: Arc<Prices>) -> Self {
        Self { prices, ..self }
    }

    /// With prices that were recorded.
    #[must_use]
    pub fn with_keep(self, keep: Option<Arc<dyn Keep>>) -> Self {
        Self { keep, ..self }
    }

    /// What the pair of a token cost at a time, where it was recorded.
    ///
    /// # Errors
    /// Where the store of recorded prices fails.
    pub async fn recorded(&self, chain: ChainId, token: &Address, time: u64) -> Result<Option<RecordedPrice>, ReadError> {
        let (Some(keep), Some(pair)) = (&self.keep, self.prices.pair_of(chain, token)) else { return Ok(None) };
        Ok(keep.price(pair, time.saturating_sub(HOLDS_S), time).await?)
    }

    #[must_use]
    pub fn prices(&self) -> &Prices {
        &self.prices
    }

    /// The chain asked for, or the only one.
    pub fn live(&self, chain: Option<ChainId>) -> Result<&Arc<Live>, ReadError> {
        match chain {
            Some(id) => self.chains.get(&id).ok_or(ReadError::UnknownChain(id)),
            None if self.chains.len() > 1 => Err(ReadError::ChainNeeded),
            None => self.chains.values().next().ok_or(ReadError::ChainNeeded),
        }
    }

    /// Freezes the newest epoch of a chain for the length of a request.
    pub fn pin(&self, chain: Option<ChainId>) -> Result<Pin, ReadError> {
        Ok(self.live(chain)?.pin())
    }

    pub fn chains(&self) -> impl Iterator<Item = &Arc<Live>> {
        self.chains.values()
    }

    /// Events of this epoch's chain: recent ones from memory, older ones from the store, each exactly once.
    pub async fn events(&self, pin: &Pin, query: EventQuery) -> Result<Events, ReadError> {
        let begun = Begun::new(pin, query)?;
        match begun.older {
            Some(older) => Ok(begun.finish(pin, Some((self.history.events(older).await?, self.history.source())))),
            None => Ok(begun.finish(pin, None)),
        }
    }

    /// The first `query.limit` events of a query that no index narrows further, out of at most [`SCAN_MAX`] that are looked at.
    pub async fn scan(&self, pin: &Pin, query: EventQuery, keep: impl Fn(&EventAt) -> bool) -> Result<Scan, ReadError> {
        let mut scan = Scan { events: Vec::new(), source: DataSource::Memory, last: None, more: true };
        let mut page = EventQuery { limit: EventQuery::LIMIT_MAX, ..query };
        for _ in 0..SCAN_MAX / EventQuery::LIMIT_MAX {
            let found = self.events(pin, page).await?;
            if found.source != DataSource::Memory {
                scan.source = found.source;
            }
            scan.more = found.events.len() == page.limit;
            for event in found.events {
                scan.last = Some(event.clone());
                if keep(&event) {
                    scan.events.push(event);
                    if scan.events.len() >= query.limit {
                        scan.more = true;
                        return Ok(scan);
                    }
                }
            }
            if !scan.more {
                break;
            }
            let last = scan.last.as_ref();
            let place = last.map(|e| Place { block_number: e.block.number, log_index: e.row.log_index() });
            (page.after, page.before) = if page.newest_first { (page.after, place) } else { (place, page.before) };
        }
        Ok(scan)
    }

    pub(super) fn history(&self) -> &dyn History {
        self.history.as_ref()
    }

    /// Several pages at once, each about its own pin: what [`Reader::events`] answers one by one, with at most one question to the
    /// store. Where the store fails, those that memory answers alone are still answered.
    pub async fn pages(&self, asked: &[(&Pin, EventQuery)]) -> Vec<Result<Events, ReadError>> {
        let begun: Vec<_> = asked.iter().map(|(pin, query)| Begun::new(pin, *query)).collect();
        let older: Vec<EventQuery> = begun.iter().flatten().filter_map(|page| page.older).collect();
        let found = if older.is_empty() { Ok(Vec::new()) } else { self.history.pages(older).await };
        let mut found = found.map(Vec::into_iter);
        let finished = begun.into_iter().zip(asked).map(|(page, (pin, _))| {
            let page = page?;
            let older = match (page.older, &mut found) {
                (None, _) => None,
                (Some(_), Ok(pages)) => Some((pages.next().unwrap_or_default(), self.history.source())),
                (Some(_), Err(error)) => return Err(error.clone().into()),
            };
            Ok(page.finish(pin, older))
        });
        finished.collect()
    }

    /// How many events match, at most [`EventQuery::COUNT_CAP`].
    pub async fn count(&self, pin: &Pin, query: EventQuery) -> Result<u64, ReadError> {
        if pin.head().block.is_none() {
            return Err(ReadError::Starting);
        }
        let here = u64::try_from(recent(pin, &query).count()).unwrap_or(u64::MAX);
        let floor = pin.head().window_floor;
        if floor == 0 || here >= EventQuery::COUNT_CAP {
            return Ok(here.min(EventQuery::COUNT_CAP));
        }
        covered(pin)?;
        let older = EventQuery { before: Some(before_floor(query.before, floor)), ..query };
        let there = self.history.count(older, EventQuery::COUNT_CAP.saturating_sub(here)).await?;
        Ok(here.saturating_add(there).min(EventQuery::COUNT_CAP))
    }
}

/// A page as far as memory knows it before the store is asked.
struct Begun {
    query: EventQuery,
    /// Newest first: what the window has of it. Oldest first: nothing yet.
    recent: Vec<EventAt>,
    /// What to ask the store for; `None` where the window is enough.
    older: Option<EventQuery>,
}

impl Begun {
    fn new(pin: &Pin, query: EventQuery) -> Result<Self, ReadError> {
        if pin.head().block.is_none() {
            return Err(ReadError::Starting);
        }
        let query = EventQuery { limit: query.limit.min(EventQuery::LIMIT_MAX), ..query };
        let floor = pin.head().window_floor;
        let recent: Vec<EventAt> = if query.newest_first { recent(pin, &query).take(query.limit).collect() } else { Vec::new() };
        let limit = query.limit.saturating_sub(recent.len());
        if limit == 0 || !reaches_below(query.after, floor) {
            return Ok(Self { query, recent, older: None });
        }
        covered(pin)?;
        let older = EventQuery { before: Some(before_floor(query.before, floor)), limit, ..query };
        Ok(Self { query, recent, older: Some(older) })
    }

    /// `older` is what the store answered, and which store it was.
    fn finish(self, pin: &Pin, older: Option<(Vec<EventAt>, DataSource)>) -> Events {
        let (older, source) = older.unwrap_or((Vec::new(), DataSource::Memory));
        let Self { query, recent: newest, .. } = self;
        let mut events = newest;
        events.extend(older);
        if !query.newest_first {
            let left = query.limit.saturating_sub(events.len());
            events.extend(recent(pin, &query).take(left));
        }
        Events { events, source }
    }
}

/// Whether something below the window can lie after this place.
fn reaches_below(after: Option<Place>, floor: u64) -> bool {
    let last = floor.checked_sub(1).map(|number| Place { block_number: number, log_index: u64::MAX });
    last.is_some_and(|last| after.is_none_or(|after| after < last))
}

/// Memory and store together have every block: nothing is left out in silence.
fn covered(pin: &Pin) -> Result<(), ReadError> {
    let durable = *pin.live().watch_durable().borrow();
    let floor = pin.head().window_floor;
    // Or it was cut above rows that a stored block gained and that are not stored yet: memory is bounded first.
    let unwritten = pin.live().unwritten().filter(|number| *number < floor);
    if let (Some(from), true) = (unwritten, floor != u64::MAX) {
        return Err(ReadError::CatchingUp { from, to: floor.saturating_sub(1) });
    }
    if floor != u64::MAX && durable.saturating_add(1) < floor {
        return Err(ReadError::CatchingUp { from: durable.saturating_add(1), to: floor.saturating_sub(1) });
    }
    Ok(())
}

fn before_floor(before: Option<Place>, floor: u64) -> Place {
    let floor = Place { block_number: floor, log_index: 0 };
    before.map_or(floor, |b| b.min(floor))
}

/// Matches in the window of the pinned epoch, in the query's order, without its limit.
fn recent<'a>(pin: &'a Pin, query: &'a EventQuery) -> Box<dyn Iterator<Item = EventAt> + Send + 'a> {
    let window = &pin.head().window;
    let from = query.after.map_or(0, |after| window.partition_point(|r| r.block.number < after.block_number));
    let to = query.before.map_or(window.len(), |before| window.partition_point(|r| r.block.number <= before.block_number));
    let records = window.get(from..to).unwrap_or_default().iter().filter(move |r| in_time(r, query));
    let event = move |r: &'a Arc<BlockRecord>, row: &'a EventRow| EventAt {
        chain: r.chain,
        block: r.block,
        row: row.clone(),
        canonical: true,
    };
    let wanted = move |r: &Arc<BlockRecord>, row: &EventRow| matches(pin, query, r, row);
    if query.newest_first {
        Box::new(
            records.rev().flat_map(move |r| r.rows.iter().rev().filter(move |row| wanted(r, row)).map(move |row| event(r, row))),
        )
    } else {
        Box::new(records.flat_map(move |r| r.rows.iter().filter(move |row| wanted(r, row)).map(move |row| event(r, row))))
    }
}

fn in_time(record: &BlockRecord, query: &EventQuery) -> bool {
    let time = record.block.timestamp;
    query.time_from.is_none_or(|from| time >= from) && query.time_to.is_none_or(|to| time < to)
}

fn matches(pin: &Pin, query: &EventQuery, record: &BlockRecord, row: &EventRow) -> bool {
    let place = Place { block_number: record.block.number, log_index: row.log_index() };
    if row.kind() != query.kind
        || query.after.is_some_and(|after| place <= after)
        || query.before.is_some_and(|before| place >= before)
    {
        return false;
    }
    match query.narrow {
        Narrow::All => true,
        Narrow::Pool(pool) => row.event.pool == pool,
        Narrow::Token(token) => has_token(pin, &row.event.pool, &token),
        Narrow::Origin(origin) => row.enrichment.is_some_and(|e| e.origin == origin),
        Narrow::Transaction(hash) => row.event.raw.tx_hash == hash,
    }
}

fn has_token(pin: &Pin, pool: &PoolId, token: &alloy::primitives::Address) -> bool {
    pin.pool(pool).is_some_and(|view| view.meta.token0 == *token || view.meta.token1 == *token)
}
