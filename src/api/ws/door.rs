//! Who may come in now: when everybody connects at once, those who are in already go on being served. A connection costs about as much
//! as 100 messages, so that thousands in one moment would hold up everything else for seconds.
//!
//! One address takes few of the places: its requests have a limit of their own (`api.requests_per_second`).
//!
//! What is absent: a time that is kept for somebody. Whoever leaves has taken nothing, and those behind it move up.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Semaphore,
    time::{Instant, sleep_until, timeout},
};

/// One in so much time: 1,000 a second.
const SPACING: Duration = Duration::from_millis(1);
/// So many come in at once where nobody came for a while.
const AT_ONCE: u32 = 50;
/// Whoever has waited so long is sent away, and comes again later.
const WAIT_MAX: Duration = Duration::from_secs(20);
/// More than come in within [`WAIT_MAX`] need not begin to wait.
const WAITING_MAX: usize = 20_000;

/// The generic cell rate algorithm (ITU-T I.371), as a virtual schedule; they stand before it one behind the other.
#[derive(Debug)]
pub(super) struct Door {
    /// Of whoever is at the door. The others get it in the order in which they came.
    first: Semaphore,
    waiting: Semaphore,
    /// When the next one would be due, were nobody let in early. `None`: nobody came so far.
    next: Mutex<Option<Instant>>,
}

impl Default for Door {
    fn default() -> Self {
        Self { first: Semaphore::new(1), waiting: Semaphore::new(WAITING_MAX), next: Mutex::default() }
    }
}

impl Door {
    /// Waits until it may come in. Cancel-safe.
    ///
    /// # Errors
    /// That takes too long: it may ask again after this time.
    pub(super) async fn enter(&self) -> Result<(), Duration> {
        // Nobody closes either of them.
        let _waits = self.waiting.try_acquire().map_err(|_| WAIT_MAX)?;
        let turn = async {
            let _first = self.first.acquire().await;
            if let Some(at) = self.due(Instant::now()) {
                sleep_until(at).await;
            }
            self.let_in(Instant::now());
        };
        timeout(WAIT_MAX, turn).await.map_err(|_| WAIT_MAX)
    }

    fn next(&self) -> MutexGuard<'_, Option<Instant>> {
        // Never held across an await.
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the next one may come in. `None`: now.
    fn due(&self, now: Instant) -> Option<Instant> {
        let early = SPACING.saturating_mul(AT_ONCE.saturating_sub(1));
        self.next().and_then(|next| next.checked_sub(early)).filter(|at| *at > now)
    }

    /// Whoever is late, because its timer was or because this machine has much to do, makes nobody else late.
    fn let_in(&self, now: Instant) {
        let mut next = self.next();
        *next = next.map_or(now, |next| next.max(now)).checked_add(SPACING);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::future::join_all;
    use tokio::task::JoinHandle;

    use super::*;

    /// So many come at once; when each came in, from now on.
    fn come(door: &Arc<Door>, count: usize) -> Vec<JoinHandle<Result<Duration, Duration>>> {
        let now = Instant::now();
        let one = |door: Arc<Door>| tokio::spawn(async move { door.enter().await.map(|()| now.elapsed()) });
        (0..count).map(|_| one(door.clone())).collect()
    }

    async fn all(tasks: Vec<JoinHandle<Result<Duration, Duration>>>) -> Vec<Result<Duration, Duration>> {
        join_all(tasks).await.into_iter().map(Result::unwrap).collect()
    }

    /// A timer has a resolution of a millisecond.
    fn assert_due(came: &Result<Duration, Duration>, place: usize) {
        let due = SPACING * u32::try_from(place.saturating_sub(AT_ONCE as usize - 1)).unwrap();
        let came = came.unwrap();
        assert!(came >= due && came <= due + Duration::from_millis(2), "{place}: {came:?}, due {due:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn some_come_in_at_once_and_the_others_one_by_one() {
        let door = Arc::new(Door::default());
        for _ in 0..2 {
            let came = all(come(&door, 1_000)).await;
            came.iter().enumerate().for_each(|(place, came)| assert_due(came, place));
            // What was not used in a while is not saved for later.
            tokio::time::advance(Duration::from_secs(60)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_leaves_has_taken_nothing() {
        let door = Arc::new(Door::default());
        let crowd = come(&door, 10_000);
        let last = come(&door, 1);
        tokio::task::yield_now().await;
        crowd.iter().skip(200).for_each(JoinHandle::abort);
        assert_due(&all(last).await[0], 200);
        assert_eq!(door.waiting.available_permits(), WAITING_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_would_wait_too_long_is_sent_away() {
        let door = Arc::new(Door::default());
        let came = all(come(&door, 30_000)).await;
        let let_in = came.iter().filter(|came| came.is_ok()).count();
        assert_eq!(let_in, WAITING_MAX + AT_ONCE as usize, "and those that were in before the others came");
        assert!(came[let_in..].iter().all(|came| *came == Err(WAIT_MAX)), "those that came last");
        // Whoever is first in a line that does not move waits no longer either.
        tokio::time::advance(Duration::from_secs(60)).await;
        let stuck = door.first.acquire().await.unwrap();
        let began = Instant::now();
        assert_eq!(door.enter().await, Err(WAIT_MAX));
        assert!(began.elapsed() >= WAIT_MAX && began.elapsed() <= WAIT_MAX + Duration::from_millis(2), "{:?}", began.elapsed());
        drop(stuck);
        assert_eq!(door.enter().await, Ok(()));
    }
}
