//! Blocks and headers. A block is named by its hash; a number alone never identifies one.

use alloy::{
    consensus::constants::EMPTY_RECEIPTS,
    primitives::{B256, Bloom},
};
use serde::{Deserialize, Serialize};

/// One block of one chain, with the link to its parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BlockRef {
    pub number: u64,
    pub hash: B256,
    pub parent_hash: B256,
    /// Seconds since the Unix epoch, as the header says.
    pub timestamp: u64,
}

/// What is needed of a header to link it and to prove its logs complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    pub block: BlockRef,
    pub logs_bloom: Box<Bloom>,
    /// What its receipts, and with them its logs, are proven by. `None`: the node does not say.
    pub receipts_root: Option<B256>,
    /// What a unit of gas cost in it at least, wei. `None`: the chain has no such thing.
    pub base_fee_wei: Option<u64>,
}

impl Header {
    /// The receipts root is that of an empty trie: no transaction, so surely no log. A bloom of zeros alone proves that only
    /// where the chain fills its blooms.
    #[must_use]
    pub fn has_no_receipts(&self) -> bool {
        self.receipts_root == Some(EMPTY_RECEIPTS)
    }
}

/// How settled a block is. Computed from the head when asked, never stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Commitment {
    /// On our head chain.
    Latest,
    /// At least `confirmations` blocks deep.
    Safe,
    /// Beyond the undo window: never retracted.
    Finalized,
}
