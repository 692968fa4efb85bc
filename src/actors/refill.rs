//! After an outage of the store that was longer than memory: what it lacks is read again from the chain, by hash, and folded
//! from the store's own snapshots, exactly as it was the first time.

use std::{collections::HashMap, sync::Arc};

use alloy::primitives::B256;

use super::{Deps, boot::group, pool::fold};
use crate::{
    chain::{BlockTag, ChainError, registry::Registry},
    domain::{
        block::Header,
        pool::{PoolId, PoolMeta, PoolState, StateAfter},
        record::{BlockRecord, DecodedBlock, rows},
    },
    store::StoreError,
};

/// Headers that are held at once while the way back is traced: 200,000 are 70 MB, a week of mainnet is 50,000.
const HEADERS_MAX: usize = 200_000;

/// The blocks between the store and the window.
pub(super) struct Gap {
    /// Ascending; the first's parent is in the store.
    pub(super) headers: Vec<Header>,
    /// Stored blocks that are on another branch, newest first.
    pub(super) revert: Vec<B256>,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum RefillError {
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the store is more than {HEADERS_MAX} blocks behind: start again, so that it is read in ranges")]
    TooFar,
}

/// Walks back by parent hash from the first block of the window to one that is stored. `stored` is ascending.
pub(super) async fn trace(deps: &Deps, first: &BlockRecord, stored: &[(u64, B256)]) -> Result<Gap, RefillError> {
    let mut headers: Vec<Header> = Vec::new();
    let mut wanted = first.block.parent_hash;
    loop {
        if let Some(at) = stored.iter().rposition(|(_, hash)| *hash == wanted) {
            let revert = stored.iter().skip(at.saturating_add(1)).rev().map(|(_, hash)| *hash).collect();
            headers.reverse();
            return Ok(Gap { headers, revert });
        }
        if headers.len() >= HEADERS_MAX {
            return Err(RefillError::TooFar);
        }
        let header = deps.source.header(BlockTag::Hash(wanted)).await?.ok_or(ChainError::UnknownBlock(wanted))?;
        wanted = header.block.parent_hash;
        headers.push(header);
    }
}

/// Rebuilds records in order. Pools are taken from the store when they are first touched.
pub(super) struct Refill {
    registry: Registry,
    states: HashMap<PoolId, PoolState>,
    /// Stored blocks of the branch that is left: what they did does not count.
    left: Vec<B256>,
}

impl Refill {
    /// From what the store holds now, without the blocks that are to be taken back.
    pub(super) async fn new(deps: &Deps, revert: &[B256]) -> Result<Self, StoreError> {
        let boot = deps.history.boot(deps.chain).await?;
        let mut registry = Registry::new(deps.plan.dexes.clone());
        boot.pools.into_iter().for_each(|meta| registry.insert(Arc::new(meta)));
        revert.iter().for_each(|hash| registry.revert(*hash));
        Ok(Self { registry, states: HashMap::new(), left: revert.to_vec() })
    }

    pub(super) async fn record(&mut self, deps: &Deps, header: &Header) -> Result<BlockRecord, RefillError> {
        let logs = deps.source.block_logs(header).await?;
        let selected = self.registry.select(deps.chain, header.block, logs);
        for meta in &selected.created {
            self.states.insert(meta.id, PoolState::new(meta.protocol));
        }
        let block = [DecodedBlock { block: header.block, events: selected.events }];
        let events = &block[0].events;
        let mut after: Vec<Option<StateAfter>> = vec![None; events.len()];
        let mut touched: Vec<PoolId> = events.iter().map(|e| e.pool).collect();
        touched.sort_unstable();
        touched.dedup();
        for id in touched {
            let Some(state) = self.state(deps, &id).await? else { continue };
            let picks: Vec<(usize, usize)> =
                events.iter().enumerate().filter(|(_, e)| e.pool == id).map(|(e, _)| (0, e)).collect();
            let applied = fold(0, state, &block, &picks);
            for ((_, e), state) in picks.iter().zip(&applied.after) {
                if let Some(slot) = after.get_mut(*e) {
                    *slot = *state;
                }
            }
            self.states.insert(id, applied.state);
        }
        Ok(BlockRecord { chain: deps.chain, block: header.block, rows: rows(events, &after), created: selected.created })
    }

    /// A pool's state as the store has it, then as this refill left it.
    async fn state(&mut self, deps: &Deps, id: &PoolId) -> Result<Option<PoolState>, StoreError> {
        if let Some(state) = self.states.get(id) {
            return Ok(Some(state.clone()));
        }
        let PoolId::Address(address) = id else { return Ok(None) };
        let Some(meta): Option<Arc<PoolMeta>> = self.registry.get(address).cloned() else { return Ok(None) };
        let replay = deps.history.replay(deps.chain, vec![meta.as_ref().clone()]).await?.into_iter().next().unwrap_or_default();
        let base = replay.snapshot.map_or_else(|| PoolState::new(meta.protocol), |s| s.state);
        let blocks = group(replay.rows.iter().filter(|row| !self.left.contains(&row.block.hash)));
        let picks: Vec<(usize, usize)> =
            blocks.iter().enumerate().flat_map(|(b, block)| (0..block.events.len()).map(move |e| (b, e))).collect();
        let state = fold(0, base, &blocks, &picks).state;
        self.states.insert(*id, state.clone());
        Ok(Some(state))
    }
}
