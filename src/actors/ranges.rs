//! Ranges of logs, several under way, handed out in order. They grow while the node is quick and shrink where it is not.
//!
//! Fetching runs on the worker threads; whoever takes the ranges sets the pace.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use alloy::primitives::{Address, B256};
use futures_util::future::BoxFuture;
use tokio::{task::JoinHandle, time::Instant};

use crate::{
    chain::{
        BlockTag, ChainError, ChainSource, RangeLogs, decode,
        registry::{DexSpec, Registry},
    },
    domain::{block::BlockRef, event::RawLog, pool::PoolId},
};

/// Ranges that are fetched at once.
const RANGES_PARALLEL: usize = 3;
const RANGE_FIRST_BLOCKS: u64 = 16;
const RANGE_MAX_BLOCKS: u64 = 10_000;
/// Addresses of one request: so many a node admits.
const ADDRESSES_MAX: usize = 1_000;
/// Calm: the range grows. 4,000 logs are 2.7 MB of JSON.
const CALM_LOGS: usize = 4_000;
const CALM_TIME: Duration = Duration::from_secs(1);
/// Too much for one answer: the range shrinks.
const BUSY_LOGS: usize = 8_000;
const BUSY_TIME: Duration = Duration::from_secs(4);

/// Which logs are asked for; empty addresses mean all.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) topics: Arc<[B256]>,
    pub(super) addresses: Arc<[Address]>,
    /// Position managers, whose logs are asked for by their address: their topics are those of every token.
    pub(super) managers: Arc<[Address]>,
}

impl Wanted {
    /// Everything that these exchanges emit.
    pub(super) fn of(dexes: &[DexSpec]) -> Self {
        let mut managers: Vec<Address> = dexes.iter().filter_map(|dex| dex.position_manager).collect();
        managers.sort_unstable();
        managers.dedup();
        Self { topics: decode::watched_topics().into(), addresses: watched_addresses(dexes).into(), managers: managers.into() }
    }
}

/// Where only listed pools are watched, the node need not send the others.
fn watched_addresses(dexes: &[DexSpec]) -> Vec<Address> {
    if dexes.is_empty() {
        // An empty list would mean all; no log is ever emitted by this one.
        return vec![Address::ZERO];
    }
    if dexes.iter().any(|dex| dex.pools.is_empty()) {
        return Vec::new();
    }
    // What a V4 pool does its factory says, for it is the PoolManager.
    let emitter = |pool: &PoolId| match pool {
        PoolId::Address(pool) => Some(*pool),
        PoolId::Id(_) => None,
    };
    let emitters = dexes.iter().flat_map(|dex| dex.pools.iter().filter_map(emitter).chain([dex.factory]));
    let mut addresses: Vec<Address> = emitters.collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// One fetched range, and what it taught about the node.
pub(super) struct Fetched {
    pub(super) logs: RangeLogs,
    /// The first block of the range, with its parent's hash.
    first: BlockRef,
    /// How many blocks it has.
    pub(super) blocks: u64,
    /// The size that is right for the next range.
    next_blocks: u64,
}

impl Fetched {
    /// Ranges hang together by hash, as blocks do. `tip` is the last block before this one.
    pub(super) fn follows(self, tip: &BlockRef) -> Result<Self, ChainError> {
        if self.first.parent_hash == tip.hash {
            return Ok(self);
        }
        let what = format!("block {} does not follow block {} {}", self.first.number, tip.number, tip.hash);
        Err(ChainError::Contradiction(what))
    }
}

type Task = JoinHandle<Result<Fetched, ChainError>>;

/// Pairs whose own tokens are asked for, by their addresses: what they emit is what every token emits. Which there are shows in the ranges
/// before, so these logs are asked for when a range's others are there.
struct Pairs {
    dexes: Vec<DexSpec>,
    known: BTreeSet<Address>,
    /// The logs of the range that is next are on their way.
    asked: bool,
}

impl Pairs {
    /// What a range adds; all that are known then.
    fn learn(&mut self, range: &RangeLogs) -> Arc<[Address]> {
        let logs = range.blocks.iter().flat_map(|(_, logs)| logs);
        self.known.extend(logs.filter_map(|log| self.dexes.iter().find_map(|dex| dex.lp_token(log))));
        self.known.iter().copied().collect()
    }
}

/// The blocks `from..=to`, range by range. Dropping it ends what is under way.
pub(super) struct Ranges {
    source: Arc<dyn ChainSource>,
    wanted: Wanted,
    next: u64,
    to: u64,
    size: u64,
    size_max: u64,
    under_way: VecDeque<Task>,
    pairs: Option<Pairs>,
}

impl Ranges {
    pub(super) fn new(source: Arc<dyn ChainSource>, wanted: Wanted, from: u64, to: u64) -> Self {
        let (size, size_max) = (RANGE_FIRST_BLOCKS, RANGE_MAX_BLOCKS);
        Self { source, wanted, next: from, to, size, size_max, under_way: VecDeque::new(), pairs: None }
    }

    /// Everything that these exchanges emit. `registry` knows the pairs that there are before.
    pub(super) fn of(source: Arc<dyn ChainSource>, dexes: &[DexSpec], registry: &Registry, from: u64, to: u64) -> Self {
        let with_tokens: Vec<DexSpec> = dexes.iter().filter(|dex| dex.lp_tokens).cloned().collect();
        let pairs = Pairs { dexes: with_tokens, known: registry.lp_tokens().clone(), asked: false };
        let mut ranges = Self::new(source, Wanted::of(dexes), from, to);
        ranges.pairs = Some(pairs).filter(|pairs| !pairs.dexes.is_empty());
        ranges
    }

    /// For logs that are rare: ranges may become as large as the node allows.
    pub(super) fn sparse(mut self) -> Self {
        (self.size, self.size_max) = (RANGE_MAX_BLOCKS, u64::MAX);
        self
    }

    /// The next range; `None` after the last. After an error the rest is planned anew by the caller: the chain may have changed.
    pub(super) async fn next(&mut self) -> Option<Result<Fetched, ChainError>> {
        while self.next <= self.to && self.under_way.len() < RANGES_PARALLEL {
            let last = self.next.saturating_add(self.size.saturating_sub(1)).min(self.to);
            self.under_way.push_back(fetch(self.source.clone(), self.next, last, self.wanted.clone()));
            self.next = last.saturating_add(1);
        }
        let fetched = loop {
            // Stays in the queue until it is done: this future may be dropped half-way.
            let first = self.under_way.front_mut()?;
            let fetched = (&mut *first).await.unwrap_or_else(|e| Err(ChainError::Unavailable(e.to_string())));
            match (fetched, &mut self.pairs) {
                (Ok(fetched), Some(pairs)) if !pairs.asked => {
                    pairs.asked = true;
                    let known = pairs.learn(&fetched.logs);
                    *first = with_shares(self.source.clone(), fetched, known);
                }
                (fetched, _) => break fetched,
            }
        };
        self.under_way.pop_front();
        self.pairs.iter_mut().for_each(|pairs| pairs.asked = false);
        if let Ok(fetched) = &fetched {
            self.size = fetched.next_blocks.clamp(1, self.size_max);
        }
        Some(fetched)
    }
}

impl Drop for Ranges {
    fn drop(&mut self) {
        self.under_way.drain(..).for_each(|task| task.abort());
    }
}

fn fetch(source: Arc<dyn ChainSource>, from: u64, to: u64, wanted: Wanted) -> Task {
    tokio::spawn(async move {
        let started = Instant::now();
        let asked = source.clone();
        let header = async {
            asked
                .header(BlockTag::Number(from))
                .await?
                .ok_or_else(|| ChainError::Unavailable(format!("the node does not know block {from}")))
        };
        let (header, (logs, split)) = tokio::try_join!(header, range(source.clone(), from, to, wanted))?;
        let blocks = to.saturating_sub(from).saturating_add(1);
        let count: usize = logs.blocks.iter().map(|(_, l)| l.len()).sum();
        let elapsed = started.elapsed();
        let next_blocks = if split > 1 {
            blocks.checked_div(split).unwrap_or(1)
        } else if count > BUSY_LOGS || elapsed > BUSY_TIME {
            blocks / 2
        } else if count < CALM_LOGS && elapsed < CALM_TIME {
            blocks.saturating_mul(2)
        } else {
            blocks
        };
        Ok(Fetched { logs, first: header.block, blocks, next_blocks })
    })
}

/// The range with what the pairs' own tokens said in it.
fn with_shares(source: Arc<dyn ChainSource>, fetched: Fetched, pairs: Arc<[Address]>) -> Task {
    tokio::spawn(async move {
        let (from, to) = (fetched.first.number, fetched.logs.end.number);
        let mut logs = fetched.logs;
        for pairs in pairs.chunks(ADDRESSES_MAX) {
            let wanted = Wanted { topics: decode::shares_topics().into(), addresses: pairs.into(), managers: Arc::default() };
            logs = merged(logs, range(source.clone(), from, to, wanted).await?.0)?;
        }
        Ok(Fetched { logs, ..fetched })
    })
}

/// A range, halved where it is too large for the node. Also says in how many pieces it came.
fn range(
    source: Arc<dyn ChainSource>,
    from: u64,
    to: u64,
    wanted: Wanted,
) -> BoxFuture<'static, Result<(RangeLogs, u64), ChainError>> {
    Box::pin(async move {
        match whole(source.as_ref(), from, to, &wanted).await {
            Err(ChainError::RangeTooLarge(reason)) if from < to => {
                tracing::debug!(%reason, from, to, "halving the range");
                let middle = from.saturating_add(to.saturating_sub(from) / 2);
                let (mut first, pieces) = range(source.clone(), from, middle, wanted.clone()).await?;
                let (second, more) = range(source, middle.saturating_add(1), to, wanted).await?;
                first.blocks.extend(second.blocks);
                Ok((RangeLogs { blocks: first.blocks, end: second.end }, pieces.saturating_add(more)))
            }
            other => Ok((other?, 1)),
        }
    })
}

/// A range of pools and of managers, as one.
async fn whole(source: &dyn ChainSource, from: u64, to: u64, wanted: &Wanted) -> Result<RangeLogs, ChainError> {
    let of_pools = source.range_logs(from, to, &wanted.topics, &wanted.addresses);
    if wanted.managers.is_empty() {
        return of_pools.await;
    }
    let topics = decode::manager_topics();
    let of_managers = source.range_logs(from, to, &topics, &wanted.managers);
    let (of_pools, of_managers) = tokio::try_join!(of_pools, of_managers)?;
    merged(of_pools, of_managers)
}

/// In the order of the chain. Both must be of the same one.
fn merged(one: RangeLogs, other: RangeLogs) -> Result<RangeLogs, ChainError> {
    let apart = |a: &BlockRef, b: &BlockRef| {
        ChainError::Contradiction(format!("two answers about one range have blocks {} {} and {}", a.number, a.hash, b.hash))
    };
    if one.end.hash != other.end.hash {
        return Err(apart(&one.end, &other.end));
    }
    let mut blocks: BTreeMap<u64, (BlockRef, Vec<RawLog>)> = BTreeMap::new();
    for (block, logs) in one.blocks.into_iter().chain(other.blocks) {
        let (known, all) = blocks.entry(block.number).or_insert_with(|| (block, Vec::new()));
        if known.hash != block.hash {
            return Err(apart(known, &block));
        }
        all.extend(logs);
    }
    for (_, logs) in blocks.values_mut() {
        logs.sort_by_key(|log| log.log_index);
    }
    Ok(RangeLogs { blocks: blocks.into_values().collect(), end: one.end })
}
