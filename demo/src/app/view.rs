//! What the engine serves right now, read the way any user reads it: GraphQL, and its metrics.

use serde_json::{Value, json};
use swaptide_demo::rpc::at;

use super::engine::Engine;

/// One query: its numbers are all of one block.
const QUERY: &str = "{ _meta { block { number } } swaps(first: 1) { totalCount }
  pools(first: 50) { totalCount nodes { id protocol feeTier token0 { symbol } token1 { symbol } token0Price token1Price liquidity reserve0 reserve1 } } }";

/// A picture of the engine.
#[derive(Debug, Clone, Default)]
pub(crate) struct View {
    pub(crate) block: u64,
    pub(crate) swaps: u64,
    pub(crate) pools_total: u64,
    pub(crate) pools: Vec<PoolLine>,
    pub(crate) events_total: f64,
    pub(crate) reorgs_total: f64,
}

/// A pool as it is served: numbers stay the strings they are.
#[derive(Debug, Clone, Default)]
pub(crate) struct PoolLine {
    pub(crate) v2: bool,
    /// `v2`, `v3`, `v4`
    pub(crate) protocol: String,
    pub(crate) fee_pips: u64,
    pub(crate) symbols: [String; 2],
    /// token0 per token1, and token1 per token0.
    pub(crate) prices: [Option<f64>; 2],
    pub(crate) liquidity: Option<f64>,
    pub(crate) reserves: [Option<f64>; 2],
}

impl View {
    /// Asks the engine.
    ///
    /// # Errors
    /// What it said instead of an answer.
    pub(crate) async fn read(engine: &Engine) -> Result<Self, String> {
        let response =
            engine.api.post_json("/graphql", &json!({ "query": QUERY }).to_string()).await.map_err(|e| e.to_string())?;
        let answer: Value =
            serde_json::from_slice(&response.body).map_err(|e| format!("GraphQL answered HTTP {}: {e}", response.status))?;
        if let Some(error) = answer.pointer("/errors/0/message") {
            return Err(format!("GraphQL: {error}"));
        }
        let metrics = engine.admin.get("/metrics").await.map_err(|e| e.to_string())?;
        let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
        let data = at(&answer, "/data");
        Ok(Self {
            block: at(data, "/_meta/block/number").as_u64().unwrap_or_default(),
            swaps: at(data, "/swaps/totalCount").as_u64().unwrap_or_default(),
            pools_total: at(data, "/pools/totalCount").as_u64().unwrap_or_default(),
            pools: at(data, "/pools/nodes").as_array().into_iter().flatten().map(pool_line).collect(),
            events_total: metric(&metrics, "swaptide_events_total"),
            reorgs_total: metric(&metrics, "swaptide_reorgs_total"),
        })
    }

    /// Number and hash of the engine's head.
    ///
    /// # Errors
    /// What it said instead of an answer.
    pub(crate) async fn head(engine: &Engine) -> Result<(u64, String), String> {
        let query = json!({ "query": "{ _meta { block { number hash } } }" }).to_string();
        let response = engine.api.post_json("/graphql", &query).await.map_err(|e| e.to_string())?;
        let answer: Value = serde_json::from_slice(&response.body).map_err(|e| e.to_string())?;
        let block = at(&answer, "/data/_meta/block");
        Ok((at(block, "/number").as_u64().unwrap_or_default(), text(at(block, "/hash"))))
    }
}

fn pool_line(node: &Value) -> PoolLine {
    PoolLine {
        v2: at(node, "/protocol") == "UNISWAP_V2",
        protocol: at(node, "/protocol").as_str().unwrap_or_default().replace("UNISWAP_V", "v"),
        fee_pips: number(at(node, "/feeTier")).unwrap_or_default() as u64,
        symbols: [text(at(node, "/token0/symbol")), text(at(node, "/token1/symbol"))],
        prices: [number(at(node, "/token0Price")), number(at(node, "/token1Price"))],
        liquidity: number(at(node, "/liquidity")),
        reserves: [number(at(node, "/reserve0")), number(at(node, "/reserve1"))],
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// For a screen only: amounts travel as decimal strings.
fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.parse().ok())
}

/// The sum of a metric over its labels.
fn metric(text: &str, name: &str) -> f64 {
    let lines = text.lines().filter_map(|line| line.strip_prefix(name)).filter(|rest| rest.starts_with(['{', ' ']));
    // Not `sum`: of nothing that is -0.
    lines.filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok()).fold(0.0, |total, value| total + value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_summed_over_its_labels_and_no_longer_name_counts() {
        let text = "# HELP a_total x\na_total{chain=\"1\"} 3\na_total{chain=\"2\"} 4\na_total_more 9\n";
        assert_eq!(metric(text, "a_total").to_string(), "7");
        assert_eq!(metric(text, "b_total").to_string(), "0");
    }
}
