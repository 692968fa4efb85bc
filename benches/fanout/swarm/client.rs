//! One client: how it comes, what it hears, and how it goes.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::json;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{Error, Message, Utf8Bytes, client::IntoClientRequest, http::StatusCode, protocol::WebSocketConfig},
};

use super::Swarm;
use crate::http::Result;

pub(super) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// The stock server says nothing until something happens.
const FIRST_WORD: Duration = Duration::from_secs(5);

/// Why nobody was let in.
pub(super) enum Refused {
    /// 503 or 429: there are too many; later.
    Busy,
    /// Nobody listens, or it closed.
    Away(String),
}

impl<E: std::fmt::Display> From<E> for Refused {
    fn from(error: E) -> Self {
        Self::Away(error.to_string())
    }
}

/// Ways to go, in turn: a client that is never polite shows what the server keeps of those who are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Going {
    /// Says goodbye and waits for the answer.
    Politely,
    /// The connection is cut once it has subscribed.
    Cut,
    /// The connection is cut before it has asked for anything.
    BeforeAsking,
    /// The connection is cut in the middle of the upgrade.
    BeforeUpgrade,
}

impl Going {
    pub(super) const fn of(number: u64) -> Self {
        match number % 8 {
            0 => Self::BeforeUpgrade,
            1 => Self::BeforeAsking,
            2 | 3 => Self::Cut,
            _ => Self::Politely,
        }
    }
}

impl Swarm {
    async fn tcp(&self) -> Result<TcpStream> {
        let uri: tokio_tungstenite::tungstenite::http::Uri = self.url.parse()?;
        let default_port = if uri.scheme_str() == Some("wss") { 443 } else { 80 };
        let address = format!("{}:{}", uri.host().unwrap_or("127.0.0.1"), uri.port_u16().unwrap_or(default_port));
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Upgraded and acknowledged; with where it was, if it was here before.
    async fn open(&self, cursor: Option<&str>) -> std::result::Result<Socket, Refused> {
        let mut request = self.url.as_str().into_client_request()?;
        request.headers_mut().insert("sec-websocket-protocol", "graphql-transport-ws".parse()?);
        let stream = self.tcp().await?;
        let config = WebSocketConfig::default().read_buffer_size(8 * 1024).write_buffer_size(1_024);
        let upgraded = tokio_tungstenite::client_async_tls_with_config(request, stream, Some(config), None).await;
        let mut socket = match upgraded {
            Ok((socket, _)) => socket,
            Err(Error::Http(answer)) if is_busy(answer.status()) => return Err(Refused::Busy),
            Err(error) => return Err(error.into()),
        };
        let mut payload = json!({});
        if let Some(key) = &self.key {
            payload["apiKey"] = json!(key);
        }
        if let Some(cursor) = cursor {
            payload["resume"] = json!({ "1": cursor });
        }
        socket.send(Message::text(json!({ "type": "connection_init", "payload": payload }).to_string())).await?;
        match socket.next().await {
            Some(Ok(Message::Text(text))) if text.contains("connection_ack") => Ok(socket),
            other => Err(Refused::Away(format!("it was answered {other:?}"))),
        }
    }

    /// Until it has subscribed and heard the first word of it, which comes with it.
    pub(super) async fn connect(
        &self,
        number: usize,
        cursor: Option<&str>,
    ) -> std::result::Result<(Socket, Option<Utf8Bytes>), Refused> {
        let mut socket = self.open(cursor).await?;
        // Another alias is another document.
        let query = if self.distinct > 1 {
            self.query.replacen("{ kind", &format!("{{ k{}: kind", number % self.distinct), 1)
        } else {
            self.query.clone()
        };
        socket.send(Message::text(json!({ "id": "1", "type": "subscribe", "payload": { "query": query } }).to_string())).await?;
        match tokio::time::timeout(FIRST_WORD, socket.next()).await {
            Err(_) => Ok((socket, None)),
            Ok(Some(Ok(Message::Text(text)))) if text.contains("\"next\"") => Ok((socket, Some(text))),
            Ok(other) => Err(Refused::Away(format!("it was answered {other:?}"))),
        }
    }

    /// Comes, and goes in its own way.
    pub(super) async fn visit(&self, number: u64) -> std::result::Result<(), Refused> {
        match Going::of(number) {
            Going::BeforeUpgrade => drop(self.tcp().await?),
            Going::BeforeAsking => drop(self.open(None).await?),
            way @ (Going::Cut | Going::Politely) => {
                let (mut socket, _) = self.connect(usize::try_from(number).unwrap_or(0), None).await?;
                if way == Going::Politely {
                    socket.close(None).await?;
                    while socket.next().await.is_some_and(|heard| heard.is_ok()) {}
                }
            }
        }
        Ok(())
    }
}

fn is_busy(status: StatusCode) -> bool {
    matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS)
}
