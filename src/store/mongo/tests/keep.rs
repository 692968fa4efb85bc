//! Recorded prices, on a real mongod.

use super::*;
use crate::store::{
    keep::{Keep as _, conformance},
    mongo::MongoKeep,
};

#[tokio::test]
async fn what_was_recorded_is_found_again_by_another_process() {
    let server = Server::start().await;
    let uri = server.database();
    let keep = MongoKeep::open(config(&uri)).await.unwrap();
    conformance::what_was_recorded_is_found_again(&keep).await;
    let again = MongoKeep::open(config(&uri)).await.unwrap();
    let found = again.price("ETH/USD", 0, 1_000).await.unwrap();
    assert_eq!(found, Some(conformance::price("ETH/USD", 600, "1900")));
    // The chain's database knows nothing of it, and is claimed as ever.
    let history = open(&uri).await;
    history.claim(CHAIN, GENESIS).await.unwrap();
}

#[tokio::test]
async fn a_database_of_somebody_else_is_refused_and_left_alone() {
    let server = Server::start().await;
    let uri = server.database();
    let keep = MongoKeep::open(config(&uri)).await.unwrap();
    let theirs =
        open(&uri).await.store.client.database(&format!("{}_keep", uri.rsplit('/').next().unwrap().split('?').next().unwrap()));
    theirs.collection::<Document>("theirs").insert_one(doc! { "x": 1 }).await.unwrap();
    let refused = keep.record(vec![conformance::price("ETH/USD", 60, "1")]).await.unwrap_err();
    assert!(matches!(refused, StoreError::Foreign(_)), "{refused}");
    assert_eq!(theirs.list_collection_names().await.unwrap(), ["theirs"]);
}
