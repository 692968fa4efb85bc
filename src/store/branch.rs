//! Where a position stands: on our chain, or on a branch that a reorg took back.

use std::sync::Arc;

use alloy::primitives::B256;

use super::{Pin, ReadError, Reader, query::Moment};
use crate::domain::{cursor::Cursor, record::BlockRecord};

/// Whether a position is still on our chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Holds,
    /// A reorg took its block back. `fork` is the highest block of its branch that is ours too, or what was final when it was made.
    TakenBack {
        fork: u64,
        /// Its hash; `None` where nobody remembers the branch, and the fork is what was final then.
        hash: Option<B256>,
    },
}

/// What is known of a block.
enum Known {
    Ours,
    TakenBack { parent: B256 },
    Nowhere,
}

/// The same with what was taken back.
#[derive(Debug, Clone)]
pub enum Branch {
    Holds,
    TakenBack {
        fork: u64,
        hash: Option<B256>,
        /// The blocks of the cursor's branch above the fork, newest first. `None`: nobody remembers all of them.
        orphans: Option<Vec<Orphan>>,
    },
}

/// How far back a branch is followed to its fork. `finality` is at most 4,096 blocks.
const BRANCH_MAX_BLOCKS: usize = 4_096;

/// A block that was taken back.
#[derive(Debug, Clone)]
pub struct Orphan {
    pub record: Arc<BlockRecord>,
    /// What it created is known, too.
    pub with_created: bool,
}

impl Reader {
    /// Where a cursor stands: in memory, else in the store, which keeps what was taken back for a day.
    pub async fn standing(&self, pin: &Pin, cursor: &Cursor) -> Result<Standing, ReadError> {
        let Some(head) = pin.head().block else { return Err(ReadError::Starting) };
        let (mut number, mut hash) = (cursor.block_number, cursor.block_hash);
        for _ in 0..BRANCH_MAX_BLOCKS {
            // What was final when the cursor was made is on every branch since.
            if number <= cursor.finalized_number {
                break;
            }
            match self.place_of(pin, number, hash).await? {
                Known::Ours if number == cursor.block_number => return Ok(Standing::Holds),
                Known::Ours => return Ok(Standing::TakenBack { fork: number, hash: Some(hash) }),
                Known::TakenBack { parent } => (number, hash) = (number.saturating_sub(1), parent),
                // A branch that is longer than ours may be on its way.
                Known::Nowhere if number > head.number && number == cursor.block_number => break,
                Known::Nowhere => return Ok(Self::unknown(cursor)),
            }
        }
        if number > head.number {
            return Err(ReadError::Ahead { cursor: cursor.block_number, head: head.number });
        }
        Ok(Self::unknown(cursor))
    }

    fn unknown(cursor: &Cursor) -> Standing {
        if cursor.block_number <= cursor.finalized_number {
            return Standing::Holds;
        }
        Standing::TakenBack { fork: cursor.finalized_number, hash: None }
    }

    async fn place_of(&self, pin: &Pin, number: u64, hash: B256) -> Result<Known, ReadError> {
        let ours = in_window(pin, number);
        if ours == Some(hash) {
            return Ok(Known::Ours);
        }
        // Below the window memory remembers of some blocks only that they were taken back once.
        if number >= pin.head().window_floor
            && let Some(record) = pin.live().orphan(&hash)
        {
            return Ok(Known::TakenBack { parent: record.block.parent_hash });
        }
        let ahead = pin.head().block.is_some_and(|head| number > head.number);
        Ok(match self.history().block(pin.chain(), hash).await? {
            // A hash of another height is none of that branch.
            Some((block, _)) if block.number != number => Known::Nowhere,
            Some((_, true)) if ours.is_none() && !ahead => Known::Ours,
            // The store may lag behind: of what it says above our head nothing is sure.
            Some((_, true)) if ahead => Known::Nowhere,
            Some((block, _)) => Known::TakenBack { parent: block.parent_hash },
            None => Known::Nowhere,
        })
    }

    /// [`Reader::standing`], with the blocks that were taken back.
    pub async fn branch(&self, pin: &Pin, cursor: &Cursor) -> Result<Branch, ReadError> {
        let Standing::TakenBack { fork, hash } = self.standing(pin, cursor).await? else { return Ok(Branch::Holds) };
        let orphans = match hash {
            Some(hash) => self.orphans(pin, cursor.block_hash, hash).await?,
            None => None,
        };
        Ok(Branch::TakenBack { fork, hash, orphans })
    }

    /// From a block down to its ancestor `fork`, without that.
    async fn orphans(&self, pin: &Pin, newest: B256, fork: B256) -> Result<Option<Vec<Orphan>>, ReadError> {
        let (mut orphans, mut hash) = (Vec::new(), newest);
        while hash != fork {
            let orphan = match pin.live().record(&hash) {
                Some(record) => Orphan { record, with_created: true },
                None => match self.history().record(pin.chain(), hash).await? {
                    Some(record) => Orphan { record: Arc::new(record), with_created: false },
                    None => return Ok(None),
                },
            };
            if orphans.len() >= BRANCH_MAX_BLOCKS {
                return Ok(None);
            }
            hash = orphan.record.block.parent_hash;
            orphans.push(orphan);
        }
        Ok(Some(orphans))
    }

    /// The height of a block, where it is ours.
    pub async fn height_of(&self, pin: &Pin, hash: B256) -> Result<Option<u64>, ReadError> {
        let head = pin.head();
        let recent = head.window.iter().rev().map(|record| record.block).chain(head.block).find(|block| block.hash == hash);
        if let Some(block) = recent {
            return Ok(Some(block.number));
        }
        let found = self.history().block(pin.chain(), hash).await?;
        Ok(found.filter(|(block, canonical)| *canonical && block.number < head.window_floor).map(|(block, _)| block.number))
    }

    /// The hash of our block at a height, where one is known there.
    pub async fn hash_at(&self, pin: &Pin, number: u64) -> Result<Option<B256>, ReadError> {
        if let Some(hash) = in_window(pin, number) {
            return Ok(Some(hash));
        }
        let found = self.history().block_at(pin.chain(), Moment::Number(number)).await?;
        Ok(found.filter(|block| block.number == number).map(|block| block.hash))
    }
}

/// The hash of our block at this height, where the window has it.
fn in_window(pin: &Pin, number: u64) -> Option<B256> {
    let window = &pin.head().window;
    let at = window.partition_point(|r| r.block.number < number);
    let in_window = window.get(at).map(|r| r.block).filter(|block| block.number == number);
    in_window.or(pin.head().block.filter(|block| block.number == number)).map(|block| block.hash)
}
