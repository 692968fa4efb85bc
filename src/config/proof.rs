//! What a node has to show for what it says.

use serde::Deserialize;

/// What shows that the logs of a block at the head are all there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Proof {
    /// The header's bloom: `eth_getLogs` by hash. It does not miss the last logs of a block where they repeat what was said before in it.
    #[default]
    Bloom,
    /// The header's root of the receipts: `eth_getBlockReceipts`. It misses nothing.
    Receipts,
}
