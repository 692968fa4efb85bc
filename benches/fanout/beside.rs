//! What others do to a server while its clients are measured, in a process of its own at the lowest priority: where cores are few, the work
//! of whoever attacks would otherwise be what is measured.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, client::IntoClientRequest as _},
};

use crate::http::{Killed, Result};

pub(crate) const BESIDE: &str = "--beside-run";
/// Something that hardly ever happens: whoever comes is no load once it is there.
const QUIET: &str = "subscription { onReorg { kind } }";
/// Whatever is not answered in this time is given up.
const PATIENCE: Duration = Duration::from_secs(20);
/// Different subscriptions of one connection.
const SUBSCRIPTIONS: usize = 1_000;
/// Malformed frames, and documents, a second.
const PER_SECOND: f64 = 500.0;
/// Pings of one flood.
const FLOOD: usize = 2_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// So many connect at once, subscribe to something quiet, and stay.
    Crowd,
    /// One connection after the other that subscribes to a thousand different things.
    Subscriptions,
    /// Frames that no protocol knows, each on a connection of its own.
    Malformed,
    /// Documents that would cost much if they were executed.
    Documents,
    /// Work that has nothing to do with the server: what it costs the clients that cores are busy.
    Busy,
}

/// What is to be done, to whom, for how long.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(crate) struct Beside {
    pub(crate) kind: Kind,
    /// `127.0.0.1:PORT`.
    pub(crate) address: String,
    pub(crate) crowd: usize,
    /// What the measured clients subscribe to.
    pub(crate) query: String,
    pub(crate) seconds: f64,
}

/// Attempts, and how they ended.
#[derive(Default)]
struct Done {
    tried: AtomicU64,
    /// As they should: let in, closed or refused in words.
    ended: AtomicU64,
    /// Neither answered nor closed in time, or not even let in to try.
    odd: AtomicU64,
}

impl Done {
    fn count(&self, as_it_should: bool) {
        self.tried.fetch_add(1, Ordering::Relaxed);
        if as_it_should { &self.ended } else { &self.odd }.fetch_add(1, Ordering::Relaxed);
    }
}

/// The other end.
pub(super) struct Neighbour {
    process: Killed,
    lines: BufReader<std::process::ChildStdout>,
}

impl Neighbour {
    /// What it did. Whoever stays stays until this is dropped.
    pub(super) fn told(&mut self) -> Result<Value> {
        let mut line = String::new();
        if self.lines.read_line(&mut line)? == 0 {
            let ended = self.process.0.try_wait()?;
            return Err(format!("what goes on beside ended: {ended:?}; more open files may be needed (ulimit -n)").into());
        }
        Ok(serde_json::from_str(&line)?)
    }
}

impl Beside {
    pub(super) fn start(&self) -> Result<Neighbour> {
        let mut child = Command::new("nice")
            .args(["-n", "19"])
            .arg(std::env::current_exe()?)
            .args([BESIDE, &serde_json::to_string(self)?])
            .stdout(Stdio::piped())
            .spawn()?;
        let lines = BufReader::new(child.stdout.take().ok_or("no output")?);
        Ok(Neighbour { process: Killed(child), lines })
    }

    /// In the process of its own.
    pub(crate) fn run(self) -> Result<()> {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(async {
            let (beside, done, began) = (Arc::new(self), Arc::new(Done::default()), Instant::now());
            let until = began + Duration::from_secs_f64(beside.seconds);
            let mut staying = Vec::new();
            let mut all_in_ms = None;
            match beside.kind {
                Kind::Crowd => {
                    staying = beside.clone().crowd(&done).await;
                    all_in_ms = Some(began.elapsed().as_secs_f64() * 1e3);
                    tokio::time::sleep_until(until).await;
                }
                Kind::Subscriptions => beside.subscriptions(&done, until).await,
                Kind::Malformed | Kind::Documents => beside.clone().at_a_rate(&done, until).await,
                Kind::Busy => busy(until),
            }
            let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
            let (tried, ended, odd) = (of(&done.tried), of(&done.ended), of(&done.odd));
            println!("{}", json!({ "tried": tried, "ended": ended, "odd": odd, "all_in_ms": all_in_ms }));
            std::future::pending::<()>().await;
            drop(staying);
            Ok(())
        })
    }

    async fn subscribed(&self, queries: impl Iterator<Item = String>) -> Result<WebSocketStream<TcpStream>> {
        let mut request = format!("ws://{}/graphql", self.address).into_client_request()?;
        request.headers_mut().insert("sec-websocket-protocol", "graphql-transport-ws".parse()?);
        let stream = TcpStream::connect(&self.address).await?;
        let (mut socket, _) = tokio_tungstenite::client_async(request, stream).await?;
        socket.send(Message::text(r#"{"type":"connection_init"}"#)).await?;
        socket.next().await.ok_or("closed")??;
        for (id, query) in queries.enumerate() {
            let id = (id + 1).to_string();
            let text = json!({ "id": id, "type": "subscribe", "payload": { "query": query } }).to_string();
            socket.feed(Message::text(text)).await?;
        }
        socket.flush().await?;
        Ok(socket)
    }

    /// Returns once all have subscribed and heard something.
    async fn crowd(self: Arc<Self>, done: &Arc<Done>) -> Vec<WebSocketStream<TcpStream>> {
        let all = (0..self.crowd).map(|_| {
            let (beside, done) = (self.clone(), done.clone());
            tokio::spawn(async move {
                loop {
                    let came = async {
                        let mut socket = beside.subscribed(std::iter::once(QUIET.to_owned())).await?;
                        socket.next().await.ok_or("closed")??;
                        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(socket)
                    };
                    let came = timeout(PATIENCE, came).await;
                    done.count(matches!(came, Ok(Ok(_))));
                    if let Ok(Ok(socket)) = came {
                        return socket;
                    }
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            })
        });
        futures_util::future::join_all(all).await.into_iter().flatten().collect()
    }

    async fn subscriptions(&self, done: &Done, until: Instant) {
        while Instant::now() < until {
            let different = (0..SUBSCRIPTIONS).map(|n| self.query.replacen("{ kind", &format!("{{ k{n}: kind"), 1));
            let came = async {
                let mut socket = self.subscribed(different).await?;
                // One message each, at least.
                for _ in 0..SUBSCRIPTIONS {
                    socket.next().await.ok_or("closed")??;
                }
                timeout_at(until.min(Instant::now() + Duration::from_secs(2)), async {
                    while socket.next().await.is_some_and(|heard| heard.is_ok()) {}
                })
                .await
                .ok();
                Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
            };
            done.count(matches!(timeout(PATIENCE, came).await, Ok(Ok(()))));
        }
    }

    /// Each in its turn, whether or not those before it are done.
    async fn at_a_rate(self: Arc<Self>, done: &Arc<Done>, until: Instant) {
        let (began, documents) = (Instant::now(), Arc::new(documents()));
        let frames: Arc<Vec<Vec<u8>>> = Arc::new(malformed());
        for number in 0_usize.. {
            let due = began + Duration::from_secs_f64(number as f64 / PER_SECOND);
            if due >= until {
                return;
            }
            tokio::time::sleep_until(due).await;
            let (beside, done) = (self.clone(), done.clone());
            let (documents, frames) = (documents.clone(), frames.clone());
            tokio::spawn(async move {
                let tried = async {
                    match beside.kind {
                        Kind::Malformed => beside.malformed(&frames[number % frames.len()]).await,
                        _ => beside.document(&documents[number % documents.len()]).await,
                    }
                };
                done.count(timeout(PATIENCE, tried).await.is_ok_and(|tried| tried.is_ok()));
            });
        }
    }

    /// Until the other side closes.
    async fn malformed(&self, bytes: &[u8]) -> Result<()> {
        let mut stream = TcpStream::connect(&self.address).await?;
        let upgrade = format!(
            "GET /graphql HTTP/1.1\r\nhost: {}\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-protocol: graphql-transport-ws\r\n\r\n",
            self.address
        );
        stream.write_all(upgrade.as_bytes()).await?;
        stream.read_u8().await?;
        // The other side may have closed before the last of it.
        let _ = stream.write_all(bytes).await;
        let mut rest = vec![0; 4_096];
        while stream.read(&mut rest).await.is_ok_and(|read| read > 0) {}
        Ok(())
    }

    async fn document(&self, body: &str) -> Result<()> {
        let mut stream = TcpStream::connect(&self.address).await?;
        let head = format!(
            "POST /graphql HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\naccept: application/graphql-response+json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            self.address,
            body.len()
        );
        stream.write_all(head.as_bytes()).await?;
        let _ = stream.write_all(body.as_bytes()).await;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        // Introspection is on unless an operator turns it off.
        let may_ask = body.contains("__schema") && answer.starts_with(b"HTTP/1.1 200");
        if may_ask || answer.starts_with(b"HTTP/1.1 4") { Ok(()) } else { Err("it was not refused".into()) }
    }
}

/// Both workers of this process.
fn busy(until: Instant) {
    let spin = move || {
        while Instant::now() < until {
            std::hint::spin_loop();
        }
    };
    let other = std::thread::spawn(spin);
    spin();
    let _ = other.join();
}

/// A frame of a client, masked with zeros: what is in it stays readable.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).expect("short");
    let mut bytes = vec![first];
    match u8::try_from(length) {
        Ok(short) if short < 126 => bytes.push(0x80 | short),
        _ => {
            bytes.push(0x80 | 126);
            bytes.extend(length.to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

/// What may not be said on a WebSocket. Each ends it.
fn malformed() -> Vec<Vec<u8>> {
    let huge = [vec![0x81, 0x80 | 127], (64_u64 << 20).to_be_bytes().to_vec(), vec![0; 4]].concat();
    vec![
        frame(0xf1, b"reserved bits"),
        huge,
        frame(0x81, &[0xff, 0xfe, 0xfd]),
        // A continuation of nothing, a control frame in pieces, and one that is too long.
        frame(0x80, b"more"),
        frame(0x09, b"ping"),
        frame(0x89, &[b'p'; 200]),
        // Not masked.
        vec![0x81, 2, b'{', b'}'],
        frame(0x81, b"{\"type\":"),
        frame(0x81, br#"{"type":"subscribe","id":"1","payload":{"query":"{__typename}"}}"#),
        frame(0x89, b"").repeat(FLOOD),
    ]
}

/// What may not be asked; and introspection, which may where it is not turned off.
fn documents() -> Vec<String> {
    let of = |query: String| json!({ "query": query }).to_string();
    let bomb = (0..24).map(|n| format!(" fragment F{n} on Query {{ ...F{m} ...F{m} }}", m = n + 1)).collect::<String>();
    let aliases = (0..5_000).map(|n| format!("a{n}:__typename ")).collect::<String>();
    vec![
        of(format!("{{ ...F0 }}{bomb} fragment F24 on Query {{ __typename }}")),
        of(format!("{{ {aliases} }}")),
        of(format!("{}{}", "{a".repeat(40_000), "}".repeat(40_000))),
        of(format!("{{ __typename {} }}", "@a".repeat(5_000))),
        of("{ pools(first: 1000) { nodes { ticks(first: 1000) { nodes { tickIdx price0 } } } } }".to_owned()),
        of("{ __schema { types { fields { type { fields { type { fields { type { name } } } } } } } } }".to_owned()),
        format!("[{}]", vec![r#"{"query":"{__typename}"}"#; 10_000].join(",")),
        "x".repeat(1 << 20),
    ]
}
