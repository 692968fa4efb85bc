//! `/v1/{chainId}/pools/{id}/depth`: how much it takes to move a pool's price.

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
    text::Decimal,
};
use crate::{
    api::{
        gql::depth::{self as gql, levels},
        router::Public,
    },
    store::history::DataSource,
};

fn bps_default() -> String {
    "50,100,200,500".to_owned()
}

/// How far.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Distances {
    /// Parts of 10,000, 1 to 9000, separated by commas; at most 20 of them.
    #[serde(default = "bps_default")]
    #[param(
        pattern = "^([1-9][0-9]{0,2}|[1-8][0-9]{3}|9000)(,([1-9][0-9]{0,2}|[1-8][0-9]{3}|9000)){0,19}$",
        default = "50,100,200,500"
    )]
    bps: String,
}

/// What it takes to move the price so far, either way, by the swaps that the contract would do. Amounts in the tokens' own units; null
/// where a token has no decimals, or where nobody can move it so far.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct DepthLevel {
    /// How far token1 per token0 moves, in parts of 10,000.
    #[schema(minimum = 1, maximum = 9_000)]
    bps: i32,
    /// token0 that has to be paid, fee included, until it costs so much less.
    token0_in: Option<Decimal>,
    /// What is paid for it.
    token1_out: Option<Decimal>,
    /// token1 that has to be paid, fee included, until token0 costs so much more.
    token1_in: Option<Decimal>,
    /// What is paid for it.
    token0_out: Option<Decimal>,
}

impl From<gql::DepthLevel> for DepthLevel {
    fn from(level: gql::DepthLevel) -> Self {
        Self {
            bps: level.bps,
            token0_in: level.token0_in.map(Decimal),
            token1_out: level.token1_out.map(Decimal),
            token1_in: level.token1_in.map(Decimal),
            token0_out: level.token0_out.map(Decimal),
        }
    }
}

/// Levels, in the order that they are asked for.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Depth {
    #[schema(min_items = 1, max_items = 20)]
    data: Vec<DepthLevel>,
}

/// How much it takes to move a pool's price.
///
/// In this pool alone, by the swaps that its contract would do at the block of the answer.
#[utoipa::path(
    get, path = "/v1/{chainId}/pools/{id}/depth", operation_id = "getDepth", tag = "pools",
    params(OfPool, Distances),
    responses(
        (status = 200, description = "The levels", body = Depth),
        Refusals
    )
)]
pub(super) async fn depth(
    State(public): State<Arc<Public>>,
    InPath(at): InPath<OfPool>,
    InQuery(asked): InQuery<Distances>,
    headers: HeaderMap,
) -> Result<Answer, Problem> {
    let pin = pin(&public, &at.chain_id)?;
    let id = pool_id(&at.id)?;
    let view = pin.pool(&id).ok_or_else(|| no_pool(&id.to_string()))?;
    let number = |word: &str| {
        let digits = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit()) && !word.starts_with('0');
        word.parse::<i32>().ok().filter(|_| digits)
    };
    let bps: Option<Vec<i32>> = asked.bps.split(',').map(number).collect();
    let bps = bps.ok_or_else(|| Problem::bad("`bps` are whole numbers from 1 to 9000, separated by commas"))?;
    let levels = levels(&pin, &view, &bps).map_err(Problem::bad)?;
    let answer = Answer::new(&pin, &headers, DataSource::Memory, &Depth { data: levels.into_iter().map(Into::into).collect() })?;
    Ok(match view.held_at {
        Some(at) => answer.held_at(at),
        None => answer,
    })
}
