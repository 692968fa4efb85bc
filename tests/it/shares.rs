//! How many have liquidity in a pair, as GraphQL tells it, against `balanceOf` of everybody whom the pair's own token ever named.

use std::collections::BTreeSet;

use alloy::{
    primitives::{Address, U256},
    sol,
    sol_types::{SolCall, SolEvent},
};
use serde_json::{Value, json};
use swaptide_demo::{Devnet, DevnetConfig};

use super::{
    engine::{Engine, Setup},
    state::compare,
};

sol! {
    interface Pair {
        event Transfer(address indexed from, address indexed to, uint256 value);
        function balanceOf(address owner) external view returns (uint256);
        function totalSupply() external view returns (uint256);
        function transfer(address to, uint256 value) external returns (bool);
    }
}

/// Whoever has shares of a pair now: all of them, for the balances come to the supply.
async fn holders(devnet: &Devnet, pair: Address) -> BTreeSet<Address> {
    let filter =
        json!([{ "fromBlock": "0x0", "toBlock": "latest", "address": pair, "topics": [Pair::Transfer::SIGNATURE_HASH] }]);
    let mut named = BTreeSet::new();
    for log in devnet.rpc_call("eth_getLogs", filter).await.unwrap().as_array().unwrap() {
        let log: alloy::rpc::types::Log = serde_json::from_value(log.clone()).unwrap();
        let moved = Pair::Transfer::decode_log(&log.inner).unwrap().data;
        named.extend([moved.from, moved.to]);
    }
    let rpc = devnet.rpc();
    let (mut holders, mut sum) = (BTreeSet::new(), U256::ZERO);
    for account in named {
        let has = rpc.view(pair, &Pair::balanceOfCall { owner: account }).await.unwrap();
        sum += has;
        if !has.is_zero() && !account.is_zero() && account != pair {
            holders.insert(account);
        }
    }
    assert_eq!(sum, rpc.view(pair, &Pair::totalSupplyCall {}).await.unwrap());
    holders
}

/// Of each pair: what the engine counts.
async fn counts(engine: &Engine) -> Vec<(Address, Value)> {
    let data = engine.query("{ pools(first: 100, where: { protocol: UNISWAP_V2 }) { nodes { id } } }", Value::Null).await;
    let mut counts = Vec::new();
    for pool in data["pools"]["nodes"].as_array().unwrap() {
        let count = "query($id: ID!) { pool(id: $id) { address liquidityProviderCount } }";
        let pool = engine.query(count, json!({ "id": pool["id"] })).await["pool"].clone();
        counts.push((pool["address"].as_str().unwrap().parse().unwrap(), pool["liquidityProviderCount"].clone()));
    }
    counts
}

/// How many there are in all.
async fn all_are_equal(engine: &Engine, devnet: &Devnet) -> usize {
    let mut all = 0;
    for (pair, counted) in counts(engine).await {
        let holders = holders(devnet, pair).await;
        assert_eq!(counted, json!(holders.len()), "{pair}: {holders:?}");
        all += holders.len();
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_holds_a_pairs_token_is_counted_through_gifts_reorgs_and_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut devnet = Devnet::start(DevnetConfig { seed: 31, ..DevnetConfig::default() }).await.unwrap();
    // Some of it is read in ranges, the rest with the head.
    for _ in 0..20 {
        devnet.trader.push_random(20).await.unwrap();
        devnet.mine().await.unwrap();
    }
    let setup = Setup { lp_tokens: true, extra_chain: "finality = 4".to_owned(), ..Setup::of(&devnet, folder.path()) };
    let mut engine = Engine::start(&setup, folder.path()).await;
    engine.at_head(&devnet).await;
    let before = all_are_equal(&engine, &devnet).await;
    let (pair, _) = counts(&engine).await[0].clone();
    let deployer = devnet.deployment.deployer();
    assert!(holders(&devnet, pair).await.contains(&deployer), "{before} in all");

    // Two get a share; a reorg takes one of these back, and the other gives all of it on.
    let [ann, bob, eve] = [0xa1, 0xb2, 0xe3].map(Address::repeat_byte);
    let give = |to: Address, value: u64| Pair::transferCall { to, value: U256::from(value) }.abi_encode();
    devnet.push_tx(pair, give(ann, 7).into(), 200_000).await.unwrap();
    devnet.mine_all_ok().await.unwrap();
    devnet.push_tx(pair, give(bob, 7).into(), 200_000).await.unwrap();
    devnet.mine_all_ok().await.unwrap();
    engine.at_head(&devnet).await;
    assert_eq!(all_are_equal(&engine, &devnet).await, before + 2);
    devnet.reorg_keeping(1, 0).await.unwrap();
    engine.at_head(&devnet).await;
    assert_eq!(all_are_equal(&engine, &devnet).await, before + 1);
    assert!(!holders(&devnet, pair).await.contains(&bob), "the reorg left it out");
    // To the pair itself: that is nobody's share.
    devnet.push_tx(pair, give(pair, 5).into(), 200_000).await.unwrap();
    devnet.push_tx(pair, give(eve, 0).into(), 200_000).await.unwrap();
    devnet.mine_all_ok().await.unwrap();
    for _ in 0..6 {
        devnet.trader.push_random(20).await.unwrap();
        devnet.mine().await.unwrap();
    }
    engine.at_head(&devnet).await;
    all_are_equal(&engine, &devnet).await;
    compare(&engine, &devnet).await;

    engine.kill().await;
    engine = Engine::start(&setup, folder.path()).await;
    engine.at_head(&devnet).await;
    all_are_equal(&engine, &devnet).await;
    compare(&engine, &devnet).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_pairs_tokens_there_is_no_count_and_whoever_asks_for_them_later_has_all_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut devnet = Devnet::start(DevnetConfig { seed: 37, ..DevnetConfig::default() }).await.unwrap();
    let without = Setup { extra_chain: "finality = 4".to_owned(), ..Setup::of(&devnet, folder.path()) };
    let with = Setup { lp_tokens: true, ..without.clone() };
    for _ in 0..8 {
        devnet.trader.push_random(20).await.unwrap();
        devnet.mine().await.unwrap();
    }
    let engine = Engine::start(&without, folder.path()).await;
    engine.at_head(&devnet).await;
    let unknown = counts(&engine).await;
    assert!(unknown.len() > 1 && unknown.iter().all(|(_, count)| count.is_null()), "nothing is claimed: {unknown:?}");
    engine.terminate().await;

    let engine = Engine::start(&with, folder.path()).await;
    engine.says(|line| line.contains("has caught up, and is followed from now on")).await;
    engine.at_head(&devnet).await;
    assert!(all_are_equal(&engine, &devnet).await > 1);
    compare(&engine, &devnet).await;
    engine.terminate().await;
    let engine = Engine::start(&with, folder.path()).await;
    engine.at_head(&devnet).await;
    all_are_equal(&engine, &devnet).await;
}

/// What was stored while they were followed is of another time: no count is better than one that stands still.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_follows_the_pairs_tokens_no_more_has_no_count_and_has_it_again_when_he_does() {
    let folder = tempfile::tempdir().unwrap();
    let mut devnet = Devnet::start(DevnetConfig { seed: 41, ..DevnetConfig::default() }).await.unwrap();
    let with = Setup { lp_tokens: true, extra_chain: "finality = 4".to_owned(), ..Setup::of(&devnet, folder.path()) };
    let without = Setup { lp_tokens: false, ..with.clone() };
    devnet.fill(12, 10).await.unwrap();
    let engine = Engine::start(&with, folder.path()).await;
    engine.at_head(&devnet).await;
    all_are_equal(&engine, &devnet).await;
    engine.terminate().await;

    let joined = |line: &str| line.contains("has caught up, and is followed from now on");
    let engine = Engine::start(&without, folder.path()).await;
    engine.says(joined).await;
    engine.at_head(&devnet).await;
    assert!(counts(&engine).await.iter().all(|(_, count)| count.is_null()));
    // Nothing is left behind but rows: the next start folds all of them.
    engine.kill().await;
    let (pair, _) = {
        let engine = Engine::start(&without, folder.path()).await;
        engine.at_head(&devnet).await;
        let unknown = counts(&engine).await;
        assert!(unknown.iter().all(|(_, count)| count.is_null()), "of another time: {unknown:?}");
        engine.kill().await;
        unknown[0].clone()
    };
    let give = Pair::transferCall { to: Address::repeat_byte(0xa1), value: U256::from(7) }.abi_encode();
    devnet.push_tx(pair, give.into(), 200_000).await.unwrap();
    devnet.mine_all_ok().await.unwrap();
    devnet.fill(8, 6).await.unwrap();
    let engine = Engine::start(&without, folder.path()).await;
    engine.at_head(&devnet).await;
    assert!(counts(&engine).await.iter().all(|(_, count)| count.is_null()));
    engine.terminate().await;

    let engine = Engine::start(&with, folder.path()).await;
    engine.says(joined).await;
    engine.at_head(&devnet).await;
    all_are_equal(&engine, &devnet).await;
    compare(&engine, &devnet).await;
}
