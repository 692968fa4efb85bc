//! Any bytes over a WebSocket, well-formed frames among them: what comes back are frames and messages of the protocol, and it ends with a
//! code that is none of our faults. The whole server is there, on a pipe instead of a port. The clock is paused: deadlines take no time.

use std::{
    cell::Cell,
    io,
    sync::Once,
    time::{Duration, Instant},
};

use axum::{Router, serve::Listener};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::{input::Input, world::in_it};

const UPGRADE: &[u8] =
    b"GET /graphql HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
    sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\nsec-websocket-protocol: graphql-transport-ws\r\n\r\n";
/// Longer than every deadline of a connection together.
const PATIENCE: Duration = Duration::from_secs(600);
/// Of real time: what one input takes.
const WORK_MAX: Duration = Duration::from_secs(20);
const OPERATIONS: [&str; 8] = [
    "subscription { blocks { kind data { number } } }",
    "subscription { onSwapsCreated { kind data { id } } }",
    "subscription { onPoolUpdated(ids: [\"0x00000000000000000000000000000000000000a0\"]) { kind } }",
    "subscription { onFeedStatus { kind } }",
    "{ _meta { block { number } } }",
    "{ nothing }",
    "subscription A { blocks { kind } } query B { __typename }",
    "{",
];
/// How the server may end a connection: RFC 6455 for what is no frame, the protocol for what is no message, and when it has had enough.
const CODES: [u16; 14] = [1000, 1001, 1002, 1003, 1007, 1009, 4400, 4401, 4403, 4406, 4408, 4409, 4429, 4510];

/// One connection.
struct Pipe(Option<DuplexStream>);

impl Listener for Pipe {
    type Io = DuplexStream;
    type Addr = ();

    async fn accept(&mut self) -> (DuplexStream, ()) {
        match self.0.take() {
            Some(stream) => (stream, ()),
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<()> {
        Ok(())
    }
}

/// A letter says what comes next over the wire:
/// `a` `connection_init`, `b` an operation and its id, `c` the end of one, `d` `ping`, `e` `pong`, `f` a text, `g` a text in two pieces,
/// `h` any frame: its first byte, a length and what it holds; `i` bytes that need be no frame, `j` a goodbye with its code.
pub fn socket(data: &[u8]) {
    let panics = panics();
    let began = Instant::now();
    let wire = wire(&mut Input::new(data));
    let heard = in_it(|runtime, router| runtime.block_on(talk(router.clone(), &wire)));
    check(&heard, &wire);
    assert_eq!(self::panics(), panics, "the server panicked");
    assert!(began.elapsed() < WORK_MAX, "it took {:?}", began.elapsed());
}

/// Of this thread, so far: tokio keeps those of its tasks to itself.
fn panics() -> usize {
    static COUNTED: Once = Once::new();
    std::thread_local! {
        static PANICS: Cell<usize> = const { Cell::new(0) };
    }
    COUNTED.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.with(|count| count.set(count.get() + 1));
            before(panic);
        }));
    });
    PANICS.with(Cell::get)
}

fn wire(input: &mut Input<'_>) -> Vec<u8> {
    let mut wire = UPGRADE.to_vec();
    while !input.is_empty() {
        // `a` is 97.
        match (input.byte().wrapping_sub(97)) % 10 {
            0 => frame(&mut wire, 0x81, json!({ "type": "connection_init" }).to_string().as_bytes()),
            1 => {
                let query = OPERATIONS[input.below(OPERATIONS.len())];
                let message = json!({ "type": "subscribe", "id": input.byte().to_string(), "payload": { "query": query } });
                frame(&mut wire, 0x81, message.to_string().as_bytes());
            }
            2 => {
                let message = json!({ "type": "complete", "id": input.byte().to_string() });
                frame(&mut wire, 0x81, message.to_string().as_bytes());
            }
            3 => frame(&mut wire, 0x81, br#"{"type":"ping","payload":{"a":[1]}}"#),
            4 => frame(&mut wire, 0x81, br#"{"type":"pong"}"#),
            5 => frame(&mut wire, 0x81, some(input)),
            6 => {
                let text = some(input);
                let (first, second) = text.split_at(text.len() / 2);
                frame(&mut wire, 0x01, first);
                frame(&mut wire, 0x80, second);
            }
            7 => {
                let first = input.byte();
                frame(&mut wire, first, some(input));
            }
            8 => wire.extend_from_slice(some(input)),
            _ => {
                let code = input.i16().to_be_bytes();
                frame(&mut wire, 0x88, &code);
            }
        }
    }
    wire
}

fn some<'a>(input: &mut Input<'a>) -> &'a [u8] {
    let length = usize::from(input.byte());
    input.take(length)
}

/// As a client writes one: masked, with a mask of zeros.
fn frame(wire: &mut Vec<u8>, first: u8, payload: &[u8]) {
    wire.push(first);
    match u8::try_from(payload.len()) {
        Ok(short @ 0..=125) => wire.push(0x80 | short),
        _ => {
            wire.push(0x80 | 126);
            wire.extend_from_slice(&u16::try_from(payload.len()).expect("none is longer").to_be_bytes());
        }
    }
    wire.extend_from_slice(&[0; 4]);
    wire.extend_from_slice(payload);
}

/// Everything that the server says until it ends the connection. The client does not end it, and answers nothing.
async fn talk(router: Router, wire: &[u8]) -> Vec<u8> {
    let (client, server) = duplex(64 * 1024);
    let serving = tokio::spawn(axum::serve(Pipe(Some(server)), router).into_future());
    let (mut reading, mut writing) = tokio::io::split(client);
    let mut heard = Vec::new();
    let both = async {
        // It may have had enough before it has read everything.
        let (_, read) = tokio::join!(writing.write_all(wire), reading.read_to_end(&mut heard));
        read
    };
    let ended = tokio::time::timeout(PATIENCE, both).await;
    serving.abort();
    ended.expect("it ends").expect("a pipe can be read");
    heard
}

fn check(heard: &[u8], wire: &[u8]) {
    let end = heard.windows(4).position(|four| four == b"\r\n\r\n").expect("an answer to the upgrade");
    let (head, mut rest) = heard.split_at(end + 4);
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(head));
    let (mut acknowledged, mut goodbye) = (false, None);
    while let Some((kind, payload)) = next(&mut rest) {
        assert_eq!(goodbye, None, "nothing comes after a goodbye");
        match kind {
            1 => acknowledged = message(payload, acknowledged),
            8 => goodbye = Some(payload.get(..2).map_or(1000, |code| u16::from_be_bytes([code[0], code[1]]))),
            9 | 10 => assert!(payload.len() <= 125),
            other => panic!("a frame of kind {other}"),
        }
    }
    assert!(rest.is_empty(), "half a frame at the end: {rest:?}");
    // Whoever is silent for long is let go without a word; whoever takes its leave gets its own code back.
    if let Some(code) = goodbye {
        let is_echo = wire.windows(2).any(|two| two == code.to_be_bytes());
        assert!(CODES.contains(&code) || is_echo && ![1005, 1006, 1015].contains(&code), "it ends with {code}");
    }
}

/// A whole frame, as a server writes one: not masked, in one piece.
fn next<'a>(rest: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let [first, second, ..] = **rest else { return None };
    assert_eq!((first & 0xf0, second & 0x80), (0x80, 0), "one piece, no extension, no mask");
    let (header, length): (usize, usize) = match second {
        126 => (4, usize::from(u16::from_be_bytes([*rest.get(2)?, *rest.get(3)?]))),
        127 => (10, usize::try_from(u64::from_be_bytes(rest.get(2..10)?.try_into().ok()?)).ok()?),
        short => (2, usize::from(short)),
    };
    let payload = rest.get(header..header.checked_add(length)?)?;
    *rest = rest.get(header + length..)?;
    Some((first & 0x0f, payload))
}

/// Whether the connection is acknowledged after it.
fn message(text: &[u8], acknowledged: bool) -> bool {
    let message: Value = serde_json::from_slice(text).expect("JSON");
    let id = message["id"].is_string();
    match message["type"].as_str().expect("a type") {
        "connection_ack" => assert!(!acknowledged, "once"),
        "ping" | "pong" => return acknowledged,
        "next" => assert!(acknowledged && id && message["payload"].is_object(), "{message}"),
        "error" => {
            let errors = message["payload"].as_array().expect("errors");
            assert!(acknowledged && id && !errors.is_empty(), "{message}");
            let code = |error: &Value| error["extensions"]["code"].as_str().is_some_and(|code| code != "UPSTREAM_DOWN");
            assert!(errors.iter().all(code), "{message}");
        }
        "complete" => assert!(acknowledged && id, "{message}"),
        other => panic!("{other} is no message of a server"),
    }
    true
}
