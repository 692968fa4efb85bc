//! Positions of liquidity in pools with ticks.

use std::sync::Arc;

use alloy::primitives::U256;
use async_graphql::{Context, ID, InputObject, Object};

use super::{
    args,
    block::BlockRef,
    connection::{Page, Total, connection, first},
    cursor,
    error::ApiError,
    heights::BlockHeight,
    pins::pin,
    pool::Pool,
    position_value::PositionValue,
    scalars::{AddressScalar, BigDecimal, BigInt, Cursor},
};
use crate::{
    domain::{ChainId, pool::PoolId},
    store::{
        Pin,
        positions::{PositionAt, PositionPlace, PositionQuery},
        query::EventQuery,
    },
};

/// Some ten thousand may be looked at: up to twenty questions fit into a request.
pub(super) const COST: usize = 4_500;

/// Which positions. All conditions that are given must hold; one of `owner`, `pool` and `tokenId` must be given.
#[derive(Debug, Clone, Default, InputObject)]
pub(crate) struct PositionWhere {
    /// Only those of this account.
    owner: Option<AddressScalar>,
    /// Only those in this pool.
    pool: Option<ID>,
    /// Only the one that this token of a position manager stands for.
    token_id: Option<BigInt>,
    /// Only those with liquidity in them (`true`), or without (`false`).
    has_liquidity: Option<bool>,
}

/// Liquidity that an account has between two ticks of a pool. As of one block, `pool.asOf`.
pub(crate) struct Position {
    pin: Arc<Pin>,
    at: PositionAt,
    value: PositionValue,
}

impl Position {
    fn new(pin: &Arc<Pin>, at: PositionAt) -> Self {
        Self { pin: pin.clone(), value: PositionValue::new(pin, &at), at }
    }
}

/// Liquidity that an account has between two ticks of a pool. As of one block, `pool.asOf`.
#[Object]
impl Position {
    /// `manager#tokenId`; of one without a manager `pool#owner:tickLower:tickUpper`. Unique on its chain.
    async fn id(&self) -> &str {
        &self.value.id
    }

    /// The token that stands for it; null for a position without a manager.
    async fn token_id(&self) -> Option<BigInt> {
        self.value.token_id.map(BigInt::from)
    }

    /// The contract of that token.
    async fn manager(&self) -> Option<AddressScalar> {
        self.at.token.map(|token| AddressScalar(token.manager))
    }

    /// Who has it: the owner of the token, or whom the pool knows. The zero address where the token was burnt.
    async fn owner(&self) -> AddressScalar {
        AddressScalar(self.at.owner)
    }

    /// Where it is.
    async fn pool(&self) -> Pool {
        Pool::new(&self.pin, self.at.pool.clone())
    }

    /// It begins at this tick.
    async fn tick_lower(&self) -> i32 {
        self.at.key.tick_lower
    }

    /// It ends below this tick.
    async fn tick_upper(&self) -> i32 {
        self.at.key.tick_upper
    }

    /// How much, as `positions()` answers.
    async fn liquidity(&self) -> BigInt {
        self.at.position.liquidity.into()
    }

    /// token0 that burning all of it would free now. Null where a token has no decimals.
    #[graphql(name = "amount0")]
    async fn amount0(&self) -> Option<BigDecimal> {
        self.value.held[0].clone().map(BigDecimal)
    }

    /// The same of token1.
    #[graphql(name = "amount1")]
    async fn amount1(&self) -> Option<BigDecimal> {
        self.value.held[1].clone().map(BigDecimal)
    }

    /// token0 that was ever put in. Null for a position without a manager.
    #[graphql(name = "depositedToken0")]
    async fn deposited_token0(&self) -> Option<BigDecimal> {
        self.value.deposited[0].clone().map(BigDecimal)
    }

    /// The same of token1.
    #[graphql(name = "depositedToken1")]
    async fn deposited_token1(&self) -> Option<BigDecimal> {
        self.value.deposited[1].clone().map(BigDecimal)
    }

    /// token0 that was ever freed by taking liquidity out. Null for a position without a manager.
    #[graphql(name = "withdrawnToken0")]
    async fn withdrawn_token0(&self) -> Option<BigDecimal> {
        self.value.withdrawn[0].clone().map(BigDecimal)
    }

    /// The same of token1.
    #[graphql(name = "withdrawnToken1")]
    async fn withdrawn_token1(&self) -> Option<BigDecimal> {
        self.value.withdrawn[1].clone().map(BigDecimal)
    }

    /// Fees in token0 that were collected; what was put in is not among them. Null for a position without a manager.
    #[graphql(name = "collectedFeesToken0")]
    async fn collected_fees_token0(&self) -> Option<BigDecimal> {
        self.value.collected[0].clone().map(BigDecimal)
    }

    /// The same in token1.
    #[graphql(name = "collectedFeesToken1")]
    async fn collected_fees_token1(&self) -> Option<BigDecimal> {
        self.value.collected[1].clone().map(BigDecimal)
    }

    /// Fees in token0 that its owner could collect now: what a static `collect` gives, without what he put in. Null where a token has no
    /// decimals.
    #[graphql(name = "uncollectedFees0")]
    async fn uncollected_fees0(&self) -> Option<BigDecimal> {
        self.value.uncollected[0].clone().map(BigDecimal)
    }

    /// The same in token1.
    #[graphql(name = "uncollectedFees1")]
    async fn uncollected_fees1(&self) -> Option<BigDecimal> {
        self.value.uncollected[1].clone().map(BigDecimal)
    }

    /// The block that it is of.
    async fn as_of(&self) -> BlockRef {
        self.pin.as_of(&self.at.pool).unwrap_or(self.at.pool.updated).into()
    }
}

connection!(PositionConnection, "PositionConnection", PositionEdge, "PositionEdge", Position);

pub(super) async fn positions(
    ctx: &Context<'_>,
    chain: Option<ChainId>,
    (asked, after): (i32, Option<Cursor>),
    filter: PositionWhere,
    block: Option<BlockHeight>,
) -> Result<PositionConnection, ApiError> {
    let count = first(asked)?;
    let pin = pin(ctx, chain).await?;
    BlockHeight::check(block, &pin)?;
    let token_id = filter.token_id.map(|id| id.0.parse::<U256>().map_err(|_| ApiError::input("`tokenId` is never negative")));
    let query = PositionQuery {
        owner: filter.owner.map(|owner| owner.0),
        pool: filter.pool.as_ref().map(args::pool_id).transpose()?,
        token_id: token_id.transpose()?,
        has_liquidity: filter.has_liquidity,
    };
    check(&query, "tokenId").map_err(ApiError::input)?;
    let from = after.as_ref().map(place).transpose()?;
    let found = pin.positions(&query, from, count.saturating_add(1)).map_err(|e| ApiError::input(e.to_string()))?;
    let is_counted = ["totalCount", "totalCountCapped"].iter().any(|name| ctx.look_ahead().field(name).exists());
    let total = if is_counted {
        let cap = usize::try_from(EventQuery::COUNT_CAP).unwrap_or(usize::MAX).saturating_add(1);
        pin.count_positions(&query, cap).map_err(|e| ApiError::input(e.to_string()))?
    } else {
        0
    };
    let items = found.into_iter().map(|at| (cursor::encode_key("position", &key(&at)), Position::new(&pin, at))).collect();
    let total = Total::Known(u64::try_from(total).unwrap_or(u64::MAX));
    Ok(PositionConnection(Page::new(items, count, after.is_some(), total)))
}

/// # Errors
/// A sentence, where nothing says where to look.
pub(in crate::api) fn check(query: &PositionQuery, token_id: &str) -> Result<(), String> {
    if query.owner.is_none() && query.pool.is_none() && query.token_id.is_none() {
        return Err(format!("say whose or which positions: `owner`, `pool` or `{token_id}`"));
    }
    Ok(())
}

/// What a cursor of a list of positions says.
pub(in crate::api) fn key(at: &PositionAt) -> String {
    format!("{}/{}", at.pool.meta.id, at.id)
}

pub(in crate::api) fn place(cursor: &Cursor) -> Result<PositionPlace, ApiError> {
    let text = cursor::decode_key("position", cursor)?;
    let place = text.split_once('/').and_then(|(pool, id)| Some((pool.parse::<PoolId>().ok()?, id.parse().ok()?)));
    place.ok_or_else(|| ApiError::input("this is no cursor of a list of positions"))
}
