//! Relay connections: a page of a list, with cursors that outlive it.

use std::sync::Arc;

use async_graphql::SimpleObject;
use tokio::sync::OnceCell;

use super::{core::Core, cursor::Spot, error::ApiError, scalars::Cursor};
use crate::store::{Pin, query::EventQuery};

/// At most this many of a list per request.
pub(super) const FIRST_MAX: usize = 1_000;
pub(super) const FIRST_DEFAULT: i32 = 100;

/// Where a page lies in its list.
#[derive(Debug, Clone, SimpleObject)]
pub(crate) struct PageInfo {
    /// There is at least one more after `endCursor`.
    has_next_page: bool,
    /// There is something before `startCursor`: the page was asked for with `after`.
    has_previous_page: bool,
    /// Cursor of the first of this page; null where it is empty.
    start_cursor: Option<Cursor>,
    /// Cursor of the last of this page: pass it as `after` to go on. Null where it is empty.
    end_cursor: Option<Cursor>,
}

/// How many there are in all, counted only when asked.
pub(super) enum Total {
    Known(u64),
    /// The sum of these.
    Events {
        pin: Arc<Pin>,
        queries: Vec<EventQuery>,
        counted: OnceCell<u64>,
    },
}

impl Total {
    pub(super) fn events(pin: Arc<Pin>, query: EventQuery) -> Self {
        Self::of_several(pin, vec![query])
    }

    pub(super) fn of_several(pin: Arc<Pin>, queries: Vec<EventQuery>) -> Self {
        Self::Events { pin, queries, counted: OnceCell::new() }
    }

    /// At most [`EventQuery::COUNT_CAP`].
    pub(super) async fn count(&self, core: &Core) -> Result<u64, ApiError> {
        match self {
            Self::Known(total) => Ok((*total).min(EventQuery::COUNT_CAP)),
            Self::Events { pin, queries, counted } => {
                let count = async {
                    let mut sum = 0_u64;
                    for query in queries {
                        sum = sum.saturating_add(core.reader.count(pin, *query).await?).min(EventQuery::COUNT_CAP);
                    }
                    Ok::<_, ApiError>(sum)
                };
                counted.get_or_try_init(|| count).await.copied()
            }
        }
    }

    pub(super) async fn capped(&self, core: &Core) -> Result<bool, ApiError> {
        match self {
            Self::Known(total) => Ok(*total > EventQuery::COUNT_CAP),
            Self::Events { .. } => Ok(self.count(core).await? >= EventQuery::COUNT_CAP),
        }
    }
}

/// One page with its cursors.
pub(super) struct Page<N> {
    items: Vec<(Spot, N)>,
    has_next: bool,
    has_previous: bool,
    total: Total,
}

impl<N> Page<N> {
    /// `items` may hold one more than `first`, which only says that there is a next page.
    pub(super) fn new(items: Vec<(impl Into<Spot>, N)>, first: usize, has_previous: bool, total: Total) -> Self {
        let has_next = items.len() > first;
        let items = items.into_iter().take(first).map(|(spot, node)| (spot.into(), node)).collect();
        Self { items, has_next, has_previous, total }
    }

    pub(super) fn items(&self) -> &[(Spot, N)] {
        &self.items
    }

    pub(super) fn total(&self) -> &Total {
        &self.total
    }

    pub(super) fn info(&self) -> PageInfo {
        PageInfo {
            has_next_page: self.has_next,
            has_previous_page: self.has_previous,
            start_cursor: self.items.first().map(|(spot, _)| spot.cursor()),
            end_cursor: self.items.last().map(|(spot, _)| spot.cursor()),
        }
    }
}

/// Checks `first`.
pub(super) fn first(first: i32) -> Result<usize, ApiError> {
    usize::try_from(first)
        .ok()
        .filter(|n| (1..=FIRST_MAX).contains(n))
        .ok_or_else(|| ApiError::input(format!("`first` must lie between 1 and {FIRST_MAX}, it is {first}")))
}

/// What a page of `first` costs, for the complexity limit; an absurd `first` is refused later, with a message.
pub(super) fn page_cost(first: i32, child: usize) -> usize {
    usize::try_from(first).unwrap_or(1).clamp(1, FIRST_MAX).saturating_mul(child).saturating_add(1)
}

/// The connection and edge types of a node.
macro_rules! connection {
    ($connection:ident, $connection_name:literal, $edge:ident, $edge_name:literal, $node:ty) => {
        pub(crate) struct $connection(pub(super) super::connection::Page<$node>);

        /// One page of a list.
        #[async_graphql::Object(name = $connection_name)]
        impl $connection {
            /// The page with a cursor for each of its members.
            async fn edges(&self) -> Vec<$edge<'_>> {
                self.0.items().iter().map($edge).collect()
            }

            /// The same page without the cursors.
            async fn nodes(&self) -> super::rows::Rows<&$node> {
                super::rows::Rows(self.0.items().iter().map(|(_, node)| node).collect())
            }

            /// Where this page lies in the list.
            async fn page_info(&self) -> super::connection::PageInfo {
                self.0.info()
            }

            /// How many there are in all, ignoring `first` and `after`. Counted only when selected, and only up to 10,000.
            async fn total_count(&self, ctx: &async_graphql::Context<'_>) -> async_graphql::Result<u64> {
                Ok(self.0.total().count(super::core::core(ctx)?).await?)
            }

            /// True where `totalCount` stopped at 10,000: there are at least that many.
            async fn total_count_capped(&self, ctx: &async_graphql::Context<'_>) -> async_graphql::Result<bool> {
                Ok(self.0.total().capped(super::core::core(ctx)?).await?)
            }
        }

        pub(crate) struct $edge<'a>(&'a (super::cursor::Spot, $node));

        /// One member of a page.
        #[async_graphql::Object(name = $edge_name)]
        impl $edge<'_> {
            /// The position right after this one in the order of the list: pass it as `after` to go on from here.
            async fn cursor(&self) -> super::scalars::Cursor {
                self.0.0.cursor()
            }

            /// The member itself.
            async fn node(&self) -> &$node {
                &self.0.1
            }
        }
    };
}
pub(super) use connection;
