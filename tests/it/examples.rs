//! The examples, as whoever copies them would run them: their own tests, against this engine while the chain is reorganised.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use swaptide_demo::{Devnet, DevnetConfig, cache, parts};

use super::{
    browser::{WAIT, chromium},
    engine::{Engine, Setup},
    node::NodeClient,
};

/// A chain that a page could follow; the example's tests need about 40 blocks of it.
const BLOCK_TIME: Duration = Duration::from_millis(150);
/// A reorg every so many blocks: the tests want five.
const BLOCKS_PER_REORG: u64 = 6;
/// The example's own patience is 180 s for each of its three tests.
const PATIENCE: Duration = Duration::from_secs(600);

/// The TypeScript example beside the packages of its lock file, compiled. Nothing is written into the repository.
struct Example {
    folder: PathBuf,
    log: PathBuf,
}

impl Example {
    fn compiled(temporary: &Path) -> Self {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(cache::EXAMPLE);
        let folder = temporary.join("example");
        for part in ["src", "test", "page"] {
            fs::create_dir_all(folder.join(part)).unwrap();
            for entry in fs::read_dir(source.join(part)).unwrap() {
                let entry = entry.unwrap();
                fs::copy(entry.path(), folder.join(part).join(entry.file_name())).unwrap();
            }
        }
        for file in ["package.json", "tsconfig.json", "tsconfig.page.json"] {
            fs::copy(source.join(file), folder.join(file)).unwrap();
        }
        std::os::unix::fs::symlink(parts::example().unwrap().join("node_modules"), folder.join("node_modules")).unwrap();
        let example = Self { log: temporary.join("example.log"), folder };
        // Strict, and without output where there is an error: this is the type check.
        example.does(&["node_modules/typescript/bin/tsc"]);
        example
    }

    /// Runs Node to its end, which must be a good one.
    fn does(&self, args: &[&str]) {
        assert!(self.node(args, &[]).wait().success(), "{args:?}:\n{}", self.said());
    }

    /// Starts Node there. What it says goes to the log, which begins anew.
    fn node(&self, args: &[&str], env: &[(&str, &str)]) -> Running {
        let log = fs::File::create(&self.log).unwrap();
        let child = Command::new("node")
            .args(args)
            .envs(env.iter().copied())
            .current_dir(&self.folder)
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("Node is installed");
        Running(child)
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// It passed, and nothing was left out.
    fn passed(&self, status: ExitStatus) {
        let said = self.said();
        assert!(status.success(), "{said}");
        for line in ["# fail 0", "# skipped 0"] {
            assert!(said.lines().any(|l| l == line), "{line}:\n{said}");
        }
    }
}

/// A process that ends with the test.
struct Running(Child);

impl Running {
    fn wait(mut self) -> ExitStatus {
        self.0.wait().unwrap()
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_typescript_example_compiles_strictly_and_folds_random_chains() {
    let temporary = tempfile::tempdir().unwrap();
    let example = Example::compiled(temporary.path());
    let lock = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(cache::EXAMPLE).join("package-lock.json")).unwrap();
    assert!(!lock.contains("\"resolved\""), "the lock file names no registry");
    for file in ["reducer", "pools", "property", "tape", "client"] {
        let status = example.node(&["--test-reporter=tap", &format!("dist/test/{file}.test.js")], &[]).wait();
        example.passed(status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_typescript_example_folds_reorgs_into_the_history_and_equals_the_chain() {
    let temporary = tempfile::tempdir().unwrap();
    let example = Example::compiled(temporary.path());
    let mut devnet = Devnet::start(DevnetConfig { seed: 23, ..DevnetConfig::default() }).await.unwrap();
    let engine = Engine::start(&Setup::of(&devnet, temporary.path()), temporary.path()).await;
    engine.at_head(&devnet).await;
    let url = format!("http://{}", engine.api.host());
    let env = [("SWAPTIDE_URL", url.as_str()), ("RPC_URL", devnet.http_url.as_str())];
    // One process, and not Node's runner with one for each file: dropping it leaves nothing behind.
    let mut tests = example.node(&["--test-reporter=tap", "dist/test/engine.test.js"], &env);
    let trading = async {
        let mut blocks = tokio::time::interval(BLOCK_TIME);
        let mut mined = 0;
        loop {
            blocks.tick().await;
            if let Some(status) = tests.ended() {
                return status;
            }
            devnet.trader.push_random(8).await.unwrap();
            devnet.mine().await.unwrap();
            mined += 1;
            if mined % BLOCKS_PER_REORG == 0 {
                devnet.reorg_keeping(1 + mined / BLOCKS_PER_REORG % 3, 650).await.unwrap();
            }
        }
    };
    let ended = tokio::time::timeout(PATIENCE, trading).await;
    let status = ended.unwrap_or_else(|_| panic!("the example's tests do not end; they said:\n{}", example.said()));
    example.passed(status);
}

/// Ends an engine, one way or the other, and starts it again at the same place once the chain has moved: some of what was told is
/// replaced, and more has come.
async fn again(engine: Engine, round: u64, devnet: &mut Devnet, setup: &Setup, folder: &Path) -> Engine {
    if round.is_multiple_of(2) {
        engine.kill().await;
    } else {
        assert!(engine.terminate().await.success());
    }
    if !round.is_multiple_of(3) {
        devnet.reorg_keeping(1 + round % 2, 500).await.unwrap();
    }
    devnet.fill(round % 3, 6).await.unwrap();
    Engine::start(setup, folder).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_typescript_example_goes_on_through_kills_restarts_and_reorgs() {
    let temporary = tempfile::tempdir().unwrap();
    let example = Example::compiled(temporary.path());
    let mut devnet = Devnet::start(DevnetConfig { seed: 67, ..DevnetConfig::default() }).await.unwrap();
    devnet.fill(20, 6).await.unwrap();
    let mut setup = Setup::of(&devnet, temporary.path());
    let mut engine = Engine::start(&setup, temporary.path()).await;
    engine.at_head(&devnet).await;
    setup.api_listen = engine.api.host().to_owned();
    let url = format!("http://{}", engine.api.host());
    let env = [("SWAPTIDE_URL", url.as_str()), ("RPC_URL", devnet.http_url.as_str()), ("SWAPTIDE_IS_KILLED", "1")];
    let mut tests = example.node(&["--test-reporter=tap", "dist/test/kills.test.js"], &env);
    let ended = tokio::time::timeout(PATIENCE, async {
        while !example.said().contains("following") {
            assert!(tests.ended().is_none(), "{}", example.said());
            devnet.fill(1, 6).await.unwrap();
            engine.at_head(&devnet).await;
        }
        for round in 0..6 {
            // It is back where the head is before the next trouble begins: what it was told may be taken back.
            let mut mined = Vec::new();
            while !mined.iter().any(|hash| example.said().contains(&format!("swaps at {hash}"))) {
                assert!(tests.ended().is_none(), "{}", example.said());
                mined.push(devnet.fill(1, 6).await.unwrap().hash);
                engine.at_head(&devnet).await;
            }
            // Told, and perhaps not stored yet when it is killed.
            devnet.reorg_keeping(2, 500).await.unwrap();
            engine.at_head(&devnet).await;
            engine = again(engine, round, &mut devnet, &setup, temporary.path()).await;
        }
        let last = devnet.fill(2, 6).await.unwrap();
        engine.at_head(&devnet).await;
        let end = format!("end {}\n", last.hash);
        tests.0.stdin.take().unwrap().write_all(end.as_bytes()).unwrap();
        loop {
            if let Some(status) = tests.ended() {
                return status;
            }
            engine.at_head(&devnet).await;
        }
    })
    .await;
    let status = ended.unwrap_or_else(|_| panic!("it does not end; it said:\n{}", example.said()));
    example.passed(status);
}

/// Swaps that are on the page and not struck through, newest first.
struct Page {
    client: NodeClient,
    shown: Value,
    wrong: Vec<Value>,
}

impl Page {
    async fn shows(&mut self, engine: &Engine, what: &str) {
        let answer = engine.query("{ swaps(first: 50, orderDirection: desc) { nodes { id } } }", json!({})).await;
        let truth: Vec<Value> = answer["swaps"]["nodes"].as_array().unwrap().iter().map(|node| node["id"].clone()).collect();
        let reading = async {
            loop {
                // Lines that are struck through take the room of as many old ones.
                let there = self.shown["there"].as_array().cloned().unwrap_or_default();
                let room = 50 - self.shown["gone"].as_u64().unwrap_or(0);
                if there.len() as u64 == room.min(truth.len() as u64) && truth.starts_with(&there) {
                    return;
                }
                let line = self.client.next().await;
                if line["event"] == "shown" { self.shown = line } else { self.wrong.push(line) }
            }
        };
        let outcome = tokio::time::timeout(WAIT, reading).await;
        assert!(outcome.is_ok(), "{what}: it shows {}, the API says {truth:?}; wrong was {:?}", self.shown, self.wrong);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_react_example_shows_the_truth_through_kills_restarts_and_reorgs() {
    let Some(chromium) = chromium() else { return };
    let temporary = tempfile::tempdir().unwrap();
    let example = Example::compiled(temporary.path());
    example.does(&["node_modules/typescript/bin/tsc", "-p", "tsconfig.page.json"]);
    example.does(&["page/build.mjs"]);
    let mut devnet = Devnet::start(DevnetConfig { seed: 71, ..DevnetConfig::default() }).await.unwrap();
    devnet.fill(20, 6).await.unwrap();
    let mut setup = Setup::of(&devnet, temporary.path());
    let mut engine = Engine::start(&setup, temporary.path()).await;
    engine.at_head(&devnet).await;
    setup.api_listen = engine.api.host().to_owned();
    let profile = temporary.path().join("browser");
    fs::create_dir(&profile).unwrap();
    let (built, url) = (example.folder.join("dist/page"), engine.http_url());
    let args = [chromium.to_str().unwrap(), profile.to_str().unwrap(), built.to_str().unwrap(), &url];
    let mut page = Page { client: NodeClient::start("react.mjs", &args), shown: Value::Null, wrong: Vec::new() };
    page.shows(&engine, "what there was").await;
    assert!(page.wrong.is_empty(), "{:?}", page.wrong);
    for round in 0..4 {
        devnet.fill(2, 4).await.unwrap();
        engine.at_head(&devnet).await;
        page.shows(&engine, "trades").await;
        devnet.reorg(1 + round % 2).await.unwrap();
        engine.at_head(&devnet).await;
        page.shows(&engine, "a reorg").await;
        assert!(page.shown["gone"].as_u64() > Some(0), "what was taken back is struck through: {}", page.shown);
        engine = again(engine, round, &mut devnet, &setup, temporary.path()).await;
        engine.at_head(&devnet).await;
        page.shows(&engine, "an outage").await;
    }
    assert!(page.shown["pools"].as_u64() > Some(0), "{}", page.shown);
    for line in &page.wrong {
        let away = |text: &str| ["ERR_", "Unexpected response code: 503", "WebSocket"].iter().any(|known| text.contains(known));
        assert!(line["event"] == "console" && line["text"].as_str().is_some_and(away), "{line}");
    }
}
