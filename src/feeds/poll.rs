//! Services that have to be asked: one request after the other, at the pace that they allow.
//!
//! An unchanged answer costs nothing where the service knows ETags. A daily budget is spread over the day: what is left of it is what
//! is asked.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
use reqwest::{StatusCode, header};
use tokio::time::Instant;

use super::{FeedError, Heard, PriceSource, Sink, host_of};
use crate::{config::FeedConfig, domain::feed::Tick};

const REQUEST: Duration = Duration::from_secs(10);
const POLL_MS: u64 = 60_000;
const DAY: Duration = Duration::from_secs(86_400);
/// Answers that cannot be used, in a row.
const NONSENSE_MAX: u32 = 5;
/// A simple price has a hundred bytes.
const BODY_MAX: usize = 64 * 1024;

/// What is asked, and how the answer reads.
pub(super) trait Query: Send + Sync + 'static {
    fn url(&self) -> &url::Url;

    /// A header with the key, where there is one.
    fn key(&self) -> Option<(&'static str, &str)> {
        None
    }

    /// Must not trust it.
    ///
    /// # Errors
    /// What is wrong with it.
    fn read(&self, body: &str) -> Result<Tick, String>;
}

pub(super) struct Poll<Q> {
    query: Q,
    client: reqwest::Client,
    every: Duration,
    /// Outlives a run: a service that fails is not asked more often, nor for what is known.
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    asked_at: Option<Instant>,
    etag: Option<String>,
}

impl<Q: Query> Poll<Q> {
    pub(super) fn new(query: Q, feed: &FeedConfig) -> Result<Self, String> {
        let wanted = Duration::from_millis(feed.poll_ms.unwrap_or(POLL_MS));
        let allowed = feed.max_per_day.and_then(|n| DAY.checked_div(u32::try_from(n).unwrap_or(u32::MAX)));
        let client = reqwest::Client::builder().timeout(REQUEST).user_agent(concat!("swaptide/", env!("CARGO_PKG_VERSION")));
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // Lost to another thread: then there is one.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        // No certificates are needed, so none are looked for: a bare container has none.
        let client = if query.url().scheme() == "http" { client.tls_certs_only([]) } else { client };
        // A service of this machine is never asked through a proxy.
        let local = query.url().host_str().is_some_and(|host| host == "localhost" || host == "127.0.0.1");
        let client = if local { client.no_proxy() } else { client };
        let client = client.build().map_err(|e| format!("no HTTP client: {}", e.without_url()))?;
        Ok(Self { query, client, every: wanted.max(allowed.unwrap_or_default()), kept: Mutex::default() })
    }

    #[cfg(test)]
    pub(super) fn every(&self) -> Duration {
        self.every
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until the pace allows the next request.
    async fn pace(&self) {
        let next = self.kept().asked_at.map(|at| at + self.every);
        if let Some(next) = next {
            tokio::time::sleep_until(next).await;
        }
        self.kept().asked_at = Some(Instant::now());
    }

    async fn ask(&self) -> Result<Option<String>, FeedError> {
        let unreachable = |e: reqwest::Error| FeedError::Unreachable(e.without_url().to_string());
        let mut request = self.client.get(self.query.url().clone());
        if let Some((name, key)) = self.query.key() {
            request = request.header(name, key);
        }
        let known = self.kept().etag.clone();
        if let Some(known) = known {
            request = request.header(header::IF_NONE_MATCH, known);
        }
        let mut response = request.send().await.map_err(unreachable)?;
        let text = |name| response.headers().get(name).and_then(|v| v.to_str().ok());
        match response.status() {
            StatusCode::NOT_MODIFIED => return Ok(None),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                let seconds = text(header::RETRY_AFTER).and_then(|v| v.trim().parse().ok());
                return Err(FeedError::RateLimited { retry_after: seconds.map(Duration::from_secs) });
            }
            status if !status.is_success() => return Err(FeedError::Refused(format!("status {}", status.as_u16()))),
            _ => {}
        }
        let new = text(header::ETAG).map(ToOwned::to_owned);
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            body.extend_from_slice(&chunk);
            if body.len() > BODY_MAX {
                return Err(FeedError::Nonsense("an answer of more than 64 kB".to_owned()));
            }
        }
        self.kept().etag = new;
        String::from_utf8(body).map(Some).map_err(|_| FeedError::Nonsense("an answer that is no text".to_owned()))
    }

    async fn listen(&self, sink: Sink<'_>) -> Result<std::convert::Infallible, FeedError> {
        let (mut nonsense, mut connected) = (0_u32, false);
        loop {
            self.pace().await;
            let body = self.ask().await?;
            if !std::mem::replace(&mut connected, true) {
                sink(Heard::Connected);
            }
            let Some(body) = body else {
                sink(Heard::Alive);
                continue;
            };
            match self.query.read(&body) {
                Ok(tick) => {
                    nonsense = 0;
                    sink(Heard::Tick(tick));
                }
                Err(why) => {
                    // It is to be read again, changed or not.
                    self.kept().etag = None;
                    nonsense = nonsense.saturating_add(1);
                    if nonsense >= NONSENSE_MAX {
                        return Err(FeedError::Nonsense(why));
                    }
                    sink(Heard::Garbage(why));
                }
            }
        }
    }
}

impl<Q: Query> PriceSource for Poll<Q> {
    fn host(&self) -> String {
        host_of(self.query.url())
    }

    fn run<'a>(&'a self, sink: Sink<'a>) -> BoxFuture<'a, FeedError> {
        self.listen(sink)
            .map(|outcome| match outcome {
                Err(error) => error,
                Ok(never) => match never {},
            })
            .boxed()
    }
}
