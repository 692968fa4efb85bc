//! The node: what is asked of it, what is believed of the answers, and how logs become events.
//!
//! [`ChainSource`] is the one seam. The RPC implements it for real chains, [`sim`] for seeded tests.

use alloy::primitives::{Address, B256, Bytes};
use futures_util::{future::BoxFuture, stream::BoxStream};

use crate::domain::{
    ChainId,
    block::{BlockRef, Header},
    event::RawLog,
    record::Enrichment,
};

pub mod aggregator;
pub mod batch;
pub mod contract_state;
pub mod decode;
pub mod factory;
pub mod older;
pub mod registry;
pub mod rpc;
pub mod sim;
pub mod tokens;
pub mod verify;
pub mod withhold;

#[cfg(test)]
pub(crate) mod test_support;

/// Which block is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockTag {
    Latest,
    /// The node's own notion; only used with `finality = "tag"`.
    Finalized,
    /// The node's own notion of SAFE.
    Safe,
    Number(u64),
    Hash(B256),
}

/// What the head stream says. A head is only a hint: truth is the parent-hash chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeadEvent {
    Head(Header),
    /// No endpoint gives heads; the stream goes on trying and says `Head` when one does.
    Down {
        reason: String,
    },
}

/// One read-only contract call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub to: Address,
    pub data: Bytes,
}

/// What a call answered; longer answers are cut at the cap that the caller gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallOutcome {
    Returned(Bytes),
    /// It reverted, ran out of its gas share, or there is no code (then the data is empty).
    Failed,
}

/// Logs of a range at or below finalized, in chain order, with the block each belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeLogs {
    /// Blocks that have at least one of the logs, ascending; `parent_hash` is zero where it was not asked for.
    pub blocks: Vec<(BlockRef, Vec<RawLog>)>,
    /// Header of the last block of the range, hash-checked against its logs.
    pub end: BlockRef,
}

/// Why the node could not answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ChainError {
    /// Nothing answered within the time limit and retries. Worth trying again later.
    #[error("no endpoint answered: {0}")]
    Unavailable(String),
    /// The block is not (or no longer) known: a reorg took it, or the endpoint lags.
    #[error("block {0} is not known to the node")]
    UnknownBlock(B256),
    /// The answer contradicts the header (wrong bloom, wrong hash, missing logs), on every endpoint that was asked.
    #[error("the node's answer contradicts the chain: {0}")]
    Contradiction(String),
    /// Too many results, or too slow: ask for a smaller range.
    #[error("the range is too large for the node: {0}")]
    RangeTooLarge(String),
    /// The node understood and refused; asking again will not help.
    #[error("the node refused: {0}")]
    Refused(String),
}

/// A chain that can be followed. Implementations hide endpoints, retries and checks: what they return is verified.
pub trait ChainSource: Send + Sync + 'static {
    /// Asks the node, so that a wrong endpoint is found before anything is written.
    fn chain_id(&self) -> BoxFuture<'_, Result<ChainId, ChainError>>;

    /// New heads, in the order they are heard of; duplicates, gaps, siblings and (confirmed) ancestors included. Never
    /// ends by itself. One stream per call.
    fn heads(&self) -> BoxStream<'static, HeadEvent>;

    /// `None` where the node does not know it.
    fn header(&self, tag: BlockTag) -> BoxFuture<'_, Result<Option<Header>, ChainError>>;

    /// All logs of exactly this block, by hash, unfiltered, complete (the bloom recomputed from them equals the header's).
    fn block_logs(&self, header: &Header) -> BoxFuture<'_, Result<Vec<RawLog>, ChainError>>;

    /// The logs of `from..=to` with one of `topic0`, for a range at or below finalized. `addresses` empty means all.
    fn range_logs(
        &self,
        from: u64,
        to: u64,
        topic0: &[B256],
        addresses: &[Address],
    ) -> BoxFuture<'_, Result<RangeLogs, ChainError>>;

    /// Executes all calls at the state of one block. Answers are in the order of `calls`, each cut at `max_return_bytes`.
    fn call_batch(
        &self,
        at: B256,
        calls: Vec<Call>,
        max_return_bytes: usize,
    ) -> BoxFuture<'_, Result<Vec<CallOutcome>, ChainError>>;

    /// Executes one call at the state of a block, also one that changes state, as quoters do and take back. Without `to`: what creation code
    /// returns.
    fn call(&self, at: B256, to: Option<Address>, data: Bytes) -> BoxFuture<'_, Result<CallOutcome, ChainError>> {
        let _ = (at, to, data);
        Box::pin(async { Err(ChainError::Refused("this chain executes no calls".to_owned())) })
    }

    /// Who signed each of these transactions of a block, and what it paid. Those that the block does not have are left out.
    fn receipts(&self, block: B256, transactions: Vec<B256>) -> BoxFuture<'_, Result<Vec<(B256, Enrichment)>, ChainError>>;

    /// The code at an address at the newest block; empty where there is none.
    fn code(&self, address: Address) -> BoxFuture<'_, Result<Bytes, ChainError>>;
}
