//! `/v1/{chainId}/tokens`: what tokens say of themselves.

use std::sync::Arc;

use axum::{extract::State, http::HeaderMap};

use super::{
    answer::Answer,
    document::Refusals,
    model::{Page, Pool, Token},
    params::{InPath, InQuery, OfToken, OnChain, PageParams, address, limit, pin},
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
///
/// Names and symbols are what the contracts say: anybody may call a token `USDC`.
#[utoipa::path(
    get, path = "/v1/{chainId}/tokens", operation_id = "listTokens", tag = "tokens",
    params(OnChain, PageParams),
    responses(
        (status = 200, description = "A page of tokens", body = Page<Token>),
        Refusals
    )
)]
pub(super) async fn list(
    State(public): State<Arc<Public>>,
    InPath(at): InPath<OnChain>,
    InQuery(page): InQuery<PageParams>,
    headers: HeaderMap,
) -> Result<Answer, Problem> {
    let (pin, limit) = (pin(&public, &at.chain_id)?, limit(page.limit)?);
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
    let page = Page { data: tokens.iter().map(|token| Token::known(token)).collect(), cursor: cursor.map(Into::into) };
    Ok(Answer::new(&pin, &headers, DataSource::Memory, &page)?.next(next))
}

/// One token.
///
/// Only tokens that a followed pool trades are known.
#[utoipa::path(
    get, path = "/v1/{chainId}/tokens/{address}", operation_id = "getToken", tag = "tokens",
    params(OfToken),
    responses(
        (status = 200, description = "The token", body = Token),
        Refusals
    )
)]
pub(super) async fn one(
    State(public): State<Arc<Public>>,
    InPath(at): InPath<OfToken>,
    headers: HeaderMap,
) -> Result<Answer, Problem> {
    let (pin, token) = (pin(&public, &at.chain_id)?, address("address", &at.address)?);
    let known = pin.token(&token).ok_or_else(|| no_token(&format!("{token:#x}")))?;
    Answer::new(&pin, &headers, DataSource::Memory, &Token::known(&known))
}

pub(super) fn no_token(token: &str) -> Problem {
    Problem::not_found(format!("no pool that is followed on this chain trades {token}"))
}

/// The pools that trade a token, by their id.
///
/// The same as `/pools?token=`, with as many as one page has; where there are more, `Link` goes on there.
#[utoipa::path(
    get, path = "/v1/{chainId}/tokens/{address}/pools", operation_id = "listTokenPools", tag = "tokens",
    params(OfToken),
    responses(
        (status = 200, description = "All of its pools, 1000 at most", body = Page<Pool>),
        Refusals
    )
)]
pub(super) async fn pools(
    State(public): State<Arc<Public>>,
    InPath(at): InPath<OfToken>,
    headers: HeaderMap,
) -> Result<Answer, Problem> {
    let (pin, token) = (pin(&public, &at.chain_id)?, address("address", &at.address)?);
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
    let page = Page { data: views.iter().map(|view| Pool::of(&pin, view)).collect(), cursor: cursor.map(Into::into) };
    Ok(Answer::new(&pin, &headers, DataSource::Memory, &page)?.next(next))
}
