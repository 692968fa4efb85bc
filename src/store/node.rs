//! What only the node can say: calls of contracts at a block. Whoever has the node gives it to [`super::Live`].

use alloy::primitives::{Address, B256, Bytes};
use futures_util::future::BoxFuture;

/// A node that executes calls.
pub trait Node: Send + Sync {
    /// What a contract answers at a block; `None`: it reverts.
    fn call(&self, at: B256, to: Address, data: Bytes) -> BoxFuture<'_, Result<Option<Bytes>, String>>;
}
