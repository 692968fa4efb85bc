//! What the queries answer.

use serde_json::json;

use super::world::*;

#[tokio::test]
async fn a_v2_pool_shows_its_reserves_and_both_prices_of_the_newest_block() {
    let mut world = World::new();
    // 4 USDC against 0.002 WETH: one WETH costs 2000 USDC.
    let tip = world.mine(v2_swap(1_000_000, 5, 4_000_000, 2_000_000_000_000_000));
    let data = world
        .data(&format!(
            r#"{{ pool(id: "{PAIR:#x}") {{
                id chainId protocol address poolId dex factory feeTier tickSpacing liquidity sqrtPrice tick reserve0 reserve1
                token0Price token1Price status source createdAtBlockNumber createdAtTimestamp
                price(base: "{WETH}", quote: "{USDC}")
                token0 {{ id symbol decimals flags totalSupply metadataAsOf {{ number }} }}
                ticks {{ totalCount nodes {{ tickIdx }} }}
                asOf {{ number hash timestamp parentHash }} }} }}"#
        ))
        .await;
    assert_eq!(
        data["pool"],
        json!({
            "id": format!("{PAIR:#x}"), "chainId": CHAIN, "protocol": "UNISWAP_V2", "address": format!("{PAIR:#x}"), "poolId": null,
            "dex": "uniswap-v2", "factory": format!("0x{}", "fa".repeat(20)), "feeTier": 3000, "tickSpacing": null,
            "liquidity": null, "sqrtPrice": null, "tick": null, "reserve0": "4000000", "reserve1": "2000000000000000",
            "token0Price": "2000", "token1Price": "0.0005", "status": "LIVE", "source": "MEMORY",
            "createdAtBlockNumber": 1, "createdAtTimestamp": 1_700_000_012u64, "price": "2000",
            "token0": { "id": format!("{USDC:#x}"), "symbol": "USDC", "decimals": 6, "flags": [], "totalSupply": "1000000000000000",
                        "metadataAsOf": { "number": 1 } },
            "ticks": { "totalCount": 0, "nodes": [] },
            "asOf": { "number": tip.number, "hash": format!("{:#x}", tip.hash), "timestamp": tip.timestamp,
                      "parentHash": format!("{:#x}", tip.parent_hash) },
        })
    );
}

#[tokio::test]
async fn an_uninitialised_pool_exists_without_a_price_and_then_gets_one() {
    let mut world = World::new();
    let query = format!(
        r#"{{ pool(id: "{}") {{ sqrtPrice tick token0Price token1Price liquidity
             ticks {{ nodes {{ tickIdx liquidityGross liquidityNet price0 price1 }} }} }} }}"#,
        POOL.to_checksum(None)
    );
    let empty = world.data(&query).await;
    assert_eq!(
        empty["pool"],
        json!({ "sqrtPrice": "0", "tick": null, "token0Price": null, "token1Price": null, "liquidity": "0", "ticks": { "nodes": [] } })
    );
    world.mine(initialize(96, 0));
    world.mine(v3_mint(-2, 1, 1000));
    let pool = world.data(&query).await["pool"].clone();
    // Raw price 1 means 10^-12 WETH per USDC.
    assert_eq!(pool["token1Price"], "0.000000000001");
    assert_eq!(pool["token0Price"], "1000000000000");
    assert_eq!((&pool["tick"], &pool["liquidity"]), (&json!(0), &json!("1000")));
    assert_eq!(
        pool["ticks"]["nodes"],
        json!([
            { "tickIdx": -2, "liquidityGross": "1000", "liquidityNet": "1000", "price0": "0.99980002999600049994000699920009", "price1": "1.00020001" },
            { "tickIdx": 1, "liquidityGross": "1000", "liquidityNet": "-1000", "price0": "1.0001", "price1": "0.99990000999900009999000099990001" },
        ])
    );
}

#[tokio::test]
async fn a_token_without_decimals_has_raw_amounts_and_no_price() {
    let world = World::new();
    let data = world
        .data(&format!(
            r#"{{ pool(id: "{ODD_PAIR:#x}") {{ token0Price token1 {{ decimals flags }} }} token(id: "{ODD:#x}") {{ symbol }} }}"#
        ))
        .await;
    assert_eq!(data["pool"], json!({ "token0Price": null, "token1": { "decimals": null, "flags": ["DECIMALS_MISSING"] } }));
    assert_eq!(data["token"]["symbol"], "ODD");
}

#[tokio::test]
async fn what_does_not_exist_is_null() {
    let world = World::new();
    let nobody = format!("0x{}", "99".repeat(20));
    let data = world
        .data(&format!(
            r#"{{ a: pool(id: "{nobody}") {{ id }} b: token(id: "{nobody}") {{ id }} c: pool(id: "0x{}") {{ id }} }}"#,
            "77".repeat(32)
        ))
        .await;
    assert_eq!(data, json!({ "a": null, "b": null, "c": null }));
}

#[tokio::test]
async fn a_swap_has_the_pools_view_of_its_amounts_and_the_state_after_it() {
    let mut world = World::new();
    let block = world.mine(v2_swap(1_500_000, 5, 5_500_000, 1_999_999_999_999_995));
    let data = world
        .data(
            "{ swaps { nodes { id logIndex timestamp amount0 amount1 amount0Raw amount1Raw amount0In amount1In amount0Out amount1Out
               sqrtPriceX96 tick reserve0After reserve1After liquidityAfter sender recipient origin commitment removed
               block { number } transaction { id blockNumber } pool { id } token0 { symbol } token1 { symbol } } } }",
        )
        .await;
    let swap = &data["swaps"]["nodes"][0];
    let expected = json!({
        "id": format!("{CHAIN}:{:#x}:1", block.hash), "logIndex": 1, "timestamp": block.timestamp,
        "amount0": "1.5", "amount1": "-0.000000000000000005", "amount0Raw": "1500000", "amount1Raw": "-5",
        "amount0In": "1.5", "amount1In": "0", "amount0Out": "0", "amount1Out": "0.000000000000000005",
        "sqrtPriceX96": null, "tick": null, "reserve0After": "5500000", "reserve1After": "1999999999999995", "liquidityAfter": null,
        "sender": format!("{TRADER:#x}"), "recipient": format!("{TRADER:#x}"), "origin": null,
        "commitment": "LATEST", "removed": false, "block": { "number": block.number },
        "transaction": { "id": swap["transaction"]["id"], "blockNumber": block.number },
        "pool": { "id": format!("{PAIR:#x}") }, "token0": { "symbol": "USDC" }, "token1": { "symbol": "WETH" },
    });
    assert_eq!(*swap, expected);
}

#[tokio::test]
async fn mints_and_burns_show_positive_sizes_and_v3_swaps_their_price() {
    let mut world = World::new();
    world.mine(initialize(96, 0));
    world.mine(v3_mint(-20, 20, 1000));
    world.mine(v3_swap(97));
    world.mine(vec![Step::Log(
        POOL,
        crate::domain::event::EventBody::V3Burn {
            owner: TRADER,
            tick_lower: -20,
            tick_upper: 20,
            amount: 1000,
            amount0: alloy::primitives::U256::from(3_000_000u64),
            amount1: alloy::primitives::U256::ZERO,
        },
    )]);
    let data = world
        .data(
            "{ mints { nodes { owner amount tickLower tickUpper amount0 amount1 } } burns { nodes { amount amount0 amount1 to } }
               swaps { nodes { amount0 amount1 sqrtPriceX96 tick liquidityAfter amount0In } } }",
        )
        .await;
    let owner = format!("{TRADER:#x}");
    assert_eq!(
        data["mints"]["nodes"],
        json!([{ "owner": owner, "amount": "1000", "tickLower": -20, "tickUpper": 20, "amount0": "5", "amount1": "1" }])
    );
    assert_eq!(data["burns"]["nodes"], json!([{ "amount": "1000", "amount0": "3", "amount1": "0", "to": null }]));
    let root = (1u128 << 97).to_string();
    assert_eq!(
        data["swaps"]["nodes"],
        json!([{ "amount0": "-2", "amount1": "1", "sqrtPriceX96": root, "tick": 12, "liquidityAfter": "1000", "amount0In": null }])
    );
}

#[tokio::test]
async fn pools_are_found_by_protocol_token_pair_and_exchange() {
    let world = World::new();
    let check = async |filter: &str, expected: &[alloy::primitives::Address]| {
        let data = world.data(&format!("{{ pools(where: {filter}, orderBy: id) {{ nodes {{ id }} totalCount }} }}")).await;
        let ids: Vec<_> = expected.iter().map(|a| json!({ "id": format!("{a:#x}") })).collect();
        assert_eq!(data["pools"], json!({ "nodes": ids, "totalCount": expected.len() }), "{filter}");
    };
    check("{}", &[PAIR, POOL, ODD_PAIR]).await;
    check("{ protocol: UNISWAP_V3 }", &[POOL]).await;
    check(&format!(r#"{{ token: "{WETH}" }}"#), &[PAIR, POOL, ODD_PAIR]).await;
    check(&format!(r#"{{ token: "{ODD}" }}"#), &[ODD_PAIR]).await;
    check(&format!(r#"{{ tokens: ["{WETH}", "{USDC}"] }}"#), &[PAIR, POOL]).await;
    check(&format!(r#"{{ tokens: ["{WETH}", "{USDC}"], dex: "uniswap-v2" }}"#), &[PAIR]).await;
    check(r#"{ dex: "nobody" }"#, &[]).await;
}

#[tokio::test]
async fn swaps_are_found_by_pool_token_transaction_and_time() {
    let mut world = World::new();
    let first = world.mine(v2_swap(1, 1, 10, 10));
    world.mine(initialize(96, 0));
    let second = world.mine(v3_swap(96));
    let count = async |filter: &str| {
        world.data(&format!("{{ swaps(where: {filter}) {{ totalCount }} }}")).await["swaps"]["totalCount"].clone()
    };
    assert_eq!(count("{}").await, 2);
    assert_eq!(count(&format!(r#"{{ pool: "{PAIR}" }}"#)).await, 1);
    assert_eq!(count(&format!(r#"{{ token: "{WETH}" }}"#)).await, 2);
    assert_eq!(count(&format!(r#"{{ token: "{ODD}" }}"#)).await, 0);
    assert_eq!(count(&format!(r#"{{ origin: "{TRADER}" }}"#)).await, 0);
    let data = world.data("{ swaps { nodes { transaction { id } } } }").await;
    let hash = data["swaps"]["nodes"][0]["transaction"]["id"].as_str().unwrap();
    assert_eq!(count(&format!(r#"{{ transaction: "{hash}" }}"#)).await, 1);
    assert_eq!(count(&format!("{{ timestamp_gte: {} }}", second.timestamp)).await, 1);
    assert_eq!(count(&format!(r#"{{ timestamp_lt: {}, pool: "{PAIR}" }}"#, first.timestamp)).await, 0);
}

#[tokio::test]
async fn every_answer_names_its_block() {
    let mut world = World::new();
    let tip = world.mine(Vec::new());
    let response = world.ask("{ _meta { block { number hash } chainId freshness finalizedBlock safeBlock durableBlock atHead pools version deployment hasIndexingErrors } }").await;
    assert_eq!(
        response["data"]["_meta"],
        json!({ "block": { "number": 2, "hash": format!("{:#x}", tip.hash) }, "chainId": CHAIN, "freshness": "LIVE", "finalizedBlock": 0,
                "safeBlock": 0, "durableBlock": 0, "atHead": true, "pools": 3, "version": "0.0.0-test", "deployment": "local",
                "hasIndexingErrors": false })
    );
    let as_of = json!({ "chainId": CHAIN, "number": 2, "hash": format!("{:#x}", tip.hash), "freshness": "LIVE" });
    assert_eq!(response["extensions"]["asOf"], as_of);
    assert_eq!(world.ask("{ __typename }").await["extensions"]["asOf"], as_of);
}

#[tokio::test(start_paused = true)]
async fn freshness_falls_while_no_block_comes() {
    let world = World::new();
    let freshness = async || world.data("{ _meta { freshness } }").await["_meta"]["freshness"].clone();
    assert_eq!(freshness().await, "LIVE");
    tokio::time::advance(std::time::Duration::from_secs(15)).await;
    assert_eq!(freshness().await, "DELAYED");
    tokio::time::advance(std::time::Duration::from_secs(30)).await;
    assert_eq!(freshness().await, "STALE");
}

#[tokio::test(start_paused = true)]
async fn number_gte_waits_for_its_block_and_all_answers_are_of_one() {
    let mut world = World::new();
    let schema = world.schema.clone();
    let asking = tokio::spawn(async move {
        schema
            .execute("query Q($b: BlockHeight) { a: _meta { block { number } } b: _meta(block: $b) { block { number } } }")
            .await
    });
    drop(asking.await.unwrap());
    let schema = world.schema.clone();
    let asking = tokio::spawn(async move {
        schema.execute("{ a: _meta { block { number } } b: _meta(block: { number_gte: 2 }) { block { number } } }").await
    });
    tokio::task::yield_now().await;
    world.mine(Vec::new());
    let response = serde_json::to_value(asking.await.unwrap()).unwrap();
    assert_eq!(response["data"], json!({ "a": { "block": { "number": 2 } }, "b": { "block": { "number": 2 } } }), "{response}");
}
