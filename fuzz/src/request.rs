//! Any request to the public routes, over a chain in memory and a store that holds nothing: an answer that is well-formed, and never a fault
//! of ours. The clock is paused, so what waits for a block or for the next event of a stream takes no time.

use std::time::Duration;

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, StatusCode, header},
};
use serde_json::{Value, json};
use tower::Service as _;

use super::{
    input::Input,
    world::{TOKENS, in_it},
};

/// Longer than anything here waits for, but streams, which do not end.
const PATIENCE: Duration = Duration::from_secs(60);
const QUOTE: &str = "query($input: QuoteInput!) { quote(input: $input) { amountIn amountOut amountMinOrMax midPrice effectivePrice \
    priceImpactBps block { number } routes { amountIn amountOut hops { tokenIn tokenOut amountIn amountOut pool { id } } } } }";

/// A letter says what the rest is: `q` a GraphQL document, `b` the body of its request, `p` a path of REST, `s` a swap to be quoted by both.
pub fn request(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else { return };
    in_it(|runtime, router| {
        runtime.block_on(async {
            match kind % 4 {
                0 => drop(rest_of(router, &String::from_utf8_lossy(rest)).await),
                1 => drop(graphql(router, json!({ "query": String::from_utf8_lossy(rest) }).to_string()).await),
                2 => drop(graphql(router, rest.to_vec()).await),
                _ => swap(router, &mut Input::new(rest)).await,
            }
        });
    });
}

async fn send(router: &Router, request: Request<Body>) -> (StatusCode, String, Vec<u8>) {
    let Ok(answered) = tokio::time::timeout(PATIENCE, router.clone().call(request)).await else { panic!("no answer") };
    let Ok(response) = answered;
    let (parts, body) = response.into_parts();
    let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default().to_owned();
    // Of a stream there is nothing more to come.
    let body = tokio::time::timeout(PATIENCE, to_bytes(body, usize::MAX)).await;
    (parts.status, kind, body.map(|body| body.expect("a body").to_vec()).unwrap_or_default())
}

async fn graphql(router: &Router, body: impl Into<Body>) -> Value {
    let request = Request::post("/graphql").header(header::CONTENT_TYPE, "application/json").body(body.into());
    let (status, _, body) = send(router, request.expect("a request")).await;
    assert!(!status.is_server_error() || status == StatusCode::SERVICE_UNAVAILABLE, "{status}");
    let answer: Value = serde_json::from_slice(&body).expect("JSON");
    assert!(answer.get("data").is_some() || answer["errors"][0]["message"].is_string(), "{answer}");
    for error in answer["errors"].as_array().into_iter().flatten() {
        assert!(error["extensions"]["code"].is_string(), "{answer}");
    }
    answer
}

/// `None`: it is no path.
async fn rest_of(router: &Router, path: &str) -> Option<(StatusCode, Value)> {
    let request = Request::get(format!("/v1/{path}")).body(Body::empty()).ok()?;
    let (status, kind, body) = send(router, request).await;
    assert!(!status.is_server_error() || status == StatusCode::SERVICE_UNAVAILABLE, "{status}");
    let answer = if kind.contains("json") { serde_json::from_slice(&body).expect("JSON") } else { Value::Null };
    if status.is_client_error() {
        assert!(answer["code"].is_string() && answer["status"] == status.as_u16(), "{status} {answer}");
    }
    Some((status, answer))
}

/// Two tokens, which amount is known and how much, hops, slippage, protocols.
async fn swap(router: &Router, input: &mut Input<'_>) {
    let mut token = || TOKENS[input.below(TOKENS.len())];
    let (token_in, token_out) = (token().to_string(), token().to_string());
    let kind = if input.is() { "EXACT_OUTPUT" } else { "EXACT_INPUT" };
    let amount = input.u256().to_string();
    let (hops, slippage) = (i32::from(input.byte() % 6), i32::from(input.i16()));
    let of_v3: &[&str] = if input.is() { &["UNISWAP_V3"] } else { &["UNISWAP_V2", "UNISWAP_V3", "UNISWAP_V4"] };
    let variables = json!({ "input": {
        "tokenIn": token_in, "tokenOut": token_out, "type": kind, "amount": amount,
        "maxHops": hops, "slippageBps": slippage, "protocols": of_v3,
    } });
    let answer = graphql(router, json!({ "query": QUOTE, "variables": variables }).to_string()).await;
    let path = format!(
        "31337/quote?tokenIn={token_in}&tokenOut={token_out}&type={kind}&amount={amount}&maxHops={hops}&slippageBps={slippage}&protocols={}",
        of_v3.join(",")
    );
    let (status, rest) = rest_of(router, &path).await.expect("a path");
    let quote = &answer["data"]["quote"];
    if quote.is_null() {
        // REST says 404 where GraphQL says NOT_FOUND, and so on.
        assert!(status.is_client_error(), "{status} {rest}, where GraphQL says {answer}");
        // REST looks at the amount's digits first.
        return;
    }
    let known = if kind == "EXACT_INPUT" { "amountIn" } else { "amountOut" };
    assert_eq!(quote[known], amount, "{answer}");
    // REST takes no amount of 78 digits.
    if status == StatusCode::OK {
        for side in ["amountIn", "amountOut", "amountMinOrMax"] {
            assert_eq!(quote[side], rest[format!("{side}Raw")], "{answer} {rest}");
        }
    } else {
        assert!(amount.len() > 77, "{status} {rest}, where GraphQL says {answer}");
    }
    let hops_of = quote["routes"][0]["hops"].as_array().expect("hops");
    assert!((1..=usize::try_from(hops).expect("a few")).contains(&hops_of.len()), "{answer}");
}
