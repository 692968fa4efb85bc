//! What every public request passes first: a name that its answer and the log share, and a limit per address.
//!
//! Keys and what an answer costs are in [`super::access`]; messages of WebSockets are counted there, too. What is absent: one client that
//! has many addresses and no key.

use std::{
    hash::{BuildHasher as _, RandomState},
    net::{IpAddr, Ipv6Addr, SocketAddr},
    num::NonZeroU32,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    body::HttpBody as _,
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use governor::{
    Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
    state::keyed::DashMapStateStore,
};
use ipnet::IpNet;

use super::{
    access::{self, Access, Caller, Cost, Scope},
    gql::error::{ApiError, Code},
    http, rest,
};
use crate::telemetry::Metrics;

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const FORWARDED_FOR: &str = "x-forwarded-for";
/// A UUID has 36, the ids of tracing systems up to 55.
const REQUEST_ID_MAX_BYTES: usize = 64;
/// Addresses are looked through for idle ones whenever so many requests came since, and only beyond so many addresses: about 1 MB.
const SWEEP_EVERY: u64 = 4_096;
const SWEEP_BEYOND: usize = 10_000;

/// Requests that an address may send.
#[derive(Debug, Clone, Default)]
pub struct RequestLimit {
    /// On average; 0: as many as it likes.
    pub per_second: u32,
    /// At once, after a pause.
    pub burst: u32,
    /// Who may say, in `X-Forwarded-For`, for whom it asks.
    pub trusted_proxies: Vec<IpNet>,
}

/// Whom a request comes from: an IPv4 address, or the network of an IPv6 address. In the extensions of every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Client(IpAddr);

impl Client {
    #[cfg(test)]
    pub(super) fn at(address: IpAddr) -> Self {
        Self(address)
    }

    pub(super) fn address(self) -> IpAddr {
        self.0
    }
}

/// What a path is about, for whoever may ask only some of it. `None`: it is for everybody.
fn scope(request: &Request) -> Option<Scope> {
    let path = request.uri().path();
    // A WebSocket may bring its key in `connection_init`: it is looked at there.
    let is_socket = http::is_upgrade(request.headers());
    match path {
        "/v1/stream" => Some(Scope::Subscribe),
        _ if http::owns(path) && is_socket => None,
        _ if http::owns(path) || path.starts_with("/v1/") || path.starts_with("/udf/") => Some(Scope::Read),
        _ => None,
    }
}

/// Names the request and keeps whoever asks within the limits.
pub(super) async fn intake(State(intake): State<Arc<Intake>>, mut request: Request, next: Next) -> Response {
    let id = intake.id(request.headers());
    let path = request.uri().path().to_owned();
    let client = Client(network(intake.client(&request)));
    // For the handlers.
    request.headers_mut().insert(REQUEST_ID, id.clone());
    request.extensions_mut().insert(client);
    let mut response = match intake.let_in(client, &request) {
        Ok(caller) => {
            request.extensions_mut().insert(caller.clone());
            let response = next.run(request).await;
            if let Some(cost) = response.extensions().get::<Cost>() {
                intake.access.settle(&caller, *cost);
            }
            response
        }
        Err((error, wait)) => {
            if error.code == Code::RateLimited {
                intake.metrics.rate_limited_total.inc();
            }
            refused(&path, error, wait)
        }
    };
    match response.status() {
        // A client can bring these about as it likes; where the store is to blame, it was said.
        StatusCode::SERVICE_UNAVAILABLE => tracing::debug!(request = ?id, path, "a request could not be answered now"),
        status if status.is_server_error() => {
            tracing::warn!(request = ?id, path, status = status.as_u16(), "a request could not be answered");
        }
        _ => {}
    }
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// What an answer cost, where nothing else says it: its size.
pub(super) async fn weigh(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if response.extensions().get::<Cost>().is_none()
        && let Some(bytes) = response.body().size_hint().exact()
    {
        let cost = Cost::new(usize::try_from(bytes).unwrap_or(usize::MAX), 0);
        response.extensions_mut().insert(cost);
    }
    response
}

/// Whom requests come from, and how many.
pub(super) struct Intake {
    metrics: Metrics,
    access: Arc<Access>,
    limiter: Option<RateLimiter<IpAddr, DashMapStateStore<IpAddr>, DefaultClock>>,
    trusted: Vec<IpNet>,
    asked: AtomicU64,
}

impl Intake {
    pub(super) fn new(limit: &RequestLimit, access: Arc<Access>, metrics: Metrics) -> Self {
        let quota = NonZeroU32::new(limit.per_second).map(|rate| {
            let burst = NonZeroU32::new(limit.burst).unwrap_or(rate);
            Quota::per_second(rate).allow_burst(burst)
        });
        let trusted = limit.trusted_proxies.clone();
        Self { metrics, access, limiter: quota.map(RateLimiter::dashmap), trusted, asked: AtomicU64::new(0) }
    }

    /// The client's own name for the request, where it is one; else a new one.
    fn id(&self, headers: &HeaderMap) -> HeaderValue {
        let given = headers.get(REQUEST_ID).filter(|id| {
            let bytes = id.as_bytes();
            !bytes.is_empty() && bytes.len() <= REQUEST_ID_MAX_BYTES && bytes.iter().all(u8::is_ascii_graphic)
        });
        given.cloned().unwrap_or_else(|| {
            static SEED: LazyLock<RandomState> = LazyLock::new(RandomState::new);
            static NEXT: AtomicU64 = AtomicU64::new(0);
            let name = format!("{:016x}", SEED.hash_one(NEXT.fetch_add(1, Ordering::Relaxed)));
            HeaderValue::from_str(&name).unwrap_or(HeaderValue::from_static("-"))
        })
    }

    /// Who asks, or why it is not answered and how many seconds it has to wait.
    fn let_in(&self, client: Client, request: &Request) -> Result<Caller, (ApiError, Option<u128>)> {
        let caller = self.access.caller(client, request.headers()).map_err(|error| (error, None))?;
        if let Some(scope) = scope(request) {
            self.access.may(&caller, scope).map_err(|error| (error, None))?;
        }
        if !caller.has_key() {
            self.admit(client).map_err(|wait| {
                let seconds = wait.as_millis().div_ceil(1_000).max(1);
                let message = format!("too many requests from this address: wait {seconds} s, and ask more slowly");
                (ApiError::new(Code::RateLimited, message), Some(seconds))
            })?;
        }
        self.access.admit(&caller).map_err(|wait| {
            let (error, seconds) = access::too_much(wait);
            (error, Some(seconds))
        })?;
        Ok(caller)
    }

    /// How long it has to wait, where it asks too often.
    fn admit(&self, client: Client) -> Result<(), Duration> {
        let Some(limiter) = &self.limiter else { return Ok(()) };
        if self.asked.fetch_add(1, Ordering::Relaxed).is_multiple_of(SWEEP_EVERY) && limiter.len() > SWEEP_BEYOND {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
        limiter.check_key(&client.0).map_err(|refused| refused.wait_time_from(limiter.clock().now()))
    }

    /// Who asks: the peer, or whom a proxy that we trust names, from the nearest proxy on.
    fn client(&self, request: &Request) -> IpAddr {
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
        let mut client = peer.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |ConnectInfo(peer)| peer.ip().to_canonical());
        let lines = request.headers().get_all(FORWARDED_FOR).iter();
        // What a client wrote there may be anything, and must not hide what a proxy added to the same line.
        let mut named: Vec<&[u8]> = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b',')).collect();
        while self.trusted.iter().any(|net| net.contains(&client)) {
            let Some(before) = named.pop().and_then(|name| address(std::str::from_utf8(name).ok()?.trim())) else { break };
            client = before;
        }
        client
    }
}

/// With or without a port: load balancers write both.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let found = bare.parse::<IpAddr>().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()));
    found.map(|address| address.to_canonical())
}

/// Whoever has an IPv6 address has 2^64 of them.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
    }
}

fn refused(path: &str, error: ApiError, wait: Option<u128>) -> Response {
    let mut response = if http::owns(path) { http::refusal(error) } else { rest::problem(error).into_response() };
    if let Some(seconds) = wait
        && let Ok(value) = HeaderValue::from_str(&seconds.to_string())
    {
        response.headers_mut().insert(header::RETRY_AFTER, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;
    use crate::api::AccessRules;

    fn client(peer: &str, forwarded: &[&str]) -> String {
        let limit = RequestLimit {
            trusted_proxies: vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()],
            ..RequestLimit::default()
        };
        let mut request = Request::builder().extension(ConnectInfo::<SocketAddr>(peer.parse().unwrap()));
        for line in forwarded {
            request = request.header(FORWARDED_FOR, *line);
        }
        let intake = Intake::new(&limit, Arc::new(Access::new(&AccessRules::default())), Metrics::new().unwrap());
        network(intake.client(&request.body(Body::empty()).unwrap())).to_string()
    }

    #[test]
    fn only_a_trusted_proxy_says_who_asks() {
        for (peer, forwarded, expected) in [
            ("203.0.113.9:1", vec![], "203.0.113.9"),
            // Anybody can write the header.
            ("203.0.113.9:1", vec!["198.51.100.1"], "203.0.113.9"),
            ("10.0.0.1:1", vec!["198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1:1", vec!["198.51.100.1:4711"], "198.51.100.1"),
            // What the client itself wrote stands before what the proxy added.
            ("10.0.0.1:1", vec!["192.0.2.1, 198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1:1", vec!["192.0.2.1", "198.51.100.1, 10.0.0.2"], "198.51.100.1"),
            ("10.0.0.1:1", vec!["nonsense"], "10.0.0.1"),
            ("10.0.0.1:1", vec!["\u{ff}, 198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1:1", vec!["[2001:db8::1]"], "2001:db8::"),
            ("10.0.0.1:1", vec![], "10.0.0.1"),
            ("[::ffff:10.0.0.1]:1", vec!["198.51.100.1"], "198.51.100.1"),
            ("[::1]:1", vec!["2001:db8:1:2:3:4:5:6"], "2001:db8:1:2::"),
            ("[2001:db8:1:2:ffff::1]:1", vec![], "2001:db8:1:2::"),
        ] {
            assert_eq!(client(peer, &forwarded), expected, "{peer} {forwarded:?}");
        }
    }
}
