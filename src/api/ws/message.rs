//! The messages of `graphql-transport-ws`, in both directions.

use async_graphql::{Extensions, Variables};
use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};

/// A UUID has 36.
const ID_MAX_BYTES: usize = 256;

/// A message of the client.
#[derive(Debug)]
pub(super) enum Heard<'a> {
    Init(Option<Map<String, Value>>),
    Ping(Option<&'a RawValue>),
    Pong,
    Subscribe { id: String, asked: Asked },
    Complete { id: String },
}

/// What a `subscribe` message asks for: a query, a mutation or a subscription.
#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    pub(super) query: String,
    #[serde(default, rename = "operationName")]
    pub(super) operation: Option<String>,
    #[serde(default)]
    variables: Option<Map<String, Value>>,
    #[serde(default)]
    extensions: Option<Map<String, Value>>,
}

impl Asked {
    pub(super) fn variables(&mut self) -> Variables {
        Variables::from_json(Value::Object(self.variables.take().unwrap_or_default()))
    }

    pub(super) fn extensions(&mut self) -> Extensions {
        let all = self.extensions.take().unwrap_or_default().into_iter();
        Extensions(all.filter_map(|(key, value)| Some((key, async_graphql::Value::from_json(value).ok()?))).collect())
    }
}

#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    id: Option<String>,
    #[serde(default, borrow)]
    payload: Option<&'a RawValue>,
}

impl<'a> Heard<'a> {
    /// # Errors
    /// What is wrong with it, in words that fit behind "Invalid message received: ".
    pub(super) fn read(text: &'a str) -> Result<Self, &'static str> {
        let raw: Raw<'a> =
            serde_json::from_str(text).map_err(|_| "not a JSON object with a `type`, or an `id` that is no string")?;
        let payload = raw.payload.filter(|payload| payload.get() != "null");
        let object = |payload: &RawValue| {
            serde_json::from_str::<Map<String, Value>>(payload.get()).map_err(|_| "`payload` has to be an object")
        };
        let fits = |id: &String| !id.is_empty() && id.len() <= ID_MAX_BYTES;
        let id = || raw.id.clone().filter(fits).ok_or("`id` has to be a string of 1 to 256 bytes");
        match raw.kind.as_str() {
            "connection_init" => Ok(Self::Init(payload.map(object).transpose()?)),
            "ping" | "pong" => {
                payload.map(object).transpose()?;
                Ok(if raw.kind == "ping" { Self::Ping(payload) } else { Self::Pong })
            }
            "subscribe" => {
                let payload = payload.ok_or("`subscribe` needs a payload")?;
                let asked = serde_json::from_str(payload.get()).map_err(|_| {
                    "a `subscribe` payload has a `query` (string), and `operationName` (string), `variables`, `extensions` (objects)"
                })?;
                Ok(Self::Subscribe { id: id()?, asked })
            }
            "complete" => Ok(Self::Complete { id: id()? }),
            _ => Err("unknown `type`"),
        }
    }
}

pub(super) const ACK: &str = r#"{"type":"connection_ack"}"#;

pub(super) fn pong(payload: Option<&RawValue>) -> String {
    match payload {
        Some(payload) => format!(r#"{{"type":"pong","payload":{payload}}}"#),
        None => r#"{"type":"pong"}"#.to_owned(),
    }
}

/// An id as JSON.
fn quoted(id: &str) -> String {
    Value::from(id).to_string()
}

/// Everything of a `next` message before its payload. After the payload comes [`END`].
pub(super) fn next(id: &str) -> Box<str> {
    format!(r#"{{"id":{},"type":"next","payload":"#, quoted(id)).into()
}

pub(super) const END: &str = "}";

pub(super) fn complete(id: &str) -> String {
    format!(r#"{{"id":{},"type":"complete"}}"#, quoted(id))
}

/// `errors` is a JSON list of GraphQL errors.
pub(super) fn error(id: &str, errors: &str) -> String {
    format!(r#"{{"id":{},"type":"error","payload":{errors}}}"#, quoted(id))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn messages_are_read_or_refused() {
        let kind = |text: &str| match Heard::read(text) {
            Ok(Heard::Init(_)) => "init",
            Ok(Heard::Ping(_)) => "ping",
            Ok(Heard::Pong) => "pong",
            Ok(Heard::Subscribe { .. }) => "subscribe",
            Ok(Heard::Complete { .. }) => "complete",
            Err(_) => "wrong",
        };
        let query = json!({ "query": "{ a }" });
        for (message, expected) in [
            (json!({ "type": "connection_init" }), "init"),
            (json!({ "type": "connection_init", "payload": null }), "init"),
            (json!({ "type": "connection_init", "payload": { "a": 1 }, "more": true }), "init"),
            (json!({ "type": "connection_init", "payload": [] }), "wrong"),
            (json!({ "type": "ping", "payload": "x" }), "wrong"),
            (json!({ "type": "ping", "payload": {} }), "ping"),
            (json!({ "type": "pong" }), "pong"),
            (json!({ "type": "subscribe", "id": "1", "payload": query }), "subscribe"),
            (json!({ "type": "subscribe", "id": "", "payload": query }), "wrong"),
            (json!({ "type": "subscribe", "id": "x".repeat(257), "payload": query }), "wrong"),
            (json!({ "type": "subscribe", "id": 1, "payload": query }), "wrong"),
            (json!({ "type": "subscribe", "payload": query }), "wrong"),
            (json!({ "type": "subscribe", "id": "1" }), "wrong"),
            (json!({ "type": "subscribe", "id": "1", "payload": {} }), "wrong"),
            (json!({ "type": "subscribe", "id": "1", "payload": { "query": 1 } }), "wrong"),
            (json!({ "type": "subscribe", "id": "1", "payload": { "query": "", "variables": [] } }), "wrong"),
            (
                json!({ "type": "subscribe", "id": "1", "payload": { "query": "", "variables": null, "operationName": null } }),
                "subscribe",
            ),
            (json!({ "type": "subscribe", "id": "1", "payload": { "query": "", "operationName": 1 } }), "wrong"),
            (json!({ "type": "subscribe", "id": "1", "payload": { "query": "", "extensions": "x" } }), "wrong"),
            (json!({ "type": "complete", "id": "1" }), "complete"),
            (json!({ "type": "complete" }), "wrong"),
            (json!({ "type": "connection_ack" }), "wrong"),
            (json!({ "type": "start", "id": "1", "payload": query }), "wrong"),
            (json!({ "id": "1" }), "wrong"),
            (json!([]), "wrong"),
        ] {
            assert_eq!(kind(&message.to_string()), expected, "{message}");
        }
        for text in ["", "not json", "{", "\u{0}", "{\"type\":\"ping\"}x"] {
            assert_eq!(kind(text), "wrong", "{text:?}");
        }
    }

    #[test]
    fn an_id_cannot_break_out_of_its_message() {
        let id = "a\"},\u{7}\u{2028}\\";
        for text in [complete(id), error(id, "[]"), format!("{}{{}}{END}", next(id))] {
            let value: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(value["id"], id);
        }
    }
}
