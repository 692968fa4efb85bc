//! Events of a list: arguments, or the place in the query, become one of the closed set of queries.

use std::sync::Arc;

use async_graphql::{Context, Lookahead};

use super::{
    args::EventFilter,
    block::OrderDirection,
    connection::{Page, Total, first},
    cursor,
    error::ApiError,
    event::At,
    heights::BlockHeight,
    loader,
    pins::pin,
    scalars::Cursor,
};
use crate::{
    domain::{ChainId, event::EventKind},
    store::{
        Pin,
        query::{EventQuery, Fields, Narrow, Place},
    },
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
    let list = ctx.look_ahead();
    let fields = fields(&[list.field("nodes"), list.field("edges").field("node")]);
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
    let found = loader::page(ctx, &pin, query).await?;
    let items = found.into_iter().map(|at| (cursor::Spot::Event(cursor::after_event(&pin, at.event())), N::from(at))).collect();
    Ok(Page::new(items, count, place.is_some(), Total::events(Arc::clone(&pin), all)))
}

/// The events of a nested list. Nothing but its place in the query narrows it, so it has no cursors: whoever wants to turn pages asks
/// the root list with the same condition in `where`.
pub(super) async fn nested<N: From<At>>(
    ctx: &Context<'_>,
    pin: &Arc<Pin>,
    kind: EventKind,
    (narrow, within): (Narrow, Within),
    (count, direction): (i32, OrderDirection),
) -> Result<Vec<N>, ApiError> {
    let query = EventQuery {
        chain: pin.chain(),
        kind,
        narrow,
        after: within.after,
        before: within.before,
        time_from: None,
        time_to: None,
        newest_first: direction == OrderDirection::Desc,
        fields: fields(&[ctx.look_ahead()]),
        limit: first(count)?,
    };
    Ok(loader::page(ctx, pin, query).await?.into_iter().map(N::from).collect())
}

/// A stretch of the chain, both ends exclusive.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Within {
    after: Option<Place>,
    before: Option<Place>,
}

impl Within {
    /// One block.
    pub(super) fn block(number: u64) -> Self {
        Self {
            after: number.checked_sub(1).map(|before| Place { block_number: before, log_index: u64::MAX }),
            before: number.checked_add(1).map(|next| Place { block_number: next, log_index: 0 }),
        }
    }
}

/// What of the rows is selected under these nodes, by whatever alias or fragment, so that a store reads no more than that.
fn fields(nodes: &[Lookahead<'_>]) -> Fields {
    let selected = |name: &str| nodes.iter().any(|node| node.field(name).exists());
    let paid = |name: &str| nodes.iter().any(|node| node.field("transaction").field(name).exists());
    Fields {
        state_after: ["reserve0After", "reserve1After", "liquidityAfter"].into_iter().any(selected),
        enrichment: selected("origin") || ["gasUsed", "gasPrice"].into_iter().any(paid),
    }
}
