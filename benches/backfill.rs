//! Cold start to readable, against the plain loop that only fetches: `cargo bench --bench backfill [-- FLAGS]`.
//!
//! Without flags the chain is the project's own devnet, filled with seeded trading. With `--rpc URL --v2 FACTORY --v3 FACTORY` it
//! is whatever runs there. `--store mongodb` takes a real mongod instead of SQLite. `--against BINARY` takes turns with another build of
//! Swaptide, and prints what of its rate is kept; the other one gets no anchors, which it may not know. The ceiling is one `eth_getLogs` after the other (50 blocks each, filtered by topic), decoded into
//! structs and thrown away; Swaptide does the same and also keeps pool state, block times and every index. Both are measured in
//! turns, in one run; the figure is their ratio.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    reason = "a bench prints, and ends with a panic where it cannot go on"
)]

use std::{
    error::Error,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use alloy::{
    providers::{Provider, ProviderBuilder},
    rpc::types::Filter,
};
use serde_json::Value;
use swaptide::chain::decode;
use swaptide_demo::{Devnet, DevnetConfig, Mongod, http::HttpClient};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Blocks per request of the ceiling, as in the published comparison.
const CHUNK_BLOCKS: u64 = 50;

struct Args {
    rpc: Option<String>,
    v2: String,
    v3: String,
    rounds: usize,
    blocks: u64,
    txs: usize,
    mongodb: bool,
    /// Lines of the chain's configuration: what everything is priced with.
    anchors: String,
    /// Another build, to compare with.
    against: Option<String>,
    /// A line of the V3 factory: whose positions are followed, too.
    manager: String,
}

fn args() -> Result<Args> {
    let (rpc, v2, v3, anchors) = (None, String::new(), String::new(), String::new());
    let mut args =
        Args { rpc, v2, v3, rounds: 3, blocks: 300, txs: 60, mongodb: false, anchors, against: None, manager: String::new() };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "--rpc" => args.rpc = Some(value()?),
            "--v2" => args.v2 = value()?,
            "--v3" => args.v3 = value()?,
            "--stablecoin" => args.anchors.push_str(&format!("stablecoins = [{:?}]\n", value()?)),
            "--native" => args.anchors.push_str(&format!("wrapped_native = {:?}\n", value()?)),
            "--rounds" => args.rounds = value()?.parse()?,
            "--blocks" => args.blocks = value()?.parse()?,
            "--txs" => args.txs = value()?.parse()?,
            "--nfpm" => args.manager = format!("position_manager = {:?}\n", value()?),
            "--against" => args.against = Some(value()?),
            "--store" => args.mongodb = value()? == "mongodb",
            "--bench" => {}
            other => {
                return Err(format!(
                    "{other} is unknown: --rpc --v2 --v3 --rounds --blocks --txs --stablecoin --native --nfpm --against --store mongodb"
                )
                .into());
            }
        }
    }
    Ok(args)
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut args = args()?;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut devnet = None;
    let rpc = match args.rpc.clone() {
        Some(rpc) => rpc,
        None => {
            let mut net = Devnet::start(DevnetConfig { v2_pools: 10, v3_pools: 10, ..DevnetConfig::default() }).await?;
            println!("filling {} blocks with {} transactions each …", args.blocks, args.txs);
            net.fill(args.blocks, args.txs).await?;
            (args.v2, args.v3) = (net.deployment.v2_factory.to_string(), net.deployment.v3_factory.to_string());
            let url = net.http_url.clone();
            devnet = Some(net);
            url
        }
    };
    let provider = ProviderBuilder::new().connect(&rpc).await?;
    let head = provider.get_block_number().await?;
    // A new server for every round, with the cache that mongod takes of a machine of 8 GB: what an earlier round wrote is no part of a
    // cold start.
    let (mut ratios, mut kept) = (Vec::new(), Vec::new());
    for round in 1..=args.rounds {
        let (logs, plain) = plain_loop(&rpc, head).await?;
        let folder = tempfile::tempdir()?;
        let mongod = if args.mongodb { Some(Mongod::over_with_cache(folder.path(), 4_096).await?) } else { None };
        let store_url = mongod.as_ref().map(|mongod| mongod.uri("bench"));
        let ours = swaptide(env!("CARGO_BIN_EXE_swaptide"), &rpc, &args, (head, &args.anchors, &args.manager), store_url).await?;
        let ratio = plain.as_secs_f64() / ours.elapsed.as_secs_f64();
        let rate = logs as f64 / ours.elapsed.as_secs_f64();
        println!(
            "round {round}: plain loop {:.2} s ({logs} logs), swaptide {:.2} s ({rate:.0} logs/s), ratio {ratio:.2}, CPU {:.2} s, peak memory {} MB, database {} MB",
            plain.as_secs_f64(),
            ours.elapsed.as_secs_f64(),
            ours.cpu_s,
            ours.peak_kb / 1024,
            ours.database_bytes / 1_000_000
        );
        ratios.push(ratio);
        if let Some(other) = &args.against {
            let folder = tempfile::tempdir()?;
            let mongod = if args.mongodb { Some(Mongod::over_with_cache(folder.path(), 4_096).await?) } else { None };
            let store_url = mongod.as_ref().map(|mongod| mongod.uri("bench"));
            let theirs = swaptide(other, &rpc, &args, (head, "", ""), store_url).await?;
            let share = theirs.elapsed.as_secs_f64() / ours.elapsed.as_secs_f64();
            println!(
                "         the other build {:.2} s, CPU {:.2} s, peak memory {} MB, database {} MB: {:.0} % of its rate is kept",
                theirs.elapsed.as_secs_f64(),
                theirs.cpu_s,
                theirs.peak_kb / 1024,
                theirs.database_bytes / 1_000_000,
                100.0 * share
            );
            kept.push(share);
        }
    }
    ratios.sort_by(f64::total_cmp);
    println!("median ratio {:.2} (bar {})", ratios[ratios.len() / 2], if args.mongodb { "0.30, on MongoDB" } else { "0.40" });
    if !kept.is_empty() {
        kept.sort_by(f64::total_cmp);
        println!("median of the rate kept: {:.0} %", 100.0 * kept[kept.len() / 2]);
    }
    drop(devnet);
    Ok(())
}

/// What a program that keeps nothing needs.
async fn plain_loop(rpc: &str, head: u64) -> Result<(usize, Duration)> {
    let provider = ProviderBuilder::new().connect(rpc).await?;
    let started = Instant::now();
    let mut logs = 0;
    for from in (0..=head).step_by(usize::try_from(CHUNK_BLOCKS)?) {
        let to = (from + CHUNK_BLOCKS - 1).min(head);
        logs += provider
            .get_logs(&Filter::new().from_block(from).to_block(to).event_signature(decode::watched_topics()))
            .await?
            .len();
    }
    Ok((logs, started.elapsed()))
}

struct Ours {
    elapsed: Duration,
    cpu_s: f64,
    peak_kb: u64,
    database_bytes: u64,
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// From the start of the process until every block is durable and answered.
async fn swaptide(
    binary: &str,
    rpc: &str,
    args: &Args,
    (head, anchors, manager): (u64, &str, &str),
    store_url: Option<String>,
) -> Result<Ours> {
    let folder = tempfile::tempdir()?;
    let database = folder.path().join("bench.db");
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let ws = rpc.replace("http://", "ws://");
    let toml = format!(
        "[api]\nlisten = \"127.0.0.1:{port}\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[store]\nurl = {:?}\n[[chain]]\nid = 31337\nname = \"bench\"\nrpc = [{ws:?}, {rpc:?}]\n{}\
         [[chain.dex]]\nname = \"v2\"\nprotocol = \"uniswap_v2\"\nfactory = {:?}\n[[chain.dex]]\nname = \"v3\"\nprotocol = \"uniswap_v3\"\nfactory = {:?}\n{manager}",
        store_url.unwrap_or_else(|| format!("sqlite:{}", database.display())),
        anchors,
        args.v2,
        args.v3
    );
    let config = folder.path().join("bench.toml");
    std::fs::write(&config, toml)?;
    let started = Instant::now();
    let child = Command::new(binary).args(["run", "-c"]).arg(&config).stderr(Stdio::null()).spawn()?;
    let child = Killed(child);
    let api = HttpClient::new(format!("127.0.0.1:{port}"));
    let query = r#"{"query":"{ _meta { block { number } durableBlock } swaps(first: 1) { nodes { id } } }"}"#;
    loop {
        if let Ok(answer) = api.post_json("/graphql", query).await {
            let answer: Value = serde_json::from_slice(&answer.body)?;
            let number = |v: &Value| v.as_u64().or_else(|| v.as_str().and_then(|s| s.parse().ok()));
            if number(&answer["data"]["_meta"]["durableBlock"]).is_some_and(|n| n >= head) {
                break;
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        if started.elapsed() > Duration::from_secs(300) {
            return Err("not there after five minutes".into());
        }
    }
    let elapsed = started.elapsed();
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.0.id()))?;
    let peak_kb = status
        .lines()
        .find_map(|l| l.strip_prefix("VmHWM:"))
        .and_then(|v| v.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or(0);
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.0.id()))?;
    let ticks: u64 =
        stat.rsplit(')').next().unwrap_or("").split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<u64>().ok()).sum();
    let size = |suffix: &str| std::fs::metadata(format!("{}{suffix}", database.display())).map_or(0, |m| m.len());
    Ok(Ours { elapsed, cpu_s: ticks as f64 / 100.0, peak_kb, database_bytes: size("") + size("-wal") })
}
