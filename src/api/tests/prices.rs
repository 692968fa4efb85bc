//! Prices from outside the chain, through the schema.

use async_graphql::Response;
use axum::http::StatusCode;
use futures_util::{StreamExt, stream::BoxStream};
use serde_json::{Value, json};

use super::{rest::get, world::*};
use crate::{
    domain::{feed::Tick, fixed::Fixed18},
    store::prices::SourceId,
};

impl World {
    fn source(&self, name: &str) -> SourceId {
        self.state.reader.prices().source("ETH/USD", name).unwrap()
    }

    fn hear(&self, name: &str, price: &str, age_ms: u64) {
        let tick = Tick { price: Fixed18::parse(price).unwrap(), at_ms: NOW_MS - age_ms, id: None };
        self.state.reader.prices().hear(self.source(name), tick, NOW_MS - age_ms).unwrap();
    }
}

async fn next(stream: &mut BoxStream<'static, Response>) -> Value {
    let value = serde_json::to_value(stream.next().await.unwrap()).unwrap();
    assert_eq!(value.get("errors"), None, "{value:#}");
    value["data"].as_object().unwrap().values().next().unwrap().clone()
}

const SAID: &str = "value status updatedAt sources { name value ageMs weight excludedBy connected refused trouble }";

#[tokio::test]
async fn a_price_names_its_sources_and_a_token_without_a_feed_has_none() {
    let world = World::new();
    world.hear("binance", "1850.123456789012345678", 1_500);
    let binance = world.source("binance");
    world.state.reader.prices().connected(binance);
    world.state.reader.prices().garbage(world.source("coinbase"), "price: it is no decimal number");
    let query = format!(
        "{{ prices(tokens: [{{ address: \"{WETH}\" }}, {{ address: \"{USDC}\", chainId: {CHAIN} }}]) {{ token chainId pair asOf {{ number }} {SAID} }} }}"
    );
    let answer = world.ask(&query).await["data"].clone();
    assert_eq!(
        answer["prices"][0],
        json!({
            "token": format!("{WETH:#x}"), "chainId": CHAIN, "pair": "ETH/USD", "asOf": { "number": 1 },
            "value": "1850.123456789012345678", "status": "DEGRADED", "updatedAt": 1_700_000_098,
            "sources": [
                { "name": "binance", "value": "1850.123456789012345678", "ageMs": 1_500, "weight": "1", "excludedBy": null,
                  "connected": true, "refused": 0, "trouble": null },
                { "name": "coinbase", "value": null, "ageMs": null, "weight": "0", "excludedBy": "NO_DATA",
                  "connected": false, "refused": 1, "trouble": "price: it is no decimal number" },
            ],
        })
    );
    assert_eq!(
        answer["prices"][1],
        json!({ "token": format!("{USDC:#x}"), "chainId": CHAIN, "pair": null, "asOf": { "number": 1 },
                "value": null, "status": "HALTED", "updatedAt": null, "sources": [] })
    );
    let feeds = world.ask(&format!("{{ feeds {{ pair {SAID} }} }}")).await["data"].clone();
    assert_eq!((&feeds["feeds"][0]["pair"], &feeds["feeds"][0]["status"]), (&json!("ETH/USD"), &json!("DEGRADED")));
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused_with_what_can() {
    let world = World::new();
    let many = (0..101).map(|i| format!("{{ address: \"0x{i:040x}\" }}")).collect::<Vec<_>>().join(" ");
    for (tokens, says) in [
        (String::new(), "name at least one token"),
        (many, "1 to 100 tokens, these are 101"),
        (format!("{{ address: \"{WETH}\" }} {{ address: \"{WETH:#x}\" }}"), "a token twice"),
        (format!("{{ address: \"{WETH}\" }} {{ address: \"{WETH:#x}\", chainId: {CHAIN} }}"), "a token twice"),
        (format!("{{ address: \"{WETH}\", chainId: 5 }}"), "chain 5 is not configured"),
        ("{ address: \"0x12\" }".to_owned(), "no address"),
    ] {
        for query in [
            format!("{{ prices(tokens: [{tokens}]) {{ value }} }}"),
            format!("subscription {{ onPricesUpdated(tokens: [{tokens}]) {{ seq }} }}"),
        ] {
            let response = world.schema.execute_stream(&query).next().await.unwrap();
            assert!(response.errors[0].message.contains(says), "{query}: {:?}", response.errors);
        }
    }
    for (arguments, says) in
        [("minChangeBps: -1", "0 or more"), ("throttleMs: -1", "0 to 60000"), ("throttleMs: 60001", "0 to 60000")]
    {
        let query = format!("subscription {{ onPricesUpdated(tokens: [{{ address: \"{WETH}\" }}], {arguments}) {{ seq }} }}");
        let response = world.schema.execute_stream(&query).next().await.unwrap();
        assert!(response.errors[0].message.contains(says), "{:?}", response.errors);
    }
}

#[tokio::test]
async fn rest_says_the_same_and_its_etag_stays_while_nobody_says_anything_new() {
    let world = World::new();
    world.hear("binance", "1850.5", 20_000);
    let path = format!("/v1/{CHAIN}/prices?ids={WETH},{USDC:#x}");
    let (status, headers, body) = get(&world, &path).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    assert_eq!(
        body["data"][0],
        json!({
            "token": format!("{WETH:#x}"), "value": "1850.5", "status": "DEGRADED", "updatedAtMs": NOW_MS - 20_000, "pair": "ETH/USD",
            "sources": [
                { "name": "binance", "value": "1850.5", "updatedAtMs": NOW_MS - 20_000, "weight": "1", "excludedBy": null, "connected": false },
                { "name": "coinbase", "value": null, "updatedAtMs": null, "weight": "0", "excludedBy": "NO_DATA", "connected": false },
            ],
        })
    );
    assert_eq!(
        (&body["data"][1]["value"], &body["data"][1]["status"], &body["data"][1]["pair"]),
        (&Value::Null, &json!("HALTED"), &Value::Null)
    );
    let (_, _, one) = get(&world, &format!("/v1/{CHAIN}/tokens/{WETH}/price")).await;
    assert_eq!(one, body["data"][0]);
    let tag = headers["etag"].clone();
    assert_eq!(get(&world, &path).await.1["etag"], tag);
    world.hear("binance", "1850.6", 10_000);
    assert_ne!(get(&world, &path).await.1["etag"], tag);
    for (query, says) in [
        ("", "ids"),
        ("?ids=", "no address"),
        ("?ids=0x12", "no address"),
        ("?ids=0x00000000000000000000000000000000000000e0,", "no address"),
    ] {
        let (status, _, body) = get(&world, &format!("/v1/{CHAIN}/prices{query}")).await;
        assert!(status == StatusCode::BAD_REQUEST && body["detail"].as_str().unwrap().contains(says), "{query}: {body}");
    }
    let many = vec![format!("{WETH:#x}"); 101].join(",");
    let (status, _, body) = get(&world, &format!("/v1/{CHAIN}/prices?ids={many}")).await;
    assert!(status == StatusCode::BAD_REQUEST && body["detail"].as_str().unwrap().contains("1 to 100"), "{body}");
}

#[tokio::test(start_paused = true)]
async fn subscribers_get_a_snapshot_and_then_what_moved() {
    let world = World::new();
    world.hear("binance", "1850", 20_000);
    let subscribe = |arguments: &str| {
        world.schema.execute_stream(format!(
            "subscription {{ onPricesUpdated(tokens: [{{ address: \"{WETH}\" }} {{ address: \"{USDC}\" }}]{arguments}) {{ seq kind data {{ token value status }} }} }}"
        ))
    };
    let mut every = subscribe("").boxed();
    let mut large = subscribe(", minChangeBps: 100").boxed();
    for stream in [&mut every, &mut large] {
        let snapshot = next(stream).await;
        assert_eq!((&snapshot["kind"], &snapshot["seq"]), (&json!("SNAPSHOT"), &json!(0)));
        assert_eq!(snapshot["data"].as_array().unwrap().len(), 2, "all of them, USDC without a price");
        assert_eq!(snapshot["data"][0]["value"], "1850");
    }
    world.hear("binance", "1851", 10_000);
    let update = next(&mut every).await;
    assert_eq!(
        update,
        json!({ "seq": 1, "kind": "UPDATE", "data": [{ "token": format!("{WETH:#x}"), "value": "1851", "status": "DEGRADED" }] })
    );
    // Two moves at once are one frame: nothing piles up.
    world.hear("binance", "1860", 6_000);
    world.hear("binance", "1870", 5_000);
    assert_eq!(next(&mut every).await["data"][0]["value"], "1870");
    let update = next(&mut large).await;
    assert_eq!((&update["seq"], &update["data"][0]["value"]), (&json!(1), &json!("1870")), "108 bps after the one of 5 bps");
    // A second source that agrees changes the status, and so is told to both.
    world.hear("coinbase", "1870", 1_000);
    for stream in [&mut every, &mut large] {
        assert_eq!(next(stream).await["data"][0]["status"], "FRESH");
    }
}

#[tokio::test(start_paused = true)]
async fn a_subscription_outlives_silence_and_tells_what_ages_in_it() {
    // The wall clock of this test: Tokio's, which is paused, and runs as soon as nothing else does.
    static BEGAN: std::sync::OnceLock<tokio::time::Instant> = std::sync::OnceLock::new();
    BEGAN.get_or_init(tokio::time::Instant::now);
    let now = || NOW_MS + u64::try_from(BEGAN.get().unwrap().elapsed().as_millis()).unwrap();
    let world = World::with_clock(now);
    world.hear("binance", "1850", 0);
    let query =
        format!("subscription {{ onPricesUpdated(tokens: [{{ address: \"{WETH}\" }}]) {{ seq kind data {{ value status }} }} }}");
    let mut stream = world.schema.execute_stream(query).boxed();
    assert_eq!(next(&mut stream).await["data"][0]["status"], "DEGRADED");
    // Nobody says anything more: after 30 s it is stale, after 5 minutes there is none.
    let stale = next(&mut stream).await;
    assert_eq!((&stale["seq"], &stale["data"][0]), (&json!(1), &json!({ "value": "1850", "status": "STALE" })));
    assert_eq!(next(&mut stream).await["data"][0], json!({ "value": null, "status": "HALTED" }));
    assert!(((NOW_MS + 325_000)..(NOW_MS + 335_000)).contains(&now()), "{} ms later", now() - NOW_MS);
}

#[tokio::test(start_paused = true)]
async fn the_standing_of_feeds_is_told_and_not_each_price() {
    let world = World::new();
    world.hear("binance", "1850", 20_000);
    let mut stream = world
        .schema
        .execute_stream("subscription { onFeedStatus { seq kind data { pair status sources { name excludedBy } } } }")
        .boxed();
    assert_eq!(next(&mut stream).await["data"][0]["status"], "DEGRADED");
    world.hear("binance", "1851", 10_000);
    world.hear("coinbase", "2000", 9_000);
    let update = next(&mut stream).await;
    assert_eq!((&update["seq"], &update["data"][0]["status"]), (&json!(1), &json!("HALTED")), "two that contradict each other");
    world.hear("coinbase", "1851", 1_000);
    assert_eq!(next(&mut stream).await["data"][0]["status"], "FRESH");
}
