//! The closed set of queries. What is not here cannot be asked, so every query has an index.

use alloy::primitives::{Address, B256};

use crate::domain::{ChainId, cursor::Cursor, event::EventKind, pool::PoolId};

/// Where in the chain a page starts or ends: (block number, log index), the order of everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    pub block_number: u64,
    pub log_index: u64,
}

impl Place {
    /// The last place that a cursor has seen, where it still holds. `None`: it has seen nothing.
    #[must_use]
    pub fn seen(cursor: &Cursor) -> Option<Self> {
        match cursor.next_log_index {
            0 => Self::below(cursor.block_number),
            Cursor::BLOCK_END => Self::below(cursor.block_number.saturating_add(1)),
            next => Some(Self { block_number: cursor.block_number, log_index: u64::from(next).saturating_sub(1) }),
        }
    }

    /// The last place before a block. `None`: it is the first.
    #[must_use]
    pub fn below(block_number: u64) -> Option<Self> {
        block_number.checked_sub(1).map(|below| Self { block_number: below, log_index: u64::MAX })
    }
}

/// A moment of the past. Blocks in which nothing was watched may be missing of the store: what holds then is the newest before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Moment {
    /// A height.
    Number(u64),
    /// Unix seconds.
    Time(u64),
}

/// What narrows a query; at most one of them, because each has its own index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Narrow {
    #[default]
    All,
    Pool(PoolId),
    /// Either side of the pool.
    Token(Address),
    Origin(Address),
    Transaction(B256),
}

/// Which parts of a row are wanted beside its key, its block and its decoded event. What is not wanted a store may leave where it
/// is; the row then has `None` there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Fields {
    /// `EventRow::after`
    pub state_after: bool,
    /// `EventRow::enrichment`
    pub enrichment: bool,
}

impl Fields {
    pub const ALL: Self = Self { state_after: true, enrichment: true };
}

/// Events of one kind in a half-open stretch of the chain, ordered by (block number, log index).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventQuery {
    pub chain: ChainId,
    pub kind: EventKind,
    pub narrow: Narrow,
    /// Only events strictly after this place.
    pub after: Option<Place>,
    /// Only events strictly before this place.
    pub before: Option<Place>,
    /// Block time, inclusive, Unix seconds.
    pub time_from: Option<u64>,
    /// Block time, exclusive.
    pub time_to: Option<u64>,
    pub newest_first: bool,
    pub fields: Fields,
    /// At most [`EventQuery::LIMIT_MAX`].
    pub limit: usize,
}

impl EventQuery {
    /// A page of 1,000 and one more, to know whether there is a next page.
    pub const LIMIT_MAX: usize = 1_001;
    /// `totalCount` stops here and says so.
    pub const COUNT_CAP: u64 = 10_000;
}
