//! Swaps, mints and burns: in pages, newest first unless asked otherwise, or since a cursor; a transaction; an account; `_meta`.

use std::sync::Arc;

use axum::{extract::State, http::HeaderMap};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    answer::Answer,
    model::{Block, Chain, Event, Page},
    params::{InPath, InQuery, Order, PageParams, address, hash, limit, pin, pool_id},
    pools::no_pool,
    problem::Problem,
};
use crate::{
    api::{
        gql::{cursor, scalars::Cursor as CursorText},
        router::Public,
    },
    domain::{cursor::Cursor, event::EventKind},
    store::{
        Freshness, Pin,
        history::DataSource,
        query::{EventQuery, Fields, Narrow, Place},
        reader::Standing,
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
    cursor: Option<String>,
    /// For pollers: what came after this `cursor`, oldest first. Not together with `cursor` and `order`.
    since: Option<String>,
    /// `asc` or `desc`; `desc` where it is not said.
    #[param(inline)]
    order: Option<Order>,
    /// Only events of this pool.
    pool: Option<String>,
    /// Only events of pools that trade this token, on either side.
    token: Option<String>,
    /// Only events of transactions that this account signed, as far as that has been looked up.
    origin: Option<String>,
    /// Only events of blocks at or after this time, seconds since 1970.
    from: Option<u64>,
    /// Only events of blocks before this time.
    to: Option<u64>,
}

/// What came after a cursor, or a page of a list.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Events {
    data: Vec<Event>,
    /// With `since`: pass it as `since` the next time. In a list: for the next page, null on the last one.
    cursor: Option<String>,
    /// With `since`: a reorg took back the cursor's block. Drop every event that you have of blocks above this one; `data` goes on from
    /// there.
    rollback_to: Option<Position>,
}

/// A place that a reorg left standing.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub(super) struct Position {
    number: u64,
}

macro_rules! list {
    ($name:ident, $path:literal, $kind:expr, $doc:literal) => {
        #[doc = $doc]
        #[utoipa::path(
            get, path = $path, tag = "events",
            params(("chainId" = u64, Path, description = "EIP-155 number"), Wanted),
            responses(
                (status = 200, description = "A page, or what came since the cursor", body = Events),
                (status = 304, description = "Unchanged since the ETag in `If-None-Match`"),
                (status = "4XX", description = "What is wrong with the request", body = Problem, content_type = "application/problem+json"),
                (status = 503, description = "Not ready, or history cannot be read now: see `Retry-After`", body = Problem, content_type = "application/problem+json"),
            )
        )]
        pub(super) async fn $name(
            State(public): State<Arc<Public>>,
            InPath(chain): InPath<String>,
            InQuery(wanted): InQuery<Wanted>,
            headers: HeaderMap,
        ) -> Result<Answer, Problem> {
            let pin = pin(&public, &chain)?;
            answer(&public, &pin, &headers, stringify!($name), $kind, wanted).await
        }
    };
}

list!(swaps, "/v1/{chainId}/swaps", EventKind::Swap, "Swaps.");
list!(mints, "/v1/{chainId}/mints", EventKind::Mint, "Liquidity put into pools.");
list!(burns, "/v1/{chainId}/burns", EventKind::Burn, "Liquidity taken out of pools.");

/// The swaps of one pool, newest first.
#[utoipa::path(
    get, path = "/v1/{chainId}/pools/{id}/swaps", tag = "events",
    params(
        ("chainId" = u64, Path, description = "EIP-155 number"),
        ("id" = String, Path, description = "The pool's address, any case"),
        PageParams
    ),
    responses(
        (status = 200, description = "A page of swaps", body = Events),
        (status = 304, description = "Unchanged since the ETag in `If-None-Match`"),
        (status = "4XX", description = "What is wrong with the request, or no such pool", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Not ready, or history cannot be read now: see `Retry-After`", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn of_pool(
    State(public): State<Arc<Public>>,
    InPath((chain, id)): InPath<(String, String)>,
    InQuery(page): InQuery<PageParams>,
    headers: HeaderMap,
) -> Result<Answer, Problem> {
    let pin = pin(&public, &chain)?;
    let id = pool_id(&id)?;
    if pin.pool(&id).is_none() {
        return Err(no_pool(&id.to_string()));
    }
    let wanted = Wanted { limit: page.limit, cursor: page.cursor, pool: Some(id.to_string()), ..Wanted::default() };
    answer(&public, &pin, &headers, "swaps", EventKind::Swap, wanted).await
}

/// What an account did: the swaps of transactions that it signed, newest first, as far as signers have been looked up.
#[utoipa::path(
    get, path = "/v1/{chainId}/accounts/{address}/activity", tag = "events",
    params(
        ("chainId" = u64, Path, description = "EIP-155 number"),
        ("address" = String, Path, description = "The account, any case"),
        PageParams
    ),
    responses(
        (status = 200, description = "A page of swaps", body = Events),
        (status = 304, description = "Unchanged since the ETag in `If-None-Match`"),
        (status = "4XX", description = "What is wrong with the request", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Not ready, or history cannot be read now: see `Retry-After`", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn activity(
    State(public): State<Arc<Public>>,
    InPath((chain, account)): InPath<(String, String)>,
    InQuery(page): InQuery<PageParams>,
    headers: HeaderMap,
) -> Result<Answer, Problem> {
    let pin = pin(&public, &chain)?;
    let account = address("address", &account)?;
    let wanted = Wanted { limit: page.limit, cursor: page.cursor, origin: Some(format!("{account:#x}")), ..Wanted::default() };
    answer(&public, &pin, &headers, "swaps", EventKind::Swap, wanted).await
}

/// The swaps, mints and burns of one transaction, in their order.
#[utoipa::path(
    get, path = "/v1/{chainId}/transactions/{hash}", tag = "events",
    params(("chainId" = u64, Path, description = "EIP-155 number"), ("hash" = String, Path, description = "The transaction's hash")),
    responses(
        (status = 200, description = "Its events", body = Page<Event>),
        (status = 304, description = "Unchanged since the ETag in `If-None-Match`"),
        (status = "4XX", description = "What is wrong with the request, or no event of it is known", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Not ready, or history cannot be read now: see `Retry-After`", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn transaction(
    State(public): State<Arc<Public>>,
    InPath((chain, text)): InPath<(String, String)>,
    headers: HeaderMap,
) -> Result<Answer, Problem> {
    let (pin, hash) = (pin(&public, &chain)?, hash("hash", &text)?);
    let mut all = Vec::new();
    let mut source = DataSource::Memory;
    for kind in [EventKind::Swap, EventKind::Mint, EventKind::Burn] {
        let query =
            EventQuery { newest_first: false, ..event_query(&pin, kind, Narrow::Transaction(hash), EventQuery::LIMIT_MAX) };
        let found = public.reader.events(&pin, query).await?;
        if found.source != DataSource::Memory {
            source = found.source;
        }
        all.extend(found.events);
    }
    if all.is_empty() {
        return Err(Problem::not_found(format!("no swap, mint or burn of transaction {hash:#x} is known on this chain")));
    }
    all.sort_by_key(|event| event.row.log_index());
    let data = all.into_iter().map(|event| Event::of(&pin, event)).collect();
    Answer::new(&pin, &headers, source, &Page { data, cursor: None })
}

/// How new this server is on this chain.
#[utoipa::path(
    get, path = "/v1/{chainId}/_meta", tag = "chain",
    params(("chainId" = u64, Path, description = "EIP-155 number")),
    responses(
        (status = 200, description = "The chain as it is here", body = Chain),
        (status = 304, description = "Unchanged since the ETag in `If-None-Match`"),
        (status = "4XX", description = "What is wrong with the request", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Not ready yet: see `Retry-After`", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn meta(
    State(public): State<Arc<Public>>,
    InPath(chain): InPath<String>,
    headers: HeaderMap,
) -> Result<Answer, Problem> {
    let pin = pin(&public, &chain)?;
    let (head, live) = (pin.head(), pin.live());
    let tip = head.block.map_or(0, |b| b.number);
    let chain = Chain {
        chain_id: pin.chain(),
        name: live.chain_name.clone(),
        block: head.block.map(Block::from),
        freshness: match pin.freshness() {
            Freshness::Live => "LIVE",
            Freshness::Delayed => "DELAYED",
            Freshness::Stale => "STALE",
        },
        at_head: head.at_head,
        safe_block: tip.saturating_sub(live.confirmations).max(head.finalized_number),
        finalized_block: head.finalized_number,
        durable_block: *live.watch_durable().borrow(),
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
    let all =
        EventQuery { time_from: wanted.from, time_to: wanted.to, ..event_query(pin, kind, narrow, limit.saturating_add(1)) };
    if let Some(since) = &wanted.since {
        if wanted.cursor.is_some() || wanted.order.is_some() {
            return Err(Problem::bad("`since` stands alone: it is always oldest first, and its answer has the next `since`"));
        }
        return since_cursor(public, pin, headers, all, since, limit).await;
    }
    let newest_first = wanted.order.unwrap_or_default() == Order::Desc;
    let place = wanted.cursor.as_ref().map(|text| cursor::place(pin, &CursorText(text.clone()), newest_first)).transpose()?;
    let asked = EventQuery { newest_first, ..all };
    let asked = if newest_first { EventQuery { before: place, ..asked } } else { EventQuery { after: place, ..asked } };
    let found = public.reader.events(pin, asked).await?;
    let mut events = found.events;
    let more = events.len() > limit;
    events.truncate(limit);
    let cursor = events.last().filter(|_| more).map(|last| cursor::of_event(pin, last).0);
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
        for (name, value) in [("from", wanted.from), ("to", wanted.to)] {
            if let Some(value) = value {
                query.append_pair(name, &value.to_string());
            }
        }
        format!("/v1/{}/{name}?{}", pin.chain(), query.finish())
    });
    let data = events.into_iter().map(|event| Event::of(pin, event)).collect();
    Ok(Answer::new(pin, headers, found.source, &Events { data, cursor, rollback_to: None })?.next(next))
}

/// What a poller does not have yet; where its cursor was taken back, from where its branch left ours.
async fn since_cursor(
    public: &Public,
    pin: &Arc<Pin>,
    headers: &HeaderMap,
    all: EventQuery,
    since: &str,
    limit: usize,
) -> Result<Answer, Problem> {
    let from = Cursor::decode(since).map_err(|e| Problem::bad(format!("`since`: {e}")))?;
    if from.chain != pin.chain() {
        return Err(Problem::bad(format!(
            "`since` is a cursor of chain {}, the path is about chain {}",
            from.chain,
            pin.chain()
        )));
    }
    let (after, rollback_to) = match public.reader.standing(pin, &from).await? {
        Standing::Holds => (place_after(&from), None),
        Standing::TakenBack { fork, .. } => (before_block(fork.saturating_add(1)), Some(Position { number: fork })),
    };
    let found = public.reader.events(pin, EventQuery { newest_first: false, after: Some(after), limit, ..all }).await?;
    let cursor = match found.events.last() {
        Some(last) => cursor::of_event(pin, last).0,
        // Nothing came: the cursor that was given still holds, and an unchanged answer has an unchanged ETag.
        None if rollback_to.is_none() => since.to_owned(),
        None => pin.cursor().map_or_else(|| since.to_owned(), |cursor| cursor.encode()),
    };
    let data = found.events.into_iter().map(|event| Event::of(pin, event)).collect();
    Answer::new(pin, headers, found.source, &Events { data, cursor: Some(cursor), rollback_to })
}

/// The last place that a cursor has seen, where it still holds.
pub(super) fn place_after(cursor: &Cursor) -> Place {
    match cursor.next_log_index {
        0 => before_block(cursor.block_number),
        Cursor::BLOCK_END => before_block(cursor.block_number.saturating_add(1)),
        next => Place { block_number: cursor.block_number, log_index: u64::from(next).saturating_sub(1) },
    }
}

/// After everything of the blocks below.
fn before_block(number: u64) -> Place {
    match number.checked_sub(1) {
        Some(below) => Place { block_number: below, log_index: u64::MAX },
        None => Place { block_number: 0, log_index: 0 },
    }
}
