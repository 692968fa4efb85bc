//! What a swap would pay, out of the pools in memory.

use std::sync::Arc;

use alloy::primitives::{Address, U256, U512, keccak256};
use async_graphql::{Context, Enum, ID, Object};
use tokio::sync::Semaphore;

pub(in crate::api) use super::quote_input::{QuoteInput, TradeType};
pub(in crate::api) use super::quote_route::QuoteSource;
use super::{
    block::BlockRef,
    core::core,
    error::{ApiError, Code},
    pins::pin,
    quote_input::{QuoteVerify, asked},
    quote_node::{hooked, verified},
    quote_route::{RouteLeg, source},
    scalars::{AddressScalar, BigDecimal, BigInt, Bytes},
    token::decimals,
};
use crate::{
    api::calls::{self, Terms, Transaction},
    domain::{
        block,
        dollars::Which,
        pool::{depth::BPS, step::Amount},
        price::{Ratio, quotient, token1_per_token0},
        route::{Hop, NoRoute, Route},
    },
    store::{
        Pin, ReadError,
        quote::{Ask, Quoted},
    },
};

/// A quote may look at each pool some dozen times.
pub(super) const COST: usize = 2_000;
/// Who asks for too much is told how much would do: so many at once.
static MOST: Semaphore = Semaphore::const_new(2);
/// Swaps of one question.
const QUOTES_MAX: usize = 20;

/// What to know before sending it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub(crate) enum QuoteWarning {
    /// It moves the price of a pool by more than about three per cent.
    ThinPool,
    /// One of the pools has a hook.
    HookedPool,
    /// One of the two tokens keeps a part of what is sent, as far as it was tried: more has to be sent, or less arrives. `Token.conduct` says how
    /// much; there is no `calldata`.
    FeeOnTransfer,
    /// Balances of one of the tokens were seen to change without transfers: what is bought may become less by itself.
    RebasingToken,
}

/// Times what moves a price by one per cent.
const THIN: u128 = 3;

/// What a swap would pay, to the wei, if it were mined right after `block`.
pub(crate) struct Quote {
    pub(in crate::api) pin: Arc<Pin>,
    ask: Ask,
    terms: Terms,
    /// What the contracts say, by way and hop; empty where nobody asked them.
    said: Vec<Vec<Option<U256>>>,
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
        let (unit_in, unit_out) = (decimals(&self.pin, &self.ask.token_in)?, decimals(&self.pin, &self.ask.token_out)?);
        let plan = &self.quoted.plan;
        let effective = quotient((plan.amount_out(), unit_out), (plan.amount_in(), unit_in))?;
        if let [route] = plan.legs.as_slice() {
            return Some((self.mid(route)?.in_units(unit_in, unit_out)?, effective));
        }
        // What the share of each way would be worth at its own price.
        let worth = plan.legs.iter().try_fold(U256::ZERO, |sum, leg| sum.checked_add(self.mid(leg)?.of(leg.amount_in())?))?;
        Some((quotient((worth, unit_out), (plan.amount_in(), unit_in))?, effective))
    }

    /// Of raw units, before the swap and without fees.
    fn mid(&self, route: &Route) -> Option<Ratio> {
        let mut mid: Option<Ratio> = None;
        for hop in &route.hops {
            let view = self.quoted.pool(&hop.pool)?;
            // Of raw units: those of the tokens in between fall out.
            let price = token1_per_token0(&view.image.state, 0, 0)?;
            let price = if hop.token_in == view.meta.token0 { price } else { price.inverse()? };
            mid = Some(mid.map_or(Some(price), |mid| mid.times(price))?);
        }
        mid
    }

    /// The amount less, or more, what the gas costs.
    pub(in crate::api) fn gas_adjusted(&self) -> U256 {
        let (plan, cost) = (&self.quoted.plan, self.quoted.gas_cost.unwrap_or_default());
        match self.ask.amount {
            Amount::In(_) => plan.amount_out().saturating_sub(cost),
            Amount::Out(_) => plan.amount_in().saturating_add(cost),
        }
    }

    /// What the contracts say of a hop of a way.
    pub(in crate::api) fn said(&self, leg: usize, hop: usize) -> Option<U256> {
        self.said.get(leg)?.get(hop).copied()?
    }

    pub(in crate::api) fn source(&self, hop: &Hop) -> QuoteSource {
        source(self.quoted.pool(&hop.pool).map(std::sync::Arc::as_ref))
    }

    pub(in crate::api) fn transaction(&self) -> Option<Transaction> {
        if self.warnings().contains(&QuoteWarning::FeeOnTransfer) {
            return None; // It would ask for more than arrives.
        }
        calls::transaction(&self.quoted, &self.ask, self.terms, &self.pin.live().routers)
    }

    pub(in crate::api) fn warnings(&self) -> Vec<QuoteWarning> {
        let moves = |hop: &Hop| {
            let Some(view) = self.quoted.pool(&hop.pool) else { return false };
            let which = if hop.token_in == view.meta.token0 { Which::Token0 } else { Which::Token1 };
            hop.amount_in > U256::from(view.image.gauge.depth.token(which).saturating_mul(THIN))
        };
        let hops = || self.quoted.plan.legs.iter().flat_map(|leg| &leg.hops);
        let is_thin = hops().any(moves).then_some(QuoteWarning::ThinPool);
        let has_hook = self.quoted.pools.iter().any(|view| view.meta.hooks.is_some()).then_some(QuoteWarning::HookedPool);
        let conduct = |token: &Address| self.pin.live().conduct.of(token);
        let ends = [self.ask.token_in, self.ask.token_out];
        let has_fee = ends.iter().filter_map(conduct).any(|conduct| conduct.has_fee()).then_some(QuoteWarning::FeeOnTransfer);
        let mut tokens = hops().flat_map(|hop| [hop.token_in, hop.token_out]);
        let rebases = tokens.any(|token| conduct(&token).is_some_and(|conduct| conduct.rebases));
        let rebases = rebases.then_some(QuoteWarning::RebasingToken);
        is_thin.into_iter().chain(has_hook).chain(has_fee).chain(rebases).collect()
    }
}

/// What a swap would pay, to the wei, if it were mined right after `block`. As of that block alone: no two are mixed.
#[Object]
impl Quote {
    /// Of this plan for this question at this block.
    async fn id(&self) -> ID {
        let asked = format!("{:?} {:?}", self.ask, self.terms);
        let hash: [u8; 8] = keccak256(asked).0.first_chunk().copied().unwrap_or_default();
        ID(format!("{}:{:#x}:{}", self.pin.chain(), self.block.hash, alloy::primitives::hex::encode(hash)))
    }

    /// Raw units, fees included.
    async fn amount_in(&self) -> BigInt {
        self.quoted.plan.amount_in().into()
    }

    /// Raw units.
    async fn amount_out(&self) -> BigInt {
        self.quoted.plan.amount_out().into()
    }

    /// With `slippageBps`: the least that comes out of an exact input, the most that is paid for an exact output, or `calldata` reverts.
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

    /// What it costs in gas, about, if it is sent as `calldata` by somebody who has both tokens.
    async fn gas_estimate(&self) -> BigInt {
        U256::from(self.quoted.gas).into()
    }

    /// What that is worth. Null where nothing says what native currency costs.
    #[graphql(name = "gasUSD")]
    async fn gas_usd(&self) -> Option<BigDecimal> {
        self.quoted.gas_usd.map(|usd| BigDecimal(usd.to_string()))
    }

    /// What comes out less what the gas costs, or what goes in and the gas; raw units. Where nothing says what one of the two is worth, the gas is
    /// not counted.
    async fn quote_gas_adjusted(&self) -> BigInt {
        self.gas_adjusted().into()
    }

    /// What does it, sent to `to` with `value`: a call of the Universal Router, to which the sender has to have given his token by way of Permit2,
    /// or of the exchange's own router. Null where no router that is configured does it (none does an exact output through pools of several
    /// protocols: `protocols` keeps to one), and where a token keeps a part.
    async fn calldata(&self) -> Option<Bytes> {
        self.transaction().map(|transaction| Bytes(transaction.data))
    }

    /// Whom to send it to.
    async fn to(&self) -> Option<AddressScalar> {
        self.transaction().map(|transaction| AddressScalar(transaction.to))
    }

    /// Wei to send along.
    async fn value(&self) -> Option<BigInt> {
        self.transaction().map(|transaction| transaction.value.into())
    }

    /// What to know before sending it.
    #[graphql(name = "warnings")]
    async fn all_warnings(&self) -> Vec<QuoteWarning> {
        self.warnings()
    }

    /// The block that it is true at.
    async fn block(&self) -> BlockRef {
        self.block.into()
    }

    /// How old that block is by its own time.
    async fn state_age_ms(&self) -> u64 {
        self.age_ms
    }

    /// The ways that the amount takes side by side, in the order of their swaps.
    #[graphql(complexity = "4 * child_complexity")]
    async fn routes(&self) -> Vec<RouteLeg> {
        let said = self.said.iter().cloned().chain(std::iter::repeat(Vec::new()));
        let leg = |(route, said): (&Route, Vec<_>)| RouteLeg::new(self.pin.clone(), route.clone(), said);
        self.quoted.plan.legs.iter().zip(said).map(leg).collect()
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
    let (mut ask, terms) = asked(&input, now_ms)?;
    let block = pin.head().block.ok_or(ReadError::Starting)?;
    ask.gas_price_wei = ask.gas_price_wei.or_else(|| pin.head().base_fee_wei.map(U256::from));
    let age_ms = now_ms.saturating_sub(block.timestamp.saturating_mul(1_000));
    if let Some(most) = input.max_state_age_ms.filter(|most| age_ms > *most) {
        let number = block.number;
        let text = format!(
            "the newest block here, {number}, is {age_ms} ms old, and at most {most} are asked for: try again in a moment"
        );
        return Err(ApiError::new(Code::StateStale, text));
    }
    let mut found = pin.quote(&ask);
    if input.hooked
        && let Some(other) = hooked(&pin, &ask).await
    {
        let is_better = found.as_ref().map_or(true, |found| match ask.amount {
            Amount::In(_) => other.plan.amount_out() > found.plan.amount_out(),
            Amount::Out(_) => other.plan.amount_in() < found.plan.amount_in(),
        });
        if is_better {
            found = Ok(other);
        }
    }
    match found {
        Ok(quoted) => {
            let said = if input.verify == QuoteVerify::Call { verified(&pin, &quoted, ask.amount).await } else { Vec::new() };
            let bounds = quoted.plan.legs.iter().map(|leg| terms.bound(ask.amount, leg));
            let bound = bounds.fold(U256::ZERO, U256::saturating_add);
            Ok(Quote { pin, ask, terms, said, quoted, bound, block, age_ms })
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
                format!("no pools lead from one token to the other in {} hops: allow more, or other protocols", ask.limits.hops);
            Err(ApiError::new(Code::NoRoute, text))
        }
        Err(NoRoute::TooMuch) => {
            // Long enough to be in nobody's way, and one after the other.
            let _turn = MOST.acquire().await;
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

/// So many parts of 10,000, rounded down.
pub(in crate::api) fn part_of(amount: U256, bps: u32) -> U256 {
    let product: U512 = amount.widening_mul(U256::from(bps));
    U256::saturating_from(product.checked_div(U512::from(BPS)).unwrap_or_default())
}
