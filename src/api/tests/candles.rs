//! Candles through the schema and over REST: of memory, of history, and through a reorg.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{rest::get, world::*};

const ALL: &str = "start end open high low close volumeToken0 volumeToken1 volumeUSD buyVolumeUSD sellVolumeUSD buys sells buyers sellers txCount closed";

async fn candles(world: &World, arguments: &str) -> Value {
    world.ask(&format!("{{ pool(id: \"{PAIR}\") {{ candles({arguments}) {{ {ALL} }} }} }}")).await["data"]["pool"]["candles"]
        .clone()
}

/// Held against the document.
async fn rest(world: &World, path: &str) -> (StatusCode, String, Value) {
    let (status, headers, body) = get(world, path).await;
    (status, headers.get("x-data-source").map_or(String::new(), |v| v.to_str().unwrap().to_owned()), body)
}

/// USDC sold for so much WETH that one USDC costs `price` millionths of a WETH afterwards.
fn sale(usdc: u64, price: u128) -> Vec<Step> {
    v2_swap(usdc * 1_000_000, 5, 1_000_000_000_000, price * 1_000_000_000_000_000_000)
}

/// Blocks 2, 3 in one minute, 4 to 8 empty, 9 in the next but one. A block is 12 s.
fn traded() -> World {
    let mut world = World::new();
    world.mine(sale(3, 500));
    world.mine(sale(1, 700));
    for _ in 4..9 {
        world.mine(Vec::new());
    }
    world.mine(sale(10, 600));
    world
}

/// Of block n.
fn at(number: u64) -> u64 {
    1_700_000_000 + 12 * number
}

fn minute(number: u64) -> u64 {
    at(number) / 60 * 60
}

#[tokio::test]
async fn candles_join_have_both_directions_and_say_whether_they_are_closed() {
    let world = traded();
    let first = json!({
        "start": minute(2), "end": minute(2) + 60, "open": "0.0005", "high": "0.0007", "low": "0.0005", "close": "0.0007",
        "volumeToken0": "4", "volumeToken1": "0.00000000000000001", "volumeUSD": "3", "buyVolumeUSD": "0", "sellVolumeUSD": "3", "buys": 0, "sells": 2, "buyers": 0, "sellers": 1, "txCount": 2, "closed": true,
    });
    let second = json!({
        "start": minute(9), "end": minute(9) + 60, "open": "0.0007", "high": "0.0007", "low": "0.0006", "close": "0.0006",
        "volumeToken0": "10", "volumeToken1": "0.000000000000000005", "volumeUSD": "1.5", "buyVolumeUSD": "0", "sellVolumeUSD": "1.5", "buys": 0, "sells": 1, "buyers": 0, "sellers": 1, "txCount": 1, "closed": false,
    });
    assert_eq!(candles(&world, "interval: M1").await, json!([first, second]));
    // The other way round: what was the highest is the lowest, and who sold USDC bought WETH.
    let inverted = candles(&world, "interval: M1, invert: true").await;
    let prices = |candle: &Value| ["open", "high", "low", "close", "buys", "sells"].map(|name| candle[name].clone());
    let third = "1666.666666666666666666666666666667";
    assert_eq!(
        prices(&inverted[0]),
        [
            json!("2000"),
            json!("2000"),
            json!("1428.571428571428571428571428571429"),
            json!("1428.571428571428571428571428571429"),
            json!(2),
            json!(0)
        ]
    );
    assert_eq!(prices(&inverted[1])[3..], [json!(third), json!(1), json!(0)]);
    // Those in which nobody traded, on request; nothing before the pool's first swap.
    let filled = candles(&world, "interval: M1, fillEmpty: true").await;
    let starts: Vec<u64> = filled.as_array().unwrap().iter().map(|c| c["start"].as_u64().unwrap()).collect();
    assert_eq!(starts, (minute(2)..=minute(9)).step_by(60).collect::<Vec<_>>());
    let empty = &filled[1];
    if empty["start"] != json!(minute(9)) {
        assert_eq!(
            (&empty["open"], &empty["close"], &empty["txCount"], &empty["volumeToken0"]),
            (&json!("0.0007"), &json!("0.0007"), &json!(0), &json!("0"))
        );
    }
    // A stretch: its first candle opens at the close before it.
    let from = minute(9);
    assert_eq!(candles(&world, &format!("interval: M1, from: {from}")).await, json!([second]));
    assert_eq!(candles(&world, &format!("interval: M1, from: {}, first: 1", minute(2))).await, json!([first]));
    assert_eq!(candles(&world, &format!("interval: M1, to: {from}")).await, json!([first]));
    assert_eq!(candles(&world, &format!("interval: M1, from: {}", at(9) + 3_600)).await, json!([]), "the future is empty");
    let week = candles(&world, "interval: W1").await;
    assert_eq!((&week[0]["txCount"], &week[0]["open"], &week[0]["close"]), (&json!(3), &json!("0.0005"), &json!("0.0006")));
}

#[tokio::test]
async fn candles_outlive_their_swaps_in_memory_and_rest_says_the_same() {
    let mut world = traded();
    let fresh = candles(&world, "interval: S15").await;
    let path = format!("/v1/{CHAIN}/pools/{PAIR}/candles");
    let (status, source, body) = rest(&world, &format!("{path}?interval=S15")).await;
    assert_eq!((status, source.as_str()), (StatusCode::OK, "memory"));
    let without_count = |candles: &Value| {
        let mut candles = candles.clone();
        candles.as_array_mut().unwrap().iter_mut().for_each(|c| drop(c.as_object_mut().unwrap().remove("txCount")));
        candles
    };
    assert_eq!(body["data"], without_count(&fresh));
    world.bury();
    let mut old = candles(&world, &format!("interval: S15, from: {}", at(1))).await;
    // Time went on.
    assert_eq!(old[2]["closed"], json!(true));
    old[2]["closed"] = fresh[2]["closed"].clone();
    assert_eq!(old, fresh);
    let (_, source, body) = rest(&world, &format!("{path}?interval=S15&from={}&invert=true&fill=true&limit=3", at(1))).await;
    assert_eq!((source.as_str(), body["data"].as_array().unwrap().len()), ("memory", 3));
}

#[tokio::test]
async fn a_reorg_changes_the_candles_and_leaves_no_trace() {
    let mut world = traded();
    world.reorg(3, vec![Vec::new(), sale(7, 900), Vec::new()]);
    let reorged = candles(&world, "interval: M1, fillEmpty: true").await;
    let mut straight = World::new();
    straight.mine(sale(3, 500));
    straight.mine(sale(1, 700));
    for _ in 4..8 {
        straight.mine(Vec::new());
    }
    straight.mine(sale(7, 900));
    straight.mine(Vec::new());
    assert_eq!(reorged, candles(&straight, "interval: M1, fillEmpty: true").await);
}

#[tokio::test]
async fn statistics_of_a_window_move_on_with_the_newest_block() {
    let mut world = traded();
    let stats = async |world: &World, window: &str| {
        let all = "start volumeToken0 volumeToken1 volumeUSD buys sells buyers sellers txCount priceChangePercent";
        let query = format!("{{ pool(id: \"{PAIR}\") {{ stats(window: {window}) {{ {all} }} }} }}");
        world.ask(&query).await["data"]["pool"]["stats"].clone()
    };
    let five = stats(&world, "M5").await;
    assert_eq!(
        five,
        json!({ "start": minute(9) - 240, "volumeToken0": "14", "volumeToken1": "0.000000000000000015", "volumeUSD": "4.5", "buys": 0, "sells": 3,
                "buyers": 0, "sellers": 1, "txCount": 3, "priceChangePercent": "20" })
    );
    world.bury();
    // A quarter of an hour later nothing of it is in the window any more, and all of it is within the hour.
    let none = stats(&world, "M5").await;
    assert_eq!((&none["txCount"], &none["priceChangePercent"]), (&json!(0), &json!("0")));
    let hour = stats(&world, "H1").await;
    assert_eq!((&hour["txCount"], &hour["sellers"], &hour["priceChangePercent"]), (&json!(3), &json!(1), &json!("20")));
    let (status, source, body) = rest(&world, &format!("/v1/{CHAIN}/pools/{PAIR}/stats?window=H1")).await;
    assert_eq!((status, &body["priceChangePercent"], &body["sells"]), (StatusCode::OK, &json!("20"), &json!(3)));
    assert_eq!(source, "memory");
    let (_, _, body) = rest(&world, &format!("/v1/{CHAIN}/pools/{ODD_PAIR}/stats?window=H24")).await;
    assert_eq!((&body["priceChangePercent"], &body["buys"]), (&Value::Null, &json!(0)), "nobody ever traded it");
    let (status, _, body) = rest(&world, &format!("/v1/{CHAIN}/pools/{PAIR}/stats?window=H2")).await;
    assert!(status == StatusCode::BAD_REQUEST && body["detail"].as_str().unwrap().contains("H2"), "{body}");
    // A price that fell.
    world.mine(sale(1, 300));
    assert_eq!(stats(&world, "M5").await["priceChangePercent"], json!("-50"));
}

#[tokio::test]
async fn the_sums_over_all_pools_are_those_of_the_pools_at_each_block() {
    let mut world = traded();
    // One server for all of them: what it keeps of one block must not be said of another.
    let server = crate::api::public_router(world.state.clone());
    let volume = async |world: &World, query: &str| -> Value {
        let path = format!("/v1/{CHAIN}/stats/volume{query}");
        let request = axum::http::Request::get(&path).body(axum::body::Body::empty()).unwrap();
        let response = tower::ServiceExt::oneshot(server.clone(), request).await.unwrap();
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let said: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(said, rest(world, &path).await.2, "as a server says that was not asked before");
        said
    };
    let five = volume(&world, "?window=M5&limit=1").await;
    let traded_all = json!({ "volumeUSD": "4.5", "swapCount": 3, "unvaluedSwaps": 0 });
    let with = |more: Value| {
        let mut all = traded_all.clone();
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    let exchange =
        |of: &str, all: &Value| all["exchanges"].as_array().unwrap().iter().find(|e| e["protocol"] == of).unwrap().clone();
    let pair = format!("{PAIR:#x}");
    assert_eq!(five["pools"], json!([with(json!({ "id": pair }))]), "the largest");
    assert_eq!((&five["start"], &five["volumeUSD"], &five["swapCount"]), (&json!(minute(9) - 240), &json!("4.5"), &json!(3)));
    assert_eq!(exchange("UNISWAP_V2", &five)["volumeUSD"], json!("4.5"));
    assert_eq!(exchange("UNISWAP_V3", &five)["swapCount"], json!(0));

    // The next block has other sums, and so has the one that takes its place.
    world.mine(sale(1, 300));
    let more = volume(&world, "?window=M5").await;
    assert_eq!((&more["swapCount"], more["pools"].as_array().unwrap().len()), (&json!(4), 3));
    world.reorg(1, vec![Vec::new()]);
    assert_eq!(volume(&world, "?window=M5").await["volumeUSD"], json!("4.5"));
    world.bury();
    assert_eq!(volume(&world, "?window=M5").await["swapCount"], json!(0), "that was a while ago");
    assert_eq!(volume(&world, "").await["swapCount"], json!(3), "within a day");

    let mut world = World::priced();
    world.mine(v2_swap(7, 7, 2_000_000_000_000, 10_u128.pow(21)));
    let (_, source, locked) = rest(&world, &format!("/v1/{CHAIN}/stats/liquidity")).await;
    assert_eq!(source, "memory");
    let of_pools = world.ask("{ pools { nodes { id totalValueLockedUSD } } }").await["data"]["pools"]["nodes"].clone();
    let known: Vec<_> = of_pools.as_array().unwrap().iter().filter(|pool| !pool["totalValueLockedUSD"].is_null()).collect();
    let largest = known.iter().find(|pool| pool["id"] == json!(pair)).unwrap();
    assert_eq!(locked["pools"][0]["totalValueLockedUSD"], largest["totalValueLockedUSD"]);
    assert_eq!(locked["totalValueLockedUSD"], largest["totalValueLockedUSD"], "the others are empty: {of_pools}");
    assert_eq!((&locked["poolCount"], &locked["unvaluedPools"]), (&json!(3), &json!(3 - known.len())));
    // Of one that was given up nobody knows what it holds; it is counted, and not summed.
    let other = alloy::primitives::Address::repeat_byte(0x77);
    let sync = crate::domain::event::EventBody::V2Sync { reserve0: 1_000_000_000_000, reserve1: 5 * 10_u128.pow(20) };
    world
        .mine(vec![Step::Create(pool_meta(other, crate::domain::pool::Protocol::UniswapV2, USDC, WETH)), Step::Log(other, sync)]);
    let both = rest(&world, &format!("/v1/{CHAIN}/stats/liquidity")).await.2;
    assert_eq!((&both["totalValueLockedUSD"], &both["poolCount"]), (&json!("6000000"), &json!(4)));
    let view = world.live.pin().pool(&other.into()).unwrap();
    let given_up = crate::store::PoolView { status: crate::store::PoolStatus::Faulted, ..(*view).clone() };
    let views = vec![(other.into(), Some(std::sync::Arc::new(given_up)))];
    world.live.commit(crate::store::Commit { views, head: Some(world.tip()), ..crate::store::Commit::default() });
    let without = rest(&world, &format!("/v1/{CHAIN}/stats/liquidity")).await.2;
    assert_eq!((&without["totalValueLockedUSD"], &without["poolCount"]), (&json!("4000000"), &json!(4)));
    assert_eq!(without["unvaluedPools"].as_u64(), both["unvaluedPools"].as_u64().map(|pools| pools + 1));
    for wrong in ["volume?window=H2", "volume?limit=1001", "liquidity?limit=-1", "liquidity?window=H1"] {
        let (status, _, body) = rest(&world, &format!("/v1/{CHAIN}/stats/{wrong}")).await;
        assert!(status == StatusCode::BAD_REQUEST && body["code"] == "BAD_USER_INPUT", "{wrong}: {body}");
    }
}

#[tokio::test]
async fn a_subscriber_that_replaces_from_each_frame_on_always_has_what_a_query_says() {
    use std::collections::BTreeMap;

    use futures_util::StreamExt;

    let mut world = traded();
    let query = format!(
        "subscription {{ onCandlesUpdated(pool: \"{PAIR}\", interval: M1) {{ topic seq kind from block {{ number hash }} data {{ {ALL} }} }} }}"
    );
    let mut stream = world.schema.execute_stream(query).boxed();
    let mut held: BTreeMap<u64, Value> = BTreeMap::new();
    let mut next = async |world: &World, kind: &str, seq: u64| {
        let frame = serde_json::to_value(stream.next().await.unwrap()).unwrap()["data"]["onCandlesUpdated"].clone();
        assert_eq!((&frame["kind"], &frame["seq"]), (&json!(kind), &json!(seq)), "{frame}");
        assert_eq!(frame["block"]["hash"], format!("{:#x}", world.tip().hash));
        held.split_off(&frame["from"].as_u64().unwrap());
        held.extend(frame["data"].as_array().unwrap().iter().map(|c| (c["start"].as_u64().unwrap(), c.clone())));
        // From the first that it was told of on: the same.
        let first = held.keys().next().copied().unwrap_or(0);
        let said = candles(world, &format!("interval: M1, from: {first}")).await;
        assert_eq!(json!(held.values().collect::<Vec<_>>()), said);
    };
    next(&world, "SNAPSHOT", 0).await;
    world.mine(sale(1, 650));
    next(&world, "UPDATE", 1).await;
    for _ in 0..4 {
        world.mine(Vec::new());
    }
    world.mine(sale(2, 800));
    next(&world, "UPDATE", 2).await;
    // A reorg takes the last one back, and brings another: a RETRACT and an UPDATE of swaps, the same state twice.
    world.reorg(2, vec![sale(5, 900), Vec::new(), Vec::new()]);
    next(&world, "UPDATE", 3).await;
    next(&world, "UPDATE", 4).await;
    // And one that only takes back.
    world.mine(sale(2, 800));
    next(&world, "UPDATE", 5).await;
    world.reorg(1, vec![Vec::new(), Vec::new()]);
    next(&world, "UPDATE", 6).await;
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused_with_what_can() {
    let world = traded();
    for (arguments, says) in [
        ("interval: M2", "M2"),
        ("interval: M1, first: 0", "between 1 and 1000"),
        ("interval: M1, first: 1001", "between 1 and 1000"),
        ("interval: M1, from: 20, to: 10", "`from` must be before `to`"),
        ("interval: M1, from: -1", "not negative"),
    ] {
        let answer = world.schema.execute(format!("{{ pool(id: \"{PAIR}\") {{ candles({arguments}) {{ start }} }} }}")).await;
        assert!(answer.errors.iter().any(|e| e.message.contains(says)), "{arguments}: {:?}", answer.errors);
    }
    let path = format!("/v1/{CHAIN}/pools/{PAIR}/candles");
    for (query, says) in [
        ("", "interval"),
        ("?interval=M2", "M2"),
        ("?interval=M1&limit=0", "`limit` is 1 to 1000"),
        ("?interval=M1&from=20&to=10", "`from` must be before `to`"),
        ("?interval=M1&from=-1", "from: "),
        ("?interval=M1&from=18446744073709551615", "whole seconds since 1970"),
        ("?interval=M1&fil=true", "fil"),
    ] {
        let (status, _, body) = rest(&world, &format!("{path}{query}")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}: {body}");
        assert!(body["detail"].as_str().unwrap().contains(says), "{query}: {body}");
    }
    let (status, _, _) = rest(&world, &format!("/v1/{CHAIN}/pools/{TRADER}/candles?interval=M1")).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    // Many pools at once are more than one query may ask.
    let answer = world.schema.execute("{ pools(first: 100) { nodes { candles(interval: M1) { start } } } }").await;
    assert!(answer.errors[0].message.contains("too many fields"), "{:?}", answer.errors);
}
