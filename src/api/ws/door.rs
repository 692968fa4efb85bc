//! Who may come in now: when everybody connects at once, those who are in already go on being served. A connection costs about as much
//! as 100 messages, so that thousands in one moment would hold up everything else for seconds.
//!
//! One address takes few of the places: its requests have a limit of their own (`api.requests_per_second`).
//!
//! What is absent: a queue. Whoever comes is told its time, and waits for it by itself; whoever leaves meanwhile leaves it empty.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// One in so much time: 2,000 a second.
const SPACING: Duration = Duration::from_micros(500);
/// So many come in at once where nobody came for a while.
const AT_ONCE: u32 = 100;
/// Whoever would have to wait longer is sent away, and comes again later.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// The generic cell rate algorithm (ITU-T I.371), as a virtual schedule.
#[derive(Debug, Default)]
pub(super) struct Door {
    /// When the next one would be due, were nobody let in early. `None`: nobody came so far.
    next: Mutex<Option<Instant>>,
}

impl Door {
    /// When the next one may come in, and everybody after it that much later. `Err`: not within [`WAIT_MAX`]; it may ask again after
    /// this time.
    pub(super) fn ask(&self, now: Instant) -> Result<Instant, Duration> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let due = next.map_or(now, |next| next.max(now));
        let early = SPACING.saturating_mul(AT_ONCE.saturating_sub(1));
        let at = due.checked_sub(early).unwrap_or(now).max(now);
        let wait = at.saturating_duration_since(now);
        if wait > WAIT_MAX {
            return Err(wait);
        }
        *next = due.checked_add(SPACING);
        Ok(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long each of so many that come at once waits, in half milliseconds.
    fn waits(door: &Door, now: Instant, count: u32) -> Vec<u128> {
        (0..count).map(|_| (door.ask(now).unwrap() - now).as_micros() / 500).collect()
    }

    #[test]
    fn a_hundred_come_in_at_once_and_the_others_one_by_one() {
        let (door, now) = (Door::default(), Instant::now());
        let expected: Vec<u128> = (0..300_u128).map(|place| place.saturating_sub(99)).collect();
        assert_eq!(waits(&door, now, 300), expected);
        // What was not used in a while is not saved for later.
        assert_eq!(waits(&door, now + Duration::from_secs(60), 300), expected);
    }

    #[test]
    fn at_the_pace_nobody_waits() {
        let (door, mut now) = (Door::default(), Instant::now());
        for _ in 0..10_000 {
            assert_eq!(door.ask(now), Ok(now));
            now += SPACING;
        }
    }

    #[test]
    fn whoever_would_wait_too_long_is_sent_away_and_takes_nobodys_time() {
        let (door, now) = (Door::default(), Instant::now());
        let all = (0..30_000).map(|_| door.ask(now)).collect::<Vec<_>>();
        let let_in = all.iter().filter(|at| at.is_ok()).count();
        // Ten seconds at 2,000 a second, and those at the beginning.
        assert_eq!(let_in, 20_100);
        assert!(all[..let_in].iter().all(Result::is_ok), "in the order in which they came");
        assert!(all[let_in..].iter().all(|at| at.is_err_and(|wait| wait > WAIT_MAX && wait < WAIT_MAX + SPACING * 2)));
        assert!(door.ask(now + SPACING).is_ok(), "one place further on there is one place");
    }
}
