//! One step of the chain, from decoded blocks to a published epoch.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use alloy::primitives::Address;
use futures_util::future::BoxFuture;

use super::{
    Deps,
    barrier::{self, Job, Outcome},
    follow::Follower,
    value::{Absorbed, Marks},
};
use crate::{
    chain::{BlockTag, ChainError, tokens},
    domain::{
        block::BlockRef,
        image::PoolImage,
        pool::{PoolId, PoolMeta, StateAfter},
        reconcile::ChainUpdate,
        record::{BlockRecord, DecodedBlock},
        token::{TokenFlag, TokenMeta},
    },
    store::{Commit, PoolView},
};

/// Token metadata is worth this long a pause at the most; afterwards it comes later.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(2);
/// The same at the head, where everybody waits for the block.
const TOKEN_TIMEOUT_HEAD: Duration = Duration::from_millis(250);

/// A chain update with the decoded contents of the blocks it adds.
pub(super) struct Step {
    pub(super) update: ChainUpdate,
    /// Parallel to `created`. At the head one per block of `update.extend`; in a backfill only blocks with events.
    pub(super) blocks: Vec<DecodedBlock>,
    pub(super) created: Vec<Vec<Arc<PoolMeta>>>,
    /// The block that the chain ends in after the step.
    pub(super) head: BlockRef,
    /// What gas costs in it at least, wei.
    pub(super) base_fee_wei: Option<u64>,
    pub(super) finalized_number: u64,
    /// Keep pre-images: the blocks can still be taken back.
    pub(super) keep_undo: bool,
    pub(super) at_head: bool,
    pub(super) quiet: bool,
    /// Blocks without events are left out.
    pub(super) gap: bool,
}

impl Follower {
    /// Barrier, then commit. Everything that readers and subscribers see of the step appears at once.
    pub(super) async fn advance(&mut self, step: Step) {
        let tokens = self.tokens_of(&step).await;
        let deps = self.deps.clone();
        deps.live.learn_decimals(&tokens);
        let before = deps.live.head().block;
        let reverted: Vec<Arc<BlockRecord>> = step.update.revert.iter().filter_map(|b| deps.live.record(&b.hash)).collect();
        let gone: Vec<PoolId> = reverted.iter().flat_map(|r| r.created.iter().map(|m| m.id)).collect();
        let traded_back = {
            let mut table = self.table.borrow_mut();
            let changed = table.take_back_trades(&step.update.revert);
            for meta in step.created.iter().flatten() {
                table.start(&deps, meta, None);
            }
            changed
        };
        let recreated: HashSet<PoolId> = step.created.iter().flatten().map(|m| m.id).collect();
        let job = Job { reverted: step.update.revert.clone(), blocks: step.blocks.into(), created: recreated };
        let timer = deps.metrics.barrier_seconds.with_label_values(&[&deps.label()]).start_timer();
        let outcomes = barrier::run(&self.table, &job).await;
        timer.observe_duration();

        let fallback = ancestor(&step.update).or(before).unwrap_or(step.head);
        let after = self.absorb(&deps, &job.blocks, outcomes, fallback, step.keep_undo);
        let extended = self.records(&job.blocks, &after, &step.created, step.keep_undo);
        let mut touched: Vec<PoolId> = after.touched.iter().copied().chain(traded_back).collect();
        touched.sort_unstable();
        touched.dedup();
        let mut views = self.views(&touched);
        for id in gone.into_iter().filter(|id| !job.created.contains(id)) {
            self.table.borrow_mut().entries.remove(&id);
            views.retain(|(v, _)| *v != id);
            views.push((id, None));
        }
        let rows_added: usize = extended.iter().map(|r| r.rows.len()).sum();
        self.observe(&step.update, extended.len(), rows_added, step.head.number, step.finalized_number);
        #[cfg(test)]
        super::faults::on_commit();
        deps.live.commit(Commit {
            update: step.update,
            reverted,
            extended,
            views,
            tokens,
            book: Some(Arc::new(self.table.borrow().books.book.clone())),
            head: Some(step.head),
            base_fee_wei: step.base_fee_wei,
            finalized_number: step.finalized_number,
            at_head: step.at_head,
            amended: Vec::new(),
            // The head does not wait for the store. A backfill does; what it holds beyond that is held by a source that wants to join.
            window_rows_max: deps.plan.journal_rows_max,
            gap: step.gap && !step.quiet,
            quiet: step.quiet,
        });
        self.journal.look(&deps);
    }

    /// Takes the replies into the table. Gives the state after each event, and which pools changed.
    fn absorb(
        &mut self,
        deps: &Deps,
        blocks: &[DecodedBlock],
        outcomes: HashMap<PoolId, Outcome>,
        fallback: BlockRef,
        keep_undo: bool,
    ) -> Absorbed {
        let mut states: Vec<Vec<Option<StateAfter>>> = blocks.iter().map(|b| vec![None; b.events.len()]).collect();
        let mut marks = alloy::primitives::map::HashMap::default();
        marks.reserve(outcomes.len());
        let mut touched = Vec::with_capacity(outcomes.len());
        let mut table = self.table.borrow_mut();
        for (id, outcome) in outcomes {
            touched.push(id);
            let before = outcome.base.as_ref().or(table.entries.get(&id).map(|entry| &entry.image));
            let (before, before_fees) = (before.map(PoolImage::mark), before.is_some_and(|image| image.fees.is_some()));
            let Some(applied) = outcome.applied else {
                marks.insert(id, Marks { before, ends: Vec::new() });
                table.hold(deps, &id, outcome.base, fallback);
                continue;
            };
            for ((b, e), after) in outcome.picks.iter().zip(&applied.after) {
                if let Some(slot) = states.get_mut(*b).and_then(|s| s.get_mut(*e)) {
                    *slot = *after;
                }
            }
            if before_fees && applied.image.fees.is_none() {
                tracing::warn!(pool = %id, "a swap did not go the way of v3-core: fees and positions of this pool are not told any more");
            }
            if keep_undo {
                for (b, pre_image) in &applied.pre_images {
                    if let Some(block) = blocks.get(*b) {
                        table.remember_undo(block.block.hash, id, pre_image.clone());
                    }
                }
            }
            for (_, _, error) in &applied.misfits {
                tracing::warn!(pool = %id, %error, "an event does not fit the pool's state; it is kept raw and changes nothing");
                deps.metrics.malformed_logs_total.with_label_values(&[&deps.label()]).inc();
            }
            let broken = applied.misfits.iter().any(|(_, _, error)| error.is_drift());
            let updated = outcome.picks.last().and_then(|(b, _)| blocks.get(*b)).map(|b| b.block);
            marks.insert(id, Marks { before, ends: applied.marks.clone() });
            table.acknowledge(&id, &applied, updated.or(outcome.base.is_some().then_some(fallback)));
            if broken {
                tracing::error!(pool = %id, "FAULTED: its events do not fit its state, so the state is not the contract's");
                table.fault(&id, fallback);
            }
        }
        Absorbed { states, touched, marks }
    }

    pub(super) fn views(&self, ids: &[PoolId]) -> Vec<(PoolId, Option<Arc<PoolView>>)> {
        let table = self.table.borrow();
        ids.iter().filter_map(|id| table.entries.get(id).map(|entry| (*id, Some(entry.view())))).collect()
    }

    /// Metadata of tokens that were not known before. What cannot be had now is marked pending and asked for later.
    async fn tokens_of(&mut self, step: &Step) -> Vec<Arc<TokenMeta>> {
        let mut wanted: Vec<Address> = step.created.iter().flatten().flat_map(|m| [m.token0, m.token1]).collect();
        wanted.sort_unstable();
        wanted.dedup();
        wanted.retain(|address| self.deps.live.token(address).is_none());
        if wanted.is_empty() {
            return Vec::new();
        }
        let patience = if step.keep_undo { TOKEN_TIMEOUT_HEAD } else { TOKEN_TIMEOUT };
        let asked = fetch_tokens(self.deps.clone(), step.head, wanted.clone());
        let found = tokio::time::timeout(patience, asked).await.unwrap_or_default();
        let mut all: Vec<Arc<TokenMeta>> = found.into_iter().map(Arc::new).collect();
        for address in wanted {
            if !all.iter().any(|t| t.address == address) {
                self.pending_tokens.tokens.insert(address);
                all.push(Arc::new(pending(self.deps.chain, address, step.head)));
            }
        }
        all
    }

    fn observe(&self, update: &ChainUpdate, blocks: usize, rows: usize, head: u64, finalized: u64) {
        let (m, label) = (&self.deps.metrics, self.deps.label());
        let label = &[label.as_str()];
        let gauge = |v: u64| i64::try_from(v).unwrap_or(i64::MAX);
        m.head_block.with_label_values(label).set(gauge(head));
        m.finalized_block.with_label_values(label).set(gauge(finalized));
        // Also here, because Persist says nothing while the store is away.
        let durable = *self.deps.live.watch_durable().borrow();
        m.persist_backlog_blocks.with_label_values(label).set(gauge(head.saturating_sub(durable)));
        m.blocks_total.with_label_values(label).inc_by(u64::try_from(blocks).unwrap_or(u64::MAX));
        m.events_total.with_label_values(label).inc_by(u64::try_from(rows).unwrap_or(u64::MAX));
        if !update.revert.is_empty() {
            m.reorgs_total.with_label_values(label).inc();
            #[expect(clippy::cast_precision_loss, reason = "a depth of a few blocks, for a histogram")]
            m.reorg_depth_blocks.with_label_values(label).observe(update.revert.len() as f64);
            tracing::info!(depth = update.revert.len(), extends = update.extend.len(), head, "reorg");
        }
        let table = self.table.borrow();
        let faulted = table.entries.values().filter(|e| e.faulted).count();
        let held = table.entries.values().filter(|e| e.held_at.is_some()).count();
        let count = |v: usize| i64::try_from(v).unwrap_or(i64::MAX);
        m.pools.with_label_values(label).set(count(table.entries.len()));
        m.pools_faulted.with_label_values(label).set(count(faulted));
        m.pools_rebuilding.with_label_values(label).set(count(held.saturating_sub(faulted)));
    }
}

/// Metadata at the block itself, or at the newest where the node keeps no state that old. Empty where it cannot be had now.
pub(super) fn fetch_tokens(deps: Arc<Deps>, at: BlockRef, wanted: Vec<Address>) -> BoxFuture<'static, Vec<TokenMeta>> {
    let work = async move {
        let source = deps.source.as_ref();
        if let Ok(found) = tokens::fetch(source, deps.chain, at, &wanted).await {
            return Ok(found);
        }
        let Some(latest) = source.header(BlockTag::Latest).await? else { return Ok(Vec::new()) };
        tokens::fetch(source, deps.chain, latest.block, &wanted).await
    };
    let task = tokio::spawn(work);
    Box::pin(async move {
        let outcome: Result<Vec<TokenMeta>, ChainError> =
            task.await.unwrap_or_else(|error| Err(ChainError::Unavailable(error.to_string())));
        outcome.unwrap_or_else(|error| {
            tracing::warn!(%error, "token metadata is asked for again later");
            Vec::new()
        })
    })
}

/// The block that both branches share; what is missing of it (time, parent) is not needed to hold a state at it.
fn ancestor(update: &ChainUpdate) -> Option<BlockRef> {
    update.revert.last().map(|oldest| BlockRef {
        number: oldest.number.saturating_sub(1),
        hash: oldest.parent_hash,
        parent_hash: alloy::primitives::B256::ZERO,
        timestamp: oldest.timestamp,
    })
}

pub(super) fn pending(chain: u64, address: Address, as_of: BlockRef) -> TokenMeta {
    TokenMeta {
        chain,
        address,
        name: None,
        symbol: None,
        decimals: None,
        total_supply: None,
        flags: vec![TokenFlag::MetadataPending],
        as_of,
    }
}
