//! Executions that few wait for take turns: of one client one at a time, and of all as many as leave one worker to everybody else.
//!
//! Thousands of different subscriptions are all due with the same block. Were they all to run at once, the one that thousands read would
//! stand somewhere among them, and a connection that has something to write would, too. What is absent: any limit on what many read.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    thread::available_parallelism,
};

use futures_util::{Stream, StreamExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::PollSemaphore;

/// The turns of all.
#[derive(Clone)]
pub(super) struct Lane(Arc<Semaphore>);

/// The turns of one client.
#[derive(Clone)]
pub(super) struct Line {
    own: Arc<Semaphore>,
    all: Lane,
}

impl Lane {
    pub(super) fn new() -> Self {
        let workers = available_parallelism().map_or(2, usize::from);
        Self::of(workers.saturating_sub(1).max(1))
    }

    fn of(at_once: usize) -> Self {
        Self(Arc::new(Semaphore::new(at_once)))
    }

    pub(super) fn line(&self) -> Line {
        Line { own: Arc::new(Semaphore::new(1)), all: self.clone() }
    }
}

/// A stream that works only when it is its turn, or need not wait for one. Between two items, while it waits for something itself, it
/// is nobody's turn.
pub(super) struct InTurn<S, F> {
    stream: S,
    own: PollSemaphore,
    all: PollSemaphore,
    /// Its client's turn, while it waits for the one of all.
    held: Option<OwnedSemaphorePermit>,
    /// It stands in a line: what it is given there must be taken.
    waits: bool,
    is_for_few: F,
}

impl<S, F> InTurn<S, F> {
    pub(super) fn new(stream: S, line: Line, is_for_few: F) -> Self {
        let (own, all) = (PollSemaphore::new(line.own), PollSemaphore::new(line.all.0));
        Self { stream, own, all, held: None, waits: false, is_for_few }
    }
}

impl<S: Stream + Unpin, F: Fn() -> bool + Unpin> Stream for InTurn<S, F> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let mut turn = None;
        if this.waits || (this.is_for_few)() {
            this.waits = true;
            if this.held.is_none() {
                // Nobody closes them.
                this.held = ready!(this.own.poll_acquire(context));
            }
            let all = ready!(this.all.poll_acquire(context));
            this.waits = false;
            turn = Some((this.held.take(), all));
        }
        let polled = this.stream.poll_next_unpin(context);
        drop(turn);
        polled
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicBool, AtomicU32, Ordering},
        task::Waker,
    };

    use futures_util::stream;

    use super::*;

    /// How many work now; the item is how often it did.
    type Work = stream::Iter<std::ops::RangeFrom<u32>>;

    fn one(line: &Line) -> InTurn<Work, fn() -> bool> {
        InTurn::new(stream::iter(0..), line.clone(), || true)
    }

    fn poll<S: Stream + Unpin>(stream: &mut S) -> Poll<Option<S::Item>> {
        stream.poll_next_unpin(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn what_many_read_waits_for_nobody_and_what_few_read_for_its_turn() {
        let lane = Lane::of(1);
        let busy = lane.0.clone().try_acquire_owned().unwrap();
        let few = Arc::new(AtomicBool::new(true));
        let for_few = few.clone();
        let mut stream = InTurn::new(stream::iter(0..), lane.line(), move || for_few.load(Ordering::Relaxed));
        assert_eq!(poll(&mut stream), Poll::Pending);
        // It stands in line by now, and takes its turn there.
        few.store(false, Ordering::Relaxed);
        assert_eq!(poll(&mut stream), Poll::Pending);
        drop(busy);
        assert_eq!(poll(&mut stream), Poll::Ready(Some(0)));
        let _busy = lane.0.clone().try_acquire_owned().expect("its turn is over");
        assert_eq!(poll(&mut stream), Poll::Ready(Some(1)), "and it needs none any more");
    }

    #[test]
    fn a_client_with_a_thousand_holds_up_another_by_one() {
        let lane = Lane::of(1);
        let (greedy, modest) = (lane.line(), lane.line());
        let busy = lane.0.clone().try_acquire_owned().unwrap();
        let mut thousand: Vec<_> = (0..1_000).map(|_| one(&greedy)).collect();
        assert!(thousand.iter_mut().all(|one| poll(one) == Poll::Pending));
        let mut other = one(&modest);
        assert_eq!(poll(&mut other), Poll::Pending);
        drop(busy);
        // The first of the thousand is before it in the line of all; the second is not.
        assert_eq!(poll(&mut other), Poll::Pending);
        assert_eq!(poll(&mut thousand[0]), Poll::Ready(Some(0)));
        assert_eq!(poll(&mut thousand[1]), Poll::Pending);
        assert_eq!(poll(&mut other), Poll::Ready(Some(0)));
        // Whoever leaves gives its place to the next.
        drop(thousand.remove(1));
        assert_eq!(poll(&mut thousand[1]), Poll::Ready(Some(0)));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn all_have_their_turn_and_no_two_at_once() {
        let lane = Lane::of(1);
        let working = Arc::new(AtomicU32::new(0));
        let tasks = (0..50).map(|number| {
            let (working, line) = (working.clone(), lane.line());
            let work = stream::poll_fn(move |_| {
                assert_eq!(working.fetch_add(1, Ordering::SeqCst), 0, "nobody else works");
                std::hint::black_box(vec![number; 1_000]);
                working.fetch_sub(1, Ordering::SeqCst);
                Poll::Ready(Some(()))
            });
            tokio::spawn(InTurn::new(work, line, || true).take(100).count())
        });
        let counts = futures_util::future::join_all(tasks).await;
        assert!(counts.into_iter().all(|count| count.unwrap() == 100));
    }
}
