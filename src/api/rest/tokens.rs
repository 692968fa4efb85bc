//! `/v1/{chainId}/tokens`: what tokens say of themselves.

use std::sync::Arc;

use axum::{extract::State, http::HeaderMap};

use super::{
    answer::Answer,
    model::{Page, Pool, Token},
    params::{InPath, InQuery, PageParams, address, limit, pin},
    problem::Problem,
};
use crate::{
    api::{
        gql::{cursor, scalars::Cursor},
        router::Public,
    },
    store::history::DataSource,
};

/// Tokens that pools trade, by address.
#[utoipa::path(
    get, path = "/v1/{chainId}/tokens", tag = "tokens",
    params(("chainId" = u64, Path, description = "EIP-155 number"), PageParams),
    responses(
        (status = 200, description = "A page of tokens", body = Page<Token>),
        (status = 304, description = "Unchanged since the ETag in `If-None-Match`"),
        (status = "4XX", description = "What is wrong with the request", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Not ready yet: see `Retry-After`", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    State(public): State<Arc<Public>>,
    InPath(chain): InPath<String>,
    InQuery(page): InQuery<PageParams>,
    headers: HeaderMap,
) -> Result<Answer, Problem> {
    let (pin, limit) = (pin(&public, &chain)?, limit(page.limit)?);
    let after = match &page.cursor {
        Some(text) => Some(address("cursor", &cursor::decode_key("token", &Cursor(text.clone()))?)?),
        None => None,
    };
    let mut tokens = pin.tokens();
    tokens.retain(|token| after.is_none_or(|after| token.address > after));
    tokens.sort_unstable_by_key(|token| token.address);
    let more = tokens.len() > limit;
    tokens.truncate(limit);
    let cursor = tokens.last().filter(|_| more).map(|token| cursor::encode_key("token", &format!("{:#x}", token.address)).0);
    let next = cursor.as_ref().map(|cursor| format!("/v1/{}/tokens?limit={limit}&cursor={cursor}", pin.chain()));
    let page = Page { data: tokens.iter().map(|token| Token::known(token)).collect(), cursor };
    Ok(Answer::new(&pin, &headers, DataSource::Memory, &page)?.next(next))
}

/// One token.
#[utoipa::path(
    get, path = "/v1/{chainId}/tokens/{address}", tag = "tokens",
    params(("chainId" = u64, Path, description = "EIP-155 number"), ("address" = String, Path, description = "The token's address, any case")),
    responses(
        (status = 200, description = "The token", body = Token),
        (status = 304, description = "Unchanged since the ETag in `If-None-Match`"),
        (status = "4XX", description = "What is wrong with the request, or no pool trades it", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Not ready yet: see `Retry-After`", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn one(
    State(public): State<Arc<Public>>,
    InPath((chain, token)): InPath<(String, String)>,
    headers: HeaderMap,
) -> Result<Answer, Problem> {
    let (pin, token) = (pin(&public, &chain)?, address("address", &token)?);
    let known = pin.token(&token).ok_or_else(|| no_token(&format!("{token:#x}")))?;
    Answer::new(&pin, &headers, DataSource::Memory, &Token::known(&known))
}

fn no_token(token: &str) -> Problem {
    Problem::not_found(format!("no pool that is followed on this chain trades {token}"))
}

/// The pools that trade a token, by their id.
#[utoipa::path(
    get, path = "/v1/{chainId}/tokens/{address}/pools", tag = "tokens",
    params(("chainId" = u64, Path, description = "EIP-155 number"), ("address" = String, Path, description = "The token's address, any case")),
    responses(
        (status = 200, description = "All of its pools, 1000 at most", body = Page<Pool>),
        (status = 304, description = "Unchanged since the ETag in `If-None-Match`"),
        (status = "4XX", description = "What is wrong with the request, or no pool trades it", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Not ready yet: see `Retry-After`", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn pools(
    State(public): State<Arc<Public>>,
    InPath((chain, token)): InPath<(String, String)>,
    headers: HeaderMap,
) -> Result<Answer, Problem> {
    let (pin, token) = (pin(&public, &chain)?, address("address", &token)?);
    if pin.token(&token).is_none() {
        return Err(no_token(&format!("{token:#x}")));
    }
    let mut views = pin.pools();
    views.retain(|view| view.meta.token0 == token || view.meta.token1 == token);
    views.sort_unstable_by_key(|view| view.meta.id);
    let limit = limit(Some(1_000))?;
    let more = views.len() > limit;
    views.truncate(limit);
    let cursor = views.last().filter(|_| more).map(|view| cursor::encode_key("pool", &view.meta.id.to_string()).0);
    let next = cursor.as_ref().map(|cursor| format!("/v1/{}/pools?token={token:#x}&limit={limit}&cursor={cursor}", pin.chain()));
    let page = Page { data: views.iter().map(|view| Pool::of(&pin, view)).collect(), cursor };
    Ok(Answer::new(&pin, &headers, DataSource::Memory, &page)?.next(next))
}
