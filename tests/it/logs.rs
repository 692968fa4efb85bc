//! What operators read: log lines, as text and as JSON.

use serde_json::Value;
use swaptide_demo::{Devnet, DevnetConfig};

use super::engine::{Engine, Setup, run};

#[tokio::test(flavor = "multi_thread")]
async fn with_json_logs_every_line_is_an_object_with_time_level_and_message_and_holds_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let mut devnet = Devnet::start(DevnetConfig::tiny()).await.unwrap();
    let mut setup = Setup::of(&devnet, folder.path());
    setup.args = vec!["--log-format", "json"];
    // Path and query are where providers put the key.
    setup.rpc = vec![format!("{}/?key=that-is-secret", devnet.ws_url), format!("{}/?key=that-is-secret", devnet.http_url)];
    let engine = Engine::start(&setup, folder.path()).await;
    engine.at_head(&devnet).await;
    devnet.mine().await.unwrap();
    engine.at_head(&devnet).await;
    devnet.reorg(1).await.unwrap();
    engine.at_head(&devnet).await;
    let reorg = engine.says(|line| line.contains("\"message\":\"reorg\"")).await;
    assert_eq!(serde_json::from_str::<Value>(&reorg).unwrap()["depth"], 1, "fields are numbers, not words: {reorg}");
    let log = engine.log();
    assert!(engine.terminate().await.success());
    assert!(log.lines().count() >= 3, "{log}");
    for line in log.lines() {
        let entry: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        for field in ["timestamp", "level", "message"] {
            assert!(entry[field].is_string(), "{field} of {line}");
        }
    }
    assert!(!log.contains("secret"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn text_logs_hold_no_secret_either() {
    let folder = tempfile::tempdir().unwrap();
    let devnet = Devnet::start(DevnetConfig::tiny()).await.unwrap();
    let mut setup = Setup::of(&devnet, folder.path());
    // The first is refused at once, the second works.
    setup.rpc = vec!["ws://127.0.0.1:9/?key=that-is-secret".to_owned(), format!("{}/?key=that-is-secret", devnet.http_url)];
    let engine = Engine::start(&setup, folder.path()).await;
    engine.at_head(&devnet).await;
    let (log, status) = (engine.log(), engine.status().await.to_string());
    assert!(log.contains("127.0.0.1:9"), "an endpoint is named by its host: {log}");
    for text in [log, status, String::from_utf8(engine.admin.get("/metrics").await.unwrap().body).unwrap()] {
        assert!(!text.contains("secret"), "{text}");
    }
    setup.rpc.truncate(1);
    let config = setup.write(folder.path());
    let (code, _, stderr) = run(&["run", "-c", config.to_str().unwrap()]).await;
    assert_eq!(code, 1);
    assert!(!stderr.contains("secret"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listed_pool_is_served_however_old_it_is_and_one_that_its_factory_does_not_know_is_named() {
    let mut devnet = Devnet::start(DevnetConfig::tiny()).await.unwrap();
    let pool = devnet.deployment.pools[0].address;
    let stranger = devnet.deployment.pools[0].token0.address;
    devnet.fill(20, 2).await.unwrap();
    let names = |line: &str| line.contains("its factory does not know it") && line.contains(&format!("{stranger:#x}"));
    for start in ["\"latest\"", "0"] {
        let folder = tempfile::tempdir().unwrap();
        let mut setup = Setup::of(&devnet, folder.path());
        setup.dexes.truncate(1);
        setup.extra_chain = format!("start_block = {start}\nfinality = 4");
        setup.extra_dex = format!("pools = [\"{pool}\", \"{stranger}\"]");
        let engine = Engine::start(&setup, folder.path()).await;
        engine.at_head(&devnet).await;
        assert_eq!(engine.state().await.pools.len(), 1);
        engine.says(names).await;
        assert!(!engine.log().contains(&format!("{pool:#x}")), "there is nothing to say of the other: {}", engine.log());
        assert!(engine.terminate().await.success());
    }
}
