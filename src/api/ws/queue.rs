//! What waits to be written to one connection: bounded, and full without harm to anybody else.
//!
//! Frames are shared bytes, so a place costs little. Of states only the newest is kept; events are never left out: where they do not
//! fit any more the connection is given up, with everything that waits.

mod waiting;

use std::{
    future::poll_fn,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
};

use futures_util::task::AtomicWaker;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};

use self::waiting::Waiting;
use super::message;
use crate::api::gql::link::{Fact, Nature, Replaces};

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
        inner.leave_out(self.serial);
        let has_room = inner.has_room();
        drop(inner);
        if has_room {
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
    inner: Mutex<Waiting>,
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
    fn inner(&self) -> MutexGuard<'_, Waiting> {
        // Never held across an await; every critical section is a few moves.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A frame that all subscribers to the same get. `skipped` were left out before it.
    pub(super) fn offer(&self, head: &Arc<Head>, frame: &Arc<Frame>, skipped: u64) -> Pushed {
        let mut inner = self.inner();
        if inner.is_over() {
            return Pushed::Taken;
        }
        let idle = inner.is_empty();
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
                    && inner.replace(head, frame, new, skipped)
                {
                    return Pushed::Taken;
                }
                // An opening may take more frames than that: there is nothing it could be replaced by.
                let is_opening = frame.fact.opening.is_some();
                let too_many = !is_opening && inner.has_many_like(head.serial, replaces);
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
        let mut taken = Vec::with_capacity(inner.len().min(most));
        let mut bytes = 0_usize;
        while taken.len() < most
            && bytes < bytes_most
            && let Some(item) = inner.pop()
        {
            bytes = bytes.saturating_add(item.bytes());
            taken.push(item);
        }
        let (is_all, has_room) = (inner.is_empty(), inner.has_room());
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
