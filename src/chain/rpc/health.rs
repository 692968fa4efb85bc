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

/// A request that would have to wait longer than this is refused at once: another endpoint may be free.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Without a complaint for this long, a learned pace is raised by a tenth.
const CALM: Duration = Duration::from_secs(30);

const DAY: Duration = Duration::from_secs(86_400);

/// When the next request may go. What the configuration says is kept; what the endpoint complains of is learned.
///
/// Requests are evenly spaced, because public tiers count in windows that we do not see.
#[derive(Debug)]
pub(super) struct Pace {
    /// From the configuration; zero: none.
    gap_least: Duration,
    per_day_max: Option<u64>,
    state: Mutex<PaceState>,
}

#[derive(Debug, Default)]
struct PaceState {
    gap: Duration,
    next: Option<Instant>,
    /// The endpoint asked for a pause until then.
    held_until: Option<Instant>,
    /// When it complained last, or the pace was raised since.
    complained: Option<Instant>,
    /// Requests since `second_from`, and in the second before.
    second_from: Option<Instant>,
    this_second: u32,
    last_second: u32,
    day_from: Option<Instant>,
    today: u64,
    warned_at_percent: u64,
}

/// Why a request may not go now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pause {
    /// The endpoint said so, or so many requests wait already.
    Asked(Duration),
    /// `max_per_day` is used up.
    Spent(Duration),
}

impl Pace {
    pub(super) fn new(max_rps: Option<u32>, per_day_max: Option<u64>) -> Self {
        let gap_least = max_rps.and_then(|rps| Duration::from_secs(1).checked_div(rps.max(1))).unwrap_or_default();
        Self { gap_least, per_day_max, state: Mutex::new(PaceState { gap: gap_least, ..PaceState::default() }) }
    }

    /// Waits for the next free slot, or says how long it would take.
    pub(super) async fn turn(&self, label: &str) -> Result<(), Pause> {
        let now = Instant::now();
        let at = self.slot(now, label)?;
        if at > now {
            sleep_until(at).await;
        }
        Ok(())
    }

    fn slot(&self, now: Instant, label: &str) -> Result<Instant, Pause> {
        let mut state = lock(&self.state);
        state.recover(now, self.gap_least);
        let held = state.held_until.filter(|until| *until > now);
        let at = state.next.map_or(now, |next| next.max(now)).max(held.unwrap_or(now));
        let wait = at.saturating_duration_since(now);
        if wait > WAIT_MAX {
            return Err(Pause::Asked(wait));
        }
        state.spend(now, self.per_day_max, label)?;
        state.next = (!state.gap.is_zero()).then(|| at.checked_add(state.gap)).flatten();
        Ok(at)
    }

    /// The endpoint complained: it gets the pause that it asks for, or else three requests where it got four.
    pub(super) fn slow_down(&self, after: Option<Duration>) {
        let now = Instant::now();
        let mut state = lock(&self.state);
        if let Some(until) = after.and_then(|after| now.checked_add(after)) {
            state.held_until = Some(state.held_until.map_or(until, |held| held.max(until)));
            return;
        }
        // Those that were under way together complain together: once is enough.
        if state.complained.is_some_and(|at| now.saturating_duration_since(at) < Duration::from_secs(1)) {
            return;
        }
        state.complained = Some(now);
        let busiest = state.this_second.max(state.last_second).max(1);
        let measured = Duration::from_secs(1).checked_div(busiest).unwrap_or_default();
        let slower = measured.max(state.gap).saturating_mul(4).checked_div(3).unwrap_or_default();
        state.gap = slower.min(Duration::from_secs(1));
    }

    /// Requests a second that may go now; `None`: no limit.
    pub(super) fn rps(&self) -> Option<f64> {
        let gap = lock(&self.state).gap;
        (!gap.is_zero()).then(|| 1.0 / gap.as_secs_f64())
    }

    /// Requests that today's budget still has.
    pub(super) fn left_today(&self) -> Option<u64> {
        let state = lock(&self.state);
        self.per_day_max.map(|max| max.saturating_sub(state.today))
    }
}

impl PaceState {
    /// After a calm time a learned pace is tried a little faster, up to what is configured.
    fn recover(&mut self, now: Instant, gap_least: Duration) {
        let Some(complained) = self.complained else { return };
        if now.saturating_duration_since(complained) < CALM {
            return;
        }
        let faster = self.gap.saturating_mul(10).checked_div(11).unwrap_or_default();
        // Above a thousand a second no limit is left to be seen.
        let done = faster <= gap_least || faster < Duration::from_millis(1);
        (self.gap, self.complained) = if done { (gap_least, None) } else { (faster, Some(now)) };
    }

    fn spend(&mut self, now: Instant, per_day_max: Option<u64>, label: &str) -> Result<(), Pause> {
        let began = self.second_from.unwrap_or(now);
        if self.second_from.is_none() || now.saturating_duration_since(began) >= Duration::from_secs(1) {
            (self.second_from, self.last_second, self.this_second) = (Some(now), self.this_second, 0);
        }
        self.this_second = self.this_second.saturating_add(1);
        let Some(max) = per_day_max else { return Ok(()) };
        let day = self.day_from.filter(|from| now.saturating_duration_since(*from) < DAY);
        if day.is_none() {
            (self.day_from, self.today, self.warned_at_percent) = (Some(now), 0, 0);
        }
        if self.today >= max {
            let since = now.saturating_duration_since(day.unwrap_or(now));
            return Err(Pause::Spent(DAY.saturating_sub(since)));
        }
        self.today = self.today.saturating_add(1);
        for percent in [80, 100] {
            if self.warned_at_percent < percent && self.today.saturating_mul(100) >= max.saturating_mul(percent) {
                self.warned_at_percent = percent;
                tracing::warn!(
                    endpoint = label,
                    used = self.today,
                    max_per_day = max,
                    "{percent} % of the day's requests are used"
                );
            }
        }
        Ok(())
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
        let pace = Pace::new(Some(10), None);
        let start = Instant::now();
        for _ in 0..11 {
            pace.turn("x").await.unwrap();
        }
        assert_eq!(start.elapsed(), Duration::from_secs(1));
        let free = Pace::new(None, None);
        for _ in 0..1_000 {
            free.turn("x").await.unwrap();
        }
        assert_eq!(start.elapsed(), Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_that_was_asked_for_is_kept_whoever_asks() {
        let pace = Pace::new(None, None);
        pace.slow_down(Some(Duration::from_secs(60)));
        assert_eq!(pace.turn("x").await, Err(Pause::Asked(Duration::from_secs(60))));
        tokio::time::advance(Duration::from_secs(57)).await;
        let start = Instant::now();
        pace.turn("x").await.unwrap();
        assert_eq!(start.elapsed(), Duration::from_secs(3), "a short rest is waited for");
        pace.turn("x").await.unwrap();
        assert_eq!(start.elapsed(), Duration::from_secs(3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_complaint_makes_it_slower_and_calm_makes_it_faster_again_up_to_what_is_configured() {
        let pace = Pace::new(Some(100), None);
        for _ in 0..100 {
            pace.turn("x").await.unwrap();
        }
        (0..20).for_each(|_| pace.slow_down(None));
        let learned = pace.rps().unwrap();
        assert!((70.0..80.0).contains(&learned), "once for all that complain together: {learned}");
        tokio::time::advance(Duration::from_secs(2)).await;
        pace.slow_down(None);
        assert!(pace.rps().unwrap() < 60.0);
        for _ in 0..20 {
            tokio::time::advance(CALM).await;
            pace.turn("x").await.unwrap();
        }
        assert_eq!(pace.rps(), Some(100.0));

        let free = Pace::new(None, None);
        for _ in 0..400 {
            free.turn("x").await.unwrap();
        }
        free.slow_down(None);
        assert!((280.0..320.0).contains(&free.rps().unwrap()), "{:?}", free.rps());
        for _ in 0..40 {
            tokio::time::advance(CALM).await;
            free.turn("x").await.unwrap();
        }
        assert_eq!(free.rps(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_budget_is_of_a_day_and_never_overdrawn() {
        let pace = Pace::new(None, Some(3));
        for left in [2, 1, 0] {
            pace.turn("x").await.unwrap();
            assert_eq!(pace.left_today(), Some(left));
        }
        tokio::time::advance(Duration::from_secs(3_600)).await;
        assert_eq!(pace.turn("x").await, Err(Pause::Spent(DAY - Duration::from_secs(3_600))));
        tokio::time::advance(DAY - Duration::from_secs(3_600)).await;
        pace.turn("x").await.unwrap();
        assert_eq!(pace.left_today(), Some(2));
    }
}
