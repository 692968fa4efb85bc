//! Logs into rows outside of the barrier: the same selection and the same fold as the head's, without actors. For history that is
//! read a second time, or alone.

use std::{collections::HashMap, sync::Arc};

use super::{markets::Trading, pool::fold, table::Known};
use crate::{
    chain::registry::Registry,
    domain::{
        ChainId,
        block::BlockRef,
        event::RawLog,
        image::PoolImage,
        market::Market,
        pool::{PoolId, PoolMeta, StateAfter},
        record::{BlockRecord, DecodedBlock, rows, set_gauges},
    },
};

/// A pool as far as it was folded.
#[derive(Debug, Clone)]
pub(super) struct Folded {
    pub(super) meta: Arc<PoolMeta>,
    pub(super) image: PoolImage,
    pub(super) trading: Trading,
    /// The newest block whose events are in `state`.
    pub(super) updated: BlockRef,
    /// Its events did not fit its state.
    pub(super) broken: bool,
    pub(super) events_since_snapshot: u32,
}

impl Folded {
    pub(super) fn weight(&self) -> usize {
        self.image.weight().saturating_add(self.trading.market.weight())
    }
}

/// What one block came to.
pub(super) struct Block {
    pub(super) record: BlockRecord,
    /// Each touched pool before the block.
    pub(super) pre_images: Vec<(PoolId, PoolImage)>,
    /// What each of them had traded.
    pub(super) traded_before: Vec<(PoolId, Arc<Market>)>,
    pub(super) malformed: usize,
}

pub(super) struct Folder {
    pub(super) chain: ChainId,
    pub(super) registry: Registry,
    pub(super) pools: HashMap<PoolId, Folded>,
}

impl Folder {
    pub(super) fn new(chain: ChainId, registry: Registry) -> Self {
        Self { chain, registry, pools: HashMap::new() }
    }

    /// A pool that is known from elsewhere.
    pub(super) fn insert(&mut self, meta: &Arc<PoolMeta>, known: Known) {
        self.registry.insert(meta.clone());
        let Known { image, trading, updated } = known;
        image.fees.iter().for_each(|fees| self.registry.insert_tokens(meta.id, fees));
        let folded = Folded { meta: meta.clone(), image, trading, updated, broken: false, events_since_snapshot: 0 };
        self.pools.insert(meta.id, folded);
    }

    /// Which pools the logs touch that were not folded before: whoever has their states gives them first.
    pub(super) fn unknown(&self, logs: &[RawLog]) -> Vec<Arc<PoolMeta>> {
        let mut metas: Vec<Arc<PoolMeta>> = logs.iter().filter_map(|log| self.registry.pool_of(log)).cloned().collect();
        metas.retain(|meta| !self.pools.contains_key(&meta.id));
        metas.sort_unstable_by_key(|meta| meta.id);
        metas.dedup_by_key(|meta| meta.id);
        metas
    }

    /// Moves every touched pool over the block.
    pub(super) fn block(&mut self, block: BlockRef, logs: Vec<RawLog>) -> Block {
        let selected = self.registry.select(self.chain, block, logs);
        for meta in &selected.created {
            self.insert(meta, Known::new(PoolImage::new(meta), block));
        }
        let blocks = [DecodedBlock { block, events: selected.events }];
        let events = &blocks[0].events;
        let mut after: Vec<Option<StateAfter>> = vec![None; events.len()];
        let mut touched: Vec<PoolId> = events.iter().map(|e| e.pool).collect();
        touched.sort_unstable();
        touched.dedup();
        let mut pre_images = Vec::with_capacity(touched.len());
        for id in touched {
            let Some(pool) = self.pools.get_mut(&id) else { continue };
            let picks: Vec<(usize, usize)> =
                events.iter().enumerate().filter(|(_, e)| e.pool == id).map(|(e, _)| (0, e)).collect();
            let applied = fold(0, pool.image.clone(), &blocks, &picks);
            for ((_, e), state) in picks.iter().zip(&applied.after) {
                if let Some(slot) = after.get_mut(*e) {
                    *slot = *state;
                }
            }
            pre_images.extend(applied.pre_images.into_iter().map(|(_, image)| (id, image)));
            pool.broken |= applied.misfits.iter().any(|(_, _, error)| error.is_drift());
            pool.image = applied.image;
            pool.updated = block;
            let count = u32::try_from(picks.len()).unwrap_or(u32::MAX);
            pool.events_since_snapshot = pool.events_since_snapshot.saturating_add(count);
        }
        let mut rows = rows(events, &after);
        set_gauges(&mut rows, |id| self.pools.get(id).map(|pool| pool.image.gauge));
        let mut traded_before = Vec::with_capacity(pre_images.len());
        for (id, _) in &pre_images {
            traded_before.extend(self.pools.get(id).map(|pool| (*id, pool.trading.market.clone())));
        }
        for row in &rows {
            if let Some(pool) = self.pools.get_mut(&row.event.pool) {
                pool.trading.take(block.timestamp, row, pool.meta.fee_pips);
            }
        }
        let record = BlockRecord { created: selected.created, ..BlockRecord::new(self.chain, block, rows) };
        Block { record, pre_images, traded_before, malformed: selected.malformed }
    }
}
