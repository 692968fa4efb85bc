//! `/v1/{chainId}/quote`: what a swap would pay. By POST, and of several swaps: [`post`].

pub(super) mod post;

use std::sync::Arc;

use axum::{extract::State, http::HeaderMap};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    answer::Answer,
    document::QuoteRefusals,
    model::Block,
    params::{InPath, InQuery, OnChain, address, pin, whole},
    problem::Problem,
    text::{Address, Calldata, Decimal, PoolKey, Unsigned},
    words::{Protocol, QuoteSource, QuoteWarning},
};
use crate::{
    api::{
        gql::{
            quote::{self as gql, QuoteInput},
            quote_input::QuoteVerify,
            scalars::{AddressScalar, Timestamp},
        },
        router::Public,
    },
    domain::{pool, route},
    store::{Pin, history::DataSource},
};

/// Which amount is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum TradeType {
    /// What is paid in, fees included.
    #[default]
    ExactInput,
    /// What comes out.
    ExactOutput,
}

impl From<TradeType> for gql::TradeType {
    fn from(known: TradeType) -> Self {
        match known {
            TradeType::ExactInput => Self::ExactInput,
            TradeType::ExactOutput => Self::ExactOutput,
        }
    }
}

const fn max_hops_default() -> i32 {
    3
}

const fn max_splits_default() -> i32 {
    4
}

/// Whether the node is asked, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Verify {
    /// Out of memory alone.
    #[default]
    None,
    /// Beside each amount stands what the contracts' own quoter says.
    #[serde(alias = "call")]
    Call,
}

const fn slippage_default() -> i32 {
    50
}

/// The swap.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Swap {
    /// What is paid with.
    #[param(pattern = "^0x[0-9a-fA-F]{40}$", example = "0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2")]
    token_in: String,
    /// What is bought.
    #[param(pattern = "^0x[0-9a-fA-F]{40}$", example = "0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48")]
    token_out: String,
    /// Raw units, above 0: of `tokenIn` for EXACT_INPUT, of `tokenOut` for EXACT_OUTPUT.
    #[param(pattern = "^[1-9][0-9]{0,76}$", example = "1000000000000000000")]
    amount: String,
    /// Which amount that is.
    #[serde(default, rename = "type")]
    #[param(inline)]
    trade_type: TradeType,
    /// Only pools of these, separated by commas; of all where it is not said.
    #[param(pattern = "^UNISWAP_V[234](,UNISWAP_V[234]){0,2}$", example = "UNISWAP_V3")]
    protocols: Option<String>,
    /// How many pools one after the other.
    #[serde(default = "max_hops_default")]
    #[param(minimum = 1, maximum = 4, default = 3)]
    max_hops: i32,
    /// How much worse it may get until it is mined, in parts of 10,000.
    #[serde(default = "slippage_default")]
    #[param(minimum = 0, maximum = 5_000, default = 50)]
    slippage_bps: i32,
    /// Over how many ways side by side.
    #[serde(default = "max_splits_default")]
    #[param(minimum = 1, maximum = 4, default = 4)]
    max_splits: i32,
    /// Refuse where the newest block is older than so many milliseconds.
    #[param(maximum = 9_223_372_036_854_775_807_i64)]
    max_state_age_ms: Option<u64>,
    /// What gas costs, in wei: a plan that takes more gas has to be worth that. The base fee of the block where it is not said; 0: gas is not
    /// counted.
    #[param(pattern = "^(0|[1-9][0-9]{0,18})$", example = "20000000000")]
    gas_price_wei: Option<String>,
    /// Who gets what is bought; whoever sends the transaction where it is not said.
    #[param(pattern = "^0x[0-9a-fA-F]{40}$")]
    recipient: Option<String>,
    /// Until when the transaction counts, seconds since 1970; 20 minutes from now where it is not said.
    #[param(maximum = 9_223_372_036_854_775_807_i64)]
    deadline: Option<u64>,
    /// CALL: the contracts' own quoters are asked, too, at the same block.
    #[serde(default)]
    #[param(inline)]
    verify: Verify,
    /// Also pools of just these two tokens whose hooks have a say in swaps, by V4Quoter's word.
    #[serde(default)]
    hooked: bool,
}

impl Swap {
    fn input(&self) -> Result<QuoteInput, Problem> {
        let protocol = |word: &str| pool::Protocol::ALL.map(Protocol::from).into_iter().find(|known| known.word() == word);
        let protocols = self.protocols.as_ref().map(|words| {
            let known = |word| {
                protocol(word)
                    .ok_or_else(|| Problem::bad("`protocols` are UNISWAP_V2, UNISWAP_V3 and UNISWAP_V4, separated by commas"))
            };
            words.split(',').map(|word| known(word).map(|known| pool::Protocol::from(known).into())).collect()
        });
        Ok(QuoteInput {
            chain_id: None,
            token_in: AddressScalar(address("tokenIn", &self.token_in)?),
            token_out: AddressScalar(address("tokenOut", &self.token_out)?),
            amount: whole("amount", &self.amount)?,
            trade_type: self.trade_type.into(),
            protocols: protocols.transpose()?,
            max_hops: self.max_hops,
            slippage_bps: self.slippage_bps,
            max_splits: self.max_splits,
            max_state_age_ms: self.max_state_age_ms,
            gas_price_wei: self.gas_price_wei.as_deref().map(gas_price).transpose()?,
            verify: match self.verify {
                Verify::None => QuoteVerify::None,
                Verify::Call => QuoteVerify::Call,
            },
            hooked: self.hooked,
            recipient: self.recipient.as_deref().map(|to| address("recipient", to).map(AddressScalar)).transpose()?,
            deadline: self.deadline.map(Timestamp),
        })
    }
}

/// A swap in one pool, as its contract would do it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct QuoteHop {
    pool: PoolKey,
    protocol: Protocol,
    fee_pips: u32,
    token_in: Address,
    token_out: Address,
    /// The fee included.
    amount_in_raw: Unsigned,
    amount_out_raw: Unsigned,
    /// With verify=CALL: the amount that follows from the other by the word of Router02, QuoterV2 or V4Quoter at the same block. Null where none is
    /// configured, where it does not answer, and where a way before goes through the same pool.
    node_amount_raw: Option<Unsigned>,
    source: QuoteSource,
    /// Initialised ticks that are crossed: each takes some gas.
    ticks_crossed: u32,
}

/// Pools, one after the other.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RouteLeg {
    amount_in_raw: Unsigned,
    amount_out_raw: Unsigned,
    #[schema(min_items = 1, max_items = 4)]
    hops: Vec<QuoteHop>,
}

/// What a swap would pay, to the wei, if it were mined right after `block`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Quote {
    /// Fees included.
    amount_in_raw: Unsigned,
    amount_out_raw: Unsigned,
    /// With `slippageBps`: the least that should come out of an exact input, the most that should be paid for an exact output.
    amount_min_or_max_raw: Unsigned,
    /// tokenOut per tokenIn in their own units, before the swap and without fees; null where a token has no decimals.
    mid_price: Option<Decimal>,
    /// tokenOut per tokenIn in their own units that this swap gets.
    effective_price: Option<Decimal>,
    /// By how much that is worse than `midPrice`, fees included, in parts of 10,000.
    price_impact_bps: Option<Decimal>,
    /// What it costs in gas, about, if it is sent as `calldata` by somebody who has both tokens.
    gas_estimate: Unsigned,
    /// What that is worth; null where nothing says what native currency costs.
    #[serde(rename = "gasUSD")]
    gas_usd: Option<Decimal>,
    /// What comes out less what the gas costs, or what goes in and the gas. Where nothing says what one of the
    /// two is worth, the gas is not counted.
    quote_gas_adjusted_raw: Unsigned,
    /// What does it, sent to `to` with `value`. Null where no router that is configured does it, and where a token keeps a part.
    calldata: Option<Calldata>,
    to: Option<Address>,
    /// Wei.
    value: Option<Unsigned>,
    /// What to know before sending it.
    warnings: Vec<QuoteWarning>,
    block: Block,
    /// The ways that the amount takes, side by side.
    #[schema(min_items = 1, max_items = 4)]
    routes: Vec<RouteLeg>,
}

impl Quote {
    fn of(quote: &gql::Quote) -> Self {
        let (plan, worth) = (&quote.quoted.plan, quote.worth());
        let transaction = quote.transaction();
        let hop = |leg: usize, (at, hop): (usize, &route::Hop)| QuoteHop {
            node_amount_raw: quote.said(leg, at).map(Into::into),
            source: quote.source(hop).into(),
            ticks_crossed: hop.crossed,
            pool: hop.pool.into(),
            protocol: hop.protocol.into(),
            fee_pips: quote.quoted.pool(&hop.pool).map_or(0, |view| view.meta.fee_pips),
            token_in: hop.token_in.into(),
            token_out: hop.token_out.into(),
            amount_in_raw: hop.amount_in.into(),
            amount_out_raw: hop.amount_out.into(),
        };
        let leg = |(at, route): (usize, &route::Route)| RouteLeg {
            amount_in_raw: route.amount_in().into(),
            amount_out_raw: route.amount_out().into(),
            hops: route.hops.iter().enumerate().map(|one| hop(at, one)).collect(),
        };
        Self {
            amount_in_raw: plan.amount_in().into(),
            amount_out_raw: plan.amount_out().into(),
            amount_min_or_max_raw: quote.bound.into(),
            mid_price: worth.mid.map(Decimal),
            effective_price: worth.effective.map(Decimal),
            price_impact_bps: worth.impact_bps.map(Decimal),
            gas_estimate: quote.quoted.gas.into(),
            gas_usd: quote.quoted.gas_usd.map(|usd| Decimal(usd.to_string())),
            quote_gas_adjusted_raw: quote.gas_adjusted().into(),
            calldata: transaction.as_ref().map(|transaction| Calldata::from(&transaction.data)),
            to: transaction.as_ref().map(|transaction| transaction.to.into()),
            value: transaction.as_ref().map(|transaction| transaction.value.into()),
            warnings: quote.warnings().into_iter().map(Into::into).collect(),
            block: quote.block.into(),
            routes: plan.legs.iter().enumerate().map(leg).collect(),
        }
    }
}

/// What a swap would pay, to the wei, out of memory: up to four ways side by side, each of up to four pools one after the other.
///
/// All of it as of one block, with the transaction that does it.
#[utoipa::path(
    get, path = "/v1/{chainId}/quote", operation_id = "getQuote", tag = "quotes",
    params(OnChain, Swap),
    responses(
        (status = 200, description = "The quote", body = Quote),
        QuoteRefusals
    )
)]
pub(super) async fn quote(
    State(public): State<Arc<Public>>,
    InPath(at): InPath<OnChain>,
    InQuery(swap): InQuery<Swap>,
    headers: HeaderMap,
) -> Result<Answer, Problem> {
    let pin: Arc<Pin> = pin(&public, &at.chain_id)?;
    let quote = gql::answer(pin, (public.now_unix_ms)(), swap.input()?).await?;
    Answer::new(&quote.pin, &headers, DataSource::Memory, &Quote::of(&quote))
}

/// 0, too: then gas is not counted.
fn gas_price(text: &str) -> Result<crate::api::gql::scalars::BigInt, Problem> {
    if text == "0" { Ok(crate::api::gql::scalars::BigInt(text.to_owned())) } else { whole("gasPriceWei", text) }
}
