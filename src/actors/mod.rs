//! The supervision tree: thin shells that own state and call the domain. The only place that names actix (`main` and `app`
//! start it).
//!
//! `root → Ingest (one per chain) → Pool (one per pool)`, and `Persist`. Messages go down, replies come up; nobody waits in a
//! circle. Start with [`ingest`], then [`barrier`].

mod backfill;
mod barrier;
mod books;
mod boot;
mod commit;
pub mod enrich;
#[cfg(test)]
mod faults;
pub mod feed;
mod folder;
mod follow;
mod heal;
pub mod ingest;
mod journal;
mod late;
mod markets;
mod mend;
pub mod oracle;
pub mod persist;
pub mod pool;
mod probe;
mod ranges;
pub mod recorder;
mod refill;
mod seed;
pub mod sources;
pub mod supervise;
mod table;
#[cfg(test)]
mod tests;
pub mod tree;
mod value;

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    chain::{ChainSource, registry::DexSpec},
    domain::ChainId,
    store::{History, Live, StoreError, history::WriteBatch, lease::Lease},
    telemetry::{Board, Metrics},
};

pub use boot::anchor;

/// Where to begin on an empty store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartBlock {
    Number(u64),
    /// So many blocks before the newest.
    Latest {
        minus: u64,
    },
}

/// When a block can no longer be taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finality {
    /// So many blocks below the head.
    Depth(u64),
    /// What the node calls finalized.
    Tag,
}

/// What is watched on one chain.
#[derive(Debug, Clone)]
pub struct Plan {
    pub start: StartBlock,
    pub finality: Finality,
    /// One per source: a factory, or one listed pool.
    pub dexes: Vec<DexSpec>,
    /// Orphaned rows are deleted this long after they were taken back, in seconds.
    pub orphan_retention_s: u64,
    /// Rows that memory keeps for a store that is away. 200,000: about 150 MB, 5 min at 600 events/s. What is older is read
    /// again from the chain when the store is back.
    pub journal_rows_max: usize,
    /// Fill in who signed each transaction, from receipts.
    pub enrichment: bool,
    /// Try how tokens behave when they are moved, each again after so long. `None`: never.
    pub token_probe: Option<std::time::Duration>,
    /// Show a progress bar while catching up (a terminal is attached).
    pub progress_bar: bool,
}

/// What the actors of one chain share.
pub struct Deps {
    pub chain: ChainId,
    pub source: Arc<dyn ChainSource>,
    pub live: Arc<Live>,
    pub history: Arc<dyn History>,
    pub metrics: Metrics,
    pub board: Board,
    pub plan: Plan,
    /// What is followed with the head; the rest of the plan is being read back.
    pub joined: sources::Joined,
    /// Whether this process writes to `history`, and with which fence.
    pub lease: Lease,
    /// Something that only an operator can mend; the process ends with it and code 1.
    pub fatal: mpsc::Sender<String>,
    /// No new heads from now on; finish what is under way.
    pub stop: CancellationToken,
    /// Milliseconds since 1970; an input so that tests own the clock.
    pub now_unix_ms: fn() -> u64,
}

impl Deps {
    fn now_unix_s(&self) -> u64 {
        (self.now_unix_ms)().checked_div(1_000).unwrap_or(0)
    }

    /// The label that metrics carry.
    #[must_use]
    pub fn label(&self) -> String {
        self.chain.to_string()
    }

    /// Writes what a start makes of the store, where this instance writes. Otherwise memory is ahead of the store by that, in a way that
    /// nothing knows: this instance may serve from it, and never write. It starts over when it is to write.
    pub(super) async fn keep(&self, batch: WriteBatch) -> Result<(), StoreError> {
        if let Some(fence) = self.lease.fence() {
            match self.history.write(WriteBatch { fence, ..batch }).await {
                Err(StoreError::Fenced { ours, .. }) if self.fenced(ours) => {}
                outcome => return outcome,
            }
        }
        self.lease.mark_unwritten();
        Ok(())
    }

    /// Another instance writes now. Where a store is not shared there is nothing left to do here.
    pub(super) fn fenced(&self, ours: u64) -> bool {
        if !self.history.is_shared() {
            return false;
        }
        if self.lease.lose(ours) {
            tracing::warn!("another instance writes to the store now: this one follows");
        }
        true
    }

    /// Ends the process with code 1; the first reason wins.
    pub(crate) fn fail(&self, reason: String) {
        // Full: a reason is already on its way.
        let _ = self.fatal.try_send(reason);
    }
}
