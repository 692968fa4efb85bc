//! Who signed each transaction and what it paid: what the node's receipts say, at the head, in the backlog, and after a reorg.

use serde_json::{Value, json};
use swaptide_demo::{Devnet, DevnetConfig};

use super::engine::{Engine, PATIENCE, Setup};

const SWAPS: &str = "query($after: Cursor) { swaps(first: 500, after: $after) {
    nodes { origin block { number hash } transaction { id gasUsed gasPrice } } pageInfo { hasNextPage endCursor } } }";

async fn swaps(engine: &Engine) -> Vec<Value> {
    let (mut after, mut all) = (json!(null), Vec::new());
    loop {
        let page = engine.query(SWAPS, json!({ "after": after })).await["swaps"].take();
        all.extend(page["nodes"].as_array().unwrap().iter().cloned());
        if page["pageInfo"]["hasNextPage"] == json!(false) {
            return all;
        }
        after = page["pageInfo"]["endCursor"].clone();
    }
}

/// Until none is null; each then equals its receipt.
async fn assert_enriched(engine: &Engine, devnet: &Devnet) -> usize {
    let filled = async {
        loop {
            let all = swaps(engine).await;
            if all.iter().all(|swap| !swap["origin"].is_null()) {
                return all;
            }
        }
    };
    let filled = tokio::time::timeout(PATIENCE, filled).await;
    let all = filled.unwrap_or_else(|_| panic!("every swap gets its origin; the engine said:\n{}", engine.log()));
    for swap in &all {
        let receipt = devnet.rpc_call("eth_getTransactionReceipt", json!([swap["transaction"]["id"]])).await.unwrap();
        assert_eq!(receipt["blockHash"], swap["block"]["hash"]);
        assert_eq!(receipt["from"], swap["origin"]);
        let quantity = |name: &str| u128::from_str_radix(receipt[name].as_str().unwrap().trim_start_matches("0x"), 16).unwrap();
        assert_eq!(swap["transaction"]["gasUsed"], quantity("gasUsed").to_string());
        assert_eq!(swap["transaction"]["gasPrice"], quantity("effectiveGasPrice").to_string());
    }
    all.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn origin_and_gas_are_what_the_receipts_say_in_history_at_the_head_and_after_a_reorg() {
    let folder = tempfile::tempdir().unwrap();
    let mut devnet = Devnet::start(DevnetConfig { seed: 81, ..DevnetConfig::default() }).await.unwrap();
    devnet.fill(80, 6).await.unwrap();
    let setup = Setup { extra_chain: "finality = 16".to_owned(), ..Setup::of(&devnet, folder.path()) };
    let engine = Engine::start(&setup, folder.path()).await;
    engine.at_head(&devnet).await;
    let history = assert_enriched(&engine, &devnet).await;
    assert!(history > 100, "{history}");
    for round in 0..4u64 {
        devnet.trader.push_random(10).await.unwrap();
        devnet.mine().await.unwrap();
        if round == 2 {
            devnet.reorg_keeping(2, 700).await.unwrap();
        }
        engine.at_head(&devnet).await;
        assert_enriched(&engine, &devnet).await;
    }
    let head = swaps(&engine).await.len();
    assert!(engine.terminate().await.success());
    // It is in the store: without a pass over receipts nothing is missing that was known.
    devnet.fill(20, 0).await.unwrap();
    let without = Setup { extra_chain: "finality = 16\nenrichment = false".to_owned(), ..setup };
    let engine = Engine::start(&without, folder.path()).await;
    engine.at_head(&devnet).await;
    assert_eq!(assert_enriched(&engine, &devnet).await, head);
    // And off means off.
    devnet.trader.push_random(10).await.unwrap();
    devnet.mine().await.unwrap();
    engine.at_head(&devnet).await;
    assert!(swaps(&engine).await.iter().skip(head).all(|swap| swap["origin"].is_null()));
    let metrics = String::from_utf8(engine.admin.get("/metrics").await.unwrap().body).unwrap();
    assert!(!metrics.contains("eth_getBlockReceipts"), "no receipt is asked for");
}
