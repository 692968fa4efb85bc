//! What a pool holds, traded and earned: the part of [`super::pool::Pool`] that is about money.

use async_graphql::Object;

use super::{
    scalars::{BigDecimal, BigInt},
    value::{PoolValue, locked_usd},
};
use crate::{
    domain::pool::fees::Fees,
    store::{Pin, PoolView},
};

pub(crate) struct Money<'a> {
    pub(super) pin: &'a Pin,
    pub(super) view: &'a PoolView,
}

impl Money<'_> {
    fn value(&self) -> PoolValue {
        PoolValue::new(self.pin, self.view)
    }

    fn fees(&self) -> Option<&Fees> {
        self.view.image.fees.as_deref()
    }
}

#[Object]
impl Money<'_> {
    /// token0 that it holds, in its own unit: of V2 the reserve, of V3 all that came in less what went out. Null where a token has no decimals.
    #[graphql(name = "totalValueLockedToken0")]
    async fn total_value_locked_token0(&self) -> Option<BigDecimal> {
        self.value().locked0.map(BigDecimal)
    }

    /// The same of token1.
    #[graphql(name = "totalValueLockedToken1")]
    async fn total_value_locked_token1(&self) -> Option<BigDecimal> {
        self.value().locked1.map(BigDecimal)
    }

    /// Both in dollars, at the prices of the answer's block. Null where one of them has no price.
    #[graphql(name = "totalValueLockedUSD")]
    async fn total_value_locked_usd(&self) -> Option<BigDecimal> {
        locked_usd(self.pin, self.view).map(BigDecimal)
    }

    /// token0 that was ever traded, in either direction, in its own unit.
    async fn volume_token0(&self) -> Option<BigDecimal> {
        self.value().volume0.map(BigDecimal)
    }

    /// token1 that was ever traded, in either direction, in its own unit.
    async fn volume_token1(&self) -> Option<BigDecimal> {
        self.value().volume1.map(BigDecimal)
    }

    /// Dollars that were ever traded, each swap at the prices of its block. Null where the value of some of them is not known.
    #[graphql(name = "volumeUSD")]
    async fn volume_usd(&self) -> Option<BigDecimal> {
        self.value().volume_usd.map(BigDecimal)
    }

    /// What traders paid for that: the swap fee's part of `volumeUSD`.
    #[graphql(name = "feesUSD")]
    async fn fees_usd(&self) -> Option<BigDecimal> {
        self.value().fees_usd.map(BigDecimal)
    }

    /// Swaps so far.
    async fn swap_count(&self) -> u32 {
        self.value().swaps
    }

    /// What traders paid for swaps in token0, the protocol's part included: of V3 what the contract took, step by step, of V2 the fee's part
    /// of what came in. As far as this server has read. Null where a token has no decimals, or the contract does not swap as v3-core does.
    #[graphql(name = "feesToken0")]
    async fn fees_token0(&self) -> Option<BigDecimal> {
        self.value().fees0.map(BigDecimal)
    }

    /// The same in token1.
    #[graphql(name = "feesToken1")]
    async fn fees_token1(&self) -> Option<BigDecimal> {
        self.value().fees1.map(BigDecimal)
    }

    /// Fees in token0 that owners of positions took out; what they had put in is not among them. Null for V2, whose fees stay in the pool until
    /// liquidity is burnt, and where the pool is older than what this server has read.
    #[graphql(name = "collectedFeesToken0")]
    async fn collected_fees_token0(&self) -> Option<BigDecimal> {
        self.value().collected0.map(BigDecimal)
    }

    /// The same in token1.
    #[graphql(name = "collectedFeesToken1")]
    async fn collected_fees_token1(&self) -> Option<BigDecimal> {
        self.value().collected1.map(BigDecimal)
    }

    /// token0 that the protocol took of swaps and has not collected yet, as `protocolFees()` answers; null for V2.
    #[graphql(name = "protocolFeesToken0")]
    async fn protocol_fees_token0(&self) -> Option<BigDecimal> {
        self.value().protocol0.map(BigDecimal)
    }

    /// The same of token1.
    #[graphql(name = "protocolFeesToken1")]
    async fn protocol_fees_token1(&self) -> Option<BigDecimal> {
        self.value().protocol1.map(BigDecimal)
    }

    /// How many accounts have liquidity in it: owners of positions, holders of managers' tokens each for himself; of a pair the holders of its
    /// own token. Null where the pool is older than what this server has read, and for pairs of an exchange without `lp_tokens`.
    #[graphql(complexity = 2_000)]
    async fn liquidity_provider_count(&self) -> Option<u64> {
        self.view.image.providers(&self.view.meta.id).and_then(|count| u64::try_from(count).ok())
    }

    /// Fees in token0 that a unit of liquidity in range earned since the beginning, as a Q128 integer that wraps around: what
    /// `feeGrowthGlobal0X128()` answers. Null for V2.
    #[graphql(name = "feeGrowthGlobal0X128")]
    async fn fee_growth_global0(&self) -> Option<BigInt> {
        self.fees().map(|fees| BigInt::from(fees.growth[0]))
    }

    /// The same in token1.
    #[graphql(name = "feeGrowthGlobal1X128")]
    async fn fee_growth_global1(&self) -> Option<BigInt> {
        self.fees().map(|fees| BigInt::from(fees.growth[1]))
    }
}
