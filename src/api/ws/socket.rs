//! The loop of one connection: what it says is done, what waits for it is written and flushed once.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use futures_util::{FutureExt as _, SinkExt as _};
use serde_json::{Map, Value};
use tokio::time::{Instant, sleep, timeout};

use super::{
    Limits,
    machine::{
        Act, CLOSE_BAD_REQUEST, CLOSE_FORBIDDEN, CLOSE_GOING_AWAY, CLOSE_INIT_TIMEOUT, CLOSE_SLOW_CONSUMER, CLOSE_TOO_MANY,
        Goodbye, Machine,
    },
    message,
    operation::{Operation, Place},
    queue::{Body, Head, Item, Taken},
};
use crate::api::gql::error::{ApiError, Code};

/// From opening to `connection_init`.
const INIT_MAX: Duration = Duration::from_secs(3);
/// A ping this often; a peer that is silent for three of them is gone.
const HEARTBEAT: Duration = Duration::from_secs(30);
const SILENCE_MAX: Duration = Duration::from_secs(90);
/// A peer that takes nothing for this long is cut off: it must not hold memory.
const SEND_MAX: Duration = Duration::from_secs(10);
/// A goodbye is read, or not.
const GOODBYE_MAX: Duration = Duration::from_secs(1);
/// Messages, and bytes of them, that are written before one flush.
const BURST_MAX: usize = 64;
const BURST_BYTES_MAX: usize = 64 * 1024;
/// Operations that a client may resume by naming their cursors when it connects.
const RESUMED_MAX: usize = 1_000;

/// The peer is gone, or takes nothing.
struct Gone;

enum Written {
    All,
    Some,
    /// The connection ends with it.
    Enough(Goodbye),
}

pub(super) struct Talk {
    socket: WebSocket,
    place: Place,
    limits: Limits,
    machine: Machine,
    operations: BTreeMap<u64, Operation>,
    /// What `connection_init` said: cursors by operation.
    resume: HashMap<String, String>,
    last_heard: Instant,
}

impl Talk {
    pub(super) fn new(socket: WebSocket, place: Place, limits: Limits) -> Self {
        let machine = Machine::new(limits.operations_max);
        let (operations, resume, last_heard) = (BTreeMap::new(), HashMap::new(), Instant::now());
        Self { socket, place, limits, machine, operations, resume, last_heard }
    }

    /// Until one of the two has had enough.
    pub(super) async fn run(mut self) {
        let goodbye = self.talk().await;
        // Nothing is made for it any more, whether it reads its goodbye or not.
        self.place.queue.close();
        self.operations = BTreeMap::new();
        if let Some(goodbye) = goodbye {
            let _ = timeout(GOODBYE_MAX, self.leave(goodbye)).await;
        }
    }

    async fn leave(&mut self, goodbye: Goodbye) {
        let frame = CloseFrame { code: goodbye.code, reason: goodbye.reason.into() };
        if self.socket.send(Message::Close(Some(frame))).await.is_err() {
            return;
        }
        // What it sent meanwhile is read: the goodbye could be lost with a connection that is closed over unread bytes.
        while let Some(Ok(_)) = self.socket.recv().await {}
    }

    async fn talk(&mut self) -> Option<Goodbye> {
        // A token and a timer of its own: what all connections share would be touched with every message of each.
        let draining = self.place.public.sockets.draining().child_token();
        let stopping = draining.cancelled();
        let timer = sleep(INIT_MAX);
        tokio::pin!(stopping, timer);
        let mut leaving = false;
        let queue = self.place.queue.clone();
        loop {
            // Something waits to be written still.
            let more = match self.write_some().await {
                Ok(Written::All) => false,
                Ok(Written::Some) => true,
                Ok(Written::Enough(goodbye)) => return Some(goodbye),
                Err(Gone) => return None,
            };
            // Whatever waits to be written, the client is heard and the clock is looked at.
            tokio::select! {
                () = queue.called(), if !more => {}
                () = std::future::ready(()), if more => {}
                message = self.socket.recv() => match message {
                    Some(Ok(message)) => match self.hear(message).await {
                        Ok(()) => {}
                        Err(goodbye) => return goodbye,
                    },
                    Some(Err(error)) => return Some(unreadable(&error)),
                    None => return None,
                },
                () = &mut stopping, if !leaving => {
                    leaving = true;
                    // Not all at once: they come back somewhere else.
                    timer.as_mut().reset(self.place.public.sockets.leave_at());
                }
                () = &mut timer => {
                    if leaving {
                        return Some(self.going_away());
                    }
                    if !self.machine.begun() {
                        return Some(Goodbye::new(CLOSE_INIT_TIMEOUT, "Connection initialisation timeout"));
                    }
                    if self.last_heard.elapsed() >= SILENCE_MAX {
                        return None;
                    }
                    if self.send(Message::Ping(axum::body::Bytes::new())).await.is_err() {
                        return None;
                    }
                    timer.as_mut().reset(Instant::now() + HEARTBEAT);
                }
            }
        }
    }

    fn going_away(&self) -> Goodbye {
        let mut cursors = self.operations.values().filter_map(|operation| operation.cursor);
        // With several operations each frame had its own.
        let reason = match (cursors.next(), cursors.next()) {
            (Some(cursor), None) => format!("this server is stopping {}", cursor.encode()),
            _ => "this server is stopping: connect again".to_owned(),
        };
        Goodbye::new(CLOSE_GOING_AWAY, &reason)
    }

    async fn send(&mut self, message: Message) -> Result<(), Gone> {
        match timeout(SEND_MAX, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Gone),
        }
    }

    /// Writes some of what waits, one flush for many messages.
    async fn write_some(&mut self) -> Result<Written, Gone> {
        let Taken { items, is_all, behind, given_up } = self.place.queue.take(BURST_MAX, BURST_BYTES_MAX);
        if let Some(head) = given_up {
            return Ok(Written::Enough(self.too_slow(&head)));
        }
        if !items.is_empty()
            && let Some(goodbye) = self.write(items).await?
        {
            return Ok(Written::Enough(goodbye));
        }
        behind.iter().filter_map(|head| self.operations.get(&head.serial)).for_each(Operation::reopen);
        // Whatever came meanwhile calls.
        Ok(if is_all { Written::All } else { Written::Some })
    }

    async fn write(&mut self, items: Vec<Item>) -> Result<Option<Goodbye>, Gone> {
        let messages: Vec<Option<Message>> = items.iter().map(|item| self.message(item)).collect();
        let mut fed = 0_usize;
        let written = {
            let writing = feed_all(&mut self.socket, messages, &mut fed);
            tokio::pin!(writing);
            // Nearly always the kernel takes it at once, and no clock is needed.
            match writing.as_mut().now_or_never() {
                Some(written) => Ok(written),
                None => timeout(SEND_MAX, writing).await,
            }
        };
        self.place.public.metrics.frames_sent_total.inc_by(u64::try_from(fed).unwrap_or(0));
        // A goodbye comes after all of these: whoever reads it has read them.
        items.iter().take(fed).for_each(|item| self.wrote(item));
        match written {
            Ok(Ok(())) => Ok(None),
            Ok(Err(_)) => Err(Gone),
            Err(_) => {
                let head = items.get(fed).or(items.last()).map(|item| item.head.clone());
                head.map(|head| Some(self.too_slow(&head))).ok_or(Gone)
            }
        }
    }

    /// `None`: the operation has ended meanwhile.
    fn message(&self, item: &Item) -> Option<Message> {
        let operation = self.operations.get(&item.head.serial)?;
        let text = match &item.body {
            Body::Next(frame, skipped) => {
                let (prefix, payload) = (operation.head.prefix.as_ref(), frame.payload.as_ref());
                match payload.strip_suffix('}').filter(|_| *skipped > 0 && frame.plain) {
                    Some(open) => [prefix, &format!(r#"{open},"extensions":{{"skipped":{skipped}}}}}"#), message::END].concat(),
                    // Of exactly its length: the bytes are handed on without another allocation.
                    None => [prefix, payload, message::END].concat(),
                }
            }
            Body::Failed(errors) => message::error(&item.head.id, errors),
            Body::Complete => message::complete(&item.head.id),
        };
        Some(Message::Text(text.into()))
    }

    fn wrote(&mut self, item: &Item) {
        match &item.body {
            Body::Next(frame, _) => {
                if let (Some(operation), Some(cursor)) = (self.operations.get_mut(&item.head.serial), frame.fact.cursor) {
                    operation.cursor = Some(cursor);
                }
            }
            Body::Failed(_) | Body::Complete => {
                self.operations.remove(&item.head.serial);
                self.machine.ended(&item.head.id, item.head.serial);
            }
        }
    }

    fn too_slow(&self, head: &Head) -> Goodbye {
        self.place.public.metrics.slow_consumers_total.inc();
        let cursor = self.operations.get(&head.serial).and_then(|operation| operation.cursor);
        let reason = match cursor {
            Some(cursor) => format!("SLOW_CONSUMER {}", cursor.encode()),
            None => "SLOW_CONSUMER: read faster, or subscribe to less".to_owned(),
        };
        Goodbye::new(CLOSE_SLOW_CONSUMER, &reason)
    }

    async fn hear(&mut self, message: Message) -> Result<(), Option<Goodbye>> {
        self.last_heard = Instant::now();
        if self.limits.pace.check().is_err() {
            let most = self.limits.messages_per_second;
            return Err(Some(Goodbye::new(CLOSE_TOO_MANY, &format!("Too many messages: at most {most} a second"))));
        }
        let text = match message {
            Message::Text(text) => text,
            Message::Binary(bytes) => {
                bytes.try_into().map_err(|_| Goodbye::new(CLOSE_BAD_REQUEST, "Invalid message received: it is no UTF-8"))?
            }
            // Pings are answered below.
            Message::Ping(_) | Message::Pong(_) => return Ok(()),
            Message::Close(_) => {
                // Its own goodbye is answered while the next message is waited for, which never comes.
                let _ = timeout(GOODBYE_MAX, self.socket.recv()).await;
                return Err(None);
            }
        };
        match self.machine.hear(&text)? {
            Act::Begin(payload) => {
                self.begin(payload)?;
                self.send(Message::Text(message::ACK.into())).await.map_err(|Gone| None)?;
            }
            Act::Pong(payload) => {
                self.send(Message::Text(message::pong(payload).into())).await.map_err(|Gone| None)?;
            }
            Act::Start { serial, id, asked } => {
                let resume = self.resume.remove(id.as_ref());
                let head = Arc::new(Head::new(serial, id));
                self.operations.insert(serial, self.place.start(head, asked, resume.as_deref()));
                // A document was read, and the next message may bring another one: somebody else may have a frame to write.
                tokio::task::yield_now().await;
            }
            Act::Refuse(id) => {
                let most = self.limits.operations_max;
                let message = format!("a connection may have {most} operations at once: end some, or open another connection");
                let errors = super::one_error(ApiError::new(Code::RateLimited, message));
                let text = message::error(&id, &errors);
                self.send(Message::Text(text.into())).await.map_err(|Gone| None)?;
            }
            Act::Stop { serial } => drop(self.operations.remove(&serial)),
            Act::Nothing => {}
        }
        Ok(())
    }

    /// What a client says when it connects.
    fn begin(&mut self, payload: Map<String, Value>) -> Result<(), Goodbye> {
        let access = &self.place.public.access;
        let forbidden = |error: ApiError| Goodbye::new(CLOSE_FORBIDDEN, &format!("Forbidden: {}", error.message));
        match payload.get("apiKey") {
            None | Some(Value::Null) => {}
            Some(key) => {
                let client = self.place.caller.client();
                self.place.caller = access.with_key(client, key.as_str().unwrap_or_default()).map_err(forbidden)?;
            }
        }
        access.must_have_key(&self.place.caller).map_err(forbidden)?;
        let wrong = || {
            let reason = "Invalid message received: `resume` of connection_init is an object of cursors by operation";
            Goodbye::new(CLOSE_BAD_REQUEST, reason)
        };
        match payload.get("resume") {
            None | Some(Value::Null) => Ok(()),
            Some(Value::Object(resume)) if resume.len() <= RESUMED_MAX => {
                for (id, cursor) in resume {
                    // The longest cursor has 82 characters.
                    let cursor = cursor.as_str().filter(|cursor| cursor.len() <= 200 && id.len() <= 256).ok_or_else(wrong)?;
                    self.resume.insert(id.clone(), cursor.to_owned());
                }
                Ok(())
            }
            Some(_) => Err(wrong()),
        }
    }
}

/// Counts those that are on their way in order; one flush for all.
async fn feed_all(socket: &mut WebSocket, messages: Vec<Option<Message>>, fed: &mut usize) -> Result<(), axum::Error> {
    for message in messages {
        if let Some(message) = message {
            socket.feed(message).await?;
        }
        *fed = fed.saturating_add(1);
    }
    socket.flush().await
}

/// Why a message could not be read, in the words of RFC 6455.
fn unreadable(error: &axum::Error) -> Goodbye {
    use tokio_tungstenite::tungstenite::{Error as Trouble, error::CapacityError};
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<Trouble>());
    match source {
        Some(Trouble::Capacity(CapacityError::MessageTooLong { max_size, .. })) => {
            Goodbye::new(1009, &format!("a message may have {max_size} bytes"))
        }
        Some(Trouble::Capacity(_)) => Goodbye::new(1009, "the message is too large"),
        Some(Trouble::Utf8(_)) => Goodbye::new(1007, "the text is no UTF-8"),
        _ => Goodbye::new(1002, "protocol error"),
    }
}
