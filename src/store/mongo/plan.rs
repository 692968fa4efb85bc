//! What a batch does to blocks, worked out in memory from one read: which are new, which change sides, whose parent is learnt.

use std::collections::{BTreeMap, BTreeSet};

use alloy::primitives::B256;
use mongodb::{
    ClientSession,
    bson::{Bson, Document, doc},
};

use super::{
    Store,
    error::Result,
    key::{self, binary},
    row::Doc,
    schema::BLOCKS,
};
use crate::{domain::block::BlockRef, store::history::WriteBatch};

/// A block as the batch leaves it.
pub(super) struct Planned {
    pub(super) block: BlockRef,
    pub(super) canonical: bool,
    /// As it is stored; `None`: it is not.
    pub(super) stored: Option<bool>,
    parent_learnt: bool,
}

/// What a batch does to the blocks of the heights that it names.
pub(super) struct Plan {
    heights: BTreeMap<u64, Vec<Planned>>,
}

impl Plan {
    pub(super) async fn read(store: &Store, session: &mut ClientSession, batch: &WriteBatch) -> Result<Self> {
        let chain = batch.chain;
        let numbers: BTreeSet<u64> = batch.records.iter().map(|r| r.block.number).collect();
        let created = batch.records.iter().flat_map(|r| r.created.iter().map(|m| m.created.block.number));
        let others = created.chain(batch.snapshots.iter().map(|s| s.block.number)).chain(batch.head.map(|h| h.number));
        let mut wanted: Vec<Document> = Vec::new();
        if let (Some(first), Some(last)) = (numbers.first(), numbers.last()) {
            wanted.push(doc! { "_id": key::blocks_between(chain, *first, *last) });
        }
        let outside: BTreeSet<u64> = others.filter(|n| !numbers.contains(n)).collect();
        wanted.extend(outside.into_iter().map(|n| doc! { "_id": key::blocks_between(chain, n, n) }));
        if !batch.revert.is_empty() {
            let hashes: Vec<Bson> = batch.revert.iter().map(|h| binary(h.as_slice()).into()).collect();
            wanted.push(doc! { "hash": { "$in": hashes }, "chain": chain.cast_signed() });
        }
        let mut plan = Self { heights: BTreeMap::new() };
        if wanted.is_empty() {
            return Ok(plan);
        }
        let mut cursor = store.collection(BLOCKS).find(doc! { "$or": wanted }).session(&mut *session).await?;
        while cursor.advance(session).await? {
            let doc = Doc(cursor.current());
            let (block, canonical) = (doc.block()?, doc.flag("canonical")?);
            let planned = Planned { block, canonical, stored: Some(canonical), parent_learnt: false };
            plan.heights.entry(block.number).or_default().push(planned);
        }
        Ok(plan)
    }

    /// In the order of the batch's fields.
    pub(super) fn run(&mut self, batch: &WriteBatch) {
        for block in self.heights.values_mut().flatten().filter(|b| batch.revert.contains(&b.block.hash)) {
            block.canonical = false;
        }
        for record in &batch.records {
            self.place(&record.block, true);
            for meta in record.created.iter().filter(|m| m.created.block.hash != record.block.hash) {
                // A pool that the configuration names may be older than everything that is followed.
                self.place(&meta.created.block, false);
            }
        }
        for snapshot in &batch.snapshots {
            self.place(&snapshot.block, false);
        }
        if let Some(head) = &batch.head {
            self.place(head, true);
        }
    }

    /// One that is said to be canonical takes the place of every other of its height; one that is only mentioned changes nothing
    /// that is known.
    fn place(&mut self, block: &BlockRef, said_canonical: bool) {
        let siblings = self.heights.entry(block.number).or_default();
        let mut rivals = false;
        for rival in siblings.iter_mut().filter(|b| b.block.hash != block.hash && b.canonical) {
            rivals = true;
            rival.canonical = !said_canonical;
        }
        match siblings.iter_mut().find(|b| b.block.hash == block.hash) {
            Some(known) => {
                known.canonical |= said_canonical;
                if known.block.parent_hash.is_zero() && !block.parent_hash.is_zero() {
                    known.block.parent_hash = block.parent_hash;
                    known.parent_learnt = true;
                }
            }
            None => {
                siblings.push(Planned { block: *block, canonical: said_canonical || !rivals, stored: None, parent_learnt: false })
            }
        }
    }

    pub(super) fn find(&self, hash: &B256) -> Option<&Planned> {
        self.heights.values().flatten().find(|b| b.block.hash == *hash)
    }

    pub(super) fn is_canonical(&self, hash: &B256) -> bool {
        self.find(hash).is_some_and(|b| b.canonical)
    }

    /// Stored blocks that change sides.
    pub(super) fn flips(&self) -> Vec<(BlockRef, bool)> {
        let changed = self.heights.values().flatten().filter(|b| b.stored.is_some_and(|stored| stored != b.canonical));
        changed.map(|b| (b.block, b.canonical)).collect()
    }

    /// Blocks that are not stored yet.
    pub(super) fn new_blocks(&self) -> impl Iterator<Item = &Planned> {
        self.heights.values().flatten().filter(|b| b.stored.is_none())
    }

    /// Stored blocks whose parent was not known until now.
    pub(super) fn parents_learnt(&self) -> Vec<&BlockRef> {
        self.heights.values().flatten().filter(|b| b.stored.is_some() && b.parent_learnt).map(|b| &b.block).collect()
    }
}
