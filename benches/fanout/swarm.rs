//! Thousands of clients in a process of their own, and what they saw.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::{net::TcpStream, sync::Semaphore, time::Instant};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, client::IntoClientRequest, protocol::WebSocketConfig},
};

use super::{Args, serve::now_ns};
use crate::http::{Killed, Result};

/// Handshakes under way at once.
const CONNECTING: usize = 64;
/// Buckets of one power of two: latencies are known to one part in 64.
const FINE: u32 = 6;
const SHARDS: usize = 16;

#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(crate) struct Swarm {
    url: String,
    clients: usize,
    query: String,
    seconds: f64,
    distinct: usize,
    slow: usize,
    churn: f64,
}

/// The other end of a swarm.
pub(super) struct Told {
    lines: BufReader<ChildStdout>,
    words: ChildStdin,
}

impl Told {
    pub(super) fn say(&mut self, word: &str) -> Result<()> {
        Ok(writeln!(self.words, "{word}")?)
    }

    pub(super) fn until(&mut self, key: &str) -> Result<Value> {
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line)? == 0 {
                return Err("the swarm ended: more open files may be needed (ulimit -n)".into());
            }
            let value: Value = serde_json::from_str(&line)?;
            if let Some(found) = value.get(key) {
                return Ok(found.clone());
            }
            eprintln!("{line}");
        }
    }
}

impl Swarm {
    pub(super) fn of(args: &Args, url: String) -> Result<Self> {
        Ok(Self {
            url,
            clients: args.clients,
            query: args.query()?.to_owned(),
            seconds: args.seconds,
            distinct: args.distinct,
            slow: args.slow,
            churn: args.churn,
        })
    }

    pub(super) fn start(&self) -> Result<(Told, Killed)> {
        let mut child: Child = Command::new(std::env::current_exe()?)
            .args([super::SWARM, &serde_json::to_string(self)?])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let lines = BufReader::new(child.stdout.take().ok_or("no output")?);
        let words = child.stdin.take().ok_or("no input")?;
        Ok((Told { lines, words }, Killed(child)))
    }

    /// In the process of its own.
    pub(crate) fn run(self) -> Result<()> {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(self.all())
    }

    async fn all(self) -> Result<()> {
        let seen = Arc::new(Seen::default());
        let (swarm, gate) = (Arc::new(self), Arc::new(Semaphore::new(CONNECTING)));
        let (ready, mut is_ready) = tokio::sync::mpsc::channel(1);
        for number in 0..swarm.clients {
            let (swarm, gate, seen, ready) = (swarm.clone(), gate.clone(), seen.clone(), ready.clone());
            tokio::spawn(async move {
                let turn = gate.acquire_owned().await;
                let socket = swarm.connect(number).await;
                drop(turn);
                let _ = ready.send(socket.is_ok()).await;
                match socket {
                    Ok(socket) if number < swarm.slow => {
                        std::future::pending::<()>().await;
                        drop(socket);
                    }
                    Ok(socket) => seen.read(socket, number).await,
                    Err(error) => eprintln!("client {number}: {error}"),
                }
            });
        }
        let mut failed = 0_u64;
        for _ in 0..swarm.clients {
            failed += u64::from(is_ready.recv().await != Some(true));
        }
        println!("{}", json!({ "ready": { "failed": failed } }));
        let mut word = String::new();
        std::io::stdin().lock().read_line(&mut word)?;
        seen.measuring.store(true, Ordering::Relaxed);
        let began = Instant::now();
        let churned = swarm.clone().churn(Instant::now() + Duration::from_secs_f64(swarm.seconds));
        let (churned, ()) = tokio::join!(churned, tokio::time::sleep(Duration::from_secs_f64(swarm.seconds)));
        let elapsed = began.elapsed().as_secs_f64();
        println!("{}", json!({ "figures": seen.figures(elapsed, swarm.clients, failed, churned) }));
        Ok(())
    }

    /// Comes, says what it wants, hears something, and goes.
    async fn churn(self: Arc<Self>, until: Instant) -> u64 {
        let (done, began) = (Arc::new(AtomicU64::new(0)), Instant::now());
        if self.churn <= 0.0 {
            return 0;
        }
        for number in 0_u64.. {
            let due = began + Duration::from_secs_f64(number as f64 / self.churn);
            if due >= until {
                break;
            }
            tokio::time::sleep_until(due).await;
            let (swarm, done) = (self.clone(), done.clone());
            tokio::spawn(async move {
                if let Ok(mut socket) = swarm.connect(usize::try_from(number).unwrap_or(0)).await {
                    let _ = socket.close(None).await;
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        done.load(Ordering::Relaxed)
    }

    /// Until it has subscribed and heard the first word of it.
    async fn connect(&self, number: usize) -> Result<WebSocketStream<TcpStream>> {
        let mut request = self.url.as_str().into_client_request()?;
        request.headers_mut().insert("sec-websocket-protocol", "graphql-transport-ws".parse()?);
        let uri = request.uri();
        let address = format!("{}:{}", uri.host().unwrap_or("127.0.0.1"), uri.port_u16().unwrap_or(80));
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let config = WebSocketConfig::default().read_buffer_size(8 * 1024).write_buffer_size(1_024);
        let (mut socket, _) = tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await?;
        socket.send(Message::text(r#"{"type":"connection_init"}"#)).await?;
        socket.next().await.ok_or("it was closed")??;
        // Another alias is another document.
        let query = if self.distinct > 1 {
            self.query.replacen("{ kind", &format!("{{ k{}: kind", number % self.distinct), 1)
        } else {
            self.query.clone()
        };
        socket.send(Message::text(json!({ "id": "1", "type": "subscribe", "payload": { "query": query } }).to_string())).await?;
        let first = tokio::time::timeout(Duration::from_secs(5), socket.next()).await;
        match first {
            // The stock server says nothing until something happens.
            Err(_) => Ok(socket),
            Ok(Some(Ok(Message::Text(text)))) if text.contains("\"next\"") => Ok(socket),
            Ok(other) => Err(format!("it was answered {other:?}").into()),
        }
    }
}

/// Counts and latencies of all clients, nanoseconds.
#[derive(Default)]
struct Seen {
    measuring: AtomicBool,
    shards: [Shard; SHARDS],
    closed: AtomicU64,
}

struct Shard {
    messages: AtomicU64,
    bytes: AtomicU64,
    buckets: Box<[AtomicU64]>,
}

impl Default for Shard {
    fn default() -> Self {
        let buckets = (0..(64_usize << FINE)).map(|_| AtomicU64::new(0)).collect();
        Self { messages: AtomicU64::new(0), bytes: AtomicU64::new(0), buckets }
    }
}

fn bucket(value: u64) -> usize {
    let power = 63 - value.max(1).leading_zeros();
    let fine = if power > FINE { (value >> (power - FINE)) & ((1 << FINE) - 1) } else { value & ((1 << FINE) - 1) };
    usize::try_from((u64::from(power) << FINE) | fine).expect("small")
}

fn of_bucket(at: usize) -> f64 {
    let (power, fine) = (at >> FINE, at & ((1 << FINE) - 1));
    let power = i32::try_from(power).expect("small");
    2_f64.powi(power) * (1.0 + fine as f64 / f64::from(1 << FINE))
}

/// The time in a frame, wherever it stands.
fn sent_at(text: &str) -> Option<u64> {
    let after = text.split_once("\"amount0Raw\":\"").or_else(|| text.split_once("\"reserve0\":\""))?.1;
    after.split_once('"')?.0.parse().ok()
}

impl Seen {
    async fn read(&self, mut socket: WebSocketStream<TcpStream>, number: usize) {
        let shard = &self.shards[number % SHARDS];
        while let Some(Ok(message)) = socket.next().await {
            let Message::Text(text) = message else { continue };
            if !self.measuring.load(Ordering::Relaxed) {
                continue;
            }
            shard.messages.fetch_add(1, Ordering::Relaxed);
            shard.bytes.fetch_add(text.len() as u64, Ordering::Relaxed);
            if let Some(sent) = sent_at(&text) {
                shard.buckets[bucket(now_ns().saturating_sub(sent))].fetch_add(1, Ordering::Relaxed);
            }
        }
        self.closed.fetch_add(1, Ordering::Relaxed);
    }

    fn figures(&self, seconds: f64, clients: usize, failed: u64, churned: u64) -> Value {
        let sum = |of: fn(&Shard) -> &AtomicU64| self.shards.iter().map(|s| of(s).load(Ordering::Relaxed)).sum::<u64>();
        let (messages, bytes) = (sum(|s| &s.messages), sum(|s| &s.bytes));
        let mut buckets = vec![0_u64; 64 << FINE];
        for shard in &self.shards {
            buckets.iter_mut().zip(&shard.buckets).for_each(|(all, one)| *all += one.load(Ordering::Relaxed));
        }
        let timed: u64 = buckets.iter().sum();
        let quantile = |part: f64| {
            let mut left = (timed as f64 * part).ceil();
            let found = buckets.iter().position(|count| {
                left -= *count as f64;
                left <= 0.0
            });
            found.map_or(f64::NAN, |at| of_bucket(at) / 1e6)
        };
        json!({
            "clients": clients, "failed": failed, "churned": churned, "closed": self.closed.load(Ordering::Relaxed),
            "seconds": seconds, "messages": messages, "bytes": bytes, "per_second": messages as f64 / seconds,
            "p50_ms": quantile(0.5), "p99_ms": quantile(0.99), "p999_ms": quantile(0.999),
        })
    }
}
