//! The built binary on a real chain: anvil, the real Uniswap contracts, real clients. `cargo xtask parts` fetches what this needs.

#![allow(unreachable_pub, reason = "one binary; its modules are its crate")]

mod browser;
mod docs;
mod engine;
mod feeds;
mod follow;
mod node;
mod odd;
mod refuse;
mod state;
