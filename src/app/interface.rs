//! The configuration of the interface, in the interface's terms.

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Exit, Shared, now_unix_ms};
use crate::{
    api,
    config::{self, ApiConfig},
    store::Reader,
};

pub(super) fn state(
    config: &ApiConfig,
    reader: Reader,
    shared: &Shared,
    ready: watch::Receiver<bool>,
    draining: &CancellationToken,
) -> Result<api::ApiState, Exit> {
    let documents = config.documents.as_deref().map(api::Documents::read).transpose().map_err(Exit)?;
    Ok(api::ApiState {
        reader,
        metrics: shared.metrics.clone(),
        board: shared.board.clone(),
        origins: config.origins.clone(),
        streams_per_address: config.streams_per_address,
        access: access(config),
        documents: api::DocumentRules { introspection: config.introspection, documents },
        sockets: api::SocketLimits {
            connections: config.connections,
            connections_per_address: config.connections_per_address,
            operations: config.operations_per_connection,
            messages_per_second: config.messages_per_second,
        },
        request_limit: api::RequestLimit {
            per_second: config.requests_per_second,
            burst: config.requests_burst,
            trusted_proxies: config.trusted_proxies.clone(),
        },
        ready,
        draining: draining.clone(),
        version: env!("CARGO_PKG_VERSION"),
        now_unix_ms,
    })
}

fn access(config: &ApiConfig) -> api::AccessRules {
    let scope = |scope: &config::ScopeConfig| match scope {
        config::ScopeConfig::Read => api::Scope::Read,
        config::ScopeConfig::Subscribe => api::Scope::Subscribe,
    };
    let keys = config.key.iter().map(|key| api::ApiKey {
        name: key.name.clone(),
        hash: key.hash,
        scopes: key.scopes.iter().map(scope).collect(),
        cost_per_second: key.cost_per_second,
        cost_burst: key.cost_burst.unwrap_or(key.cost_per_second.saturating_mul(10)),
    });
    api::AccessRules {
        keys: keys.collect(),
        key_required: config.key_required,
        cost_per_second: config.cost_per_second,
        cost_burst: config.cost_burst,
    }
}
