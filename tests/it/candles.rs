//! Candles of the running engine, against a recomputation from the node's own logs.

use std::collections::{BTreeMap, BTreeSet};

use alloy::primitives::{Address, I256, U256, U512};
use serde_json::{Value, json};
use swaptide_demo::{Devnet, DevnetConfig};

use super::engine::{Engine, PATIENCE, Setup};

const SWAP_V2: &str = "0xd78ad95fa46c994b6551d0da85fc275fe613ce37657fb8d5e3d130840159d822";
const SWAP_V3: &str = "0xc42079f94a6350d7e6235f29174924f928cc2ac818eb64fed8004e115fbcca67";
const SYNC: &str = "0x1c411e9a96e071241c2f21f7726b17ae89e3cab4c78be50e062b03a9fffbbad1";

/// A swap as the log has it, with token1 per token0 in raw units as a fraction.
struct Swap {
    timestamp: u64,
    price: (U512, U512),
    amounts: (I256, I256),
    trader: Address,
}

fn word(data: &[u8], i: usize) -> U256 {
    U256::from_be_slice(&data[32 * i..32 * (i + 1)])
}

/// What the node says, nothing of ours in between.
async fn swaps(devnet: &Devnet, pool: Address) -> Vec<Swap> {
    let filter =
        json!([{ "fromBlock": "0x0", "toBlock": "latest", "address": pool.to_string(), "topics": [[SWAP_V2, SWAP_V3, SYNC]] }]);
    let logs = devnet.rpc_call("eth_getLogs", filter).await.unwrap();
    let mut times: BTreeMap<String, u64> = BTreeMap::new();
    let mut reserves = (U256::ZERO, U256::ZERO);
    let mut swaps = Vec::new();
    for log in logs.as_array().unwrap() {
        let block = log["blockHash"].as_str().unwrap().to_owned();
        if !times.contains_key(&block) {
            let header = devnet.rpc_call("eth_getBlockByHash", json!([block, false])).await.unwrap();
            let time = u64::from_str_radix(&header["timestamp"].as_str().unwrap()[2..], 16).unwrap();
            times.insert(block.clone(), time);
        }
        let data: alloy::primitives::Bytes = log["data"].as_str().unwrap().parse().unwrap();
        let trader = Address::from_word(log["topics"][2].as_str().unwrap_or("0x0").parse().unwrap_or_default());
        let signed = |i: usize| I256::from_raw(word(&data, i));
        match log["topics"][0].as_str().unwrap() {
            SYNC => reserves = (word(&data, 0), word(&data, 1)),
            SWAP_V2 => swaps.push(Swap {
                timestamp: times[&block],
                price: (U512::from(reserves.1), U512::from(reserves.0)),
                amounts: (signed(0) - signed(2), signed(1) - signed(3)),
                trader,
            }),
            _ => {
                let root = U512::from(word(&data, 2));
                swaps.push(Swap {
                    timestamp: times[&block],
                    price: (root * root, U512::ONE << 192),
                    amounts: (signed(0), signed(1)),
                    trader,
                });
            }
        }
    }
    swaps
}

/// Half to even, at 34 digits, as the API promises. A fraction below 2^400.
fn decimal((num, den): (U512, U512), decimals: (u8, u8)) -> String {
    type Wide = alloy::primitives::Uint<2048, 32>;
    let ten = Wide::from(10);
    let (mut num, mut den) =
        (Wide::from(num) * ten.pow(Wide::from(decimals.0)), Wide::from(den) * ten.pow(Wide::from(decimals.1)));
    let limit = ten.pow(Wide::from(34));
    // 34 digits before the point, and where that stood.
    let mut places = 0_i32;
    while num / den >= limit {
        (den, places) = (den * ten, places - 1);
    }
    while (num * ten) / den < limit {
        (num, places) = (num * ten, places + 1);
    }
    let (mut quotient, rest) = (num / den, num % den);
    if rest * Wide::from(2) > den || (rest * Wide::from(2) == den && quotient.bit(0)) {
        quotient += Wide::ONE;
    }
    let digits = quotient.to_string();
    let (whole, fraction) = match usize::try_from(places) {
        Ok(0) => (digits, String::new()),
        Ok(places) if places < digits.len() => {
            (digits[..digits.len() - places].to_owned(), digits[digits.len() - places..].to_owned())
        }
        Ok(places) => ("0".to_owned(), format!("{digits:0>places$}")),
        Err(_) => (digits + &"0".repeat(usize::try_from(-places).unwrap()), String::new()),
    };
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() { whole } else { format!("{whole}.{fraction}") }
}

fn less(a: &(U512, U512), b: &(U512, U512)) -> bool {
    type Wide = alloy::primitives::Uint<1024, 16>;
    Wide::from(a.0) * Wide::from(b.1) < Wide::from(b.0) * Wide::from(a.1)
}

/// From the definition: start, open, high, low, close, buys, sells, buyers, sellers, raw volumes.
fn expected(swaps: &[Swap], seconds: u64, decimals: (u8, u8)) -> Vec<Value> {
    let mut groups: BTreeMap<u64, Vec<&Swap>> = BTreeMap::new();
    for swap in swaps {
        groups.entry(swap.timestamp / seconds * seconds).or_default().push(swap);
    }
    let mut before = None;
    let mut candles = Vec::new();
    for (start, group) in groups {
        let open = before.unwrap_or(group[0].price);
        let prices = || group.iter().map(|s| s.price).chain([open]);
        let high = prices().reduce(|a, b| if less(&a, &b) { b } else { a }).unwrap();
        let low = prices().reduce(|a, b| if less(&b, &a) { b } else { a }).unwrap();
        let close = group.last().unwrap().price;
        let is_buy = |s: &&&Swap| s.amounts.0.is_negative() || (s.amounts.0.is_zero() && s.amounts.1.is_positive());
        let traders =
            |bought: bool| group.iter().filter(|s| is_buy(s) == bought).map(|s| s.trader).collect::<BTreeSet<_>>().len();
        let trades = |bought: bool| group.iter().filter(|s| is_buy(s) == bought).count();
        let written = |price| decimal(price, decimals);
        candles.push(json!({
            "start": start, "open": written(open), "high": written(high), "low": written(low), "close": written(close),
            "buys": trades(true), "sells": trades(false), "buyers": traders(true), "sellers": traders(false),
        }));
        before = Some(close);
    }
    candles
}

async fn compare(engine: &Engine, devnet: &Devnet) -> usize {
    engine.at_head(devnet).await;
    let mut compared = 0;
    for pool in devnet.deployment.pools.clone() {
        let swaps = swaps(devnet, pool.address).await;
        let decimals = (pool.token0.decimals, pool.token1.decimals);
        for (interval, seconds) in [("S1", 1), ("S15", 15), ("M1", 60), ("H1", 3_600), ("D1", 86_400)] {
            let query = format!(
                "{{ pool(id: \"{:#x}\") {{ candles(interval: {interval}, first: 1000) {{ start open high low close buys sells buyers sellers }} }} }}",
                pool.address
            );
            let ours = engine.query(&query, json!({})).await["pool"]["candles"].clone();
            let theirs = expected(&swaps, seconds, decimals);
            assert_eq!(ours, json!(theirs), "{interval} of {:#x}", pool.address);
            compared += theirs.len();
        }
    }
    compared
}

#[tokio::test(flavor = "multi_thread")]
async fn candles_equal_a_recomputation_from_the_nodes_logs_through_reorgs_and_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut devnet = Devnet::start(DevnetConfig { seed: 61, v4_pools: 2, ..DevnetConfig::default() }).await.unwrap();
    devnet.fill(60, 8).await.unwrap();
    let setup = Setup { extra_chain: "finality = 16".to_owned(), ..Setup::of(&devnet, folder.path()) };
    let engine = Engine::start(&setup, folder.path()).await;
    let mut compared = compare(&engine, &devnet).await;
    for depth in 1..6 {
        devnet.trader.push_random(12).await.unwrap();
        devnet.mine().await.unwrap();
        devnet.reorg_keeping(depth, 600).await.unwrap();
        compared += compare(&engine, &devnet).await;
    }
    assert!(engine.terminate().await.success());
    let engine = Engine::start(&setup, folder.path()).await;
    compared += compare(&engine, &devnet).await;
    assert!(compared > 500, "{compared}");
    assert!(tokio::time::timeout(PATIENCE, engine.terminate()).await.unwrap().success());
}
