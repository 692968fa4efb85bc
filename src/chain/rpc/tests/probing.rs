//! What is found out of a node that can less than anvil.

use tokio::time::Instant;

use super::*;
use crate::chain::rpc::probe::{Abilities, EndpointReport, Proof};

const HEAD: u64 = 50_000;

/// As a provider of a free plan: a short range, state of 128 blocks, no finalized block and no receipts.
fn limited(method: &str, params: &Value) -> Value {
    let refused = |message: &str| error(message).unwrap();
    match method {
        "eth_chainId" => json!({ "result": "0x7a69" }),
        "eth_getBlockByNumber" => match params[0].as_str().unwrap() {
            "latest" => header_json(&header(HEAD, 2)),
            "finalized" => json!({ "result": null }),
            _ => header_json(&header(number_of(&params[0]), 0)),
        },
        "eth_getLogs" if params[0]["blockHash"].is_string() => json!({ "result": [] }),
        "eth_getLogs" => {
            let blocks = number_of(&params[0]["toBlock"]) - number_of(&params[0]["fromBlock"]) + 1;
            if blocks > 2_000 {
                return refused("You can make eth_getLogs requests with up to a 2K block range");
            }
            json!({ "result": [] })
        }
        "eth_getBalance" if HEAD - number_of(&params[1]) > 128 => refused("missing trie node"),
        "eth_getBalance" => json!({ "result": "0x0" }),
        _ => json!({ "error": { "code": -32_601, "message": "the method does not exist" } }),
    }
}

fn abilities(report: &EndpointReport) -> &Abilities {
    report.contact.as_ref().unwrap().abilities.as_ref().unwrap().as_ref().unwrap()
}

#[tokio::test]
async fn the_limits_of_a_provider_are_found() {
    let node = node(|method, params, _| Some(limited(method, params))).await;
    let reports = source(&[&node]).probe().await;
    let found = abilities(&reports[0]);
    assert_eq!((found.head.number, found.genesis.clone()), (HEAD, Ok(hash(0))));
    assert_eq!((found.logs.accepted, found.logs.named, found.logs.is_whole_chain), (1_000, Some(2_000), false));
    let (tried, reason) = found.logs.refused.clone().unwrap();
    assert!(tried == 10_000 && reason.contains("2K block range"), "{reason}");
    assert_eq!((found.state.blocks, found.state.is_archive), (128, false));
    assert_eq!(found.state.refused.as_ref().map(|(tried, _)| *tried), Some(1_000));
    assert!(found.finalized.is_err() && found.receipts.is_err() && found.pushes_heads.is_none());
    // No logs, and a bloom that says that there are two.
    assert!(matches!(&found.proof, Ok(Proof::Contradicts(why)) if why.contains("block 50000")), "{:?}", found.proof);
}

#[tokio::test]
async fn an_endpoint_that_is_dead_or_of_another_chain_is_asked_nothing_more() {
    let other = node(|method, _, _| (method == "eth_chainId").then(|| json!({ "result": "0x1" }))).await;
    let dead = Node { url: "http://127.0.0.1:9/secret-key".to_owned(), requests: Arc::default(), task: tokio::spawn(async {}) };
    let asked = Instant::now();
    let reports = source(&[&other, &dead]).probe().await;
    assert!(asked.elapsed() < Duration::from_secs(2));
    let contact = reports[0].contact.as_ref().unwrap();
    assert!(contact.chain_id == 1 && contact.abilities.is_none());
    assert_eq!(other.requests.load(Ordering::SeqCst), 0);
    assert!(reports[1].contact.is_err() && !format!("{reports:?}").contains("secret-key"), "{reports:?}");
}
