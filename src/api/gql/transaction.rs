//! Transactions: what happened together.

use std::sync::Arc;

use alloy::primitives::{B256, U256};
use async_graphql::{Context, ID, Object, Result};
use futures_util::future::try_join_all;

use super::{
    block::OrderDirection,
    connection::{FIRST_DEFAULT, page_cost},
    error::ApiError,
    event::{At, Burn, Mint, Swap},
    event_query::{self, Within},
    loader,
    rows::Rows,
    scalars::{BigInt, Timestamp},
};
use crate::{
    domain::event::EventKind,
    store::{
        Pin,
        query::{EventQuery, Fields, Narrow},
    },
};

/// A transaction, known by one of its events.
pub(crate) struct Transaction(At);

impl Transaction {
    pub(super) fn of(event: At) -> Self {
        Self(event)
    }

    /// Any event of it will do: what a transaction has, each of its rows says.
    pub(super) async fn find(ctx: &Context<'_>, pin: &Arc<Pin>, hash: B256) -> Result<Option<Self>, ApiError> {
        let selected = ctx.look_ahead();
        let paid = ["gasUsed", "gasPrice"].into_iter().any(|name| selected.field(name).exists());
        let one = |kind| EventQuery {
            chain: pin.chain(),
            kind,
            narrow: Narrow::Transaction(hash),
            after: None,
            before: None,
            time_from: None,
            time_to: None,
            newest_first: false,
            fields: Fields { state_after: false, enrichment: paid },
            limit: 1,
        };
        let found = try_join_all(EventKind::ALL.map(|kind| loader::page(ctx, pin, one(kind)))).await?;
        Ok(found.into_iter().flatten().next().map(Self))
    }

    async fn events<N: From<At>>(&self, ctx: &Context<'_>, kind: EventKind, first: i32) -> Result<Vec<N>, ApiError> {
        let event = self.0.event();
        // What was taken back may have been mined again, in whatever block.
        let within = if event.canonical { Within::block(event.block.number) } else { Within::default() };
        let narrow = Narrow::Transaction(event.row.event.raw.tx_hash);
        event_query::nested(ctx, self.0.pin(), kind, (narrow, within), (first, OrderDirection::Asc)).await
    }
}

/// A transaction with what pools emitted in it.
///
/// Its lists are what is on the chain as of the answer. Of a transaction that a reorg took back they are empty, unless it was mined
/// again: then they are what happened there.
#[Object]
impl Transaction {
    /// Hash of the transaction, `0x` and 64 hex digits.
    async fn id(&self) -> ID {
        ID(format!("{:#x}", self.0.event().row.event.raw.tx_hash))
    }

    /// Height of the block it is in.
    async fn block_number(&self) -> u64 {
        self.0.event().block.number
    }

    /// Time of the block it is in, seconds since 1970.
    async fn timestamp(&self) -> Timestamp {
        Timestamp(self.0.event().block.timestamp)
    }

    /// Gas that it used. Null until it has been looked up.
    async fn gas_used(&self) -> Option<BigInt> {
        self.0.event().row.enrichment.map(|e| U256::from(e.gas_used).into())
    }

    /// Wei that it paid for each. Null until it has been looked up.
    async fn gas_price(&self) -> Option<BigInt> {
        self.0.event().row.enrichment.map(|e| e.gas_price_wei.into())
    }

    /// Its swaps in the order of their logs, whatever pool they are of.
    #[graphql(complexity = "page_cost(first, child_complexity)")]
    async fn swaps(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "How many at most, 1 to 1000: few transactions have more than ten", default_with = "FIRST_DEFAULT")]
        first: i32,
    ) -> Result<Rows<Swap>> {
        Ok(Rows(self.events(ctx, EventKind::Swap, first).await?))
    }

    /// What it put into pools, in the order of the logs.
    #[graphql(complexity = "page_cost(first, child_complexity)")]
    async fn mints(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "How many at most, 1 to 1000: few transactions have more than ten", default_with = "FIRST_DEFAULT")]
        first: i32,
    ) -> Result<Rows<Mint>> {
        Ok(Rows(self.events(ctx, EventKind::Mint, first).await?))
    }

    /// What it took out of pools, in the order of the logs.
    #[graphql(complexity = "page_cost(first, child_complexity)")]
    async fn burns(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "How many at most, 1 to 1000: few transactions have more than ten", default_with = "FIRST_DEFAULT")]
        first: i32,
    ) -> Result<Rows<Burn>> {
        Ok(Rows(self.events(ctx, EventKind::Burn, first).await?))
    }
}
