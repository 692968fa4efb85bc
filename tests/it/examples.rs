//! The examples, as whoever copies them would run them: their own tests, against this engine while the chain is reorganised.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use swaptide_demo::{Devnet, DevnetConfig, cache, parts};

use super::engine::{Engine, Setup};

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
        for part in ["src", "test"] {
            fs::create_dir_all(folder.join(part)).unwrap();
            for entry in fs::read_dir(source.join(part)).unwrap() {
                let entry = entry.unwrap();
                fs::copy(entry.path(), folder.join(part).join(entry.file_name())).unwrap();
            }
        }
        for file in ["package.json", "tsconfig.json"] {
            fs::copy(source.join(file), folder.join(file)).unwrap();
        }
        std::os::unix::fs::symlink(parts::example().unwrap().join("node_modules"), folder.join("node_modules")).unwrap();
        let example = Self { log: temporary.join("example.log"), folder };
        // Strict, and without output where there is an error: this is the type check.
        let compiled = example.node(&["node_modules/typescript/bin/tsc"], &[]).wait();
        assert!(compiled.success(), "it compiles:\n{}", example.said());
        example
    }

    /// Starts Node there. What it says goes to the log, which begins anew.
    fn node(&self, args: &[&str], env: &[(&str, &str)]) -> Running {
        let log = fs::File::create(&self.log).unwrap();
        let child = Command::new("node")
            .args(args)
            .envs(env.iter().copied())
            .current_dir(&self.folder)
            .stdin(Stdio::null())
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
