//! One endpoint: its transport, its limits, and whether it is to be trusted with the next request.
//!
//! HTTP goes through reqwest, because the body is then parsed once, into what is needed; WebSocket goes through alloy, with its
//! silent reconnect switched off: a lost connection must be seen, because heads were lost with it. URLs carry keys: only the host
//! is ever shown.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use alloy::{
    primitives::B256,
    pubsub::{ConnectionHandle, PubSubConnect, RawSubscription},
    rpc::client::RpcClient,
    transports::{
        RpcError, TransportErrorKind, TransportResult,
        ws::{WebSocketConfig, WsConnect},
    },
};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::{
    sync::{Mutex, Semaphore},
    time::{Instant, timeout},
};
use url::Url;

use super::{
    EndpointConfig,
    errors::Failure,
    health::{Health, Pace, Pause},
    http::{RESPONSE_MAX_BYTES, http, http_client, parse},
    wire::{Quantity, WireError},
};
use crate::telemetry::Metrics;

/// Requests under way at once where the configuration does not say. Public nodes begin to refuse above some tens.
const CONCURRENT_DEFAULT: usize = 16;

/// Keepalive pings of a WebSocket; the second one without a pong ends it.
const PING_EVERY: Duration = Duration::from_secs(5);

/// Method and parameters, written once however often it is sent.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) method: &'static str,
    pub(super) params: Arc<RawValue>,
}

impl Request {
    pub(super) fn new(method: &'static str, params: &serde_json::Value) -> Self {
        // A `Value` always serialises; an empty list would be refused by the node with a clear message.
        let params = serde_json::value::to_raw_value(params).unwrap_or_else(|_| RawValue::NULL.to_owned());
        Self { method, params: params.into() }
    }
}

#[derive(Debug)]
pub(super) struct Endpoint {
    /// Position in the configuration: lower is preferred. Also the source id of its heads.
    pub(super) index: usize,
    /// `host` or `host:port`, the only part of the URL that is ever shown.
    pub(super) label: String,
    /// Blocks of one `eth_getLogs`, as configured or learned; 0: no limit is known.
    logs_range: AtomicU64,
    pub(super) health: Health,
    chain_id: u64,
    /// Its chain id was asked for and is right.
    proven: AtomicBool,
    permits: Semaphore,
    pace: Pace,
    call_timeout: Duration,
    wire: Wire,
    metrics: OnceLock<Metrics>,
}

enum Wire {
    Http { url: Url, client: reqwest::Client, fresh: reqwest::Client },
    Ws { url: String, live: Mutex<Option<Live>>, connections: AtomicU64 },
}

/// The URL inside carries keys, and is never shown.
impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http { .. } => "Http",
            Self::Ws { .. } => "Ws",
        })
    }
}

#[derive(Clone)]
struct Live {
    client: RpcClient,
    connection: u64,
}

/// A connection that is not made again behind our back.
#[derive(Clone)]
struct OneConnection(WsConnect);

impl PubSubConnect for OneConnection {
    fn is_local(&self) -> bool {
        self.0.is_local()
    }

    async fn connect(&self) -> TransportResult<ConnectionHandle> {
        Ok(self.0.connect().await?.with_max_retries(1))
    }

    async fn try_reconnect(&self) -> TransportResult<ConnectionHandle> {
        Err(TransportErrorKind::backend_gone())
    }
}

/// Heads that one WebSocket connection pushes.
pub(super) struct HeadFeed {
    pub(super) pushed: RawSubscription,
    pub(super) connection: u64,
}

impl Endpoint {
    pub(super) fn new(index: usize, config: &EndpointConfig, chain_id: u64, call_timeout: Duration) -> Result<Self, String> {
        // The parser's own message may quote the URL.
        let url = Url::parse(&config.url)
            .map_err(|_| format!("rpc entry {index} is no URL: give http://, https://, ws:// or wss://"))?;
        let label = label(&config.url).ok_or_else(|| format!("rpc entry {index} has no host"))?;
        let wire = match url.scheme() {
            "http" | "https" => {
                let client =
                    |idle: usize| http_client(&url, call_timeout, idle).map_err(|e| format!("{label}: {}", e.without_url()));
                Wire::Http { client: client(CONCURRENT_DEFAULT)?, fresh: client(0)?, url: url.clone() }
            }
            "ws" | "wss" => Wire::Ws { url: config.url.clone(), live: Mutex::new(None), connections: AtomicU64::new(0) },
            other => return Err(format!("{label}: `{other}` is no scheme for a node: give http, https, ws or wss")),
        };
        Ok(Self {
            index,
            label,
            logs_range: AtomicU64::new(config.logs_range.unwrap_or(0)),
            health: Health::default(),
            chain_id,
            proven: AtomicBool::new(false),
            permits: Semaphore::new(config.max_concurrent.unwrap_or(CONCURRENT_DEFAULT).max(1)),
            pace: Pace::new(config.max_rps, config.max_per_day),
            call_timeout,
            wire,
            metrics: OnceLock::new(),
        })
    }

    /// Requests are counted from now on.
    pub(super) fn count_in(&self, metrics: &Metrics) {
        // The first one stands: an endpoint belongs to one process.
        let _ = self.metrics.set(metrics.clone());
    }

    pub(super) fn is_ws(&self) -> bool {
        matches!(self.wire, Wire::Ws { .. })
    }

    /// Sends a request, after the endpoint's chain id was found right once. `None` is the answer `null`.
    pub(super) async fn request<T: DeserializeOwned + Send + 'static>(&self, request: &Request) -> Result<Option<T>, Failure> {
        if !self.proven.load(Ordering::Acquire) {
            let found = self.ask_chain_id().await?;
            if found != self.chain_id {
                let failure = Failure::WrongChain { expected: self.chain_id, found };
                self.health.failed(&failure);
                return Err(failure);
            }
        }
        self.limited(request, false).await
    }

    /// The same over a connection of its own, so that a load balancer chooses its backend anew. WebSockets have but one.
    pub(super) async fn request_afresh<T: DeserializeOwned + Send + 'static>(
        &self,
        request: &Request,
    ) -> Result<Option<T>, Failure> {
        self.limited(request, true).await
    }

    /// Which chain it says it is on.
    pub(super) async fn ask_chain_id(&self) -> Result<u64, Failure> {
        let request = Request::new("eth_chainId", &serde_json::json!([]));
        let Quantity(found) =
            self.limited(&request, false).await?.ok_or_else(|| Failure::BadAnswer("eth_chainId answered null".into()))?;
        if found == self.chain_id {
            self.proven.store(true, Ordering::Release);
        }
        Ok(found)
    }

    async fn limited<T: DeserializeOwned + Send + 'static>(&self, request: &Request, afresh: bool) -> Result<Option<T>, Failure> {
        let _permit = self.permits.acquire().await.map_err(|_| Failure::Unreachable("closed".into()))?;
        if let Err(pause) = self.pace.turn(&self.label).await {
            let failure = paused(pause);
            self.health.failed(&failure);
            self.observe(|m, label| m.rpc_errors_total.with_label_values(&[label, failure.reason()]).inc());
            return Err(failure);
        }
        let answer = timeout(self.call_timeout, async {
            match &self.wire {
                Wire::Http { url, client, fresh } => {
                    http(if afresh { fresh } else { client }, url, request, |bytes| self.received(bytes)).await
                }
                Wire::Ws { .. } => self.over_ws(request).await,
            }
        })
        .await
        .unwrap_or(Err(Failure::Timeout(self.call_timeout)));
        match &answer {
            Err(failure) if failure.is_unhealthy() => self.health.failed(failure),
            _ => self.health.answered(),
        }
        if let Err(Failure::Busy { after, .. }) = &answer {
            self.pace.slow_down(*after);
        }
        self.observe(|m, label| {
            m.rpc_requests_total.with_label_values(&[label, request.method]).inc();
            if let Err(failure) = &answer {
                m.rpc_errors_total.with_label_values(&[label, failure.reason()]).inc();
            }
            m.rpc_requests_per_second_max.with_label_values(&[label]).set(self.pace.rps().unwrap_or(0.0));
            if let Some(left) = self.pace.left_today() {
                m.rpc_budget_left_requests.with_label_values(&[label]).set(i64::try_from(left).unwrap_or(i64::MAX));
            }
        });
        answer
    }

    /// Somebody else was asked meanwhile, and has answered.
    pub(super) fn was_silent(&self, after: Duration) {
        let failure = Failure::Timeout(after);
        self.health.failed(&failure);
        self.observe(|m, label| m.rpc_errors_total.with_label_values(&[label, failure.reason()]).inc());
    }

    fn observe(&self, what: impl FnOnce(&Metrics, &str)) {
        if let Some(metrics) = self.metrics.get() {
            what(metrics, &self.label);
        }
    }

    /// Blocks that one `eth_getLogs` may ask for; `None`: no limit is known.
    pub(super) fn logs_range(&self) -> Option<u64> {
        Some(self.logs_range.load(Ordering::Acquire)).filter(|blocks| *blocks > 0)
    }

    /// The endpoint said how many blocks it takes. `false`: that is nothing new.
    pub(super) fn learn_logs_range(&self, blocks: u64) -> bool {
        let known = self.logs_range().unwrap_or(u64::MAX);
        if blocks == 0 || blocks >= known {
            return false;
        }
        self.logs_range.store(blocks, Ordering::Release);
        tracing::info!(endpoint = %self.label, blocks, "it takes so many blocks per eth_getLogs; set `logs_range` to say so from the start");
        self.observe(|m, label| {
            m.rpc_logs_range_blocks.with_label_values(&[label]).set(i64::try_from(blocks).unwrap_or(i64::MAX))
        });
        true
    }

    async fn over_ws<T: DeserializeOwned + Send + 'static>(&self, request: &Request) -> Result<Option<T>, Failure> {
        let live = self.live().await?;
        let params = RawValue::to_owned(&request.params);
        let answer = live.client.request::<_, Box<RawValue>>(request.method, params).await;
        match answer {
            Ok(result) if result.get() == "null" => Ok(None),
            Ok(result) => {
                self.received(result.get().len());
                parse(result.get().len(), move || {
                    serde_json::from_str(result.get()).map(Some).map_err(|e| Failure::BadAnswer(e.to_string()))
                })
                .await
            }
            Err(RpcError::NullResp) => Ok(None),
            Err(RpcError::ErrorResp(error)) => Err(WireError { code: error.code, message: error.message.into_owned() }.into()),
            Err(error) => {
                self.drop_connection(live.connection).await;
                Err(Failure::Unreachable(self.redact(&error.to_string())))
            }
        }
    }

    fn received(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.observe(|m, label| m.rpc_received_bytes_total.with_label_values(&[label]).inc_by(bytes));
    }

    /// The connection that is up, or a new one.
    async fn live(&self) -> Result<Live, Failure> {
        let Wire::Ws { url, live, connections } = &self.wire else {
            return Err(Failure::Refused("no WebSocket endpoint".into()));
        };
        // Held while connecting, so that many requests make one connection; every user of it has a timeout.
        let mut slot = live.lock().await;
        if let Some(live) = slot.as_ref() {
            return Ok(live.clone());
        }
        let sizes =
            WebSocketConfig::default().max_message_size(Some(RESPONSE_MAX_BYTES)).max_frame_size(Some(RESPONSE_MAX_BYTES));
        let connect = OneConnection(WsConnect::new(url).with_config(sizes).with_keepalive_interval(PING_EVERY));
        let client = timeout(self.call_timeout, RpcClient::connect_pubsub(connect))
            .await
            .map_err(|_| Failure::Timeout(self.call_timeout))?
            .map_err(|e| Failure::Unreachable(self.redact(&e.to_string())))?;
        client.set_channel_size(HEADS_BUFFERED);
        let connected = Live { client, connection: connections.fetch_add(1, Ordering::AcqRel) };
        *slot = Some(connected.clone());
        Ok(connected)
    }

    /// Gives up a connection, unless a newer one has already taken its place.
    pub(super) async fn drop_connection(&self, connection: u64) {
        if let Wire::Ws { live, .. } = &self.wire {
            let mut slot = live.lock().await;
            if slot.as_ref().is_some_and(|live| live.connection == connection) {
                *slot = None;
            }
        }
    }

    /// Subscribes to new heads on the current connection.
    pub(super) async fn subscribe_heads(&self) -> Result<HeadFeed, Failure> {
        if self.ask_chain_id().await? != self.chain_id {
            // `request` finds the words; this endpoint gives no heads either.
            return Err(Failure::Refused("it is on another chain".into()));
        }
        let live = self.live().await?;
        let subscribed = timeout(self.call_timeout, async {
            let id: B256 = live.client.request("eth_subscribe", ("newHeads",)).await?;
            let frontend = live.client.pubsub_frontend().ok_or_else(TransportErrorKind::pubsub_unavailable)?;
            frontend.get_subscription(id).await
        })
        .await;
        let failure = match subscribed {
            Ok(Ok(pushed)) => return Ok(HeadFeed { pushed, connection: live.connection }),
            Ok(Err(RpcError::ErrorResp(error))) => {
                return Err(WireError { code: error.code, message: error.message.into_owned() }.into());
            }
            Ok(Err(error)) => Failure::Unreachable(self.redact(&error.to_string())),
            Err(_) => Failure::Timeout(self.call_timeout),
        };
        self.drop_connection(live.connection).await;
        self.health.failed(&failure);
        Err(failure)
    }

    /// Whether that is the chain it was configured for.
    pub(super) fn is_of_chain(&self, chain_id: u64) -> bool {
        self.chain_id == chain_id
    }

    /// Transport errors may quote the URL, and URLs carry keys.
    fn redact(&self, message: &str) -> String {
        match &self.wire {
            Wire::Ws { url, .. } => message.replace(url.as_str(), &self.label),
            Wire::Http { url, .. } => message.replace(url.as_str(), &self.label),
        }
    }
}

/// Not sent, because it may not be.
fn paused(pause: Pause) -> Failure {
    match pause {
        Pause::Asked(wait) => Failure::Busy { message: format!("it asked for a pause of {wait:.0?}"), after: Some(wait) },
        Pause::Spent(wait) => Failure::Busy {
            message: "`max_per_day` requests are used up: raise it, or add an endpoint".to_owned(),
            after: Some(wait),
        },
    }
}

/// Host, and port where the URL names one; `None` where it has no host.
pub(super) fn label(url: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    let host = url.host_str()?;
    Some(url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
}

/// Heads that may wait for us. More means that we are far behind, and then the newest is asked for.
const HEADS_BUFFERED: usize = 64;

/// Whether `health` still counts this endpoint out, for the order of endpoints.
pub(super) fn is_out(endpoint: &Endpoint, now: Instant) -> bool {
    endpoint.health.is_out(now)
}
