//! [`ChainSource`] over JSON-RPC: several endpoints in order of preference, WebSocket or HTTP.
//!
//! [`endpoint`] sends one request to one endpoint, [`logs`] fetches and proves logs, [`heads`] merges what the endpoints push.
//! Here it is decided who is asked, how often, and what the failures of several endpoints mean together.

use std::{fmt, sync::Arc, time::Duration};

use alloy::{
    eips::BlockId,
    primitives::{Address, B256, Bytes},
};
use futures_util::{
    FutureExt as _,
    future::{BoxFuture, join_all},
    stream::BoxStream,
};
use serde_json::json;

use self::{
    ask::Order,
    endpoint::{Endpoint, Request},
    errors::Failure,
    wire::{Data, WireHeader},
};
use super::{
    BlockTag, Call, CallOutcome, ChainError, ChainSource, HeadEvent, RangeLogs, batch,
    withhold::{self, Question},
};
use crate::{
    config::Proof,
    domain::{ChainId, block::Header, event::RawLog, record::Enrichment},
    telemetry::Metrics,
};

mod ask;
mod endpoint;
mod errors;
mod heads;
mod health;
mod http;
mod logs;
pub mod probe;
mod receipts;
mod wire;

/// Pause between two questions about a head that goes back.
const WITHHOLD_RECHECK: Duration = Duration::from_millis(100);

/// One entry of `rpc`.
#[derive(Clone, PartialEq, Eq)]
pub struct EndpointConfig {
    /// `http://`, `https://`, `ws://` or `wss://`.
    pub url: String,
    /// Requests a second at most.
    pub max_rps: Option<u32>,
    /// Requests within 24 hours at most.
    pub max_per_day: Option<u64>,
    /// Requests under way at most; 16 where it is not said.
    pub max_concurrent: Option<usize>,
    /// Blocks of one `eth_getLogs` at most.
    pub logs_range: Option<u64>,
}

impl EndpointConfig {
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), max_rps: None, max_per_day: None, max_concurrent: None, logs_range: None }
    }
}

/// URLs carry keys: only the host is shown.
impl fmt::Debug for EndpointConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointConfig")
            .field("host", &endpoint::label(&self.url).unwrap_or_default())
            .field("max_rps", &self.max_rps)
            .field("max_per_day", &self.max_per_day)
            .field("max_concurrent", &self.max_concurrent)
            .field("logs_range", &self.logs_range)
            .finish()
    }
}

/// How the node is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RpcConfig {
    pub chain_id: ChainId,
    /// In order of preference.
    pub urls: Vec<EndpointConfig>,
    /// One request to one endpoint.
    pub call_timeout: Duration,
    /// Further rounds over all endpoints after the first.
    pub retries: u32,
    /// The longest silence of a head stream before the connection is doubted.
    pub stall_timeout: Duration,
    /// Between two questions for the newest block while no WebSocket is up.
    pub poll_interval: Duration,
    pub proof: Proof,
}

impl RpcConfig {
    /// 10 s a call, 3 further rounds, 15 s of silence, polling once a second.
    #[must_use]
    pub fn new(chain_id: ChainId, urls: Vec<EndpointConfig>) -> Self {
        Self {
            chain_id,
            urls,
            call_timeout: Duration::from_secs(10),
            retries: 3,
            stall_timeout: Duration::from_secs(15),
            poll_interval: Duration::from_secs(1),
            proof: Proof::default(),
        }
    }
}

/// A real chain.
#[derive(Debug, Clone)]
pub struct RpcSource {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    endpoints: Vec<Arc<Endpoint>>,
    retries: u32,
    stall_timeout: Duration,
    poll_interval: Duration,
    proof: Proof,
}

impl RpcSource {
    /// Connects to nothing yet. Fails on a URL that cannot be one.
    pub fn new(config: RpcConfig) -> Result<Self, ChainError> {
        let RpcConfig { chain_id, urls, call_timeout, retries, stall_timeout, poll_interval, proof } = config;
        if urls.is_empty() {
            return Err(ChainError::Refused("no rpc endpoint is configured: give at least one URL in `rpc`".into()));
        }
        let endpoints = urls
            .iter()
            .enumerate()
            .map(|(index, config)| Endpoint::new(index, config, chain_id, call_timeout).map(Arc::new))
            .collect::<Result<_, _>>()
            .map_err(ChainError::Refused)?;
        Ok(Self { inner: Arc::new(Inner { endpoints, retries, stall_timeout, poll_interval, proof }) })
    }

    /// The same, with its requests counted.
    #[must_use]
    pub fn counted(self, metrics: &Metrics) -> Self {
        self.inner.endpoints.iter().for_each(|endpoint| endpoint.count_in(metrics));
        self
    }

    /// Hosts of the endpoints, in order of preference, for logs and status.
    #[must_use]
    pub fn hosts(&self) -> Vec<String> {
        self.inner.endpoints.iter().map(|e| e.label.clone()).collect()
    }
}

impl Inner {
    async fn header(&self, tag: BlockTag) -> Result<Option<Header>, ChainError> {
        let request = &header_request(tag);
        // An endpoint that does not know the block may lag behind one that does.
        let found = self
            .first_answer(Order::Head, |endpoint| async move {
                header_of(&endpoint, request, false).await?.ok_or(Failure::UnknownBlock)
            })
            .await;
        match found {
            Ok(header) => Ok(Some(header)),
            Err((Failure::UnknownBlock, _)) => Ok(None),
            Err((failure, host)) => Err(failure.into_chain_error(&host, None)),
        }
    }
}

fn header_request(tag: BlockTag) -> Request {
    let number = |n: u64| json!([format!("{n:#x}"), false]);
    match tag {
        BlockTag::Latest => Request::new("eth_getBlockByNumber", &json!(["latest", false])),
        BlockTag::Finalized => Request::new("eth_getBlockByNumber", &json!(["finalized", false])),
        BlockTag::Safe => Request::new("eth_getBlockByNumber", &json!(["safe", false])),
        BlockTag::Number(n) => Request::new("eth_getBlockByNumber", &number(n)),
        BlockTag::Hash(hash) => Request::new("eth_getBlockByHash", &json!([hash, false])),
    }
}

/// One header from one endpoint. Some nodes say "unknown block" as an error instead of `null`.
async fn header_of(endpoint: &Endpoint, request: &Request, afresh: bool) -> Result<Option<Header>, Failure> {
    let answer = if afresh { endpoint.request_afresh(request).await } else { endpoint.request(request).await };
    match answer {
        Ok(wire) => Ok(wire.map(|wire: WireHeader| wire.into())),
        Err(Failure::UnknownBlock) => Ok(None),
        Err(failure) => Err(failure),
    }
}

impl ChainSource for RpcSource {
    fn chain_id(&self) -> BoxFuture<'_, Result<ChainId, ChainError>> {
        async move {
            let answers = join_all(self.inner.endpoints.iter().map(|e| async move { (e, e.ask_chain_id().await) })).await;
            let mut found: Option<(&str, ChainId)> = None;
            let mut failed = Vec::new();
            for (endpoint, answer) in &answers {
                match (answer, found) {
                    (Ok(id), None) => found = Some((&endpoint.label, *id)),
                    (Ok(id), Some((host, first))) if *id != first => {
                        return Err(ChainError::Refused(format!(
                            "{host} is on chain {first} and {} on chain {id}: all `rpc` entries must be of one chain",
                            endpoint.label
                        )));
                    }
                    (Ok(_), Some(_)) => {}
                    (Err(failure), _) => failed.push(format!("{}: {failure}", endpoint.label)),
                }
            }
            found.map(|(_, id)| id).ok_or_else(|| ChainError::Unavailable(failed.join("; ")))
        }
        .boxed()
    }

    fn heads(&self) -> BoxStream<'static, HeadEvent> {
        let inner = Arc::clone(&self.inner);
        let ask = move |source: withhold::SourceId, question: Question| {
            let endpoint = inner.endpoints.get(source).cloned();
            async move {
                let endpoint = endpoint.ok_or_else(|| ChainError::Unavailable("no such endpoint".into()))?;
                let (tag, hash) = match question {
                    Question::Header(hash) => (BlockTag::Hash(hash), hash),
                    Question::OnChain(block) => (BlockTag::Number(block.number), block.hash),
                };
                let answer = header_of(&endpoint, &header_request(tag), true).await;
                let header = answer.map_err(|failure| failure.into_chain_error(&endpoint.label, Some(hash)))?;
                // Another block at that height is a "no"; a header with another hash than was asked for is the rule's to judge.
                Ok(header.filter(|header| matches!(question, Question::Header(_)) || header.block.hash == hash))
            }
        };
        withhold::withheld(heads::merged(Arc::clone(&self.inner)), ask, WITHHOLD_RECHECK)
    }

    fn header(&self, tag: BlockTag) -> BoxFuture<'_, Result<Option<Header>, ChainError>> {
        self.inner.header(tag).boxed()
    }

    fn block_logs(&self, header: &Header) -> BoxFuture<'_, Result<Vec<RawLog>, ChainError>> {
        let header = header.clone();
        async move { logs::of_block(&self.inner, &header).await }.boxed()
    }

    fn range_logs(
        &self,
        from: u64,
        to: u64,
        topic0: &[B256],
        addresses: &[Address],
    ) -> BoxFuture<'_, Result<RangeLogs, ChainError>> {
        let filter = logs::Filter::new(topic0, addresses);
        async move { logs::of_range(&self.inner, from, to, &filter).await }.boxed()
    }

    fn call_batch(
        &self,
        at: B256,
        calls: Vec<Call>,
        max_return_bytes: usize,
    ) -> BoxFuture<'_, Result<Vec<CallOutcome>, ChainError>> {
        async move {
            batch::execute(&calls, max_return_bytes, |input: Bytes| async move {
                let request = &Request::new("eth_call", &json!([{ "data": input }, BlockId::from(at)]));
                self.inner
                    .attempt(Order::Preferred, Some(at), |endpoint| async move {
                        let Data(answer) = endpoint.request(request).await?.ok_or(Failure::UnknownBlock)?;
                        Ok(answer)
                    })
                    .await
            })
            .await
        }
        .boxed()
    }

    fn call(&self, at: B256, to: Option<Address>, data: Bytes) -> BoxFuture<'_, Result<CallOutcome, ChainError>> {
        async move {
            let call = to.map_or_else(|| json!({ "data": data }), |to| json!({ "to": to, "data": data }));
            let request = &Request::new("eth_call", &json!([call, BlockId::from(at)]));
            let asked = self.inner.attempt(Order::Preferred, Some(at), |endpoint| async move {
                let Data(answer) = endpoint.request(request).await?.ok_or(Failure::UnknownBlock)?;
                Ok(answer)
            });
            match asked.await {
                Ok(answer) => Ok(CallOutcome::Returned(answer)),
                // Every node says it in its own words, and all of them with this one.
                Err(ChainError::Refused(reason)) if reason.contains("revert") => Ok(CallOutcome::Failed),
                Err(error) => Err(error),
            }
        }
        .boxed()
    }

    fn receipts(&self, block: B256, transactions: Vec<B256>) -> BoxFuture<'_, Result<Vec<(B256, Enrichment)>, ChainError>> {
        async move { receipts::of_block(&self.inner, block, &transactions).await }.boxed()
    }

    fn code(&self, address: Address) -> BoxFuture<'_, Result<Bytes, ChainError>> {
        async move {
            let request = &Request::new("eth_getCode", &json!([address, "latest"]));
            self.inner
                .attempt(Order::Preferred, None, |endpoint| async move {
                    let answer: Option<Data> = endpoint.request(request).await?;
                    Ok(answer.map(|data| data.0).unwrap_or_default())
                })
                .await
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests;
