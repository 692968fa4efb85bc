//! A quote by HTTP against `eth_call` of QuoterV2 on the node that the engine follows, in the same run:
//! `cargo bench --bench quotes [-- --connections 16 --rounds 5 --seconds 3]`.
//!
//! They take turns, as in `load`; the figure is the ratio within a round. Before anything is timed, both give the same amount.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    reason = "a bench prints, and ends with a panic where it cannot go on"
)]

mod http;

use std::time::Duration;

use alloy::{
    primitives::{Address, Bytes, U160, U256, aliases::U24},
    sol,
    sol_types::SolCall,
};
use serde_json::{Value, json};
use swaptide_demo::{DevPool, Devnet, DevnetConfig, http::HttpClient, pools::Protocol};

use http::{Figures, Result, Served, Target, drive, engine, get_request, median, post_request, ready};

sol! {
    interface Quoter {
        struct In { address tokenIn; address tokenOut; uint256 amountIn; uint24 fee; uint160 limit; }
        function quoteExactInputSingle(In params) external returns (uint256 amountOut, uint160 after, uint32 crossed, uint256 gas);
    }
}

const BLOCKS: u64 = 20;
const TXS_PER_BLOCK: usize = 40;
/// 1,000 dollars, in millionths.
const USD_MICRO: u128 = 1_000_000_000;

/// About what the contract answers.
const AMOUNTS: &str = "query($q: QuoteInput!) { quote(input: $q) { amountIn amountOut block { number } } }";
const QUOTE: &str = "query($q: QuoteInput!) { quote(input: $q) { amountIn amountOut block { number } \
                     routes { hops { pool { id } tokenIn tokenOut amountIn amountOut } } } }";

fn main() -> Result<()> {
    let (mut connections, mut rounds, mut seconds) = (16, 5, 3.0);
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    while let Some(word) = words.next() {
        let value = words.next().ok_or(format!("{word} needs a value"))?;
        match word.as_str() {
            "--connections" => connections = value.parse()?,
            "--rounds" => rounds = value.parse()?,
            "--seconds" => seconds = value.parse()?,
            other => return Err(format!("{other} is unknown: --connections --rounds --seconds").into()),
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let config = DevnetConfig { v2_pools: 10, v3_pools: 10, max_new_pools: 0, ..DevnetConfig::default() };
    let mut devnet = runtime.block_on(Devnet::start(config))?;
    runtime.block_on(devnet.fill(BLOCKS, TXS_PER_BLOCK))?;
    let folder = tempfile::tempdir()?;
    let Served { process: ours, port, .. } = engine(&devnet, folder.path(), None)?;
    let api = HttpClient::new(format!("127.0.0.1:{port}"));
    let asks = runtime.block_on(async {
        ready(&api, devnet.head().await?.number).await?;
        asks(&devnet, &api).await
    })?;

    let node: u16 = devnet.http_url.rsplit(':').next().ok_or("no port")?.trim_end_matches('/').parse()?;
    let target = |name, request, bare| Target { name, server: Some(&ours), port, request, bare };
    let eth_call = post_request("/", &eth_call(&asks.quoter, asks.call.clone()));
    let quoter = "eth_call of QuoterV2";
    let targets = [
        Target { name: quoter, server: None, port: node, request: eth_call, bare: None },
        target("REST, one pool", get_request(&asks.single), Some((quoter, 3.0))),
        target("GraphQL, its amounts", post_request("/graphql", &asks.amounts), Some((quoter, 3.0))),
        target("GraphQL, with its hops", post_request("/graphql", &asks.graphql), Some((quoter, 3.0))),
        target("REST, best way of 3 hops", get_request(&asks.three_hops), Some(("REST, one pool", 0.5))),
    ];
    let mut all: Vec<Vec<Figures>> = vec![Vec::new(); targets.len()];
    // The first warms up.
    for round in 0..=rounds {
        for (target, figures) in targets.iter().zip(&mut all) {
            let measured = drive(target, connections, Duration::from_secs_f64(seconds))?;
            if round > 0 {
                figures.push(measured);
            }
        }
    }
    println!("{connections} connections, {rounds} rounds of {seconds} s each; medians");
    println!("{:<26} {:>9} {:>8} {:>8} {:>10}  ratio", "", "quotes/s", "p50 ms", "p99 ms", "CPU us");
    for (target, figures) in targets.iter().zip(&all) {
        let of = |field: fn(&Figures) -> f64| median(figures.iter().map(field).collect());
        let ratio = target.bare.map_or_else(String::new, |(than, bar)| {
            let at = targets.iter().position(|t| t.name == than).unwrap();
            let mut ratios: Vec<f64> = figures.iter().zip(&all[at]).map(|(a, b)| a.per_second / b.per_second).collect();
            ratios.sort_by(f64::total_cmp);
            let (least, most) = (ratios[0], ratios[ratios.len() - 1]);
            format!("{:.2} of {than} ({least:.2} to {most:.2}; bar {bar:.1})", median(ratios))
        });
        let (per_second, cpu) = (of(|f| f.per_second), of(|f| f.cpu_us));
        println!(
            "{:<26} {per_second:>9.0} {:>8.2} {:>8.2} {cpu:>10.1}  {ratio}",
            target.name,
            of(|f| f.p50_ms),
            of(|f| f.p99_ms)
        );
    }
    Ok(())
}

/// What is asked of whom.
struct Asks {
    quoter: Address,
    call: Vec<u8>,
    single: String,
    amounts: Value,
    graphql: Value,
    three_hops: String,
}

fn path(devnet: &Devnet, (token_in, token_out): (Address, Address), amount: U256, more: &str) -> String {
    format!("/v1/{}/quote?tokenIn={token_in:#x}&tokenOut={token_out:#x}&amount={amount}&{more}", devnet.chain_id)
}

fn eth_call(to: &Address, data: Vec<u8>) -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_call", "params": [{ "to": to, "data": Bytes::from(data) }, "latest"] })
}

async fn json_of(api: &HttpClient, path: &str) -> Result<Value> {
    Ok(serde_json::from_slice(&api.get(path).await?.body)?)
}

/// A pool with ticks that is alone with its pair, and two tokens whose best way has three hops.
async fn asks(devnet: &Devnet, api: &HttpClient) -> Result<Asks> {
    let pools = &devnet.deployment.pools;
    let tokens = |pool: &DevPool| (pool.token0.address, pool.token1.address);
    let v3 = || pools.iter().filter(|pool| pool.protocol == Protocol::V3);
    let is_alone = |pool: &&DevPool| v3().filter(|other| tokens(other) == tokens(pool)).count() == 1;
    let pool = v3().find(is_alone).ok_or("no pair has one pool of V3")?;
    let (pair, amount) = (tokens(pool), pool.token0.amount_raw(USD_MICRO));
    let (fee, limit) = (U24::from(pool.fee_pips), U160::ZERO);
    let params = Quoter::In { tokenIn: pair.0, tokenOut: pair.1, amountIn: amount, fee, limit };
    let call = Quoter::quoteExactInputSingleCall { params }.abi_encode();
    let single = path(devnet, pair, amount, "protocols=UNISWAP_V3&maxHops=1");
    let input = json!({
        "tokenIn": pair.0, "tokenOut": pair.1, "amount": amount.to_string(), "type": "EXACT_INPUT",
        "protocols": ["UNISWAP_V3"], "maxHops": 1,
    });
    let [amounts, graphql] = [AMOUNTS, QUOTE].map(|query| json!({ "query": query, "variables": { "q": input } }));

    let quoter = devnet.deployment.quoter;
    let said = devnet.rpc_call("eth_call", eth_call(&quoter, call.clone())["params"].clone()).await?;
    let said: Bytes = said.as_str().ok_or("no answer")?.parse()?;
    let theirs = Quoter::quoteExactInputSingleCall::abi_decode_returns(&said)?.amountOut.to_string();
    let by_rest = json_of(api, &single).await?;
    let by_graphql: Value = serde_json::from_slice(&api.post_json("/graphql", &graphql.to_string()).await?.body)?;
    assert_eq!(by_rest["amountOutRaw"], theirs, "{by_rest}");
    assert_eq!(by_graphql["data"]["quote"]["amountOut"], theirs, "{by_graphql}");

    let all = || pools.iter().flat_map(|pool| [&pool.token0, &pool.token1]);
    for (from, to) in all().flat_map(|from| all().map(move |to| (from, to))).filter(|(from, to)| from.address != to.address) {
        let three_hops = path(devnet, (from.address, to.address), from.amount_raw(USD_MICRO), "maxHops=3&maxSplits=1");
        let answer = json_of(api, &three_hops).await?;
        if answer["routes"][0]["hops"].as_array().is_some_and(|hops| hops.len() == 3) {
            println!("one pool: {}; three hops: {} to {}, of {} pools", pool.label(), from.symbol, to.symbol, pools.len());
            return Ok(Asks { quoter, call, single, amounts, graphql, three_hops });
        }
    }
    Err("no best way has three hops".into())
}
