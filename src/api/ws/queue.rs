//! What waits to be written to one connection: bounded, and full without harm to anybody else.
//!
//! Frames are shared bytes, so a place costs little. Of states only the newest is kept; events are never left out: where they do not
//! fit any more the connection is given up, with everything that waits.

use std::{
    collections::{HashMap, VecDeque},
    future::poll_fn,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
};

use futures_util::task::AtomicWaker;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};

use super::message;
use crate::api::gql::link::{Fact, Nature, Replaces};

/// A minute of a 250 ms chain, for one subscription.
const PLACES: usize = 256;
/// For each other one, because one block may have something for all of them.
const PLACES_EACH: usize = 4;
const BYTES_EACH: usize = 16 * 1024;
/// 40 blocks of 100 swaps.
const BYTES_MAX: usize = 2 * 1024 * 1024;
/// States of one operation that wait side by side, where they cannot take each other's place.
const STATES: usize = 8;
/// Whoever reads history for a connection waits while more than this waits to be written: events of others must still fit.
const ROOM: usize = 8;
const ROOM_BYTES: usize = BYTES_MAX / 4;
/// Operations that work for one connection alone at the same time: each may bring half a MB, whether or not it is read.
const AT_WORK: usize = 4;

/// An operation of a connection.
pub(super) struct Head {
    pub(super) serial: u64,
    pub(super) id: Arc<str>,
    /// Of its `next` messages.
    pub(super) prefix: Box<str>,
}

impl Head {
    pub(super) fn new(serial: u64, id: Arc<str>) -> Self {
        Self { serial, prefix: message::next(&id), id }
    }
}

/// A response, written once for everybody.
pub(super) struct Frame {
    /// JSON.
    pub(super) payload: Box<str>,
    /// It has no `extensions` yet.
    pub(super) plain: bool,
    pub(super) fact: Fact,
}

impl Frame {
    fn replaces(&self) -> Option<Replaces> {
        match self.fact.nature {
            Nature::State { replaces } => replaces,
            Nature::Event => None,
        }
    }
}

pub(super) enum Body {
    /// A `next` message, and how many frames it stands for beside itself.
    Next(Arc<Frame>, u64),
    /// The end, with a JSON list of errors.
    Failed(Arc<str>),
    Complete,
}

pub(super) struct Item {
    pub(super) head: Arc<Head>,
    pub(super) body: Body,
}

impl Item {
    fn is_state(&self) -> bool {
        matches!(&self.body, Body::Next(frame, _) if frame.fact.nature != Nature::Event)
    }

    fn bytes(&self) -> usize {
        match &self.body {
            Body::Next(frame, _) => frame.payload.len(),
            Body::Failed(errors) => errors.len(),
            Body::Complete => 0,
        }
    }
}

/// What became of a frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    Taken,
    /// The operation has nothing in the queue any more, and so many frames were left out: it has to begin anew with the state.
    Behind(u64),
    /// It said only where the stream is, and there was no place for that.
    NoPlace,
}

struct Queued {
    item: Item,
    /// Nothing where it is the same frame as the one before it: that is in memory once.
    bytes: usize,
    /// Of what is for nobody else and has waited for room: it does not take that of events.
    alone: bool,
}

#[derive(Default)]
struct Inner {
    items: VecDeque<Queued>,
    /// Of frames that others get, too.
    bytes: usize,
    alone_bytes: usize,
    /// States that wait, by operation: without one there is nothing to look for.
    states: HashMap<u64, usize>,
    /// Operations that are to begin anew once everything is written.
    behind: Vec<Arc<Head>>,
    /// The operation whose events did not fit.
    given_up: Option<Arc<Head>>,
    closed: bool,
    /// Operations that run.
    seats: usize,
}

impl Inner {
    fn is_full(&self, more: usize) -> bool {
        let places = PLACES.saturating_add(self.seats.saturating_mul(PLACES_EACH));
        let bytes = BYTES_MAX.saturating_add(self.seats.saturating_mul(BYTES_EACH));
        self.items.len() >= places || (self.bytes > 0 && self.bytes.saturating_add(more) > bytes)
    }

    fn has_room(&self) -> bool {
        self.items.len() < ROOM && self.bytes.saturating_add(self.alone_bytes) < ROOM_BYTES
    }

    /// What it takes to have it wait beside what waits already.
    fn weight(&self, frame: &Arc<Frame>) -> usize {
        let is_same =
            self.items.back().is_some_and(|last| matches!(&last.item.body, Body::Next(before, _) if Arc::ptr_eq(before, frame)));
        if is_same { 0 } else { frame.payload.len() }
    }

    fn push(&mut self, item: Item, bytes: usize, alone: bool) {
        if item.is_state() {
            let waiting = self.states.entry(item.head.serial).or_insert(0);
            *waiting = waiting.saturating_add(1);
        }
        let sum = if alone { &mut self.alone_bytes } else { &mut self.bytes };
        *sum = sum.saturating_add(bytes);
        self.items.push_back(Queued { item, bytes, alone });
    }

    /// It is out of the queue.
    fn forget(&mut self, queued: &Queued) {
        let sum = if queued.alone { &mut self.alone_bytes } else { &mut self.bytes };
        *sum = sum.saturating_sub(queued.bytes);
        let serial = queued.item.head.serial;
        if queued.item.is_state()
            && let Some(waiting) = self.states.get_mut(&serial)
        {
            *waiting = waiting.saturating_sub(1);
            if *waiting == 0 {
                self.states.remove(&serial);
            }
        }
    }

    /// Drops the frames of an operation; how many that are, with those that they stand for.
    fn leave_out(&mut self, serial: u64) -> u64 {
        let mut lost = 0_u64;
        let (gone, kept) = std::mem::take(&mut self.items)
            .into_iter()
            .partition(|queued| queued.item.head.serial == serial && matches!(queued.item.body, Body::Next(..)));
        self.items = kept;
        let gone: VecDeque<Queued> = gone;
        for queued in &gone {
            if let Body::Next(_, skipped) = queued.item.body {
                lost = lost.saturating_add(skipped).saturating_add(1);
            }
            self.forget(queued);
        }
        lost
    }

    fn clear(&mut self) {
        (self.items, self.states) = (VecDeque::new(), HashMap::new());
        (self.bytes, self.alone_bytes) = (0, 0);
    }

    fn is_over(&self) -> bool {
        self.closed || self.given_up.is_some()
    }
}

/// Makes place for what an operation gets, for as long as it runs; what waits of it then goes with it.
pub(super) struct Seat {
    queue: Arc<Queue>,
    serial: u64,
}

impl Seat {
    pub(super) fn new(queue: &Arc<Queue>, serial: u64) -> Self {
        let mut inner = queue.inner();
        inner.seats = inner.seats.saturating_add(1);
        drop(inner);
        Self { queue: queue.clone(), serial }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut inner = self.queue.inner();
        inner.seats = inner.seats.saturating_sub(1);
        let more = inner.items.iter().any(|queued| queued.item.head.serial == self.serial);
        if more {
            inner.leave_out(self.serial);
        }
        let has_room = inner.has_room();
        drop(inner);
        if more && has_room {
            self.queue.room.notify_waiters();
        }
    }
}

/// What is to be done for a connection.
pub(super) struct Taken {
    pub(super) items: Vec<Item>,
    /// Nothing else waits.
    pub(super) is_all: bool,
    /// Operations that have to begin anew, once these are written.
    pub(super) behind: Vec<Arc<Head>>,
    /// The operation whose events did not fit.
    pub(super) given_up: Option<Arc<Head>>,
}

pub(super) struct Queue {
    inner: Mutex<Inner>,
    /// Something is to be done.
    called: AtomicBool,
    waker: AtomicWaker,
    room: Notify,
    work: Semaphore,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            inner: Mutex::default(),
            called: AtomicBool::default(),
            waker: AtomicWaker::new(),
            room: Notify::new(),
            work: Semaphore::new(AT_WORK),
        }
    }
}

impl Queue {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Never held across an await; every critical section is a few moves.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A frame that all subscribers to the same get. `skipped` were left out before it.
    pub(super) fn offer(&self, head: &Arc<Head>, frame: &Arc<Frame>, skipped: u64) -> Pushed {
        let mut inner = self.inner();
        if inner.is_over() {
            return Pushed::Taken;
        }
        let idle = inner.items.is_empty();
        match frame.fact.nature {
            Nature::Event if frame.fact.opening.is_some() && inner.is_full(0) => return Pushed::NoPlace,
            Nature::Event => {
                let bytes = inner.weight(frame);
                if inner.is_full(bytes) {
                    inner.given_up = Some(head.clone());
                    inner.clear();
                } else {
                    inner.push(Item { head: head.clone(), body: Body::Next(frame.clone(), skipped) }, bytes, false);
                }
            }
            Nature::State { replaces } => {
                if let Some(new) = replaces
                    && replace(&mut inner, head, frame, new, skipped)
                {
                    return Pushed::Taken;
                }
                // An opening may take more frames than that: there is nothing it could be replaced by.
                let is_opening = frame.fact.opening.is_some();
                let too_many = !is_opening && waiting_like(&inner, head.serial, replaces) >= STATES;
                let bytes = inner.weight(frame);
                if too_many || inner.is_full(bytes) {
                    let lost = inner.leave_out(head.serial);
                    inner.behind.push(head.clone());
                    drop(inner);
                    self.wake();
                    return Pushed::Behind(lost.saturating_add(skipped).saturating_add(1));
                }
                inner.push(Item { head: head.clone(), body: Body::Next(frame.clone(), skipped) }, bytes, false);
            }
        }
        drop(inner);
        if idle {
            self.wake();
        }
        Pushed::Taken
    }

    /// Once everything is written, an operation is to begin.
    pub(super) fn later(&self, head: &Arc<Head>) {
        self.inner().behind.push(head.clone());
        self.wake();
    }

    /// What one operation alone gets, and has waited for room for.
    pub(super) fn push(&self, item: Item) {
        let mut inner = self.inner();
        if inner.is_over() {
            return;
        }
        let bytes = item.bytes();
        inner.push(item, bytes, true);
        drop(inner);
        self.wake();
    }

    /// Until an operation may begin to work for this connection alone: few do, and little waits to be written.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // Nobody closes it.
        let turn = self.work.acquire().await.ok();
        self.room().await;
        turn
    }

    /// Until little waits to be written.
    pub(super) async fn room(&self) {
        loop {
            let freed = self.room.notified();
            if self.inner().has_room() {
                return;
            }
            freed.await;
        }
    }

    fn wake(&self) {
        self.called.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Until something is to be done. Cancel-safe; for one task.
    pub(super) async fn called(&self) {
        poll_fn(|context| {
            self.waker.register(context.waker());
            if self.called.swap(false, Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// The oldest of what waits, so many and so large at most.
    pub(super) fn take(&self, most: usize, bytes_most: usize) -> Taken {
        let mut inner = self.inner();
        let mut taken = Vec::with_capacity(inner.items.len().min(most));
        let mut bytes = 0_usize;
        while taken.len() < most
            && bytes < bytes_most
            && let Some(queued) = inner.items.pop_front()
        {
            inner.forget(&queued);
            bytes = bytes.saturating_add(queued.item.bytes());
            taken.push(queued.item);
        }
        if inner.items.is_empty() && inner.items.capacity() > ROOM {
            // An idle connection holds no memory for what it once had to take.
            inner.items = VecDeque::new();
        }
        let (is_all, has_room) = (inner.items.is_empty(), inner.has_room());
        let behind = if is_all { std::mem::take(&mut inner.behind) } else { Vec::new() };
        let taken = Taken { items: taken, is_all, behind, given_up: inner.given_up.clone() };
        drop(inner);
        if has_room {
            self.room.notify_waiters();
        }
        taken
    }

    pub(super) fn close(&self) {
        let mut inner = self.inner();
        inner.closed = true;
        inner.clear();
    }
}

/// States of one operation that wait, about the same thing where they say which.
fn waiting_like(inner: &Inner, serial: u64, like: Option<Replaces>) -> usize {
    if !inner.states.contains_key(&serial) {
        return 0;
    }
    let alike = |queued: &&Queued| {
        let Body::Next(frame, _) = &queued.item.body else { return false };
        queued.item.head.serial == serial && frame.replaces().map(|one| one.key) == like.map(|one| one.key)
    };
    inner.items.iter().filter(alike).count()
}

/// Puts a state in the place of an older one that says no more than it.
fn replace(inner: &mut Inner, head: &Arc<Head>, frame: &Arc<Frame>, new: Replaces, skipped: u64) -> bool {
    if !inner.states.contains_key(&head.serial) {
        return false;
    }
    let older = inner.items.iter_mut().rev().filter(|queued| queued.item.head.serial == head.serial).find(|queued| {
        let Body::Next(old, _) = &queued.item.body else { return false };
        // Whoever begins gets the SNAPSHOT that it begins with.
        let is_opening = old.fact.opening.is_some();
        !is_opening && old.replaces().is_some_and(|old| old.key == new.key && new.from <= old.from)
    });
    let Some(older) = older else { return false };
    let Body::Next(_, left_out) = older.item.body else { return false };
    older.item.body = Body::Next(frame.clone(), left_out.saturating_add(skipped).saturating_add(1));
    let (before, after) = (older.bytes, frame.payload.len());
    older.bytes = after;
    inner.bytes = inner.bytes.saturating_sub(before).saturating_add(after);
    true
}
