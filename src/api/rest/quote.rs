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
    text::{Address, Decimal, PoolKey, Unsigned},
    words::Protocol,
};
use crate::{
    api::{
        gql::{
            quote::{self as gql, QuoteInput},
            scalars::AddressScalar,
        },
        router::Public,
    },
    domain::{pool, route},
    store::{Pin, PoolView, history::DataSource},
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
    #[param(pattern = "^UNISWAP_V[23](,UNISWAP_V[23])?$", example = "UNISWAP_V3")]
    protocols: Option<String>,
    /// How many pools one after the other.
    #[serde(default = "max_hops_default")]
    #[param(minimum = 1, maximum = 4, default = 3)]
    max_hops: i32,
    /// How much worse it may get until it is mined, in parts of 10,000.
    #[serde(default = "slippage_default")]
    #[param(minimum = 0, maximum = 5_000, default = 50)]
    slippage_bps: i32,
    /// Refuse where the newest block is older than so many milliseconds.
    #[param(maximum = 9_223_372_036_854_775_807_i64)]
    max_state_age_ms: Option<u64>,
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
            max_state_age_ms: self.max_state_age_ms,
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
    block: Block,
    /// The ways that the amount takes, side by side.
    #[schema(min_items = 1, max_items = 4)]
    routes: Vec<RouteLeg>,
}

impl Quote {
    fn of(quote: &gql::Quote) -> Self {
        let (route, worth) = (&quote.quoted.route, quote.worth());
        let hops = route.hops.iter().zip(&quote.quoted.pools);
        let hop = |(hop, view): (&route::Hop, &Arc<PoolView>)| QuoteHop {
            pool: hop.pool.into(),
            protocol: view.meta.protocol.into(),
            fee_pips: view.meta.fee_pips,
            token_in: hop.token_in.into(),
            token_out: hop.token_out.into(),
            amount_in_raw: hop.amount_in.into(),
            amount_out_raw: hop.amount_out.into(),
        };
        Self {
            amount_in_raw: route.amount_in().into(),
            amount_out_raw: route.amount_out().into(),
            amount_min_or_max_raw: quote.bound.into(),
            mid_price: worth.mid.map(Decimal),
            effective_price: worth.effective.map(Decimal),
            price_impact_bps: worth.impact_bps.map(Decimal),
            block: quote.block.into(),
            routes: vec![RouteLeg {
                amount_in_raw: route.amount_in().into(),
                amount_out_raw: route.amount_out().into(),
                hops: hops.map(hop).collect(),
            }],
        }
    }
}

/// What a swap would pay, to the wei: the best way of up to four pools one after the other, out of memory.
///
/// All of it as of one block. Gas is not counted, and the amount is not split over several ways.
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
