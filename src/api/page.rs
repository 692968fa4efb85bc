//! The live page, GraphiQL, the REST reference, and the schema as a document.

use axum::{
    extract::Path,
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};

use super::{assets, gql, rest};

const HTML: &str = "text/html; charset=utf-8";
/// Nothing from anywhere else, no inline code.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; font-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// GraphiQL's editor and Swagger UI set styles from code, and their stylesheets carry fonts and pictures.
const POLICY_TOOLS: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
     connect-src 'self'; font-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// What GraphiQL needs of `web/vendor/`.
const GRAPHIQL: [&str; 4] =
    ["vendor/react.production.min.js", "vendor/react-dom.production.min.js", "vendor/graphiql.min.js", "vendor/graphiql.min.css"];
/// What the reference page needs of it.
const DOCS: [&str; 2] = ["vendor/swagger-ui-bundle.js", "vendor/swagger-ui.css"];

/// `/`
pub(super) async fn index(headers: HeaderMap) -> Response {
    html(&headers, "index.html", POLICY)
}

/// `/graphiql`, and `/graphql` for browsers.
pub(super) async fn graphiql(headers: HeaderMap) -> Response {
    let complete = GRAPHIQL.iter().all(|path| assets::file(path).is_some());
    let mut response = graphiql_page(&headers, complete);
    // `/graphql` is data for everyone who is no browser.
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
    response
}

pub(super) fn graphiql_page(headers: &HeaderMap, complete: bool) -> Response {
    if complete { html(headers, "graphiql.html", POLICY_TOOLS) } else { html(headers, "graphiql-missing.html", POLICY) }
}

/// `/docs`
pub(super) async fn docs(headers: HeaderMap) -> Response {
    docs_page(&headers, DOCS.iter().all(|path| assets::file(path).is_some()))
}

pub(super) fn docs_page(headers: &HeaderMap, complete: bool) -> Response {
    if complete { html(headers, "docs.html", POLICY_TOOLS) } else { html(headers, "docs-missing.html", POLICY) }
}

/// `/schema.graphql`
pub(super) async fn sdl() -> Response {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")], gql::sdl())
        .into_response()
}

/// `/assets/…`
pub(super) async fn asset(Path(path): Path<String>, headers: HeaderMap) -> Response {
    assets::serve(&path, &headers)
}

pub(super) async fn not_found(uri: Uri) -> Response {
    if rest::owns(uri.path()) {
        return rest::nothing(uri.path());
    }
    let text = "there is nothing here: the page is at /, GraphQL at /graphql, GraphiQL at /graphiql, the schema at /schema.graphql, REST under /v1 as \
         /docs shows and /openapi.json has it\n";
    (StatusCode::NOT_FOUND, text).into_response()
}

fn html(headers: &HeaderMap, name: &str, policy: &'static str) -> Response {
    let Some(file) = assets::file(name) else {
        return (StatusCode::NOT_FOUND, "this page is not part of the build\n").into_response();
    };
    let mut response = assets::answer(headers, HTML, file);
    let out = response.headers_mut();
    out.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    out.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}
