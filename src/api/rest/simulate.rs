//! `POST /v1/{chainId}/simulate`: swaps one after the other.

use std::sync::Arc;

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    answer::Answer,
    body::{InBody, Object, Word},
    document::BodyRefusals,
    model::Block,
    params::{InPath, OnChain, address, pin, pool_id, whole},
    problem::Problem,
    quote::TradeType,
    text::{Address, Decimal, PoolKey, Unsigned},
};
use crate::{
    api::{
        gql::{
            scalars::AddressScalar,
            simulate::{self as gql, SwapStep},
        },
        router::Public,
    },
    store::history::DataSource,
};

/// A swap in one pool that is thought of. What is null is as if it were not there.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct StepRequest {
    /// The pool's address, or its id where pools are no contracts.
    #[schema(pattern = "^0x([0-9a-fA-F]{40}|[0-9a-fA-F]{64})$", example = "0x88e6A0c2dDD26FEEb64F039a2c41296FcB3f5640")]
    pool: String,
    /// What is paid with: one of its two tokens.
    #[schema(pattern = "^0x[0-9a-fA-F]{40}$", example = "0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2")]
    token_in: String,
    /// Raw units, above 0: what is paid in for EXACT_INPUT, what comes out for EXACT_OUTPUT.
    #[schema(pattern = "^[1-9][0-9]{0,76}$", example = "1000000000000000000")]
    amount: String,
    /// Which amount that is; EXACT_INPUT where it is not said.
    #[serde(rename = "type")]
    #[schema(value_type = Option<TradeType>)]
    trade_type: Option<Word<TradeType>>,
    /// V3, V4: no further than this root of a price, Q64.96.
    #[schema(pattern = "^[1-9][0-9]{0,76}$", example = "1461446703485210103287273052203988822378723970341")]
    sqrt_price_limit_x96: Option<String>,
}

impl StepRequest {
    fn step(&self) -> Result<SwapStep, Problem> {
        Ok(SwapStep {
            pool: pool_id(&self.pool)?.to_string().into(),
            token_in: AddressScalar(address("tokenIn", &self.token_in)?),
            amount: whole("amount", &self.amount)?,
            trade_type: self.trade_type.as_ref().map(|Word(word)| *word).unwrap_or_default().into(),
            sqrt_price_limit: self.sqrt_price_limit_x96.as_ref().map(|limit| whole("sqrtPriceLimitX96", limit)).transpose()?,
        })
    }
}

/// Swaps that are thought of, one after the other.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SimulationRequest {
    #[schema(value_type = Vec<StepRequest>, min_items = 1, max_items = 50)]
    steps: Vec<Object<StepRequest>>,
}

/// A swap as the pool's contract would do it after the ones before, and the pool after it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct SimulatedSwap {
    pool: PoolKey,
    token_in: Address,
    token_out: Address,
    /// The fee included.
    amount_in_raw: Unsigned,
    amount_out_raw: Unsigned,
    /// What of `amount` was not swapped, because the limit or the pool's last price came first.
    amount_left_raw: Unsigned,
    /// Initialised ticks that were crossed.
    ticks_crossed: u32,
    /// token0 per token1 afterwards, in their own units; null where a token has no decimals.
    token0_price_after: Option<Decimal>,
    /// token1 per token0 afterwards, in their own units; null where a token has no decimals.
    token1_price_after: Option<Decimal>,
    /// V2: afterwards, raw units.
    reserve0_after: Option<Unsigned>,
    /// V2: afterwards, raw units.
    reserve1_after: Option<Unsigned>,
    /// V3, V4: afterwards, Q64.96.
    sqrt_price_x96_after: Option<Unsigned>,
    /// V3, V4: afterwards.
    #[schema(minimum = -887_272, maximum = 887_272, example = 194_280)]
    tick_after: Option<i32>,
    /// V3, V4: in range afterwards.
    liquidity_after: Option<Unsigned>,
}

impl SimulatedSwap {
    fn of(swap: &gql::SimulatedSwap) -> Self {
        let (done, (price0, price1)) = (&swap.done, swap.prices());
        let (meta, traded) = (&done.view.meta, &done.traded);
        let [reserve0, reserve1] = swap.reserves().map_or([None, None], |reserves| reserves.map(Some));
        let ticked = traded.after.v3();
        Self {
            pool: meta.id.into(),
            token_in: done.step.token_in.into(),
            token_out: swap.bought().into(),
            amount_in_raw: traded.amount_in.into(),
            amount_out_raw: traded.amount_out.into(),
            amount_left_raw: traded.left.into(),
            ticks_crossed: traded.crossed,
            token0_price_after: price0.map(Decimal),
            token1_price_after: price1.map(Decimal),
            reserve0_after: reserve0.map(Into::into),
            reserve1_after: reserve1.map(Into::into),
            sqrt_price_x96_after: ticked.map(|pool| pool.sqrt_price_x96.into()),
            tick_after: ticked.map(|pool| pool.tick),
            liquidity_after: ticked.map(|pool| pool.liquidity.into()),
        }
    }
}

/// Swaps one after the other, to the wei, if they were mined right after `block` with nothing before them.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Simulation {
    /// The block that it is true at.
    block: Block,
    /// In the order that they are asked for.
    #[schema(min_items = 1, max_items = 50)]
    steps: Vec<SimulatedSwap>,
}

/// What up to fifty swaps would do, each in the pools as the ones before left them.
///
/// To the wei, as the pools' contracts would do them right after one block; nothing is sent. Where one cannot be done the whole is refused,
/// and the problem says which: `steps[2]`.
#[utoipa::path(
    post, path = "/v1/{chainId}/simulate", operation_id = "simulate", tag = "quotes",
    params(OnChain),
    request_body(
        content = SimulationRequest, description = "The swaps",
        example = json!({ "steps": [
            { "pool": "0x88e6A0c2dDD26FEEb64F039a2c41296FcB3f5640", "tokenIn": "0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2",
              "amount": "1000000000000000000" },
            { "pool": "0x88e6A0c2dDD26FEEb64F039a2c41296FcB3f5640", "tokenIn": "0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2",
              "amount": "1000000", "type": "EXACT_OUTPUT" }
        ] })
    ),
    responses(
        (status = 200, description = "The swaps, and the pools after each", body = Simulation),
        BodyRefusals
    )
)]
pub(super) async fn simulate(
    State(public): State<Arc<Public>>,
    InPath(at): InPath<OnChain>,
    InBody(asked): InBody<SimulationRequest>,
) -> Result<Answer, Problem> {
    let pin = pin(&public, &at.chain_id)?;
    let steps = asked.steps.iter().enumerate();
    let steps = steps.map(|(i, Object(step))| step.step().map_err(|problem| problem.within(&format!("steps[{i}]"))));
    let steps = steps.collect::<Result<Vec<_>, Problem>>()?;
    let done = gql::answer(pin.clone(), &steps)?;
    let done = Simulation { block: done.block.into(), steps: done.steps.iter().map(SimulatedSwap::of).collect() };
    Answer::once(&pin, DataSource::Memory, &done)
}
