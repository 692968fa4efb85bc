//! What is asked of a quote, and what of it is refused.

use alloy::primitives::U256;
use async_graphql::{Enum, InputObject};

use super::{
    block::Protocol,
    error::ApiError,
    scalars::{AddressScalar, BigInt, Timestamp},
};
use crate::{
    api::calls::Terms,
    domain::{
        pool::{depth::BPS, step::Amount},
        route::HOPS_MAX,
        split::{LEGS_MAX, Limits},
    },
    store::quote::Ask,
};

/// Seconds that a transaction counts where nobody says it.
const DEADLINE_SECONDS: u64 = 1_200;

/// Which amount is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub(crate) enum TradeType {
    /// What is paid in, fees included.
    ExactInput,
    /// What comes out.
    ExactOutput,
}

/// Whether the node is asked, too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Enum)]
pub(crate) enum QuoteVerify {
    /// Out of memory alone.
    #[default]
    None,
    /// Beside each amount stands what the contracts' own quoter says.
    Call,
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
    /// Over how many ways side by side, 1 to 4.
    #[graphql(default = 4)]
    pub(in crate::api) max_splits: i32,
    /// Refuse where the newest block is older than so many milliseconds.
    pub(in crate::api) max_state_age_ms: Option<u64>,
    /// CALL: the contracts' own quoters are asked, too, at the same block.
    #[graphql(default_with = "QuoteVerify::None")]
    pub(in crate::api) verify: QuoteVerify,
    /// Also pools of just these two tokens whose hooks have a say in swaps: what they pay is asked of the node, by V4Quoter.
    #[graphql(default)]
    pub(in crate::api) hooked: bool,
    /// What gas costs, in wei: a plan that takes more gas has to be worth that. The base fee of the block where it is not said; 0: gas is not counted.
    pub(in crate::api) gas_price_wei: Option<BigInt>,
    /// Who gets what is bought; whoever sends the transaction where it is not said.
    pub(in crate::api) recipient: Option<AddressScalar>,
    /// Until when the transaction counts, seconds since 1970; 20 minutes from now where it is not said.
    pub(in crate::api) deadline: Option<Timestamp>,
}

/// What is asked, and how it is to be sent.
pub(super) fn asked(input: &QuoteInput, now_ms: u64) -> Result<(Ask, Terms), ApiError> {
    if input.token_in == input.token_out {
        return Err(ApiError::input("`tokenIn` and `tokenOut` are the same token"));
    }
    let within = |name: &str, value: i32, most: usize| {
        let number = usize::try_from(value).ok().filter(|number| (1..=most).contains(number));
        number.ok_or_else(|| ApiError::input(format!("`{name}` is 1 to {most}, not {value}")))
    };
    let slippage_bps = u32::try_from(input.slippage_bps).ok().filter(|bps| *bps <= BPS / 2);
    let slippage_bps =
        slippage_bps.ok_or_else(|| ApiError::input(format!("`slippageBps` is 0 to 5000, not {}", input.slippage_bps)))?;
    let limits =
        Limits { hops: within("maxHops", input.max_hops, HOPS_MAX)?, legs: within("maxSplits", input.max_splits, LEGS_MAX)? };
    let amount: Option<U256> = input.amount.0.parse().ok().filter(|amount: &U256| !amount.is_zero());
    let amount = amount.ok_or_else(|| ApiError::input("`amount` is a whole number of raw units above 0 and below 2^256"))?;
    let gas_price_wei = input.gas_price_wei.as_ref().map(|price| {
        // More than a thousand ether for a simple transfer is no price.
        let price: Option<U256> = price.0.parse().ok().filter(|price: &U256| price.bit_len() <= 64);
        price.ok_or_else(|| ApiError::input("`gasPriceWei` is a whole number of wei, below 2^64"))
    });
    let now = now_ms / 1_000;
    let deadline = input.deadline.map_or_else(|| now.saturating_add(DEADLINE_SECONDS), |deadline| deadline.0);
    if deadline <= now {
        return Err(ApiError::input(format!("`deadline` {deadline} is over: it is {now} now")));
    }
    if input.recipient.is_some_and(|recipient| recipient.0.is_zero()) {
        return Err(ApiError::input("`recipient` is the zero address: what is bought would be lost"));
    }
    let ask = Ask {
        token_in: input.token_in.0,
        token_out: input.token_out.0,
        amount: match input.trade_type {
            TradeType::ExactInput => Amount::In(amount),
            TradeType::ExactOutput => Amount::Out(amount),
        },
        limits,
        gas_price_wei: gas_price_wei.transpose()?,
        protocols: input.protocols.iter().flatten().map(|protocol| (*protocol).into()).collect(),
    };
    Ok((ask, Terms { slippage_bps, recipient: input.recipient.map(|recipient| recipient.0), deadline }))
}
