//! Errors as RFC 9457 problem details: what went wrong, and what to do.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    api::gql::error::{ApiError, Code},
    store::reader::ReadError,
};

/// Problem details (RFC 9457). `code` is the same closed set as GraphQL's `extensions.code`.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Problem {
    /// Always `about:blank`: `code` says what kind it is.
    #[serde(rename = "type")]
    #[schema(pattern = "^about:blank$", example = "about:blank")]
    kind: &'static str,
    /// The status in words.
    #[schema(example = "Bad Request")]
    title: &'static str,
    /// The status of the answer.
    #[schema(minimum = 400, maximum = 599, example = 400)]
    status: u16,
    /// What is wrong, and what to do.
    #[schema(example = "`limit` is 1 to 1000, not 0")]
    detail: String,
    #[schema(value_type = ProblemCode)]
    code: &'static str,
}

/// What a program can act on. The same names as GraphQL's `extensions.code`, and those that only HTTP needs.
#[derive(ToSchema)]
#[schema(rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(dead_code, reason = "it is read by the document only; a test holds each problem to it")]
enum ProblemCode {
    BadUserInput,
    NotFound,
    MethodNotAllowed,
    RateLimited,
    Unauthenticated,
    Forbidden,
    ComplexityLimit,
    StateStale,
    BlockPruned,
    CursorExpired,
    Reorged,
    UpstreamDown,
    NoRoute,
    InsufficientLiquidity,
}

impl Problem {
    pub(super) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("error");
        Self { kind: "about:blank", title, status: status.as_u16(), detail: detail.into(), code }
    }

    pub(super) fn bad(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Code::BadUserInput.as_str(), detail)
    }

    /// Of one of several: which of them.
    pub(super) fn within(self, place: &str) -> Self {
        Self { detail: format!("`{place}`: {}", self.detail), ..self }
    }

    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NOT_FOUND", detail)
    }
}

impl From<ApiError> for Problem {
    fn from(error: ApiError) -> Self {
        let status = match error.code {
            Code::BadUserInput | Code::ComplexityLimit => StatusCode::BAD_REQUEST,
            Code::NotFound => StatusCode::NOT_FOUND,
            Code::NoRoute | Code::InsufficientLiquidity => StatusCode::UNPROCESSABLE_ENTITY,
            Code::StateStale | Code::UpstreamDown => StatusCode::SERVICE_UNAVAILABLE,
            Code::BlockPruned | Code::CursorExpired | Code::Reorged => StatusCode::GONE,
            Code::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Code::Unauthenticated => StatusCode::UNAUTHORIZED,
            Code::Forbidden => StatusCode::FORBIDDEN,
        };
        Self::new(status, error.code.as_str(), error.message)
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::UnknownChain(_) | ReadError::Future { .. } => Self::not_found(error.to_string()),
            other => ApiError::from(other).into(),
        }
    }
}

/// Before the next try, seconds: the first block, or the store, is a moment away.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("2");

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let headers = [(header::CONTENT_TYPE, "application/problem+json"), (header::CACHE_CONTROL, "no-store")];
        let mut response = (status, headers, body).into_response();
        if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response
    }
}
