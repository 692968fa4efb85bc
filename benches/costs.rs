//! What following a chain costs: requests and bytes per block, as the engine counts them on a real node, and what that makes a day on
//! Ethereum and Base: `cargo bench --bench costs [-- --blocks 200 --swaps 40]`.
//!
//! Requests per block are counted while the engine follows the head with `finality = "tag"`, once with one endpoint over HTTP (heads
//! are polled) and once with WebSocket first. Bytes per header, log and receipt are those of the same node's answers. What a chain has
//! per block is an assumption, written below; the table scales with it.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    reason = "a bench prints, and ends with a panic where it cannot go on"
)]

use std::{
    collections::BTreeMap,
    error::Error,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use swaptide_demo::{Devnet, DevnetConfig, http::HttpClient};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// What a chain has, roughly: blocks a day, and transactions and logs of one block, all contracts together.
struct Chain {
    name: &'static str,
    blocks_a_day: f64,
    transactions: f64,
    logs: f64,
    /// Of its blocks, those with an event of a pool that is followed.
    with_events: f64,
}

/// The logs of Ethereum are those of its blocks 17173049 and 17173050 (681 in both), rounded up; the rest are orders of magnitude of 2025.
const CHAINS: [Chain; 2] = [
    Chain { name: "Ethereum", blocks_a_day: 7_200.0, transactions: 200.0, logs: 400.0, with_events: 1.0 },
    Chain { name: "Base", blocks_a_day: 43_200.0, transactions: 250.0, logs: 1_000.0, with_events: 1.0 },
];

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let (mut blocks, mut swaps) = (200_u64, 40_usize);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "--blocks" => blocks = value()?.parse()?,
            "--swaps" => swaps = value()?.parse()?,
            "--bench" => {}
            other => return Err(format!("{other} is unknown: --blocks --swaps").into()),
        }
    }
    let mut devnet = Devnet::start(DevnetConfig { max_new_pools: 0, ..DevnetConfig::default() }).await?;
    let mut per_block = Vec::new();
    for (name, rpc) in [
        (POLLING, format!("[{:?}]", devnet.http_url)),
        ("WebSocket first", format!("[{:?}, {:?}]", devnet.ws_url, devnet.http_url)),
    ] {
        let folder = tempfile::tempdir()?;
        let counted = follow(&mut devnet, &rpc, folder.path(), blocks, swaps).await?;
        println!("\n{name}: requests per block at the head, over {blocks} blocks of {swaps} transactions");
        for (method, count) in &counted {
            println!("  {method:<28} {count:>7.2}");
        }
        let total: f64 = counted.values().sum();
        println!("  {:<28} {total:>7.2}", "in all");
        per_block.push((name, counted));
    }
    let sizes = sizes(&devnet).await?;
    println!(
        "\nbytes of this node's answers: a header {:.0}, a log {:.0}, a receipt with its logs {:.0}",
        sizes.header, sizes.log, sizes.receipt
    );
    println!("\n| chain | heads by | requests a day | GB a day | of it receipts |\n|---|---|---|---|---|");
    for chain in &CHAINS {
        for (name, counted) in &per_block {
            // Without a WebSocket the head is asked for by the clock; one of those requests was counted with each block.
            let polls = if *name == POLLING { POLLS_A_DAY - chain.blocks_a_day } else { 0.0 };
            let requests = chain.blocks_a_day * counted.values().sum::<f64>() + polls;
            let receipts = chain.blocks_a_day * chain.with_events * chain.transactions * sizes.receipt_of(chain);
            let headers = (chain.blocks_a_day * 2.0 + polls) * sizes.header;
            let bytes = headers + chain.blocks_a_day * chain.logs * sizes.log + receipts;
            println!("| {} | {name} | {requests:.0} | {:.1} | {:.1} |", chain.name, bytes / 1e9, receipts / 1e9);
        }
    }
    println!("\nwithout enrichment: one request a block and the receipts less");
    Ok(())
}

const POLLING: &str = "HTTP only";
/// One every 250 ms.
const POLLS_A_DAY: f64 = 86_400.0 * 4.0;

/// Requests per block by method, while so many blocks are followed at the head.
async fn follow(devnet: &mut Devnet, rpc: &str, folder: &Path, blocks: u64, swaps: usize) -> Result<BTreeMap<String, f64>> {
    let [port, admin] = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port());
    let d = &devnet.deployment;
    let toml = format!(
        "[api]\nlisten = \"127.0.0.1:{port}\"\n[admin]\nlisten = \"127.0.0.1:{admin}\"\n[store]\nurl = \"sqlite:{}\"\n[[chain]]\nid = {}\nname = \"bench\"\nrpc = {rpc}\nfinality = \"tag\"\n\
         [[chain.dex]]\nname = \"v2\"\nprotocol = \"uniswap_v2\"\nfactory = \"{}\"\n[[chain.dex]]\nname = \"v3\"\nprotocol = \"uniswap_v3\"\nfactory = \"{}\"\n",
        folder.join("bench.db").display(),
        devnet.chain_id,
        d.v2_factory,
        d.v3_factory
    );
    let config = folder.join("bench.toml");
    std::fs::write(&config, toml)?;
    let child = Command::new(env!("CARGO_BIN_EXE_swaptide")).args(["run", "-c"]).arg(&config).stderr(Stdio::null()).spawn()?;
    let _child = Killed(child);
    let admin = HttpClient::new(format!("127.0.0.1:{admin}"));
    reached(&admin, devnet).await?;
    let before = requests(&admin).await?;
    for _ in 0..blocks {
        devnet.trader.push_random(swaps).await?;
        devnet.mine().await?;
        reached(&admin, devnet).await?;
    }
    let after = requests(&admin).await?;
    let per_block = |(method, count): (String, f64)| {
        let more = count - before.get(&method).copied().unwrap_or(0.0);
        (more > 0.0).then(|| (method, more / blocks as f64))
    };
    Ok(after.into_iter().filter_map(per_block).collect())
}

/// Until the newest block is stored and enriched.
async fn reached(admin: &HttpClient, devnet: &Devnet) -> Result<()> {
    let head = devnet.head().await?.number;
    let (chain, deadline) = (devnet.chain_id, tokio::time::Instant::now() + Duration::from_secs(60));
    let durable = format!("swaptide_durable_block{{chain=\"{chain}\"}} {head}");
    let enriched = format!("swaptide_enrichment_backlog_blocks{{chain=\"{chain}\"}} 0");
    while tokio::time::Instant::now() < deadline {
        if let Ok(answer) = admin.get("/metrics").await {
            let text = String::from_utf8(answer.body)?;
            if text.lines().any(|l| l == durable) && text.lines().any(|l| l == enriched) {
                return Ok(());
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Err("the engine does not follow".into())
}

async fn requests(admin: &HttpClient) -> Result<BTreeMap<String, f64>> {
    let text = String::from_utf8(admin.get("/metrics").await?.body)?;
    let mut counts = BTreeMap::new();
    for line in text.lines().filter_map(|l| l.strip_prefix("swaptide_rpc_requests_total{")) {
        let method = line.split("method=\"").nth(1).and_then(|rest| rest.split('"').next()).ok_or("a metric without a method")?;
        let count: f64 = line.rsplit(' ').next().ok_or("a metric without a value")?.parse()?;
        *counts.entry(method.to_owned()).or_insert(0.0) += count;
    }
    Ok(counts)
}

struct Sizes {
    header: f64,
    log: f64,
    /// With its logs.
    receipt: f64,
    logs_per_receipt: f64,
}

impl Sizes {
    /// A receipt carries its logs; a chain has more or fewer of them.
    fn receipt_of(&self, chain: &Chain) -> f64 {
        self.receipt + (chain.logs / chain.transactions - self.logs_per_receipt) * self.log
    }
}

async fn sizes(devnet: &Devnet) -> Result<Sizes> {
    let size = |value: &Value| value.to_string().len() as f64;
    let block = devnet.head().await?.hash.to_string();
    let header = devnet.rpc_call("eth_getBlockByHash", json!([block, false])).await?;
    let transactions = header["transactions"].as_array().map_or(0, Vec::len) as f64;
    let logs = devnet.rpc_call("eth_getLogs", json!([{ "blockHash": block }])).await?;
    let receipts = devnet.rpc_call("eth_getBlockReceipts", json!([block])).await?;
    let count = logs.as_array().map_or(0, Vec::len) as f64;
    Ok(Sizes {
        header: size(&header),
        log: size(&logs) / count,
        receipt: size(&receipts) / transactions,
        logs_per_receipt: count / transactions,
    })
}
