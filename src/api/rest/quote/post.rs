//! `POST /v1/{chainId}/quote` and `/quotes`: the same swaps, written as JSON. A body becomes the parameters of the GET and is checked as
//! these are; what is added here is the list.

use std::sync::Arc;

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Quote, Swap, TradeType, Verify, gql, max_hops_default, max_splits_default, pool, slippage_default};
use crate::{
    api::{
        rest::{
            answer::Answer,
            body::{InBody, Object, Whole, Word},
            document::BodyRefusals,
            model::Block,
            params::{InPath, OnChain, pin},
            problem::Problem,
            words::Protocol,
        },
        router::Public,
    },
    store::{ReadError, history::DataSource},
};

/// A swap that is thought of: what the GET is asked, by the same names. What is null is as if it were not there.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::api::rest) struct QuoteRequest {
    /// What is paid with.
    #[schema(pattern = "^0x[0-9a-fA-F]{40}$", example = "0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2")]
    token_in: String,
    /// What is bought.
    #[schema(pattern = "^0x[0-9a-fA-F]{40}$", example = "0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48")]
    token_out: String,
    /// Raw units, above 0: of `tokenIn` for EXACT_INPUT, of `tokenOut` for EXACT_OUTPUT.
    #[schema(pattern = "^[1-9][0-9]{0,76}$", example = "1000000000000000000")]
    amount: String,
    /// Which amount that is; EXACT_INPUT where it is not said.
    #[serde(rename = "type")]
    #[schema(value_type = Option<TradeType>)]
    trade_type: Option<Word<TradeType>>,
    /// Only pools of these; of all where it is not said.
    #[schema(value_type = Option<Vec<Protocol>>, min_items = 1)]
    protocols: Option<Vec<Word<Protocol>>>,
    /// How many pools one after the other.
    #[schema(value_type = Option<i32>, minimum = 1, maximum = 4, default = 3)]
    max_hops: Option<Whole<i32>>,
    /// How much worse it may get until it is mined, in parts of 10,000.
    #[schema(value_type = Option<i32>, minimum = 0, maximum = 5_000, default = 50)]
    slippage_bps: Option<Whole<i32>>,
    /// Over how many ways side by side.
    #[schema(value_type = Option<i32>, minimum = 1, maximum = 4, default = 4)]
    max_splits: Option<Whole<i32>>,
    /// Refuse where the newest block is older than so many milliseconds.
    #[schema(value_type = Option<u64>, maximum = 18_446_744_073_709_551_615_u64)]
    max_state_age_ms: Option<Whole<u64>>,
    /// What gas costs, in wei: a plan that takes more gas has to be worth that. The base fee of the block where it is not said; 0: gas is not
    /// counted.
    #[schema(pattern = "^(0|[1-9][0-9]{0,18})$", example = "20000000000")]
    gas_price_wei: Option<String>,
    /// Who gets what is bought; whoever sends the transaction where it is not said.
    #[schema(pattern = "^0x[0-9a-fA-F]{40}$")]
    recipient: Option<String>,
    /// Until when the transaction counts, seconds since 1970; 20 minutes from now where it is not said.
    #[schema(value_type = Option<u64>, maximum = 18_446_744_073_709_551_615_u64)]
    deadline: Option<Whole<u64>>,
    /// CALL: the contracts' own quoters are asked, too, at the same block.
    #[schema(value_type = Option<Verify>)]
    verify: Option<Word<Verify>>,
    /// Also pools of just these two tokens whose hooks have a say in swaps, by V4Quoter's word.
    hooked: Option<bool>,
}

impl QuoteRequest {
    fn input(self) -> Result<gql::QuoteInput, Problem> {
        if self.protocols.as_ref().is_some_and(Vec::is_empty) {
            return Err(Problem::bad("`protocols` names at least one: leave it out for all of them"));
        }
        let words = |named: Vec<Word<Protocol>>| {
            let known = pool::Protocol::ALL.map(Protocol::from).into_iter();
            let wanted = known.filter(|known| named.iter().any(|Word(word)| word == known)).map(Protocol::word);
            wanted.collect::<Vec<_>>().join(",")
        };
        let swap = Swap {
            token_in: self.token_in,
            token_out: self.token_out,
            amount: self.amount,
            trade_type: self.trade_type.map(|Word(word)| word).unwrap_or_default(),
            protocols: self.protocols.map(words),
            max_hops: self.max_hops.map_or_else(max_hops_default, |Whole(hops)| hops),
            slippage_bps: self.slippage_bps.map_or_else(slippage_default, |Whole(bps)| bps),
            max_splits: self.max_splits.map_or_else(max_splits_default, |Whole(splits)| splits),
            max_state_age_ms: self.max_state_age_ms.map(|Whole(age)| age),
            gas_price_wei: self.gas_price_wei,
            recipient: self.recipient,
            deadline: self.deadline.map(|Whole(deadline)| deadline),
            verify: self.verify.map(|Word(verify)| verify).unwrap_or_default(),
            hooked: self.hooked.unwrap_or_default(),
        };
        swap.input()
    }
}

/// Swaps that are thought of, each for itself.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api::rest) struct QuotesRequest {
    #[schema(value_type = Vec<QuoteRequest>, min_items = 1, max_items = 20)]
    inputs: Vec<Object<QuoteRequest>>,
}

/// Quotes of one block.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api::rest) struct Quotes {
    /// The block that all of them are true at.
    block: Block,
    /// In the order that they are asked for.
    #[schema(min_items = 1, max_items = 20)]
    quotes: Vec<Quote>,
}

/// What a swap would pay, asked with a body.
///
/// As by GET: to the wei, as of one block, with the transaction that does it.
#[utoipa::path(
    post, path = "/v1/{chainId}/quote", operation_id = "askQuote", tag = "quotes",
    params(OnChain),
    request_body(
        content = QuoteRequest, description = "The swap",
        example = json!({
            "tokenIn": "0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2", "tokenOut": "0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48",
            "amount": "1000000000000000000", "type": "EXACT_INPUT", "slippageBps": 50
        })
    ),
    responses(
        (status = 200, description = "The quote", body = Quote),
        BodyRefusals
    )
)]
pub(in crate::api::rest) async fn one(
    State(public): State<Arc<Public>>,
    InPath(at): InPath<OnChain>,
    InBody(asked): InBody<QuoteRequest>,
) -> Result<Answer, Problem> {
    let pin = pin(&public, &at.chain_id)?;
    let quote = gql::answer(pin, (public.now_unix_ms)(), asked.input()?).await?;
    Answer::once(&quote.pin, DataSource::Memory, &Quote::of(&quote))
}

/// What up to twenty swaps would pay, each for itself, at one block.
///
/// No swap sees another one; `/simulate` does them one after the other. Where one cannot be answered the whole is refused, and the problem
/// says which: `inputs[2]`.
#[utoipa::path(
    post, path = "/v1/{chainId}/quotes", operation_id = "askQuotes", tag = "quotes",
    params(OnChain),
    request_body(
        content = QuotesRequest, description = "The swaps",
        example = json!({ "inputs": [
            { "tokenIn": "0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2", "tokenOut": "0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48",
              "amount": "1000000000000000000" },
            { "tokenIn": "0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2", "tokenOut": "0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48",
              "amount": "1000000", "type": "EXACT_OUTPUT", "maxHops": 1 }
        ] })
    ),
    responses(
        (status = 200, description = "The quotes", body = Quotes),
        BodyRefusals
    )
)]
pub(in crate::api::rest) async fn several(
    State(public): State<Arc<Public>>,
    InPath(at): InPath<OnChain>,
    InBody(asked): InBody<QuotesRequest>,
) -> Result<Answer, Problem> {
    let pin = pin(&public, &at.chain_id)?;
    let block = pin.head().block.ok_or(ReadError::Starting)?;
    if asked.inputs.is_empty() {
        return Err(Problem::bad("`inputs` are swaps, at least one of them"));
    }
    let inputs = asked.inputs.into_iter().enumerate();
    let inputs = inputs.map(|(i, Object(input))| input.input().map_err(|problem| problem.within(&format!("inputs[{i}]"))));
    let inputs = inputs.collect::<Result<Vec<_>, Problem>>()?;
    let now_ms = (public.now_unix_ms)();
    let quotes = gql::each(inputs, |input| gql::answer(pin.clone(), now_ms, input)).await?;
    let quotes = Quotes { block: block.into(), quotes: quotes.iter().map(Quote::of).collect() };
    Answer::once(&pin, DataSource::Memory, &quotes)
}
