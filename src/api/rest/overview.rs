//! `/v1/{chainId}/pools/{id}/overview`: a pool's page in one call: live state, its tokens, and what happened lately.

use std::sync::Arc;

use axum::{extract::State, http::HeaderMap};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    answer::Answer,
    document::Refusals,
    events::event_query,
    model::{Event, Pool},
    params::{InPath, OfPool, pin, pool_id},
    pools::no_pool,
    problem::Problem,
};
use crate::{
    api::router::Public,
    domain::{event::EventKind, pool::PoolId},
    store::{Pin, Reader, history::DataSource, query::Narrow, reader::ReadError},
};

const SWAPS: usize = 20;
const OTHERS: usize = 10;

/// A pool with what happened in it lately, newest first. All of it is true at one block.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Overview {
    pool: Pool,
    /// The newest 20.
    #[schema(max_items = 20)]
    swaps: Vec<Event>,
    /// The newest 10.
    #[schema(max_items = 10)]
    mints: Vec<Event>,
    /// The newest 10.
    #[schema(max_items = 10)]
    burns: Vec<Event>,
    /// How many there are; 10000 where there are at least so many.
    #[schema(maximum = 10_000)]
    swap_count: u64,
}

/// A pool's state, tokens and latest events in one call.
///
/// Everything in it is true at the same block.
#[utoipa::path(
    get, path = "/v1/{chainId}/pools/{id}/overview", operation_id = "getPoolOverview", tag = "pools",
    params(OfPool),
    responses(
        (status = 200, description = "The overview", body = Overview),
        Refusals
    )
)]
pub(super) async fn overview(
    State(public): State<Arc<Public>>,
    InPath(at): InPath<OfPool>,
    headers: HeaderMap,
) -> Result<Answer, Problem> {
    let pin = pin(&public, &at.chain_id)?;
    let id = pool_id(&at.id)?;
    let view = pin.pool(&id).ok_or_else(|| no_pool(&id.to_string()))?;
    let (swaps, mints, burns, swap_count) = tokio::try_join!(
        latest(&public.reader, &pin, id, EventKind::Swap, SWAPS),
        latest(&public.reader, &pin, id, EventKind::Mint, OTHERS),
        latest(&public.reader, &pin, id, EventKind::Burn, OTHERS),
        public.reader.count(&pin, event_query(&pin, EventKind::Swap, Narrow::Pool(id), 1)),
    )?;
    let stored = [swaps.1, mints.1, burns.1].into_iter().find(|source| *source != DataSource::Memory);
    let overview = Overview { pool: Pool::of(&pin, &view), swaps: swaps.0, mints: mints.0, burns: burns.0, swap_count };
    Answer::new(&pin, &headers, stored.unwrap_or(DataSource::Memory), &overview)
}

async fn latest(
    reader: &Reader,
    pin: &Arc<Pin>,
    pool: PoolId,
    kind: EventKind,
    limit: usize,
) -> Result<(Vec<Event>, DataSource), ReadError> {
    let found = reader.events(pin, event_query(pin, kind, Narrow::Pool(pool), limit)).await?;
    Ok((found.events.into_iter().map(|event| Event::of(pin, event)).collect(), found.source))
}
