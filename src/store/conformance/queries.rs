//! What readers are told.

use std::sync::Arc;

use alloy::primitives::Address;

use super::{
    Database, World, all,
    make::{self, CHAIN, genesis, pool_id},
    rich,
};
use crate::{
    domain::{event::EventKind, record::BlockRecord},
    store::{
        history::History,
        query::{EventQuery, Narrow, Place},
    },
};

pub(crate) async fn a_time_range_includes_its_start_and_not_its_end(database: Database) {
    let mut world = World::new(&database).await;
    let mut base = world.grow(&genesis(), 4, 6);
    for (record, time) in base.iter_mut().zip([100, 200, 200, 300]) {
        Arc::make_mut(record).block.timestamp = time;
    }
    world.extend(&base).await;
    let swaps = |records: &[Arc<BlockRecord>]| {
        records.iter().flat_map(|r| &r.rows).filter(|r| r.kind() == EventKind::Swap).count() as u64
    };
    for (from, to, blocks) in
        [(200, 300, 1..3), (0, 100, 0..0), (100, 101, 0..1), (201, 400, 3..4), (301, 999, 0..0), (300, 200, 0..0)]
    {
        let query = EventQuery { time_from: Some(from), time_to: Some(to), ..all(EventKind::Swap) };
        assert_eq!(world.store.count(query, 999).await.unwrap(), swaps(&base[blocks]), "{from}..{to}");
        world.oracle.check_query(&world.store, query).await;
    }
}

/// A creation says its tokens, too; what counts is the pool that it made.
pub(crate) async fn a_creation_is_found_by_the_tokens_of_its_pool(database: Database) {
    let (mut world, records, batch) = rich(&database).await;
    world.write(&batch).await;
    let mut more = world.grow(&records[5].block, 2, 0);
    let tx = world.rng.hash();
    for (record, variant) in more.iter_mut().zip([0, 5]) {
        let mut row = world.rng.row(pool_id(1), 3, tx);
        row.event.body = world.rng.body(variant);
        (row.sync_log_index, row.after) = (None, None);
        Arc::make_mut(record).rows = vec![row];
    }
    world.extend(&more).await;
    let query = EventQuery { narrow: Narrow::Token(make::token(1)), ..all(EventKind::PoolCreated) };
    assert!(world.oracle.events(&query).len() >= 2);
    world.oracle.check_query(&world.store, query).await;
}

pub(crate) async fn pages_join_without_gap_or_double(database: Database) {
    let (mut world, records, batch) = rich(&database).await;
    world.write(&batch).await;
    let more = world.grow(&records[5].block, 30, 12);
    world.extend(&more).await;
    for narrow in [Narrow::All, Narrow::Pool(pool_id(1)), Narrow::Token(make::token(1)), Narrow::Origin(Address::ZERO)] {
        for newest_first in [true, false] {
            let whole = EventQuery { narrow, newest_first, ..all(EventKind::Swap) };
            let expected = world.store.events(whole).await.unwrap();
            assert_eq!(expected, world.oracle.events(&whole));
            assert!(expected.len() > 2, "{narrow:?}");
            let (mut pages, mut query) = (Vec::new(), EventQuery { limit: 2, ..whole });
            loop {
                let page = world.store.events(query).await.unwrap();
                let Some(last) = page.last() else { break };
                let place = Place { block_number: last.block.number, log_index: last.row.log_index() };
                *(if newest_first { &mut query.before } else { &mut query.after }) = Some(place);
                pages.extend(page);
            }
            assert_eq!(pages, expected);
        }
    }
}

pub(crate) async fn readers_see_whole_batches(database: Database) {
    const BLOCKS: usize = 60;
    const ROWS: u64 = 8;
    let mut world = World::new(&database).await;
    let blocks = world.grow(&genesis(), BLOCKS, ROWS);
    let logs: Vec<u64> = blocks.iter().map(|r| r.rows.iter().map(|row| row.log_count() as u64).sum()).collect();
    let whole = |n: usize| logs.iter().take(n).sum::<u64>();
    let reader = |store: Arc<dyn History>| async move {
        let mut last = 0;
        while last < BLOCKS {
            let boot = store.boot(CHAIN).await.unwrap();
            assert!(boot.window.len() >= last, "never backwards");
            assert_eq!(boot.head, boot.window.last().map(|r| r.block), "head and rows are of one moment");
            assert!(boot.window.iter().all(|r| r.rows.len() == usize::try_from(ROWS).unwrap()), "no half block");
            last = boot.window.len();
        }
    };
    let readers: Vec<_> = (0..4).map(|_| tokio::spawn(reader(world.store.clone()))).collect();
    for (at, block) in blocks.iter().enumerate() {
        world.extend(std::slice::from_ref(block)).await;
        assert_eq!(world.store.log_counts(CHAIN).await.unwrap().1, whole(at + 1), "a write is seen by the next read");
    }
    for reader in readers {
        reader.await.unwrap();
    }
}
