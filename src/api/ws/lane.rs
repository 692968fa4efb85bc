//! Executions that few wait for take turns: of one client one at a time, and of all as many as leave one worker to everybody else.
//!
//! Thousands of different subscriptions are all due with the same block. Were they all to run at once, the one that thousands read would
//! stand somewhere among them, and a connection that has something to write would, too. What is absent: any limit on what many read, and
//! on a step that is under way: it may hold what others wait for.

use std::{
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    thread::available_parallelism,
};

use futures_util::{Stream, StreamExt as _};
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
    task::yield_now,
};
use tokio_util::sync::PollSemaphore;

use crate::api::gql::link::Link;

/// The turns of all.
#[derive(Clone)]
pub(super) struct Lane(Arc<Semaphore>);

/// The turns of one client.
#[derive(Clone)]
pub(super) struct Line {
    own: Arc<Semaphore>,
    all: Lane,
    reads: Arc<AtomicUsize>,
}

impl Default for Lane {
    fn default() -> Self {
        let of_runtime = Handle::try_current().map(|runtime| runtime.metrics().num_workers());
        let workers = of_runtime.unwrap_or_else(|_| available_parallelism().map_or(2, usize::from));
        Self::of(workers.saturating_sub(1).max(1))
    }
}

impl Lane {
    fn of(at_once: usize) -> Self {
        Self(Arc::new(Semaphore::new(at_once)))
    }

    pub(super) fn line(&self) -> Line {
        Line { own: Arc::new(Semaphore::new(1)), all: self.clone(), reads: Arc::default() }
    }
}

impl Line {
    /// Subscriptions that its client reads: the fewer, the shorter is this line.
    pub(super) fn reads(&self) -> usize {
        self.reads.load(Ordering::Relaxed)
    }

    /// Of one writer at a time.
    pub(super) fn set_reads(&self, reads: usize) {
        self.reads.store(reads, Ordering::Relaxed);
    }
}

/// Where it waits for its turn.
struct Waits {
    own: PollSemaphore,
    all: PollSemaphore,
    /// Its client's turn, while it waits for the one of all.
    of_client: Option<OwnedSemaphorePermit>,
    /// Everybody who was ready went before it.
    yielded: bool,
}

/// A stream that begins a step only when it is its turn, or need not wait for one. The turn ends with the step, or when the step itself
/// has to wait for something; it goes on as soon as it can.
pub(super) struct InTurn<S, F> {
    stream: S,
    link: Arc<Link>,
    /// The line in which the next step stands, if in any.
    line: F,
    waits: Option<Waits>,
    /// Its first step begins with the first look at it, and is not said to be due.
    is_new: bool,
}

impl<S, F> InTurn<S, F> {
    pub(super) fn new(stream: S, link: Arc<Link>, line: F) -> Self {
        Self { stream, link, line, waits: None, is_new: true }
    }
}

impl<S: Stream + Unpin, F: Fn() -> Option<Line> + Unpin> InTurn<S, F> {
    /// Until it may begin a step, with what it holds during it. Whatever this runtime has to do already is done before: tokio's own yield
    /// comes back when no worker finds anything else, or after some 60 tasks. What all wait for is taken only then.
    fn poll_turn(&mut self, context: &mut Context<'_>) -> Poll<Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)>> {
        if self.waits.is_none() {
            let begin = |Line { own, all, .. }| Waits {
                own: PollSemaphore::new(own),
                all: PollSemaphore::new(all.0),
                of_client: None,
                yielded: false,
            };
            self.waits = (self.line)().map(begin);
        }
        let Some(waits) = &mut self.waits else { return Poll::Ready(None) };
        if waits.of_client.is_none() {
            // Nobody closes them.
            waits.of_client = ready!(waits.own.poll_acquire(context));
        }
        if !waits.yielded {
            waits.yielded = true;
            ready!(pin!(yield_now()).poll(context));
        }
        let of_all = ready!(waits.all.poll_acquire(context));
        let turn = waits.of_client.take().zip(of_all);
        self.waits = None;
        Poll::Ready(turn)
    }
}

impl<S: Stream + Unpin, F: Fn() -> Option<Line> + Unpin> Stream for InTurn<S, F> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if !this.is_new && !this.link.is_due() {
            // It rests, or is in the middle of a step.
            this.link.set_may((this.line)().is_none());
            match this.stream.poll_next_unpin(context) {
                Poll::Pending if this.link.is_due() => {}
                polled => return polled,
            }
        }
        let turn = ready!(this.poll_turn(context));
        this.is_new = false;
        this.link.let_begin();
        let polled = this.stream.poll_next_unpin(context);
        drop(turn);
        polled
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicBool, AtomicU32},
        task::Waker,
    };

    use futures_util::stream;
    use tokio::sync::Notify;

    use super::*;

    /// Steps without end, each of which can begin at once; the item is how often it worked.
    fn steps(link: &Arc<Link>) -> impl Stream<Item = u32> + Unpin + use<> {
        let link = link.clone();
        Box::pin(stream::unfold(0, move |count: u32| {
            let link = link.clone();
            async move {
                if count > 0 {
                    link.rest(std::future::ready(())).await;
                }
                Some((count, count + 1))
            }
        }))
    }

    fn in_turn(
        line: impl Fn() -> Option<Line> + Unpin,
    ) -> InTurn<impl Stream<Item = u32> + Unpin, impl Fn() -> Option<Line> + Unpin> {
        let link = Arc::new(Link::shared());
        InTurn::new(steps(&link), link, line)
    }

    fn one(line: &Line) -> InTurn<impl Stream<Item = u32> + Unpin + use<>, impl Fn() -> Option<Line> + Unpin + use<>> {
        let (link, line) = (Arc::new(Link::shared()), line.clone());
        InTurn::new(steps(&link), link, move || Some(line.clone()))
    }

    fn once<S: Stream + Unpin>(stream: &mut S) -> Poll<Option<S::Item>> {
        stream.poll_next_unpin(&mut Context::from_waker(Waker::noop()))
    }

    /// Once more where it only let others go first.
    fn poll<S: Stream + Unpin>(stream: &mut S) -> Poll<Option<S::Item>> {
        match once(stream) {
            Poll::Pending => once(stream),
            ready => ready,
        }
    }

    #[tokio::test]
    async fn whoever_has_a_turn_lets_everybody_go_first_who_is_ready() {
        let lane = Lane::of(1);
        let mut stream = one(&lane.line());
        for count in 0..3 {
            assert_eq!(once(&mut stream), Poll::Pending);
            // Nobody else is held up meanwhile.
            assert_eq!(lane.0.available_permits(), 1);
            assert_eq!(once(&mut stream), Poll::Ready(Some(count)));
        }
    }

    #[test]
    fn what_many_read_waits_for_nobody_and_what_few_read_for_its_turn() {
        let lane = Lane::of(1);
        let busy = lane.0.clone().try_acquire_owned().unwrap();
        let few = Arc::new(AtomicBool::new(true));
        let (for_few, line) = (few.clone(), lane.line());
        let mut stream = in_turn(move || for_few.load(Ordering::Relaxed).then(|| line.clone()));
        assert_eq!(poll(&mut stream), Poll::Pending);
        // It stands in line by now, and takes its turn there.
        few.store(false, Ordering::Relaxed);
        assert_eq!(poll(&mut stream), Poll::Pending);
        drop(busy);
        assert_eq!(poll(&mut stream), Poll::Ready(Some(0)));
        let _busy = lane.0.clone().try_acquire_owned().expect("its turn is over");
        assert_eq!(once(&mut stream), Poll::Ready(Some(1)), "and it needs none any more");
        // Each step has a turn of its own.
        few.store(true, Ordering::Relaxed);
        assert_eq!(poll(&mut stream), Poll::Pending);
    }

    #[test]
    fn a_step_that_waits_for_something_gives_its_turn_back_and_goes_on_without_one() {
        let lane = Lane::of(1);
        let (link, line) = (Arc::new(Link::shared()), lane.line());
        let (block, row) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (next_block, found, rests) = (block.clone(), row.clone(), link.clone());
        let steps = stream::unfold(true, move |is_first| {
            let (next_block, found, rests) = (next_block.clone(), found.clone(), rests.clone());
            async move {
                if !is_first {
                    rests.rest(next_block.notified()).await;
                }
                // Holds what others wait for, as a reader of the database.
                found.notified().await;
                Some(((), false))
            }
        });
        let mut stream = InTurn::new(Box::pin(steps), link, move || Some(line.clone()));
        for is_first in [true, false, false] {
            let busy = lane.0.clone().try_acquire_owned().expect("whoever rests has no turn");
            if !is_first {
                assert_eq!(poll(&mut stream), Poll::Pending, "of the block");
                block.notify_one();
            }
            assert_eq!(poll(&mut stream), Poll::Pending, "a step begins when it is its turn");
            drop(busy);
            assert_eq!(poll(&mut stream), Poll::Pending, "of the row");
            let _busy = lane.0.clone().try_acquire_owned().expect("whoever waits for a row has no turn");
            row.notify_one();
            assert_eq!(poll(&mut stream), Poll::Ready(Some(())), "what is under way is not held up");
        }
    }

    #[test]
    fn who_is_woken_for_nothing_takes_no_turn() {
        let lane = Lane::of(1);
        let _busy = lane.0.clone().try_acquire_owned().unwrap();
        let (link, line, block) = (Arc::new(Link::shared()), lane.line(), Arc::new(Notify::new()));
        let (rests, next_block) = (link.clone(), block.clone());
        let steps = stream::unfold((), move |()| {
            let (rests, next_block) = (rests.clone(), next_block.clone());
            async move { Some((rests.rest(next_block.notified()).await, ())) }
        });
        let mut stream = InTurn::new(Box::pin(steps), link.clone(), move || Some(line.clone()));
        stream.is_new = false;
        for _ in 0..3 {
            assert_eq!(poll(&mut stream), Poll::Pending);
            assert!(!link.is_due() && stream.waits.is_none());
        }
        block.notify_one();
        assert_eq!(poll(&mut stream), Poll::Pending);
        assert!(link.is_due() && stream.waits.is_some());
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
            let link = Arc::new(Link::shared());
            let work = steps(&link).map(move |_| {
                assert_eq!(working.fetch_add(1, Ordering::SeqCst), 0, "nobody else works");
                std::hint::black_box(vec![number; 1_000]);
                working.fetch_sub(1, Ordering::SeqCst);
            });
            tokio::spawn(InTurn::new(work, link, move || Some(line.clone())).take(100).count())
        });
        let counts = futures_util::future::join_all(tasks).await;
        assert!(counts.into_iter().all(|count| count.unwrap() == 100));
    }
}
