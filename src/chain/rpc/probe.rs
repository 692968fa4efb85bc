//! What each endpoint can do, asked for by `swaptide doctor`. Facts only; what follows from them is judged by whoever asks.
//!
//! Everything is read, nothing is repeated, and every question has the time limit of the [`RpcSource`]. An endpoint that does not
//! answer the first question is asked no other, so that a dead one costs one time limit.

use std::time::Duration;

use alloy::primitives::{Address, B256, U256, address, b256};
use futures_util::future::join_all;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    RpcSource,
    endpoint::{Endpoint, Request},
    errors::{self, Failure},
    header_of, header_request, logs,
};
use crate::{
    chain::BlockTag,
    config,
    domain::{
        ChainId,
        block::{BlockRef, Header},
    },
};

/// A fact, or why it could not be found out, in the words of the endpoint: without the URL, but some repeat its key.
pub type Answer<T> = Result<T, String>;

/// All questions to one endpoint. 60 s: thirty requests at one every two seconds.
const ENDPOINT_TIMEOUT: Duration = Duration::from_secs(60);

const LATENCY_SAMPLES: usize = 3;

/// Blocks per `eth_getLogs` that are tried. The largest is also the most that a backfill asks for.
const LOGS_RANGES: [u64; 4] = [10, 100, 1_000, 10_000];

/// A contract and a topic that nobody has: a range is tried, not its logs.
const NOBODY: Address = address!("5357415054494445000000000000000000000001");
const NO_TOPIC: B256 = b256!("5357415054494445000000000000000000000000000000000000000000000001");

/// How far back state is looked for. 128: a full node of geth; 10,000: one of reth.
const STATE_DEPTHS: [u64; 4] = [64, 128, 1_000, 10_000];

/// Blocks below the head in which a log is looked for.
const PROOF_BLOCKS: u64 = 8;

#[derive(Debug, Clone)]
pub struct EndpointReport {
    /// Host and port, never the URL.
    pub host: String,
    pub is_ws: bool,
    /// Blocks per `eth_getLogs` that the configuration allows.
    pub logs_range: Option<u64>,
    /// `Err`: it does not answer, and was asked nothing more.
    pub contact: Answer<Contact>,
}

#[derive(Debug, Clone)]
pub struct Contact {
    /// Median of three small requests. A `max_rps` below some tens is part of it.
    pub latency: Duration,
    pub chain_id: ChainId,
    /// `None`: it is on another chain, and was asked nothing more.
    pub abilities: Option<Answer<Abilities>>,
}

#[derive(Debug, Clone)]
pub struct Abilities {
    pub head: BlockRef,
    pub genesis: Answer<B256>,
    /// Whether `newHeads` can be subscribed to; `None` over HTTP.
    pub pushes_heads: Option<Answer<()>>,
    pub logs: LogsRange,
    pub state: StateDepth,
    /// The number of the newest block that it calls finalized.
    pub finalized: Answer<u64>,
    pub receipts: Answer<()>,
    /// Whether the header proves the logs of its block; nothing is followed without.
    pub proof: Answer<Proof>,
}

/// What the configuration says is the proof of a block's logs, against those of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// It is that of so many; 0: the last blocks have none.
    Fits {
        logs: usize,
    },
    Contradicts(String),
}

/// How many blocks one `eth_getLogs` may ask for.
#[derive(Debug, Clone, Default)]
pub struct LogsRange {
    /// The largest range that was answered; 0: none.
    pub accepted: u64,
    /// The chain is shorter than what was to be tried.
    pub is_whole_chain: bool,
    /// The first that was not answered, and why.
    pub refused: Option<(u64, String)>,
    /// The limit that the refusal names.
    pub named: Option<u64>,
}

/// How far back the state of accounts can be asked for.
#[derive(Debug, Clone, Default)]
pub struct StateDepth {
    /// The deepest of what was tried that was answered, in blocks below the head.
    pub blocks: u64,
    /// Block 0 was answered.
    pub is_archive: bool,
    /// The first depth that was not answered, and why.
    pub refused: Option<(u64, String)>,
}

impl RpcSource {
    /// Asks every endpoint by itself, all at once.
    pub async fn probe(&self) -> Vec<EndpointReport> {
        join_all(self.inner.endpoints.iter().map(|endpoint| report(endpoint, self.inner.proof))).await
    }
}

async fn report(endpoint: &Endpoint, by: config::Proof) -> EndpointReport {
    EndpointReport {
        host: endpoint.label.clone(),
        is_ws: endpoint.is_ws(),
        logs_range: endpoint.logs_range(),
        contact: contact(endpoint, by).await.map_err(|failure| failure.to_string()),
    }
}

async fn contact(endpoint: &Endpoint, by: config::Proof) -> Result<Contact, Failure> {
    let mut took = Vec::with_capacity(LATENCY_SAMPLES);
    let mut chain_id = 0;
    for _ in 0..LATENCY_SAMPLES {
        let asked = Instant::now();
        chain_id = endpoint.ask_chain_id().await?;
        took.push(asked.elapsed());
    }
    took.sort_unstable();
    let latency = took.get(LATENCY_SAMPLES / 2).copied().unwrap_or_default();
    let abilities = match endpoint.is_of_chain(chain_id) {
        false => None,
        true => Some(match tokio::time::timeout(ENDPOINT_TIMEOUT, abilities(endpoint, by)).await {
            Ok(found) => found.map_err(|failure| failure.to_string()),
            Err(_) => Err(format!("not all questions were answered within {} s", ENDPOINT_TIMEOUT.as_secs())),
        }),
    };
    Ok(Contact { latency, chain_id, abilities })
}

async fn abilities(endpoint: &Endpoint, by: config::Proof) -> Result<Abilities, Failure> {
    let head = header_of(endpoint, &header_request(BlockTag::Latest), false).await?;
    let head = head.ok_or_else(|| Failure::BadAnswer("it has no newest block".into()))?;
    let masked = |failure: Failure| failure.to_string();
    let number =
        |tag: BlockTag| async move { header_of(endpoint, &header_request(tag), false).await?.ok_or(Failure::UnknownBlock) };
    let (genesis, pushes_heads, logs, state, finalized, receipts, proof) = tokio::join!(
        number(BlockTag::Number(0)),
        pushes_heads(endpoint),
        logs_range(endpoint, head.block.number),
        state_depth(endpoint, head.block.number),
        number(BlockTag::Finalized),
        receipts(endpoint, &head),
        proof(endpoint, &head, by),
    );
    Ok(Abilities {
        head: head.block,
        genesis: genesis.map(|header| header.block.hash).map_err(masked),
        pushes_heads: pushes_heads.map(|outcome| outcome.map_err(masked)),
        logs,
        state,
        finalized: finalized.map(|header| header.block.number).map_err(masked),
        receipts: receipts.map_err(masked),
        proof: proof.map_err(masked),
    })
}

async fn ask<T: DeserializeOwned + Send + 'static>(
    endpoint: &Endpoint,
    method: &'static str,
    params: Value,
) -> Result<T, Failure> {
    endpoint.request(&Request::new(method, &params)).await?.ok_or(Failure::UnknownBlock)
}

async fn pushes_heads(endpoint: &Endpoint) -> Option<Result<(), Failure>> {
    if !endpoint.is_ws() {
        return None;
    }
    Some(endpoint.subscribe_heads().await.map(drop))
}

async fn logs_range(endpoint: &Endpoint, head: u64) -> LogsRange {
    let mut range = LogsRange::default();
    for wanted in LOGS_RANGES {
        let blocks = wanted.min(head.saturating_add(1));
        let from = head.saturating_sub(blocks.saturating_sub(1));
        let filter = json!([{ "fromBlock": hex(from), "toBlock": hex(head), "address": NOBODY, "topics": [NO_TOPIC] }]);
        match ask::<Vec<IgnoredAny>>(endpoint, "eth_getLogs", filter).await {
            Ok(_) => range.accepted = blocks,
            Err(failure) => {
                let text = failure.to_string();
                range.named = errors::range_limit(&text);
                range.refused = Some((blocks, text.clone()));
                break;
            }
        }
        if blocks < wanted {
            range.is_whole_chain = true;
            break;
        }
    }
    range
}

async fn state_depth(endpoint: &Endpoint, head: u64) -> StateDepth {
    let mut depth = StateDepth::default();
    let depths = STATE_DEPTHS.into_iter().filter(|blocks| *blocks < head).chain([head]);
    for blocks in depths {
        match ask::<U256>(endpoint, "eth_getBalance", json!([Address::ZERO, hex(head.saturating_sub(blocks))])).await {
            Ok(_) => depth.blocks = blocks,
            Err(failure) => {
                depth.refused = Some((blocks, failure.to_string()));
                return depth;
            }
        }
    }
    depth.is_archive = true;
    depth
}

async fn receipts(endpoint: &Endpoint, head: &Header) -> Result<(), Failure> {
    ask::<Vec<IgnoredAny>>(endpoint, "eth_getBlockReceipts", json!([head.block.hash])).await.map(drop)
}

/// Proves the logs of the newest block that has some, as it is done for every block that is followed.
async fn proof(endpoint: &Endpoint, head: &Header, by: config::Proof) -> Result<Proof, Failure> {
    let mut header = head.clone();
    for _ in 0..PROOF_BLOCKS {
        let number = header.block.number;
        let found = match logs::proven(endpoint, &header, by).await? {
            Ok(logs) => logs.len(),
            Err(unproven) => return Ok(Proof::Contradicts(format!("block {number}: {unproven}"))),
        };
        if found > 0 || number == 0 {
            return Ok(Proof::Fits { logs: found });
        }
        let parent = header_of(endpoint, &header_request(BlockTag::Hash(header.block.parent_hash)), false).await?;
        header = parent.ok_or(Failure::UnknownBlock)?;
    }
    Ok(Proof::Fits { logs: 0 })
}

fn hex(number: u64) -> String {
    format!("{number:#x}")
}
