//! `/v1/{chainId}/pools`: live state.

use std::sync::Arc;

use axum::{extract::State, http::HeaderMap};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    answer::Answer,
    model::{Page, Pool, Tick, protocol},
    params::{InPath, InQuery, PageParams, address, limit, pin, pool_id},
    problem::Problem,
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
    cursor: Option<String>,
    /// Only pools that trade this token, on either side.
    token: Option<String>,
    /// Only UNISWAP_V2 or UNISWAP_V3.
    protocol: Option<String>,
    /// Only pools of the exchange with this name in the server's configuration.
    dex: Option<String>,
}

/// Pools, by their id.
#[utoipa::path(
    get, path = "/v1/{chainId}/pools", tag = "pools",
    params(("chainId" = u64, Path, description = "EIP-155 number"), Wanted),
    responses(
        (status = 200, description = "A page of pools", body = Page<Pool>),
        (status = 304, description = "Unchanged since the ETag in `If-None-Match`"),
        (status = "4XX", description = "What is wrong with the request", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Not ready yet: see `Retry-After`", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    State(public): State<Arc<Public>>,
    InPath(chain): InPath<String>,
    InQuery(wanted): InQuery<Wanted>,
    headers: HeaderMap,
) -> Result<Answer, Problem> {
    let pin = pin(&public, &chain)?;
    let limit = limit(wanted.limit)?;
    let token = wanted.token.as_deref().map(|token| address("token", token)).transpose()?;
    if let Some(other) = wanted.protocol.as_deref().filter(|p| !["UNISWAP_V2", "UNISWAP_V3"].contains(p)) {
        let other = crate::api::gql::scalars::shown(other);
        return Err(Problem::bad(format!("`protocol` is UNISWAP_V2 or UNISWAP_V3, not {other}")));
    }
    let after = match &wanted.cursor {
        Some(text) => Some(pool_id(&cursor::decode_key("pool", &Cursor(text.clone()))?)?),
        None => None,
    };
    let mut views = pin.pools();
    views.retain(|view| {
        let meta = &view.meta;
        after.is_none_or(|after| meta.id > after)
            && token.is_none_or(|token| meta.token0 == token || meta.token1 == token)
            && wanted.protocol.as_deref().is_none_or(|wanted| wanted == protocol(meta.protocol))
            && wanted.dex.as_ref().is_none_or(|dex| *dex == meta.dex)
    });
    views.sort_unstable_by_key(|view| view.meta.id);
    let more = views.len() > limit;
    views.truncate(limit);
    let cursor = views.last().filter(|_| more).map(|view| cursor::encode_key("pool", &view.meta.id.to_string()).0);
    let next = cursor.as_ref().map(|cursor| {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_pair("limit", &limit.to_string()).append_pair("cursor", cursor);
        for (name, value) in [("token", &wanted.token), ("protocol", &wanted.protocol), ("dex", &wanted.dex)] {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        format!("/v1/{}/pools?{}", pin.chain(), query.finish())
    });
    let page = Page { data: views.iter().map(|view| Pool::of(&pin, view)).collect(), cursor };
    Ok(Answer::new(&pin, &headers, DataSource::Memory, &page)?.next(next))
}

/// One pool's state.
#[utoipa::path(
    get, path = "/v1/{chainId}/pools/{id}", tag = "pools",
    params(("chainId" = u64, Path, description = "EIP-155 number"), ("id" = String, Path, description = "The pool's address, any case")),
    responses(
        (status = 200, description = "The pool", body = Pool),
        (status = 304, description = "Unchanged since the ETag in `If-None-Match`"),
        (status = "4XX", description = "What is wrong with the request, or no such pool", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Not ready yet: see `Retry-After`", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn one(
    State(public): State<Arc<Public>>,
    InPath((chain, id)): InPath<(String, String)>,
    headers: HeaderMap,
) -> Result<Answer, Problem> {
    let pin = pin(&public, &chain)?;
    let id = pool_id(&id)?;
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

/// The initialised ticks of a V3 pool, ascending; none for V2.
#[utoipa::path(
    get, path = "/v1/{chainId}/pools/{id}/ticks", tag = "pools",
    params(
        ("chainId" = u64, Path, description = "EIP-155 number"),
        ("id" = String, Path, description = "The pool's address, any case"),
        PageParams
    ),
    responses(
        (status = 200, description = "A page of ticks", body = Page<Tick>),
        (status = 304, description = "Unchanged since the ETag in `If-None-Match`"),
        (status = "4XX", description = "What is wrong with the request, or no such pool", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Not ready yet: see `Retry-After`", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn ticks(
    State(public): State<Arc<Public>>,
    InPath((chain, id)): InPath<(String, String)>,
    InQuery(page): InQuery<PageParams>,
    headers: HeaderMap,
) -> Result<Answer, Problem> {
    let pin = pin(&public, &chain)?;
    let (id, limit) = (pool_id(&id)?, limit(page.limit)?);
    let view = pin.pool(&id).ok_or_else(|| no_pool(&id.to_string()))?;
    let after = match &page.cursor {
        Some(text) => {
            let key = cursor::decode_key("tick", &Cursor(text.clone()))?;
            Some(key.parse::<i32>().map_err(|_| Problem::bad("`cursor` is no cursor of a list of ticks"))?)
        }
        None => None,
    };
    let from = after.map_or(i32::MIN, |tick| tick.saturating_add(1));
    let mut data: Vec<Tick> = match &view.state {
        PoolState::V2(_) => Vec::new(),
        PoolState::V3(state) => state
            .ticks
            .range(from..)
            .take(limit.saturating_add(1))
            .map(|(index, tick)| Tick {
                tick_idx: *index,
                liquidity_gross: tick.liquidity_gross.to_string(),
                liquidity_net: tick.liquidity_net.to_string(),
            })
            .collect(),
    };
    let more = data.len() > limit;
    data.truncate(limit);
    let cursor = data.last().filter(|_| more).map(|tick| cursor::encode_key("tick", &tick.tick_idx.to_string()).0);
    let next = cursor.as_ref().map(|cursor| format!("/v1/{}/pools/{id}/ticks?limit={limit}&cursor={cursor}", pin.chain()));
    let answer = Answer::new(&pin, &headers, DataSource::Memory, &Page { data, cursor })?.next(next);
    Ok(match view.held_at {
        Some(held_at) => answer.held_at(held_at),
        None => answer,
    })
}
