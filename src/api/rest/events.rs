//! Swaps, mints and burns: in pages, newest first unless asked otherwise, or since a cursor; `_meta`.

use std::sync::Arc;

use axum::{extract::State, http::HeaderMap};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    answer::Answer,
    document::{CursorRefusals, Refusals},
    model::{Block, Chain, Event},
    params::{InPath, InQuery, OfPool, OnChain, Order, PageParams, address, limit, pin, pool_id},
    pools::no_pool,
    problem::Problem,
    text,
};
use crate::{
    api::{
        gql::{cursor, scalars::Cursor as CursorText},
        router::Public,
    },
    domain::{cursor::Cursor, dollars::Usd, event::EventKind},
    store::{
        Pin,
        branch::Standing,
        history::DataSource,
        query::{EventQuery, Fields, Narrow, Place},
        reader::Scan,
    },
};

/// Which events: at most one of pool, token, origin and transaction, because each has its own index.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// How many, 1 to 1000; 100 where it is not said.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// Where the page begins: `cursor` of the page before, or follow its `Link`.
    #[param(pattern = "^[0-9A-Za-z_-]+$", max_length = 200)]
    cursor: Option<String>,
    /// For pollers: what came after this `cursor`, oldest first; `head` begins now, with a cursor and no data. Not together with
    /// `cursor` and `order`.
    #[param(pattern = "^[0-9A-Za-z_-]+$", max_length = 200)]
    since: Option<String>,
    /// `asc` or `desc`; `desc` where it is not said.
    #[param(inline)]
    order: Option<Order>,
    /// Only events of this pool.
    #[param(pattern = "^0x([0-9a-fA-F]{40}|[0-9a-fA-F]{64})$")]
    pool: Option<String>,
    /// Only events of pools that trade this token, on either side.
    #[param(pattern = "^0x[0-9a-fA-F]{40}$")]
    token: Option<String>,
    /// Only events of transactions that this account signed, as far as that has been looked up.
    #[param(pattern = "^0x[0-9a-fA-F]{40}$")]
    origin: Option<String>,
    /// Only events that moved so many dollars; those whose value is not known are left out. Each answer looks at 10,000 events: it may
    /// have fewer than `limit`, and none, and still a `cursor` to go on from.
    #[param(minimum = 0, maximum = 4_294_967_295_i64, example = 1_000)]
    min_usd: Option<u32>,
    /// Only events of blocks at or after this time, seconds since 1970.
    #[param(example = 1_760_000_000)]
    from: Option<u64>,
    /// Only events of blocks before this time.
    to: Option<u64>,
}

/// What came after a cursor, or a page of a list.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Events {
    #[schema(max_items = 1000)]
    pub(super) data: Vec<Event>,
    /// With `since`: pass it as `since` the next time. In a list: for the next page, null on the last one.
    pub(super) cursor: Option<text::Cursor>,
    /// With `since`: a reorg took back the cursor's block. Drop every event that you have of blocks above this one; `data` goes on from
    /// there.
    pub(super) rollback_to: Option<Position>,
}

/// A place that a reorg left standing.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub(super) struct Position {
    number: u64,
}

/// What is said of all three lists.
const LIST: &str = "A page, newest first unless `order` says otherwise; or, with `since`, what came after a cursor, oldest first. Where a \
                    reorg took that cursor's block back, `rollbackTo` says which block is still right: drop what you have above it.";

macro_rules! list {
    ($name:ident, $path:literal, $id:literal, $kind:expr, $summary:literal) => {
        #[utoipa::path(
            get, path = $path, operation_id = $id, tag = "events", summary = $summary, description = LIST,
            params(OnChain, Wanted),
            responses((status = 200, description = "A page, or what came since the cursor", body = Events), CursorRefusals)
        )]
        pub(super) async fn $name(
            State(public): State<Arc<Public>>,
            InPath(at): InPath<OnChain>,
            InQuery(wanted): InQuery<Wanted>,
            headers: HeaderMap,
        ) -> Result<Answer, Problem> {
            let pin = pin(&public, &at.chain_id)?;
            answer(&public, &pin, &headers, stringify!($name), $kind, wanted).await
        }
    };
}

list!(swaps, "/v1/{chainId}/swaps", "listSwaps", EventKind::Swap, "Swaps.");
list!(mints, "/v1/{chainId}/mints", "listMints", EventKind::Mint, "Liquidity put into pools.");
list!(burns, "/v1/{chainId}/burns", "listBurns", EventKind::Burn, "Liquidity taken out of pools.");

/// The swaps of one pool, newest first.
///
/// The same as `/swaps?pool=`, and a problem where there is no such pool.
#[utoipa::path(
    get, path = "/v1/{chainId}/pools/{id}/swaps", operation_id = "listPoolSwaps", tag = "events",
    params(OfPool, PageParams),
    responses(
        (status = 200, description = "A page of swaps", body = Events),
        CursorRefusals
    )
)]
pub(super) async fn of_pool(
    State(public): State<Arc<Public>>,
    InPath(at): InPath<OfPool>,
    InQuery(page): InQuery<PageParams>,
    headers: HeaderMap,
) -> Result<Answer, Problem> {
    let pin = pin(&public, &at.chain_id)?;
    let id = pool_id(&at.id)?;
    if pin.pool(&id).is_none() {
        return Err(no_pool(&id.to_string()));
    }
    let wanted = Wanted { limit: page.limit, cursor: page.cursor, pool: Some(id.to_string()), ..Wanted::default() };
    answer(&public, &pin, &headers, "swaps", EventKind::Swap, wanted).await
}

/// How new this server is on this chain.
///
/// The newest block is in the body, so this ETag changes with each block.
#[utoipa::path(
    get, path = "/v1/{chainId}/_meta", operation_id = "getMeta", tag = "chain",
    params(OnChain),
    responses(
        (status = 200, description = "The chain as it is here", body = Chain),
        Refusals
    )
)]
pub(super) async fn meta(
    State(public): State<Arc<Public>>,
    InPath(at): InPath<OnChain>,
    headers: HeaderMap,
) -> Result<Answer, Problem> {
    let pin = pin(&public, &at.chain_id)?;
    let (head, live) = (pin.head(), pin.live());
    let tip = head.block.map_or(0, |b| b.number);
    let chain = Chain {
        chain_id: pin.chain(),
        name: live.chain_name.clone(),
        block: head.block.map(Block::from),
        freshness: pin.freshness().into(),
        at_head: head.at_head,
        safe_block: tip.saturating_sub(live.confirmations).max(head.finalized_number),
        finalized_block: head.finalized_number,
        durable_block: live.durable_block(),
        pools: pin.pools().len(),
    };
    Answer::new(&pin, &headers, DataSource::Memory, &chain)
}

pub(super) fn event_query(pin: &Pin, kind: EventKind, narrow: Narrow, limit: usize) -> EventQuery {
    EventQuery {
        chain: pin.chain(),
        kind,
        narrow,
        after: None,
        before: None,
        time_from: None,
        time_to: None,
        newest_first: true,
        fields: Fields { state_after: false, enrichment: true },
        limit,
    }
}

async fn answer(
    public: &Public,
    pin: &Arc<Pin>,
    headers: &HeaderMap,
    name: &str,
    kind: EventKind,
    wanted: Wanted,
) -> Result<Answer, Problem> {
    let limit = limit(wanted.limit)?;
    let narrow = match (&wanted.pool, &wanted.token, &wanted.origin) {
        (None, None, None) => Narrow::All,
        (Some(pool), None, None) => Narrow::Pool(pool_id(pool)?),
        (None, Some(token), None) => Narrow::Token(address("token", token)?),
        (None, None, Some(origin)) => Narrow::Origin(address("origin", origin)?),
        _ => return Err(Problem::bad("give at most one of `pool`, `token` and `origin`: each has an index of its own")),
    };
    for (name, time) in [("from", wanted.from), ("to", wanted.to)] {
        if time.is_some_and(|time| i64::try_from(time).is_err()) {
            return Err(Problem::bad(format!("`{name}` is in seconds since 1970")));
        }
    }
    let all = EventQuery { time_from: wanted.from, time_to: wanted.to, ..event_query(pin, kind, narrow, limit) };
    if let Some(since) = &wanted.since {
        if wanted.cursor.is_some() || wanted.order.is_some() {
            return Err(Problem::bad("`since` stands alone: it is always oldest first, and its answer has the next `since`"));
        }
        return since_cursor(public, pin, headers, all, since, wanted.min_usd).await;
    }
    let newest_first = wanted.order.unwrap_or_default() == Order::Desc;
    let place = wanted.cursor.as_ref().map(|text| cursor::place(pin, &CursorText(text.clone()), newest_first)).transpose()?;
    let asked = EventQuery { newest_first, limit, ..all };
    let asked = if newest_first { EventQuery { before: place, ..asked } } else { EventQuery { after: place, ..asked } };
    let found = look(public, pin, asked, wanted.min_usd).await?;
    let cursor = found.last.as_ref().filter(|_| found.more).map(|last| cursor::of_event(pin, last).0);
    let next = cursor.as_ref().map(|cursor| {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_pair("limit", &limit.to_string()).append_pair("cursor", cursor);
        let order = if newest_first { "desc" } else { "asc" };
        query.append_pair("order", order);
        for (name, value) in [("pool", &wanted.pool), ("token", &wanted.token), ("origin", &wanted.origin)] {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        for (name, value) in [("min_usd", wanted.min_usd.map(u64::from)), ("from", wanted.from), ("to", wanted.to)] {
            if let Some(value) = value {
                query.append_pair(name, &value.to_string());
            }
        }
        format!("/v1/{}/{name}?{}", pin.chain(), query.finish())
    });
    let data = found.events.into_iter().map(|event| Event::of(pin, event)).collect();
    Ok(Answer::new(pin, headers, found.source, &Events { data, cursor: cursor.map(Into::into), rollback_to: None })?.next(next))
}

/// Up to `query.limit` events, and where to go on. Without a threshold an index finds them, and one more says whether there are more.
async fn look(public: &Public, pin: &Pin, query: EventQuery, min_usd: Option<u32>) -> Result<Scan, Problem> {
    if let Some(dollars) = min_usd {
        let least = Usd::whole(dollars);
        return Ok(public.reader.scan(pin, query, |event| event.row.usd.is_some_and(|usd| usd >= least)).await?);
    }
    let found = public.reader.events(pin, EventQuery { limit: query.limit.saturating_add(1), ..query }).await?;
    let mut events = found.events;
    let more = events.len() > query.limit;
    events.truncate(query.limit);
    Ok(Scan { last: events.last().cloned(), events, source: found.source, more })
}

/// In place of a cursor: whoever has none yet. It is shorter than any cursor.
const HEAD: &str = "head";

/// What a poller does not have yet; where its cursor was taken back, from where its branch left ours.
async fn since_cursor(
    public: &Public,
    pin: &Arc<Pin>,
    headers: &HeaderMap,
    all: EventQuery,
    since: &str,
    min_usd: Option<u32>,
) -> Result<Answer, Problem> {
    if since == HEAD {
        let cursor = pin.cursor().map(|cursor| cursor.encode().into());
        return Answer::new(pin, headers, DataSource::Memory, &Events { data: Vec::new(), cursor, rollback_to: None });
    }
    let from = Cursor::decode(since).map_err(|e| Problem::bad(format!("`since`: {e}")))?;
    if from.chain != pin.chain() {
        return Err(Problem::bad(format!(
            "`since` is a cursor of chain {}, the path is about chain {}",
            from.chain,
            pin.chain()
        )));
    }
    let (after, rollback_to) = match public.reader.standing(pin, &from).await? {
        Standing::Holds => (Place::seen(&from), None),
        Standing::TakenBack { fork, .. } => (Place::below(fork.saturating_add(1)), Some(Position { number: fork })),
    };
    let found = look(public, pin, EventQuery { newest_first: false, after, ..all }, min_usd).await?;
    let cursor = match &found.last {
        Some(last) => cursor::of_event(pin, last).0,
        // Nothing came: the cursor that was given still holds, and an unchanged answer has an unchanged ETag.
        None if rollback_to.is_none() => since.to_owned(),
        None => pin.cursor().map_or_else(|| since.to_owned(), |cursor| cursor.encode()),
    };
    let data = found.events.into_iter().map(|event| Event::of(pin, event)).collect();
    Answer::new(pin, headers, found.source, &Events { data, cursor: Some(cursor.into()), rollback_to })
}
