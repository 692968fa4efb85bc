//! Each protocol against a server that speaks it, on a real socket.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use futures_util::{SinkExt, StreamExt};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_tungstenite::{WebSocketStream, tungstenite::Message};

use super::*;
use crate::domain::fixed::Fixed18;

fn opened(lines: &str) -> Box<dyn PriceSource> {
    open(&feed(lines)).unwrap().unwrap()
}

fn feed(lines: &str) -> FeedConfig {
    toml::from_str(lines).unwrap()
}

fn tick(price: &str, at_ms: u64, id: Option<u64>) -> Heard {
    Heard::Tick(Tick { price: Fixed18::parse(price).unwrap(), at_ms, id })
}

/// Runs the source once; what it heard, and why it ended.
async fn run(source: &dyn PriceSource) -> (Vec<Heard>, FeedError) {
    let heard = Mutex::new(Vec::new());
    let error = source.run(&|one| heard.lock().unwrap().push(one)).await;
    (heard.into_inner().unwrap(), error)
}

/// A server for one connection; `script` is its half.
async fn exchange<F>(script: impl FnOnce(WebSocketStream<tokio::net::TcpStream>) -> F + Send + 'static) -> String
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        script(tokio_tungstenite::accept_async(stream).await.unwrap()).await;
    });
    url
}

async fn say(socket: &mut WebSocketStream<tokio::net::TcpStream>, texts: &[&str]) {
    for text in texts {
        socket.send(Message::text(*text)).await.unwrap();
    }
}

#[tokio::test]
async fn binance() {
    let url = exchange(|mut socket| async move {
        say(
            &mut socket,
            &[
                // As documented: a 24-hour ticker.
                r#"{"e":"24hrTicker","E":1672515782136,"s":"ETHUSDT","p":"0.0015","P":"250.00","w":"0.0018","x":"0.0009","c":"1850.25000000","Q":"10","b":"1850.24","B":"10","a":"1850.26","A":"100","o":"0.0010","h":"0.0025","l":"0.0010","v":"10000","q":"18","O":0,"C":1672515782136,"F":0,"L":18150,"n":18151}"#,
                r#"{"e":"24hrTicker","E":1672515783136,"s":"BTCUSDT","c":"20000","L":1}"#,
                r#"{"e":"24hrTicker","E":1672515784136,"s":"ETHUSDT","c":"0.00000000","L":18151}"#,
                r#"{"e":"24hrTicker","E":1672515784136,"s":"ETHUSDT","c":"NaN","L":18151}"#,
                r#"{"e":"24hrTicker","E":-5,"s":"ETHUSDT","c":"1","L":18151}"#,
                r#"{"result":null,"id":1}"#,
                "garbage",
            ],
        )
        .await;
        socket.close(None).await.unwrap();
    })
    .await;
    let source = opened(&format!("pair = 'ETH/USD'\nsource = 'binance'\nurl = '{url}'"));
    assert!(url.ends_with(&source.host()), "{} is in {url}", source.host());
    let (heard, error) = run(source.as_ref()).await;
    assert_eq!(heard[..2], [Heard::Connected, tick("1850.25", 1_672_515_782_136, Some(18_150))]);
    let said: Vec<bool> = heard[2..].iter().map(|h| matches!(h, Heard::Garbage(_))).collect();
    assert_eq!(said, [true, true, true, true, false, true], "{heard:?}");
    assert!(matches!(error, FeedError::Closed(_)), "{error:?}");
}

#[tokio::test]
async fn binance_that_refuses() {
    let url = exchange(|mut socket| async move {
        say(&mut socket, &[r#"{"error":{"code":2,"msg":"Invalid request: unknown symbol"},"id":1}"#]).await;
        socket.next().await;
    })
    .await;
    let source = opened(&format!("pair = 'ETH/USD'\nsource = 'binance'\nurl = '{url}'"));
    assert_eq!(run(source.as_ref()).await.1, FeedError::Refused("Invalid request: unknown symbol".to_owned()));
}

#[tokio::test]
async fn coinbase() {
    let url = exchange(|mut socket| async move {
        let hello = socket.next().await.unwrap().unwrap();
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(hello.to_text().unwrap()).unwrap(),
            serde_json::json!({ "type": "subscribe", "product_ids": ["ETH-USD"], "channels": ["ticker", "heartbeat"] })
        );
        say(
            &mut socket,
            &[
                r#"{"type":"subscriptions","channels":[{"name":"ticker","product_ids":["ETH-USD"]}]}"#,
                r#"{"type":"ticker","sequence":37475248783,"product_id":"ETH-USD","price":"1285.22","open_24h":"1310.79","volume_24h":"245532.79269678","low_24h":"1280.52","high_24h":"1313.8","volume_30d":"9788783.60117027","best_bid":"1285.04","best_bid_size":"0.46688654","best_ask":"1285.27","best_ask_size":"1.56637040","side":"buy","time":"2022-10-19T23:28:22.061769Z","trade_id":370843401,"last_size":"11.4396987"}"#,
                r#"{"type":"heartbeat","sequence":90,"last_trade_id":20,"product_id":"ETH-USD","time":"2014-11-07T08:19:28.464459Z"}"#,
                r#"{"type":"ticker","product_id":"ETH-USD","price":"-1","time":"2022-10-19T23:28:22Z","trade_id":1}"#,
                r#"{"type":"ticker","product_id":"ETH-USD","price":"1","time":"yesterday","trade_id":1}"#,
                r#"{"type":"ticker","product_id":"BTC-USD","price":"1","time":"2022-10-19T23:28:22Z","trade_id":1}"#,
                r#"{"type":"error","message":"Failed to subscribe","reason":"ETH-USD is delisted"}"#,
            ],
        )
        .await;
        socket.next().await;
    })
    .await;
    let source = opened(&format!("pair = 'ETH/USD'\nsource = 'coinbase'\nurl = '{url}'"));
    let (heard, error) = run(source.as_ref()).await;
    assert_eq!(heard[..4], [Heard::Connected, Heard::Alive, tick("1285.22", 1_666_222_102_061, Some(370_843_401)), Heard::Alive]);
    assert!(heard[4..].len() == 3 && heard[4..].iter().all(|h| matches!(h, Heard::Garbage(_))), "{heard:?}");
    assert_eq!(error, FeedError::Refused("Failed to subscribe: ETH-USD is delisted".to_owned()));
}

/// Whatever it says: impatient.
struct Impatient(url::Url);

impl ws::Dialect for Impatient {
    fn url(&self) -> &url::Url {
        &self.0
    }

    fn silence_max(&self) -> Duration {
        Duration::from_millis(200)
    }

    fn read(&self, _: &str) -> ws::Said {
        ws::Said::Alive
    }
}

#[tokio::test]
async fn a_socket_that_is_silent_is_pinged_and_given_up() {
    let (pinged, mut pings) = mpsc::channel(8);
    let url = exchange(|socket| async move {
        // It answers pings, as the library does when it is polled, and says nothing else.
        let (mut write, mut read) = socket.split();
        while let Some(Ok(message)) = read.next().await {
            if message.is_ping() {
                write.flush().await.unwrap();
                pinged.send(()).await.unwrap();
            }
        }
    })
    .await;
    let source = ws::Socket::new(Impatient(url.parse().unwrap()));
    assert_eq!(run(&source).await, (vec![Heard::Connected], FeedError::Silent(Duration::from_millis(200))));
    assert_eq!((pings.recv().await, pings.recv().await), (Some(()), None), "one ping, and its answer is no excuse");
}

#[tokio::test]
async fn a_socket_that_says_only_nonsense_is_given_up() {
    let url = exchange(|mut socket| async move { while socket.send(Message::text("[]")).await.is_ok() {} }).await;
    let source = opened(&format!("pair = 'ETH/USD'\nsource = 'coinbase'\nurl = '{url}'"));
    let (heard, error) = run(source.as_ref()).await;
    assert!(matches!(error, FeedError::Nonsense(_)), "{error:?}");
    assert_eq!(heard.len(), 100, "connected, and 99 times garbage");
}

#[tokio::test]
async fn a_message_without_end_is_not_kept() {
    let url = exchange(|mut socket| async move {
        let _ = socket.send(Message::text("x".repeat(1 << 20))).await;
        socket.next().await;
    })
    .await;
    let source = opened(&format!("pair = 'ETH/USD'\nsource = 'binance'\nurl = '{url}'"));
    assert!(matches!(run(source.as_ref()).await.1, FeedError::Closed(_)));
}

#[tokio::test]
async fn nobody_there() {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    for (source, scheme) in [("binance", "ws"), ("coinbase", "ws"), ("coingecko", "http")] {
        let lines =
            format!("pair = 'ETH/USD'\nsource = '{source}'\nsymbol = 'secret-symbol'\nurl = '{scheme}://127.0.0.1:{port}'");
        let (heard, error) = run(opened(&lines).as_ref()).await;
        assert!(heard.is_empty());
        assert!(matches!(&error, FeedError::Unreachable(_)) && !error.to_string().contains("secret"), "{error:?}");
    }
}

type Script = Arc<Mutex<(Vec<Response>, Vec<(String, HeaderMap)>)>>;

/// Answers one request after the other with what is given, then 500.
async fn service(answers: Vec<Response>) -> (String, Script) {
    let script: Script = Arc::new(Mutex::new((answers.into_iter().rev().collect(), Vec::new())));
    let answer = |State(script): State<Script>, request: Request| async move {
        let mut script = script.lock().unwrap();
        script.1.push((request.uri().to_string(), request.headers().clone()));
        script.0.pop().unwrap_or_else(|| StatusCode::INTERNAL_SERVER_ERROR.into_response())
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/api/v3", listener.local_addr().unwrap());
    let router = Router::new().fallback(answer).with_state(script.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, script)
}

#[tokio::test]
async fn coingecko_is_asked_again_with_its_etag() {
    let body = |usd: &str, at: &str| format!(r#"{{"ethereum":{{"usd":{usd},"last_updated_at":{at}}}}}"#);
    let (url, script) = service(vec![
        ([("etag", "W/\"a\"")], body("1850.123456789012345678", "1711356300")).into_response(),
        StatusCode::NOT_MODIFIED.into_response(),
        body("1.85e3", "1711356360").into_response(),
        body("0", "1711356420").into_response(),
        body("\"1850\"", "1711356420").into_response(),
        body("1850", "null").into_response(),
        "{}".into_response(),
    ])
    .await;
    let lines =
        format!("pair = 'ETH/USD'\nsource = 'coingecko'\nsymbol = 'ethereum'\npoll_ms = 1\napi_key = 'k3y'\nurl = '{url}'");
    let (heard, error) = run(opened(&lines).as_ref()).await;
    assert_eq!(
        heard[..4],
        [
            Heard::Connected,
            tick("1850.123456789012345678", 1_711_356_300_000, None),
            Heard::Alive,
            tick("1850", 1_711_356_360_000, None),
        ]
    );
    assert!(heard[4..].len() == 4 && heard[4..].iter().all(|h| matches!(h, Heard::Garbage(_))), "{heard:?}");
    assert_eq!(error, FeedError::Refused("status 500".to_owned()));
    let asked = &script.lock().unwrap().1;
    assert_eq!(asked[0].0, "/api/v3/simple/price?ids=ethereum&vs_currencies=usd&include_last_updated_at=true&precision=full");
    assert_eq!(asked[0].1["x-cg-demo-api-key"], "k3y");
    assert_eq!(asked[0].1.get("if-none-match"), None);
    assert_eq!(asked[1].1["if-none-match"], "W/\"a\"");
    assert_eq!(asked[4].1.get("if-none-match"), None, "what could not be read is asked for anew");
}

#[tokio::test]
async fn coingecko_that_asks_for_patience_gets_it() {
    let patience = |seconds: Option<&'static str>| {
        let mut response = StatusCode::TOO_MANY_REQUESTS.into_response();
        if let Some(seconds) = seconds {
            response.headers_mut().insert("retry-after", seconds.parse().unwrap());
        }
        response
    };
    for (answer, retry_after) in
        [(patience(Some("37")), Some(Duration::from_secs(37))), (patience(None), None), (patience(Some("soon")), None)]
    {
        let (url, _) = service(vec![answer]).await;
        let lines = format!("pair = 'ETH/USD'\nsource = 'coingecko'\nsymbol = 'ethereum'\nurl = '{url}'");
        assert_eq!(run(opened(&lines).as_ref()).await.1, FeedError::RateLimited { retry_after });
    }
}

#[test]
fn a_budget_is_spread_over_the_day() {
    for (lines, every_s) in
        [("", 60), ("poll_ms = 5000", 5), ("poll_ms = 5000\nmax_per_day = 24", 3_600), ("max_per_day = 100000", 60)]
    {
        let feed = feed(&format!("pair = 'ETH/USD'\nsource = 'coingecko'\nsymbol = 'ethereum'\n{lines}"));
        let poll = poll::Poll::new(coingecko::CoinGecko::new(&feed).unwrap(), &feed).unwrap();
        assert_eq!(poll.every(), Duration::from_secs(every_s), "{lines}");
    }
}

#[tokio::test]
async fn a_service_that_fails_is_asked_at_the_same_pace_and_for_what_is_not_known() {
    let body = r#"{"ethereum":{"usd":1850,"last_updated_at":1711356300}}"#;
    let failed = || StatusCode::INTERNAL_SERVER_ERROR.into_response();
    let (url, script) = service(vec![([("etag", "x")], body).into_response(), failed(), failed()]).await;
    let lines = format!("pair = 'ETH/USD'\nsource = 'coingecko'\nsymbol = 'ethereum'\npoll_ms = 150\nurl = '{url}'");
    let source = opened(&lines);
    let began = std::time::Instant::now();
    for _ in 0..2 {
        assert_eq!(run(source.as_ref()).await.1, FeedError::Refused("status 500".to_owned()));
    }
    // Three requests in two runs: two pauses, however the runs ended.
    assert!(began.elapsed() >= Duration::from_millis(300), "{:?}", began.elapsed());
    let asked = &script.lock().unwrap().1;
    assert_eq!(asked.len(), 3);
    assert_eq!(asked[2].1["if-none-match"], "x");
}

#[test]
fn what_a_source_lacks_is_said() {
    for (lines, says) in [
        ("pair = 'ETH/USD'\nsource = 'coingecko'", "coingecko needs `symbol`"),
        ("pair = 'ETH/USD'\nsource = 'binance'\nurl = 'http://127.0.0.1'", "ws:// or wss://"),
        ("pair = 'ETH/USD'\nsource = 'coinbase'\nurl = 'nowhere'", "no URL"),
        ("pair = 'ETH/USD'\nsource = 'coingecko'\nsymbol = 'x'\nurl = 'ws://127.0.0.1'", "http:// or https://"),
    ] {
        let error = open(&feed(lines)).err().unwrap();
        assert!(error.contains(says), "{lines}: {error}");
    }
}
