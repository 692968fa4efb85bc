//! The built engine over a chain that trades, full of clients: for an hour in which many come and go, and for the moment in which it
//! starts again and all come back at once.

use std::{
    fmt,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use swaptide_demo::{Devnet, DevnetConfig, http::HttpClient};
use tokio_util::sync::CancellationToken;

use super::{Args, Swarm, swarm::Told};
use crate::http::{Result, Served, engine, ready, start};

/// More than the window of memory: what is left to grow with the chain is what is kept of each market, and the store's cache.
const BLOCKS_BEFORE: u64 = 200;
const TXS_PER_BLOCK: usize = 4;
/// A reorg every so many blocks, one to three deep.
const BLOCKS_PER_REORG: u64 = 20;
/// What is kept of those who are gone is gone itself after this: the longest deadline of a connection is 20 s.
const SETTLED: Duration = Duration::from_secs(30);
/// In the round that makes the memory warm.
const WARM_SECONDS: f64 = 60.0;
/// All have to be back within this.
const BACK: Duration = Duration::from_secs(120);

/// What the engine says of itself at one moment.
#[derive(Clone, Copy)]
struct Vitals {
    files: f64,
    tasks: f64,
    threads: f64,
    rss_mb: f64,
    connections: f64,
    subscriptions: f64,
}

impl Vitals {
    async fn of(admin: &HttpClient) -> Result<Self> {
        let text = String::from_utf8(admin.get("/metrics").await?.body)?;
        let of = |name: &str| -> Result<f64> {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            Ok(line.ok_or_else(|| format!("no {name} among the metrics"))?.parse()?)
        };
        Ok(Self {
            files: of("process_open_fds")?,
            tasks: of("swaptide_tasks")?,
            threads: of("process_threads")?,
            rss_mb: of("process_resident_memory_bytes")? / 1e6,
            connections: of("swaptide_ws_connections")?,
            subscriptions: of("swaptide_subscriptions")?,
        })
    }
}

impl fmt::Display for Vitals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { files, tasks, threads, rss_mb, connections, subscriptions } = self;
        write!(
            f,
            "{files:>6} files {tasks:>6} tasks {threads:>3} threads {rss_mb:>7.1} MB {connections:>6} connections {subscriptions:>3} subscriptions"
        )
    }
}

struct House {
    runtime: tokio::runtime::Runtime,
    folder: tempfile::TempDir,
    devnet: Option<Devnet>,
    served: Served,
}

impl House {
    fn open() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let mut devnet = runtime.block_on(Devnet::start(DevnetConfig { v2_pools: 5, v3_pools: 5, ..DevnetConfig::default() }))?;
        println!("filling {BLOCKS_BEFORE} blocks …");
        runtime.block_on(devnet.fill(BLOCKS_BEFORE, TXS_PER_BLOCK))?;
        let folder = tempfile::tempdir()?;
        let served = engine(&devnet, folder.path(), None)?;
        let house = Self { runtime, folder, devnet: Some(devnet), served };
        house.ready()?;
        Ok(house)
    }

    fn ready(&self) -> Result<()> {
        let devnet = self.devnet.as_ref().ok_or("the chain trades")?;
        let api = HttpClient::new(format!("127.0.0.1:{}", self.served.port));
        self.runtime.block_on(async { ready(&api, devnet.head().await?.number).await })
    }

    fn url(&self) -> String {
        format!("ws://127.0.0.1:{}/graphql", self.served.port)
    }

    fn vitals(&self, when: &str) -> Result<Vitals> {
        self.vitals_of(&self.served, when)
    }

    fn vitals_of(&self, served: &Served, when: &str) -> Result<Vitals> {
        let admin = HttpClient::new(format!("127.0.0.1:{}", served.admin_port));
        let vitals = self.runtime.block_on(Vitals::of(&admin))?;
        println!("{when:>12}: {vitals}");
        Ok(vitals)
    }

    /// So many blocks a second, one where it is not said, and now and then a reorg, until it is stopped.
    fn trade(&mut self, args: &Args) -> Result<Trading> {
        let block_time = Duration::from_secs_f64(1.0 / args.rate.unwrap_or(1.0));
        let mut devnet = self.devnet.take().ok_or("it trades already")?;
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = self.runtime.spawn(async move {
            let mut ticks = tokio::time::interval(block_time);
            for number in 1_u64.. {
                tokio::select! {
                    _ = ticks.tick() => {}
                    () = stopped.cancelled() => break,
                }
                devnet.fill(1, TXS_PER_BLOCK).await?;
                if number % BLOCKS_PER_REORG == 0 {
                    devnet.reorg_keeping(1 + number / BLOCKS_PER_REORG % 3, 650).await?;
                }
            }
            Ok(devnet)
        });
        Ok(Trading { stop, task })
    }

    fn rest(&mut self, trading: Trading) -> Result<()> {
        trading.stop.cancel();
        self.devnet = Some(self.runtime.block_on(trading.task)??);
        Ok(())
    }
}

struct Trading {
    stop: CancellationToken,
    task: tokio::task::JoinHandle<Result<Devnet>>,
}

/// All come, some go and others come for so long, all go.
fn round(house: &House, args: &Args, seconds: f64) -> Result<Value> {
    let swarm = Swarm::of(&Args { seconds, ..args.clone() }, house.url())?.by_arrival();
    let (mut told, swarm) = swarm.start()?;
    told.until("ready")?;
    house.vitals("full")?;
    told.say("measure")?;
    let mut minutes = 0_u32;
    let figures = loop {
        match told.next()? {
            (key, state) if key == "minute" => {
                minutes += 1;
                house.vitals(&format!("minute {minutes}"))?;
                println!("{:>14}{state}", "");
            }
            (key, figures) if key == "figures" => break figures,
            _ => {}
        }
    };
    drop(swarm);
    std::thread::sleep(SETTLED);
    Ok(figures)
}

/// An hour of churn: what the engine holds afterwards is what it held before, and what the chain of that hour takes. How much that is,
/// a second engine says that follows the same chain, and to which nobody comes.
pub(super) fn soak(args: &Args) -> Result<()> {
    let mut house = House::open()?;
    let folder = tempfile::tempdir()?;
    let alone = engine(house.devnet.as_ref().ok_or("the chain trades")?, folder.path(), None)?;
    let trading = house.trade(args)?;
    house.vitals("started")?;
    round(&house, args, WARM_SECONDS.min(args.seconds))?;
    let (before, alone_before) = (house.vitals("base")?, house.vitals_of(&alone, "alone")?);
    let figures = round(&house, args, args.seconds)?;
    let (after, alone_after) = (house.vitals("end")?, house.vitals_of(&alone, "alone")?);
    println!("{figures}");
    house.rest(trading)?;
    house.ready()?;
    let ratio = |of: fn(&Vitals) -> f64| of(&after) / of(&before);
    let chain_mb = alone_after.rss_mb - alone_before.rss_mb;
    println!(
        "end / base: files {:.3}, tasks {:.3}, memory {:.3}; without the {chain_mb:.1} MB that the chain took where nobody came {:.3} (bar 0.95 to 1.05)",
        ratio(|v| v.files),
        ratio(|v| v.tasks),
        ratio(|v| v.rss_mb),
        (after.rss_mb - chain_mb) / before.rss_mb
    );
    Ok(())
}

/// Others ask while all come back: so many requests, so many refused, the longest answer.
#[derive(Default)]
struct Others {
    asked: u64,
    not_answered: u64,
    failed: u64,
    longest_ms: f64,
}

/// The engine ends, in good order or not, starts again, and everybody comes at once, with where it was.
pub(super) fn storm(args: &Args) -> Result<()> {
    let mut house = House::open()?;
    let trading = house.trade(args)?;
    for kill in [false, true] {
        let (mut told, _swarm) = Swarm::of(args, house.url())?.by_arrival().returning().start()?;
        told.until("ready")?;
        house.vitals("full")?;
        std::thread::sleep(Duration::from_secs(3));
        println!("{} …", if kill { "kill -9" } else { "SIGTERM" });
        if kill {
            house.served.process.0.kill()?;
        } else {
            let id = i32::try_from(house.served.process.0.id())?;
            let sent = std::process::Command::new("kill").arg(id.to_string()).status()?;
            if !sent.success() {
                return Err("kill did not work".into());
            }
        }
        house.served.process.0.wait()?;
        let gone = Instant::now();
        house.served.process = start(&house.folder.path().join("bench.toml"))?;
        let (listening, back, others) = house.runtime.block_on(returned(&house.served, &mut told, args.clients))?;
        let state = state(&mut told)?;
        println!(
            "  listens {:.1} s after it ended; {} of {} are back {:.1} s later; refused as too many {} times, nobody there {} times",
            listening.duration_since(gone).as_secs_f64(),
            state["open"],
            args.clients,
            back.duration_since(listening).as_secs_f64(),
            state["busy"],
            state["away"]
        );
        println!(
            "  others meanwhile: {} requests, {} before it was ready, {} answered with 5xx, longest {:.0} ms",
            others.asked, others.not_answered, others.failed, others.longest_ms
        );
        house.vitals("full again")?;
    }
    house.rest(trading)
}

/// All connections to a deployment are cut at once, and come again at once, with where they were.
pub(super) fn storm_on(args: &Args, url: &str) -> Result<()> {
    let (mut told, _swarm) = Swarm::of(args, url.to_owned())?.by_arrival().returning().start()?;
    told.until("ready")?;
    println!("{} clients are connected and have subscribed; all are cut …", args.clients);
    told.say("cut")?;
    let (cut, clients) = (Instant::now(), Some(u64::try_from(args.clients)?));
    while cut.elapsed() < BACK {
        let state = state(&mut told)?;
        if state["returned"].as_u64() >= clients && state["open"].as_u64() == clients {
            let seconds = cut.elapsed().as_secs_f64();
            println!(
                "all are back after {seconds:.1} s; refused as too many {} times, not let in {} times",
                state["busy"], state["away"]
            );
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err(format!("not all are back within {} s: {}", BACK.as_secs(), state(&mut told)?).into())
}

fn state(told: &mut Told) -> Result<Value> {
    told.say("state")?;
    told.until("state")
}

/// Until all are back: when somebody listened, when the last had heard something, and what others saw.
async fn returned(served: &Served, told: &mut Told, clients: usize) -> Result<(Instant, Instant, Others)> {
    let api = HttpClient::new(format!("127.0.0.1:{}", served.port));
    let query = json!({ "query": "{ _meta { block { number } } }" }).to_string();
    let began = Instant::now();
    let mut listening = None;
    let mut others = Others::default();
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while began.elapsed() < BACK {
        ticks.tick().await;
        let asked = Instant::now();
        if listening.is_some() {
            others.asked += 1;
        }
        match api.post_json("/graphql", &query).await {
            Err(_) if listening.is_none() => {}
            Err(_) => others.not_answered += 1,
            Ok(answer) => {
                listening.get_or_insert_with(Instant::now);
                others.failed += u64::from(answer.status >= 500);
                others.longest_ms = others.longest_ms.max(asked.elapsed().as_secs_f64() * 1e3);
            }
        }
        if let Some(listening) = listening
            && others.asked.is_multiple_of(10)
            && state(told)?["open"].as_u64() == Some(u64::try_from(clients)?)
        {
            return Ok((listening, Instant::now(), others));
        }
    }
    Err(format!("not all are back within {} s: {}", BACK.as_secs(), state(told)?).into())
}
