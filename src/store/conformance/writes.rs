//! What a batch does, and what it must not do.

use alloy::primitives::B256;

use super::{
    Database, World, all, hashes,
    make::{CHAIN, GENESIS, genesis, pool_id},
    oracle::{check_boot, kept},
    rich,
};
use crate::{
    domain::{event::EventKind, record::BlockRecord},
    store::history::{StoreError, WriteBatch},
};

pub(crate) async fn a_database_belongs_to_one_chain_and_genesis(database: Database) {
    let store = (database.open)().await;
    store.claim(CHAIN, GENESIS).await.unwrap();
    store.claim(CHAIN, GENESIS).await.unwrap();
    for (chain, genesis) in [(CHAIN, B256::repeat_byte(9)), (1, GENESIS)] {
        let refused = (database.open)().await.claim(chain, genesis).await.unwrap_err();
        assert!(matches!(&refused, StoreError::Foreign(text) if text.contains("31337") && !text.contains('\n')), "{refused}");
    }
    (database.open)().await.claim(CHAIN, GENESIS).await.unwrap();
}

pub(crate) async fn nothing_is_there_before_the_first_write(database: Database) {
    let world = World::new(&database).await;
    world.check().await;
    assert_eq!(world.store.events(all(EventKind::Swap)).await.unwrap(), []);
    assert_eq!(world.store.count(all(EventKind::Mint), 10).await.unwrap(), 0);
}

pub(crate) async fn an_older_fence_is_refused_and_writes_nothing(database: Database) {
    let mut old = World::new(&database).await;
    let records = old.grow(&genesis(), 2, 3);
    old.extend(&records).await;
    let newer = World::new(&database).await;
    assert!(newer.fence > old.fence);
    let more = old.grow(&records[1].block, 1, 3);
    let batch =
        WriteBatch { records: more, revert: vec![records[0].block.hash], sources: vec![("x".to_owned(), 1)], ..old.batch() };
    // Also where all of it is final, as in a backfill.
    let last = records[1].block.number + 1;
    let settled =
        WriteBatch { head: batch.records.last().map(|r| r.block), finalized_number: last, revert: Vec::new(), ..batch.clone() };
    for batch in [batch, settled] {
        let refused = old.store.write(batch).await.unwrap_err();
        assert!(matches!(refused, StoreError::Fenced { ours, held } if ours == old.fence && held == newer.fence), "{refused}");
        old.check().await;
    }
}

pub(crate) async fn everything_that_was_written_comes_back(database: Database) {
    let (world, records, batch) = rich(&database).await;
    world.store.write(batch.clone()).await.unwrap();
    drop(world);
    let world = World::new(&database).await;
    let boot = world.store.boot(CHAIN).await.unwrap();
    assert_eq!(boot.head, batch.head);
    assert_eq!(boot.finalized_number, 3);
    let ids: Vec<_> = boot.pools.iter().map(|p| p.id).collect();
    assert_eq!(ids, [5, 8, 4, 0, 1, 2, 3].map(pool_id), "in order of creation");
    let created: Vec<_> = records.iter().flat_map(|r| &r.created).collect();
    assert!(boot.pools.iter().all(|p| created.iter().any(|c| ***c == *p)), "whole");
    assert_eq!(boot.tokens.len(), 2);
    assert!(batch.tokens.iter().all(|t| boot.tokens.contains(t)));
    assert_eq!(boot.sources, [("sushi".to_owned(), 2), ("uniswap".to_owned(), 7)]);
    let mut window: Vec<BlockRecord> = records[2..].iter().map(|r| (**r).clone()).collect();
    window[3].created.clear(); // belongs to the block that created it
    assert_eq!(boot.window, window);
    let replays = world.store.replay(CHAIN, boot.pools).await.unwrap();
    assert_eq!(replays[3].snapshot, batch.snapshots.first().cloned().map(kept));
    assert!(replays[3].rows.iter().all(|e| e.block.number > 3));
}

pub(crate) async fn the_same_batch_twice_changes_nothing(database: Database) {
    let (mut world, records, batch) = rich(&database).await;
    world.store.write(batch.clone()).await.unwrap();
    let before = world.store.boot(CHAIN).await.unwrap();
    let fork = world.grow(&records[3].block, 2, 4);
    let reorg = WriteBatch { revert: hashes(&records[4..]), records: fork, finalized_number: 1, ..world.batch() };
    for batch in [&batch, &batch, &reorg, &reorg] {
        world.store.write(batch.clone()).await.unwrap();
    }
    let between = world.store.boot(CHAIN).await.unwrap();
    assert_eq!(between.finalized_number, 3, "final stays final");
    assert_ne!(between.window, before.window);
    for _ in 0..2 {
        let back = WriteBatch { revert: hashes(&reorg.records), ..batch.clone() };
        world.store.write(back).await.unwrap();
        check_boot(&world.store.boot(CHAIN).await.unwrap(), &before);
    }
}
