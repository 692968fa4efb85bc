//! What every request passes first.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::ConnectInfo,
    http::{HeaderMap, Request, StatusCode},
};
use serde_json::Value;
use tower::ServiceExt as _;

use super::world::World;
use crate::api::{ApiState, RequestLimit, public_router};

async fn ask(router: &Router, peer: &str, request: axum::http::request::Builder) -> (StatusCode, HeaderMap, Value) {
    let peer: SocketAddr = peer.parse().unwrap();
    let request = request.extension(ConnectInfo(peer)).body(Body::from(r#"{"query":"{ __typename }"}"#)).unwrap();
    let (parts, body) = router.clone().oneshot(request).await.unwrap().into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    (parts.status, parts.headers, serde_json::from_slice(&body).unwrap_or_default())
}

fn limited(world: &World, burst: u32) -> Router {
    let request_limit = RequestLimit { per_second: 1, burst, trusted_proxies: vec!["10.0.0.1/32".parse().unwrap()] };
    let state = &world.state;
    public_router(Arc::new(ApiState {
        reader: state.reader.clone(),
        metrics: state.metrics.clone(),
        board: state.board.clone(),
        origins: state.origins.clone(),
        request_limit,
        streams_per_address: 2,
        sockets: crate::api::SocketLimits::default(),
        access: crate::api::AccessRules::default(),
        documents: crate::api::DocumentRules::default(),
        ready: state.ready.clone(),
        draining: state.draining.clone(),
        version: state.version,
        now_unix_ms: state.now_unix_ms,
    }))
}

#[tokio::test]
async fn an_address_that_asks_too_often_is_told_when_to_come_back_and_no_other_notices() {
    let world = World::new();
    let router = limited(&world, 3);
    let meta = || Request::get("/v1/31337/_meta").header("origin", "http://localhost:1");
    for _ in 0..3 {
        assert_eq!(ask(&router, "192.0.2.1:1", meta()).await.0, StatusCode::OK);
    }
    let (status, headers, body) = ask(&router, "192.0.2.1:2", meta()).await;
    assert_eq!((status, &headers["content-type"]), (StatusCode::TOO_MANY_REQUESTS, &"application/problem+json".parse().unwrap()));
    assert_eq!((headers["retry-after"].as_bytes(), body["code"].as_str()), (b"1".as_slice(), Some("RATE_LIMITED")));
    // A page of another origin can read when it may come back.
    assert_eq!(headers["access-control-allow-origin"], "http://localhost:1");
    assert!(headers["access-control-expose-headers"].to_str().unwrap().contains("retry-after"));
    assert!(headers.contains_key("x-request-id"));

    let query = || Request::post("/graphql").header("content-type", "application/json");
    let (status, headers, body) = ask(&router, "192.0.2.1:3", query()).await;
    assert_eq!((status, headers["retry-after"].as_bytes()), (StatusCode::TOO_MANY_REQUESTS, b"1".as_slice()));
    assert_eq!(body["errors"][0]["extensions"]["code"], "RATE_LIMITED");
    assert_eq!(body.get("data"), None);

    assert_eq!(ask(&router, "192.0.2.2:1", meta()).await.0, StatusCode::OK);
    // Behind a proxy that is trusted each client has its own; the proxy itself is none of them.
    for client in ["192.0.2.3", "192.0.2.4"] {
        for _ in 0..3 {
            assert_eq!(ask(&router, "10.0.0.1:1", meta().header("x-forwarded-for", client)).await.0, StatusCode::OK);
        }
        let refused = ask(&router, "10.0.0.1:1", meta().header("x-forwarded-for", client)).await.0;
        assert_eq!(refused, StatusCode::TOO_MANY_REQUESTS);
    }
    // All addresses of a /64 are one.
    for host in 1..=3 {
        assert_eq!(ask(&router, &format!("[2001:db8::{host}]:1"), meta()).await.0, StatusCode::OK);
    }
    assert_eq!(ask(&router, "[2001:db8::4]:1", meta()).await.0, StatusCode::TOO_MANY_REQUESTS);
    assert!(world.state.metrics.render().contains("swaptide_rate_limited_total 5"));
}

#[tokio::test]
async fn an_address_has_so_many_streams_and_gets_their_places_back() {
    let world = World::new();
    let router = limited(&world, 100);
    let open = async |peer: &str| {
        let peer: SocketAddr = peer.parse().unwrap();
        let request = Request::get("/v1/stream?topics=blocks").extension(ConnectInfo(peer)).body(Body::empty()).unwrap();
        router.clone().oneshot(request).await.unwrap()
    };
    let streams = [open("192.0.2.1:1").await, open("192.0.2.1:2").await];
    for stream in streams.iter().chain([&open("192.0.2.2:1").await]) {
        assert_eq!(stream.status(), StatusCode::OK);
    }
    let refused = open("192.0.2.1:3").await;
    assert_eq!((refused.status(), refused.headers()["retry-after"].as_bytes()), (StatusCode::TOO_MANY_REQUESTS, b"2".as_slice()));
    drop(streams);
    assert_eq!(open("192.0.2.1:4").await.status(), StatusCode::OK);
    assert_eq!(world.state.metrics.streams.get(), 0);
}

#[tokio::test]
async fn browsers_come_back_at_different_moments() {
    let world = World::new();
    let router = limited(&world, 100);
    let mut said = std::collections::BTreeSet::new();
    for host in 1..9 {
        let peer: SocketAddr = format!("192.0.2.{host}:1").parse().unwrap();
        let request = Request::get("/v1/stream?topics=blocks").extension(ConnectInfo(peer)).body(Body::empty()).unwrap();
        let mut body = router.clone().oneshot(request).await.unwrap().into_body().into_data_stream();
        let first = futures_util::StreamExt::next(&mut body).await.unwrap().unwrap();
        said.insert(String::from_utf8_lossy(&first).into_owned());
    }
    assert!(said.iter().all(|first| first.contains("retry:")) && said.len() > 3, "{said:?}");
}

#[tokio::test]
async fn without_a_limit_nobody_is_refused() {
    let world = World::new();
    let router = public_router(world.state.clone());
    for _ in 0..2_000 {
        assert_eq!(ask(&router, "192.0.2.1:1", Request::get("/v1/31337/_meta")).await.0, StatusCode::OK);
    }
}

#[tokio::test]
async fn every_answer_has_a_name_and_the_client_may_choose_it() {
    let world = World::new();
    let router = public_router(world.state.clone());
    let mut names = Vec::new();
    for path in ["/", "/v1/31337/pools", "/v1/nothing", "/nothing", "/graphql?query=%7B__typename%7D"] {
        let headers = ask(&router, "192.0.2.1:1", Request::get(path)).await.1;
        names.push(headers["x-request-id"].to_str().unwrap().to_owned());
    }
    assert!(names.iter().all(|name| name.len() == 16 && name.bytes().all(|b| b.is_ascii_hexdigit())), "{names:?}");
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 5);
    let named = |id: &str| Request::get("/v1/31337/_meta").header("x-request-id", id);
    assert_eq!(ask(&router, "192.0.2.1:1", named("018f-a.b")).await.1["x-request-id"], "018f-a.b");
    for bad in ["", "with space", &"x".repeat(65)] {
        assert_ne!(ask(&router, "192.0.2.1:1", named(bad)).await.1["x-request-id"], *bad);
    }
}
