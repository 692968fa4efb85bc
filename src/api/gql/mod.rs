//! The native GraphQL schema. Names follow the Uniswap subgraphs where they have one; only what is served is in it.

mod args;
mod block;
pub(in crate::api) mod candle;
mod candle_feed;
mod connection;
mod core;
pub(in crate::api) mod cursor;
pub(in crate::api) mod depth;
mod documents;
mod engine;
pub(crate) mod error;
pub(in crate::api) mod event;
mod event_query;
mod events_feed;
mod feed;
mod following;
mod frame;
mod guard;
mod heights;
mod limits;
pub(crate) mod link;
pub(in crate::api) mod liquidity;
mod loader;
mod meta;
mod money;
pub(crate) mod normal;
pub(in crate::api) mod period;
pub(in crate::api) mod period_value;
mod pins;
mod pool;
mod pool_feed;
pub(in crate::api) mod pool_price;
pub(in crate::api) mod position;
pub(in crate::api) mod position_value;
pub(in crate::api) mod price;
mod price_feed;
mod query;
pub(in crate::api) mod quote;
mod quote_feed;
pub(in crate::api) mod quote_input;
mod quote_node;
mod quote_route;
mod rows;
pub(in crate::api) mod scalars;
mod search;
pub(in crate::api) mod simulate;
mod subscription;
pub(in crate::api) mod token;
mod token_market;
mod transaction;
pub(in crate::api) mod value;

use async_graphql::{EmptyMutation, Schema, SchemaBuilder};

use crate::store::follow::turns::Turns;

pub(crate) use self::{
    core::Core,
    engine::{Answered, Engine},
};
pub use self::{documents::Documents, engine::DocumentRules};
use query::Query;
use subscription::Subscription;

pub(crate) type ApiSchema = Schema<Query, EmptyMutation, Subscription>;

/// What a request may cost, in fields it can answer at most: a full page of swaps with 40 fields each fits twice.
const COMPLEXITY_MAX: usize = 100_000;

/// Subscriptions that go through history at once: queries must not wait for them.
const REPLAYS_MAX: usize = 2;

/// Their turns.
pub(crate) fn turns() -> Turns {
    Turns::new(REPLAYS_MAX)
}

fn builder() -> SchemaBuilder<Query, EmptyMutation, Subscription> {
    Schema::build(Query, EmptyMutation, Subscription)
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
