//! The chain that everything else is tested on must itself be what it says.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "in a test, a panic is the report")]

use alloy::primitives::{Address, B256, U256};
use serde_json::json;
use swaptide_demo::{
    ActionCounts, Contract, Devnet, DevnetConfig, LogEmitter, OddTokens, Protocol,
    contracts::{Token, V2Pair, V3Pool},
};

/// A small chain with both protocols.
fn small(seed: u64) -> DevnetConfig {
    DevnetConfig { seed, tokens: 4, v2_pools: 2, v3_pools: 2, max_new_pools: 1, ..DevnetConfig::default() }
}

async fn twenty_blocks(seed: u64) -> (B256, ActionCounts) {
    let mut devnet = Devnet::start(small(seed)).await.unwrap();
    let head = devnet.fill(20, 10).await.unwrap();
    (head.hash, devnet.trader.counts())
}

#[tokio::test]
async fn a_seed_repeats_every_block_hash_and_another_does_not() {
    let (first, second, other) = tokio::join!(twenty_blocks(7), twenty_blocks(7), twenty_blocks(8));
    assert_eq!(first, second);
    assert_ne!(first.0, other.0);
}

#[tokio::test]
async fn the_default_chain_has_ten_pools_at_their_fair_prices() {
    let devnet = Devnet::start(DevnetConfig::default()).await.unwrap();
    assert_eq!(devnet.deployment.pools.len(), 10);
    for pool in &devnet.deployment.pools {
        // In fair dollars, both sides of a V2 pool and the price of a V3 pool agree to a thousandth.
        let (worth0, worth1) = match pool.protocol {
            Protocol::V2 => {
                let reserves = devnet.rpc().view(pool.address, &V2Pair::getReservesCall {}).await.unwrap();
                (reserves.reserve0.to::<u128>() as f64, reserves.reserve1.to::<u128>() as f64)
            }
            Protocol::V3 => {
                let slot0 = devnet.rpc().view(pool.address, &V3Pool::slot0Call {}).await.unwrap();
                assert!(devnet.rpc().view(pool.address, &V3Pool::liquidityCall {}).await.unwrap() > 0);
                let root = f64::from(slot0.sqrtPriceX96) / 2_f64.powi(96);
                (1.0, root * root)
            }
        };
        let dollars = |raw: f64, token: &swaptide_demo::DevToken| {
            raw / 10_f64.powi(i32::from(token.decimals)) * token.price_micro_usd as f64
        };
        let ratio = dollars(worth0, &pool.token0) / dollars(worth1, &pool.token1);
        assert!((ratio - 1.0).abs() < 0.001, "{}: {ratio}", pool.label());
    }
    let usdc = devnet.deployment.tokens.iter().find(|t| t.symbol == "USDC").unwrap();
    assert_eq!(devnet.rpc().view(usdc.address, &Token::symbolCall {}).await.unwrap(), "USDC");
    assert_eq!(devnet.rpc().view(usdc.address, &Token::decimalsCall {}).await.unwrap(), 6);
    assert_eq!(devnet.deployment.stablecoins().len(), 3);
}

#[tokio::test]
async fn nothing_reverts_in_a_long_run_and_every_action_happens() {
    let mut devnet = Devnet::start(DevnetConfig { seed: 3, ..DevnetConfig::default() }).await.unwrap();
    for _ in 0..40 {
        devnet.trader.push_random(40).await.unwrap();
        let block = devnet.mine_all_ok().await.unwrap();
        assert_eq!(block.transactions, 40);
    }
    let c = devnet.trader.counts();
    let all = [c.v2_swaps, c.v2_two_hop_swaps, c.v2_adds, c.v2_removes, c.v3_swaps, c.v3_mints, c.v3_burns, c.v3_pools_created];
    assert!(all.iter().all(|n| *n > 0), "{c:?}");
    assert_eq!(devnet.trader.pools().len(), 10 + c.v3_pools_created as usize);
}

#[tokio::test]
async fn v4_is_traded_with_native_currency_and_a_hook_through_reorgs() {
    let config = DevnetConfig { seed: 4, tokens: 3, v2_pools: 1, v3_pools: 1, v4_pools: 4, ..DevnetConfig::default() };
    let mut devnet = Devnet::start(config).await.unwrap();
    for _ in 0..12 {
        devnet.trader.push_random(40).await.unwrap();
        assert_eq!(devnet.mine_all_ok().await.unwrap().transactions, 40);
    }
    devnet.reorg(3).await.unwrap();
    for _ in 0..4 {
        devnet.trader.push_random(40).await.unwrap();
        devnet.mine_all_ok().await.unwrap();
    }
    let c = devnet.trader.counts();
    assert!([c.v4_swaps, c.v4_mints, c.v4_burns].iter().all(|n| *n > 0), "{c:?}");
    let v4 = devnet.deployment.v4.clone().unwrap();
    assert_eq!((v4.pools.len(), v4.pools.iter().filter(|pool| pool.is_hooked()).count()), (4, 1));
    assert!(v4.pools[0].token0.address.is_zero(), "native currency");
    for pool in &v4.pools {
        assert!(!v4.slot0(devnet.rpc(), pool).await.unwrap().0.is_zero(), "{pool:?}");
    }
}

#[tokio::test]
async fn a_reorg_replaces_blocks_and_trading_goes_on() {
    let mut devnet = Devnet::start(small(5)).await.unwrap();
    devnet.fill(5, 10).await.unwrap();
    for (depth, permille) in [(1, 0), (3, 0), (2, 700), (5, 1000)] {
        let old = devnet.head().await.unwrap();
        let reorg = devnet.reorg_keeping(depth, permille).await.unwrap();
        assert_eq!(reorg.old_head, old.hash);
        assert_eq!(reorg.new_head.number, old.number);
        assert_ne!(reorg.new_head.hash, old.hash);
        assert!(reorg.orphaned_transactions >= 10, "{reorg:?}");
        assert_eq!(devnet.rpc_call("eth_getBlockByHash", json!([old.hash, false])).await.unwrap(), json!(null));
        for _ in 0..5 {
            devnet.trader.push_random(10).await.unwrap();
            assert_eq!(devnet.mine_all_ok().await.unwrap().transactions, 10);
        }
    }
    let too_deep = devnet.reorg(1_000).await.unwrap_err();
    assert!(too_deep.to_string().contains("not possible"), "{too_deep}");
}

#[tokio::test]
async fn an_orphaned_transaction_can_come_again() {
    let mut devnet = Devnet::start(DevnetConfig::tiny()).await.unwrap();
    devnet.trader.swap_v2(0, true, U256::from(1_000_000_000_u64)).await.unwrap();
    devnet.mine_all_ok().await.unwrap();
    let reorg = devnet.reorg_keeping(1, 1000).await.unwrap();
    assert_eq!((reorg.orphaned_transactions, reorg.new_head.transactions), (1, 1));
}

#[tokio::test]
async fn a_new_pool_is_created_and_filled_in_one_transaction() {
    let mut devnet = Devnet::start(small(2)).await.unwrap();
    assert!(devnet.trader.create_pool_v3().await.unwrap());
    let block = devnet.mine_all_ok().await.unwrap();
    assert_eq!(block.transactions, 1);
    let pool = devnet.trader.pools().last().unwrap().clone();
    assert!(devnet.rpc().view(pool.address, &V3Pool::liquidityCall {}).await.unwrap() > 0);
    let index = devnet.trader.pools().len() - 1;
    devnet.trader.swap_v3(index, true, pool.token0.amount_raw(1_000_000)).await.unwrap();
    devnet.mine_all_ok().await.unwrap();
    // A reorg takes the pool away, and the trader knows.
    devnet.reorg(2).await.unwrap();
    assert!(devnet.trader.pools().iter().all(|p| p.address != pool.address));
}

#[tokio::test]
async fn crafted_logs_and_odd_tokens_are_on_the_chain() {
    let mut devnet = Devnet::start(DevnetConfig::tiny()).await.unwrap();
    let emitter = LogEmitter::deploy(&mut devnet).await.unwrap();
    for topics in 0..=4 {
        let topics = (0..topics).map(B256::with_last_byte).collect();
        emitter.emit(&mut devnet, topics, vec![1, 2, 3].into()).await.unwrap();
    }
    let block = devnet.mine_all_ok().await.unwrap();
    let logs = devnet.rpc_call("eth_getLogs", json!([{ "blockHash": block.hash }])).await.unwrap();
    let logs = logs.as_array().unwrap();
    assert_eq!(logs.len(), 5);
    for (i, log) in logs.iter().enumerate() {
        assert_eq!(log["topics"].as_array().unwrap().len(), i);
        assert_eq!((&log["address"], &log["data"]), (&json!(emitter.address), &json!("0x010203")));
    }
    let odd = OddTokens::deploy(&mut devnet).await.unwrap();
    let rpc = devnet.rpc();
    assert!(rpc.view(odd.bytes32_symbol, &Token::symbolCall {}).await.is_err(), "bytes32 is not a string");
    assert!(rpc.view(odd.no_symbol, &Token::symbolCall {}).await.is_err());
    assert!(rpc.view(odd.reverting_decimals, &Token::decimalsCall {}).await.is_err());
    assert_eq!(rpc.view(odd.huge_symbol, &Token::symbolCall {}).await.unwrap().len(), 4096);
}

#[tokio::test]
async fn openzeppelins_nft_can_be_deployed_too() {
    use alloy::sol_types::SolValue;
    let mut devnet = Devnet::start(DevnetConfig::tiny()).await.unwrap();
    let arguments = ("Holder Pass", "PASS", "ipfs://pass/").abi_encode_params();
    let nft = devnet.deploy(Contract::Erc721, &arguments).await.unwrap();
    assert_ne!(nft, Address::ZERO);
    assert_eq!(devnet.rpc().view(nft, &Token::symbolCall {}).await.unwrap(), "PASS");
}

#[tokio::test]
async fn the_node_ends_with_the_devnet() {
    let mut devnet = Devnet::start(DevnetConfig::tiny()).await.unwrap();
    assert!(devnet.is_running());
    let rpc = devnet.rpc().clone();
    drop(devnet);
    assert!(rpc.call("eth_chainId", json!([])).await.is_err());
}
