//! What is asked by POST: the same answers as by GET and through the schema, and every body that is none.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use alloy::primitives::Address;
use axum::{
    body::{Body, to_bytes},
    extract::ConnectInfo,
    http::{HeaderMap, Request, StatusCode},
};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::{
    openapi,
    quotes::{ask, refused, reserves, simulation, step, traded},
    rest::{answered, get},
    world::*,
};
use crate::api::{ApiState, RequestLimit, public_router};

fn path(rest: &str) -> String {
    format!("/v1/{CHAIN}{rest}")
}

async fn send(world: &World, rest: &str, content_type: &str, body: impl Into<Body>) -> (StatusCode, HeaderMap, Value) {
    let request = Request::post(path(rest)).header("origin", "http://localhost:1");
    let request = if content_type.is_empty() { request } else { request.header("content-type", content_type) };
    answered(world, request.body(body.into()).unwrap()).await
}

/// A question that has an answer: then the document has the question, too.
async fn post(world: &World, rest: &str, body: &Value) -> Value {
    let (status, headers, answer) = send(world, rest, "application/json", body.to_string()).await;
    assert_eq!(status, StatusCode::OK, "{body}: {answer}");
    assert_eq!(openapi::asked(&path(rest), body), Vec::<String>::new(), "{body}");
    assert_eq!((&headers["cache-control"], headers.get("etag")), (&"no-store".parse().unwrap(), None));
    assert_eq!(headers["x-as-of-block"], world.tip().number.to_string());
    assert_eq!(headers["x-as-of-block-hash"], format!("{:#x}", world.tip().hash));
    assert_eq!((&headers["x-freshness"], &headers["x-data-source"]), (&"LIVE".parse().unwrap(), &"memory".parse().unwrap()));
    assert!(headers.contains_key("x-request-id"));
    answer
}

fn swap(token_in: Address, token_out: Address, amount: &str) -> Value {
    json!({ "tokenIn": token_in, "tokenOut": token_out, "amount": amount })
}

fn with(mut object: Value, more: Value) -> Value {
    object.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    object
}

#[tokio::test]
async fn a_posted_quote_is_the_one_of_get_and_of_graphql() {
    let world = traded();
    for (out, amount, more, query, input) in [
        (ODD, "40000000", json!({}), "", "type: EXACT_INPUT"),
        (
            WETH,
            "40000000",
            json!({ "type": "EXACT_INPUT", "slippageBps": 100 }),
            "&slippageBps=100",
            "type: EXACT_INPUT, slippageBps: 100",
        ),
        (WETH, "1000000000000000", json!({ "type": "EXACT_OUTPUT" }), "&type=EXACT_OUTPUT", "type: EXACT_OUTPUT"),
        (
            WETH,
            "1000000",
            json!({ "protocols": ["UNISWAP_V3", "UNISWAP_V2", "UNISWAP_V2"], "maxHops": 1, "maxStateAgeMs": u64::MAX }),
            "&protocols=UNISWAP_V2,UNISWAP_V3&maxHops=1&maxStateAgeMs=18446744073709551615",
            "type: EXACT_INPUT, protocols: [UNISWAP_V2, UNISWAP_V3], maxHops: 1",
        ),
        // To JSON Schema this is an integer.
        (ODD, "1000000", json!({ "maxHops": 2.0, "maxStateAgeMs": 1e18 }), "&maxHops=2", "type: EXACT_INPUT, maxHops: 2"),
        // What is null is as if it were not there.
        (
            ODD,
            "1000000",
            json!({ "type": null, "protocols": null, "maxHops": null, "slippageBps": null, "maxStateAgeMs": null }),
            "",
            "type: EXACT_INPUT",
        ),
    ] {
        let answer = post(&world, "/quote", &with(swap(USDC, out, amount), more)).await;
        let same = get(&world, &path(&format!("/quote?tokenIn={USDC}&tokenOut={out}&amount={amount}{query}"))).await.2;
        assert_eq!(answer, same);
        let theirs = world.data(&ask(USDC, out, amount, input)).await["quote"].clone();
        for (raw, name) in [("amountInRaw", "amountIn"), ("amountOutRaw", "amountOut"), ("amountMinOrMaxRaw", "amountMinOrMax")] {
            assert_eq!(answer[raw], theirs[name]);
        }
    }
}

#[tokio::test]
async fn posted_quotes_are_of_one_block_in_order() {
    let mut world = traded();
    world.mine(Vec::new());
    let inputs = [
        swap(USDC, WETH, "40000000"),
        with(swap(USDC, ODD, "1000000"), json!({ "maxHops": 2 })),
        with(swap(ODD, USDC, "1000"), json!({ "type": "EXACT_OUTPUT" })),
        swap(USDC, WETH, "40000000"),
    ];
    let answer = post(&world, "/quotes", &json!({ "inputs": inputs })).await;
    assert_eq!(answer["block"]["hash"], json!(world.tip().hash));
    let quotes = answer["quotes"].as_array().unwrap();
    assert_eq!(quotes.len(), inputs.len());
    for (quote, input) in quotes.iter().zip(&inputs) {
        assert_eq!(quote["block"], answer["block"]);
        assert_eq!(*quote, post(&world, "/quote", input).await);
    }
    let many = json!({ "inputs": vec![swap(USDC, WETH, "40000000"); 20] });
    assert_eq!(post(&world, "/quotes", &many).await["quotes"].as_array().unwrap().len(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn posted_quotes_are_of_one_block_while_others_arrive() {
    let mut world = traded();
    let router = public_router(world.state.clone());
    let body = json!({ "inputs": vec![swap(USDC, ODD, "40000000"); 20] }).to_string();
    let done = Arc::new(AtomicBool::new(false));
    let seen = Arc::new(AtomicUsize::new(0));
    let asking = tokio::spawn({
        let (done, seen) = (done.clone(), seen.clone());
        async move {
            let mut blocks = BTreeSet::new();
            while !done.load(Ordering::Relaxed) {
                let request = Request::post(path("/quotes")).header("content-type", "application/json");
                let answer = router.clone().oneshot(request.body(Body::from(body.clone())).unwrap()).await.unwrap();
                let named = answer.headers()["x-as-of-block"].to_str().unwrap().to_owned();
                let body = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
                let body: Value = serde_json::from_slice(&body).unwrap();
                assert_eq!(body["block"]["number"].to_string(), named);
                assert!(body["quotes"].as_array().unwrap().iter().all(|quote| *quote == body["quotes"][0]), "{body}");
                assert_eq!(body["quotes"][0]["block"], body["block"]);
                blocks.insert(named);
                seen.store(blocks.len(), Ordering::Relaxed);
            }
        }
    });
    let mut number = 0_u128;
    while seen.load(Ordering::Relaxed) <= 10 && !asking.is_finished() {
        // Each block has another price.
        number += 1;
        world.mine(vec![reserves(PAIR, 4_000_000_000 + number * 1_000_000_000, 2_000_000_000_000_000_000)]);
        tokio::task::yield_now().await;
    }
    done.store(true, Ordering::Relaxed);
    asking.await.unwrap();
}

#[tokio::test]
async fn a_posted_simulation_is_the_one_of_graphql() {
    let mut world = traded();
    world.mine(initialize(96, 0));
    world.mine(v3_mint(-60, 60, 1_000_000_000));
    let swaps = [
        (PAIR, USDC, "40000000", "EXACT_INPUT", None),
        (PAIR, USDC, "40000000", "EXACT_INPUT", None),
        (PAIR, USDC, "1000000000000000", "EXACT_OUTPUT", None),
        (POOL, USDC, "1000", "EXACT_INPUT", None),
        (POOL, USDC, "1000000000000", "EXACT_INPUT", Some("79000000000000000000000000000")),
        (ODD_PAIR, WETH, "1000000000000", "EXACT_INPUT", None),
    ];
    let steps: Vec<Value> = swaps
        .iter()
        .map(|(pool, token, amount, kind, limit)| {
            json!({ "pool": pool, "tokenIn": token, "amount": amount, "type": kind, "sqrtPriceLimitX96": limit })
        })
        .collect();
    let answer = post(&world, "/simulate", &json!({ "steps": steps })).await;
    let query: Vec<String> = swaps
        .iter()
        .map(|(pool, token, amount, kind, limit)| {
            let limit = limit.map_or_else(String::new, |limit| format!(", sqrtPriceLimitX96: \"{limit}\""));
            step(*pool, *token, amount, &format!("type: {kind}{limit}"))
        })
        .collect();
    let query = simulation(&query).replace("tickAfter", "tickAfter liquidityAfter tokenIn").replace("reserve0 }", "id }");
    let mut theirs = world.data(&query).await["simulate"].clone();
    for step in theirs["steps"].as_array_mut().unwrap() {
        let fields = step.as_object_mut().unwrap();
        let id = fields["pool"]["id"].clone();
        fields.insert("pool".to_owned(), id);
        for name in ["amountIn", "amountOut", "amountLeft"] {
            let amount = fields.remove(name).unwrap();
            fields.insert(format!("{name}Raw"), amount);
        }
    }
    assert_eq!(answer["steps"], theirs["steps"]);
    assert_eq!(answer["block"]["number"], theirs["block"]["number"]);
    // The limit came first, and a pool of each kind says what it has.
    let steps = answer["steps"].as_array().unwrap();
    assert_ne!(steps[4]["amountLeftRaw"], "0");
    assert_eq!(steps[4]["sqrtPriceX96After"], "79000000000000000000000000000");
    assert!(steps[3]["tickAfter"].is_i64() && steps[3]["reserve0After"].is_null(), "{}", steps[3]);
    assert!(steps[0]["tickAfter"].is_null() && steps[0]["reserve0After"].is_string(), "{}", steps[0]);
    let unsaid = json!({ "steps": [{ "pool": PAIR, "tokenIn": USDC, "amount": "40000000" }] });
    assert_eq!(post(&world, "/simulate", &unsaid).await["steps"][0], steps[0]);
}

/// Status, code, and what the detail has to say.
type Refusal = (u16, &'static str, &'static str);

async fn all_refused(world: &World, rest: &str, cases: Vec<(Value, Refusal)>) {
    for (body, (status, code, says)) in cases {
        let (got, headers, problem) = send(world, rest, "application/json", body.to_string()).await;
        assert_eq!((got.as_u16(), &problem["code"]), (status, &json!(code)), "{rest} {body}: {problem}");
        assert_eq!(
            (&headers["content-type"], &problem["status"]),
            (&"application/problem+json".parse().unwrap(), &json!(status))
        );
        assert!(problem["detail"].as_str().unwrap().contains(says), "{rest} {body}: {problem}");
    }
}

const BAD: fn(&'static str) -> Refusal = |says| (400, "BAD_USER_INPUT", says);

/// Wrong swaps, whether they stand alone or in a list.
fn wrong_swaps() -> Vec<(Value, Refusal)> {
    let amount = |amount: Value| with(swap(USDC, ODD, "1"), json!({ "amount": amount }));
    let more = |more: Value| with(swap(USDC, ODD, "40000000"), more);
    let nowhere = Address::repeat_byte(0x77);
    // 2^256
    let above = "115792089237316195423570985008687907853269984665640564039457584007913129639936";
    vec![
        (amount(json!("0")), BAD("`amount` is a whole number above 0")),
        (amount(json!("-1")), BAD("`amount` is a whole number above 0")),
        (amount(json!("")), BAD("`amount` is a whole number above 0")),
        (amount(json!("1.5")), BAD("`amount` is a whole number above 0")),
        (amount(json!("1e18")), BAD("`amount` is a whole number above 0")),
        (amount(json!("0x10")), BAD("`amount` is a whole number above 0")),
        (amount(json!("1_000")), BAD("`amount` is a whole number above 0")),
        (amount(json!(above)), BAD("`amount` is a whole number above 0")),
        (amount(json!("9".repeat(78))), BAD("at most 77 digits")),
        (amount(json!(1_000)), BAD("amount: invalid type: integer `1000`, expected a string")),
        (amount(Value::Null), BAD("amount: invalid type: null")),
        (swap(USDC, USDC, "1"), BAD("the same token")),
        (swap(USDC, nowhere, "1"), (404, "NOT_FOUND", "`tokenOut`: no pool")),
        (swap(nowhere, USDC, "1"), (404, "NOT_FOUND", "`tokenIn`: no pool")),
        (more(json!({ "tokenIn": "USDC" })), BAD("`tokenIn`: `USDC` is no address")),
        (more(json!({ "tokenOut": 7 })), BAD("tokenOut: invalid type")),
        (more(json!({ "unknown": 1 })), BAD("unknown field `unknown`, expected one of `tokenIn`")),
        (more(json!({ "chainId": 1 })), BAD("unknown field `chainId`")),
        (more(json!({ "type": "SELL" })), BAD("type: unknown variant `SELL`, expected `EXACT_INPUT` or `EXACT_OUTPUT`")),
        (more(json!({ "type": { "EXACT_INPUT": null } })), BAD("type: invalid type: map")),
        (more(json!({ "protocols": "UNISWAP_V2" })), BAD("protocols: invalid type: string")),
        (more(json!({ "protocols": [] })), BAD("`protocols` names at least one")),
        (more(json!({ "protocols": ["UNISWAP_V9"] })), BAD("protocols[0]: unknown variant `UNISWAP_V9`")),
        (more(json!({ "maxHops": 0 })), BAD("`maxHops` is 1 to 4, not 0")),
        (more(json!({ "maxHops": 5 })), BAD("`maxHops` is 1 to 4, not 5")),
        (more(json!({ "maxHops": "3" })), BAD("maxHops: invalid type: string \"3\"")),
        (more(json!({ "slippageBps": 5_001 })), BAD("`slippageBps` is 0 to 5000")),
        (more(json!({ "slippageBps": 1.5 })), BAD("slippageBps: invalid type: floating point")),
        (more(json!({ "maxStateAgeMs": -1 })), BAD("maxStateAgeMs: invalid value: integer `-1`")),
        (more(json!({ "maxHops": u64::MAX })), BAD("maxHops: invalid value: integer `18446744073709551615`")),
        (more(json!({ "maxStateAgeMs": 1e300 })), BAD("maxStateAgeMs: invalid value: floating point")),
        (more(json!({ "maxStateAgeMs": 5 })), (503, "STATE_STALE", "ms old")),
        (more(json!({ "maxHops": 1 })), (422, "NO_ROUTE", "no pools lead")),
        (
            more(json!({ "amount": "9".repeat(30), "type": "EXACT_OUTPUT" })),
            (422, "INSUFFICIENT_LIQUIDITY", "an `amount` of about"),
        ),
        (json!({ "tokenIn": USDC, "tokenOut": ODD }), BAD("missing field `amount`")),
        (json!({}), BAD("missing field `tokenIn`")),
        (json!([USDC, ODD, "1"]), BAD("invalid type: sequence, expected an object")),
        (json!("x"), BAD("invalid type: string \"x\", expected an object")),
        (Value::Null, BAD("invalid type: null, expected an object")),
    ]
}

#[tokio::test]
async fn a_body_that_is_no_swap_is_a_problem_that_names_the_field() {
    let world = traded();
    all_refused(&world, "/quote", wrong_swaps()).await;
}

#[tokio::test]
async fn one_of_several_that_has_no_quote_refuses_all_and_is_named() {
    let world = traded();
    let good = swap(USDC, WETH, "40000000");
    for (wrong, (status, code, says)) in wrong_swaps() {
        let body = json!({ "inputs": [good, wrong] });
        let (got, _, problem) = send(&world, "/quotes", "application/json", body.to_string()).await;
        assert_eq!((got.as_u16(), &problem["code"]), (status, &json!(code)), "{body}: {problem}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("inputs[1]") && detail.contains(says), "{body}: {detail}");
    }
    // In the same words as through the schema.
    let (code, text) = refused(
        &world,
        &format!(
            "{{ quotes(inputs: [{{ tokenIn: \"{USDC}\", tokenOut: \"{WETH}\", amount: 1000000, type: EXACT_INPUT }},
                {{ tokenIn: \"{USDC}\", tokenOut: \"{USDC}\", amount: 1, type: EXACT_INPUT }}]) {{ amountOut }} }}"
        ),
    )
    .await;
    let body = json!({ "inputs": [good, swap(USDC, USDC, "1")] }).to_string();
    let problem = send(&world, "/quotes", "application/json", body).await.2;
    assert_eq!((&problem["code"], &problem["detail"]), (&json!(code), &json!(text)));
    let cases = vec![
        (json!({ "inputs": [] }), BAD("`inputs` are swaps, at least one")),
        (json!({ "inputs": vec![good.clone(); 21] }), BAD("`inputs` are at most 20 swaps, these are 21")),
        (json!({}), BAD("missing field `inputs`")),
        (json!({ "inputs": null }), BAD("inputs: invalid type: null")),
        (json!({ "inputs": good }), BAD("inputs: invalid type: map, expected a sequence")),
        (json!({ "inputs": [good], "more": 1 }), BAD("unknown field `more`, expected `inputs`")),
        (json!([[good]]), BAD("invalid type: sequence, expected an object")),
        (good, BAD("unknown field `amount`, expected `inputs`")),
    ];
    all_refused(&world, "/quotes", cases).await;
}

#[tokio::test]
async fn a_step_that_cannot_be_done_refuses_all_and_is_named() {
    let world = traded();
    let good = json!({ "pool": PAIR, "tokenIn": USDC, "amount": "40000000", "type": "EXACT_INPUT" });
    let more = |more: Value| json!({ "steps": [good, with(good.clone(), more)] });
    let nowhere = Address::repeat_byte(0x77);
    let cases = vec![
        (json!({ "steps": [] }), BAD("`steps` are 1 to 50 swaps, these are 0")),
        (json!({ "steps": vec![good.clone(); 51] }), BAD("these are 51")),
        (json!({ "steps": [[PAIR, USDC, "1"]] }), BAD("steps[0]: invalid type: sequence, expected an object")),
        (json!({ "steps": [{ "pool": PAIR, "tokenIn": USDC }] }), BAD("steps[0]: missing field `amount`")),
        (more(json!({ "pool": "x" })), BAD("`steps[1]`: `x` is no pool id")),
        (more(json!({ "pool": nowhere })), (404, "NOT_FOUND", "`steps[1]`: there is no such pool")),
        (more(json!({ "tokenIn": "0x" })), BAD("`steps[1]`: `tokenIn`: `0x` is no address")),
        (more(json!({ "tokenIn": ODD })), BAD("`steps[1]`: the pool does not trade that token")),
        (more(json!({ "amount": "0" })), BAD("`steps[1]`: `amount` is a whole number above 0")),
        (more(json!({ "amount": "-1" })), BAD("`steps[1]`: `amount` is a whole number above 0")),
        (more(json!({ "amount": "1".repeat(78) })), BAD("`steps[1]`: `amount` is a whole number above 0")),
        (more(json!({ "amount": 5 })), BAD("steps[1].amount: invalid type: integer `5`")),
        (more(json!({ "sqrtPriceLimitX96": "0" })), BAD("`steps[1]`: `sqrtPriceLimitX96` is a whole number above 0")),
        (more(json!({ "sqrtPriceLimitX96": "5" })), BAD("`steps[1]`: `sqrtPriceLimitX96` is of V3")),
        (more(json!({ "tokenOut": WETH })), BAD("steps[1].tokenOut: unknown field `tokenOut`")),
        (more(json!({ "type": "exact_input" })), BAD("steps[1].type: unknown variant `exact_input`")),
        (more(json!({ "pool": POOL })), (422, "INSUFFICIENT_LIQUIDITY", "`steps[1]`: the pool is empty")),
    ];
    all_refused(&world, "/simulate", cases).await;
}

#[tokio::test]
async fn what_is_no_json_or_too_much_of_it_is_a_problem_like_all_others() {
    let world = traded();
    let good = swap(USDC, WETH, "40000000").to_string();
    let padded = |bytes: usize| format!("{good}{}", " ".repeat(bytes - good.len()));
    let json = "application/json";
    for path in ["/quote", "/quotes", "/simulate"] {
        for (content_type, body, status, says) in [
            (json, String::new(), 400, "the body is no JSON: EOF"),
            (json, "{".to_owned(), 400, "the body is no JSON"),
            (json, "{\"a\":1}}".to_owned(), 400, ""),
            (json, "tokenIn=0x".to_owned(), 400, "the body is no JSON"),
            (json, "[".repeat(50_000), 400, ""),
            (json, format!("{{\"{}\":1}}", "x".repeat(60_000)), 400, "unknown field"),
            (json, "\"\u{ff}".to_owned(), 400, ""),
            (json, padded(64 * 1024 + 1), 413, "larger than 64 KiB"),
            (json, " ".repeat(300_000), 413, "larger than 64 KiB"),
            ("", good.clone(), 415, "content-type: application/json"),
            ("text/plain", good.clone(), 415, "content-type: application/json"),
            ("application/x-www-form-urlencoded", "a=1".to_owned(), 415, "content-type: application/json"),
            ("multipart/form-data; boundary=x", "--x".to_owned(), 415, "content-type: application/json"),
            ("\u{e4}", good.clone(), 415, "content-type: application/json"),
        ] {
            let (got, headers, problem) = send(&world, path, content_type, body).await;
            assert_eq!((got.as_u16(), &problem["code"]), (status, &json!("BAD_USER_INPUT")), "{path} {content_type}: {problem}");
            assert_eq!(headers["content-type"], "application/problem+json");
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.contains(says) && detail.chars().count() <= 450, "{path}: {detail}");
        }
    }
    let (status, _, answer) = send(&world, "/quote", json, b"\xff\xfe{}".to_vec()).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
    // As much as may be is read.
    assert_eq!(send(&world, "/quote", "application/json; charset=utf-8", padded(64 * 1024)).await.0, StatusCode::OK);
    // A chain that is not followed comes after a body that is none, and before what is wrong in it.
    let other = |body: &str| Request::post("/v1/5/quote").header("content-type", json).body(Body::from(body.to_owned())).unwrap();
    assert_eq!(answered(&world, other(&good)).await.0, StatusCode::NOT_FOUND);
    assert_eq!(answered(&world, other("{")).await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_page_of_an_origin_that_is_allowed_may_post_and_no_other() {
    let world = traded();
    let preflight = async |origin: &str| {
        let request = Request::options(path("/quote")).header("origin", origin).header("access-control-request-method", "POST");
        let request = request.header("access-control-request-headers", "content-type,x-request-id").body(Body::empty()).unwrap();
        public_router(world.state.clone()).oneshot(request).await.unwrap()
    };
    let allowed = preflight("http://localhost:1").await;
    assert_eq!(
        (allowed.status(), &allowed.headers()["access-control-allow-origin"]),
        (StatusCode::OK, &"http://localhost:1".parse().unwrap())
    );
    let listed = |name: &str, word: &str| {
        allowed.headers()[name].to_str().unwrap().to_lowercase().split(',').any(|known| known.trim() == word)
    };
    assert!(listed("access-control-allow-methods", "post") && listed("access-control-allow-headers", "content-type"));
    assert!(listed("access-control-allow-headers", "x-request-id"));
    assert_eq!(preflight("http://evil.example").await.headers().get("access-control-allow-origin"), None);
    let (_, headers, _) = send(&world, "/quote", "application/json", swap(USDC, WETH, "40000000").to_string()).await;
    assert_eq!(headers["access-control-allow-origin"], "http://localhost:1");
    assert!(headers["access-control-expose-headers"].to_str().unwrap().contains("x-as-of-block"));
}

#[tokio::test]
async fn whoever_posts_too_often_is_told_when_to_come_back() {
    let world = traded();
    let state = &world.state;
    let router = public_router(Arc::new(ApiState {
        reader: state.reader.clone(),
        metrics: state.metrics.clone(),
        board: state.board.clone(),
        origins: state.origins.clone(),
        request_limit: RequestLimit { per_second: 1, burst: 2, trusted_proxies: Vec::new() },
        streams_per_address: 2,
        sockets: crate::api::SocketLimits::default(),
        access: crate::api::AccessRules::default(),
        documents: crate::api::DocumentRules::default(),
        ready: state.ready.clone(),
        draining: state.draining.clone(),
        version: state.version,
        now_unix_ms: state.now_unix_ms,
    }));
    let ask = async || {
        let peer: SocketAddr = "192.0.2.1:1".parse().unwrap();
        let request = Request::post(path("/quote")).header("content-type", "application/json").header("x-request-id", "mine");
        let body = Body::from(swap(USDC, WETH, "40000000").to_string());
        router.clone().oneshot(request.extension(ConnectInfo(peer)).body(body).unwrap()).await.unwrap()
    };
    for status in [StatusCode::OK, StatusCode::OK, StatusCode::TOO_MANY_REQUESTS] {
        let answer = ask().await;
        assert_eq!((answer.status(), &answer.headers()["x-request-id"]), (status, &"mine".parse().unwrap()));
    }
    assert_eq!(ask().await.headers()["content-type"], "application/problem+json");
}
