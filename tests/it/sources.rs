//! What is watched may be older than what is read, and may be added later: seeded pools equal replayed ones, and a source that is
//! added is read back alone while the rest stays live.

use std::collections::BTreeMap;

use serde_json::json;
use swaptide::{
    audit::PoolAt,
    domain::pool::{PoolId, PoolState},
};
use swaptide_demo::{Devnet, DevnetConfig, Mongod};

use super::{
    engine::{Engine, Setup},
    follow::{stored_logs, swap_logs, watched_logs},
    state,
};

async fn pools(engine: &Engine) -> BTreeMap<PoolId, PoolState> {
    engine.state().await.pools.into_iter().map(|PoolAt { meta, state, .. }| (meta.id, state)).collect()
}

async fn trade(devnet: &mut Devnet, blocks: u64) {
    for _ in 0..blocks {
        devnet.trader.push_random(10).await.unwrap();
        devnet.mine().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pools_older_than_the_start_are_read_from_their_contracts_and_equal_replayed_ones() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let mut devnet = Devnet::start(DevnetConfig { seed: 71, ..DevnetConfig::default() }).await.unwrap();
    devnet.fill(60, 8).await.unwrap();
    let chain = |start: &str| format!("finality = 8\nstart_block = {start}");
    let replayed = Setup { extra_chain: chain("0"), ..Setup::of(&devnet, folders[0].path()) };
    let all = Setup {
        extra_chain: chain("\"latest-12\""),
        extra_dex: "older_pools = true".to_owned(),
        ..Setup::of(&devnet, folders[1].path())
    };
    // Some of one factory, by their addresses; one of them is no pool, and one belongs to somebody else.
    let mut listed = Setup { extra_chain: chain("\"latest-12\""), ..Setup::of(&devnet, folders[2].path()) };
    listed.dexes.remove(0);
    let v3 = |p: &&swaptide_demo::DevPool| p.protocol == swaptide_demo::Protocol::V3;
    let wanted: Vec<String> = devnet.deployment.pools.iter().filter(v3).take(2).map(|p| format!("{:#x}", p.address)).collect();
    let foreign = devnet.deployment.pools.iter().find(|p| !v3(p)).unwrap().address;
    let token = devnet.deployment.pools[0].token0.address;
    listed.extra_dex = format!("pools = [\"{}\", \"{foreign:#x}\", \"{token:#x}\"]", wanted.join("\", \""));

    let setups = [(&replayed, &folders[0]), (&all, &folders[1]), (&listed, &folders[2])];
    let mut engines = Vec::new();
    for (setup, folder) in setups {
        engines.push(Engine::start(setup, folder.path()).await);
    }
    for round in 0..6u64 {
        trade(&mut devnet, 2).await;
        if round % 2 == 1 {
            devnet.reorg(1 + round % 3).await.unwrap();
        }
        for engine in &engines {
            engine.at_head(&devnet).await;
            state::compare(engine, &devnet).await;
        }
        let truth = pools(&engines[0]).await;
        assert_eq!(pools(&engines[1]).await, truth, "seeded as a whole equals replayed");
        let few = pools(&engines[2]).await;
        assert_eq!(few.len(), wanted.len());
        assert!(few.iter().all(|(id, state)| truth[id] == *state), "{few:?}");
    }
    engines[2].says(|line| line.contains(&format!("{foreign:#x}")) && line.contains("its factory does not know it")).await;
    // What is older than the first block has no creation that we have seen; what the factory's own logs say is known.
    let query = "{ pools(first: 100) { nodes { id createdAtBlockNumber createdAtTimestamp } } }";
    let created = |answer: serde_json::Value| -> BTreeMap<String, serde_json::Value> {
        let nodes = answer["pools"]["nodes"].as_array().unwrap().clone();
        nodes.into_iter().map(|n| (n["id"].as_str().unwrap().to_owned(), n["createdAtBlockNumber"].clone())).collect()
    };
    assert_eq!(created(engines[1].query(query, json!({})).await), created(engines[0].query(query, json!({})).await));
    assert!(created(engines[2].query(query, json!({})).await).values().all(serde_json::Value::is_null));

    // After a restart they come from snapshot and rows.
    for engine in engines {
        assert!(engine.terminate().await.success());
    }
    trade(&mut devnet, 3).await;
    for (setup, folder) in setups {
        let engine = Engine::start(setup, folder.path()).await;
        engine.at_head(&devnet).await;
        assert!(engine.log().contains("resuming from the store"), "{}", engine.log());
        let report = state::compare(&engine, &devnet).await;
        assert_eq!(report.compared, if setup.extra_dex.starts_with("pools") { 2 } else { pools(&engine).await.len() });
    }
}

/// V2 alone, then V3 is added while the chain goes on, with a kill half-way; then V2 is left out for a while and comes back.
async fn sources_come_and_go(store_url: Option<String>, seed: u64) {
    let folder = tempfile::tempdir().unwrap();
    let mut devnet = Devnet::start(DevnetConfig { seed, ..DevnetConfig::default() }).await.unwrap();
    devnet.fill(150, 4).await.unwrap();
    let both = Setup { extra_chain: "finality = 16".to_owned(), store_url, ..Setup::of(&devnet, folder.path()) };
    let only = |which: usize| {
        let mut setup = Setup { extra_chain: both.extra_chain.clone(), ..Setup::of(&devnet, folder.path()) };
        setup.store_url.clone_from(&both.store_url);
        setup.dexes = vec![both.dexes[which].clone()];
        setup
    };
    let (v2, v3) = (only(0), only(1));

    let engine = Engine::start(&v2, folder.path()).await;
    engine.at_head(&devnet).await;
    let first = pools(&engine).await;
    assert!(engine.terminate().await.success());

    // Killed at some moment of reading back.
    let engine = Engine::start(&both, folder.path()).await;
    engine.says(|line| line.contains("a source was added")).await;
    engine.kill().await;
    trade(&mut devnet, 2).await;
    let engine = Engine::start(&both, folder.path()).await;
    for round in 0..4u64 {
        trade(&mut devnet, 1).await;
        if round == 2 {
            devnet.reorg(2).await.unwrap();
        }
        engine.at_head(&devnet).await;
        state::compare(&engine, &devnet).await;
    }
    engine.says(|line| line.contains("an added source has caught up")).await;
    // Blocks from before it joined are taken back for it as for the others, and nothing comes in their place that would tell its state.
    devnet.reorg(12).await.unwrap();
    engine.at_head(&devnet).await;
    state::compare(&engine, &devnet).await;
    trade(&mut devnet, 1).await;
    engine.at_head(&devnet).await;
    let report = state::compare(&engine, &devnet).await;
    assert!(report.compared > first.len(), "{report:?}");
    assert!(engine.terminate().await.success());

    // V2 rests.
    let engine = Engine::start(&v3, folder.path()).await;
    trade(&mut devnet, 4).await;
    engine.at_head(&devnet).await;
    let alone = state::compare(&engine, &devnet).await;
    assert!(alone.compared < report.compared, "{alone:?}");
    assert!(engine.terminate().await.success());
    trade(&mut devnet, 30).await;
    let engine = Engine::start(&v3, folder.path()).await;
    engine.at_head(&devnet).await;
    assert!(engine.terminate().await.success());

    // And is back.
    let engine = Engine::start(&both, folder.path()).await;
    engine.says(|line| line.contains("an added source has caught up")).await;
    trade(&mut devnet, 1).await;
    engine.at_head(&devnet).await;
    let report = state::compare(&engine, &devnet).await;
    assert!(report.compared > alone.compared, "{report:?}");
    // Every event of it, in memory and in the store, in one order.
    let query = "{ swaps(first: 1000) { totalCount nodes { block { number } logIndex } } }";
    let page = engine.query(query, json!({})).await["swaps"].take();
    assert_eq!(page["totalCount"], swap_logs(&devnet).await);
    let places: Vec<(u64, u64)> = page["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|n| (n["block"]["number"].as_u64().unwrap(), n["logIndex"].as_u64().unwrap()))
        .collect();
    assert!(places.is_sorted_by(|a, b| a < b), "{places:?}");
    assert!(engine.terminate().await.success());
    if both.store_url.is_none() {
        assert_eq!(stored_logs(&both.database, &devnet).await, watched_logs(&devnet).await);
    }
    // And once more from the store alone.
    let engine = Engine::start(&both, folder.path()).await;
    engine.at_head(&devnet).await;
    assert_eq!(state::compare(&engine, &devnet).await.compared, report.compared);
    assert!(!engine.log().contains("a source was added"), "{}", engine.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_added_later_is_read_back_alone_while_the_rest_stays_live() {
    sources_come_and_go(None, 72).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_added_later_is_read_back_alone_on_mongodb_too() {
    let mongod = Mongod::start().await.unwrap();
    sources_come_and_go(Some(mongod.uri("sources")), 73).await;
}
