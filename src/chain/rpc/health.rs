//! How an endpoint has been doing, and how fast it may be asked.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use super::errors::Failure;

/// The first failure puts an endpoint behind the others for this long; it doubles with each further one.
const OUT_FIRST: Duration = Duration::from_millis(500);

/// An endpoint is tried again at least this often.
const OUT_MAX: Duration = Duration::from_secs(30);

/// Whether an endpoint comes first or last. It is never left out: when all are down the first is tried again.
#[derive(Debug, Default)]
pub(super) struct Health(Mutex<Record>);

#[derive(Debug, Default)]
struct Record {
    failures: u32,
    out_until: Option<Instant>,
}

impl Health {
    pub(super) fn answered(&self) {
        let mut record = lock(&self.0);
        if record.failures > 0 {
            *record = Record::default();
        }
    }

    pub(super) fn failed(&self, failure: &Failure) {
        let mut record = lock(&self.0);
        let doubled = OUT_FIRST.saturating_mul(1_u32.checked_shl(record.failures).unwrap_or(u32::MAX)).min(OUT_MAX);
        let out = match failure {
            // It was asked nicely for a pause.
            Failure::Busy { after: Some(after), .. } => doubled.max(*after),
            Failure::WrongChain { .. } => OUT_MAX,
            _ => doubled,
        };
        record.failures = record.failures.saturating_add(1).min(16);
        record.out_until = Instant::now().checked_add(out);
    }

    pub(super) fn is_out(&self, now: Instant) -> bool {
        lock(&self.0).out_until.is_some_and(|until| until > now)
    }
}

/// At most so many requests a second, evenly spaced: public tiers count in windows that we do not see.
#[derive(Debug)]
pub(super) struct Pace {
    gap: Duration,
    next: Mutex<Option<Instant>>,
}

impl Pace {
    pub(super) fn new(max_rps: u32) -> Self {
        Self { gap: Duration::from_secs(1).checked_div(max_rps.max(1)).unwrap_or(Duration::ZERO), next: Mutex::new(None) }
    }

    /// Waits for the next free slot.
    pub(super) async fn turn(&self) {
        let now = Instant::now();
        let at = {
            let mut next = lock(&self.next);
            let at = next.map_or(now, |next| next.max(now));
            *next = at.checked_add(self.gap);
            at
        };
        if at > now {
            sleep_until(at).await;
        }
    }
}

/// A panic while the lock was held leaves at worst a stale record.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_that_fails_comes_last_for_longer_each_time_and_first_again_once_it_answers() {
        let health = Health::default();
        assert!(!health.is_out(Instant::now()));
        let failure = Failure::Unreachable("x".into());
        health.failed(&failure);
        assert!(health.is_out(Instant::now()));
        tokio::time::advance(OUT_FIRST).await;
        assert!(!health.is_out(Instant::now()));
        health.failed(&failure);
        tokio::time::advance(OUT_FIRST).await;
        assert!(health.is_out(Instant::now()));
        for _ in 0..40 {
            health.failed(&failure);
        }
        tokio::time::advance(OUT_MAX).await;
        assert!(!health.is_out(Instant::now()));
        health.failed(&failure);
        health.answered();
        assert!(!health.is_out(Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn requests_are_spaced_evenly() {
        let pace = Pace::new(10);
        let start = Instant::now();
        for _ in 0..11 {
            pace.turn().await;
        }
        assert_eq!(start.elapsed(), Duration::from_secs(1));
    }
}
