//! After an outage of the store that was longer than memory: what it lacks is read again from the chain, by hash, and folded
//! from the store's own snapshots, exactly as it was the first time.

use std::sync::Arc;

use alloy::primitives::B256;

use super::{Deps, boot::replayed, folder::Folder, sources, table::Known};
use crate::{
    chain::{BlockTag, ChainError, registry::Registry},
    domain::{block::Header, record::BlockRecord},
    store::StoreError,
};

/// Headers that are held at once while the way back is traced: 200,000 are 70 MB, a week of mainnet is 50,000.
const HEADERS_MAX: usize = 200_000;

/// The blocks between the store and the window.
pub(super) struct Gap {
    /// Ascending; the first's parent is in the store.
    pub(super) headers: Vec<Header>,
    /// Stored blocks that are on another branch, newest first.
    pub(super) revert: Vec<B256>,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum RefillError {
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the store is more than {HEADERS_MAX} blocks behind: start again, so that it is read in ranges")]
    TooFar,
}

/// Walks back by parent hash from the first block of the window to one that is stored. `stored` is ascending.
pub(super) async fn trace(deps: &Deps, first: &BlockRecord, stored: &[(u64, B256)]) -> Result<Gap, RefillError> {
    let mut headers: Vec<Header> = Vec::new();
    let header = async |hash| deps.source.header(BlockTag::Hash(hash)).await?.ok_or(ChainError::UnknownBlock(hash));
    let mut wanted = first.block.parent_hash;
    if wanted.is_zero() && first.block.number > 0 {
        // It was read in a range, whose logs say nothing of parents.
        wanted = header(first.block.hash).await?.block.parent_hash;
    }
    loop {
        if let Some(at) = stored.iter().rposition(|(_, hash)| *hash == wanted) {
            let revert = stored.iter().skip(at.saturating_add(1)).rev().map(|(_, hash)| *hash).collect();
            headers.reverse();
            return Ok(Gap { headers, revert });
        }
        if headers.len() >= HEADERS_MAX {
            return Err(RefillError::TooFar);
        }
        let header = header(wanted).await?;
        wanted = header.block.parent_hash;
        headers.push(header);
    }
}

/// Rebuilds records in order. Pools are taken from the store when they are first touched.
pub(super) struct Refill {
    folder: Folder,
    /// Stored blocks of the branch that is left: what they did does not count.
    left: Vec<B256>,
}

impl Refill {
    /// From what the store holds now, without the blocks that are to be taken back.
    pub(super) async fn new(deps: &Deps, revert: &[B256]) -> Result<Self, StoreError> {
        let boot = deps.history.boot(deps.chain).await?;
        let joined = deps.joined.get();
        let mut registry = Registry::new(joined.clone());
        let ours = boot.pools.into_iter().filter(|meta| joined.iter().any(|spec| sources::covers(spec, meta)));
        ours.for_each(|meta| registry.insert(Arc::new(meta)));
        revert.iter().for_each(|hash| registry.revert(*hash));
        // A token may have changed hands within the gap without a word of its pool.
        for view in deps.live.pin().pools() {
            view.image.fees.iter().for_each(|fees| registry.insert_tokens(view.meta.id, fees));
        }
        Ok(Self { folder: Folder::new(deps.chain, registry), left: revert.to_vec() })
    }

    pub(super) async fn record(&mut self, deps: &Deps, header: &Header) -> Result<BlockRecord, RefillError> {
        let logs = deps.source.block_logs(header).await?;
        for meta in self.folder.unknown(&logs) {
            let replay = deps.history.replay(deps.chain, vec![meta.as_ref().clone()]).await?.into_iter().next();
            let shares = sources::follows_shares(&deps.joined.get(), &meta);
            let replayed =
                replayed(&meta, shares, replay.unwrap_or_default(), u64::MAX, |block| !self.left.contains(&block.hash));
            // What it traded is known where it is followed.
            self.folder.insert(&meta, Known::new(replayed.image, replayed.updated));
        }
        Ok(self.folder.block(header.block, logs).record)
    }
}
