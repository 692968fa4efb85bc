//! Dollars through the schema and over REST: prices out of pools with who says so, of now and of before, and what swaps moved.

use std::sync::Arc;

use alloy::primitives::U256;
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{rest::get, world::*};
use crate::{
    domain::event::EventBody,
    store::{Commit, PoolStatus, PoolView},
};

/// USDC and whole WETH in the pair afterwards.
fn pair(usdc: u128, weth: u128) -> Vec<Step> {
    v2_swap(7, 7, usdc * 1_000_000, weth * 10_u128.pow(18))
}

/// Block 2: 2,000 dollars; 3: 2,500; 4: nothing; 5: 4,000.
fn world() -> World {
    let mut world = World::priced();
    world.mine(pair(2_000_000, 1_000));
    world.mine(pair(2_500_000, 1_000));
    world.mine(Vec::new());
    world.mine(pair(4_000_000, 1_000));
    world
}

const PRICE: &str = "value status pair asOf { number } updatedAt sources { name value ageMs weight excludedBy connected }";

async fn price(world: &World, arguments: &str) -> Value {
    world.data(&format!("{{ prices(tokens: [{{ address: \"{WETH:#x}\" }}]{arguments}) {{ {PRICE} }} }}")).await["prices"][0]
        .clone()
}

fn at(number: u64) -> u64 {
    1_700_000_000 + 12 * number
}

#[tokio::test]
async fn a_token_without_a_feed_costs_what_pools_say_and_says_which() {
    let mut world = world();
    let source = |name: String, value: &str, weight: &str, excluded: Value| json!({ "name": name, "value": value, "ageMs": null, "weight": weight, "excludedBy": excluded, "connected": true });
    let of_pair = |weight| source(format!("pool:{PAIR:#x}"), "4000", weight, Value::Null);
    let expected = |block: u64, sources: Value| json!({ "value": "4000", "status": "FRESH", "pair": null, "asOf": { "number": block }, "updatedAt": at(block), "sources": sources });
    assert_eq!(price(&world, "").await, expected(5, json!([of_pair("1")])));

    // A pool of another price that takes next to nothing to move has no say; with liquidity it has its part of it.
    let initialized = EventBody::V3Initialize { sqrt_price_x96: U256::from(1_u8) << 111, tick: 207_932 };
    let position = |amount: u128| EventBody::V3Mint {
        sender: TRADER,
        owner: TRADER,
        tick_lower: 207_000,
        tick_upper: 209_000,
        amount,
        amount0: U256::ZERO,
        amount1: U256::ZERO,
    };
    world.mine(vec![Step::Log(POOL, initialized), Step::Log(POOL, position(1_000_000_000))]);
    let thin = source(format!("pool:{POOL:#x}"), "931.322574615478516", "0", json!("THIN"));
    assert_eq!(price(&world, "").await, expected(6, json!([thin, of_pair("1")])));
    world.mine(vec![Step::Log(POOL, position(10_u128.pow(18) / 100 * 3))]);
    let price = price(&world, "").await;
    let deep = &price["sources"][0];
    assert_eq!((&deep["excludedBy"], &price["value"]), (&Value::Null, &json!("4000")), "{price}");
    let weights: f64 =
        price["sources"].as_array().unwrap().iter().map(|s| s["weight"].as_str().unwrap().parse::<f64>().unwrap()).sum();
    assert!((weights - 1.0).abs() < 2e-6 && deep["weight"] != "0", "{price}");

    // The token says the same of itself, and so does REST.
    let token = world.data(&format!("{{ token(id: \"{WETH:#x}\") {{ priceUSD {{ {PRICE} }} }} }}")).await;
    assert_eq!(token["token"]["priceUSD"], price);
    let (status, _, body) = get(&world, &format!("/v1/{CHAIN}/tokens/{WETH:#x}/price")).await;
    assert_eq!((status, &body["value"], &body["status"]), (StatusCode::OK, &json!("4000"), &json!("FRESH")), "{body}");
    assert_eq!(body["sources"].as_array().unwrap().len(), 2);
    let dollar =
        world.data(&format!("{{ token(id: \"{USDC:#x}\") {{ priceUSD {{ value status sources {{ name }} }} }} }}")).await;
    assert_eq!(dollar["token"]["priceUSD"], json!({ "value": "1", "status": "FRESH", "sources": [] }));
    let odd = world.data(&format!("{{ token(id: \"{ODD:#x}\") {{ priceUSD {{ value status }} }} }}")).await;
    assert_eq!(odd["token"]["priceUSD"], json!({ "value": null, "status": "HALTED" }), "no source: null");
}

#[tokio::test]
async fn prices_of_the_past_are_of_a_block_or_a_time_from_memory_and_from_history() {
    let mut world = world();
    for buried in [false, true] {
        for (arguments, value, block) in [
            (", block: 2".to_owned(), "2000", 2),
            (", block: 3".to_owned(), "2500", 3),
            (", block: 4".to_owned(), "2500", 4),
            (", block: 5".to_owned(), "4000", 5),
            (format!(", time: {}", at(3)), "2500", 3),
            (format!(", time: {}", at(3) - 1), "2000", 2),
            (format!(", time: {}", at(900)), "4000", if buried { 75 } else { 5 }),
        ] {
            let price = price(&world, &arguments).await;
            assert_eq!((&price["value"], &price["asOf"]["number"]), (&json!(value), &json!(block)), "{arguments}: {price}");
            let query = arguments.trim_start_matches(", ").replace(": ", "=");
            let (status, headers, body) = get(&world, &format!("/v1/{CHAIN}/prices?ids={WETH:#x}&{query}")).await;
            assert_eq!((status, &body["data"][0]["value"]), (StatusCode::OK, &json!(value)), "{query}: {body}");
            assert_eq!(body["data"][0]["updatedAtMs"], json!(at(block) * 1_000), "{query}: {body}");
            let source = headers.get("x-data-source").unwrap().to_str().unwrap();
            assert_eq!(source, if buried { "sqlite" } else { "memory" }, "{query}");
        }
        // Before anybody traded there was no price.
        assert_eq!(price(&world, ", block: 1").await["value"], Value::Null);
        assert_eq!(price(&world, ", time: 5").await["value"], Value::Null);
        if !buried {
            world.bury();
        }
    }
    let ask = async |arguments: &str| {
        let query = format!("{{ prices(tokens: [{{ address: \"{WETH:#x}\" }}], {arguments}) {{ value }} }}");
        world.ask(&query).await["errors"][0]["extensions"]["code"].clone()
    };
    assert_eq!(ask("block: 1, time: 2").await, "BAD_USER_INPUT");
    assert_eq!(ask("block: 5000").await, "STATE_STALE");
    let (status, ..) = get(&world, &format!("/v1/{CHAIN}/prices?ids={WETH:#x}&block=1&time=2")).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

/// A pool that was given up stands where it was: what it says is no price.
#[tokio::test]
async fn a_pool_that_was_given_up_prices_nothing() {
    let world = world();
    let view = world.live.pin().pool(&PAIR.into()).unwrap();
    assert_eq!(price(&world, "").await["value"], "4000");
    let given_up = PoolView { status: PoolStatus::Faulted, held_at: Some(world.tip()), ..(*view).clone() };
    let views = vec![(PAIR.into(), Some(Arc::new(given_up)))];
    world.live.commit(Commit { views, head: Some(world.tip()), ..Commit::default() });
    let price = price(&world, "").await;
    assert_eq!((&price["value"], &price["status"]), (&Value::Null, &json!("HALTED")), "{price}");
}

/// Where the newest row of a pool lacks what it said, an older one of another kind does not speak for it.
#[tokio::test]
async fn a_price_of_the_past_is_never_one_of_long_before() {
    let mut world = World::priced();
    let mint = EventBody::V2Mint { sender: TRADER, amount0: U256::from(1), amount1: U256::from(1) };
    let sync = EventBody::V2Sync { reserve0: 1_000_000_000_000, reserve1: 1_000 * 10_u128.pow(18) };
    world.mine(vec![Step::Log(PAIR, sync), Step::Log(PAIR, mint)]);
    world.mine(pair(4_000_000, 1_000));
    assert_eq!(price(&world, ", block: 2").await["value"], "1000");
    assert_eq!(price(&world, ", block: 3").await["value"], "4000");
    let mut newest = (*world.live.record(&world.tip().hash).unwrap()).clone();
    newest.rows.iter_mut().for_each(|row| row.gauge = None);
    world.live.commit(Commit { amended: vec![Arc::new(newest)], head: Some(world.tip()), ..Commit::default() });
    assert_eq!(price(&world, ", block: 3").await["value"], Value::Null);
    assert_eq!(price(&world, ", block: 2").await["value"], "1000");
}

#[tokio::test]
async fn swaps_say_what_they_moved_and_are_found_by_it() {
    let mut world = world();
    let swaps = world.data("{ swaps { nodes { amountUSD } } }").await;
    assert_eq!(swaps["swaps"]["nodes"], json!([{ "amountUSD": "1.5" }, { "amountUSD": "1.5" }, { "amountUSD": "1.5" }]));
    for _ in 0..2 {
        let path = |query: &str| format!("/v1/{CHAIN}/swaps?{query}");
        let (status, _, one) = get(&world, &path("min_usd=1")).await;
        assert_eq!((status, one["data"].as_array().unwrap().len(), &one["cursor"]), (StatusCode::OK, 3, &Value::Null), "{one}");
        assert_eq!(one["data"][0]["amountUSD"], "1.5");
        let (_, _, none) = get(&world, &path("min_usd=2")).await;
        assert_eq!((none["data"].as_array().unwrap().len(), &none["cursor"]), (0, &Value::Null), "{none}");
        // In pages, each with a way on.
        let (mut seen, mut next) = (Vec::new(), path("min_usd=1&limit=1"));
        loop {
            let (_, headers, page) = get(&world, &next).await;
            seen.extend(page["data"].as_array().unwrap().iter().map(|swap| swap["block"]["number"].clone()));
            let Some(link) = headers.get("link") else { break };
            assert!(link.to_str().unwrap().contains("min_usd=1"), "{link:?}");
            next = link.to_str().unwrap().split(['<', '>']).nth(1).unwrap().to_owned();
        }
        assert_eq!(seen, [5, 3, 2]);
        world.bury();
    }
}

/// A poller with a threshold goes on from what was looked at, not from what it was shown.
#[tokio::test]
async fn a_poller_with_a_threshold_moves_on_past_what_is_too_small() {
    let mut world = world();
    let (_, _, head) = get(&world, &format!("/v1/{CHAIN}/swaps?since=head&min_usd=2")).await;
    let first = head["cursor"].as_str().unwrap().to_owned();
    world.mine(pair(4_000_000, 1_001));
    let poll = async |world: &World, cursor: &str, least: u32| {
        get(world, &format!("/v1/{CHAIN}/swaps?since={cursor}&min_usd={least}")).await.2
    };
    let small = poll(&world, &first, 2).await;
    assert_eq!(small["data"], json!([]));
    let second = small["cursor"].as_str().unwrap();
    assert_ne!(second, first, "it was looked at");
    assert_eq!(poll(&world, second, 1).await["data"], json!([]));
    assert_eq!(poll(&world, &first, 1).await["data"].as_array().unwrap().len(), 1);
}
