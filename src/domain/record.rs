//! What is kept of a block: its rows. The same value is committed to memory, sent to subscribers and written to the store.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use alloy::primitives::{B256, I256, U256};

use super::{
    ChainId,
    block::BlockRef,
    book::Told,
    dollars::{Gauge, Usd},
    event::{Event, EventBody, EventKind, RawLog},
    image::PoolImage,
    market::{Chunk, Market, Subject},
    pool::{PoolId, PoolMeta, StateAfter, held_between, math::Round},
};

/// Bumped when the same log would give another row, so that old rows can be derived again.
pub const DERIVE_VERSION: u16 = 2;

/// A block with its watched events in log order, before pools have seen them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodedBlock {
    pub block: BlockRef,
    pub events: Vec<Event>,
}

/// One stored event. A V2 `Sync` is folded into the swap, mint or burn that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRow {
    pub event: Event,
    /// Log index of the folded `Sync`; its data is exactly the reserves in `after`.
    pub sync_log_index: Option<u64>,
    /// `None` where no state follows (uninitialised, undecodable, quarantined pool).
    pub after: Option<StateAfter>,
    /// What it moved, at the prices of the end of its block; `None` where nothing says what the tokens cost.
    pub usd: Option<Usd>,
    /// Of the pool's last row in a block: what the pool says about prices from then on, so that they can be told of every past block.
    pub gauge: Option<Box<Gauge>>,
    pub enrichment: Option<Enrichment>,
}

/// Filled by a later pass over block receipts, never on the barrier's path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Enrichment {
    /// Who signed the transaction.
    pub origin: alloy::primitives::Address,
    pub gas_used: u64,
    pub gas_price_wei: U256,
}

/// A block and all its rows, in log order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockRecord {
    pub chain: ChainId,
    pub block: BlockRef,
    pub rows: Vec<EventRow>,
    /// Pools that this block created.
    pub created: Vec<Arc<PoolMeta>>,
    /// What hangs on several pools. `None`: it was read back alone, or a version wrote it that did not tell.
    pub told: Option<Arc<Told>>,
}

impl BlockRecord {
    /// Its rows alone.
    #[must_use]
    pub fn new(chain: ChainId, block: BlockRef, rows: Vec<EventRow>) -> Self {
        Self { chain, block, rows, created: Vec::new(), told: None }
    }
}

/// One event with the block it is in: what queries and subscriptions hand out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventAt {
    pub chain: ChainId,
    pub block: BlockRef,
    pub row: EventRow,
    pub canonical: bool,
}

/// The whole state of a pool at a finalized block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolSnapshot {
    pub chain: ChainId,
    pub pool: PoolId,
    pub block: BlockRef,
    pub image: PoolImage,
    /// Its trading up to then. `None`: written by a version that did not keep it.
    pub market: Option<Arc<Market>>,
}

/// Closed candles or periods of a market, to be stored for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkOf {
    pub of: Subject,
    /// Shared: it waits, is written, and is tried again.
    pub chunk: Arc<Chunk>,
}

/// Markets of tokens and factories at a final block: those that are others than in the snapshot before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BookSnapshot {
    pub block: BlockRef,
    /// [`super::book::Book::hour`]
    pub hour: u64,
    /// Sources whose pools are in it from the beginning on.
    pub sources: BTreeSet<String>,
    pub markets: BTreeMap<Subject, Arc<Market>>,
}

impl EventRow {
    #[must_use]
    pub fn kind(&self) -> EventKind {
        self.event.body.kind()
    }

    #[must_use]
    pub fn log_index(&self) -> u64 {
        self.event.raw.log_index
    }

    /// `(amount0, amount1)` in the pool's view, as [`EventBody::amounts`]. A V4 pool does not say what a change of liquidity moves: that
    /// follows from the price, which the change leaves as it was (`Pool.modifyLiquidity`). Fees that are paid out with it are not in it.
    #[must_use]
    pub fn amounts(&self) -> Option<(I256, I256)> {
        let EventBody::V4ModifyLiquidity { tick_lower, tick_upper, liquidity_delta, .. } = self.event.body else {
            return self.event.body.amounts();
        };
        let Some(StateAfter::V3 { sqrt_price_x96, tick, .. }) = self.after else { return None };
        let adds = liquidity_delta > 0;
        let round = if adds { Round::Up } else { Round::Down };
        let at = (sqrt_price_x96, tick);
        let [held0, held1] = held_between(at, (tick_lower, tick_upper), liquidity_delta.unsigned_abs(), round)?;
        let (amount0, amount1) = (I256::try_from(held0).ok()?, I256::try_from(held1).ok()?);
        if adds { Some((amount0, amount1)) } else { Some((amount0.checked_neg()?, amount1.checked_neg()?)) }
    }

    /// Swap fee in hundredths of a basis point: of a V4 swap its own, else the pool's.
    #[must_use]
    pub fn fee_pips(&self, of_pool: u32) -> u32 {
        if let EventBody::V4Swap { fee_pips, .. } = self.event.body { fee_pips } else { of_pool }
    }

    /// How many logs of the chain this row stands for.
    #[must_use]
    pub fn log_count(&self) -> usize {
        if self.sync_log_index.is_some() { 2 } else { 1 }
    }
}

/// `chainId:blockHash:logIndex`: a transaction mined again after a reorg gets a new one.
#[must_use]
pub fn event_id(chain: ChainId, block_hash: &B256, log_index: u64) -> String {
    format!("{chain}:{block_hash:#x}:{log_index}")
}

/// Turns a block's events into rows. `after` gives the state after each event, in the order of `events`; a `Sync` is folded
/// into the next event of the same pair in the same transaction when that is a swap, mint or burn.
#[must_use]
pub fn rows(events: &[Event], after: &[Option<StateAfter>]) -> Vec<EventRow> {
    let mut rows = Vec::with_capacity(events.len());
    let mut open_sync: HashMap<PoolId, usize> = HashMap::new();
    let mut folded = vec![None; events.len()];
    let mut swallowed = vec![false; events.len()];
    for (i, event) in events.iter().enumerate() {
        match &event.body {
            EventBody::V2Sync { .. } => {
                open_sync.insert(event.pool, i);
            }
            EventBody::V2Swap { .. } | EventBody::V2Mint { .. } | EventBody::V2Burn { .. } => {
                let Some(at) = open_sync.remove(&event.pool) else { continue };
                let Some(sync) = events.get(at) else { continue };
                if let EventBody::V2Sync { reserve0, reserve1 } = sync.body
                    && sync.raw.tx_hash == event.raw.tx_hash
                    && let (Some(fold), Some(gone)) = (folded.get_mut(i), swallowed.get_mut(at))
                {
                    *fold = Some((sync.raw.log_index, StateAfter::V2 { reserve0, reserve1 }));
                    *gone = true;
                }
            }
            _ => {
                open_sync.remove(&event.pool);
            }
        }
    }
    for (i, event) in events.iter().enumerate() {
        if swallowed.get(i).copied().unwrap_or(false) {
            continue;
        }
        let fold = folded.get(i).copied().flatten();
        rows.push(EventRow {
            event: event.clone(),
            sync_log_index: fold.map(|(log_index, _)| log_index),
            // A pair's reserves stand in its own Sync, so they are known even where its actor did not answer.
            after: after.get(i).copied().flatten().or(fold.map(|(_, after)| after)),
            usd: None,
            gauge: None,
            enrichment: None,
        });
    }
    rows
}

/// Gives each pool's last row that left a state its gauge at the end of the block.
pub fn set_gauges(rows: &mut [EventRow], gauge: impl Fn(&PoolId) -> Option<Gauge>) {
    let mut seen = HashSet::new();
    for row in rows.iter_mut().rev().filter(|row| row.after.is_some() && seen.insert(row.event.pool)) {
        row.gauge = gauge(&row.event.pool).map(Box::new);
    }
}

/// The events that a row stands for, in log order: what [`rows`] folded is unfolded.
pub fn unfold(row: &EventRow) -> impl Iterator<Item = Event> + '_ {
    let sync = match (row.sync_log_index, row.after) {
        (Some(log_index), Some(StateAfter::V2 { reserve0, reserve1 })) => Some(Event {
            pool: row.event.pool,
            body: EventBody::V2Sync { reserve0, reserve1 },
            raw: RawLog { log_index, ..row.event.raw.clone() },
        }),
        _ => None,
    };
    sync.into_iter().chain(std::iter::once_with(|| row.event.clone()))
}
