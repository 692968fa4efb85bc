//! Search, what an account did, and the feeds of everything that happens.

use async_graphql::Response;
use futures_util::{FutureExt as _, StreamExt, stream::BoxStream};
use serde_json::{Value, json};

use super::{rest::get, world::*};
use crate::domain::{event::EventBody, pool::Protocol};

/// It says where it begins; whether that was asked for or not.
async fn start(world: &World, query: &str) -> BoxStream<'static, Response> {
    let mut stream = world.schema.execute_stream(query);
    next(&mut stream).await;
    stream
}

async fn next(stream: &mut BoxStream<'static, Response>) -> Value {
    let value = serde_json::to_value(stream.next().await.unwrap()).unwrap();
    assert_eq!(value.get("errors"), None, "{value:#}");
    value["data"].as_object().unwrap().values().next().unwrap().clone()
}

fn mint() -> Step {
    Step::Log(
        PAIR,
        EventBody::V2Mint { sender: ODD, amount0: alloy::primitives::U256::ONE, amount1: alloy::primitives::U256::ONE },
    )
}

#[tokio::test]
async fn events_of_every_kind_come_in_order_and_are_taken_back_newest_first() {
    let mut world = World::new();
    let all = "__typename ... on Swap { id removed } ... on Mint { id removed } ... on Burn { id removed }";
    let fields = format!("kind seq block {{ number }} data {{ {all} }}");
    let mut everything = start(&world, &format!("subscription {{ onEventsCreated {{ {fields} }} }}")).await;
    let mut mints =
        start(&world, &format!("subscription {{ onEventsCreated(kinds: [MINT], pool: \"{PAIR}\") {{ {fields} }} }}")).await;
    let mut of_odd = start(&world, &format!("subscription {{ onEventsCreated(token: \"{ODD}\") {{ {fields} }} }}")).await;
    let mut made = start(&world, &format!("subscription {{ onEventsCreated(maker: \"{ODD}\") {{ {fields} }} }}")).await;
    let mut steps = v2_swap(1_000_000, 1, 10, 10);
    steps.push(mint());
    world.mine(steps);
    world.mine(Vec::new());
    let first = next(&mut everything).await;
    let kinds =
        |frame: &Value| -> Vec<Value> { frame["data"].as_array().unwrap().iter().map(|e| e["__typename"].clone()).collect() };
    assert_eq!((&first["kind"], &first["seq"], kinds(&first)), (&json!("UPDATE"), &json!(0), vec![json!("Swap"), json!("Mint")]));
    let one = next(&mut mints).await;
    assert_eq!(one["data"], json!([first["data"][1]]));
    assert_eq!(next(&mut made).await["data"], one["data"], "who called it made it");
    assert!(of_odd.next().now_or_never().is_none());

    world.reorg(2, vec![Vec::new(), Vec::new(), v2_swap(2_000_000, 1, 10, 10)]);
    let back = next(&mut everything).await;
    assert_eq!((&back["kind"], kinds(&back)), (&json!("RETRACT"), vec![json!("Mint"), json!("Swap")]));
    assert!(back["data"].as_array().unwrap().iter().all(|event| event["removed"] == true), "{back}");
    assert_eq!(back["data"][0]["id"], first["data"][1]["id"]);
    assert_eq!(next(&mut mints).await["kind"], "RETRACT");
    let again = next(&mut everything).await;
    assert_eq!((&again["kind"], kinds(&again)), (&json!("UPDATE"), vec![json!("Swap")]));
    let refused = world.schema.execute_stream("subscription { onEventsCreated(kinds: []) { seq } }").next().await.unwrap();
    assert_eq!(serde_json::to_value(refused).unwrap()["errors"][0]["extensions"]["code"], "BAD_USER_INPUT");
}

#[tokio::test]
async fn pools_are_told_as_they_are_created_and_as_a_reorg_takes_them_back() {
    let mut world = World::new();
    let fields = "kind data { id protocol token0 { symbol } liquidity }";
    let mut all = start(&world, &format!("subscription {{ onPoolCreated {{ {fields} }} }}")).await;
    let mut pairs = start(&world, &format!("subscription {{ onPoolCreated(protocol: UNISWAP_V2) {{ {fields} }} }}")).await;
    let address = alloy::primitives::Address::repeat_byte(0x77);
    world.mine(vec![Step::Create(pool_meta(address, Protocol::UniswapV3, USDC, WETH))]);
    let created = next(&mut all).await;
    let shown =
        json!([{ "id": format!("{address:#x}"), "protocol": "UNISWAP_V3", "token0": { "symbol": "USDC" }, "liquidity": "0" }]);
    assert_eq!(created, json!({ "kind": "UPDATE", "data": shown }));
    world.reorg(1, vec![Vec::new(), Vec::new()]);
    assert_eq!(next(&mut all).await, json!({ "kind": "RETRACT", "data": shown }));
    assert!(pairs.next().now_or_never().is_none(), "of the other protocol");
}

#[tokio::test]
async fn search_finds_tokens_and_pools_by_what_people_type() {
    let world = World::new();
    let search = async |text: &str| -> Vec<String> {
        let query = format!("{{ search(text: {}) {{ ... on Token {{ id }} ... on Pool {{ id }} }} }}", json!(text));
        let found = world.data(&query).await["search"].clone();
        let (_, _, rest) = get(
            &world,
            &format!("/v1/{CHAIN}/search?text={}", url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>()),
        )
        .await;
        let either = |hit: &Value| {
            let id = [&hit["token"]["address"], &hit["pool"]["id"]].into_iter().find_map(Value::as_str);
            json!({ "id": id.unwrap().to_lowercase() })
        };
        assert_eq!(rest["data"].as_array().unwrap().iter().map(either).collect::<Vec<_>>(), *found.as_array().unwrap(), "{text}");
        found.as_array().unwrap().iter().map(|hit| hit["id"].as_str().unwrap().to_owned()).collect()
    };
    let id = |address: alloy::primitives::Address| format!("{address:#x}");
    let weth = search(" weth ").await;
    assert_eq!(weth[0], id(WETH), "the token itself comes first");
    assert!(weth[1..].contains(&id(PAIR)) && weth[1..].contains(&id(POOL)));
    for pair in ["usdc/weth", "WETH USDC", "weth-usdc"] {
        let mut found = search(pair).await;
        found.sort();
        assert_eq!(found, [id(PAIR), id(POOL)], "{pair}");
    }
    assert_eq!(search("usd").await[0], id(USDC));
    assert_eq!(search(&PAIR.to_string()).await, [id(PAIR)]);
    assert_eq!(search(&id(USDC)).await, [id(USDC)]);
    for nothing in ["", "   ", "%_*", "0x12", "nobody", "a b c", "é\u{202e}"] {
        assert_eq!(search(nothing).await, [""; 0], "{nothing:?}");
    }
    let refused = world.ask("{ search(text: \"x\", first: 0) { __typename } }").await;
    assert_eq!(refused["errors"][0]["extensions"]["code"], "BAD_USER_INPUT");
    let long = "x".repeat(500);
    let refused = world.ask(&format!("{{ search(text: \"{long}\") {{ __typename }} }}")).await;
    assert_eq!(refused["errors"][0]["extensions"]["code"], "BAD_USER_INPUT");
}

#[tokio::test]
async fn an_accounts_activity_is_of_every_kind_and_joins_memory_and_history() {
    let mut world = World::new();
    for _ in 0..3 {
        let mut steps = v2_swap(1_000_000, 1, 10, 10);
        steps.push(mint());
        world.mine(steps);
    }
    let origin = |record: &crate::domain::record::BlockRecord| {
        let of = |row: &crate::domain::record::EventRow| {
            let enrichment = crate::domain::record::Enrichment { origin: TRADER, gas_used: 1, gas_price_wei: Default::default() };
            (row.event.raw.tx_hash, enrichment)
        };
        record.rows.iter().map(of).collect()
    };
    for record in world.records() {
        world.live.enrich(&record.block.hash, &origin(&record));
    }
    let page = async |after: &str| {
        let query = format!(
            "{{ accountActivity(address: \"{TRADER}\", first: 4{after}) {{ totalCount pageInfo {{ hasNextPage endCursor }} nodes {{ __typename ... on Swap {{ logIndex block {{ number }} }} ... on Mint {{ logIndex block {{ number }} }} }} }} }}"
        );
        world.data(&query).await["accountActivity"].clone()
    };
    let first = page("").await;
    assert_eq!((&first["totalCount"], &first["pageInfo"]["hasNextPage"]), (&json!(6), &json!(true)));
    let second = page(&format!(", after: {}", first["pageInfo"]["endCursor"])).await;
    let places: Vec<(u64, u64)> = [&first, &second]
        .into_iter()
        .flat_map(|page| page["nodes"].as_array().unwrap())
        .map(|node| (node["block"]["number"].as_u64().unwrap(), node["logIndex"].as_u64().unwrap()))
        .collect();
    assert!(places.len() == 6 && places.is_sorted_by(|a, b| a > b), "{places:?}");
    let nobody = world.data(&format!("{{ accountActivity(address: \"{ODD}\") {{ nodes {{ __typename }} }} }}")).await;
    assert_eq!(nobody["accountActivity"]["nodes"], json!([]));
}
