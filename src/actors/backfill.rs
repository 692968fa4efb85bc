//! History up to the finalized block: ranges of logs, several under way, folded in order.
//!
//! Fetching runs on the worker threads, folding here, storing in `Persist`; each waits for the next, so memory is bounded.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use alloy::primitives::{Address, B256};
use futures_util::future::BoxFuture;
use tokio::{task::JoinHandle, time::Instant};

use super::{
    Deps,
    commit::Step,
    follow::{FollowError, Follower},
};
use crate::{
    chain::{BlockTag, ChainError, ChainSource, RangeLogs, decode},
    domain::{
        block::BlockRef,
        reconcile::{ChainUpdate, Reconciler},
        record::DecodedBlock,
    },
    telemetry::progress::Progress,
};

/// Ranges that are fetched at once.
const RANGES_PARALLEL: usize = 3;
const RANGE_FIRST_BLOCKS: u64 = 16;
const RANGE_MAX_BLOCKS: u64 = 10_000;
/// Calm: the range grows. 4,000 logs are 2.7 MB of JSON.
const CALM_LOGS: usize = 4_000;
const CALM_TIME: Duration = Duration::from_secs(1);
/// Too much for one answer: the range shrinks.
const BUSY_LOGS: usize = 8_000;
const BUSY_TIME: Duration = Duration::from_secs(4);
/// One commit: so many blocks or events at most.
const COMMIT_BLOCKS: usize = 64;
const COMMIT_EVENTS: usize = 2_000;
/// Rows committed and not yet durable, at most: about 20 MB.
const BACKLOG_ROWS: usize = 16_000;

/// One fetched range and what it taught about the node.
struct Fetched {
    logs: RangeLogs,
    /// The first block of the range, with its parent's hash.
    first: BlockRef,
    /// The size that is right for the next range.
    next_blocks: u64,
}

type Task = JoinHandle<Result<Fetched, ChainError>>;

impl Follower {
    /// Reads from our tip to `to` (at or below finalized) and makes `to` the new anchor.
    ///
    /// An error ends it where it is: the chain may have changed, so the caller looks again how far ranges are worth it.
    pub(super) async fn backfill(&mut self, to: u64) -> Result<(), FollowError> {
        let deps = self.deps.clone();
        let from = self.reconciler.tip().number.saturating_add(1);
        let quiet = !deps.live.head().at_head;
        let mut progress = Progress::start(&deps.live.chain_name, from, to, deps.plan.progress_bar);
        let topics: Arc<[B256]> = decode::watched_topics().into();
        let mut size = RANGE_FIRST_BLOCKS;
        let mut next = from;
        let mut under_way: VecDeque<(u64, u64, Task)> = VecDeque::new();
        while next <= to || !under_way.is_empty() {
            while next <= to && under_way.len() < RANGES_PARALLEL {
                let last = next.saturating_add(size.saturating_sub(1)).min(to);
                under_way.push_back((next, last, fetch(&deps, next, last, &topics)));
                next = last.saturating_add(1);
            }
            let Some((first, last, mut task)) = under_way.pop_front() else { break };
            let answer =
                self.ask(async { (&mut task).await.unwrap_or_else(|e| Err(ChainError::Unavailable(e.to_string()))) }).await;
            let fetched = match answer.and_then(|fetched| self.linked(fetched)) {
                Ok(fetched) => fetched,
                Err(error) => {
                    tracing::debug!(%error, from = first, to = last, "the catch-up is planned again");
                    under_way.drain(..).for_each(|(_, _, task)| task.abort());
                    task.abort();
                    return Err(error);
                }
            };
            size = fetched.next_blocks.clamp(1, RANGE_MAX_BLOCKS);
            let blocks = last.saturating_sub(first).saturating_add(1);
            let events = self.take(fetched.logs, quiet).await;
            progress.advance(blocks, events);
            self.wait_for_store().await;
        }
        progress.finish();
        Ok(())
    }

    /// Ranges hang together by hash, as blocks do.
    fn linked(&self, fetched: Fetched) -> Result<Fetched, FollowError> {
        let tip = self.reconciler.tip();
        if fetched.first.parent_hash == tip.hash {
            return Ok(fetched);
        }
        let what = format!("block {} does not follow block {} {}", fetched.first.number, tip.number, tip.hash);
        Err(ChainError::Contradiction(what).into())
    }

    /// Folds one range and commits it in pieces. Returns how many events it had.
    async fn take(&mut self, range: RangeLogs, quiet: bool) -> usize {
        let mut events_total = 0usize;
        let mut piece: Vec<DecodedBlock> = Vec::new();
        let mut created = Vec::new();
        let mut events = 0usize;
        for (block, logs) in range.blocks {
            let selected = self.registry.select(self.deps.chain, block, logs);
            self.count_malformed(selected.malformed, block);
            if selected.events.is_empty() {
                continue;
            }
            events = events.saturating_add(selected.events.len());
            piece.push(DecodedBlock { block, events: selected.events });
            created.push(selected.created);
            if piece.len() >= COMMIT_BLOCKS || events >= COMMIT_EVENTS {
                events_total = events_total.saturating_add(std::mem::take(&mut events));
                self.commit_piece(std::mem::take(&mut piece), std::mem::take(&mut created), block, quiet).await;
            }
        }
        events_total = events_total.saturating_add(events);
        self.commit_piece(piece, created, range.end, quiet).await;
        let snapshots = self.table.borrow_mut().snapshots(self.deps.chain, range.end, &[], false);
        self.deps.live.add_side(snapshots, self.sources(range.end.number));
        self.reconciler = Reconciler::new(range.end);
        events_total
    }

    async fn commit_piece(
        &mut self,
        blocks: Vec<DecodedBlock>,
        created: Vec<Vec<Arc<crate::domain::pool::PoolMeta>>>,
        head: BlockRef,
        quiet: bool,
    ) {
        let update = ChainUpdate { extend: blocks.iter().map(|b| b.block).collect(), ..ChainUpdate::default() };
        let at_head = false;
        let finalized_number = head.number;
        self.advance(Step { update, blocks, created, head, finalized_number, keep_undo: false, at_head, quiet, gap: true }).await;
    }

    /// The store sets the pace of a backfill.
    async fn wait_for_store(&self) {
        let mut durable = self.deps.live.watch_durable();
        loop {
            let done = *durable.borrow_and_update();
            let head = self.deps.live.head();
            let backlog: usize = head.window.iter().filter(|r| r.block.number > done).map(|r| r.rows.len()).sum();
            if backlog < BACKLOG_ROWS {
                return;
            }
            tokio::select! {
                changed = durable.changed() => if changed.is_err() { return },
                () = self.deps.stop.cancelled() => return,
            }
        }
    }
}

fn fetch(deps: &Arc<Deps>, from: u64, to: u64, topics: &Arc<[B256]>) -> Task {
    let source = deps.source.clone();
    let topics = topics.clone();
    let addresses: Arc<[Address]> = watched_addresses(deps).into();
    tokio::spawn(async move {
        let started = Instant::now();
        let asked = source.clone();
        let header = async {
            asked
                .header(BlockTag::Number(from))
                .await?
                .ok_or_else(|| ChainError::Unavailable(format!("the node does not know block {from}")))
        };
        let (header, (logs, split)) = tokio::try_join!(header, range(source.clone(), from, to, topics, addresses))?;
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
        Ok(Fetched { logs, first: header.block, next_blocks })
    })
}

/// Where only listed pools are watched, the node need not send the others.
fn watched_addresses(deps: &Deps) -> Vec<Address> {
    if deps.plan.dexes.iter().any(|dex| dex.pools.is_empty()) {
        return Vec::new();
    }
    deps.plan.dexes.iter().flat_map(|dex| dex.pools.iter().copied().chain([dex.factory])).collect()
}

/// A range, halved where it is too large for the node. Also says in how many pieces it came.
fn range(
    source: Arc<dyn ChainSource>,
    from: u64,
    to: u64,
    topics: Arc<[B256]>,
    addresses: Arc<[Address]>,
) -> BoxFuture<'static, Result<(RangeLogs, u64), ChainError>> {
    Box::pin(async move {
        match source.range_logs(from, to, &topics, &addresses).await {
            Err(ChainError::RangeTooLarge(reason)) if from < to => {
                tracing::debug!(%reason, from, to, "halving the range");
                let middle = from.saturating_add(to.saturating_sub(from) / 2);
                let (mut first, pieces) = range(source.clone(), from, middle, topics.clone(), addresses.clone()).await?;
                let (second, more) = range(source, middle.saturating_add(1), to, topics, addresses).await?;
                first.blocks.extend(second.blocks);
                Ok((RangeLogs { blocks: first.blocks, end: second.end }, pieces.saturating_add(more)))
            }
            other => Ok((other?, 1)),
        }
    })
}
