//! The clients that front ends use: npm's graphql-ws, Apollo, urql; and the audits of GraphQL over HTTP.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use swaptide_demo::{Devnet, DevnetConfig};

use super::{
    engine::{Engine, Setup},
    node::NodeClient,
};

const CLIENTS: [&str; 3] = ["graphql-ws", "apollo", "urql"];

#[tokio::test(flavor = "multi_thread")]
async fn unmodified_clients_follow_ask_and_find_nothing_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let mut devnet = Devnet::start(DevnetConfig::tiny()).await.unwrap();
    let engine = Engine::start(&Setup::of(&devnet, folder.path()), folder.path()).await;
    engine.at_head(&devnet).await;
    let head = devnet.head().await.unwrap().number;
    let mut node = NodeClient::start("transports.mjs", &[&engine.ws_url(), &engine.http_url()]);
    let (mut audits, mut blocks, mut begun) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
    loop {
        let line = node.until(|_| true).await;
        assert_eq!(line.get("error"), None, "{line}");
        if line["audited"] == true {
            break;
        }
        if line.get("audit").is_some() {
            audits.push(line);
        } else if line.get("block").is_some() {
            blocks.insert(line["client"].as_str().unwrap().to_owned(), line["block"].as_u64());
        } else {
            begun.insert(line["client"].as_str().unwrap().to_owned(), line["kind"].clone());
        }
    }
    let all = |value: Value| CLIENTS.iter().map(|client| ((*client).to_owned(), value.clone())).collect::<BTreeMap<_, _>>();
    assert_eq!(json!(blocks), json!(all(json!(head))), "a query of each");
    assert_eq!(json!(begun), json!(all(json!("HEARTBEAT"))), "a subscription of each");
    assert!(audits.len() > 50, "{}", audits.len());
    let wrong: Vec<_> = audits.iter().filter(|audit| audit["status"] == "error").collect();
    assert!(wrong.is_empty(), "{wrong:#?}");

    let pool = devnet.deployment.pools[0].clone();
    devnet.trader.swap_v2(0, true, pool.token0.unit_raw()).await.unwrap();
    devnet.mine_all_ok().await.unwrap();
    let mut updates: BTreeMap<String, Value> = BTreeMap::new();
    while updates.len() < CLIENTS.len() {
        let line = node.until(|line| line["kind"] == "UPDATE").await;
        updates.insert(line["client"].as_str().unwrap().to_owned(), line["ids"].clone());
    }
    devnet.reorg(1).await.unwrap();
    for _ in CLIENTS {
        let line = node.until(|line| line["kind"] == "RETRACT").await;
        assert_eq!(line["ids"], updates[line["client"].as_str().unwrap()], "the very swap");
    }
}
