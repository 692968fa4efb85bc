//! REST, bytes in and bytes out.

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, to_bytes},
    http::{HeaderMap, Request, StatusCode},
};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::{openapi, world::*};
use crate::{api::public_router, domain::record::Enrichment, store::Live};

/// Every answer that a test here sees is held against the document.
async fn send(world: &World, method: &str, path: &str, tag: Option<&str>) -> (StatusCode, HeaderMap, Value) {
    let mut request = Request::builder().method(method).uri(path).header("origin", "http://localhost:1");
    if let Some(tag) = tag {
        request = request.header("if-none-match", tag);
    }
    answered(world, request.body(Body::empty()).unwrap()).await
}

/// Of a request with whatever is in it.
pub(super) async fn answered(world: &World, request: Request<Body>) -> (StatusCode, HeaderMap, Value) {
    let (method, path) = (request.method().to_string(), request.uri().to_string());
    let (method, path) = (method.as_str(), path.as_str());
    let response = public_router(world.state.clone()).oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let value =
        if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap_or_else(|e| panic!("{path}: {e}")) };
    openapi::check(
        openapi::served(),
        &openapi::Answer { method, path, status: parts.status, headers: &parts.headers, body: &value },
    )
    .unwrap_or_else(|problems| panic!("{method} {path} is not what the document says: {problems:#?}\n{value:#}"));
    (parts.status, parts.headers, value)
}

async fn get_with(world: &World, path: &str, tag: Option<&str>) -> (StatusCode, HeaderMap, Value) {
    send(world, "GET", path, tag).await
}

pub(super) async fn get(world: &World, path: &str) -> (StatusCode, HeaderMap, Value) {
    get_with(world, path, None).await
}

/// A body that must be there.
async fn data(world: &World, path: &str) -> Value {
    let (status, headers, body) = get(world, path).await;
    assert_eq!(status, StatusCode::OK, "{path}: {body}");
    assert_eq!(headers["x-as-of-block"], world.tip().number.to_string(), "{path}");
    assert_eq!(headers["x-as-of-block-hash"], format!("{:#x}", world.tip().hash), "{path}");
    assert_eq!(headers["content-type"], "application/json");
    body
}

fn path(rest: &str) -> String {
    format!("/v1/{CHAIN}{rest}")
}

#[tokio::test]
async fn an_idle_pool_is_304_for_fifty_blocks_each_time_with_a_fresh_as_of() {
    let mut world = World::new();
    world.mine(v2_swap(1_000_000, 1, 10_000_000, 20));
    let pool = path(&format!("/pools/{PAIR:#x}"));
    let (status, headers, body) = get(&world, &pool).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(body["reserve0"], "10000000");
    let tag = headers["etag"].to_str().unwrap().to_owned();
    let exposed = headers["access-control-expose-headers"].to_str().unwrap().to_lowercase();
    assert!(["etag", "link", "x-as-of-block", "x-data-source"].iter().all(|name| exposed.contains(name)), "{exposed}");
    for _ in 0..50 {
        let tip = world.mine(Vec::new());
        let (status, headers, body) = get_with(&world, &pool, Some(&format!("\"other\", {tag}"))).await;
        assert_eq!((status, body), (StatusCode::NOT_MODIFIED, Value::Null));
        assert_eq!(headers["x-as-of-block"], tip.number.to_string());
        assert_eq!(headers["x-freshness"], "LIVE");
        assert_eq!(headers["etag"], tag);
    }
    world.mine(v2_swap(1, 1, 10_000_001, 19));
    let (status, headers, body) = get_with(&world, &pool, Some(&tag)).await;
    assert_eq!((status, &body["reserve0"]), (StatusCode::OK, &json!("10000001")));
    assert_ne!(headers["etag"], tag);
    assert_eq!(get_with(&world, &pool, Some("*")).await.0, StatusCode::NOT_MODIFIED);
}

#[tokio::test]
async fn lists_go_on_at_their_link_and_end() {
    let mut world = World::new();
    for i in 0..7 {
        world.mine(v2_swap(1, 1, 10 + i, 10));
    }
    for (list, total) in [("/pools?limit=2", 3), ("/tokens?limit=1", 3), ("/swaps?limit=3", 7), ("/swaps?order=asc&limit=2", 7)] {
        let (mut next, mut seen) = (path(list), Vec::new());
        loop {
            let (status, headers, body) = get(&world, &next).await;
            assert_eq!(status, StatusCode::OK, "{next}: {body}");
            seen.extend(body["data"].as_array().unwrap().iter().map(|item| item.get("id").unwrap_or(&item["address"]).clone()));
            assert_eq!(body["cursor"].is_null(), headers.get("link").is_none());
            let Some(link) = headers.get("link") else { break };
            let link = link.to_str().unwrap();
            next = link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap().to_owned();
        }
        let mut once = seen.clone();
        once.sort_by_key(ToString::to_string);
        once.dedup();
        assert_eq!((seen.len(), once.len()), (total, total), "{list}");
    }
}

#[tokio::test]
async fn a_poller_gets_each_swap_once_and_is_told_what_a_reorg_took() {
    let mut world = World::new();
    world.mine(v2_swap(1, 1, 10, 10));
    let swaps = path("/swaps");
    let start = data(&world, &format!("{swaps}?order=asc&limit=1")).await;
    let first = start["data"][0].clone();
    // A list's cursor is a position, too.
    world.mine(v2_swap(1, 1, 11, 10));
    let page = data(&world, &format!("{swaps}?order=asc&limit=1")).await;
    let mut since = page["cursor"].as_str().unwrap().to_owned();
    let mut have: Vec<Value> = vec![first];
    let poll = async |world: &World, since: &mut String, have: &mut Vec<Value>| {
        let body = data(world, &format!("{swaps}?since={since}&limit=2")).await;
        if let Some(number) = body["rollbackTo"]["number"].as_u64() {
            have.retain(|swap| swap["block"]["number"].as_u64().unwrap() <= number);
        }
        have.extend(body["data"].as_array().unwrap().iter().cloned());
        let tag = since.clone();
        *since = body["cursor"].as_str().unwrap().to_owned();
        (body["data"].as_array().unwrap().len(), tag)
    };
    for i in 0..6 {
        world.mine(v2_swap(1, 1, 12 + i, 10));
    }
    while poll(&world, &mut since, &mut have).await.0 > 0 {}
    assert_eq!(have.len(), 8);
    // Nothing new: the same cursor, so that an ETag holds.
    let before = since.clone();
    world.mine(Vec::new());
    assert_eq!(poll(&world, &mut since, &mut have).await, (0, before.clone()));
    assert_eq!(since, before);
    // Three blocks are taken back, one of them empty; one swap comes again.
    world.reorg(3, vec![v2_swap(7, 7, 99, 9), Vec::new(), Vec::new(), Vec::new()]);
    while poll(&world, &mut since, &mut have).await.0 > 0 {}
    let mut truth = data(&world, &format!("{swaps}?order=asc&limit=1000")).await["data"].take();
    // How settled they are changes without them.
    for swap in have.iter_mut().chain(truth.as_array_mut().unwrap()) {
        swap["commitment"] = Value::Null;
    }
    assert_eq!(json!(have), truth);
}

#[tokio::test]
async fn a_poller_without_a_cursor_begins_at_the_head() {
    let mut world = World::new();
    world.mine(v2_swap(1, 1, 10, 10));
    let begin = data(&world, &path("/swaps?since=head")).await;
    assert_eq!(begin["data"], json!([]));
    let since = path(&format!("/swaps?since={}", begin["cursor"].as_str().unwrap()));
    assert_eq!(data(&world, &since).await["data"], json!([]));
    world.mine(v2_swap(2, 1, 11, 10));
    assert_eq!(data(&world, &since).await["data"][0]["amount0Raw"], "2");
    // Its block is taken back, and with it what came after.
    world.reorg(2, vec![v2_swap(3, 1, 12, 10)]);
    let after = data(&world, &since).await;
    assert_eq!((&after["rollbackTo"], &after["data"][0]["amount0Raw"]), (&json!({ "number": 1 }), &json!("3")));
}

#[tokio::test]
async fn what_is_wrong_is_a_problem_that_says_what_to_do() {
    let world = World::new();
    let pair = format!("{PAIR:#x}");
    for (rest, status, says) in [
        ("/v1/abc/pools".to_owned(), 400, "EIP-155"),
        ("/v1/5/pools".to_owned(), 404, "chain 5"),
        (path("/pools/0x12"), 400, "0x12"),
        (path("/pools/%ff"), 400, "path"),
        (path("/pools/0x00000000000000000000000000000000000000ff"), 404, "/pools"),
        (path("/tokens/0x00000000000000000000000000000000000000ff"), 404, "trades"),
        (path("/tokens/00000000000000000000000000000000000000ff"), 400, "40 hexadecimal digits"),
        (path("/transactions/0x12"), 400, "64 hexadecimal digits"),
        (path(&format!("/transactions/0x{}", "1".repeat(64))), 404, "transaction"),
        (path("/pools?limit=0"), 400, "`limit`"),
        (path("/pools?limit=1001"), 400, "`limit`"),
        (path("/pools?limit=x"), 400, "limit"),
        (path("/pools?cursor=zzz"), 400, "cursor"),
        (path("/pools?protocol=uni"), 400, "UNISWAP_V2"),
        (path("/pools?tokn=1"), 400, "tokn"),
        (path("/swaps?since=AAAA"), 400, "`since`"),
        (path("/swaps?order=up"), 400, "order"),
        (path("/swaps?from=9223372036854775808"), 400, "`from`"),
        (path("/pools/%00"), 400, "pool id"),
        (path(&format!("/swaps?pool={pair}&token={pair}")), 400, "at most one"),
        (path("/nothing"), 404, "/openapi.json"),
        ("/v1".to_owned(), 404, "/openapi.json"),
    ] {
        let (found, headers, body) = get(&world, &rest).await;
        assert_eq!(found.as_u16(), status, "{rest}: {body}");
        assert_eq!(headers["content-type"], "application/problem+json", "{rest}");
        assert_eq!((&body["status"], &body["type"]), (&json!(status), &json!("about:blank")), "{rest}");
        assert!(body["detail"].as_str().unwrap().contains(says), "{rest}: {body}");
        assert!(body["code"].is_string() && body["title"].is_string(), "{rest}");
    }
}

#[tokio::test]
async fn an_accounts_activity_is_of_every_kind_in_one_order() {
    let mut world = World::new();
    super::nested::busy(&mut world, 3);
    for record in world.records() {
        // Every other transaction is ours.
        let ours = record.rows.iter().map(|row| row.event.raw.tx_hash).filter(|hash| hash.0[31] % 2 == 0);
        let origin = Enrichment { origin: TRADER, gas_used: 21_000, gas_price_wei: alloy::primitives::U256::from(7) };
        world.live.enrich(&record.block.hash, &ours.map(|hash| (hash, origin)).collect());
    }
    let place = |event: &Value| (event["block"]["number"].as_u64().unwrap(), event["logIndex"].as_u64().unwrap());
    let all = data(&world, &path(&format!("/accounts/{TRADER:#x}/activity"))).await["data"].take();
    let all = all.as_array().unwrap();
    let kinds = |kind: &str| all.iter().filter(|event| event["kind"] == kind).count();
    assert!(kinds("SWAP") > 0 && kinds("MINT") + kinds("BURN") > 0, "{all:?}");
    assert!(all.iter().all(|event| event["origin"] == format!("{TRADER:#x}")));
    assert!(all.windows(2).all(|two| place(&two[0]) > place(&two[1])), "newest first, whatever kind");
    let (mut paged, mut next) = (Vec::new(), path(&format!("/accounts/{TRADER:#x}/activity?limit=2")));
    loop {
        let (_, headers, body) = get(&world, &next).await;
        paged.extend(body["data"].as_array().unwrap().iter().cloned());
        let Some(link) = headers.get("link") else { break };
        next = link.to_str().unwrap().strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap().to_owned();
    }
    assert_eq!(&paged, all);
    world.bury();
    let none = data(&world, &path(&format!("/accounts/{ODD:#x}/activity"))).await;
    assert_eq!((&none["data"], &none["cursor"]), (&json!([]), &Value::Null));
    let questions = std::mem::take(&mut *world.history.batches.lock().unwrap());
    assert_eq!(questions.iter().map(Vec::len).collect::<Vec<_>>(), [3], "one question to the store");
}

#[tokio::test]
async fn one_call_has_a_pool_with_its_tokens_and_what_happened() {
    let mut world = World::new();
    for i in 0..25 {
        world.mine(v2_swap(1_000_000, 1, 10 + i, 10));
    }
    let overview = data(&world, &path(&format!("/pools/{PAIR:#x}/overview"))).await;
    assert_eq!(overview["pool"], data(&world, &path(&format!("/pools/{PAIR:#x}"))).await);
    assert_eq!((overview["swaps"].as_array().unwrap().len(), &overview["swapCount"]), (20, &json!(25)));
    let newest = data(&world, &path(&format!("/pools/{PAIR:#x}/swaps?limit=20"))).await;
    assert_eq!(overview["swaps"], newest["data"]);
    let swap = &newest["data"][0];
    assert_eq!(swap["amount0Raw"], "1000000");
    let hash = swap["transactionHash"].as_str().unwrap();
    let of_transaction = data(&world, &path(&format!("/transactions/{hash}"))).await;
    assert!(of_transaction["data"].as_array().unwrap().contains(swap));
}

#[tokio::test]
async fn every_path_says_by_which_methods_it_is_asked() {
    let world = World::new();
    for (template, item) in openapi::served()["paths"].as_object().unwrap() {
        let path = template
            .replace("{chainId}", &CHAIN.to_string())
            .replace("{id}", &format!("{PAIR:#x}"))
            .replace("{address}", &format!("{USDC:#x}"))
            .replace("{hash}", &format!("0x{}", "1".repeat(64)));
        let allowed = [("get", "GET"), ("get", "HEAD"), ("post", "POST")];
        let allowed = allowed.into_iter().filter(|(name, _)| item.get(name).is_some()).map(|(_, method)| method);
        let allowed: Vec<&str> = allowed.collect();
        let others = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "BREW"];
        for method in others.into_iter().filter(|method| !allowed.contains(method)) {
            let (status, headers, body) = send(&world, method, &path, None).await;
            let allow = headers["allow"].to_str().unwrap();
            assert_eq!((status, allow), (StatusCode::METHOD_NOT_ALLOWED, allowed.join(",").as_str()), "{method} {path}");
            assert_eq!(headers["content-type"], "application/problem+json");
            if method != "HEAD" {
                assert_eq!(body["code"], "METHOD_NOT_ALLOWED");
                assert!(body["detail"].as_str().unwrap().contains(&format!("not asked with {method}: ")), "{body}");
            }
        }
        if !allowed.contains(&"GET") {
            continue;
        }
        let (get, head) = (get(&world, &path).await, send(&world, "HEAD", &path, None).await);
        assert_eq!((head.0, head.2), (get.0, Value::Null), "{path}");
        assert_eq!(head.1.get("etag"), get.1.get("etag"), "{path}");
    }
}

#[tokio::test]
async fn a_pool_of_v3_and_what_happens_in_it_fit_the_document() {
    let mut world = World::new();
    world.mine(initialize(96, 0));
    world.mine(v3_mint(-10, 20, 1_000));
    world.mine(v3_swap(96));
    world.mine(v2_swap(0, 0, 10, 10));
    let lies = data(&world, &path(&format!("/pools/{POOL:#x}/liquidity?from_tick=-5"))).await;
    assert_eq!(lies["data"], json!([{ "tickLower": -5, "tickUpper": 20, "liquidity": "1000" }]));
    for (rest, expected) in [("/ticks?limit=1", 1), ("/swaps", 1), ("/ticks", 2), ("/liquidity", 1)] {
        let page = data(&world, &path(&format!("/pools/{POOL:#x}{rest}"))).await;
        assert_eq!(page["data"].as_array().unwrap().len(), expected, "{rest}: {page}");
    }
    assert_eq!(data(&world, &path(&format!("/pools/{POOL:#x}/overview"))).await["mints"][0]["tickLower"], -10);
    for list in ["/mints", "/burns", "/pools?protocol=UNISWAP_V3", "/_meta"] {
        data(&world, &path(list)).await;
    }
    for rest in [format!("/tokens/{ODD:#x}"), format!("/tokens/{ODD:#x}/pools"), format!("/accounts/{TRADER:#x}/activity")] {
        data(&world, &path(&rest)).await;
    }
}

#[tokio::test]
async fn what_is_not_there_yet_and_what_is_gone_fit_the_document() {
    let mut world = World::new();
    for i in 0..3 {
        world.mine(v2_swap(1, 1, 10 + i, 10));
    }
    let page = data(&world, &path("/swaps?limit=1")).await;
    world.reorg(3, (0..4).map(|_| Vec::new()).collect());
    let (status, _, body) = get(&world, &path(&format!("/swaps?limit=1&cursor={}", page["cursor"].as_str().unwrap()))).await;
    assert_eq!((status, &body["code"]), (StatusCode::GONE, &json!("REORGED")));
    // A chain of which no block has arrived, beside one that is there.
    let other = |id| Arc::new(Live::new(id, "other", 2, Duration::from_secs(15)));
    let starting = World::over(vec![other(CHAIN), other(7)]);
    let (status, headers, body) = get(&starting, "/v1/7/pools").await;
    assert_eq!(
        (status, &headers["retry-after"], &body["code"]),
        (StatusCode::SERVICE_UNAVAILABLE, &"2".parse().unwrap(), &json!("UPSTREAM_DOWN"))
    );
}
