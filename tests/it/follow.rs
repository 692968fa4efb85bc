//! P1: every canonical watched log is in the store exactly once, over the seam from history to live, restarts and kills.

use std::path::Path;

use alloy::primitives::keccak256;
use serde_json::{Value, json};
use swaptide::{
    chain::decode,
    store::{History as _, sqlite::SqliteHistory},
};
use swaptide_demo::{Devnet, DevnetConfig};

use super::{
    engine::{Engine, Setup},
    state,
};

/// What the node says: all logs of factories and of the pools that they created, with a topic that is watched; and of the position manager,
/// all of whose positions are in such pools.
pub async fn watched_logs(devnet: &Devnet) -> u64 {
    let topics: Vec<String> = decode::manager_topics().iter().map(ToString::to_string).collect();
    let manager = devnet.deployment.nfpm;
    let filter = json!([{ "fromBlock": "0x0", "toBlock": "latest", "address": manager, "topics": [topics] }]);
    let of_manager = devnet.rpc_call("eth_getLogs", filter).await.unwrap().as_array().unwrap().len();
    logs(devnet, |_| true).await + u64::try_from(of_manager).unwrap()
}

/// Of these only swaps.
pub async fn swap_logs(devnet: &Devnet) -> u64 {
    let signatures =
        ["Swap(address,uint256,uint256,uint256,uint256,address)", "Swap(address,address,int256,int256,uint160,uint128,int24)"];
    let topics = signatures.map(|text| keccak256(text).to_string());
    logs(devnet, |topic| topics.iter().any(|t| t == topic)).await
}

async fn logs(devnet: &Devnet, counts: impl Fn(&str) -> bool) -> u64 {
    let topics: Vec<String> = decode::watched_topics().iter().map(ToString::to_string).collect();
    let filter = json!([{ "fromBlock": "0x0", "toBlock": "latest", "topics": [topics] }]);
    let logs = devnet.rpc_call("eth_getLogs", filter).await.unwrap();
    let d = &devnet.deployment;
    let factories = [d.v2_factory, d.v3_factory].map(|a| format!("{a:#x}"));
    let mut pools: Vec<String> = factories.to_vec();
    let mut count = 0;
    for log in logs.as_array().unwrap() {
        let address = log["address"].as_str().unwrap().to_lowercase();
        if factories.contains(&address) {
            // The created pool is the first address of V2's data, the last of V3's.
            let data = log["data"].as_str().unwrap();
            let word = if address == factories[0] { &data[26..66] } else { &data[data.len() - 40..] };
            pools.push(format!("0x{word}"));
        }
        count += u64::from(pools.contains(&address) && counts(log["topics"][0].as_str().unwrap()));
    }
    count
}

pub async fn stored_logs(database: &Path, devnet: &Devnet) -> u64 {
    let history = SqliteHistory::open(database).unwrap();
    let genesis = devnet.rpc_call("eth_getBlockByNumber", json!(["0x0", false])).await.unwrap();
    history.claim(devnet.chain_id, genesis["hash"].as_str().unwrap().parse().unwrap()).await.unwrap();
    history.log_counts(devnet.chain_id).await.unwrap().1
}

#[tokio::test(flavor = "multi_thread")]
async fn no_gap_and_no_double_from_history_to_live_over_stops_and_reorgs() {
    let folder = tempfile::tempdir().unwrap();
    let mut devnet = Devnet::start(DevnetConfig { seed: 21, ..DevnetConfig::default() }).await.unwrap();
    // More history than the undo window, so that ranges and single blocks both have to do their part.
    devnet.fill(100, 6).await.unwrap();
    let mut setup = Setup::of(&devnet, folder.path());
    setup.extra_chain = "finality = 32".to_owned();
    let engine = Engine::start(&setup, folder.path()).await;
    for round in 0..8u64 {
        // While it catches up the chain goes on.
        devnet.trader.push_random(8).await.unwrap();
        devnet.mine().await.unwrap();
        if round % 3 == 2 {
            devnet.reorg(2).await.unwrap();
        }
    }
    engine.at_head(&devnet).await;
    state::compare(&engine, &devnet).await;
    assert!(engine.terminate().await.success());
    assert_eq!(stored_logs(&setup.database, &devnet).await, watched_logs(&devnet).await);

    // Away for longer than the undo window, and back at its cursor.
    devnet.fill(40, 6).await.unwrap();
    let engine = Engine::start(&setup, folder.path()).await;
    engine.at_head(&devnet).await;
    assert!(engine.log().contains("resuming from the store"), "{}", engine.log());
    state::compare(&engine, &devnet).await;
    assert!(engine.terminate().await.success());
    assert_eq!(stored_logs(&setup.database, &devnet).await, watched_logs(&devnet).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_it_comes_back_with_nothing_lost_and_nothing_double() {
    let folder = tempfile::tempdir().unwrap();
    let mut devnet = Devnet::start(DevnetConfig { seed: 22, ..DevnetConfig::default() }).await.unwrap();
    let setup = Setup::of(&devnet, folder.path());
    for round in 0..5u64 {
        let engine = Engine::start(&setup, folder.path()).await;
        if round % 2 == 0 {
            engine.at_head(&devnet).await;
        }
        for _ in 0..=round {
            devnet.trader.push_random(20).await.unwrap();
            devnet.mine().await.unwrap();
        }
        engine.kill().await;
        // What it had at its head is replaced while it is down.
        devnet.reorg(1 + round % 2).await.unwrap();
    }
    let engine = Engine::start(&setup, folder.path()).await;
    engine.at_head(&devnet).await;
    state::compare(&engine, &devnet).await;
    assert!(engine.terminate().await.success());
    assert_eq!(stored_logs(&setup.database, &devnet).await, watched_logs(&devnet).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_websocket_it_polls() {
    let folder = tempfile::tempdir().unwrap();
    let mut devnet = Devnet::start(DevnetConfig::tiny()).await.unwrap();
    let mut setup = Setup::of(&devnet, folder.path());
    // The first endpoint is down for good; the second has no subscriptions.
    setup.rpc = vec!["ws://127.0.0.1:9".to_owned(), devnet.http_url.clone()];
    let engine = Engine::start(&setup, folder.path()).await;
    for _ in 0..3 {
        devnet.trader.swap_v2(0, true, devnet.deployment.pools[0].token0.unit_raw()).await.unwrap();
        devnet.mine_all_ok().await.unwrap();
        engine.at_head(&devnet).await;
    }
    state::compare(&engine, &devnet).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_another_chain_or_genesis_is_refused_and_left_untouched() {
    let folder = tempfile::tempdir().unwrap();
    let first = Devnet::start(DevnetConfig::tiny()).await.unwrap();
    let setup = Setup::of(&first, folder.path());
    let engine = Engine::start(&setup, folder.path()).await;
    engine.at_head(&first).await;
    assert!(engine.terminate().await.success());
    let bytes = std::fs::read(&setup.database).unwrap();

    // The same id, another genesis; the same contracts' addresses.
    let clock = swaptide_demo::Clock::Fixed { genesis_s: 1_600_000_000, step_s: 12 };
    let other = Devnet::start(DevnetConfig { clock, ..DevnetConfig::tiny() }).await.unwrap();
    let config = Setup { database: setup.database.clone(), ..Setup::of(&other, folder.path()) }.write(folder.path());
    let (code, _, stderr) = super::engine::run(&["run", "-c", config.to_str().unwrap()]).await;
    assert_eq!(code, 1, "{stderr}");
    let line = stderr.lines().last().unwrap();
    assert!(line.starts_with("error: ") && line.contains("genesis"), "{stderr}");
    assert!(std::fs::read(&setup.database).unwrap() == bytes, "byte for byte");

    let another = Devnet::start(DevnetConfig { chain_id: 999, ..DevnetConfig::tiny() }).await.unwrap();
    let config = Setup { database: setup.database.clone(), ..Setup::of(&another, folder.path()) }.write(folder.path());
    let (code, _, stderr) = super::engine::run(&["run", "-c", config.to_str().unwrap()]).await;
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.lines().last().unwrap().contains("chain"), "{stderr}");
    assert!(std::fs::read(&setup.database).unwrap() == bytes, "byte for byte");
}

#[tokio::test(flavor = "multi_thread")]
async fn status_and_metrics_say_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let devnet = Devnet::start(DevnetConfig::tiny()).await.unwrap();
    let engine = Engine::start(&Setup::of(&devnet, folder.path()), folder.path()).await;
    engine.at_head(&devnet).await;
    let head = devnet.head().await.unwrap();
    let status = engine.status().await;
    let text = status.to_string();
    assert!(
        text.contains(&head.hash.to_string()) && text.contains("ingest/31337") && text.contains("persist/31337"),
        "{status:#}"
    );
    let metrics = String::from_utf8(engine.admin.get("/metrics").await.unwrap().body).unwrap();
    assert!(metrics.contains(&format!("swaptide_head_block{{chain=\"31337\"}} {}", head.number)), "{metrics}");
    assert_eq!(engine.admin.get("/health").await.unwrap().status, 200);
    assert_eq!(engine.admin.get("/ready").await.unwrap().status, 200);
    assert_eq!(engine.api.get("/metrics").await.unwrap().status, 404, "never on the public listener");
    let meta: Value = engine.query("{ _meta { block { number hash } freshness } }", json!({})).await;
    assert_eq!(meta["_meta"]["block"], json!({ "number": head.number, "hash": head.hash.to_string() }));
}
