//! The files of `web/`, embedded in the binary.

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use rust_embed::{Embed, EmbeddedFile};

/// GraphiQL, React and Swagger UI in `web/vendor/` are put there by `cargo xtask parts`; without them everything else still works.
#[derive(Embed)]
#[folder = "web/"]
struct Web;

pub(super) fn file(path: &str) -> Option<EmbeddedFile> {
    Web::get(path)
}

/// The content type of a file that may be served by its own path; `None` for all others.
fn content_type(path: &str) -> Option<&'static str> {
    let (_, extension) = path.rsplit_once('.')?;
    Some(match extension {
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "woff2" => "font/woff2",
        "txt" => "text/plain; charset=utf-8",
        _ => return None,
    })
}

/// A file under `/assets/`.
pub(super) fn serve(path: &str, headers: &HeaderMap) -> Response {
    match (content_type(path), file(path)) {
        (Some(content_type), Some(file)) => answer(headers, content_type, file),
        _ => (StatusCode::NOT_FOUND, "there is no such file\n").into_response(),
    }
}

/// A file with its ETag: an unchanged one is answered with 304. It is asked for again every time, because its name stays when its
/// content changes with the binary.
pub(super) fn answer(headers: &HeaderMap, content_type: &'static str, file: EmbeddedFile) -> Response {
    let hash = file.metadata.sha256_hash();
    // Weak, because compression changes the bytes.
    let tag = hash.iter().take(12).fold(String::from("W/\""), |tag, byte| format!("{tag}{byte:02x}")) + "\"";
    let known = headers.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok()).is_some_and(|v| v.contains(tag.as_str()));
    let mut response =
        if known { StatusCode::NOT_MODIFIED.into_response() } else { Body::from(file.data.into_owned()).into_response() };
    let out = response.headers_mut();
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        out.insert(header::ETAG, tag);
    }
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    out.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
