//! The engine as a process: its configuration, its log, its two doors.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use swaptide::audit::StateAt;
use swaptide_demo::{Devnet, http::HttpClient};
use tokio::sync::watch;

/// Generous: two cores may be building something else beside the test.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What a test may want different.
#[derive(Clone)]
pub struct Setup {
    pub database: PathBuf,
    /// In place of the SQLite file.
    pub store_url: Option<String>,
    pub rpc: Vec<String>,
    pub chain_id: u64,
    pub dexes: Vec<(String, String)>,
    /// Of every dex of V3.
    pub position_manager: Option<String>,
    /// Of every dex of V2.
    pub v4_position_manager: Option<String>,
    /// Of the calldata of quotes: the Universal Router, and those of V2 and V3.
    pub universal_router: Option<String>,
    pub routers: [String; 2],
    /// Who says what a swap comes to, of V3 and V4.
    pub quoters: [Option<String>; 2],
    pub lp_tokens: bool,
    /// More of `[store]`, in lines.
    pub extra_store: String,
    pub extra_chain: String,
    /// Further lines of every dex.
    pub extra_dex: String,
    /// Further chains.
    pub others: Vec<Setup>,
    pub api_listen: String,
    pub admin_listen: String,
    /// What stands behind the chains: `[[feed]]` and `[prices]`.
    pub extra: String,
    /// Further arguments of `swaptide run`.
    pub args: Vec<&'static str>,
}

impl Setup {
    /// All factories of the devnet, WebSocket first.
    pub fn of(devnet: &Devnet, folder: &Path) -> Self {
        let d = &devnet.deployment;
        let mut dexes =
            vec![("uniswap_v2".to_owned(), d.v2_factory.to_string()), ("uniswap_v3".to_owned(), d.v3_factory.to_string())];
        dexes.extend(d.v4.iter().map(|v4| ("uniswap_v4".to_owned(), v4.manager.to_string())));
        Self {
            database: folder.join("swaptide.db"),
            store_url: None,
            rpc: vec![devnet.ws_url.clone(), devnet.http_url.clone()],
            chain_id: devnet.chain_id,
            dexes,
            position_manager: Some(d.nfpm.to_string()),
            universal_router: d.v4.as_ref().map(|v4| v4.router.to_string()),
            quoters: [Some(d.quoter.to_string()), d.v4.as_ref().map(|v4| v4.quoter.to_string())],
            routers: [d.v2_router, d.v3_router].map(|router| router.to_string()),
            v4_position_manager: d.v4.as_ref().map(|v4| v4.positions.to_string()),
            lp_tokens: false,
            extra_store: String::new(),
            extra_chain: String::new(),
            extra_dex: String::new(),
            others: Vec::new(),
            api_listen: "127.0.0.1:0".to_owned(),
            admin_listen: "127.0.0.1:0".to_owned(),
            extra: String::new(),
            args: Vec::new(),
        }
    }

    pub fn toml(&self) -> String {
        let store = self.store_url.clone().unwrap_or_else(|| format!("sqlite:{}", self.database.display()));
        let (api, admin) = (&self.api_listen, &self.admin_listen);
        let head = format!(
            "[api]\nlisten = {api:?}\ncost_per_second = 0\n[admin]\nlisten = {admin:?}\n[store]\nurl = {store:?}\n{}",
            self.extra_store
        );
        let others = self.others.iter().map(Self::chain_toml);
        std::iter::once(self.chain_toml()).chain(others).fold(head, |text, chain| text + &chain) + &self.extra
    }

    fn chain_toml(&self) -> String {
        let rpc: Vec<String> = self.rpc.iter().map(|url| format!("{url:?}")).collect();
        let (id, rpc, extra) = (self.chain_id, rpc.join(", "), &self.extra_chain);
        let universal =
            self.universal_router.as_ref().map(|router| format!("universal_router = {router:?}\n")).unwrap_or_default();
        let mut text = format!("[[chain]]\nid = {id}\nname = \"test\"\nrpc = [{rpc}]\n{universal}{extra}\n");
        for (i, (protocol, factory)) in self.dexes.iter().enumerate() {
            let manager = match protocol.as_str() {
                "uniswap_v3" => self.position_manager.as_ref(),
                "uniswap_v4" => self.v4_position_manager.as_ref(),
                _ => None,
            };
            let manager = manager.map(|manager| format!("position_manager = {manager:?}\n")).unwrap_or_default();
            let shares = if self.lp_tokens && protocol == "uniswap_v2" { "lp_tokens = true\n" } else { "" };
            let [v2, v3] = &self.routers;
            let router = match protocol.as_str() {
                "uniswap_v2" => format!("router = {v2:?}\n"),
                "uniswap_v3" => format!("router = {v3:?}\n"),
                _ => String::new(),
            };
            let [v3, v4] = &self.quoters;
            let quoter = match protocol.as_str() {
                "uniswap_v3" => v3.as_ref(),
                "uniswap_v4" => v4.as_ref(),
                _ => None,
            };
            let quoter = quoter.map(|quoter| format!("quoter = {quoter:?}\n")).unwrap_or_default();
            let extra = format!("{router}{quoter}{}", self.extra_dex);
            text.push_str(&format!(
                "[[chain.dex]]\nname = \"dex-{i}\"\nprotocol = {protocol:?}\nfactory = {factory:?}\n{manager}{shares}{extra}\n"
            ));
        }
        text
    }

    pub fn write(&self, folder: &Path) -> PathBuf {
        let file = folder.join("swaptide.toml");
        std::fs::write(&file, self.toml()).unwrap();
        file
    }
}

/// A running engine. Dropping it kills it.
pub struct Engine {
    child: Child,
    lines: watch::Receiver<Vec<String>>,
    pub api: HttpClient,
    pub admin: HttpClient,
}

impl Engine {
    /// Starts it and waits until it serves (not until it is at the head).
    pub async fn start(setup: &Setup, folder: &Path) -> Self {
        let (child, mut lines) = spawn(&setup.write(folder), &setup.args);
        let serving = |lines: &Vec<String>| lines.iter().any(|l| l.contains("serving on"));
        let outcome = tokio::time::timeout(PATIENCE, lines.wait_for(serving)).await.map(|r| r.is_ok());
        let all = lines.borrow().join("\n");
        assert_eq!(outcome, Ok(true), "the engine serves; it said:\n{all}");
        let line = all.lines().find(|l| l.contains("serving on")).unwrap().to_owned();
        let mut hosts = line
            .split("http://")
            .skip(1)
            .map(|rest| rest.chars().take_while(|c| c.is_ascii_digit() || *c == '.' || *c == ':').collect::<String>());
        let (api, admin) = (hosts.next().unwrap(), hosts.next().unwrap());
        Self { child, lines, api: HttpClient::new(api), admin: HttpClient::new(admin) }
    }

    pub fn log(&self) -> String {
        self.lines.borrow().join("\n")
    }

    /// Until a line of the log is like this; the line.
    pub async fn says(&self, what: impl Fn(&str) -> bool) -> String {
        let mut lines = self.lines.clone();
        let found = lines.wait_for(|lines| lines.iter().any(|l| what(l)));
        let found = tokio::time::timeout(PATIENCE, found).await.ok().and_then(Result::ok);
        found.and_then(|lines| lines.iter().find(|l| what(l)).cloned()).unwrap_or_else(|| panic!("it said only:\n{}", self.log()))
    }

    pub fn ws_url(&self) -> String {
        format!("ws://{}/graphql", self.api.host())
    }

    pub fn http_url(&self) -> String {
        format!("http://{}/graphql", self.api.host())
    }

    /// One GraphQL request; its `data`.
    pub async fn query(&self, query: &str, variables: Value) -> Value {
        let answer = self.raw_query(query, variables).await;
        assert!(answer.get("errors").is_none(), "{query}: {answer}");
        answer["data"].clone()
    }

    pub async fn raw_query(&self, query: &str, variables: Value) -> Value {
        let body = json!({ "query": query, "variables": variables }).to_string();
        let response = self.api.post_json("/graphql", &body).await.unwrap();
        assert!(response.status < 500, "never a 500: {} {}", response.status, String::from_utf8_lossy(&response.body));
        serde_json::from_slice(&response.body).unwrap()
    }

    /// Until the engine's head is the node's head.
    pub async fn at_head(&self, devnet: &Devnet) {
        let head = devnet.head().await.unwrap();
        let arrived = async {
            // `number_gte` waits on the server's side, so this is no busy loop.
            loop {
                let query = "query($n: Int!) { _meta(block: {number_gte: $n}) { block { hash } } }";
                let answer = self.raw_query(query, json!({ "n": head.number })).await;
                if answer["data"]["_meta"]["block"]["hash"] == json!(head.hash.to_string()) {
                    return;
                }
            }
        };
        let outcome = tokio::time::timeout(PATIENCE, arrived).await;
        assert!(outcome.is_ok(), "reaches block {} {}; the engine said:\n{}", head.number, head.hash, self.log());
    }

    /// The whole state of one epoch.
    pub async fn state(&self) -> StateAt {
        let response = self.admin.get("/admin/state").await.unwrap();
        assert_eq!(response.status, 200, "{}", String::from_utf8_lossy(&response.body));
        serde_json::from_slice(&response.body).unwrap()
    }

    pub async fn status(&self) -> Value {
        serde_json::from_slice(&self.admin.get("/status").await.unwrap().body).unwrap()
    }

    /// SIGTERM, and how it ended.
    pub async fn terminate(mut self) -> ExitStatus {
        self.signal("-TERM");
        let (status, said) = tokio::task::spawn_blocking(move || (self.child.wait().unwrap(), self.log())).await.unwrap();
        if !status.success() {
            eprintln!("{status}; the engine said:\n{said}");
        }
        status
    }

    /// SIGTERM while others still have it.
    pub fn leave(&self) {
        self.signal("-TERM");
    }

    /// SIGSTOP: it does nothing, and does not know.
    pub fn pause(&self) {
        self.signal("-STOP");
    }

    /// SIGCONT.
    pub fn go_on(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// How it ends by itself.
    pub async fn ended(mut self) -> ExitStatus {
        tokio::task::spawn_blocking(move || self.child.wait().unwrap()).await.unwrap()
    }

    /// SIGKILL: no flush, no goodbye.
    pub async fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts it, and waits for nothing: the process, and what it says.
pub fn begun(setup: &Setup, folder: &Path) -> (Child, watch::Receiver<Vec<String>>) {
    spawn(&setup.write(folder), &setup.args)
}

/// Starts it, and kills it so long after, wherever it is by then.
pub async fn killed_after(setup: &Setup, folder: &Path, wait: Duration) {
    let (mut child, _) = begun(setup, folder);
    let _ = tokio::time::timeout(wait, std::future::pending::<()>()).await;
    child.kill().unwrap();
    child.wait().unwrap();
}

pub fn binary() -> &'static str {
    env!("CARGO_BIN_EXE_swaptide")
}

fn spawn(config: &Path, args: &[&str]) -> (Child, watch::Receiver<Vec<String>>) {
    let mut child = Command::new(binary())
        .args(["run", "-c"])
        .arg(config)
        .args(args)
        // Tests ask as fast as they can.
        .env("SWAPTIDE__API__REQUESTS_PER_SECOND", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stderr = child.stderr.take().unwrap();
    let (tx, rx) = watch::channel(Vec::new());
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            tx.send_modify(|lines| lines.push(line));
        }
    });
    (child, rx)
}

/// Runs a command of the binary to its end: (exit code, stdout, stderr).
pub async fn run(args: &[&str]) -> (i32, String, String) {
    let args: Vec<String> = args.iter().map(ToString::to_string).collect();
    let output = tokio::task::spawn_blocking(move || Command::new(binary()).args(args).stdin(Stdio::null()).output().unwrap());
    let output = tokio::time::timeout(PATIENCE, output).await.expect("it ends by itself").unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}
