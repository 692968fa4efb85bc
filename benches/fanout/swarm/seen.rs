//! What all clients saw together: counts and latencies.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::{Value, json};

use super::{super::serve::now_ns, Clock};

/// Buckets of one power of two: latencies are known to one part in 64.
const FINE: u32 = 6;
const SHARDS: usize = 16;

/// Counts and latencies of all clients, nanoseconds.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) measuring: AtomicBool,
    shards: [Shard; SHARDS],
    /// Connected and subscribed now.
    pub(super) open: AtomicU64,
    pub(super) closed: AtomicU64,
    pub(super) returned: AtomicU64,
    /// Refused because there are too many.
    pub(super) busy: AtomicU64,
    /// Nobody listened, or it closed before the first word.
    pub(super) away: AtomicU64,
}

struct Shard {
    messages: AtomicU64,
    bytes: AtomicU64,
    buckets: Box<[AtomicU64]>,
}

impl Default for Shard {
    fn default() -> Self {
        let buckets = (0..(64_usize << FINE)).map(|_| AtomicU64::new(0)).collect();
        Self { messages: AtomicU64::new(0), bytes: AtomicU64::new(0), buckets }
    }
}

fn bucket(value: u64) -> usize {
    let power = 63 - value.max(1).leading_zeros();
    let fine = if power > FINE { (value >> (power - FINE)) & ((1 << FINE) - 1) } else { value & ((1 << FINE) - 1) };
    usize::try_from((u64::from(power) << FINE) | fine).expect("small")
}

fn of_bucket(at: usize) -> f64 {
    let (power, fine) = (at >> FINE, at & ((1 << FINE) - 1));
    let power = i32::try_from(power).expect("small");
    2_f64.powi(power) * (1.0 + fine as f64 / f64::from(1 << FINE))
}

/// The position that a frame names.
pub(super) fn cursor(text: &str) -> Option<&str> {
    Some(text.split_once("\"cursor\":\"")?.1.split_once('"')?.0)
}

/// When its block came, nanoseconds since 1970. `None`: it does not say.
fn sent_at(text: &str, clock: Clock) -> Option<u64> {
    let number = |after: &str| after.split(|c: char| !c.is_ascii_digit()).next()?.parse::<u64>().ok();
    match clock {
        Clock::Amount => {
            let after = text.split_once("\"amount0Raw\":\"").or_else(|| text.split_once("\"reserve0\":\""))?.1;
            number(after)
        }
        // Of other frames it is the time of a block from long before.
        Clock::Arrival if !text.contains(":\"UPDATE\"") => None,
        Clock::Arrival => number(text.split_once("\"arrivedAtMs\":")?.1)?.checked_mul(1_000_000),
    }
}

impl Seen {
    pub(super) fn hear(&self, number: usize, text: &str, clock: Clock) {
        if !self.measuring.load(Ordering::Relaxed) {
            return;
        }
        let shard = &self.shards[number % SHARDS];
        shard.messages.fetch_add(1, Ordering::Relaxed);
        shard.bytes.fetch_add(text.len() as u64, Ordering::Relaxed);
        if let Some(sent) = sent_at(text, clock) {
            shard.buckets[bucket(now_ns().saturating_sub(sent))].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What was seen until now is of another measurement.
    pub(super) fn forget(&self) {
        for shard in &self.shards {
            [&shard.messages, &shard.bytes].into_iter().chain(&shard.buckets).for_each(|count| count.store(0, Ordering::Relaxed));
        }
    }

    pub(super) fn state(&self) -> Value {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let messages: u64 = self.shards.iter().map(|shard| of(&shard.messages)).sum();
        json!({
            "open": of(&self.open), "closed": of(&self.closed), "returned": of(&self.returned), "busy": of(&self.busy),
            "away": of(&self.away), "messages": messages,
        })
    }

    pub(super) fn figures(&self, seconds: f64, clients: usize, failed: u64, churned: u64) -> Value {
        let sum = |of: fn(&Shard) -> &AtomicU64| self.shards.iter().map(|s| of(s).load(Ordering::Relaxed)).sum::<u64>();
        let (messages, bytes) = (sum(|s| &s.messages), sum(|s| &s.bytes));
        let mut buckets = vec![0_u64; 64 << FINE];
        for shard in &self.shards {
            buckets.iter_mut().zip(&shard.buckets).for_each(|(all, one)| *all += one.load(Ordering::Relaxed));
        }
        let timed: u64 = buckets.iter().sum();
        let quantile = |part: f64| {
            let mut left = (timed as f64 * part).ceil();
            let found = buckets.iter().position(|count| {
                left -= *count as f64;
                left <= 0.0
            });
            found.filter(|_| timed > 0).map(|at| of_bucket(at) / 1e6)
        };
        json!({
            "clients": clients, "failed": failed, "churned": churned, "closed": self.closed.load(Ordering::Relaxed),
            "busy": self.busy.load(Ordering::Relaxed), "away": self.away.load(Ordering::Relaxed),
            "seconds": seconds, "messages": messages, "bytes": bytes, "per_second": messages as f64 / seconds,
            "p50_ms": quantile(0.5), "p99_ms": quantile(0.99), "p999_ms": quantile(0.999),
        })
    }
}
