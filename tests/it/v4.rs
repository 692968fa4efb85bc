//! Uniswap V4: pools inside one contract, with native currency, hooks and the protocol's fees.

use alloy::{
    primitives::{
        Address, B256, I256, U160, U256,
        aliases::{I24, U24},
    },
    sol_types::{SolCall, SolValue},
};
use serde_json::json;
use swaptide::domain::pool::{PoolId, PoolState};
use swaptide_demo::{
    Contract, Devnet, DevnetConfig, Tx, V4, V4Pool,
    contracts::{Token, V4Direct, V4Manager, V4Positions},
};

use super::{
    engine::{Engine, Setup},
    state::compare,
};

pub(crate) fn config(seed: u64) -> DevnetConfig {
    DevnetConfig { seed, tokens: 3, v2_pools: 1, v3_pools: 1, v4_pools: 4, max_new_pools: 0, ..DevnetConfig::default() }
}

/// Acts on the PoolManager without a router, out of a purse of its own.
pub(crate) struct Direct {
    pub(crate) address: Address,
    pub(crate) v4: V4,
}

impl Direct {
    pub(crate) async fn deploy(devnet: &mut Devnet) -> Self {
        let v4 = devnet.deployment.v4.clone().unwrap();
        let address = devnet.deploy(Contract::Own("V4Direct"), &(v4.manager,).abi_encode_params()).await.unwrap();
        for token in devnet.deployment.tokens.clone() {
            let value = token.amount_raw(1_000_000_000_000_000);
            devnet.push_tx(token.address, Token::transferCall { to: address, value }.abi_encode().into(), 100_000).await.unwrap();
        }
        let value = U256::from(10).pow(U256::from(24));
        let from = devnet.deployment.deployer();
        let gift = Tx { from, to: Some(address), data: Default::default(), gas: 100_000, value };
        devnet.trader.queue_mut().push(gift).await.unwrap();
        devnet.mine_all_ok().await.unwrap();
        Self { address, v4 }
    }

    pub(crate) fn pool(&self, index: usize) -> &V4Pool {
        &self.v4.pools[index]
    }

    pub(crate) fn key(&self, index: usize) -> V4Direct::Key {
        self.pool(index).key.parts().into()
    }

    pub(crate) fn modify(&self, pool: usize, (lower, upper): (i32, i32), delta: i128, salt: u8) -> Vec<u8> {
        let tick = |tick| I24::try_from(tick).unwrap();
        let params = V4Direct::ModifyLiquidityParams {
            tickLower: tick(lower),
            tickUpper: tick(upper),
            liquidityDelta: I256::try_from(delta).unwrap(),
            salt: B256::with_last_byte(salt),
        };
        V4Direct::modifyCall { key: self.key(pool), params }.abi_encode()
    }

    /// Negative: exact input, as V4 has it. Up to a price.
    pub(crate) fn swap(&self, pool: usize, zero_for_one: bool, amount: i128, limit: U160) -> Vec<u8> {
        let params = V4Direct::SwapParams {
            zeroForOne: zero_for_one,
            amountSpecified: I256::try_from(amount).unwrap(),
            sqrtPriceLimitX96: limit,
        };
        V4Direct::swapCall { key: self.key(pool), params }.abi_encode()
    }

    pub(crate) fn donate(&self, pool: usize, amount0: u64, amount1: u64) -> Vec<u8> {
        let (amount0, amount1) = (U256::from(amount0), U256::from(amount1));
        V4Direct::donateCall { key: self.key(pool), amount0, amount1 }.abi_encode()
    }

    /// All of them in one transaction.
    pub(crate) async fn push(&self, devnet: &mut Devnet, calls: Vec<Vec<u8>>) {
        let calls = calls.into_iter().map(Into::into).collect();
        let data = V4Direct::allCall { calls }.abi_encode();
        devnet.push_tx(self.address, data.into(), 8_000_000).await.unwrap();
    }

    pub(crate) async fn set_protocol_fee(&self, devnet: &mut Devnet, pool: usize, fee: u32) {
        let controller = devnet.deployment.deployer();
        let key: V4Manager::Key = self.pool(pool).key.parts().into();
        let control = V4Manager::setProtocolFeeControllerCall { controller };
        devnet.push_tx(self.v4.manager, control.abi_encode().into(), 200_000).await.unwrap();
        let set = V4Manager::setProtocolFeeCall { key, newProtocolFee: U24::from(fee) };
        devnet.push_tx(self.v4.manager, set.abi_encode().into(), 200_000).await.unwrap();
    }
}

/// As far as a swap can go.
pub(crate) fn all_the_way(zero_for_one: bool) -> U160 {
    let most: U160 = "1461446703485210103287273052203988822378723970342".parse().unwrap();
    if zero_for_one { U160::from(4_295_128_740_u64) } else { most - U160::from(1) }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_pool_equals_the_pool_manager_through_random_trading_reorgs_and_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut devnet = Devnet::start(config(3)).await.unwrap();
    let setup = Setup::of(&devnet, folder.path());
    let mut engine = Engine::start(&setup, folder.path()).await;
    for round in 0..12_u64 {
        devnet.trader.push_random(60).await.unwrap();
        devnet.mine().await.unwrap();
        if round % 4 == 2 {
            devnet.reorg_keeping(1 + round % 3, 500).await.unwrap();
            devnet.trader.push_random(10).await.unwrap();
            devnet.mine().await.unwrap();
        }
        if round == 7 {
            engine.at_head(&devnet).await;
            engine.kill().await;
            devnet.trader.push_random(40).await.unwrap();
            devnet.mine().await.unwrap();
            engine = Engine::start(&setup, folder.path()).await;
        }
        engine.at_head(&devnet).await;
        let report = compare(&engine, &devnet).await;
        assert_eq!((report.block_hash, report.compared), (devnet.head().await.unwrap().hash, 6));
    }
    let state = engine.state().await;
    let v4: Vec<_> = state.pools.iter().filter(|pool| matches!(pool.state, PoolState::V4(_))).collect();
    assert_eq!(v4.len(), 4);
    let tokens: usize = v4.iter().map(|pool| pool.tokens.len()).sum();
    assert!(tokens > 16 && v4.iter().all(|pool| pool.books.is_some()), "{tokens}");
    let counts = devnet.trader.counts();
    assert!(counts.v4_burns > 0 && counts.v4_mints > 0, "{counts:?}");
}

/// Everything that no router does: several of one owner's positions between the same ticks, gifts, exact outputs, price limits, and what the
/// protocol takes, of which the PoolManager keeps the sum by token.
#[tokio::test(flavor = "multi_thread")]
async fn positions_with_salts_donations_and_protocol_fees_equal_the_pool_manager() {
    let folder = tempfile::tempdir().unwrap();
    let mut devnet = Devnet::start(config(5)).await.unwrap();
    let engine = Engine::start(&Setup::of(&devnet, folder.path()), folder.path()).await;
    let direct = Direct::deploy(&mut devnet).await;
    let ether = 1_000_000_000_000_000_000_i128;
    // 0.1 % one way, 0.05 % the other; a part of it all where the pool itself takes nothing more.
    direct.set_protocol_fee(&mut devnet, 0, 1_000 | 500 << 12).await;
    direct.set_protocol_fee(&mut devnet, 3, 100 | 100 << 12).await;
    devnet.mine_all_ok().await.unwrap();
    let liquidity = 1_000_000_000_000_i128;
    let calls = vec![
        direct.modify(0, (-887_270, 887_270), liquidity, 0),
        direct.modify(0, (-887_270, 887_270), liquidity * 2, 1),
        direct.swap(0, true, -ether, all_the_way(true)),
        direct.swap(0, false, ether / 2, all_the_way(false)),
        direct.donate(0, 1_000_000_007, 999_983),
        direct.swap(0, false, -5_000_000_000, all_the_way(false)),
        direct.modify(0, (-887_270, 887_270), 0, 1),
        direct.modify(0, (-887_270, 887_270), -liquidity, 0),
        direct.swap(3, true, -700_000_000, all_the_way(true)),
        direct.swap(3, false, 650_000_000, all_the_way(false)),
    ];
    direct.push(&mut devnet, calls).await;
    devnet.mine_all_ok().await.unwrap();
    engine.at_head(&devnet).await;
    compare(&engine, &devnet).await;

    // To a price, over many ticks and back, to the last wei that anybody has.
    let (price, _) = direct.v4.slot0(devnet.rpc(), direct.pool(1)).await.unwrap();
    let near = price - price / U160::from(20);
    let calls = vec![
        direct.swap(1, true, -(1 << 90), near),
        direct.swap(1, false, -(1 << 90), price),
        direct.donate(1, 77, 0),
        direct.swap(1, true, -1, all_the_way(true)),
    ];
    direct.push(&mut devnet, calls).await;
    devnet.mine_all_ok().await.unwrap();
    engine.at_head(&devnet).await;
    compare(&engine, &devnet).await;

    devnet.trader.push_random(40).await.unwrap();
    devnet.mine().await.unwrap();
    devnet.reorg_keeping(2, 1_000).await.unwrap();
    engine.at_head(&devnet).await;
    compare(&engine, &devnet).await;

    let state = engine.state().await;
    let of_v4 = |pool: &&swaptide::audit::PoolAt| matches!(pool.meta.id, PoolId::Id(_));
    for currency in std::iter::once(Address::ZERO).chain(devnet.deployment.tokens.iter().map(|token| token.address)) {
        let call = V4Manager::protocolFeesAccruedCall { currency };
        let chain = devnet.rpc().view(direct.v4.manager, &call).await.unwrap();
        let ours = state.pools.iter().filter(of_v4).flat_map(|pool| {
            let protocol = pool.books.as_ref().unwrap().protocol;
            [(pool.meta.token0, protocol[0]), (pool.meta.token1, protocol[1])]
        });
        let ours: u128 = ours.filter(|(token, _)| *token == currency).map(|(_, fee)| fee).sum();
        assert_eq!(U256::from(ours), chain, "{currency}");
    }
}

/// Of pools that are older than what is read nobody but their creation's log says what they are; then their state is the PoolManager's.
#[tokio::test(flavor = "multi_thread")]
async fn pools_that_are_older_than_the_start_are_found_by_their_creation_and_read_from_the_pool_manager() {
    let mut devnet = Devnet::start(config(6)).await.unwrap();
    devnet.fill(8, 30).await.unwrap();
    let head = devnet.head().await.unwrap().number;
    let id = devnet.deployment.v4.clone().unwrap().pools[0].id;
    for (pools, expected) in [("older_pools = true".to_owned(), 6), (format!("pools = [\"{id}\"]"), 1)] {
        let folder = tempfile::tempdir().unwrap();
        let mut setup = Setup::of(&devnet, folder.path());
        setup.extra_chain = format!("start_block = {}\nfinality = 2", head - 1);
        setup.extra_dex = format!("{pools}\n");
        if expected == 1 {
            setup.dexes.retain(|(protocol, _)| protocol == "uniswap_v4");
        }
        let engine = Engine::start(&setup, folder.path()).await;
        for _ in 0..3 {
            devnet.trader.push_random(30).await.unwrap();
            devnet.mine().await.unwrap();
            engine.at_head(&devnet).await;
            assert_eq!(compare(&engine, &devnet).await.compared, expected);
        }
    }
}

/// A token that is given away takes its position with it, and comes back with a reorg.
#[tokio::test(flavor = "multi_thread")]
async fn a_position_token_that_changes_hands_is_its_new_owners_until_a_reorg_takes_that_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut devnet = Devnet::start(config(8)).await.unwrap();
    devnet.fill(3, 20).await.unwrap();
    let engine = Engine::start(&Setup::of(&devnet, folder.path()), folder.path()).await;
    let v4 = devnet.deployment.v4.clone().unwrap();
    let (from, to) = (devnet.deployment.deployer(), Address::repeat_byte(0x77));
    let transfer = V4Positions::transferFromCall { from, to, id: U256::ONE };
    devnet.push_tx(v4.positions, transfer.abi_encode().into(), 200_000).await.unwrap();
    devnet.mine_all_ok().await.unwrap();
    engine.at_head(&devnet).await;
    compare(&engine, &devnet).await;
    let owner = |state: swaptide::audit::StateAt| {
        let tokens = state.pools.into_iter().filter(|pool| matches!(pool.meta.id, PoolId::Id(_))).flat_map(|pool| pool.tokens);
        tokens.filter(|(id, _)| *id == U256::ONE).map(|(_, token)| token.owner).collect::<Vec<_>>()
    };
    assert_eq!(owner(engine.state().await), [to]);
    let held = "query($owner: Address!) { positions(where: { owner: $owner }) { nodes { owner liquidity tickLower } } }";
    let answer = engine.query(held, json!({ "owner": to })).await;
    assert_eq!(answer["positions"]["nodes"].as_array().unwrap().len(), 1, "{answer:#}");
    devnet.reorg(1).await.unwrap();
    engine.at_head(&devnet).await;
    compare(&engine, &devnet).await;
    assert_eq!(owner(engine.state().await), [from]);
}
