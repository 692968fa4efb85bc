//! The index of everything that can be asked.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::{HeaderName, Method, header, request::Parts},
    middleware::{from_fn, from_fn_with_state},
    routing::{any, get},
};
use tower_http::{
    compression::{CompressionLayer, Predicate, predicate::NotForContentType},
    cors::{AllowOrigin, CorsLayer},
};

use super::{
    ApiState,
    access::{self, Access},
    admin, gql, http,
    intake::{self, Intake},
    origins::Origins,
    page, rest,
    shares::Shares,
    udf,
    ws::Sockets,
};
use crate::{store::Reader, telemetry::Metrics};

/// The largest request body: the longest useful query is a tenth of that.
pub(super) const BODY_MAX_BYTES: usize = 256 * 1024;
/// How long a browser may keep what CORS allowed.
const CORS_MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// What the public handlers share.
pub(super) struct Public {
    pub(super) reader: Reader,
    pub(super) engine: gql::Engine,
    pub(super) metrics: Metrics,
    pub(super) now_unix_ms: fn() -> u64,
    pub(super) origins: Origins,
    pub(super) sockets: Sockets,
    pub(super) shares: Shares,
    pub(super) access: Arc<Access>,
    /// Places for streams over HTTP.
    pub(super) streams: rest::Streams,
    pub(super) sums: rest::Sums,
}

/// The native schema over a process's state, for whoever carries it by other means than [`public_router`]: under the same guard, without
/// its limits of connections and messages, and without anything that is shared between subscribers.
#[must_use]
pub fn executor(state: &ApiState) -> impl async_graphql::Executor {
    gql::Engine::new(core(state), &state.documents).guarded().clone()
}

fn core(state: &ApiState) -> gql::Core {
    gql::Core {
        reader: state.reader.clone(),
        metrics: state.metrics.clone(),
        version: state.version,
        now_unix_ms: state.now_unix_ms,
        turns: gql::turns(),
    }
}

/// `/`, `/graphql` and what the page needs: for everybody.
pub fn public_router(state: Arc<ApiState>) -> Router {
    let origins = Origins::new(&state.origins);
    let access = Arc::new(Access::new(&state.access));
    let core = core(&state);
    let shares = Shares::new(core.turns.clone(), access.clone());
    let engine = gql::Engine::new(core, &state.documents);
    let sockets = Sockets::new(engine.guarded().clone(), state.sockets, state.metrics.clone(), state.draining.clone());
    let public = Arc::new(Public {
        reader: state.reader.clone(),
        engine,
        metrics: state.metrics.clone(),
        now_unix_ms: state.now_unix_ms,
        origins: origins.clone(),
        sockets,
        shares,
        access: access.clone(),
        streams: rest::Streams::new(state.streams_per_address),
        sums: rest::Sums::default(),
    });
    let intake = Arc::new(Intake::new(&state.request_limit, access, state.metrics.clone()));
    Router::new()
        .route("/", get(page::index))
        .route("/graphiql", get(page::graphiql))
        .route("/docs", get(page::docs))
        .route("/schema.graphql", get(page::sdl))
        .route("/assets/{*path}", get(page::asset))
        .route("/graphql", any(http::graphql))
        .route("/graphql/ws", any(http::graphql))
        .merge(rest::router())
        .nest("/udf", udf::router())
        .fallback(page::not_found)
        .layer(DefaultBodyLimit::max(BODY_MAX_BYTES))
        .layer(from_fn(intake::weigh))
        .layer(CompressionLayer::new().compress_when(compressible()))
        .layer(from_fn_with_state(intake, intake::intake))
        .layer(cors(origins))
        .with_state(public)
}

/// For the operator, on a listener of its own: never on the public one.
pub fn admin_router(state: Arc<ApiState>) -> Router {
    Router::new()
        .route("/metrics", get(admin::metrics))
        .route("/health", get(admin::health))
        .route("/ready", get(admin::ready))
        .route("/status", get(admin::status))
        .route("/admin/state", get(admin::state))
        .with_state(state)
}

fn compressible() -> impl Predicate {
    tower_http::compression::DefaultPredicate::new().and(NotForContentType::const_new("font/"))
}

fn cors(origins: Origins) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(move |origin, _: &Parts| origins.allow(origin)))
        .allow_methods([Method::GET, Method::POST])
        // What graphql-request, Apollo, urql and viem-style clients send.
        .allow_headers([
            header::ACCEPT,
            header::CONTENT_TYPE,
            header::AUTHORIZATION,
            header::IF_NONE_MATCH,
            HeaderName::from_static("last-event-id"),
            intake::REQUEST_ID,
            HeaderName::from_static(access::API_KEY),
            HeaderName::from_static("apollo-require-preflight"),
            HeaderName::from_static("x-requested-with"),
        ])
        .expose_headers([
            header::ETAG,
            header::LINK,
            header::RETRY_AFTER,
            intake::REQUEST_ID,
            rest::AS_OF_BLOCK,
            rest::AS_OF_HASH,
            rest::AS_OF_TIME,
            rest::DATA_SOURCE,
            rest::FRESHNESS,
        ])
        .max_age(CORS_MAX_AGE)
}
