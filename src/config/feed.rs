//! `[[feed]]` and `[prices]`: where prices from outside the chain come from, and when they are believed.

use std::{collections::BTreeSet, fmt};

use alloy::primitives::Address;
use serde::Deserialize;

use super::{ChainConfig, maybe_address};

/// One source of one pair.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeedConfig {
    /// `BASE/QUOTE`: what one BASE costs in QUOTE.
    pub pair: Pair,
    pub source: SourceKind,
    /// What the source calls it, where that does not follow from the pair. CoinGecko: the coin's id.
    #[serde(default)]
    pub symbol: Option<String>,
    /// In place of the source's own address.
    #[serde(default)]
    pub url: Option<String>,
    /// Also as `api_key_file`.
    #[serde(default)]
    pub api_key: Option<String>,
    /// Binds the pair to this token: its price is the pair's.
    #[serde(default, deserialize_with = "maybe_address")]
    pub token: Option<Address>,
    /// Of `token` and `address`; may be left out where one chain is configured.
    #[serde(default)]
    pub chain: Option<u64>,
    /// Chainlink: the proxy.
    #[serde(default, deserialize_with = "maybe_address")]
    pub address: Option<Address>,
    /// A price that is older is not used.
    #[serde(default)]
    pub stale_after_ms: Option<u64>,
    /// For sources that are asked: how often. Chainlink: how often the proxy is asked whether its aggregator is another one.
    #[serde(default)]
    pub poll_ms: Option<u64>,
    /// For sources that are asked: requests a day, at most.
    #[serde(default)]
    pub max_per_day: Option<u64>,
}

/// Which service, and so which protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub enum SourceKind {
    Binance,
    Coinbase,
    Coingecko,
    Chainlink,
}

impl TryFrom<String> for SourceKind {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == text);
        found.ok_or_else(|| format!("source is {}, not \"{text}\"", Self::ALL.map(Self::name).join(" or ")))
    }
}

impl SourceKind {
    pub const ALL: [Self; 4] = [Self::Binance, Self::Coinbase, Self::Coingecko, Self::Chainlink];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Binance => "binance",
            Self::Coinbase => "coinbase",
            Self::Coingecko => "coingecko",
            Self::Chainlink => "chainlink",
        }
    }
}

/// `ETH/USD`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Pair {
    pub base: String,
    pub quote: String,
}

impl TryFrom<String> for Pair {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let good =
            |part: &str| (1..=20).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
        match text.split_once('/') {
            Some((base, quote)) if good(base) && good(quote) && base != quote => {
                Ok(Self { base: base.to_owned(), quote: quote.to_owned() })
            }
            _ => Err(format!("pair is BASE/QUOTE in capitals like \"ETH/USD\", not \"{text}\"")),
        }
    }
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.quote)
    }
}

impl FeedConfig {
    /// `ETH/USD binance`: what its actor and its line in `/status` are called.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{} {}", self.pair, self.source.name())
    }

    /// A ticker moves every second, a service that is asked once a minute, an oracle with its heartbeat.
    #[must_use]
    pub fn stale_after_ms(&self) -> u64 {
        let usual = match self.source {
            SourceKind::Binance | SourceKind::Coinbase => 30_000,
            SourceKind::Coingecko => 300_000,
            // The heartbeat of most of its dollar pairs is an hour.
            SourceKind::Chainlink => 3_900_000,
        };
        self.stale_after_ms.unwrap_or(usual)
    }

    /// What the source calls the pair: `symbol`, or what follows from base and quote.
    pub(crate) fn symbol_or(&self, usual: impl FnOnce(&str, &str) -> String) -> String {
        self.symbol.clone().unwrap_or_else(|| usual(&self.pair.base, &self.pair.quote))
    }

    fn chain_of(&self, chains: &[ChainConfig]) -> Option<u64> {
        let only = if let [chain] = chains { Some(chain.id) } else { None };
        self.chain.or(only)
    }

    /// The token that it is the price of.
    #[must_use]
    pub fn token_on(&self, chains: &[ChainConfig]) -> Option<(u64, Address)> {
        Some((self.chain_of(chains)?, self.token?))
    }

    /// Chainlink: the chain and the proxy.
    #[must_use]
    pub fn proxy_on(&self, chains: &[ChainConfig]) -> Option<(u64, Address)> {
        Some((self.chain_of(chains)?, self.address?))
    }
}

/// When a price of several sources is believed.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PricesConfig {
    /// So many sources of a pair must be fresh and agree; at most as many as the pair has.
    pub min_sources: usize,
    /// From the median: a source that is further away is left out. In parts of 10,000.
    pub max_deviation_bps: u64,
    /// How long the last good price is still given, as STALE.
    pub halt_after_ms: u64,
}

impl Default for PricesConfig {
    fn default() -> Self {
        Self { min_sources: 1, max_deviation_bps: 200, halt_after_ms: 300_000 }
    }
}

pub(super) fn check(prices: &PricesConfig, feeds: &[FeedConfig], chains: &[ChainConfig]) -> Result<(), String> {
    if prices.min_sources == 0 {
        return Err("`prices.min_sources` is at least 1".to_owned());
    }
    if prices.max_deviation_bps == 0 || prices.max_deviation_bps >= 10_000 {
        return Err("`prices.max_deviation_bps` is in parts of 10,000: 1 to 9999 (200 is 2 %)".to_owned());
    }
    let mut seen = BTreeSet::new();
    for feed in feeds {
        let name = feed.name();
        if !seen.insert(name.clone()) {
            return Err(format!("feed \"{name}\" is configured twice"));
        }
        if feed.stale_after_ms == Some(0) {
            return Err(format!("feed \"{name}\": `stale_after_ms` must be above 0"));
        }
        check_keys(feed).map_err(|why| format!("feed \"{name}\": {why}"))?;
        if feed.poll_ms == Some(0) || feed.max_per_day == Some(0) {
            return Err(format!("feed \"{name}\": `poll_ms` and `max_per_day` must be above 0"));
        }
        if feed.symbol.as_ref().is_some_and(|s| s.is_empty() || s.len() > 64 || !s.bytes().all(|b| b.is_ascii_graphic())) {
            return Err(format!("feed \"{name}\": `symbol` is up to 64 letters, digits and signs, without spaces"));
        }
        if feed.chain.is_some() && feed.token.is_none() && feed.address.is_none() {
            return Err(format!("feed \"{name}\": `chain` says where `token` is, and there is no `token`"));
        }
        if let Some(chain) = feed.chain
            && !chains.iter().any(|c| c.id == chain)
        {
            return Err(format!("feed \"{name}\": chain {chain} is not configured"));
        }
        if feed.address.is_some() && feed.proxy_on(chains).is_none() {
            return Err(format!("feed \"{name}\": several chains are configured, so `address` needs its `chain`"));
        }
        if feed.token.is_some() {
            let Some((chain, token)) = feed.token_on(chains) else {
                return Err(format!("feed \"{name}\": several chains are configured, so `token` needs its `chain`"));
            };
            if feed.pair.quote != "USD" {
                return Err(format!("feed \"{name}\": `token` gives a token its price in dollars, so the pair is …/USD"));
            }
            let other = feeds.iter().find(|other| other.token_on(chains) == Some((chain, token)) && other.pair != feed.pair);
            if let Some(other) = other {
                return Err(format!("feed \"{name}\": token {token:#x} is bound to {}, too", other.pair));
            }
        }
    }
    let count = |feed: &FeedConfig| feeds.iter().filter(|other| other.pair == feed.pair).count();
    match feeds.iter().find(|feed| count(feed) < prices.min_sources) {
        Some(feed) => Err(format!(
            "`prices.min_sources` is {}, and {} has only {}: it could never have a price",
            prices.min_sources,
            feed.pair,
            count(feed)
        )),
        None => Ok(()),
    }
}

/// What belongs to which kind of source.
fn check_keys(feed: &FeedConfig) -> Result<(), String> {
    let is_oracle = feed.source == SourceKind::Chainlink;
    let is_asked = feed.source == SourceKind::Coingecko;
    if is_oracle != feed.address.is_some() {
        return Err(if is_oracle {
            "chainlink needs `address`, the proxy of the pair".to_owned()
        } else {
            "`address` is for chainlink; the others take `url` and `symbol`".to_owned()
        });
    }
    if is_oracle && (feed.url.is_some() || feed.symbol.is_some()) {
        return Err("`url` and `symbol` are for sources outside the chain; chainlink takes `address`".to_owned());
    }
    if !is_asked && (feed.max_per_day.is_some() || feed.api_key.is_some()) {
        return Err("`max_per_day` and `api_key` are for sources that are asked, like coingecko".to_owned());
    }
    if !is_asked && !is_oracle && feed.poll_ms.is_some() {
        return Err("`poll_ms` is for sources that are asked, like coingecko".to_owned());
    }
    Ok(())
}
