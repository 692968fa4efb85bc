//! `_meta`: how new the server is.

use std::sync::Arc;

use async_graphql::{Context, Object};

use super::{
    block::{BlockRef, Freshness},
    core::core,
};
use crate::store::{Pin, PoolStatus};

pub(crate) struct Meta(pub(super) Arc<Pin>);

/// What this server knows of a chain, as of the same block as every other answer of the request.
#[Object]
impl Meta {
    /// The newest block that every answer of this request is about. Null before the first one arrived.
    async fn block(&self) -> Option<BlockRef> {
        self.0.head().block.map(Into::into)
    }

    /// EIP-155 id of the chain.
    async fn chain_id(&self) -> u64 {
        self.0.chain()
    }

    /// Whether the newest block came in time.
    async fn freshness(&self) -> Freshness {
        self.0.freshness().into()
    }

    /// Height of the newest block that can no longer be taken back.
    async fn finalized_block(&self) -> u64 {
        self.0.head().finalized_number
    }

    /// Height of the newest block that is as deep as the configuration asks for (`confirmations`).
    async fn safe_block(&self) -> u64 {
        let head = self.0.head();
        let tip = head.block.map_or(0, |b| b.number);
        tip.saturating_sub(self.0.live().confirmations).max(head.finalized_number)
    }

    /// Height of the newest block that is in the store: it survives a restart. 0 while the store does not answer since the start.
    async fn durable_block(&self) -> u64 {
        self.0.live().durable_block()
    }

    /// True once catching up was over.
    async fn at_head(&self) -> bool {
        self.0.head().at_head
    }

    /// How many pools are followed.
    async fn pools(&self) -> usize {
        self.0.pools().len()
    }

    /// Version of the server.
    async fn version(&self, ctx: &Context<'_>) -> async_graphql::Result<&'static str> {
        Ok(core(ctx)?.version)
    }

    /// Name of the chain in this server's configuration.
    async fn deployment(&self) -> &str {
        &self.0.live().chain_name
    }

    /// True where some pool was given up: its `status` is FAULTED.
    async fn has_indexing_errors(&self) -> bool {
        self.0.pools().iter().any(|view| view.status == PoolStatus::Faulted)
    }
}
