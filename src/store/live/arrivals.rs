//! When heads arrived.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use alloy::primitives::B256;

/// Of so many heads it is known.
const KEPT: usize = 256;

/// The newest heads and their times, milliseconds since 1970, oldest first.
#[derive(Debug, Default)]
pub struct Arrivals(Mutex<VecDeque<(B256, u64)>>);

impl Arrivals {
    /// A head arrived, before anything of it was read. Of one that comes again the first time counts.
    pub fn heard(&self, hash: B256, at_unix_ms: u64) {
        let mut heads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if heads.iter().rev().all(|(known, _)| *known != hash) {
            heads.push_back((hash, at_unix_ms));
        }
        let surplus = heads.len().saturating_sub(KEPT);
        heads.drain(..surplus);
    }

    /// `None`: it came with others, before the start, or long ago.
    #[must_use]
    pub fn at_unix_ms(&self, hash: &B256) -> Option<u64> {
        let heads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heads.iter().rev().find(|(known, _)| known == hash).map(|(_, at)| *at)
    }
}

#[cfg(test)]
mod tests {
    use alloy::primitives::U256;

    use super::*;

    #[test]
    fn a_head_arrives_once_and_is_forgotten_in_the_end() {
        let (arrivals, hash) = (Arrivals::default(), |number: u64| B256::from(U256::from(number)));
        assert_eq!(arrivals.at_unix_ms(&hash(1)), None);
        for number in 1..=300 {
            arrivals.heard(hash(number), 1_000 + number);
        }
        arrivals.heard(hash(300), 9_000);
        // 256 of them are kept, and the first time counts.
        assert_eq!([44, 45, 300].map(|number| arrivals.at_unix_ms(&hash(number))), [None, Some(1_045), Some(1_300)]);
    }
}
