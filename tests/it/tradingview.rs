//! `examples/tradingview` in a real browser: what the chart was given is what REST says, through trades, a reorg and an outage.

use serde_json::{Value, json};
use swaptide_demo::{Devnet, DevnetConfig};

use super::{
    browser::{WAIT, chromium},
    engine::{Engine, Setup},
    node::NodeClient,
};

/// Bars as the datafeed must hand them over: milliseconds, and numbers as the chart draws them.
async fn bars(engine: &Engine, devnet: &Devnet, pool: &str, interval: &str) -> Value {
    engine.at_head(devnet).await;
    let path = format!("/v1/{}/pools/{pool}/candles?interval={interval}&limit=500", devnet.chain_id);
    let answer = engine.api.get(&path).await.unwrap();
    assert_eq!(answer.status, 200, "{path}: {}", String::from_utf8_lossy(&answer.body));
    let answer: Value = serde_json::from_slice(&answer.body).unwrap();
    let number = |value: &Value| value.as_str().map_or(json!(0), |text| json!(text.parse::<f64>().unwrap()));
    let bar = |candle: &Value| {
        json!({
            "time": candle["start"].as_u64().unwrap() * 1000,
            "open": number(&candle["open"]), "high": number(&candle["high"]),
            "low": number(&candle["low"]), "close": number(&candle["close"]),
            "volume": number(&candle["volumeUSD"]),
        })
    };
    answer["data"].as_array().unwrap().iter().filter(|c| !c["open"].is_null()).map(bar).collect()
}

/// Numbers are numbers, whether JavaScript writes 1 or Rust 1.0.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => a == b || a.as_f64().is_some_and(|a| Some(a) == b.as_f64()),
    }
}

struct Chart {
    client: NodeClient,
    shown: Value,
    wrong: Vec<Value>,
}

impl Chart {
    async fn shows(&mut self, expected: &Value, what: &str) {
        let reading = async {
            while !same(&self.shown["bars"], expected) {
                let line = self.client.next().await;
                if line["event"] == "bars" { self.shown = line } else { self.wrong.push(line) }
            }
        };
        let outcome = tokio::time::timeout(WAIT, reading).await;
        assert!(outcome.is_ok(), "{what}: it shows {}, the API says {expected}; wrong was {:?}", self.shown, self.wrong);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chart_of_the_example_is_what_rest_says_through_a_reorg_and_an_outage() {
    let Some(chromium) = chromium() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut devnet = Devnet::start(DevnetConfig { seed: 29, ..DevnetConfig::default() }).await.unwrap();
    let mut setup = Setup { extra_chain: "stall_timeout_ms = 600000".to_owned(), ..Setup::of(&devnet, folder.path()) };
    let engine = Engine::start(&setup, folder.path()).await;
    let (unit0, unit1) = (devnet.deployment.pools[0].token0.unit_raw(), devnet.deployment.pools[0].token1.unit_raw());
    let pool = format!("{:#x}", devnet.deployment.pools[0].address);
    for forth in [true, false, true] {
        devnet.trader.swap_v2(0, forth, if forth { unit0 } else { unit1 }).await.unwrap();
        devnet.mine_all_ok().await.unwrap();
    }
    let profile = folder.path().join("browser");
    std::fs::create_dir(&profile).unwrap();
    let query = format!("api=http://{}&chain={}&pool={pool}&resolution=1S", engine.api.host(), devnet.chain_id);
    let client = NodeClient::start("tradingview.mjs", &[chromium.to_str().unwrap(), profile.to_str().unwrap(), &query]);
    let mut chart = Chart { client, shown: Value::Null, wrong: Vec::new() };
    let first = bars(&engine, &devnet, &pool, "S1").await;
    assert!(!first.as_array().unwrap().is_empty());
    chart.shows(&first, "what there was").await;
    assert!(chart.shown["title"].as_str().unwrap().contains('/'), "{}", chart.shown);

    for _ in 0..3 {
        devnet.trader.swap_v2(0, true, unit0).await.unwrap();
        devnet.trader.push_random(8).await.unwrap();
        devnet.mine().await.unwrap();
        chart.shows(&bars(&engine, &devnet, &pool, "S1").await, "a trade").await;
    }
    // Three blocks never were: their bars go, and what comes in their place is drawn.
    let before = bars(&engine, &devnet, &pool, "S1").await;
    devnet.reorg(3).await.unwrap();
    let after = bars(&engine, &devnet, &pool, "S1").await;
    assert_ne!(before, after);
    chart.shows(&after, "a reorg").await;
    devnet.trader.swap_v2(0, false, unit1).await.unwrap();
    devnet.mine().await.unwrap();
    chart.shows(&bars(&engine, &devnet, &pool, "S1").await, "a trade after the reorg").await;
    assert!(chart.wrong.is_empty(), "{:?}", chart.wrong);

    // The server goes, the chain is reorganised, the server comes back at the same place.
    setup.api_listen = engine.api.host().to_owned();
    assert!(engine.terminate().await.success());
    devnet.reorg(1).await.unwrap();
    devnet.trader.swap_v2(0, true, unit0).await.unwrap();
    devnet.mine().await.unwrap();
    let engine = Engine::start(&setup, folder.path()).await;
    chart.shows(&bars(&engine, &devnet, &pool, "S1").await, "an outage").await;
    assert!(engine.terminate().await.success());
    let (rest, code) = chart.client.finish().await;
    assert_eq!(code, 0);
    for line in chart.wrong.iter().chain(rest.iter().filter(|line| line["event"] != "bars")) {
        let away = |text: &str| text.contains("ERR_CONNECTION_REFUSED") || text.contains("Unexpected response code: 503");
        assert!(line["event"] == "console" && line["text"].as_str().is_some_and(away), "{line}");
    }
}
