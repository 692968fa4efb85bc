//! What a subscription's stream and whoever carries it tell each other beside the responses. Lives in the request's data.
//!
//! One stream serves many subscribers, who come and go. A newcomer has to begin with something: the state (SNAPSHOT), or where the
//! stream is (HEARTBEAT). So the stream can be called for such an opening at any time, between two frames, and says of each response
//! what the carrier has to know and a document may not have asked for.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Poll, Waker},
    time::Duration,
};

use async_graphql::Context;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use super::error::ApiError;
use crate::{domain::cursor::Cursor, store::follow::turns::Turns};

/// Whether a frame can be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Nature {
    /// Each counts.
    #[default]
    Event,
    /// Only the newest counts.
    State {
        /// It says all that an earlier frame with the same key said, if its reach is not shorter. `None`: only an opening can take its
        /// place.
        replaces: Option<Replaces>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Replaces {
    /// Which of the things that a subscription is about.
    pub(crate) key: u64,
    /// From where on it says everything, smaller is more.
    pub(crate) from: u64,
}

/// Of one response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Fact {
    pub(crate) nature: Nature,
    /// Newcomers may begin with it.
    pub(crate) opening: Option<Opening>,
    /// The position after it, where the subscription has one.
    pub(crate) cursor: Option<Cursor>,
    /// The epoch that brought it. `None`: it was read back, or nothing happened.
    pub(crate) epoch: Option<u64>,
    /// Nothing of this epoch and of those before is still to come.
    pub(crate) through: Option<u64>,
}

/// An opening may take several frames, which come without others between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Opening {
    pub(crate) first: bool,
    pub(crate) last: bool,
    /// Only for newcomers; else for everybody.
    pub(crate) only: bool,
}

impl Opening {
    /// In one frame.
    pub(crate) const WHOLE: Self = Self { first: true, last: true, only: true };
}

/// Where a stream begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Start {
    /// Where its document says.
    #[default]
    Document,
    /// At the head, whatever the document says.
    Head,
    /// Right after this.
    After(Cursor),
}

#[derive(Debug, Default)]
pub(crate) struct Link {
    start: Start,
    /// Of whom it is for; of nobody in particular where it is shared.
    turns: Option<Turns>,
    fact: Mutex<Fact>,
    called: Notify,
    /// When the next opening may be made.
    next_opening: Mutex<Option<Instant>>,
    /// Each step waits until whoever carries the stream lets it begin.
    in_turn: bool,
    /// The next one may begin.
    may: AtomicBool,
    /// A step that could begin, and does not yet.
    due: Mutex<Option<Waker>>,
}

/// Newcomers of so short a time share an opening: a crowd of them must not cost the others one each.
const OPENINGS_APART: Duration = Duration::from_millis(20);

impl Link {
    /// Of a stream that is shared: it begins at the head.
    pub(crate) fn shared() -> Self {
        Self { start: Start::Head, in_turn: true, ..Self::default() }
    }

    /// Of a stream that goes on after a cursor, if there is one, else where its document says.
    pub(crate) fn resuming(after: Option<Cursor>, turns: Turns) -> Self {
        Self { start: after.map_or(Start::Document, Start::After), turns: Some(turns), ..Self::default() }
    }

    pub(super) fn turns(&self) -> Option<Turns> {
        self.turns.clone()
    }

    /// Asks for an opening.
    pub(crate) fn call(&self) {
        self.called.notify_one();
    }

    /// Until an opening is asked for, and the one before is some time ago. Cancel-safe.
    pub(super) async fn called(&self) {
        let next = *self.next_opening.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(next) = next {
            sleep_until(next).await;
        }
        self.called.notified().await;
        *self.next_opening.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now().checked_add(OPENINGS_APART);
    }

    /// Waits for what begins the next step: a block, a call, a time. Nothing that others wait for may be held meanwhile, or be waited
    /// for: whoever carries the stream may put the step off as long as it likes.
    pub(in crate::api) async fn rest<T>(&self, until: impl Future<Output = T>) -> T {
        let mut until = pin!(until);
        let mut ready = None;
        poll_fn(|context| {
            if ready.is_none() {
                ready = Some(std::task::ready!(until.as_mut().poll(context)));
            }
            if self.in_turn && !self.may.swap(false, Ordering::Relaxed) {
                *self.due() = Some(context.waker().clone());
                return Poll::Pending;
            }
            ready.take().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    fn due(&self) -> MutexGuard<'_, Option<Waker>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A step waits to be let begin.
    pub(crate) fn is_due(&self) -> bool {
        self.due().is_some()
    }

    /// Whether a step that is found to be due at the next look may begin at once.
    pub(crate) fn set_may(&self, may: bool) {
        self.may.store(may, Ordering::Relaxed);
    }

    /// Lets a step begin: with the next look at the stream.
    pub(crate) fn let_begin(&self) {
        self.set_may(true);
        let due = self.due().take();
        if let Some(due) = due {
            due.wake();
        }
    }

    /// About the response that comes next.
    pub(crate) fn tell(&self, fact: Fact) {
        *self.fact.lock().unwrap_or_else(PoisonError::into_inner) = fact;
    }

    /// About the response that came last.
    pub(crate) fn fact(&self) -> Fact {
        std::mem::take(&mut *self.fact.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// That of this request; one of its own where nobody else listens.
pub(super) fn link(ctx: &Context<'_>) -> std::sync::Arc<Link> {
    ctx.data_opt::<std::sync::Arc<Link>>().cloned().unwrap_or_default()
}

impl Link {
    /// Where to begin, if the document says `asked`. `None`: at the head.
    pub(super) fn start(&self, asked: Option<Cursor>) -> Option<Cursor> {
        match self.start {
            Start::Document => asked,
            Start::Head => None,
            Start::After(cursor) => Some(cursor),
        }
    }

    /// Whether the document's own words about where to begin count.
    pub(super) fn follows_document(&self) -> bool {
        self.start == Start::Document
    }
}

/// A cursor that a client gave, of this chain.
pub(super) fn of_chain(cursor: Cursor, chain: crate::domain::ChainId) -> Result<Cursor, ApiError> {
    if cursor.chain != chain {
        return Err(ApiError::input(format!("this cursor is of chain {}, and the subscription of chain {chain}", cursor.chain)));
    }
    Ok(cursor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_crowd_of_newcomers_shares_openings_and_nobody_is_forgotten() {
        let link = Link::shared();
        let began = Instant::now();
        let mut openings = 0;
        // One newcomer each millisecond, for a second; the stream has other things to do in between.
        for _ in 0..1_000 {
            link.call();
            tokio::select! {
                () = link.called() => openings += 1,
                () = tokio::time::sleep(Duration::from_millis(1)) => {}
            }
        }
        assert!((45..=51).contains(&openings), "{openings} in {:?}", began.elapsed());
        // The last one is let in, too.
        link.call();
        link.called().await;
        assert!(tokio::time::timeout(Duration::from_secs(1), link.called()).await.is_err(), "and nobody twice");
    }
}
