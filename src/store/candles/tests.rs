use std::{sync::Arc, time::Duration};

use alloy::primitives::{Address, B256, I256, U256};

use super::*;
use crate::{
    domain::{
        block::BlockRef,
        dollars::Usd,
        image::PoolImage,
        market::{Market, Subject},
        pool::{CreatedAt, PoolMeta, Protocol},
        record::ChunkOf,
    },
    store::{Commit, History, Live, PoolStatus, PoolView, history::WriteBatch, sqlite::SqliteHistory},
};

#[test]
fn a_stretch_begins_and_ends_with_candles_and_not_in_the_future() {
    let query = |from, to, count| CandleQuery {
        of: Subject::Pool(PoolId::Address(Address::ZERO)),
        interval: Interval::M1,
        from,
        to,
        count,
        fill: false,
    };
    let now = 6_030;
    for (from, to, count, expected) in [
        (None, None, 3, Some((5_880, 6_060))),
        (None, Some(6_000), 2, Some((5_880, 6_000))),
        (None, Some(6_001), 2, Some((5_940, 6_060))),
        (Some(5_950), None, 500, Some((5_940, 6_060))),
        (Some(60), None, 2, Some((60, 180))),
        (Some(60), Some(90), 500, Some((60, 120))),
        (None, None, 500, Some((0, 6_060))),
        (Some(6_060), None, 5, None),
        (Some(u64::MAX), None, 5, None),
        (Some(500), Some(400), 5, None),
        (Some(0), Some(0), 5, None),
        (None, Some(u64::MAX), 1, Some((6_000, 6_060))),
    ] {
        assert_eq!(stretch(&query(from, to, count), now), expected, "{from:?} {to:?} {count}");
    }
}

const POOL: PoolId = PoolId::Address(Address::repeat_byte(7));

/// Gaps of all sizes; for weeks.
fn trades() -> Vec<Trade> {
    let mut timestamp = 1_700_000_000;
    let trade = |i: u64| {
        timestamp += [1, 3, 60, 61, 20, 700, 59, 120][usize::try_from(i % 8).unwrap()] * (1 + i % 3);
        let amount = I256::try_from(1 + i).unwrap();
        let (amount0, amount1) = if i.is_multiple_of(3) { (-amount, amount) } else { (amount, -amount) };
        let price = RawPrice::Root(U256::from(1_000 + i * 7_919 % 400));
        let trader = Address::with_last_byte(u8::try_from(i % 50).unwrap());
        Trade { timestamp, price, amount0, amount1, usd: Some(Usd(i)), trader }
    };
    (0..6_000).map(trade).collect()
}

/// A store with the chunks, and a pool whose market let go of them.
async fn traded(folder: &std::path::Path) -> (Arc<Live>, Reader, Vec<Trade>) {
    let trades = trades();
    let history: Arc<dyn History> = Arc::new(SqliteHistory::open(&folder.join("a.db")).unwrap());
    history.claim(1, B256::ZERO).await.unwrap();
    let fence = history.take_fence("test").await.unwrap();
    let mut market = Market::default();
    trades.iter().for_each(|trade| market.trade(trade));
    let chunks = market.chunks(|_| None);
    for chunk in &chunks {
        market.forget_stored(chunk.track(), chunk.span().unwrap().1);
    }
    let candles = chunks.into_iter().map(|chunk| ChunkOf { of: Subject::Pool(POOL), chunk: chunk.into() }).collect();
    history.write(WriteBatch { chain: 1, fence, candles, ..WriteBatch::default() }).await.unwrap();
    let timestamp = trades.last().unwrap().timestamp + 100;
    let block = BlockRef { number: 9, hash: B256::repeat_byte(9), parent_hash: B256::ZERO, timestamp };
    let meta = PoolMeta {
        chain: 1,
        id: POOL,
        protocol: Protocol::UniswapV3,
        dex: String::new(),
        factory: Address::ZERO,
        token0: Address::ZERO,
        token1: Address::repeat_byte(1),
        fee_pips: 3_000,
        tick_spacing: Some(60),
        created: CreatedAt { block, tx_hash: None, log_index: 0 },
        hooks: None,
        origin: None,
    };
    let view = PoolView {
        image: PoolImage::new(&meta),
        meta: Arc::new(meta),
        market: Arc::new(market),
        status: PoolStatus::Live,
        held_at: None,
        updated: block,
    };
    let live = Arc::new(Live::new(1, "test", 2, Duration::from_secs(15)));
    live.commit(Commit { views: vec![(POOL, Some(Arc::new(view)))], head: Some(block), ..Commit::default() });
    (live.clone(), Reader::new([live], history), trades)
}

/// Whatever stretch is asked for, memory and store together are what the swaps say: no seam, with empty candles and without.
#[tokio::test]
async fn memory_and_chunks_join_without_a_seam() {
    let folder = tempfile::tempdir().unwrap();
    let (live, reader, trades) = traded(folder.path()).await;
    let pin = live.pin();
    let (first, last) = (trades[0].timestamp, trades.last().unwrap().timestamp);
    let (mut from_memory, mut from_store) = (0, 0);
    for interval in Interval::STORED {
        let known_from = pin.pool(&POOL).unwrap().market.known_from(interval);
        let naive = fold(&trades, interval, None);
        let step = (last - first) / 37;
        let starts =
            (0..40).map(|n| first - 2 * step + n * step).chain([known_from, known_from.saturating_sub(interval.seconds())]);
        for from in starts {
            for (count, fill) in [(1, false), (7, true), (300, false), (300, true)] {
                let query = CandleQuery { of: Subject::Pool(POOL), interval, from: Some(from), to: None, count, fill };
                let found = reader.candles(&pin, query).await.unwrap();
                let start = interval.start_of(from);
                let now = interval.end_of(interval.start_of(last + 100));
                let end = start.saturating_add(count * interval.seconds()).min(now);
                let within: Vec<Candle> = naive.iter().filter(|c| (start..end).contains(&c.start)).copied().collect();
                let before = naive.iter().rfind(|c| c.start < start).map(|c| c.close);
                let expected = if fill { filled(&within, interval, start, end.max(start), before) } else { within };
                assert_eq!(found.candles, expected, "{interval:?} from {from}, {count}, {fill}; known from {known_from}");
                match found.source {
                    DataSource::Memory => from_memory += 1,
                    _ => from_store += 1,
                }
            }
        }
    }
    assert!(from_memory > 100 && from_store > 100, "{from_memory} {from_store}");
}
