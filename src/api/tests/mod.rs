//! The interface over a small chain that each test mines by hand.

mod admin;
mod candles;
mod dollars;
mod errors;
mod http;
mod intake;
mod limits;
mod list;
mod market_feeds;
mod nested;
mod nested_mongo;
mod openapi;
mod paging;
mod periods;
mod posts;
mod prices;
mod queries;
mod quotes;
mod rest;
mod rows;
mod schema;
mod sockets;
mod stream;
mod subscriptions;
mod udf;
mod world;
