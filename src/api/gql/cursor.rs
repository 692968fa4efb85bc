//! Cursors of lists: events are placed on a branch of the chain, pools and tokens by their id.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{
    error::{ApiError, Code},
    scalars,
};
use crate::{
    domain::{cursor::Cursor, record::EventAt},
    store::{Pin, query::Place},
};

/// Longer input is refused before it is decoded.
const KEY_MAX_BYTES: usize = 200;

/// An opaque cursor of a list whose order does not come from the chain's logs. `kind` keeps lists apart.
pub(in crate::api) fn encode_key(kind: &str, key: &str) -> scalars::Cursor {
    scalars::Cursor(URL_SAFE_NO_PAD.encode(format!("{kind}/{key}")))
}

pub(in crate::api) fn decode_key(kind: &str, cursor: &scalars::Cursor) -> Result<String, ApiError> {
    let wrong = || {
        ApiError::input(format!("`after` is no cursor of this list of {kind}s: pass an endCursor that the same list gave you"))
    };
    if cursor.0.len() > KEY_MAX_BYTES {
        return Err(wrong());
    }
    let bytes = URL_SAFE_NO_PAD.decode(&cursor.0).map_err(|_| wrong())?;
    let text = String::from_utf8(bytes).map_err(|_| wrong())?;
    text.strip_prefix(kind).and_then(|t| t.strip_prefix('/')).map(str::to_owned).ok_or_else(wrong)
}

/// Where a member stands in its list; a cursor is made of it only where somebody asks.
pub(super) enum Spot {
    Key(scalars::Cursor),
    Event(Cursor),
}

impl From<scalars::Cursor> for Spot {
    fn from(cursor: scalars::Cursor) -> Self {
        Self::Key(cursor)
    }
}

impl Spot {
    pub(super) fn cursor(&self) -> scalars::Cursor {
        match self {
            Self::Key(cursor) => cursor.clone(),
            Self::Event(position) => scalars::Cursor(position.encode()),
        }
    }
}

/// The position right after an event.
pub(in crate::api) fn of_event(pin: &Pin, event: &EventAt) -> scalars::Cursor {
    scalars::Cursor(after_event(pin, event).encode())
}

pub(super) fn after_event(pin: &Pin, event: &EventAt) -> Cursor {
    let next = u32::try_from(event.row.log_index().saturating_add(1)).unwrap_or(Cursor::BLOCK_END);
    Cursor {
        chain: event.chain,
        block_number: event.block.number,
        block_hash: event.block.hash,
        next_log_index: next,
        finalized_number: pin.head().finalized_number,
    }
}

/// Where an ascending (`after`) or descending (`before`) page goes on; refused when its block is no longer ours.
pub(in crate::api) fn place(pin: &Pin, cursor: &scalars::Cursor, newest_first: bool) -> Result<Place, ApiError> {
    let cursor = Cursor::decode(&cursor.0)?;
    if cursor.chain != pin.chain() {
        return Err(ApiError::input(format!(
            "this cursor is of chain {}, the query is about chain {}",
            cursor.chain,
            pin.chain()
        )));
    }
    still_ours(pin, &cursor)?;
    let next = u64::from(cursor.next_log_index);
    let log_index = match (cursor.next_log_index, newest_first) {
        (Cursor::BLOCK_END, _) => next,
        // The event itself is at `next - 1`: go on strictly beyond it in either direction.
        _ => next.saturating_sub(1),
    };
    if next == 0 {
        // The very beginning of a block: nothing of it was seen.
        let before = cursor.block_number.saturating_sub(1);
        return Ok(if newest_first {
            Place { block_number: cursor.block_number, log_index: 0 }
        } else {
            Place { block_number: before, log_index: u64::from(Cursor::BLOCK_END) }
        });
    }
    Ok(Place { block_number: cursor.block_number, log_index })
}

fn still_ours(pin: &Pin, cursor: &Cursor) -> Result<(), ApiError> {
    let head = pin.head();
    let at = head.window.partition_point(|r| r.block.number < cursor.block_number);
    let ours = match head.window.get(at) {
        Some(record) if record.block.number == cursor.block_number => record.block.hash == cursor.block_hash,
        // Below the window everything is final. Inside it, blocks of a backfill without events have no record.
        _ => head.block.is_some_and(|b| cursor.block_number <= b.number),
    };
    if ours {
        return Ok(());
    }
    Err(ApiError::new(
        Code::Reorged,
        format!(
            "the block of this cursor ({} {:#x}) is not on the chain any more: a reorg took it back; read again from a page before it",
            cursor.block_number, cursor.block_hash
        ),
    ))
}
