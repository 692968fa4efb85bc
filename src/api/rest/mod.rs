//! REST under `/v1`: what bots poll and scripts read, and by POST what is too long for a query string. `/openapi.json` describes it, and is generated from the same code.
//!
//! An answer's body is data alone; the block that it is true at is in the headers ([`answer`]). So the ETag of what did not change
//! stays the same while blocks arrive, and a poller gets 304 with a fresh as-of. Errors are problem details ([`mod@problem`]). What is
//! absent: everything about NFTs.

mod activity;
mod answer;
mod body;
mod candles;
mod depth;
mod document;
mod events;
mod follow;
mod frame;
mod liquidity;
mod model;
mod overview;
mod params;
mod periods;
mod pools;
mod positions;
mod prices;
mod problem;
mod quote;
mod search;
mod simulate;
mod stream;
mod text;
mod tokens;
mod totals;
mod words;

use std::sync::Arc;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::{Method, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use utoipa::OpenApi as _;
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) use self::answer::{AS_OF_BLOCK, AS_OF_HASH, AS_OF_TIME, DATA_SOURCE, FRESHNESS};
pub(super) use self::stream::Streams;
pub(super) use self::totals::Sums;
use self::{document::Document, problem::Problem};
use super::router::Public;

/// The routes, and the document that describes them.
fn parts() -> (Router<Arc<Public>>, utoipa::openapi::OpenApi) {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(events::meta))
        .routes(routes!(pools::list))
        .routes(routes!(pools::one))
        .routes(routes!(pools::ticks))
        .routes(routes!(liquidity::distribution))
        .routes(routes!(depth::depth))
        .routes(routes!(positions::list))
        .routes(routes!(overview::overview))
        .routes(routes!(candles::candles))
        .routes(routes!(candles::stats))
        .routes(routes!(candles::token_candles))
        .routes(routes!(candles::token_stats))
        .routes(routes!(totals::volume))
        .routes(routes!(totals::liquidity))
        .routes(routes!(periods::of_pool))
        .routes(routes!(periods::of_token))
        .routes(routes!(periods::of_factory))
        .routes(routes!(events::of_pool))
        .routes(routes!(tokens::list))
        .routes(routes!(tokens::one))
        .routes(routes!(tokens::pools))
        .routes(routes!(search::search_all))
        .routes(routes!(prices::list))
        .routes(routes!(prices::one))
        .routes(routes!(quote::quote))
        .routes(routes!(quote::post::one))
        .routes(routes!(quote::post::several))
        .routes(routes!(simulate::simulate))
        .routes(routes!(events::swaps))
        .routes(routes!(events::mints))
        .routes(routes!(events::burns))
        .routes(routes!(activity::of_transaction))
        .routes(routes!(activity::of_account))
        .routes(routes!(stream::stream))
        .split_for_parts()
}

/// The OpenAPI document, as `swaptide schema --openapi` prints it.
#[must_use]
pub fn openapi() -> String {
    format!("{:#}\n", document::complete(&parts().1))
}

pub(super) fn router() -> Router<Arc<Public>> {
    let (routes, described) = parts();
    let document: Arc<str> = document::complete(&described).to_string().into();
    routes
        .route("/openapi.json", get(move || document_as_json(document.clone())))
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(body::MAX_BYTES))
}

/// The router adds `Allow`.
async fn wrong_method(method: Method) -> Problem {
    let method = super::gql::scalars::shown(method.as_str());
    let text = format!("this is not asked with {method}: the header `Allow` names the methods that it is asked with");
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", text)
}

async fn document_as_json(document: Arc<str>) -> Response {
    ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")], document.to_string()).into_response()
}

/// An error of what every request passes before it reaches a route.
pub(super) fn problem(error: super::gql::error::ApiError) -> impl IntoResponse {
    Problem::from(error)
}

/// Whether what is not there would be one of ours.
pub(super) fn owns(path: &str) -> bool {
    path == "/v1" || path.starts_with("/v1/")
}

pub(super) fn nothing(path: &str) -> Response {
    let path = super::gql::scalars::shown(path);
    Problem::not_found(format!("there is nothing at {path}: /docs and /openapi.json list every path")).into_response()
}
