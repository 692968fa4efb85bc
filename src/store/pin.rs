//! A reader's hold on one epoch.

use std::sync::Arc;

use alloy::primitives::Address;
use tokio::time::Instant;

use super::{
    live::Live,
    view::{Freshness, Head, PoolStatus, PoolView},
};
use crate::domain::{
    ChainId,
    block::{BlockRef, Commitment},
    book::{Closing, Due},
    cursor::Cursor,
    dollars::{Gauge, Prices},
    market::{Market, Subject},
    pool::PoolId,
    token::TokenMeta,
};

/// One epoch, held still. Dropping it lets old versions go.
pub struct Pin {
    pub(super) live: Arc<Live>,
    pub(super) head: Arc<Head>,
}

impl Pin {
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    #[must_use]
    pub fn live(&self) -> &Arc<Live> {
        &self.live
    }

    #[must_use]
    pub fn chain(&self) -> ChainId {
        self.live.chain
    }

    #[must_use]
    pub fn freshness(&self) -> Freshness {
        self.live.freshness(&self.head, Instant::now())
    }

    #[must_use]
    pub fn pool(&self, id: &PoolId) -> Option<Arc<PoolView>> {
        self.live.pool_at(id, self.head.epoch)
    }

    /// Every pool of this epoch, in no order.
    #[must_use]
    pub fn pools(&self) -> Vec<Arc<PoolView>> {
        self.live.pools_at(self.head.epoch)
    }

    /// What a pool, a token or a factory traded.
    #[must_use]
    pub fn market(&self, of: &Subject) -> Option<Arc<Market>> {
        match of {
            Subject::Pool(id) => self.pool(id).map(|view| view.market.clone()),
            Subject::Token(_) | Subject::Factory(_) => self.head.book.market(of).cloned(),
        }
    }

    /// How all pools stand, at the prices of a time.
    #[must_use]
    pub fn closing(&self, due: &Due) -> Closing {
        let pools = self.pools();
        // One that was given up stands where it was, and is nothing to others.
        let counted = || pools.iter().filter(|view| view.status != PoolStatus::Faulted);
        let marks = counted().map(|view| (view.meta.as_ref(), view.image.mark()));
        self.prices_at(due.at, |prices| Closing::new(due, prices, marks))
    }

    #[must_use]
    pub fn token(&self, address: &Address) -> Option<Arc<TokenMeta>> {
        self.live.token(address)
    }

    #[must_use]
    pub fn tokens(&self) -> Vec<Arc<TokenMeta>> {
        self.live.tokens()
    }

    /// Prices at this epoch's block. `None` before the first.
    pub fn with_prices<T>(&self, look: impl FnOnce(&Prices<'_, &dyn Fn(&PoolId) -> Option<Gauge>>) -> T) -> Option<T> {
        Some(self.prices_at(self.head.block?.timestamp, look))
    }

    /// The same at another time: pools as they stand, and for how long.
    pub fn prices_at<T>(&self, time: u64, look: impl FnOnce(&Prices<'_, &dyn Fn(&PoolId) -> Option<Gauge>>) -> T) -> T {
        // One that was given up stands where it was; it prices nothing.
        let gauge = |id: &PoolId| self.pool(id).filter(|view| view.status != PoolStatus::Faulted).map(|view| view.image.gauge);
        self.live.with_routes(|routes| look(&routes.at(time, &gauge as &dyn Fn(&PoolId) -> Option<Gauge>)))
    }

    /// The block at which this pool's state is true.
    #[must_use]
    pub fn as_of(&self, view: &PoolView) -> Option<BlockRef> {
        view.held_at.or(self.head.block)
    }

    /// How settled a block of this epoch's chain is.
    #[must_use]
    pub fn commitment(&self, block_number: u64) -> Commitment {
        let tip = self.head.block.map_or(0, |b| b.number);
        if block_number <= self.head.finalized_number {
            Commitment::Finalized
        } else if block_number.saturating_add(self.live.confirmations) <= tip {
            Commitment::Safe
        } else {
            Commitment::Latest
        }
    }

    /// The position after everything of this epoch.
    #[must_use]
    pub fn cursor(&self) -> Option<Cursor> {
        let block = self.head.block?;
        Some(Cursor {
            chain: self.live.chain,
            block_number: block.number,
            block_hash: block.hash,
            next_log_index: Cursor::BLOCK_END,
            finalized_number: self.head.finalized_number,
        })
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.live.unpin(self.head.epoch);
    }
}
