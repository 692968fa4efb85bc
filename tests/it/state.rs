//! P2: the state in memory equals the contracts', to the wei, at the same block, whatever happened before.

use alloy::primitives::{Address, U256};
use swaptide::{
    audit::{Report, compare_state},
    chain::rpc::{EndpointConfig, RpcConfig, RpcSource},
};
use swaptide_demo::{Devnet, DevnetConfig};

use super::engine::{Engine, Setup};

pub fn source(devnet: &Devnet) -> RpcSource {
    // Nothing here speaks TLS, but a client is not built without a provider. The second caller finds it installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let endpoint = EndpointConfig::new(&devnet.http_url);
    RpcSource::new(RpcConfig::new(devnet.chain_id, vec![endpoint])).unwrap()
}

/// Compares every pool with its contract at the engine's block.
pub async fn compare(engine: &Engine, devnet: &Devnet) -> Report {
    let report = compare_state(&source(devnet), &engine.state().await).await.unwrap();
    assert!(report.is_equal(), "{report:#?}");
    report
}

#[tokio::test(flavor = "multi_thread")]
async fn every_pool_equals_its_contract_at_several_blocks_of_random_trading_and_reorgs() {
    let folder = tempfile::tempdir().unwrap();
    let mut devnet = Devnet::start(DevnetConfig { seed: 3, ..DevnetConfig::default() }).await.unwrap();
    let engine = Engine::start(&Setup::of(&devnet, folder.path()), folder.path()).await;
    for round in 0..12u64 {
        devnet.trader.push_random(40).await.unwrap();
        devnet.mine().await.unwrap();
        if round % 4 == 2 {
            devnet.reorg(1 + round % 3).await.unwrap();
            devnet.trader.push_random(10).await.unwrap();
            devnet.mine().await.unwrap();
        }
        engine.at_head(&devnet).await;
        let report = compare(&engine, &devnet).await;
        assert_eq!(report.block_hash, devnet.head().await.unwrap().hash);
        assert!(report.compared >= 10 && report.ticks >= 10 && report.positions >= 10 && report.tokens >= 10, "{report:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_comparison_sees_a_single_wei() {
    let folder = tempfile::tempdir().unwrap();
    let devnet = Devnet::start(DevnetConfig::default()).await.unwrap();
    let engine = Engine::start(&Setup::of(&devnet, folder.path()), folder.path()).await;
    engine.at_head(&devnet).await;
    let mut state = engine.state().await;
    for pool in &mut state.pools {
        match &mut pool.state {
            swaptide::domain::pool::PoolState::V2(v2) => v2.reserve0 += 1,
            swaptide::domain::pool::PoolState::V3(v3) | swaptide::domain::pool::PoolState::V4(v3) => {
                let ticks = std::sync::Arc::make_mut(&mut v3.ticks);
                let (&first, _) = ticks.iter().next().unwrap();
                ticks.remove(&first);
            }
        }
    }
    let report = compare_state(&source(&devnet), &state).await.unwrap();
    assert_eq!(report.drifts.len(), state.pools.len(), "{report:#?}");
    // Fees and positions, too.
    let mut state = engine.state().await;
    state.pools.retain(|pool| pool.books.is_some());
    for (i, pool) in state.pools.iter_mut().enumerate() {
        let books = pool.books.as_mut().unwrap();
        match i % 4 {
            0 => books.growth[1] += U256::ONE,
            1 => books.outside.values_mut().next().unwrap()[0] -= U256::ONE,
            2 => pool.positions.first_mut().unwrap().1.owed[0] += 1,
            _ => pool.tokens.first_mut().unwrap().1.owner = Address::ZERO,
        }
    }
    assert!(state.pools.len() >= 4);
    let report = compare_state(&source(&devnet), &state).await.unwrap();
    assert_eq!(report.drifts.len(), state.pools.len(), "{report:#?}");
    assert!(report.drifts.iter().all(|drift| drift.drifts.len() == 1), "{report:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_is_created_and_filled_in_one_transaction_is_complete() {
    let folder = tempfile::tempdir().unwrap();
    let mut devnet = Devnet::start(DevnetConfig { seed: 5, ..DevnetConfig::default() }).await.unwrap();
    let engine = Engine::start(&Setup::of(&devnet, folder.path()), folder.path()).await;
    engine.at_head(&devnet).await;
    let before = engine.state().await.pools.len();
    assert!(devnet.trader.create_pool_v3().await.unwrap(), "the devnet has room for another pool");
    devnet.mine_all_ok().await.unwrap();
    engine.at_head(&devnet).await;
    compare(&engine, &devnet).await;
    assert_eq!(engine.state().await.pools.len(), before + 1);
    // Taken back with its block, it is gone; and nothing else is.
    devnet.reorg(1).await.unwrap();
    engine.at_head(&devnet).await;
    compare(&engine, &devnet).await;
    assert_eq!(engine.state().await.pools.len(), before);
}
