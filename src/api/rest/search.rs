//! `/v1/{chainId}/search`: tokens and pools by what people type.

use std::sync::Arc;

use axum::{extract::State, http::HeaderMap};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    answer::Answer,
    document::Refusals,
    model::{Page, Pool, Token},
    params::{InPath, InQuery, OnChain, pin},
    problem::Problem,
};
use crate::{
    api::router::Public,
    store::{
        history::DataSource,
        search::{Found, search},
    },
};

const LIMIT_DEFAULT: usize = 20;
const LIMIT_MAX: usize = 100;
/// Longer ones are nobody's symbol.
const TEXT_MAX_CHARS: usize = 100;

/// A token or a pool; the other one is null.
#[derive(Debug, Serialize, ToSchema)]
struct Hit {
    token: Option<Token>,
    pool: Option<Pool>,
}

/// What was typed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct SearchParams {
    /// An address, a symbol, a name, or two symbols for a pool (`weth/usdc`); case does not matter.
    #[param(min_length = 0, max_length = 100, example = "weth")]
    text: String,
    /// How many, 1 to 100; 20 where it is not said.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<usize>,
}

/// Tokens and pools by what people type, the best first.
///
/// Anybody may call a token anything: go by the address. Of several with one symbol the one that is in more pools comes first.
#[utoipa::path(
    get, path = "/v1/{chainId}/search", operation_id = "search", tag = "tokens",
    params(OnChain, SearchParams),
    responses(
        (status = 200, description = "What fits", body = Page<Hit>),
        Refusals
    )
)]
pub(super) async fn search_all(
    State(public): State<Arc<Public>>,
    InPath(at): InPath<OnChain>,
    InQuery(asked): InQuery<SearchParams>,
    headers: HeaderMap,
) -> Result<Answer, Problem> {
    let pin = pin(&public, &at.chain_id)?;
    let limit = asked.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(Problem::bad(format!("`limit` is 1 to {LIMIT_MAX}, not {limit}")));
    }
    if asked.text.chars().count() > TEXT_MAX_CHARS {
        return Err(Problem::bad(format!("`text` has at most {TEXT_MAX_CHARS} characters")));
    }
    let hit = |found: Found| match found {
        Found::Token(meta) => Hit { token: Some(Token::known(&meta)), pool: None },
        Found::Pool(view) => Hit { token: None, pool: Some(Pool::of(&pin, &view)) },
    };
    let data = search(&pin, &asked.text, limit).into_iter().map(hit).collect();
    Answer::new(&pin, &headers, DataSource::Memory, &Page { data, cursor: None })
}
