//! A real chain to watch: anvil, the real Uniswap contracts and a seeded trading loop, for the demo, the tests and the benches.
//!
//! ```no_run
//! # async fn example() -> swaptide_demo::Result<()> {
//! use swaptide_demo::{Devnet, DevnetConfig};
//! let mut devnet = Devnet::start(DevnetConfig { seed: 7, ..DevnetConfig::default() }).await?;
//! devnet.trader.push_random(50).await?;
//! let block = devnet.mine().await?;
//! let reorg = devnet.reorg(1).await?;
//! assert_ne!(reorg.old_head, reorg.new_head.hash);
//! # Ok(()) }
//! ```
//!
//! The map: `parts` finds what `cargo xtask parts` fetched; `anvil` runs the node under a `guard` that never leaves an orphan;
//! `deploy` puts the `contracts`, `tokens` and `pools` on the chain; `trader` decides what happens next, `actions` makes the
//! transactions, `queue` puts them into blocks; `devnet` is all of that in one value, and does the reorgs. Beside it, `mongod` is a
//! real MongoDB for whoever stores in one.
//!
//! Absent on purpose: mocks, automatic mining, private keys (the node signs for its unlocked accounts), and any knowledge of the
//! engine: this crate must be able to say that the engine is wrong.

pub mod anvil;
pub mod cache;
pub mod contracts;
pub mod guard;
pub mod http;
pub mod mongod;
pub mod parts;
pub mod pools;
pub mod queue;
pub mod replica_set;
pub mod rng;
pub mod rpc;
pub mod tokens;
pub mod trader;
pub mod v4;

mod actions;
mod deploy;
mod devnet;
mod error;
mod odd;
mod oracle;

pub use crate::{
    anvil::Clock,
    contracts::Contract,
    deploy::Deployment,
    devnet::{Devnet, DevnetConfig, Reorged},
    error::{Error, Result},
    mongod::Mongod,
    odd::{LogEmitter, OddTokens},
    oracle::PriceOracle,
    parts::Parts,
    pools::{DevPool, Protocol},
    queue::{Mined, Tx, TxQueue},
    replica_set::ReplicaSet,
    tokens::DevToken,
    trader::{ActionCounts, Trader},
    v4::{V4, V4Pool},
};
