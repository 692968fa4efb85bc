//! A client of the WebSocket, on a real port.

use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message, client::IntoClientRequest, protocol::frame::coding::CloseCode},
};
use tokio_util::sync::CancellationToken;

use super::world::*;
use crate::api::{public_router, serve};

pub(super) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

pub(super) async fn listen(world: &World) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, public_router(Arc::clone(&world.state)), CancellationToken::new()));
    format!("ws://{address}/graphql")
}

/// A client of HTTP.
pub(super) fn http() -> reqwest::Client {
    // The first one counts.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

/// Asked over HTTP: the answer's status and body.
pub(super) async fn post(url: &str, headers: &[(&str, &str)], body: &Value) -> (u16, Value) {
    let http = http();
    let url = url.replacen("ws://", "http://", 1);
    let request = headers.iter().fold(http.post(url), |request, (name, value)| request.header(*name, *value));
    let answer = request.header("content-type", "application/json").body(body.to_string()).send().await.unwrap();
    (answer.status().as_u16(), serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default())
}

pub(super) async fn open(url: &str, protocol: &str, origin: Option<&str>) -> Result<Socket, Error> {
    let mut request = url.into_client_request().unwrap();
    if !protocol.is_empty() {
        request.headers_mut().insert("sec-websocket-protocol", protocol.parse().unwrap());
    }
    if let Some(origin) = origin {
        request.headers_mut().insert("origin", origin.parse().unwrap());
    }
    Ok(connect_async(request).await?.0)
}

pub(super) async fn say(socket: &mut Socket, message: Value) {
    socket.send(Message::text(message.to_string())).await.unwrap();
}

pub(super) async fn hear(socket: &mut Socket) -> Value {
    loop {
        match socket.next().await.unwrap().unwrap() {
            Message::Text(text) => return serde_json::from_str(&text).unwrap(),
            Message::Close(frame) => panic!("closed: {frame:?}"),
            _ => {}
        }
    }
}

pub(super) async fn close_code(socket: &mut Socket) -> u16 {
    goodbye(socket).await.0
}

/// Code and reason.
pub(super) async fn goodbye(socket: &mut Socket) -> (u16, String) {
    loop {
        match socket.next().await.unwrap().unwrap() {
            Message::Close(Some(frame)) => return (CloseCode::into(frame.code), frame.reason.to_string()),
            Message::Text(_) | Message::Ping(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

pub(super) async fn ready(url: &str) -> Socket {
    let mut socket = open(url, "graphql-transport-ws", None).await.unwrap();
    say(&mut socket, json!({ "type": "connection_init" })).await;
    assert_eq!(hear(&mut socket).await, json!({ "type": "connection_ack" }));
    socket
}

/// Says that it subscribes.
pub(super) async fn subscribe(socket: &mut Socket, id: &str, query: &str) {
    say(socket, json!({ "id": id, "type": "subscribe", "payload": { "query": query } })).await;
}

/// The next frame of the only field of a subscription.
pub(super) async fn frame(socket: &mut Socket, id: &str) -> Value {
    let message = hear(socket).await;
    assert_eq!((&message["type"], &message["id"]), (&json!("next"), &json!(id)), "{message}");
    message["payload"]["data"].as_object().unwrap_or_else(|| panic!("{message}")).values().next().unwrap().clone()
}

/// A world with other limits.
pub(super) fn limited(limits: crate::api::SocketLimits) -> World {
    let mut world = World::new();
    Arc::get_mut(&mut world.state).unwrap().sockets = limits;
    world
}

/// Until no connection is open but so many.
pub(super) async fn only(world: &World, open: i64) {
    let gone = async {
        while world.state.metrics.ws_connections.get() > open {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), gone).await.unwrap();
}
