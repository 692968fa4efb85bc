//! The public routes, bytes in and bytes out.

use axum::{
    body::{Body, to_bytes},
    http::{HeaderMap, Request, StatusCode, header},
};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::world::*;
use crate::api::{page, public_router};

const NEW: &str = "application/graphql-response+json";

async fn send(world: &World, request: Request<Body>) -> (StatusCode, HeaderMap, Vec<u8>) {
    let response = public_router(world.state.clone()).oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    (parts.status, parts.headers, to_bytes(body, usize::MAX).await.unwrap().to_vec())
}

async fn post(world: &World, accept: &str, content_type: &str, body: impl Into<Body>) -> (StatusCode, Value) {
    let request =
        Request::post("/graphql").header("accept", accept).header("content-type", content_type).body(body.into()).unwrap();
    let (status, headers, body) = send(world, request).await;
    let kind = headers[header::CONTENT_TYPE].to_str().unwrap().to_owned();
    assert_eq!(kind, format!("{}; charset=utf-8", if accept.contains(NEW) { NEW } else { "application/json" }));
    (status, serde_json::from_slice(&body).unwrap())
}

async fn get(world: &World, path: &str, accept: &str) -> (StatusCode, HeaderMap, String) {
    let (status, headers, body) = send(world, Request::get(path).header("accept", accept).body(Body::empty()).unwrap()).await;
    (status, headers, String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test]
async fn queries_are_answered_over_post_and_get() {
    let world = World::new();
    let (status, body) = post(&world, "*/*", "application/json; charset=utf-8", r#"{"query":"{ _meta { chainId } }"}"#).await;
    assert_eq!((status, &body["data"]), (StatusCode::OK, &json!({ "_meta": { "chainId": CHAIN } })));
    assert_eq!(body["extensions"]["asOf"]["number"], 1);
    let (status, _, body) = get(&world, "/graphql?query=%7B__typename%7D", NEW).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let (status, _, body) =
        get(&world, "/graphql?query=query(%24n%3AInt)%7Bpools(first%3A%24n)%7BtotalCount%7D%7D&variables=%7B%22n%22%3A1%7D", NEW)
            .await;
    assert_eq!(status, StatusCode::OK, "{body}");
}

#[tokio::test]
async fn what_cannot_be_executed_is_400_without_data_or_200_for_old_clients() {
    let world = World::new();
    for query in ["{ nothing }", "{ pools { ", "subscription { blocks { seq } }", "{ pools(first: \\\"x\\\") { totalCount } }"] {
        let body = format!(r#"{{"query":"{query}"}}"#);
        let (status, answer) = post(&world, NEW, "application/json", body.clone()).await;
        if !query.starts_with("subscription") {
            assert_eq!(status, StatusCode::BAD_REQUEST, "{query}");
            assert_eq!(answer.get("data"), None, "{query}");
        }
        assert_eq!(answer["errors"][0]["extensions"]["code"], "BAD_USER_INPUT", "{query}");
        assert_eq!(post(&world, "application/json", "application/json", body).await.0, StatusCode::OK, "{query}");
    }
    // Execution began: the field's error stands beside the data.
    let (status, answer) = post(&world, NEW, "application/json", r#"{"query":"{ pool(id: \"x\") { id } a: __typename }"}"#).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(answer["data"], json!({ "pool": null, "a": "Query" }));
    // A field that must not be null takes the whole answer with it: there is no half of a list.
    let (status, answer) =
        post(&world, NEW, "application/json", r#"{"query":"{ pools(first: 0) { totalCount } a: __typename }"}"#).await;
    assert_eq!((status, &answer["data"]), (StatusCode::OK, &Value::Null));
    assert!(answer.as_object().unwrap().contains_key("data"));
}

#[tokio::test]
async fn what_a_known_document_is_given_is_checked_like_the_first_time() {
    let world = World::new();
    let router = public_router(world.state.clone());
    let ask = async |router: &axum::Router, variables: Value| {
        let query = "query Q($n: Int = 3, $w: SwapWhere) { swaps(first: $n, where: $w) { nodes { id } } }";
        let body = json!({ "query": query, "variables": variables }).to_string();
        let request = Request::post("/graphql").header("accept", NEW).header("content-type", "application/json");
        let answer = router.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
        let status = answer.status();
        (status, serde_json::from_slice::<Value>(&to_bytes(answer.into_body(), usize::MAX).await.unwrap()).unwrap())
    };
    for variables in [json!({ "n": 5 }), json!({}), json!({ "n": 5 }), json!({})] {
        assert_eq!(ask(&router, variables).await.1.get("errors"), None);
    }
    for variables in
        [json!({ "n": "x" }), json!({ "n": 0 }), json!({ "n": 1_001 }), json!({ "w": { "tokn": "0x" } }), json!({ "w": 7 })]
    {
        let known = ask(&router, variables.clone()).await;
        assert_eq!(known, ask(&public_router(world.state.clone()), variables.clone()).await, "{variables}");
        assert!(known.1["errors"].is_array(), "{variables}");
    }
}

#[tokio::test]
async fn everything_else_is_refused_with_a_sentence() {
    let world = World::new();
    let query = r#"{"query":"{ __typename }"}"#;
    let cases = [
        ("application/json", format!("[{query}]"), StatusCode::BAD_REQUEST, "batches"),
        ("application/json", format!("  [{query},{query}]"), StatusCode::BAD_REQUEST, "batches"),
        ("multipart/form-data; boundary=x", "--x".to_owned(), StatusCode::UNSUPPORTED_MEDIA_TYPE, "uploads"),
        ("text/plain", query.to_owned(), StatusCode::UNSUPPORTED_MEDIA_TYPE, "application/json"),
        ("application/json", "{".to_owned(), StatusCode::BAD_REQUEST, "no GraphQL request"),
        ("application/json", "{}".to_owned(), StatusCode::BAD_REQUEST, "no `query`"),
        ("application/json", r#"{"query":7}"#.to_owned(), StatusCode::BAD_REQUEST, "no GraphQL request"),
        ("application/json", " ".repeat(300_000), StatusCode::PAYLOAD_TOO_LARGE, "256 KiB"),
    ];
    for (content_type, body, expected, word) in cases {
        let (status, answer) = post(&world, NEW, content_type, body).await;
        let message = answer["errors"][0]["message"].as_str().unwrap();
        assert_eq!(status, expected, "{message}");
        assert!(message.contains(word), "{message}");
        assert_eq!(answer["errors"][0]["extensions"]["code"], "BAD_USER_INPUT");
    }
    let (status, headers, _) = send(&world, Request::delete("/graphql").body(Body::empty()).unwrap()).await;
    assert_eq!(
        (status, &headers[header::ALLOW]),
        (StatusCode::METHOD_NOT_ALLOWED, &header::HeaderValue::from_static("GET, POST"))
    );
    let (status, _, text) = get(&world, "/nowhere", "*/*").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(text.contains("/graphql"));
}

#[tokio::test]
async fn browsers_of_allowed_origins_may_ask() {
    let world = World::new();
    let preflight = |origin: &str| {
        Request::options("/graphql")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "content-type")
            .body(Body::empty())
            .unwrap()
    };
    let (status, headers, _) = send(&world, preflight("http://localhost:5173")).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(headers["access-control-allow-origin"], "http://localhost:5173");
    assert!(headers["access-control-allow-headers"].to_str().unwrap().contains("content-type"));
    let (_, headers, _) = send(&world, preflight("http://evil.example")).await;
    assert_eq!(headers.get("access-control-allow-origin"), None);
}

#[tokio::test]
async fn the_page_loads_nothing_from_elsewhere() {
    let world = World::new();
    let (status, headers, html) = get(&world, "/", "text/html").await;
    assert_eq!(status, StatusCode::OK);
    assert!(headers["content-security-policy"].to_str().unwrap().contains("script-src 'self'"));
    assert_eq!(headers["content-type"], "text/html; charset=utf-8");
    let mut files = vec![html];
    for path in [
        "app.js",
        "blocks.js",
        "chart.js",
        "client.js",
        "docs.css",
        "docs.js",
        "dom.js",
        "format.js",
        "graphiql.js",
        "pools.js",
        "swaps.js",
        "style.css",
        "logo.svg",
    ] {
        let (status, headers, text) = get(&world, &format!("/assets/{path}"), "*/*").await;
        assert_eq!(status, StatusCode::OK, "{path}");
        assert_eq!(headers["x-content-type-options"], "nosniff");
        files.push(text);
    }
    for text in files {
        let text = text.replace("http://www.w3.org/2000/svg", "");
        assert!(!text.contains("https://") && !text.contains("http://"), "a link to elsewhere");
        assert!(!text.contains("<script>") && !text.contains(" onclick=") && !text.contains(" style="), "inline code");
    }
    assert_eq!(get(&world, "/assets/index.html", "*/*").await.0, StatusCode::NOT_FOUND);
    assert_eq!(get(&world, "/assets/../Cargo.toml", "*/*").await.0, StatusCode::NOT_FOUND);
    assert_eq!(get(&world, "/assets/vendor/.gitkeep", "*/*").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn files_are_compressed_and_not_sent_twice() {
    let world = World::new();
    let request = Request::get("/assets/app.js").header("accept-encoding", "gzip").body(Body::empty()).unwrap();
    let (_, headers, _) = send(&world, request).await;
    assert_eq!(headers["content-encoding"], "gzip");
    let tag = headers["etag"].clone();
    let request = Request::get("/assets/app.js").header("if-none-match", tag).body(Body::empty()).unwrap();
    let (status, _, body) = send(&world, request).await;
    assert_eq!((status, body.len()), (StatusCode::NOT_MODIFIED, 0));
}

#[tokio::test]
async fn graphiql_and_the_reference_are_there_or_say_what_to_run() {
    let world = World::new();
    for path in ["/graphql", "/graphiql"] {
        let (status, headers, html) = get(&world, path, "text/html,application/xhtml+xml,*/*;q=0.8").await;
        assert_eq!(status, StatusCode::OK);
        assert!(headers["content-type"].to_str().unwrap().starts_with("text/html"), "{path}");
        assert!(html.contains("GraphiQL"), "{path}");
    }
    let missing = page::graphiql_page(&HeaderMap::new(), false);
    assert_eq!(missing.status(), StatusCode::OK);
    let html = to_bytes(missing.into_body(), usize::MAX).await.unwrap();
    assert!(String::from_utf8_lossy(&html).contains("cargo xtask parts"));
    let (status, headers, html) = get(&world, "/docs", "text/html").await;
    assert_eq!((status, html.contains("REST")), (StatusCode::OK, true));
    assert!(headers["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'; script-src 'self';"));
    let missing = to_bytes(page::docs_page(&HeaderMap::new(), false).into_body(), usize::MAX).await.unwrap();
    assert!(String::from_utf8_lossy(&missing).contains("cargo xtask parts"));
    let (_, _, sdl) = get(&world, "/schema.graphql", "*/*").await;
    assert_eq!(sdl, crate::api::sdl());
}
