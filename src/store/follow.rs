//! What happened on a chain after a position: from history as far as needed, then live, then from history again where frames were
//! lost.
//!
//! Whoever follows is always at one [`Cursor`]. A step that is not live looks where the cursor stands: what a reorg took back
//! meanwhile is told first (RETRACT, newest first; ROLLBACK where nobody remembers the branch), then what came after it on our chain.
//! Once that is nothing more, frames are taken from a topic that was subscribed to before that last look, so there is no gap and no
//! double between the two. A reader that lost frames is back where a reconnecting one begins: there is no error for slowness here.
//! What is absent: states of pools, prices, quotes and candles (they begin anew with a SNAPSHOT), and any filter beyond what history
//! has an index for.

mod past;
#[cfg(test)]
mod tests;
pub mod turns;

use std::{sync::Arc, time::Duration};

use alloy::primitives::B256;
use tokio::sync::{
    broadcast::{Receiver, error::RecvError},
    watch,
};

use self::{past::Trouble, turns::Turns};
use super::{
    Live, ReadError, Reader,
    query::Narrow,
    topics::{Frame, FrameData, FrameKind, Topic},
};
use crate::domain::{
    block::BlockRef,
    cursor::Cursor,
    event::EventKind,
    pool::PoolMeta,
    record::{BlockRecord, EventAt},
};

/// A store that cannot answer is asked again.
const RETRY: Duration = Duration::from_secs(2);

/// What is followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Interest {
    Blocks,
    /// Pools that are created.
    Created,
    Events {
        kinds: Vec<EventKind>,
        /// What history is narrowed to. Live, only a pool is told apart; the rest is for whoever follows to leave out.
        narrow: Narrow,
    },
}

impl Interest {
    fn topic(&self) -> Topic {
        match self {
            Self::Events { kinds, narrow: Narrow::Pool(pool) } if *kinds == [EventKind::Swap] => Topic::PoolSwaps(*pool),
            Self::Events { kinds, .. } if *kinds == [EventKind::Swap] => Topic::Swaps,
            Self::Blocks | Self::Created | Self::Events { .. } => Topic::Blocks,
        }
    }
}

/// What came, or was taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happened {
    /// Of a HEARTBEAT and a ROLLBACK.
    Nothing,
    Blocks(Vec<BlockRef>),
    Events(Vec<EventAt>),
    Created(Vec<Arc<PoolMeta>>),
}

impl Happened {
    fn is_empty(&self) -> bool {
        match self {
            Self::Nothing => true,
            Self::Blocks(all) => all.is_empty(),
            Self::Events(all) => all.is_empty(),
            Self::Created(all) => all.is_empty(),
        }
    }
}

/// One step.
#[derive(Debug, Clone)]
pub struct News {
    /// UPDATE, RETRACT, ROLLBACK or HEARTBEAT.
    pub kind: FrameKind,
    /// The block of `cursor`; its parent and time are zero where memory has it no more.
    pub block: BlockRef,
    /// The position after this step.
    pub cursor: Cursor,
    pub happened: Happened,
    /// The epoch that brought it. `None`: it was read back, or nothing happened.
    pub epoch: Option<u64>,
    /// Nothing of this epoch and of those before is still to come. `None`: something may be.
    pub through: Option<u64>,
}

/// The position is too far back to go on from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expired {
    /// The oldest one that works.
    pub oldest: Option<Cursor>,
}

struct Listening {
    frames: Receiver<Arc<Frame>>,
    /// Frames up to this epoch were told, or happened before the position.
    epoch: u64,
}

/// One who follows.
pub struct Follow {
    reader: Reader,
    live: Arc<Live>,
    interest: Interest,
    epochs: watch::Receiver<u64>,
    /// Everything before it was told. `None`: it begins at the head.
    cursor: Option<Cursor>,
    listening: Option<Listening>,
    /// To go through history.
    turns: Turns,
}

impl Follow {
    #[must_use]
    pub fn new(reader: Reader, live: Arc<Live>, interest: Interest, after: Option<Cursor>, turns: Turns) -> Self {
        let epochs = live.watch_epoch();
        Self { reader, live, interest, epochs, cursor: after, listening: None, turns }
    }

    /// The next step. The first of one that begins at the head, and the one with which it arrives there, is a HEARTBEAT: it says where.
    ///
    /// Cancel-safe: what was not returned is told the next time.
    ///
    /// # Errors
    /// [`Expired`]: the end. What happened since is not known here in full.
    pub async fn next(&mut self) -> Result<News, Expired> {
        loop {
            if let Some(news) = self.look().await? {
                return Ok(news);
            }
        }
    }

    /// One look, which may have nothing to tell. Of one that is live it holds nothing while it waits.
    ///
    /// Cancel-safe, and fails like [`Follow::next`].
    ///
    /// # Errors
    /// [`Expired`]: the end.
    pub async fn look(&mut self) -> Result<Option<News>, Expired> {
        let news = if self.is_live() { self.hear().await } else { self.catch_up().await? };
        if let Some(news) = &news {
            self.cursor = Some(news.cursor);
        }
        Ok(news)
    }

    /// Frames are taken live: [`Follow::beat`] has something to say, and [`Follow::look`] can be given up without losing a look.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.listening.is_some()
    }

    /// Where it is now, as a HEARTBEAT. `None`: on its way to the head.
    pub fn beat(&mut self) -> Option<News> {
        // An epoch is announced after all of its frames: where none waits after that look, everything up to it was told.
        let announced = *self.epochs.borrow();
        if self.listening.as_ref()?.frames.is_closed() {
            // The topic was interrupted: what came with that is in history, and was told to nobody.
            self.listening = None;
            return None;
        }
        let listening = self.listening.as_mut()?;
        if listening.frames.is_empty() {
            let pin = self.live.pin();
            if pin.head().epoch == announced && announced >= listening.epoch {
                listening.epoch = announced;
                self.cursor = pin.cursor().or(self.cursor);
            }
        }
        let (cursor, through) = (self.cursor?, Some(listening.epoch));
        Some(News { kind: FrameKind::Heartbeat, block: bare(&cursor), cursor, happened: Happened::Nothing, epoch: None, through })
    }

    /// One look at what came after the cursor. `None`: nothing yet; waits before it says so.
    async fn catch_up(&mut self) -> Result<Option<News>, Expired> {
        // The turn comes first: nothing is held while it is waited for, and it is held while something is read and no longer.
        let turn = self.turns.before(&self.live, self.cursor.as_ref()).await;
        self.epochs.mark_unchanged();
        // Listen first, look afterwards: nothing falls between.
        let frames = self.live.topics.subscribe(self.interest.topic());
        let pin = Arc::new(self.live.pin());
        let at_head = pin.head().at_head;
        let Some(here) = pin.cursor() else {
            drop(turn);
            self.wait(None).await;
            return Ok(None);
        };
        if let Some(cursor) = self.cursor {
            let step = self.step(&pin, cursor, here).await;
            drop(turn);
            match step {
                Ok(Some(news)) => return Ok(Some(news)),
                Ok(None) => {}
                Err(Trouble::Expired(expired)) => return Err(expired),
                Err(Trouble::Read(ReadError::Ahead { .. } | ReadError::Starting)) => {
                    self.wait(None).await;
                    return Ok(None);
                }
                Err(Trouble::Read(error)) => {
                    tracing::debug!(%error, "whoever resumes waits for the store");
                    self.wait(Some(RETRY)).await;
                    return Ok(None);
                }
            }
        }
        if !at_head {
            // The position moves on with the chain, so that nothing is looked at twice.
            self.cursor = self.cursor.map(|_| here);
            self.wait(None).await;
            return Ok(None);
        }
        let epoch = pin.head().epoch;
        self.listening = Some(Listening { frames, epoch });
        let kind = FrameKind::Heartbeat;
        Ok(Some(News { kind, block: bare(&here), cursor: here, happened: Happened::Nothing, epoch: None, through: Some(epoch) }))
    }

    async fn wait(&mut self, at_most: Option<Duration>) {
        let changed = self.epochs.changed();
        match at_most {
            Some(most) => drop(tokio::time::timeout(most, changed).await),
            None => {
                if changed.await.is_err() {
                    // The chain is gone: the process is stopping.
                    std::future::pending::<()>().await;
                }
            }
        }
    }

    /// The events of a block that are of interest; newest first where it is taken back.
    fn events_of(&self, record: &BlockRecord, taken_back: bool) -> Vec<EventAt> {
        let Interest::Events { kinds, narrow } = &self.interest else { return Vec::new() };
        let wanted = |row: &&crate::domain::record::EventRow| {
            kinds.contains(&row.kind()) && !matches!(narrow, Narrow::Pool(pool) if row.event.pool != *pool)
        };
        let event = |row: &crate::domain::record::EventRow| EventAt {
            chain: record.chain,
            block: record.block,
            row: row.clone(),
            canonical: !taken_back,
        };
        let mut found: Vec<EventAt> = record.rows.iter().filter(wanted).map(event).collect();
        if taken_back {
            found.reverse();
        }
        found
    }

    /// The topic's next frame. `None`: it was none of ours, or frames were lost and history has them.
    async fn hear(&mut self) -> Option<News> {
        let listening = self.listening.as_mut()?;
        let frame = match listening.frames.recv().await {
            Ok(frame) if frame.epoch <= listening.epoch => return None,
            Ok(frame) => frame,
            Err(RecvError::Lagged(_) | RecvError::Closed) => {
                self.listening = None;
                return None;
            }
        };
        let Some(happened) = self.of_frame(&frame) else {
            // The block has left memory: what it brought is read from history, from the same position on.
            self.listening = None;
            return None;
        };
        // A RETRACT may be followed by an UPDATE of the same epoch.
        let through = (frame.kind == FrameKind::Update).then_some(frame.epoch);
        if let (Some(through), Some(listening)) = (through, self.listening.as_mut()) {
            listening.epoch = through;
        }
        if happened.is_empty() {
            self.cursor = Some(frame.cursor);
            return None;
        }
        Some(News { kind: frame.kind, block: frame.block, cursor: frame.cursor, happened, epoch: Some(frame.epoch), through })
    }

    fn of_frame(&self, frame: &Frame) -> Option<Happened> {
        let taken_back = frame.kind == FrameKind::Retract;
        let blocks = match &frame.data {
            FrameData::Swaps(swaps) => return Some(Happened::Events(swaps.clone())),
            FrameData::Pool(_) => return Some(Happened::Nothing),
            FrameData::Blocks(blocks) => blocks,
        };
        let records = || blocks.iter().map(|block| self.live.record(&block.hash)).collect::<Option<Vec<_>>>();
        Some(match &self.interest {
            Interest::Blocks => Happened::Blocks(blocks.clone()),
            Interest::Events { .. } => {
                Happened::Events(records()?.iter().flat_map(|record| self.events_of(record, taken_back)).collect())
            }
            Interest::Created => {
                let in_order = |record: &Arc<BlockRecord>| {
                    let mut created = record.created.clone();
                    if taken_back {
                        created.reverse();
                    }
                    created
                };
                Happened::Created(records()?.iter().flat_map(in_order).collect())
            }
        })
    }
}

/// What the cursor itself says of its block.
fn bare(cursor: &Cursor) -> BlockRef {
    BlockRef { number: cursor.block_number, hash: cursor.block_hash, parent_hash: B256::ZERO, timestamp: 0 }
}
