//! Persisted documents: where a list of them is given, nothing else is executed.
//!
//! The list is what Apollo's and Relay's compilers write: a JSON object from the SHA-256 of a document to its text. A request names
//! one by that hash, or sends the text itself.

use std::{collections::HashMap, path::Path, sync::Arc};

use async_graphql::{Request, Value};
use sha2::{Digest as _, Sha256};

use super::error::{ApiError, Code};

/// All that may be asked.
#[derive(Debug, Clone)]
pub struct Documents(Arc<HashMap<String, String>>);

impl Documents {
    /// # Errors
    /// In one line, what is wrong with the file.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let listed: HashMap<String, String> = serde_json::from_str(&text)
            .map_err(|error| format!("{}: not a JSON object of documents by their SHA-256: {error}", path.display()))?;
        for (hash, document) in &listed {
            let actual = hash_of(document);
            if hash.strip_prefix("sha256:").unwrap_or(hash) != actual {
                return Err(format!("{}: the document under {hash} has the SHA-256 {actual}", path.display()));
            }
            async_graphql::parser::parse_query(document).map_err(|error| {
                // The parser draws a picture of several lines.
                let error = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
                format!("{}: the document under {hash} is no GraphQL: {error}", path.display())
            })?;
        }
        let bare = |(hash, document): (String, String)| (hash.trim_start_matches("sha256:").to_owned(), document);
        Ok(Self(Arc::new(listed.into_iter().map(bare).collect())))
    }

    /// The document that a request means.
    pub(super) fn find(&self, query: &str, hash: Option<&str>) -> Result<&str, ApiError> {
        let hash = hash.map(|hash| hash.trim_start_matches("sha256:"));
        if query.trim().is_empty() {
            let hash = hash.ok_or_else(|| ApiError::input("there is neither a `query` nor the hash of a persisted one"))?;
            let missing = || ApiError::new(Code::NotFound, format!("PersistedQueryNotFound: {} is not in the list", short(hash)));
            return self.0.get(hash).map(String::as_str).ok_or_else(missing);
        }
        self.0.get(&hash_of(query)).map(String::as_str).ok_or_else(|| {
            ApiError::new(Code::Forbidden, "only the documents of this server's list are executed: ask its operator to add yours")
        })
    }
}

fn short(hash: &str) -> String {
    hash.chars().take(64).collect()
}

fn hash_of(document: &str) -> String {
    alloy::hex::encode(Sha256::digest(document))
}

/// The hash that a request names: `extensions.persistedQuery.sha256Hash`, or `extensions.documentId`.
pub(super) fn named(request: &Request) -> Option<String> {
    let text = |value: &Value| if let Value::String(text) = value { Some(text.clone()) } else { None };
    let persisted = request.extensions.get("persistedQuery").and_then(|value| match value {
        Value::Object(map) => map.get("sha256Hash").and_then(text),
        _ => None,
    });
    persisted.or_else(|| request.extensions.get("documentId").and_then(text))
}
