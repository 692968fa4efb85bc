//! Who may ask from a browser: one list for CORS and for WebSockets, which CORS does not cover.

use axum::http::{HeaderMap, HeaderValue, header};

/// Patterns like `http://localhost:*`, `https://*.example.org`, `https://app.example.org`, `*`.
#[derive(Debug, Clone, Default)]
pub(super) struct Origins(Vec<String>);

impl Origins {
    pub(super) fn new(patterns: &[String]) -> Self {
        Self(patterns.iter().map(|p| p.trim_end_matches('/').to_ascii_lowercase()).collect())
    }

    /// Whether a request with these headers may open a WebSocket: no `Origin` means that it is no browser; our own page is always
    /// allowed.
    pub(super) fn allow_request(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(header::ORIGIN) else { return true };
        let same = || {
            let host = headers.get(header::HOST)?.to_str().ok()?;
            let (_, authority) = origin.to_str().ok()?.split_once("://")?;
            Some(authority.eq_ignore_ascii_case(host))
        };
        self.allow(origin) || same().unwrap_or(false)
    }

    pub(super) fn allow(&self, origin: &HeaderValue) -> bool {
        let Ok(origin) = origin.to_str() else { return false };
        let origin = origin.to_ascii_lowercase();
        self.0.iter().any(|pattern| matches(pattern, &origin))
    }
}

fn matches(pattern: &str, origin: &str) -> bool {
    if pattern == "*" {
        return true;
    }
    let (Some((scheme, pattern)), Some((origin_scheme, origin))) = (pattern.split_once("://"), origin.split_once("://")) else {
        return false;
    };
    let (host, port) = host_and_port(pattern);
    let (origin_host, origin_port) = host_and_port(origin);
    let port_fits = match port {
        Some("*") => origin_port.is_none_or(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit())),
        exact => exact == origin_port,
    };
    let host_fits = match host.strip_prefix("*.") {
        Some(domain) => origin_host.strip_suffix(domain).is_some_and(|front| front.len() > 1 && front.ends_with('.')),
        None => host == origin_host,
    };
    scheme == origin_scheme && port_fits && host_fits
}

/// The port is what follows the last colon, unless that is inside the brackets of an IPv6 address.
fn host_and_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_admit_what_they_say_and_nothing_that_looks_like_it() {
        let cases = [
            ("http://localhost:*", "http://localhost:5173", true),
            ("http://localhost:*", "http://localhost", true),
            ("http://localhost:*", "http://localhost:80a", false),
            ("http://localhost:*", "https://localhost:5173", false),
            ("http://localhost:*", "http://localhost.evil.example:80", false),
            ("http://localhost:*", "http://evil.example/http://localhost:1", false),
            ("https://app.example.org", "https://app.example.org", true),
            ("https://app.example.org", "https://APP.example.org", true),
            ("https://app.example.org", "https://app.example.org:8443", false),
            ("https://*.example.org", "https://a.b.example.org", true),
            ("https://*.example.org", "https://example.org", false),
            ("https://*.example.org", "https://evilexample.org", false),
            ("http://[::1]:*", "http://[::1]:3000", true),
            ("http://localhost:*", "null", false),
            ("*", "https://anything.example", true),
        ];
        for (pattern, origin, expected) in cases {
            let origins = Origins::new(&[pattern.to_owned()]);
            assert_eq!(origins.allow(&HeaderValue::from_static(origin)), expected, "{pattern} {origin}");
        }
    }

    #[test]
    fn no_origin_and_our_own_page_are_allowed() {
        let origins = Origins::new(&[]);
        let mut headers = HeaderMap::new();
        assert!(origins.allow_request(&headers));
        headers.insert(header::HOST, HeaderValue::from_static("127.0.0.1:8080"));
        headers.insert(header::ORIGIN, HeaderValue::from_static("http://127.0.0.1:8080"));
        assert!(origins.allow_request(&headers));
        headers.insert(header::ORIGIN, HeaderValue::from_static("http://evil.example"));
        assert!(!origins.allow_request(&headers));
    }
}
