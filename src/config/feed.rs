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
    /// Of `token`; may be left out where one chain is configured.
    #[serde(default)]
    pub chain: Option<u64>,
    /// A price that is older is not used.
    #[serde(default)]
    pub stale_after_ms: Option<u64>,
    /// For sources that are asked: how often.
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
}

impl TryFrom<String> for SourceKind {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == text);
        found.ok_or_else(|| format!("source is {}, not \"{text}\"", Self::ALL.map(Self::name).join(" or ")))
    }
}

impl SourceKind {
    pub const ALL: [Self; 3] = [Self::Binance, Self::Coinbase, Self::Coingecko];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Binance => "binance",
            Self::Coinbase => "coinbase",
            Self::Coingecko => "coingecko",
        }
    }

    fn is_polled(self) -> bool {
        self == Self::Coingecko
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

    /// A ticker moves every second, a service that is asked once a minute.
    #[must_use]
    pub fn stale_after_ms(&self) -> u64 {
        self.stale_after_ms.unwrap_or(if self.source.is_polled() { 300_000 } else { 30_000 })
    }

    /// What the source calls the pair: `symbol`, or what follows from base and quote.
    pub(crate) fn symbol_or(&self, usual: impl FnOnce(&str, &str) -> String) -> String {
        self.symbol.clone().unwrap_or_else(|| usual(&self.pair.base, &self.pair.quote))
    }

    /// The token that it is the price of.
    #[must_use]
    pub fn token_on(&self, chains: &[ChainConfig]) -> Option<(u64, Address)> {
        let only = if let [chain] = chains { Some(chain.id) } else { None };
        Some((self.chain.or(only)?, self.token?))
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
        if !feed.source.is_polled() && (feed.poll_ms.is_some() || feed.max_per_day.is_some() || feed.api_key.is_some()) {
            return Err(format!(
                "feed \"{name}\": `poll_ms`, `max_per_day` and `api_key` are for sources that are asked, like coingecko"
            ));
        }
        if feed.poll_ms == Some(0) || feed.max_per_day == Some(0) {
            return Err(format!("feed \"{name}\": `poll_ms` and `max_per_day` must be above 0"));
        }
        if feed.symbol.as_ref().is_some_and(|s| s.is_empty() || s.len() > 64 || !s.bytes().all(|b| b.is_ascii_graphic())) {
            return Err(format!("feed \"{name}\": `symbol` is up to 64 letters, digits and signs, without spaces"));
        }
        if feed.chain.is_some() && feed.token.is_none() {
            return Err(format!("feed \"{name}\": `chain` says where `token` is, and there is no `token`"));
        }
        if feed.token.is_some() {
            let Some((chain, token)) = feed.token_on(chains) else {
                return Err(format!("feed \"{name}\": several chains are configured, so `token` needs its `chain`"));
            };
            if !chains.iter().any(|c| c.id == chain) {
                return Err(format!("feed \"{name}\": chain {chain} is not configured"));
            }
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
