//! `graphql-transport-ws` as its specification has it, and RFC 6455 below it.

use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::{client::*, world::*};
use crate::domain::test_support::case_file;

/// Longer than any answer takes, shorter than anybody's patience.
const SOON: Duration = Duration::from_secs(20);

/// One case of the reference; false where it is none that this knows.
async fn case(world: &mut World, url: &str, case: &Value) -> bool {
    let expect = &case["expect"];
    let code = expect["close"].as_u64();
    match case["id"].as_str().unwrap() {
        "init_ack" | "query_single" | "ping_payload" => {
            let mut socket = steps(url, case).await;
            for expected in expect.as_array().unwrap() {
                let message = hear(&mut socket).await;
                let same = |key: &str| expected.get(key).is_none_or(|value| &message[key] == value);
                assert!(same("type") && same("id"), "{message}");
                if expected["payload"].get("data").is_none() {
                    assert!(same("payload"), "{message}");
                } else {
                    assert!(message["payload"]["data"]["__typename"].is_string(), "{message}");
                }
            }
        }
        "init_payload_string" | "init_twice" | "subscribe_before_init" | "not_json" | "empty_id" | "variables_not_object" => {
            let mut socket = steps(url, case).await;
            let (closed, reason) = goodbye(&mut socket).await;
            assert_eq!(Some(u64::from(closed)), code);
            if let Some(expected) = expect["reason"].as_str() {
                assert_eq!(reason, expected);
            }
        }
        "validation_error" => {
            let mut socket = steps(url, case).await;
            let message = hear(&mut socket).await;
            assert_eq!((&message["type"], &message["id"]), (&json!("error"), &json!("e1")));
            assert!(!message["payload"].as_array().unwrap().is_empty());
            quiet(&mut socket).await;
        }
        "dup_id_preparing" => {
            let mut socket = ready(url).await;
            // It waits two seconds for a block that does not come.
            subscribe(&mut socket, "slow", "{ pools(block: { number_gte: 1000000 }) { nodes { id } } }").await;
            subscribe(&mut socket, "slow", "{ __typename }").await;
            assert_eq!(Some(u64::from(close_code(&mut socket).await)), code);
        }
        "client_complete_stops" => {
            let mut socket = ready(url).await;
            subscribe(&mut socket, "x", "subscription { blocks { seq } }").await;
            frame(&mut socket, "x").await;
            say(&mut socket, json!({ "id": "x", "type": "complete" })).await;
            say(&mut socket, json!({ "type": "ping" })).await;
            assert_eq!(hear(&mut socket).await["type"], "pong");
            for _ in 0..5 {
                world.mine(Vec::new());
            }
            quiet(&mut socket).await;
        }
        "complete_unknown_id" => quiet(&mut steps(url, case).await).await,
        "subprotocol_missing" => {
            let mut socket = open(url, "", None).await.unwrap();
            assert_eq!(close_code(&mut socket).await, 4406);
        }
        "legacy_not_mixed" => {
            // The client of the test refuses a handshake that does not agree to what it offered; the server closes in any case.
            match open(url, "graphql-ws", None).await {
                Ok(mut socket) => assert_eq!(close_code(&mut socket).await, 4406),
                Err(Error::Protocol(_)) => {}
                Err(other) => panic!("{other}"),
            }
        }
        // No subscription of ours ends by itself: the end of a stream is tested at the group, where one does.
        "stream_end" => {}
        "many_ids" => {
            let mut socket = ready(url).await;
            for id in 0..1_000 {
                subscribe(&mut socket, &id.to_string(), "subscription { blocks { kind } }").await;
            }
            let mut open: std::collections::BTreeSet<String> = (0..1_000).map(|id| id.to_string()).collect();
            while !open.is_empty() {
                let message = hear(&mut socket).await;
                assert_eq!(message["type"], "next", "{message}");
                open.remove(message["id"].as_str().unwrap());
            }
        }
        _ => return false,
    }
    true
}

/// Says what a case says, step by step.
async fn steps(url: &str, case: &Value) -> Socket {
    let mut socket = open(url, "graphql-transport-ws", None).await.unwrap();
    for step in case["steps"].as_array().unwrap() {
        match step.as_str() {
            Some("recv ack") => assert_eq!(hear(&mut socket).await["type"], "connection_ack"),
            Some(raw) => socket.send(Message::text(raw.strip_prefix("raw: ").unwrap())).await.unwrap(),
            None => say(&mut socket, step.clone()).await,
        }
    }
    socket
}

/// Nothing comes but what is asked for now.
async fn quiet(socket: &mut Socket) {
    say(socket, json!({ "type": "ping", "payload": { "still": "there" } })).await;
    assert_eq!(hear(socket).await, json!({ "type": "pong", "payload": { "still": "there" } }));
}

#[tokio::test]
async fn every_case_of_the_reference_holds() {
    let Some(cases) = case_file("graphql_ws/cases.json") else { return };
    let mut world = World::new();
    let url = listen(&world).await;
    for one in cases["cases"].as_array().unwrap() {
        let held = tokio::time::timeout(SOON, case(&mut world, &url, one)).await;
        assert_eq!(held, Ok(true), "{}: not known, or nothing came", one["id"]);
    }
}

#[tokio::test]
async fn whoever_does_not_begin_is_sent_away() {
    let world = World::new();
    let mut socket = open(&listen(&world).await, "graphql-transport-ws", None).await.unwrap();
    say(&mut socket, json!({ "type": "ping" })).await;
    assert_eq!(hear(&mut socket).await["type"], "pong");
    let (code, reason) = tokio::time::timeout(SOON, goodbye(&mut socket)).await.unwrap();
    assert_eq!((code, reason.as_str()), (4408, "Connection initialisation timeout"));
}

#[tokio::test]
async fn messages_come_no_faster_than_the_limit() {
    let world = World::new();
    let url = listen(&world).await;
    let mut socket = ready(&url).await;
    let mut flood = Box::pin(async {
        loop {
            if socket.send(Message::Ping(Vec::new().into())).await.is_err() {
                break;
            }
        }
        socket
    });
    // It sends until the server has had enough and the connection is over.
    let mut socket = tokio::time::timeout(SOON, &mut flood).await.unwrap();
    let mut closed = None;
    while let Some(Ok(message)) = socket.next().await {
        if let Message::Close(frame) = message {
            closed = frame;
        }
    }
    // The close frame may be lost with the connection of a client that does not stop; the server's own state shows the end.
    assert!(closed.is_none_or(|frame| u16::from(frame.code) == 4429));
    only(&world, 0).await;
    let mut socket = ready(&url).await;
    // Ten seconds' worth at once, and more than what comes meanwhile.
    for _ in 0..5_000 {
        if socket.send(Message::text(r#"{"type":"pong"}"#)).await.is_err() {
            break;
        }
    }
    let closed = tokio::time::timeout(SOON, async {
        loop {
            match socket.next().await {
                Some(Ok(Message::Close(Some(frame)))) => return Some(u16::from(frame.code)),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    });
    assert!(matches!(closed.await, Ok(None | Some(4429))));
}

/// A connection that is open, without a library in between.
async fn raw(url: &str) -> TcpStream {
    let address = url.strip_prefix("ws://").unwrap().split('/').next().unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "GET /graphql HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    assert!(answer.starts_with(b"HTTP/1.1 101"));
    stream
}

/// A masked frame; the mask is zero.
fn bytes(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        short @ 0..126 => frame.push(0x80 | u8::try_from(short).unwrap()),
        medium @ 126..65_536 => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(medium).unwrap().to_be_bytes());
        }
        long => {
            frame.push(0x80 | 127);
            frame.extend(u64::try_from(long).unwrap().to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

/// The code that the server closes with; `None`: without one.
async fn answered(stream: &mut TcpStream) -> Option<u16> {
    loop {
        let opcode = stream.read_u8().await.ok()? & 0x0f;
        let mut length = u64::from(stream.read_u8().await.ok()? & 0x7f);
        if length == 126 {
            length = u64::from(stream.read_u16().await.ok()?);
        }
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        stream.read_exact(&mut payload).await.ok()?;
        if opcode == 8 {
            return payload.first_chunk().map(|code| u16::from_be_bytes(*code));
        }
    }
}

#[tokio::test]
async fn broken_frames_are_answered_with_their_code_and_harm_nobody() {
    let mut world = World::new();
    let url = listen(&world).await;
    let mut other = ready(&url).await;
    subscribe(&mut other, "1", "subscription { blocks { block { number } } }").await;
    frame(&mut other, "1").await;
    let init = br#"{"type":"connection_init"}"#;
    let too_long = {
        // 64 MB are announced and never sent: the length alone is enough.
        let mut frame = vec![0x81, 0x80 | 127];
        frame.extend((64_u64 << 20).to_be_bytes());
        frame.extend([0; 4]);
        frame
    };
    let half: Vec<u8> = [bytes(0x01, &vec![b'a'; 200 * 1024]), bytes(0x80, &vec![b'a'; 200 * 1024])].concat();
    for (what, sent, expected) in [
        ("a message that is too long", too_long, Some(1009)),
        ("one that is too long in two pieces", half, Some(1009)),
        ("text that is no UTF-8", bytes(0x81, &[0xff, 0xfe, 0xfd]), Some(1007)),
        ("binary that is no UTF-8", bytes(0x82, &[0xff, 0xfe, 0xfd]), Some(4400)),
        ("reserved bits", bytes(0xf1, init), Some(1002)),
        ("an opcode that is none", bytes(0x83, init), Some(1002)),
        ("a continuation of nothing", bytes(0x80, init), Some(1002)),
        ("a control frame in pieces", bytes(0x09, b""), Some(1002)),
        ("an empty text", bytes(0x81, b""), Some(4400)),
        ("a frame without a mask", vec![0x81, 0x02, b'{', b'}'], Some(1002)),
        ("deep JSON", bytes(0x81, "[".repeat(100_000).as_bytes()), Some(4400)),
    ] {
        let mut stream = raw(&url).await;
        stream.write_all(&sent).await.unwrap();
        let code = tokio::time::timeout(SOON, answered(&mut stream)).await;
        assert_eq!(code, Ok(expected), "{what}");
    }
    // In pieces, with a ping between them, it is one message.
    let mut stream = raw(&url).await;
    let (first, rest) = init.split_at(9);
    let sent = [bytes(0x01, first), bytes(0x89, b"x"), bytes(0x80, rest), bytes(0x81, init)].concat();
    stream.write_all(&sent).await.unwrap();
    assert_eq!(tokio::time::timeout(SOON, answered(&mut stream)).await, Ok(Some(4429)), "it began, and then twice");
    let block = world.mine(Vec::new());
    assert_eq!(frame(&mut other, "1").await["block"]["number"], block.number);
}

#[tokio::test]
async fn there_are_so_many_connections_and_no_more() {
    let world =
        limited(crate::api::SocketLimits { connections: 3, connections_per_address: 2, operations: 2, ..Default::default() });
    let url = listen(&world).await;
    let (mut first, second) = (ready(&url).await, ready(&url).await);
    let refused = open(&url, "graphql-transport-ws", None).await;
    assert!(
        matches!(refused, Err(Error::Http(answer)) if answer.status() == 503 && answer.headers().contains_key("retry-after"))
    );
    drop(second);
    only(&world, 1).await;
    let mut second = ready(&url).await;
    // One operation too many is refused, and the others go on.
    for id in ["1", "2"] {
        subscribe(&mut second, id, "subscription { blocks { seq } }").await;
        frame(&mut second, id).await;
    }
    subscribe(&mut second, "3", "{ __typename }").await;
    let refused = hear(&mut second).await;
    assert_eq!((&refused["type"], &refused["payload"][0]["extensions"]["code"]), (&json!("error"), &json!("RATE_LIMITED")));
    say(&mut second, json!({ "id": "1", "type": "complete" })).await;
    subscribe(&mut second, "3", "{ __typename }").await;
    assert_eq!(hear(&mut second).await["type"], "next");
    quiet(&mut first).await;
}

#[tokio::test]
async fn a_crowd_comes_in_at_a_pace_and_nobody_is_sent_away() {
    let world = World::new();
    let url = listen(&world).await;
    let began = Instant::now();
    let crowd = futures_util::future::join_all((0..400).map(|_| ready(&url))).await;
    // A hundred at once, the others one every half millisecond.
    assert!(began.elapsed() >= Duration::from_micros(300 * 500), "{:?}", began.elapsed());
    assert_eq!(world.state.metrics.ws_connections.get(), 400);
    drop(crowd);
}
