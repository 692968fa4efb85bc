//! Epochs under many readers.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use alloy::primitives::{Address, B256};

use tokio::sync::broadcast::error::TryRecvError;

use super::{Commit, Live, PoolStatus, PoolView, topics::Topic};
use crate::domain::{
    block::BlockRef,
    image::{Held, PoolImage},
    pool::{CreatedAt, PoolId, PoolMeta, PoolState, Protocol, V2State},
    reconcile::ChainUpdate,
    record::BlockRecord,
};

const POOLS: u8 = 40;

fn block(number: u64) -> BlockRef {
    BlockRef { number, hash: B256::from(alloy::primitives::U256::from(number)), parent_hash: B256::ZERO, timestamp: number }
}

fn view(index: u8, number: u64) -> Arc<PoolView> {
    let id = PoolId::Address(Address::repeat_byte(index));
    let created = CreatedAt { block: block(0), tx_hash: Some(B256::ZERO), log_index: 0 };
    let (token0, token1) = (Address::ZERO, Address::ZERO);
    let meta = PoolMeta {
        chain: 1,
        id,
        protocol: Protocol::UniswapV2,
        dex: String::new(),
        factory: Address::ZERO,
        token0,
        token1,
        fee_pips: 0,
        tick_spacing: None,
        created,
        hooks: None,
        origin: None,
    };
    let updated = block(number);
    let state = PoolState::V2(V2State { reserve0: u128::from(number), reserve1: u128::from(index) });
    let image = PoolImage::seeded(state, Held::default(), None, &BlockRef { timestamp: 0, ..updated });
    Arc::new(PoolView { meta: Arc::new(meta), image, market: Arc::default(), status: PoolStatus::Live, held_at: None, updated })
}

fn commit(number: u64, touched: impl Iterator<Item = u8>) -> Commit {
    let views = touched.map(|i| (PoolId::Address(Address::repeat_byte(i)), Some(view(i, number)))).collect();
    Commit { views, head: Some(block(number)), finalized_number: number, ..Commit::default() }
}

/// Every pool holds the number of the block that last touched it: all of them in even blocks, the lower half in odd ones.
#[test]
fn many_readers_and_a_writer_never_see_two_blocks_mixed() {
    let live = Arc::new(Live::new(1, "test", 2, Duration::from_secs(15)));
    live.commit(commit(0, 0..POOLS));
    let stop = AtomicBool::new(false);
    let reads: u64 = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let mut reads = 0u64;
                    while !stop.load(Ordering::Acquire) {
                        let pin = live.pin();
                        let number = pin.head().block.unwrap().number;
                        // Twice, with the writer at work between: the pin holds still.
                        for _ in 0..2 {
                            for i in 0..POOLS {
                                let seen = pin.pool(&PoolId::Address(Address::repeat_byte(i))).unwrap().updated.number;
                                let expected = if i < POOLS / 2 { number } else { number - number % 2 };
                                assert_eq!(seen, expected, "pool {i} at block {number}");
                            }
                            assert_eq!(pin.pools().len(), usize::from(POOLS));
                        }
                        reads += 1;
                    }
                    reads
                })
            })
            .collect();
        for number in 1..400u64 {
            live.commit(commit(number, if number % 2 == 0 { 0..POOLS } else { 0..POOLS / 2 }));
        }
        stop.store(true, Ordering::Release);
        readers.into_iter().map(|r| r.join().unwrap()).sum()
    });
    assert!(reads > 10, "the readers read: {reads}");
}

#[test]
fn a_pin_keeps_its_versions_and_lets_them_go() {
    let live = Arc::new(Live::new(1, "test", 2, Duration::from_secs(15)));
    live.commit(commit(1, 0..1));
    let id = PoolId::Address(Address::repeat_byte(0));
    let pin = live.pin();
    for number in 2..100 {
        live.commit(commit(number, 0..1));
    }
    assert_eq!(pin.pool(&id).unwrap().updated.number, 1);
    assert_eq!(live.newest(&id).unwrap().updated.number, 99);
    assert!(live.versions_of(&id) > 90, "kept for the pin");
    drop(pin);
    live.commit(commit(100, 0..1));
    assert!(live.versions_of(&id) <= 2, "and not longer: {}", live.versions_of(&id));
}

/// The first catch-up has no frames. Whoever came in its middle gets the state of his pool when it is over, and is told that blocks and swaps
/// came without a word: he begins anew, and misses nothing in silence.
#[test]
fn who_subscribes_during_the_first_catch_up_is_told_that_he_missed_something() {
    let waits = |live: &Live| {
        let pool = PoolId::Address(Address::repeat_byte(0));
        [Topic::Blocks, Topic::Swaps, Topic::PoolSwaps(pool), Topic::Pool(pool)].map(|topic| live.topics.subscribe(topic))
    };
    let step = |number: u64, quiet: bool| {
        let update = ChainUpdate { extend: vec![block(number)], ..ChainUpdate::default() };
        Commit { update, quiet, at_head: !quiet, ..commit(number, 0..1) }
    };
    let live = Live::new(1, "test", 2, Duration::from_secs(15));
    live.commit(step(1, true));
    let [mut blocks, mut swaps, mut of_pool, mut pool] = waits(&live);
    live.commit(step(2, true));
    live.commit(step(3, false));
    for (name, topic) in [("blocks", &mut blocks), ("swaps", &mut swaps), ("its swaps", &mut of_pool)] {
        assert_eq!(topic.try_recv().unwrap_err(), TryRecvError::Closed, "{name}");
    }
    assert_eq!(pool.try_recv().unwrap().block.number, 3);
    // From then on, and where nothing was left out, they get every block.
    let [mut blocks, ..] = waits(&live);
    live.commit(step(4, false));
    assert_eq!(blocks.try_recv().unwrap().block.number, 4);
    let live = Live::new(1, "test", 2, Duration::from_secs(15));
    live.restore(commit(1, 0..1), 1, 2);
    let [mut blocks, ..] = waits(&live);
    live.commit(step(2, false));
    assert_eq!(blocks.try_recv().unwrap().block.number, 2);
}

#[test]
fn a_pool_whose_creation_was_taken_back_is_gone_and_was_not_before() {
    let live = Arc::new(Live::new(1, "test", 2, Duration::from_secs(15)));
    live.commit(commit(1, 0..2));
    let before = live.pin();
    let id = PoolId::Address(Address::repeat_byte(1));
    live.commit(Commit { views: vec![(id, None)], head: Some(block(0)), ..Commit::default() });
    assert!(before.pool(&id).is_some());
    assert!(live.pin().pool(&id).is_none());
    assert_eq!(live.pin().pools().len(), 1);
}

/// The store is slow and the journal full: the block that it reports in the end is no longer in memory, and was replaced.
#[test]
fn a_late_write_of_a_replaced_block_makes_nothing_durable_once_memory_let_go_of_that_height() {
    let on = |number: u64, branch: u8| BlockRef { hash: B256::with_last_byte(branch ^ number as u8), ..block(number) };
    let record = |block: BlockRef| Arc::new(BlockRecord::new(1, block, Vec::new()));
    let extend = |block: BlockRef, finalized_number: u64| Commit {
        update: ChainUpdate { extend: vec![block], ..ChainUpdate::default() },
        extended: vec![record(block)],
        head: Some(block),
        finalized_number,
        ..Commit::default()
    };
    let live = Live::new(1, "test", 2, Duration::from_secs(15));
    for number in 1..=3 {
        live.commit(extend(on(number, 0xa0), 0));
    }
    let durable = || *live.watch_durable().borrow();
    let planned = live.head().reverts;
    live.set_durable(2, on(2, 0xa0).hash, planned);
    assert_eq!(durable(), 2);

    let old = on(3, 0xa0);
    let update = ChainUpdate { revert: vec![old], extend: vec![on(3, 0xb0)], ..ChainUpdate::default() };
    live.commit(Commit { update, reverted: vec![record(old)], ..extend(on(3, 0xb0), 0) });
    for number in 4..=9 {
        live.commit(extend(on(number, 0xb0), number - 2));
    }
    // What the journal's bound does: everything final goes, stored or not.
    let forgotten = Commit { window_rows_max: 1, ..extend(on(10, 0xb0), 8) };
    live.commit(forgotten);
    live.set_durable(3, old.hash, planned);
    assert_eq!(durable(), 2, "3 is stored of the other branch only");
    live.set_durable(3, on(3, 0xb0).hash, live.head().reverts);
    assert_eq!(durable(), 3);
}

/// An event of a source that joined: only the window has it until the next write is through.
#[test]
fn a_block_that_gained_rows_stays_in_the_window_until_they_are_stored_and_a_hold_keeps_the_window_as_deep_as_it_is() {
    let live = Arc::new(Live::new(1, "test", 2, Duration::from_secs(15)));
    let record = |number: u64| Arc::new(BlockRecord::new(1, block(number), Vec::new()));
    let extend = |number: u64| Commit {
        update: ChainUpdate { extend: vec![block(number)], ..ChainUpdate::default() },
        extended: vec![record(number)],
        head: Some(block(number)),
        finalized_number: number,
        ..Commit::default()
    };
    let next = |number: u64| {
        live.set_durable(number - 1, block(number - 1).hash, 0);
        live.commit(extend(number));
        live.head().window_floor
    };
    live.commit(extend(1));
    assert_eq!((next(2), next(3)), (2, 3), "what is final and stored goes");

    // Block 3 is final and stored, and gains a row in the commit that would let go of it.
    live.set_durable(3, block(3).hash, 0);
    live.commit(Commit { amended: vec![record(3)], ..extend(4) });
    assert_eq!((live.head().window_floor, live.unwritten()), (3, Some(3)), "waiting");
    let side = live.take_side();
    assert_eq!((next(5), live.unwritten()), (3, Some(3)), "being written");
    live.return_side(side);
    live.wrote_side();
    assert_eq!((next(6), live.unwritten()), (3, Some(3)), "given back");
    // Whoever took it dies.
    drop(live.take_side());
    live.reclaim_side();
    let again = live.take_side();
    assert_eq!(again.amended.values().map(|record| record.block.number).collect::<Vec<_>>(), [3], "waiting again");
    live.wrote_side();
    live.reclaim_side();
    assert!(live.take_side().is_empty(), "once");
    live.wrote_side();
    assert_eq!((next(7), live.unwritten()), (7, None), "stored");

    let (first, second) = (live.hold_window(), live.hold_window());
    assert_eq!(first.floor, 7);
    assert_eq!(next(8), 7);
    drop(first);
    assert_eq!(next(9), 7, "the other one holds it still");
    drop(second);
    assert_eq!(next(10), 10);
}
