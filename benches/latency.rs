//! Block mined to `onSwapsCreated` frame, against the bare WebSocket log subscription of the same run:
//! `cargo bench --bench latency [-- --blocks 300 --swaps 50 --pause-ms 100]`.
//!
//! Both observers sit in this process and see the same blocks. A block counts when its last swap was seen. The figure is what
//! Swaptide adds: fetching the block's logs, proving them complete, the pools, the commit, GraphQL and the socket.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    reason = "a bench prints, and ends with a panic where it cannot go on"
)]

use std::{
    collections::HashMap,
    error::Error,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use swaptide_demo::{Devnet, DevnetConfig};
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;
type Seen = Arc<Mutex<HashMap<u64, Instant>>>;

const SUBSCRIPTION: &str =
    "subscription { onSwapsCreated { kind block { number } data { id amount0Raw amount1Raw sqrtPriceX96 tick pool { id } } } }";

struct Args {
    blocks: u64,
    swaps: usize,
    pause: Duration,
}

fn args() -> Result<Args> {
    let mut args = Args { blocks: 300, swaps: 50, pause: Duration::from_millis(100) };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "--blocks" => args.blocks = value()?.parse()?,
            "--swaps" => args.swaps = value()?.parse()?,
            "--pause-ms" => args.pause = Duration::from_millis(value()?.parse()?),
            "--bench" => {}
            other => return Err(format!("{other} is unknown: --blocks --swaps --pause-ms").into()),
        }
    }
    Ok(args)
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = args()?;
    let mut devnet =
        Devnet::start(DevnetConfig { v2_pools: 10, v3_pools: 10, max_new_pools: 0, ..DevnetConfig::default() }).await?;
    let folder = tempfile::tempdir()?;
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let d = &devnet.deployment;
    let toml = format!(
        "[api]\nlisten = \"127.0.0.1:{port}\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[store]\nurl = \"sqlite:{}\"\n[[chain]]\nid = 31337\nname = \"bench\"\nrpc = [{:?}, {:?}]\n\
         [[chain.dex]]\nname = \"v2\"\nprotocol = \"uniswap_v2\"\nfactory = \"{}\"\n[[chain.dex]]\nname = \"v3\"\nprotocol = \"uniswap_v3\"\nfactory = \"{}\"\n",
        folder.path().join("bench.db").display(),
        devnet.ws_url,
        devnet.http_url,
        d.v2_factory,
        d.v3_factory
    );
    let config = folder.path().join("bench.toml");
    std::fs::write(&config, toml)?;
    let child = Command::new(env!("CARGO_BIN_EXE_swaptide")).args(["run", "-c"]).arg(&config).stderr(Stdio::null()).spawn()?;
    let _child = Killed(child);

    let (floor, ours): (Seen, Seen) = Default::default();
    let node = watch_node(devnet.ws_url.clone(), floor.clone());
    tokio::spawn(async move {
        if let Err(error) = node.await {
            println!("the bare subscription ended: {error}");
        }
    });
    let mut socket = connect(port).await?;
    let seen = ours.clone();
    tokio::spawn(async move {
        while let Some(Ok(message)) = socket.next().await {
            let Message::Text(text) = message else { continue };
            let at = Instant::now();
            let frame: Value = serde_json::from_str(&text).unwrap_or_default();
            if let Some(number) = frame["payload"]["data"]["onSwapsCreated"]["block"]["number"].as_u64() {
                seen.lock().expect("nobody panics with it").insert(number, at);
            }
        }
    });
    let mut mined = HashMap::new();
    let warm_up = 10;
    for block in 0..args.blocks + warm_up {
        devnet.trader.push_random(args.swaps).await?;
        tokio::time::sleep(args.pause).await;
        let block_mined = devnet.mine().await?;
        if block >= warm_up {
            mined.insert(block_mined.number, block_mined.mined_at);
        }
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (floor, ours) = (floor.lock().expect("no panic").clone(), ours.lock().expect("no panic").clone());
    println!("seen: {} blocks by the bare subscription, {} by ours, of {}", floor.len(), ours.len(), mined.len());
    let missed = mined.keys().filter(|n| floor.contains_key(n) && !ours.contains_key(n)).count();
    let ms = |a: Instant, b: Instant| {
        a.saturating_duration_since(b).as_secs_f64() * 1e3 - b.saturating_duration_since(a).as_secs_f64() * 1e3
    };
    let mut added = Vec::new();
    let (mut bare, mut whole) = (Vec::new(), Vec::new());
    for (number, at) in &mined {
        if let (Some(node), Some(us)) = (floor.get(number), ours.get(number)) {
            added.push(ms(*us, *node));
            bare.push(ms(*node, *at));
            whole.push(ms(*us, *at));
        }
    }
    for (name, values) in [
        ("bare log subscription after mined", &mut bare),
        ("onSwapsCreated after mined", &mut whole),
        ("added by Swaptide", &mut added),
    ] {
        values.sort_by(f64::total_cmp);
        let q = |p: f64| values[((values.len() - 1) as f64 * p) as usize];
        println!(
            "{name}: p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms, max {:.1} ms ({} blocks)",
            q(0.5),
            q(0.9),
            q(0.99),
            q(1.0),
            values.len()
        );
    }
    println!("blocks that were missed: {missed}; bars: p50 5 ms, p99 25 ms added");
    Ok(())
}

/// The last log of each block, as the node pushes them.
async fn watch_node(url: String, seen: Seen) -> Result<()> {
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await?;
    socket.send(Message::text(r#"{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":["logs",{}]}"#)).await?;
    while let Some(message) = socket.next().await {
        let Message::Text(text) = message? else { continue };
        let at = Instant::now();
        let pushed: Value = serde_json::from_str(&text)?;
        let number = pushed["params"]["result"]["blockNumber"]
            .as_str()
            .and_then(|n| u64::from_str_radix(n.trim_start_matches("0x"), 16).ok());
        if let Some(number) = number {
            seen.lock().expect("nobody panics with it").insert(number, at);
        }
    }
    Ok(())
}

async fn connect(
    port: u16,
) -> Result<tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>> {
    let url = format!("ws://127.0.0.1:{port}/graphql");
    for _ in 0..200 {
        let mut request = url.as_str().into_client_request()?;
        request.headers_mut().insert("sec-websocket-protocol", "graphql-transport-ws".parse()?);
        if let Ok((mut socket, _)) = tokio_tungstenite::connect_async(request).await {
            socket.send(Message::text(r#"{"type":"connection_init"}"#)).await?;
            while let Some(Ok(message)) = socket.next().await {
                if message.to_text().is_ok_and(|t| t.contains("connection_ack")) {
                    let subscribe = json!({ "id": "1", "type": "subscribe", "payload": { "query": SUBSCRIPTION } });
                    socket.send(Message::text(subscribe.to_string())).await?;
                    return Ok(socket);
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err("the engine does not answer".into())
}
