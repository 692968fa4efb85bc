//! Dollars of the running engine, against a recomputation from contract calls at every block, in the test's own arithmetic.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use alloy::{
    primitives::{Address, B256, U256, keccak256},
    sol_types::SolValue,
};
use serde_json::{Value, json};
use swaptide::{
    chain::{BlockTag, ChainSource, contract_state, rpc::RpcSource},
    domain::{
        block::BlockRef,
        pool::{CreatedAt, PoolId, PoolMeta, PoolState, Protocol, V3State},
    },
};
use swaptide_demo::{DevPool, DevToken, Devnet, DevnetConfig, V4, v4::PoolKey};

use super::{
    engine::{Engine, Setup},
    state,
};

/// Half of what was there counts after half an hour; a pool prices nothing that a dollar moves by one per cent.
const STEADY_SECONDS: f64 = 1_800.0;
const MIN_DEPTH_USD: f64 = 1.0;

#[derive(Debug, Clone, Copy, Default)]
struct Depth {
    tokens: [f64; 2],
    both: f64,
}

/// What a pool says, in whole tokens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Said {
    /// token1 per token0.
    price: f64,
    depth: Depth,
    steady: Depth,
    at: u64,
}

impl Said {
    fn steady(&self, now: u64) -> Depth {
        let passed = (now - self.at) as f64;
        let mean = |steady: f64, depth: f64| (steady * STEADY_SECONDS + depth * passed) / (STEADY_SECONDS + passed);
        Depth {
            tokens: [0, 1].map(|i| mean(self.steady.tokens[i], self.depth.tokens[i])),
            both: mean(self.steady.both, self.depth.both),
        }
    }
}

fn float(value: U256) -> f64 {
    value.to_string().parse().unwrap()
}

/// Over a hundred ticks, one after the other, on the side where there is less.
fn mean_liquidity(pool: &V3State) -> f64 {
    let net = |tick: i32| pool.ticks.get(&tick).map_or(0.0, |tick| tick.liquidity_net as f64);
    let (mut up, mut down) = (0.0, 0.0);
    let mut liquidity = pool.liquidity as f64;
    for tick in pool.tick..pool.tick + 100 {
        up += liquidity / 100.0;
        liquidity += net(tick + 1);
    }
    liquidity = pool.liquidity as f64;
    for tick in (pool.tick - 99..=pool.tick).rev() {
        // The tick that the price is in is crossed at its lower end.
        liquidity -= net(tick);
        down += liquidity / 100.0;
    }
    up.min(down)
}

/// What says a price, of whatever protocol.
#[derive(Clone)]
struct Pool {
    id: PoolId,
    /// Native currency is worth what its wrapped form is.
    sides: [Address; 2],
    decimals: [u8; 2],
}

impl Pool {
    fn new(devnet: &Devnet, id: PoolId, tokens: [&DevToken; 2]) -> Self {
        let wrapped = |token: Address| if token.is_zero() { devnet.deployment.weth } else { token };
        Self { id, sides: tokens.map(|token| wrapped(token.address)), decimals: tokens.map(|token| token.decimals) }
    }
}

fn say(pool: &Pool, state: &PoolState) -> Option<(f64, Depth)> {
    let [unit0, unit1] = pool.decimals.map(|decimals| 10_f64.powi(i32::from(decimals)));
    match state {
        PoolState::V2(pair) if pair.reserve0 > 0 => {
            let (x, y) = (pair.reserve0 as f64 / unit0, pair.reserve1 as f64 / unit1);
            Some((y / x, Depth { tokens: [x / 200.0, y / 200.0], both: (x * y).sqrt() / 200.0 }))
        }
        PoolState::V3(v3) | PoolState::V4(v3) if v3.is_initialized() => {
            let root = float(v3.sqrt_price_x96) / 2_f64.powi(96);
            let both = mean_liquidity(v3) / 200.0;
            let depth = Depth { tokens: [both / root / unit0, both * root / unit1], both: both / (unit0 * unit1).sqrt() };
            Some((root * root * unit0 / unit1, depth))
        }
        _ => None,
    }
}

#[derive(Clone)]
pub(super) struct Oracle {
    pub(super) pools: Vec<DevPool>,
    all: Vec<Pool>,
    stable: BTreeSet<Address>,
    native: Address,
    said: HashMap<PoolId, Said>,
}

impl Oracle {
    pub(super) fn new(devnet: &Devnet) -> Self {
        let d = &devnet.deployment;
        let pools = devnet.trader.pools().to_vec();
        let of_v4 = d.v4.iter().flat_map(|v4| &v4.pools).map(|pool| (PoolId::Id(pool.id), [&pool.token0, &pool.token1]));
        let all = pools.iter().map(|pool| (pool.address.into(), [&pool.token0, &pool.token1])).chain(of_v4);
        let all = all.map(|(id, tokens)| Pool::new(devnet, id, tokens)).collect();
        Self { pools, all, stable: d.stablecoins().into_iter().collect(), native: d.weth, said: HashMap::new() }
    }

    /// What these pools, whose metas are there, say at the end of the block.
    pub(super) async fn advance(&mut self, source: &RpcSource, block: &BlockRef, metas: &[Arc<PoolMeta>]) {
        for (id, answer) in contract_state::read(source, block.hash, metas).await.unwrap() {
            let pool = self.all.iter().find(|pool| id == pool.id).unwrap();
            let Some((price, depth)) = say(pool, &answer.unwrap().state) else { continue };
            let steady = self.said.get(&pool.id).map_or_else(Depth::default, |said| said.steady(block.timestamp));
            self.said.insert(pool.id, Said { price, depth, steady, at: block.timestamp });
        }
    }

    fn rank(&self, token: Address) -> u8 {
        if self.stable.contains(&token) { 0 } else { 2 - u8::from(token == self.native) }
    }

    pub(super) fn price(&self, token: Address, now: u64, detour: bool) -> Option<f64> {
        if self.rank(token) == 0 {
            return Some(1.0);
        }
        let direct = self.median(token, now, |counter| self.rank(counter) < self.rank(token).min(2));
        let others = || self.median(token, now, |counter| self.rank(counter) == 2);
        direct.or_else(|| (detour && self.rank(token) == 2).then(others)?)
    }

    fn median(&self, token: Address, now: u64, counts: impl Fn(Address) -> bool) -> Option<f64> {
        let mut says = Vec::new();
        for pool in &self.all {
            let Some(mine) = pool.sides.iter().position(|side| *side == token) else { continue };
            let (counter, Some(said)) = (pool.sides[1 - mine], self.said.get(&pool.id)) else { continue };
            if !counts(counter) {
                continue;
            }
            let Some(known) = self.price(counter, now, false) else { continue };
            let steady = said.steady(now);
            let depth = said.depth.tokens[1 - mine].min(steady.tokens[1 - mine]) * known;
            let price = if mine == 0 { said.price * known } else { known / said.price };
            if depth >= MIN_DEPTH_USD {
                says.push((price, said.depth.both.min(steady.both) * known.sqrt()));
            }
        }
        says.sort_by(|a, b| a.0.total_cmp(&b.0));
        let all: f64 = says.iter().map(|(_, weight)| weight).sum();
        let mut below = 0.0;
        says.into_iter()
            .find(|(_, weight)| {
                below += weight;
                below * 2.0 >= all
            })
            .map(|(price, _)| price)
    }

    /// By the side that is nearer to a dollar.
    pub(super) fn value(&self, pool: &DevPool, amounts: [f64; 2], now: u64) -> Option<f64> {
        self.value_of([pool.token0.address, pool.token1.address], amounts, now)
    }

    fn value_of(&self, sides: [Address; 2], amounts: [f64; 2], now: u64) -> Option<f64> {
        let first = usize::from(self.rank(sides[1]) < self.rank(sides[0]));
        [first, 1 - first].into_iter().find_map(|i| Some(amounts[i].abs() * self.price(sides[i], now, true)?))
    }
}

pub(super) fn meta(devnet: &Devnet, pool: &DevPool) -> Arc<PoolMeta> {
    let protocol = match pool.protocol {
        swaptide_demo::Protocol::V2 => Protocol::UniswapV2,
        swaptide_demo::Protocol::V3 => Protocol::UniswapV3,
    };
    let block = BlockRef { number: 0, hash: B256::ZERO, parent_hash: B256::ZERO, timestamp: 0 };
    Arc::new(PoolMeta {
        chain: devnet.chain_id,
        id: pool.address.into(),
        protocol,
        dex: String::new(),
        factory: Address::ZERO,
        token0: pool.token0.address,
        token1: pool.token1.address,
        fee_pips: pool.fee_pips,
        tick_spacing: (pool.tick_spacing > 0).then_some(pool.tick_spacing),
        created: CreatedAt { block, tx_hash: None, log_index: 0 },
        hooks: None,
        origin: None,
    })
}

/// As the PoolManager and its keys have them.
fn v4_metas(devnet: &Devnet) -> Vec<Arc<PoolMeta>> {
    let of = |v4: &V4| v4.pools.iter().map(|pool| v4_meta(devnet, v4.manager, &pool.key)).collect::<Vec<_>>();
    devnet.deployment.v4.as_ref().map(of).unwrap_or_default()
}

pub(super) fn v4_meta(devnet: &Devnet, manager: Address, key: &PoolKey) -> Arc<PoolMeta> {
    let block = BlockRef { number: 0, hash: B256::ZERO, parent_hash: B256::ZERO, timestamp: 0 };
    Arc::new(PoolMeta {
        chain: devnet.chain_id,
        id: PoolId::Id(keccak256(key.abi_encode())),
        protocol: Protocol::UniswapV4,
        dex: String::new(),
        factory: manager,
        token0: key.currency0,
        token1: key.currency1,
        fee_pips: key.fee.to(),
        tick_spacing: Some(key.tickSpacing.as_i32()),
        hooks: Some(key.hooks).filter(|hooks| !hooks.is_zero()),
        created: CreatedAt { block, tx_hash: None, log_index: 0 },
        origin: None,
    })
}

pub(super) fn close(ours: &Value, theirs: Option<f64>, what: &str) {
    match (ours.as_str(), theirs) {
        (None, None) => {}
        (Some(text), Some(exact)) => {
            let said: f64 = text.parse().unwrap();
            assert!((said - exact).abs() <= exact.abs() * 1e-6 + 1e-6, "{what}: {said}, and the contracts come to {exact}");
        }
        _ => panic!("{what}: {ours}, and the contracts come to {theirs:?}"),
    }
}

/// Replays the chain by contract calls; compares every swap's value, and every token's price at every block. Gives how many of both.
async fn compare(engine: &Engine, devnet: &Devnet) -> (usize, usize) {
    engine.at_head(devnet).await;
    let source = state::source(devnet);
    let d = &devnet.deployment;
    let pools = devnet.trader.pools().to_vec();
    let metas: Vec<_> = pools.iter().map(|pool| meta(devnet, pool)).chain(v4_metas(devnet)).collect();
    let manager = d.v4.as_ref().map(|v4| v4.manager);
    let addresses: Vec<String> =
        pools.iter().map(|pool| pool.address).chain(manager).map(|address| address.to_string()).collect();
    let filter = json!([{ "fromBlock": "0x0", "toBlock": "latest", "address": addresses }]);
    let mut touched: BTreeMap<u64, BTreeSet<PoolId>> = BTreeMap::new();
    for log in devnet.rpc_call("eth_getLogs", filter).await.unwrap().as_array().unwrap() {
        let number = u64::from_str_radix(&log["blockNumber"].as_str().unwrap()[2..], 16).unwrap();
        let address: Address = log["address"].as_str().unwrap().parse().unwrap();
        // Whatever the PoolManager says of a pool begins with its id.
        let id = match log["topics"][1].as_str() {
            Some(topic) if Some(address) == manager => PoolId::Id(topic.parse().unwrap()),
            _ => address.into(),
        };
        touched.entry(number).or_default().insert(id);
    }
    let query = "{ swaps(first: 1000, orderDirection: asc) { totalCount nodes { pool { id } block { number } amount0 amount1 amountUSD } } }";
    let swaps = engine.query(query, json!({})).await["swaps"].clone();
    assert!(swaps["totalCount"].as_u64().unwrap() <= 1_000, "one page has them all");
    let mut oracle = Oracle::new(devnet);
    let tokens: Vec<Value> = d.tokens.iter().map(|token| json!({ "address": token.address.to_string() })).collect();
    let (mut values, mut prices) = (0, 0);
    for (number, of_block) in touched {
        let block = source.header(BlockTag::Number(number)).await.unwrap().unwrap().block;
        let some: Vec<_> = metas.iter().filter(|meta| of_block.contains(&meta.id)).cloned().collect();
        oracle.advance(&source, &block, &some).await;
        for swap in swaps["nodes"].as_array().unwrap().iter().filter(|swap| swap["block"]["number"] == json!(number)) {
            let pool = oracle.all.iter().find(|pool| swap["pool"]["id"] == json!(pool.id.to_string())).unwrap();
            let amount = |name: &str| swap[name].as_str().unwrap().parse::<f64>().unwrap();
            let worth = oracle.value_of(pool.sides, [amount("amount0"), amount("amount1")], block.timestamp);
            close(&swap["amountUSD"], worth, &format!("block {number}: {swap}"));
            values += usize::from(worth.is_some());
        }
        let query = "query ($tokens: [TokenKey!]!, $block: Int!) { prices(tokens: $tokens, block: $block) { token value } }";
        let said = engine.query(query, json!({ "tokens": tokens, "block": number })).await["prices"].clone();
        for (token, said) in d.tokens.iter().zip(said.as_array().unwrap()) {
            let price = oracle.price(token.address, block.timestamp, true);
            close(&said["value"], price, &format!("block {number}: {}", token.symbol));
            prices += usize::from(price.is_some());
        }
    }
    (values, prices)
}

/// With the devnet's stablecoins and its native token.
pub(super) fn priced(devnet: &Devnet, folder: &std::path::Path) -> Setup {
    let stable: Vec<String> = devnet.deployment.stablecoins().iter().map(|a| format!("{:?}", a.to_string())).collect();
    let native = devnet.deployment.weth;
    let extra_chain =
        format!("finality = 8\nstablecoins = [{}]\nwrapped_native = \"{native}\"\nmin_depth_usd = 1", stable.join(", "));
    Setup { extra_chain, ..Setup::of(devnet, folder) }
}

/// The next block is so much later.
pub(super) async fn pass(devnet: &Devnet, seconds: u64) {
    let next = devnet.head().await.unwrap().timestamp_s + seconds;
    devnet.rpc_call("evm_setNextBlockTimestamp", json!([next])).await.unwrap();
}

/// What pools hold is what the tokens' own contracts say, to the wei: nobody gave them anything outside of their functions.
async fn compare_holdings(engine: &Engine, devnet: &Devnet) {
    engine.at_head(devnet).await;
    let pools = devnet.trader.pools().to_vec();
    let metas: Vec<_> = pools.iter().map(|pool| meta(devnet, pool)).collect();
    let head = devnet.head().await.unwrap().hash;
    let balances = contract_state::balances(&state::source(devnet), head, &metas).await.unwrap();
    for (pool, balances) in pools.iter().zip(balances) {
        let query = format!(
            "{{ pool(id: \"{:#x}\") {{ totalValueLockedToken0 totalValueLockedToken1 totalValueLockedUSD }} }}",
            pool.address
        );
        let ours = engine.query(&query, json!({})).await["pool"].clone();
        let (balance0, balance1) = balances.unwrap();
        let whole = |raw: U256, decimals: u8| alloy::primitives::utils::format_units(raw, decimals).unwrap();
        let trim = |text: String| text.trim_end_matches('0').trim_end_matches('.').to_owned();
        assert_eq!(ours["totalValueLockedToken0"], json!(trim(whole(balance0, pool.token0.decimals))), "{:#x}", pool.address);
        assert_eq!(ours["totalValueLockedToken1"], json!(trim(whole(balance1, pool.token1.decimals))), "{:#x}", pool.address);
        assert!(ours["totalValueLockedUSD"].is_string(), "{ours}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dollars_equal_a_recomputation_from_contract_calls_through_reorgs_and_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut devnet = Devnet::start(DevnetConfig { seed: 67, v4_pools: 3, ..DevnetConfig::default() }).await.unwrap();
    let setup = priced(&devnet, folder.path());
    devnet.fill(6, 8).await.unwrap();
    let engine = Engine::start(&setup, folder.path()).await;
    for depth in 1..4 {
        // Time passes, so that depth counts, and prices change with it.
        pass(&devnet, depth * 400).await;
        for _ in 0..4 {
            devnet.trader.push_random(10).await.unwrap();
            devnet.mine().await.unwrap();
        }
        devnet.reorg_keeping(depth, 600).await.unwrap();
    }
    compare_holdings(&engine, &devnet).await;
    let (values, prices) = compare(&engine, &devnet).await;
    assert!(values > 100 && prices > 60, "{values} {prices}");
    assert!(engine.terminate().await.success());
    let engine = Engine::start(&setup, folder.path()).await;
    devnet.trader.push_random(10).await.unwrap();
    devnet.mine().await.unwrap();
    compare_holdings(&engine, &devnet).await;
    let (values, prices) = compare(&engine, &devnet).await;
    assert!(values > 100 && prices > 60, "{values} {prices}");
    assert!(engine.terminate().await.success());
}

/// `OracleLibrary.consult`: the mean tick between two of the pool's own cumulative ticks, rounded down.
async fn observed(devnet: &Devnet, pool: Address, seconds_ago: u64) -> i64 {
    let word = |n: u64| format!("{n:064x}");
    let data = format!("0x883bdbfd{}{}{}{}", word(32), word(2), word(seconds_ago), word(0));
    let call = json!([{ "to": pool.to_string(), "data": data }, "latest"]);
    let answer = devnet.rpc_call("eth_call", call).await.unwrap();
    let bytes: alloy::primitives::Bytes = answer.as_str().unwrap().parse().unwrap();
    // Two arrays of two; the first one's members stand behind both offsets and its length.
    let tick = |i: usize| {
        i64::try_from(alloy::primitives::I256::from_raw(U256::from_be_slice(&bytes[32 * (3 + i)..32 * (4 + i)]))).unwrap()
    };
    (tick(1) - tick(0)).div_euclid(i64::try_from(seconds_ago).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn time_weighted_prices_equal_observe() {
    let folder = tempfile::tempdir().unwrap();
    let mut devnet = Devnet::start(DevnetConfig { seed: 71, v4_pools: 2, ..DevnetConfig::default() }).await.unwrap();
    let pools: Vec<DevPool> =
        devnet.trader.pools().iter().filter(|pool| pool.protocol == swaptide_demo::Protocol::V3).cloned().collect();
    // Somebody of whom the trader's queue knows nothing.
    let somebody = Address::repeat_byte(0x5a).to_string();
    devnet.rpc_call("anvil_impersonateAccount", json!([somebody])).await.unwrap();
    devnet.rpc_call("anvil_setBalance", json!([somebody, "0x3635c9adc5dea000000"])).await.unwrap();
    for (nonce, pool) in pools.iter().enumerate() {
        // Room for 200 observations.
        let data = format!("0x32148f67{:064x}", 200);
        let transaction = json!([{
            "from": somebody, "to": pool.address.to_string(), "data": data, "gas": "0x989680", "nonce": format!("{nonce:#x}"),
        }]);
        devnet.rpc_call("eth_sendTransaction", transaction).await.unwrap();
    }
    devnet.mine().await.unwrap();
    let engine =
        Engine::start(&Setup { extra_chain: "finality = 4".to_owned(), ..Setup::of(&devnet, folder.path()) }, folder.path())
            .await;
    let mut compared = 0;
    for round in 0..6_u64 {
        pass(&devnet, 17 + round * 91).await;
        devnet.trader.push_random(14).await.unwrap();
        devnet.mine().await.unwrap();
        if round == 3 {
            devnet.reorg_keeping(2, 500).await.unwrap();
        }
        engine.at_head(&devnet).await;
        for pool in &pools {
            for seconds_ago in [1, 60, 333] {
                let query = format!("{{ pool(id: \"{:#x}\") {{ twap(secondsAgo: {seconds_ago}) }} }}", pool.address);
                let ours = engine.query(&query, json!({})).await["pool"]["twap"].clone();
                // What is older than the contract's first observation it does not answer; neither did it have a price then.
                let Some(ours) = ours.as_str() else { continue };
                let tick = observed(&devnet, pool.address, seconds_ago).await;
                let units = 10_f64.powi(i32::from(pool.token0.decimals) - i32::from(pool.token1.decimals));
                let exact = 1.0001_f64.powi(i32::try_from(tick).unwrap()) * units;
                let said: f64 = ours.parse().unwrap();
                assert!(
                    (said / exact - 1.0).abs() < 1e-8,
                    "{:#x}, {seconds_ago} s ago: {said}, observe() comes to {exact}",
                    pool.address
                );
                compared += 1;
            }
        }
    }
    assert!(compared > 60, "{compared}");
    let pair = devnet.trader.pools().iter().find(|pool| pool.protocol == swaptide_demo::Protocol::V2).unwrap().address;
    let query = format!("{{ pool(id: \"{pair:#x}\") {{ twap(secondsAgo: 60) }} }}");
    assert_eq!(engine.query(&query, json!({})).await["pool"]["twap"], Value::Null, "pairs have no ticks");
    assert!(engine.terminate().await.success());
}
