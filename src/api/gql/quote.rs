//! What a swap would pay, out of the pools in memory.

use std::sync::Arc;

use alloy::primitives::{U256, U512};
use async_graphql::{Context, Enum, InputObject, Object};

use super::{
    block::{BlockRef, Protocol},
    core::core,
    error::{ApiError, Code},
    pins::pin,
    pool::Pool,
    scalars::{AddressScalar, BigDecimal, BigInt},
    token::decimals,
};
use crate::{
    domain::{
        block,
        pool::{depth::BPS, step::Amount},
        price::{Ratio, quotient, token1_per_token0},
        route::{HOPS_MAX, Hop, NoRoute, Route},
    },
    store::{
        Pin, ReadError,
        quote::{Ask, Quoted},
    },
};

/// A quote may look at each pool some dozen times.
pub(super) const COST: usize = 2_000;
/// Swaps of one question.
const QUOTES_MAX: usize = 20;

/// Which amount is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub(crate) enum TradeType {
    /// What is paid in, fees included.
    ExactInput,
    /// What comes out.
    ExactOutput,
}

/// A swap that is thought of.
#[derive(Debug, Clone, InputObject)]
pub(crate) struct QuoteInput {
    /// EIP-155 chain id; may be left out where one chain is configured.
    pub(in crate::api) chain_id: Option<u64>,
    /// What is paid with.
    pub(in crate::api) token_in: AddressScalar,
    /// What is bought.
    pub(in crate::api) token_out: AddressScalar,
    /// Raw units: of `tokenIn` for `EXACT_INPUT`, of `tokenOut` for `EXACT_OUTPUT`.
    pub(in crate::api) amount: BigInt,
    /// Which amount that is.
    #[graphql(name = "type")]
    pub(in crate::api) trade_type: TradeType,
    /// Only pools of these protocols; of all where it is not said.
    pub(in crate::api) protocols: Option<Vec<Protocol>>,
    /// How many pools one after the other, 1 to 4.
    #[graphql(default = 3)]
    pub(in crate::api) max_hops: i32,
    /// How much worse it may get until it is mined, in parts of 10,000: 0 to 5,000.
    #[graphql(default = 50)]
    pub(in crate::api) slippage_bps: i32,
    /// Refuse where the newest block is older than so many milliseconds.
    pub(in crate::api) max_state_age_ms: Option<u64>,
}

/// A swap in one pool, as its contract would do it.
pub(crate) struct QuoteHop {
    pin: Arc<Pin>,
    hop: Hop,
}

/// A swap in one pool, as its contract would do it.
#[Object]
impl QuoteHop {
    /// Where; null only if it is gone meanwhile.
    async fn pool(&self) -> Option<Pool> {
        self.pin.pool(&self.hop.pool).map(|view| Pool::new(&self.pin, view))
    }

    /// What is paid with.
    async fn token_in(&self) -> AddressScalar {
        AddressScalar(self.hop.token_in)
    }

    /// What is bought.
    async fn token_out(&self) -> AddressScalar {
        AddressScalar(self.hop.token_out)
    }

    /// Raw units, the fee included.
    async fn amount_in(&self) -> BigInt {
        self.hop.amount_in.into()
    }

    /// Raw units.
    async fn amount_out(&self) -> BigInt {
        self.hop.amount_out.into()
    }
}

/// Pools, one after the other.
pub(crate) struct RouteLeg {
    pin: Arc<Pin>,
    route: Route,
}

/// Pools, one after the other.
#[Object]
impl RouteLeg {
    /// Raw units, fees included.
    async fn amount_in(&self) -> BigInt {
        self.route.amount_in().into()
    }

    /// Raw units.
    async fn amount_out(&self) -> BigInt {
        self.route.amount_out().into()
    }

    /// In the order of the swap.
    #[graphql(complexity = "4 * child_complexity")]
    async fn hops(&self) -> Vec<QuoteHop> {
        self.route.hops.iter().map(|hop| QuoteHop { pin: self.pin.clone(), hop: *hop }).collect()
    }
}

/// What a swap would pay, to the wei, if it were mined right after `block`.
pub(crate) struct Quote {
    pub(in crate::api) pin: Arc<Pin>,
    input: QuoteInput,
    pub(in crate::api) quoted: Quoted,
    /// The least that should come out of an exact input, the most that should be paid for an exact output.
    pub(in crate::api) bound: U256,
    pub(in crate::api) block: block::BlockRef,
    pub(in crate::api) age_ms: u64,
}

/// What a swap is worth, token out per token in in their own units.
#[derive(Debug, Clone, Default)]
pub(in crate::api) struct Worth {
    pub(in crate::api) mid: Option<String>,
    pub(in crate::api) effective: Option<String>,
    pub(in crate::api) impact_bps: Option<String>,
}

impl Quote {
    pub(in crate::api) fn worth(&self) -> Worth {
        let Some((mid, effective)) = self.prices() else { return Worth::default() };
        Worth { mid: mid.decimal(), effective: effective.decimal(), impact_bps: effective.below(mid, BPS) }
    }

    /// Before the swap, and as it is. `None` where a token has no decimals.
    fn prices(&self) -> Option<(Ratio, Ratio)> {
        let unit = |token: &AddressScalar| decimals(&self.pin, &token.0);
        let (unit_in, unit_out) = (unit(&self.input.token_in)?, unit(&self.input.token_out)?);
        let route = &self.quoted.route;
        let effective = quotient((route.amount_out(), unit_out), (route.amount_in(), unit_in))?;
        let mut mid: Option<Ratio> = None;
        for (hop, view) in route.hops.iter().zip(&self.quoted.pools) {
            // Of raw units: those of the tokens in between fall out.
            let price = token1_per_token0(&view.image.state, 0, 0)?;
            let price = if hop.token_in == view.meta.token0 { price } else { price.inverse()? };
            mid = Some(mid.map_or(Some(price), |mid| mid.times(price))?);
        }
        Some((mid?.in_units(unit_in, unit_out)?, effective))
    }
}

/// What a swap would pay, to the wei, if it were mined right after `block`. As of that block alone: no two are mixed.
#[Object]
impl Quote {
    /// Raw units, fees included.
    async fn amount_in(&self) -> BigInt {
        self.quoted.route.amount_in().into()
    }

    /// Raw units.
    async fn amount_out(&self) -> BigInt {
        self.quoted.route.amount_out().into()
    }

    /// With `slippageBps`: the least that should come out of an exact input, the most that should be paid for an exact output.
    async fn amount_min_or_max(&self) -> BigInt {
        self.bound.into()
    }

    /// tokenOut per tokenIn in their own units, before the swap and without fees. Null where a token has no decimals.
    async fn mid_price(&self) -> Option<BigDecimal> {
        self.worth().mid.map(BigDecimal)
    }

    /// tokenOut per tokenIn in their own units that this swap gets.
    async fn effective_price(&self) -> Option<BigDecimal> {
        self.worth().effective.map(BigDecimal)
    }

    /// By how much that is worse than `midPrice`, fees included, in parts of 10,000.
    async fn price_impact_bps(&self) -> Option<BigDecimal> {
        self.worth().impact_bps.map(BigDecimal)
    }

    /// The block that it is true at.
    async fn block(&self) -> BlockRef {
        self.block.into()
    }

    /// How old that block is by its own time.
    async fn state_age_ms(&self) -> u64 {
        self.age_ms
    }

    /// The ways that the amount takes, side by side.
    #[graphql(complexity = "child_complexity")]
    async fn routes(&self) -> Vec<RouteLeg> {
        vec![RouteLeg { pin: self.pin.clone(), route: self.quoted.route.clone() }]
    }
}

pub(super) async fn quote(ctx: &Context<'_>, input: QuoteInput) -> Result<Quote, ApiError> {
    let pin = pin(ctx, input.chain_id).await?;
    answer(pin, (core(ctx)?.now_unix_ms)(), input).await
}

pub(super) async fn quotes(ctx: &Context<'_>, inputs: Vec<QuoteInput>) -> Result<Vec<Quote>, ApiError> {
    each(inputs, |input| quote(ctx, input)).await
}

/// For GraphQL and REST: in the order that they are asked for, or which of them has no answer.
pub(in crate::api) async fn each<F: Future<Output = Result<Quote, ApiError>>>(
    inputs: Vec<QuoteInput>,
    one: impl Fn(QuoteInput) -> F,
) -> Result<Vec<Quote>, ApiError> {
    if inputs.len() > QUOTES_MAX {
        return Err(ApiError::input(format!("`inputs` are at most {QUOTES_MAX} swaps, these are {}", inputs.len())));
    }
    let mut all = Vec::with_capacity(inputs.len());
    for (at, input) in inputs.into_iter().enumerate() {
        let named = |error: ApiError| ApiError::new(error.code, format!("`inputs[{at}]`: {}", error.message));
        all.push(one(input).await.map_err(named)?);
    }
    Ok(all)
}

/// For GraphQL and REST, whose parameters have the same names.
pub(in crate::api) async fn answer(pin: Arc<Pin>, now_ms: u64, input: QuoteInput) -> Result<Quote, ApiError> {
    let (ask, slippage_bps) = asked(&input)?;
    let block = pin.head().block.ok_or(ReadError::Starting)?;
    let age_ms = now_ms.saturating_sub(block.timestamp.saturating_mul(1_000));
    if let Some(most) = input.max_state_age_ms.filter(|most| age_ms > *most) {
        let number = block.number;
        let text = format!(
            "the newest block here, {number}, is {age_ms} ms old, and at most {most} are asked for: try again in a moment"
        );
        return Err(ApiError::new(Code::StateStale, text));
    }
    match pin.quote(&ask) {
        Ok(quoted) => {
            let bound = bound(&quoted, ask.amount, slippage_bps);
            Ok(Quote { pin, input, quoted, bound, block, age_ms })
        }
        Err(NoRoute::None) => {
            // Only now: what a token says of itself may be a moment later than its first pool.
            for (name, token) in [("tokenIn", &ask.token_in), ("tokenOut", &ask.token_out)] {
                if pin.token(token).is_none() {
                    let text = format!("`{name}`: no pool that is followed on this chain trades {token:#x}");
                    return Err(ApiError::new(Code::NotFound, text));
                }
            }
            let text =
                format!("no pools lead from one token to the other in {} hops: allow more, or other protocols", ask.hops_max);
            Err(ApiError::new(Code::NoRoute, text))
        }
        Err(NoRoute::TooMuch) => {
            // Long enough to be in nobody's way.
            let most = tokio::task::spawn_blocking(move || pin.most(&ask)).await;
            let text = match most {
                Ok(most) if !most.is_zero() => {
                    format!("the pools have no room for so much: an `amount` of about {most} would go")
                }
                _ => "the pools between these tokens are empty".to_owned(),
            };
            Err(ApiError::new(Code::InsufficientLiquidity, text))
        }
    }
}

/// What is asked, and how much worse it may get.
pub(super) fn asked(input: &QuoteInput) -> Result<(Ask, u32), ApiError> {
    if input.token_in == input.token_out {
        return Err(ApiError::input("`tokenIn` and `tokenOut` are the same token"));
    }
    let slippage_bps = u32::try_from(input.slippage_bps).ok().filter(|bps| *bps <= BPS / 2);
    let slippage_bps =
        slippage_bps.ok_or_else(|| ApiError::input(format!("`slippageBps` is 0 to 5000, not {}", input.slippage_bps)))?;
    let hops_max = usize::try_from(input.max_hops).ok().filter(|hops| (1..=HOPS_MAX).contains(hops));
    let hops_max = hops_max.ok_or_else(|| ApiError::input(format!("`maxHops` is 1 to {HOPS_MAX}, not {}", input.max_hops)))?;
    let amount: Option<U256> = input.amount.0.parse().ok().filter(|amount: &U256| !amount.is_zero());
    let amount = amount.ok_or_else(|| ApiError::input("`amount` is a whole number of raw units above 0 and below 2^256"))?;
    let ask = Ask {
        token_in: input.token_in.0,
        token_out: input.token_out.0,
        amount: match input.trade_type {
            TradeType::ExactInput => Amount::In(amount),
            TradeType::ExactOutput => Amount::Out(amount),
        },
        hops_max,
        protocols: input.protocols.iter().flatten().map(|protocol| (*protocol).into()).collect(),
    };
    Ok((ask, slippage_bps))
}

/// The least that should come out, or the most that should go in: both rounded towards the quote.
fn bound(quoted: &Quoted, amount: Amount, slippage_bps: u32) -> U256 {
    let part = |amount: U256| {
        let product: U512 = amount.widening_mul(U256::from(slippage_bps));
        U256::saturating_from(product.checked_div(U512::from(BPS)).unwrap_or_default())
    };
    match amount {
        Amount::In(_) => {
            let out = quoted.route.amount_out();
            out.saturating_sub(part(out))
        }
        Amount::Out(_) => {
            let paid = quoted.route.amount_in();
            paid.saturating_add(part(paid))
        }
    }
}
