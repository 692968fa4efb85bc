//! The engine as a child process, and the configuration it runs with.

use std::{
    fmt::Write as _,
    fs::OpenOptions,
    io::Write as _,
    net::TcpListener,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::Value;
use swaptide_demo::{
    Devnet,
    guard::{Guarded, StopBy},
    http::HttpClient,
};

use super::{Outcome, Workdir};

/// The last lines of the log that are shown after a crash.
const LOG_LINES: usize = 15;

/// A running engine.
pub(crate) struct Engine {
    process: Option<Guarded>,
    binary: PathBuf,
    pub(crate) config: PathBuf,
    log: PathBuf,
    pub(crate) api: HttpClient,
    pub(crate) admin: HttpClient,
    /// The port that was asked for, when it was taken.
    pub(crate) port_taken: Option<u16>,
}

/// What `swaptide audit --json` said.
pub(crate) struct Audit {
    pub(crate) exit_code: Option<i32>,
    pub(crate) json: Option<Value>,
    pub(crate) text: String,
}

impl Engine {
    /// Writes the configuration and starts `swaptide run`.
    pub(crate) fn start(binary: &Path, workdir: &Workdir, devnet: &Devnet, store_url: &str, port: u16) -> Outcome<Self> {
        let (api_port, port_taken) = match free_port(port) {
            Some(port) => (port, None),
            None => (free_port(0).ok_or("no free port on 127.0.0.1")?, Some(port)),
        };
        let admin_port = free_port(9464).or_else(|| free_port(0)).ok_or("no free port on 127.0.0.1")?;
        let (config, log) = (workdir.file("swaptide.toml"), workdir.file("engine.log"));
        let text = configuration(devnet, api_port, admin_port, store_url);
        std::fs::write(&config, text).map_err(|e| format!("cannot write {}: {e}", config.display()))?;
        let mut out = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .map_err(|e| format!("cannot write {}: {e}", log.display()))?;
        let args = ["run".as_ref(), "-c".as_ref(), config.as_os_str()];
        let process = Guarded::spawn(binary, args, StopBy::Term, &log, move |line| {
            let _ = writeln!(out, "{line}");
        })
        .map_err(|e| e.to_string())?;
        Ok(Self {
            process: Some(process),
            binary: binary.to_owned(),
            config,
            log,
            api: HttpClient::new(format!("127.0.0.1:{api_port}")),
            admin: HttpClient::new(format!("127.0.0.1:{admin_port}")),
            port_taken,
        })
    }

    /// Waits until it has reached the head.
    pub(crate) async fn wait_ready(&mut self, patience: Duration) -> Outcome {
        let end = Instant::now() + patience;
        loop {
            self.check_alive()?;
            if self.admin.get("/ready").await.is_ok_and(|r| r.status == 200) {
                return Ok(());
            }
            if Instant::now() > end {
                return Err(format!("the engine was not ready within {} s\n{}", patience.as_secs(), self.last_log_lines()));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// An error, with the end of the log, as soon as the engine is no longer there.
    pub(crate) fn check_alive(&mut self) -> Outcome {
        let status = match self.process.as_mut().map(Guarded::exit_status) {
            Some(Ok(None)) => return Ok(()),
            Some(Ok(Some(status))) => status.to_string(),
            Some(Err(e)) => e.to_string(),
            None => "stopped".to_owned(),
        };
        Err(format!("the engine ended by itself ({status}); the end of its log:\n{}", self.last_log_lines()))
    }

    /// Asks the engine's own binary whether its state equals the contracts'.
    pub(crate) async fn audit(&self) -> Outcome<Audit> {
        let mut command = tokio::process::Command::new(&self.binary);
        command.arg("audit").arg("-c").arg(&self.config).arg("--json").kill_on_drop(true);
        let output = tokio::time::timeout(Duration::from_secs(120), command.output());
        let output = output
            .await
            .map_err(|_| "the audit took more than 120 s")?
            .map_err(|e| format!("the audit cannot be started: {e}"))?;
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        let text = format!("{stdout}{}", String::from_utf8_lossy(&output.stderr)).trim().to_owned();
        Ok(Audit { exit_code: output.status.code(), json: serde_json::from_str(stdout.trim()).ok(), text })
    }

    /// SIGTERM, and its exit code.
    pub(crate) async fn stop(&mut self) -> Outcome {
        let Some(process) = self.process.take() else { return Ok(()) };
        match process.stop(Duration::from_secs(25)).await {
            Some(status) if status.success() => Ok(()),
            Some(status) => {
                Err(format!("the engine did not end well ({status}); the end of its log:\n{}", self.last_log_lines()))
            }
            None => Err("the engine did not end within 20 s of SIGTERM and was killed".to_owned()),
        }
    }

    fn last_log_lines(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines.iter().skip(lines.len().saturating_sub(LOG_LINES)).map(|line| format!("  {line}\n")).collect()
    }
}

/// `port` when it can be bound; any when `port` is 0.
fn free_port(port: u16) -> Option<u16> {
    TcpListener::bind(("127.0.0.1", port)).and_then(|l| l.local_addr()).ok().map(|a| a.port())
}

/// The keys are a contract: `docs/` and design.md list them.
fn configuration(devnet: &Devnet, api_port: u16, admin_port: u16, store_url: &str) -> String {
    let d = &devnet.deployment;
    let stablecoins: Vec<String> = d.stablecoins().iter().map(|a| format!("\"{a}\"")).collect();
    let mut text = String::new();
    let _ = write!(
        text,
        r#"# Written by the demo; removed with it.
[api]
listen = "127.0.0.1:{api_port}"

[admin]
listen = "127.0.0.1:{admin_port}"

[store]
url = "{store_url}"

[[chain]]
id = {}
name = "demo"
rpc = ["{}", "{}"]
start_block = {}
confirmations = 2
finality = 64
stablecoins = [{}]
wrapped_native = "{}"
min_depth_usd = 1
{}
[[chain.dex]]
name = "uniswap-v2"
protocol = "uniswap_v2"
factory = "{}"
lp_tokens = true

[[chain.dex]]
name = "uniswap-v3"
protocol = "uniswap_v3"
factory = "{}"
position_manager = "{}"
quoter = "{}"
"#,
        devnet.chain_id,
        devnet.ws_url,
        devnet.http_url,
        d.start_block,
        stablecoins.join(", "),
        d.weth,
        d.v4.as_ref().map(|v4| format!("universal_router = \"{}\"\n", v4.router)).unwrap_or_default(),
        d.v2_factory,
        d.v3_factory,
        d.nfpm,
        d.quoter,
    );
    if let Some(v4) = &d.v4 {
        text += &format!(
            "\n[[chain.dex]]\nname = \"uniswap-v4\"\nprotocol = \"uniswap_v4\"\nfactory = \"{}\"\nposition_manager = \"{}\"\nquoter = \"{}\"\n",
            v4.manager, v4.positions, v4.quoter
        );
    }
    text
}
