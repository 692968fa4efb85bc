//! `swaptide.toml`: its names are a contract. Unknown keys are refused, with the line.
//!
//! [`load`] reads the file, replaces `${VAR}` and `…_file`, lays the environment (`SWAPTIDE__STORE__URL=…`) over it and
//! checks everything that can be checked without a network.

mod api;
mod check;
mod expand;
mod feed;
mod proof;

use std::path::Path;

use alloy::primitives::{Address, B256};
use serde::Deserialize;

pub use api::{ApiConfig, ScopeConfig};
pub use check::is_websocket;
pub use feed::{FeedConfig, Pair, PricesConfig, SourceKind};
pub use proof::Proof;

/// The whole configuration, checked.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    #[serde(default)]
    pub api: ApiConfig,
    #[serde(default)]
    pub admin: AdminConfig,
    #[serde(default)]
    pub store: StoreConfig,
    #[serde(default)]
    pub audit: AuditConfig,
    #[serde(default)]
    pub chain: Vec<ChainConfig>,
    #[serde(default)]
    pub prices: PricesConfig,
    /// Prices from outside the chain.
    #[serde(default)]
    pub feed: Vec<FeedConfig>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdminConfig {
    /// Never on the public listener.
    pub listen: String,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self { listen: "127.0.0.1:9464".to_owned() }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuditConfig {
    /// Seconds from one comparison of all pools with their contracts to the next; 0: none.
    pub interval: u64,
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self { interval: 3_600 }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// `sqlite:FILE`, `mongodb://…`, `mongodb+srv://…`.
    pub url: String,
    /// MongoDB: in place of the URL's own. As all keys, also as `password_file`.
    pub username: Option<String>,
    pub password: Option<String>,
    /// Rows of blocks that were taken back are kept this long after their height is final, seconds.
    pub orphan_retention: u64,
    /// Events that may wait in memory for the store, for each chain.
    pub journal_rows: usize,
}

impl Default for StoreConfig {
    fn default() -> Self {
        let url = "sqlite:swaptide.db".to_owned();
        Self { url, username: None, password: None, orphan_retention: 86_400, journal_rows: 200_000 }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainConfig {
    /// EIP-155 chain id; checked against every endpoint.
    pub id: u64,
    pub name: String,
    /// In order of preference.
    #[serde(deserialize_with = "endpoints")]
    pub rpc: Vec<RpcConfig>,
    #[serde(default)]
    pub start_block: StartBlock,
    /// Depth of SAFE.
    #[serde(default = "two")]
    pub confirmations: u64,
    #[serde(default)]
    pub finality: Finality,
    #[serde(default = "fifteen_seconds")]
    pub stall_timeout_ms: u64,
    #[serde(default)]
    pub proof: Proof,
    /// Fill in who signed each transaction and what it paid, from block receipts.
    #[serde(default = "yes")]
    pub enrichment: bool,
    /// Try on the node what of each token arrives where it is sent, each again after so long; 0: never.
    #[serde(default = "one_hour")]
    pub token_probe_seconds: u64,
    /// Worth one dollar.
    #[serde(default, deserialize_with = "addresses")]
    pub stablecoins: Vec<Address>,
    #[serde(default, deserialize_with = "maybe_address")]
    pub wrapped_native: Option<Address>,
    /// Uniswap's Universal Router, for the calldata of quotes.
    #[serde(default, deserialize_with = "maybe_address")]
    pub universal_router: Option<Address>,
    /// A pool prices its tokens only if moving it by one per cent takes so many dollars.
    #[serde(default = "hundred")]
    pub min_depth_usd: u32,
    #[serde(default)]
    pub dex: Vec<DexConfig>,
}

/// An address that says what is wrong with it.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct ConfigAddress(Address);

impl TryFrom<String> for ConfigAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let address = text.parse().map_err(|_| format!("`{text}` is no address: write 0x and 40 hexadecimal digits"))?;
        Ok(Self(address))
    }
}

fn address<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Address, D::Error> {
    ConfigAddress::deserialize(deserializer).map(|a| a.0)
}

fn addresses<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<Address>, D::Error> {
    Vec::<ConfigAddress>::deserialize(deserializer).map(|all| all.into_iter().map(|a| a.0).collect())
}

/// A pool by its address, or, of V4, by its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub enum ListedPool {
    Address(Address),
    Id(B256),
}

impl std::fmt::Display for ListedPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Id(id) => write!(f, "{id}"),
        }
    }
}

impl TryFrom<String> for ListedPool {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let address = text.parse().map(Self::Address);
        let found = address.or_else(|_| text.parse().map(Self::Id));
        found.map_err(|_| format!("`{text}` is no address: write 0x and 40 hexadecimal digits, of a V4 pool its id with 64"))
    }
}

fn maybe_address<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Address>, D::Error> {
    ConfigAddress::deserialize(deserializer).map(|a| Some(a.0))
}

fn yes() -> bool {
    true
}

fn hundred() -> u32 {
    100
}

fn two() -> u64 {
    2
}

fn fifteen_seconds() -> u64 {
    15_000
}

fn one_hour() -> u64 {
    3_600
}

/// A URL, or one with limits.
#[derive(Debug, Clone)]
pub enum RpcConfig {
    Url(String),
    Limited(LimitedRpc),
}

/// By hand: what derive makes of an untagged enum says "did not match any variant", and not which key is wrong.
impl<'de> Deserialize<'de> for RpcConfig {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> serde::de::Visitor<'de> for Either {
            type Value = RpcConfig;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("in `rpc` a URL, or a table like { url = \"…\", max_rps = 25 }")
            }

            fn visit_str<E>(self, url: &str) -> Result<RpcConfig, E> {
                Ok(RpcConfig::Url(url.to_owned()))
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<RpcConfig, A::Error> {
                LimitedRpc::deserialize(serde::de::value::MapAccessDeserializer::new(map)).map(RpcConfig::Limited)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// One endpoint, or a list of them.
fn endpoints<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<RpcConfig>, D::Error> {
    struct List;
    impl<'de> serde::de::Visitor<'de> for List {
        type Value = Vec<RpcConfig>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a list: `rpc` = [\"ws://…\", \"http://…\"]")
        }

        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
            Vec::deserialize(serde::de::value::SeqAccessDeserializer::new(list))
        }
    }
    deserializer.deserialize_any(List)
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitedRpc {
    pub url: String,
    /// Requests a second, at most.
    pub max_rps: Option<u32>,
    /// Requests within 24 hours, at most: what is paid for.
    pub max_per_day: Option<u64>,
    /// Requests under way, at most.
    pub max_concurrent: Option<usize>,
    /// Blocks per `eth_getLogs`, at most.
    pub logs_range: Option<u64>,
}

impl RpcConfig {
    #[must_use]
    pub fn url(&self) -> &str {
        match self {
            Self::Url(url) => url,
            Self::Limited(limited) => &limited.url,
        }
    }
}

/// `0`, `"latest"`, `"latest-5000"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "NumberOrText")]
pub enum StartBlock {
    Number(u64),
    Latest { minus: u64 },
}

impl Default for StartBlock {
    fn default() -> Self {
        Self::Number(0)
    }
}

/// Blocks, or `"tag"` to trust the node's finalized tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "NumberOrText")]
pub enum Finality {
    Depth(u64),
    Tag,
}

impl Default for Finality {
    fn default() -> Self {
        Self::Depth(64)
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrText {
    Number(u64),
    Text(String),
}

impl TryFrom<NumberOrText> for StartBlock {
    type Error = String;

    fn try_from(value: NumberOrText) -> Result<Self, String> {
        let text = match value {
            NumberOrText::Number(number) => return Ok(Self::Number(number)),
            NumberOrText::Text(text) => text,
        };
        match text.strip_prefix("latest") {
            Some("") => Some(Self::Latest { minus: 0 }),
            Some(rest) => rest.strip_prefix('-').and_then(|n| n.parse().ok()).map(|minus| Self::Latest { minus }),
            None => text.parse().ok().map(Self::Number),
        }
        .ok_or_else(|| format!("start_block is a number, \"latest\" or \"latest-5000\", not \"{text}\""))
    }
}

impl TryFrom<NumberOrText> for Finality {
    type Error = String;

    fn try_from(value: NumberOrText) -> Result<Self, String> {
        match value {
            NumberOrText::Number(blocks) => Ok(Self::Depth(blocks)),
            NumberOrText::Text(text) if text == "tag" => Ok(Self::Tag),
            NumberOrText::Text(text) => Err(format!("finality is a number of blocks or \"tag\", not \"{text}\"")),
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DexConfig {
    pub name: String,
    pub protocol: ProtocolConfig,
    /// V4: the PoolManager.
    #[serde(deserialize_with = "address")]
    pub factory: Address,
    /// V2 only: forks differ. Hundredths of a basis point; 3,000 unless it is said.
    #[serde(default)]
    pub fee_pips: Option<u32>,
    /// Only these pools, if any are named.
    #[serde(default)]
    pub pools: Vec<ListedPool>,
    /// Also the pools that the factory created before `start_block`.
    #[serde(default)]
    pub older_pools: bool,
    /// V2: a Router02, V3: a SwapRouter, for the calldata of quotes where there is no Universal Router.
    #[serde(default, deserialize_with = "maybe_address")]
    pub router: Option<Address>,
    #[serde(default, deserialize_with = "maybe_address")]
    pub quoter: Option<Address>,
    #[serde(default, deserialize_with = "maybe_address")]
    pub position_manager: Option<Address>,
    /// V2: also follow the pairs' own tokens, to know who has liquidity.
    #[serde(default)]
    pub lp_tokens: bool,
}

impl DexConfig {
    /// What every pool of the dex takes, where pools do not say it themselves.
    #[must_use]
    pub fn v2_fee_pips(&self) -> u32 {
        self.fee_pips.unwrap_or(3_000)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProtocolConfig {
    UniswapV2,
    UniswapV3,
    UniswapV4,
}

/// What is wrong with a configuration, in one line that says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

/// Reads and checks a configuration file. `env` is the process environment (an input, so that tests own it).
///
/// # Errors
/// One line that names the file, where possible the line in it, and what to write instead.
pub fn load(path: &Path, env: &dyn Fn(&str) -> Option<String>, overrides: &[(String, String)]) -> Result<Config, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| ConfigError(format!("{}: cannot be read ({e}). Give the configuration with `-c FILE`", path.display())))?;
    parse(&text, &path.display().to_string(), env, overrides)
}

/// The same from text; `name` is what errors call it.
///
/// # Errors
/// As [`load`].
pub fn parse(
    text: &str,
    name: &str,
    env: &dyn Fn(&str) -> Option<String>,
    overrides: &[(String, String)],
) -> Result<Config, ConfigError> {
    let mut table: toml::Table = toml::from_str(text).map_err(|e| expand::located(name, text, &e))?;
    expand::values(&mut table, env).map_err(|e| ConfigError(format!("{name}: {e}")))?;
    expand::overrides(&mut table, overrides).map_err(|e| ConfigError(format!("environment: {e}")))?;
    let config: Config = table.try_into().map_err(|error| {
        // The same fault in the text as it stands has a place; where only the values that were put in are at fault, it has none.
        let placed = toml::from_str::<Config>(text).err().filter(|placed| placed.message() == error.message());
        expand::located(name, text, &placed.unwrap_or(error))
    })?;
    check::check(&config).map_err(|e| ConfigError(format!("{name}: {e}")))?;
    Ok(config)
}
