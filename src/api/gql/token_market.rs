//! What a token traded in all of its pools: the part of [`super::token::Token`] that is about that.

use alloy::primitives::Address;
use async_graphql::{Context, Object, Result};

use super::{
    candle::{Candle, Interval, PoolStats, Window, Written},
    connection,
    core::core,
    error::ApiError,
    pins::pin,
    pool::{CANDLES_COST, stretch},
    scalars::{BigDecimal, Timestamp},
};
use crate::{
    domain::{ChainId, market::Subject},
    store::candles::CandleQuery,
};

pub(crate) struct TokenMarket {
    pub(super) chain: ChainId,
    pub(super) address: Address,
}

#[Object]
impl TokenMarket {
    /// Its candles in dollars, oldest first, as of the block of the answer: over all swaps of all of its pools, at what it cost when their
    /// block ended. `volumeToken0` is its own volume. Of one that had no price so far the prices are null.
    #[graphql(complexity = "CANDLES_COST.saturating_add(usize::try_from(first).unwrap_or(0).saturating_mul(child_complexity))")]
    async fn candles(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "How long a candle is")] interval: Interval,
        #[graphql(desc = "The candle that this is in, and later ones; `first` intervals before `to` unless it is said")]
        from: Option<Timestamp>,
        #[graphql(desc = "Only those that begin before this; up to the one under way unless it is said")] to: Option<Timestamp>,
        #[graphql(desc = "How many intervals, 1 to 1000", default = 500)] first: i32,
        #[graphql(desc = "Also those in which nobody traded", default)] fill_empty: bool,
    ) -> Result<Vec<Candle>> {
        let (from, to) = stretch(from, to)?;
        let count = u64::try_from(connection::first(first)?).unwrap_or(u64::MAX);
        let (pin, interval) = (pin(ctx, Some(self.chain)).await?, interval.into());
        let query = CandleQuery { of: Subject::Token(self.address), interval, from, to, count, fill: fill_empty };
        let found = core(ctx)?.reader.candles(&pin, query).await.map_err(ApiError::from)?;
        let written = Written::token(&pin, &self.address, interval);
        Ok(found.candles.into_iter().map(|candle| Candle { candle, written }).collect())
    }

    /// What was traded of it lately, in all of its pools, as of the block of the answer.
    #[graphql(complexity = "10 + child_complexity")]
    async fn stats(&self, ctx: &Context<'_>, #[graphql(desc = "How far back")] window: Window) -> Result<TokenStats> {
        let pin = pin(ctx, Some(self.chain)).await?;
        Ok(TokenStats(PoolStats::of_token(&pin, &self.address, window.into())))
    }
}

/// What was traded of a token within a window that ends with the block of the answer.
pub(crate) struct TokenStats(pub(in crate::api) PoolStats);

/// What was traded of a token within a window that ends with the block of the answer.
#[Object]
impl TokenStats {
    /// The first second that is counted.
    async fn start(&self) -> Timestamp {
        Timestamp(self.0.stats.start)
    }

    /// How much of it was traded, in either direction, in its own unit. Null where it has no decimals.
    async fn volume(&self) -> Option<BigDecimal> {
        self.0.volume0().map(BigDecimal)
    }

    /// The same in dollars, each swap at the prices of its block. Null where the value of some of them is not known.
    #[graphql(name = "volumeUSD")]
    async fn volume_usd(&self) -> Option<BigDecimal> {
        self.0.dollars().map(BigDecimal)
    }

    /// Swaps that bought it.
    async fn buys(&self) -> u32 {
        self.0.stats.buys.trades
    }

    /// Swaps that sold it.
    async fn sells(&self) -> u32 {
        self.0.stats.sells.trades
    }

    /// Addresses that bought it, each once: who received it.
    async fn buyers(&self) -> u32 {
        self.0.stats.buys.traders
    }

    /// Addresses that sold it, each once: who received the other token.
    async fn sellers(&self) -> u32 {
        self.0.stats.sells.traders
    }

    /// Swaps.
    async fn tx_count(&self) -> u32 {
        self.0.stats.buys.trades.saturating_add(self.0.stats.sells.trades)
    }

    /// By how much it became dearer in dollars since the window began, in percent; negative where cheaper. Null where it had no price.
    async fn price_change_percent(&self) -> Option<BigDecimal> {
        self.0.change().map(BigDecimal)
    }
}
