//! `/v1/stream`: topics over server-sent events. What a stream says, and how it goes on after a break, is in [`follow`].

use std::{convert::Infallible, sync::Arc};

use alloy::primitives::keccak256;
use axum::{
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode},
    response::{
        IntoResponse, Response,
        sse::{Event as SseEvent, Sse},
    },
};
use futures_util::{StreamExt, stream};
use prometheus::IntGauge;
use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;
use utoipa::IntoParams;

use super::{
    document::StreamRefusals,
    follow::{Feed, Follow},
    frame::Message,
    params::{InQuery, pool_id},
    problem::Problem,
};
use crate::{
    api::{gql::scalars::shown, router::Public},
    domain::{ChainId, cursor::Cursor},
    store::topics::Topic,
};

/// Topics of one stream.
const TOPICS_MAX: usize = 100;
/// Streams of this process; each holds a connection.
pub(in crate::api) const STREAMS_MAX: usize = 2_000;
/// Before a browser connects again, milliseconds; twice that at most, so that not all come at once.
const RETRY_MS: u64 = 1_000;
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// What to follow, and from where.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// `blocks`, `swaps`, `swaps:0x…` (of one pool), `pool:0x…` (its state), separated by commas; where several chains are served with
    /// the chain's number: `swaps:1`, `pool:1:0x…`. 1 to 100, all of one chain.
    #[param(example = "swaps,blocks")]
    topics: String,
    /// A cursor of this server: the stream goes on right after it. `Last-Event-ID` wins, which browsers send when they connect again.
    #[param(pattern = "^[0-9A-Za-z_-]+$", max_length = 200)]
    since: Option<String>,
}

/// Blocks, swaps and pool states as they change, as server-sent events.
///
/// Each message is one JSON frame: what a change of the chain did to one topic. An UPDATE brings `data`, a RETRACT takes back what it
/// lists (newest first), a SNAPSHOT is the state to start from, ROLLBACK says to drop everything above `block`, and a HEARTBEAT every 10 s
/// says how new the stream is. The message's `id` is a cursor: with it as `Last-Event-ID` (or `since`) a new stream goes on right after
/// it, without gap or double, after a broken connection, a restart of the server, and a reorg meanwhile. A reader that is too slow is
/// served from history instead, and misses nothing.
#[utoipa::path(
    get, path = "/v1/stream", operation_id = "openStream", tag = "events",
    params(Wanted, ("Last-Event-ID" = Option<String>, Header, description = "The `id` of the last message that was received")),
    responses(
        (status = 200, description = "Messages, each a `Frame` as JSON; the stream does not end by itself", body = String, content_type = "text/event-stream"),
        StreamRefusals
    )
)]
pub(super) async fn stream(
    State(public): State<Arc<Public>>,
    InQuery(wanted): InQuery<Wanted>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (chain, topics) = topics(&public, &wanted.topics)?;
    let live = public.reader.live(Some(chain))?.clone();
    let since = match headers.get(LAST_EVENT_ID) {
        Some(id) => Some(("Last-Event-ID", id.to_str().unwrap_or_default())),
        None => wanted.since.as_deref().map(|since| ("since", since)),
    };
    let since = since.map(|(name, text)| cursor(name, text, chain)).transpose()?;
    let Ok(place) = public.streams.clone().try_acquire_owned() else {
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "UPSTREAM_DOWN", "too many streams are open: try again later"));
    };
    let retry = RETRY_MS.saturating_add(spread(&headers));
    let first = SseEvent::default().retry(std::time::Duration::from_millis(retry)).comment("swaptide");
    let follow = Follow::new(public.reader.clone(), live, topics, since);
    let draining = public.sockets.draining();
    let open = Open::new(&public.metrics.streams, place);
    let frames = stream::unfold((follow, open), |(mut follow, open)| async move {
        let messages = follow.next().await;
        Some((stream::iter(messages), (follow, open)))
    });
    let messages = stream::once(async { first })
        .chain(frames.flatten().map(|message: Message| message.into_event()))
        .map(Ok::<_, Infallible>)
        .take_until(draining.cancelled_owned());
    let mut response = Sse::new(messages).into_response();
    // A proxy must hand on each message as it comes.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// Counts a stream for as long as it lives.
struct Open(IntGauge, #[expect(dead_code, reason = "held, not read")] OwnedSemaphorePermit);

impl Open {
    fn new(gauge: &IntGauge, place: OwnedSemaphorePermit) -> Self {
        gauge.inc();
        Self(gauge.clone(), place)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A number below [`RETRY_MS`] that differs between clients.
fn spread(headers: &HeaderMap) -> u64 {
    let name = headers.get(crate::api::intake::REQUEST_ID).map_or(&[] as &[u8], HeaderValue::as_bytes);
    let hash = keccak256(name);
    hash.first().map_or(0, |byte| u64::from(*byte).saturating_mul(RETRY_MS) / 256)
}

fn cursor(name: &str, text: &str, chain: ChainId) -> Result<Cursor, Problem> {
    let cursor = Cursor::decode(text).map_err(|e| Problem::bad(format!("`{name}`: {e}")))?;
    if cursor.chain != chain {
        return Err(Problem::bad(format!("`{name}` is a cursor of chain {}, the topics are of chain {chain}", cursor.chain)));
    }
    Ok(cursor)
}

fn topics(public: &Public, text: &str) -> Result<(ChainId, Vec<Feed>), Problem> {
    let mut chains = Vec::new();
    let mut topics: Vec<Topic> = Vec::new();
    for name in text.split(',').map(str::trim) {
        let (chain, topic) = topic(name)?;
        chains.push(public.reader.live(chain)?.chain);
        if !topics.contains(&topic) {
            topics.push(topic);
        }
    }
    let chain = chains.first().copied().ok_or_else(|| wrong(text))?;
    if chains.iter().any(|other| *other != chain) {
        return Err(Problem::bad("all topics of a stream are of one chain: open a stream for each"));
    }
    if topics.len() > TOPICS_MAX {
        return Err(Problem::bad(format!("`topics` takes 1 to {TOPICS_MAX} topics, these are {}", topics.len())));
    }
    Ok((chain, topics.into_iter().map(|topic| Feed::new(chain, topic)).collect()))
}

/// `swaps`, `swaps:1`, `swaps:0x…`, `swaps:1:0x…`
fn topic(name: &str) -> Result<(Option<ChainId>, Topic), Problem> {
    let mut parts = name.split(':');
    let kind = parts.next().unwrap_or_default();
    let mut rest = parts.peekable();
    let chain = match rest.peek().map(|part| part.parse::<ChainId>()) {
        Some(Ok(chain)) => {
            rest.next();
            Some(chain)
        }
        _ => None,
    };
    let pool = rest.next().map(pool_id).transpose()?;
    let topic = match (kind, pool, rest.next()) {
        ("blocks", None, None) => Topic::Blocks,
        ("swaps", None, None) => Topic::Swaps,
        ("swaps", Some(pool), None) => Topic::PoolSwaps(pool),
        ("pool", Some(pool), None) => Topic::Pool(pool),
        _ => return Err(wrong(name)),
    };
    Ok((chain, topic))
}

fn wrong(name: &str) -> Problem {
    Problem::bad(format!(
        "`{}` is no topic: `topics` takes `blocks`, `swaps`, `swaps:0x…` and `pool:0x…`, separated by commas; with the chain's number \
         where several are served, `swaps:1`",
        shown(name)
    ))
}
