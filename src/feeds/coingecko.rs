//! CoinGecko: `/simple/price`, asked once a minute.
//!
//! Source: "Coin Price by IDs" of CoinGecko's API. Numbers are read as they are written, never through a float. With a key the
//! demo plan has 30 requests a minute and 10,000 a month: about 330 a day.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;
use url::Url;

use super::{parse_url, poll::Query};
use crate::{
    config::FeedConfig,
    domain::{feed::Tick, fixed::Fixed18},
};

const URL: &str = "https://api.coingecko.com/api/v3";
const KEY_HEADER: &str = "x-cg-demo-api-key";
const PRO_KEY_HEADER: &str = "x-cg-pro-api-key";
const PRO_HOST: &str = "pro-api.coingecko.com";

pub(super) struct CoinGecko {
    coin: String,
    currency: String,
    url: Url,
    api_key: Option<String>,
}

impl CoinGecko {
    pub(super) fn new(feed: &FeedConfig) -> Result<Self, String> {
        let coin = feed.symbol.clone().ok_or("coingecko needs `symbol`, the coin's id there: \"ethereum\"")?;
        let currency = feed.pair.quote.to_lowercase();
        let mut url = parse_url(feed.url.as_deref().unwrap_or(URL), &["http", "https"])?;
        url.set_path(&format!("{}/simple/price", url.path().trim_end_matches('/')));
        url.query_pairs_mut()
            .append_pair("ids", &coin)
            .append_pair("vs_currencies", &currency)
            .append_pair("include_last_updated_at", "true")
            .append_pair("precision", "full");
        Ok(Self { coin, currency, url, api_key: feed.api_key.clone() })
    }
}

#[derive(Deserialize)]
struct Answer<'a>(#[serde(borrow)] BTreeMap<String, BTreeMap<String, &'a RawValue>>);

impl Query for CoinGecko {
    fn url(&self) -> &Url {
        &self.url
    }

    fn key(&self) -> Option<(&'static str, &str)> {
        let header = if self.url.host_str() == Some(PRO_HOST) { PRO_KEY_HEADER } else { KEY_HEADER };
        self.api_key.as_deref().map(|key| (header, key))
    }

    fn read(&self, body: &str) -> Result<Tick, String> {
        let answer: Answer<'_> = serde_json::from_str(body).map_err(|e| e.to_string())?;
        let coin = answer.0.get(&self.coin).ok_or_else(|| format!("it does not know the coin `{}`", self.coin))?;
        let price = coin.get(&self.currency).ok_or_else(|| format!("no price in {}", self.currency))?;
        let price = Fixed18::parse(price.get()).map_err(|e| format!("price: {e}"))?;
        let updated = coin.get("last_updated_at").ok_or("no `last_updated_at`")?;
        let seconds: u64 = updated.get().parse().map_err(|_| "`last_updated_at` is no time")?;
        Ok(Tick { price, at_ms: seconds.saturating_mul(1_000), id: None })
    }
}
