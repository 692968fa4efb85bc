//! Binance: the ticker of the last 24 hours, once a second.
//!
//! Source: "Individual Symbol Ticker Streams" of Binance's Spot API. `c` is the price of the last trade, `L` that trade's number, `E`
//! the time of the message, `C` the end of the statistics, both in milliseconds. The server pings every 20 s and ends each connection
//! after a day.

use std::time::Duration;

use serde::Deserialize;
use url::Url;

use super::{
    parse_url,
    ws::{Dialect, Said},
};
use crate::{
    config::FeedConfig,
    domain::{feed::Tick, fixed::Fixed18},
};

const URL: &str = "wss://stream.binance.com:9443";

pub(super) struct Binance {
    symbol: String,
    url: Url,
}

impl Binance {
    pub(super) fn new(feed: &FeedConfig) -> Result<Self, String> {
        let symbol = feed.symbol_or(|base, quote| format!("{base}{}", if quote == "USD" { "USDT" } else { quote }));
        let base = parse_url(feed.url.as_deref().unwrap_or(URL), &["ws", "wss"])?;
        let path = format!("{}/ws/{}@ticker", base.path().trim_end_matches('/'), symbol.to_lowercase());
        let mut url = base;
        url.set_path(&path);
        Ok(Self { symbol: symbol.to_uppercase(), url })
    }
}

#[derive(Deserialize)]
#[serde(tag = "e")]
enum Message {
    #[serde(rename = "24hrTicker")]
    Ticker {
        #[serde(rename = "E")]
        event_ms: u64,
        #[serde(rename = "s")]
        symbol: String,
        #[serde(rename = "c")]
        last_price: String,
        #[serde(rename = "L")]
        last_trade: i64,
    },
}

#[derive(Deserialize)]
struct Problem {
    error: Option<Why>,
    code: Option<i64>,
    msg: Option<String>,
    result: Option<serde_json::Value>,
    id: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Why {
    msg: String,
}

impl Dialect for Binance {
    fn url(&self) -> &Url {
        &self.url
    }

    /// A ticker comes every second while anybody trades.
    fn silence_max(&self) -> Duration {
        Duration::from_secs(60)
    }

    fn read(&self, text: &str) -> Said {
        match serde_json::from_str::<Message>(text) {
            Ok(Message::Ticker { symbol, .. }) if symbol != self.symbol => {
                Said::Garbage(format!("a ticker of {}", symbol.chars().take(20).collect::<String>()))
            }
            Ok(Message::Ticker { event_ms, last_price, last_trade, .. }) => match Fixed18::parse(&last_price) {
                // No trade yet: -1.
                Ok(price) => Said::Tick(Tick { price, at_ms: event_ms, id: u64::try_from(last_trade).ok() }),
                Err(error) => Said::Garbage(format!("price: {error}")),
            },
            Err(error) => match serde_json::from_str::<Problem>(text) {
                Ok(Problem { error: Some(why), .. }) => Said::Refused(why.msg),
                Ok(Problem { code: Some(code), msg: Some(msg), .. }) => Said::Refused(format!("{code}: {msg}")),
                Ok(Problem { result: None, id: Some(_), .. }) => Said::Alive,
                _ => Said::Garbage(error.to_string()),
            },
        }
    }
}
