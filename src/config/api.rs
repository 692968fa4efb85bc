//! `[api]`: who may ask what, and how much of it.

use std::path::PathBuf;

use ipnet::IpNet;
use serde::Deserialize;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ApiConfig {
    pub listen: String,
    /// CORS and WebSocket `Origin`; `*` stands for anything within one part.
    pub origins: Vec<String>,
    /// Requests that one address may send, on average; 0: no limit. An IPv6 address counts as its /64.
    pub requests_per_second: u32,
    /// Requests that it may send at once.
    pub requests_burst: u32,
    /// Streams (`/v1/stream`) that one address may have open; 0: no limit.
    pub streams_per_address: usize,
    /// WebSockets that may be open.
    pub connections: usize,
    /// Of one address; 0: no limit.
    pub connections_per_address: usize,
    /// Operations of one WebSocket that may run at once.
    pub operations_per_connection: usize,
    /// Messages that one WebSocket may send, on average; ten times as many at once.
    pub messages_per_second: u32,
    /// Points of one address, on average: one for each kB of an answer, or for each hundred fields that the question could have had; 0: no
    /// limit.
    pub cost_per_second: u32,
    /// Points at once.
    pub cost_burst: u32,
    /// Nobody is answered without one of the keys below.
    pub key_required: bool,
    /// Keys, with budgets of their own.
    pub key: Vec<KeyConfig>,
    /// `__schema` and `__type` are answered.
    pub introspection: bool,
    /// A file of GraphQL documents; nothing else is executed then.
    pub documents: Option<PathBuf>,
    /// Whose `X-Forwarded-For` is believed.
    #[serde(deserialize_with = "networks")]
    pub trusted_proxies: Vec<IpNet>,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".to_owned(),
            origins: vec!["http://localhost:*".to_owned(), "http://127.0.0.1:*".to_owned()],
            requests_per_second: 50,
            requests_burst: 500,
            streams_per_address: 50,
            connections: 10_000,
            connections_per_address: 500,
            operations_per_connection: 1_000,
            messages_per_second: 100,
            cost_per_second: 5_000,
            cost_burst: 50_000,
            key_required: false,
            key: Vec::new(),
            introspection: true,
            documents: None,
            trusted_proxies: Vec::new(),
        }
    }
}

/// `[[api.key]]`: what one client may.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyConfig {
    /// For logs.
    pub name: String,
    /// `sha256:` and the hash of the key, as `swaptide key` prints it. The key itself is nowhere.
    #[serde(deserialize_with = "hash")]
    pub hash: [u8; 32],
    #[serde(default = "every_scope")]
    pub scopes: Vec<ScopeConfig>,
    /// Points, on average; 0: no limit.
    #[serde(default)]
    pub cost_per_second: u32,
    /// Points at once; ten seconds' worth where it is not said.
    #[serde(default)]
    pub cost_burst: Option<u32>,
}

/// What a key opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScopeConfig {
    Read,
    Subscribe,
}

fn every_scope() -> Vec<ScopeConfig> {
    vec![ScopeConfig::Read, ScopeConfig::Subscribe]
}

fn hash<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
    let text = String::deserialize(deserializer)?;
    let wrong =
        || serde::de::Error::custom("`hash` is `sha256:` and 64 hexadecimal digits: `swaptide key` makes a key and its hash");
    let digits = text.strip_prefix("sha256:").ok_or_else(wrong)?;
    alloy::hex::decode_to_array(digits).map_err(|_| wrong())
}

fn networks<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let network = |text: String| {
        let one = || text.parse::<std::net::IpAddr>().map(IpNet::from);
        text.parse::<IpNet>().or_else(|_| one()).map_err(|_| {
            serde::de::Error::custom(format!("`{text}` is no network: write an address, or one with a prefix like 10.0.0.0/8"))
        })
    };
    Vec::<String>::deserialize(deserializer)?.into_iter().map(network).collect()
}
