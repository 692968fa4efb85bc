//! Several chains in one process: nothing of one is ever found in the other, although their contracts have the same addresses.

use serde_json::json;
use swaptide::audit::{StateAt, compare_state};
use swaptide_demo::{Devnet, DevnetConfig, Mongod};

use super::{
    engine::{Engine, Setup},
    follow::{stored_logs, swap_logs, watched_logs},
    state::source,
};

const OTHER: u64 = 424_242;

async fn at_head(engine: &Engine, devnet: &Devnet) {
    let head = devnet.head().await.unwrap();
    let query = "query($c: Int!, $n: Int!) { _meta(chainId: $c, block: {number_gte: $n}) { block { hash } } }";
    loop {
        let answer = engine.raw_query(query, json!({ "c": devnet.chain_id, "n": head.number })).await;
        if answer["data"]["_meta"]["block"]["hash"] == json!(head.hash.to_string()) {
            return;
        }
    }
}

async fn state_of(engine: &Engine, devnet: &Devnet) -> StateAt {
    let response = engine.admin.get(&format!("/admin/state?chain={}", devnet.chain_id)).await.unwrap();
    serde_json::from_slice(&response.body).unwrap()
}

async fn assert_equal(engine: &Engine, devnet: &Devnet) {
    at_head(engine, devnet).await;
    let report = compare_state(&source(devnet), &state_of(engine, devnet).await).await.unwrap();
    assert!(report.is_equal() && report.compared >= 10, "{report:#?}");
    // Over the seam between store and memory: the same events as the chain has, and no others.
    let query = "query($c: Int!, $after: Cursor) { swaps(chainId: $c, first: 500, after: $after) {
        nodes { chainId block { hash } transaction { id } } pageInfo { hasNextPage endCursor } } }";
    let (mut after, mut swaps) = (json!(null), 0);
    loop {
        let page = engine.query(query, json!({ "c": devnet.chain_id, "after": after })).await["swaps"].take();
        for swap in page["nodes"].as_array().unwrap() {
            assert_eq!(swap["chainId"], devnet.chain_id);
            let receipt = devnet.rpc_call("eth_getTransactionReceipt", json!([swap["transaction"]["id"]])).await.unwrap();
            assert_eq!(receipt["blockHash"], swap["block"]["hash"], "{swap}");
            swaps += 1;
        }
        if page["pageInfo"]["hasNextPage"] == json!(false) {
            break;
        }
        after = page["pageInfo"]["endCursor"].clone();
    }
    assert_eq!(swaps, swap_logs(devnet).await);
}

async fn two_chains(store_url: Option<String>) {
    let folder = tempfile::tempdir().unwrap();
    // The same seed: the same contracts at the same addresses, and the first blocks nearly the same.
    let mut one = Devnet::start(DevnetConfig { seed: 61, ..DevnetConfig::default() }).await.unwrap();
    let mut two = Devnet::start(DevnetConfig { seed: 61, chain_id: OTHER, ..DevnetConfig::default() }).await.unwrap();
    assert_eq!(one.deployment.v3_factory, two.deployment.v3_factory);
    one.fill(60, 6).await.unwrap();
    two.fill(25, 6).await.unwrap();
    let finality = "finality = 16".to_owned();
    let other = Setup { extra_chain: finality.clone(), ..Setup::of(&two, folder.path()) };
    let setup =
        Setup { store_url: store_url.clone(), extra_chain: finality, others: vec![other], ..Setup::of(&one, folder.path()) };
    let engine = Engine::start(&setup, folder.path()).await;
    for round in 0..6u64 {
        for devnet in [&mut one, &mut two] {
            devnet.trader.push_random(8).await.unwrap();
            devnet.mine().await.unwrap();
        }
        // Each is reorganised alone.
        if round % 2 == 1 {
            one.reorg(2).await.unwrap();
        } else {
            two.reorg(3).await.unwrap();
        }
    }
    let which = engine.raw_query("{ _meta { block { number } } }", json!({})).await;
    assert!(which["errors"][0]["message"].as_str().unwrap().contains("chainId"), "{which}");
    for devnet in [&one, &two] {
        assert_equal(&engine, devnet).await;
    }
    assert!(engine.terminate().await.success());
    let engine = Engine::start(&setup, folder.path()).await;
    for devnet in [&one, &two] {
        assert_equal(&engine, devnet).await;
    }
    assert!(engine.terminate().await.success());
    // A chain that is new to the store may stand before those that are not.
    let mut three = Devnet::start(DevnetConfig { chain_id: OTHER + 1, ..DevnetConfig::tiny() }).await.unwrap();
    three.mine().await.unwrap();
    let mut first =
        Setup { store_url: setup.store_url.clone(), database: setup.database.clone(), ..Setup::of(&three, folder.path()) };
    let was_first = Setup { others: Vec::new(), ..setup.clone() };
    first.others = [was_first].into_iter().chain(setup.others.clone()).collect();
    let engine = Engine::start(&first, folder.path()).await;
    for devnet in [&one, &two, &three] {
        at_head(&engine, devnet).await;
    }
    assert!(engine.terminate().await.success());
    if store_url.is_none() {
        for devnet in [&one, &two] {
            assert_eq!(stored_logs(&setup.database, devnet).await, watched_logs(devnet).await);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_chains_in_one_process_and_one_file_share_no_key() {
    two_chains(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_chains_in_one_process_and_one_mongodb_share_no_key() {
    let mongod = Mongod::start().await.unwrap();
    two_chains(Some(mongod.uri("two_chains"))).await;
}
