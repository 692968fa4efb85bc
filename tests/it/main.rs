//! The built binary on a real chain: anvil, the real Uniswap contracts, real clients. `cargo xtask parts` fetches what this needs.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a test that cannot go on says so by a panic"
)]

mod asked;
mod audits;
mod boundary;
mod browser;
mod candles;
mod chains;
mod conduct;
mod discord;
mod docs;
mod doctor;
mod dollars;
mod engine;
mod enrich;
mod examples;
mod fault;
mod feeds;
mod fees;
mod follow;
mod forks;
mod hours;
mod kills;
mod lies;
mod logs;
mod mongo;
mod node;
mod odd;
mod openapi;
mod outages;
mod positions;
mod prices;
mod quoted;
mod quotes;
mod refuse;
mod reorgs;
mod replicas;
mod resume;
mod sent;
mod shares;
mod simulated;
mod sources;
mod state;
mod stores;
mod stream;
mod tradingview;
mod transports;
mod v4;
mod v4_quotes;
mod v4_simulated;
