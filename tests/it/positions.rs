//! Positions of the real position manager, as GraphQL and REST tell them, against the manager's own answers and its raw logs.

use std::collections::BTreeMap;

use alloy::{
    primitives::{Address, U256},
    sol,
    sol_types::{SolCall, SolEvent},
};
use serde_json::{Value, json};
use swaptide_demo::{Devnet, DevnetConfig};

use super::{
    engine::{Engine, Setup},
    fees::units,
    state::compare,
};

sol! {
    interface Manager {
        struct CollectParams { uint256 tokenId; address recipient; uint128 amount0Max; uint128 amount1Max; }
        event IncreaseLiquidity(uint256 indexed tokenId, uint128 liquidity, uint256 amount0, uint256 amount1);
        event DecreaseLiquidity(uint256 indexed tokenId, uint128 liquidity, uint256 amount0, uint256 amount1);
        event Collect(uint256 indexed tokenId, address recipient, uint256 amount0, uint256 amount1);
        function collect(CollectParams params) external payable returns (uint256 amount0, uint256 amount1);
        function ownerOf(uint256 tokenId) external view returns (address);
        function totalSupply() external view returns (uint256);
        function tokenByIndex(uint256 index) external view returns (uint256);
        function transferFrom(address from, address to, uint256 tokenId) external;
        function positions(uint256 tokenId) external view returns (uint96 nonce, address operator, address token0, address token1,
            uint24 fee, int24 tickLower, int24 tickUpper, uint128 liquidity, uint256 inside0, uint256 inside1, uint128 owed0, uint128 owed1);
    }
}

const FIELDS: &str = "id tokenId manager owner pool { id token0 { decimals } token1 { decimals } } tickLower tickUpper liquidity amount0 amount1
    depositedToken0 depositedToken1 withdrawnToken0 withdrawnToken1 collectedFeesToken0 collectedFeesToken1 uncollectedFees0 uncollectedFees1";

/// All positions that a filter admits, page by page.
async fn positions(engine: &Engine, filter: &str) -> Vec<Value> {
    let mut all: Vec<Value> = Vec::new();
    let mut after = Value::Null;
    loop {
        let query = format!(
            "query($after: Cursor) {{ positions(first: 7, after: $after, where: {{ {filter} }})
                {{ totalCount nodes {{ {FIELDS} }} pageInfo {{ hasNextPage endCursor }} }} }}"
        );
        let page = engine.query(&query, json!({ "after": after })).await["positions"].clone();
        all.extend(page["nodes"].as_array().unwrap().iter().cloned());
        if page["pageInfo"]["hasNextPage"] == json!(false) {
            assert_eq!(page["totalCount"], json!(all.len()), "{filter}");
            return all;
        }
        after = page["pageInfo"]["endCursor"].clone();
    }
}

/// What a token put in, freed and collected, as its manager's logs add up.
async fn sums(devnet: &Devnet) -> BTreeMap<U256, [[U256; 2]; 3]> {
    let filter = json!([{ "fromBlock": "0x0", "toBlock": "latest", "address": devnet.deployment.nfpm }]);
    let mut sums: BTreeMap<U256, [[U256; 2]; 3]> = BTreeMap::new();
    for log in devnet.rpc_call("eth_getLogs", filter).await.unwrap().as_array().unwrap() {
        let log: alloy::rpc::types::Log = serde_json::from_value(log.clone()).unwrap();
        let (which, token_id, amounts) = match *log.topic0().unwrap() {
            topic if topic == Manager::IncreaseLiquidity::SIGNATURE_HASH => {
                let event = Manager::IncreaseLiquidity::decode_log(&log.inner).unwrap().data;
                (0, event.tokenId, [event.amount0, event.amount1])
            }
            topic if topic == Manager::DecreaseLiquidity::SIGNATURE_HASH => {
                let event = Manager::DecreaseLiquidity::decode_log(&log.inner).unwrap().data;
                (1, event.tokenId, [event.amount0, event.amount1])
            }
            topic if topic == Manager::Collect::SIGNATURE_HASH => {
                let event = Manager::Collect::decode_log(&log.inner).unwrap().data;
                (2, event.tokenId, [event.amount0, event.amount1])
            }
            _ => continue,
        };
        for (sum, amount) in sums.entry(token_id).or_default()[which].iter_mut().zip(amounts) {
            *sum += amount;
        }
    }
    sums
}

/// What the manager would pay out now.
async fn static_collect(devnet: &Devnet, owner: Address, token_id: U256) -> [U256; 2] {
    let params = Manager::CollectParams { tokenId: token_id, recipient: owner, amount0Max: u128::MAX, amount1Max: u128::MAX };
    let data = Manager::collectCall { params }.abi_encode();
    let call = json!({ "from": owner, "to": devnet.deployment.nfpm, "data": alloy::primitives::Bytes::from(data) });
    let answer = devnet.rpc_call("eth_call", json!([call, "latest"])).await.unwrap();
    let bytes: alloy::primitives::Bytes = serde_json::from_value(answer).unwrap();
    let found = Manager::collectCall::abi_decode_returns(&bytes).unwrap();
    [found.amount0, found.amount1]
}

/// Every token of the manager, by its own word and by ours.
async fn all_are_equal(engine: &Engine, devnet: &Devnet) -> usize {
    let (rpc, manager) = (devnet.rpc(), devnet.deployment.nfpm);
    let count: u64 = rpc.view(manager, &Manager::totalSupplyCall {}).await.unwrap().to();
    let sums = sums(devnet).await;
    let mut by_owner: BTreeMap<Address, usize> = BTreeMap::new();
    for index in 0..count {
        let id = rpc.view(manager, &Manager::tokenByIndexCall { index: U256::from(index) }).await.unwrap();
        let owner = rpc.view(manager, &Manager::ownerOfCall { tokenId: id }).await.unwrap();
        let theirs = rpc.view(manager, &Manager::positionsCall { tokenId: id }).await.unwrap();
        *by_owner.entry(owner).or_default() += 1;
        let found = positions(engine, &format!("tokenId: \"{id}\"")).await;
        let [ours] = found.as_slice() else { panic!("one position is {id}: {found:?}") };
        let decimals = ["token0", "token1"].map(|side| u8::try_from(ours["pool"][side]["decimals"].as_u64().unwrap()).unwrap());
        let written = |raw: [U256; 2]| [units(raw[0], decimals[0]), units(raw[1], decimals[1])];
        let said = |name: &str| ["0", "1"].map(|side| ours[format!("{name}{side}")].as_str().unwrap().to_owned());
        let [deposited, withdrawn, collected] = sums[&id];
        assert_eq!(ours["id"], json!(format!("{manager:#x}#{id}")));
        assert_eq!((&ours["owner"], &ours["manager"]), (&json!(format!("{owner:#x}")), &json!(format!("{manager:#x}"))), "{id}");
        assert_eq!(ours["liquidity"], json!(theirs.liquidity.to_string()), "{id}");
        assert_eq!(ours["tickLower"], json!(theirs.tickLower.as_i32()), "{id}");
        assert_eq!(ours["tickUpper"], json!(theirs.tickUpper.as_i32()), "{id}");
        // Whoever takes liquidity out collects at once here, so all that waits are fees.
        assert_eq!(said("uncollectedFees"), written(static_collect(devnet, owner, id).await), "{id}");
        assert_eq!(said("depositedToken"), written(deposited), "{id}");
        assert_eq!(said("withdrawnToken"), written(withdrawn), "{id}");
        let fees = [collected[0] - withdrawn[0], collected[1] - withdrawn[1]];
        assert_eq!(said("collectedFeesToken"), written(fees), "{id}");
    }
    for (owner, count) in by_owner {
        let theirs = positions(engine, &format!("owner: \"{owner}\"")).await;
        assert_eq!(theirs.len(), count, "positions of {owner}");
        assert!(theirs.iter().all(|position| position["owner"] == json!(format!("{owner:#x}"))));
    }
    usize::try_from(count).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_token_says_what_its_manager_says_also_after_it_changed_hands_in_a_reorg() {
    let folder = tempfile::tempdir().unwrap();
    let mut devnet = Devnet::start(DevnetConfig { seed: 23, ..DevnetConfig::default() }).await.unwrap();
    let setup = Setup::of(&devnet, folder.path());
    let mut engine = Engine::start(&setup, folder.path()).await;
    let (manager, deployer) = (devnet.deployment.nfpm, devnet.deployment.deployer());
    let heir = devnet.deployment.accounts[3];
    for _ in 0..8 {
        devnet.trader.push_random(30).await.unwrap();
        devnet.mine().await.unwrap();
    }
    engine.at_head(&devnet).await;
    let before = all_are_equal(&engine, &devnet).await;
    assert!(before >= 20, "{before} tokens");

    // One changes hands, and a reorg takes that back; another one does for good.
    let give = |id: u64| Manager::transferFromCall { from: deployer, to: heir, tokenId: U256::from(id) }.abi_encode();
    devnet.push_tx(manager, give(1).into(), 200_000).await.unwrap();
    devnet.mine_all_ok().await.unwrap();
    engine.at_head(&devnet).await;
    assert_eq!(positions(&engine, "tokenId: 1").await[0]["owner"], json!(format!("{heir:#x}")));
    devnet.reorg(1).await.unwrap();
    devnet.push_tx(manager, give(2).into(), 200_000).await.unwrap();
    devnet.mine_all_ok().await.unwrap();
    devnet.trader.push_random(30).await.unwrap();
    devnet.mine().await.unwrap();
    engine.at_head(&devnet).await;
    let owners = async |engine: &Engine| -> Vec<String> {
        let mut owners = Vec::new();
        for id in [1, 2] {
            owners.push(positions(engine, &format!("tokenId: {id}")).await[0]["owner"].as_str().unwrap().to_owned());
        }
        owners
    };
    assert_eq!(owners(&engine).await, [format!("{deployer:#x}"), format!("{heir:#x}")]);
    all_are_equal(&engine, &devnet).await;
    compare(&engine, &devnet).await;

    // By pool, with REST beside it, and after a restart.
    let pool = positions(&engine, "tokenId: 1").await[0]["pool"]["id"].as_str().unwrap().to_owned();
    let of_pool = positions(&engine, &format!("pool: \"{pool}\", hasLiquidity: true")).await;
    assert!(of_pool.len() >= 4, "its four bands at least");
    let counted = engine.query("query($id: ID!) { pool(id: $id) { liquidityProviderCount } }", json!({ "id": pool })).await;
    let owners_of_pool: std::collections::BTreeSet<_> = of_pool.iter().map(|position| position["owner"].to_string()).collect();
    assert_eq!(counted["pool"]["liquidityProviderCount"], json!(owners_of_pool.len()));
    let mut rest: Vec<Value> = Vec::new();
    let mut path = format!("/v1/{}/positions?pool={pool}&has_liquidity=true&limit=3", devnet.chain_id);
    loop {
        let answer = engine.api.get(&path).await.unwrap();
        assert_eq!(answer.status, 200, "{path}");
        let page: Value = serde_json::from_slice(&answer.body).unwrap();
        rest.extend(page["data"].as_array().unwrap().iter().cloned());
        let Some(cursor) = page["cursor"].as_str() else { break };
        path = format!("/v1/{}/positions?pool={pool}&has_liquidity=true&limit=3&cursor={cursor}", devnet.chain_id);
    }
    let of_graphql: Vec<Value> = of_pool
        .iter()
        .cloned()
        .map(|mut position| {
            position["pool"] = position["pool"]["id"].clone();
            position
        })
        .collect();
    assert_eq!(rest, of_graphql);
    engine.terminate().await;
    engine = Engine::start(&setup, folder.path()).await;
    engine.at_head(&devnet).await;
    all_are_equal(&engine, &devnet).await;
    compare(&engine, &devnet).await;
}

/// The manager is named later: its dex is read back with it, and what was kept without it counts no more, not after a kill either.
#[tokio::test(flavor = "multi_thread")]
async fn a_manager_that_is_added_later_has_all_of_its_past() {
    let folder = tempfile::tempdir().unwrap();
    let mut devnet = Devnet::start(DevnetConfig { seed: 29, ..DevnetConfig::default() }).await.unwrap();
    let extra_chain = "finality = 4".to_owned();
    let with = Setup { extra_chain, ..Setup::of(&devnet, folder.path()) };
    let without = Setup { position_manager: None, extra_chain: with.extra_chain.clone(), ..Setup::of(&devnet, folder.path()) };
    let trade = async |devnet: &mut Devnet| {
        for _ in 0..6 {
            devnet.trader.push_random(30).await.unwrap();
            devnet.mine().await.unwrap();
        }
    };
    trade(&mut devnet).await;
    let engine = Engine::start(&without, folder.path()).await;
    engine.at_head(&devnet).await;
    assert_eq!(positions(&engine, "tokenId: 1").await, Vec::<Value>::new());
    let manager = devnet.deployment.nfpm;
    assert!(!positions(&engine, &format!("owner: \"{manager}\"")).await.is_empty(), "all that is known: it is the manager's");
    // A stop leaves snapshots.
    engine.terminate().await;

    trade(&mut devnet).await;
    let engine = Engine::start(&with, folder.path()).await;
    engine.says(|line| line.contains("has caught up, and is followed from now on")).await;
    engine.at_head(&devnet).await;
    all_are_equal(&engine, &devnet).await;
    trade(&mut devnet).await;
    engine.at_head(&devnet).await;
    all_are_equal(&engine, &devnet).await;
    engine.kill().await;

    let engine = Engine::start(&with, folder.path()).await;
    engine.at_head(&devnet).await;
    all_are_equal(&engine, &devnet).await;
    compare(&engine, &devnet).await;
    assert_eq!(positions(&engine, &format!("owner: \"{manager}\"")).await, Vec::<Value>::new(), "each token has its owner");
}
