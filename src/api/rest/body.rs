//! The body of a POST: JSON of one shape. What is wrong with it is a problem that names the place.
//!
//! serde would take more than the document says: a list for an object, field by field, and `{"A": null}` for the word `A`. So that there
//! is one way to write a question, [`Object`] and [`Word`] take what they are named after. And it would take less: to JSON Schema 3.0 is
//! an integer, and there are languages that write it so; [`Whole`] takes both.

use std::{fmt, marker::PhantomData};

use axum::{
    Json,
    extract::{FromRequest, Request, rejection::JsonRejection},
    http::StatusCode,
};
use serde::{
    Deserialize, Deserializer,
    de::{
        DeserializeOwned, Error, MapAccess, Unexpected, Visitor,
        value::{MapAccessDeserializer, StringDeserializer},
    },
};

use super::problem::Problem;

/// 64 KiB: four times fifty swaps of a simulation, each with a pool of 32 bytes.
pub(super) const MAX_BYTES: usize = 64 * 1024;
/// Of what a parser says: it repeats what it was given, as long as that is. The longest that helps names all fields of a swap.
const SAID_MAX_CHARS: usize = 400;
/// Of one word in it: an address has 42, a hash 66.
const WORD_MAX_CHARS: usize = 80;

/// The body, an object.
pub(super) struct InBody<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for InBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let read = Json::<Object<T>>::from_request(request, state).await;
        read.map(|Json(Object(body))| Self(body)).map_err(|rejection| refused(&rejection))
    }
}

fn refused(rejection: &JsonRejection) -> Problem {
    let wrong = |status, text: String| Problem::new(status, "BAD_USER_INPUT", text);
    let said = |prefix: &str| -> String {
        let text = rejection.body_text();
        // What says nothing is left out, so that there is room for what helps.
        let words = text.strip_prefix(prefix).unwrap_or(&text).split(' ');
        let words: Vec<String> = words.map(|word| word.chars().take(WORD_MAX_CHARS).collect()).collect();
        words.join(" ").chars().take(SAID_MAX_CHARS).collect()
    };
    match rejection {
        JsonRejection::MissingJsonContentType(_) => {
            wrong(StatusCode::UNSUPPORTED_MEDIA_TYPE, "send the body as JSON, with `content-type: application/json`".to_owned())
        }
        JsonRejection::JsonDataError(_) => Problem::bad(said("Failed to deserialize the JSON body into the target type: ")),
        JsonRejection::JsonSyntaxError(_) => {
            Problem::bad(format!("the body is no JSON: {}", said("Failed to parse the request body as JSON: ")))
        }
        other if other.status() == StatusCode::PAYLOAD_TOO_LARGE => wrong(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body is larger than {} KiB: ask for less at a time", MAX_BYTES / 1024),
        ),
        _ => Problem::bad("the body could not be read: send it again"),
    }
}

/// `{…}` of JSON.
#[derive(Debug)]
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
            type Value = T;

            fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                to.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(fields))
            }
        }

        deserializer.deserialize_map(Fields(PhantomData)).map(Self)
    }
}

/// One of a closed set, as a text.
#[derive(Debug)]
pub(super) struct Word<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Word<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        T::deserialize(StringDeserializer::new(text)).map(Self)
    }
}

/// A whole number that fits.
#[derive(Debug)]
pub(super) struct Whole<T>(pub(super) T);

impl<'de, T: TryFrom<i128>> Deserialize<'de> for Whole<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number<T>(PhantomData<T>);

        impl<T: TryFrom<i128>> Visitor<'_> for Number<T> {
            type Value = T;

            fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                to.write_str("a whole number that is not out of range")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
                T::try_from(number.into()).map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
                T::try_from(number.into()).map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<T, E> {
                if number.fract() != 0.0 {
                    return Err(E::invalid_type(Unexpected::Float(number), &self));
                }
                // Nothing is rounded; what is beyond 128 bits becomes the largest there, which fits nowhere.
                T::try_from(number as i128).map_err(|_| E::invalid_value(Unexpected::Float(number), &self))
            }
        }

        deserializer.deserialize_any(Number(PhantomData)).map(Self)
    }
}
