//! The interface: GraphQL, its subscriptions, the live page, and the operator's endpoints.
//!
//! Read [`router`] first (the index of everything that can be asked), then [`gql`] (the schema), [`http`] and [`ws`] (its two
//! transports). Everything is read through [`Reader`]; nothing here knows how it came to be. [`access`] says who may ask and
//! how much, [`intake`] is what every request passes first. What is absent: batches of queries, uploads.

mod access;
mod admin;
mod assets;
mod calls;
pub(crate) mod gql;
mod http;
mod intake;
mod origins;
mod page;
mod rest;
mod router;
mod serve;
mod shares;
#[cfg(test)]
mod tests;
mod udf;
mod ws;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use access::{AccessRules, ApiKey, Scope, new_key};
pub use gql::{DocumentRules, Documents, sdl};
pub use intake::RequestLimit;
pub use rest::openapi;
pub use router::{admin_router, executor, public_router};
pub use serve::serve;
pub use ws::SocketLimits;

use crate::{
    store::Reader,
    telemetry::{Board, Metrics},
};

/// What the interface is given by the composition root.
pub struct ApiState {
    pub reader: Reader,
    pub metrics: Metrics,
    pub board: Board,
    /// Who may ask from a browser, for CORS and WebSockets alike: `http://localhost:*`, `https://*.example.org`, `*`.
    pub origins: Vec<String>,
    pub request_limit: RequestLimit,
    pub access: AccessRules,
    pub documents: DocumentRules,
    /// Open streams of one address; 0: no limit.
    pub streams_per_address: usize,
    /// WebSockets.
    pub sockets: SocketLimits,
    /// True once every chain was at its head.
    pub ready: watch::Receiver<bool>,
    /// Cancelled when the process begins to stop: readiness goes off, WebSockets are closed with 1001.
    pub draining: CancellationToken,
    pub version: &'static str,
    /// The wall clock: prices from outside the chain age by it.
    pub now_unix_ms: fn() -> u64,
}

/// When so much time has passed.
fn in_a(wait: std::time::Duration) -> tokio::time::Instant {
    let now = tokio::time::Instant::now();
    now.checked_add(wait).unwrap_or(now)
}
