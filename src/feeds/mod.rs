//! Prices from outside the chain.
//!
//! A source is a [`PriceSource`]: it runs one connection, says what it hears, and returns when the connection is lost. Who runs it
//! again, and when, is not its business. A new exchange is one file with a `Dialect` ([`ws`]) or a `Query` ([`poll`]) and one line in
//! [`open`]. What is absent: judging whether a price can be believed (that is [`crate::domain::feed`]).

mod binance;
mod coinbase;
mod coingecko;
mod poll;
#[cfg(test)]
mod tests;
mod ws;

use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::{
    config::{FeedConfig, SourceKind},
    domain::feed::Tick,
};

/// What a source says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// The connection is up and asked for; no price yet.
    Connected,
    Tick(Tick),
    /// It lives, without a new price.
    Alive,
    /// Something that makes no sense: it is counted, told and not used.
    Garbage(String),
}

/// Takes what is heard. Called in order, from one task.
pub type Sink<'a> = &'a (dyn Fn(Heard) + Send + Sync);

/// Why a run ended. None of it is for ever.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FeedError {
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    #[error("said nothing for {} s", .0.as_secs())]
    Silent(Duration),
    #[error("closed the connection ({0})")]
    Closed(String),
    #[error("refuses: {0}")]
    Refused(String),
    #[error("asks for patience")]
    RateLimited { retry_after: Option<Duration> },
    #[error("says only what makes no sense: {0}")]
    Nonsense(String),
}

/// One price source of one pair.
pub trait PriceSource: Send + Sync + 'static {
    /// Host and port, for people: never a key.
    fn host(&self) -> String;

    /// One connection, from its beginning to its end. Dropping the future closes it.
    fn run<'a>(&'a self, sink: Sink<'a>) -> BoxFuture<'a, FeedError>;
}

/// The source that a `[[feed]]` describes; `None` where that is on a chain.
///
/// # Errors
/// One line, where it lacks something.
pub fn open(feed: &FeedConfig) -> Result<Option<Box<dyn PriceSource>>, String> {
    Ok(Some(match feed.source {
        SourceKind::Binance => Box::new(ws::Socket::new(binance::Binance::new(feed)?)),
        SourceKind::Coinbase => Box::new(ws::Socket::new(coinbase::Coinbase::new(feed)?)),
        SourceKind::Coingecko => Box::new(poll::Poll::new(coingecko::CoinGecko::new(feed)?, feed)?),
        SourceKind::Chainlink => return Ok(None),
    }))
}

/// Host and port of a URL; nothing else of it is ever shown.
fn host_of(url: &url::Url) -> String {
    let host = url.host_str().unwrap_or("?");
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn parse_url(text: &str, schemes: &[&str]) -> Result<url::Url, String> {
    let url = url::Url::parse(text).map_err(|e| format!("`url` is no URL ({e})"))?;
    if schemes.contains(&url.scheme()) && url.host_str().is_some() {
        Ok(url)
    } else {
        Err(format!("`url` takes {}, not {}://", schemes.join(":// or ") + "://", url.scheme()))
    }
}
