//! The OpenAPI document against the built engine on a real chain: Schemathesis makes requests from it, right ones and wrong ones, and
//! holds every answer to it. `openapi/` has its pins, its configuration and what it cannot know by itself.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use swaptide_demo::{Devnet, DevnetConfig, cache, parts};

use super::engine::{Engine, Setup};

/// Of each phase, for each operation: some 1,500 requests, half a minute.
const EXAMPLES: u32 = 30;

const STREAM: &str = "/v1/stream";

async fn get(engine: &Engine, path: &str) -> Value {
    let response = engine.api.get(path).await.unwrap();
    assert_eq!(response.status, 200, "{path}: {}", String::from_utf8_lossy(&response.body));
    serde_json::from_slice(&response.body).unwrap()
}

/// One field of everything in a list.
fn each(list: &Value, field: &str) -> Vec<Value> {
    list["data"].as_array().unwrap().iter().map(|item| item[field].clone()).collect()
}

/// What there is to ask for, by operation.
async fn samples(engine: &Engine, chain: u64) -> Value {
    let at = |rest: &str| format!("/v1/{chain}{rest}");
    let (pools, tokens) = (get(engine, &at("/pools")).await, get(engine, &at("/tokens")).await);
    let swaps = get(engine, &at("/swaps")).await;
    // A step of a simulation pays with a token of its pool.
    let sides = pools["data"].as_array().unwrap().iter().map(|pool| {
        let id = pool["id"].as_str().unwrap().to_owned();
        (id, json!([pool["token0"]["address"], pool["token1"]["address"]]))
    });
    let sides = Value::Object(sides.collect());
    let (pools, tokens) = (each(&pools, "id"), each(&tokens, "address"));
    let (transactions, origins) = (each(&swaps, "transactionHash"), each(&swaps, "recipient"));
    let chain_id = json!([chain]);
    let mut cursors = serde_json::Map::new();
    for list in ["/pools", "/tokens", "/swaps", "/mints", "/burns"] {
        let page = get(engine, &at(&format!("{list}?limit=1"))).await;
        cursors.insert(format!("/v1/{{chainId}}{list}"), json!([page["cursor"]]));
    }
    let swap = cursors["/v1/{chainId}/swaps"].clone();
    for path in ["/v1/{chainId}/pools/{id}/swaps", "/v1/{chainId}/accounts/{address}/activity"] {
        cursors.insert(path.to_owned(), swap.clone());
    }
    let mut ticks = Vec::new();
    for pool in &pools {
        let page = get(engine, &at(&format!("/pools/{}/ticks?limit=1", pool.as_str().unwrap()))).await;
        ticks.extend(page["cursor"].as_str().map(str::to_owned));
    }
    assert!(!ticks.is_empty(), "a pool of V3 has ticks");
    cursors.insert("/v1/{chainId}/pools/{id}/ticks".to_owned(), json!(ticks));
    let mut positions = Vec::new();
    let mut owners = Vec::new();
    for pool in &pools {
        let page = get(engine, &at(&format!("/positions?pool={}&limit=1", pool.as_str().unwrap()))).await;
        positions.extend(page["cursor"].as_str().map(str::to_owned));
        owners.extend(each(&page, "owner"));
    }
    assert!(!positions.is_empty(), "a pool of V3 has positions");
    cursors.insert("/v1/{chainId}/positions".to_owned(), json!(positions));
    let names = |rest: &[(&str, &str, &Vec<Value>)]| {
        let all = rest.iter().map(|(path, name, known)| {
            let names =
                if name.is_empty() { json!({ "chainId": chain_id }) } else { json!({ "chainId": chain_id, *name: known }) };
            (format!("/v1/{{chainId}}{path}"), names)
        });
        Value::Object(all.collect())
    };
    let none = Vec::new();
    json!({
        "names": names(&[
            ("/_meta", "", &none), ("/pools", "", &none), ("/tokens", "", &none), ("/swaps", "", &none), ("/mints", "", &none),
            ("/burns", "", &none), ("/pools/{id}", "id", &pools), ("/pools/{id}/overview", "id", &pools), ("/pools/{id}/swaps", "id", &pools),
            ("/pools/{id}/candles", "id", &pools), ("/pools/{id}/stats", "id", &pools), ("/pools/{id}/depth", "id", &pools), ("/prices", "", &none), ("/quote", "", &none), ("/positions", "", &none),
            ("/quotes", "", &none), ("/simulate", "", &none),
            ("/stats/volume", "", &none), ("/stats/liquidity", "", &none),
            ("/tokens/{address}/price", "address", &tokens), ("/pools/{id}/ticks", "id", &pools), ("/tokens/{address}", "address", &tokens), ("/tokens/{address}/pools", "address", &tokens),
            ("/transactions/{hash}", "hash", &transactions), ("/accounts/{address}/activity", "address", &origins),
        ]),
        "filters": { "pool": pools, "token": tokens, "origin": origins, "owner": owners, "token_id": ["1", "2"],
                     "tokenIn": tokens, "tokenOut": tokens, "amount": ["1000", "1000000", "1000000000000000000"] },
        "cursors": cursors,
        "sides": sides,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn schemathesis_finds_no_answer_that_the_document_does_not_describe() {
    let packages = parts::schemathesis().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut devnet = Devnet::start(DevnetConfig { seed: 31, ..DevnetConfig::default() }).await.unwrap();
    // However long it takes: the chain stands still, so that the same requests have the same answers.
    let setup = Setup { extra_chain: "stall_timeout_ms = 3600000".to_owned(), ..Setup::of(&devnet, folder.path()) };
    let engine = Engine::start(&setup, folder.path()).await;
    for _ in 0..12 {
        devnet.trader.push_random(12).await.unwrap();
        devnet.mine().await.unwrap();
    }
    devnet.reorg(2).await.unwrap();
    engine.at_head(&devnet).await;

    let (known, seen) = (folder.path().join("samples.json"), folder.path().join("seen.json"));
    fs::write(&known, samples(&engine, devnet.chain_id).await.to_string()).unwrap();
    let examples = std::env::var("SWAPTIDE_SCHEMATHESIS_EXAMPLES").ok().map_or(EXAMPLES, |text| text.parse().unwrap());
    // Beside what it reads, because it looks for its hooks where it runs; and it leaves files there.
    for file in ["schemathesis.toml", "hooks.py"] {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(cache::SCHEMATHESIS).join(file);
        fs::copy(source, folder.path().join(file)).unwrap();
    }
    let mut command = Command::new("python3");
    command
        .args(["-s", "-m", "schemathesis.cli"])
        .args([
            "run",
            &format!("http://{}/openapi.json", engine.api.host()),
            "--no-color",
            // It does not end; tests/it/stream.rs reads it.
            "--exclude-path",
            STREAM,
            "--max-examples",
            &examples.to_string(),
        ])
        .env("PYTHONPATH", packages)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("SWAPTIDE_SAMPLES", &known)
        .env("SWAPTIDE_SEEN", &seen)
        .current_dir(folder.path())
        .stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");

    // It looked everywhere: each operation had data, said what was wrong, and was asked for what is not there.
    let seen: Value = serde_json::from_str(&fs::read_to_string(&seen).unwrap()).unwrap();
    let document = get(&engine, "/openapi.json").await;
    let total: u64 =
        seen.as_object().unwrap().values().flat_map(|of| of.as_object().unwrap().values()).filter_map(Value::as_u64).sum();
    println!("{total} requests by a method of the document: {seen}");
    for (path, item) in document["paths"].as_object().unwrap().iter().filter(|(path, _)| *path != STREAM) {
        for method in item.as_object().unwrap().keys() {
            let operation = format!("{} {path}", method.to_uppercase());
            let more: &[&str] = if method == "post" { &["415"] } else { &[] };
            for status in ["200", "400", "404"].iter().chain(more) {
                let times = seen[&operation][*status].as_u64().unwrap_or_default();
                assert!(times > 0, "{operation} was never {status}: {}", seen[&operation]);
            }
        }
    }
    engine.at_head(&devnet).await;
}
