//! What MongoDB says becomes one line that says what to do. Never a URI: it may hold a password.

use mongodb::error::{Error, ErrorKind, TRANSIENT_TRANSACTION_ERROR, WriteFailure};

use crate::store::{codec::CodecError, history::StoreError};

pub(super) const DUPLICATE_KEY: i32 = 11_000;

/// Why something inside this folder failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Mongo(#[from] Error),
    #[error(transparent)]
    Store(#[from] StoreError),
}

pub(super) type Result<T> = std::result::Result<T, Failure>;

impl From<CodecError> for Failure {
    fn from(error: CodecError) -> Self {
        corrupt(error.to_string())
    }
}

impl From<mongodb::bson::error::Error> for Failure {
    fn from(error: mongodb::bson::error::Error) -> Self {
        corrupt(error.to_string())
    }
}

pub(super) fn corrupt(what: impl Into<String>) -> Failure {
    Failure::Store(StoreError::Corrupt(what.into()))
}

impl Failure {
    /// The server was there and said no.
    pub(super) fn is_answer(&self) -> bool {
        match self {
            Self::Store(_) => true,
            Self::Mongo(error) => {
                matches!(error.kind.as_ref(), ErrorKind::Command(_) | ErrorKind::Write(_) | ErrorKind::InsertMany(_))
            }
        }
    }

    /// No server was found, or it went away.
    pub(super) fn is_away(&self) -> bool {
        let Self::Mongo(error) = self else { return false };
        matches!(
            error.kind.as_ref(),
            ErrorKind::ServerSelection { .. }
                | ErrorKind::Io(_)
                | ErrorKind::DnsResolve { .. }
                | ErrorKind::ConnectionPoolCleared { .. }
        )
    }

    /// Worth the same transaction once more, at once: it met another one.
    pub(super) fn is_transient(&self) -> bool {
        self.is_answer() && matches!(self, Self::Mongo(error) if error.contains_label(TRANSIENT_TRANSACTION_ERROR))
    }

    /// A key that is there already.
    pub(super) fn is_duplicate(&self) -> bool {
        let Self::Mongo(error) = self else { return false };
        match error.kind.as_ref() {
            ErrorKind::InsertMany(many) => many.write_errors.iter().flatten().any(|e| e.code == DUPLICATE_KEY),
            ErrorKind::Command(command) => command.code == DUPLICATE_KEY,
            ErrorKind::Write(WriteFailure::WriteError(write)) => write.code == DUPLICATE_KEY,
            _ => false,
        }
    }

    pub(super) fn told(self) -> StoreError {
        let error = match self {
            Self::Store(error) => return error,
            Self::Mongo(error) => error,
        };
        let unavailable = |text: String| StoreError::Unavailable(format!("MongoDB {text}"));
        match error.kind.as_ref() {
            ErrorKind::ServerSelection { message, .. } => {
                unavailable(format!("cannot be reached: start it, or check [store] url; it is tried again ({})", first_line(message)))
            }
            ErrorKind::Authentication { message, .. } => unavailable(format!(
                "refuses the credentials: check user, password and authSource of [store] url ({})",
                first_line(message)
            )),
            ErrorKind::DnsResolve { message, .. } => {
                unavailable(format!("has a host name that cannot be resolved: check [store] url ({})", first_line(message)))
            }
            ErrorKind::InvalidTlsConfig { message, .. } => unavailable(format!("cannot be reached by TLS: {}", first_line(message))),
            ErrorKind::Command(command) if command.code == 13 => {
                unavailable(format!("does not let this user do that: give it readWrite on the database ({})", command.message))
            }
            ErrorKind::Command(command) if command.code == 20 || command.code == 263 => StoreError::Foreign(
                "this MongoDB has no transactions: run it as a replica set (one member is enough: `mongod --replSet rs0`, then `rs.initiate()`)"
                    .to_owned(),
            ),
            ErrorKind::Write(WriteFailure::WriteError(write)) => {
                StoreError::Corrupt(format!("MongoDB refuses a document ({}): please report it", write.message))
            }
            ErrorKind::SessionsNotSupported => StoreError::Foreign(
                "this MongoDB has no sessions: version 5.0 or newer as a replica set is needed".to_owned(),
            ),
            other => unavailable(format!("failed: {}", first_line(&other.to_string()))),
        }
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
