//! Where the liquidity of a pool with ticks lies.

use async_graphql::{Object, SimpleObject};

use super::{
    error::ApiError,
    scalars::{BigDecimal, BigInt},
};
use crate::domain::{
    pool::{self, PoolState},
    price::tick_ratio,
};

/// A distribution goes over every tick of the pool.
pub(super) const COST: usize = 1_000;
/// Ranges of one answer.
const RANGES_MAX: usize = 1_000;

/// An initialised tick: some position begins or ends here.
pub(crate) struct Tick {
    pub(super) index: i32,
    pub(super) tick: pool::Tick,
}

/// An initialised tick of a V3 pool: some position begins or ends here.
#[Object]
impl Tick {
    /// Its index: the price here is 1.0001^tickIdx.
    async fn tick_idx(&self) -> i32 {
        self.index
    }

    /// Liquidity of all positions that begin or end here, as `ticks()` answers.
    async fn liquidity_gross(&self) -> BigInt {
        self.tick.liquidity_gross.into()
    }

    /// What is added to the in-range liquidity when the price crosses upwards, as `ticks()` answers.
    async fn liquidity_net(&self) -> BigInt {
        self.tick.liquidity_net.into()
    }

    /// 1.0001^tickIdx: raw token1 per raw token0, without regard to decimals, as the subgraph has it.
    #[graphql(name = "price0")]
    async fn price0(&self) -> Option<BigDecimal> {
        tick_ratio(self.index)?.decimal().map(BigDecimal)
    }

    /// 1 / price0: raw token0 per raw token1.
    #[graphql(name = "price1")]
    async fn price1(&self) -> Option<BigDecimal> {
        tick_ratio(self.index)?.inverse()?.decimal().map(BigDecimal)
    }
}

/// From one initialised tick to the next: the same liquidity all the way.
#[derive(SimpleObject)]
pub(crate) struct TickRange {
    /// Where it begins.
    tick_lower: i32,
    /// Where it ends: the first tick that is not in it.
    tick_upper: i32,
    /// What `liquidity()` answers while the price is in it.
    liquidity: BigInt,
}

/// The part of a pool's ranges between two ticks; none of a pool without ticks.
///
/// # Errors
/// A sentence, where the bounds (`names` of theirs) are the wrong way round, or too many ranges lie between them.
pub(in crate::api) fn ranges(
    pool: &PoolState,
    (from, to): (Option<i32>, Option<i32>),
    names: (&str, &str),
) -> Result<Vec<pool::TickRange>, String> {
    if from.zip(to).is_some_and(|(from, to)| from >= to) {
        return Err(format!("`{}` must be below `{}`", names.0, names.1));
    }
    let (from, to) = (from.unwrap_or(i32::MIN), to.unwrap_or(i32::MAX));
    let Some(pool) = pool.v3() else { return Ok(Vec::new()) };
    let within = pool.ranges().filter(|range| range.upper > from && range.lower < to);
    let cut = |range: pool::TickRange| pool::TickRange { lower: range.lower.max(from), upper: range.upper.min(to), ..range };
    let found: Vec<_> = within.map(cut).take(RANGES_MAX.saturating_add(1)).collect();
    if found.len() > RANGES_MAX {
        return Err(format!("there are more than {RANGES_MAX} ranges: narrow it with `{}` and `{}`", names.0, names.1));
    }
    Ok(found)
}

pub(super) fn distribution(pool: &PoolState, from: Option<i32>, to: Option<i32>) -> Result<Vec<TickRange>, ApiError> {
    let found = ranges(pool, (from, to), ("fromTick", "toTick")).map_err(ApiError::input)?;
    let one = |range: pool::TickRange| TickRange {
        tick_lower: range.lower,
        tick_upper: range.upper,
        liquidity: range.liquidity.into(),
    };
    Ok(found.into_iter().map(one).collect())
}
