//! What waits to be written to one connection: bounded, and full without harm to anybody else.
//!
//! Frames are shared bytes, so a place costs little. Of states only the newest is kept; events are never left out: where they do not
//! fit any more the connection is given up, with everything that waits.

use std::{
    collections::VecDeque,
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

#[derive(Default)]
struct Inner {
    items: VecDeque<Item>,
    bytes: usize,
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
        self.items.len() >= PLACES.saturating_add(self.seats.saturating_mul(PLACES_EACH))
            || (!self.items.is_empty() && self.bytes.saturating_add(more) > BYTES_MAX)
    }

    fn has_room(&self) -> bool {
        self.items.len() < ROOM && self.bytes < ROOM_BYTES
    }

    fn push(&mut self, item: Item) {
        self.bytes = self.bytes.saturating_add(item.bytes());
        self.items.push_back(item);
    }

    fn clear(&mut self) {
        self.items = VecDeque::new();
        self.bytes = 0;
    }

    fn is_over(&self) -> bool {
        self.closed || self.given_up.is_some()
    }
}

/// Makes place for what an operation gets, for as long as it runs.
pub(super) struct Seat(Arc<Queue>);

impl Seat {
    pub(super) fn new(queue: &Arc<Queue>) -> Self {
        let mut inner = queue.inner();
        inner.seats = inner.seats.saturating_add(1);
        drop(inner);
        Self(queue.clone())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut inner = self.0.inner();
        inner.seats = inner.seats.saturating_sub(1);
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
            Nature::Event if inner.is_full(frame.payload.len()) => {
                inner.given_up = Some(head.clone());
                inner.clear();
            }
            Nature::Event => inner.push(Item { head: head.clone(), body: Body::Next(frame.clone(), skipped) }),
            Nature::State { replaces } => {
                if let Some(new) = replaces
                    && replace(&mut inner, head, frame, new, skipped)
                {
                    return Pushed::Taken;
                }
                // An opening may take more frames than that: there is nothing it could be replaced by.
                let is_opening = frame.fact.opening.is_some();
                let too_many = !is_opening && waiting_like(&inner, head.serial, replaces) >= STATES;
                if too_many || inner.is_full(frame.payload.len()) {
                    let lost = leave_out(&mut inner, head.serial);
                    inner.behind.push(head.clone());
                    drop(inner);
                    self.wake();
                    return Pushed::Behind(lost.saturating_add(skipped).saturating_add(1));
                }
                inner.push(Item { head: head.clone(), body: Body::Next(frame.clone(), skipped) });
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
        inner.push(item);
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
            && let Some(item) = inner.items.pop_front()
        {
            bytes = bytes.saturating_add(item.bytes());
            taken.push(item);
        }
        inner.bytes = inner.bytes.saturating_sub(bytes);
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
    let alike = |item: &&Item| {
        let Body::Next(frame, _) = &item.body else { return false };
        item.head.serial == serial && frame.replaces().map(|one| one.key) == like.map(|one| one.key)
    };
    inner.items.iter().filter(alike).count()
}

/// Puts a state in the place of an older one that says no more than it.
fn replace(inner: &mut Inner, head: &Arc<Head>, frame: &Arc<Frame>, new: Replaces, skipped: u64) -> bool {
    let older = inner.items.iter_mut().rev().filter(|item| item.head.serial == head.serial).find(|item| {
        let Body::Next(old, _) = &item.body else { return false };
        // Whoever begins gets the SNAPSHOT that it begins with.
        let is_opening = old.fact.opening.is_some();
        !is_opening && old.replaces().is_some_and(|old| old.key == new.key && new.from <= old.from)
    });
    let Some(older) = older else { return false };
    let before = older.bytes();
    let Body::Next(_, left_out) = older.body else { return false };
    older.body = Body::Next(frame.clone(), left_out.saturating_add(skipped).saturating_add(1));
    let after = older.bytes();
    inner.bytes = inner.bytes.saturating_sub(before).saturating_add(after);
    true
}

/// Drops the frames of an operation; how many that are.
fn leave_out(inner: &mut Inner, serial: u64) -> u64 {
    let (mut lost, mut bytes) = (0_u64, 0_usize);
    inner.items.retain(|item| match &item.body {
        Body::Next(_, skipped) if item.head.serial == serial => {
            lost = lost.saturating_add(*skipped).saturating_add(1);
            bytes = bytes.saturating_add(item.bytes());
            false
        }
        _ => true,
    });
    inner.bytes = inner.bytes.saturating_sub(bytes);
    lost
}
