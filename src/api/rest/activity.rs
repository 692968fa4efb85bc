//! Events of every kind: of an account, of a transaction.

use std::sync::Arc;

use axum::{extract::State, http::HeaderMap};

use super::{
    answer::Answer,
    document::{CursorRefusals, Refusals},
    events::{Events, event_query},
    model::{Event, Page},
    params::{InPath, InQuery, OfAccount, OfTransaction, PageParams, address, hash, limit, pin},
    problem::Problem,
};
use crate::{
    api::{
        gql::{cursor, scalars::Cursor as CursorText},
        router::Public,
    },
    domain::{event::EventKind, record::EventAt},
    store::{
        Pin, Reader,
        history::DataSource,
        query::{EventQuery, Narrow},
        reader::ReadError,
    },
};

/// Of one transaction: at the gas that the cheapest of them takes, more than a block of 60 million gas holds.
const TRANSACTION_EVENTS: usize = 1_000;

const KINDS: [EventKind; 3] = [EventKind::Swap, EventKind::Mint, EventKind::Burn];

/// The swaps, mints and burns of transactions that an account signed, newest first.
///
/// As far as signers have been looked up: that happens behind everything else.
#[utoipa::path(
    get, path = "/v1/{chainId}/accounts/{address}/activity", operation_id = "getAccountActivity", tag = "events",
    params(OfAccount, PageParams),
    responses(
        (status = 200, description = "A page of events", body = Events),
        CursorRefusals
    )
)]
pub(super) async fn of_account(
    State(public): State<Arc<Public>>,
    InPath(at): InPath<OfAccount>,
    InQuery(page): InQuery<PageParams>,
    headers: HeaderMap,
) -> Result<Answer, Problem> {
    let pin = pin(&public, &at.chain_id)?;
    let (account, limit) = (address("address", &at.address)?, limit(page.limit)?);
    let before = page.cursor.map(|text| cursor::place(&pin, &CursorText(text), true)).transpose()?;
    let query = event_query(&pin, EventKind::Swap, Narrow::Origin(account), limit.saturating_add(1));
    let (mut events, source) = of_every_kind(&public.reader, &pin, EventQuery { before, ..query }).await?;
    let more = events.len() > limit;
    events.truncate(limit);
    let cursor = events.last().filter(|_| more).map(|last| cursor::of_event(&pin, last).0);
    let next =
        cursor.as_ref().map(|cursor| format!("/v1/{}/accounts/{account:#x}/activity?limit={limit}&cursor={cursor}", pin.chain()));
    let data = events.into_iter().map(|event| Event::of(&pin, event)).collect();
    Ok(Answer::new(&pin, &headers, source, &Events { data, cursor: cursor.map(Into::into), rollback_to: None })?.next(next))
}

/// The swaps, mints and burns of one transaction, in their order.
///
/// Only transactions with an event of a followed pool are known. The first 1,000 events.
#[utoipa::path(
    get, path = "/v1/{chainId}/transactions/{hash}", operation_id = "getTransaction", tag = "events",
    params(OfTransaction),
    responses(
        (status = 200, description = "Its events", body = Page<Event>),
        Refusals
    )
)]
pub(super) async fn of_transaction(
    State(public): State<Arc<Public>>,
    InPath(at): InPath<OfTransaction>,
    headers: HeaderMap,
) -> Result<Answer, Problem> {
    let (pin, hash) = (pin(&public, &at.chain_id)?, hash("hash", &at.hash)?);
    let query = event_query(&pin, EventKind::Swap, Narrow::Transaction(hash), TRANSACTION_EVENTS);
    let (all, source) = of_every_kind(&public.reader, &pin, EventQuery { newest_first: false, ..query }).await?;
    if all.is_empty() {
        return Err(Problem::not_found(format!("no swap, mint or burn of transaction {hash:#x} is known on this chain")));
    }
    let data = all.into_iter().map(|event| Event::of(&pin, event)).collect();
    Answer::new(&pin, &headers, source, &Page { data, cursor: None })
}

/// One question to the store; the kinds are put together in the query's order.
async fn of_every_kind(reader: &Reader, pin: &Pin, query: EventQuery) -> Result<(Vec<EventAt>, DataSource), ReadError> {
    let asked = KINDS.map(|kind| (pin, EventQuery { kind, ..query }));
    let (mut all, mut source) = (Vec::new(), DataSource::Memory);
    for found in reader.pages(&asked).await {
        let found = found?;
        if found.source != DataSource::Memory {
            source = found.source;
        }
        all.extend(found.events);
    }
    all.sort_by_key(|event| (event.block.number, event.row.log_index()));
    if query.newest_first {
        all.reverse();
    }
    all.truncate(query.limit);
    Ok((all, source))
}
