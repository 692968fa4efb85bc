//! How much it takes to move a pool's price: for GraphQL and REST.

use std::sync::Arc;

use async_graphql::Object;

use super::{
    block::BlockRef,
    error::{ApiError, Code},
    scalars::{AddressScalar, BigDecimal, BigInt},
    token::decimals,
};
use crate::{
    domain::{
        block,
        pool::{
            depth::{Move, depth, to_price},
            exchange::{NoSwap, Order},
            step::Amount,
            trade::trade,
        },
        price::{self, Ratio, token1_per_token0},
    },
    store::{Pin, PoolStatus, PoolView, ReadError},
};

/// A level is two swaps, or some two hundred of a pair, which are shorter.
pub(super) const COST: usize = 50;
/// Levels of one answer.
pub(in crate::api) const LEVELS_MAX: usize = 20;
/// Ninety percent.
const BPS_MAX: i32 = 9_000;

/// What it takes to move the price so far, either way. Amounts in the tokens' own units; null where a token has no decimals, or where
/// nobody can move it so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct DepthLevel {
    pub(in crate::api) bps: i32,
    pub(in crate::api) token0_in: Option<String>,
    pub(in crate::api) token1_out: Option<String>,
    pub(in crate::api) token1_in: Option<String>,
    pub(in crate::api) token0_out: Option<String>,
}

/// What it takes to move the price so far, either way, by the swaps that the contract would do. Amounts in the tokens' own units; null
/// where a token has no decimals, or where nobody can move it so far.
#[Object]
impl DepthLevel {
    /// How far token1 per token0 moves, in parts of 10,000.
    async fn bps(&self) -> i32 {
        self.bps
    }

    /// token0 that has to be paid, fee included, until it costs so much less.
    async fn token0_in(&self) -> Option<BigDecimal> {
        self.token0_in.clone().map(BigDecimal)
    }

    /// What is paid for it.
    async fn token1_out(&self) -> Option<BigDecimal> {
        self.token1_out.clone().map(BigDecimal)
    }

    /// token1 that has to be paid, fee included, until token0 costs so much more.
    async fn token1_in(&self) -> Option<BigDecimal> {
        self.token1_in.clone().map(BigDecimal)
    }

    /// What is paid for it.
    async fn token0_out(&self) -> Option<BigDecimal> {
        self.token0_out.clone().map(BigDecimal)
    }
}

/// In the order that they are asked for.
///
/// # Errors
/// A sentence.
pub(in crate::api) fn levels(pin: &Pin, view: &PoolView, bps: &[i32]) -> Result<Vec<DepthLevel>, String> {
    if bps.is_empty() || bps.len() > LEVELS_MAX {
        return Err(format!("`bps` takes 1 to {LEVELS_MAX} distances, these are {}", bps.len()));
    }
    let (decimals0, decimals1) = (decimals(pin, &view.meta.token0), decimals(pin, &view.meta.token1));
    let level = |bps: &i32| {
        let parts = u32::try_from(*bps).ok().filter(|_| (1..=BPS_MAX).contains(bps));
        let parts = parts.ok_or_else(|| format!("`bps` are 1 to {BPS_MAX} parts of 10,000, not {bps}"))?;
        let moved = |down| depth(&view.meta, &view.image.state, down, parts).ok();
        let paid = |moved: Option<Move>, decimals: Option<u8>| price::unsigned_amount(moved?.amount_in, decimals?);
        let got = |moved: Option<Move>, decimals: Option<u8>| price::unsigned_amount(moved?.amount_out, decimals?);
        let (down, up) = (moved(true), moved(false));
        Ok(DepthLevel {
            bps: *bps,
            token0_in: paid(down, decimals0),
            token1_out: got(down, decimals1),
            token1_in: paid(up, decimals1),
            token0_out: got(up, decimals0),
        })
    };
    bps.iter().map(level).collect()
}

/// The smallest swap that brings a pool's price somewhere.
pub(crate) struct SwapToPrice {
    block: block::BlockRef,
    moved: Move,
    /// tokenOut per tokenIn, in their own units.
    price_after: Option<String>,
}

/// The smallest swap that brings a pool's price somewhere, as its contract would do it if it were mined right after `block`.
#[Object]
impl SwapToPrice {
    /// The block that it is true at.
    async fn block(&self) -> BlockRef {
        self.block.into()
    }

    /// What has to be paid, raw units, the fee included. 0 where nobody has liquidity on the way.
    async fn amount_in(&self) -> BigInt {
        self.moved.amount_in.into()
    }

    /// What is paid for it, raw units.
    async fn amount_out(&self) -> BigInt {
        self.moved.amount_out.into()
    }

    /// Where it leaves the price: tokenOut per tokenIn, at the target or the least below. Null where nothing is swapped.
    async fn price_after(&self) -> Option<BigDecimal> {
        self.price_after.clone().map(BigDecimal)
    }
}

/// `target`: tokenOut per tokenIn, in their own units.
pub(super) fn swap_to_price(
    pin: &Arc<Pin>,
    view: &PoolView,
    token_in: &AddressScalar,
    target: &BigDecimal,
) -> Result<SwapToPrice, ApiError> {
    let block = pin.head().block.ok_or(ReadError::Starting)?;
    let (token0, token1) = (view.meta.token0, view.meta.token1);
    let down = token_in.0 == token0;
    if !down && token_in.0 != token1 {
        return Err(ApiError::input("`tokenIn` is none of the pool's two tokens"));
    }
    if view.status != PoolStatus::Live {
        let text = "the pool is being brought back to the newest block: try again in a moment";
        return Err(ApiError::new(Code::StateStale, text));
    }
    let wrong = || ApiError::input("`targetPrice` is a decimal number above 0, of at most 77 digits");
    let asked = Ratio::parse(&target.0).ok_or_else(wrong)?;
    let asked = if down { Some(asked) } else { asked.inverse() };
    let units = decimals(pin, &token0).zip(decimals(pin, &token1));
    let (decimals0, decimals1) = units.ok_or_else(|| {
        ApiError::input("a token of this pool has no decimals, so there is no price in its own unit: use `simulate` with a limit")
    })?;
    // Of raw units.
    let price = asked.and_then(|price| price.inverse().and(price.in_units(decimals1, decimals0))).ok_or_else(wrong)?;
    let moved = to_price(&view.meta, &view.image.state, down, price).map_err(|reason| match reason {
        NoSwap::Limit => {
            ApiError::input("`targetPrice` has to be below what tokenIn costs now, and within what the pool can reach")
        }
        NoSwap::Empty => ApiError::new(Code::InsufficientLiquidity, "the pool is empty"),
        other => ApiError::input(other.to_string()),
    })?;
    let order = Order { down, amount: Amount::In(moved.amount_in), limit: None };
    let after = trade(&view.meta, &view.image.state, order).ok();
    let after = after.and_then(|traded| token1_per_token0(&traded.after, decimals0, decimals1));
    let after = if down { after } else { after.and_then(Ratio::inverse) };
    Ok(SwapToPrice { block, moved, price_after: after.and_then(Ratio::decimal) })
}
