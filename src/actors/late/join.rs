//! A late source joins: what the window holds of it, in one commit. What is absent: how it came so far.

use std::{collections::HashMap, sync::Arc};

use futures_util::TryStreamExt;

use super::{
    super::{
        folder::Folded,
        follow::{FollowError, Follower},
        ranges::Ranges,
        sources,
        table::Known,
    },
    JOIN_GAP_BLOCKS, Ready,
};
use crate::{
    chain::{BlockTag, ChainError},
    domain::{
        block::{BlockRef, Header},
        event::RawLog,
        pool::PoolId,
        record::BlockRecord,
    },
    store::Commit,
};

impl Follower {
    /// Takes a source in that has caught up: its events of the blocks that memory holds, its pools with their undo, all in one
    /// commit. What the node cannot say now is asked again at the next occasion.
    pub(in crate::actors) async fn join(&mut self, ready: Ready) -> Result<(), FollowError> {
        let (head, next) = (self.deps.live.head(), ready.at.number.saturating_add(1));
        // The head would stand still for as long as the rest takes.
        let is_long = self.reconciler.anchor().number > ready.at.number.saturating_add(2 * JOIN_GAP_BLOCKS);
        // Who does not write has nothing to join it to: what is stored from here on would lack it.
        if head.window_floor > next || is_long || self.deps.lease.fence().is_none() {
            self.late.again(&self.deps, ready);
            return Ok(());
        }
        match self.missing(&ready).await {
            Ok((settled, recent)) => {
                self.take_in(ready, settled, recent).await;
                Ok(())
            }
            Err(error) => {
                self.late.waiting = Some(ready);
                Err(error)
            }
        }
    }

    /// Logs of the blocks from where the source is to the anchor, and of those that can still be taken back.
    async fn missing(&self, ready: &Ready) -> Result<(Vec<BlockLogs>, Vec<BlockLogs>), FollowError> {
        let anchor = self.reconciler.anchor();
        let (dexes, registry) = (std::slice::from_ref(&ready.spec), &ready.folder.registry);
        let mut settled = Vec::new();
        let mut at = ready.at;
        if at.number < anchor.number {
            let mut ranges = Ranges::of(self.deps.source.clone(), dexes, registry, at.number.saturating_add(1), anchor.number);
            while let Some(fetched) = self.ask(async { Ok(ranges.next().await) }).await? {
                let fetched = fetched?.follows(&at)?;
                at = fetched.logs.end;
                settled.extend(fetched.logs.blocks);
            }
            if at.hash != anchor.hash {
                return Err(ChainError::Contradiction(format!("block {} is {} to the node", at.number, at.hash)).into());
            }
        }
        let mut headers: Vec<Header> = Vec::new();
        for block in self.reconciler.window().filter(|block| block.number > anchor.number && block.number > ready.at.number) {
            let header = self.ask(self.deps.source.header(BlockTag::Hash(block.hash))).await?;
            headers.push(header.ok_or(ChainError::UnknownBlock(block.hash))?);
        }
        let blocks: Vec<BlockRef> = headers.iter().map(|h| h.block).collect();
        let logs: Vec<Vec<RawLog>> = self.ask(self.fetch(headers).try_collect()).await?;
        Ok((settled, blocks.into_iter().zip(logs).collect()))
    }

    async fn take_in(&mut self, ready: Ready, settled: Vec<BlockLogs>, recent: Vec<BlockLogs>) {
        let deps = self.deps.clone();
        let Ready { spec, mut folder, tokens, hold: _hold, .. } = ready;
        let mut amended = Vec::new();
        let mut undo = Vec::new();
        let settled_blocks = settled.len();
        for (i, (block, logs)) in settled.into_iter().chain(recent).enumerate() {
            let folded = folder.block(block, logs);
            self.count_malformed(folded.malformed, block);
            if i >= settled_blocks {
                undo.push((block, folded.pre_images, folded.traded_before));
            }
            if !folded.record.rows.is_empty() {
                let record = match deps.live.record(&block.hash) {
                    Some(ours) => merged(&ours, folded.record),
                    None => folded.record,
                };
                amended.push(Arc::new(record));
            }
        }
        let mut tokens: HashMap<_, _> = tokens.into_iter().map(|token| (token.address, token)).collect();
        let mut ids = Vec::with_capacity(folder.pools.len());
        self.registry.watch(spec.clone());
        for (id, pool) in folder.pools {
            let mut table = self.table.borrow_mut();
            if table.entries.contains_key(&id) {
                continue; // it was listed before, and is followed already
            }
            let Folded { image, trading, updated, .. } = pool.clone();
            table.start(&deps, &pool.meta, Some(Known { image, trading, updated }));
            if pool.broken {
                tracing::error!(pool = %id, "FAULTED: its events do not fit its state, so the state is not the contract's");
                table.fault(&id, pool.updated);
            }
            self.registry.insert(pool.meta.clone());
            pool.image.fees.iter().for_each(|fees| self.registry.insert_tokens(id, fees));
            for token in [pool.meta.token0, pool.meta.token1] {
                if deps.live.token(&token).is_none() && !tokens.contains_key(&token) {
                    self.pending_tokens.tokens.insert(token);
                    let pending = super::super::commit::pending(deps.chain, token, pool.updated);
                    tokens.insert(token, Arc::new(pending));
                }
            }
            ids.push(id);
        }
        for (block, pre_images, traded_before) in undo {
            for (id, image) in pre_images.into_iter().filter(|(id, _)| ids.contains(id)) {
                self.table.borrow_mut().remember_undo(block.hash, id, image);
            }
            for (id, market) in traded_before.iter().filter(|(id, _)| ids.contains(id)) {
                self.table.borrow_mut().remember_market(block.hash, *id, market);
            }
        }
        tracing::info!(dex = spec.name, pools = ids.len(), "an added source has caught up, and is followed from now on");
        let name = sources::name(&spec);
        self.table.borrow_mut().books.mark_partial();
        deps.joined.add(spec);
        let mut cursors = self.sources(self.reconciler.anchor().number);
        cursors.push((sources::late_name(&name), 0));
        let head = deps.live.head();
        deps.live.commit(Commit {
            amended,
            views: self.views(&ids),
            tokens: tokens.into_values().collect(),
            head: head.block,
            finalized_number: head.finalized_number,
            at_head: head.current,
            ..Commit::default()
        });
        // After the commit, so that the cursor is never stored without what it stands for.
        deps.live.add_side(crate::store::view::Snapshots::default(), cursors);
    }
}

type BlockLogs = (BlockRef, Vec<RawLog>);

/// Our record of the block with the rows of another source among them.
fn merged(ours: &BlockRecord, theirs: BlockRecord) -> BlockRecord {
    let mut record = ours.clone();
    let known: Vec<u64> = record.rows.iter().map(crate::domain::record::EventRow::log_index).collect();
    record.rows.extend(theirs.rows.into_iter().filter(|row| !known.contains(&row.log_index())));
    record.rows.sort_by_key(crate::domain::record::EventRow::log_index);
    let known: Vec<PoolId> = record.created.iter().map(|meta| meta.id).collect();
    record.created.extend(theirs.created.into_iter().filter(|meta| !known.contains(&meta.id)));
    record
}
