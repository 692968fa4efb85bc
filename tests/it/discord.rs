//! `examples/discord-poller`, as whoever copies it would run it: the script itself against this engine, a webhook that listens here, a
//! chain that is reorganised, and an end in the middle.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use alloy::primitives::I256;
use axum::{
    Json, Router,
    extract::{Path as InPath, State},
    http::StatusCode,
    response::IntoResponse,
    routing::{get, patch, post},
};
use serde_json::{Value, json};
use swaptide_demo::{Devnet, DevnetConfig};
use tokio::sync::{mpsc, watch};

use super::engine::{Engine, PATIENCE, Setup};

/// What a channel shows: contents by message.
#[derive(Clone, Default)]
struct Channel {
    messages: Vec<String>,
    /// Every request, as it came.
    requests: Vec<Value>,
}

impl Channel {
    /// How often each swap is announced and not taken back.
    fn standing(&self) -> BTreeMap<String, usize> {
        let mut all = BTreeMap::new();
        for message in self.messages.iter().filter(|m| !m.starts_with("~~")) {
            *all.entry(swap_of(message)).or_default() += 1;
        }
        all
    }
}

fn swap_of(message: &str) -> String {
    message
        .split("swap `")
        .nth(1)
        .and_then(|rest| rest.split('`').next())
        .unwrap_or_else(|| panic!("no swap in {message}"))
        .to_owned()
}

/// A webhook that is busy at every fifth request.
async fn webhook() -> (String, watch::Receiver<Channel>) {
    let (tx, rx) = watch::channel(Channel::default());
    let tx = Arc::new(tx);
    let busy = |channel: &Channel| channel.requests.len() % 5 == 4;
    let too_many = || (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "0.02")], "slower").into_response();
    let create = move |State(tx): State<Arc<watch::Sender<Channel>>>, Json(body): Json<Value>| async move {
        let mut response = too_many();
        tx.send_modify(|channel| {
            if !busy(channel) {
                channel.messages.push(body["content"].as_str().unwrap().to_owned());
                response = Json(json!({ "id": (channel.messages.len() - 1).to_string() })).into_response();
            }
            channel.requests.push(body);
        });
        response
    };
    let edit = move |State(tx): State<Arc<watch::Sender<Channel>>>, InPath(id): InPath<usize>, Json(body): Json<Value>| async move {
        let mut response = too_many();
        tx.send_modify(|channel| {
            if !busy(channel) {
                channel.messages[id] = body["content"].as_str().unwrap().to_owned();
                response = Json(json!({ "id": id.to_string() })).into_response();
            }
            channel.requests.push(body);
        });
        response
    };
    let router = Router::new().route("/hook", post(create)).route("/hook/messages/{id}", patch(edit)).with_state(tx);
    (format!("http://{}/hook", serve(router).await), rx)
}

async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    host
}

/// The script, running. Dropping it kills it, without a goodbye.
struct Poller {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Poller {
    fn start(folder: &Path, env: &[(&str, &str)]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/discord-poller/poll.mjs");
        let mut child = Command::new("node")
            .arg(script)
            .env_remove("DISCORD_WEBHOOK_URL")
            .envs(env.iter().copied())
            .env("POLL_MS", "50")
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("Node is installed");
        let stdout = child.stdout.take().unwrap();
        let (tx, lines) = mpsc::channel(1_000);
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if tx.blocking_send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    async fn says(&mut self) -> String {
        tokio::time::timeout(PATIENCE, self.lines.recv()).await.expect("it says something").expect("it is still running")
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn raw(swap: &Value, token: &str) -> I256 {
    let side = if swap["token0"] == token { "amount0Raw" } else { "amount1Raw" };
    swap[side].as_str().unwrap().parse::<I256>().unwrap().abs()
}

/// The swaps of a token above a block, as the engine has them now.
async fn swaps(engine: &Engine, token: &str, above: u64) -> Vec<Value> {
    let response = engine.api.get(&format!("/v1/31337/swaps?limit=1000&token={token}")).await.unwrap();
    let page: Value = serde_json::from_slice(&response.body).unwrap();
    assert_eq!(page["cursor"], Value::Null, "they are on one page");
    page["data"].as_array().unwrap().iter().filter(|swap| swap["block"]["number"].as_u64() > Some(above)).cloned().collect()
}

async fn trade(devnet: &mut Devnet, blocks: usize) {
    for _ in 0..blocks {
        devnet.trader.push_random(12).await.unwrap();
        devnet.mine().await.unwrap();
    }
}

/// Until the channel shows each of these once, and nothing else; and until the script has written that down.
async fn shows(channel: &mut watch::Receiver<Channel>, truth: &[Value], cursor: &PathBuf) {
    let expected: BTreeMap<String, usize> = truth.iter().map(|swap| (swap["id"].as_str().unwrap().to_owned(), 1)).collect();
    let arrived = tokio::time::timeout(PATIENCE, channel.wait_for(|channel| channel.standing() == expected)).await.is_ok();
    assert!(arrived, "expected {expected:#?}, shown {:#?}", channel.borrow().standing());
    let written = || -> Option<BTreeMap<String, usize>> {
        let state: Value = serde_json::from_str(&fs::read_to_string(cursor).ok()?).ok()?;
        Some(state["posted"].as_array()?.iter().map(|one| (one["id"].as_str().unwrap().to_owned(), 1)).collect())
    };
    let waiting = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        while written().as_ref() != Some(&expected) {
            ticks.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("it writes down what it posted");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_discord_example_announces_each_swap_once_and_strikes_through_what_a_reorg_took() {
    let folder = tempfile::tempdir().unwrap();
    let mut devnet = Devnet::start(DevnetConfig { seed: 37, ..DevnetConfig::default() }).await.unwrap();
    let engine = Engine::start(&Setup::of(&devnet, folder.path()), folder.path()).await;
    trade(&mut devnet, 8).await;
    engine.at_head(&devnet).await;
    // "Large" is what is as large as half of those that there were.
    let token = format!("{:#x}", devnet.deployment.pools[0].token0.address);
    let mut before = swaps(&engine, &token, 0).await;
    before.sort_by_key(|swap| raw(swap, &token));
    let median = before[before.len() / 2].clone();
    let least = raw(&median, &token);
    let least_text =
        median[if median["token0"] == token.as_str() { "amount0" } else { "amount1" }].as_str().unwrap().replace('-', "");
    let large = |swaps: Vec<Value>| -> Vec<Value> { swaps.into_iter().filter(|swap| raw(swap, &token) >= least).collect() };

    let (hook, mut channel) = webhook().await;
    let (url, cursor) = (format!("http://{}", engine.api.host()), folder.path().join("cursor.json"));
    let env = [
        ("SWAPTIDE_URL", url.as_str()),
        ("DISCORD_WEBHOOK_URL", hook.as_str()),
        ("TOKEN", token.as_str()),
        ("MIN_AMOUNT", least_text.as_str()),
    ];
    let mut poller = Poller::start(folder.path(), &env);
    assert!(poller.says().await.starts_with("follows "));
    let start = devnet.head().await.unwrap().number;

    trade(&mut devnet, 6).await;
    engine.at_head(&devnet).await;
    let (first, all) = (large(swaps(&engine, &token, start).await), swaps(&engine, &token, start).await.len());
    assert!(first.len() >= 3 && first.len() < all, "{} of {all} are large", first.len());
    shows(&mut channel, &first, &cursor).await;

    // What was announced is taken back; some of it comes again in other blocks.
    devnet.reorg_keeping(3, 650).await.unwrap();
    trade(&mut devnet, 2).await;
    engine.at_head(&devnet).await;
    let second = large(swaps(&engine, &token, start).await);
    shows(&mut channel, &second, &cursor).await;
    assert!(channel.borrow().messages.iter().any(|m| m.starts_with("~~") && m.contains("taken back by a reorg")));

    // While it is away the chain goes on and back, below what it announced.
    drop(poller);
    trade(&mut devnet, 2).await;
    engine.at_head(&devnet).await;
    devnet.reorg_keeping(5, 500).await.unwrap();
    trade(&mut devnet, 3).await;
    engine.at_head(&devnet).await;
    let poller = Poller::start(folder.path(), &env);
    let third = large(swaps(&engine, &token, start).await);
    shows(&mut channel, &third, &cursor).await;

    // It goes on from there, and says nothing twice.
    trade(&mut devnet, 2).await;
    engine.at_head(&devnet).await;
    let last = large(swaps(&engine, &token, start).await);
    assert!(last.len() > third.len(), "something large happened");
    shows(&mut channel, &last, &cursor).await;
    drop(poller);

    let channel = channel.borrow();
    let canonical: Vec<&str> = last.iter().map(|swap| swap["id"].as_str().unwrap()).collect();
    for message in channel.messages.iter().filter(|message| !message.starts_with("~~")) {
        assert!(canonical.contains(&swap_of(message).as_str()), "what is no more is struck through: {message}");
    }
    for request in &channel.requests {
        assert_eq!(request["allowed_mentions"], json!({ "parse": [] }));
        assert!(request["content"].as_str().unwrap().chars().count() <= 2000);
    }
}

/// A server that is busy, then not ready, then has one swap of a token with a hostile name, then has nothing new.
#[tokio::test(flavor = "multi_thread")]
async fn the_discord_example_waits_when_it_is_told_to_and_shows_a_strangers_text_as_text() {
    let folder = tempfile::tempdir().unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let swaps = {
        let asked = asked.clone();
        move |request: axum::extract::Request| async move {
            let tag = request.headers().get("if-none-match").map_or_else(String::new, |tag| tag.to_str().unwrap().to_owned());
            let mut asked = asked.lock().unwrap();
            asked.push(tag);
            let wait = [("retry-after", "0.02")];
            match asked.len() {
                1 => (StatusCode::TOO_MANY_REQUESTS, wait, "").into_response(),
                2 => (StatusCode::SERVICE_UNAVAILABLE, wait, "").into_response(),
                3 => {
                    let swap = json!({
                        "id": "31337:0x00:1", "block": { "number": 7 }, "token0": "0xa", "token1": "0xb",
                        "amount0": "1.5", "amount1": "-2", "amount0Raw": "15", "amount1Raw": "-20"
                    });
                    ([("etag", "W/\"1\"")], Json(json!({ "data": [swap], "cursor": "next", "rollbackTo": null }))).into_response()
                }
                _ => (StatusCode::NOT_MODIFIED, [("etag", "W/\"1\"")]).into_response(),
            }
        }
    };
    let token = |InPath(address): InPath<String>| async move {
        let symbol = if address == "0xa" { "@everyone [x](https://a.b) <@1>" } else { "**B**\n\u{202e}`c`" };
        Json(json!({ "symbol": symbol, "decimals": 1 }))
    };
    let router: Router = Router::new().route("/v1/31337/swaps", get(swaps)).route("/v1/31337/tokens/{address}", get(token));
    let url = format!("http://{}", serve(router).await);
    let mut poller = Poller::start(folder.path(), &[("SWAPTIDE_URL", &url)]);
    let (said, swap) = (poller.says().await, poller.says().await);
    assert_eq!(said, "**1.5 @\u{200b}everyone \\[x\\]\\(https\\://a.** → **2 \\*\\*B\\*\\* \\`c\\`** in block 7");
    assert_eq!(swap, "swap `31337:0x00:1`");
    assert!(poller.says().await.starts_with("follows "));
    // Then it asks with what it has, and has nothing to say.
    let waiting = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        while asked.lock().unwrap().len() < 6 {
            ticks.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("it asks again");
    assert_eq!(asked.lock().unwrap()[..5], ["", "", "", "W/\"1\"", "W/\"1\""]);
}

/// It posted two swaps and was killed before it wrote the next cursor; then a reorg took one of them, above that cursor.
#[tokio::test(flavor = "multi_thread")]
async fn the_discord_example_strikes_through_what_it_posted_just_before_it_was_killed() {
    let folder = tempfile::tempdir().unwrap();
    let posted = |id: &str| json!({ "id": id, "block": 6, "since": "here", "content": format!("**{id}**\nswap `{id}`") });
    let earlier = json!({ "id": "1:c:1", "block": 5, "since": "before", "content": "**1:c:1**\nswap `1:c:1`" });
    let state = json!({ "cursor": "here", "posted": [earlier, posted("1:a:1"), posted("1:b:1")] });
    fs::write(folder.path().join("cursor.json"), state.to_string()).unwrap();
    // One that was there before the reorg and above where it went back to is gone; one that this very answer had brought is not.
    let swaps = || async {
        let swap = json!({
            "id": "1:a:1", "block": { "number": 6 }, "token0": "0xa", "token1": "0xb",
            "amount0": "1", "amount1": "-2", "amount0Raw": "1", "amount1Raw": "-2"
        });
        Json(json!({ "data": [swap], "cursor": "next", "rollbackTo": { "number": 4 } }))
    };
    let url = format!("http://{}", serve(Router::new().route("/v1/31337/swaps", get(swaps))).await);
    let cursor = folder.path().join("cursor.json");
    let mut poller = Poller::start(folder.path(), &[("SWAPTIDE_URL", &url)]);
    for gone in ["1:c:1", "1:b:1"] {
        let said = (poller.says().await, poller.says().await);
        assert_eq!(said, (format!("~~**{gone}**~~ taken back by a reorg"), format!("swap `{gone}`")));
    }
    let waiting = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        loop {
            ticks.tick().await;
            let state: Value = serde_json::from_str(&fs::read_to_string(&cursor).unwrap()).unwrap();
            if state["cursor"] == "next" {
                break state;
            }
        }
    };
    let state = tokio::time::timeout(PATIENCE, waiting).await.expect("it goes on");
    assert_eq!(state["posted"], json!([posted("1:a:1")]), "what stands is not posted twice");
}
