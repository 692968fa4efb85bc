//! A sequence of swaps that nobody sent: for GraphQL and REST.

use std::sync::Arc;

use alloy::primitives::{Address, U256};
use async_graphql::{Context, ID, InputObject, Object};

use super::{
    args::pool_id,
    block::BlockRef,
    error::{ApiError, Code},
    pins::pin,
    pool::Pool,
    quote::TradeType,
    scalars::{AddressScalar, BigDecimal, BigInt},
    token::decimals,
};
use crate::{
    domain::{
        block,
        pool::{PoolState, exchange::NoSwap, step::Amount},
        price::token1_per_token0,
    },
    store::{
        Pin, PoolView, ReadError,
        simulate::{NoStep, Simulated, Step},
    },
};

/// Of a step: one swap.
pub(super) const COST: usize = 100;
/// Swaps of one sequence.
const STEPS_MAX: usize = 50;

/// A swap in one pool that is thought of.
#[derive(Debug, Clone, InputObject)]
pub(crate) struct SwapStep {
    /// The pool's address, any case.
    pub(in crate::api) pool: ID,
    /// What is paid with: one of its two tokens.
    pub(in crate::api) token_in: AddressScalar,
    /// Raw units: what is paid in for `EXACT_INPUT`, what comes out for `EXACT_OUTPUT`.
    pub(in crate::api) amount: BigInt,
    /// Which amount that is.
    #[graphql(name = "type")]
    pub(in crate::api) trade_type: TradeType,
    /// V3, V4: no further than this root of a price, Q64.96.
    #[graphql(name = "sqrtPriceLimitX96")]
    pub(in crate::api) sqrt_price_limit: Option<BigInt>,
}

/// A swap as the pool's contract would do it after the ones before.
pub(crate) struct SimulatedSwap {
    pin: Arc<Pin>,
    pub(in crate::api) done: Simulated,
}

/// A swap as the pool's contract would do it after the ones before, and the pool after it.
#[Object]
impl SimulatedSwap {
    /// Where, as it stands at the block of the answer: before all of them.
    async fn pool(&self) -> Pool {
        Pool::new(&self.pin, self.done.view.clone())
    }

    /// What is paid with.
    async fn token_in(&self) -> AddressScalar {
        AddressScalar(self.done.step.token_in)
    }

    /// What is bought.
    async fn token_out(&self) -> AddressScalar {
        AddressScalar(self.bought())
    }

    /// Raw units, the fee included.
    async fn amount_in(&self) -> BigInt {
        self.done.traded.amount_in.into()
    }

    /// Raw units.
    async fn amount_out(&self) -> BigInt {
        self.done.traded.amount_out.into()
    }

    /// What of `amount` was not swapped, raw units, because the limit or the pool's last price came first.
    async fn amount_left(&self) -> BigInt {
        self.done.traded.left.into()
    }

    /// Initialised ticks that were crossed.
    async fn ticks_crossed(&self) -> u32 {
        self.done.traded.crossed
    }

    /// token0 per token1 afterwards, in their own units. Null where a token has no decimals.
    #[graphql(name = "token0PriceAfter")]
    async fn token0_price_after(&self) -> Option<BigDecimal> {
        self.prices().0.map(BigDecimal)
    }

    /// token1 per token0 afterwards, in their own units. Null where a token has no decimals.
    #[graphql(name = "token1PriceAfter")]
    async fn token1_price_after(&self) -> Option<BigDecimal> {
        self.prices().1.map(BigDecimal)
    }

    /// Afterwards, raw units. Null for V3.
    #[graphql(name = "reserve0After")]
    async fn reserve0_after(&self) -> Option<BigInt> {
        self.reserves().map(|[reserve, _]| reserve.into())
    }

    /// Afterwards, raw units. Null for V3.
    #[graphql(name = "reserve1After")]
    async fn reserve1_after(&self) -> Option<BigInt> {
        self.reserves().map(|[_, reserve]| reserve.into())
    }

    /// Afterwards, Q64.96. Null for V2.
    #[graphql(name = "sqrtPriceX96After")]
    async fn sqrt_price_after(&self) -> Option<BigInt> {
        self.done.traded.after.v3().map(|pool| pool.sqrt_price_x96.into())
    }

    /// Afterwards. Null for V2.
    async fn tick_after(&self) -> Option<i32> {
        self.done.traded.after.v3().map(|pool| pool.tick)
    }

    /// In range afterwards. Null for V2.
    async fn liquidity_after(&self) -> Option<BigInt> {
        self.done.traded.after.v3().map(|pool| pool.liquidity.into())
    }
}

impl SimulatedSwap {
    /// The other one of the two.
    pub(in crate::api) fn bought(&self) -> Address {
        let meta = &self.done.view.meta;
        if self.done.step.token_in == meta.token0 { meta.token1 } else { meta.token0 }
    }

    /// token0 per token1 and token1 per token0 afterwards.
    pub(in crate::api) fn prices(&self) -> (Option<String>, Option<String>) {
        prices(&self.pin, &self.done.view, &self.done.traded.after)
    }

    pub(in crate::api) fn reserves(&self) -> Option<[U256; 2]> {
        match &self.done.traded.after {
            PoolState::V2(pair) => Some([pair.reserve0, pair.reserve1].map(U256::from)),
            PoolState::V3(_) | PoolState::V4(_) => None,
        }
    }
}

fn prices(pin: &Pin, view: &PoolView, state: &PoolState) -> (Option<String>, Option<String>) {
    let unit = |token| decimals(pin, token);
    let price = unit(&view.meta.token0).zip(unit(&view.meta.token1));
    let price = price.and_then(|(decimals0, decimals1)| token1_per_token0(state, decimals0, decimals1));
    (price.and_then(|price| price.inverse()?.decimal()), price.and_then(|price| price.decimal()))
}

/// Swaps one after the other, if they were mined right after `block` and nothing else.
pub(crate) struct SimulationResult {
    pub(in crate::api) block: block::BlockRef,
    pub(in crate::api) steps: Vec<SimulatedSwap>,
}

/// Swaps one after the other, to the wei, if they were mined right after `block` with nothing before them.
#[Object]
impl SimulationResult {
    /// The block that it is true at.
    async fn block(&self) -> BlockRef {
        self.block.into()
    }

    /// In the order that they are asked for.
    async fn steps(&self) -> &[SimulatedSwap] {
        &self.steps
    }
}

pub(super) async fn simulate(ctx: &Context<'_>, chain_id: Option<u64>, steps: &[SwapStep]) -> Result<SimulationResult, ApiError> {
    answer(pin(ctx, chain_id).await?, steps)
}

/// For GraphQL and REST.
pub(in crate::api) fn answer(pin: Arc<Pin>, steps: &[SwapStep]) -> Result<SimulationResult, ApiError> {
    if steps.is_empty() || steps.len() > STEPS_MAX {
        return Err(ApiError::input(format!("`steps` are 1 to {STEPS_MAX} swaps, these are {}", steps.len())));
    }
    let at = |at: usize, error: ApiError| ApiError::new(error.code, format!("`steps[{at}]`: {}", error.message));
    let asked = steps.iter().enumerate().map(|(i, step)| asked(step).map_err(|error| at(i, error)));
    let asked = asked.collect::<Result<Vec<Step>, ApiError>>()?;
    let block = pin.head().block.ok_or(ReadError::Starting)?;
    let done = pin.simulate(&asked).map_err(|(i, reason)| at(i, refused(reason)))?;
    let steps = done.into_iter().map(|done| SimulatedSwap { pin: pin.clone(), done }).collect();
    Ok(SimulationResult { block, steps })
}

fn asked(step: &SwapStep) -> Result<Step, ApiError> {
    let whole = |name: &str, number: &BigInt| {
        let number: Option<U256> = number.0.parse().ok().filter(|number: &U256| !number.is_zero());
        number.ok_or_else(|| ApiError::input(format!("`{name}` is a whole number above 0 and below 2^256")))
    };
    let amount = whole("amount", &step.amount)?;
    Ok(Step {
        pool: pool_id(&step.pool)?,
        token_in: step.token_in.0,
        amount: match step.trade_type {
            TradeType::ExactInput => Amount::In(amount),
            TradeType::ExactOutput => Amount::Out(amount),
        },
        limit: step.sqrt_price_limit.as_ref().map(|limit| whole("sqrtPriceLimitX96", limit)).transpose()?,
    })
}

fn refused(reason: NoStep) -> ApiError {
    let code = match reason {
        NoStep::NoPool => Code::NotFound,
        NoStep::Behind => Code::StateStale,
        NoStep::OtherToken => Code::BadUserInput,
        NoStep::NoSwap(NoSwap::Empty | NoSwap::TooMuch { .. } | NoSwap::Far) => Code::InsufficientLiquidity,
        NoStep::NoSwap(NoSwap::Nothing | NoSwap::Limit | NoSwap::Overflow | NoSwap::Hooked) => Code::BadUserInput,
    };
    let text = match reason {
        NoStep::NoSwap(NoSwap::Nothing) => "for so little nothing comes out".to_owned(),
        NoStep::NoSwap(NoSwap::Limit) => {
            "`sqrtPriceLimitX96` is of V3, below the price when token0 comes in and above it when token1 does".to_owned()
        }
        other => other.to_string(),
    };
    ApiError::new(code, text)
}
