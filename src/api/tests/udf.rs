//! TradingView's UDF, asked as its adapter asks.

use axum::{
    body::{Body, to_bytes},
    http::{Request, StatusCode},
};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::world::*;
use crate::api::public_router;

async fn text(world: &World, path: &str) -> String {
    let request = Request::get(path).header("origin", "http://localhost:1").body(Body::empty()).unwrap();
    let (parts, body) = public_router(world.state.clone()).oneshot(request).await.unwrap().into_parts();
    assert_eq!(parts.status, StatusCode::OK, "{path}");
    assert_eq!(parts.headers["access-control-allow-origin"], "http://localhost:1");
    String::from_utf8(to_bytes(body, usize::MAX).await.unwrap().to_vec()).unwrap()
}

async fn ask(world: &World, path: &str) -> Value {
    serde_json::from_str(&text(world, path).await).unwrap()
}

fn sale(usdc: u64, price: u128) -> Vec<Step> {
    v2_swap(usdc * 1_000_000, 5, 1_000_000_000_000, price * 1_000_000_000_000_000_000)
}

/// Swaps in blocks 2 and 9; a block is 12 s.
fn traded() -> World {
    let mut world = World::new();
    world.mine(sale(3, 500));
    for _ in 3..9 {
        world.mine(Vec::new());
    }
    world.mine(sale(10, 700));
    world
}

#[tokio::test]
async fn the_adapters_first_requests() {
    let world = traded();
    let config = ask(&world, "/udf/config").await;
    assert_eq!(
        (&config["supports_search"], &config["supports_group_request"], &config["supports_time"]),
        (&json!(true), &json!(false), &json!(true))
    );
    assert_eq!(config["supported_resolutions"], json!(["1S", "5S", "15S", "1", "5", "15", "60", "240", "1D", "1W"]));
    assert_eq!(text(&world, "/udf/time").await, (NOW_MS / 1_000).to_string());
    let found = ask(&world, "/udf/search?limit=30&query=usdc&type=&exchange=").await;
    assert_eq!(found.as_array().unwrap().len(), 4, "two pools, both ways round: {found}");
    let pool = format!("{PAIR:#x}");
    let one = found.as_array().unwrap().iter().find(|s| s["ticker"] == format!("{CHAIN}:{pool}:i")).unwrap();
    let info = ask(&world, &format!("/udf/symbols?symbol={}", one["ticker"].as_str().unwrap())).await;
    assert_eq!(
        (&info["name"], &info["ticker"], &info["session"], &info["timezone"]),
        (&one["symbol"], &one["ticker"], &json!("24x7"), &json!("Etc/UTC"))
    );
    // 1,428.57 WETH's worth of USDC: two places; the other way round 0.0007: nine.
    assert_eq!(info["pricescale"], json!(100));
    assert_eq!(ask(&world, &format!("/udf/symbols?symbol={CHAIN}:{pool}")).await["pricescale"], json!(1_000_000_000));
    assert_eq!(ask(&world, "/udf/search?limit=1&query=&type=stock&exchange=").await, json!([]));
    assert_eq!(ask(&world, "/udf/search?limit=1&query=&type=&exchange=").await.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn bars_are_the_candles_with_those_without_a_trade() {
    let world = traded();
    let now = world.tip().timestamp;
    // As the library does: a future `to`, and how many bars it needs.
    let path = format!("/udf/history?symbol={CHAIN}:{PAIR:#x}&resolution=1&from={}&to={}&countback=329", now - 20_000, now + 600);
    let said = text(&world, &path).await;
    assert!(said.contains("0.0005") && !said.contains("e-"), "{said}");
    let bars: Value = serde_json::from_str(&said).unwrap();
    let minute = |number: u64| (1_700_000_000 + 12 * number) / 60 * 60;
    assert_eq!(bars["s"], "ok");
    assert_eq!(bars["t"], json!((minute(2)..=minute(9)).step_by(60).collect::<Vec<_>>()));
    let last = bars["t"].as_array().unwrap().len() - 1;
    assert_eq!((&bars["o"][0], &bars["c"][0], &bars["v"][0]), (&json!(0.0005), &json!(0.0005), &json!(3)));
    assert_eq!(
        (&bars["o"][last], &bars["h"][last], &bars["l"][last], &bars["c"][last]),
        (&json!(0.0005), &json!(0.0007), &json!(0.0005), &json!(0.0007))
    );
    // The other way round, by day, in its short form.
    let path = format!("/udf/history?symbol={CHAIN}:{PAIR:#x}:i&resolution=D&from={}&to={}", now - 200_000, now + 600);
    let day = ask(&world, &path).await;
    assert_eq!((&day["o"][0], &day["h"][0], day["t"].as_array().unwrap().len()), (&json!(2000), &json!(2000), 1));
    // Scrolled back to before the first swap.
    let path = format!("/udf/history?symbol={CHAIN}:{PAIR:#x}&resolution=1&from={}&to={}&countback=2", now - 9_000, now - 6_000);
    assert_eq!(ask(&world, &path).await, json!({ "s": "no_data" }));
    let path = format!("/udf/history?symbol={CHAIN}:{PAIR:#x}&resolution=1&from=-100&to=-50");
    assert_eq!(ask(&world, &path).await["s"], "error");
}

#[tokio::test]
async fn what_cannot_be_answered_is_said_in_its_words() {
    let world = traded();
    let symbol = format!("{CHAIN}:{PAIR:#x}");
    for (path, says) in [
        ("/udf/symbols".to_owned(), "`symbol` is missing"),
        ("/udf/symbols?symbol=AAPL".to_owned(), "unknown symbol `AAPL`"),
        (format!("/udf/symbols?symbol=5:{PAIR:#x}"), "chain 5"),
        (format!("/udf/symbols?symbol={CHAIN}:{TRADER:#x}"), "unknown symbol"),
        (format!("/udf/history?symbol={symbol}&resolution=7&from=1&to=2"), "`resolution` is one of"),
        (format!("/udf/history?symbol={symbol}&resolution=1&from=1"), "`to` is missing"),
        (format!("/udf/history?symbol={symbol}&resolution=1&from=5&to=5"), "`from` must be before `to`"),
        (format!("/udf/history?symbol={symbol}&resolution=1&to=5&countback=0"), "at least 1"),
        (format!("/udf/history?symbol={CHAIN}:{ODD_PAIR:#x}&resolution=1&to={}&countback=5", world.tip().timestamp), ""),
    ] {
        let answer = ask(&world, &path).await;
        if says.is_empty() {
            assert_eq!(answer, json!({ "s": "no_data" }), "nobody ever traded it");
            continue;
        }
        assert!(answer["s"] == "error" && answer["errmsg"].as_str().unwrap().contains(says), "{path}: {answer}");
    }
}
