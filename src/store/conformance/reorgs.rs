//! Branches: left, returned to, completed, purged.

use std::sync::Arc;

use alloy::primitives::{Address, B256, U256};

use super::{
    Database, World, all, hashes,
    make::{CHAIN, GENESIS, genesis, pool, pool_id},
    oracle::Oracle,
};
use crate::{
    domain::{
        block::BlockRef,
        event::EventKind,
        record::{BlockRecord, Enrichment, EventRow, PoolSnapshot},
    },
    store::history::{EnrichedBlock, PurgeOrphans, WriteBatch},
};

pub(crate) async fn a_reorg_flips_and_a_return_flips_back(database: Database) {
    let mut world = World::new(&database).await;
    let base = world.grow(&genesis(), 3, 4);
    world.extend(&base).await;
    let (a, b) = (world.grow(&base[2].block, 2, 4), world.grow(&base[2].block, 3, 4));
    world.extend(&a).await;
    let mut from = &a;
    for to in [&b, &a, &b] {
        let batch = WriteBatch { revert: hashes(from), records: to.clone(), head: to.last().map(|r| r.block), ..world.batch() };
        world.write(&batch).await;
        world.check().await;
        for kind in EventKind::ALL {
            world.oracle.check_query(&world.store, all(kind)).await;
        }
        from = to;
    }
    // Back to an ancestor; a block that was never stored has nothing to take back.
    let revert = [hashes(&b), vec![B256::repeat_byte(5)]].concat();
    let batch = WriteBatch { revert, head: Some(base[2].block), ..world.batch() };
    world.write(&batch).await;
    world.check().await;
    assert_eq!(world.store.boot(CHAIN).await.unwrap().head, Some(base[2].block));
}

pub(crate) async fn a_height_has_one_canonical_block(database: Database) {
    let mut world = World::new(&database).await;
    let base = world.grow(&genesis(), 2, 3);
    world.extend(&base).await;
    // The revert got lost: the newer word wins.
    let other = world.grow(&base[0].block, 1, 3);
    world.extend(&other).await;
    world.check().await;
    assert_eq!(world.store.block(CHAIN, base[1].block.hash).await.unwrap(), Some((base[1].block, false)));
    // A snapshot of the loser does not bring it back.
    let snapshot = PoolSnapshot {
        chain: CHAIN,
        pool: pool_id(0),
        block: base[1].block,
        image: world.rng.image(),
        market: world.rng.market(),
    };
    let batch = WriteBatch { snapshots: vec![snapshot], ..world.batch() };
    world.write(&batch).await;
    world.check().await;
}

/// Without everything that may come later.
fn strip(row: &mut EventRow) {
    (row.after, row.usd, row.gauge, row.enrichment) = (None, None, None, None);
}

pub(crate) async fn a_missing_state_is_filled_in_and_a_known_one_stays(database: Database) {
    let mut world = World::new(&database).await;
    let full = world.grow(&genesis(), 2, 6);
    let mut bare = full.clone();
    bare.iter_mut().flat_map(|r| &mut Arc::make_mut(r).rows).for_each(strip);
    world.extend(&bare).await;
    world.extend(&full).await;
    world.extend(&bare).await;
    world.check().await;
    assert_eq!(world.store.boot(CHAIN).await.unwrap().window.len(), 2);
    for (stored, full) in world.store.boot(CHAIN).await.unwrap().window.iter().zip(&full) {
        assert_eq!(stored, &**full);
    }
}

/// The second says more than the first: a pool was mended before its block was written.
pub(crate) async fn a_block_may_stand_twice_in_a_batch(database: Database) {
    let mut world = World::new(&database).await;
    for finalized_number in [0, 9] {
        let tip = world.oracle.boot().head.unwrap_or(genesis());
        let full = world.grow(&tip, 2, 5);
        let mut poor = full.clone();
        poor.iter_mut().flat_map(|r| &mut Arc::make_mut(r).rows).for_each(strip);
        let head = full.last().map(|r| r.block);
        let records = poor.into_iter().chain(full).collect();
        let batch = WriteBatch { records, head, finalized_number, ..world.batch() };
        world.write(&batch).await;
        world.check().await;
    }
}

pub(crate) async fn rows_of_a_block_may_come_later(database: Database) {
    let mut world = World::new(&database).await;
    let mut base = world.grow(&genesis(), 2, 3);
    world.extend(&base).await;
    let late = world.rng.rows(3, 100);
    let record = Arc::make_mut(&mut base[0]);
    // A range of logs does not say what the parent was; what is known of it stays.
    record.block.parent_hash = B256::ZERO;
    record.rows = late;
    let batch = WriteBatch { records: vec![base[0].clone()], ..world.batch() };
    world.store.write(batch).await.unwrap();
    let window = world.store.boot(CHAIN).await.unwrap().window;
    assert_eq!(window[0].rows.len(), 6);
    assert_eq!(window[0].block.parent_hash, GENESIS);
}

pub(crate) async fn what_lacks_its_enrichment_is_found_from_a_cursor_on_and_filled_in_once(database: Database) {
    let mut world = World::new(&database).await;
    // More blocks than one step looks at, some without rows, one with more rows than one answer has, and a branch that was left.
    let mut chain = world.grow(&genesis(), 150, 3);
    for (i, record) in chain.iter_mut().enumerate().filter(|(i, _)| i % 7 == 0) {
        let rows = if i == 70 { world.rng.rows(2_500, 0) } else { Vec::new() };
        Arc::make_mut(record).rows = rows;
    }
    world.extend(&chain).await;
    let fork = world.grow(&chain[140].block, 5, 3);
    let batch = WriteBatch { revert: hashes(&chain[141..]), records: fork, ..world.batch() };
    world.write(&batch).await;

    let plain = |oracle: &Oracle| -> Vec<(BlockRef, Vec<B256>)> {
        let of_block = |record: BlockRecord| {
            let lacking = record.rows.iter().filter(|row| row.enrichment.is_none());
            let mut hashes: Vec<B256> = lacking.map(|row| row.event.raw.tx_hash).collect();
            hashes.sort_unstable();
            hashes.dedup();
            (record.block, hashes)
        };
        oracle.canonical_blocks().into_iter().map(of_block).filter(|(_, hashes)| !hashes.is_empty()).collect()
    };
    let expected = plain(&world.oracle);
    assert!(expected.len() > 100, "{}", expected.len());
    for to in [60, 1_000] {
        let (mut found, mut next) = (Vec::new(), 0);
        while next <= to {
            let step = world.store.unenriched(CHAIN, next, to).await.unwrap();
            assert!(step.next_block > next && step.next_block <= to + 1, "{next} {}", step.next_block);
            found.extend(step.blocks);
            next = step.next_block;
        }
        let expected: Vec<_> = expected.iter().filter(|(block, _)| block.number <= to).cloned().collect();
        assert_eq!(found, expected);
    }
    for origin in [1, 2] {
        let enrichment =
            Enrichment { origin: Address::repeat_byte(origin), gas_used: u64::MAX, gas_price_wei: U256::from(origin) };
        let enriched = expected.iter().map(|(block, hashes)| EnrichedBlock {
            block: *block,
            transactions: hashes.iter().map(|hash| (*hash, enrichment)).collect(),
        });
        let batch = WriteBatch { enriched: enriched.collect(), ..world.batch() };
        world.write(&batch).await;
        world.check().await;
        assert_eq!(plain(&world.oracle), []);
        assert_eq!(world.store.unenriched(CHAIN, 0, 1_000).await.unwrap().blocks, []);
    }
}

pub(crate) async fn a_pool_may_be_created_on_both_branches(database: Database) {
    let mut world = World::new(&database).await;
    let base = world.grow(&genesis(), 1, 0);
    world.extend(&base).await;
    let mut branches = [1, 2].map(|_| world.grow(&base[0].block, 2, 4));
    for (branch, at) in branches.iter_mut().zip([0, 1]) {
        let record = Arc::make_mut(&mut branch[at]);
        record.created = vec![pool(0, record.block)];
    }
    let [a, b] = &branches;
    world.extend(a).await;
    for (from, to) in [(a, b), (b, a)] {
        let batch = WriteBatch { revert: hashes(from), records: to.clone(), ..world.batch() };
        world.write(&batch).await;
        world.check().await;
    }
    let batch = WriteBatch { revert: hashes(a), ..world.batch() };
    world.write(&batch).await;
    assert_eq!(world.store.boot(CHAIN).await.unwrap().pools, []);
    world.check().await;
}

pub(crate) async fn a_replay_starts_at_the_newest_canonical_snapshot(database: Database) {
    let mut world = World::new(&database).await;
    let mut base = world.grow(&genesis(), 4, 4);
    let record = Arc::make_mut(&mut base[0]);
    record.created = vec![pool(0, record.block), pool(1, record.block)];
    world.extend(&base).await;
    world.check().await;
    // Written again, the later one counts, with everything that it lacks.
    for (at, has_market) in [(1, true), (1, false), (3, true), (3, false), (3, true)] {
        let image = world.rng.image();
        let market = has_market.then(|| world.rng.market()).flatten();
        let snapshot = PoolSnapshot { chain: CHAIN, pool: pool_id(0), block: base[at].block, image, market };
        let batch = WriteBatch { snapshots: vec![snapshot], ..world.batch() };
        world.write(&batch).await;
        world.check().await;
        world.oracle.check_replay(&world.store).await;
    }
    let batch = WriteBatch { revert: hashes(&base[3..]), ..world.batch() };
    world.write(&batch).await;
    world.check().await;
    let replay = world.store.replay(CHAIN, vec![(*pool(0, base[0].block)).clone()]).await.unwrap();
    assert_eq!(replay[0].snapshot.as_ref().unwrap().block, base[1].block);
    // Those of one pool can be forgotten, and begin anew.
    let image = world.rng.image();
    let other = PoolSnapshot { chain: CHAIN, pool: pool_id(1), block: base[1].block, image: image.clone(), market: None };
    let batch = WriteBatch { snapshots: vec![other], ..world.batch() };
    world.write(&batch).await;
    let forget = WriteBatch { forget_snapshots: vec![pool_id(0), pool_id(4)], ..world.batch() };
    world.write(&forget).await;
    world.oracle.check_replay(&world.store).await;
    let anew = PoolSnapshot { chain: CHAIN, pool: pool_id(0), block: base[0].block, image, market: None };
    let batch = WriteBatch { forget_snapshots: vec![pool_id(0)], snapshots: vec![anew], ..world.batch() };
    world.write(&batch).await;
    world.oracle.check_replay(&world.store).await;
    let unknown = world.store.replay(CHAIN, vec![(*pool(4, base[0].block)).clone()]).await.unwrap();
    assert!(unknown[0].snapshot.is_none() && unknown[0].rows.is_empty());
}

/// More than one document of MongoDB takes (there the limit is set low in tests): the positions of the largest pools of a main network.
pub(crate) async fn a_pool_with_very_many_positions_comes_back(database: Database) {
    let mut world = World::new(&database).await;
    let base = world.grow(&genesis(), 4, 1);
    world.extend(&base).await;
    let image = loop {
        let image = world.rng.image();
        if image.fees.is_some() {
            break image;
        }
    };
    let mut large = image.clone();
    let fees = Arc::make_mut(large.fees.as_mut().unwrap());
    for n in 0..2_000_u64 {
        let token = world.rng.token();
        fees.tokens.insert_mut(U256::from(n) << 100, token);
    }
    // The larger one, a small one in its place, the larger one again, and others at later blocks: what is left of it says nothing.
    for (at, image) in [(0, &large), (0, &image), (1, &large), (2, &image), (3, &image)] {
        let market = world.rng.market();
        let snapshot = PoolSnapshot { chain: CHAIN, pool: pool_id(0), block: base[at].block, image: image.clone(), market };
        let batch = WriteBatch { snapshots: vec![snapshot], ..world.batch() };
        world.write(&batch).await;
        let replay = world.store.replay(CHAIN, vec![(*pool(0, base[0].block)).clone()]).await.unwrap();
        let found = replay[0].snapshot.as_ref().unwrap();
        assert_eq!(found.block, base[at].block);
        assert!(found.image == *image, "at {at}");
    }
}

pub(crate) async fn orphans_are_purged_by_height_and_age(database: Database) {
    let mut world = World::new(&database).await;
    let base = world.grow(&genesis(), 3, 3);
    let forks: Vec<_> = (0..3).map(|i| world.grow(&if i == 0 { genesis() } else { base[i - 1].block }, 1, 2)).collect();
    for fork in &forks {
        world.extend(fork).await;
        let batch = WriteBatch { revert: hashes(fork), ..world.batch() };
        world.write(&batch).await;
    }
    world.extend(&base).await;
    let count = |(all, canonical): (u64, u64)| all - canonical;
    let orphaned = count(world.store.log_counts(CHAIN).await.unwrap());
    let too_young = PurgeOrphans { final_number: 9, orphaned_before: 1_000 };
    let batch = WriteBatch { purge_orphans: Some(too_young), ..world.batch() };
    world.write(&batch).await;
    assert_eq!(count(world.store.log_counts(CHAIN).await.unwrap()), orphaned);
    let low_enough = PurgeOrphans { final_number: 2, orphaned_before: world.now + 1 };
    let batch = WriteBatch { purge_orphans: Some(low_enough), ..world.batch() };
    world.write(&batch).await;
    world.check().await;
    assert_eq!(world.store.block(CHAIN, forks[1][0].block.hash).await.unwrap(), None);
    assert_eq!(world.store.block(CHAIN, forks[2][0].block.hash).await.unwrap(), Some((forks[2][0].block, false)));
    // A purged block may be heard of again.
    let batch = WriteBatch { revert: hashes(&base[1..]), records: forks[1].clone(), ..world.batch() };
    world.write(&batch).await;
    world.check().await;
}
