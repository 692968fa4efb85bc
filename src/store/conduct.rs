//! How tokens behaved when they were moved, as far as it was tried: in memory alone, for it is tried again.

use std::{
    collections::HashSet,
    sync::{Arc, PoisonError, RwLock},
};

use alloy::primitives::Address;
use dashmap::DashMap;

use crate::domain::token::Conduct;

/// By token. One writer, any number of readers.
#[derive(Debug, Default)]
pub struct Conducts {
    all: DashMap<Address, Conduct>,
    /// Few, and each quote looks at all its pools for them.
    with_fee: RwLock<Arc<HashSet<Address>>>,
}

impl Conducts {
    /// `None`: nobody tried, or no pool lends it.
    #[must_use]
    pub fn of(&self, token: &Address) -> Option<Conduct> {
        self.all.get(token).map(|conduct| *conduct)
    }

    pub fn set(&self, token: Address, conduct: Conduct) {
        self.all.insert(token, conduct);
        if self.with_fee().contains(&token) == conduct.has_fee() {
            return;
        }
        let mut with_fee = self.with_fee.write().unwrap_or_else(PoisonError::into_inner);
        let tokens = Arc::make_mut(&mut with_fee);
        if conduct.has_fee() {
            tokens.insert(token);
        } else {
            tokens.remove(&token);
        }
    }

    pub fn forget(&self, token: &Address) {
        self.all.remove(token);
        if self.with_fee().contains(token) {
            Arc::make_mut(&mut self.with_fee.write().unwrap_or_else(PoisonError::into_inner)).remove(token);
        }
    }

    /// Tokens of which less arrives than is sent.
    #[must_use]
    pub fn with_fee(&self) -> Arc<HashSet<Address>> {
        self.with_fee.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
