//! History up to the finalized block: ranges of logs, folded in order.
//!
//! Fetching runs on the worker threads, folding here, storing in `Persist`; each waits for the next, so memory is bounded.

use std::sync::Arc;

use super::{
    commit::Step,
    follow::{FollowError, Follower},
    ranges::Ranges,
    table::Due,
};
use crate::{
    chain::RangeLogs,
    domain::{
        block::BlockRef,
        reconcile::{ChainUpdate, Reconciler},
        record::DecodedBlock,
    },
    telemetry::progress::Progress,
};

/// One commit: so many blocks or events at most.
const COMMIT_BLOCKS: usize = 64;
const COMMIT_EVENTS: usize = 2_000;
/// Rows committed and not yet durable, at most: about 20 MB.
const BACKLOG_ROWS: usize = 16_000;

impl Follower {
    /// Reads from our tip to `to` (at or below finalized) and makes `to` the new anchor.
    ///
    /// An error ends it where it is: the chain may have changed, so the caller looks again how far ranges are worth it.
    pub(super) async fn backfill(&mut self, to: u64) -> Result<(), FollowError> {
        let deps = self.deps.clone();
        let from = self.reconciler.tip().number.saturating_add(1);
        let quiet = !deps.live.head().at_head;
        let mut progress = Progress::start(&deps.live.chain_name, from, to, deps.plan.progress_bar);
        let mut ranges = Ranges::of(deps.source.clone(), &deps.joined.get(), &self.registry, from, to);
        while let Some(fetched) = self.ask(async { Ok(ranges.next().await) }).await? {
            let tip = self.reconciler.tip();
            let fetched = fetched.and_then(|fetched| fetched.follows(&tip)).inspect_err(|error| {
                tracing::debug!(%error, from = tip.number.saturating_add(1), "the catch-up is planned again");
            })?;
            let blocks = fetched.blocks;
            let events = self.take(fetched.logs, quiet).await;
            progress.advance(blocks, events);
            self.wait_for_store().await;
        }
        progress.finish();
        Ok(())
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
        let snapshots = self.table.borrow_mut().snapshots(&self.deps, range.end, &[], Due::Often);
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
        let (at_head, keep_undo, gap) = (false, false, true);
        let (finalized_number, base_fee_wei) = (head.number, None);
        self.advance(Step { update, blocks, created, head, base_fee_wei, finalized_number, keep_undo, at_head, quiet, gap })
            .await;
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
