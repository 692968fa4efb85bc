//! Who may go through history now. Of all who follow so many at once, for queries of others must not wait for them; and of one client one
//! at a time, so that however many streams it has, the others wait for one step of each other client and no more.

use std::{fmt, sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{domain::cursor::Cursor, store::Live};

/// What one step costs whoever it is for. `Err`: it has to wait so long, and is asked again.
pub type Pace = Arc<dyn Fn() -> Result<(), Duration> + Send + Sync>;

#[derive(Clone)]
pub struct Turns {
    all: Arc<Semaphore>,
    own: Option<(Arc<Semaphore>, Pace)>,
}

impl fmt::Debug for Turns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turns").field("all", &self.all).field("own", &self.own.as_ref().map(|(own, _)| own)).finish()
    }
}

/// One turn; dropping it ends it.
#[derive(Debug)]
pub struct Turn {
    _own: Option<OwnedSemaphorePermit>,
    _all: Option<OwnedSemaphorePermit>,
}

impl Turns {
    #[must_use]
    pub fn new(at_once: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(at_once)), own: None }
    }

    /// The same turns, for a client that has a share of its own.
    #[must_use]
    pub fn of(&self, own: Arc<Semaphore>, pace: Pace) -> Self {
        Self { all: self.all.clone(), own: Some((own, pace)) }
    }

    /// The one for whatever came after this position; none where nothing has to be read back for it. A position that the chain has yet
    /// to come to is looked up with each block, and costs nothing: it may have been taken back.
    pub async fn before(&self, live: &Live, position: Option<&Cursor>) -> Option<Turn> {
        let cursor = position?;
        // Nothing of the head is held while a turn is waited for.
        let (number, window_floor) = {
            let head = live.head();
            (head.block?.number, head.window_floor)
        };
        if cursor.block_number > number {
            return Some(self.wait(None).await);
        }
        let is_in_memory = cursor.block_number >= window_floor && live.record(&cursor.block_hash).is_some();
        if is_in_memory { None } else { Some(self.take().await) }
    }

    /// Waits for it. Cancel-safe; what the step costs is taken only when it comes.
    pub async fn take(&self) -> Turn {
        self.wait(self.own.as_ref().map(|(_, pace)| pace)).await
    }

    async fn wait(&self, pace: Option<&Pace>) -> Turn {
        let mut own = None;
        if let Some((share, _)) = &self.own {
            own = share.clone().acquire_owned().await.ok();
        }
        if let Some(pace) = pace {
            while let Err(wait) = pace() {
                tokio::time::sleep(wait).await;
            }
        }
        // Nobody closes it.
        Turn { _own: own, _all: self.all.clone().acquire_owned().await.ok() }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        sync::atomic::{AtomicU32, Ordering},
        task::{Context, Poll, Waker},
    };

    use alloy::primitives::B256;

    use super::*;
    use crate::{domain::block::BlockRef, store::Commit};

    fn poll<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> Option<T> {
        match future.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    #[test]
    fn however_many_one_client_has_another_waits_for_one_of_them() {
        let all = Turns::new(1);
        let share = || all.of(Arc::new(Semaphore::new(1)), Arc::new(|| Ok(())));
        let (greedy, modest) = (share(), share());
        let first = poll(pin!(greedy.take())).unwrap();
        let mut greedy_waits: Vec<_> = (0..100).map(|_| Box::pin(greedy.take())).collect();
        for wait in &mut greedy_waits {
            assert!(poll(wait.as_mut()).is_none());
        }
        let mut modest = pin!(modest.take());
        assert!(poll(modest.as_mut()).is_none());
        drop(first);
        // Its share went to the next of the greedy, which stands behind in the line of all.
        for wait in &mut greedy_waits {
            assert!(poll(wait.as_mut()).is_none());
        }
        let second = poll(modest.as_mut()).expect("one step later");
        drop(second);
        let turns: Vec<Turn> = greedy_waits.iter_mut().filter_map(|wait| poll(wait.as_mut())).collect();
        assert_eq!(turns.len(), 1);
    }

    #[test]
    fn a_position_that_is_not_reached_yet_is_looked_up_one_at_a_time_and_costs_nothing() {
        let head = |number: u64| BlockRef { number, hash: B256::ZERO, parent_hash: B256::ZERO, timestamp: 0 };
        let live = Live::new(1, "test", 1, Duration::from_secs(60));
        let cursor = Cursor { chain: 1, block_number: 9, block_hash: B256::ZERO, next_log_index: 0, finalized_number: 0 };
        let turns = Turns::new(2).of(Arc::new(Semaphore::new(1)), Arc::new(|| panic!("it is not paid for")));
        assert!(poll(pin!(turns.before(&live, None))).unwrap().is_none());
        assert!(poll(pin!(turns.before(&live, Some(&cursor)))).unwrap().is_none(), "without a block there is nothing to look up");
        live.commit(Commit { head: Some(head(5)), at_head: true, ..Commit::default() });
        let first = poll(pin!(turns.before(&live, Some(&cursor)))).unwrap();
        let mut second = pin!(turns.before(&live, Some(&cursor)));
        assert!(first.is_some() && poll(second.as_mut()).is_none());
        drop(first);
        assert!(poll(second).unwrap().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_step_waits_until_it_is_paid_for_and_holds_up_nobody() {
        let asked = Arc::new(AtomicU32::new(0));
        let (all, counted) = (Turns::new(1), asked.clone());
        let pace: Pace =
            Arc::new(move || if counted.fetch_add(1, Ordering::Relaxed) < 3 { Err(Duration::from_secs(7)) } else { Ok(()) });
        let poor = all.of(Arc::new(Semaphore::new(1)), pace);
        let began = tokio::time::Instant::now();
        let mut waits = pin!(poor.take());
        assert!(poll(waits.as_mut()).is_none());
        drop(poll(pin!(all.take())).expect("others go on"));
        waits.await;
        assert_eq!((began.elapsed(), asked.load(Ordering::Relaxed)), (Duration::from_secs(21), 4));
    }
}
