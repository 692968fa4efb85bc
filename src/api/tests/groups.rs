//! Subscriptions that are shared, resumed, and too slow: over real sockets.

use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::{client::*, world::*};
use crate::domain::cursor::Cursor;

const SWAPS: &str = "onSwapsCreated { kind cursor block { number hash } data { id amount0Raw block { number } } }";

pub(super) fn swaps(arguments: &str) -> String {
    format!("subscription {{ {} }}", SWAPS.replacen("Created", &format!("Created{arguments}"), 1))
}

fn amounts(frame: &Value) -> Vec<String> {
    frame["data"].as_array().unwrap().iter().map(|swap| swap["amount0Raw"].as_str().unwrap().to_owned()).collect()
}

pub(super) fn cursor(frame: &Value) -> String {
    frame["cursor"].as_str().unwrap().to_owned()
}

/// Frames until the subscription has arrived at the head.
async fn until_heartbeat(socket: &mut Socket, id: &str) -> Vec<Value> {
    let mut frames = Vec::new();
    loop {
        let one = frame(socket, id).await;
        let arrived = one["kind"] == "HEARTBEAT";
        frames.push(one);
        if arrived {
            return frames;
        }
    }
}

#[tokio::test]
async fn what_is_the_same_is_executed_once() {
    let mut world = World::new();
    let url = listen(&world).await;
    let metrics = world.state.metrics.clone();
    let mut sockets = Vec::new();
    for n in 0..5 {
        let mut socket = ready(&url).await;
        let query = format!("{}subscription {{ blocks  {{ kind, block {{ number }} seq }} }} # {n}", "\n".repeat(n));
        subscribe(&mut socket, &format!("id{n}"), &query).await;
        assert_eq!(frame(&mut socket, &format!("id{n}")).await["kind"], "HEARTBEAT");
        sockets.push(socket);
    }
    let (made, sent) = (metrics.frames_made_total.get(), metrics.frames_sent_total.get());
    for _ in 0..3 {
        let block = world.mine(Vec::new());
        let mut seqs = Vec::new();
        for (n, socket) in sockets.iter_mut().enumerate() {
            let frame = frame(socket, &format!("id{n}")).await;
            assert_eq!(frame["block"]["number"], block.number);
            seqs.push(frame["seq"].clone());
        }
        assert!(seqs.iter().all(|seq| *seq == seqs[0]), "they are the same bytes: {seqs:?}");
    }
    assert_eq!((metrics.frames_made_total.get() - made, metrics.frames_sent_total.get() - sent), (3, 15));
    assert_eq!(world.live.topics.subscribers(), 1);
    // The last one to leave ends it.
    for (n, mut socket) in sockets.into_iter().enumerate() {
        if n % 2 == 0 {
            say(&mut socket, json!({ "id": format!("id{n}"), "type": "complete" })).await;
            say(&mut socket, json!({ "type": "ping" })).await;
            assert_eq!(hear(&mut socket).await["type"], "pong");
        }
    }
    only(&world, 0).await;
    while world.live.topics.subscribers() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn whoever_resumes_gets_what_was_missed_and_joins_the_others() {
    let mut world = World::new();
    let url = listen(&world).await;
    let mut other = ready(&url).await;
    subscribe(&mut other, "1", &swaps("")).await;
    frame(&mut other, "1").await;
    world.mine(v2_swap(1, 1, 10, 10));
    let seen = frame(&mut other, "1").await;
    world.mine(v2_swap(2, 1, 10, 10));
    world.mine(v2_swap(3, 1, 10, 10));
    world.bury();
    world.mine(v2_swap(4, 1, 10, 10));
    for (payload, arguments) in [
        (json!({}), format!("(resumeFrom: \"{}\")", cursor(&seen))),
        (json!({ "resume": { "x": cursor(&seen) } }), String::new()),
    ] {
        let mut socket = open(&url, "graphql-transport-ws", None).await.unwrap();
        say(&mut socket, json!({ "type": "connection_init", "payload": payload })).await;
        hear(&mut socket).await;
        let made = world.state.metrics.frames_made_total.get();
        subscribe(&mut socket, "x", &swaps(&arguments)).await;
        let frames = until_heartbeat(&mut socket, "x").await;
        assert!(world.state.metrics.frames_made_total.get() > made, "it looked by itself");
        assert_eq!(frames.iter().flat_map(amounts).collect::<Vec<_>>(), ["2", "3", "4"]);
        // The same document twice on a connection: one from the head on, with it.
        subscribe(&mut socket, "y", &swaps("")).await;
        frame(&mut socket, "y").await;
        while world.live.topics.subscribers() > 1 {
            tokio::task::yield_now().await;
        }
        let made = world.state.metrics.frames_made_total.get();
        world.mine(v2_swap(5, 1, 10, 10));
        for id in ["x", "y"] {
            let frame = hear(&mut socket).await;
            assert_eq!(amounts(&frame["payload"]["data"]["onSwapsCreated"]), ["5"], "{id}: {frame}");
        }
        assert_eq!(world.state.metrics.frames_made_total.get() - made, 1, "all three share it");
        world.reorg(1, vec![Vec::new()]);
    }
    // The other one saw everything as it happened.
    let mut all = Vec::new();
    while all.len() < 3 {
        all.extend(amounts(&frame(&mut other, "1").await));
    }
    assert_eq!(all, ["2", "3", "4"]);
}

#[tokio::test]
async fn a_reorg_while_away_is_a_retract_newest_first_and_then_what_came_instead() {
    let mut world = World::new();
    let url = listen(&world).await;
    world.mine(v2_swap(1, 1, 10, 10));
    let base = world.tip();
    let mut socket = ready(&url).await;
    subscribe(&mut socket, "1", &swaps("(since: { number: 0 })")).await;
    assert_eq!(until_heartbeat(&mut socket, "1").await.iter().flat_map(amounts).collect::<Vec<_>>(), ["1"]);
    world.mine(v2_swap(2, 1, 10, 10).into_iter().chain(v2_swap(3, 1, 10, 10)).collect());
    world.mine(v2_swap(4, 1, 10, 10));
    frame(&mut socket, "1").await;
    let last = cursor(&frame(&mut socket, "1").await);
    drop(socket);
    world.reorg(2, vec![v2_swap(5, 1, 10, 10), Vec::new(), v2_swap(6, 1, 10, 10)]);
    let mut socket = ready(&url).await;
    subscribe(&mut socket, "1", &swaps(&format!("(resumeFrom: \"{last}\")"))).await;
    let frames = until_heartbeat(&mut socket, "1").await;
    let told: Vec<(&str, Vec<String>)> = frames.iter().map(|f| (f["kind"].as_str().unwrap(), amounts(f))).collect();
    let text = |all: &[&str]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(told, [("RETRACT", text(&["4", "3", "2"])), ("UPDATE", text(&["5", "6"])), ("HEARTBEAT", text(&[]))]);
    assert_eq!(frames[0]["block"], json!({ "number": base.number, "hash": format!("{:#x}", base.hash) }));
    // A cursor within a block: what came before it in that block was seen, and only that is taken back.
    let position = Cursor::decode(&last).unwrap();
    let orphan = world.live.record(&position.block_hash).unwrap();
    let parent = world.live.record(&orphan.block.parent_hash).unwrap();
    let within = Cursor { block_number: parent.block.number, block_hash: parent.block.hash, next_log_index: 3, ..position };
    subscribe(&mut socket, "2", &swaps(&format!("(resumeFrom: \"{}\")", within.encode()))).await;
    let first = frame(&mut socket, "2").await;
    assert_eq!((&first["kind"], amounts(&first)), (&json!("RETRACT"), text(&["2"])));
}

#[tokio::test]
async fn a_branch_that_nobody_remembers_is_rolled_back() {
    let mut world = World::new();
    let url = listen(&world).await;
    world.mine(v2_swap(1, 1, 10, 10));
    let known = world.live.pin().cursor().unwrap();
    world.mine(v2_swap(2, 1, 10, 10));
    let unknown =
        Cursor { block_number: known.block_number + 1, block_hash: alloy::primitives::B256::repeat_byte(0xee), ..known };
    let mut socket = ready(&url).await;
    subscribe(&mut socket, "1", &swaps(&format!("(resumeFrom: \"{}\")", unknown.encode()))).await;
    let frames = until_heartbeat(&mut socket, "1").await;
    let told: Vec<(&str, Vec<String>)> = frames.iter().map(|f| (f["kind"].as_str().unwrap(), amounts(f))).collect();
    assert_eq!(told[0], ("ROLLBACK", Vec::new()));
    assert_eq!(frames[0]["block"]["number"], known.finalized_number);
    assert_ne!(frames[0]["block"]["hash"], format!("{:#x}", alloy::primitives::B256::ZERO), "an answer has its block");
    assert_eq!(told[1], ("UPDATE", vec!["1".to_owned(), "2".to_owned()]));
}

#[tokio::test]
async fn a_cursor_that_is_too_old_is_told_the_oldest_that_works() {
    let mut world = World::new();
    let url = listen(&world).await;
    let old = world.live.pin().cursor().unwrap();
    world.bury();
    world.mine(Vec::new());
    let mut socket = ready(&url).await;
    let blocks = |cursor: &str| format!("subscription {{ blocks(resumeFrom: \"{cursor}\") {{ kind data {{ number }} }} }}");
    subscribe(&mut socket, "1", &blocks(&old.encode())).await;
    let refused = hear(&mut socket).await;
    assert_eq!((&refused["type"], &refused["payload"][0]["extensions"]["code"]), (&json!("error"), &json!("CURSOR_EXPIRED")));
    let oldest = refused["payload"][0]["extensions"]["cursor"].as_str().unwrap().to_owned();
    subscribe(&mut socket, "2", &blocks(&oldest)).await;
    let update = frame(&mut socket, "2").await;
    assert_eq!(update["data"].as_array().unwrap().last().unwrap()["number"], world.tip().number);
    for (cursor, code) in [("nonsense", "BAD_USER_INPUT"), (&Cursor { chain: 1, ..old }.encode(), "BAD_USER_INPUT")] {
        subscribe(&mut socket, "3", &blocks(cursor)).await;
        loop {
            let message = hear(&mut socket).await;
            if message["id"] == "3" {
                assert_eq!((&message["type"], &message["payload"][0]["extensions"]["code"]), (&json!("error"), &json!(code)));
                break;
            }
        }
    }
}

#[tokio::test]
async fn since_begins_at_a_block_and_walks_into_live() {
    let mut world = World::new();
    let url = listen(&world).await;
    world.mine(v2_swap(1, 1, 10, 10));
    world.mine(v2_swap(2, 1, 10, 10));
    let block = world.tip();
    world.bury();
    world.mine(v2_swap(3, 1, 10, 10));
    let tip = world.tip();
    let mut socket = ready(&url).await;
    for (id, since, expected) in [
        ("a", format!("{{ number: {} }}", block.number), vec!["2", "3"]),
        ("b", format!("{{ hash: \"{:#x}\" }}", tip.hash), vec!["3"]),
        ("c", format!("{{ number_gte: {} }}", tip.number + 1), vec![]),
        ("d", "{ number: 0 }".to_owned(), vec!["1", "2", "3"]),
    ] {
        subscribe(&mut socket, id, &swaps(&format!("(since: {since})"))).await;
        assert_eq!(until_heartbeat(&mut socket, id).await.iter().flat_map(amounts).collect::<Vec<_>>(), expected, "{since}");
        say(&mut socket, json!({ "id": id, "type": "complete" })).await;
    }
    for (since, code) in [
        (format!("{{ hash: \"{:#x}\" }}", alloy::primitives::B256::repeat_byte(9)), "REORGED"),
        ("{}".to_owned(), "BAD_USER_INPUT"),
        ("{ number: 1, number_gte: 1 }".to_owned(), "BAD_USER_INPUT"),
    ] {
        subscribe(&mut socket, "e", &swaps(&format!("(since: {since})"))).await;
        let message = hear(&mut socket).await;
        assert_eq!((&message["type"], &message["payload"][0]["extensions"]["code"]), (&json!("error"), &json!(code)), "{since}");
    }
}

/// Until the server has closed the connection: its code and reason.
async fn closed(mut socket: Socket) -> (u16, String, Option<String>) {
    let mut last = None;
    while let Some(Ok(message)) = socket.next().await {
        match message {
            tokio_tungstenite::tungstenite::Message::Text(text) => {
                let message: Value = serde_json::from_str(&text).unwrap();
                last = Some(cursor(message["payload"]["data"].as_object().unwrap().values().next().unwrap()));
            }
            tokio_tungstenite::tungstenite::Message::Close(Some(frame)) => {
                return (frame.code.into(), frame.reason.to_string(), last);
            }
            _ => {}
        }
    }
    panic!("it ended without a word");
}

/// Subscribed to all swaps, from where the first frame says.
async fn of_swaps(url: &str) -> Socket {
    let mut socket = ready(url).await;
    subscribe(&mut socket, "1", &swaps("")).await;
    frame(&mut socket, "1").await;
    socket
}

/// A block of 200 swaps.
fn busy() -> Vec<Step> {
    (0..200).flat_map(|n| v2_swap(n + 1, 1, 10, 10)).collect()
}

#[tokio::test]
async fn events_are_never_left_out_whoever_is_too_slow_is_closed_with_its_last_cursor() {
    let mut world = World::new();
    let url = listen(&world).await;
    let (slow, mut quick) = (of_swaps(&url).await, of_swaps(&url).await);
    let mut blocks = 0;
    while world.state.metrics.slow_consumers_total.get() == 0 {
        world.mine(busy());
        blocks += 1;
        assert_eq!(amounts(&frame(&mut quick, "1").await).len(), 200);
        assert!(blocks < 3_000, "nobody was too slow");
    }
    let (code, reason, last) = closed(slow).await;
    assert_eq!((code, reason.strip_prefix("SLOW_CONSUMER ")), (4510, last.as_deref()), "{reason}");
    // From there nothing is missing.
    let mut again = ready(&url).await;
    subscribe(&mut again, "1", &swaps(&format!("(resumeFrom: \"{}\")", last.unwrap()))).await;
    let rest = until_heartbeat(&mut again, "1").await;
    let first = rest[0]["data"][0]["block"]["number"].as_u64().unwrap();
    let told = rest.iter().flat_map(|f| f["data"].as_array().unwrap()).count();
    assert_eq!(told as u64, (world.tip().number - first + 1) * 200);
    world.mine(busy());
    assert_eq!(frame(&mut quick, "1").await["block"]["number"], world.tip().number);
}

#[tokio::test]
async fn whoever_reads_but_too_slowly_gets_every_event_up_to_the_one_that_its_goodbye_names() {
    let mut world = World::new();
    let url = listen(&world).await;
    let (mut slow, mut quick) = (of_swaps(&url).await, of_swaps(&url).await);
    let begin = world.tip().number + 1;
    let (mut told, mut last) = (Vec::new(), String::new());
    // One frame for every four that others read: it is always taking something, and never enough.
    while world.state.metrics.slow_consumers_total.get() == 0 {
        for _ in 0..4 {
            world.mine(busy());
            frame(&mut quick, "1").await;
        }
        let one = frame(&mut slow, "1").await;
        told.push(one["block"]["number"].as_u64().unwrap());
        last = cursor(&one);
        assert!(told.len() < 1_000, "it was never too slow");
    }
    // What had been written by then is read, and then the goodbye.
    let reason = loop {
        match slow.next().await.expect("it says why").unwrap() {
            Message::Text(text) => {
                let message: Value = serde_json::from_str(&text).unwrap();
                let one = &message["payload"]["data"]["onSwapsCreated"];
                assert_eq!(amounts(one).len(), 200);
                told.push(one["block"]["number"].as_u64().unwrap());
                last = cursor(one);
            }
            Message::Close(Some(frame)) => break (u16::from(frame.code), frame.reason.to_string()),
            other => assert!(matches!(other, Message::Ping(_)), "{other:?}"),
        }
    };
    assert_eq!(reason, (4510, format!("SLOW_CONSUMER {last}")));
    assert_eq!(told, (begin..begin + told.len() as u64).collect::<Vec<_>>(), "one after the other");
    assert!(told.len() as u64 + begin <= world.tip().number, "it was behind");
}

#[tokio::test]
async fn of_states_only_the_newest_is_kept_for_whoever_is_slow() {
    let mut world = World::new();
    let url = listen(&world).await;
    let mut slow = ready(&url).await;
    // So many fields that what the kernel holds is soon full.
    let many: String = (0..240).map(|n| format!("f{n}: id ")).collect();
    let query = format!(r#"subscription {{ onPoolUpdated(ids: ["{PAIR}"]) {{ kind data {{ reserve0 {many} }} }} }}"#);
    subscribe(&mut slow, "1", &query).await;
    assert_eq!(frame(&mut slow, "1").await["kind"], "SNAPSHOT");
    let blocks = 2_000_u128;
    for n in 1..=blocks {
        world.mine(v2_swap(1, 1, n, 10));
        tokio::task::yield_now().await;
    }
    let (mut told, mut skipped, mut newest) = (0, 0, 0);
    while newest < blocks {
        let message = hear(&mut slow).await;
        told += 1;
        skipped += message["payload"]["extensions"]["skipped"].as_u64().unwrap_or(0);
        let reserve =
            message["payload"]["data"]["onPoolUpdated"]["data"][0]["reserve0"].as_str().unwrap().parse::<u128>().unwrap();
        assert!(reserve > newest, "it does not go back");
        newest = reserve;
    }
    assert!(skipped > 0, "all {told} came");
    assert_eq!(told + u128::from(skipped), blocks, "what was left out is counted");
    assert_eq!(world.state.metrics.slow_consumers_total.get(), 0);
}

#[tokio::test]
async fn a_hundred_pools_begin_with_a_snapshot_each() {
    let mut world = World::new();
    let url = listen(&world).await;
    let ids: Vec<String> = (0..100_u8).map(|n| format!("\"{:#x}\"", alloy::primitives::Address::repeat_byte(n))).collect();
    let query = format!("subscription {{ onPoolUpdated(ids: [{}]) {{ kind topic }} }}", ids.join(","));
    let mut socket = ready(&url).await;
    for id in ["first", "second"] {
        subscribe(&mut socket, id, &query).await;
        let mut topics = std::collections::BTreeSet::new();
        while topics.len() < 100 {
            let one = frame(&mut socket, id).await;
            assert_eq!(one["kind"], "SNAPSHOT");
            assert!(topics.insert(one["topic"].as_str().unwrap().to_owned()), "told twice: {one}");
        }
    }
    world.mine(Vec::new());
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_finds_nothing_says_where_it_is_all_the_same() {
    let mut world = World::new();
    let mut stream = world.schema.execute_stream("subscription { onReorg { kind block { number } } }");
    let mut next = async || serde_json::to_value(stream.next().await.unwrap()).unwrap()["data"]["onReorg"].clone();
    assert_eq!(next().await["kind"], "HEARTBEAT");
    // Blocks come all the time, and none is taken back.
    for _ in 0..3 {
        for _ in 0..10 {
            world.mine(Vec::new());
        }
        let beat = next().await;
        assert_eq!((&beat["kind"], &beat["block"]["number"]), (&json!("HEARTBEAT"), &json!(world.tip().number)));
    }
}
