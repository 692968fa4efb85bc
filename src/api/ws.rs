//! The WebSocket: `graphql-transport-ws`, all of it and nothing else.
//!
//! [`machine`] is the protocol without a connection, [`socket`] the loop of one, [`queue`] what waits to be written to it. [`operation`]
//! starts what a client asks for; identical subscriptions are one [`group`], found in the [`hub`]. The [`door`] and the [`lane`] keep what
//! one client does from what another one gets. What is absent: any other protocol, compression, and a task per subscriber beside that of
//! its connection.

mod door;
mod group;
mod hub;
mod lane;
mod machine;
mod message;
mod operation;
mod queue;
mod socket;
#[cfg(test)]
mod tests;

use std::{
    hash::{BuildHasher as _, RandomState},
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
};

use axum::{
    extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use dashmap::DashMap;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use self::{door::Door, hub::Hub, machine::CLOSE_NOT_ACCEPTABLE, operation::Place, socket::Talk};
use super::{
    access::Caller,
    gql::{ApiSchema, error::ApiError},
    in_a,
    intake::Client,
    router::{BODY_MAX_BYTES, Public},
};
use crate::telemetry::Metrics;

const SUBPROTOCOL: &str = "graphql-transport-ws";
/// An idle connection holds little: what is larger grows while it is needed.
const READ_BUFFER_BYTES: usize = 4 * 1024;
const WRITE_BUFFER_BYTES: usize = 16 * 1024;
/// When the process stops, so many connections are closed in a second at most, and all within [`LEAVE_MAX`].
const LEAVE_PER_SECOND: u64 = 5_000;
const LEAVE_MAX: Duration = Duration::from_secs(2);

/// What connections may ask of this process.
#[derive(Debug, Clone, Copy)]
pub struct SocketLimits {
    /// Open at once.
    pub connections: usize,
    /// Of those of one address; 0: as many as there are.
    pub connections_per_address: usize,
    /// Operations of one connection that run at once.
    pub operations: usize,
    /// Messages of one connection, on average; ten times as many at once.
    pub messages_per_second: u32,
}

impl Default for SocketLimits {
    fn default() -> Self {
        Self { connections: 10_000, connections_per_address: 500, operations: 1_000, messages_per_second: 100 }
    }
}

/// Of one connection.
struct Limits {
    operations_max: usize,
    messages_per_second: u32,
    pace: DefaultDirectRateLimiter,
}

impl Limits {
    fn new(limits: &SocketLimits) -> Self {
        let rate = NonZeroU32::new(limits.messages_per_second).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(rate).allow_burst(rate.saturating_mul(NonZeroU32::new(10).unwrap_or(NonZeroU32::MIN)));
        Self {
            operations_max: limits.operations,
            messages_per_second: limits.messages_per_second,
            pace: RateLimiter::direct(quota),
        }
    }
}

/// All open connections.
pub(super) struct Sockets {
    metrics: Metrics,
    draining: CancellationToken,
    limits: SocketLimits,
    places: Arc<Semaphore>,
    door: Door,
    by_client: Arc<DashMap<Client, usize>>,
    hub: Arc<Hub>,
}

impl Sockets {
    pub(super) fn new(schema: ApiSchema, limits: SocketLimits, metrics: Metrics, draining: CancellationToken) -> Self {
        let places = Arc::new(Semaphore::new(limits.connections));
        Self { metrics, draining, limits, places, door: Door::default(), by_client: Arc::default(), hub: Hub::new(schema) }
    }

    /// Cancelled when the process begins to stop.
    pub(super) fn draining(&self) -> CancellationToken {
        self.draining.clone()
    }

    /// When one of the open connections is to be closed, spread over a time that grows with their number.
    fn leave_at(&self) -> Instant {
        let open = u64::try_from(self.metrics.ws_connections.get()).unwrap_or(0);
        let within_ms = open.saturating_mul(1_000).checked_div(LEAVE_PER_SECOND).unwrap_or(0);
        let most_ms = u64::try_from(LEAVE_MAX.as_millis()).unwrap_or(0);
        let chance = RandomState::new().hash_one(0_u8);
        let later = chance.checked_rem(within_ms.min(most_ms).saturating_add(1)).unwrap_or(0);
        in_a(Duration::from_millis(later))
    }

    /// A place for one connection of this client, or why there is none.
    fn enter(&self, client: Client) -> Result<Open, &'static str> {
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            return Err("too many connections: try again later\n");
        };
        let mut of_client = self.by_client.entry(client).or_insert(0);
        if self.limits.connections_per_address > 0 && *of_client >= self.limits.connections_per_address {
            return Err("too many connections of this address: close some, or subscribe to more over one\n");
        }
        *of_client = of_client.saturating_add(1);
        drop(of_client);
        self.metrics.ws_connections.inc();
        Ok(Open { metrics: self.metrics.clone(), by_client: self.by_client.clone(), client, _place: place })
    }
}

/// Counts a connection for as long as it lives.
struct Open {
    metrics: Metrics,
    by_client: Arc<DashMap<Client, usize>>,
    client: Client,
    _place: OwnedSemaphorePermit,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.metrics.ws_connections.dec();
        self.by_client.remove_if_mut(&self.client, |_, count| {
            *count = count.saturating_sub(1);
            *count == 0
        });
    }
}

/// Answers the upgrade when it is its turn, or says why not.
pub(super) async fn accept(
    public: &Arc<Public>,
    headers: &HeaderMap,
    caller: Option<Caller>,
    upgrade: WebSocketUpgrade,
) -> Response {
    if !public.origins.allow_request(headers) {
        return (
            StatusCode::FORBIDDEN,
            "this origin is not allowed: add it to `origins` in the [api] section of swaptide.toml\n",
        )
            .into_response();
    }
    let sockets = &public.sockets;
    if sockets.draining.is_cancelled() {
        return not_now(1, "this server is stopping: connect again\n");
    }
    let Some(caller) = caller else { return StatusCode::SERVICE_UNAVAILABLE.into_response() };
    let open = match sockets.enter(caller.client()) {
        Ok(open) => open,
        Err(why) => return not_now(10, why),
    };
    tokio::select! {
        biased;
        () = sockets.draining.cancelled() => return not_now(1, "this server is stopping: connect again\n"),
        entered = sockets.door.enter() => if let Err(wait) = entered {
            return not_now(wait.as_secs(), "too many connect at once: try again later\n");
        },
    }
    let upgrade = upgrade
        .protocols([SUBPROTOCOL])
        .max_message_size(BODY_MAX_BYTES)
        .max_frame_size(BODY_MAX_BYTES)
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES);
    let agreed = upgrade.selected_protocol().is_some();
    let limits = Limits::new(&sockets.limits);
    let place = Place::new(public.clone(), caller);
    upgrade.on_upgrade(move |socket| async move {
        if agreed {
            Talk::new(socket, place, limits).run().await;
        } else {
            not_acceptable(socket).await;
        }
        drop(open);
    })
}

fn not_now(retry_after_seconds: u64, why: &'static str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, retry_after_seconds.to_string())], why).into_response()
}

async fn not_acceptable(mut socket: WebSocket) {
    let reason = "Subprotocol not acceptable: speak graphql-transport-ws".into();
    // The peer may be gone already.
    let _ = socket.send(Message::Close(Some(CloseFrame { code: CLOSE_NOT_ACCEPTABLE, reason }))).await;
}

/// An error as a JSON list of one.
fn one_error(error: ApiError) -> Arc<str> {
    group::errors(&async_graphql::Response::from_errors(vec![error.about_request()]))
}
