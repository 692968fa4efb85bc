//! Price feeds of the running engine, against servers that speak the exchanges' protocols.

use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use swaptide_demo::{Devnet, DevnetConfig, PriceOracle};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};
use tokio_tungstenite::{WebSocketStream, tungstenite::Message};

use super::engine::{Engine, PATIENCE, Setup};

/// Says each new text to whoever is connected; the newest one at once.
struct Exchange {
    port: u16,
    texts: watch::Sender<String>,
    server: JoinHandle<()>,
}

impl Exchange {
    async fn open(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let texts = watch::Sender::new(String::new());
        let subscriber = texts.clone();
        let server = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, subscriber.subscribe()));
            }
        });
        Self { port, texts, server }
    }

    fn say(&self, text: impl Into<String>) {
        self.texts.send_replace(text.into());
    }

    /// The listener and every connection are gone.
    async fn close(self) -> u16 {
        self.server.abort();
        assert!(self.server.await.unwrap_err().is_cancelled());
        self.port
    }
}

async fn serve(stream: TcpStream, mut texts: watch::Receiver<String>) {
    let Ok(mut socket): Result<WebSocketStream<TcpStream>, _> = tokio_tungstenite::accept_async(stream).await else { return };
    texts.mark_changed();
    loop {
        tokio::select! {
            changed = texts.changed() => {
                let text = texts.borrow_and_update().clone();
                if text.is_empty() {
                    continue;
                }
                if changed.is_err() || socket.send(Message::text(text)).await.is_err() {
                    return;
                }
            }
            message = socket.next() => if !matches!(message, Some(Ok(_))) { return },
        }
    }
}

fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

fn binance(price: &str, trade: u64) -> String {
    json!({ "e": "24hrTicker", "E": now_ms(), "s": "ETHUSDT", "c": price, "L": trade }).to_string()
}

fn coinbase(price: &str, trade: u64, time: &str) -> String {
    json!({ "type": "ticker", "product_id": "ETH-USD", "price": price, "trade_id": trade, "time": time }).to_string()
}

/// Until the token's price is like this; the price.
async fn price(engine: &Engine, token: &str, what: &str, good: impl Fn(&Value) -> bool) -> Value {
    let query = format!(
        "{{ prices(tokens: [{{ address: \"{token}\" }}]) {{ value status updatedAt asOf {{ number }} sources {{ name value weight excludedBy connected refused }} }} }}"
    );
    let mut last = Value::Null;
    let arrived = async {
        loop {
            last = engine.query(&query, json!({})).await["prices"][0].clone();
            if good(&last) {
                return;
            }
        }
    };
    let outcome = tokio::time::timeout(PATIENCE, arrived).await;
    assert!(outcome.is_ok(), "{what}; last: {last:#}; the engine said:\n{}", engine.log());
    last
}

#[tokio::test(flavor = "multi_thread")]
async fn a_price_lives_through_its_exchanges_troubles_and_is_never_a_wrong_one() {
    let folder = tempfile::tempdir().unwrap();
    let devnet = Devnet::start(DevnetConfig::tiny()).await.unwrap();
    let (one, two) = (Exchange::open(0).await, Exchange::open(0).await);
    one.say(binance("1850.25", 1));
    let token = format!("{:#x}", devnet.deployment.weth);
    let extra = format!(
        "[prices]\nmin_sources = 2\n\
         [[feed]]\npair = \"ETH/USD\"\nsource = \"binance\"\nurl = \"ws://127.0.0.1:{}\"\ntoken = \"{token}\"\n\
         [[feed]]\npair = \"ETH/USD\"\nsource = \"coinbase\"\nurl = \"ws://127.0.0.1:{}\"\n",
        one.port, two.port
    );
    let setup = Setup { extra, ..Setup::of(&devnet, folder.path()) };
    let engine = Engine::start(&setup, folder.path()).await;

    let alone = price(&engine, &token, "one source is not enough", |p| p["sources"][0]["value"] == "1850.25").await;
    assert_eq!(
        (&alone["value"], &alone["status"], &alone["sources"][1]["excludedBy"]),
        (&Value::Null, &json!("HALTED"), &json!("NO_DATA"))
    );
    two.say(coinbase("1851.25", 7, &rfc3339(now_ms())));
    let both = price(&engine, &token, "two that agree are", |p| p["status"] == "FRESH").await;
    assert_eq!((&both["value"], &both["sources"][0]["weight"]), (&json!("1850.75"), &json!("0.5")));

    // Nothing of this is ever served.
    for (i, bad) in [
        "garbage".to_owned(),
        coinbase("0", 8, &rfc3339(now_ms())),
        coinbase("-5", 8, &rfc3339(now_ms())),
        coinbase("NaN", 8, &rfc3339(now_ms())),
        coinbase("9000", 8, "2025-01-01T00:00:00Z"),
        coinbase("9000", 8, &rfc3339(now_ms() + 3_600_000)),
    ]
    .into_iter()
    .enumerate()
    {
        two.say(bad);
        let seen = price(&engine, &token, "it was refused", |p| p["sources"][1]["refused"] == json!(i + 1)).await;
        assert_eq!((&seen["value"], &seen["status"]), (&json!("1850.75"), &json!("FRESH")));
    }
    // An exchange that goes off on its own: with two nobody knows which is right.
    two.say(coinbase("2500", 9, &rfc3339(now_ms())));
    let apart = price(&engine, &token, "they contradict each other", |p| p["sources"][1]["value"] == "2500").await;
    assert_eq!((&apart["value"], &apart["status"]), (&Value::Null, &json!("HALTED")));
    two.say(coinbase("1850.25", 10, &rfc3339(now_ms())));
    price(&engine, &token, "and agree again", |p| p["value"] == "1850.25").await;

    // One goes away, and comes back with another price.
    let port = one.close().await;
    price(&engine, &token, "it is seen to be away", |p| p["sources"][0]["connected"] == json!(false)).await;
    let one = Exchange::open(port).await;
    one.say(binance("1852.25", 2));
    price(&engine, &token, "it is back", |p| p["value"] == "1851.25" && p["sources"][0]["connected"] == json!(true)).await;
    let metrics = String::from_utf8(engine.admin.get("/metrics").await.unwrap().body).unwrap();
    assert!(metrics.contains("swaptide_feed_ticks_total{feed=\"ETH/USD coinbase\",outcome=\"garbage\"} 4"), "{metrics}");
    assert!(metrics.contains("swaptide_feed_ticks_total{feed=\"ETH/USD coinbase\",outcome=\"refused\"} 2"), "{metrics}");
    let actors = engine.status().await["actors"].to_string();
    assert!(actors.contains("feed/ETH/USD binance") && actors.contains("feed/ETH/USD coinbase"), "{actors}");
    // A token that no feed is bound to has no price, and no 0 either.
    let other = format!("{:#x}", devnet.deployment.v2_factory);
    let none = price(&engine, &other, "no feed", |_| true).await;
    assert_eq!((&none["value"], &none["status"], &none["sources"]), (&Value::Null, &json!("HALTED"), &json!([])));
    assert!(engine.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oracle_on_the_chain_is_what_it_answers_at_the_head_through_reorgs_and_phases() {
    let folder = tempfile::tempdir().unwrap();
    let mut devnet = Devnet::start(DevnetConfig::tiny()).await.unwrap();
    let mut oracle = PriceOracle::deploy(&mut devnet, 8).await.unwrap();
    let token = format!("{:#x}", devnet.deployment.weth);
    let polled = format!("{:#x}", devnet.deployment.tokens[1].address);
    // One of the two is told by logs and reorgs alone, for as long as this runs; the other notices another phase.
    let feed = |pair: &str, address: &str, more: &str| {
        format!("[[feed]]\npair = \"{pair}\"\nsource = \"chainlink\"\naddress = \"{address}\"\n{more}\n")
    };
    let proxy = oracle.proxy.to_string();
    let extra = feed("ETH/USD", &proxy, &format!("token = \"{token}\"\npoll_ms = 3600000"))
        + &feed("WETH/USD", &proxy, &format!("token = \"{polled}\"\npoll_ms = 500"))
        + &feed("BTC/USD", &token, "");
    let setup = Setup { extra, ..Setup::of(&devnet, folder.path()) };
    let engine = Engine::start(&setup, folder.path()).await;
    let is = |value: &'static str| move |p: &Value| p["value"] == value && p["status"] == "FRESH";

    // Deployed, and without an answer: no price, and it says why.
    let none = price(&engine, &token, "there is no answer yet", |p| p["sources"][0]["refused"] != 0).await;
    assert_eq!((&none["value"], &none["status"]), (&Value::Null, &json!("HALTED")));
    oracle.submit(&mut devnet, 185_025_000_000).await.unwrap();
    devnet.mine_all_ok().await.unwrap();
    price(&engine, &token, "AnswerUpdated is heard", is("1850.25")).await;
    oracle.transmit(&mut devnet, 185_125_000_000).await.unwrap();
    devnet.mine_all_ok().await.unwrap();
    price(&engine, &token, "NewTransmission is heard", is("1851.25")).await;

    // The block with the answer is taken back: the one before it holds again.
    oracle.submit(&mut devnet, 999_900_000_000).await.unwrap();
    devnet.mine_all_ok().await.unwrap();
    price(&engine, &token, "a third answer", is("9999")).await;
    devnet.reorg(1).await.unwrap();
    let back = price(&engine, &token, "a reorg took it back", is("1851.25")).await;
    let head = devnet.head().await.unwrap();
    assert!(back["asOf"]["number"].as_u64().unwrap() <= head.number);

    // An answer that is no price is none.
    oracle.submit(&mut devnet, -1).await.unwrap();
    devnet.mine_all_ok().await.unwrap();
    let bad = price(&engine, &token, "a negative answer", |p| p["sources"][0]["excludedBy"] == "NO_DATA").await;
    assert!(bad["status"] == "STALE" && bad["value"] == "1851.25", "the last good one, and said to be: {bad}");

    // Another phase: other decimals, and the old aggregator is nobody any more.
    let old = oracle;
    let next = PriceOracle::aggregator(&mut devnet, 18).await.unwrap();
    oracle.confirm(&mut devnet, next).await.unwrap();
    devnet.mine_all_ok().await.unwrap();
    oracle.submit(&mut devnet, 1_860_500_000_000_000_000_000).await.unwrap();
    devnet.mine_all_ok().await.unwrap();
    price(&engine, &polled, "the proxy's new aggregator", is("1860.5")).await;
    old.submit(&mut devnet, 100_000_000).await.unwrap();
    oracle.transmit(&mut devnet, 1_861_500_000_000_000_000_000).await.unwrap();
    devnet.mine_all_ok().await.unwrap();
    price(&engine, &polled, "and only that", is("1861.5")).await;

    // What is at the other address is a contract, and no proxy.
    let feeds = engine.query("{ feeds { pair status sources { trouble } } }", json!({})).await;
    let other = &feeds["feeds"][2];
    assert!(
        other["status"] == "HALTED"
            && other["sources"][0]["trouble"].as_str().unwrap().contains("does not answer as a Chainlink proxy"),
        "{other}"
    );
    assert!(engine.terminate().await.success());
}

/// A feed's price of a minute that is over is told for ever, also when nobody feeds it any more.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_feed_said_is_recorded_and_told_of_the_past_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let devnet = Devnet::start(DevnetConfig::tiny()).await.unwrap();
    let exchange = Exchange::open(0).await;
    exchange.say(binance("1850.25", 1));
    let token = format!("{:#x}", devnet.deployment.weth);
    let extra = format!(
        "[[feed]]\npair = \"ETH/USD\"\nsource = \"binance\"\nurl = \"ws://127.0.0.1:{}\"\ntoken = \"{token}\"\nstale_after_ms = 300000\n",
        exchange.port
    );
    let setup = Setup { extra, ..Setup::of(&devnet, folder.path()) };
    let engine = Engine::start(&setup, folder.path()).await;
    engine.at_head(&devnet).await;
    price(&engine, &token, "it is there", |p| p["value"] == "1850.25").await;
    // The next full minute.
    let recorded = async { engine.says(|line| line.contains("prices from outside the chain are recorded")).await };
    tokio::time::timeout(std::time::Duration::from_secs(90), recorded).await.expect("within a minute");
    exchange.say(binance("1900", 2));
    price(&engine, &token, "it went on", |p| p["value"] == "1900").await;
    assert!(engine.terminate().await.success());
    exchange.close().await;

    let engine = Engine::start(&setup, folder.path()).await;
    engine.at_head(&devnet).await;
    let now = price(&engine, &token, "nobody feeds it", |_| true).await;
    assert_eq!((&now["value"], &now["status"]), (&Value::Null, &json!("HALTED")));
    let seconds = now_ms() / 1_000;
    let query = format!(
        "{{ prices(tokens: [{{ address: \"{token}\" }}], time: {seconds}) {{ value status pair updatedAt sources {{ name value weight excludedBy }} }} }}"
    );
    let then = engine.query(&query, json!({})).await["prices"][0].clone();
    assert_eq!((&then["value"], &then["pair"]), (&json!("1850.25"), &json!("ETH/USD")), "{then}");
    assert_eq!(then["sources"], json!([{ "name": "binance", "value": "1850.25", "weight": "1", "excludedBy": null }]));
    let path = format!("/v1/{}/prices?ids={token}&time={seconds}", devnet.chain_id);
    let rest: Value = serde_json::from_slice(&engine.api.get(&path).await.unwrap().body).unwrap();
    assert_eq!((&rest["data"][0]["value"], &rest["data"][0]["pair"]), (&json!("1850.25"), &json!("ETH/USD")), "{rest}");
    // Before anything was recorded pools are asked, as for every other token.
    let before = query.replace(&seconds.to_string(), &(seconds - 86_400).to_string());
    assert_eq!(engine.query(&before, json!({})).await["prices"][0]["pair"], Value::Null);
}

fn rfc3339(ms: u64) -> String {
    let at = time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000).unwrap();
    let (hour, minute, second, milli) = at.time().as_hms_milli();
    format!("{}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z", at.year(), u8::from(at.month()), at.day())
}
