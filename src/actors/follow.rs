//! At the head: from a hint to a committed update.

use std::{
    cell::RefCell,
    collections::{BTreeSet, HashMap},
    rc::Rc,
    sync::Arc,
};

use alloy::primitives::{Address, B256};
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::{task::JoinHandle, time::Instant};

use super::{
    Deps, Finality,
    commit::Step,
    journal::Journal,
    late::Late,
    sources,
    table::{Due, Table},
};
use crate::{
    chain::{BlockTag, ChainError, aggregator, registry::Registry},
    domain::{
        block::{BlockRef, Header},
        event::RawLog,
        reconcile::{Advice, ChainUpdate, Reconciler},
        record::DecodedBlock,
        token::{TokenFlag, TokenMeta},
    },
};

/// Blocks whose logs are asked for at once.
const FETCH_PARALLEL: usize = 6;
/// Headers fetched ahead after a gap, at most: larger gaps are read in ranges first.
const PREFETCH_MAX: u64 = 8_192;
/// A pure extension is committed in pieces of so many blocks, so that a catch-up shows early and stays small.
const COMMIT_BLOCKS_MAX: usize = 16;
/// `finality = "tag"`: the node is asked again after so many blocks.
const TAG_EVERY_BLOCKS: u64 = 4;
/// `finality = "tag"` that stalls: the undo window stops growing here. 4,096 blocks: 14 h of mainnet.
const TAG_WINDOW_MAX: u64 = 4_096;

/// Follows one chain. Lives inside `Ingest`; rebuilt from `Live` when that restarts.
pub(super) struct Follower {
    pub(super) deps: Arc<Deps>,
    pub(super) table: Rc<RefCell<Table>>,
    pub(super) registry: Registry,
    pub(super) reconciler: Reconciler,
    pub(super) pending_tokens: Pending,
    pub(super) late: Late,
    /// The node's finalized number, and at which head it was asked.
    tag: Option<(u64, u64)>,
    last_snapshot_number: u64,
    pub(super) journal: Journal,
}

/// Tokens whose metadata is still to be learnt, and the question that is under way.
#[derive(Default)]
pub(super) struct Pending {
    pub(super) tokens: BTreeSet<Address>,
    pub(super) asked: Option<JoinHandle<Vec<TokenMeta>>>,
    /// The last one that was asked for: the next question goes on after it.
    pub(super) last: Address,
    /// Not before this.
    pub(super) due: Option<Instant>,
}

impl Pending {
    /// After a restart: every token of a pool that is not known, or not known well.
    fn of(deps: &Deps, table: &Rc<RefCell<Table>>) -> Self {
        let unknown = |address: &Address| deps.live.token(address).is_none_or(|t| t.flags.contains(&TokenFlag::MetadataPending));
        let table = table.borrow();
        let tokens = table.entries.values().flat_map(|e| [e.meta.token0, e.meta.token1]).filter(unknown).collect();
        Self { tokens, ..Self::default() }
    }
}

/// Why following ended.
#[derive(Debug)]
pub(super) enum Halt {
    /// Asked to.
    Stopped,
    /// Another instance writes, and what was begun is its to do.
    Fenced,
    /// Only an operator can mend it.
    Fatal(String),
}

impl Follower {
    pub(super) fn new(deps: Arc<Deps>, table: Rc<RefCell<Table>>, registry: Registry, reconciler: Reconciler) -> Self {
        let last_snapshot_number = reconciler.anchor().number;
        let pending_tokens = Pending::of(&deps, &table);
        let late = Late::start(&deps);
        Self {
            deps,
            table,
            registry,
            reconciler,
            pending_tokens,
            late,
            tag: None,
            last_snapshot_number,
            journal: Journal::default(),
        }
    }

    /// A request to the node, given up when the process stops.
    pub(super) async fn ask<T>(&self, request: impl Future<Output = Result<T, ChainError>>) -> Result<T, FollowError> {
        tokio::select! {
            answer = request => Ok(answer?),
            () = self.deps.stop.cancelled() => Err(FollowError::Stopped),
        }
    }

    /// Makes the chain that ends in `head` ours. An error leaves everything as it was; the next head tries again.
    pub(super) async fn follow(&mut self, head: Header) -> Result<(), FollowError> {
        let heard = Instant::now();
        self.deps.live.arrivals.heard(head.block.hash, (self.deps.now_unix_ms)());
        let mut headers: HashMap<B256, Header> = self.prefetch(&head).await;
        headers.insert(head.block.hash, head.clone());
        let mut advice = self.reconciler.head(head.block);
        let update = loop {
            advice = match advice {
                Advice::Known => return Ok(()),
                Advice::Update(update) => break update,
                Advice::TooDeep { fork_below, head } => return Err(self.too_deep(fork_below, head).await?),
                Advice::Unrelated => {
                    return Err(ChainError::Contradiction("a header's number does not fit its parent".into()).into());
                }
                Advice::Fetch(hash) => {
                    let header = match headers.get(&hash) {
                        Some(header) => header.clone(),
                        None => self
                            .ask(self.deps.source.header(BlockTag::Hash(hash)))
                            .await?
                            .ok_or(ChainError::UnknownBlock(hash))?,
                    };
                    let block = header.block;
                    headers.insert(hash, header);
                    self.reconciler.parent(block)
                }
            };
        };
        self.poll_tag(head.block.number).await;
        let mut wanted: Vec<Header> = update.extend.iter().filter_map(|b| headers.remove(&b.hash)).collect();
        drop(headers);
        if update.revert.is_empty() {
            return self.extend(wanted, head.block, heard).await;
        }
        // Back and on again in one step; only what goes far beyond (we were away) follows in pieces.
        let rest = wanted.split_off(wanted.len().min(COMMIT_BLOCKS_MAX.max(update.revert.len().saturating_add(1))));
        let logs: Vec<Vec<RawLog>> = self.ask(self.fetch(wanted.clone()).try_collect()).await?;
        let blocks: Vec<(Header, Vec<RawLog>)> = wanted.into_iter().zip(logs).collect();
        let update = ChainUpdate { extend: blocks.iter().map(|(header, _)| header.block).collect(), ..update };
        self.apply(update, blocks, rest.is_empty(), heard).await;
        self.extend(rest, head.block, heard).await
    }

    /// A branch that leaves below the undo window, or a node that lags behind it? The node's own block at the anchor tells.
    async fn too_deep(&self, fork_below: u64, head: BlockRef) -> Result<FollowError, FollowError> {
        let anchor = self.reconciler.anchor();
        let theirs = self.ask(self.deps.source.header(BlockTag::Number(anchor.number))).await?;
        Ok(match theirs {
            Some(theirs) if theirs.block.hash != anchor.hash => FollowError::TooDeep { fork_below, head },
            _ => ChainError::Unavailable(format!("the node is at block {}, behind what is final here", head.number)).into(),
        })
    }

    /// Where the node calls final, or `finality` blocks below `head`. `None`: the node does not say.
    pub(super) async fn final_number(&self, head: u64) -> Result<Option<u64>, FollowError> {
        match self.deps.plan.finality {
            Finality::Depth(depth) => Ok(Some(head.saturating_sub(depth))),
            Finality::Tag => Ok(self.ask(self.deps.source.header(BlockTag::Finalized)).await?.map(|h| h.block.number)),
        }
    }

    /// Commits a pure extension piece by piece while the next logs are on their way.
    async fn extend(&mut self, headers: Vec<Header>, head: BlockRef, heard: Instant) -> Result<(), FollowError> {
        let mut fetched = self.fetch(headers.clone());
        let mut piece: Vec<(Header, Vec<RawLog>)> = Vec::new();
        for header in headers {
            let block = header.block;
            let logs = self.ask(fetched.try_next()).await?;
            piece.push((header, logs.unwrap_or_default()));
            if piece.len() >= COMMIT_BLOCKS_MAX || block.hash == head.hash {
                let blocks = std::mem::take(&mut piece);
                let extend = blocks.iter().map(|(header, _)| header.block).collect();
                let update = ChainUpdate { extend, ..ChainUpdate::default() };
                self.apply(update, blocks, block.hash == head.hash, heard).await;
                if self.deps.stop.is_cancelled() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// The rest of a step that can no longer fail: registry, barrier, commit, and the reorg machine last.
    pub(super) async fn apply(&mut self, update: ChainUpdate, blocks: Vec<(Header, Vec<RawLog>)>, at_head: bool, heard: Instant) {
        let deps = self.deps.clone();
        let depth = match deps.plan.finality {
            Finality::Depth(depth) => depth,
            Finality::Tag => TAG_WINDOW_MAX,
        };
        let Some(mut update) = self.reconciler.accept(update, depth) else {
            tracing::error!("an update did not fit the chain it was made for; the next head traces it again");
            return;
        };
        if let (Finality::Tag, Some((final_number, _))) = (deps.plan.finality, self.tag) {
            update.finalize = self.reconciler.settle(final_number).or(update.finalize);
        }
        for reverted in &update.revert {
            self.registry.revert(reverted.hash);
        }
        let reverted = !update.revert.is_empty();
        let announced = blocks.iter().flat_map(|(_, logs)| logs).filter(|log| aggregator::announces(log)).map(|log| log.address);
        let announced: BTreeSet<Address> = announced.collect();
        let mut decoded = Vec::with_capacity(blocks.len());
        let mut created = Vec::with_capacity(blocks.len());
        let base_fee_wei = blocks.last().and_then(|(header, _)| header.base_fee_wei);
        for (Header { block, .. }, logs) in blocks {
            let selected = self.registry.select(deps.chain, block, logs);
            self.count_malformed(selected.malformed, block);
            decoded.push(DecodedBlock { block, events: selected.events });
            created.push(selected.created);
        }
        let head = self.reconciler.tip();
        let finalized_number = self.reconciler.anchor().number;
        let moved = update.finalize;
        let quiet = !deps.live.head().at_head && !at_head;
        let (blocks, keep_undo, gap) = (decoded, true, false);
        let step = Step { update, blocks, created, head, base_fee_wei, finalized_number, keep_undo, at_head, quiet, gap };
        self.advance(step).await;
        // Asked after the commit: whoever began to wait meanwhile has read the block before.
        if reverted || deps.live.touches.any(announced.iter()) {
            deps.live.touches.signal();
        }
        deps.metrics.block_commit_seconds.with_label_values(&[&deps.label()]).observe(heard.elapsed().as_secs_f64());
        if let Some(anchor) = moved {
            self.settle(anchor);
        }
    }

    fn settle(&mut self, anchor: BlockRef) {
        let reconciler = &self.reconciler;
        let mut table = self.table.borrow_mut();
        table.forget_undo(|hash| reconciler.contains(hash));
        let is_time = anchor.number >= self.last_snapshot_number.saturating_add(super::persist::SNAPSHOT_EVERY_BLOCKS);
        if is_time {
            self.last_snapshot_number = anchor.number;
        }
        let later: Vec<BlockRef> =
            self.deps.live.head().window.iter().map(|r| r.block).filter(|b| b.number > anchor.number).collect();
        let snapshots = table.snapshots(&self.deps, anchor, &later, if is_time { Due::Changed } else { Due::Often });
        self.deps.live.add_side(snapshots, self.sources(anchor.number));
    }

    /// Before a stop: what changed since its last snapshot, at the finalized block, so that the next start is short.
    pub(super) fn leave_snapshots(&mut self) {
        let anchor = self.reconciler.anchor();
        let later: Vec<BlockRef> =
            self.deps.live.head().window.iter().map(|r| r.block).filter(|b| b.number > anchor.number).collect();
        let snapshots = self.table.borrow_mut().snapshots(&self.deps, anchor, &later, Due::Leaving);
        self.deps.live.add_side(snapshots, self.sources(anchor.number));
    }

    /// The cursors of what is followed, after everything up to `done`.
    pub(super) fn sources(&self, done: u64) -> Vec<(String, u64)> {
        self.deps.joined.get().iter().map(|spec| (sources::name(spec), done.saturating_add(1))).collect()
    }

    pub(super) fn count_malformed(&self, malformed: usize, block: BlockRef) {
        if malformed > 0 {
            tracing::warn!(malformed, block = block.number, "logs with a known topic could not be decoded; they are kept raw");
            let count = u64::try_from(malformed).unwrap_or(u64::MAX);
            self.deps.metrics.malformed_logs_total.with_label_values(&[&self.deps.label()]).inc_by(count);
        }
    }

    /// Logs of the headers, in their order, several at once and on the worker threads.
    pub(super) fn fetch(&self, headers: Vec<Header>) -> stream::BoxStream<'static, Result<Vec<RawLog>, ChainError>> {
        let source = self.deps.source.clone();
        let one = move |header: Header| {
            let source = source.clone();
            async move {
                let task = tokio::spawn(async move { source.block_logs(&header).await });
                task.await.unwrap_or_else(|error| Err(ChainError::Unavailable(format!("fetching logs failed: {error}"))))
            }
        };
        Box::pin(stream::iter(headers).map(one).buffered(FETCH_PARALLEL))
    }

    /// After a gap the headers between are fetched by number, several at once. They only count where they link by hash.
    async fn prefetch(&self, head: &Header) -> HashMap<B256, Header> {
        let tip = self.reconciler.tip().number;
        let gap = head.block.number.saturating_sub(tip);
        if !(3..=PREFETCH_MAX).contains(&gap) {
            return HashMap::new();
        }
        let source = &self.deps.source;
        stream::iter(tip.saturating_add(1)..head.block.number)
            .map(|number| source.header(BlockTag::Number(number)))
            .buffer_unordered(FETCH_PARALLEL)
            .filter_map(async |header| header.ok().flatten())
            .map(|header| (header.block.hash, header))
            .collect()
            .await
    }

    async fn poll_tag(&mut self, head: u64) {
        let due = self.tag.is_none_or(|(_, asked)| head >= asked.saturating_add(TAG_EVERY_BLOCKS));
        if self.deps.plan.finality != Finality::Tag || !due {
            return;
        }
        match self.deps.source.header(BlockTag::Finalized).await {
            Ok(Some(header)) => self.tag = Some((header.block.number, head)),
            Ok(None) => tracing::warn!("the node names no finalized block; nothing becomes final for now"),
            Err(error) => tracing::warn!(%error, "the finalized block could not be asked for"),
        }
    }
}

/// Why a head could not be followed.
#[derive(Debug, thiserror::Error)]
pub(super) enum FollowError {
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error("stopping")]
    Stopped,
    #[error("the chain was reorganised below block {fork_below}, beyond the undo window; its head is {} now", head.number)]
    TooDeep { fork_below: u64, head: BlockRef },
}
