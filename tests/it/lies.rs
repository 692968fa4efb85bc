//! Rows 5 and 7: a node says of the chain what is not so. What proves itself is believed, and nothing else.

use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};
use swaptide_demo::{Devnet, DevnetConfig};

use super::{
    engine::{Engine, Setup},
    fault::{
        liar::{Liar, Told},
        oracle::Oracle,
    },
};

struct Doubt {
    devnet: Devnet,
    liar: Liar,
    setup: Setup,
    folder: tempfile::TempDir,
}

impl Doubt {
    /// The liar is asked first; `honest` says whether there is anybody else.
    async fn new(seed: u64, honest: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let devnet = Devnet::start(DevnetConfig { seed, ..DevnetConfig::default() }).await.unwrap();
        let liar = Liar::before(&devnet).await;
        let mut rpc = vec![liar.ws_url.clone(), liar.http_url.clone()];
        rpc.extend(honest.then(|| devnet.http_url.clone()));
        let setup = Setup { rpc, ..Setup::of(&devnet, folder.path()) };
        Self { devnet, liar, setup, folder }
    }

    async fn engine(&self) -> Engine {
        Engine::start(&self.setup, self.folder.path()).await
    }

    async fn agrees(&self, engine: &Engine) {
        Oracle::of(&self.devnet).await.agrees(&self.devnet, engine).await;
    }
}

/// Leaves one log out, or all of them, or says one that never was.
fn of_logs(lie: Lie) -> impl Fn(&str, &Value, &mut Value) -> Told + Send + Sync {
    move |method, params, answer| {
        let by_hash = params[0]["blockHash"].is_string();
        match answer["result"].as_array_mut() {
            Some(logs) if method == "eth_getLogs" && by_hash && !logs.is_empty() => {
                lie(logs);
                Told::Changed
            }
            _ => Told::AsItIs,
        }
    }
}

type Lie = fn(&mut Vec<Value>);

const LIES: [(&str, Lie); 6] = [
    ("one is missing", |logs| drop(logs.remove(logs.len() / 2))),
    ("the first is missing", |logs| drop(logs.remove(0))),
    ("all are missing", Vec::clear),
    ("one is of another contract", |logs| logs[0]["address"] = json!("0x00000000000000000000000000000000000000ff")),
    ("one is marked as taken back", |logs| logs[0]["removed"] = json!(true)),
    ("one is of another block", |logs| logs[0]["blockHash"] = json!(alloy::primitives::B256::repeat_byte(7))),
];

#[tokio::test(flavor = "multi_thread")]
async fn logs_that_do_not_make_the_blocks_bloom_are_asked_of_somebody_else() {
    let mut doubt = Doubt::new(95, true).await;
    let engine = doubt.engine().await;
    for (number, (what, lie)) in LIES.into_iter().enumerate() {
        doubt.liar.lies(of_logs(lie));
        doubt.devnet.fill(2, 6).await.unwrap();
        doubt.agrees(&engine).await;
        println!("{what}: nobody believes it");
        let lies = u64::try_from(number).unwrap() + 1;
        tokio::time::timeout(super::engine::PATIENCE, doubt.liar.has_lied(lies)).await.expect("it was asked");
        doubt.liar.is_honest();
    }
    assert!(engine.terminate().await.success());
}

/// The bloom does not miss a last log that repeats what was said before: the receipts do.
#[tokio::test(flavor = "multi_thread")]
async fn where_receipts_are_the_proof_not_even_the_last_log_is_missed() {
    let mut doubt = Doubt::new(98, true).await;
    doubt.setup.extra_chain = "proof = \"receipts\"".to_owned();
    let engine = doubt.engine().await;
    doubt.devnet.fill(3, 6).await.unwrap();
    doubt.agrees(&engine).await;
    doubt.liar.lies(|method, _, answer| match answer["result"].as_array_mut() {
        Some(receipts) if method == "eth_getBlockReceipts" => {
            let logs =
                receipts.iter_mut().rev().find_map(|receipt| receipt["logs"].as_array_mut().filter(|logs| !logs.is_empty()));
            logs.map_or(Told::AsItIs, |logs| {
                logs.pop();
                Told::Changed
            })
        }
        _ => Told::AsItIs,
    });
    for round in 1..4 {
        doubt.devnet.fill(2, 6).await.unwrap();
        doubt.devnet.reorg(1).await.unwrap();
        doubt.agrees(&engine).await;
        tokio::time::timeout(super::engine::PATIENCE, doubt.liar.has_lied(round)).await.expect("it was asked");
    }
    assert!(engine.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_else_can_be_asked_nothing_is_believed_until_it_proves_itself() {
    let mut doubt = Doubt::new(96, false).await;
    let engine = doubt.engine().await;
    doubt.devnet.fill(2, 6).await.unwrap();
    doubt.agrees(&engine).await;
    for (number, (what, lie)) in LIES.into_iter().enumerate() {
        let before = doubt.devnet.head().await.unwrap();
        doubt.liar.lies(of_logs(lie));
        doubt.devnet.fill(2, 6).await.unwrap();
        // Asked several times, and it stays where it was.
        let lies = u64::try_from(number * 3).unwrap() + 3;
        tokio::time::timeout(super::engine::PATIENCE, doubt.liar.has_lied(lies)).await.expect("it is asked again");
        let head = engine.query("{ _meta { block { hash } } }", json!({})).await["_meta"]["block"]["hash"].clone();
        assert_eq!(head, json!(before.hash.to_string()), "{what}: {}", engine.log());
        doubt.liar.is_honest();
        doubt.agrees(&engine).await;
    }
    assert!(engine.terminate().await.success());
}

/// What is said twice, late or as taken back counts once, or not at all.
#[tokio::test(flavor = "multi_thread")]
async fn logs_and_heads_that_come_twice_or_never_and_in_any_order_change_nothing() {
    let mut doubt = Doubt::new(97, false).await;
    let engine = doubt.engine().await;
    let heads = AtomicU32::new(0);
    doubt.liar.lies(move |method, _, answer| match method {
        "eth_subscription" => [Told::Twice, Told::AsItIs, Told::Never][heads.fetch_add(1, Ordering::Relaxed) as usize % 3],
        "eth_getLogs" => match answer["result"].as_array_mut() {
            Some(logs) if !logs.is_empty() => {
                logs.reverse();
                logs.push(logs[0].clone());
                Told::Changed
            }
            _ => Told::AsItIs,
        },
        _ => Told::AsItIs,
    });
    for round in 0..4 {
        doubt.devnet.fill(3, 6).await.unwrap();
        doubt.devnet.reorg(1 + round % 3).await.unwrap();
        doubt.agrees(&engine).await;
    }
    assert!(engine.terminate().await.success());
}
