//! Going through history: paid for, waited for, and no secret where it is.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use alloy::primitives::B256;
use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use futures_util::StreamExt as _;
use serde_json::json;
use tower::ServiceExt as _;

use super::{
    client::*,
    groups::{cursor, swaps},
    world::*,
};
use crate::{
    api::{AccessRules, public_router},
    domain::cursor::Cursor,
};

/// So many in a block; a step is 500.
const SWAPS: u64 = 600;
const NOBODY: &str = "subscription { onEventsCreated(since: { number: 0 }, maker: \"0x00000000000000000000000000000000000000ff\", kinds: [SWAP]) \
                      { kind cursor block { number } data { __typename } } }";

fn long(blocks: usize) -> World {
    let mut world = World::new();
    for _ in 0..blocks {
        world.mine((0..SWAPS).flat_map(|n| v2_swap(n + 1, 1, 10, 10)).collect());
    }
    world.mine(Vec::new());
    world.bury();
    world
}

#[tokio::test]
async fn whoever_wants_nothing_of_a_long_history_hears_how_far_it_is() {
    let world = long(2);
    let url = listen(&world).await;
    let mut socket = ready(&url).await;
    subscribe(&mut socket, "1", NOBODY).await;
    let mut cursors = Vec::new();
    loop {
        let frame = frame(&mut socket, "1").await;
        assert_eq!((&frame["kind"], &frame["data"]), (&json!("HEARTBEAT"), &json!([])));
        cursors.push(cursor(&frame));
        if frame["block"]["number"] == world.tip().number {
            break;
        }
    }
    assert!(cursors.len() >= 3, "1,200 swaps are at least three steps: {cursors:?}");
    // It can go on from any of them.
    let mut socket = ready(&url).await;
    let resumed = NOBODY.replace("since: { number: 0 }", &format!("resumeFrom: \"{}\"", cursors[1]));
    subscribe(&mut socket, "2", &resumed).await;
    let next = frame(&mut socket, "2").await;
    assert_eq!(cursor(&next), cursors[2]);
}

#[tokio::test]
async fn a_step_through_history_is_paid_for_also_where_it_finds_nothing() {
    let mut world = long(20);
    let rules = AccessRules { cost_per_second: 200, cost_burst: 200, ..AccessRules::default() };
    Arc::get_mut(&mut world.state).unwrap().access = rules;
    let url = listen(&world).await;
    let mut socket = ready(&url).await;
    let began = Instant::now();
    subscribe(&mut socket, "1", NOBODY).await;
    // Nobody is refused: it comes later.
    while frame(&mut socket, "1").await["block"]["number"] != world.tip().number {}
    // 24 steps of 20 points each, of which 200 were there at the beginning.
    assert!(began.elapsed() >= Duration::from_millis(1_200), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_stream_of_server_sent_events_pays_for_its_history_too() {
    let mut world = long(1);
    // What is spent comes back so slowly that this test does not notice.
    let rules = AccessRules { cost_per_second: 1, cost_burst: 40, ..AccessRules::default() };
    Arc::get_mut(&mut world.state).unwrap().access = rules;
    let router = public_router(world.state.clone());
    let ask = |path: String| router.clone().oneshot(Request::get(path).body(Body::empty()).unwrap());
    let cursor =
        Cursor { chain: CHAIN, block_number: 0, block_hash: B256::ZERO, next_log_index: Cursor::BLOCK_END, finalized_number: 0 };
    // One step, and nothing of this pool is found by it: that it is there is said in less than a kB.
    let response = ask(format!("/v1/stream?topics=pool:{POOL}&since={}", cursor.encode())).await.unwrap();
    let mut body = response.into_body().into_data_stream();
    let mut text = String::new();
    while !text.contains("SNAPSHOT") {
        text.push_str(std::str::from_utf8(&body.next().await.unwrap().unwrap()).unwrap());
    }
    let mut answered = 0;
    while ask(format!("/v1/{CHAIN}/_meta")).await.unwrap().status() == StatusCode::OK {
        answered += 1;
    }
    // 40 points: one for the stream, 20 for the step, one for each answer, and one or two that came back.
    assert!((15..=21).contains(&answered), "{answered}");
}

#[tokio::test]
async fn a_stream_of_server_sent_events_pays_for_what_it_is_told_alone() {
    let mut world = World::new();
    let before = world.mine(Vec::new());
    world.mine((0..SWAPS).flat_map(|n| v2_swap(n + 1, 1, 10, 10)).collect());
    let rules = AccessRules { cost_per_second: 1, cost_burst: 200, ..AccessRules::default() };
    Arc::get_mut(&mut world.state).unwrap().access = rules;
    let router = public_router(world.state.clone());
    let ask = |path: String| router.clone().oneshot(Request::get(path).body(Body::empty()).unwrap());
    let stream = async |path: String, end: &str| {
        let mut body = ask(path).await.unwrap().into_body().into_data_stream();
        let mut text = String::new();
        while !text.contains(end) {
            text.push_str(std::str::from_utf8(&body.next().await.unwrap().unwrap()).unwrap());
        }
    };
    let meta = || ask(format!("/v1/{CHAIN}/_meta"));
    // At the head there is little to say.
    stream("/v1/stream?topics=swaps,blocks".to_owned(), "\"kind\":\"SNAPSHOT\"").await;
    assert_eq!(meta().await.unwrap().status(), StatusCode::OK);
    // All of it is in memory; 600 swaps are more than 200 kB all the same.
    let cursor = Cursor {
        chain: CHAIN,
        block_number: before.number,
        block_hash: before.hash,
        next_log_index: Cursor::BLOCK_END,
        finalized_number: 0,
    };
    stream(format!("/v1/stream?topics=swaps&since={}", cursor.encode()), "\"amount0Raw\"").await;
    assert_eq!(meta().await.unwrap().status(), StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn a_query_is_answered_while_streams_of_the_same_connection_wait_for_their_chain() {
    let world = long(1);
    let url = listen(&world).await;
    let mut socket = ready(&url).await;
    // Where another replica was; this one has to get there first.
    let tip = world.tip();
    let ahead = Cursor {
        chain: CHAIN,
        block_number: tip.number + 5,
        block_hash: B256::repeat_byte(0xee),
        next_log_index: Cursor::BLOCK_END,
        finalized_number: 0,
    };
    for id in ["1", "2", "3", "4"] {
        subscribe(&mut socket, id, &swaps(&format!("(resumeFrom: \"{}\")", ahead.encode()))).await;
    }
    subscribe(&mut socket, "5", "{ __typename }").await;
    let answer = tokio::time::timeout(Duration::from_secs(20), hear(&mut socket)).await.expect("it does not wait for them");
    assert_eq!((&answer["id"], &answer["type"]), (&json!("5"), &json!("next")), "{answer}");
}

#[tokio::test]
async fn a_reorg_that_took_back_nothing_of_interest_is_not_heard_of() {
    let mut world = World::new();
    let url = listen(&world).await;
    world.mine(v2_swap(1, 1, 10, 10));
    world.mine(Vec::new());
    let mut socket = ready(&url).await;
    subscribe(&mut socket, "1", &swaps("")).await;
    let last = cursor(&frame(&mut socket, "1").await);
    drop(socket);
    world.reorg(1, vec![Vec::new(), v2_swap(2, 1, 10, 10), Vec::new()]);
    let mut socket = ready(&url).await;
    subscribe(&mut socket, "1", &swaps(&format!("(resumeFrom: \"{last}\")"))).await;
    // A HEARTBEAT says that it has arrived: there is none on the way.
    let frames = [frame(&mut socket, "1").await, frame(&mut socket, "1").await];
    let told = frames.each_ref().map(|frame| (frame["kind"].as_str().unwrap(), frame["block"]["number"].as_u64().unwrap()));
    assert_eq!(told, [("UPDATE", world.tip().number), ("HEARTBEAT", world.tip().number)]);
}
