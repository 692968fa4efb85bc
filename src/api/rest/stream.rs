//! `/v1/stream`: topics over server-sent events. What a stream says, and how it goes on after a break, is in [`super::follow`].

use std::{convert::Infallible, sync::Arc, time::Duration};

use alloy::primitives::keccak256;
use axum::{
    Extension,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode},
    response::{
        IntoResponse, Response,
        sse::{Event as SseEvent, KeepAlive, Sse},
    },
};
use dashmap::DashMap;
use futures_util::{StreamExt, stream};
use prometheus::IntGauge;
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use utoipa::IntoParams;

use super::{
    document::StreamRefusals,
    follow::{Feed, Follow},
    frame::Message,
    params::{InQuery, pool_id},
    pools::no_pool,
    problem::Problem,
};
use crate::{
    api::{
        access::{Caller, Cost},
        gql::{
            error::{ApiError, Code},
            scalars::shown,
        },
        intake::Client,
        router::Public,
    },
    domain::{ChainId, cursor::Cursor},
    store::topics::Topic,
};

/// Topics of one stream.
const TOPICS_MAX: usize = 100;
/// Streams of this process; each holds a connection.
const STREAMS_MAX: usize = 2_000;
/// A cursor of another replica may be some blocks ahead. 10,000: over half a day of Base.
const AHEAD_MAX_BLOCKS: u64 = 10_000;
/// A proxy that ends idle connections sees something within this.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
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
/// says where the stream is and how new that is. The message's `id` is a cursor: with it as `Last-Event-ID` (or `since`) a new stream goes
/// on right after it, without gap or double, after a broken connection, a restart of the server, and a reorg meanwhile. Messages without an
/// `id` belong to the next one that has it: take them together, because after a break that stretch is said again. A reader that is too
/// slow is served from history instead, and misses nothing.
///
/// `curl -N '/v1/stream?topics=swaps,blocks'` shows it; a page that waits for the end of an answer does not.
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
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (chain, topics) = topics(&public, &wanted.topics)?;
    let live = public.reader.live(Some(chain))?.clone();
    let since = match headers.get(LAST_EVENT_ID) {
        Some(id) => Some(("Last-Event-ID", id.to_str().unwrap_or_default())),
        None => wanted.since.as_deref().map(|since| ("since", since)),
    };
    let named = since.map(|(name, text)| Ok::<_, Problem>((name, cursor(name, text, chain)?))).transpose()?;
    if let (Some((name, since)), Some(head)) = (named, live.head().block.filter(|_| live.head().at_head))
        && since.block_number > head.number.saturating_add(AHEAD_MAX_BLOCKS)
    {
        return Err(Problem::bad(format!(
            "`{name}` is of block {}, and the newest block here is {}",
            since.block_number, head.number
        )));
    }
    let since = named.map(|(_, since)| since);
    let open = public.streams.open(caller.client(), &public.metrics.streams)?;
    let retry = RETRY_MS.saturating_add(spread(&headers));
    let first = SseEvent::default().retry(Duration::from_millis(retry)).comment("swaptide");
    let follow = Follow::new(public.reader.clone(), live, topics, since, public.shares.of(&caller));
    let draining = public.sockets.draining();
    let told = stream::unfold((follow, open), move |(mut follow, open)| {
        let (public, caller) = (public.clone(), caller.clone());
        async move {
            let (messages, alone) = follow.next().await;
            let (events, bytes): (Vec<SseEvent>, Vec<usize>) = messages.into_iter().map(Message::into_event).unzip();
            if alone {
                public.access.settle(&caller, Cost::new(bytes.into_iter().sum(), 0));
            }
            Some((stream::iter(events), (follow, open)))
        }
    });
    let messages =
        stream::once(async { first }).chain(told.flatten()).map(Ok::<_, Infallible>).take_until(draining.cancelled_owned());
    let alive = KeepAlive::new().interval(KEEP_ALIVE).text("still here");
    let mut response = Sse::new(messages).keep_alive(alive).into_response();
    // A proxy must hand on each message as it comes.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// The open streams.
pub(in crate::api) struct Streams {
    places: Arc<Semaphore>,
    /// Of one address; 0: no limit.
    per_address: usize,
    of_address: Arc<DashMap<Client, usize>>,
}

impl Streams {
    pub(in crate::api) fn new(per_address: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(STREAMS_MAX)), per_address, of_address: Arc::default() }
    }

    fn open(&self, client: Client, gauge: &IntGauge) -> Result<Open, Problem> {
        let full =
            || Problem::new(StatusCode::SERVICE_UNAVAILABLE, "UPSTREAM_DOWN", "too many streams are open: try again later");
        let place = self.places.clone().try_acquire_owned().map_err(|_| full())?;
        let counted = (self.per_address > 0).then(|| (client, self.of_address.clone()));
        if let Some((client, of_address)) = &counted {
            let mut open = of_address.entry(*client).or_insert(0);
            if *open >= self.per_address {
                let most = self.per_address;
                let message =
                    format!("this address has {most} streams open already: follow several topics with one, or end some");
                return Err(ApiError::new(Code::RateLimited, message).into());
            }
            *open = open.saturating_add(1);
        }
        gauge.inc();
        Ok(Open { gauge: gauge.clone(), counted, _place: place })
    }
}

/// Counts a stream for as long as it lives.
struct Open {
    gauge: IntGauge,
    counted: Option<(Client, Arc<DashMap<Client, usize>>)>,
    _place: OwnedSemaphorePermit,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.gauge.dec();
        if let Some((client, of_address)) = &self.counted {
            if let Some(mut open) = of_address.get_mut(client) {
                *open = open.saturating_sub(1);
            }
            of_address.remove_if(client, |_, open| *open == 0);
        }
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
    let count = text.split(',').count();
    if count > TOPICS_MAX {
        return Err(Problem::bad(format!("`topics` takes 1 to {TOPICS_MAX} topics, these are {count}")));
    }
    let mut chains = Vec::new();
    let mut topics: Vec<Topic> = Vec::new();
    for name in text.split(',').map(str::trim) {
        let (chain, topic) = topic(name)?;
        let live = public.reader.live(chain)?;
        chains.push(live.chain);
        // Topics cost memory as long as somebody waits on them. While the server starts, pools may still be on their way.
        if let Topic::Pool(id) | Topic::PoolSwaps(id) = topic
            && live.head().at_head
            && live.newest(&id).is_none()
        {
            return Err(no_pool(&id.to_string()));
        }
        if !topics.contains(&topic) {
            topics.push(topic);
        }
    }
    let chain = chains.first().copied().ok_or_else(|| wrong(text))?;
    if chains.iter().any(|other| *other != chain) {
        return Err(Problem::bad("all topics of a stream are of one chain: open a stream for each"));
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
