//! `/v1/{chainId}/positions`: liquidity by owner, pool or token.

use std::sync::Arc;

use alloy::primitives::U256;
use axum::{extract::State, http::HeaderMap};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    answer::Answer,
    document::Refusals,
    model::Page,
    params::{InPath, InQuery, OnChain, address, limit, pin, pool_id},
    problem::Problem,
    text::{Address, Decimal, PoolKey, PositionKey, Unsigned},
};
use crate::{
    api::{
        gql::{
            cursor,
            position::{check, key, place},
            position_value::PositionValue,
            scalars::{Cursor, shown},
        },
        router::Public,
    },
    store::{
        Pin,
        history::DataSource,
        positions::{PositionAt, PositionQuery},
    },
};

/// Whose, or which: one of `owner`, `pool` and `token_id` must be given, and all that are given must hold.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Only those of this account.
    #[param(pattern = "^0x[0-9a-fA-F]{40}$", example = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266")]
    owner: Option<String>,
    /// Only those in this pool.
    #[param(pattern = "^0x([0-9a-fA-F]{40}|[0-9a-fA-F]{64})$", example = "0x88e6A0c2dDD26FEEb64F039a2c41296FcB3f5640")]
    pool: Option<String>,
    /// Only the one that this token of a position manager stands for.
    #[param(pattern = "^(0|[1-9][0-9]{0,76})$", example = "1")]
    token_id: Option<String>,
    /// Only those with liquidity in them (`true`), or without (`false`).
    has_liquidity: Option<bool>,
    /// How many, 1 to 1000; 100 where it is not said.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// Where the page begins: `cursor` of the page before, or follow its `Link`.
    #[param(pattern = "^[0-9A-Za-z_-]+$", max_length = 200)]
    cursor: Option<String>,
}

/// Liquidity that an account has between two ticks of a pool. Amounts are in the tokens' own units, null where a token has no decimals.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Position {
    id: PositionKey,
    /// The token that stands for it; null for a position without a manager.
    token_id: Option<Unsigned>,
    /// The contract of that token.
    manager: Option<Address>,
    /// Who has it; the zero address where the token was burnt.
    owner: Address,
    pool: PoolKey,
    #[schema(minimum = -887_272, maximum = 887_272)]
    tick_lower: i32,
    #[schema(minimum = -887_272, maximum = 887_272)]
    tick_upper: i32,
    liquidity: Unsigned,
    /// token0 that burning all of it would free now.
    amount0: Option<Decimal>,
    /// The same of token1.
    amount1: Option<Decimal>,
    /// token0 that was ever put in; null without a manager.
    deposited_token0: Option<Decimal>,
    deposited_token1: Option<Decimal>,
    /// token0 that was ever freed; null without a manager.
    withdrawn_token0: Option<Decimal>,
    withdrawn_token1: Option<Decimal>,
    /// Fees in token0 that were collected; what was put in is not among them. Null without a manager.
    collected_fees_token0: Option<Decimal>,
    collected_fees_token1: Option<Decimal>,
    /// Fees in token0 that its owner could collect now.
    uncollected_fees0: Option<Decimal>,
    uncollected_fees1: Option<Decimal>,
}

impl Position {
    fn of(pin: &Pin, at: &PositionAt) -> Self {
        let PositionValue { id, token_id, held, uncollected, deposited, withdrawn, collected } = PositionValue::new(pin, at);
        let [amount0, amount1] = held.map(|text| text.map(Decimal));
        let [uncollected_fees0, uncollected_fees1] = uncollected.map(|text| text.map(Decimal));
        let [deposited_token0, deposited_token1] = deposited.map(|text| text.map(Decimal));
        let [withdrawn_token0, withdrawn_token1] = withdrawn.map(|text| text.map(Decimal));
        let [collected_fees_token0, collected_fees_token1] = collected.map(|text| text.map(Decimal));
        Self {
            id: id.into(),
            token_id: token_id.map(Into::into),
            manager: at.token.map(|token| token.manager.into()),
            owner: at.owner.into(),
            pool: at.pool.meta.id.into(),
            tick_lower: at.key.tick_lower,
            tick_upper: at.key.tick_upper,
            liquidity: at.position.liquidity.into(),
            amount0,
            amount1,
            deposited_token0,
            deposited_token1,
            withdrawn_token0,
            withdrawn_token1,
            collected_fees_token0,
            collected_fees_token1,
            uncollected_fees0,
            uncollected_fees1,
        }
    }
}

/// Positions of liquidity, by pool and then by token.
///
/// Of pools of V3. Tokens of the configured position manager come first, then positions that accounts have in the pool themselves. What is
/// older than what this server has read of a pool is not known.
#[utoipa::path(
    get, path = "/v1/{chainId}/positions", operation_id = "listPositions", tag = "pools",
    params(OnChain, Wanted),
    responses(
        (status = 200, description = "A page of positions", body = Page<Position>),
        Refusals
    )
)]
pub(super) async fn list(
    State(public): State<Arc<Public>>,
    InPath(at): InPath<OnChain>,
    InQuery(asked): InQuery<Wanted>,
    headers: HeaderMap,
) -> Result<Answer, Problem> {
    let (pin, limit) = (pin(&public, &at.chain_id)?, limit(asked.limit)?);
    let query = PositionQuery {
        owner: asked.owner.as_deref().map(|text| address("owner", text)).transpose()?,
        pool: asked.pool.as_deref().map(pool_id).transpose()?,
        token_id: asked.token_id.as_deref().map(token_id).transpose()?,
        has_liquidity: asked.has_liquidity,
    };
    check(&query, "token_id").map_err(Problem::bad)?;
    let after = asked.cursor.as_ref().map(|text| place(&Cursor(text.clone()))).transpose()?;
    let mut found = pin.positions(&query, after, limit.saturating_add(1)).map_err(|e| Problem::bad(e.to_string()))?;
    let more = found.len() > limit;
    found.truncate(limit);
    let cursor = found.last().filter(|_| more).map(|at| cursor::encode_key("position", &key(at)).0);
    let next = cursor.as_ref().map(|cursor| {
        let filters = [
            query.owner.map(|owner| format!("&owner={owner:#x}")),
            query.pool.map(|pool| format!("&pool={pool}")),
            query.token_id.map(|token_id| format!("&token_id={token_id}")),
            query.has_liquidity.map(|has| format!("&has_liquidity={has}")),
        ];
        format!(
            "/v1/{}/positions?limit={limit}{}&cursor={cursor}",
            pin.chain(),
            filters.into_iter().flatten().collect::<String>()
        )
    });
    let data = found.iter().map(|at| Position::of(&pin, at)).collect();
    Ok(Answer::new(&pin, &headers, DataSource::Memory, &Page { data, cursor: cursor.map(Into::into) })?.next(next))
}

fn token_id(text: &str) -> Result<U256, Problem> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let parsed = text.parse().ok().filter(|_| digits);
    parsed.ok_or_else(|| Problem::bad(format!("`token_id`: `{}` is no number of a token", shown(text))))
}
