//! `/v1/{chainId}/pools`: live state.

use std::sync::Arc;

use axum::{extract::State, http::HeaderMap};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    answer::Answer,
    document::Refusals,
    model::{Page, Pool, Tick},
    params::{InPath, InQuery, OfPool, OnChain, PageParams, address, limit, pin, pool_id},
    problem::Problem,
    words::Protocol,
};
use crate::{
    api::{
        gql::{cursor, scalars::Cursor},
        router::Public,
    },
    domain::pool::PoolState,
    store::history::DataSource,
};

/// Which pools.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// How many, 1 to 1000; 100 where it is not said.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// Where the page begins: `cursor` of the page before, or follow its `Link`.
    #[param(pattern = "^[0-9A-Za-z_-]+$", max_length = 200)]
    cursor: Option<String>,
    /// Only pools that trade this token, on either side.
    #[param(pattern = "^0x[0-9a-fA-F]{40}$")]
    token: Option<String>,
    /// Only pools of this protocol.
    #[param(inline)]
    protocol: Option<Protocol>,
    /// Only pools of the exchange with this name in the server's configuration.
    #[param(example = "uniswap-v3")]
    dex: Option<String>,
}

/// Pools, by their id.
///
/// State is of the block in the headers; pools that are being rebuilt say in `heldAt` what block theirs is of.
#[utoipa::path(
    get, path = "/v1/{chainId}/pools", operation_id = "listPools", tag = "pools",
    params(OnChain, Wanted),
    responses(
        (status = 200, description = "A page of pools", body = Page<Pool>),
        Refusals
    )
)]
pub(super) async fn list(
    State(public): State<Arc<Public>>,
    InPath(at): InPath<OnChain>,
    InQuery(wanted): InQuery<Wanted>,
    headers: HeaderMap,
) -> Result<Answer, Problem> {
    let pin = pin(&public, &at.chain_id)?;
    let limit = limit(wanted.limit)?;
    let token = wanted.token.as_deref().map(|token| address("token", token)).transpose()?;
    let after = match &wanted.cursor {
        Some(text) => Some(pool_id(&cursor::decode_key("pool", &Cursor(text.clone()))?)?),
        None => None,
    };
    let mut views = pin.pools();
    views.retain(|view| {
        let meta = &view.meta;
        after.is_none_or(|after| meta.id > after)
            && token.is_none_or(|token| meta.token0 == token || meta.token1 == token)
            && wanted.protocol.is_none_or(|wanted| wanted == meta.protocol.into())
            && wanted.dex.as_ref().is_none_or(|dex| *dex == meta.dex)
    });
    views.sort_unstable_by_key(|view| view.meta.id);
    let more = views.len() > limit;
    views.truncate(limit);
    let cursor = views.last().filter(|_| more).map(|view| cursor::encode_key("pool", &view.meta.id.to_string()).0);
    let next = cursor.as_ref().map(|cursor| {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_pair("limit", &limit.to_string()).append_pair("cursor", cursor);
        if let Some(protocol) = wanted.protocol {
            query.append_pair("protocol", protocol.word());
        }
        for (name, value) in [("token", &wanted.token), ("dex", &wanted.dex)] {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        format!("/v1/{}/pools?{}", pin.chain(), query.finish())
    });
    let page = Page { data: views.iter().map(|view| Pool::of(&pin, view)).collect(), cursor: cursor.map(Into::into) };
    Ok(Answer::new(&pin, &headers, DataSource::Memory, &page)?.next(next))
}

/// One pool's state.
///
/// An idle pool keeps its ETag while blocks arrive: poll with `If-None-Match`, and a 304 says that it is still so at a newer block.
#[utoipa::path(
    get, path = "/v1/{chainId}/pools/{id}", operation_id = "getPool", tag = "pools",
    params(OfPool),
    responses(
        (status = 200, description = "The pool", body = Pool),
        Refusals
    )
)]
pub(super) async fn one(
    State(public): State<Arc<Public>>,
    InPath(at): InPath<OfPool>,
    headers: HeaderMap,
) -> Result<Answer, Problem> {
    let pin = pin(&public, &at.chain_id)?;
    let id = pool_id(&at.id)?;
    let view = pin.pool(&id).ok_or_else(|| no_pool(&id.to_string()))?;
    let answer = Answer::new(&pin, &headers, DataSource::Memory, &Pool::of(&pin, &view))?;
    Ok(match view.held_at {
        Some(held_at) => answer.held_at(held_at),
        None => answer,
    })
}

pub(super) fn no_pool(id: &str) -> Problem {
    Problem::not_found(format!("no pool {id} is followed on this chain: /v1/{{chainId}}/pools lists those that are"))
}

/// The initialised ticks of a V3 pool, ascending.
///
/// A pool of V2 has none.
#[utoipa::path(
    get, path = "/v1/{chainId}/pools/{id}/ticks", operation_id = "listTicks", tag = "pools",
    params(OfPool, PageParams),
    responses(
        (status = 200, description = "A page of ticks", body = Page<Tick>),
        Refusals
    )
)]
pub(super) async fn ticks(
    State(public): State<Arc<Public>>,
    InPath(at): InPath<OfPool>,
    InQuery(page): InQuery<PageParams>,
    headers: HeaderMap,
) -> Result<Answer, Problem> {
    let pin = pin(&public, &at.chain_id)?;
    let (id, limit) = (pool_id(&at.id)?, limit(page.limit)?);
    let view = pin.pool(&id).ok_or_else(|| no_pool(&id.to_string()))?;
    let after = match &page.cursor {
        Some(text) => {
            let key = cursor::decode_key("tick", &Cursor(text.clone()))?;
            Some(key.parse::<i32>().map_err(|_| Problem::bad("`cursor` is no cursor of a list of ticks"))?)
        }
        None => None,
    };
    let from = after.map_or(i32::MIN, |tick| tick.saturating_add(1));
    let mut data: Vec<Tick> = match &view.image.state {
        PoolState::V2(_) => Vec::new(),
        PoolState::V3(state) | PoolState::V4(state) => state
            .ticks
            .range(from..)
            .take(limit.saturating_add(1))
            .map(|(index, tick)| Tick {
                tick_idx: *index,
                liquidity_gross: tick.liquidity_gross.into(),
                liquidity_net: tick.liquidity_net.into(),
            })
            .collect(),
    };
    let more = data.len() > limit;
    data.truncate(limit);
    let cursor = data.last().filter(|_| more).map(|tick| cursor::encode_key("tick", &tick.tick_idx.to_string()).0);
    let next = cursor.as_ref().map(|cursor| format!("/v1/{}/pools/{id}/ticks?limit={limit}&cursor={cursor}", pin.chain()));
    let answer = Answer::new(&pin, &headers, DataSource::Memory, &Page { data, cursor: cursor.map(Into::into) })?.next(next);
    Ok(match view.held_at {
        Some(held_at) => answer.held_at(held_at),
        None => answer,
    })
}
