//! Several endpoints that do not agree.

use serde_json::Value;
use swaptide_demo::{Devnet, DevnetConfig};

use super::{
    engine::{Engine, Setup},
    state,
};

fn reorgs(metrics: &str) -> u64 {
    let line = metrics.lines().find(|l| l.starts_with("swaptide_reorgs_total{")).unwrap_or("x 0");
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

async fn metrics(engine: &Engine) -> String {
    String::from_utf8(engine.admin.get("/metrics").await.unwrap().body).unwrap()
}

async fn swap(devnet: &mut Devnet, units: u64) {
    let amount = devnet.deployment.pools[0].token0.unit_raw() * alloy::primitives::U256::from(units);
    devnet.trader.swap_v2(0, true, amount).await.unwrap();
    devnet.mine_all_ok().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_endpoints_on_different_forks_one_is_followed_until_it_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    // The same seed and a fixed clock: the same blocks, up to here.
    let mut followed = Devnet::start(DevnetConfig::tiny()).await.unwrap();
    let mut other = Devnet::start(DevnetConfig::tiny()).await.unwrap();
    assert_eq!(followed.head().await.unwrap().hash, other.head().await.unwrap().hash);
    swap(&mut followed, 1).await;
    let mut setup = Setup::of(&followed, folder.path());
    setup.rpc = vec![followed.ws_url.clone(), other.ws_url.clone()];
    let engine = Engine::start(&setup, folder.path()).await;
    engine.at_head(&followed).await;
    for round in 0..6 {
        // The other branch is now behind, now level, now ahead.
        for _ in 0..=round % 3 {
            swap(&mut other, 2).await;
        }
        swap(&mut followed, 1).await;
        engine.at_head(&followed).await;
    }
    assert_eq!(reorgs(&metrics(&engine).await), 0, "{}", engine.log());
    state::compare(&engine, &followed).await;

    drop(followed);
    swap(&mut other, 2).await;
    engine.at_head(&other).await;
    let text = metrics(&engine).await;
    assert_eq!(reorgs(&text), 1, "{}", engine.log());
    state::compare(&engine, &other).await;
    assert_ne!(engine.status().await, Value::Null);
}
