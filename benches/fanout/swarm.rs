//! Thousands of clients in a process of their own, and what they saw.

mod client;
mod seen;

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::{
    sync::{Semaphore, watch},
    time::Instant,
};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::Args;
use crate::http::{Killed, Result};
use client::{Refused, Socket};
use seen::Seen;

/// Handshakes under way at once, while a measurement is prepared. Whoever comes back asks nobody.
const CONNECTING: usize = 64;
/// A client that was refused comes again after 100 to 600 ms, and does not wait longer each time: that is the unkind case.
const AGAIN: (u64, u64) = (100, 500);
const MINUTE: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(crate) struct Swarm {
    url: String,
    clients: usize,
    query: String,
    seconds: f64,
    distinct: usize,
    slow: usize,
    churn: f64,
    /// So many more come at once when the measurement begins, and stay.
    crowd: usize,
    /// Whoever was closed comes again at once, and goes on where it was.
    returns: bool,
    /// Where in a frame it says when its block came.
    clock: Clock,
    /// An API key. Other users of the machine see the arguments of a process: it comes with the environment.
    #[serde(skip)]
    key: Option<String>,
}

/// How a frame says when its block came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
enum Clock {
    /// Nanoseconds in the place of an amount: the servers here make it so.
    Amount,
    /// `arrivedAtMs`.
    Arrival,
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

    /// The next line: one key, and what it says.
    pub(super) fn next(&mut self) -> Result<(String, Value)> {
        let mut line = String::new();
        if self.lines.read_line(&mut line)? == 0 {
            return Err("the swarm ended: more open files may be needed (ulimit -n)".into());
        }
        let value: serde_json::Map<String, Value> = serde_json::from_str(&line)?;
        value.into_iter().next().ok_or_else(|| "the swarm said nothing".into())
    }

    pub(super) fn until(&mut self, key: &str) -> Result<Value> {
        loop {
            let (found, value) = self.next()?;
            if found == key {
                return Ok(value);
            }
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
            crowd: if args.beside.is_some() { 0 } else { args.crowd },
            returns: false,
            clock: Clock::Amount,
            key: None,
        })
    }

    pub(super) const fn returning(mut self) -> Self {
        self.returns = true;
        self
    }

    /// Of a server that says when a block arrived.
    pub(super) fn by_arrival(mut self) -> Self {
        self.clock = Clock::Arrival;
        self.query = self.query.replacen("cursor", "cursor arrivedAtMs", 1);
        self
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
    pub(crate) fn run(mut self) -> Result<()> {
        self.key = std::env::var("SWAPTIDE_KEY").ok();
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(self.all())
    }

    async fn all(self) -> Result<()> {
        let seen = Arc::new(Seen::default());
        let (swarm, gate) = (Arc::new(self), Arc::new(Semaphore::new(CONNECTING)));
        let (ready, mut is_ready) = tokio::sync::mpsc::channel(1);
        let (cut, is_cut) = watch::channel(0_u64);
        for number in 0..swarm.clients {
            let (swarm, gate, seen, ready) = (swarm.clone(), gate.clone(), seen.clone(), ready.clone());
            let is_cut = is_cut.clone();
            tokio::spawn(async move {
                let turn = gate.acquire_owned().await;
                let came = swarm.connect(number, None).await;
                drop(turn);
                let _ = ready.send(came.is_ok()).await;
                match came {
                    Ok((socket, _)) if number < swarm.slow => {
                        std::future::pending::<()>().await;
                        drop(socket);
                    }
                    Ok((socket, first)) => swarm.live(socket, first, number, &seen, is_cut).await,
                    Err(Refused::Busy) => eprintln!("client {number}: the server has too many"),
                    Err(Refused::Away(error)) => eprintln!("client {number}: {error}"),
                }
            });
        }
        let mut failed = 0_u64;
        for _ in 0..swarm.clients {
            failed += u64::from(is_ready.recv().await != Some(true));
        }
        println!("{}", json!({ "ready": { "failed": failed } }));
        // This is not a thread of the runtime: it may wait for words.
        for word in std::io::stdin().lock().lines() {
            match word?.as_str() {
                "measure" => {
                    tokio::spawn(swarm.clone().measure(seen.clone(), failed));
                }
                // All at once, and all come again at once if they are of those who return.
                "cut" => cut.send_modify(|times| *times += 1),
                _ => println!("{}", json!({ "state": seen.state() })),
            }
        }
        Ok(())
    }

    async fn measure(self: Arc<Self>, seen: Arc<Seen>, failed: u64) {
        seen.forget();
        seen.measuring.store(true, Ordering::Relaxed);
        let began = Instant::now();
        let until = began + Duration::from_secs_f64(self.seconds);
        let told = seen.clone();
        let minutes = tokio::spawn(async move {
            for minute in 1_u32.. {
                tokio::time::sleep_until(began + MINUTE * minute).await;
                println!("{}", json!({ "minute": told.state() }));
            }
        });
        let crowd = tokio::spawn(self.clone().crowd(seen.clone()));
        let churned = self.clone().churn(until, &seen);
        let (churned, ()) = tokio::join!(churned, tokio::time::sleep_until(until));
        minutes.abort();
        let elapsed = began.elapsed().as_secs_f64();
        let mut figures = seen.figures(elapsed, self.clients, failed, churned);
        // Where not all of them are in by now, nobody knows how long it takes.
        let in_by_now = self.crowd > 0 && crowd.is_finished();
        figures["crowd_ms"] = if in_by_now { json!(crowd.await.ok()) } else { Value::Null };
        println!("{}", json!({ "figures": figures }));
    }

    /// How long it takes until all of them have heard something, milliseconds.
    async fn crowd(self: Arc<Self>, seen: Arc<Seen>) -> f64 {
        let began = Instant::now();
        let all = (0..self.crowd).map(|number| {
            let (swarm, seen) = (self.clone(), seen.clone());
            tokio::spawn(async move {
                loop {
                    match swarm.connect(number, None).await {
                        // They stay and read, and are not counted: it is for the others that this is measured.
                        Ok((mut socket, _)) => {
                            tokio::spawn(async move { while socket.next().await.is_some_and(|heard| heard.is_ok()) {} });
                            break;
                        }
                        Err(Refused::Busy) => seen.busy.fetch_add(1, Ordering::Relaxed),
                        Err(Refused::Away(_)) => seen.away.fetch_add(1, Ordering::Relaxed),
                    };
                    again(number).await;
                }
            })
        });
        futures_util::future::join_all(all).await;
        began.elapsed().as_secs_f64() * 1e3
    }

    /// Listens for as long as it is let; then, if it is one that returns, comes again and goes on.
    async fn live(&self, socket: Socket, first: Option<Utf8Bytes>, number: usize, seen: &Seen, mut is_cut: watch::Receiver<u64>) {
        let mut cursor = first.as_deref().and_then(seen::cursor).map(str::to_owned);
        let mut socket = Some(socket);
        loop {
            if let Some(mut socket) = socket.take() {
                seen.open.fetch_add(1, Ordering::Relaxed);
                self.listen(&mut socket, number, &mut cursor, seen, &mut is_cut).await;
                seen.open.fetch_sub(1, Ordering::Relaxed);
            }
            if !self.returns {
                seen.closed.fetch_add(1, Ordering::Relaxed);
                return;
            }
            match self.connect(number, cursor.as_deref()).await {
                Ok((again, first)) => {
                    cursor = first.as_deref().and_then(seen::cursor).map(str::to_owned).or(cursor);
                    seen.returned.fetch_add(1, Ordering::Relaxed);
                    socket = Some(again);
                    continue;
                }
                Err(Refused::Busy) => seen.busy.fetch_add(1, Ordering::Relaxed),
                Err(Refused::Away(_)) => seen.away.fetch_add(1, Ordering::Relaxed),
            };
            again(number).await;
        }
    }

    async fn listen(
        &self,
        socket: &mut Socket,
        number: usize,
        cursor: &mut Option<String>,
        seen: &Seen,
        is_cut: &mut watch::Receiver<u64>,
    ) {
        loop {
            let heard = tokio::select! {
                heard = socket.next() => heard,
                _ = is_cut.changed() => return,
            };
            match heard {
                Some(Ok(Message::Text(text))) => {
                    if self.returns
                        && let Some(at) = seen::cursor(&text)
                    {
                        at.clone_into(cursor.get_or_insert_default());
                    }
                    seen.hear(number, &text, self.clock);
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => {}
            }
        }
    }

    async fn churn(self: Arc<Self>, until: Instant, seen: &Arc<Seen>) -> u64 {
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
            let (swarm, done, seen) = (self.clone(), done.clone(), seen.clone());
            tokio::spawn(async move {
                match swarm.visit(number).await {
                    Ok(()) => done.fetch_add(1, Ordering::Relaxed),
                    Err(Refused::Busy) => seen.busy.fetch_add(1, Ordering::Relaxed),
                    Err(Refused::Away(_)) => seen.away.fetch_add(1, Ordering::Relaxed),
                }
            });
        }
        done.load(Ordering::Relaxed)
    }
}

/// A pause before the next try, spread by a multiplicative hash: as good as chance, and the same each run.
async fn again(number: usize) {
    let spread = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    tokio::time::sleep(Duration::from_millis(AGAIN.0 + spread % AGAIN.1)).await;
}
