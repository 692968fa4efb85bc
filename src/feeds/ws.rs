//! Exchanges that push over a WebSocket: one connection, whatever the exchange.
//!
//! A connection that is silent is pinged and then given up, whether that is answered or not; one that says too much nonsense in a row is given up, too. Pings of the
//! other side are answered by the library.

use std::time::Duration;

use futures_util::{FutureExt, SinkExt, StreamExt, future::BoxFuture};
use tokio::time::Instant;
use tokio_tungstenite::{
    connect_async_with_config,
    tungstenite::{Message, protocol::WebSocketConfig},
};

use super::{FeedError, Heard, PriceSource, Sink, host_of};
use crate::domain::feed::Tick;

const CONNECT: Duration = Duration::from_secs(10);
/// A ticker has a few hundred bytes.
const MESSAGE_MAX: usize = 64 * 1024;
/// In a row: by then it is no longer the protocol that we know.
const NONSENSE_MAX: u32 = 100;

/// How an exchange speaks.
pub(super) trait Dialect: Send + Sync + 'static {
    /// Where the stream is.
    fn url(&self) -> &url::Url;

    /// What has to be sent first.
    fn hello(&self) -> Option<String> {
        None
    }

    /// No message at all for so long means that the connection is dead.
    fn silence_max(&self) -> Duration {
        Duration::from_secs(30)
    }

    /// One text message. Must not trust it.
    fn read(&self, text: &str) -> Said;
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    Tick(Tick),
    /// A heartbeat, a confirmation.
    Alive,
    Garbage(String),
    /// The exchange does not give us what we asked for.
    Refused(String),
}

pub(super) struct Socket<D> {
    dialect: D,
}

impl<D: Dialect> Socket<D> {
    pub(super) fn new(dialect: D) -> Self {
        Self { dialect }
    }

    async fn listen(&self, sink: Sink<'_>) -> Result<std::convert::Infallible, FeedError> {
        let config = WebSocketConfig::default().max_message_size(Some(MESSAGE_MAX)).max_frame_size(Some(MESSAGE_MAX));
        let connecting = connect_async_with_config(self.dialect.url().as_str(), Some(config), true);
        let unreachable = |text: String| FeedError::Unreachable(text);
        let (mut socket, _) = tokio::time::timeout(CONNECT, connecting)
            .await
            .map_err(|_| unreachable(format!("no answer within {} s", CONNECT.as_secs())))?
            .map_err(|e| unreachable(e.to_string()))?;
        let lost = |e: tokio_tungstenite::tungstenite::Error| FeedError::Closed(e.to_string());
        if let Some(hello) = self.dialect.hello() {
            socket.send(Message::text(hello)).await.map_err(lost)?;
        }
        sink(Heard::Connected);
        let silence_max = self.dialect.silence_max();
        let (mut heard_at, mut pinged, mut nonsense) = (Instant::now(), false, 0_u32);
        loop {
            let until = heard_at + if pinged { silence_max } else { silence_max / 2 };
            let message = match tokio::time::timeout_at(until, socket.next()).await {
                Ok(Some(message)) => message.map_err(lost)?,
                Ok(None) => return Err(FeedError::Closed("without a word".to_owned())),
                Err(_) if pinged => return Err(FeedError::Silent(silence_max)),
                Err(_) => {
                    // Where the line is dead, this finds it out.
                    pinged = true;
                    socket.send(Message::Ping(Vec::new().into())).await.map_err(lost)?;
                    continue;
                }
            };
            // Pings and pongs say that the line is up, not that the exchange works.
            if message.is_text() || message.is_binary() {
                (heard_at, pinged) = (Instant::now(), false);
            }
            let said = match &message {
                Message::Text(text) => self.dialect.read(text),
                Message::Close(frame) => {
                    return Err(FeedError::Closed(frame.as_ref().map_or_else(String::new, |f| f.reason.to_string())));
                }
                Message::Binary(_) => Said::Garbage("a binary message".to_owned()),
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => continue,
            };
            match said {
                Said::Garbage(why) => {
                    nonsense = nonsense.saturating_add(1);
                    if nonsense >= NONSENSE_MAX {
                        return Err(FeedError::Nonsense(why));
                    }
                    sink(Heard::Garbage(why));
                }
                Said::Refused(why) => return Err(FeedError::Refused(why)),
                Said::Tick(tick) => {
                    nonsense = 0;
                    sink(Heard::Tick(tick));
                }
                Said::Alive => sink(Heard::Alive),
            }
        }
    }
}

impl<D: Dialect> PriceSource for Socket<D> {
    fn host(&self) -> String {
        host_of(self.dialect.url())
    }

    fn run<'a>(&'a self, sink: Sink<'a>) -> BoxFuture<'a, FeedError> {
        self.listen(sink)
            .map(|outcome| match outcome {
                Err(error) => error,
                Ok(never) => match never {},
            })
            .boxed()
    }
}
