//! Load on the API: `cargo bench --bench load -- --help`.
//!
//! Requests as fast as they are answered, or at a fixed rate; thousands of subscribers; an hour of clients that come and go; all of them
//! coming back at once. Everything stands beside a peer or a ceiling in the same run: a bare axum, a bare broadcaster, the stock server.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_precision_loss,
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    reason = "a bench prints, and ends with a panic where it cannot go on"
)]

mod fanout;
mod http;

/// As in the binary: the servers that are compared are this program.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::Path as InPath,
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use swaptide_demo::{Devnet, DevnetConfig, Mongod, http::HttpClient, pools::Protocol};

use http::{Figures, Killed, Result, Served, Target, drive, engine, get_request, median, open, post_request, ready};

const HELP: &str = "Load on the API.

Requests, one at a time on each connection, as fast as they are answered, beside a bare axum:
  cargo bench --bench load -- [--connections 32] [--rounds 5] [--seconds 3] [--store mongodb] [--only NAME]

Requests at a fixed rate, counted from when each was due; without --url the engine and a bare axum:
  cargo bench --bench load -- --http [--rate 1000] [--seconds 10] [--connections 256] [--url http://HOST:PORT] [--json]

Subscribers in a process of their own; without --url ours, a bare broadcaster and the stock server take turns:
  cargo bench --bench load -- --clients 5000 [--topic swaps|blocks|pool] [--rate 20] [--swaps 1] [--distinct 1] [--slow 0]
      [--churn 0] [--crowd 0] [--beside KIND [--elsewhere]] [--seconds 10] [--rounds 3] [--servers bare,ours,stock] [--url ws://HOST:PORT/graphql] [--json]
    --rate      frames a second, of --swaps swaps each
    --distinct  so many different subscriptions
    --slow      so many of the clients never read
    --crowd     so many more come at once when the measurement begins
    --beside    crowd|subscriptions|malformed|documents|busy: each round measures a second time while others do that, in a process of
                the lowest priority (a crowd of --crowd, 8500 where it is not said, that then hears of reorgs only)
    --elsewhere they do it to a second server: what is left is what it costs the clients that this machine has other work
    --churn     connections a second that come and go beside the clients

The built engine over a chain that trades, full of clients:
  cargo bench --bench load -- --soak --clients 10000 --churn 500 --seconds 3600     what is left when they are gone
  cargo bench --bench load -- --storm --clients 10000                               it starts again, and all come back at once
A deployment: --storm --url ws://HOST:PORT/graphql cuts all connections, and all come back at once

A deployment with API keys: SWAPTIDE_KEY. More than 500 clients of one address: api.connections_per_address = 0.
Many clients need many files: `ulimit -n`.";

const SERVE: &str = "--serve-bare";
/// More than the window of memory holds: finality is 64 blocks behind the head.
const BLOCKS: u64 = 200;
const TXS_PER_BLOCK: usize = 40;
/// What Ponder 0.16.10 answers of the latest 100 swaps, on the same kind of machine.
const PONDER_LATEST_100: f64 = 183.0;

const POOL: &str = "query($id: ID!) { pool(id: $id) { id liquidity sqrtPrice tick } }";
const SWAPS: &str = "query($after: Cursor) { swaps(first: 100, after: $after, orderDirection: desc) { nodes { id amount0 amount1 tick timestamp sender } } }";

struct Args {
    /// 32 where the next waits for the answer, 256 at a fixed rate.
    connections: Option<usize>,
    rounds: Option<usize>,
    seconds: Option<f64>,
    mongodb: bool,
    only: Option<String>,
    /// At a fixed rate.
    http: bool,
}

fn main() -> Result<()> {
    // Deployments are asked over TLS.
    rustls::crypto::ring::default_provider().install_default().map_err(|_| "there is a TLS provider already")?;
    let mut args = Args { connections: None, rounds: None, seconds: None, mongodb: false, only: None, http: false };
    let mut frames: Option<fanout::Args> = None;
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            SERVE => return runtime()?.block_on(serve()),
            fanout::SERVE => {
                let kind = value()?;
                let rate = value()?.parse()?;
                return fanout::serve(&kind, rate, value()?.parse()?);
            }
            fanout::BESIDE => return serde_json::from_str::<fanout::Beside>(&value()?)?.run(),
            fanout::SWARM => return serde_json::from_str::<fanout::Swarm>(&value()?)?.run(),
            "--clients" => {
                let frames = frames.get_or_insert_default();
                frames.clients = value()?.parse()?;
            }
            "--topic" => frames.get_or_insert_default().topic = value()?,
            "--rate" => frames.get_or_insert_default().rate = Some(value()?.parse()?),
            "--swaps" => frames.get_or_insert_default().swaps = value()?.parse()?,
            "--distinct" => frames.get_or_insert_default().distinct = value()?.parse()?,
            "--slow" => frames.get_or_insert_default().slow = value()?.parse()?,
            "--crowd" => frames.get_or_insert_default().crowd = value()?.parse()?,
            "--beside" => {
                let kind = serde_json::from_value(json!(value()?))?;
                frames.get_or_insert_default().beside = Some(kind);
            }
            "--elsewhere" => frames.get_or_insert_default().elsewhere = true,
            "--churn" => frames.get_or_insert_default().churn = value()?.parse()?,
            "--servers" => frames.get_or_insert_default().servers = value()?.split(',').map(str::to_owned).collect(),
            "--url" => frames.get_or_insert_default().url = Some(value()?),
            "--soak" => frames.get_or_insert_default().mode = fanout::Mode::Soak,
            "--storm" => frames.get_or_insert_default().mode = fanout::Mode::Storm,
            "--json" => frames.get_or_insert_default().json = true,
            "--help" => {
                println!("{HELP}");
                return Ok(());
            }
            "--http" => args.http = true,
            "--connections" => args.connections = Some(value()?.parse()?),
            "--rounds" => args.rounds = Some(value()?.parse()?),
            "--seconds" => args.seconds = Some(value()?.parse()?),
            "--store" => args.mongodb = value()? == "mongodb",
            "--only" => args.only = Some(value()?),
            "--bench" => {}
            other => return Err(format!("`{other}` is unknown: see --help").into()),
        }
    }
    if args.http {
        return fixed(&args, &frames.unwrap_or_default());
    }
    match frames {
        Some(mut frames) => {
            frames.seconds = args.seconds.unwrap_or(frames.seconds);
            frames.rounds = args.rounds.unwrap_or(frames.rounds);
            fanout::run(&frames)
        }
        None => run(&args),
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

/// What a pool says of itself, in ten fields.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Pool {
    id: String,
    token0: &'static str,
    token1: &'static str,
    fee_tier: u32,
    tick_spacing: i32,
    liquidity: String,
    sqrt_price: String,
    tick: i32,
    status: &'static str,
    block: u64,
}

impl Pool {
    fn of(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            token0: "0x5fbdb2315678afecb367f032d93f642f64180aa3",
            token1: "0xe7f1725e7734ce288f8367e1bb143e90bb3f0512",
            fee_tier: 3_000,
            tick_spacing: 60,
            liquidity: 1_517_882_343_751_509_868_544_u128.to_string(),
            sqrt_price: 5_602_277_097_478_614_198_912_276_234_240_u128.to_string(),
            tick: 85_176,
            status: "LIVE",
            block: 12_345_678,
        }
    }
}

#[derive(Deserialize)]
struct Asked {
    query: String,
    #[serde(default)]
    variables: Value,
}

async fn serve() -> Result<()> {
    let router = Router::new().route("/pool/{id}", get(|InPath(id): InPath<String>| async move { Json(Pool::of(&id)) })).route(
        "/pool",
        post(|Json(asked): Json<Asked>| async move {
            std::hint::black_box(&asked.query);
            Json(Pool::of(asked.variables["id"].as_str().unwrap_or_default()))
        }),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?.port());
    axum::serve(listener, router).await?;
    Ok(())
}

/// A bare axum, and where it listens.
fn bare() -> Result<(Killed, u16)> {
    let mut bare = Command::new(std::env::current_exe()?).arg(SERVE).stdout(Stdio::piped()).spawn()?;
    let mut port = String::new();
    BufReader::new(bare.stdout.take().ok_or("no output")?).read_line(&mut port)?;
    Ok((Killed(bare), port.trim().parse::<u16>()?))
}

/// At a fixed rate, of a deployment or of an engine of our own beside a bare axum.
fn fixed(args: &Args, frames: &fanout::Args) -> Result<()> {
    let runtime = runtime()?;
    let rate = frames.rate.unwrap_or(1_000.0);
    let (seconds, most) = (args.seconds.unwrap_or(10.0), args.connections.unwrap_or(256));
    let client = open::client()?;
    let (mut kinds, folder) = (Vec::new(), tempfile::tempdir()?);
    let ours;
    let _running = match &frames.url {
        Some(url) => {
            ours = url.trim_end_matches('/').to_owned();
            None
        }
        None => {
            let config = DevnetConfig { v2_pools: 10, v3_pools: 10, ..DevnetConfig::default() };
            let mut devnet = runtime.block_on(Devnet::start(config))?;
            println!("filling {BLOCKS} blocks with {TXS_PER_BLOCK} transactions each …");
            let head = runtime.block_on(devnet.fill(BLOCKS, TXS_PER_BLOCK))?.number;
            let served = engine(&devnet, folder.path(), None)?;
            runtime.block_on(ready(&HttpClient::new(format!("127.0.0.1:{}", served.port)), head))?;
            ours = format!("http://127.0.0.1:{}", served.port);
            let bare = bare()?;
            kinds.push(open::Kind { name: "bare axum", url: format!("http://127.0.0.1:{}/pool/0x00", bare.1), body: None });
            Some((devnet, served, bare))
        }
    };
    let rows = runtime.block_on(async {
        kinds.extend(open::kinds(&client, &ours).await?);
        open::check(&client, &kinds).await?;
        let mut rows = Vec::new();
        for kind in &kinds {
            // The first second warms up.
            open::drive(&client, kind, rate, Duration::from_secs(1), most).await?;
            let seen = open::drive(&client, kind, rate, Duration::from_secs_f64(seconds), most).await?;
            if frames.json {
                println!("{}", seen.json(kind, rate));
            }
            rows.push((kind.name.to_owned(), rate, seen));
        }
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(rows)
    })?;
    if !frames.json {
        println!("each kind for {seconds} s, {most} connections at the most; times from when a request was due");
        open::print(&rows);
    }
    Ok(())
}

fn run(args: &Args) -> Result<()> {
    let everything = runtime()?;
    let (bare, bare_port) = bare()?;
    let (connections, rounds_asked, seconds) =
        (args.connections.unwrap_or(32), args.rounds.unwrap_or(5), args.seconds.unwrap_or(3.0));

    let mut devnet =
        everything.block_on(Devnet::start(DevnetConfig { v2_pools: 10, v3_pools: 10, ..DevnetConfig::default() }))?;
    println!("filling {BLOCKS} blocks with {TXS_PER_BLOCK} transactions each …");
    everything.block_on(devnet.fill(BLOCKS, TXS_PER_BLOCK))?;
    let folder = tempfile::tempdir()?;
    let mongod = if args.mongodb { Some(everything.block_on(Mongod::start())?) } else { None };
    let Served { process: ours, port: our_port, .. } = engine(&devnet, folder.path(), mongod.as_ref())?;
    let api = HttpClient::new(format!("127.0.0.1:{our_port}"));
    let head = everything.block_on(devnet.head())?.number;
    everything.block_on(ready(&api, head))?;
    // Memory lets go of what is stored when the next block comes.
    let head = everything.block_on(devnet.fill(2, TXS_PER_BLOCK))?.number;
    everything.block_on(ready(&api, head))?;
    let old = everything.block_on(old_cursor(&api))?;
    let pool = &devnet.deployment.pools[devnet.first_pool(Protocol::V3).ok_or("no V3 pool")?];
    let id = format!("{:#x}", pool.address);

    let graphql = |query: &str, variables: Value| post_request("/graphql", &json!({ "query": query, "variables": variables }));
    let target = |name, request, bare| Target { name, server: Some(&ours), port: our_port, request, bare };
    let pool_asked = json!({ "query": POOL, "variables": { "id": id } });
    let targets = [
        Target {
            name: "bare GET",
            server: Some(&bare),
            port: bare_port,
            request: get_request(&format!("/pool/{id}")),
            bare: None,
        },
        target("REST pool", get_request(&format!("/v1/{}/pools/{id}", devnet.chain_id)), Some(("bare GET", 0.60))),
        Target {
            name: "bare POST",
            server: Some(&bare),
            port: bare_port,
            request: post_request("/pool", &pool_asked),
            bare: None,
        },
        target("GraphQL pool", post_request("/graphql", &pool_asked), Some(("bare POST", 0.35))),
        target("latest 100, memory", graphql(SWAPS, json!({})), None),
        target("100 swaps, store", graphql(SWAPS, json!({ "after": old })), None),
    ];
    let mut rounds: Vec<Vec<Figures>> = vec![Vec::new(); targets.len()];
    for round in 0..=rounds_asked {
        for (target, figures) in targets.iter().zip(&mut rounds) {
            if args.only.as_ref().is_some_and(|only| only != target.name) {
                continue;
            }
            let measured = drive(target, connections, Duration::from_secs_f64(seconds))?;
            // The first warms up.
            if round > 0 || rounds_asked == 0 {
                figures.push(measured);
            }
        }
    }
    println!(
        "{connections} connections, {rounds_asked} rounds of {seconds} s each, store {}; medians",
        if args.mongodb { "MongoDB" } else { "SQLite" }
    );
    print(&targets, &rounds);
    Ok(())
}

/// A cursor half-way back, older than memory.
async fn old_cursor(api: &HttpClient) -> Result<String> {
    let query = "query($after: Cursor) { swaps(first: 1000, after: $after, orderDirection: desc) { pageInfo { endCursor } nodes { block { number } } } \
                 _meta { block { number } } }";
    let mut after = Value::Null;
    loop {
        let body = json!({ "query": query, "variables": { "after": after } }).to_string();
        let answer: Value = serde_json::from_slice(&api.post_json("/graphql", &body).await?.body)?;
        let data = &answer["data"];
        let number = |v: &Value| v.as_u64().or_else(|| v.as_str()?.parse().ok());
        let head = number(&data["_meta"]["block"]["number"]).ok_or_else(|| answer.to_string())?;
        let nodes = data["swaps"]["nodes"].as_array().ok_or_else(|| answer.to_string())?;
        let last = nodes.last().and_then(|node| number(&node["block"]["number"])).ok_or("there are too few swaps")?;
        let end = data["swaps"]["pageInfo"]["endCursor"].as_str().ok_or("no cursor")?;
        if last + BLOCKS / 2 < head {
            return Ok(end.to_owned());
        }
        after = end.into();
    }
}

fn print(targets: &[Target<'_>], rounds: &[Vec<Figures>]) {
    println!("{:<20} {:>9} {:>8} {:>8} {:>10}  ratio", "", "req/s", "p50 ms", "p99 ms", "CPU us");
    for (target, figures) in targets.iter().zip(rounds) {
        let of = |field: fn(&Figures) -> f64| median(figures.iter().map(field).collect());
        let ratio = match target.bare {
            Some((bare, bar)) => {
                let at = targets.iter().position(|t| t.name == bare).unwrap_or(0);
                let ratios = figures.iter().zip(&rounds[at]).map(|(ours, bare)| ours.per_second / bare.per_second);
                format!("{:.2} of {bare} (bar {bar:.2})", median(ratios.collect()))
            }
            None if target.name.contains("100") => {
                format!(
                    "{:.0} times Ponder's {PONDER_LATEST_100}/s (bar from memory 25)",
                    of(|f| f.per_second) / PONDER_LATEST_100
                )
            }
            None => String::new(),
        };
        println!(
            "{:<20} {:>9.0} {:>8.2} {:>8.2} {:>10.1}  {ratio}",
            target.name,
            of(|f| f.per_second),
            of(|f| f.p50_ms),
            of(|f| f.p99_ms),
            of(|f| f.cpu_us)
        );
    }
}
