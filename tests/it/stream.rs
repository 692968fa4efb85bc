//! `/v1/stream` of the built engine, through kills and reorgs while the client is away.

use serde_json::{Value, json};
use swaptide_demo::{Devnet, DevnetConfig};

use super::{
    engine::{Engine, Setup},
    node::NodeClient,
};

/// Ids of all swaps that count, oldest first.
async fn swaps(engine: &Engine, devnet: &Devnet) -> Value {
    engine.at_head(devnet).await;
    let path = format!("/v1/{}/swaps?order=asc&limit=1000", devnet.chain_id);
    let answer = engine.api.get(&path).await.unwrap();
    assert_eq!(answer.status, 200);
    let page: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(page["cursor"], Value::Null, "one page is all");
    page["data"].as_array().unwrap().iter().map(|swap| swap["id"].clone()).collect()
}

async fn trade(devnet: &mut Devnet, blocks: u64) {
    for _ in 0..blocks {
        devnet.trader.push_random(6).await.unwrap();
        devnet.mine().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_goes_on_after_kills_and_reorgs_without_gap_or_double() {
    let folder = tempfile::tempdir().unwrap();
    let mut devnet = Devnet::start(DevnetConfig { seed: 61, ..DevnetConfig::default() }).await.unwrap();
    // The same address every time: the client knows no other.
    let api_listen = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let setup = Setup { api_listen: api_listen.clone(), ..Setup::of(&devnet, folder.path()) };
    let mut engine = Engine::start(&setup, folder.path()).await;
    engine.at_head(&devnet).await;
    let mut client = NodeClient::start("stream.mjs", &[&format!("http://{api_listen}/v1/stream?topics=swaps")]);
    client.until(|line| line["event"] == "open").await;
    let subscribed = async {
        while !String::from_utf8(engine.admin.get("/metrics").await.unwrap().body).unwrap().contains("swaptide_streams 1") {}
    };
    subscribed.await;
    trade(&mut devnet, 3).await;
    let expected = swaps(&engine, &devnet).await;
    assert!(expected.as_array().unwrap().len() > 3);
    client.until(|line| line["held"] == expected).await;

    for round in 0..3 {
        engine.kill().await;
        client.until(|line| line["event"] == "lost").await;
        trade(&mut devnet, 2).await;
        devnet.reorg(1 + 2 * round).await.unwrap();
        trade(&mut devnet, 1).await;
        engine = Engine::start(&setup, folder.path()).await;
        trade(&mut devnet, 1).await;
        if round == 1 {
            devnet.reorg(2).await.unwrap();
            trade(&mut devnet, 1).await;
        }
        let expected = swaps(&engine, &devnet).await;
        client.until(|line| line["held"] == expected).await;
    }
    // A server that stops in good order ends its streams, and does not wait for them.
    assert!(engine.terminate().await.success());
    client.until(|line| line["event"] == "lost").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_says_that_the_chain_stands_still() {
    let folder = tempfile::tempdir().unwrap();
    let devnet = Devnet::start(DevnetConfig::tiny()).await.unwrap();
    let setup = Setup { extra_chain: "stall_timeout_ms = 1000".to_owned(), ..Setup::of(&devnet, folder.path()) };
    let engine = Engine::start(&setup, folder.path()).await;
    engine.at_head(&devnet).await;
    let pool = format!("{:#x}", devnet.deployment.pools[0].address);
    let url = format!("http://{}/v1/stream?topics=pool:{pool}", engine.api.host());
    let mut client = NodeClient::start("stream.mjs", &[&url]);
    let first = client.until(|line| line["event"] == "message").await;
    assert_eq!(first["kind"], json!("SNAPSHOT"));
    let heartbeat = client.until(|line| line["kind"] == "HEARTBEAT").await;
    assert_eq!(heartbeat["freshness"], json!("STALE"));
}
