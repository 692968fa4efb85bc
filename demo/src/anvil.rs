//! A real EVM node on a free port.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use serde_json::json;
use tokio::sync::oneshot;

use crate::{
    error::{Error, Result},
    guard::{Guarded, StopBy},
    parts::Parts,
    rpc::Rpc,
};

/// The mnemonic that every local node uses; it holds nothing anywhere else.
const MNEMONIC: &str = "test test test test test test test test test test test junk";
/// 60 s: a cold start on a busy machine with two cores takes 2 s.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// Where block times come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// The genesis has this Unix time in seconds, and every block is `step_s` seconds later: a seed repeats every hash.
    Fixed { genesis_s: u64, step_s: u64 },
    /// The machine's clock, for people who watch.
    Real,
}

impl Default for Clock {
    fn default() -> Self {
        Self::Fixed { genesis_s: 1_700_000_000, step_s: 1 }
    }
}

/// How the node is started.
#[derive(Debug, Clone)]
pub struct AnvilConfig {
    pub chain_id: u64,
    pub clock: Clock,
    /// Unlocked accounts of 1,000,000,000 ether each.
    pub accounts: u16,
    /// `None`: a free one.
    pub port: Option<u16>,
    /// Handed on as they are, such as `--slots-in-an-epoch 8`.
    pub extra_args: Vec<String>,
}

impl Default for AnvilConfig {
    fn default() -> Self {
        Self { chain_id: 31_337, clock: Clock::default(), accounts: 20, port: None, extra_args: Vec::new() }
    }
}

/// A running node; dropping it kills it. It mines only when asked to.
#[derive(Debug)]
pub struct Anvil {
    process: Guarded,
    log: PathBuf,
    port: u16,
}

impl Anvil {
    /// Starts a node and waits until it answers.
    ///
    /// # Errors
    /// When there is no anvil, or when it ends or stays silent instead of listening.
    pub async fn start(parts: &Parts, config: &AnvilConfig) -> Result<Self> {
        let (found, listening) = oneshot::channel();
        let mut found = Some(found);
        let log = log_file();
        let process = Guarded::spawn(&parts.anvil()?, args(config), StopBy::Kill, &log, move |line| {
            // Asking for port 0 and reading the answer leaves no moment in which somebody else can take the port.
            if let Some(port) = line.strip_prefix("Listening on ").and_then(|a| a.rsplit(':').next()?.trim().parse::<u16>().ok())
                && let Some(found) = found.take()
            {
                let _ = found.send(port);
            }
        })?;
        let mut anvil = Self { process, log, port: 0 };
        anvil.port = match tokio::time::timeout(START_DEADLINE, listening).await {
            Ok(Ok(port)) => port,
            Ok(Err(_)) => return Err(anvil.failed("ended instead of listening")),
            Err(_) => return Err(anvil.failed("did not listen within 60 s")),
        };
        let rpc = anvil.rpc();
        rpc.call("anvil_setLoggingEnabled", json!([false])).await?;
        if let Clock::Fixed { step_s, .. } = config.clock {
            rpc.call("anvil_setBlockTimestampInterval", json!([step_s])).await?;
        }
        Ok(anvil)
    }

    /// `127.0.0.1:port`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// A client for it.
    pub fn rpc(&self) -> Rpc {
        Rpc::new(self.host())
    }

    /// Whether the process still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.process.exit_status(), Ok(None))
    }

    fn failed(&self, problem: &str) -> Error {
        let said = std::fs::read_to_string(&self.log).unwrap_or_default();
        let said = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing").to_owned();
        Error::Process { program: "anvil".to_owned(), problem: format!("{problem}: {said}") }
    }
}

impl Drop for Anvil {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.log);
    }
}

fn args(config: &AnvilConfig) -> Vec<String> {
    let mut args: Vec<String> = [
        "--host",
        "127.0.0.1",
        "--order",
        "fees",
        "--no-mining",
        "--balance",
        "1000000000",
        "--gas-limit",
        "3000000000",
        "--disable-code-size-limit",
        "--block-base-fee-per-gas",
        "1000000000",
        "--no-request-size-limit",
        "--mnemonic",
        MNEMONIC,
    ]
    .map(str::to_owned)
    .to_vec();
    let mut set = |name: &str, value: u64| args.extend([name.to_owned(), value.to_string()]);
    set("--port", u64::from(config.port.unwrap_or(0)));
    set("--chain-id", config.chain_id);
    set("--accounts", u64::from(config.accounts));
    if let Clock::Fixed { genesis_s, .. } = config.clock {
        set("--timestamp", genesis_s);
    }
    args.extend(config.extra_args.iter().cloned());
    args
}

fn log_file() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("swaptide-anvil-{}-{n}.log", std::process::id()))
}
