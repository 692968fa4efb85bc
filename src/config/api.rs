//! `[api]`: who may ask what, and how much of it.

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
            trusted_proxies: Vec::new(),
        }
    }
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
