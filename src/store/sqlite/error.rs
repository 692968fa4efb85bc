//! What SQLite says becomes one line that says what to do.

use std::path::Path;

use rusqlite::ErrorCode;

use crate::store::{codec::CodecError, history::StoreError};

/// Why something inside this folder failed; becomes a [`StoreError`] at its edge, where the path is known.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Sql(#[from] rusqlite::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
}

pub(super) type Result<T> = std::result::Result<T, Failure>;

impl From<CodecError> for Failure {
    fn from(error: CodecError) -> Self {
        corrupt(error.to_string())
    }
}

pub(super) fn corrupt(what: impl Into<String>) -> Failure {
    Failure::Store(StoreError::Corrupt(what.into()))
}

impl Failure {
    pub(super) fn at(self, path: &Path) -> StoreError {
        let error = match self {
            Self::Store(error) => return error,
            Self::Sql(error) => error,
        };
        let path = path.display();
        let unavailable = |text: &str| StoreError::Unavailable(format!("`{path}` {text} ({error})"));
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => unavailable("is on a full disk: make room, it is tried again"),
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::AuthorizationForStatementDenied) => {
                unavailable("cannot be written: give this user the right to write to it and to its folder")
            }
            Some(ErrorCode::CannotOpen) => {
                unavailable("cannot be opened: check that its folder exists and that this user may write there")
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed) => {
                unavailable("is held by another process: stop that one, or wait; it is tried again")
            }
            Some(ErrorCode::SystemIoFailure) => unavailable("cannot be read or written: look at the disk; it is tried again"),
            Some(ErrorCode::NotADatabase) => not_a_database(&path.to_string()),
            Some(ErrorCode::DatabaseCorrupt) => StoreError::Corrupt(format!(
                "`{path}` is damaged ({error}): restore a backup, or move it away and let it be filled from the chain again"
            )),
            Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch) => {
                StoreError::Corrupt(format!("`{path}` refuses a row ({error}): please report it"))
            }
            Some(_) => unavailable("failed"),
            None => match error {
                rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::IntegralValueOutOfRange(..) => StoreError::Corrupt(format!("`{path}`: {error}")),
                error => StoreError::Unavailable(format!("`{path}`: {error}")),
            },
        }
    }
}

pub(super) fn not_a_database(path: &str) -> StoreError {
    StoreError::Foreign(format!("`{path}` is no SQLite database: name another file in [store] url, or move this one away"))
}
