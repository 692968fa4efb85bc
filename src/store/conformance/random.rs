//! Random chains with reorgs, beside the oracle.

use std::sync::Arc;

use proptest::prelude::*;

use super::{
    Database, World, hashes,
    make::{self, CHAIN, GENESIS, Rng, genesis, pool, pool_id, token_meta},
};
use crate::{
    domain::record::{BlockRecord, PoolSnapshot},
    store::history::{PurgeOrphans, WriteBatch},
};

/// What may happen to a chain.
#[derive(Debug, Clone)]
enum Step {
    Extend {
        seed: u64,
        blocks: usize,
        rows: u64,
    },
    Reorg {
        depth: usize,
        seed: u64,
        blocks: usize,
    },
    /// Back to the branch that was left last, where it still fits.
    Return,
    Finalize {
        pool: u8,
        seed: u64,
    },
    LateRows {
        seed: u64,
    },
    Repeat,
    Purge,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (any::<u64>(), 1..4_usize, 0..5_u64).prop_map(|(seed, blocks, rows)| Step::Extend { seed, blocks, rows }),
        3 => (1..4_usize, any::<u64>(), 0..4_usize).prop_map(|(depth, seed, blocks)| Step::Reorg { depth, seed, blocks }),
        2 => Just(Step::Return),
        1 => (0..make::POOLS, any::<u64>()).prop_map(|(pool, seed)| Step::Finalize { pool, seed }),
        1 => any::<u64>().prop_map(|seed| Step::LateRows { seed }),
        1 => Just(Step::Repeat),
        1 => Just(Step::Purge),
        1 => Just(Step::Restart),
    ]
}

pub(crate) fn random_chains_equal_the_oracle(fresh: impl AsyncFn() -> Database, cases: u32) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // Where databases share a server, it stays up from case to case.
    let _server = runtime.block_on(fresh());
    let config = ProptestConfig { cases, ..ProptestConfig::default() };
    proptest!(config, |(steps in prop::collection::vec(step(), 1..24), seed in any::<u64>())| {
        runtime.block_on(async { run(&fresh().await, &steps, seed).await });
    });
}

async fn run(database: &Database, steps: &[Step], seed: u64) {
    let mut world = World::new(database).await;
    let mut path: Vec<Arc<BlockRecord>> = Vec::new();
    let mut left: Vec<Arc<BlockRecord>> = Vec::new();
    let mut finalized = 1;
    let mut last = begin(&mut world).await;
    path.extend(last.records.clone());
    for step in steps {
        let tip = path.last().map_or(genesis(), |r| r.block);
        let free = path.iter().filter(|r| r.block.number > finalized).count();
        let mut batch = world.batch();
        match step {
            Step::Extend { seed, blocks, rows } => {
                world.rng = Rng(*seed);
                batch.records = world.grow(&tip, *blocks, *rows);
                create(&mut world.rng, &path, &mut batch.records);
                path.extend(batch.records.clone());
            }
            Step::Reorg { depth, seed, blocks } => {
                left = path.split_off(path.len() - (*depth).min(free));
                world.rng = Rng(*seed);
                batch.records = world.grow(&path.last().map_or(genesis(), |r| r.block), *blocks, 3);
                create(&mut world.rng, &path, &mut batch.records);
                batch.revert = hashes(&left);
                path.extend(batch.records.clone());
            }
            Step::Return => {
                let Some(parent) = left.first().map(|r| r.block.parent_hash) else { continue };
                let Some(keep) = (0..=path.len()).find(|n| n.checked_sub(1).map_or(GENESIS, |i| path[i].block.hash) == parent)
                else {
                    continue;
                };
                if path.len() - keep > free {
                    continue;
                }
                let gone = path.split_off(keep);
                (batch.revert, batch.records) = (hashes(&gone), left.clone());
                path.append(&mut left);
                left = gone;
            }
            Step::Finalize { pool, seed } => {
                finalized = finalized.max(tip.number.saturating_sub(3));
                batch.finalized_number = finalized;
                batch.sources = vec![("uniswap".to_owned(), tip.number)];
                batch.tokens = vec![token_meta(*pool, tip)];
                if let Some(at) = path.iter().find(|r| r.block.number == finalized) {
                    let (image, market) = (Rng(*seed).image(), Rng(*seed).market());
                    batch.forget_book = Rng(*seed).chance(20);
                    batch.book = Some(Rng(*seed).book(at.block));
                    batch.snapshots = vec![PoolSnapshot { chain: CHAIN, pool: pool_id(*pool), block: at.block, image, market }];
                }
            }
            Step::LateRows { seed } => {
                let Some(record) = path.get(usize::try_from(seed % 7).unwrap()) else { continue };
                // The same log is the same whenever it comes.
                let first = 100 + 10 * (seed % 4);
                let rows = Rng(record.block.number ^ (first << 32)).rows(2, first);
                let record = BlockRecord { rows, created: Vec::new(), ..(**record).clone() };
                batch.records = vec![Arc::new(record)];
            }
            Step::Repeat => batch = last.clone(),
            Step::Purge => batch.purge_orphans = Some(PurgeOrphans { final_number: finalized, orphaned_before: world.now - 20 }),
            Step::Restart => {
                world.store = (database.open)().await;
                world.store.claim(CHAIN, GENESIS).await.unwrap();
                world.fence = world.store.take_fence("again").await.unwrap();
                last.fence = world.fence;
                continue;
            }
        }
        if !matches!(step, Step::Repeat) {
            batch.head = path.last().map(|r| r.block);
        }
        world.write(&batch).await;
        last = batch;
        world.oracle.check(&world.store).await;
    }
    world.oracle.check_replay(&world.store).await;
    let known = world.oracle.all();
    let mut rng = Rng(seed);
    let queries: Vec<_> = (0..40).map(|_| rng.query(&known)).collect();
    for query in &queries {
        world.oracle.check_query(&world.store, *query).await;
    }
    let alone: Vec<_> = queries.iter().map(|query| world.oracle.events(query)).collect();
    assert_eq!(world.store.pages(queries).await.unwrap(), alone);
}

/// The pools that trade are created in a block that is final.
async fn begin(world: &mut World) -> WriteBatch {
    let mut records = world.grow(&genesis(), 1, 2);
    let first = Arc::make_mut(&mut records[0]);
    first.created = (0..make::TRADED).map(|n| pool(n, first.block)).collect();
    let batch = WriteBatch { head: Some(first.block), finalized_number: 1, records, ..world.batch() };
    world.write(&batch).await;
    batch
}

/// Some blocks create a pool that its branch does not have yet.
fn create(rng: &mut Rng, path: &[Arc<BlockRecord>], records: &mut [Arc<BlockRecord>]) {
    let mut known: Vec<_> = path.iter().flat_map(|r| &r.created).map(|m| m.id).collect();
    for record in records {
        let record = Arc::make_mut(record);
        let n = make::TRADED + u8::try_from(rng.below(u64::from(make::POOLS - make::TRADED))).unwrap();
        if !known.contains(&pool_id(n)) {
            known.push(pool_id(n));
            record.created = vec![pool(n, record.block)];
        }
    }
}
