//! Fees of V3 pools: everything that moves them on a real chain, against the contracts and against plain sums of raw logs.

use alloy::{
    primitives::{Address, I256, U256, aliases::I24},
    sol,
    sol_types::{SolCall, SolEvent},
};
use serde_json::{Value, json};
use swaptide_demo::{Contract, DevPool, Devnet, DevnetConfig};

use super::{
    engine::{Engine, Setup},
    state::compare,
};

sol! {
    interface V3Direct {
        function mint(address pool, int24 lower, int24 upper, uint128 amount) external;
        function burn(address pool, int24 lower, int24 upper, uint128 amount) external;
        function collect(address pool, int24 lower, int24 upper, uint128 amount0, uint128 amount1) external;
        function flash(address pool, uint256 amount0, uint256 amount1, uint256 gift) external;
    }

    interface Pool {
        event Burn(address indexed owner, int24 indexed tickLower, int24 indexed tickUpper, uint128 amount, uint256 amount0, uint256 amount1);
        event Collect(address indexed owner, address recipient, int24 indexed tickLower, int24 indexed tickUpper, uint128 amount0, uint128 amount1);
        function setFeeProtocol(uint8 feeProtocol0, uint8 feeProtocol1) external;
        function collectProtocol(address recipient, uint128 amount0, uint128 amount1) external;
        function protocolFees() external view returns (uint128 token0, uint128 token1);
        function feeGrowthGlobal0X128() external view returns (uint256);
        function feeGrowthGlobal1X128() external view returns (uint256);
    }

    interface Token {
        function mint(address[] to, uint256 value) external;
    }
}

/// Positions without a manager, in one pool.
struct Direct {
    contract: Address,
    pool: DevPool,
}

impl Direct {
    async fn new(devnet: &mut Devnet) -> Self {
        let contract = devnet.deploy(Contract::Own("V3Direct"), &[]).await.unwrap();
        let d = &devnet.deployment;
        let ours = |pool: &&DevPool| pool.tick_spacing > 0 && ![pool.token0.address, pool.token1.address].contains(&d.weth);
        let pool = d.pools.iter().find(ours).expect("a V3 pool of two tokens that anybody may mint").clone();
        for token in [pool.token0.address, pool.token1.address] {
            let mint = Token::mintCall { to: vec![contract], value: U256::from(10).pow(U256::from(30)) };
            devnet.push_tx(token, mint.abi_encode().into(), 1_000_000).await.unwrap();
        }
        devnet.mine_all_ok().await.unwrap();
        Self { contract, pool }
    }

    async fn call(&self, devnet: &mut Devnet, call: impl SolCall) {
        devnet.push_tx(self.contract, call.abi_encode().into(), 2_000_000).await.unwrap();
    }

    async fn pool_call(&self, devnet: &mut Devnet, call: impl SolCall) {
        devnet.push_tx(self.pool.address, call.abi_encode().into(), 1_000_000).await.unwrap();
    }
}

async fn trade(devnet: &mut Devnet, rounds: usize) {
    for _ in 0..rounds {
        devnet.trader.push_random(25).await.unwrap();
        devnet.mine().await.unwrap();
    }
}

/// What was collected of a pool and was not freed by a burn before, from its raw logs. Nothing freed may be left uncollected.
async fn collected(devnet: &Devnet, pool: &DevPool) -> [I256; 2] {
    let filter = json!([{ "fromBlock": "0x0", "toBlock": "latest", "address": pool.address }]);
    let logs = devnet.rpc_call("eth_getLogs", filter).await.unwrap();
    let mut sums = [I256::ZERO; 2];
    for log in logs.as_array().unwrap() {
        let log: alloy::rpc::types::Log = serde_json::from_value(log.clone()).unwrap();
        let (amounts, sign) = match log.topic0() {
            Some(topic) if *topic == Pool::Collect::SIGNATURE_HASH => {
                let event = Pool::Collect::decode_log(&log.inner).unwrap().data;
                ([U256::from(event.amount0), U256::from(event.amount1)], I256::ONE)
            }
            Some(topic) if *topic == Pool::Burn::SIGNATURE_HASH => {
                let event = Pool::Burn::decode_log(&log.inner).unwrap().data;
                ([event.amount0, event.amount1], I256::MINUS_ONE)
            }
            _ => continue,
        };
        for (sum, amount) in sums.iter_mut().zip(amounts) {
            *sum += sign * I256::from_raw(amount);
        }
    }
    sums
}

pub fn units(raw: impl ToString, decimals: u8) -> String {
    let digits = format!("{:0>width$}", raw.to_string(), width = usize::from(decimals) + 1);
    let (whole, part) = digits.split_at(digits.len() - usize::from(decimals));
    let text = format!("{whole}.{part}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn flashes_protocol_fees_and_positions_without_a_manager_are_followed_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let mut devnet = Devnet::start(DevnetConfig { seed: 11, ..DevnetConfig::default() }).await.unwrap();
    let direct = Direct::new(&mut devnet).await;
    let (pool, spacing) = (direct.pool.address, direct.pool.tick_spacing);
    let engine = Engine::start(&Setup::of(&devnet, folder.path()), folder.path()).await;
    let tick = |n: i32| I24::unchecked_from(n / spacing * spacing);
    let (lower, upper) = (tick(-600_000), tick(600_000));
    let amount = 10_u128.pow(15);

    // The same position in two steps, and fees of all kinds in between.
    direct.call(&mut devnet, V3Direct::mintCall { pool, lower, upper, amount }).await;
    direct.pool_call(&mut devnet, Pool::setFeeProtocolCall { feeProtocol0: 4, feeProtocol1: 7 }).await;
    devnet.mine_all_ok().await.unwrap();
    trade(&mut devnet, 6).await;
    let gift = U256::from(123_457);
    let flash = V3Direct::flashCall { pool, amount0: U256::from(1_000), amount1: U256::from(77), gift };
    direct.call(&mut devnet, flash).await;
    direct.call(&mut devnet, V3Direct::mintCall { pool, lower, upper, amount }).await;
    devnet.mine_all_ok().await.unwrap();
    engine.at_head(&devnet).await;
    compare(&engine, &devnet).await;

    // Taken back, and other things in their place.
    devnet.reorg(2).await.unwrap();
    trade(&mut devnet, 4).await;
    direct.call(&mut devnet, V3Direct::burnCall { pool, lower, upper, amount: amount / 3 }).await;
    direct.call(&mut devnet, V3Direct::collectCall { pool, lower, upper, amount0: 5, amount1: 7 }).await;
    direct.pool_call(&mut devnet, Pool::collectProtocolCall { recipient: direct.contract, amount0: 3, amount1: u128::MAX }).await;
    devnet.mine_all_ok().await.unwrap();
    direct.pool_call(&mut devnet, Pool::setFeeProtocolCall { feeProtocol0: 0, feeProtocol1: 10 }).await;
    devnet.mine_all_ok().await.unwrap();
    trade(&mut devnet, 4).await;
    engine.at_head(&devnet).await;
    compare(&engine, &devnet).await;

    // All that is left of it; a touch without liquidity, too.
    direct.call(&mut devnet, V3Direct::burnCall { pool, lower, upper, amount: 0 }).await;
    let rest = V3Direct::collectCall { pool, lower, upper, amount0: u128::MAX, amount1: u128::MAX };
    direct.call(&mut devnet, rest).await;
    devnet.mine_all_ok().await.unwrap();
    engine.at_head(&devnet).await;
    let report = compare(&engine, &devnet).await;
    assert!(report.positions > 10, "{report:?}");

    let query = "query($id: ID!) { pool(id: $id) { feesToken0 feesToken1 collectedFeesToken0 collectedFeesToken1
        protocolFeesToken0 protocolFeesToken1 feeGrowthGlobal0X128 feeGrowthGlobal1X128 } }";
    let said = engine.query(query, json!({ "id": pool.to_string() })).await["pool"].clone();
    let decimals = [direct.pool.token0.decimals, direct.pool.token1.decimals];
    let fees = collected(&devnet, &direct.pool).await;
    assert!(fees.iter().all(I256::is_positive), "{fees:?}");
    let protocol = devnet.rpc().view(pool, &Pool::protocolFeesCall {}).await.unwrap();
    assert!(protocol.token0 > 0 && protocol.token1 > 0);
    let growth0 = devnet.rpc().view(pool, &Pool::feeGrowthGlobal0X128Call {}).await.unwrap();
    let growth1 = devnet.rpc().view(pool, &Pool::feeGrowthGlobal1X128Call {}).await.unwrap();
    let expected = json!({
        "feesToken0": said["feesToken0"],
        "feesToken1": said["feesToken1"],
        "collectedFeesToken0": units(fees[0], decimals[0]),
        "collectedFeesToken1": units(fees[1], decimals[1]),
        "protocolFeesToken0": units(protocol.token0, decimals[0]),
        "protocolFeesToken1": units(protocol.token1, decimals[1]),
        "feeGrowthGlobal0X128": growth0.to_string(),
        "feeGrowthGlobal1X128": growth1.to_string(),
    });
    assert_eq!(said, expected);
    for (side, name) in ["feesToken0", "feesToken1"].iter().enumerate() {
        let (paid, taken): (f64, f64) = (number(&said[*name]), number(&json!(units(fees[side], decimals[side]))));
        assert!(paid > taken, "{name}: {paid} paid, {taken} collected");
    }
    // A pair keeps its fees: they are its part of what came in.
    let pair = engine.query("{ pools(first: 1, where: { protocol: UNISWAP_V2 }) { nodes { feesToken0 collectedFeesToken0 protocolFeesToken0 feeGrowthGlobal0X128 } } }", json!({})).await;
    let pair = &pair["pools"]["nodes"][0];
    assert!(number(&pair["feesToken0"]) > 0.0, "{pair}");
    assert_eq!((&pair["collectedFeesToken0"], &pair["protocolFeesToken0"]), (&Value::Null, &Value::Null));
    assert_eq!(pair["feeGrowthGlobal0X128"], Value::Null);
}

fn number(value: &Value) -> f64 {
    value.as_str().unwrap_or_else(|| panic!("a number, not {value}")).parse().unwrap()
}
