//! Whether a token's balances change by themselves, as it shows at one pool.
//!
//! A pool that holds less than it has booked is enough. One that holds more than before beside what it booked, or that booked what nobody
//! swapped, was given it, or its balance grew: the token's transfers to and from the pool decide, once they are final.

use std::collections::HashSet;

use alloy::primitives::{Address, B256, U256, b256};

use crate::{
    chain::{BlockTag, ChainError, ChainSource},
    domain::{
        block::BlockRef,
        event::{EventBody, RawLog},
        pool::PoolId,
    },
    store::Head,
};

/// `Transfer(address,address,uint256)`
const TRANSFER: B256 = b256!("ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef");

/// A balance of the pool at a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    at: BlockRef,
    held: U256,
    /// More than the pool has booked by so much. `None`: nobody knows.
    surplus: Option<U256>,
}

/// One token at one pool.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// It was seen to; that stays.
    pub(super) rebases: bool,
    last: Option<Seen>,
    /// Since then the pool took its balances for its reserves, and nobody had swapped.
    synced: bool,
    /// Between these two transfers are to be counted.
    open: Option<(Seen, Seen)>,
}

impl Watch {
    /// `booked`: what the pool itself says that it has.
    pub(super) fn saw(&mut self, at: BlockRef, held: U256, booked: Option<U256>) {
        let surplus = booked.map(|booked| held.checked_sub(booked));
        self.rebases |= surplus == Some(None);
        let now = Seen { at, held, surplus: surplus.flatten() };
        let Some(last) = self.last.replace(now) else { return };
        let has_grown = last.surplus.zip(now.surplus).is_some_and(|(last, now)| now > last);
        let is_odd = std::mem::take(&mut self.synced) || has_grown;
        if is_odd && self.open.is_none() && !self.rebases && last.at.number < at.number {
            self.open = Some((last, now));
        }
    }

    /// The pool took its balances for its reserves.
    pub(super) fn synced(&mut self) {
        self.synced = self.last.is_some();
    }

    /// Another pool from now on, or a token whose transfers do not say what arrives.
    pub(super) fn forget(&mut self) {
        *self = Self { rebases: self.rebases, ..Self::default() };
    }

    /// Transfers are to be counted, and are final.
    pub(super) fn is_ready(&self, finalized: u64) -> bool {
        self.open.is_some_and(|(_, last)| last.at.number <= finalized)
    }

    /// Counts transfers where that is open, once. `true`: they do not explain the balance.
    pub(super) async fn settle(&mut self, source: &dyn ChainSource, token: Address, pool: Address) -> Result<bool, ChainError> {
        let Some((first, last)) = self.open.take() else { return Ok(false) };
        let is_ours = async |block: BlockRef| -> Result<bool, ChainError> {
            let there = source.header(BlockTag::Number(block.number)).await?;
            Ok(there.is_some_and(|header| header.block.hash == block.hash))
        };
        let explained = if is_ours(first.at).await? && is_ours(last.at).await? {
            match source.range_logs(first.at.number.saturating_add(1), last.at.number, &[TRANSFER], &[token]).await {
                Ok(range) => explained(&first, &last, pool, range.blocks.iter().flat_map(|(_, logs)| logs)),
                // So much of it is moved that nobody would miss what the pool was given; or the node gives no logs.
                Err(ChainError::RangeTooLarge(_) | ChainError::Refused(_)) => true,
                Err(error) => return Err(error),
            }
        } else {
            true
        };
        self.rebases |= !explained;
        Ok(!explained)
    }
}

/// Transfers account for the balance. Where one cannot be read, nothing is said against the token.
fn explained<'a>(first: &Seen, last: &Seen, pool: Address, logs: impl Iterator<Item = &'a RawLog>) -> bool {
    let mut held = first.held;
    for log in logs {
        let [_, from, to] = log.topics.as_slice() else { return true };
        let Some(value) = log.data.first_chunk::<32>().map(|word| U256::from_be_bytes(*word)) else { return true };
        // Modulo 2^256 the order does not matter.
        if Address::from_word(*to) == pool {
            held = held.wrapping_add(value);
        }
        if Address::from_word(*from) == pool {
            held = held.wrapping_sub(value);
        }
    }
    held == last.held
}

/// Pairs that took their balances for their reserves without a swap, a mint or a burn, in blocks after `known`; all of them where that is
/// gone. And the newest block, to go on from.
pub(super) fn synced(head: &Head, known: Option<B256>) -> (HashSet<PoolId>, Option<B256>) {
    let news = head.window.iter().rev().take_while(|record| Some(record.block.hash) != known);
    let rows = news.flat_map(|record| &record.rows);
    let bare = rows.filter(|row| matches!(row.event.body, EventBody::V2Sync { .. })).map(|row| row.event.pool);
    (bare.collect(), head.window.last().map(|record| record.block.hash))
}

#[cfg(test)]
mod tests;
