//! Sequences of swaps as the engine simulates them, and then the same sequences mined: what the pools' own logs say of each.

use alloy::primitives::{Address, U256};
use serde_json::{Value, json};
use swaptide_demo::{DevPool, Devnet, DevnetConfig, Protocol};

use super::{
    engine::{Engine, Setup},
    quotes::Rng,
};

const SIMULATE: &str = "query($steps: [SwapStep!]!) { simulate(steps: $steps) { block { number hash } steps {
    pool { id } tokenIn tokenOut amountIn amountOut amountLeft ticksCrossed reserve0After reserve1After sqrtPriceX96After tickAfter liquidityAfter } } }";
const SYNC: &str = "0x1c411e9a96e071241c2f21f7726b17ae89e3cab4c78be50e062b03a9fffbbad1";
const SWAP_V2: &str = "0xd78ad95fa46c994b6551d0da85fc275fe613ce37657fb8d5e3d130840159d822";
const SWAP_V3: &str = "0xc42079f94a6350d7e6235f29174924f928cc2ac818eb64fed8004e115fbcca67";

/// What the logs of the newest block say of its swaps, in their order, as [`SIMULATE`] says it.
async fn mined(devnet: &Devnet) -> Vec<Value> {
    let number = format!("{:#x}", devnet.head().await.unwrap().number);
    let logs = devnet.rpc_call("eth_getLogs", json!([{ "fromBlock": number, "toBlock": number }])).await.unwrap();
    let (mut swaps, mut reserves) = (Vec::new(), [U256::ZERO; 2]);
    for log in logs.as_array().unwrap() {
        let data: alloy::primitives::Bytes = log["data"].as_str().unwrap().parse().unwrap();
        let word = |i: usize| U256::from_be_slice(&data[32 * i..32 * (i + 1)]);
        let pool = log["address"].as_str().unwrap();
        let swap = match log["topics"][0].as_str().unwrap() {
            SYNC => {
                reserves = [word(0), word(1)];
                continue;
            }
            SWAP_V2 => {
                let (paid, got) = if word(0).is_zero() { (word(1), word(2)) } else { (word(0), word(3)) };
                json!({ "pool": pool, "in": paid.to_string(), "out": got.to_string(), "after": reserves.map(|r| r.to_string()) })
            }
            SWAP_V3 => {
                let (amount0, amount1) = (word(0), word(1));
                let (paid, got) = if amount0.bit(255) || amount0.is_zero() { (amount1, amount0) } else { (amount0, amount1) };
                let tick = i32::try_from(alloy::primitives::I256::from_raw(word(4))).unwrap();
                let after = [word(2).to_string(), tick.to_string(), word(3).to_string()];
                json!({ "pool": pool, "in": paid.to_string(), "out": got.wrapping_neg().to_string(), "after": after })
            }
            _ => continue,
        };
        swaps.push(swap);
    }
    swaps
}

/// The same of a simulated one.
fn said(step: &Value) -> Value {
    let text = |name: &str| step[name].as_str().unwrap().to_owned();
    let after = if step["reserve0After"].is_null() {
        json!([text("sqrtPriceX96After"), step["tickAfter"].to_string(), text("liquidityAfter")])
    } else {
        json!([text("reserve0After"), text("reserve1After")])
    };
    json!({ "pool": step["pool"]["id"], "in": text("amountIn"), "out": text("amountOut"), "after": after })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_simulated_is_what_is_mined_swap_after_swap_in_the_same_pools() {
    let folder = tempfile::tempdir().unwrap();
    let mut devnet = Devnet::start(DevnetConfig { seed: 94, ..DevnetConfig::default() }).await.unwrap();
    devnet.fill(5, 10).await.unwrap();
    let engine = Engine::start(&Setup::of(&devnet, folder.path()), folder.path()).await;
    let mut rng = Rng(23);
    let (mut swaps, mut limited, mut crossed) = (0, 0, 0);
    for round in 0..10_u64 {
        engine.at_head(&devnet).await;
        // Few pools, so that most steps find one that was moved before.
        let pools: Vec<(usize, DevPool)> = devnet.trader.pools().iter().cloned().enumerate().collect();
        let some: Vec<_> = (0..3).map(|_| pools[usize::try_from(rng.below(pools.len() as u64)).unwrap()].clone()).collect();
        let mut steps: Vec<Value> = Vec::new();
        let mut answer = Value::Null;
        while steps.len() < 9 {
            let (at, pool) = &some[usize::try_from(rng.below(3)).unwrap()];
            let down = rng.below(2) == 0;
            let paid = if down { &pool.token0 } else { &pool.token1 };
            let token: Address = paid.address;
            // No more than whoever trades has of it.
            let bits = if paid.decimals > 8 { 72 } else { 42 };
            let amount = if rng.below(2) == 0 { rng.amount(bits) } else { rng.amount(3) << (bits - 4) };
            let mut step = json!({ "pool": pool.address, "tokenIn": token, "amount": amount.to_string(), "type": "EXACT_INPUT" });
            // A limit a little beyond where the pool stands after the steps before.
            let before = answer["simulate"]["steps"].as_array().into_iter().flatten().rev();
            let moved = before.filter(|s| s["pool"]["id"] == json!(pool.address)).find_map(|s| s["sqrtPriceX96After"].as_str());
            if let (Some(price), true) = (moved, rng.below(2) == 0) {
                let price: U256 = price.parse().unwrap();
                let part = price / U256::from(50_000);
                step["sqrtPriceLimitX96"] = json!((if down { price - part } else { price + part }).to_string());
            }
            let longer = [steps.as_slice(), std::slice::from_ref(&step)].concat();
            let tried = engine.raw_query(SIMULATE, json!({ "steps": longer })).await;
            if tried["errors"].is_null() {
                (steps, answer) = (longer, tried["data"].clone());
                let limit = steps.last().unwrap()["sqrtPriceLimitX96"].as_str().map(|limit| limit.parse().unwrap());
                match (pool.protocol, limit) {
                    (Protocol::V2, _) => devnet.trader.swap_v2(*at, down, amount).await.unwrap(),
                    (_, Some(limit)) => devnet.trader.swap_v3_to(*at, down, amount, limit).await.unwrap(),
                    _ => devnet.trader.swap_v3(*at, down, amount).await.unwrap(),
                }
            } else {
                let code = tried["errors"][0]["extensions"]["code"].as_str().unwrap();
                assert!(["BAD_USER_INPUT", "INSUFFICIENT_LIQUIDITY"].contains(&code), "{tried:#}");
                assert!(
                    tried["errors"][0]["message"].as_str().unwrap().starts_with(&format!("`steps[{}]`", steps.len())),
                    "{tried:#}"
                );
            }
        }
        let simulated = answer["simulate"]["steps"].as_array().unwrap();
        assert_eq!(answer["simulate"]["block"]["hash"], json!(devnet.head().await.unwrap().hash), "of the block before");
        devnet.mine_all_ok().await.unwrap();
        assert_eq!(mined(&devnet).await, simulated.iter().map(said).collect::<Vec<_>>(), "round {round}: {steps:#?}");
        swaps += simulated.len();
        limited += simulated.iter().filter(|step| step["amountLeft"] != json!("0")).count();
        crossed += simulated.iter().filter_map(|step| step["ticksCrossed"].as_u64()).sum::<u64>();
    }
    println!("{swaps} swaps were mined as they were simulated, {limited} up to a limit, over {crossed} ticks");
    assert!(swaps == 90 && limited > 3 && crossed > 3, "{swaps} {limited} {crossed}");
}
