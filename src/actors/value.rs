//! What rows are worth: each in dollars of the end of its own block, however many blocks a step has.

use std::sync::Arc;

use alloy::primitives::map::HashMap;

use super::{books::Books, follow::Follower, table::Entries};
use crate::{
    domain::{
        book::{Closing, Told},
        dollars::{Gauge, Routes},
        image::Mark,
        pool::{PoolId, PoolMeta, StateAfter},
        record::{BlockRecord, DecodedBlock, EventRow, rows, set_gauges},
    },
    store::Live,
};

/// What the pools made of a step.
pub(super) struct Absorbed {
    /// By block and event.
    pub(super) states: Vec<Vec<Option<StateAfter>>>,
    pub(super) touched: Vec<PoolId>,
    /// Of pools that the step touched.
    pub(super) marks: HashMap<PoolId, Marks>,
}

/// A pool over the blocks of one step.
pub(super) struct Marks {
    pub(super) before: Option<Mark>,
    /// At the ends of blocks that changed it, ascending.
    pub(super) ends: Vec<(usize, Mark)>,
}

impl Marks {
    /// At the end of just this block.
    fn of(&self, block: usize) -> Option<Mark> {
        self.ends.iter().find(|(at, _)| *at == block).map(|(_, mark)| *mark)
    }

    /// When so many blocks were over.
    fn after(&self, blocks: usize) -> Option<Mark> {
        let later = self.ends.partition_point(|(at, _)| *at < blocks);
        later.checked_sub(1).and_then(|i| self.ends.get(i)).map(|(_, mark)| *mark).or(self.before)
    }
}

impl Follower {
    /// The rows of a step, with what each moved in dollars; every pool, token and factory has traded them.
    pub(super) fn records(
        &self,
        blocks: &[DecodedBlock],
        after: &Absorbed,
        created: &[Vec<Arc<PoolMeta>>],
        keep_undo: bool,
    ) -> Vec<Arc<BlockRecord>> {
        let live: &Live = &self.deps.live;
        let mut table = self.table.borrow_mut();
        let records: Vec<Arc<BlockRecord>> = live.with_routes(|routes| {
            let (entries, books) = table.parts();
            let step = StepView { routes, entries, after };
            let parts = blocks.iter().enumerate().zip(&after.states).zip(created);
            let mut record = |at: usize, block: &DecodedBlock, states: &[Option<StateAfter>], created: &[Arc<PoolMeta>]| {
                let Rows { rows, metas, told } = step.rows(at, block, states, books);
                let created = created.to_vec();
                let record = BlockRecord { created, told, ..BlockRecord::new(self.deps.chain, block.block, rows) };
                books.fold(&record, &metas, keep_undo);
                Arc::new(record)
            };
            parts.map(|(((at, block), states), created)| record(at, block, states, created)).collect()
        });
        for record in &records {
            record.rows.iter().for_each(|row| table.trade(&record.block, row, keep_undo));
        }
        records
    }
}

/// A block's rows, and the pool of each.
struct Rows<'a> {
    rows: Vec<EventRow>,
    metas: Vec<Option<&'a PoolMeta>>,
    told: Option<Arc<Told>>,
}

/// All pools over the blocks of a step.
struct StepView<'a> {
    routes: &'a Routes,
    entries: &'a Entries,
    after: &'a Absorbed,
}

impl<'a> StepView<'a> {
    /// A pool when so many blocks were over. One that was given up stands where it was, and is nothing to others.
    fn mark(&self, id: &PoolId, blocks: usize) -> Option<Mark> {
        let entry = self.entries.get(id).filter(|entry| !entry.faulted)?;
        match self.after.marks.get(id) {
            Some(touched) => touched.after(blocks),
            None => Some(entry.image.mark()),
        }
    }

    fn rows(&self, at: usize, block: &DecodedBlock, states: &[Option<StateAfter>], books: &Books) -> Rows<'a> {
        let gauge = |blocks: usize| move |id: &PoolId| -> Option<Gauge> { self.mark(id, blocks).map(|mark| mark.gauge) };
        let prices = self.routes.at(block.block.timestamp, gauge(at.saturating_add(1)));
        let mut rows = rows(&block.events, states);
        // Each pool is looked up once an event, and no more.
        let meta = |row: &EventRow| self.entries.get(&row.event.pool).map(|entry| entry.meta.as_ref());
        let metas: Vec<Option<&PoolMeta>> = rows.iter().map(meta).collect();
        for (row, meta) in rows.iter_mut().zip(&metas) {
            row.usd = meta.and_then(|meta| prices.worth(meta, row));
        }
        // Of a pool that did not answer there is none until it is back.
        set_gauges(&mut rows, |id| self.after.marks.get(id).and_then(|touched| touched.of(at)).map(|mark| mark.gauge));
        if rows.is_empty() {
            return Rows { rows, metas, told: None };
        }
        let closing = books.book.due(block.block.timestamp).map(|due| {
            let pools = self.entries.iter().filter_map(|(id, entry)| Some((entry.meta.as_ref(), self.mark(id, at)?)));
            Closing::new(&due, &self.routes.at(due.at, gauge(at)), pools)
        });
        let told = Some(Arc::new(Told::new(metas.iter().flatten().copied(), &prices, closing)));
        Rows { rows, metas, told }
    }
}
