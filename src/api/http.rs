//! GraphQL over HTTP: POST and GET, and the way to the WebSocket at the same path.
//!
//! Follows the GraphQL-over-HTTP specification: with `application/graphql-response+json` a request that could not be executed is
//! a 400 without a `data` entry; with `application/json` every well-formed request is a 200. What is absent: batches, multipart
//! uploads, mutations.

use std::sync::Arc;

use async_graphql::{Request, Response as GraphQlResponse};
use axum::{
    body::{Bytes, HttpBody as _},
    extract::{FromRequest as _, FromRequestParts as _, State, WebSocketUpgrade, rejection::BytesRejection},
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::{
    access::{Caller, Cost},
    gql::{
        Answered,
        error::{ApiError, Code},
    },
    page,
    router::Public,
    ws,
};

const GRAPHQL_RESPONSE: &str = "application/graphql-response+json";
const JSON: &str = "application/json";

/// `/graphql` and `/graphql/ws`.
pub(super) async fn graphql(State(public): State<Arc<Public>>, incoming: axum::extract::Request) -> Response {
    if is_upgrade(incoming.headers()) {
        let (mut parts, _) = incoming.into_parts();
        let caller = parts.extensions.get::<Caller>().cloned();
        return match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
            Ok(upgrade) => ws::accept(&public, &parts.headers, caller, upgrade).await,
            Err(rejection) => rejection.into_response(),
        };
    }
    let headers = incoming.headers().clone();
    let accept = Accept::of(&headers);
    let request = match *incoming.method() {
        Method::GET if wants_page(&headers, incoming.uri()) => return page::graphiql(headers).await,
        Method::GET => from_query(incoming.uri()),
        Method::POST => from_body(&headers, Bytes::from_request(incoming, &()).await),
        _ => Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "send a query with POST or GET, or open a WebSocket")),
    };
    let _timer = public.metrics.graphql_seconds.start_timer();
    let response = match request {
        Ok(request) => execute(&public, request, accept).await,
        Err(refusal) => refusal.into_response(accept),
    };
    let outcome = if response.status().is_success() { "ok" } else { "refused" };
    public.metrics.graphql_requests_total.with_label_values(&[outcome]).inc();
    response
}

async fn execute(public: &Public, request: Request, accept: Accept) -> Response {
    let Answered { response, began, fields } = public.engine.execute(request).await;
    let status = if began || accept == Accept::Json { StatusCode::OK } else { StatusCode::BAD_REQUEST };
    let mut answer = answer(status, accept, &Body::new(&response, began));
    let bytes = answer.body().size_hint().exact().and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(0);
    answer.extensions_mut().insert(Cost::new(bytes, fields));
    answer
}

pub(super) fn is_upgrade(headers: &HeaderMap) -> bool {
    headers.get(header::UPGRADE).and_then(|v| v.to_str().ok()).is_some_and(|v| v.eq_ignore_ascii_case("websocket"))
}

/// A person with a browser, not a program.
fn wants_page(headers: &HeaderMap, uri: &Uri) -> bool {
    let html = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).is_some_and(|v| v.contains("text/html"));
    html && !uri.query().is_some_and(|q| q.split('&').any(|pair| pair.starts_with("query=")))
}

fn from_query(uri: &Uri) -> Result<Request, Refusal> {
    let query = uri.query().unwrap_or_default();
    let request = async_graphql::http::parse_query_string(query).map_err(|_| {
        Refusal::bad("give `query`, and where needed `variables` and `operationName`, in the URL, percent-encoded")
    })?;
    with_query(request)
}

fn from_body(headers: &HeaderMap, body: Result<Bytes, BytesRejection>) -> Result<Request, Refusal> {
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "the request is larger than 256 KiB: send less at a time")
        }
        _ => Refusal::bad("the request's body could not be read"),
    })?;
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match media_type.as_str() {
        JSON | GRAPHQL_RESPONSE => {}
        "multipart/form-data" => {
            return Err(Refusal::unsupported("uploads are not accepted: send the query as application/json"));
        }
        _ => return Err(Refusal::unsupported("send the query as JSON, with `content-type: application/json`")),
    }
    if body.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'[') {
        return Err(Refusal::bad("batches are not accepted: send one request at a time, or several fields in one query"));
    }
    let request = serde_json::from_slice(&body).map_err(|error| {
        Refusal::bad(format!("the body is no GraphQL request: {error}; send {{\"query\": \"…\", \"variables\": {{…}}}}"))
    })?;
    with_query(request)
}

fn with_query(request: Request) -> Result<Request, Refusal> {
    // A persisted one is named by its hash.
    if request.query.trim().is_empty() && request.extensions.is_empty() {
        Err(Refusal::bad("there is no `query` in the request"))
    } else {
        Ok(request)
    }
}

/// Whether a path is answered in GraphQL's way.
pub(super) fn owns(path: &str) -> bool {
    path == "/graphql" || path == "/graphql/ws"
}

/// 401, 403 or 429, in the shape that a client of GraphQL reads.
pub(super) fn refusal(error: ApiError) -> Response {
    let status = match error.code {
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::Forbidden => StatusCode::FORBIDDEN,
        _ => StatusCode::TOO_MANY_REQUESTS,
    };
    refused(status, Accept::Json, error)
}

/// What the client reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Accept {
    /// The old media type, which is also what is meant when nothing is said.
    Json,
    GraphQlResponse,
}

impl Accept {
    fn of(headers: &HeaderMap) -> Self {
        let named = headers.get_all(header::ACCEPT).iter().filter_map(|v| v.to_str().ok());
        if named.into_iter().any(|v| v.to_ascii_lowercase().contains(GRAPHQL_RESPONSE)) {
            Self::GraphQlResponse
        } else {
            Self::Json
        }
    }

    const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json; charset=utf-8",
            Self::GraphQlResponse => "application/graphql-response+json; charset=utf-8",
        }
    }
}

/// A request that never reaches the engine.
struct Refusal {
    status: StatusCode,
    message: String,
}

impl Refusal {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    fn unsupported(message: &str) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message)
    }

    fn into_response(self, accept: Accept) -> Response {
        let mut response = refused(self.status, accept, ApiError::new(Code::BadUserInput, self.message));
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            response.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("GET, POST"));
        }
        response
    }
}

fn refused(status: StatusCode, accept: Accept, error: ApiError) -> Response {
    answer(status, accept, &Body::new(&GraphQlResponse::from_errors(vec![error.about_request()]), false))
}

/// A response without a `data` entry where nothing was executed.
#[derive(Serialize)]
struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a async_graphql::Value>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [async_graphql::ServerError],
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    extensions: &'a std::collections::BTreeMap<String, async_graphql::Value>,
}

impl<'a> Body<'a> {
    fn new(response: &'a GraphQlResponse, executed: bool) -> Self {
        Self { data: executed.then_some(&response.data), errors: &response.errors, extensions: &response.extensions }
    }
}

fn answer(status: StatusCode, accept: Accept, body: &Body<'_>) -> Response {
    let text = serde_json::to_vec(body).unwrap_or_else(|error| {
        tracing::error!(%error, "a response could not be written as JSON");
        br#"{"errors":[{"message":"the answer could not be written"}]}"#.to_vec()
    });
    let headers = [(header::CONTENT_TYPE, accept.content_type()), (header::CACHE_CONTROL, "no-store"), (header::VARY, "accept")];
    (status, headers, text).into_response()
}
