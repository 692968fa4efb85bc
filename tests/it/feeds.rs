//! Subscriptions through reorgs, with the unmodified npm client.

use serde_json::{Value, json};
use swaptide_demo::{Devnet, DevnetConfig};

use super::{
    engine::{Engine, Setup},
    node::NodeClient,
};

const SWAPS: &str = "subscription { onSwapsCreated { topic seq cursor kind block { number hash } data { id logIndex amount0Raw amount1Raw block { number hash } pool { id } } } }";
const BLOCKS: &str = "subscription { blocks { kind cursor block { number hash } data { number hash parentHash } } }";

fn ids(frame: &Value) -> Vec<String> {
    let events = frame["data"]["onSwapsCreated"]["data"].as_array().unwrap();
    events.iter().map(|e| e["id"].as_str().unwrap().to_owned()).collect()
}

/// A frame that brings or takes back something.
fn news(line: &Value) -> bool {
    let frame = line["data"].as_object().and_then(|data| data.values().next());
    line["event"] == "next" && frame.is_some_and(|frame| frame["kind"] != "HEARTBEAT")
}

#[tokio::test(flavor = "multi_thread")]
async fn one_swap_one_reorg_one_retract_at_an_npm_client_and_the_rows_in_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let mut devnet = Devnet::start(DevnetConfig::tiny()).await.unwrap();
    let engine = Engine::start(&Setup::of(&devnet, folder.path()), folder.path()).await;
    engine.at_head(&devnet).await;
    let mut client = NodeClient::start("subscribe.mjs", &[&engine.ws_url(), SWAPS]);
    client.until(|l| l["event"] == "connected").await;
    // The subscription is up when a block of it arrives; until then blocks are mined without a swap.
    let mut blocks = NodeClient::start("subscribe.mjs", &[&engine.ws_url(), BLOCKS]);
    blocks.until(|l| l["event"] == "connected").await;
    subscribed(&engine, 2).await;

    let pool = devnet.deployment.pools[0].clone();
    let amount = devnet.deployment.pools[0].token0.unit_raw();
    devnet.trader.swap_v2(0, true, amount).await.unwrap();
    let mined = devnet.mine_all_ok().await.unwrap();
    let update = client.until(news).await;
    let frame = &update["data"]["onSwapsCreated"];
    assert_eq!(frame["kind"], "UPDATE", "{update}");
    assert_eq!(frame["block"]["hash"], json!(mined.hash.to_string()));
    assert_eq!(frame["data"][0]["pool"]["id"].as_str().unwrap(), format!("{:#x}", pool.address));
    let taken = ids(&update);
    assert_eq!(taken, [format!("{}:{}:{}", devnet.chain_id, mined.hash, frame["data"][0]["logIndex"])]);

    let reorg = devnet.reorg(1).await.unwrap();
    let retract = client.until(news).await;
    let frame = &retract["data"]["onSwapsCreated"];
    assert_eq!(frame["kind"], "RETRACT", "{retract}");
    assert_eq!(ids(&retract), taken, "the very swap is taken back");
    assert_eq!(frame["block"]["number"], json!(reorg.ancestor), "its position is the one before what it takes back");
    assert_ne!(frame["cursor"], update["data"]["onSwapsCreated"]["cursor"]);
    engine.at_head(&devnet).await;
    let left = engine.query("{ swaps(first: 10) { nodes { id } totalCount } }", json!({})).await;
    assert_eq!(left["swaps"], json!({ "nodes": [], "totalCount": 0 }), "the answer is without it");

    // The same swap again is another event, and it is durable: a new process answers with it.
    devnet.trader.swap_v2(0, true, amount).await.unwrap();
    let again = devnet.mine_all_ok().await.unwrap();
    let update = client.until(news).await;
    assert_eq!(update["data"]["onSwapsCreated"]["kind"], "UPDATE");
    assert_ne!(ids(&update), taken);
    let id = ids(&update);
    assert!(engine.terminate().await.success());
    let engine = Engine::start(&Setup::of(&devnet, folder.path()), folder.path()).await;
    engine.at_head(&devnet).await;
    let stored = engine.query("{ swaps { nodes { id block { hash } } totalCount } }", json!({})).await;
    assert_eq!(stored["swaps"]["nodes"], json!([{ "id": id[0], "block": { "hash": again.hash.to_string() } }]));
}

/// Until so many subscriptions run.
async fn subscribed(engine: &Engine, count: i64) {
    let waiting = async {
        loop {
            let metrics = engine.admin.get("/metrics").await.unwrap();
            let text = String::from_utf8(metrics.body).unwrap();
            let running =
                text.lines().find_map(|l| l.strip_prefix("swaptide_subscriptions ")).and_then(|v| v.parse::<i64>().ok());
            if running >= Some(count) {
                return;
            }
        }
    };
    tokio::time::timeout(super::engine::PATIENCE, waiting).await.expect("the subscriptions start");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_that_folds_every_frame_has_exactly_the_canonical_swaps() {
    let folder = tempfile::tempdir().unwrap();
    let mut devnet = Devnet::start(DevnetConfig { seed: 11, ..DevnetConfig::default() }).await.unwrap();
    let engine = Engine::start(&Setup::of(&devnet, folder.path()), folder.path()).await;
    engine.at_head(&devnet).await;
    let first = devnet.head().await.unwrap().number + 1;
    let mut swaps = NodeClient::start("subscribe.mjs", &[&engine.ws_url(), SWAPS]);
    let mut blocks = NodeClient::start("subscribe.mjs", &[&engine.ws_url(), BLOCKS]);
    swaps.until(|l| l["event"] == "connected").await;
    blocks.until(|l| l["event"] == "connected").await;
    subscribed(&engine, 2).await;
    for round in 0..24u64 {
        devnet.trader.push_random(12).await.unwrap();
        devnet.mine().await.unwrap();
        if round % 5 == 4 {
            devnet.reorg(1 + round % 3).await.unwrap();
        }
    }
    devnet.trader.push_random(5).await.unwrap();
    let last = devnet.mine().await.unwrap();
    engine.at_head(&devnet).await;

    // Blocks: every frame must fit the end of what was folded before.
    let mut chain: Vec<(u64, String)> = Vec::new();
    while chain.last().is_none_or(|(_, hash)| *hash != last.hash.to_string()) {
        let line = blocks.until(news).await;
        let frame = &line["data"]["blocks"];
        for block in frame["data"].as_array().unwrap() {
            let this = (block["number"].as_u64().unwrap(), block["hash"].as_str().unwrap().to_owned());
            if frame["kind"] == "RETRACT" {
                if let Some(top) = chain.pop() {
                    assert_eq!(top, this, "newest first");
                }
            } else {
                if let Some((number, hash)) = chain.last() {
                    assert_eq!((number + 1, hash.as_str()), (this.0, block["parentHash"].as_str().unwrap()), "no gap");
                }
                chain.push(this);
            }
        }
    }
    // Swaps: folded until the last frame, and then compared with what the API says of the same stretch.
    let stored = all_swaps(&engine).await;
    let expected: Vec<String> = stored.iter().filter(|(number, _)| *number >= first).map(|(_, id)| id.clone()).collect();
    let mut folded: Vec<String> = Vec::new();
    while folded != expected {
        let line = swaps.until(news).await;
        match line["data"]["onSwapsCreated"]["kind"].as_str().unwrap() {
            "UPDATE" => folded.extend(ids(&line)),
            "RETRACT" => {
                for id in ids(&line) {
                    if let Some(top) = folded.pop() {
                        assert_eq!(top, id);
                    }
                }
            }
            other => panic!("{other}"),
        }
    }
    assert!(!expected.is_empty());
}

/// Oldest first: (block number, id).
async fn all_swaps(engine: &Engine) -> Vec<(u64, String)> {
    let mut all = Vec::new();
    let mut after = Value::Null;
    loop {
        let query = "query($after: Cursor) { swaps(first: 100, after: $after, orderDirection: asc) { nodes { id block { number } } pageInfo { hasNextPage endCursor } } }";
        let page = engine.query(query, json!({ "after": after })).await;
        for node in page["swaps"]["nodes"].as_array().unwrap() {
            all.push((node["block"]["number"].as_u64().unwrap(), node["id"].as_str().unwrap().to_owned()));
        }
        if page["swaps"]["pageInfo"]["hasNextPage"] != json!(true) {
            return all;
        }
        after = page["swaps"]["pageInfo"]["endCursor"].clone();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_drains_and_says_goodbye() {
    let folder = tempfile::tempdir().unwrap();
    let devnet = Devnet::start(DevnetConfig::tiny()).await.unwrap();
    let engine = Engine::start(&Setup::of(&devnet, folder.path()), folder.path()).await;
    engine.at_head(&devnet).await;
    let mut client = NodeClient::start("subscribe.mjs", &[&engine.ws_url(), BLOCKS]);
    client.until(|l| l["event"] == "connected").await;
    subscribed(&engine, 1).await;
    assert!(engine.terminate().await.success(), "exit code 0");
    let closed = client.until(|l| l["event"] == "closed").await;
    assert_eq!(closed["code"], 1001, "{closed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn onpoolupdated_starts_with_a_snapshot_and_follows_the_state() {
    let folder = tempfile::tempdir().unwrap();
    let mut devnet = Devnet::start(DevnetConfig::tiny()).await.unwrap();
    let engine = Engine::start(&Setup::of(&devnet, folder.path()), folder.path()).await;
    engine.at_head(&devnet).await;
    let pool = format!("{:#x}", devnet.deployment.pools[0].address);
    let query = "subscription($ids: [ID!]!) { onPoolUpdated(ids: $ids) { kind cursor block { number } data { id reserve0 reserve1 asOf { number } } } }";
    let mut client = NodeClient::start("subscribe.mjs", &[&engine.ws_url(), query, &json!({ "ids": [pool] }).to_string()]);
    let snapshot = client.until(news).await;
    let frame = &snapshot["data"]["onPoolUpdated"];
    assert_eq!(frame["kind"], "SNAPSHOT", "{snapshot}");
    let before = frame["data"][0]["reserve0"].as_str().unwrap().to_owned();
    devnet.trader.swap_v2(0, true, devnet.deployment.pools[0].token0.unit_raw()).await.unwrap();
    devnet.mine_all_ok().await.unwrap();
    let update = client.until(news).await;
    assert_eq!(update["data"]["onPoolUpdated"]["kind"], "UPDATE");
    assert_ne!(update["data"]["onPoolUpdated"]["data"][0]["reserve0"].as_str().unwrap(), before);
    devnet.reorg(1).await.unwrap();
    let retract = client.until(news).await;
    assert_eq!(retract["data"]["onPoolUpdated"]["kind"], "RETRACT", "{retract}");
    assert_eq!(retract["data"]["onPoolUpdated"]["data"][0]["reserve0"].as_str().unwrap(), before, "back to what it was");
}
