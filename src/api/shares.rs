//! What going through history costs a client, and its share of the turns (`store::follow::turns`).

use std::sync::{Arc, Weak};

use dashmap::DashMap;
use tokio::sync::Semaphore;

use super::access::{Access, Caller, Cost, Debtor};
use crate::store::follow::turns::Turns;

/// Of whoever pays, whatever it opens.
const AT_ONCE: usize = 1;
/// Shares of those who are gone are looked for beyond so many.
const SWEEP_BEYOND: usize = 10_000;

pub(super) struct Shares {
    all: Turns,
    access: Arc<Access>,
    own: DashMap<Debtor, Weak<Semaphore>>,
}

impl Shares {
    pub(super) fn new(all: Turns, access: Arc<Access>) -> Self {
        Self { all, access, own: DashMap::new() }
    }

    /// Its turns: each step is paid for out of its budget, and waits for it.
    pub(super) fn of(&self, caller: &Caller) -> Turns {
        let (access, payer) = (self.access.clone(), caller.clone());
        let pace = move || {
            access.admit(&payer)?;
            access.settle(&payer, Cost::STEP);
            Ok(())
        };
        self.all.of(self.share(Access::debtor(caller)), Arc::new(pace))
    }

    fn share(&self, debtor: Debtor) -> Arc<Semaphore> {
        if self.own.len() > SWEEP_BEYOND {
            self.own.retain(|_, share| share.strong_count() > 0);
        }
        let mut known = self.own.entry(debtor).or_default();
        if let Some(share) = known.upgrade() {
            return share;
        }
        let share = Arc::new(Semaphore::new(AT_ONCE));
        *known = Arc::downgrade(&share);
        share
    }
}
