//! Contracts that are no pools, and whose logs somebody waits for.

use std::{
    collections::BTreeMap,
    sync::{PoisonError, RwLock},
};

use alloy::primitives::Address;
use tokio::sync::watch;

/// Who is waited for, and a signal that something came. Whoever waits looks at the chain itself; the signal says only that it is
/// worth it.
pub struct Touches {
    /// By how many.
    watched: RwLock<BTreeMap<Address, usize>>,
    signal: watch::Sender<u64>,
}

impl Default for Touches {
    fn default() -> Self {
        Self { watched: RwLock::default(), signal: watch::Sender::new(0) }
    }
}

impl Touches {
    /// Moves after the commit of an update that has a log of a watched contract, or that took blocks back.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.signal.subscribe()
    }

    pub fn watch(&self, address: Address) {
        let mut watched = self.watched.write().unwrap_or_else(PoisonError::into_inner);
        let count = watched.entry(address).or_default();
        *count = count.saturating_add(1);
    }

    pub fn unwatch(&self, address: &Address) {
        let mut watched = self.watched.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = watched.get_mut(address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                watched.remove(address);
            }
        }
    }

    /// Whether one of these is waited for.
    pub fn any<'a>(&self, mut addresses: impl Iterator<Item = &'a Address>) -> bool {
        let watched = self.watched.read().unwrap_or_else(PoisonError::into_inner);
        !watched.is_empty() && addresses.any(|address| watched.contains_key(address))
    }

    pub fn signal(&self) {
        self.signal.send_modify(|n| *n = n.wrapping_add(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contract_is_waited_for_as_long_as_somebody_does() {
        let touches = Touches::default();
        let [one, two] = [1, 2].map(Address::with_last_byte);
        assert!(!touches.any([one].iter()));
        touches.watch(one);
        touches.watch(one);
        assert!(touches.any([two, one].iter()) && !touches.any([two].iter()));
        touches.unwatch(&one);
        assert!(touches.any([one].iter()));
        touches.unwatch(&one);
        touches.unwatch(&two);
        assert!(!touches.any([one, two].iter()));
        let signal = touches.subscribe();
        touches.signal();
        assert!(signal.has_changed().unwrap());
    }
}
