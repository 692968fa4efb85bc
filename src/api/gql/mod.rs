//! The native GraphQL schema. Names follow the Uniswap subgraphs where they have one; only what is served is in it.

mod args;
mod block;
mod connection;
mod core;
pub(in crate::api) mod cursor;
pub(crate) mod error;
pub(in crate::api) mod event;
mod event_query;
mod feed;
mod frame;
mod guard;
mod heights;
mod limits;
mod loader;
mod meta;
mod pins;
mod pool;
mod query;
pub(in crate::api) mod scalars;
mod subscription;
pub(in crate::api) mod token;
mod transaction;

use std::sync::Arc;

use async_graphql::{EmptyMutation, Schema, SchemaBuilder};

pub(crate) use self::{core::Core, guard::Executed};
use query::Query;
use subscription::Subscription;

pub(crate) type ApiSchema = Schema<Query, EmptyMutation, Subscription>;

/// What a request may cost, in fields it can answer at most: a full page of swaps with 40 fields each fits twice.
const COMPLEXITY_MAX: usize = 100_000;

fn builder() -> SchemaBuilder<Query, EmptyMutation, Subscription> {
    Schema::build(Query, EmptyMutation, Subscription)
}

/// The schema over one process's state.
pub(crate) fn schema(core: Core) -> ApiSchema {
    builder()
        .data(Arc::new(core))
        .limit_complexity(COMPLEXITY_MAX)
        .limit_recursive_depth(limits::DEPTH_INTROSPECTION_MAX.saturating_add(limits::FRAGMENTS_MAX))
        .extension(guard::Guard)
        .finish()
}

/// The schema definition, as `swaptide schema` prints it.
#[must_use]
pub fn sdl() -> String {
    let mut text = builder().finish().sdl();
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}
