//! How much it takes to move a pool's price: for GraphQL and REST.

use async_graphql::Object;

use super::{scalars::BigDecimal, token::decimals};
use crate::{
    domain::{
        pool::depth::{Move, depth},
        price,
    },
    store::{Pin, PoolView},
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
