//! `block: BlockHeight`: which block an answer must be of.
//!
//! State is kept at the newest block only, so the argument is a check, and with `number_gte` a short wait: a front end that has a
//! receipt of block N reads its own write. The wait has to be over before the request takes its pin, because all its answers come
//! from one epoch: the document is searched for it first.

use std::sync::Arc;

use alloy::primitives::B256;
use async_graphql::{
    InputObject, Name, Variables,
    parser::types::{ExecutableDocument, Field, OperationType, Selection, SelectionSet},
};

use super::{
    error::{ApiError, Code},
    pins::wait_for,
    scalars::Bytes,
};
use crate::{
    domain::{ChainId, cursor::Cursor},
    store::{Live, Pin, ReadError, Reader},
};

/// One block. Give exactly one of the fields.
#[derive(Debug, Clone, InputObject)]
pub(crate) struct BlockHeight {
    /// Exactly this height. State of older blocks is not kept.
    number: Option<u64>,
    /// Exactly this block, by its 32-byte hash.
    hash: Option<Bytes>,
    /// This height or a newer one. Waits up to 2 seconds for it: use it with the block of a transaction's receipt.
    #[graphql(name = "number_gte")]
    number_gte: Option<u64>,
}

impl BlockHeight {
    /// Whether this epoch's head is the block that was asked for.
    pub(super) fn check(this: Option<Self>, pin: &Pin) -> Result<(), ApiError> {
        let Some(this) = this else { return Ok(()) };
        let head = pin.head().block;
        let at = head.map_or_else(|| "no block yet".to_owned(), |b| format!("block {} ({:#x})", b.number, b.hash));
        let pruned = |what: String| {
            ApiError::new(
                Code::BlockPruned,
                format!(
                    "state at {what} is not kept: this server answers for its newest block only, now {at}; leave `block` out, or use number_gte"
                ),
            )
        };
        let ahead = |number: u64| {
            ApiError::new(
                Code::StateStale,
                format!("block {number} has not arrived here yet, the newest is {at}: ask again in a moment"),
            )
        };
        let number = head.map_or(0, |b| b.number);
        match (this.number, this.hash.as_ref().map(Bytes::hash), this.number_gte) {
            (Some(asked), None, None) if asked > number || head.is_none() => Err(ahead(asked)),
            (Some(asked), None, None) if asked < number => Err(pruned(format!("block {asked}"))),
            (None, None, Some(asked)) if asked > number || head.is_none() => Err(ahead(asked)),
            (Some(_), None, None) | (None, None, Some(_)) => Ok(()),
            (None, Some(hash), None) if head.is_some_and(|b| b.hash == hash) => Ok(()),
            (None, Some(hash), None) => {
                let ours = pin.head().window.iter().any(|r| r.block.hash == hash);
                if !ours && pin.live().record(&hash).is_some() {
                    let text = format!("block {:#x} was taken back by a reorg; the newest is {at}", hash);
                    return Err(ApiError::new(Code::Reorged, text));
                }
                Err(pruned(format!("block {:#x}", hash)))
            }
            _ => Err(ApiError::input("`block` takes exactly one of number, hash and number_gte")),
        }
    }
}

impl BlockHeight {
    /// The position right before this block.
    pub(super) async fn before(self, reader: &Reader, live: &Arc<Live>) -> Result<Cursor, ApiError> {
        let number = match (self.number, self.hash.as_ref().map(Bytes::hash), self.number_gte) {
            (Some(number), None, None) | (None, None, Some(number)) => number,
            (None, Some(hash), None) => {
                let pin = live.pin();
                let known = reader.height_of(&pin, hash).await?;
                known.ok_or_else(|| {
                    let message = format!("block {hash:#x} is not of this chain: a reorg took it back, or it is not known here");
                    ApiError::new(Code::Reorged, message)
                })?
            }
            _ => return Err(ApiError::input("`since` takes exactly one of number, hash and number_gte")),
        };
        wait_for(live, number).await;
        let pin = live.pin();
        let head = pin.head().block.ok_or(ReadError::Starting)?;
        if number > head.number.saturating_add(1) {
            let message =
                format!("block {number} has not arrived here yet, the newest is {}: ask again in a moment", head.number);
            return Err(ApiError::new(Code::StateStale, message));
        }
        let Some(before) = number.checked_sub(1) else {
            let nothing =
                Cursor { chain: live.chain, block_number: 0, block_hash: B256::ZERO, next_log_index: 0, finalized_number: 0 };
            return Ok(nothing);
        };
        let block_hash = reader.hash_at(&pin, before).await?.unwrap_or(B256::ZERO);
        // Blocks without events are not kept for ever: of an old one nothing but its height is needed, because it is final.
        let finalized_number = pin.head().finalized_number;
        Ok(Cursor { chain: live.chain, block_number: before, block_hash, next_log_index: Cursor::BLOCK_END, finalized_number })
    }
}

/// What a document says about the heights it needs.
#[derive(Debug, Clone, Default)]
pub(super) struct Wanted {
    /// `(chain argument, number_gte)` of every field that has one.
    pub(super) heights: Vec<(Option<ChainId>, u64)>,
    pub(super) subscription: bool,
}

/// Searches the whole document, whichever operation runs: asking for too much here only costs a wait.
pub(super) fn wanted(document: &ExecutableDocument, operation_name: Option<&str>, variables: &Variables) -> Wanted {
    let mut wanted = Wanted::default();
    for (name, operation) in document.operations.iter() {
        let chosen = operation_name.is_none_or(|chosen| name.is_none_or(|n| n.as_str() == chosen));
        wanted.subscription |= chosen && operation.node.ty == OperationType::Subscription;
        collect(&operation.node.selection_set.node, variables, &mut wanted.heights);
    }
    for fragment in document.fragments.values() {
        collect(&fragment.node.selection_set.node, variables, &mut wanted.heights);
    }
    wanted
}

fn collect(set: &SelectionSet, variables: &Variables, heights: &mut Vec<(Option<ChainId>, u64)>) {
    for item in &set.items {
        match &item.node {
            Selection::Field(field) => {
                heights.extend(height_of(&field.node, variables));
                collect(&field.node.selection_set.node, variables, heights);
            }
            Selection::InlineFragment(inline) => collect(&inline.node.selection_set.node, variables, heights),
            Selection::FragmentSpread(_) => {}
        }
    }
}

fn height_of(field: &Field, variables: &Variables) -> Option<(Option<ChainId>, u64)> {
    let argument = |name: &str| {
        let value = field.get_argument(name)?.node.clone();
        value.into_const_with(|name: Name| variables.get(&name).cloned().ok_or(())).ok()?.into_json().ok()
    };
    let number = argument("block")?.get("number_gte")?.as_u64()?;
    Some((argument("chainId").and_then(|v| v.as_u64()), number))
}
