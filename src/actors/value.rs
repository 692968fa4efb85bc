//! What rows are worth: each in dollars of the end of its own block, however many blocks a step has.

use std::{collections::HashMap, sync::Arc};

use super::follow::Follower;
use crate::{
    domain::{
        dollars::Gauge,
        pool::{PoolId, PoolMeta, StateAfter},
        record::{BlockRecord, DecodedBlock, rows, set_gauges},
    },
    store::Live,
};

/// What the pools made of a step.
pub(super) struct Absorbed {
    /// By block and event.
    pub(super) states: Vec<Vec<Option<StateAfter>>>,
    pub(super) touched: Vec<PoolId>,
    /// Of pools that the step touched.
    pub(super) gauges: HashMap<PoolId, Gauges>,
}

/// A pool's gauge over the blocks of one step.
pub(super) struct Gauges {
    pub(super) before: Option<Gauge>,
    /// At the ends of blocks that changed it, ascending.
    pub(super) ends: Vec<(usize, Gauge)>,
}

impl Gauges {
    /// At the end of just this block.
    fn of(&self, block: usize) -> Option<Gauge> {
        self.ends.iter().find(|(at, _)| *at == block).map(|(_, gauge)| *gauge)
    }

    fn at(&self, block: usize) -> Option<Gauge> {
        let later = self.ends.partition_point(|(at, _)| *at <= block);
        later.checked_sub(1).and_then(|i| self.ends.get(i)).map(|(_, gauge)| *gauge).or(self.before)
    }
}

impl Follower {
    /// The rows of a step, with what each moved in dollars; every pool has traded them.
    pub(super) fn records(
        &self,
        blocks: &[DecodedBlock],
        after: &Absorbed,
        created: &[Vec<Arc<PoolMeta>>],
        keep_undo: bool,
    ) -> Vec<Arc<BlockRecord>> {
        let live: &Live = &self.deps.live;
        let records: Vec<Arc<BlockRecord>> = live.with_routes(|routes| {
            let table = self.table.borrow();
            let parts = blocks.iter().enumerate().zip(&after.states).zip(created);
            let record = |at: usize, block: &DecodedBlock, states: &[Option<StateAfter>], created: &[Arc<PoolMeta>]| {
                let gauge = |id: &PoolId| match after.gauges.get(id) {
                    Some(touched) => touched.at(at),
                    // One that was given up stands where it was; it prices nothing.
                    None => table.entries.get(id).filter(|entry| !entry.faulted).map(|entry| entry.image.gauge),
                };
                let prices = routes.at(block.block.timestamp, &gauge);
                let mut rows = rows(&block.events, states);
                for row in &mut rows {
                    row.usd = table.entries.get(&row.event.pool).and_then(|entry| prices.worth(&entry.meta, &row.event.body));
                }
                // Of a pool that did not answer there is none until it is back.
                set_gauges(&mut rows, |id| after.gauges.get(id).and_then(|touched| touched.of(at)));
                Arc::new(BlockRecord { chain: self.deps.chain, block: block.block, rows, created: created.to_vec() })
            };
            parts.map(|(((at, block), states), created)| record(at, block, states, created)).collect()
        });
        let mut table = self.table.borrow_mut();
        for record in &records {
            record.rows.iter().for_each(|row| table.trade(&record.block, row, keep_undo));
        }
        records
    }
}
