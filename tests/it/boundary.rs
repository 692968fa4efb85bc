//! P2 where an off-by-one would hide: the price sits exactly on an initialised tick. Random trading never gets there.

use alloy::primitives::{U160, U256};
use swaptide_demo::{Devnet, DevnetConfig, Protocol, contracts::V3Pool};

use super::{
    engine::{Engine, Setup},
    state,
};

/// `TickMath.getSqrtRatioAtTick` of v3-core: the product of 1/sqrt(1.0001)^(2^i), each with 128 fractional bits, rounded up to 96.
fn sqrt_ratio_at_tick(tick: i32) -> U160 {
    const FACTORS: [u128; 20] = [
        0xfffcb933bd6fad37aa2d162d1a594001,
        0xfff97272373d413259a46990580e213a,
        0xfff2e50f5f656932ef12357cf3c7fdcc,
        0xffe5caca7e10e4e61c3624eaa0941cd0,
        0xffcb9843d60f6159c9db58835c926644,
        0xff973b41fa98c081472e6896dfb254c0,
        0xff2ea16466c96a3843ec78b326b52861,
        0xfe5dee046a99a2a811c461f1969c3053,
        0xfcbe86c7900a88aedcffc83b479aa3a4,
        0xf987a7253ac413176f2b074cf7815e54,
        0xf3392b0822b70005940c7a398e4b70f3,
        0xe7159475a2c29b7443b29c7fa6e889d9,
        0xd097f3bdfd2022b8845ad8f792aa5825,
        0xa9f746462d870fdf8a65dc1f90e061e5,
        0x70d869a156d2a1b890bb3df62baf32f7,
        0x31be135f97d08fd981231505542fcfa6,
        0x9aa508b5b7a84e1c677de54f3e99bc9,
        0x5d6af8dedb81196699c329225ee604,
        0x2216e584f5fa1ea926041bedfe98,
        0x48a170391f7dc42444e8fa2,
    ];
    let mut ratio_x128 = U256::from(1) << 128;
    for (i, factor) in FACTORS.iter().enumerate() {
        if tick.unsigned_abs() >> i & 1 == 1 {
            ratio_x128 = (ratio_x128 * U256::from(*factor)) >> 128;
        }
    }
    if tick > 0 {
        ratio_x128 = U256::MAX / ratio_x128;
    }
    let rounded_up: U256 = (ratio_x128 + U256::from(u32::MAX)) >> 32;
    rounded_up.to()
}

/// What the pool's own `slot0` says.
async fn slot0(devnet: &Devnet, pool: usize) -> (U160, i32) {
    let slot0 = devnet.rpc().view(devnet.trader.pools()[pool].address, &V3Pool::slot0Call {}).await.unwrap();
    (slot0.sqrtPriceX96, slot0.tick.as_i32())
}

/// Positions that begin and end at `tick`, and one around it; the first two lose a part again in the next block.
async fn mint_and_burn_around(engine: &Engine, devnet: &mut Devnet, pool: usize, tick: i32) {
    let spacing = devnet.trader.pools()[pool].tick_spacing;
    let mut positions = Vec::new();
    for ticks in [(tick - 5 * spacing, tick), (tick, tick + 5 * spacing), (tick - 7 * spacing, tick + 7 * spacing)] {
        positions.push(devnet.trader.mint_v3(pool, ticks, 1_000_000_000).await.unwrap());
    }
    devnet.mine_all_ok().await.unwrap();
    engine.at_head(devnet).await;
    state::compare(engine, devnet).await;
    let owner = devnet.deployment.deployer();
    for position in &positions[..2] {
        devnet.trader.burn_v3(owner, *position, 400).await.unwrap();
    }
    devnet.mine_all_ok().await.unwrap();
    engine.at_head(devnet).await;
    state::compare(engine, devnet).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_equals_the_contract_while_the_price_sits_exactly_on_an_initialised_tick() {
    let folder = tempfile::tempdir().unwrap();
    let mut devnet = Devnet::start(DevnetConfig { seed: 31, ..DevnetConfig::default() }).await.unwrap();
    let engine = Engine::start(&Setup::of(&devnet, folder.path()), folder.path()).await;
    let pool = devnet.first_pool(Protocol::V3).unwrap();
    let (spacing, most) = (devnet.trader.pools()[pool].tick_spacing, U256::from(u128::MAX) >> 20);
    let (_, start) = slot0(&devnet, pool).await;
    let edge = (start.div_euclid(spacing) - 3) * spacing;
    let at_edge = sqrt_ratio_at_tick(edge);
    mint_and_burn_around(&engine, &mut devnet, pool, edge).await;

    // From above, the tick is crossed on arrival: the price is the tick's, the tick is the one below.
    devnet.trader.swap_v3_to(pool, true, most, at_edge).await.unwrap();
    devnet.mine_all_ok().await.unwrap();
    assert_eq!(slot0(&devnet, pool).await, (at_edge, edge - 1));
    engine.at_head(&devnet).await;
    state::compare(&engine, &devnet).await;
    mint_and_burn_around(&engine, &mut devnet, pool, edge).await;

    // One wei of price back up is above it, without crossing a second time; and down again.
    devnet.trader.swap_v3_to(pool, false, most, at_edge + U160::from(1_u64 << 40)).await.unwrap();
    devnet.mine_all_ok().await.unwrap();
    assert_eq!(slot0(&devnet, pool).await.1, edge);
    engine.at_head(&devnet).await;
    state::compare(&engine, &devnet).await;
    devnet.trader.swap_v3_to(pool, true, most, sqrt_ratio_at_tick(edge - 2 * spacing)).await.unwrap();
    devnet.mine_all_ok().await.unwrap();

    // From below it is crossed on arrival, too: price and tick are both its own.
    devnet.trader.swap_v3_to(pool, false, most, at_edge).await.unwrap();
    devnet.mine_all_ok().await.unwrap();
    assert_eq!(slot0(&devnet, pool).await, (at_edge, edge));
    engine.at_head(&devnet).await;
    state::compare(&engine, &devnet).await;
    mint_and_burn_around(&engine, &mut devnet, pool, edge).await;

    // All of it taken back, and none of it.
    devnet.reorg(4).await.unwrap();
    engine.at_head(&devnet).await;
    state::compare(&engine, &devnet).await;
}
