//! `/v1/stream`, bytes in and bytes out. The clock is paused: a stream that has nothing to say gives its heartbeat at once.

use std::collections::BTreeMap;

use axum::{
    Router,
    body::{Body, BodyDataStream, to_bytes},
    http::{Request, StatusCode},
};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::{openapi, world::*};
use crate::{
    api::public_router,
    domain::cursor::Cursor,
    store::{conformance::make::Rng, topics::TOPIC_CAPACITY_FRAMES},
};

struct Stream {
    body: BodyDataStream,
    text: String,
}

/// A message's id and frame.
type Message = (Option<String>, Value);

async fn open(router: &Router, query: &str, last_event_id: Option<&str>) -> Stream {
    let mut request = Request::get(format!("/v1/stream?{query}"));
    if let Some(id) = last_event_id {
        request = request.header("last-event-id", id);
    }
    let response = router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    assert_eq!(parts.status, StatusCode::OK);
    assert_eq!(parts.headers["content-type"], "text/event-stream");
    assert_eq!(parts.headers["cache-control"], "no-cache");
    Stream { body: body.into_data_stream(), text: String::new() }
}

impl Stream {
    /// The next message; `None` where the stream ended.
    async fn next(&mut self) -> Option<Message> {
        loop {
            while let Some((message, rest)) = self.text.split_once("\n\n") {
                let line = |name: &str| message.lines().find_map(|l| l.strip_prefix(name)).map(|l| l.trim().to_owned());
                let (id, data) = (line("id:"), line("data:"));
                self.text = rest.to_owned();
                if let Some(data) = data {
                    let frame: Value = serde_json::from_str(&data).unwrap();
                    let shape = json!({ "$ref": "#/components/schemas/Frame" });
                    assert_eq!(openapi::against(openapi::served(), &shape, &frame), Vec::<String>::new(), "{frame}");
                    return Some((id, frame));
                }
            }
            let bytes = self.body.next().await?.unwrap();
            self.text.push_str(std::str::from_utf8(&bytes).unwrap());
        }
    }

    /// Everything up to the next heartbeat.
    async fn rest(&mut self) -> Vec<Message> {
        let mut messages = Vec::new();
        loop {
            let message = self.next().await.unwrap();
            if message.1["kind"] == "HEARTBEAT" {
                return messages;
            }
            messages.push(message);
        }
    }
}

/// What a client holds, topic by topic.
#[derive(Default)]
struct Held {
    lists: BTreeMap<String, Vec<Value>>,
    id: Option<String>,
}

impl Held {
    fn take(&mut self, (id, frame): &Message) {
        let topic = frame["topic"].as_str().unwrap_or_default();
        let list = self.lists.entry(topic.to_owned()).or_default();
        let data = frame["data"].as_array().unwrap().clone();
        match frame["kind"].as_str().unwrap() {
            "SNAPSHOT" => *list = data,
            "UPDATE" => list.extend(data),
            "RETRACT" => {
                for gone in data {
                    let last = list.pop().expect("what is taken back was there");
                    assert_eq!(key(&last), key(&gone), "newest first");
                }
            }
            "ROLLBACK" => {
                let number = frame["block"]["number"].as_u64().unwrap();
                list.retain(|one| one["number"].as_u64().or(one["block"]["number"].as_u64()).unwrap() <= number);
            }
            other => assert_eq!(other, "HEARTBEAT"),
        }
        assert_eq!(frame["cursor"].as_str().map(ToOwned::to_owned), *id);
        if id.is_some() {
            self.id.clone_from(id);
        }
    }

    fn keys(&self, topic: &str) -> Vec<Value> {
        keys(self.lists.get(topic).map_or(&[], Vec::as_slice))
    }

    fn swaps(&self) -> Vec<Value> {
        self.keys(&format!("swaps:{CHAIN}"))
    }
}

fn key(one: &Value) -> Value {
    one.get("id").or(one.get("hash")).unwrap().clone()
}

fn keys(list: &[Value]) -> Vec<Value> {
    list.iter().map(key).collect()
}

async fn truth(router: &Router) -> Vec<Value> {
    let request = Request::get(format!("/v1/{CHAIN}/swaps?order=asc&limit=1000")).body(Body::empty()).unwrap();
    let body = router.clone().oneshot(request).await.unwrap().into_body();
    let answer: Value = serde_json::from_slice(&to_bytes(body, usize::MAX).await.unwrap()).unwrap();
    assert_eq!(answer["cursor"], Value::Null, "one page is all");
    keys(answer["data"].as_array().unwrap())
}

#[tokio::test(start_paused = true)]
async fn frames_say_what_happened_in_order_and_the_last_of_a_change_where_the_stream_is() {
    let mut world = World::new();
    let router = public_router(world.state.clone());
    let mut stream = open(&router, &format!("topics=blocks,swaps,swaps:{CHAIN}:{PAIR:#x},pool:{PAIR:#x}"), None).await;
    let kinds = |messages: &[Message]| -> Vec<(String, String, bool)> {
        let text = |v: &Value| v.as_str().unwrap().split(':').next().unwrap().to_owned();
        messages.iter().map(|(id, f)| (text(&f["topic"]), text(&f["kind"]), id.is_some())).collect()
    };
    let expect = |list: &[(&str, &str, bool)]| -> Vec<(String, String, bool)> {
        list.iter().map(|(t, k, id)| ((*t).to_owned(), (*k).to_owned(), *id)).collect()
    };
    let begin = stream.rest().await;
    assert_eq!(kinds(&begin), expect(&[("blocks", "SNAPSHOT", false), ("pool", "SNAPSHOT", true)]));
    assert_eq!(begin[0].1["data"][0]["number"], world.tip().number);
    assert_eq!(begin[1].1["data"][0]["reserve0"], "0");
    let tip = world.mine(v2_swap(1_000_000, 1, 10, 10));
    let update = stream.rest().await;
    let four = [("blocks", "UPDATE", false), ("swaps", "UPDATE", false), ("swaps", "UPDATE", false), ("pool", "UPDATE", true)];
    assert_eq!(kinds(&update), expect(&four));
    assert_eq!(update[3].1["block"], json!({ "number": tip.number, "hash": format!("{:#x}", tip.hash) }));
    assert_eq!((&update[3].1["data"][0]["reserve0"], &update[3].1["freshness"]), (&json!("10"), &json!("LIVE")));
    let cursor = Cursor::decode(update[3].0.as_deref().unwrap()).unwrap();
    assert_eq!((cursor.block_number, cursor.block_hash), (tip.number, tip.hash));
    world.reorg(1, vec![Vec::new(), v2_swap(2_000_000, 1, 11, 10)]);
    let reorg = kinds(&stream.rest().await);
    let back = [("blocks", "RETRACT", false), ("swaps", "RETRACT", false), ("swaps", "RETRACT", false)];
    assert_eq!(reorg[..3], expect(&back));
    assert!(reorg[3..].iter().all(|(topic, kind, _)| topic == "pool" || kind == "UPDATE"), "{reorg:?}");
    assert!(reorg.iter().rev().skip(1).all(|(.., id)| !id) && reorg.last().unwrap().2, "{reorg:?}");
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_goes_away_and_comes_back_at_random_holds_what_is_true() {
    for seed in 0..60 {
        let mut rng = Rng(seed);
        let mut world = World::new();
        let router = public_router(world.state.clone());
        let mut held = Held::default();
        let mut amount = 0;
        let mut some = |rng: &mut Rng| {
            amount += 1;
            if rng.chance(60) { v2_swap(amount, 1, 10 + u128::from(amount), 10) } else { Vec::new() }
        };
        world.mine(some(&mut rng));
        let mut stream = None;
        for _ in 0..40 {
            let mut open_stream = match stream.take() {
                Some(stream) => stream,
                None => open(&router, "topics=blocks,swaps", held.id.as_deref()).await,
            };
            if held.id.is_none() {
                let (id, frame) = open_stream.next().await.unwrap();
                held.take(&(id, frame));
            }
            for _ in 0..rng.below(4) {
                if rng.chance(30) {
                    let depth = 1 + usize::try_from(rng.below(3)).unwrap();
                    let blocks = (0..rng.below(4) + depth as u64).map(|_| some(&mut rng)).collect();
                    world.reorg(depth.min(usize::try_from(world.tip().number).unwrap() - 2), blocks);
                } else {
                    world.mine(some(&mut rng));
                }
            }
            if rng.chance(50) {
                // Gone in the middle of what there was to say: frames after the last id come again.
                let mut some_more = rng.below(5);
                let mut unsettled = Vec::new();
                while some_more > 0 {
                    some_more -= 1;
                    let message = open_stream.next().await.unwrap();
                    let settled = message.0.is_some();
                    unsettled.push(message);
                    if settled {
                        unsettled.drain(..).for_each(|m| held.take(&m));
                    }
                }
            } else {
                open_stream.rest().await.iter().for_each(|m| held.take(m));
                stream = Some(open_stream);
            }
        }
        let mut last = open(&router, "topics=blocks,swaps", held.id.as_deref()).await;
        last.rest().await.iter().for_each(|m| held.take(m));
        // The swap of the first block is from before the stream began.
        let mut expected = truth(&router).await;
        if held.swaps().len() + 1 == expected.len() {
            expected.remove(0);
        }
        assert_eq!(held.swaps(), expected, "seed {seed}");
        let window = world.live.head().window.clone();
        let blocks = format!("blocks:{CHAIN}");
        let first = held.lists[&blocks][0]["number"].as_u64().unwrap();
        let ours: Vec<Value> =
            window.iter().filter(|r| r.block.number >= first).map(|r| json!(format!("{:#x}", r.block.hash))).collect();
        assert_eq!(held.keys(&blocks), ours, "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_is_too_slow_is_served_from_history_and_misses_nothing() {
    let mut world = World::new();
    let router = public_router(world.state.clone());
    let topics = format!("topics=swaps:{PAIR:#x},blocks,swaps,swaps:{POOL:#x}");
    let mut stream = open(&router, &topics, None).await;
    let mut held = Held::default();
    stream.rest().await.iter().for_each(|m| held.take(m));
    world.mine(initialize(96, 0));
    let blocks = 3 * TOPIC_CAPACITY_FRAMES;
    for i in 1..blocks {
        world.mine(if i % 3 == 0 { v3_swap(96) } else { v2_swap(1, 1, 10 + i as u128, 10) });
    }
    stream.rest().await.iter().for_each(|m| held.take(m));
    let all = truth(&router).await;
    assert_eq!((held.swaps(), all.len()), (all, blocks - 1));
    let [pair, pool] = [PAIR, POOL].map(|pool| held.keys(&format!("swaps:{CHAIN}:{pool:#x}")).len());
    assert_eq!(
        (pair, pool, held.keys(&format!("blocks:{CHAIN}")).len()),
        (blocks - 1 - blocks / 3 + 1, blocks / 3 - 1, 1 + blocks)
    );
}

#[tokio::test(start_paused = true)]
async fn a_cursor_that_is_ahead_waits_and_one_that_nobody_knows_is_rolled_back_to_what_was_final() {
    let mut world = World::new();
    let router = public_router(world.state.clone());
    for i in 0..3 {
        world.mine(v2_swap(1, 1, 10 + i, 10));
    }
    let cursor = |number: u64, hash| Cursor {
        chain: CHAIN,
        block_number: number,
        block_hash: hash,
        next_log_index: Cursor::BLOCK_END,
        finalized_number: 1,
    };
    let tip = world.tip();
    let ahead = cursor(tip.number + 1, block_ref(tip.number + 1, 0, 0).hash).encode();
    let mut stream = open(&router, "topics=swaps", Some(&ahead)).await;
    assert!(stream.rest().await.is_empty(), "it waits");
    world.mine(v2_swap(1, 1, 20, 10));
    assert!(stream.rest().await.is_empty(), "that one the client has");
    world.mine(v2_swap(1, 1, 21, 10));
    assert_eq!(stream.rest().await.len(), 1);

    let unknown = cursor(tip.number, alloy::primitives::B256::repeat_byte(0xee)).encode();
    let mut stream = open(&router, "topics=swaps", Some(&unknown)).await;
    let messages = stream.rest().await;
    assert_eq!((&messages[0].1["kind"], &messages[0].1["block"]["number"]), (&json!("ROLLBACK"), &json!(1)));
    let mut held = Held::default();
    messages.iter().for_each(|m| held.take(m));
    assert_eq!(held.swaps(), truth(&router).await);
    // The place that a ROLLBACK names can be gone back to.
    let mut again = open(&router, "topics=swaps", messages[0].0.as_deref()).await;
    let mut held = Held::default();
    again.rest().await.iter().for_each(|m| held.take(m));
    assert_eq!(held.swaps(), truth(&router).await);
}

#[tokio::test(start_paused = true)]
async fn what_is_behind_does_not_say_that_it_is_live() {
    let mut world = World::new();
    let router = public_router(world.state.clone());
    let tip = world.mine(v2_swap(1, 1, 10, 10));
    let ahead = Cursor {
        chain: CHAIN,
        block_number: tip.number + 5,
        block_hash: alloy::primitives::B256::repeat_byte(1),
        next_log_index: Cursor::BLOCK_END,
        finalized_number: 1,
    };
    let mut waiting = open(&router, "topics=swaps", Some(&ahead.encode())).await;
    let (_, heartbeat) = waiting.next().await.unwrap();
    assert_eq!((&heartbeat["kind"], &heartbeat["freshness"]), (&json!("HEARTBEAT"), &json!("DELAYED")));
    assert_eq!(heartbeat["block"]["number"], tip.number + 5);
    let tip = world.mine(Vec::new());
    let mut live = open(&router, "topics=swaps", None).await;
    let (_, heartbeat) = live.next().await.unwrap();
    assert_eq!((&heartbeat["freshness"], &heartbeat["block"]["number"]), (&json!("LIVE"), &json!(tip.number)));
}

#[tokio::test(start_paused = true)]
async fn old_history_clears_the_blocks_of_a_client_once_and_names_no_block_that_it_has_not_reached() {
    let mut world = World::new();
    let router = public_router(world.state.clone());
    for i in 0..1_200 {
        world.mine(v2_swap(1, 1, 10 + i, 10));
    }
    world.bury();
    let old = Cursor {
        chain: CHAIN,
        block_number: 1,
        block_hash: block_ref(1, 0, 0).hash,
        next_log_index: Cursor::BLOCK_END,
        finalized_number: 1,
    };
    let mut stream = open(&router, "topics=swaps,blocks", Some(&old.encode())).await;
    let frames: Vec<Value> = stream.rest().await.into_iter().map(|(_, frame)| frame).collect();
    let numbers: Vec<u64> = frames.iter().map(|frame| frame["block"]["number"].as_u64().unwrap()).collect();
    assert!(numbers.is_sorted(), "{numbers:?}");
    let blocks: Vec<&Value> = frames.iter().filter(|frame| frame["topic"] == format!("blocks:{CHAIN}")).collect();
    assert_eq!(blocks.iter().map(|frame| &frame["kind"]).collect::<Vec<_>>(), ["SNAPSHOT", "SNAPSHOT"]);
    assert_eq!((&blocks[0]["data"], &blocks[1]["data"][0]["number"]), (&json!([]), &json!(world.tip().number)));
    let swaps: usize = frames.iter().map(|frame| frame["data"].as_array().unwrap().len()).sum();
    assert_eq!(swaps, 1_200 + 1);
}

#[tokio::test(start_paused = true)]
async fn it_ends_when_the_server_stops_and_frees_its_place() {
    let world = World::new();
    let router = public_router(world.state.clone());
    let mut stream = open(&router, "topics=blocks", None).await;
    stream.rest().await;
    assert_eq!(world.state.metrics.streams.get(), 1);
    world.state.draining.cancel();
    assert_eq!(stream.next().await, None);
    drop(stream);
    assert_eq!(world.state.metrics.streams.get(), 0);
}

#[tokio::test]
async fn what_is_wrong_with_topics_is_a_problem() {
    let world = World::new();
    let router = public_router(world.state.clone());
    let other =
        Cursor { chain: 5, block_number: 1, block_hash: alloy::primitives::B256::ZERO, next_log_index: 0, finalized_number: 0 };
    let ahead = Cursor { chain: CHAIN, block_number: 1 << 40, ..other };
    let many = (0..101).map(|n| format!("pool:0x{n:040x}")).collect::<Vec<_>>().join(",");
    for (query, status, says) in [
        (String::new(), 400, "topics"),
        ("topics=".to_owned(), 400, "no topic"),
        ("topics=swap".to_owned(), 400, "`swap` is no topic"),
        ("topics=pool".to_owned(), 400, "`pool` is no topic"),
        ("topics=pool:0x12".to_owned(), 400, "no pool id"),
        ("topics=blocks:1:2".to_owned(), 400, "no pool id"),
        ("topics=swaps:5".to_owned(), 404, "chain 5"),
        (format!("topics=swaps:{TRADER:#x}"), 404, "no pool"),
        (format!("topics=blocks&since={}", ahead.encode()), 400, "the newest block here is 1"),
        (format!("topics={many}"), 400, "1 to 100"),
        ("topics=blocks&since=AAAA".to_owned(), 400, "`since`"),
        (format!("topics=blocks&since={}", other.encode()), 400, "chain 5"),
        ("topics=blocks&from=1".to_owned(), 400, "from"),
    ] {
        let request = Request::get(format!("/v1/stream?{query}")).body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{query}");
        let body: Value = serde_json::from_slice(&to_bytes(response.into_body(), usize::MAX).await.unwrap()).unwrap();
        assert!(body["detail"].as_str().unwrap().contains(says), "{query}: {body}");
    }
}
