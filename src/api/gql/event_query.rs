//! A page of events: arguments become one of the closed set of queries.

use std::sync::Arc;

use async_graphql::Context;

use super::{
    args::EventFilter,
    block::OrderDirection,
    connection::{Page, Total, first},
    core::core,
    cursor,
    error::ApiError,
    event::At,
    heights::BlockHeight,
    pins::pin,
    scalars::Cursor,
};
use crate::{
    domain::{ChainId, event::EventKind},
    store::query::{EventQuery, Fields},
};

pub(super) struct Asked {
    pub(super) kind: EventKind,
    pub(super) chain: Option<ChainId>,
    pub(super) first: i32,
    pub(super) after: Option<Cursor>,
    pub(super) filter: EventFilter,
    pub(super) direction: OrderDirection,
    pub(super) block: Option<BlockHeight>,
}

pub(super) async fn page<N: From<At>>(ctx: &Context<'_>, asked: Asked) -> Result<Page<N>, ApiError> {
    let count = first(asked.first)?;
    let narrow = asked.filter.narrow()?;
    let pin = pin(ctx, asked.chain).await?;
    BlockHeight::check(asked.block, &pin)?;
    let newest_first = asked.direction == OrderDirection::Desc;
    let fields = fields(ctx);
    let all = EventQuery {
        chain: pin.chain(),
        kind: asked.kind,
        narrow,
        after: None,
        before: None,
        time_from: asked.filter.time_from,
        time_to: asked.filter.time_to,
        newest_first,
        fields,
        limit: count.saturating_add(1),
    };
    let place = asked.after.as_ref().map(|c| cursor::place(&pin, c, newest_first)).transpose()?;
    let query = if newest_first { EventQuery { before: place, ..all } } else { EventQuery { after: place, ..all } };
    let found = core(ctx)?.reader.events(&pin, query).await?;
    let items = found.events.into_iter().map(|event| (cursor::of_event(&pin, &event), N::from(At::new(&pin, event)))).collect();
    Ok(Page::new(items, count, place.is_some(), Total::events(Arc::clone(&pin), all)))
}

/// What of the rows is selected, by whatever alias or fragment, so that a store reads no more than that.
fn fields(ctx: &Context<'_>) -> Fields {
    let page = ctx.look_ahead();
    let selected =
        |name: &str| page.field("nodes").field(name).exists() || page.field("edges").field("node").field(name).exists();
    let transactions = || [page.field("nodes"), page.field("edges").field("node")].map(|node| node.field("transaction"));
    let paid = |name: &str| transactions().iter().any(|transaction| transaction.field(name).exists());
    Fields {
        state_after: ["reserve0After", "reserve1After", "liquidityAfter"].into_iter().any(selected),
        enrichment: selected("origin") || ["gasUsed", "gasPrice"].into_iter().any(paid),
    }
}
