//! Coinbase Exchange: a ticker with every match, and a heartbeat once a second.
//!
//! Source: "Exchange WebSocket Channels" of Coinbase's Exchange API: `ticker` (`price`, `trade_id`, `time`), `heartbeat`
//! (`last_trade_id`), `error`. The first ticker after the subscription may be without a trade.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use url::Url;

use super::{
    parse_url,
    ws::{Dialect, Said},
};
use crate::{
    config::FeedConfig,
    domain::{feed::Tick, fixed::Fixed18},
};

const URL: &str = "wss://ws-feed.exchange.coinbase.com";

pub(super) struct Coinbase {
    product: String,
    url: Url,
}

impl Coinbase {
    pub(super) fn new(feed: &FeedConfig) -> Result<Self, String> {
        let product = feed.symbol_or(|base, quote| format!("{base}-{quote}")).to_uppercase();
        Ok(Self { product, url: parse_url(feed.url.as_deref().unwrap_or(URL), &["ws", "wss"])? })
    }
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Message {
    Ticker { product_id: String, price: String, time: Option<String>, trade_id: Option<u64> },
    Heartbeat {},
    Subscriptions {},
    Error { message: String, reason: Option<String> },
}

fn unix_ms(text: &str) -> Option<u64> {
    let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    u64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok()
}

impl Dialect for Coinbase {
    fn url(&self) -> &Url {
        &self.url
    }

    fn hello(&self) -> Option<String> {
        let channels = ["ticker", "heartbeat"];
        Some(json!({ "type": "subscribe", "product_ids": [self.product], "channels": channels }).to_string())
    }

    /// A heartbeat comes every second.
    fn silence_max(&self) -> Duration {
        Duration::from_secs(10)
    }

    fn read(&self, text: &str) -> Said {
        match serde_json::from_str::<Message>(text) {
            Ok(Message::Ticker { product_id, .. }) if product_id != self.product => {
                Said::Garbage(format!("a ticker of {}", product_id.chars().take(20).collect::<String>()))
            }
            Ok(Message::Ticker { time: None, .. }) => Said::Alive,
            Ok(Message::Ticker { price, time: Some(at), trade_id, .. }) => match (Fixed18::parse(&price), unix_ms(&at)) {
                (Ok(price), Some(at_ms)) => Said::Tick(Tick { price, at_ms, id: trade_id }),
                (Err(error), _) => Said::Garbage(format!("price: {error}")),
                (_, None) => Said::Garbage("a ticker whose time is none".to_owned()),
            },
            Ok(Message::Heartbeat {} | Message::Subscriptions {}) => Said::Alive,
            Ok(Message::Error { message, reason }) => {
                Said::Refused(reason.map_or(message.clone(), |reason| format!("{message}: {reason}")))
            }
            Err(error) => Said::Garbage(error.to_string()),
        }
    }
}
