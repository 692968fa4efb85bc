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
    errors::{self, Failure},
    health::{Health, Pace},
    wire::{self, Quantity, WireError},
};
use crate::telemetry::Metrics;

/// Requests under way at once where the configuration does not say. Public nodes begin to refuse above some tens.
const CONCURRENT_DEFAULT: usize = 16;

/// The largest answer that is read. 256 MiB: far above any sane log range, far below a machine's memory.
const RESPONSE_MAX_BYTES: usize = 256 << 20;

/// An answer larger than this is parsed away from the tasks that must answer within milliseconds. 512 KiB: about 1 ms.
const PARSE_INLINE_MAX_BYTES: usize = 512 << 10;

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
    pub(super) logs_range: Option<u64>,
    pub(super) health: Health,
    chain_id: u64,
    /// Its chain id was asked for and is right.
    proven: AtomicBool,
    permits: Semaphore,
    pace: Option<Pace>,
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
            logs_range: config.logs_range.filter(|blocks| *blocks > 0),
            health: Health::default(),
            chain_id,
            proven: AtomicBool::new(false),
            permits: Semaphore::new(config.max_concurrent.unwrap_or(CONCURRENT_DEFAULT).max(1)),
            pace: config.max_rps.map(Pace::new),
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
        if let Some(pace) = &self.pace {
            pace.turn().await;
        }
        let answer = timeout(self.call_timeout, async {
            match &self.wire {
                Wire::Http { url, client, fresh } => http(if afresh { fresh } else { client }, url, request).await,
                Wire::Ws { .. } => self.over_ws(request).await,
            }
        })
        .await
        .unwrap_or(Err(Failure::Timeout(self.call_timeout)));
        match &answer {
            Err(failure) if failure.is_unhealthy() => self.health.failed(failure),
            _ => self.health.answered(),
        }
        if let Some(metrics) = self.metrics.get() {
            metrics.rpc_requests_total.with_label_values(&[self.label.as_str(), request.method]).inc();
            if let Err(failure) = &answer {
                metrics.rpc_errors_total.with_label_values(&[self.label.as_str(), failure.reason()]).inc();
            }
        }
        answer
    }

    async fn over_ws<T: DeserializeOwned + Send + 'static>(&self, request: &Request) -> Result<Option<T>, Failure> {
        let live = self.live().await?;
        let params = RawValue::to_owned(&request.params);
        let answer = live.client.request::<_, Box<RawValue>>(request.method, params).await;
        match answer {
            Ok(result) if result.get() == "null" => Ok(None),
            Ok(result) => {
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

    /// Transport errors may quote the URL, and URLs carry keys.
    fn redact(&self, message: &str) -> String {
        match &self.wire {
            Wire::Ws { url, .. } => message.replace(url.as_str(), &self.label),
            Wire::Http { url, .. } => message.replace(url.as_str(), &self.label),
        }
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

fn http_client(url: &Url, call_timeout: Duration, idle: usize) -> Result<reqwest::Client, reqwest::Error> {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Lost to another thread: then there is one.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    let mut builder = reqwest::Client::builder()
        .tcp_nodelay(true)
        .connect_timeout(call_timeout)
        .pool_max_idle_per_host(idle)
        .redirect(reqwest::redirect::Policy::none());
    if url.scheme() == "http" {
        // No certificates are needed, so none are looked for: a bare container has none.
        builder = builder.tls_certs_only([]);
    }
    let local = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    };
    if local {
        builder = builder.no_proxy();
    }
    builder.build()
}

async fn http<T: DeserializeOwned + Send + 'static>(
    client: &reqwest::Client,
    url: &Url,
    request: &Request,
) -> Result<Option<T>, Failure> {
    let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{}","params":{}}}"#, request.method, request.params.get());
    let unreachable = |e: reqwest::Error| Failure::Unreachable(chain_of(&e.without_url()));
    let sent = client.post(url.clone()).header("content-type", "application/json").body(body).send();
    let mut response = sent.await.map_err(unreachable)?;
    let status = response.status();
    let after = response.headers().get("retry-after").and_then(|v| v.to_str().ok()).and_then(|v| v.trim().parse().ok());
    let announced = response.content_length().and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
    if announced > RESPONSE_MAX_BYTES {
        return Err(Failure::TooLarge(format!("the answer has {announced} bytes")));
    }
    let mut bytes = Vec::with_capacity(announced);
    while let Some(part) = response.chunk().await.map_err(unreachable)? {
        if bytes.len().saturating_add(part.len()) > RESPONSE_MAX_BYTES {
            return Err(Failure::TooLarge(format!("the answer has more than {RESPONSE_MAX_BYTES} bytes")));
        }
        bytes.extend_from_slice(&part);
    }
    match parse(bytes.len(), move || wire::response(&bytes)).await {
        // An error page is no JSON; a JSON-RPC error under an HTTP error says more than its status.
        Err(Failure::BadAnswer(_)) | Ok(_) if !status.is_success() => {
            Err(errors::from_status(status.as_u16(), after.map(Duration::from_secs)))
        }
        Err(Failure::Busy { message, after: None }) => Err(Failure::Busy { message, after: after.map(Duration::from_secs) }),
        answer => answer,
    }
}

/// Runs the parser here when it is quick, on a blocking thread when it is not.
async fn parse<T: Send + 'static>(
    bytes: usize,
    parser: impl FnOnce() -> Result<Option<T>, Failure> + Send + 'static,
) -> Result<Option<T>, Failure> {
    if bytes <= PARSE_INLINE_MAX_BYTES {
        return parser();
    }
    let parsed = tokio::task::spawn_blocking(parser).await;
    parsed.unwrap_or_else(|e| Err(Failure::BadAnswer(format!("the parser died: {e}"))))
}

/// reqwest says "error sending request" and hides why in its sources.
fn chain_of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Whether `health` still counts this endpoint out, for the order of endpoints.
pub(super) fn is_out(endpoint: &Endpoint, now: Instant) -> bool {
    endpoint.health.is_out(now)
}
