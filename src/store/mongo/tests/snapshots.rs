//! What stays of a pool.

use super::*;

#[tokio::test]
async fn only_the_newest_two_snapshots_of_a_pool_stay() {
    let server = Server::start().await;
    let uri = server.database();
    let history = open(&uri).await;
    history.claim(CHAIN, GENESIS).await.unwrap();
    let fence = history.take_fence("test").await.unwrap();
    let mut rng = make::Rng(7);
    let mut parent = genesis();
    for now in 0..5 {
        let record = rng.record(&parent, 1);
        parent = record.block;
        let snapshot = PoolSnapshot { chain: CHAIN, pool: pool_id(0), block: parent, image: rng.image(), market: rng.market() };
        let purge_orphans = Some(PurgeOrphans { final_number: 0, orphaned_before: 0 });
        let records = vec![Arc::new(record)];
        let batch = WriteBatch {
            chain: CHAIN,
            fence,
            head: Some(parent),
            records,
            snapshots: vec![snapshot],
            purge_orphans,
            now,
            ..WriteBatch::default()
        };
        history.write(batch).await.unwrap();
        // As if it were too large for its document.
        let of = doc! { "_id": key::snapshot(CHAIN, &pool_id(0), parent.number, &parent.hash) };
        let snapshots = history.store.collection(schema::SNAPSHOTS);
        snapshots.update_one(of, doc! { "$set": { "market_parts": 1_i64 } }).await.unwrap();
        let part = mongodb::bson::rawdoc! { "_id": key::part(CHAIN, &parent, &pool_id(0), 2, 0) };
        history.store.collection(schema::PARTS).insert_one(part).await.unwrap();
    }
    for collection in [schema::SNAPSHOTS, schema::PARTS] {
        assert_eq!(history.store.collection(collection).count_documents(doc! {}).await.unwrap(), 2, "{collection}");
    }
}
