//! What one connection has going on: enough to hold both sides to the protocol.

use std::{collections::HashSet, time::Duration};

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

/// Operations that one connection may have running.
const OPERATIONS_MAX: usize = 200;
/// A close reason has to fit a control frame.
const REASON_MAX_BYTES: usize = 100;

const CLOSE_BAD_REQUEST: u16 = 4400;
const CLOSE_UNAUTHORIZED: u16 = 4401;
const CLOSE_DUPLICATE: u16 = 4409;
const CLOSE_TOO_MANY: u16 = 4429;

/// The engine's close codes in the words of the specification.
pub(super) const fn close_code(code: u16) -> u16 {
    match code {
        1002 => CLOSE_BAD_REQUEST,
        1011 => CLOSE_UNAUTHORIZED,
        other => other,
    }
}

#[derive(Deserialize)]
struct Heard {
    #[serde(rename = "type")]
    kind: String,
    id: Option<String>,
    #[serde(default)]
    payload: Option<Value>,
}

/// What to do with a message of the engine.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Out {
    Send(String),
    Nothing,
}

pub(super) struct Book {
    acknowledged: bool,
    running: HashSet<String>,
    /// Operations that ended for the client already: the engine's last word on them is not passed on.
    hushed: HashSet<String>,
    last_heard: Instant,
    verdict: Option<(u16, String)>,
}

impl Default for Book {
    fn default() -> Self {
        Self { acknowledged: false, running: HashSet::new(), hushed: HashSet::new(), last_heard: Instant::now(), verdict: None }
    }
}

impl Book {
    pub(super) fn acknowledged(&self) -> bool {
        self.acknowledged
    }

    pub(super) fn silent_for(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.last_heard)
    }

    /// Why the connection ends, where it was the client's fault.
    pub(super) fn take_verdict(&mut self) -> Option<(u16, String)> {
        self.verdict.take()
    }

    fn refuse(&mut self, code: u16, reason: &str) -> bool {
        let cut = reason
            .char_indices()
            .map(|(at, c)| at.saturating_add(c.len_utf8()))
            .take_while(|end| *end <= REASON_MAX_BYTES)
            .last();
        self.verdict = Some((code, reason.get(..cut.unwrap_or(0)).unwrap_or_default().to_owned()));
        false
    }

    /// A message of the client, `None` for control frames. False: the connection ends with the verdict.
    pub(super) fn heard(&mut self, message: Option<&[u8]>, now: Instant) -> bool {
        self.last_heard = now;
        let Some(message) = message else { return true };
        let Ok(heard) = serde_json::from_slice::<Heard>(message) else {
            return self.refuse(CLOSE_BAD_REQUEST, "Invalid message received: not a message of graphql-transport-ws");
        };
        match (heard.kind.as_str(), heard.id) {
            ("connection_init" | "ping" | "pong", _) if heard.payload.as_ref().is_none_or(|p| p.is_object() || p.is_null()) => {
                true
            }
            ("subscribe", Some(id)) => {
                if !self.acknowledged {
                    return self.refuse(CLOSE_UNAUTHORIZED, "Unauthorized");
                }
                if !heard.payload.as_ref().is_some_and(is_request) {
                    return self.refuse(CLOSE_BAD_REQUEST, "Invalid message received: `subscribe` needs a payload with a query");
                }
                if self.running.contains(&id) {
                    return self.refuse(CLOSE_DUPLICATE, &format!("Subscriber for {id} already exists"));
                }
                if self.running.len() >= OPERATIONS_MAX {
                    return self.refuse(CLOSE_TOO_MANY, "Too many operations on one connection");
                }
                self.hushed.remove(&id);
                self.running.insert(id);
                true
            }
            ("complete", Some(id)) => {
                if self.running.remove(&id) {
                    self.hushed.insert(id);
                }
                true
            }
            _ => self.refuse(CLOSE_BAD_REQUEST, "Invalid message received: unknown type, or a field is missing or wrong"),
        }
    }

    /// A message of the engine, on its way to the client.
    pub(super) fn said(&mut self, text: String) -> Out {
        if text.starts_with(r#"{"type":"connection_ack""#) {
            self.acknowledged = true;
            return Out::Send(text);
        }
        if text.starts_with(r#"{"type":"complete""#) {
            let Some(id) = id_of(&text) else { return Out::Send(text) };
            self.running.remove(&id);
            return if self.hushed.remove(&id) { Out::Nothing } else { Out::Send(text) };
        }
        // Only what could be a failed operation is looked at twice.
        if text.starts_with(r#"{"type":"next""#) && text.contains(r#""payload":{"data":null"#) {
            return self.failed(text);
        }
        Out::Send(text)
    }

    /// An operation without any data ends with an `error` message and nothing after it.
    fn failed(&mut self, text: String) -> Out {
        let Ok(message) = serde_json::from_str::<Value>(&text) else { return Out::Send(text) };
        let (Some(id), Some(payload)) = (message.get("id").and_then(Value::as_str), message.get("payload")) else {
            return Out::Send(text);
        };
        let errors = payload.get("errors").filter(|e| e.as_array().is_some_and(|a| !a.is_empty()));
        let (Some(errors), Some(Value::Null)) = (errors, payload.get("data")) else { return Out::Send(text) };
        if self.hushed.contains(id) {
            return Out::Nothing;
        }
        self.hushed.insert(id.to_owned());
        Out::Send(json!({ "type": "error", "id": id, "payload": errors }).to_string())
    }
}

fn is_request(payload: &Value) -> bool {
    let optional = |name: &str, fits: fn(&Value) -> bool| payload.get(name).is_none_or(|v| v.is_null() || fits(v));
    payload.get("query").is_some_and(Value::is_string)
        && optional("operationName", Value::is_string)
        && optional("variables", Value::is_object)
        && optional("extensions", Value::is_object)
}

fn id_of(text: &str) -> Option<String> {
    serde_json::from_str::<Value>(text).ok()?.get("id")?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acknowledged() -> Book {
        let mut book = Book::default();
        book.said(r#"{"type":"connection_ack"}"#.to_owned());
        book
    }

    fn subscribe(id: &str) -> String {
        json!({ "id": id, "type": "subscribe", "payload": { "query": "{ x }" } }).to_string()
    }

    fn check(mut book: Book, messages: &[&str], expected: Option<u16>) {
        let now = Instant::now();
        let held = messages.iter().all(|m| book.heard(Some(m.as_bytes()), now));
        assert_eq!(held, expected.is_none(), "{messages:?}");
        assert_eq!(book.take_verdict().map(|(code, _)| code), expected, "{messages:?}");
    }

    #[test]
    fn a_client_that_breaks_the_protocol_is_closed_with_its_code() {
        check(Book::default(), &["nonsense"], Some(4400));
        check(Book::default(), &[r#"{"type":"unknown"}"#], Some(4400));
        check(Book::default(), &[r#"{"type":"ping","payload":"text"}"#], Some(4400));
        check(Book::default(), &[r#"{"type":"ping"}"#, r#"{"type":"pong"}"#, r#"{"type":"connection_init"}"#], None);
        check(Book::default(), &[&subscribe("1")], Some(4401));
        check(acknowledged(), &[&subscribe("1"), &subscribe("1")], Some(4409));
        check(acknowledged(), &[&subscribe("1"), r#"{"id":"1","type":"complete"}"#, &subscribe("1")], None);
        check(acknowledged(), &[r#"{"id":"1","type":"subscribe","payload":{}}"#], Some(4400));
        check(acknowledged(), &[r#"{"type":"subscribe","payload":{"query":"{x}"}}"#], Some(4400));
        let many: Vec<String> = (0..=OPERATIONS_MAX).map(|i| subscribe(&i.to_string())).collect();
        check(acknowledged(), &many.iter().map(String::as_str).collect::<Vec<_>>(), Some(4429));
    }

    #[test]
    fn a_failed_operation_ends_with_one_error_message() {
        let mut book = acknowledged();
        assert!(book.heard(Some(subscribe("1").as_bytes()), Instant::now()));
        let failed = r#"{"type":"next","id":"1","payload":{"data":null,"errors":[{"message":"no"}]}}"#.to_owned();
        let Out::Send(text) = book.said(failed) else { panic!("nothing sent") };
        let sent: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(sent, json!({ "type": "error", "id": "1", "payload": [{ "message": "no" }] }));
        assert_eq!(book.said(r#"{"type":"complete","id":"1"}"#.to_owned()), Out::Nothing);
        assert!(book.heard(Some(subscribe("1").as_bytes()), Instant::now()), "the id is free again");
    }

    #[test]
    fn what_the_client_ended_is_not_completed_again() {
        let mut book = acknowledged();
        assert!(book.heard(Some(subscribe("1").as_bytes()), Instant::now()));
        assert!(book.heard(Some(br#"{"id":"1","type":"complete"}"#), Instant::now()));
        assert_eq!(book.said(r#"{"type":"complete","id":"1"}"#.to_owned()), Out::Nothing);
    }
}
