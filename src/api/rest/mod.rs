//! REST under `/v1`: what bots poll and scripts read. `/openapi.json` describes it, and is generated from the same code.
//!
//! An answer's body is data alone; the block that it is true at is in the headers ([`answer`]). So the ETag of what did not change
//! stays the same while blocks arrive, and a poller gets 304 with a fresh as-of. Errors are problem details ([`problem`]). What is
//! absent: prices in dollars, candles, quotes, everything about NFTs.

mod answer;
mod events;
mod follow;
mod model;
mod overview;
mod params;
mod pools;
mod problem;
mod stream;
mod tokens;

use std::sync::Arc;

use axum::{
    Router,
    http::header,
    response::{IntoResponse, Response},
    routing::get,
};
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) use self::answer::{AS_OF_BLOCK, AS_OF_HASH, AS_OF_TIME, DATA_SOURCE, FRESHNESS};
use self::problem::Problem;
pub(super) use self::stream::STREAMS_MAX;
use super::router::Public;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Swaptide",
        description = "State, history and metadata of the pools that this server follows.\n\nEvery answer is true at one block: `X-As-Of-Block` \
                       and `X-As-Of-Block-Hash` name it, `X-Freshness` says whether it is as new as it should be (LIVE, DELAYED, STALE). The \
                       `ETag` covers the data and not the block: send it back as `If-None-Match`, and an unchanged answer is a 304 with \
                       fresh as-of headers. Amounts are decimal strings: `…Raw` in raw units, all others in the token's own unit.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    tags(
        (name = "chain", description = "How new this server is"),
        (name = "pools", description = "Live state, and what happened in it"),
        (name = "tokens", description = "What tokens say of themselves"),
        (name = "events", description = "Swaps, mints and burns, in pages or since a cursor")
    ),
    components(schemas(Problem, follow::Frame))
)]
struct Document;

/// The routes, and the document that describes them.
fn parts() -> (Router<Arc<Public>>, utoipa::openapi::OpenApi) {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(events::meta))
        .routes(routes!(pools::list))
        .routes(routes!(pools::one))
        .routes(routes!(pools::ticks))
        .routes(routes!(overview::overview))
        .routes(routes!(events::of_pool))
        .routes(routes!(tokens::list))
        .routes(routes!(tokens::one))
        .routes(routes!(tokens::pools))
        .routes(routes!(events::swaps))
        .routes(routes!(events::mints))
        .routes(routes!(events::burns))
        .routes(routes!(events::transaction))
        .routes(routes!(events::activity))
        .routes(routes!(stream::stream))
        .split_for_parts()
}

/// The OpenAPI document, as `swaptide schema --openapi` prints it.
#[must_use]
pub fn openapi() -> String {
    let mut text = parts().1.to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

pub(super) fn router() -> Router<Arc<Public>> {
    let (routes, document) = parts();
    let document: Arc<str> = document.to_json().unwrap_or_default().into();
    routes.route("/openapi.json", get(move || document_as_json(document.clone())))
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
    Problem::not_found(format!("there is nothing at {path}: /openapi.json lists every path")).into_response()
}
