//! The one error of the interface: a code that a program can act on and a sentence that says what to do.

use async_graphql::ErrorExtensions as _;

use crate::{
    domain::cursor::CursorError,
    store::{ReadError, StoreError},
};

/// `extensions.code` of an error; names are a contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// The request is wrong as it stands; sending it again cannot help.
    BadUserInput,
    /// It would cost too much: ask for less.
    ComplexityLimit,
    /// What was asked for has not arrived yet: ask again.
    StateStale,
    /// State at this block is not kept.
    BlockPruned,
    /// The cursor's place is no longer there: start again without it.
    CursorExpired,
    /// The block of the cursor or argument was taken back by a reorg.
    Reorged,
    /// Whoever asks does so too often, or asked for too much.
    RateLimited,
    /// There is no such API key, or one is needed.
    Unauthenticated,
    /// The API key does not open this, or the document is not of the list.
    Forbidden,
    /// The store cannot answer now.
    UpstreamDown,
    /// There is no such thing here.
    NotFound,
    /// No pools lead from one token to the other.
    NoRoute,
    /// They do, but have not so much.
    InsufficientLiquidity,
}

impl Code {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::BadUserInput => "BAD_USER_INPUT",
            Self::ComplexityLimit => "COMPLEXITY_LIMIT",
            Self::StateStale => "STATE_STALE",
            Self::BlockPruned => "BLOCK_PRUNED",
            Self::CursorExpired => "CURSOR_EXPIRED",
            Self::Reorged => "REORGED",
            Self::RateLimited => "RATE_LIMITED",
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::Forbidden => "FORBIDDEN",
            Self::UpstreamDown => "UPSTREAM_DOWN",
            Self::NotFound => "NOT_FOUND",
            Self::NoRoute => "NO_ROUTE",
            Self::InsufficientLiquidity => "INSUFFICIENT_LIQUIDITY",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) code: Code,
    pub(crate) message: String,
    /// The last position that was sent, for a subscription that ends.
    pub(crate) cursor: Option<String>,
}

impl ApiError {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), cursor: None }
    }

    pub(crate) fn input(message: impl Into<String>) -> Self {
        Self::new(Code::BadUserInput, message)
    }
}

impl From<ApiError> for async_graphql::Error {
    fn from(error: ApiError) -> Self {
        Self::new(error.message).extend_with(|_, extensions| {
            extensions.set("code", error.code.as_str());
            if let Some(cursor) = &error.cursor {
                extensions.set("cursor", cursor.as_str());
            }
        })
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::UnknownChain(_) | ReadError::ChainNeeded => Self::input(error.to_string()),
            ReadError::Future { .. } => Self::new(Code::StateStale, error.to_string()),
            ReadError::CatchingUp { .. } | ReadError::Starting | ReadError::Ahead { .. } => {
                Self::new(Code::UpstreamDown, error.to_string())
            }
            ReadError::NotKept { .. } => Self::input(error.to_string()),
            ReadError::TooMuch { .. } | ReadError::TooManyPools { .. } => Self::new(Code::ComplexityLimit, error.to_string()),
            ReadError::Store(store) => store.into(),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        // Paths and addresses of the store are the operator's business: they go to the log, not to the client.
        tracing::warn!(%error, "a query could not be answered from the store");
        Self::new(Code::UpstreamDown, "history cannot be read at the moment: try again; live state and subscriptions go on")
    }
}

impl ApiError {
    /// As an entry of `errors` that is about no field.
    pub(crate) fn about_request(self) -> async_graphql::ServerError {
        let error = async_graphql::Error::from(self).into_server_error(async_graphql::Pos::default());
        async_graphql::ServerError { locations: Vec::new(), ..error }
    }
}

impl From<CursorError> for ApiError {
    fn from(error: CursorError) -> Self {
        Self::input(error.to_string())
    }
}
