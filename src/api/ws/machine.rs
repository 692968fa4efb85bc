//! The protocol of one connection, without the connection: a message in, what to do out.

use std::{collections::HashMap, sync::Arc};

use serde_json::{Map, Value, value::RawValue};

use super::message::{Asked, Heard};

/// A close reason has to fit a control frame.
const REASON_MAX_BYTES: usize = 123;

pub(super) const CLOSE_GOING_AWAY: u16 = 1001;
pub(super) const CLOSE_BAD_REQUEST: u16 = 4400;
const CLOSE_UNAUTHORIZED: u16 = 4401;
pub(super) const CLOSE_FORBIDDEN: u16 = 4403;
pub(super) const CLOSE_NOT_ACCEPTABLE: u16 = 4406;
pub(super) const CLOSE_INIT_TIMEOUT: u16 = 4408;
const CLOSE_DUPLICATE: u16 = 4409;
pub(super) const CLOSE_TOO_MANY: u16 = 4429;
/// Ours: the client did not read fast enough; the reason ends with its last cursor.
pub(super) const CLOSE_SLOW_CONSUMER: u16 = 4510;

/// How a connection ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Goodbye {
    pub(super) code: u16,
    pub(super) reason: String,
}

impl Goodbye {
    pub(super) fn new(code: u16, reason: &str) -> Self {
        let ends = reason.char_indices().map(|(at, c)| at.saturating_add(c.len_utf8()));
        let cut = ends.take_while(|end| *end <= REASON_MAX_BYTES).last().unwrap_or(0);
        Self { code, reason: reason.get(..cut).unwrap_or_default().to_owned() }
    }
}

/// What to do about a message.
#[derive(Debug)]
pub(super) enum Act<'a> {
    /// Look at what the client says of itself, and acknowledge it.
    Begin(Map<String, Value>),
    Pong(Option<&'a RawValue>),
    Start {
        serial: u64,
        id: Arc<str>,
        asked: Asked,
    },
    /// The same with one more operation than a connection may have: it is refused, the others go on.
    Refuse(String),
    Stop {
        serial: u64,
    },
    Nothing,
}

/// What a connection has said so far.
pub(super) struct Machine {
    begun: bool,
    running: HashMap<Arc<str>, u64>,
    /// Numbers every operation: an id may be used again.
    next_serial: u64,
    operations_max: usize,
}

impl Machine {
    pub(super) fn new(operations_max: usize) -> Self {
        Self { begun: false, running: HashMap::new(), next_serial: 0, operations_max }
    }

    /// `connection_init` was received.
    pub(super) fn begun(&self) -> bool {
        self.begun
    }

    /// # Errors
    /// The connection ends with it.
    pub(super) fn hear<'a>(&mut self, text: &'a str) -> Result<Act<'a>, Goodbye> {
        let heard =
            Heard::read(text).map_err(|why| Goodbye::new(CLOSE_BAD_REQUEST, &format!("Invalid message received: {why}")))?;
        match heard {
            Heard::Init(_) if self.begun => Err(Goodbye::new(CLOSE_TOO_MANY, "Too many initialisation requests")),
            Heard::Init(payload) => {
                self.begun = true;
                Ok(Act::Begin(payload.unwrap_or_default()))
            }
            Heard::Ping(payload) => Ok(Act::Pong(payload)),
            Heard::Pong => Ok(Act::Nothing),
            Heard::Subscribe { .. } if !self.begun => Err(Goodbye::new(CLOSE_UNAUTHORIZED, "Unauthorized")),
            Heard::Subscribe { id, .. } if self.running.contains_key(id.as_str()) => {
                Err(Goodbye::new(CLOSE_DUPLICATE, &format!("Subscriber for {id} already exists")))
            }
            Heard::Subscribe { id, .. } if self.running.len() >= self.operations_max => Ok(Act::Refuse(id)),
            Heard::Subscribe { id, asked } => {
                let (id, serial): (Arc<str>, _) = (id.into(), self.next_serial);
                self.next_serial = serial.saturating_add(1);
                self.running.insert(id.clone(), serial);
                Ok(Act::Start { serial, id, asked })
            }
            Heard::Complete { id } => Ok(match self.running.remove(id.as_str()) {
                Some(serial) => Act::Stop { serial },
                None => Act::Nothing,
            }),
        }
    }

    /// An operation has ended: its id is free again.
    pub(super) fn ended(&mut self, id: &str, serial: u64) {
        if self.running.get(id) == Some(&serial) {
            self.running.remove(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn subscribe(id: &str) -> Value {
        json!({ "id": id, "type": "subscribe", "payload": { "query": "{ x }" } })
    }

    /// The code that the connection ends with, if it does.
    fn code(messages: &[Value]) -> Option<u16> {
        let mut machine = Machine::new(3);
        messages.iter().find_map(|message| machine.hear(&message.to_string()).err()).map(|goodbye| goodbye.code)
    }

    #[test]
    fn the_protocol_is_held_to() {
        let init = json!({ "type": "connection_init" });
        for (messages, expected) in [
            (vec![init.clone(), subscribe("1"), subscribe("2")], None),
            (vec![subscribe("1")], Some(4401)),
            (vec![init.clone(), init.clone()], Some(4429)),
            (vec![init.clone(), subscribe("1"), subscribe("1")], Some(4409)),
            (vec![init.clone(), subscribe("1"), json!({ "type": "complete", "id": "1" }), subscribe("1")], None),
            (vec![json!({ "type": "ping" }), init.clone()], None),
            (vec![init.clone(), json!({ "type": "complete", "id": "nope" })], None),
            (vec![json!({ "type": "complete", "id": "nope" })], None),
            (vec![init.clone(), json!({ "type": "nope" })], Some(4400)),
            // One too many is refused alone.
            (vec![init, subscribe("1"), subscribe("2"), subscribe("3"), subscribe("4")], None),
        ] {
            assert_eq!(code(&messages), expected, "{messages:?}");
        }
    }

    #[test]
    fn an_operation_that_ended_late_does_not_end_its_successor() {
        let mut machine = Machine::new(1);
        machine.hear(r#"{"type":"connection_init"}"#).unwrap();
        let serial = |act: Act<'_>| if let Act::Start { serial, .. } = act { serial } else { panic!("{act:?}") };
        let first = serial(machine.hear(&subscribe("1").to_string()).unwrap());
        assert!(matches!(machine.hear(&subscribe("2").to_string()), Ok(Act::Refuse(_))));
        assert!(matches!(machine.hear(r#"{"type":"complete","id":"1"}"#), Ok(Act::Stop { serial }) if serial == first));
        let second = serial(machine.hear(&subscribe("1").to_string()).unwrap());
        machine.ended("1", first);
        assert!(machine.hear(&subscribe("1").to_string()).is_err(), "it is running");
        machine.ended("1", second);
        assert!(machine.hear(&subscribe("1").to_string()).is_ok());
    }

    /// Messages as they should be, with some of their bytes cut out, doubled, or something else.
    #[test]
    fn whatever_is_said_the_answer_is_one_of_the_protocols() {
        let pieces = [
            r#"{"type":"connection_init","payload":{"apiKey":"k","resume":{"1":"c"}}}"#,
            r#"{"type":"subscribe","id":"1","payload":{"query":"{ x }","variables":{"a":[1,null]},"operationName":null}}"#,
            r#"{"type":"complete","id":"1"}"#,
            r#"{"type":"ping","payload":{}}"#,
            r#"{"id":"\ud83d\ude00\u0000","type":"subscribe","payload":{"query":"","extensions":{"persistedQuery":{}}}}"#,
            "{\"type\":\"pong\",\"payload\":null}",
            "[{}]",
        ];
        let mut chance = crate::store::conformance::make::Rng(11);
        let mut heard = std::collections::BTreeMap::new();
        for _ in 0..3_000 {
            let (mut machine, mut running) = (Machine::new(3), 0_usize);
            for _ in 0..20 {
                let mut bytes = pieces[usize::try_from(chance.below(7)).unwrap()].as_bytes().to_vec();
                // Most are as they should be: else nothing would be said after the first message.
                for _ in 0..chance.below(4).saturating_sub(2) {
                    let at = usize::try_from(chance.below(bytes.len() as u64)).unwrap();
                    let end = (at + usize::try_from(chance.below(6)).unwrap()).min(bytes.len());
                    let byte = b"{}[]\",:\\ue90\xff"[usize::try_from(chance.below(13)).unwrap()];
                    match chance.below(3) {
                        0 => drop(bytes.splice(at..end, [byte])),
                        1 => bytes.extend_from_within(at..end),
                        _ => drop(bytes.drain(at..end)),
                    }
                }
                let begun = machine.begun();
                let (name, over) = match machine.hear(&String::from_utf8_lossy(&bytes)) {
                    Ok(Act::Start { id, .. }) => {
                        assert!(begun && !id.is_empty());
                        running += 1;
                        ("start", false)
                    }
                    Ok(Act::Stop { .. }) => {
                        running -= 1;
                        ("stop", false)
                    }
                    Ok(_) => ("other", false),
                    Err(goodbye) => {
                        assert!(goodbye.reason.len() <= REASON_MAX_BYTES);
                        let names = [(4400, "4400"), (4401, "4401"), (4409, "4409"), (4429, "4429")];
                        let name = names.into_iter().find(|(code, _)| *code == goodbye.code);
                        (name.expect("a code of the protocol").1, true)
                    }
                };
                *heard.entry(name).or_insert(0) += 1;
                assert!(running <= 3);
                if over {
                    break;
                }
            }
        }
        assert_eq!(heard.len(), 7, "each was heard: {heard:?}");
    }

    #[test]
    fn a_reason_is_cut_between_characters() {
        let goodbye = Goodbye::new(4409, &"é".repeat(100));
        assert_eq!((goodbye.reason.len(), goodbye.reason.chars().count()), (122, 61));
    }
}
