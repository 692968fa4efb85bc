//! `swaptide init` and `swaptide doctor`: a configuration to begin with, and what is said of one before it is run.

use std::path::Path;

use serde_json::Value;
use swaptide_demo::{Devnet, DevnetConfig, Mongod, anvil::Clock};

use super::engine::{Engine, PATIENCE, Setup, run};

/// What `doctor` says: its exit code, the table, and the same as JSON.
async fn doctor(setup: &Setup, folder: &Path) -> (i32, String, Vec<Value>) {
    let file = setup.write(folder);
    let before = names(folder);
    let (code, table, stderr) = run(&["doctor", "-c", file.to_str().unwrap()]).await;
    assert_eq!(stderr, "", "the table says everything");
    let (same, json, _) = run(&["doctor", "-c", file.to_str().unwrap(), "--json"]).await;
    assert_eq!(same, code);
    assert_eq!(names(folder), before, "nothing is written");
    let report: Value = serde_json::from_str(&json).unwrap();
    let rows = report["rows"].as_array().unwrap().clone();
    assert_eq!(code, i32::from(report["failures"] != 0), "{table}");
    for row in &rows {
        assert!(table.contains(row["check"].as_str().unwrap()), "the table has the rows of the JSON");
    }
    (code, table, rows)
}

/// The detail of the row of a place and a check, which must have this verdict.
fn detail<'a>(rows: &'a [Value], place: &str, check: &str, verdict: &str) -> &'a str {
    let is_it = |row: &&Value| row["place"].as_str().unwrap().contains(place) && row["check"] == check;
    let row = rows.iter().find(is_it).unwrap_or_else(|| panic!("no row {place}, {check} in {rows:#?}"));
    assert_eq!(row["verdict"], verdict, "{row}");
    row["detail"].as_str().unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A chain of now, with a pool of each protocol.
async fn chain() -> Devnet {
    let size =
        DevnetConfig { tokens: 3, v2_pools: 1, v3_pools: 1, max_new_pools: 0, clock: Clock::Real, ..DevnetConfig::default() };
    Devnet::start(size).await.unwrap()
}

fn pools(devnet: &Devnet) -> Vec<String> {
    devnet.deployment.pools.iter().map(|pool| pool.address.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_configuration_is_found_good_before_while_and_after_it_runs() {
    let folder = tempfile::tempdir().unwrap();
    let mut devnet = chain().await;
    devnet.fill(3, 4).await.unwrap();
    let all = pools(&devnet);
    let mut setup = Setup::of(&devnet, folder.path());
    setup.extra_chain = "finality = 1\nconfirmations = 1\nstart_block = \"latest\"\nstall_timeout_ms = 60000".to_owned();
    setup.dexes.remove(0);
    setup.extra_dex = format!("pools = [{:?}]", all.last().unwrap());
    let (code, table, rows) = doctor(&setup, folder.path()).await;
    println!("{table}");
    assert_eq!(code, 0, "{table}");
    for kind in ["http", "ws"] {
        let place = format!("test 127.0.0.1:{} {kind}", devnet.http_url.rsplit(':').next().unwrap());
        assert!(detail(&rows, &place, "reachable", "ok").ends_with(" ms"));
        assert_eq!(detail(&rows, &place, "chain id", "ok"), "31337");
        assert!(detail(&rows, &place, "head", "ok").contains("s old"));
        assert_eq!(detail(&rows, &place, "genesis", "ok").len(), 66);
        assert!(detail(&rows, &place, "eth_getLogs", "ok").contains("the whole chain"));
        assert!(detail(&rows, &place, "logs proof", "ok").contains("fit the bloom"));
        assert!(detail(&rows, &place, "state", "ok").contains("archive"));
        assert!(detail(&rows, &place, "receipts", "ok").contains("eth_getBlockReceipts"));
    }
    assert!(detail(&rows, " ws", "newHeads", "ok").contains("subscribed"));
    assert!(detail(&rows, "dex-0", "factory", "ok").contains(&devnet.deployment.v3_factory.to_string()));
    assert_eq!(detail(&rows, "dex-0", "pools", "ok"), "all 1 are its own");
    assert!(detail(&rows, "dex-0", "older pools", "ok").contains("can be read at block"));
    assert!(detail(&rows, "store SQLite", "file", "ok").contains("is made by the first start"));
    detail(&rows, "store SQLite", "rights", "ok");
    assert!(detail(&rows, "store SQLite", "chain 31337", "ok").contains("not in it yet"));
    assert!(!setup.database.exists(), "the file does not appear");

    let engine = Engine::start(&setup, folder.path()).await;
    engine.at_head(&devnet).await;
    let (code, table, rows) = doctor(&setup, folder.path()).await;
    assert_eq!(code, 0, "{table}");
    assert!(detail(&rows, "store SQLite", "chain 31337", "ok").contains("goes on where it stopped"));
    assert!(detail(&rows, "dex-0", "older pools", "ok").contains("in the store already"));
    assert!(engine.terminate().await.success());
    let stored = std::fs::read(&setup.database).unwrap();
    let (code, table, _) = doctor(&setup, folder.path()).await;
    assert_eq!(code, 0, "{table}");
    assert_eq!(std::fs::read(&setup.database).unwrap(), stored, "not a byte is changed");

    setup.extra_chain.push_str("\nproof = \"receipts\"");
    let (code, table, rows) = doctor(&setup, folder.path()).await;
    assert_eq!(code, 0, "{table}");
    assert!(detail(&rows, " http", "logs proof", "ok").contains("fit the receipts' root"), "{table}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_named_each_by_itself_and_no_secret_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let devnet = chain().await;
    let other = Devnet::start(DevnetConfig { chain_id: 424_242, ..DevnetConfig::tiny() }).await.unwrap();
    let mut setup = Setup::of(&devnet, folder.path());
    // One that is well, two that are dead, one that refuses the key, and one of another chain.
    setup.rpc = vec![
        format!("{}/?key=secret-key", devnet.http_url),
        "http://127.0.0.1:9/secret-key".to_owned(),
        "ws://ada:secret-key@127.0.0.1:9".to_owned(),
        format!("{}/secret-key", devnet.http_url),
        format!("{}/?key=secret-key", other.http_url),
    ];
    let (v2, v3) = (devnet.deployment.v2_factory.to_string(), devnet.deployment.v3_factory.to_string());
    let nothing = "0x000000000000000000000000000000000000dEaD".to_owned();
    let (v2_pool, token) = (pools(&devnet).remove(0), devnet.deployment.tokens[0].address.to_string());
    // Each factory under the other's protocol, a token for a factory, and nothing at all.
    setup.dexes = [("uniswap_v3", &v2), ("uniswap_v2", &v3), ("uniswap_v2", &token), ("uniswap_v2", &nothing)]
        .map(|(protocol, factory)| (protocol.to_owned(), factory.clone()))
        .to_vec();
    let asked = std::time::Instant::now();
    let (code, table, rows) = doctor(&setup, folder.path()).await;
    println!("{table}");
    assert!(asked.elapsed() < PATIENCE, "a dead endpoint costs seconds");
    assert_eq!(code, 1, "{table}");
    assert!(!table.contains("secret-key") && !format!("{rows:?}").contains("secret-key"), "{table}");
    detail(&rows, "127.0.0.1:9 http", "reachable", "fail");
    detail(&rows, "127.0.0.1:9 ws", "reachable", "fail");
    let port = |devnet: &Devnet| devnet.http_url.rsplit(':').next().unwrap().to_owned();
    assert!(detail(&rows, &format!("{} http #2", port(&devnet)), "reachable", "fail").contains("404"));
    assert!(detail(&rows, &port(&other), "chain id", "fail").contains("serves chain 424242, the configuration says id = 31337"));
    assert!(detail(&rows, "dex-0", "factory", "fail").contains("set protocol = \"uniswap_v2\""));
    assert!(detail(&rows, "dex-1", "factory", "fail").contains("set protocol = \"uniswap_v3\""));
    assert!(detail(&rows, "dex-2", "factory", "fail").contains("does not answer as a factory"));
    assert!(detail(&rows, "dex-3", "factory", "fail").contains("no contract"));
    let well = rows.iter().filter(|row| row["verdict"] == "ok").count();
    assert!(well >= 8, "what is well is said, too: {table}");

    // A pool of somebody else, and a store of another chain.
    let mut setup = Setup::of(&devnet, folder.path());
    setup.dexes = vec![("uniswap_v2".to_owned(), v2)];
    setup.extra_dex = format!("pools = [{v2_pool:?}, {token:?}]");
    setup.store_url = Some("sqlite:/proc/swaptide.db".to_owned());
    let (code, table, rows) = doctor(&setup, folder.path()).await;
    assert_eq!(code, 1, "{table}");
    let foreign = detail(&rows, "dex-0", "pools", "fail");
    assert!(foreign.contains(&token) && !table.contains(&format!("not know {v2_pool}")), "{table}");

    let mine = Setup { extra_chain: "start_block = 1000000".to_owned(), ..Setup::of(&devnet, folder.path()) };
    let (_, _, rows) = doctor(&mine, folder.path()).await;
    assert!(detail(&rows, "test", "start_block", "fail").contains("above the newest block"));
}

#[tokio::test(flavor = "multi_thread")]
async fn state_that_the_first_start_needs_and_the_node_has_not_is_said_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let kept = vec!["--prune-history".to_owned(), "3".to_owned()];
    let size = DevnetConfig { clock: Clock::Real, anvil_args: kept, ..DevnetConfig::tiny() };
    let mut devnet = Devnet::start(size).await.unwrap();
    devnet.fill(8, 2).await.unwrap();
    let mut setup = Setup::of(&devnet, folder.path());
    setup.dexes.truncate(1);
    setup.extra_dex = format!("pools = [{:?}]", pools(&devnet)[0]);
    for (finality, code_expected, verdict, says) in [
        (1, 0, "ok", "can be read at block"),
        (6, 1, "fail", "add an archive endpoint, start nearer to the head, or lower `finality`"),
    ] {
        setup.extra_chain =
            format!("start_block = \"latest\"\nconfirmations = 1\nfinality = {finality}\nstall_timeout_ms = 60000");
        let (code, table, rows) = doctor(&setup, folder.path()).await;
        println!("{table}");
        assert_eq!(code, code_expected, "{table}");
        assert!(detail(&rows, "dex-0", "older pools", verdict).contains(says), "{table}");
        assert!(!detail(&rows, "http", "state", "warn").contains("archive"), "{table}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_another_chain_or_program_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let devnet = Devnet::start(DevnetConfig::tiny()).await.unwrap();
    let setup = Setup { dexes: vec![Setup::of(&devnet, folder.path()).dexes.remove(0)], ..Setup::of(&devnet, folder.path()) };
    let engine = Engine::start(&setup, folder.path()).await;
    engine.at_head(&devnet).await;
    assert!(engine.terminate().await.success());
    drop(devnet);
    // The same chain id, another genesis.
    let later = Clock::Fixed { genesis_s: 1_600_000_000, step_s: 1 };
    let other = Devnet::start(DevnetConfig { clock: later, ..DevnetConfig::tiny() }).await.unwrap();
    let setup = Setup { dexes: vec![Setup::of(&other, folder.path()).dexes.remove(0)], ..Setup::of(&other, folder.path()) };
    let (code, table, rows) = doctor(&setup, folder.path()).await;
    assert_eq!(code, 1, "{table}");
    assert!(detail(&rows, "store SQLite", "chain 31337", "fail").contains("filled from another chain"));
    // It stands still since 2020.
    assert!(detail(&rows, "http", "head", "warn").contains("stand still"));

    std::fs::write(&setup.database, "these are my notes, and no database").unwrap();
    let (code, table, rows) = doctor(&setup, folder.path()).await;
    assert_eq!(code, 1, "{table}");
    assert!(detail(&rows, "store SQLite", "file", "fail").contains("no SQLite database"));
}

#[tokio::test(flavor = "multi_thread")]
async fn mongodb_is_looked_at_and_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let mongod = Mongod::start().await.unwrap();
    let devnet = Devnet::start(DevnetConfig::tiny()).await.unwrap();
    let mut setup = Setup { store_url: Some(mongod.uri("swaptide")), ..Setup::of(&devnet, folder.path()) };
    setup.dexes.truncate(1);
    // Twice: the first look must have left nothing behind.
    for _ in 0..2 {
        let (code, table, rows) = doctor(&setup, folder.path()).await;
        println!("{table}");
        assert_eq!(code, 0, "{table}");
        assert!(detail(&rows, "store MongoDB", "server", "ok").contains("MongoDB "));
        assert!(detail(&rows, "store MongoDB", "transactions", "ok").contains("replica set"));
        detail(&rows, "store MongoDB", "rights", "ok");
        assert!(detail(&rows, "store MongoDB", "database", "ok").contains("is empty"));
        assert!(detail(&rows, "store MongoDB", "chain 31337", "ok").contains("not in it yet"));
    }
    let engine = Engine::start(&setup, folder.path()).await;
    engine.at_head(&devnet).await;
    let (code, table, rows) = doctor(&setup, folder.path()).await;
    assert_eq!(code, 0, "{table}");
    assert!(detail(&rows, "store MongoDB", "database", "ok").contains("is ours, schema 6"));
    assert!(detail(&rows, "store MongoDB", "chain 31337", "ok").contains("goes on where it stopped"));
    assert!(engine.terminate().await.success());

    let away = "mongodb://ada:s3cret@127.0.0.1:9/x?serverSelectionTimeoutMS=200".to_owned();
    let (code, table, rows) = doctor(&Setup { store_url: Some(away), ..setup }, folder.path()).await;
    assert_eq!(code, 1, "{table}");
    assert!(detail(&rows, "store MongoDB", "server", "fail").contains("cannot be reached"));
    assert!(!table.contains("s3cret"), "{table}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_is_written_once_and_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("swaptide.toml");
    let file = file.to_str().unwrap();
    let (code, said, stderr) = run(&["init", "--chain", "base", "-o", file]).await;
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(said.contains("RPC_URL") && said.contains("swaptide doctor") && said.contains("swaptide run"), "{said}");
    let written = std::fs::read_to_string(file).unwrap();

    let check = |url: Option<&'static str>| {
        let mut command = std::process::Command::new(super::engine::binary());
        command.args(["check-config", file]).env_remove("RPC_URL");
        if let Some(url) = url {
            command.env("RPC_URL", url);
        }
        command.output().unwrap()
    };
    assert!(check(Some("wss://node.example/key")).status.success());
    let refused = check(None);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("RPC_URL"), "{refused:?}");

    let (code, _, stderr) = run(&["init", "--chain", "kaia", "-o", file]).await;
    assert_eq!(code, 1);
    assert!(stderr.contains("there already"), "{stderr}");
    assert_eq!(std::fs::read_to_string(file).unwrap(), written, "as it was");

    let (code, printed, _) = run(&["init", "--chain", "base", "--stdout"]).await;
    assert_eq!((code, printed), (0, written));
    let (code, _, stderr) = run(&["init", "--chain", "nowhere", "--stdout"]).await;
    assert_eq!(code, 2);
    assert!(stderr.contains("ethereum"), "the chains that there are: {stderr}");
    let (code, table, _) = run(&["doctor", "-c", "/nowhere/swaptide.toml"]).await;
    assert_eq!(code, 1);
    assert!(table.contains("FAIL  /nowhere/swaptide.toml"), "{table}");
}
