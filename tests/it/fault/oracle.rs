//! The truth, found out independently: every block's logs by its hash, from the first block on, decoded with the contracts' ABI and nothing
//! of the engine's. It is what the engine's store and its live state must equal.

use std::collections::{BTreeMap, BTreeSet};

use alloy::{
    primitives::{Address, B256, I256, Log, LogData, U256},
    sol_types::{SolCall as _, SolEvent as _},
};
use serde_json::{Value, json};
use swaptide_demo::Devnet;

use crate::engine::Engine;

mod v2 {
    alloy::sol! {
        event PairCreated(address indexed token0, address indexed token1, address pair, uint256 count);
        event Swap(address indexed sender, uint256 in0, uint256 in1, uint256 out0, uint256 out1, address indexed to);
        event Mint(address indexed sender, uint256 amount0, uint256 amount1);
        event Burn(address indexed sender, uint256 amount0, uint256 amount1, address indexed to);
        function getReserves() returns (uint112 reserve0, uint112 reserve1, uint32 at);
    }
}
mod v3 {
    alloy::sol! {
        event PoolCreated(address indexed token0, address indexed token1, uint24 indexed fee, int24 spacing, address pool);
        event Swap(address indexed sender, address indexed recipient, int256 amount0, int256 amount1, uint160 price, uint128 liquidity, int24 tick);
        event Mint(address sender, address indexed owner, int24 indexed lower, int24 indexed upper, uint128 amount, uint256 amount0, uint256 amount1);
        event Burn(address indexed owner, int24 indexed lower, int24 indexed upper, uint128 amount, uint256 amount0, uint256 amount1);
        function liquidity() returns (uint128);
        function slot0() returns (uint160 price, int24 tick, uint16 a, uint16 b, uint16 c, uint8 d, bool e);
    }
}

/// Of each pool in the answer about all of them.
const TICKS: usize = 100;

/// What one event moved, positive into the pool for a swap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    pub kind: &'static str,
    pub pool: String,
    pub amounts: [String; 2],
}

/// The events of a chain by their id.
pub struct Oracle {
    /// `number`, `hash` of the newest block.
    pub head: (u64, B256),
    pub events: BTreeMap<String, Moved>,
    /// With whether it is of V3.
    pools: BTreeMap<Address, bool>,
    /// Of each pool of V3 what is at its ticks: the liquidity that begins or ends there, and what crossing it adds.
    ticks: BTreeMap<Address, BTreeMap<i32, (u128, i128)>>,
}

impl Oracle {
    /// Walks the whole chain as it is now.
    pub async fn of(devnet: &Devnet) -> Self {
        let head = devnet.head().await.unwrap();
        let mut oracle =
            Self { head: (head.number, head.hash), events: BTreeMap::new(), pools: BTreeMap::new(), ticks: BTreeMap::new() };
        for number in 0..=head.number {
            let block = devnet.rpc_call("eth_getBlockByNumber", json!([format!("{number:#x}"), false])).await.unwrap();
            let hash = block["hash"].as_str().unwrap();
            let logs = devnet.rpc_call("eth_getLogs", json!([{ "blockHash": hash }])).await.unwrap();
            for log in logs.as_array().unwrap() {
                oracle.read(devnet, hash, log);
            }
        }
        oracle
    }

    fn read(&mut self, devnet: &Devnet, hash: &str, log: &Value) {
        let address: Address = log["address"].as_str().unwrap().parse().unwrap();
        let topics: Vec<B256> = log["topics"].as_array().unwrap().iter().map(|t| t.as_str().unwrap().parse().unwrap()).collect();
        let data = log["data"].as_str().unwrap().parse().unwrap();
        let log_index = u64::from_str_radix(log["logIndex"].as_str().unwrap().trim_start_matches("0x"), 16).unwrap();
        let log = Log { address, data: LogData::new_unchecked(topics, data) };
        let created = if address == devnet.deployment.v2_factory {
            v2::PairCreated::decode_log(&log).ok().map(|created| (created.pair, false))
        } else if address == devnet.deployment.v3_factory {
            v3::PoolCreated::decode_log(&log).ok().map(|created| (created.pool, true))
        } else {
            None
        };
        self.pools.extend(created);
        let Some(is_v3) = self.pools.get(&address).copied() else { return };
        if let Ok(mint) = v3::Mint::decode_log(&log) {
            self.move_liquidity(address, [mint.lower.as_i32(), mint.upper.as_i32()], mint.amount.cast_signed());
        }
        if let Ok(burn) = v3::Burn::decode_log(&log) {
            self.move_liquidity(address, [burn.lower.as_i32(), burn.upper.as_i32()], -burn.amount.cast_signed());
        }
        if let Some((kind, amounts)) = if is_v3 { of_v3(&log) } else { of_v2(&log) } {
            let id = format!("{}:{hash}:{log_index}", devnet.chain_id);
            self.events.insert(id, Moved { kind, pool: format!("{address:#x}"), amounts });
        }
    }

    fn move_liquidity(&mut self, pool: Address, [lower, upper]: [i32; 2], by: i128) {
        let ticks = self.ticks.entry(pool).or_default();
        for (tick, net) in [(lower, by), (upper, -by)] {
            let (gross, sum) = ticks.entry(tick).or_default();
            *gross = gross.checked_add_signed(by).expect("no more is burnt than was minted");
            *sum += net;
            if *gross == 0 {
                ticks.remove(&tick);
            }
        }
    }

    /// The engine's history and live state say the same, at the same block.
    pub async fn agrees(&self, devnet: &Devnet, engine: &Engine) {
        engine.at_head(devnet).await;
        let mut told = BTreeMap::new();
        for kind in ["swaps", "mints", "burns"] {
            let mut after = Value::Null;
            loop {
                let query = format!(
                    "query($after: Cursor) {{ _meta {{ block {{ hash }} }} {kind}(first: 1000, after: $after, orderDirection: asc) {{ \
                     nodes {{ id amount0Raw amount1Raw pool {{ id }} }} pageInfo {{ endCursor hasNextPage }} }} }}"
                );
                let data = engine.query(&query, json!({ "after": after })).await;
                assert_eq!(data["_meta"]["block"]["hash"], json!(self.head.1.to_string()), "of the same block");
                for node in data[kind]["nodes"].as_array().unwrap() {
                    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                    let amounts = [text(&node["amount0Raw"]), text(&node["amount1Raw"])];
                    let moved = Moved { kind, pool: text(&node["pool"]["id"]), amounts };
                    assert!(told.insert(text(&node["id"]), moved).is_none(), "twice: {node}");
                }
                after = data[kind]["pageInfo"]["endCursor"].clone();
                if data[kind]["pageInfo"]["hasNextPage"] == false {
                    break;
                }
            }
        }
        let missing: Vec<_> = self.events.iter().filter(|(id, _)| !told.contains_key(*id)).collect();
        let invented: Vec<_> = told.iter().filter(|(id, _)| !self.events.contains_key(*id)).collect();
        assert!(missing.is_empty() && invented.is_empty(), "missing: {missing:#?}\ninvented: {invented:#?}");
        let wrong: Vec<_> = told.iter().filter(|(id, moved)| self.events[*id] != **moved).collect();
        assert!(wrong.is_empty(), "wrong: {wrong:#?}");
        self.state_agrees(devnet, engine).await;
    }

    async fn state_agrees(&self, devnet: &Devnet, engine: &Engine) {
        let query = "{ _meta { block { hash } } pools(first: 40) { nodes { id status reserve0 reserve1 liquidity sqrtPrice tick \
                     ticks(first: 100) { nodes { tickIdx liquidityGross liquidityNet } } } } }";
        let data = engine.query(query, json!({})).await;
        assert_eq!(data["_meta"]["block"]["hash"], json!(self.head.1.to_string()), "of the same block");
        let mut seen = BTreeSet::new();
        for pool in data["pools"]["nodes"].as_array().unwrap() {
            let address: Address = pool["id"].as_str().unwrap().parse().unwrap();
            assert_eq!(pool["status"], "LIVE", "{pool}");
            let expected = match self.pools.get(&address) {
                Some(false) => {
                    let answer = self.call(devnet, address, v2::getReservesCall {}.abi_encode()).await;
                    let answer = v2::getReservesCall::abi_decode_returns(&answer).unwrap();
                    json!([answer.reserve0.to_string(), answer.reserve1.to_string(), null, null, null])
                }
                Some(true) => {
                    let slot = self.call(devnet, address, v3::slot0Call {}.abi_encode()).await;
                    let slot = v3::slot0Call::abi_decode_returns(&slot).unwrap();
                    let liquidity = self.call(devnet, address, v3::liquidityCall {}.abi_encode()).await;
                    let liquidity = v3::liquidityCall::abi_decode_returns(&liquidity).unwrap();
                    json!([null, null, liquidity.to_string(), slot.price.to_string(), slot.tick.as_i32()])
                }
                None => panic!("nobody created {pool}"),
            };
            let told: Vec<&Value> =
                ["reserve0", "reserve1", "liquidity", "sqrtPrice", "tick"].iter().map(|field| &pool[field]).collect();
            assert_eq!(json!(told), expected, "{address}");
            let known = self.ticks.get(&address).into_iter().flatten();
            let expected: Vec<Value> = known
                .map(|(tick, (gross, net))| json!({ "tickIdx": tick, "liquidityGross": gross.to_string(), "liquidityNet": net.to_string() }))
                .collect();
            let told = if expected.len() < TICKS { pool["ticks"]["nodes"].clone() } else { self.ticks_of(engine, address).await };
            assert_eq!(told, json!(expected), "{address}");
            seen.insert(address);
        }
        assert_eq!(seen, self.pools.keys().copied().collect(), "every pool that was created");
    }

    /// More than stand in the answer about all pools.
    async fn ticks_of(&self, engine: &Engine, pool: Address) -> Value {
        let query = "query($id: ID!, $after: Cursor) { _meta { block { hash } } pool(id: $id) { ticks(first: 500, after: $after) { \
                     nodes { tickIdx liquidityGross liquidityNet } pageInfo { endCursor hasNextPage } } } }";
        let (mut all, mut after) = (Vec::new(), Value::Null);
        loop {
            let data = engine.query(query, json!({ "id": format!("{pool:#x}"), "after": after })).await;
            assert_eq!(data["_meta"]["block"]["hash"], json!(self.head.1.to_string()), "of the same block");
            let page = &data["pool"]["ticks"];
            all.extend(page["nodes"].as_array().unwrap().iter().cloned());
            after = page["pageInfo"]["endCursor"].clone();
            if page["pageInfo"]["hasNextPage"] == false {
                return json!(all);
            }
        }
    }

    async fn call(&self, devnet: &Devnet, to: Address, input: Vec<u8>) -> Vec<u8> {
        let input = alloy::primitives::hex::encode_prefixed(input);
        let at = json!({ "blockHash": self.head.1 });
        let answer = devnet.rpc_call("eth_call", json!([{ "to": to, "input": input }, at])).await.unwrap();
        alloy::primitives::hex::decode(answer.as_str().unwrap()).unwrap()
    }
}

fn of_v2(log: &Log) -> Option<(&'static str, [String; 2])> {
    let into = |into: U256, out: U256| (I256::from_raw(into) - I256::from_raw(out)).to_string();
    if let Ok(swap) = v2::Swap::decode_log(log) {
        return Some(("swaps", [into(swap.in0, swap.out0), into(swap.in1, swap.out1)]));
    }
    if let Ok(mint) = v2::Mint::decode_log(log) {
        return Some(("mints", [mint.amount0.to_string(), mint.amount1.to_string()]));
    }
    let burn = v2::Burn::decode_log(log).ok()?;
    Some(("burns", [burn.amount0.to_string(), burn.amount1.to_string()]))
}

fn of_v3(log: &Log) -> Option<(&'static str, [String; 2])> {
    if let Ok(swap) = v3::Swap::decode_log(log) {
        return Some(("swaps", [swap.amount0.to_string(), swap.amount1.to_string()]));
    }
    if let Ok(mint) = v3::Mint::decode_log(log) {
        return Some(("mints", [mint.amount0.to_string(), mint.amount1.to_string()]));
    }
    let burn = v3::Burn::decode_log(log).ok()?;
    Some(("burns", [burn.amount0.to_string(), burn.amount1.to_string()]))
}
