//! What a stream says: everything after a cursor, from history as far as needed, then live, then from history again where the
//! reader was too slow.
//!
//! A stream is always at one cursor. Each step reads what came after it on our chain; once that is nothing more, frames are taken
//! from the topics, which were subscribed to before that last look. So there is no gap and no double between the two, and a reader
//! that lost frames is back where a reconnecting one begins. What is absent: RETRACT after a break (ROLLBACK says the same in one
//! line), pins that are held while a reader is awaited.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use alloy::primitives::B256;
use tokio::{
    sync::{
        broadcast::{Receiver, error::TryRecvError},
        watch,
    },
    time::{Instant, sleep_until},
};

use super::{
    events::event_query,
    frame::{Data, Frame, FrameKind, Message},
    model::{Block, Event, Pool},
    words::Freshness,
};
use crate::{
    api::in_a,
    domain::{ChainId, block::BlockRef, cursor::Cursor, event::EventKind},
    store::{
        self, Live, Pin, Reader,
        branch::Standing,
        follow::turns::Turns,
        query::{EventQuery, Narrow, Place},
        reader::ReadError,
        topics::{self, FrameData, Topic},
    },
};

/// Events of one step through history, all topics together: about 0.5 MB of JSON.
const STEP_EVENTS: usize = 500;
/// What may be said at once of frames that waited. Beyond it they are let go, and history says the same in steps.
const HEARD_MAX: usize = 2_000;
/// A stream without news says so; also how soon a broken connection is noticed.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// A store that cannot answer is asked again.
const RETRY: Duration = Duration::from_secs(2);

/// A topic and its name.
pub(super) struct Feed {
    topic: Topic,
    name: Arc<str>,
}

impl Feed {
    pub(super) fn new(chain: ChainId, topic: Topic) -> Self {
        let name = match topic {
            Topic::Blocks => format!("blocks:{chain}"),
            Topic::Swaps => format!("swaps:{chain}"),
            Topic::PoolSwaps(pool) => format!("swaps:{chain}:{pool}"),
            Topic::Pool(pool) => format!("pool:{chain}:{pool}"),
        };
        Self { topic, name: name.into() }
    }

    /// Which swaps it is about, if it is about swaps.
    fn swaps(&self) -> Option<Narrow> {
        match self.topic {
            Topic::Swaps => Some(Narrow::All),
            Topic::PoolSwaps(pool) => Some(Narrow::Pool(pool)),
            Topic::Blocks | Topic::Pool(_) => None,
        }
    }
}

/// The topics' frames from a moment on.
struct Listening {
    frames: Vec<Receiver<Arc<topics::Frame>>>,
    /// Taken, and of an epoch that may not be complete yet.
    waiting: VecDeque<(usize, Arc<topics::Frame>)>,
    /// What came up to this epoch was said.
    epoch: u64,
}

/// One stream.
pub(super) struct Follow {
    reader: Reader,
    live: Arc<Live>,
    feeds: Vec<Feed>,
    epochs: watch::Receiver<u64>,
    /// Everything before it was said. `None`: it begins at the head.
    cursor: Option<Cursor>,
    listening: Option<Listening>,
    heartbeat_at: Instant,
    in_trouble: bool,
    /// The client was told to forget its blocks, and was told of none since.
    blocks_cleared: bool,
    /// To go through history.
    turns: Turns,
}

impl Follow {
    pub(super) fn new(reader: Reader, live: Arc<Live>, feeds: Vec<Feed>, since: Option<Cursor>, turns: Turns) -> Self {
        let (epochs, heartbeat_at) = (live.watch_epoch(), in_a(HEARTBEAT));
        let (cursor, listening) = (since, None);
        Self { reader, live, feeds, epochs, cursor, listening, heartbeat_at, in_trouble: false, blocks_cleared: false, turns }
    }

    /// The next messages, at least one, and whether they were made for this stream alone. Cancel-safe: what was not returned is said the
    /// next time.
    pub(super) async fn next(&mut self) -> (Vec<Message>, bool) {
        loop {
            let listening = self.listening.take();
            let alone = listening.is_none();
            let (messages, wait) = match listening {
                Some(listening) => self.hear(listening),
                None => self.catch_up().await,
            };
            if !messages.is_empty() {
                self.heartbeat_at = in_a(HEARTBEAT);
                return (messages, alone);
            }
            if !wait {
                continue;
            }
            let until = if self.in_trouble { self.heartbeat_at.min(in_a(RETRY)) } else { self.heartbeat_at };
            tokio::select! {
                changed = self.epochs.changed() => if changed.is_err() {
                    // The chain is gone: the process is stopping.
                    std::future::pending::<()>().await;
                },
                () = sleep_until(until) => if Instant::now() >= self.heartbeat_at {
                    self.heartbeat_at = in_a(HEARTBEAT);
                    if let Some(heartbeat) = self.beat() {
                        return (vec![heartbeat], false);
                    }
                },
            }
        }
    }

    /// What came after the cursor, as far as one step goes; and whether to wait for the next commit before the next step.
    async fn catch_up(&mut self) -> (Vec<Message>, bool) {
        // Held while something is read, and no longer.
        let _turn = self.turns.before(&self.live, self.cursor.as_ref()).await;
        self.epochs.mark_unchanged();
        // Listen first, look afterwards: nothing falls between.
        let frames = self.feeds.iter().map(|feed| self.live.topics.subscribe(feed.topic)).collect();
        let pin = Arc::new(self.live.pin());
        let Some(head) = pin.head().block else { return (Vec::new(), true) };
        let said = match self.cursor {
            Some(cursor) => self.step(&pin, cursor).await,
            None if !pin.head().at_head => return (Vec::new(), true),
            None => {
                Ok((self.of_blocks(&pin, Blocks::Snapshot(vec![head]), head, false).into_iter().collect(), pin.cursor(), true))
            }
        };
        let (mut messages, cursor, complete) = match said {
            Ok(said) => said,
            // Until what the cursor knows is here, too.
            Err(ReadError::Ahead { .. } | ReadError::Starting) => return (Vec::new(), true),
            Err(error) => {
                let first = !std::mem::replace(&mut self.in_trouble, true);
                return (first.then(|| Message::Problem(error.into())).into_iter().collect(), true);
            }
        };
        self.in_trouble = false;
        self.cursor = cursor.or(self.cursor);
        if complete && pin.head().at_head {
            messages.extend(self.snapshots(&pin, head));
            self.listening = Some(Listening { frames, waiting: VecDeque::new(), epoch: pin.head().epoch });
        }
        self.name_the_place(&mut messages);
        (messages, complete && self.listening.is_none())
    }

    /// Messages, the cursor after them, and whether that is all there is.
    async fn step(&mut self, pin: &Arc<Pin>, from: Cursor) -> Result<(Vec<Message>, Option<Cursor>, bool), ReadError> {
        if let Standing::TakenBack { fork, hash } = self.reader.standing(pin, &from).await? {
            let block_hash = hash.unwrap_or(B256::ZERO);
            // Where its hash is not known it is final, and a cursor at what was final when it was made always holds.
            let finalized_number = if hash.is_some() { from.finalized_number } else { fork };
            let left = Cursor { block_number: fork, block_hash, next_log_index: Cursor::BLOCK_END, finalized_number, ..from };
            let block = BlockRef { number: fork, hash: block_hash, parent_hash: B256::ZERO, timestamp: 0 };
            let told = self.feeds.iter().filter_map(|feed| {
                let data = match feed.topic {
                    Topic::Blocks => Data::Blocks(Vec::new()),
                    Topic::Swaps | Topic::PoolSwaps(_) => Data::Swaps(Vec::new()),
                    Topic::Pool(_) => return None,
                };
                Some(self.frame(pin, Some(feed), FrameKind::Rollback, block, data))
            });
            return Ok((told.collect(), Some(left), false));
        }
        let swaps: Vec<(usize, Narrow)> =
            self.feeds.iter().enumerate().filter_map(|(at, feed)| Some((at, feed.swaps()?))).collect();
        let each = STEP_EVENTS.checked_div(swaps.len()).unwrap_or(1).max(1);
        let query = event_query(pin, EventKind::Swap, Narrow::All, each);
        let query = EventQuery { after: Place::seen(&from), newest_first: false, ..query };
        let asked: Vec<(&Pin, EventQuery)> =
            swaps.iter().map(|(_, narrow)| (pin.as_ref(), EventQuery { narrow: *narrow, ..query })).collect();
        let mut pages = Vec::new();
        let mut end: Option<(Place, BlockRef)> = None;
        for ((at, _), found) in swaps.iter().zip(self.reader.pages(&asked).await) {
            let events = found?.events;
            if events.len() == each
                && let Some(last) = events.last()
            {
                let place = Place { block_number: last.block.number, log_index: last.row.log_index() };
                // What one topic has not reached yet, no topic says.
                end = Some(end.map_or((place, last.block), |end| if place < end.0 { (place, last.block) } else { end }));
            }
            pages.push((*at, events));
        }
        let head = pin.head().block.ok_or(ReadError::Starting)?;
        let mut messages: Vec<Message> = Vec::new();
        let last_block = end.map_or(head.number, |(place, _)| place.block_number.saturating_sub(1));
        let at_end = end.map_or(head, |(_, block)| block);
        messages.extend(self.of_blocks(pin, blocks_between(pin, &from, last_block), at_end, end.is_some()));
        for (at, mut events) in pages {
            events.retain(|e| {
                let place = Place { block_number: e.block.number, log_index: e.row.log_index() };
                end.is_none_or(|(end, _)| place <= end)
            });
            if events.is_empty() {
                continue;
            }
            let swaps = Data::Swaps(events.into_iter().map(|event| Event::of(pin, event)).collect());
            messages.push(self.frame(pin, self.feeds.get(at), FrameKind::Update, at_end, swaps));
        }
        let cursor = match end {
            None => pin.cursor(),
            Some((place, block)) => Some(Cursor {
                chain: pin.chain(),
                block_number: block.number,
                block_hash: block.hash,
                next_log_index: u32::try_from(place.log_index.saturating_add(1)).unwrap_or(Cursor::BLOCK_END),
                finalized_number: pin.head().finalized_number,
            }),
        };
        Ok((messages, cursor, end.is_none()))
    }

    /// What the topics brought since; and whether to wait for more.
    fn hear(&mut self, mut listening: Listening) -> (Vec<Message>, bool) {
        // An epoch is announced after all of its frames: up to there nothing is missing. The state that this stream began with may be
        // newer than what is announced; its frames are still to come then, and were said.
        let until = (*self.epochs.borrow_and_update()).max(listening.epoch);
        for (at, frames) in listening.frames.iter_mut().enumerate() {
            loop {
                match frames.try_recv() {
                    Ok(frame) if frame.epoch <= listening.epoch => {}
                    Ok(frame) => listening.waiting.push_back((at, frame)),
                    Err(TryRecvError::Empty) => break,
                    // Frames were lost, or single blocks left out: history has them.
                    Err(TryRecvError::Lagged(_) | TryRecvError::Closed) => return (Vec::new(), false),
                }
            }
        }
        let mut ripe: Vec<_> = listening.waiting.iter().filter(|(_, frame)| frame.epoch <= until).cloned().collect();
        if ripe.iter().map(|(_, frame)| size(&frame.data)).fold(0, usize::saturating_add) > HEARD_MAX {
            return (Vec::new(), false);
        }
        listening.waiting.retain(|(_, frame)| frame.epoch > until);
        listening.epoch = until;
        // All that is taken back before anything that comes.
        ripe.sort_by_key(|(_, frame)| (frame.epoch, frame.kind != topics::FrameKind::Retract));
        let pin = Arc::new(self.live.pin());
        if let Some((_, last)) = ripe.last() {
            self.cursor = Some(last.cursor);
        } else if pin.head().epoch == until {
            self.cursor = pin.cursor().or(self.cursor);
        }
        let said = ripe
            .iter()
            .map(|(at, frame)| self.frame(&pin, self.feeds.get(*at), frame.kind.into(), frame.block, data(&pin, &frame.data)));
        let mut messages: Vec<Message> = said.collect();
        self.name_the_place(&mut messages);
        self.listening = Some(listening);
        (messages, true)
    }

    /// The state of every pool that is followed.
    fn snapshots(&self, pin: &Arc<Pin>, head: BlockRef) -> Vec<Message> {
        let pools = self.feeds.iter().filter_map(|feed| if let Topic::Pool(id) = feed.topic { Some((feed, id)) } else { None });
        let told = pools.map(|(feed, id)| {
            let data = Data::Pools(pin.pool(&id).iter().map(|view| Pool::of(pin, view)).collect());
            self.frame(pin, Some(feed), FrameKind::Snapshot, head, data)
        });
        told.collect()
    }

    /// `end` is the block up to which a step goes, `more` says that others follow: then what memory has of old blocks begins nothing
    /// yet, and the client is told once to forget what it had.
    fn of_blocks(&mut self, pin: &Arc<Pin>, blocks: Blocks, end: BlockRef, more: bool) -> Option<Message> {
        let (kind, blocks) = match blocks {
            Blocks::All(blocks) if blocks.is_empty() => return None,
            Blocks::All(blocks) => (FrameKind::Update, blocks),
            Blocks::Snapshot(_) if more && self.blocks_cleared => return None,
            Blocks::Snapshot(_) if more => (FrameKind::Snapshot, Vec::new()),
            Blocks::Snapshot(blocks) => (FrameKind::Snapshot, blocks),
        };
        self.blocks_cleared = blocks.is_empty();
        let feed = self.feeds.iter().find(|feed| feed.topic == Topic::Blocks)?;
        let last = blocks.last().copied().unwrap_or(end);
        Some(self.frame(pin, Some(feed), kind, last, Data::Blocks(blocks.into_iter().map(Block::from).collect())))
    }

    fn beat(&mut self) -> Option<Message> {
        let pin = Arc::new(self.live.pin());
        let head = pin.head().block?;
        let behind = self.cursor.filter(|_| self.listening.is_none());
        let block = behind.map_or(head, |c| BlockRef { number: c.block_number, hash: c.block_hash, ..head });
        let mut beat = vec![self.frame(&pin, None, FrameKind::Heartbeat, block, Data::Blocks(Vec::new()))];
        self.name_the_place(&mut beat);
        beat.pop()
    }

    fn frame(&self, pin: &Pin, feed: Option<&Feed>, kind: FrameKind, block: BlockRef, data: Data) -> Message {
        let topic = feed.map(|feed| feed.name.clone());
        let freshness = match pin.freshness() {
            // Of a stream that is not at the head yet, nothing is as new as it could be.
            store::Freshness::Live if self.listening.is_none() && !pin_is_said(pin, self.cursor) => Freshness::Delayed,
            freshness => freshness.into(),
        };
        Message::Frame(Box::new(Frame { topic, kind, cursor: None, block: block.into(), freshness, data }))
    }

    /// The last message says where the stream is: whoever has it has all before it.
    fn name_the_place(&self, messages: &mut [Message]) {
        if let Some(Message::Frame(last)) = messages.last_mut() {
            last.cursor = self.cursor.map(|cursor| cursor.encode().into());
        }
    }
}

/// Whether the stream is at the pin's block.
fn pin_is_said(pin: &Pin, cursor: Option<Cursor>) -> bool {
    cursor.is_none_or(|cursor| pin.head().block.is_some_and(|head| head.hash == cursor.block_hash))
}

fn size(data: &FrameData) -> usize {
    match data {
        FrameData::Blocks(blocks) => blocks.len(),
        FrameData::Swaps(swaps) => swaps.len(),
        FrameData::Pool(views) => views.len(),
    }
}

fn data(pin: &Arc<Pin>, data: &FrameData) -> Data {
    match data {
        FrameData::Blocks(blocks) => Data::Blocks(blocks.iter().map(|block| (*block).into()).collect()),
        FrameData::Swaps(swaps) => Data::Swaps(swaps.iter().map(|swap| Event::of(pin, swap.clone())).collect()),
        FrameData::Pool(views) => Data::Pools(views.iter().map(|view| Pool::of(pin, view)).collect()),
    }
}

/// A stretch of the chain.
enum Blocks {
    All(Vec<BlockRef>),
    /// Memory does not have all of it: what there is of the newest, to start anew from.
    Snapshot(Vec<BlockRef>),
}

/// Blocks after a cursor up to a height.
fn blocks_between(pin: &Pin, from: &Cursor, last: u64) -> Blocks {
    let whole = from.next_log_index == Cursor::BLOCK_END;
    let first = if whole { from.block_number.saturating_add(1) } else { from.block_number };
    let window = pin.head().window.iter().map(|record| record.block);
    let blocks: Vec<BlockRef> = window.filter(|block| (first..=last).contains(&block.number)).collect();
    let wanted = last.checked_sub(first).map_or(0, |n| n.saturating_add(1));
    if u64::try_from(blocks.len()) == Ok(wanted) {
        return Blocks::All(blocks);
    }
    Blocks::Snapshot(blocks.last().copied().or(pin.head().block.filter(|head| head.number <= last)).into_iter().collect())
}

#[cfg(test)]
mod tests;
