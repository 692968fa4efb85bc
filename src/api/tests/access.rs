//! Keys, budgets, and which documents are executed at all.

use std::sync::Arc;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{client::*, world::*};
use crate::api::{AccessRules, ApiKey, DocumentRules, Documents, Scope, new_key};

const READER: &str = "swt_the-reader";
const ALL: &str = "swt_all";

fn key(text: &str, name: &str, scopes: &[Scope], cost_per_second: u32) -> ApiKey {
    let hash = Sha256::digest(text).into();
    ApiKey { name: name.to_owned(), hash, scopes: scopes.to_vec(), cost_per_second, cost_burst: cost_per_second }
}

fn world(access: AccessRules, documents: DocumentRules) -> World {
    let mut world = World::new();
    let state = Arc::get_mut(&mut world.state).unwrap();
    (state.access, state.documents) = (access, documents);
    world
}

fn keyed(key_required: bool) -> AccessRules {
    let keys = vec![key(READER, "reader", &[Scope::Read], 0), key(ALL, "all", &[Scope::Read, Scope::Subscribe], 0)];
    AccessRules { keys, key_required, cost_per_second: 0, cost_burst: 0 }
}

fn code(answer: &Value) -> &str {
    answer["errors"][0]["extensions"]["code"].as_str().or(answer["code"].as_str()).unwrap_or_default()
}

/// Connects with this payload of `connection_init`.
async fn begin(url: &str, payload: Value) -> Socket {
    let mut socket = open(url, "graphql-transport-ws", None).await.unwrap();
    say(&mut socket, json!({ "type": "connection_init", "payload": payload })).await;
    socket
}

#[tokio::test]
async fn a_key_opens_what_its_scopes_say() {
    let world = world(keyed(true), DocumentRules::default());
    let url = listen(&world).await;
    let query = json!({ "query": "{ __typename }" });
    for (headers, expected) in [
        (vec![], (401, "UNAUTHENTICATED")),
        (vec![("x-api-key", "swt_nobody")], (401, "UNAUTHENTICATED")),
        (vec![("x-api-key", "é")], (401, "UNAUTHENTICATED")),
        (vec![("x-api-key", READER)], (200, "")),
        (vec![("authorization", "Bearer swt_the-reader")], (200, "")),
        (vec![("authorization", "Bearer swt_the-reade")], (401, "UNAUTHENTICATED")),
    ] {
        let (status, answer) = post(&url, &headers, &query).await;
        assert_eq!((status, code(&answer)), expected, "{headers:?}: {answer}");
    }
    let (status, answer) = post(&url, &[("upgrade", "x")], &query).await;
    assert_eq!((status, code(&answer)), (401, "UNAUTHENTICATED"), "what is no WebSocket is a question: {answer}");
    let http = url.replacen("ws://", "http://", 1).replace("/graphql", "");
    let get = async |path: &str, key: &str| {
        let answer = super::client::http().get(format!("{http}{path}")).header("x-api-key", key).send().await.unwrap();
        answer.status().as_u16()
    };
    assert_eq!(get("/v1/31337/pools", READER).await, 200);
    assert_eq!(get("/v1/stream?topics=swaps", READER).await, 403);
    assert_eq!(get("/udf/config", "swt_nobody").await, 401);
    assert_eq!(
        super::client::http().get(format!("{http}/docs")).send().await.unwrap().status().as_u16(),
        200,
        "what explains itself is for everybody"
    );

    for payload in [json!({}), json!({ "apiKey": "swt_nobody" }), json!({ "apiKey": 1 })] {
        let (code, reason) = goodbye(&mut begin(&url, payload.clone()).await).await;
        assert!(code == 4403 && reason.starts_with("Forbidden: "), "{payload}: {code} {reason}");
    }
    let mut reader = begin(&url, json!({ "apiKey": READER })).await;
    assert_eq!(hear(&mut reader).await["type"], "connection_ack");
    subscribe(&mut reader, "1", "subscription { blocks { seq } }").await;
    let refused = hear(&mut reader).await;
    assert_eq!((&refused["type"], &refused["payload"][0]["extensions"]["code"]), (&json!("error"), &json!("FORBIDDEN")));
    subscribe(&mut reader, "1", "{ __typename }").await;
    assert_eq!(hear(&mut reader).await["type"], "next");
    let mut all = begin(&url, json!({ "apiKey": ALL })).await;
    assert_eq!(hear(&mut all).await["type"], "connection_ack");
    subscribe(&mut all, "1", "subscription { blocks { seq } }").await;
    assert_eq!(hear(&mut all).await["type"], "next");
}

#[tokio::test]
async fn what_costs_more_than_the_budget_is_paid_back_first_and_nobody_else_waits() {
    let keys = vec![key(ALL, "all", &[Scope::Read, Scope::Subscribe], 5), key(READER, "reader", &[Scope::Read], 0)];
    let rules = AccessRules { keys, key_required: false, cost_per_second: 5, cost_burst: 20 };
    let world = world(rules, DocumentRules::default());
    let url = listen(&world).await;
    // The schema itself is some hundred kB.
    let large =
        json!({ "query": "{ __schema { types { name description fields { name description args { name description } } } } }" });
    let small = json!({ "query": "{ __typename }" });
    let mut socket = ready(&url).await;
    for (name, headers) in [("an address", vec![]), ("a key", vec![("x-api-key", ALL)])] {
        assert_eq!(post(&url, &headers, &small).await.0, 200, "{name}");
        let (status, answer) = post(&url, &headers, &large).await;
        assert_eq!(status, 200, "{name}: what was asked for first is answered");
        assert!(answer.to_string().len() > 30 * 1024);
        for _ in 0..3 {
            // It is owed until it is paid, however often somebody asks.
            let (status, answer) = post(&url, &headers, &small).await;
            assert_eq!((status, code(&answer)), (429, "RATE_LIMITED"), "{name}");
        }
    }
    // Over the socket it is the same budget, and there is none for another connection.
    assert!(open(&url, "graphql-transport-ws", None).await.is_err());
    subscribe(&mut socket, "1", "{ __typename }").await;
    assert_eq!(hear(&mut socket).await["payload"][0]["extensions"]["code"], "RATE_LIMITED");
    let unlimited = [("x-api-key", READER)];
    for _ in 0..3 {
        assert_eq!(post(&url, &unlimited, &large).await.0, 200, "a key without a limit");
    }
    assert!(world.state.metrics.rate_limited_total.get() >= 2);
}

fn documents(listed: &[&str]) -> DocumentRules {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("documents.json");
    let all: serde_json::Map<String, Value> = listed.iter().map(|text| (hash(text), json!(text))).collect();
    std::fs::write(&file, Value::Object(all).to_string()).unwrap();
    DocumentRules { introspection: false, documents: Some(Documents::read(&file).unwrap()) }
}

fn hash(text: &str) -> String {
    alloy::hex::encode(Sha256::digest(text))
}

#[tokio::test]
async fn only_documents_of_the_list_are_executed() {
    let (query, subscription) = ("{ __typename }", "subscription { blocks { kind } }");
    let world = world(AccessRules::default(), documents(&[query, subscription]));
    let url = listen(&world).await;
    let named = |hash: &str| json!({ "extensions": { "persistedQuery": { "version": 1, "sha256Hash": hash } } });
    for (body, expected) in [
        (json!({ "query": query }), ""),
        (named(&hash(query)), ""),
        (json!({ "extensions": { "documentId": format!("sha256:{}", hash(query)) } }), ""),
        (json!({ "query": "{  __typename }" }), "FORBIDDEN"),
        (json!({ "query": "{ _meta { freshness } }" }), "FORBIDDEN"),
        (named("00"), "NOT_FOUND"),
        (json!({ "query": "" }), "BAD_USER_INPUT"),
    ] {
        let (_, answer) = post(&url, &[], &body).await;
        assert_eq!(code(&answer), expected, "{body}: {answer}");
        assert_eq!(answer["data"]["__typename"] == "Query", expected.is_empty(), "{answer}");
    }
    let mut socket = ready(&url).await;
    let payload = |hash: &str| json!({ "query": "", "extensions": { "persistedQuery": { "sha256Hash": hash } } });
    say(&mut socket, json!({ "id": "1", "type": "subscribe", "payload": payload(&hash(subscription)) })).await;
    assert_eq!(frame(&mut socket, "1").await["kind"], "HEARTBEAT");
    subscribe(&mut socket, "2", "subscription { blocks { seq } }").await;
    assert_eq!(hear(&mut socket).await["payload"][0]["extensions"]["code"], "FORBIDDEN");
}

#[test]
fn a_list_that_is_wrong_is_refused_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("documents.json");
    for (text, expected) in [
        ("[]", "not a JSON object"),
        ("{\"00\": \"{ a }\"}", "has the SHA-256"),
        (&json!({ hash("{"): "{" }).to_string(), "no GraphQL"),
    ] {
        std::fs::write(&file, text).unwrap();
        let error = Documents::read(&file).unwrap_err();
        assert!(error.contains(expected) && error.lines().count() == 1, "{error}");
    }
    assert!(Documents::read(&folder.path().join("nothing")).is_err());
}

#[tokio::test]
async fn introspection_can_be_switched_off() {
    let world = world(AccessRules::default(), DocumentRules { introspection: false, documents: None });
    let url = listen(&world).await;
    for query in ["{ __schema { types { name } } }", "{ __type(name: \"Pool\") { name } }"] {
        let (_, answer) = post(&url, &[], &json!({ "query": query })).await;
        assert!(answer["data"]["__schema"].is_null() && answer["data"]["__type"].is_null(), "{answer}");
    }
    assert_eq!(post(&url, &[], &json!({ "query": "{ __typename }" })).await.1["data"]["__typename"], "Query");
}

#[test]
fn keys_are_never_the_same_and_found_by_their_hash() {
    let ((one, hash_of_one), (two, _)) = (new_key().unwrap(), new_key().unwrap());
    assert!(one != two && one.len() == 47 && one.starts_with("swt_"));
    assert_eq!(hash_of_one, format!("sha256:{}", hash(&one)));
}

/// What the engine would take seconds for is refused before it looks.
#[tokio::test]
async fn documents_that_are_bombs_are_refused_over_the_socket_too() {
    let world = World::new();
    let mut socket = ready(&listen(&world).await).await;
    let bomb: String = (0..30).map(|n| format!("fragment f{n} on Query {{ ...f{} ...f{} }} ", n + 1, n + 1)).collect();
    let deep = format!("{}__typename{}", "a { ".repeat(200), "}".repeat(200));
    for (what, query) in [
        ("fragments that double", format!("{{ ...f0 }} {bomb} fragment f30 on Query {{ __typename }}")),
        ("a cycle", "{ ...a } fragment a on Query { ...b } fragment b on Query { ...a }".to_owned()),
        ("depth", format!("{{ {deep} }}")),
        ("aliases", format!("{{ {} }}", (0..5_000).map(|n| format!("a{n}: __typename ")).collect::<String>())),
        ("directives", format!("{{ __typename {} }}", "@include(if: true) ".repeat(500))),
        (
            "subscriptions in one",
            format!("subscription {{ {} }}", (0..200).map(|n| format!("a{n}: blocks {{ seq }} ")).collect::<String>()),
        ),
        ("tokens", format!("{{ {} }}", "__typename ".repeat(20_000))),
    ] {
        let began = std::time::Instant::now();
        subscribe(&mut socket, what, &query).await;
        let refused = hear(&mut socket).await;
        assert_eq!((&refused["type"], &refused["id"]), (&json!("error"), &json!(what)), "{refused}");
        // A debug build on a busy machine; the point is that it is not seconds.
        assert!(began.elapsed().as_secs() < 5, "{what}");
    }
}
