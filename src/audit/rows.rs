//! What is stored of some blocks, event by event, against the logs of those blocks.
//!
//! The blocks are asked for by number and their logs by hash, proven by the header's bloom or the receipts; nothing of what was read
//! when they were stored is used. A canonical block that the chain does not have, an event that is missing, invented or different: each is a
//! drift with its place.

use std::{collections::BTreeMap, ops::RangeInclusive, sync::Arc};

use alloy::primitives::B256;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Serialize;

use crate::{
    actors::sources,
    chain::{BlockTag, ChainError, ChainSource, registry::DexSpec, registry::Registry},
    domain::{
        ChainId,
        event::{EventBody, RawLog},
        pool::PoolId,
        record::{BlockRecord, EventRow, rows},
    },
    store::{History, StoreError, history::Boot},
};

/// Blocks that are asked for at once.
const BLOCKS_AT_ONCE: usize = 8;
/// Stored blocks of one question.
const PAGE: usize = 1_000;
/// Drifts that are told one by one; the rest is counted.
const TOLD_MAX: usize = 1_000;

#[derive(Debug, thiserror::Error)]
pub enum RowsError {
    #[error("the store cannot be read: {0}")]
    Store(#[from] StoreError),
    #[error("the node cannot be asked: {0}")]
    Chain(#[from] ChainError),
    #[error("nothing is stored of this chain yet")]
    Empty,
    #[error("block {0} is not final in the store, whose final blocks end at {1}: choose an earlier `--to`")]
    NotFinal(u64, u64),
}

/// What a comparison of stored events found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct RowReport {
    pub chain_id: ChainId,
    pub from_block: u64,
    pub to_block: u64,
    /// Events that are the same on both sides.
    pub events: u64,
    /// How many are not.
    pub drift_count: u64,
    /// The first thousand of them.
    pub drifts: Vec<RowDrift>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RowDrift {
    pub block_number: u64,
    /// Of the chain's block.
    pub block_hash: B256,
    /// `None`: it is about the block.
    pub log_index: Option<u64>,
    pub pool: Option<PoolId>,
    /// What is stored.
    pub found: String,
    /// What the chain says.
    pub expected: String,
}

impl RowReport {
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.drift_count == 0
    }

    fn tell(&mut self, drift: RowDrift) {
        self.drift_count = self.drift_count.saturating_add(1);
        if self.drifts.len() < TOLD_MAX {
            self.drifts.push(drift);
        }
    }
}

/// Compares the stored events of `blocks`; `None`: all that are final. `told` hears how many blocks are done, of how many.
///
/// # Errors
/// Where the store or the node cannot be asked, or `blocks` ends above what is final.
pub async fn compare_rows(
    source: Arc<dyn ChainSource>,
    history: &dyn History,
    (chain, dexes): (ChainId, &[DexSpec]),
    (from, to): (Option<u64>, Option<u64>),
    mut told: impl FnMut(u64, u64),
) -> Result<RowReport, RowsError> {
    let boot = history.boot(chain).await?;
    let (Some(_), Some(first)) = (boot.head, first_block(&boot)) else { return Err(RowsError::Empty) };
    let to = to.unwrap_or(boot.finalized_number);
    if to > boot.finalized_number {
        return Err(RowsError::NotFinal(to, boot.finalized_number));
    }
    let from = from.unwrap_or(first);
    let mut report = RowReport { chain_id: chain, from_block: from, to_block: to, ..RowReport::default() };
    let followed = sources::followed(dexes, &boot.sources);
    let mut registry = Registry::new(followed.clone());
    for meta in boot.pools.into_iter().filter(|meta| followed.iter().any(|spec| sources::covers(spec, meta))) {
        registry.insert(Arc::new(meta));
    }
    let mut stored = Stored { history, chain, next: from, to, page: BTreeMap::new(), is_last: false };
    let total = to.saturating_sub(from).saturating_add(1);
    let mut blocks = read(source, from..=to);
    let mut done = 0_u64;
    while let Some((number, hash, logs)) = blocks.try_next().await? {
        let ours = stored.at(number).await?;
        let raw: BTreeMap<u64, RawLog> = logs.iter().map(|log| (log.log_index, log.clone())).collect();
        let block = crate::domain::block::BlockRef { number, hash, parent_hash: B256::ZERO, timestamp: 0 };
        let selected = registry.select(chain, block, logs);
        let theirs = rows(&selected.events, &[]);
        compare_block(&mut report, (number, hash), ours.as_ref(), &theirs, &raw);
        done = done.saturating_add(1);
        told(done, total);
    }
    Ok(report)
}

/// Where the store begins: below it nothing was read.
fn first_block(boot: &Boot) -> Option<u64> {
    let of_pools = boot.pools.iter().map(|pool| pool.created.block.number).min();
    of_pools.or(Some(boot.finalized_number))
}

type BlockLogs = (u64, B256, Vec<RawLog>);

/// In order, a few of them ahead.
fn read(source: Arc<dyn ChainSource>, blocks: RangeInclusive<u64>) -> stream::BoxStream<'static, Result<BlockLogs, ChainError>> {
    let one = move |number: u64| {
        let source = source.clone();
        async move {
            let header = source.header(BlockTag::Number(number)).await?;
            let header = header.ok_or_else(|| ChainError::Unavailable(format!("the node does not know block {number}")))?;
            let logs = source.block_logs(&header).await?;
            Ok((number, header.block.hash, logs))
        }
    };
    stream::iter(blocks).map(one).buffered(BLOCKS_AT_ONCE).boxed()
}

/// Canonical blocks of the store, ascending, page by page.
struct Stored<'a> {
    history: &'a dyn History,
    chain: ChainId,
    next: u64,
    to: u64,
    page: BTreeMap<u64, BlockRecord>,
    is_last: bool,
}

impl Stored<'_> {
    /// Those without events need not be there.
    async fn at(&mut self, number: u64) -> Result<Option<BlockRecord>, StoreError> {
        while !self.is_last && self.page.last_key_value().is_none_or(|(last, _)| *last < number) {
            let records = self.history.records(self.chain, self.next, PAGE).await?;
            self.is_last = records.len() < PAGE;
            if let Some(last) = records.last() {
                self.next = last.block.number.saturating_add(1);
            }
            self.page.extend(records.into_iter().filter(|r| r.block.number <= self.to).map(|r| (r.block.number, r)));
        }
        let later = self.page.split_off(&number);
        self.page = later;
        Ok(self.page.remove(&number))
    }
}

fn compare_block(
    report: &mut RowReport,
    (block_number, block_hash): (u64, B256),
    ours: Option<&BlockRecord>,
    theirs: &[EventRow],
    raw: &BTreeMap<u64, RawLog>,
) {
    let drift = |log_index, pool, found: String, expected: String| RowDrift {
        block_number,
        block_hash,
        log_index,
        pool,
        found,
        expected,
    };
    if let Some(ours) = ours.filter(|ours| ours.block.hash != block_hash) {
        report.tell(drift(None, None, format!("block {:#x}", ours.block.hash), format!("block {block_hash:#x}")));
        return;
    }
    let stored = ours.map_or(&[][..], |ours| ours.rows.as_slice());
    let expected: BTreeMap<u64, &EventRow> = theirs.iter().map(|row| (row.log_index(), row)).collect();
    let mut found: BTreeMap<u64, &EventRow> = BTreeMap::new();
    for row in stored {
        if found.insert(row.log_index(), row).is_some() {
            report.tell(drift(Some(row.log_index()), Some(row.event.pool), "twice".to_owned(), "once".to_owned()));
        }
    }
    for (at, theirs) in &expected {
        match found.remove(at) {
            None => report.tell(drift(Some(*at), Some(theirs.event.pool), "nothing".to_owned(), told(theirs))),
            Some(ours) if ours.event != theirs.event || ours.sync_log_index != theirs.sync_log_index => {
                report.tell(drift(Some(*at), Some(theirs.event.pool), told(ours), told(theirs)));
            }
            Some(_) => report.events = report.events.saturating_add(1),
        }
    }
    for (at, ours) in found {
        // Which pool a position's token belongs to is known from when it was made, and that may be before these blocks.
        let moved = matches!(ours.event.body, EventBody::V3TransferPosition { .. });
        if moved && raw.get(&at) == Some(&ours.event.raw) {
            report.events = report.events.saturating_add(1);
            continue;
        }
        report.tell(drift(Some(at), Some(ours.event.pool), told(ours), "nothing".to_owned()));
    }
}

fn told(row: &EventRow) -> String {
    format!("{:?} in {:#x}", row.event.body, row.event.raw.tx_hash)
}
