use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use alloy::{consensus::constants::EMPTY_RECEIPTS, primitives::Bloom};
use futures_util::StreamExt as _;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::{chain::verify, domain::block::BlockRef};

mod probing;

type Script = Arc<dyn Fn(&str, &Value, usize) -> Option<Value> + Send + Sync>;

/// A node that answers as its script says: method, parameters, how many requests it had before. `None` is silence.
struct Node {
    url: String,
    requests: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn node(script: impl Fn(&str, &Value, usize) -> Option<Value> + Send + Sync + 'static) -> Node {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/secret-key", listener.local_addr().unwrap());
    let requests = Arc::new(AtomicUsize::new(0));
    let script: Script = Arc::new(script);
    let counted = Arc::clone(&requests);
    let task = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((socket, _)) = listener.accept().await {
            connections.spawn(connection(socket, Arc::clone(&script), Arc::clone(&counted)));
        }
    });
    Node { url, requests, task }
}

async fn connection(mut socket: TcpStream, script: Script, requests: Arc<AtomicUsize>) {
    let mut buffer = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                break end + 4;
            }
            if socket.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
                return;
            }
        };
        let head = String::from_utf8_lossy(&buffer[..end]).to_lowercase();
        let length: usize = head.split("content-length: ").nth(1).unwrap().split("\r\n").next().unwrap().parse().unwrap();
        while buffer.len() < end + length {
            if socket.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let request: Value = serde_json::from_slice(&buffer[end..end + length]).unwrap();
        buffer.drain(..end + length);
        let method = request["method"].as_str().unwrap();
        let answer = if method == "eth_chainId" {
            Some(script(method, &request["params"], 0).unwrap_or_else(|| json!({ "result": "0x7a69" })))
        } else {
            script(method, &request["params"], requests.fetch_add(1, Ordering::SeqCst))
        };
        let Some(mut answer) = answer else { return std::future::pending().await };
        answer["id"] = json!(1);
        // A status of its own, and for how long not to come back.
        let (status, after) = (answer["status"].as_u64().unwrap_or(200), answer["after"].as_u64());
        let after = after.map(|seconds| format!("retry-after: {seconds}\r\n")).unwrap_or_default();
        let body = answer.to_string();
        let length = body.len();
        let head = format!("HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{after}content-length: {length}\r\n\r\n");
        let response = head + &body;
        socket.write_all(response.as_bytes()).await.unwrap();
    }
}

fn source(nodes: &[&Node]) -> RpcSource {
    let mut config = RpcConfig::new(31_337, nodes.iter().map(|n| EndpointConfig::new(&n.url)).collect());
    config.call_timeout = Duration::from_millis(500);
    config.retries = 1;
    config.poll_interval = Duration::from_millis(20);
    RpcSource::new(config).unwrap()
}

fn hash(number: u64) -> B256 {
    B256::from(alloy::primitives::U256::from(number + 0xf000))
}

fn raw(index: u64) -> RawLog {
    let (address, topics) = (Address::repeat_byte(5), vec![B256::repeat_byte(6)]);
    RawLog { address, topics, data: Bytes::from(vec![7]), tx_hash: hash(9), tx_index: 0, log_index: index }
}

fn header(number: u64, logs: u64) -> Header {
    let logs: Vec<RawLog> = (0..logs).map(raw).collect();
    let block = BlockRef { number, hash: hash(number), parent_hash: hash(number.saturating_sub(1)), timestamp: number * 10 };
    Header {
        block,
        logs_bloom: Box::new(verify::bloom(&logs)),
        receipts_root: Some(if logs.is_empty() { EMPTY_RECEIPTS } else { hash(0) }),
        base_fee_wei: None,
    }
}

fn header_json(header: &Header) -> Value {
    let b = header.block;
    json!({ "result": { "number": format!("{:#x}", b.number), "hash": b.hash, "parentHash": b.parent_hash,
        "timestamp": format!("{:#x}", b.timestamp), "logsBloom": header.logs_bloom, "extra": [],
        "receiptsRoot": header.receipts_root } })
}

fn log_json(block: u64, index: u64, with_time: bool) -> Value {
    let log = raw(index);
    let mut json = json!({ "address": log.address, "topics": log.topics, "data": log.data, "blockNumber": format!("{block:#x}"),
        "blockHash": hash(block), "transactionHash": log.tx_hash, "transactionIndex": "0x0", "logIndex": format!("{index:#x}"), "removed": false });
    if with_time {
        json["blockTimestamp"] = json!(format!("{:#x}", block * 10));
    }
    json
}

fn number_of(value: &Value) -> u64 {
    u64::from_str_radix(value.as_str().unwrap().strip_prefix("0x").unwrap(), 16).unwrap()
}

fn error(message: &str) -> Option<Value> {
    Some(json!({ "error": { "code": -32000, "message": message } }))
}

/// A chain of 100 blocks with two logs in each tenth.
fn chain(method: &str, params: &Value, with_time: bool) -> Option<Value> {
    match method {
        "eth_chainId" => None,
        "eth_blockNumber" => Some(json!({ "result": "0x64" })),
        "eth_getBlockByNumber" if params[0] == "latest" => Some(header_json(&header(100, 2))),
        "eth_getBlockByNumber" => match number_of(&params[0]) {
            number @ 0..=100 => Some(header_json(&header(number, 2))),
            _ => Some(json!({ "result": null })),
        },
        "eth_getBlockByHash" => Some(json!({ "result": null })),
        "eth_getLogs" if params[0]["blockHash"].is_string() => {
            Some(json!({ "result": [log_json(7, 0, with_time), log_json(7, 1, with_time)] }))
        }
        "eth_getLogs" => {
            let (from, to) = (number_of(&params[0]["fromBlock"]), number_of(&params[0]["toBlock"]));
            let logs = (from..=to).filter(|n| n % 10 == 0).flat_map(|n| [log_json(n, 0, with_time), log_json(n, 1, with_time)]);
            Some(json!({ "result": logs.collect::<Vec<_>>() }))
        }
        other => panic!("unexpected {other}"),
    }
}

#[tokio::test]
async fn the_next_endpoint_takes_over_from_one_that_is_silent_or_gone_and_hosts_are_all_that_is_shown() {
    let silent = node(|method, _, _| (method == "eth_chainId").then(|| json!({ "result": "0x7a69" }))).await;
    let good = node(|m, p, _| chain(m, p, true)).await;
    let source = source(&[&silent, &good]);
    assert_eq!(source.header(BlockTag::Latest).await.unwrap().unwrap(), header(100, 2));
    // Now the silent one comes last.
    let before = silent.requests.load(Ordering::SeqCst);
    assert_eq!(source.header(BlockTag::Number(5)).await.unwrap().unwrap(), header(5, 2));
    assert_eq!(silent.requests.load(Ordering::SeqCst), before);
    drop((silent, good));
    let error = source.header(BlockTag::Latest).await.unwrap_err();
    assert!(matches!(&error, ChainError::Unavailable(_)), "{error}");
    assert!(!error.to_string().contains("secret") && !format!("{:?}", source.hosts()).contains("secret"), "{error}");
}

#[tokio::test]
async fn at_the_head_a_silent_endpoint_is_not_waited_for_until_its_call_times_out() {
    let silent = node(|method, _, _| (method == "eth_chainId").then(|| json!({ "result": "0x7a69" }))).await;
    let good = node(|m, p, _| chain(m, p, true)).await;
    let mut config = RpcConfig::new(31_337, [&silent, &good].iter().map(|n| EndpointConfig::new(&n.url)).collect());
    // Longer than any test may take.
    config.call_timeout = Duration::from_secs(3_600);
    let source = RpcSource::new(config).unwrap();
    assert_eq!(source.block_logs(&header(7, 2)).await.unwrap(), [raw(0), raw(1)]);
    assert!(silent.requests.load(Ordering::SeqCst) > 0, "it was asked first");
    // It comes last from now on.
    let before = silent.requests.load(Ordering::SeqCst);
    assert_eq!(source.block_logs(&header(7, 2)).await.unwrap(), [raw(0), raw(1)]);
    assert_eq!(silent.requests.load(Ordering::SeqCst), before);
}

#[tokio::test]
async fn where_only_a_silent_endpoint_is_left_those_that_answered_are_asked_again() {
    let silent = node(|method, _, _| (method == "eth_chainId").then(|| json!({ "result": "0x7a69" }))).await;
    // Its backend lags at first.
    let lagging =
        node(|m, p, n| if m == "eth_getLogs" && n == 0 { Some(json!({ "result": [] })) } else { chain(m, p, true) }).await;
    let mut config = RpcConfig::new(31_337, [&silent, &lagging].iter().map(|n| EndpointConfig::new(&n.url)).collect());
    config.call_timeout = Duration::from_secs(3_600);
    assert_eq!(RpcSource::new(config).unwrap().block_logs(&header(7, 2)).await.unwrap(), [raw(0), raw(1)]);
}

#[tokio::test]
async fn a_block_that_nobody_knows_is_none_by_header_and_unknown_by_logs() {
    let a = node(|m, p, _| if m == "eth_getLogs" { error("unknown block") } else { chain(m, p, true) }).await;
    let source = source(&[&a]);
    assert_eq!(source.header(BlockTag::Hash(hash(3))).await.unwrap(), None);
    assert_eq!(source.header(BlockTag::Number(101)).await.unwrap(), None);
    let error = source.block_logs(&header(3, 2)).await.unwrap_err();
    assert!(matches!(error, ChainError::UnknownBlock(h) if h == hash(3)), "{error}");
}

#[tokio::test]
async fn logs_that_do_not_fit_the_bloom_are_asked_for_elsewhere_and_else_are_a_contradiction() {
    let liar = node(|m, p, _| if m == "eth_getLogs" { Some(json!({ "result": [] })) } else { chain(m, p, true) }).await;
    let good = node(|m, p, _| chain(m, p, true)).await;
    let logs = source(&[&liar, &good]).block_logs(&header(7, 2)).await.unwrap();
    assert_eq!(logs, [raw(0), raw(1)]);
    let error = source(&[&liar]).block_logs(&header(7, 2)).await.unwrap_err();
    assert!(matches!(error, ChainError::Contradiction(_)), "{error}");
    // The same endpoint is asked twice: it may have been a backend that lagged.
    let lagging =
        node(|m, p, n| if m == "eth_getLogs" && n == 0 { Some(json!({ "result": [] })) } else { chain(m, p, true) }).await;
    assert_eq!(source(&[&lagging]).block_logs(&header(7, 2)).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_block_without_transactions_costs_no_request() {
    let a = node(|_, _, _| panic!("asked")).await;
    assert_eq!(source(&[&a]).block_logs(&header(7, 0)).await.unwrap(), []);
}

#[tokio::test]
async fn a_chain_that_leaves_its_blooms_empty_is_refused_instead_of_read_as_empty() {
    let a = node(|m, p, _| chain(m, p, true)).await;
    let unproven = Header { logs_bloom: Box::new(Bloom::ZERO), ..header(7, 2) };
    let error = source(&[&a]).block_logs(&unproven).await.unwrap_err();
    assert!(matches!(error, ChainError::Contradiction(_)), "{error}");
}

#[tokio::test]
async fn an_endpoint_of_another_chain_is_never_believed() {
    let other = node(|m, p, _| if m == "eth_chainId" { Some(json!({ "result": "0x1" })) } else { chain(m, p, true) }).await;
    let good = node(|m, p, _| chain(m, p, true)).await;
    let error = source(&[&other]).header(BlockTag::Latest).await.unwrap_err();
    assert!(error.to_string().contains("answers for chain 1, not 31337"), "{error}");
    assert_eq!(source(&[&other]).chain_id().await.unwrap(), 1);
    let both = source(&[&other, &good]);
    assert!(both.header(BlockTag::Latest).await.unwrap().is_some());
    assert_eq!(other.requests.load(Ordering::SeqCst), 0);
    let error = both.chain_id().await.unwrap_err().to_string();
    assert!(error.contains("all `rpc` entries must be of one chain"), "{error}");
}

async fn range(source: &RpcSource, from: u64, to: u64) -> Result<Vec<(u64, u64, usize)>, ChainError> {
    let range = source.range_logs(from, to, &[B256::repeat_byte(6)], &[]).await?;
    assert_eq!(range.end, header(to, 2).block);
    Ok(range.blocks.iter().map(|(b, logs)| (b.number, b.timestamp, logs.len())).collect())
}

#[tokio::test]
async fn a_range_comes_with_block_times_whether_logs_say_them_or_not_and_in_parts_where_it_must() {
    let expected = [(10, 100, 2), (20, 200, 2), (30, 300, 2)];
    for with_time in [true, false] {
        let a = node(move |m, p, _| chain(m, p, with_time)).await;
        assert_eq!(range(&source(&[&a]), 1, 30).await.unwrap(), expected);
    }
    let widths = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&widths);
    let short = node(move |m, p, _| {
        if m == "eth_getLogs" {
            seen.lock().unwrap().push(number_of(&p[0]["toBlock"]) - number_of(&p[0]["fromBlock"]) + 1);
        }
        chain(m, p, true)
    })
    .await;
    let mut config = RpcConfig::new(31_337, vec![EndpointConfig { logs_range: Some(7), ..EndpointConfig::new(&short.url) }]);
    config.retries = 0;
    assert_eq!(range(&RpcSource::new(config).unwrap(), 1, 30).await.unwrap(), expected);
    let mut widths = widths.lock().unwrap().clone();
    widths.sort_unstable();
    assert_eq!(widths, [2, 7, 7, 7, 7]);
}

#[tokio::test]
async fn a_range_that_is_too_large_or_too_slow_says_so() {
    let limited =
        node(|m, p, _| if m == "eth_getLogs" { error("query returned more than 10000 results") } else { chain(m, p, true) })
            .await;
    let slow = node(|m, p, _| if m == "eth_getLogs" { None } else { chain(m, p, true) }).await;
    for a in [limited, slow] {
        let error = range(&source(&[&a]), 1, 30).await.unwrap_err();
        assert!(matches!(error, ChainError::RangeTooLarge(_)), "{error}");
    }
}

#[tokio::test]
async fn a_limit_that_an_endpoint_names_is_learned_and_kept() {
    let refused = Arc::new(AtomicUsize::new(0));
    let count = refused.clone();
    let a = node(move |m, p, _| {
        let width = || number_of(&p[0]["toBlock"]).saturating_sub(number_of(&p[0]["fromBlock"])) + 1;
        if m == "eth_getLogs" && width() > 7 {
            count.fetch_add(1, Ordering::SeqCst);
            return Some(json!({ "error": { "code": -32600, "message": "You can make eth_getLogs requests with up to a 7 block range." } }));
        }
        chain(m, p, true)
    })
    .await;
    let b = node(|m, p, _| chain(m, p, true)).await;
    let (limited, free) = (source(&[&a]), source(&[&b]));
    let expected = range(&free, 1, 30).await.unwrap();
    for _ in 0..3 {
        assert_eq!(range(&limited, 1, 30).await.unwrap(), expected);
    }
    assert_eq!(refused.load(Ordering::SeqCst), 1, "asked too much once, and never again");
}

#[tokio::test]
async fn an_endpoint_that_asks_for_a_pause_gets_it_and_the_others_do_its_work() {
    let busy = node(|_, _, _| Some(json!({ "status": 429, "after": 3_600 }))).await;
    let other = node(|m, p, _| chain(m, p, true)).await;
    let alone = source(&[&busy]);
    for _ in 0..5 {
        assert!(
            matches!(alone.header(BlockTag::Number(3)).await, Err(ChainError::Unavailable(text)) if text.contains("rate limited"))
        );
    }
    assert_eq!(busy.requests.load(Ordering::SeqCst), 0, "only its chain id was asked, and it said no to that");
    let both = source(&[&busy, &other]);
    for number in 1..20 {
        assert_eq!(both.header(BlockTag::Number(number)).await.unwrap().unwrap().block.number, number);
    }
    assert_eq!(busy.requests.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_budget_that_is_used_up_is_not_overdrawn_and_the_next_endpoint_goes_on() {
    let (paid, free) = (node(|m, p, _| chain(m, p, true)).await, node(|m, p, _| chain(m, p, true)).await);
    let mut config = RpcConfig::new(31_337, [&paid, &free].iter().map(|n| EndpointConfig::new(&n.url)).collect());
    config.urls[0].max_per_day = Some(6);
    let both = RpcSource::new(config).unwrap();
    for number in 1..20 {
        assert_eq!(both.header(BlockTag::Number(number)).await.unwrap().unwrap().block.number, number);
    }
    // One of the six asked for the chain's id.
    assert_eq!((paid.requests.load(Ordering::SeqCst), free.requests.load(Ordering::SeqCst)), (5, 14));
}

#[tokio::test]
async fn a_sampled_range_must_be_confirmed_by_another_endpoint() {
    let good = node(|m, p, _| chain(m, p, true)).await;
    let missing = node(|m, p, _| if m == "eth_getLogs" { Some(json!({ "result": [] })) } else { chain(m, p, true) }).await;
    let both = source(&[&good, &missing]);
    let mut caught = 0;
    for from in 0..50 {
        match range(&both, from, 90).await {
            Ok(found) => assert!(!found.is_empty()),
            Err(ChainError::Contradiction(_)) => caught += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!((1..20).contains(&caught), "{caught}");
}

#[tokio::test]
async fn polled_heads_come_once_each_and_an_outage_is_said_once() {
    let newest = Arc::new(AtomicUsize::new(5));
    let now = Arc::clone(&newest);
    let a = node(move |m, p, _| {
        let newest = u64::try_from(now.load(Ordering::SeqCst)).unwrap();
        match m {
            "eth_getBlockByNumber" if p[0] == "latest" && newest == 0 => error("internal error"),
            "eth_getBlockByNumber" if p[0] == "latest" => Some(header_json(&header(newest, 2))),
            // Another block stands there now.
            "eth_getBlockByNumber" if number_of(&p[0]) > newest => {
                let replaced = BlockRef { hash: hash(1_006), ..header(6, 2).block };
                Some(header_json(&Header { block: replaced, ..header(6, 2) }))
            }
            // It keeps what it took back, as geth does.
            "eth_getBlockByHash" => Some(header_json(&header(6, 2))),
            _ => chain(m, p, true),
        }
    })
    .await;
    let mut heads = source(&[&a]).heads();
    let mut next = async || tokio::time::timeout(Duration::from_secs(10), heads.next()).await.unwrap().unwrap();
    assert_eq!(next().await, HeadEvent::Head(header(5, 2)));
    newest.store(6, Ordering::SeqCst);
    assert_eq!(next().await, HeadEvent::Head(header(6, 2)));
    newest.store(0, Ordering::SeqCst);
    assert!(matches!(next().await, HeadEvent::Down { .. }));
    newest.store(6, Ordering::SeqCst);
    assert_eq!(next().await, HeadEvent::Head(header(6, 2)));
    // Back to an ancestor, and the tip is not on its chain any more: a rollback.
    newest.store(5, Ordering::SeqCst);
    assert_eq!(next().await, HeadEvent::Head(header(5, 2)));
}

#[test]
fn urls_that_cannot_be_a_nodes_are_refused_without_being_quoted() {
    for url in ["", "localhost:8545/secret", "ftp://h/secret", "http://"] {
        let error = RpcSource::new(RpcConfig::new(1, vec![EndpointConfig::new(url)])).unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }
    assert!(RpcSource::new(RpcConfig::new(1, vec![])).is_err());
    for url in ["http://user:secret@host/secret", "wss://host/secret?k=secret"] {
        let config = RpcConfig::new(1, vec![EndpointConfig::new(url)]);
        let shown = format!("{config:?} {:?}", RpcSource::new(config.clone()).unwrap());
        assert!(!shown.contains("secret") && shown.contains("host"), "{shown}");
    }
}
