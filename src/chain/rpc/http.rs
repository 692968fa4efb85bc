//! JSON-RPC over HTTP: one request, one answer, both bounded, the body parsed once into what is needed.

use std::time::Duration;

use serde::de::DeserializeOwned;
use url::Url;

use super::{
    endpoint::Request,
    errors::{self, Failure},
    wire,
};

/// The largest answer that is read. 256 MiB: far above any sane log range, far below a machine's memory.
pub(super) const RESPONSE_MAX_BYTES: usize = 256 << 20;

/// An answer larger than this is parsed away from the tasks that must answer within milliseconds. 512 KiB: about 1 ms.
const PARSE_INLINE_MAX_BYTES: usize = 512 << 10;

/// A client that keeps `idle` connections.
pub(super) fn http_client(url: &Url, call_timeout: Duration, idle: usize) -> Result<reqwest::Client, reqwest::Error> {
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

/// Sends one request; `received` is told how many bytes came back.
pub(super) async fn http<T: DeserializeOwned + Send + 'static>(
    client: &reqwest::Client,
    url: &Url,
    request: &Request,
    received: impl FnOnce(usize),
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
    received(bytes.len());
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
pub(super) async fn parse<T: Send + 'static>(
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
