//! One update to thousands of subscribers: ours, the engine's stock server, and a bare broadcaster of the same bytes.
//!
//! Three processes: this one starts the others and looks at their CPU and memory, a server commits blocks of one swap at a rate, and a
//! swarm subscribes and reads. The swap's amount is the time of its commit, so what a client measures is everything from the commit
//! to its own hands: execution, serialisation, queues and sockets. The servers take turns within a round, because shared machines drift.

mod beside;
mod chain;
mod house;
mod serve;
mod swarm;

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Write as _},
    process::{ChildStdin, Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

use crate::http::{Killed, Result, median};

pub(crate) use beside::{BESIDE, Beside};
pub(crate) use swarm::Swarm;

pub(crate) const SERVE: &str = "--serve-frames";
pub(crate) const SWARM: &str = "--swarm";

/// What subscribers ask for: about 300 bytes a frame.
pub(crate) const QUERY: &str =
    "subscription { onSwapsCreated { kind cursor block { number } data { amount0Raw amount1Raw logIndex pool { id } } } }";
const TOPICS: [(&str, &str); 3] = [
    ("swaps", QUERY),
    ("blocks", "subscription { blocks { kind cursor block { number timestamp } data { number hash } } }"),
    (
        "pool",
        "subscription { onPoolUpdated(ids: [\"0x00000000000000000000000000000000000a00b0\"]) { kind cursor block { number } data { id reserve0 reserve1 } } }",
    ),
];

/// So many at once, where it is not said.
const CROWD: usize = 8_500;

/// What is asked of a run.
#[derive(Debug, Clone)]
pub(crate) struct Args {
    pub(crate) clients: usize,
    pub(crate) topic: String,
    pub(crate) seconds: f64,
    /// Frames a second; 20 where it is not said.
    pub(crate) rate: Option<f64>,
    pub(crate) rounds: usize,
    /// Of a frame.
    pub(crate) swaps: usize,
    /// Different subscriptions; the clients are dealt to them in turn.
    pub(crate) distinct: usize,
    /// Of the clients, so many never read.
    pub(crate) slow: usize,
    /// Connections that come and go each second, beside the clients.
    pub(crate) churn: f64,
    /// So many more come at once when the measurement begins.
    pub(crate) crowd: usize,
    /// What goes on beside the clients in a second measurement of each round.
    pub(crate) beside: Option<beside::Kind>,
    /// It is done to a second server of the same kind: what is left is what it costs the clients that this machine has other work.
    pub(crate) elsewhere: bool,
    /// Which servers: `ours`, `bare`, `stock`.
    pub(crate) servers: Vec<String>,
    /// A server that runs already: `ws://host:port/graphql`. Then only the swarm is ours.
    pub(crate) url: Option<String>,
    pub(crate) json: bool,
    pub(crate) mode: Mode,
}

/// What is done with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Servers of a chain in memory take turns.
    Compare,
    /// The built engine over a devnet; clients come and go, and nothing may be left of them.
    Soak,
    /// The built engine starts again, and all come back at once.
    Storm,
}

impl Default for Args {
    fn default() -> Self {
        Self {
            clients: 1_000,
            topic: "swaps".to_owned(),
            seconds: 10.0,
            rate: None,
            rounds: 3,
            swaps: 1,
            distinct: 1,
            slow: 0,
            churn: 0.0,
            crowd: 0,
            beside: None,
            elsewhere: false,
            servers: ["bare", "ours", "stock"].map(str::to_owned).to_vec(),
            url: None,
            json: false,
            mode: Mode::Compare,
        }
    }
}

impl Args {
    fn frames_per_second(&self) -> f64 {
        self.rate.unwrap_or(20.0)
    }

    pub(crate) fn query(&self) -> Result<&'static str> {
        let found = TOPICS.iter().find(|(name, _)| *name == self.topic);
        found
            .map(|(_, query)| *query)
            .ok_or_else(|| format!("--topic is one of {}", TOPICS.map(|(name, _)| name).join(", ")).into())
    }
}

pub(crate) use serve::serve;

/// Resident memory of a process.
fn rss_kb(process: &Killed) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.0.id()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// A server of a chain in memory, which stands still until it is told to go.
struct Server {
    process: Killed,
    go: ChildStdin,
    port: u16,
}

impl Server {
    fn start(kind: &str, args: &Args) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args([SERVE, kind, &args.frames_per_second().to_string(), &args.swaps.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut port = String::new();
        BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut port)?;
        let go = child.stdin.take().ok_or("no input")?;
        Ok(Self { process: Killed(child), go, port: port.trim().parse()? })
    }

    fn go(&mut self) -> Result<()> {
        Ok(writeln!(self.go, "go")?)
    }
}

/// One server in one round.
fn one(kind: &str, args: &Args) -> Result<Value> {
    let mut server = Server::start(kind, args)?;
    let rss_before = rss_kb(&server.process)?;
    let swarm = Swarm::of(args, format!("ws://127.0.0.1:{}/graphql", server.port))?;
    let (mut told, _swarm) = swarm.start()?;
    // All are connected and have subscribed; nothing is sent yet.
    told.until("ready")?;
    let idle_kb = rss_kb(&server.process)?.saturating_sub(rss_before);
    server.go()?;
    // It stands still but for what its neighbour does to it.
    let elsewhere = if args.elsewhere { Some(Server::start(kind, args)?) } else { None };
    std::thread::sleep(Duration::from_secs(1));
    let cpu = server.process.cpu()?;
    told.say("measure")?;
    let mut figures = told.until("figures")?;
    let cpu = (server.process.cpu()? - cpu).as_secs_f64();
    let messages = figures["messages"].as_f64().unwrap_or(0.0);
    if let Some(doing) = args.beside {
        let mut elsewhere = elsewhere;
        if let Some(other) = &mut elsewhere {
            other.go()?;
        }
        figures["beside"] = beside(doing, args, elsewhere.as_ref().unwrap_or(&server), &mut told)?;
    }
    figures["server"] = json!(kind);
    figures["idle_kb_per_connection"] = json!(idle_kb as f64 / args.clients as f64);
    figures["rss_kb"] = json!(rss_kb(&server.process)?);
    figures["cpu_us_per_message"] = json!(cpu * 1e6 / messages.max(1.0));
    figures["cpu_seconds"] = json!(cpu);
    Ok(figures)
}

/// The same measurement once more, with company at this server.
fn beside(kind: beside::Kind, args: &Args, at: &Server, told: &mut swarm::Told) -> Result<Value> {
    let (address, query) = (format!("127.0.0.1:{}", at.port), args.query()?.to_owned());
    let crowd = if args.crowd > 0 { args.crowd } else { CROWD };
    let mut neighbour = Beside { kind, address, crowd, query, seconds: args.seconds }.start()?;
    let cpu = at.process.cpu()?;
    told.say("measure")?;
    let mut figures = told.until("figures")?;
    if !args.elsewhere {
        figures["cpu_seconds"] = json!((at.process.cpu()? - cpu).as_secs_f64());
    }
    figures["did"] = neighbour.told()?;
    Ok(figures)
}

pub(crate) fn run(args: &Args) -> Result<()> {
    match (args.mode, &args.url) {
        (Mode::Soak, None) => return house::soak(args),
        (Mode::Storm, None) => return house::storm(args),
        (Mode::Storm, Some(url)) => return house::storm_on(args, url),
        (Mode::Soak, Some(_)) => {
            return Err("--soak looks at the engine's own metrics and starts one: with --url, say --churn and --seconds".into());
        }
        (Mode::Compare, _) => {}
    }
    if let Some(url) = &args.url {
        if args.beside.is_some() {
            return Err("--beside attacks servers of its own only: leave --url out".into());
        }
        let swarm = Swarm::of(args, url.clone())?.by_arrival();
        let (mut told, _swarm) = swarm.start()?;
        told.until("ready")?;
        eprintln!("{} clients are connected and have subscribed; listening for {} s …", args.clients, args.seconds);
        told.say("measure")?;
        let figures = told.until("figures")?;
        println!("{}", if args.json { figures.to_string() } else { of_deployment(&figures) });
        return Ok(());
    }
    println!(
        "{} clients of `{}`, {} frames/s of {} swaps, {} different, {} that never read, {} connections/s coming and going, {} coming at once; {} rounds of {} s",
        args.clients,
        args.topic,
        args.frames_per_second(),
        args.swaps,
        args.distinct,
        args.slow,
        args.churn,
        args.crowd,
        args.rounds,
        args.seconds
    );
    let mut all: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for round in 0..args.rounds {
        for server in &args.servers {
            let figures = one(server, args)?;
            if args.json {
                println!("{figures}");
            } else {
                println!("  round {}: {server:<6} {}", round + 1, brief(&figures));
            }
            all.entry(server.clone()).or_default().push(figures);
        }
    }
    print(args, &all);
    Ok(())
}

/// What can be told of a server whose process is not here.
fn of_deployment(figures: &Value) -> String {
    let of = |name: &str| figures[name].as_f64().unwrap_or(f64::NAN);
    let rows = [
        ("messages", format!("{:.0}, {:.1} a second", of("messages"), of("per_second"))),
        ("bytes", format!("{:.1} kB a second", of("bytes") / of("seconds") / 1e3)),
        ("p50, p99, p999", format!("{:.2}, {:.2}, {:.2} ms from the block's arrival", of("p50_ms"), of("p99_ms"), of("p999_ms"))),
        ("came and went", figures["churned"].to_string()),
        ("closed", format!("{} of {} clients; {} were never let in", figures["closed"], figures["clients"], figures["failed"])),
    ];
    rows.map(|(name, value)| format!("  {name:<16}{value}")).join("\n")
}

fn brief(figures: &Value) -> String {
    let of = |name: &str| figures[name].as_f64().unwrap_or(f64::NAN);
    format!(
        "{:>9.0} messages/s  p50 {:>7.2} ms  p99 {:>7.2}  p999 {:>7.2}  CPU {:>6.2} us each  {:>5.1} kB idle  {} closed{}",
        of("per_second"),
        of("p50_ms"),
        of("p99_ms"),
        of("p999_ms"),
        of("cpu_us_per_message"),
        of("idle_kb_per_connection"),
        figures["closed"],
        figures["crowd_ms"].as_f64().map_or_else(String::new, |ms| format!("  crowd in after {ms:.0} ms"))
    ) + &company(figures)
}

/// What it was with company, if there was any.
fn company(figures: &Value) -> String {
    let with = &figures["beside"];
    if with.is_null() {
        return String::new();
    }
    let of = |of: &Value, name: &str| of[name].as_f64().unwrap_or(f64::NAN);
    let tried = of(&with["did"], "tried");
    let more_ms = (of(with, "cpu_seconds") - of(figures, "cpu_seconds")) * 1e3 / tried;
    // Not known of another server, which serves nobody else.
    let cost = if with["cpu_seconds"].is_null() { String::new() } else { format!("  {more_ms:.2} ms CPU for each of it") };
    let cost = if tried > 0.0 { format!("{cost}: {}", with["did"]) } else { String::new() };
    format!(
        "\n{:>18} with company p50 {:>7.2} ms  p99 {:>7.2} ({:.2} times){cost}",
        "",
        of(with, "p50_ms"),
        of(with, "p99_ms"),
        of(with, "p99_ms") / of(figures, "p99_ms"),
    )
}

fn print(args: &Args, all: &BTreeMap<String, Vec<Value>>) {
    println!("\nmedians of {} rounds", args.rounds);
    println!(
        "{:<8} {:>12} {:>9} {:>9} {:>9} {:>9} {:>9} {:>11}",
        "", "messages/s", "p50 ms", "p99 ms", "p999 ms", "CPU us", "kB idle", "MB at end"
    );
    let of = |figures: &[Value], name: &str| median(figures.iter().map(|f| f[name].as_f64().unwrap_or(f64::NAN)).collect());
    for server in &args.servers {
        let Some(figures) = all.get(server) else { continue };
        println!(
            "{server:<8} {:>12.0} {:>9.2} {:>9.2} {:>9.2} {:>9.2} {:>9.1} {:>11.1}",
            of(figures, "per_second"),
            of(figures, "p50_ms"),
            of(figures, "p99_ms"),
            of(figures, "p999_ms"),
            of(figures, "cpu_us_per_message"),
            of(figures, "idle_kb_per_connection"),
            of(figures, "rss_kb") / 1e3
        );
    }
    for (server, figures) in all.iter().filter(|_| args.beside.is_some()) {
        let with = |f: &Value| f["beside"]["p99_ms"].as_f64().unwrap_or(f64::NAN) / f["p99_ms"].as_f64().unwrap_or(f64::NAN);
        let ratio = median(figures.iter().map(with).collect());
        let at = if args.elsewhere { ", which is at another server" } else { "" };
        println!("{server}: p99 with company{at} / without, median of the rounds: {ratio:.2} (bar 1.2 for ours)");
    }
    let ratios = |other: &str, name: &str, ours_below: bool| -> Option<f64> {
        let (ours, other) = (all.get("ours")?, all.get(other)?);
        let ratio = ours.iter().zip(other).map(|(ours, other)| {
            let (ours, other) = (ours[name].as_f64().unwrap_or(f64::NAN), other[name].as_f64().unwrap_or(f64::NAN));
            if ours_below { other / ours } else { ours / other }
        });
        Some(median(ratio.collect()))
    };
    if let (Some(rate), Some(p99)) = (ratios("bare", "per_second", false), ratios("bare", "p99_ms", false)) {
        println!("ours / bare, median of the rounds: messages/s {rate:.2} (bar 0.70), p99 {p99:.2} (bar 1.5 at most)");
    }
    if let (Some(cpu), Some(p99)) = (ratios("stock", "cpu_us_per_message", true), ratios("stock", "p99_ms", true)) {
        println!("stock / ours, median of the rounds: CPU a message {cpu:.2} (bar 2), p99 {p99:.2} (bar 2)");
    }
}
