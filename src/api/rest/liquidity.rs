//! `/v1/{chainId}/pools/{id}/liquidity`: where it lies.

use std::sync::Arc;

use axum::{extract::State, http::HeaderMap};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    answer::Answer,
    document::Refusals,
    params::{InPath, InQuery, OfPool, pin, pool_id},
    pools::no_pool,
    problem::Problem,
    text::Unsigned,
};
use crate::{
    api::{gql::liquidity::ranges, router::Public},
    domain::pool,
    store::history::DataSource,
};

/// Which part of it.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Bounds {
    /// Nothing below this tick.
    from_tick: Option<i32>,
    /// Nothing from this tick on.
    to_tick: Option<i32>,
}

/// From one initialised tick to the next: the same liquidity all the way.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct TickRange {
    #[schema(minimum = -887_272, maximum = 887_272)]
    tick_lower: i32,
    /// The first tick that is not in it.
    #[schema(minimum = -887_272, maximum = 887_272)]
    tick_upper: i32,
    /// What `liquidity()` of the pool answers while the price is in it.
    liquidity: Unsigned,
}

/// Ranges, ascending; where there is no liquidity there is none.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Distribution {
    #[schema(max_items = 1000)]
    data: Vec<TickRange>,
}

/// What liquidity a trade meets at which price.
///
/// Of a pool of V3. A pool of V2 has no ranges: its liquidity is the same everywhere. More than 1,000 are refused: narrow it then.
#[utoipa::path(
    get, path = "/v1/{chainId}/pools/{id}/liquidity", operation_id = "getLiquidityDistribution", tag = "pools",
    params(OfPool, Bounds),
    responses(
        (status = 200, description = "The ranges", body = Distribution),
        Refusals
    )
)]
pub(super) async fn distribution(
    State(public): State<Arc<Public>>,
    InPath(at): InPath<OfPool>,
    InQuery(asked): InQuery<Bounds>,
    headers: HeaderMap,
) -> Result<Answer, Problem> {
    let pin = pin(&public, &at.chain_id)?;
    let id = pool_id(&at.id)?;
    let view = pin.pool(&id).ok_or_else(|| no_pool(&id.to_string()))?;
    let found = ranges(&view.image.state, (asked.from_tick, asked.to_tick), ("from_tick", "to_tick")).map_err(Problem::bad)?;
    let one = |range: pool::TickRange| TickRange {
        tick_lower: range.lower,
        tick_upper: range.upper,
        liquidity: range.liquidity.into(),
    };
    let answer = Answer::new(&pin, &headers, DataSource::Memory, &Distribution { data: found.into_iter().map(one).collect() })?;
    Ok(match view.held_at {
        Some(held_at) => answer.held_at(held_at),
        None => answer,
    })
}
