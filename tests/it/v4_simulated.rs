//! Sequences of V4 swaps as the engine simulates them, and then mined in one transaction: what the PoolManager's own logs say of each.

use alloy::primitives::{Bytes, I256, U256};
use serde_json::{Value, json};
use swaptide_demo::Devnet;

use super::{
    engine::{Engine, Setup},
    quotes::Rng,
    v4::{Direct, all_the_way, config},
};

const SIMULATE: &str = "query($steps: [SwapStep!]!) { simulate(steps: $steps) { block { hash } steps {
    pool { id } amountIn amountOut amountLeft sqrtPriceX96After tickAfter liquidityAfter ticksCrossed } } }";
const SWAP: &str = "0x40e9cecb9f5f1f1c5b9c97dec2917b7ee92e57ba5563708daca94dd84ad7112f";

/// What the logs of the newest block say of its swaps, as [`SIMULATE`] says it.
async fn mined(devnet: &Devnet) -> Vec<Value> {
    let hash = devnet.head().await.unwrap().hash;
    let logs = devnet.rpc_call("eth_getLogs", json!([{ "blockHash": hash, "topics": [SWAP] }])).await.unwrap();
    let of = |log: &Value| {
        let data: Bytes = log["data"].as_str().unwrap().parse().unwrap();
        let word = |i: usize| U256::from_be_slice(&data[32 * i..32 * (i + 1)]);
        let signed = |i: usize| I256::from_raw(word(i));
        // The swapper's view: what he pays is negative.
        let (paid, got) = if signed(0).is_negative() { (signed(0), signed(1)) } else { (signed(1), signed(0)) };
        json!({
            "pool": log["topics"][1], "in": paid.unsigned_abs().to_string(), "out": got.to_string(),
            "after": [word(2).to_string(), i32::try_from(signed(4)).unwrap().to_string(), word(3).to_string()],
        })
    };
    logs.as_array().unwrap().iter().map(of).collect()
}

fn said(step: &Value) -> Value {
    let after = json!([step["sqrtPriceX96After"], step["tickAfter"].to_string(), step["liquidityAfter"]]);
    json!({ "pool": step["pool"]["id"], "in": step["amountIn"], "out": step["amountOut"], "after": after })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_simulated_of_v4_is_what_is_mined_swap_after_swap() {
    let folder = tempfile::tempdir().unwrap();
    let mut devnet = Devnet::start(config(9)).await.unwrap();
    devnet.fill(4, 20).await.unwrap();
    let direct = Direct::deploy(&mut devnet).await;
    direct.set_protocol_fee(&mut devnet, 1, 700 | 200 << 12).await;
    devnet.mine_all_ok().await.unwrap();
    let engine = Engine::start(&Setup::of(&devnet, folder.path()), folder.path()).await;
    let mut rng = Rng(41);
    let mut crossed = 0;
    for _ in 0..8 {
        engine.at_head(&devnet).await;
        let (mut steps, mut calls) = (Vec::new(), Vec::new());
        for _ in 0..6 {
            // The third has a hook: of it nothing is simulated.
            let index = [0, 1, 3][usize::try_from(rng.below(3)).unwrap()];
            let pool = direct.pool(index);
            let down = rng.below(2) == 0;
            let token = if down { &pool.token0 } else { &pool.token1 };
            let amount: u128 = token.amount_raw(u128::from(1 + rng.below(400_000_000_000))).to();
            steps.push(json!({ "pool": pool.id, "tokenIn": token.address, "amount": amount.to_string(), "type": "EXACT_INPUT" }));
            calls.push(direct.swap(index, down, -i128::try_from(amount).unwrap(), all_the_way(down)));
        }
        let simulated = engine.query(SIMULATE, json!({ "steps": steps })).await["simulate"].clone();
        assert_eq!(simulated["block"]["hash"], json!(devnet.head().await.unwrap().hash));
        let simulated = simulated["steps"].as_array().unwrap().clone();
        direct.push(&mut devnet, calls).await;
        devnet.mine_all_ok().await.unwrap();
        assert_eq!(mined(&devnet).await, simulated.iter().map(said).collect::<Vec<_>>(), "{steps:#?}");
        crossed += simulated.iter().filter_map(|step| step["ticksCrossed"].as_u64()).sum::<u64>();
    }
    assert!(crossed > 5, "{crossed}");
    // What a hook has a say in is refused, with the reason.
    let hooked = direct.pool(2);
    let step = json!({ "pool": hooked.id, "tokenIn": hooked.token0.address, "amount": "1000", "type": "EXACT_INPUT" });
    let refused = engine.raw_query(SIMULATE, json!({ "steps": [step] })).await;
    assert_eq!(refused["errors"][0]["extensions"]["code"], json!("BAD_USER_INPUT"), "{refused:#}");
    assert!(refused["errors"][0]["message"].as_str().unwrap().contains("hook has a say"), "{refused:#}");
}
