//! What people type, and what an account did.

use std::sync::Arc;

use async_graphql::{Context, Result, Union};
use futures_util::future::try_join_all;

use super::{
    connection::{Page, Total, connection, first},
    cursor,
    error::ApiError,
    event::{At, Burn, Mint, Swap},
    loader,
    pins::pin,
    pool::Pool,
    scalars::{AddressScalar, Cursor},
    token::Token,
};
use crate::{
    domain::{ChainId, event::EventKind},
    store::{
        query::{EventQuery, Fields, Narrow},
        search::{self, Found},
    },
};

const FOUND_MAX: i32 = 100;
/// Every pool's tokens are looked at: up to twenty of them fit into a request.
pub(super) const COST: usize = 4_500;
/// In bytes; longer ones are nobody's symbol.
const TEXT_MAX: usize = 400;
const KINDS: [EventKind; 3] = [EventKind::Swap, EventKind::Mint, EventKind::Burn];

/// What a search found.
#[derive(Union)]
pub(crate) enum SearchHit {
    Token(Token),
    Pool(Pool),
}

pub(super) async fn search(ctx: &Context<'_>, chain: Option<ChainId>, text: &str, first: i32) -> Result<Vec<SearchHit>> {
    let limit = usize::try_from(first).ok().filter(|_| (1..=FOUND_MAX).contains(&first));
    let limit = limit.ok_or_else(|| ApiError::input(format!("`first` must lie between 1 and {FOUND_MAX}, it is {first}")))?;
    if text.len() > TEXT_MAX {
        return Err(ApiError::input(format!("`text` has at most {TEXT_MAX} bytes, this has {}", text.len())).into());
    }
    let pin = pin(ctx, chain).await?;
    let hit = |found: Found| match found {
        Found::Token(meta) => SearchHit::Token(Token::known(meta)),
        Found::Pool(view) => SearchHit::Pool(Pool::new(&pin, view)),
    };
    Ok(search::search(&pin, text, limit).into_iter().map(hit).collect())
}

/// Something that an account did: what its transactions made happen.
#[derive(Union)]
pub(crate) enum Activity {
    Swap(Swap),
    Mint(Mint),
    Burn(Burn),
}

impl From<At> for Activity {
    fn from(at: At) -> Self {
        match at.event().row.kind() {
            EventKind::Mint => Self::Mint(at.into()),
            EventKind::Burn => Self::Burn(at.into()),
            _ => Self::Swap(at.into()),
        }
    }
}

connection!(ActivityConnection, "ActivityConnection", ActivityEdge, "ActivityEdge", Activity);

/// Newest first: memory and history, without a seam.
pub(super) async fn activity(
    ctx: &Context<'_>,
    chain: Option<ChainId>,
    address: AddressScalar,
    asked: i32,
    after: Option<Cursor>,
) -> std::result::Result<ActivityConnection, ApiError> {
    let count = first(asked)?;
    let pin = pin(ctx, chain).await?;
    let place = after.as_ref().map(|c| cursor::place(&pin, c, true)).transpose()?;
    let query = |kind| EventQuery {
        chain: pin.chain(),
        kind,
        narrow: Narrow::Origin(address.0),
        after: None,
        before: None,
        time_from: None,
        time_to: None,
        newest_first: true,
        fields: Fields::ALL,
        limit: count.saturating_add(1),
    };
    let pages = KINDS.map(|kind| loader::page(ctx, &pin, EventQuery { before: place, ..query(kind) }));
    let mut found: Vec<At> = try_join_all(pages).await?.into_iter().flatten().collect();
    found.sort_by_key(|at| std::cmp::Reverse((at.event().block.number, at.event().row.log_index())));
    let items = found.into_iter().map(|at| (cursor::Spot::Event(cursor::after_event(&pin, at.event())), at.into())).collect();
    let total = Total::of_several(Arc::clone(&pin), KINDS.map(query).to_vec());
    Ok(ActivityConnection(Page::new(items, count, place.is_some(), total)))
}
