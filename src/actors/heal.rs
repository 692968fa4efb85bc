//! Pools that were left behind are brought back: last committed state, then every event that they missed.

use std::{sync::Arc, time::Duration};

use alloy::primitives::Address;
use tokio::time::Instant;

use super::{
    barrier::{self, Message, Reply},
    commit::fetch_tokens,
    follow::Follower,
    pool::Applied,
};
use crate::{
    domain::{
        dollars::Gauge,
        image::PoolImage,
        pool::{PoolId, StateAfter},
        record::{BlockRecord, DecodedBlock, EventRow, unfold},
        token::TokenMeta,
    },
    store::{Commit, Live},
};

/// Tokens of one question, and the pause between two.
const TOKENS_AT_ONCE: usize = 64;
const TOKENS_EVERY: Duration = Duration::from_secs(1);

impl Follower {
    /// Whether there is anything to mend.
    pub(super) fn ailing(&self) -> bool {
        !self.pending_tokens.tokens.is_empty() || !self.table.borrow().lagging().is_empty()
    }

    /// Tries once to bring back every pool that is behind, and to learn tokens that did not answer.
    pub(super) async fn heal(&mut self) {
        let lagging = self.table.borrow().lagging();
        for id in lagging {
            self.heal_pool(id).await;
        }
        self.learn_tokens().await;
    }

    async fn heal_pool(&mut self, id: PoolId) {
        let deps = self.deps.clone();
        let Some((base, blocks)) = self.missed(&id).await else { return };
        let picks = blocks.iter().enumerate().flat_map(|(b, block)| (0..block.events.len()).map(move |e| (b, e))).collect();
        let blocks: Arc<[DecodedBlock]> = blocks.into();
        let message = Message { id, base: Some(base), blocks: blocks.clone(), picks };
        let Some(reply) = barrier::send(&self.table, message, true) else { return };
        let reply = tokio::time::timeout(Duration::from_secs(2), reply).await;
        let head = deps.live.head();
        match reply {
            Ok((_, Reply::Applied(applied))) => {
                let amended = self.adopt(&id, &blocks, &applied);
                tracing::info!(pool = %id, blocks = blocks.len(), "rebuilt");
                deps.live.commit(Commit {
                    views: self.views(&[id]),
                    amended,
                    head: head.block,
                    finalized_number: head.finalized_number,
                    at_head: head.current,
                    ..Commit::default()
                });
            }
            _ => {
                // Still down, or given up: the view says which.
                let held_at = self.table.borrow().entries.get(&id).and_then(|e| e.held_at);
                let Some(held_at) = held_at else { return };
                self.table.borrow_mut().hold(&deps, &id, None, held_at);
                if self.table.borrow().entries.get(&id).is_some_and(|e| e.faulted) {
                    tracing::error!(pool = %id, "FAULTED: it kept failing; its state stays at block {}", held_at.number);
                    deps.live.commit(Commit {
                        views: self.views(&[id]),
                        head: head.block,
                        finalized_number: head.finalized_number,
                        at_head: head.current,
                        ..Commit::default()
                    });
                }
            }
        }
    }

    /// The image to start from and the events since: from memory where the window reaches back, else from the store.
    async fn missed(&self, id: &PoolId) -> Option<(PoolImage, Vec<DecodedBlock>)> {
        let (image, held_at, meta) = {
            let table = self.table.borrow();
            let entry = table.entries.get(id)?;
            (entry.image.clone(), entry.held_at?, entry.meta.clone())
        };
        let head = self.deps.live.head();
        let recent = |above: u64| {
            head.window.iter().filter(move |r| r.block.number > above).filter_map(|r| events_of(r, id)).collect::<Vec<_>>()
        };
        if head.window_floor <= held_at.number.saturating_add(1) {
            return Some((image, recent(held_at.number)));
        }
        if *self.deps.live.watch_durable().borrow() < head.window_floor.saturating_sub(1) {
            return None; // the store lacks blocks that memory let go of: it is being refilled
        }
        // What an older version did not keep stays unknown until the next start: making it again would keep the head waiting.
        let replay = match self.deps.history.replay(self.deps.chain, vec![meta.as_ref().clone()]).await {
            Ok(replays) => replays.into_iter().next()?,
            Err(error) => {
                tracing::warn!(pool = %id, %error, "the store is needed to rebuild this pool; it is tried again");
                return None;
            }
        };
        if replay.snapshot.as_ref().is_some_and(|snapshot| snapshot.block.number >= head.window_floor) {
            return None; // whoever writes is ahead of us: the window follows
        }
        let base = replay.snapshot.map_or_else(|| PoolImage::new(&meta), |s| s.image);
        let base = base.with_shares(super::sources::follows_shares(&self.deps.joined.get(), &meta));
        let mut blocks = super::boot::group(replay.rows.iter().filter(|e| e.block.number < head.window_floor));
        blocks.extend(recent(head.window_floor.saturating_sub(1)));
        Some((base, blocks))
    }

    /// The pool is back: its state, its undo, and the states that its rows lacked.
    fn adopt(&mut self, id: &PoolId, blocks: &[DecodedBlock], applied: &Applied) -> Vec<Arc<BlockRecord>> {
        let mut table = self.table.borrow_mut();
        for (b, pre_image) in &applied.pre_images {
            if let Some(block) = blocks.get(*b)
                && self.reconciler.contains(&block.block.hash)
            {
                table.remember_undo(block.block.hash, *id, pre_image.clone());
            }
        }
        table.acknowledge(id, applied, blocks.last().map(|b| b.block));
        let mut after = applied.after.iter();
        let mut amended = Vec::new();
        for (b, block) in blocks.iter().enumerate() {
            let states: Vec<_> = block.events.iter().map(|e| (e.raw.log_index, after.next().copied().flatten())).collect();
            let gauge = applied.marks.iter().find(|(at, _)| *at == b).map(|(_, mark)| mark.gauge);
            amended.extend(amend(&self.deps.live, block, id, &states, gauge));
        }
        amended
    }

    /// Never waits: the question runs beside us, and its answer is taken when it is there.
    async fn learn_tokens(&mut self) {
        if self.pending_tokens.asked.as_ref().is_some_and(|asked| asked.is_finished()) {
            let found = match self.pending_tokens.asked.take() {
                Some(asked) => asked.await.unwrap_or_default(),
                None => Vec::new(),
            };
            self.adopt_tokens(found);
        }
        let due = self.pending_tokens.due.is_none_or(|due| Instant::now() >= due);
        let Some(at) = self.deps.live.head().block.filter(|_| due) else { return };
        let pending = &mut self.pending_tokens;
        if pending.asked.is_some() || pending.tokens.is_empty() {
            return;
        }
        let after = (std::ops::Bound::Excluded(pending.last), std::ops::Bound::Unbounded);
        let mut wanted: Vec<Address> = pending.tokens.range(after).take(TOKENS_AT_ONCE).copied().collect();
        if wanted.is_empty() {
            wanted = pending.tokens.iter().take(TOKENS_AT_ONCE).copied().collect();
        }
        pending.last = wanted.last().copied().unwrap_or_default();
        pending.due = Some(Instant::now() + TOKENS_EVERY);
        pending.asked = Some(tokio::spawn(fetch_tokens(self.deps.clone(), at, wanted)));
    }

    fn adopt_tokens(&mut self, found: Vec<TokenMeta>) {
        if found.is_empty() {
            return;
        }
        for token in &found {
            self.pending_tokens.tokens.remove(&token.address);
        }
        let head = self.deps.live.head();
        self.deps.live.commit(Commit {
            tokens: found.into_iter().map(Arc::new).collect(),
            head: head.block,
            finalized_number: head.finalized_number,
            at_head: head.current,
            ..Commit::default()
        });
    }
}

/// One pool's events of a record.
fn events_of(record: &Arc<BlockRecord>, id: &PoolId) -> Option<DecodedBlock> {
    let events: Vec<_> = record.rows.iter().filter(|row| row.event.pool == *id).flat_map(unfold).collect();
    (!events.is_empty()).then_some(DecodedBlock { block: record.block, events })
}

/// The record with the states filled in, where some were missing.
fn amend(
    live: &Live,
    block: &DecodedBlock,
    id: &PoolId,
    states: &[(u64, Option<StateAfter>)],
    gauge: Option<Gauge>,
) -> Option<Arc<BlockRecord>> {
    let record = live.record(&block.block.hash)?;
    let lacks = |row: &EventRow| row.event.pool == *id && row.after.is_none();
    let says = |row: &&EventRow| row.event.pool == *id && row.after.is_some();
    let lacks_gauge = gauge.is_some() && record.rows.iter().rfind(says).is_some_and(|last| last.gauge.is_none());
    if !lacks_gauge && !record.rows.iter().any(lacks) {
        return None;
    }
    let mut record = record.as_ref().clone();
    for row in record.rows.iter_mut().filter(|row| lacks(row)) {
        row.after = states.iter().find(|(log_index, _)| *log_index == row.log_index()).and_then(|(_, after)| *after);
    }
    if let Some(last) = record.rows.iter_mut().rev().find(|row| row.event.pool == *id && row.after.is_some()) {
        last.gauge = last.gauge.take().or(gauge.map(Box::new));
    }
    Some(Arc::new(record))
}
