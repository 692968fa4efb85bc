//! The engine on a real MongoDB: P1 through kills of either side, and a live side that does not wait for the store.

use serde_json::json;
use swaptide::store::{
    History as _,
    mongo::{MongoConfig, MongoHistory},
};
use swaptide_demo::{Devnet, DevnetConfig, Mongod};

use super::{
    engine::{Engine, PATIENCE, Setup, run},
    follow::watched_logs,
    state,
};

pub async fn stored_logs(uri: &str, devnet: &Devnet) -> u64 {
    let history = MongoHistory::open(MongoConfig::new(uri, || 0)).await.unwrap();
    let genesis = devnet.rpc_call("eth_getBlockByNumber", json!(["0x0", false])).await.unwrap();
    history.claim(devnet.chain_id, genesis["hash"].as_str().unwrap().parse().unwrap()).await.unwrap();
    history.log_counts(devnet.chain_id).await.unwrap().1
}

async fn trade(devnet: &mut Devnet, blocks: u64) {
    for _ in 0..blocks {
        devnet.trader.push_random(8).await.unwrap();
        devnet.mine().await.unwrap();
    }
}

/// Until everything that the engine serves is in the store, too.
pub async fn durable(engine: &Engine, devnet: &Devnet) {
    let head = devnet.head().await.unwrap().number;
    let line = format!("swaptide_durable_block{{chain=\"{}\"}} {head}", devnet.chain_id);
    let stored = async {
        loop {
            let metrics = String::from_utf8(engine.admin.get("/metrics").await.unwrap().body).unwrap();
            if metrics.lines().any(|l| l == line) {
                return;
            }
        }
    };
    assert!(tokio::time::timeout(PATIENCE, stored).await.is_ok(), "block {head} is stored; the engine said:\n{}", engine.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_it_comes_back_on_mongodb_with_nothing_lost_and_nothing_double() {
    let folder = tempfile::tempdir().unwrap();
    let mongod = Mongod::start().await.unwrap();
    let mut devnet = Devnet::start(DevnetConfig { seed: 41, ..DevnetConfig::default() }).await.unwrap();
    // A backfill in ranges first, then block by block.
    devnet.fill(90, 6).await.unwrap();
    let uri = mongod.uri("swaptide");
    let setup =
        Setup { store_url: Some(uri.clone()), extra_chain: "finality = 32".to_owned(), ..Setup::of(&devnet, folder.path()) };
    for round in 0..4u64 {
        let engine = Engine::start(&setup, folder.path()).await;
        if round % 2 == 1 {
            engine.at_head(&devnet).await;
        }
        trade(&mut devnet, 1 + round).await;
        engine.kill().await;
        devnet.reorg(1 + round % 2).await.unwrap();
    }
    let engine = Engine::start(&setup, folder.path()).await;
    engine.at_head(&devnet).await;
    state::compare(&engine, &devnet).await;
    durable(&engine, &devnet).await;
    assert_eq!(stored_logs(&uri, &devnet).await, watched_logs(&devnet).await);
    // What is older than memory comes from the store.
    let query = "{ swaps(first: 5) { nodes { id } } }";
    let old = engine.raw_query(query, json!({})).await;
    assert!(old["data"]["swaps"]["nodes"].as_array().is_some_and(|nodes| nodes.len() == 5), "{old}");
    assert!(engine.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn while_mongodb_is_away_the_live_side_goes_on_and_afterwards_nothing_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let mut mongod = Mongod::start().await.unwrap();
    let mut devnet = Devnet::start(DevnetConfig { seed: 42, ..DevnetConfig::default() }).await.unwrap();
    let uri = mongod.uri("swaptide");
    let setup = Setup { store_url: Some(uri.clone()), ..Setup::of(&devnet, folder.path()) };
    let engine = Engine::start(&setup, folder.path()).await;
    engine.at_head(&devnet).await;
    durable(&engine, &devnet).await;

    mongod.kill();
    for round in 0..6 {
        trade(&mut devnet, 1).await;
        if round == 3 {
            devnet.reorg(2).await.unwrap();
        }
        engine.at_head(&devnet).await;
    }
    state::compare(&engine, &devnet).await;
    engine.says(|line| line.contains("the store is tried again") && line.contains("MongoDB")).await;

    mongod.resume().await.unwrap();
    durable(&engine, &devnet).await;
    assert_eq!(stored_logs(&uri, &devnet).await, watched_logs(&devnet).await);
    assert!(engine.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn started_while_mongodb_is_away_it_serves_live_and_moves_over_once_that_answers() {
    let folder = tempfile::tempdir().unwrap();
    let mut mongod = Mongod::start().await.unwrap();
    let mut devnet = Devnet::start(DevnetConfig { seed: 43, ..DevnetConfig::default() }).await.unwrap();
    let uri = mongod.uri("swaptide");
    let setup = Setup { store_url: Some(format!("{uri}&serverSelectionTimeoutMS=500")), ..Setup::of(&devnet, folder.path()) };
    let engine = Engine::start(&setup, folder.path()).await;
    engine.at_head(&devnet).await;
    assert!(engine.terminate().await.success());
    trade(&mut devnet, 2).await;

    mongod.kill();
    let engine = Engine::start(&setup, folder.path()).await;
    engine.says(|line| line.contains("serving without the store") && line.contains("MongoDB cannot be reached")).await;
    for depth in 1..4 {
        engine.at_head(&devnet).await;
        trade(&mut devnet, 1).await;
        devnet.reorg(depth).await.unwrap();
    }
    engine.at_head(&devnet).await;
    state::compare(&engine, &devnet).await;
    let chain = engine.status().await["chains"][0].clone();
    assert_eq!(
        (&chain["store_stand_in"], &chain["durable_block"]),
        (&json!(true), &json!(0)),
        "it does not call durable what is not"
    );
    let meta = engine.query("{ _meta { durableBlock } swaps(first: 1) { nodes { id } } }", json!({})).await;
    assert_eq!(meta["_meta"]["durableBlock"], json!(0));
    assert_eq!(meta["swaps"]["nodes"].as_array().map(Vec::len), Some(1), "history is there, too");

    mongod.resume().await.unwrap();
    engine.says(|line| line.contains("the store answers")).await;
    durable(&engine, &devnet).await;
    state::compare(&engine, &devnet).await;
    assert_eq!(engine.status().await["chains"][0]["store_stand_in"], json!(false));
    trade(&mut devnet, 1).await;
    durable(&engine, &devnet).await;
    assert_eq!(stored_logs(&uri, &devnet).await, watched_logs(&devnet).await);
    assert!(engine.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mongodb_that_cannot_be_used_is_one_line_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let devnet = Devnet::start(DevnetConfig::tiny()).await.unwrap();
    for (url, says) in
        [("mongodb://ada:s3cret@", "no MongoDB URI"), ("postgres://ada:s3cret@127.0.0.1/x", "mongodb://host:port/database")]
    {
        let setup = Setup { store_url: Some(url.to_owned()), ..Setup::of(&devnet, folder.path()) };
        let config = setup.write(folder.path());
        let (code, _, stderr) = run(&["run", "-c", config.to_str().unwrap()]).await;
        let line = stderr.lines().last().unwrap_or_default();
        assert_eq!(code, 1, "{stderr}");
        assert!(line.starts_with("error: ") && line.contains(says) && !stderr.contains("s3cret"), "{stderr}");
    }
}

/// A key with its certificate for this machine, and the certificate alone.
fn certificate() -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
    let certificate = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap().pem();
    (format!("{}{certificate}", key.serialize_pem()), certificate)
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_the_certificate_is_checked() {
    let folder = tempfile::tempdir().unwrap();
    let ((pem, ours), (_, another)) = (certificate(), certificate());
    let [ours, another] = [("ours.pem", ours), ("another.pem", another)].map(|(name, text)| {
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        file
    });
    let mongod = Mongod::start_with_tls(&pem).await.unwrap();
    let devnet = Devnet::start(DevnetConfig::tiny()).await.unwrap();
    let store =
        |ca: &std::path::Path| Setup { store_url: Some(mongod.tls_uri("over_tls", ca)), ..Setup::of(&devnet, folder.path()) };

    let engine = Engine::start(&store(&another), folder.path()).await;
    engine.says(|line| line.contains("MongoDB cannot be reached") && line.contains("certificate")).await;
    assert!(engine.terminate().await.success());

    let engine = Engine::start(&store(&ours), folder.path()).await;
    engine.at_head(&devnet).await;
    durable(&engine, &devnet).await;
    assert!(engine.terminate().await.success());
    assert_eq!(stored_logs(&mongod.uri("over_tls"), &devnet).await, watched_logs(&devnet).await);
}
