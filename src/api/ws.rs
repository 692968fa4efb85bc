//! The WebSocket: `graphql-transport-ws` and nothing else, under one boundary.
//!
//! The engine's own protocol server runs inside; what it leaves out is done around it: the origin, close codes of the
//! specification (4400, 4401, 4406, 4408, 4409), `error` messages, limits, a heartbeat, a reader that does not read, and 1001 when
//! the process stops. What is absent: resuming at a cursor, and one execution for identical subscriptions.

mod book;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_graphql::http::{WebSocket as Protocol, WebSocketProtocols, WsMessage};
use axum::{
    extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use futures_util::{FutureExt, SinkExt, Stream, StreamExt, future};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use self::book::{Book, Out};
use super::{
    gql::ApiSchema,
    router::{BODY_MAX_BYTES, Public},
};
use crate::telemetry::Metrics;

const SUBPROTOCOL: &str = "graphql-transport-ws";
/// One process serves so many; more are told to come back.
const CONNECTIONS_MAX: usize = 10_000;
/// From opening to `connection_init`.
const INIT_MAX: Duration = Duration::from_secs(10);
/// A ping this often; a peer that is silent for three of them is gone.
const HEARTBEAT: Duration = Duration::from_secs(30);
const SILENCE_MAX: Duration = Duration::from_secs(90);
/// A peer that takes nothing for this long is cut off: it must not hold memory.
const SEND_MAX: Duration = Duration::from_secs(10);
/// Messages written before one flush.
const BURST_MAX: usize = 64;

const CLOSE_GOING_AWAY: u16 = 1001;
const CLOSE_NOT_ACCEPTABLE: u16 = 4406;
const CLOSE_INIT_TIMEOUT: u16 = 4408;

/// All open connections.
pub(super) struct Sockets {
    metrics: Metrics,
    draining: CancellationToken,
    places: Arc<Semaphore>,
}

impl Sockets {
    pub(super) fn new(metrics: Metrics, draining: CancellationToken) -> Self {
        Self { metrics, draining, places: Arc::new(Semaphore::new(CONNECTIONS_MAX)) }
    }

    /// Cancelled when the process begins to stop.
    pub(super) fn draining(&self) -> CancellationToken {
        self.draining.clone()
    }
}

/// Answers the upgrade, or says why not.
pub(super) fn accept(public: &Arc<Public>, headers: &HeaderMap, upgrade: WebSocketUpgrade) -> Response {
    if !public.origins.allow_request(headers) {
        return (
            StatusCode::FORBIDDEN,
            "this origin is not allowed: add it to `origins` in the [api] section of swaptide.toml\n",
        )
            .into_response();
    }
    let sockets = &public.sockets;
    if sockets.draining.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "1")], "this server is stopping: connect again\n")
            .into_response();
    }
    let Ok(place) = sockets.places.clone().try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "10")], "too many connections: try again later\n")
            .into_response();
    };
    let upgrade = upgrade.protocols([SUBPROTOCOL]).max_message_size(BODY_MAX_BYTES).max_frame_size(BODY_MAX_BYTES);
    let agreed = upgrade.selected_protocol().is_some();
    let (schema, metrics, draining) = (public.engine.guarded().clone(), sockets.metrics.clone(), sockets.draining.clone());
    upgrade.on_upgrade(move |mut socket| async move {
        let _open = Open::new(metrics, place);
        if agreed {
            talk(socket, schema, draining).await;
        } else {
            // The peer may be gone already.
            let _ = socket.send(close(CLOSE_NOT_ACCEPTABLE, "Subprotocol not acceptable: speak graphql-transport-ws")).await;
        }
    })
}

/// Counts a connection for as long as it lives.
struct Open(Metrics, #[expect(dead_code, reason = "held, not read")] OwnedSemaphorePermit);

impl Open {
    fn new(metrics: Metrics, place: OwnedSemaphorePermit) -> Self {
        metrics.ws_connections.inc();
        Self(metrics, place)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.ws_connections.dec();
    }
}

fn close(code: u16, reason: &str) -> Message {
    Message::Close(Some(CloseFrame { code, reason: reason.into() }))
}

type SharedBook = Arc<Mutex<Book>>;

fn with_book<T>(book: &SharedBook, act: impl FnOnce(&mut Book) -> T) -> T {
    // Never held across an await; a panic inside cannot leave it half-changed.
    act(&mut book.lock().unwrap_or_else(PoisonError::into_inner))
}

async fn talk(socket: WebSocket, schema: ApiSchema, draining: CancellationToken) {
    let book = SharedBook::default();
    let (mut sink, stream) = socket.split();
    let mut protocol = Box::pin(Protocol::new(schema, checked(stream, book.clone()), WebSocketProtocols::GraphQLWS));
    let init_deadline = Instant::now() + INIT_MAX;
    let mut heartbeat = interval(HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    heartbeat.reset();
    let goodbye = loop {
        let first = tokio::select! {
            biased;
            () = draining.cancelled() => break Some(close(CLOSE_GOING_AWAY, "this server is stopping: connect again")),
            () = sleep_until(init_deadline), if !with_book(&book, |b| b.acknowledged()) => {
                break Some(close(CLOSE_INIT_TIMEOUT, "Connection initialisation timeout"));
            }
            _ = heartbeat.tick() => {
                if with_book(&book, |b| b.silent_for(Instant::now())) >= SILENCE_MAX {
                    break None;
                }
                Some(Message::Ping(axum::body::Bytes::new()))
            }
            next = protocol.next() => match next {
                Some(message) => outgoing(&book, message),
                None => break with_book(&book, Book::take_verdict).map(|(code, reason)| close(code, &reason)),
            },
        };
        let mut messages: Vec<Message> = first.into_iter().collect();
        while messages.len() < BURST_MAX
            && let Some(Some(more)) = protocol.next().now_or_never()
        {
            messages.extend(outgoing(&book, more));
        }
        let last = messages.iter().any(|m| matches!(m, Message::Close(_)));
        let written = timeout(SEND_MAX, async {
            for message in messages {
                sink.feed(message).await?;
            }
            sink.flush().await
        });
        match written.await {
            Ok(Ok(())) if !last => {}
            _ => break None,
        }
    };
    // Streams and their pins go before the goodbye is written: a peer that does not read it holds nothing.
    drop(protocol);
    if let Some(goodbye) = goodbye {
        let _ = timeout(SEND_MAX, sink.send(goodbye)).await;
    }
}

/// The peer's messages, as far as they follow the protocol; ends at the first that does not, or with the connection.
fn checked(stream: impl Stream<Item = Result<Message, axum::Error>>, book: SharedBook) -> impl Stream<Item = axum::body::Bytes> {
    stream
        .take_while(|message| future::ready(message.is_ok()))
        .filter_map(|m| future::ready(m.ok()))
        .scan((), move |(), message| {
            let now = Instant::now();
            let bytes = match message {
                Message::Text(text) => Some(text.into()),
                Message::Binary(bytes) => Some(bytes),
                Message::Ping(_) | Message::Pong(_) | Message::Close(_) => None,
            };
            let going_on = with_book(&book, |b| b.heard(bytes.as_deref(), now));
            future::ready(going_on.then_some(bytes))
        })
        .filter_map(future::ready)
}

fn outgoing(book: &SharedBook, message: WsMessage) -> Option<Message> {
    match message {
        WsMessage::Close(code, reason) => Some(close(book::close_code(code), &reason)),
        WsMessage::Text(text) => match with_book(book, |b| b.said(text)) {
            Out::Send(text) => Some(Message::Text(text.into())),
            Out::Nothing => None,
        },
    }
}
