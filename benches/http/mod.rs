//! What the benches over HTTP share: the engine as a process of its own, and clients that ask it as fast as it answers.

#[allow(dead_code, reason = "only one of the benches does this")]
pub(crate) mod open;

use std::{
    error::Error,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use swaptide_demo::{Devnet, Mongod, http::HttpClient};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const READY: Duration = Duration::from_secs(120);

/// A process that ends with this one.
pub(crate) struct Killed(pub(crate) Child);

impl Killed {
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id()))?;
        let words = stat.rsplit(')').next().unwrap_or("").split_whitespace();
        let ticks: u64 = words.skip(11).take(2).filter_map(|t| t.parse::<u64>().ok()).sum();
        Ok(Duration::from_millis(ticks * 10))
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One kind of request.
pub(crate) struct Target<'a> {
    pub(crate) name: &'static str,
    /// Whose time is counted.
    pub(crate) server: Option<&'a Killed>,
    pub(crate) port: u16,
    pub(crate) request: Vec<u8>,
    /// What it is held against, and at what ratio it should be.
    pub(crate) bare: Option<(&'static str, f64)>,
}

pub(crate) fn get_request(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").into_bytes()
}

pub(crate) fn post_request(path: &str, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// The engine, and where it listens.
pub(crate) struct Served {
    pub(crate) process: Killed,
    pub(crate) port: u16,
    #[allow(dead_code, reason = "only one of the benches looks there")]
    pub(crate) admin_port: u16,
}

/// Starts it over the devnet, without a limit that one generator could meet.
pub(crate) fn engine(devnet: &Devnet, folder: &Path, mongod: Option<&Mongod>) -> Result<Served> {
    let free = || Ok::<_, std::io::Error>(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port());
    let (port, admin_port) = (free()?, free()?);
    let store = mongod.map_or_else(|| format!("sqlite:{}", folder.join("bench.db").display()), |m| m.uri("bench"));
    let d = &devnet.deployment;
    let toml = format!(
        "[api]\nrequests_per_second = 0\ncost_per_second = 0\nconnections = 20000\nconnections_per_address = 0\n\
         listen = \"127.0.0.1:{port}\"\n[admin]\nlisten = \"127.0.0.1:{admin_port}\"\n[store]\nurl = {store:?}\n[[chain]]\nid = {}\nname = \"bench\"\nrpc = [{:?}, {:?}]\n\
         [[chain.dex]]\nname = \"v2\"\nprotocol = \"uniswap_v2\"\nfactory = \"{}\"\n[[chain.dex]]\nname = \"v3\"\nprotocol = \"uniswap_v3\"\nfactory = \"{}\"\n",
        devnet.chain_id, devnet.ws_url, devnet.http_url, d.v2_factory, d.v3_factory
    );
    let config = folder.join("bench.toml");
    std::fs::write(&config, toml)?;
    Ok(Served { process: start(&config)?, port, admin_port })
}

/// Starts the engine that is built.
pub(crate) fn start(config: &Path) -> Result<Killed> {
    let child = Command::new(env!("CARGO_BIN_EXE_swaptide")).args(["run", "-c"]).arg(config).stderr(Stdio::null()).spawn()?;
    Ok(Killed(child))
}

/// Until every block is served and stored.
pub(crate) async fn ready(api: &HttpClient, head: u64) -> Result<()> {
    let began = Instant::now();
    let query = json!({ "query": "{ _meta { durableBlock } }" }).to_string();
    while began.elapsed() < READY {
        if let Ok(answer) = api.post_json("/graphql", &query).await {
            let answer: Value = serde_json::from_slice(&answer.body)?;
            let durable = &answer["data"]["_meta"]["durableBlock"];
            if durable.as_u64().or_else(|| durable.as_str()?.parse().ok()).is_some_and(|n| n >= head) {
                return Ok(());
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err("the engine is not ready".into())
}

/// Of one target in one round.
#[derive(Clone, Copy)]
pub(crate) struct Figures {
    pub(crate) per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    /// Of the server, for each request; not a number where it is not ours to look at.
    pub(crate) cpu_us: f64,
}

/// Asks as fast as answers come, one request at a time on each connection.
pub(crate) fn drive(target: &Target<'_>, connections: usize, time: Duration) -> Result<Figures> {
    // One thread: the other core is the server's.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let cpu = || target.server.map(Killed::cpu).transpose();
    let cpu_before = cpu()?;
    let began = Instant::now();
    let mut times: Vec<Duration> = Vec::new();
    runtime.block_on(async {
        let local = tokio::task::LocalSet::new();
        let clients: Vec<_> =
            (0..connections).map(|_| local.spawn_local(client(target.port, target.request.clone(), began + time))).collect();
        local.await;
        for client in clients {
            times.extend(client.await??);
        }
        Ok::<_, Box<dyn Error + Send + Sync>>(())
    })?;
    let elapsed = began.elapsed();
    let cpu = cpu()?.zip(cpu_before).map(|(after, before)| (after - before).as_secs_f64());
    times.sort_unstable();
    let ms = |permille: usize| times[(times.len() - 1) * permille / 1_000].as_secs_f64() * 1e3;
    let requests = times.len() as f64;
    Ok(Figures {
        per_second: requests / elapsed.as_secs_f64(),
        p50_ms: ms(500),
        p99_ms: ms(990),
        cpu_us: cpu.map_or(f64::NAN, |seconds| seconds * 1e6 / requests),
    })
}

async fn client(port: u16, request: Vec<u8>, until: Instant) -> Result<Vec<Duration>> {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).await?;
    socket.set_nodelay(true)?;
    let (mut times, mut buffer) = (Vec::with_capacity(1 << 16), Vec::with_capacity(1 << 17));
    loop {
        let began = Instant::now();
        if began >= until {
            return Ok(times);
        }
        socket.write_all(&request).await?;
        buffer.clear();
        let mut whole = None;
        while whole.is_none_or(|whole| buffer.len() < whole) {
            if socket.read_buf(&mut buffer).await? == 0 {
                return Err("the server closed a connection".into());
            }
            if whole.is_none() {
                whole = length(&buffer)?;
            }
        }
        times.push(began.elapsed());
    }
}

/// Of a whole answer, as soon as its headers are there.
fn length(answer: &[u8]) -> Result<Option<usize>> {
    let Some(end) = answer.windows(4).position(|w| w == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&answer[..end])?;
    if !head.starts_with("HTTP/1.1 200 ") {
        return Err(format!("not an answer: {}", String::from_utf8_lossy(answer)).into());
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    Ok(Some(end + 4 + length.ok_or("an answer without a length")?))
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
