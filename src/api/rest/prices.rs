//! `/v1/{chainId}/prices` and `…/tokens/{address}/price`: what tokens cost in dollars, and who says so.

use std::sync::Arc;

use axum::{extract::State, http::HeaderMap};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    answer::Answer,
    document::Refusals,
    model::Page,
    params::{InPath, InQuery, OfToken, OnChain, address, pin},
    problem::Problem,
    text::{Address, Decimal},
    words::{Exclusion, FeedStatus},
};
use crate::{
    api::{
        gql::{
            pool_price::{PoolPrice, PoolSay},
            price::{dollars, parts_text, weight},
        },
        router::Public,
    },
    domain::{block::BlockRef, dollars::Priced, feed::SourceReport},
    store::{
        Pin,
        history::DataSource,
        keep::{RecordedPrice, RecordedSource},
        past::Then,
        prices::Health,
        query::Moment,
    },
};

const IDS_MAX: usize = 100;

/// One source of a price.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct PriceSource {
    /// `pool:0x…` where a pool says it.
    #[schema(example = "binance")]
    name: String,
    /// What it said last; null where it said nothing yet.
    value: Option<Decimal>,
    /// When that was by the source's clock, milliseconds since 1970. Null for pools, which are as of the price.
    updated_at_ms: Option<u64>,
    /// Its part in the price, 0 to 1. Of feeds the price is the median, and those that are not in the middle weigh nothing; of pools this is
    /// the part of the liquidity that counts.
    weight: Decimal,
    /// Why it was left out; null where it was not.
    excluded_by: Option<Exclusion>,
    connected: bool,
}

/// What a token costs in dollars: by the feed that is bound to it, or by the chain's pools. Without a source the value is null, never 0.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct TokenPrice {
    token: Address,
    /// Dollars for one token; null where nobody can be believed.
    value: Option<Decimal>,
    status: FeedStatus,
    /// The time of the oldest price that `value` stands on, milliseconds since 1970.
    updated_at_ms: Option<u64>,
    /// The pair that it is read from; null where the token is bound to none, and pools say what it costs.
    #[schema(example = "ETH/USD")]
    pair: Option<String>,
    /// Of a feed in the order of the server's configuration, of pools by price.
    sources: Vec<PriceSource>,
}

impl TokenPrice {
    fn of_pools(pin: &Pin, token: alloy::primitives::Address, block: Option<BlockRef>, priced: Option<&Priced>) -> Self {
        let said = PoolPrice::new(pin, &token, priced);
        let source = |say: PoolSay| PriceSource {
            name: say.name,
            value: say.value.map(Decimal),
            updated_at_ms: None,
            weight: Decimal(say.weight),
            excluded_by: say.is_thin.then_some(Exclusion::Thin),
            connected: true,
        };
        Self {
            token: token.into(),
            updated_at_ms: block.filter(|_| said.value.is_some()).map(|block| block.timestamp.saturating_mul(1_000)),
            value: said.value.map(Decimal),
            status: said.status.into(),
            pair: None,
            sources: said.says.into_iter().map(source).collect(),
        }
    }

    /// As it was recorded then.
    fn of_record(token: alloy::primitives::Address, then: &RecordedPrice) -> Self {
        let source = |said: &RecordedSource| PriceSource {
            name: said.name.clone(),
            value: dollars(said.value).map(Decimal),
            updated_at_ms: said.at_ms,
            weight: Decimal(parts_text(said.weight)),
            excluded_by: said.excluded_by.map(Into::into),
            connected: true,
        };
        Self {
            token: token.into(),
            value: dollars(Some(then.value)).map(Decimal),
            status: then.status.into(),
            updated_at_ms: Some(then.updated_ms),
            pair: Some(then.pair.clone()),
            sources: then.sources.iter().map(source).collect(),
        }
    }

    fn of(public: &Public, pin: &Pin, token: alloy::primitives::Address) -> Self {
        let report = public.reader.prices().of_token(pin.chain(), &token, (public.now_unix_ms)());
        if report.is_none() {
            let priced = pin.with_prices(|prices| prices.priced(&token)).flatten();
            return Self::of_pools(pin, token, pin.head().block, priced.as_ref());
        }
        let verdict = report.as_ref().map(|report| &report.verdict);
        let sources = report.iter().flat_map(|report| report.sources.iter().zip(&report.verdict.sources));
        Self {
            token: token.into(),
            value: verdict.and_then(|v| dollars(v.value)).map(Decimal),
            status: verdict.map_or(FeedStatus::Halted, |v| v.status.into()),
            updated_at_ms: verdict.and_then(|v| v.updated_ms),
            pair: report.as_ref().map(|report| report.pair.clone()),
            sources: sources.map(|((name, health), said)| source(name, health, said)).collect(),
        }
    }
}

fn source(name: &str, health: &Health, said: &SourceReport) -> PriceSource {
    PriceSource {
        name: name.to_owned(),
        value: dollars(said.value).map(Decimal),
        updated_at_ms: said.at_ms,
        weight: Decimal(weight(said)),
        excluded_by: said.excluded_by.map(Into::into),
        connected: health.connected,
    }
}

/// Which tokens.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PriceParams {
    /// Addresses, separated by commas; 1 to 100 of them.
    #[param(pattern = "^0x[0-9a-fA-F]{40}(,0x[0-9a-fA-F]{40}){0,99}$", example = "0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2")]
    ids: String,
    /// As of this height, or the newest before it in which anything happened: where a feed is bound to a token what was recorded of it, else what pools said then.
    #[param(maximum = 9_223_372_036_854_775_807_i64)]
    block: Option<u64>,
    /// The same as of a time, seconds since 1970.
    #[param(maximum = 9_223_372_036_854_775_807_i64)]
    time: Option<u64>,
}

/// What tokens cost in dollars, in the order of `ids`.
///
/// Prices are of the clock, not of the block in the headers: `updatedAtMs` says when. The ETag stays the same while nobody says anything new.
#[utoipa::path(
    get, path = "/v1/{chainId}/prices", operation_id = "listPrices", tag = "prices",
    params(OnChain, PriceParams),
    responses(
        (status = 200, description = "The prices", body = Page<TokenPrice>),
        Refusals
    )
)]
pub(super) async fn list(
    State(public): State<Arc<Public>>,
    InPath(at): InPath<OnChain>,
    InQuery(asked): InQuery<PriceParams>,
    headers: HeaderMap,
) -> Result<Answer, Problem> {
    let pin = pin(&public, &at.chain_id)?;
    let ids: Vec<&str> = asked.ids.split(',').collect();
    if ids.len() > IDS_MAX {
        return Err(Problem::bad(format!("`ids` takes 1 to {IDS_MAX} addresses, these are {}", ids.len())));
    }
    let tokens = ids.into_iter().map(|id| address("ids", id)).collect::<Result<Vec<_>, _>>()?;
    if asked.block.max(asked.time).is_some_and(|moment| i64::try_from(moment).is_err()) {
        return Err(Problem::bad("`block` is a height, `time` is in seconds since 1970"));
    }
    let moment = match (asked.block, asked.time) {
        (None, None) => None,
        (Some(number), None) => Some(Moment::Number(number)),
        (None, Some(time)) => Some(Moment::Time(time)),
        (Some(_), Some(_)) => return Err(Problem::bad("`block` and `time` are two ways to say a moment: give one of them")),
    };
    let Some(moment) = moment else {
        let data = tokens.into_iter().map(|token| TokenPrice::of(&public, &pin, token)).collect();
        return Answer::new(&pin, &headers, DataSource::Memory, &Page { data, cursor: None });
    };
    let past = public.reader.prices_at(&pin, &tokens, moment).await?;
    let (block, source) = past.as_ref().map_or((None, DataSource::Memory), |past| (Some(past.block), past.source));
    let then = |at: usize| past.as_ref().and_then(|past| past.prices.get(at));
    let one = |(at, token): (usize, &alloy::primitives::Address)| match then(at) {
        Some(Then::Fed(then)) => TokenPrice::of_record(*token, then),
        Some(Then::Pools(priced)) => TokenPrice::of_pools(&pin, *token, block, priced.as_ref()),
        None => TokenPrice::of_pools(&pin, *token, None, None),
    };
    let data = tokens.iter().enumerate().map(one).collect();
    Answer::new(&pin, &headers, source, &Page { data, cursor: None })
}

/// What a token costs in dollars.
///
/// Also of a token that no pool trades: then it has a price where a feed is bound to it. Of a past block: `/prices?ids=&block=`.
#[utoipa::path(
    get, path = "/v1/{chainId}/tokens/{address}/price", operation_id = "getTokenPrice", tag = "prices",
    params(OfToken),
    responses(
        (status = 200, description = "The price", body = TokenPrice),
        Refusals
    )
)]
pub(super) async fn one(
    State(public): State<Arc<Public>>,
    InPath(at): InPath<OfToken>,
    headers: HeaderMap,
) -> Result<Answer, Problem> {
    let (pin, token) = (pin(&public, &at.chain_id)?, address("address", &at.address)?);
    Answer::new(&pin, &headers, DataSource::Memory, &TokenPrice::of(&public, &pin, token))
}
