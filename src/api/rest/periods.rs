//! `…/periods`: hours and days of pools, tokens and factories.

use std::sync::Arc;

use axum::{extract::State, http::HeaderMap};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    answer::Answer,
    document::Refusals,
    model::Page,
    params::{InPath, InQuery, OfFactory, OfPool, OfToken, address, limit, pin, pool_id},
    pools::no_pool,
    problem::Problem,
    text::{Decimal, Unsigned},
    tokens::no_token,
};
use crate::{
    api::{
        gql::{
            cursor, period,
            period_value::{Form, PeriodValue},
            scalars::Cursor,
        },
        router::Public,
    },
    domain::{
        market::{self, Subject},
        pool::StateAfter,
    },
    store::periods::PeriodQuery,
};

/// An hour, or a day of UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
enum Length {
    H1,
    D1,
}

impl Length {
    fn interval(self) -> market::Interval {
        match self {
            Self::H1 => market::Interval::H1,
            Self::D1 => market::Interval::D1,
        }
    }
}

/// Which hours or days, newest first.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Hours or days.
    #[param(inline)]
    interval: Length,
    /// Seconds since 1970: only those that begin here or later.
    #[param(maximum = 9_223_372_036_854_775_807_i64)]
    from: Option<u64>,
    /// Seconds since 1970: only those that begin before.
    #[param(maximum = 9_223_372_036_854_775_807_i64)]
    to: Option<u64>,
    /// How many, 1 to 1000; 100 where it is not said.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// Where the page begins: `cursor` of the page before, or follow its `Link`.
    #[param(pattern = "^[0-9A-Za-z_-]+$", max_length = 200)]
    cursor: Option<String>,
}

/// An hour or a day of a pool, in which it had an event. Prices are token1 per token0; amounts are in the tokens' own units, null where one
/// has no decimals.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct PoolPeriod {
    /// Seconds since 1970.
    #[schema(example = 1_760_000_400)]
    start: u64,
    /// When the next one begins.
    end: u64,
    /// A block came that is later than it: only a reorg can change it now.
    closed: bool,
    /// Events of the pool, of whatever kind.
    tx_count: u32,
    swap_count: u32,
    volume_token0: Option<Decimal>,
    volume_token1: Option<Decimal>,
    /// Dollars, each swap at the prices of its block. Null where the value of some of them is not known.
    #[serde(rename = "volumeUSD")]
    volume_usd: Option<Decimal>,
    /// The swap fee's part of that.
    #[serde(rename = "feesUSD")]
    fees_usd: Option<Decimal>,
    /// token0 that the pool held after its last event in it.
    total_value_locked_token0: Option<Decimal>,
    total_value_locked_token1: Option<Decimal>,
    /// Both in dollars, at the prices of the end. Null where one of them has no price.
    #[serde(rename = "totalValueLockedUSD")]
    total_value_locked_usd: Option<Decimal>,
    /// Liquidity in range at the end; null for V2, as are the next two.
    liquidity: Option<Unsigned>,
    #[serde(rename = "sqrtPriceX96")]
    sqrt_price_x96: Option<Unsigned>,
    #[schema(minimum = -887_272, maximum = 887_272)]
    tick: Option<i32>,
    /// The price when it began; null before the first swap.
    open: Option<Decimal>,
    high: Option<Decimal>,
    low: Option<Decimal>,
    /// The price after the last swap.
    close: Option<Decimal>,
}

impl From<PeriodValue> for PoolPeriod {
    fn from(of: PeriodValue) -> Self {
        let [volume_token0, volume_token1] = of.volumes().map(|text| text.map(Decimal));
        let [total_value_locked_token0, total_value_locked_token1] = of.locked().map(|text| text.map(Decimal));
        let [open, high, low, close] = of.prices().map(|text| text.map(Decimal));
        let (liquidity, sqrt_price_x96, tick) = match of.after() {
            Some(StateAfter::V3 { sqrt_price_x96, tick, liquidity }) => {
                (Some(liquidity.into()), Some(sqrt_price_x96.into()), Some(tick))
            }
            Some(StateAfter::V2 { .. }) | None => (None, None, None),
        };
        Self {
            start: of.start(),
            end: of.end(),
            closed: of.is_closed(),
            tx_count: of.events(),
            swap_count: of.swaps(),
            volume_token0,
            volume_token1,
            volume_usd: of.volume_usd().map(Decimal),
            fees_usd: of.fees_usd().map(Decimal),
            total_value_locked_token0,
            total_value_locked_token1,
            total_value_locked_usd: of.locked_usd().map(Decimal),
            liquidity,
            sqrt_price_x96,
            tick,
            open,
            high,
            low,
            close,
        }
    }
}

/// An hour or a day of a token, in which one of its pools had an event. Prices are dollars.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct TokenPeriod {
    /// Seconds since 1970.
    #[schema(example = 1_760_000_400)]
    start: u64,
    /// When the next one begins.
    end: u64,
    /// A block came that is later than it: only a reorg can change it now.
    closed: bool,
    /// Events of its pools, of whatever kind.
    tx_count: u32,
    swap_count: u32,
    /// In its own unit, over all of its pools; null where it has no decimals.
    volume: Option<Decimal>,
    /// Dollars, each swap at the prices of its block. Null where the value of some of them is not known.
    #[serde(rename = "volumeUSD")]
    volume_usd: Option<Decimal>,
    /// What these swaps cost: of each its pool's fee.
    #[serde(rename = "feesUSD")]
    fees_usd: Option<Decimal>,
    /// What all of its pools together held at the end. Null where it has no decimals, or nobody wrote it down.
    total_value_locked: Option<Decimal>,
    /// The same in dollars, at the price of the end. Null where it has none.
    #[serde(rename = "totalValueLockedUSD")]
    total_value_locked_usd: Option<Decimal>,
    /// What it cost at the end.
    #[serde(rename = "priceUSD")]
    price_usd: Option<Decimal>,
    /// The price after the last swap before it.
    open: Option<Decimal>,
    high: Option<Decimal>,
    low: Option<Decimal>,
    /// The price at the end of the last block in which it was swapped.
    close: Option<Decimal>,
}

impl From<PeriodValue> for TokenPeriod {
    fn from(of: PeriodValue) -> Self {
        let [volume, _] = of.volumes().map(|text| text.map(Decimal));
        let [total_value_locked, _] = of.locked().map(|text| text.map(Decimal));
        let [open, high, low, close] = of.prices().map(|text| text.map(Decimal));
        Self {
            start: of.start(),
            end: of.end(),
            closed: of.is_closed(),
            tx_count: of.events(),
            swap_count: of.swaps(),
            volume,
            volume_usd: of.volume_usd().map(Decimal),
            fees_usd: of.fees_usd().map(Decimal),
            total_value_locked,
            total_value_locked_usd: of.locked_usd().map(Decimal),
            price_usd: of.price_usd().map(Decimal),
            open,
            high,
            low,
            close,
        }
    }
}

/// An hour or a day of a factory: of all of its pools together.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ProtocolPeriod {
    /// Seconds since 1970.
    #[schema(example = 1_760_000_400)]
    start: u64,
    /// When the next one begins.
    end: u64,
    /// A block came that is later than it: only a reorg can change it now.
    closed: bool,
    /// Events of its pools, of whatever kind.
    tx_count: u32,
    swap_count: u32,
    /// Dollars, each swap at the prices of its block. Null where the value of some of them is not known.
    #[serde(rename = "volumeUSD")]
    volume_usd: Option<Decimal>,
    /// What these swaps cost: of each its pool's fee.
    #[serde(rename = "feesUSD")]
    fees_usd: Option<Decimal>,
    /// Dollars that its pools held at the end: of pools whose tokens both have a price. Null where nobody wrote it down.
    #[serde(rename = "totalValueLockedUSD")]
    total_value_locked_usd: Option<Decimal>,
}

impl From<PeriodValue> for ProtocolPeriod {
    fn from(of: PeriodValue) -> Self {
        Self {
            start: of.start(),
            end: of.end(),
            closed: of.is_closed(),
            tx_count: of.events(),
            swap_count: of.swaps(),
            volume_usd: of.volume_usd().map(Decimal),
            fees_usd: of.fees_usd().map(Decimal),
            total_value_locked_usd: of.locked_usd().map(Decimal),
        }
    }
}

/// `path` is where the page is, for its `Link`.
async fn page<T: From<PeriodValue> + Serialize>(
    public: &Public,
    (chain_id, headers): (&str, &HeaderMap),
    asked: &Wanted,
    (of, path): (Subject, String),
) -> Result<Answer, Problem> {
    let (pin, limit) = (pin(public, chain_id)?, limit(asked.limit)?);
    // Stores keep 64-bit signed integers.
    if asked.from.max(asked.to).is_some_and(|time| time > i64::MAX.unsigned_abs()) {
        return Err(Problem::bad("`from` and `to` are whole seconds since 1970"));
    }
    if asked.from.zip(asked.to).is_some_and(|(from, to)| from >= to) {
        return Err(Problem::bad("`from` must be before `to`"));
    }
    let interval = asked.interval.interval();
    let mut to = asked.to.unwrap_or(u64::MAX);
    if let Some(cursor) = &asked.cursor {
        to = to.min(period::place(&Cursor(cursor.clone()))?);
    }
    let query =
        PeriodQuery { of, interval, from: asked.from.unwrap_or(0), to, limit: limit.saturating_add(1), newest_first: true };
    let mut found = public.reader.periods(&pin, query).await?;
    let more = found.periods.len() > limit;
    found.periods.truncate(limit);
    let last = found.periods.last().filter(|_| more);
    let cursor = last.map(|at| cursor::encode_key("period", &at.period.start.to_string()).0);
    let next = cursor.as_ref().map(|cursor| {
        let from = asked.from.map(|from| format!("&from={from}")).unwrap_or_default();
        let length = asked.interval;
        format!("/v1/{}{path}/periods?interval={length:?}{from}&limit={limit}&cursor={cursor}", pin.chain())
    });
    let form = Form::new(&pin, &of, interval);
    let data: Vec<T> = found.periods.into_iter().map(|at| PeriodValue::new(at, form).into()).collect();
    Ok(Answer::new(&pin, headers, found.source, &Page { data, cursor: cursor.map(Into::into) })?.next(next))
}

/// Hours or days of a pool, newest first.
///
/// Those in which it had an event. The newest is under way: it stands as the pool does at the block in the headers.
#[utoipa::path(
    get, path = "/v1/{chainId}/pools/{id}/periods", operation_id = "listPoolPeriods", tag = "pools",
    params(OfPool, Wanted),
    responses(
        (status = 200, description = "A page of hours or days", body = Page<PoolPeriod>),
        Refusals
    )
)]
pub(super) async fn of_pool(
    State(public): State<Arc<Public>>,
    InPath(at): InPath<OfPool>,
    InQuery(asked): InQuery<Wanted>,
    headers: HeaderMap,
) -> Result<Answer, Problem> {
    let id = pool_id(&at.id)?;
    pin(&public, &at.chain_id)?.pool(&id).ok_or_else(|| no_pool(&id.to_string()))?;
    page::<PoolPeriod>(&public, (&at.chain_id, &headers), &asked, (Subject::Pool(id), format!("/pools/{id}"))).await
}

/// Hours or days of a token over all of its pools, newest first.
///
/// Those in which one of its pools had an event.
#[utoipa::path(
    get, path = "/v1/{chainId}/tokens/{address}/periods", operation_id = "listTokenPeriods", tag = "tokens",
    params(OfToken, Wanted),
    responses(
        (status = 200, description = "A page of hours or days", body = Page<TokenPeriod>),
        Refusals
    )
)]
pub(super) async fn of_token(
    State(public): State<Arc<Public>>,
    InPath(at): InPath<OfToken>,
    InQuery(asked): InQuery<Wanted>,
    headers: HeaderMap,
) -> Result<Answer, Problem> {
    let token = address("address", &at.address)?;
    pin(&public, &at.chain_id)?.token(&token).ok_or_else(|| no_token(&format!("{token:#x}")))?;
    page::<TokenPeriod>(&public, (&at.chain_id, &headers), &asked, (Subject::Token(token), format!("/tokens/{token:#x}"))).await
}

/// Hours or days of a factory over all of its pools, newest first.
///
/// Those in which one of its pools had an event. `factory` of a pool names it.
#[utoipa::path(
    get, path = "/v1/{chainId}/factories/{address}/periods", operation_id = "listProtocolPeriods", tag = "pools",
    params(OfFactory, Wanted),
    responses(
        (status = 200, description = "A page of hours or days", body = Page<ProtocolPeriod>),
        Refusals
    )
)]
pub(super) async fn of_factory(
    State(public): State<Arc<Public>>,
    InPath(at): InPath<OfFactory>,
    InQuery(asked): InQuery<Wanted>,
    headers: HeaderMap,
) -> Result<Answer, Problem> {
    let factory = address("address", &at.address)?;
    let path = format!("/factories/{factory:#x}");
    page::<ProtocolPeriod>(&public, (&at.chain_id, &headers), &asked, (Subject::Factory(factory), path)).await
}
