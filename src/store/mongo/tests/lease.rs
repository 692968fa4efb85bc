//! Several instances over one database: one has the lease, by the server's clock.

use std::{collections::BTreeMap, sync::Arc};

use alloy::primitives::B256;
use mongodb::bson::{DateTime, Document, doc};

use super::{CHAIN, GENESIS, Server, config};
use crate::{
    domain::{
        block::BlockRef,
        market::{Candle, Chunk, Closed, Interval, RawPrice, Subject},
        record::{BookSnapshot, ChunkOf},
    },
    store::{
        History as _, StoreError,
        conformance::make::pool_id,
        history::WriteBatch,
        lease::{Leased, Owner},
        mongo::MongoHistory,
    },
};

async fn opened(uri: &str) -> MongoHistory {
    let history = MongoHistory::open(config(uri)).await.unwrap();
    history.claim(CHAIN, GENESIS).await.unwrap();
    history
}

async fn lease(history: &MongoHistory) -> Document {
    history.store.meta().find_one(doc! { "_id": "lease" }).await.unwrap().unwrap()
}

async fn term(history: &MongoHistory) -> u64 {
    lease(history).await.get_i64("term").unwrap().cast_unsigned()
}

async fn end_of_lease(history: &MongoHistory, at: DateTime) {
    history.store.meta().update_one(doc! { "_id": "lease" }, doc! { "$set": { "until": at } }).await.unwrap();
}

/// As a process of another host is seen.
async fn moves_away(history: &MongoHistory) {
    history.store.meta().update_one(doc! { "_id": "lease" }, doc! { "$set": { "owner": "elsewhere/7" } }).await.unwrap();
}

fn ours(leased: Leased) -> u64 {
    match leased {
        Leased::Ours(fence) => fence,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn one_has_the_lease_until_it_is_over_or_given_back() {
    let server = Server::start().await;
    let uri = server.database();
    let (a, b) = (opened(&uri).await, opened(&uri).await);
    let me = Owner::here();
    let first = ours(a.lease(&me, None).await.unwrap());
    moves_away(&a).await;
    let of_a = term(&a).await;
    let held = Leased::Theirs { owner: "elsewhere/7".to_owned(), term: of_a, over: false };
    assert_eq!(b.lease(&me, None).await.unwrap(), held);
    assert_eq!(b.lease(&me, Some(of_a)).await.unwrap(), held, "it was over once, and was renewed");

    // Over: whoever sees it so a second time may have it, unless its holder comes back in between.
    end_of_lease(&a, DateTime::from_millis(0)).await;
    let over = Leased::Theirs { owner: "elsewhere/7".to_owned(), term: of_a, over: true };
    assert_eq!(b.lease(&me, None).await.unwrap(), over);
    assert_eq!(b.lease(&me, Some(of_a + 1)).await.unwrap(), over, "of another holder");
    a.renew(first).await.unwrap();
    assert_eq!(b.lease(&me, Some(of_a)).await.unwrap(), held);
    end_of_lease(&a, DateTime::from_millis(0)).await;
    let second = ours(b.lease(&me, Some(of_a)).await.unwrap());
    assert!(second > first);
    let told =
        |refused: StoreError| assert!(matches!(refused, StoreError::Fenced { ours, held } if (ours, held) == (first, second)));
    told(a.renew(first).await.unwrap_err());
    told(a.write(WriteBatch { chain: CHAIN, fence: first, now: 1, ..WriteBatch::default() }).await.unwrap_err());
    // Who has it no more cannot give it back.
    a.release(first).await.unwrap();
    moves_away(&a).await;
    assert!(matches!(a.lease(&me, None).await.unwrap(), Leased::Theirs { over: false, .. }));
    b.release(second).await.unwrap();
    // A word that was under way when it was given back does not hold it.
    assert!(matches!(b.renew(second).await.unwrap_err(), StoreError::Fenced { .. }));
    let third = ours(a.lease(&me, None).await.unwrap());
    assert!(third > second);
}

#[tokio::test]
async fn whoever_outlived_its_holder_has_the_lease_at_once_and_of_many_one_gets_it() {
    let server = Server::start().await;
    let uri = server.database();
    let history = Arc::new(opened(&uri).await);
    let me = Owner::here();
    let first = ours(history.lease(&me, None).await.unwrap());
    // This process again, as after a restart in a container.
    let second = ours(history.lease(&me, None).await.unwrap());
    assert!(second > first);
    for _ in 0..5 {
        moves_away(&history).await;
        end_of_lease(&history, DateTime::from_millis(0)).await;
        let of_before = term(&history).await;
        let ask = |_| {
            let (history, me) = (history.clone(), me.clone());
            tokio::spawn(async move { history.lease(&me, Some(of_before)).await.unwrap() })
        };
        let asked = futures_util::future::join_all((0..8).map(ask)).await;
        let newest = lease(&history).await.get_i64("fence").unwrap().cast_unsigned();
        let got: Vec<u64> = asked
            .into_iter()
            .filter_map(|leased| match leased.unwrap() {
                Leased::Ours(fence) => Some(fence),
                _ => None,
            })
            .collect();
        // They are one process here, so a later one may follow an earlier one; never do two have the same.
        assert_eq!(got.iter().collect::<std::collections::BTreeSet<_>>().len(), got.len(), "{got:?}");
        assert_eq!(got.iter().max(), Some(&newest));
    }
}

#[tokio::test]
async fn chunks_that_are_not_stored_are_told_apart() {
    let server = Server::start().await;
    let history = opened(&server.database()).await;
    let fence = ours(history.lease(&Owner::here(), None).await.unwrap());
    let chunk = |pool: u8, start: u64| {
        let closed = Closed::Candles(vec![Candle::empty(start, RawPrice::Unknown)]);
        ChunkOf { of: Subject::Pool(pool_id(pool)), chunk: Arc::new(Chunk { interval: Interval::M1, closed }) }
    };
    let there = [chunk(1, 60), chunk(1, 120), chunk(2, 60)];
    let batch = WriteBatch { chain: CHAIN, fence, candles: there.to_vec(), now: 1, ..WriteBatch::default() };
    history.write(batch).await.unwrap();
    let missing = [chunk(1, 180), chunk(3, 60)];
    let asked = there.iter().chain(&missing).cloned().collect();
    assert_eq!(history.lacks(CHAIN, asked).await.unwrap(), missing);
}

/// Whoever takes over may have one of before the last that the other wrote. What it has in it is in that, too; of the rest it knows nothing.
#[tokio::test]
async fn a_book_never_takes_the_place_of_a_newer_one() {
    let server = Server::start().await;
    let history = opened(&server.database()).await;
    let fence = ours(history.lease(&Owner::here(), None).await.unwrap());
    for (written, newest) in [(10, 10), (5, 10), (10, 10), (12, 12)] {
        let block = BlockRef { number: written, hash: B256::with_last_byte(1), parent_hash: B256::ZERO, timestamp: written };
        let book = BookSnapshot { block, hour: 0, sources: ["x".to_owned()].into(), markets: BTreeMap::new() };
        history.write(WriteBatch { chain: CHAIN, fence, book: Some(book), now: 1, ..WriteBatch::default() }).await.unwrap();
        assert_eq!(history.book(CHAIN).await.unwrap().unwrap().block.number, newest, "{written} was written");
    }
}
