//! An answer: data in the body, the block it is true at in the headers, and an ETag over the data alone. To a question with a body
//! there is none: nobody keeps what a POST was answered.

use std::hash::{DefaultHasher, Hasher};

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::problem::Problem;
use crate::{
    domain::block::BlockRef,
    store::{Freshness, Pin, history::DataSource, reader::ReadError},
};

pub(in crate::api) const AS_OF_BLOCK: HeaderName = HeaderName::from_static("x-as-of-block");
pub(in crate::api) const AS_OF_HASH: HeaderName = HeaderName::from_static("x-as-of-block-hash");
pub(in crate::api) const AS_OF_TIME: HeaderName = HeaderName::from_static("x-as-of-timestamp");
pub(in crate::api) const FRESHNESS: HeaderName = HeaderName::from_static("x-freshness");
pub(in crate::api) const DATA_SOURCE: HeaderName = HeaderName::from_static("x-data-source");

/// What a handler answers.
pub(super) struct Answer {
    body: Vec<u8>,
    as_of: BlockRef,
    freshness: Freshness,
    source: DataSource,
    /// The path and query of the next page.
    next: Option<String>,
    /// What the client has already, from `If-None-Match`.
    known: Option<HeaderValue>,
    /// Whether a client may keep it, and ask whether it changed.
    is_kept: bool,
}

impl Answer {
    /// `data`, true at the pin's block.
    pub(super) fn new(pin: &Pin, request: &HeaderMap, source: DataSource, data: &impl Serialize) -> Result<Self, Problem> {
        let as_of = pin.head().block.ok_or(ReadError::Starting)?;
        let body = serde_json::to_vec(data).map_err(|error| {
            tracing::error!(%error, "an answer could not be written as JSON");
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "UPSTREAM_DOWN", "the answer could not be written: try again")
        })?;
        let known = request.get(header::IF_NONE_MATCH).cloned();
        Ok(Self { body, as_of, freshness: pin.freshness(), source, next: None, known, is_kept: true })
    }

    /// To a question with a body: true at the pin's block, and for this once.
    pub(super) fn once(pin: &Pin, source: DataSource, data: &impl Serialize) -> Result<Self, Problem> {
        Ok(Self { is_kept: false, ..Self::new(pin, &HeaderMap::new(), source, data)? })
    }

    /// True at an older block: a pool that is being rebuilt.
    pub(super) fn held_at(self, as_of: BlockRef) -> Self {
        Self { as_of, ..self }
    }

    pub(super) fn next(self, next: Option<String>) -> Self {
        Self { next, ..self }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let tag = self.is_kept.then(|| etag(&self.body));
        let known = self.known.as_ref().and_then(|known| known.to_str().ok());
        let unchanged = known.zip(tag.as_deref()).is_some_and(|(known, tag)| matches(known, tag));
        let mut response = if unchanged { StatusCode::NOT_MODIFIED.into_response() } else { self.body.into_response() };
        let headers = response.headers_mut();
        if !unchanged {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        // Kept, and asked about every time; or not at all.
        let control = if self.is_kept { "no-cache" } else { "no-store" };
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(control));
        headers.insert(AS_OF_BLOCK, HeaderValue::from(self.as_of.number));
        headers.insert(AS_OF_TIME, HeaderValue::from(self.as_of.timestamp));
        headers.insert(FRESHNESS, HeaderValue::from_static(freshness(self.freshness)));
        headers.insert(DATA_SOURCE, HeaderValue::from_static(source(self.source)));
        let texts = [
            (header::ETAG, tag),
            (AS_OF_HASH, Some(format!("{:#x}", self.as_of.hash))),
            (header::LINK, self.next.map(|next| format!("<{next}>; rel=\"next\""))),
        ];
        for (name, text) in texts {
            if let Some(value) = text.and_then(|text| HeaderValue::from_str(&text).ok()) {
                headers.insert(name, value);
            }
        }
        response
    }
}

/// Weak, because compression changes the bytes. 64 bits tell versions of one resource apart; nobody gains from a collision.
fn etag(body: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    hasher.write(body);
    format!("W/\"{:016x}\"", hasher.finish())
}

/// RFC 9110, weak comparison: `*`, or one of a list.
fn matches(known: &str, tag: &str) -> bool {
    let bare = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    known.trim() == "*" || known.split(',').any(|one| bare(one) == bare(tag))
}

pub(super) fn freshness(freshness: Freshness) -> &'static str {
    match freshness {
        Freshness::Live => "LIVE",
        Freshness::Delayed => "DELAYED",
        Freshness::Stale => "STALE",
    }
}

fn source(source: DataSource) -> &'static str {
    match source {
        DataSource::Memory => "memory",
        DataSource::Sqlite => "sqlite",
        DataSource::Mongodb => "mongodb",
    }
}
