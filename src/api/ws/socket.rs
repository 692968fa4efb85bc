//! The loop of one connection: what it says is done, what waits for it is written and flushed once.

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use futures_util::SinkExt as _;
use serde_json::{Map, Value};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use super::{
    Limits,
    machine::{
        Act, CLOSE_BAD_REQUEST, CLOSE_GOING_AWAY, CLOSE_INIT_TIMEOUT, CLOSE_SLOW_CONSUMER, CLOSE_TOO_MANY, Goodbye, Machine,
    },
    message,
    operation::{Operation, Place},
    queue::{Body, Head, Item},
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

pub(super) struct Talk {
    socket: WebSocket,
    place: Place,
    limits: Limits,
    machine: Machine,
    operations: HashMap<u64, Operation>,
    /// What `connection_init` said: cursors by operation.
    resume: HashMap<String, String>,
    last_heard: Instant,
}

impl Talk {
    pub(super) fn new(socket: WebSocket, place: Place, limits: Limits) -> Self {
        let machine = Machine::new(limits.operations_max);
        let (operations, resume, last_heard) = (HashMap::new(), HashMap::new(), Instant::now());
        Self { socket, place, limits, machine, operations, resume, last_heard }
    }

    /// Until one of the two has had enough.
    pub(super) async fn run(mut self) {
        let goodbye = self.talk().await;
        // Nothing is made for it any more, whether it reads its goodbye or not.
        self.place.queue.close();
        self.operations = HashMap::new();
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
        let init_deadline = Instant::now() + INIT_MAX;
        let mut heartbeat = interval(HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        heartbeat.reset();
        let draining = self.place.public.sockets.draining();
        let mut leave_at: Option<Instant> = None;
        let queue = self.place.queue.clone();
        loop {
            match self.write_all().await {
                Ok(None) => {}
                Ok(Some(goodbye)) => return Some(goodbye),
                Err(Gone) => return None,
            }
            tokio::select! {
                biased;
                () = queue.wake() => {}
                message = self.socket.recv() => match message {
                    Some(Ok(message)) => match self.hear(message).await {
                        Ok(()) => {}
                        Err(goodbye) => return goodbye,
                    },
                    Some(Err(error)) => return Some(unreadable(&error)),
                    None => return None,
                },
                () = sleep_until(init_deadline), if !self.machine.begun() => {
                    return Some(Goodbye::new(CLOSE_INIT_TIMEOUT, "Connection initialisation timeout"));
                }
                () = draining.cancelled(), if leave_at.is_none() => {
                    // Not all at once: they come back somewhere else.
                    leave_at = Some(self.place.public.sockets.leave_at());
                }
                () = sleep_until(leave_at.unwrap_or(init_deadline)), if leave_at.is_some() => return Some(self.going_away()),
                _ = heartbeat.tick() => {
                    if self.last_heard.elapsed() >= SILENCE_MAX {
                        return None;
                    }
                    if self.send(Message::Ping(axum::body::Bytes::new())).await.is_err() {
                        return None;
                    }
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

    /// Writes what waits, one flush for many messages.
    async fn write_all(&mut self) -> Result<Option<Goodbye>, Gone> {
        loop {
            if let Some(head) = self.place.queue.given_up() {
                return Ok(Some(self.too_slow(&head)));
            }
            let items = self.place.queue.take(BURST_MAX, BURST_BYTES_MAX);
            if items.is_empty() {
                for head in self.place.queue.behind() {
                    if let Some(operation) = self.operations.get(&head.serial) {
                        operation.reopen();
                    }
                }
                return Ok(None);
            }
            let messages: Vec<Option<Message>> = items.iter().map(|item| self.message(item)).collect();
            let mut fed = 0_usize;
            let written = timeout(SEND_MAX, async {
                for message in messages {
                    if let Some(message) = message {
                        self.socket.feed(message).await?;
                    }
                    fed = fed.saturating_add(1);
                }
                self.socket.flush().await
            });
            let written = written.await;
            // A goodbye comes after all of these: whoever reads it has read them.
            items.iter().take(fed).for_each(|item| self.wrote(item));
            match written {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(Gone),
                Err(_) => {
                    let head = items.get(fed).or(items.last()).map(|item| item.head.clone());
                    return head.map(|head| Some(self.too_slow(&head))).ok_or(Gone);
                }
            }
        }
    }

    /// `None`: the operation has ended meanwhile.
    fn message(&self, item: &Item) -> Option<Message> {
        let operation = self.operations.get(&item.head.serial)?;
        let text = match &item.body {
            Body::Next(frame, skipped) => {
                self.place.public.metrics.frames_sent_total.inc();
                let (prefix, payload) = (&operation.head.prefix, &frame.payload);
                let mut text = String::with_capacity(prefix.len().saturating_add(payload.len()).saturating_add(48));
                text.push_str(prefix);
                match payload.strip_suffix('}').filter(|_| *skipped > 0 && frame.plain) {
                    Some(open) => text.push_str(&format!(r#"{open},"extensions":{{"skipped":{skipped}}}}}"#)),
                    None => text.push_str(payload),
                }
                text.push_str(message::END);
                text
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
        let wrong = || {
            let reason = "Invalid message received: `resume` of connection_init is an object of cursors by operation";
            Goodbye::new(CLOSE_BAD_REQUEST, reason)
        };
        match payload.get("resume") {
            None | Some(Value::Null) => Ok(()),
            Some(Value::Object(resume)) if resume.len() <= RESUMED_MAX => {
                for (id, cursor) in resume {
                    let cursor = cursor.as_str().ok_or_else(wrong)?;
                    self.resume.insert(id.clone(), cursor.to_owned());
                }
                Ok(())
            }
            Some(_) => Err(wrong()),
        }
    }
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
