//! `/v1/{chainId}/pools/{id}/candles` and `…/stats`: open, high, low, close and volume; and what happened lately.

use std::sync::Arc;

use axum::{extract::State, http::HeaderMap};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    answer::Answer,
    document::Refusals,
    params::{InPath, InQuery, OfPool, OfToken, address, pin, pool_id},
    pools::no_pool,
    problem::Problem,
    text::Decimal,
    tokens::no_token,
    words::{Interval, Window},
};
use crate::{
    api::{
        gql::candle::{self, Written},
        router::Public,
    },
    domain::market::Subject,
    store::{candles::CandleQuery, history::DataSource},
};

const LIMIT_DEFAULT: u64 = 500;
const LIMIT_MAX: u64 = 1_000;

/// Which candles.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct CandleParams {
    /// How long a candle is.
    #[param(inline)]
    interval: Interval,
    /// Seconds since 1970: the candle that this is in, and later ones. `limit` intervals before `to` unless it is said.
    #[param(maximum = 9_223_372_036_854_775_807_i64)]
    from: Option<u64>,
    /// Seconds since 1970: only those that begin before. Up to the one under way unless it is said.
    #[param(maximum = 9_223_372_036_854_775_807_i64)]
    to: Option<u64>,
    /// How many intervals, 1 to 1000; 500 where it is not said.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u64>,
    /// Also those in which nobody traded.
    #[serde(default)]
    fill: bool,
    /// Prices of token1 in token0.
    #[serde(default)]
    invert: bool,
}

/// What a pool or a token did within a stretch of time. Prices are token1 per token0 in the tokens' own units, with `invert` token0 per token1,
/// of a token dollars.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Candle {
    /// Seconds since 1970.
    #[schema(example = 1_760_000_000)]
    start: u64,
    /// When the next one begins.
    end: u64,
    /// The close of the candle before; of the first candle the price after its first swap. Null where a token has no decimals, or no price.
    open: Option<Decimal>,
    high: Option<Decimal>,
    low: Option<Decimal>,
    close: Option<Decimal>,
    /// In token0's own unit, both directions. Null where it has no decimals.
    volume_token0: Option<Decimal>,
    /// In token1's own unit, both directions.
    volume_token1: Option<Decimal>,
    /// Dollars, both directions, each swap at the prices of its block. Null where the value of some of them is not known.
    #[serde(rename = "volumeUSD")]
    volume_usd: Option<Decimal>,
    /// Dollars for which the token that is priced was bought.
    #[serde(rename = "buyVolumeUSD")]
    buy_volume_usd: Option<Decimal>,
    /// Dollars for which it was sold.
    #[serde(rename = "sellVolumeUSD")]
    sell_volume_usd: Option<Decimal>,
    /// Swaps that bought the token that is priced.
    buys: u32,
    sells: u32,
    /// Addresses that bought, each once: who received the tokens.
    buyers: u32,
    sellers: u32,
    /// A block came that is later than it: only a reorg can change it now.
    closed: bool,
}

impl From<candle::Candle> for Candle {
    fn from(from: candle::Candle) -> Self {
        let (high, low) = from.high_low();
        let (buys, sells) = from.sides();
        let (volume_token0, volume_token1) = from.volumes();
        let [volume_usd, buy_volume_usd, sell_volume_usd] = from.volumes_usd();
        let price = |price| from.price(price).map(Decimal);
        Self {
            start: from.candle.start,
            end: from.next_start(),
            open: price(from.candle.open),
            high: price(high),
            low: price(low),
            close: price(from.candle.close),
            volume_token0: volume_token0.map(Decimal),
            volume_token1: volume_token1.map(Decimal),
            volume_usd: volume_usd.map(Decimal),
            buy_volume_usd: buy_volume_usd.map(Decimal),
            sell_volume_usd: sell_volume_usd.map(Decimal),
            buys: buys.trades,
            sells: sells.trades,
            buyers: buys.traders,
            sellers: sells.traders,
            closed: from.is_closed(),
        }
    }
}

/// Candles, oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Candles {
    #[schema(max_items = 1000)]
    data: Vec<Candle>,
}

/// What a pool did within a window that ends with the block in the headers.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Stats {
    /// The first second that is counted, seconds since 1970.
    start: u64,
    /// In token0's own unit, both directions. Null where it has no decimals.
    volume_token0: Option<Decimal>,
    /// In token1's own unit, both directions.
    volume_token1: Option<Decimal>,
    /// Dollars, each swap at the prices of its block. Null where the value of some of them is not known.
    #[serde(rename = "volumeUSD")]
    volume_usd: Option<Decimal>,
    /// Swaps that bought token0.
    buys: u32,
    sells: u32,
    /// Addresses that bought token0, each once: who received it.
    buyers: u32,
    sellers: u32,
    /// By how much token0 became dearer in token1 since the window began, in percent. Null before the first swap.
    price_change_percent: Option<Decimal>,
}

/// Which window.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct StatsParams {
    /// How far back.
    #[param(inline)]
    window: Window,
}

/// A pool's volume, trades, traders and change of price.
///
/// Always from memory.
#[utoipa::path(
    get, path = "/v1/{chainId}/pools/{id}/stats", operation_id = "getPoolStats", tag = "pools",
    params(OfPool, StatsParams),
    responses(
        (status = 200, description = "The statistics", body = Stats),
        Refusals
    )
)]
pub(super) async fn stats(
    State(public): State<Arc<Public>>,
    InPath(at): InPath<OfPool>,
    InQuery(asked): InQuery<StatsParams>,
    headers: HeaderMap,
) -> Result<Answer, Problem> {
    let pin = pin(&public, &at.chain_id)?;
    let id = pool_id(&at.id)?;
    let view = pin.pool(&id).ok_or_else(|| no_pool(&id.to_string()))?;
    let said = candle::PoolStats::new(&pin, &view, asked.window.into());
    let stats = said.stats;
    let stats = Stats {
        start: stats.start,
        volume_token0: said.volume0().map(Decimal),
        volume_token1: said.volume1().map(Decimal),
        volume_usd: said.dollars().map(Decimal),
        buys: stats.buys.trades,
        sells: stats.sells.trades,
        buyers: stats.buys.traders,
        sellers: stats.sells.traders,
        price_change_percent: said.change().map(Decimal),
    };
    Answer::new(&pin, &headers, DataSource::Memory, &stats)
}

/// A pool's candles.
///
/// As of the block in the headers. Of seconds long ago, and of minutes whose retention is over, they are made of swaps: a stretch with more
/// than 20,000 is refused then.
#[utoipa::path(
    get, path = "/v1/{chainId}/pools/{id}/candles", operation_id = "listCandles", tag = "pools",
    params(OfPool, CandleParams),
    responses(
        (status = 200, description = "The candles", body = Candles),
        Refusals
    )
)]
pub(super) async fn candles(
    State(public): State<Arc<Public>>,
    InPath(at): InPath<OfPool>,
    InQuery(asked): InQuery<CandleParams>,
    headers: HeaderMap,
) -> Result<Answer, Problem> {
    let pin = pin(&public, &at.chain_id)?;
    let id = pool_id(&at.id)?;
    let view = pin.pool(&id).ok_or_else(|| no_pool(&id.to_string()))?;
    let query = query(Subject::Pool(id), asked.interval, (asked.from, asked.to), asked.limit, asked.fill)?;
    let found = public.reader.candles(&pin, query).await?;
    let written = Written::new(&pin, &view.meta, query.interval, asked.invert);
    let data = found.candles.into_iter().map(|candle| candle::Candle { candle, written }.into()).collect();
    Answer::new(&pin, &headers, found.source, &Candles { data })
}

fn query(
    of: Subject,
    interval: Interval,
    (from, to): (Option<u64>, Option<u64>),
    limit: Option<u64>,
    fill: bool,
) -> Result<CandleQuery, Problem> {
    let count = limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&count) {
        return Err(Problem::bad(format!("`limit` is 1 to {LIMIT_MAX}, not {count}")));
    }
    // Stores keep 64-bit signed integers.
    if from.max(to).is_some_and(|time| time > i64::MAX.unsigned_abs()) {
        return Err(Problem::bad("`from` and `to` are whole seconds since 1970"));
    }
    if from.zip(to).is_some_and(|(from, to)| from >= to) {
        return Err(Problem::bad("`from` must be before `to`"));
    }
    Ok(CandleQuery { of, interval: interval.into(), from, to, count, fill })
}

/// Which candles.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct TokenCandleParams {
    /// How long a candle is.
    #[param(inline)]
    interval: Interval,
    /// Seconds since 1970: the candle that this is in, and later ones. `limit` intervals before `to` unless it is said.
    #[param(maximum = 9_223_372_036_854_775_807_i64)]
    from: Option<u64>,
    /// Seconds since 1970: only those that begin before. Up to the one under way unless it is said.
    #[param(maximum = 9_223_372_036_854_775_807_i64)]
    to: Option<u64>,
    /// How many intervals, 1 to 1000; 500 where it is not said.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u64>,
    /// Also those in which nobody traded.
    #[serde(default)]
    fill: bool,
}

/// A token's candles in dollars, over all of its pools.
///
/// Prices are what it cost at the ends of blocks in which it was swapped, null where it had none; `volumeToken0` is its own volume. Candles
/// of seconds are kept for a while, of minutes as long as those of pools: what is older is refused.
#[utoipa::path(
    get, path = "/v1/{chainId}/tokens/{address}/candles", operation_id = "listTokenCandles", tag = "tokens",
    params(OfToken, TokenCandleParams),
    responses(
        (status = 200, description = "The candles", body = Candles),
        Refusals
    )
)]
pub(super) async fn token_candles(
    State(public): State<Arc<Public>>,
    InPath(at): InPath<OfToken>,
    InQuery(asked): InQuery<TokenCandleParams>,
    headers: HeaderMap,
) -> Result<Answer, Problem> {
    let (pin, token) = (pin(&public, &at.chain_id)?, address("address", &at.address)?);
    pin.token(&token).ok_or_else(|| no_token(&format!("{token:#x}")))?;
    let query = query(Subject::Token(token), asked.interval, (asked.from, asked.to), asked.limit, asked.fill)?;
    let found = public.reader.candles(&pin, query).await?;
    let written = Written::token(&pin, &token, query.interval);
    let data = found.candles.into_iter().map(|candle| candle::Candle { candle, written }.into()).collect();
    Answer::new(&pin, &headers, found.source, &Candles { data })
}

/// What was traded of a token within a window that ends with the block in the headers.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct TokenStats {
    /// The first second that is counted, seconds since 1970.
    start: u64,
    /// In its own unit, both directions, over all of its pools. Null where it has no decimals.
    volume: Option<Decimal>,
    /// Dollars, each swap at the prices of its block. Null where the value of some of them is not known.
    #[serde(rename = "volumeUSD")]
    volume_usd: Option<Decimal>,
    /// Swaps that bought it.
    buys: u32,
    sells: u32,
    /// Addresses that bought it, each once: who received it.
    buyers: u32,
    sellers: u32,
    /// By how much it became dearer in dollars since the window began, in percent. Null where it had no price.
    price_change_percent: Option<Decimal>,
}

/// A token's volume, trades, traders and change of price, over all of its pools.
///
/// Always from memory.
#[utoipa::path(
    get, path = "/v1/{chainId}/tokens/{address}/stats", operation_id = "getTokenStats", tag = "tokens",
    params(OfToken, StatsParams),
    responses(
        (status = 200, description = "The statistics", body = TokenStats),
        Refusals
    )
)]
pub(super) async fn token_stats(
    State(public): State<Arc<Public>>,
    InPath(at): InPath<OfToken>,
    InQuery(asked): InQuery<StatsParams>,
    headers: HeaderMap,
) -> Result<Answer, Problem> {
    let (pin, token) = (pin(&public, &at.chain_id)?, address("address", &at.address)?);
    pin.token(&token).ok_or_else(|| no_token(&format!("{token:#x}")))?;
    let said = candle::PoolStats::of_token(&pin, &token, asked.window.into());
    let stats = said.stats;
    let stats = TokenStats {
        start: stats.start,
        volume: said.volume0().map(Decimal),
        volume_usd: said.dollars().map(Decimal),
        buys: stats.buys.trades,
        sells: stats.sells.trades,
        buyers: stats.buys.traders,
        sellers: stats.sells.traders,
        price_change_percent: said.change().map(Decimal),
    };
    Answer::new(&pin, &headers, DataSource::Memory, &stats)
}
