//! `swaptide audit` finds what is wrong with what is stored, and nothing where nothing is.

use mongodb::bson::{Document, doc};
use serde_json::{Value, json};
use swaptide::domain::pool::PoolState;
use swaptide_demo::{Devnet, DevnetConfig, Mongod};

use super::{
    engine::{Engine, PATIENCE, Setup, run},
    fault::liar::{Liar, Told},
    mongo::durable,
};

struct World {
    devnet: Devnet,
    setup: Setup,
    folder: tempfile::TempDir,
}

impl World {
    async fn new(seed: u64, store_url: Option<String>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut devnet = Devnet::start(DevnetConfig { seed, ..DevnetConfig::default() }).await.unwrap();
        devnet.fill(40, 8).await.unwrap();
        let setup = Setup { store_url, extra_chain: "finality = 8".to_owned(), ..Setup::of(&devnet, folder.path()) };
        Self { devnet, setup, folder }
    }

    /// At the head, with everything stored.
    async fn engine(&self) -> Engine {
        let engine = Engine::start(&self.setup, self.folder.path()).await;
        engine.at_head(&self.devnet).await;
        durable(&engine, &self.devnet).await;
        engine
    }

    async fn audit(&self, more: &[&str]) -> (i32, String, String) {
        let file = self.folder.path().join("swaptide.toml");
        let args: Vec<&str> = ["audit", "-c", file.to_str().unwrap()].into_iter().chain(more.iter().copied()).collect();
        run(&args).await
    }

    /// With exit code 2: how many drifts, and each as `block:log found, expected`.
    async fn drifts(&self, more: &[&str]) -> (u64, Vec<(u64, u64, String, String)>) {
        let args: Vec<&str> = ["--events", "--json"].into_iter().chain(more.iter().copied()).collect();
        let (code, stdout, stderr) = self.audit(&args).await;
        assert_eq!(code, 2, "{stdout}\n{stderr}");
        let report: Value = serde_json::from_str(&stdout).unwrap();
        let told = |drift: &Value| {
            let text = |name: &str| drift[name].as_str().unwrap().to_owned();
            (drift["block_number"].as_u64().unwrap(), drift["log_index"].as_u64().unwrap(), text("found"), text("expected"))
        };
        let events = &report["events"];
        (events["drift_count"].as_u64().unwrap(), events["drifts"].as_array().unwrap().iter().map(told).collect())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_is_compared_with_the_logs_of_its_blocks_event_by_event() {
    let mut world = World::new(111, None).await;
    // Whoever audits asks where the configuration says.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    world.setup.admin_listen = free.to_string();
    let engine = world.engine().await;
    // Reorgs leave orphans, which are nobody's drift.
    world.devnet.reorg_keeping(5, 500).await.unwrap();
    world.devnet.fill(20, 8).await.unwrap();
    engine.at_head(&world.devnet).await;
    durable(&engine, &world.devnet).await;
    let (code, stdout, stderr) = world.audit(&["--events"]).await;
    assert_eq!(code, 0, "{stdout}\n{stderr}");
    print!("{stdout}");
    assert_eq!(stdout.lines().count(), 2, "{stdout}");
    assert!(stdout.lines().all(|line| line.contains("compared, equal to the chain")), "{stdout}");
    // A part of it, too: what came before is not needed.
    let (code, stdout, stderr) = world.audit(&["--events", "--from", "30", "--to", "45"]).await;
    assert_eq!(code, 0, "{stdout}\n{stderr}");
    assert!(stdout.contains("blocks 30 to 45: "), "{stdout}");
    let (code, _, stderr) = world.audit(&["--events", "--to", "100000"]).await;
    assert!(code == 1 && stderr.contains("is not final in the store"), "{code} {stderr}");
    assert!(engine.terminate().await.success());

    // Without an engine what is stored can be compared all the same.
    let (code, _, stderr) = world.audit(&[]).await;
    assert!(code == 1 && stderr.contains("or compare what is stored with --events"), "{code} {stderr}");
    let (code, stdout, stderr) = world.audit(&["--events"]).await;
    assert_eq!((code, stdout.lines().count()), (0, 1), "{stdout}\n{stderr}");

    let store = rusqlite::Connection::open(&world.setup.database).unwrap();
    let place = |nth: i64| -> (i64, i64) {
        let swaps = "SELECT number, log_index FROM events WHERE canonical = 1 AND kind = (SELECT min(kind) FROM events WHERE sync_log_index IS NOT \
                     NULL) ORDER BY number, log_index LIMIT 1 OFFSET ?1";
        store.query_row(swaps, [nth], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
    };
    let [lost, changed, hidden, copied] = [3, 6, 9, 12].map(place);
    let at = "WHERE canonical = 1 AND number = ?1 AND log_index = ?2";
    assert_eq!(store.execute(&format!("DELETE FROM events {at}"), lost).unwrap(), 1);
    let bytes = "substr(tx_hash, 1, 31) || x'00'";
    assert_eq!(store.execute(&format!("UPDATE events SET tx_hash = CAST({bytes} AS BLOB) {at}"), changed).unwrap(), 1);
    assert_eq!(store.execute(&format!("UPDATE events SET canonical = 0 {at}"), hidden).unwrap(), 1);
    let columns =
        "chain, fork, kind, canonical, pool, tx_index, derive_version, tx_hash, address, amount0, amount1, log, body, number";
    let copy = format!("INSERT INTO events ({columns}, log_index) SELECT {columns}, 9999 FROM events {at}");
    assert_eq!(store.execute(&copy, copied).unwrap(), 1);
    let (count, drifts) = world.drifts(&[]).await;
    let places: Vec<(i64, i64)> = drifts.iter().map(|(block, log, ..)| (block.cast_signed(), log.cast_signed())).collect();
    assert_eq!((count, places), (4, vec![lost, changed, hidden, (copied.0, 9_999)]), "{drifts:#?}");
    assert!(drifts[0].2 == "nothing" && drifts[0].3.contains("Swap"), "{:?}", drifts[0]);
    assert!(drifts[1].2.ends_with("00") && drifts[1].2 != drifts[1].3, "{:?}", drifts[1]);
    assert!(drifts[2].2 == "nothing", "{:?}", drifts[2]);
    assert!(drifts[3].3 == "nothing", "{:?}", drifts[3]);
    let (code, stdout, _) = world.audit(&["--events"]).await;
    print!("{stdout}");
    assert!(code == 2 && stdout.contains("DRIFT"), "{stdout}");
    // Where it is whole it is said to be.
    let (code, stdout, stderr) = world.audit(&["--events", "--from", &(copied.0 + 1).to_string()]).await;
    assert_eq!(code, 0, "{stdout}\n{stderr}");
    drop(store);
    std::fs::remove_file(&world.setup.database).unwrap();
    let (code, _, stderr) = world.audit(&["--events"]).await;
    assert!(code == 1 && stderr.contains("there is no database"), "{code} {stderr}");
    assert!(!world.setup.database.exists(), "nothing is made by looking");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_is_lost_in_mongodb_is_found() {
    let mongod = Mongod::start().await.unwrap();
    let uri = mongod.uri("swaptide");
    let world = World::new(112, Some(uri.clone())).await;
    let engine = world.engine().await;
    let (code, stdout, stderr) = world.audit(&["--events"]).await;
    assert_eq!(code, 0, "{stdout}\n{stderr}");
    let client = mongodb::Client::with_uri_str(&uri).await.unwrap();
    let events = client.database("swaptide").collection::<Document>("events");
    let gone = events.find_one_and_delete(doc! { "canonical": true }).await.unwrap();
    assert!(gone.is_some());
    // Also beside the engine that runs, whose memory is right.
    let (count, drifts) = world.drifts(&[]).await;
    assert_eq!(count, 1, "{drifts:#?}");
    assert_eq!(json!(drifts[0].2), json!("nothing"));
    assert!(engine.terminate().await.success());
}

/// It audits itself, and says so where a contract says something else.
#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_audits_itself_names_the_pool_that_differs() {
    let folder = tempfile::tempdir().unwrap();
    let mut devnet = Devnet::start(DevnetConfig { seed: 113, ..DevnetConfig::default() }).await.unwrap();
    devnet.fill(10, 8).await.unwrap();
    let liar = Liar::before(&devnet).await;
    let rpc = vec![liar.ws_url.clone(), liar.http_url.clone()];
    let setup = Setup { rpc, extra: "[audit]\ninterval = 1\n".to_owned(), ..Setup::of(&devnet, folder.path()) };
    let engine = Engine::start(&setup, folder.path()).await;
    engine.at_head(&devnet).await;
    let head = devnet.head().await.unwrap().number;
    let wrong = async |wrong: u64| {
        let (block, drift) = (format!("swaptide_audit_block{{chain=\"{}\"}} {head}", devnet.chain_id), format!("}} {wrong}"));
        let audited = async {
            loop {
                let metrics = String::from_utf8(engine.admin.get("/metrics").await.unwrap().body).unwrap();
                let has = |name: &str| metrics.lines().any(|line| line.starts_with(name) && line.ends_with(&drift));
                if metrics.lines().any(|line| line == block) && has("swaptide_audit_drift{") {
                    return;
                }
            }
        };
        assert!(tokio::time::timeout(PATIENCE, audited).await.is_ok(), "{wrong} differ; the engine said:\n{}", engine.log());
    };
    wrong(0).await;
    // The reserves of one pair: one of the answers in a batch of calls, so it is found by what stands in it.
    let truth = engine.state().await;
    let pair = truth.pools.iter().find_map(|pool| match &pool.state {
        PoolState::V2(v2) if v2.reserve0 > 0 => Some((pool.meta.id, format!("{:064x}", v2.reserve0))),
        _ => None,
    });
    let (pair, reserve) = pair.unwrap();
    liar.lies(move |method, _, answer| match answer["result"].as_str() {
        Some(result) if method == "eth_call" && result.contains(&reserve) => {
            let other = format!("{:064x}", u128::from_str_radix(&reserve, 16).unwrap() + 1);
            answer["result"] = json!(result.replacen(&reserve, &other, 1));
            Told::Changed
        }
        _ => Told::AsItIs,
    });
    let line = engine.says(|line| line.contains("DRIFT") && line.contains(&pair.to_string())).await;
    println!("{line}");
    wrong(1).await;
    liar.is_honest();
    wrong(0).await;
    assert_eq!(engine.log().matches("DRIFT").count(), 1, "told once: {}", engine.log());
    assert!(engine.terminate().await.success());
}
