//! What readers are told.

use std::{sync::Arc, time::Duration};

use alloy::primitives::{Address, B256};

use super::{
    Database, World, all, hashes,
    make::{self, CHAIN, genesis, pool, pool_id},
    rich,
};
use crate::{
    domain::{
        block::BlockRef,
        event::EventKind,
        market::{Candle, Chunk, Closed, End, Interval, Period, RawPrice, Side, Subject},
        pool::PoolId,
        record::{BlockRecord, ChunkOf},
    },
    store::{
        Commit, Live, PoolStatus, PoolView, Reader,
        history::{DataSource, History, SeriesRange, WriteBatch},
        query::{EventQuery, Fields, Moment, Narrow, Place},
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
pub(crate) async fn the_newest_block_at_a_height_or_time_is_found(database: Database) {
    let mut world = World::new(&database).await;
    let chain = world.grow(&genesis(), 40, 1);
    world.extend(&chain).await;
    // A branch that lost is not looked at.
    let lost = world.grow(&chain[19].block, 30, 1);
    world.extend(&lost).await;
    let (records, revert) = (chain[20..].to_vec(), hashes(&lost));
    let back = WriteBatch { revert, records, head: chain.last().map(|r| r.block), ..world.batch() };
    world.write(&back).await;
    // A block in which nothing was watched is not there.
    let blocks: Vec<BlockRef> = world.oracle.canonical_blocks().iter().map(|record| record.block).collect();
    for ask in blocks.iter().flat_map(|b| [b.number, b.number + 1]).chain([0, u64::MAX]) {
        let expected = blocks.iter().rfind(|b| b.number <= ask).copied();
        assert_eq!(world.store.block_at(CHAIN, Moment::Number(ask)).await.unwrap(), expected, "{ask}");
    }
    for ask in blocks.iter().flat_map(|b| [b.timestamp, b.timestamp + 1]).chain([0, u64::MAX]) {
        let expected = blocks.iter().rfind(|b| b.timestamp <= ask).copied();
        assert_eq!(world.store.block_at(CHAIN, Moment::Time(ask)).await.unwrap(), expected, "{ask}");
    }
}

pub(crate) async fn a_creation_is_found_by_the_tokens_of_its_pool(database: Database) {
    let (mut world, records, batch) = rich(&database).await;
    world.write(&batch).await;
    let mut more = world.grow(&records[5].block, 2, 0);
    let tx = world.rng.hash();
    for (record, variant) in more.iter_mut().zip([0, 5]) {
        let mut row = world.rng.row(pool_id(1), 3, tx);
        row.event.body = world.rng.body(variant);
        (row.sync_log_index, row.after, row.gauge) = (None, None, None);
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

/// Some hundreds of queries of every kind, those of transactions several times over.
fn queries(world: &mut World) -> Vec<EventQuery> {
    let known = world.oracle.all();
    let transactions: Vec<_> = known.iter().flat_map(|r| &r.rows).map(|row| row.event.raw.tx_hash).collect();
    let mut queries: Vec<EventQuery> = (0..400).map(|_| world.rng.query(&known)).collect();
    for (n, hash) in transactions.into_iter().enumerate() {
        let fields = if n.is_multiple_of(3) { Fields::default() } else { Fields::ALL };
        let of =
            EventQuery { narrow: Narrow::Transaction(hash), fields, newest_first: n.is_multiple_of(2), ..all(EventKind::Swap) };
        queries.push(EventQuery { limit: n % 4, ..of });
        queries.push(EventQuery { kind: EventKind::Mint, ..of });
    }
    queries
}

pub(crate) async fn many_pages_at_once_are_what_each_is_alone(database: Database) {
    let (mut world, records, batch) = rich(&database).await;
    world.write(&batch).await;
    let more = world.grow(&records[5].block, 30, 12);
    world.extend(&more).await;
    // What was taken back is in none of them.
    let revert = more[25..].iter().rev().map(|r| r.block.hash).collect();
    let batch = WriteBatch { revert, head: Some(more[24].block), ..world.batch() };
    world.write(&batch).await;
    let queries = queries(&mut world);
    let mut alone = Vec::new();
    for query in &queries {
        alone.push(world.store.events(*query).await.unwrap());
    }
    assert!(alone.iter().filter(|page| !page.is_empty()).count() > 300);
    for size in [0, 1, 2, 7, queries.len()] {
        let pages = world.store.pages(queries[..size].to_vec()).await.unwrap();
        assert_eq!(pages, alone[..size], "{size} at once");
    }
}

pub(crate) async fn a_transaction_with_a_thousand_events_is_told_apart_from_others(database: Database) {
    let mut world = World::new(&database).await;
    let mut base = world.grow(&genesis(), 2, 0);
    let (large, small) = (world.rng.hash(), world.rng.hash());
    let rows = (0..1_300).map(|n| {
        let mut row = world.rng.row(pool_id(0), 2 * n + 1, if n == 700 { small } else { large });
        row.event.body = world.rng.body(2);
        (row.sync_log_index, row.after, row.gauge) = (None, None, None);
        row
    });
    Arc::make_mut(&mut base[1]).rows = rows.collect();
    world.extend(&base).await;
    let of =
        |hash, limit, newest_first| EventQuery { narrow: Narrow::Transaction(hash), limit, newest_first, ..all(EventKind::Swap) };
    let queries = vec![of(large, 3, true), of(small, 5, false), of(large, 4, false), of(large, EventQuery::LIMIT_MAX, true)];
    for queries in [queries[..3].to_vec(), queries] {
        let expected: Vec<_> = queries.iter().map(|query| world.oracle.events(query)).collect();
        assert_eq!(world.store.pages(queries).await.unwrap(), expected);
    }
}

/// The window begins in the middle of what is stored.
pub(crate) async fn memory_and_store_answer_many_pages_as_they_answer_each(database: Database) {
    let (mut world, records, batch) = rich(&database).await;
    world.write(&batch).await;
    let more = world.grow(&records[5].block, 30, 12);
    world.extend(&more).await;
    let live = Arc::new(Live::new(CHAIN, "local", 2, Duration::from_secs(15)));
    let view = |n| {
        let meta = pool(n, records[0].block);
        let (image, updated) = (world.rng.image(), records[0].block);
        (
            meta.id,
            Some(Arc::new(PoolView { meta, image, market: Arc::default(), status: PoolStatus::Live, held_at: None, updated })),
        )
    };
    let window = more[15..].to_vec();
    let (head, floor) = (more[29].block, more[15].block.number);
    let views = (0..make::POOLS).map(view).collect();
    live.restore(Commit { extended: window, head: Some(head), views, ..Commit::default() }, head.number, floor);
    let pin = live.pin();
    let reader = Reader::new([live], world.store.clone());
    let mut queries = queries(&mut world);
    // Places around the window's floor.
    for (block_number, log_index) in (floor - 2..floor + 2).flat_map(|n| [0, 1, 9, 15, u64::MAX].map(|log| (n, log))) {
        let place = Some(Place { block_number, log_index });
        for newest_first in [true, false] {
            let beside = EventQuery { newest_first, ..all(EventKind::Swap) };
            queries.extend([EventQuery { after: place, ..beside }, EventQuery { before: place, ..beside }]);
        }
    }
    let asked: Vec<_> = queries.iter().map(|query| (&pin, *query)).collect();
    let mut sources = (0, 0);
    for (found, query) in reader.pages(&asked).await.into_iter().zip(&queries) {
        let (found, alone) = (found.unwrap(), reader.events(&pin, *query).await.unwrap());
        assert_eq!((&found.events, found.source), (&alone.events, alone.source), "{query:?}");
        if query.fields == Fields::ALL {
            assert_eq!(found.events, world.oracle.events(query), "{query:?}");
        }
        *(if found.source == DataSource::Memory { &mut sources.0 } else { &mut sources.1 }) += 1;
    }
    assert!(sources.0 > 50 && sources.1 > 50, "of both: {sources:?}");
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

fn of_pool(n: u8) -> Subject {
    Subject::Pool(pool_id(n))
}

fn candles_of(chunk: &Chunk) -> Vec<Candle> {
    match &chunk.closed {
        Closed::Candles(candles) => candles.clone(),
        Closed::Periods(_) => Vec::new(),
    }
}

/// Whole chunks of candles, `step` seconds apart.
fn chunk(rng: &mut make::Rng, interval: Interval, first: u64, step: u64) -> Chunk {
    let candle = |i: u64| {
        let price = RawPrice::Root(rng.uint(160));
        let side = Side { volume0: rng.uint(100), trades: 3, usd: 5, unvalued: 1, traders: 2, ..Side::default() };
        Candle { high: RawPrice::Root(rng.uint(160)), buys: side, ..Candle::empty(first + i * step, price) }
    };
    Chunk { interval, closed: Closed::Candles((0..10).map(candle).collect()) }
}

pub(crate) async fn candles_are_written_once_and_read_by_range(database: Database) {
    let mut world = World::new(&database).await;
    let mut chunks = Vec::new();
    for (pool, interval) in [(0, Interval::M1), (0, Interval::H1), (1, Interval::M1)] {
        for n in 0..5 {
            let chunk = chunk(&mut world.rng, interval, 1_000_000_020 + n * 10 * 180, 180);
            chunks.push(ChunkOf { of: of_pool(pool), chunk: chunk.into() });
        }
    }
    let records = world.grow(&genesis(), 1, 1);
    world.extend(&records).await;
    // The second time, and with other contents: what is there is final.
    for again in [false, true] {
        let mut candles = chunks.clone();
        if again {
            candles.iter_mut().for_each(|c| {
                let closed = Closed::Candles(candles_of(&c.chunk)[..3].to_vec());
                c.chunk = Chunk { closed, ..c.chunk.as_ref().clone() }.into();
            });
        }
        let batch = WriteBatch { candles, ..world.batch() };
        world.store.write(batch).await.unwrap();
    }
    let of = |pool: u8, interval: Interval| -> Vec<Candle> {
        let mine = chunks.iter().filter(|c| c.of == of_pool(pool) && c.chunk.interval == interval);
        mine.flat_map(|c| candles_of(&c.chunk)).collect()
    };
    for (pool, interval) in [(0, Interval::M1), (0, Interval::H1), (1, Interval::M1), (1, Interval::D1), (2, Interval::M1)] {
        let all = of(pool, interval);
        for (from, to) in [
            (0, u64::MAX),
            (1_000_000_020, 1_000_000_200),
            (1_000_003_000, 1_000_005_000),
            (1_000_005_000, 1_000_005_001),
            (0, 5),
            (2_000_000_000, 2_000_000_001),
        ] {
            let before = all.iter().rfind(|c| c.start < from && c.start < to);
            let expected: Vec<Candle> =
                before.into_iter().chain(all.iter().filter(|c| (from..to).contains(&c.start))).copied().collect();
            let range = SeriesRange { chain: CHAIN, of: of_pool(pool), interval, from, to, newest: usize::MAX };
            assert_eq!(world.store.candles(range).await.unwrap(), expected, "{pool} {interval:?} {from}..{to}");
        }
    }
}

pub(crate) async fn candles_go_when_their_retention_is_over(database: Database) {
    let mut world = World::new(&database).await;
    let records = world.grow(&genesis(), 1, 1);
    world.extend(&records).await;
    let day = 86_400;
    for n in 0..12 {
        let write = |rng: &mut make::Rng, interval| ChunkOf {
            of: of_pool(0),
            chunk: chunk(rng, interval, 1_000_000_020 + n * 10 * day, day).into(),
        };
        let candles = vec![write(&mut world.rng, Interval::M1), write(&mut world.rng, Interval::D1)];
        let batch = WriteBatch { candles, ..world.batch() };
        world.store.write(batch).await.unwrap();
    }
    for (interval, left) in [(Interval::M1, 100), (Interval::D1, 120)] {
        let range = SeriesRange { chain: CHAIN, of: of_pool(0), interval, from: 0, to: u64::MAX, newest: usize::MAX };
        assert_eq!(world.store.candles(range).await.unwrap().len(), left, "{interval:?}");
    }
}

pub(crate) async fn a_forgotten_book_takes_its_chunks_along_and_no_others(database: Database) {
    let mut world = World::new(&database).await;
    let records = world.grow(&genesis(), 1, 1);
    world.extend(&records).await;
    let address = Address::repeat_byte(7);
    // A token, a factory and a pool of one address; and a pool whose id has other bytes.
    let all =
        [Subject::Token(address), Subject::Factory(address), of_pool(0), Subject::Pool(PoolId::Id(B256::repeat_byte(b't')))];
    let first = 1_700_000_400;
    let period = |n: u64| Period {
        start: first + 3_600 * n,
        events: 3,
        swaps: 2,
        usd: 1 << 70,
        unvalued: 1,
        fees: 1 << 90,
        end: End::Factory { locked: u128::from(n) },
    };
    let periods: Vec<Period> = (0..10).map(period).collect();
    for of in all {
        let candles = chunk(&mut world.rng, Interval::H1, first, 3_600);
        let closed = Closed::Periods(periods.clone());
        let chunks = [candles, Chunk { interval: Interval::H1, closed }];
        let batch = WriteBatch { candles: chunks.map(|chunk| ChunkOf { of, chunk: chunk.into() }).to_vec(), ..world.batch() };
        world.store.write(batch).await.unwrap();
    }
    let counts = async |of: Subject| {
        let range = SeriesRange { chain: CHAIN, of, interval: Interval::H1, from: 0, to: u64::MAX, newest: usize::MAX };
        let found = world.store.periods(range).await.unwrap();
        assert!(found.is_empty() || found == periods, "{of:?}");
        (world.store.candles(range).await.unwrap().len(), found.len())
    };
    for of in all {
        assert_eq!(counts(of).await, (10, 10), "{of:?}");
    }
    let book = Some(world.rng.book(records[0].block));
    let batch = WriteBatch { book, ..world.batch() };
    world.store.write(batch).await.unwrap();
    let batch = WriteBatch { forget_book: true, ..world.batch() };
    world.store.write(batch).await.unwrap();
    let counts = async |of: Subject| {
        let range = SeriesRange { chain: CHAIN, of, interval: Interval::H1, from: 0, to: u64::MAX, newest: usize::MAX };
        (world.store.candles(range).await.unwrap().len(), world.store.periods(range).await.unwrap().len())
    };
    for (of, left) in all.into_iter().zip([(0, 0), (0, 0), (10, 10), (10, 10)]) {
        assert_eq!(counts(of).await, left, "{of:?}");
    }
    assert_eq!(world.store.book(CHAIN).await.unwrap(), None);
}
