//! Subscriptions, at the level of the engine's stream.

use std::{sync::Arc, time::Duration};

use async_graphql::{Request, Response};
use futures_util::{StreamExt, stream::BoxStream};
use serde_json::{Value, json};

use super::world::*;
use crate::{
    api::gql::link::Link,
    domain::{cursor::Cursor, pool::Protocol},
};

/// Starts it: it says where it is.
async fn start(world: &World, query: &str) -> BoxStream<'static, Response> {
    let mut stream = world.schema.execute_stream(query);
    let first = next(&mut stream).await;
    assert!(first.get("kind").is_none_or(|kind| kind == "HEARTBEAT"), "{first}");
    assert!(first.get("data").is_none_or(|data| data == &json!([])), "{first}");
    stream
}

async fn next(stream: &mut BoxStream<'static, Response>) -> Value {
    let value = serde_json::to_value(stream.next().await.unwrap()).unwrap();
    assert_eq!(value.get("errors"), None, "{value:#}");
    value["data"].as_object().unwrap().values().next().unwrap().clone()
}

const SWAPS: &str = "onSwapsCreated { topic seq kind cursor block { number hash timestamp parentHash }
    data { id amount0 amount1 removed block { number } token0 { symbol } pool { id } } }";

#[tokio::test]
async fn a_reorg_takes_swaps_back_newest_first_and_goes_on() {
    let mut world = World::new();
    let base = world.mine(Vec::new());
    let mut stream = start(&world, &format!("subscription {{ {SWAPS} }}")).await;
    world.mine(v2_swap(1_000_000, 1, 10, 10));
    world.mine(v2_swap(2_000_000, 1, 10, 10));
    let first = next(&mut stream).await;
    let second = next(&mut stream).await;
    assert_eq!((&first["kind"], &first["seq"], &first["topic"]), (&json!("UPDATE"), &json!(0), &json!("swaps:31337")));
    let tip = world.reorg(2, vec![Vec::new(), v2_swap(3_000_000, 1, 10, 10), Vec::new()]);
    let retract = next(&mut stream).await;
    assert_eq!(retract["kind"], "RETRACT");
    assert_eq!(retract["seq"], 2);
    assert_eq!(
        retract["block"],
        json!({ "number": base.number, "hash": format!("{:#x}", base.hash), "timestamp": base.timestamp,
                "parentHash": format!("{:#x}", base.parent_hash) })
    );
    let cursor = Cursor::decode(retract["cursor"].as_str().unwrap()).unwrap();
    assert_eq!((cursor.block_number, cursor.block_hash, cursor.next_log_index), (base.number, base.hash, Cursor::BLOCK_END));
    let amounts: Vec<_> = retract["data"].as_array().unwrap().iter().map(|s| s["amount0"].clone()).collect();
    assert_eq!(amounts, ["2", "1"]);
    assert_eq!(retract["data"][0]["id"], second["data"][0]["id"]);
    assert_eq!(retract["data"][0]["removed"], true);
    let update = next(&mut stream).await;
    assert_eq!(
        (&update["kind"], &update["data"][0]["amount0"], &update["data"][0]["removed"]),
        (&json!("UPDATE"), &json!("3"), &json!(false))
    );
    assert_eq!(update["block"]["number"], tip.number);
}

#[tokio::test]
async fn reorgs_are_told_and_nothing_else() {
    let mut world = World::new();
    let mut stream = start(&world, "subscription { onReorg { kind seq block { number } data { number hash } } }").await;
    let (one, two) = (world.mine(Vec::new()), world.mine(Vec::new()));
    world.reorg(2, vec![Vec::new(), Vec::new(), Vec::new()]);
    world.mine(Vec::new());
    let third = world.mine(Vec::new());
    world.reorg(1, vec![Vec::new()]);
    let first = next(&mut stream).await;
    assert_eq!((&first["kind"], &first["block"]["number"]), (&json!("RETRACT"), &json!(one.number - 1)));
    let hashes: Vec<_> = first["data"].as_array().unwrap().iter().map(|b| b["hash"].clone()).collect();
    assert_eq!(hashes, [json!(format!("{:#x}", two.hash)), json!(format!("{:#x}", one.hash))]);
    assert_eq!(next(&mut stream).await["data"][0]["hash"], json!(format!("{:#x}", third.hash)));
}

#[tokio::test]
async fn swaps_can_be_narrowed_to_a_pool_and_a_token() {
    let mut world = World::new();
    world.mine(initialize(96, 0));
    let mut of_pool = start(
        &world,
        &format!(r#"subscription {{ onSwapsCreated(where: {{ pool: "{POOL}" }}) {{ topic data {{ pool {{ id }} }} }} }}"#),
    )
    .await;
    let mut of_odd = start(&world, &format!(r#"subscription {{ onSwapsCreated(where: {{ token: "{ODD}" }}) {{ seq }} }}"#)).await;
    let mut of_token = start(
        &world,
        &format!(r#"subscription {{ onSwapsCreated(where: {{ token: "{WETH}" }}) {{ seq data {{ pool {{ id }} }} }} }}"#),
    )
    .await;
    world.mine(v2_swap(1, 1, 10, 10));
    world.mine(v3_swap(96));
    let frame = next(&mut of_pool).await;
    assert_eq!(frame, json!({ "topic": format!("swaps:31337:{POOL:#x}"), "data": [{ "pool": { "id": format!("{POOL:#x}") } }] }));
    assert_eq!(next(&mut of_token).await["data"][0]["pool"]["id"], format!("{PAIR:#x}"));
    assert_eq!(next(&mut of_token).await["seq"], 1);
    assert!(futures_util::FutureExt::now_or_never(of_odd.next()).is_none());
    let refused = world
        .schema
        .execute_stream(format!(r#"subscription {{ onSwapsCreated(where: {{ origin: "{TRADER}" }}) {{ seq }} }}"#))
        .next()
        .await;
    let refused = serde_json::to_value(refused.unwrap()).unwrap();
    assert_eq!(refused["errors"][0]["extensions"]["code"], "BAD_USER_INPUT");
}

#[tokio::test]
async fn blocks_come_and_are_taken_back() {
    let mut world = World::new();
    let mut stream = start(&world, "subscription { blocks { kind block { number } data { number hash } } }").await;
    let old = world.mine(Vec::new());
    assert_eq!(next(&mut stream).await["data"], json!([{ "number": old.number, "hash": format!("{:#x}", old.hash) }]));
    let new = world.reorg(1, vec![Vec::new(), Vec::new()]);
    let retract = next(&mut stream).await;
    assert_eq!(retract["kind"], "RETRACT");
    assert_eq!(retract["data"], json!([{ "number": old.number, "hash": format!("{:#x}", old.hash) }]));
    assert_eq!(retract["block"]["number"], old.number - 1);
    let update = next(&mut stream).await;
    assert_eq!((&update["kind"], update["data"].as_array().unwrap().len()), (&json!("UPDATE"), 2));
    assert_eq!(update["block"]["number"], new.number);
}

#[tokio::test]
async fn a_pool_starts_with_a_snapshot_and_no_change_is_sent_twice() {
    let mut world = World::new();
    world.mine(v2_swap(1, 1, 100, 200));
    let query = format!(
        r#"subscription {{ onPoolUpdated(ids: ["{PAIR}"]) {{ topic seq kind block {{ number }} data {{ id reserve0 asOf {{ number }} }} }} }}"#
    );
    let mut stream = world.schema.execute_stream(query);
    let snapshot = next(&mut stream).await;
    assert_eq!(
        snapshot,
        json!({ "topic": format!("pool:31337:{PAIR:#x}"), "seq": 0, "kind": "SNAPSHOT", "block": { "number": 2 },
                "data": [{ "id": format!("{PAIR:#x}"), "reserve0": "100", "asOf": { "number": 2 } }] })
    );
    world.mine(v2_swap(1, 1, 101, 199));
    world.mine(v2_swap(1, 1, 102, 198));
    let update = next(&mut stream).await;
    // The frame's block, although a newer one is there already.
    assert_eq!((&update["seq"], &update["kind"], &update["data"][0]["reserve0"]), (&json!(1), &json!("UPDATE"), &json!("101")));
    assert_eq!(update["data"][0]["asOf"]["number"], 3);
    assert_eq!(next(&mut stream).await["data"][0]["reserve0"], "102");
    world.reorg(2, vec![Vec::new()]);
    let retract = next(&mut stream).await;
    assert_eq!((&retract["kind"], &retract["data"][0]["reserve0"]), (&json!("RETRACT"), &json!("100")));
}

#[tokio::test]
async fn a_pool_that_does_not_exist_yet_can_be_waited_for() {
    let mut world = World::new();
    let address = alloy::primitives::Address::repeat_byte(0x42);
    let query = format!(r#"subscription {{ onPoolUpdated(ids: ["{address}", "{PAIR}"]) {{ topic kind data {{ id }} }} }}"#);
    let mut stream = world.schema.execute_stream(query);
    let snapshots = [next(&mut stream).await, next(&mut stream).await];
    let topic = format!("pool:31337:{address:#x}");
    let ours = snapshots.iter().find(|f| f["topic"] == topic.as_str()).unwrap();
    assert_eq!((&ours["kind"], &ours["data"]), (&json!("SNAPSHOT"), &json!([])));
    world.mine(vec![Step::Create(pool_meta(address, Protocol::UniswapV2, USDC, WETH))]);
    let frame = next(&mut stream).await;
    assert_eq!(frame, json!({ "topic": topic, "kind": "UPDATE", "data": [{ "id": format!("{address:#x}") }] }));
    world.reorg(1, vec![Vec::new()]);
    assert_eq!(next(&mut stream).await["data"], json!([]));
}

#[tokio::test]
async fn a_retracted_swap_still_knows_its_pool_when_that_is_taken_back_too() {
    let mut world = World::new();
    let address = alloy::primitives::Address::repeat_byte(0x42);
    let mut stream = start(&world, &format!("subscription {{ {SWAPS} }}")).await;
    world.mine(vec![Step::Create(pool_meta(address, Protocol::UniswapV2, USDC, WETH))]);
    let steps = v2_swap(1_000_000, 1, 10, 10).into_iter().map(|step| match step {
        Step::Log(_, body) => Step::Log(address, body),
        create @ Step::Create(_) => create,
    });
    world.mine(steps.collect());
    let sent = next(&mut stream).await["data"][0].clone();
    world.reorg(2, vec![Vec::new()]);
    let back = next(&mut stream).await["data"][0].clone();
    assert_eq!(back["pool"], Value::Null);
    for field in ["id", "amount0", "amount1", "token0"] {
        assert_eq!(back[field], sent[field], "{field}");
    }
}

#[tokio::test]
async fn a_reader_that_lost_frames_misses_nothing() {
    let mut world = World::new();
    let mut stream = start(&world, "subscription { onSwapsCreated { kind data { amount0Raw } } }").await;
    let all = 2 * crate::store::topics::TOPIC_CAPACITY_FRAMES;
    for n in 0..all {
        world.mine(v2_swap(u64::try_from(n).unwrap(), 1, 10, 10));
    }
    let mut seen = Vec::new();
    while seen.len() < all {
        let frame = next(&mut stream).await;
        seen.extend(frame["data"].as_array().unwrap().iter().map(|swap| swap["amount0Raw"].as_str().unwrap().to_owned()));
    }
    assert!(seen.iter().map(String::as_str).eq((0..all).map(|n| n.to_string()).collect::<Vec<_>>().iter().map(String::as_str)));
}

#[tokio::test]
async fn subscriptions_are_counted_while_they_run() {
    let world = World::new();
    let metrics = &world.state.metrics;
    let stream = start(&world, "subscription { blocks { seq } }").await;
    assert_eq!((metrics.subscriptions.get(), world.live.topics.subscribers()), (1, 1));
    drop(stream);
    assert_eq!((metrics.subscriptions.get(), world.live.topics.subscribers()), (0, 0));
}

#[tokio::test]
async fn wrong_pool_ids_are_refused() {
    let world = World::new();
    for ids in ["[]", r#"["x"]"#] {
        let refused = world.schema.execute_stream(format!("subscription {{ onPoolUpdated(ids: {ids}) {{ seq }} }}")).next().await;
        let refused = serde_json::to_value(refused.unwrap()).unwrap();
        assert_eq!(refused["errors"][0]["extensions"]["code"], "BAD_USER_INPUT", "{refused}");
    }
}

/// Whoever carries a stream puts off its steps: one that did not ask would go before everybody else.
#[tokio::test]
async fn each_step_of_every_subscription_waits_to_be_let_begin() {
    let mut world = World::new();
    world.mine(initialize(96, 0));
    let token = format!("{{ address: \"{WETH}\" }}");
    let quote = format!("{{ tokenIn: \"{USDC}\", tokenOut: \"{WETH}\", amount: \"1000\", type: EXACT_INPUT }}");
    let all = [
        ("blocks", String::new()),
        ("onSwapsCreated", String::new()),
        ("onEventsCreated", String::new()),
        ("onPoolCreated", String::new()),
        ("onReorg", String::new()),
        ("onCandlesUpdated", format!("(pool: \"{PAIR}\", interval: M1)")),
        ("onTokenCandlesUpdated", format!("(token: {token}, interval: M1)")),
        ("onPricesUpdated", format!("(tokens: [{token}])")),
        ("onQuoteUpdated", format!("(input: {quote})")),
        ("onFeedStatus", String::new()),
        ("onPoolUpdated", format!("(ids: [\"{PAIR}\", \"{POOL}\"])")),
    ];
    let known = world.data("{ __schema { subscriptionType { fields { name } } } }").await;
    let mut known: Vec<&str> =
        known["__schema"]["subscriptionType"]["fields"].as_array().unwrap().iter().map(|f| f["name"].as_str().unwrap()).collect();
    let mut tested = all.each_ref().map(|(name, _)| *name).to_vec();
    known.sort_unstable();
    tested.sort_unstable();
    assert_eq!(tested, known);
    for (name, arguments) in all {
        let link = Arc::new(Link::shared());
        let request = Request::new(format!("subscription {{ {name}{arguments} {{ __typename }} }}")).data(link.clone());
        let mut stream = world.schema.execute_stream(request);
        next(&mut stream).await;
        for _ in 0..2 {
            // Whatever it has to begin with is taken: then it rests.
            while let Ok(frame) = tokio::time::timeout(Duration::from_millis(20), stream.next()).await {
                assert!(frame.is_some_and(|frame| frame.errors.is_empty()), "{name}");
            }
            world.mine(v2_swap(1_000_000, 1, 10, 10));
            // Something has happened, or some looks at the clock.
            let is_due = async {
                while !link.is_due() {
                    let frame = tokio::time::timeout(Duration::from_millis(20), stream.next()).await;
                    assert!(frame.is_err(), "{name} does not ask: {frame:?}");
                }
            };
            tokio::time::timeout(Duration::from_secs(20), is_due).await.unwrap_or_else(|_| panic!("{name} has nothing to do"));
            let more = tokio::time::timeout(Duration::from_millis(20), stream.next()).await;
            assert!(more.is_err(), "{name} goes on by itself: {more:?}");
            link.let_begin();
        }
    }
}
