//! What happened after a position, as far as it has happened: one look at memory and history.

use std::sync::Arc;

use alloy::primitives::B256;

use super::{Expired, Follow, Happened, Interest, News, bare};
use crate::{
    domain::{block::BlockRef, cursor::Cursor, event::EventKind, pool::PoolMeta, record::EventAt},
    store::{
        Pin, ReadError,
        branch::{Branch, Orphan},
        query::{EventQuery, Fields, Narrow, Place},
        topics::FrameKind,
    },
};

/// Events of one step through history: about 0.5 MB of JSON.
const STEP_EVENTS: usize = 500;
/// Pools that one step names.
const STEP_POOLS: usize = 500;

pub(super) enum Trouble {
    Read(ReadError),
    Expired(Expired),
}

impl From<ReadError> for Trouble {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl Follow {
    /// The next thing after the cursor on our chain, as of the pin, whose position is `here`. `None`: nothing.
    pub(super) async fn step(&self, pin: &Arc<Pin>, cursor: Cursor, here: Cursor) -> Result<Option<News>, Trouble> {
        if let Branch::TakenBack { fork, hash, orphans } = self.reader.branch(pin, &cursor).await? {
            // Where its hash is not known it is final, and a cursor at what was final when it was made always holds.
            let finalized_number = if hash.is_some() { cursor.finalized_number } else { fork };
            let known = match hash {
                Some(hash) => Some(hash),
                None => self.reader.hash_at(pin, fork).await?,
            };
            let block_hash = known.unwrap_or(B256::ZERO);
            let left = Cursor { block_number: fork, block_hash, next_log_index: Cursor::BLOCK_END, finalized_number, ..cursor };
            let happened = orphans.and_then(|orphans| self.taken_back(&cursor, &orphans));
            let (kind, happened) = match happened {
                Some(happened) => (FrameKind::Retract, happened),
                None => (FrameKind::Rollback, Happened::Nothing),
            };
            return Ok(Some(News { kind, block: bare(&left), cursor: left, happened, epoch: None, through: None }));
        }
        let update = |happened: Happened, cursor: Cursor| {
            let news = News { kind: FrameKind::Update, block: bare(&cursor), cursor, happened, epoch: None, through: None };
            (!news.happened.is_empty()).then_some(news)
        };
        match &self.interest {
            Interest::Blocks => match blocks_between(pin, &cursor) {
                Some(blocks) => Ok(update(Happened::Blocks(blocks), here)),
                None => Err(Trouble::Expired(Expired { oldest: oldest(pin) })),
            },
            Interest::Created => {
                let (created, at) = created_after(pin, &cursor, here);
                Ok(update(Happened::Created(created), at))
            }
            Interest::Events { kinds, narrow } => {
                let (events, at) = self.events_after(pin, &cursor, kinds, *narrow, here).await?;
                Ok(update(Happened::Events(events), at))
            }
        }
    }

    /// What had been told of these blocks, newest first. `None`: that is not known in full.
    fn taken_back(&self, cursor: &Cursor, orphans: &[Orphan]) -> Option<Happened> {
        Some(match &self.interest {
            Interest::Blocks => Happened::Blocks(orphans.iter().map(|orphan| orphan.record.block).collect()),
            Interest::Created => {
                if orphans.iter().any(|orphan| !orphan.with_created) {
                    return None;
                }
                Happened::Created(orphans.iter().flat_map(|o| o.record.created.iter().rev().cloned()).collect())
            }
            Interest::Events { .. } => {
                let rows = orphans.iter().flat_map(|orphan| self.events_of(&orphan.record, true));
                let seen = |event: &EventAt| {
                    event.block.hash != cursor.block_hash || event.row.log_index() < u64::from(cursor.next_log_index)
                };
                Happened::Events(rows.filter(seen).collect())
            }
        })
    }

    /// A page of events after the cursor in the order of the chain, and the position after it.
    async fn events_after(
        &self,
        pin: &Arc<Pin>,
        cursor: &Cursor,
        kinds: &[EventKind],
        narrow: Narrow,
        here: Cursor,
    ) -> Result<(Vec<EventAt>, Cursor), Trouble> {
        let each = STEP_EVENTS.checked_div(kinds.len()).unwrap_or(1).max(1);
        let query = |kind: EventKind| EventQuery {
            chain: pin.chain(),
            kind,
            narrow,
            after: Place::seen(cursor),
            before: None,
            time_from: None,
            time_to: None,
            newest_first: false,
            fields: Fields::ALL,
            limit: each,
        };
        let asked: Vec<(&Pin, EventQuery)> = kinds.iter().map(|kind| (pin.as_ref(), query(*kind))).collect();
        let mut all: Vec<EventAt> = Vec::new();
        // What one kind has not reached yet, no kind tells.
        let mut end: Option<(Place, BlockRef)> = None;
        for found in self.reader.pages(&asked).await {
            let events = found?.events;
            if let Some(last) = events.last().filter(|_| events.len() == each) {
                let place = place_of(last);
                end = Some(end.map_or((place, last.block), |end| if place < end.0 { (place, last.block) } else { end }));
            }
            all.extend(events);
        }
        all.retain(|event| end.is_none_or(|(end, _)| place_of(event) <= end));
        all.sort_by_key(place_of);
        let at = end.map_or(here, |(place, block)| Cursor {
            block_number: block.number,
            block_hash: block.hash,
            next_log_index: u32::try_from(place.log_index.saturating_add(1)).unwrap_or(Cursor::BLOCK_END),
            ..here
        });
        Ok((all, at))
    }
}

fn place_of(event: &EventAt) -> Place {
    Place { block_number: event.block.number, log_index: event.row.log_index() }
}

/// Blocks after a cursor up to the pin's head. `None`: memory does not have all of them.
fn blocks_between(pin: &Pin, from: &Cursor) -> Option<Vec<BlockRef>> {
    let head = pin.head().block?;
    let whole = from.next_log_index == Cursor::BLOCK_END;
    let first = if whole { from.block_number.saturating_add(1) } else { from.block_number };
    let window = pin.head().window.iter().map(|record| record.block);
    let blocks: Vec<BlockRef> = window.filter(|block| (first..=head.number).contains(&block.number)).collect();
    let wanted = head.number.checked_sub(first).map_or(0, |n| n.saturating_add(1));
    (u64::try_from(blocks.len()) == Ok(wanted)).then_some(blocks)
}

/// The position before the blocks that memory has without a hole.
fn oldest(pin: &Pin) -> Option<Cursor> {
    let here = pin.cursor()?;
    let mut oldest = pin.head().block?;
    for block in pin.head().window.iter().rev().map(|record| record.block) {
        if block.number < oldest.number && block.hash != oldest.parent_hash {
            break;
        }
        oldest = block;
    }
    Some(Cursor { block_number: oldest.number, block_hash: oldest.hash, ..here })
}

/// Pools that were created after a cursor, in order, so many of them, and the position after those.
fn created_after(pin: &Pin, cursor: &Cursor, here: Cursor) -> (Vec<Arc<PoolMeta>>, Cursor) {
    let place = |meta: &PoolMeta| Place { block_number: meta.created.block.number, log_index: meta.created.log_index };
    let after = Place::seen(cursor);
    let pools = pin.pools();
    let mut created: Vec<Arc<PoolMeta>> =
        pools.iter().map(|view| &view.meta).filter(|meta| after.is_none_or(|after| place(meta) > after)).cloned().collect();
    created.sort_by_key(|meta| place(meta));
    if created.len() <= STEP_POOLS {
        return (created, here);
    }
    created.truncate(STEP_POOLS);
    let at = created.last().map_or(here, |last| Cursor {
        block_number: last.created.block.number,
        block_hash: last.created.block.hash,
        next_log_index: u32::try_from(last.created.log_index.saturating_add(1)).unwrap_or(Cursor::BLOCK_END),
        ..here
    });
    (created, at)
}
