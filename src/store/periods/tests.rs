use std::{sync::Arc, time::Duration};

use alloy::primitives::{B256, I256};

use super::*;
use crate::{
    domain::{
        block::BlockRef,
        book::Book,
        dollars::Dollars,
        market::{Happened, Market, Trade},
        record::ChunkOf,
    },
    store::{Commit, History, Live, history::WriteBatch, sqlite::SqliteHistory},
};

const TOKEN: Address = Address::repeat_byte(7);
const OF: Subject = Subject::Token(TOKEN);

/// Hours with gaps, each with two trades or none, and how it ended. The market has let go of what the store has.
async fn kept(folder: &std::path::Path) -> (Arc<Live>, Reader, Market) {
    let history: Arc<dyn History> = Arc::new(SqliteHistory::open(&folder.join("a.db")).unwrap());
    history.claim(1, B256::ZERO).await.unwrap();
    let fence = history.take_fence("test").await.unwrap();
    let mut market = Market::default();
    let mut now = 1_700_000_000;
    for i in 0..900_u64 {
        let at = Interval::H1.end_of(Interval::H1.start_of(now)) - 1;
        now += 3_600 * (1 + i % 7 / 5) + i % 11;
        market.periods.end(at, now, End::Token { price: Dollars::one(18), locked: U256::from(i) });
        let usd = Some(Usd(i));
        for n in 0..i % 3 {
            market.periods.count(now, &Happened::Swap { usd, fee_pips: 500 });
            let price = RawPrice::Dollars(Dollars::from_raw(U256::from(1_000 + i * 7_919 % 400 + n)));
            let trader = Address::with_last_byte(u8::try_from(i % 5).unwrap());
            market.trade(&Trade { timestamp: now, price, amount0: I256::ONE, amount1: I256::ZERO, usd, trader });
        }
        market.periods.count(now, &Happened::Else);
    }
    let whole = market.clone();
    let chunks = market.chunks(|_| None);
    for chunk in &chunks {
        market.forget_stored(chunk.track(), chunk.span().unwrap().1);
    }
    let candles = chunks.into_iter().map(|chunk| ChunkOf { of: OF, chunk: chunk.into() }).collect();
    history.write(WriteBatch { chain: 1, fence, candles, ..WriteBatch::default() }).await.unwrap();
    let block = BlockRef { number: 9, hash: B256::repeat_byte(9), parent_hash: B256::ZERO, timestamp: now + 5 };
    let live = Arc::new(Live::new(1, "test", 2, Duration::from_secs(15)));
    let book = Book::restored(Interval::H1.start_of(now), [(OF, Arc::new(market))]);
    live.commit(Commit { book: Some(Arc::new(book)), head: Some(block), ..Commit::default() });
    (live.clone(), Reader::new([live], history), whole)
}

/// Whatever stretch, page and direction is asked for, memory and store together are what was folded.
#[tokio::test]
async fn memory_and_chunks_join_without_a_seam_in_both_directions() {
    let folder = tempfile::tempdir().unwrap();
    let (live, reader, whole) = kept(folder.path()).await;
    let pin = live.pin();
    let (mut from_memory, mut from_store) = (0, 0);
    for interval in [Interval::H1, Interval::D1] {
        let naive = whole.periods.list(interval, 0, u64::MAX);
        let candles = whole.candles(interval, 0, u64::MAX);
        let known_from = pin.market(&OF).unwrap().periods.known_from(interval);
        let (first, last) = (naive[0].start, naive.last().unwrap().start);
        let step = (last - first) / 17;
        let places: Vec<u64> =
            (0..20).map(|n| first - step + n * step).chain([0, known_from, known_from + 1, u64::MAX]).collect();
        for (from, to) in places.iter().flat_map(|from| places.iter().map(move |to| (*from, *to))) {
            for (limit, newest_first) in [(1, true), (1, false), (300, true), (300, false)] {
                let query = PeriodQuery { of: OF, interval, from, to, limit, newest_first };
                let found = reader.periods(&pin, query).await.unwrap();
                let mut expected: Vec<Period> = naive.iter().filter(|p| (from..to).contains(&p.start)).copied().collect();
                if newest_first {
                    expected.reverse();
                }
                expected.truncate(limit);
                assert_eq!(found.periods.iter().map(|p| p.period).collect::<Vec<_>>(), expected, "{query:?}");
                for at in &found.periods {
                    let here = candles.iter().find(|candle| candle.start == at.period.start).copied();
                    let before = || candles.iter().rfind(|c| c.start < at.period.start).map(|c| c.close);
                    let expected = here.or_else(|| Some(Candle::empty(at.period.start, before()?)));
                    assert_eq!(at.candle, expected, "{query:?} {}", at.period.start);
                    if let End::Token { price, locked } = at.period.end {
                        assert_eq!((at.standing.price, at.standing.locked[0]), (price, Some(locked)));
                    }
                }
                match found.source {
                    DataSource::Memory => from_memory += 1,
                    _ => from_store += 1,
                }
            }
        }
    }
    assert!(from_memory > 100 && from_store > 100, "{from_memory} {from_store}");
}

/// Minutes of a token that are older than their retention are not made again: that is said, with the time from which there are some.
#[tokio::test]
async fn what_is_not_kept_of_a_token_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (live, reader, _) = kept(folder.path()).await;
    let pin = live.pin();
    let now = pin.head().block.unwrap().timestamp;
    let query = |interval, from| CandleQuery { of: OF, interval, from: Some(from), to: None, count: 10, fill: false };
    assert!(pin.market(&OF).unwrap().known_from(Interval::M1) > 0);
    let old = reader.candles(&pin, query(Interval::M1, now - 91 * 86_400)).await.unwrap_err();
    let ReadError::NotKept { from: kept_from } = old else { panic!("{old}") };
    assert!((now - 90 * 86_400..now - 90 * 86_400 + 60).contains(&kept_from) && kept_from.is_multiple_of(60), "{kept_from}");
    assert!(reader.candles(&pin, query(Interval::M1, kept_from)).await.is_ok(), "as it was told");
    assert!(reader.candles(&pin, query(Interval::M1, now - 40 * 86_400)).await.is_ok());
    assert!(reader.candles(&pin, query(Interval::H1, 0)).await.is_ok());
    let seconds = reader.candles(&pin, query(Interval::S1, 1)).await.unwrap_err();
    assert!(seconds.to_string().contains("ask for later ones"), "{seconds}");
    let ReadError::NotKept { from } = seconds else { panic!("{seconds}") };
    for fill in [false, true] {
        let as_told = CandleQuery { fill, ..query(Interval::S1, from) };
        assert!(!reader.candles(&pin, as_told).await.unwrap().candles.is_empty(), "as it was told");
    }
    // Who names no beginning gets what there is.
    let some = CandleQuery { from: None, count: 1 << 40, ..query(Interval::S1, from) };
    assert_eq!(reader.candles(&pin, some).await.unwrap().candles[0].start, from);
}
