//! What every [`History`] must do, run against each of them. A store passes when `history_conformance!` passes for it.
//!
//! The trait says what a write is; these rules follow from it and are fixed here:
//! - a height has one canonical block: a record or head that says otherwise orphans the one before;
//! - the head of a batch is a block like any other, with or without a record, and starts the window of a restart with it;
//! - a block that a snapshot or a created pool only mentions changes nothing that is known of it;
//! - what is final stays final: a lower `finalized_number` is not taken;
//! - a pool's events are never older than its creation, and its tokens are the same on every branch;
//! - rows of a block may come in several batches (a source that is added later); an `enrichment` is filled in like an `after`.
//!
//! The clock is in the batches, so nothing here waits.

pub(crate) mod make;
pub(crate) mod oracle;
mod queries;
mod random;
mod reorgs;
mod writes;

use std::sync::Arc;

use alloy::primitives::B256;
use futures_util::future::BoxFuture;

use self::{
    make::{CHAIN, GENESIS, Rng, genesis, pool, pool_id, token_meta},
    oracle::Oracle,
};
pub(crate) use self::{queries::*, random::*, reorgs::*, writes::*};
use super::{
    history::{History, WriteBatch},
    query::{EventQuery, Fields, Narrow},
};
use crate::domain::{
    block::BlockRef,
    event::EventKind,
    record::{BlockRecord, PoolSnapshot},
};

/// A database of its own, for one test.
pub(crate) struct Database {
    /// Opens it once more, as another process would.
    pub(crate) open: Box<dyn Fn() -> BoxFuture<'static, Arc<dyn History>>>,
}

/// `history_conformance!(fresh, cases)`: one test for each rule; `fresh` makes an empty [`Database`], of which the random chains take
/// `cases`.
macro_rules! history_conformance {
    ($fresh:path: $($name:ident)*) => {
        $(#[tokio::test]
        async fn $name() {
            $crate::store::conformance::$name($fresh().await).await;
        })*
    };
    ($fresh:path, $cases:expr) => {
        $crate::store::conformance::history_conformance! { $fresh:
            a_database_belongs_to_one_chain_and_genesis
            nothing_is_there_before_the_first_write
            an_older_fence_is_refused_and_writes_nothing
            everything_that_was_written_comes_back
            the_same_batch_twice_changes_nothing
            a_reorg_flips_and_a_return_flips_back
            a_height_has_one_canonical_block
            a_block_may_stand_twice_in_a_batch
            a_missing_state_is_filled_in_and_a_known_one_stays
            rows_of_a_block_may_come_later
            what_lacks_its_enrichment_is_found_from_a_cursor_on_and_filled_in_once
            a_pool_may_be_created_on_both_branches
            a_replay_starts_at_the_newest_canonical_snapshot
            a_pool_with_very_many_positions_comes_back
            orphans_are_purged_by_height_and_age
            candles_are_written_once_and_read_by_range
            candles_go_when_their_retention_is_over
            a_forgotten_book_takes_its_chunks_along_and_no_others
            a_time_range_includes_its_start_and_not_its_end
            the_newest_block_at_a_height_or_time_is_found
            a_creation_is_found_by_the_tokens_of_its_pool
            pages_join_without_gap_or_double
            many_pages_at_once_are_what_each_is_alone
            a_transaction_with_a_thousand_events_is_told_apart_from_others
            memory_and_store_answer_many_pages_as_they_answer_each
            readers_see_whole_batches
        }

        #[test]
        fn random_chains_equal_the_oracle() {
            $crate::store::conformance::random_chains_equal_the_oracle($fresh, $cases);
        }
    };
}
pub(crate) use history_conformance;

/// A claimed store with its writer's fence, beside the oracle.
pub(crate) struct World {
    pub(crate) store: Arc<dyn History>,
    pub(crate) fence: u64,
    pub(crate) oracle: Oracle,
    pub(crate) rng: Rng,
    now: u64,
}

impl World {
    pub(crate) async fn new(database: &Database) -> Self {
        let store = (database.open)().await;
        store.claim(CHAIN, GENESIS).await.unwrap();
        let fence = store.take_fence("test").await.unwrap();
        Self { store, fence, oracle: Oracle::default(), rng: Rng(1), now: 1_000 }
    }

    pub(crate) fn batch(&mut self) -> WriteBatch {
        self.now += 10;
        WriteBatch { chain: CHAIN, fence: self.fence, now: self.now, ..WriteBatch::default() }
    }

    pub(crate) async fn write(&mut self, batch: &WriteBatch) {
        self.store.write(batch.clone()).await.unwrap();
        self.oracle.write(batch);
    }

    async fn extend(&mut self, records: &[Arc<BlockRecord>]) {
        let batch = WriteBatch { records: records.to_vec(), head: records.last().map(|r| r.block), ..self.batch() };
        self.write(&batch).await;
    }

    /// `count` blocks on `parent`, not written yet.
    pub(crate) fn grow(&mut self, parent: &BlockRef, count: usize, rows: u64) -> Vec<Arc<BlockRecord>> {
        let mut parent = *parent;
        let records = (0..count).map(|_| {
            let record = self.rng.record(&parent, rows);
            parent = record.block;
            Arc::new(record)
        });
        records.collect()
    }

    async fn check(&self) {
        self.oracle.check(&self.store).await;
        self.oracle.check_replay(&self.store).await;
    }
}

fn hashes(records: &[Arc<BlockRecord>]) -> Vec<B256> {
    records.iter().rev().map(|r| r.block.hash).collect()
}

pub(crate) fn all(kind: EventKind) -> EventQuery {
    EventQuery {
        chain: CHAIN,
        kind,
        narrow: Narrow::All,
        after: None,
        before: None,
        time_from: None,
        time_to: None,
        newest_first: true,
        fields: Fields::ALL,
        limit: EventQuery::LIMIT_MAX,
    }
}

/// A chain with everything in it: pools, tokens, snapshots, sources, an empty block, a final height.
async fn rich(database: &Database) -> (World, Vec<Arc<BlockRecord>>, WriteBatch) {
    let mut world = World::new(database).await;
    let mut records = world.grow(&genesis(), 6, 5);
    Arc::make_mut(&mut records[4]).rows.clear();
    for (at, pools) in [(0, [1, 0]), (3, [3, 2])] {
        let record = Arc::make_mut(&mut records[at]);
        record.created = pools.into_iter().rev().map(|n| pool(n, record.block)).collect();
    }
    // Older than everything that is followed.
    let elder = BlockRef { number: 0, ..world.rng.child(&genesis()) };
    let mut elders = [5, 8, 4].map(|n| pool(n, elder));
    // Read from their contracts at one block: nothing but the pool tells them apart.
    elders[..2].iter_mut().for_each(|meta| Arc::make_mut(meta).created.log_index = 0);
    assert!(elders[..2].iter().all(|meta| meta.created.tx_hash.is_none()));
    Arc::make_mut(&mut records[5]).created = elders.to_vec();
    let snapshots = [0, 1].map(|n| PoolSnapshot {
        chain: CHAIN,
        pool: pool_id(n),
        block: records[2].block,
        image: world.rng.image(),
        market: world.rng.market(),
    });
    let batch = WriteBatch {
        records: records.clone(),
        tokens: vec![token_meta(1, genesis()), token_meta(0, genesis())],
        snapshots: snapshots.to_vec(),
        book: Some(world.rng.book(records[2].block)),
        head: Some(records[5].block),
        finalized_number: 3,
        sources: vec![("uniswap".to_owned(), 7), ("sushi".to_owned(), 2)],
        ..world.batch()
    };
    (world, records, batch)
}
