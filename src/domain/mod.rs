//! The pure core: values in, values out. No clock, no network, no runtime, no logging; time and randomness are arguments.
//!
//! Read in this order: [`block`] (what a block is, and where a cursor points), [`reconcile`] (heads become chain updates),
//! [`event`] (what pools emit), [`pool`] (how state follows from events), [`record`] (what is kept of a block).

pub mod block;
pub mod book;
pub mod compare;
pub mod cursor;
pub mod dollars;
pub mod event;
pub mod feed;
pub mod fixed;
pub mod gas;
pub mod image;
pub mod market;
pub mod pool;
pub mod price;
pub mod reconcile;
pub mod record;
pub mod route;
pub mod split;
#[cfg(test)]
pub(crate) mod test_support;
pub mod token;

/// EIP-155 chain id.
pub type ChainId = u64;
