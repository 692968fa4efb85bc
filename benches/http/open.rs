//! Requests at a fixed rate, whether or not the answers come: what a client waits is counted from when its turn was, and not from when
//! the one before it was done. A server that stands still for a second shows as a second, in all requests that were due in it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::time::Instant;

use super::Result;

/// Points of a budget, one address: an operator who wants to be measured sets them to 0, or gives the generator a key.
const REFUSED: &str = "the server refuses so many of one address: set api.requests_per_second and api.cost_per_second to 0, or give a key in SWAPTIDE_KEY";

/// One kind of request.
#[derive(Clone)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) url: String,
    /// Of a POST.
    pub(crate) body: Option<String>,
}

/// Of one kind at one rate.
pub(crate) struct Seen {
    pub(crate) answered_per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p999_ms: f64,
    pub(crate) max_ms: f64,
    /// Not answered with 200 and without `errors`.
    pub(crate) failed: u64,
}

impl Seen {
    pub(crate) fn json(&self, kind: &Kind, rate: f64) -> Value {
        json!({
            "kind": kind.name, "offered_per_second": rate, "answered_per_second": self.answered_per_second, "failed": self.failed,
            "p50_ms": self.p50_ms, "p99_ms": self.p99_ms, "p999_ms": self.p999_ms, "max_ms": self.max_ms,
        })
    }
}

pub(crate) fn client() -> Result<reqwest::Client> {
    let mut headers = reqwest::header::HeaderMap::new();
    if let Ok(key) = std::env::var("SWAPTIDE_KEY") {
        headers.insert("x-api-key", key.parse()?);
    }
    headers.insert("content-type", "application/json".parse()?);
    // As much patience as the server has.
    Ok(reqwest::Client::builder().default_headers(headers).timeout(Duration::from_secs(30)).tcp_nodelay(true).build()?)
}

/// What a deployment is asked: its first pool, its newest swaps, and an exchange in that pool.
pub(crate) async fn kinds(client: &reqwest::Client, base: &str) -> Result<Vec<Kind>> {
    let graphql = format!("{base}/graphql");
    let query = "{ _meta { chainId } pools(first: 1) { nodes { id token0 { id decimals } token1 { id } } } }";
    let answer = client.post(&graphql).body(json!({ "query": query }).to_string()).send().await?;
    let answer: Value = serde_json::from_slice(&answer.bytes().await?)?;
    let data = &answer["data"];
    let pool = &data["pools"]["nodes"][0];
    let id = pool["id"].as_str().ok_or_else(|| format!("no pool at {base}: {answer}"))?;
    let unit = "0".repeat(usize::try_from(pool["token0"]["decimals"].as_u64().unwrap_or(0))?);
    let post = |name, query: &str, variables: Value| Kind {
        name,
        url: graphql.clone(),
        body: Some(json!({ "query": query, "variables": variables }).to_string()),
    };
    let quote = json!({ "q": {
        "tokenIn": pool["token0"]["id"], "tokenOut": pool["token1"]["id"], "amount": format!("1{unit}"), "type": "EXACT_INPUT",
    } });
    Ok(vec![
        Kind { name: "REST pool", url: format!("{base}/v1/{}/pools/{id}", data["_meta"]["chainId"]), body: None },
        post("GraphQL pool", "query($id: ID!) { pool(id: $id) { id liquidity sqrtPrice tick } }", json!({ "id": id })),
        post(
            "latest 100 swaps",
            "{ swaps(first: 100, orderDirection: desc) { nodes { id amount0 amount1 tick timestamp sender } } }",
            json!({}),
        ),
        post(
            "quote",
            "query($q: QuoteInput!) { quote(input: $q) { amountOut block { number } routes { hops { pool { id } } } } }",
            quote,
        ),
    ])
}

/// So many a second, on as many connections as it takes and `most` at the most.
pub(crate) async fn drive(client: &reqwest::Client, kind: &Kind, rate: f64, time: Duration, most: usize) -> Result<Seen> {
    let total = (rate * time.as_secs_f64()) as u64;
    let (next, failed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let began = Instant::now();
    let clients: Vec<_> = (0..most)
        .map(|_| {
            let (client, kind, next, failed) = (client.clone(), kind.clone(), next.clone(), failed.clone());
            tokio::spawn(async move {
                let mut times = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= total {
                        return times;
                    }
                    let due = began + Duration::from_secs_f64(number as f64 / rate);
                    let mut from = due;
                    if Instant::now() < due {
                        tokio::time::sleep_until(due).await;
                        // Nobody was waited for: that the timer is late, by a ms, is not the server's.
                        from = Instant::now();
                    }
                    if ask(&client, &kind).await {
                        times.push(from.elapsed());
                    } else {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    let mut times = Vec::new();
    for client in clients {
        times.extend(client.await?);
    }
    let elapsed = began.elapsed();
    times.sort_unstable();
    let ms = |of: usize| times.get((times.len().saturating_sub(1)) * of / 1_000).map_or(f64::NAN, |t| t.as_secs_f64() * 1e3);
    Ok(Seen {
        answered_per_second: times.len() as f64 / elapsed.as_secs_f64(),
        p50_ms: ms(500),
        p99_ms: ms(990),
        p999_ms: ms(999),
        max_ms: ms(1_000),
        failed: failed.load(Ordering::Relaxed),
    })
}

async fn ask(client: &reqwest::Client, kind: &Kind) -> bool {
    let request = match &kind.body {
        Some(body) => client.post(&kind.url).body(body.clone()),
        None => client.get(&kind.url),
    };
    let Ok(answer) = request.send().await else { return false };
    let good = answer.status().is_success();
    answer.bytes().await.is_ok_and(|body| good && !body.windows(9).take(32).any(|w| w == b"\"errors\":"))
}

/// One request of each kind, so that a rate is not measured of refusals.
pub(crate) async fn check(client: &reqwest::Client, kinds: &[Kind]) -> Result<()> {
    for kind in kinds {
        if !ask(client, kind).await {
            return Err(format!("{} is not answered at {}", kind.name, kind.url).into());
        }
    }
    Ok(())
}

pub(crate) fn print(rows: &[(String, f64, Seen)]) {
    println!(
        "{:<20} {:>10} {:>10} {:>9} {:>9} {:>9} {:>9} {:>7}",
        "", "offered/s", "answered/s", "p50 ms", "p99 ms", "p999 ms", "max ms", "failed"
    );
    for (name, rate, seen) in rows {
        println!(
            "{name:<20} {rate:>10.0} {:>10.0} {:>9.2} {:>9.2} {:>9.2} {:>9.2} {:>7}",
            seen.answered_per_second, seen.p50_ms, seen.p99_ms, seen.p999_ms, seen.max_ms, seen.failed
        );
    }
    if rows.iter().any(|(_, _, seen)| seen.failed > 0) {
        println!("some were not answered; if they are most: {REFUSED}");
    }
}
