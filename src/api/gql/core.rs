//! What every resolver may use: the door for reads and the counters.

use std::sync::Arc;

use async_graphql::Context;

use super::error::{ApiError, Code};
use crate::{
    store::{Reader, follow::turns::Turns},
    telemetry::Metrics,
};

/// Lives in the schema's data as `Arc<Core>`.
pub(crate) struct Core {
    pub(crate) reader: Reader,
    pub(crate) metrics: Metrics,
    pub(crate) version: &'static str,
    /// The wall clock: prices from outside the chain age by it.
    pub(crate) now_unix_ms: fn() -> u64,
    /// Of subscriptions that go through history.
    pub(crate) turns: Turns,
}

/// The shared state. It is always there, but a missing one is an answer and not a panic.
pub(super) fn core<'a>(ctx: &Context<'a>) -> Result<&'a Core, ApiError> {
    ctx.data_opt::<Arc<Core>>()
        .map(Arc::as_ref)
        .ok_or_else(|| ApiError::new(Code::UpstreamDown, "this server is not ready to read yet: try again in a moment"))
}
