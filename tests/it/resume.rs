//! P3: whoever follows its cursors sees no gap and no double, through kills, restarts, reorgs while away, and another replica.

use std::{collections::BTreeMap, time::Duration};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use swaptide_demo::{Devnet, DevnetConfig};
use tokio_tungstenite::{
    connect_async,
    tungstenite::{Message, client::IntoClientRequest},
};

use super::engine::{Engine, Setup};

/// A client that folds what it is told, and keeps nothing but its last cursor beside that.
#[derive(Default)]
pub struct Follower {
    cursor: Option<String>,
    /// Id to height.
    swaps: BTreeMap<String, u64>,
    kinds: BTreeMap<String, usize>,
    /// Frames that said when their block arrived.
    arrived: usize,
}

fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

impl Follower {
    fn fold(&mut self, frame: &Value) {
        let rows = frame["data"].as_array().unwrap();
        let id = |row: &Value| row["id"].as_str().unwrap().to_owned();
        let kind = frame["kind"].as_str().unwrap();
        *self.kinds.entry(kind.to_owned()).or_default() += 1;
        if let Some(arrived) = frame["arrivedAtMs"].as_u64() {
            let now = now_ms();
            assert!((now - 60_000..=now).contains(&arrived), "{arrived} is not just before {now}");
            self.arrived += 1;
        }
        match kind {
            "UPDATE" => {
                for row in rows {
                    let height = row["block"]["number"].as_u64().unwrap();
                    assert!(self.swaps.insert(id(row), height).is_none(), "told twice: {row}");
                }
            }
            "RETRACT" => {
                for row in rows {
                    assert!(self.swaps.remove(&id(row)).is_some(), "taken back and never told: {row}");
                }
            }
            "ROLLBACK" => {
                let to = frame["block"]["number"].as_u64().unwrap();
                self.swaps.retain(|_, height| *height <= to);
            }
            "HEARTBEAT" => {}
            other => panic!("{other}"),
        }
        self.cursor = Some(frame["cursor"].as_str().unwrap().to_owned());
    }

    /// Reads on from where it was until the stream is at this block.
    pub async fn until(&mut self, engine: &Engine, hash: &str) {
        let reached = tokio::time::timeout(Duration::from_secs(60), self.listen(engine, Some(hash))).await;
        assert!(reached.unwrap(), "the connection ended before {hash}");
    }

    /// Reads on from where it was until the stream is at this block, or the connection ends. Dropped at any time it holds what it was told.
    pub async fn listen(&mut self, engine: &Engine, hash: Option<&str>) -> bool {
        let mut request = engine.ws_url().into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", "graphql-transport-ws".parse().unwrap());
        let (mut socket, _) = connect_async(request).await.unwrap();
        // As an unmodified client does it: the document stays as it was, the cursor comes with the connection.
        let resume = self.cursor.as_ref().map(|cursor| json!({ "follow": cursor }));
        let since = if self.cursor.is_some() { "" } else { "(since: { number: 0 })" };
        let query = format!(
            "subscription {{ onSwapsCreated{since} {{ kind cursor arrivedAtMs block {{ number hash }} data {{ id block {{ number }} }} }} }}"
        );
        for message in [
            json!({ "type": "connection_init", "payload": { "resume": resume } }),
            json!({ "type": "subscribe", "id": "follow", "payload": { "query": query } }),
        ] {
            socket.send(Message::text(message.to_string())).await.unwrap();
        }
        while let Some(Ok(message)) = socket.next().await {
            let Message::Text(text) = message else { continue };
            let message: Value = serde_json::from_str(&text).unwrap();
            assert_ne!(message["type"], "error", "{message}");
            let frame = &message["payload"]["data"]["onSwapsCreated"];
            if frame.is_object() {
                self.fold(frame);
                if hash.is_some_and(|hash| frame["block"]["hash"] == hash) {
                    return true;
                }
            }
        }
        false
    }

    pub async fn is_the_truth(&self, engine: &Engine) {
        let mut all = BTreeMap::new();
        let mut after = Value::Null;
        loop {
            let query = "query($after: Cursor) { swaps(first: 1000, after: $after) { nodes { id block { number } } pageInfo { hasNextPage endCursor } } }";
            let page = engine.query(query, json!({ "after": after })).await["swaps"].clone();
            for node in page["nodes"].as_array().unwrap() {
                all.insert(node["id"].as_str().unwrap().to_owned(), node["block"]["number"].as_u64().unwrap());
            }
            if page["pageInfo"]["hasNextPage"] == false {
                break;
            }
            after = page["pageInfo"]["endCursor"].clone();
        }
        assert!(!all.is_empty());
        assert_eq!(self.swaps, all);
    }
}

/// A block of some swaps; its hash as the engine writes it.
async fn mine(devnet: &mut Devnet) -> String {
    devnet.trader.push_random(6).await.unwrap();
    devnet.mine().await.unwrap().hash.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_survives_kills_reorgs_and_restarts_without_gap_or_double() {
    let folder = tempfile::tempdir().unwrap();
    let mut devnet = Devnet::start(DevnetConfig { seed: 61, ..DevnetConfig::default() }).await.unwrap();
    devnet.fill(30, 6).await.unwrap();
    let setup = Setup::of(&devnet, folder.path());
    let mut follower = Follower::default();
    for round in 0..6_u64 {
        let engine = Engine::start(&setup, folder.path()).await;
        engine.at_head(&devnet).await;
        follower.until(&engine, &devnet.head().await.unwrap().hash.to_string()).await;
        follower.is_the_truth(&engine).await;
        // Told, and perhaps not stored yet when it is killed.
        let last = mine(&mut devnet).await;
        engine.at_head(&devnet).await;
        follower.until(&engine, &last).await;
        if round % 2 == 0 {
            engine.kill().await
        } else {
            assert!(engine.terminate().await.success())
        }
        // While it is down some of what was told is replaced, and more comes.
        if round % 3 != 2 {
            devnet.reorg(1 + round % 2).await.unwrap();
        }
        for _ in 0..round {
            mine(&mut devnet).await;
        }
    }
    let engine = Engine::start(&setup, folder.path()).await;
    engine.at_head(&devnet).await;
    follower.until(&engine, &devnet.head().await.unwrap().hash.to_string()).await;
    follower.is_the_truth(&engine).await;
    let taken_back = ["RETRACT", "ROLLBACK"].iter().filter_map(|kind| follower.kinds.get(*kind)).sum::<usize>();
    assert!(taken_back >= 3, "{:?}", follower.kinds);
    assert!(follower.arrived >= 6, "a block that it was told of live has a time in each of the rounds: {}", follower.arrived);

    // Another process with a store of its own, which saw nothing of what was taken back, takes the same cursor.
    let elsewhere = tempfile::tempdir().unwrap();
    let before = follower.cursor.clone();
    devnet.reorg(2).await.unwrap();
    let last = mine(&mut devnet).await;
    let replica = Engine::start(&Setup::of(&devnet, elsewhere.path()), elsewhere.path()).await;
    replica.at_head(&devnet).await;
    assert_eq!(follower.cursor, before);
    follower.until(&replica, &last).await;
    follower.is_the_truth(&replica).await;
}
