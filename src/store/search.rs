//! Tokens and pools by what people type: an address, a symbol, a name, or a pair of them. All of it is in memory.
//!
//! Anybody may call a token `USDC`: of several with the same symbol the one that is in more pools comes first, and the address is what
//! counts.

use std::{cmp::Reverse, collections::HashMap, sync::Arc};

use alloy::primitives::Address;

use super::{pin::Pin, view::PoolView};
use crate::domain::{pool::PoolId, token::TokenMeta};

/// Longer texts are nobody's symbol; they are cut.
const TEXT_MAX_CHARS: usize = 100;

/// What was found.
#[derive(Debug, Clone)]
pub enum Found {
    Token(Arc<TokenMeta>),
    Pool(Arc<PoolView>),
}

/// How well a text fits; smaller is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    Exact,
    Begins,
    Within,
    Name,
}

/// The best `limit` tokens and pools, the best first.
#[must_use]
pub fn search(pin: &Pin, text: &str, limit: usize) -> Vec<Found> {
    let text: String = text.trim().chars().take(TEXT_MAX_CHARS).collect::<String>().to_lowercase();
    if text.is_empty() {
        return Vec::new();
    }
    if let Ok(id) = text.parse::<PoolId>() {
        let token = match id {
            PoolId::Address(address) => pin.token(&address).map(Found::Token),
            PoolId::Id(_) => None,
        };
        return token.into_iter().chain(pin.pool(&id).map(Found::Pool)).take(limit).collect();
    }
    let pools = pin.pools();
    let mut pools_of: HashMap<Address, usize> = HashMap::new();
    for token in pools.iter().flat_map(|pool| [pool.meta.token0, pool.meta.token1]) {
        let count = pools_of.entry(token).or_default();
        *count = count.saturating_add(1);
    }
    let known = |token: &Address| pools_of.get(token).copied().unwrap_or(0);
    let tokens: HashMap<Address, Arc<TokenMeta>> = pin.tokens().into_iter().map(|token| (token.address, token)).collect();
    let mut found: Vec<_> = tokens
        .values()
        .filter_map(|token| {
            let fit = fit(token, &text)?;
            Some(((fit, false, Reverse(known(&token.address)), token.address.into_word()), Found::Token(token.clone())))
        })
        .collect();
    let words: Vec<&str> = text.split([' ', '/', '-', ',']).filter(|word| !word.is_empty()).collect();
    for pool in &pools {
        let (zero, one) = (tokens.get(&pool.meta.token0), tokens.get(&pool.meta.token1));
        let fits = |token: Option<&Arc<TokenMeta>>, word: &str| token.and_then(|token| fit(token, word));
        let fit = match words.as_slice() {
            [word] => fits(zero, word).into_iter().chain(fits(one, word)).min(),
            // Either way round, and as well as the worse of the two.
            [a, b] => {
                let way = |a: &str, b: &str| Some(fits(zero, a)?.max(fits(one, b)?));
                way(a, b).into_iter().chain(way(b, a)).min()
            }
            _ => None,
        };
        if let Some(fit) = fit {
            let weight = known(&pool.meta.token0).min(known(&pool.meta.token1));
            let id = match pool.meta.id {
                PoolId::Address(address) => address.into_word(),
                PoolId::Id(id) => id,
            };
            found.push(((fit, true, Reverse(weight), id), Found::Pool(pool.clone())));
        }
    }
    found.sort_by_key(|(key, _)| *key);
    found.into_iter().take(limit).map(|(_, found)| found).collect()
}

fn fit(token: &TokenMeta, text: &str) -> Option<Fit> {
    let symbol = token.symbol.as_ref().map(|symbol| symbol.to_lowercase());
    match symbol {
        Some(symbol) if symbol == text => Some(Fit::Exact),
        Some(symbol) if symbol.starts_with(text) => Some(Fit::Begins),
        Some(symbol) if symbol.contains(text) => Some(Fit::Within),
        _ => token.name.as_ref().filter(|name| name.to_lowercase().contains(text)).map(|_| Fit::Name),
    }
}
