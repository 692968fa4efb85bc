//! How tokens behaved when they were moved, as far as it was tried: in memory alone, for it is tried again.

use std::sync::Arc;

use alloy::primitives::Address;
use dashmap::DashMap;

use crate::domain::token::Conduct;

/// By token. One writer, any number of readers.
#[derive(Debug, Clone, Default)]
pub struct Conducts(Arc<DashMap<Address, Conduct>>);

impl Conducts {
    /// `None`: nobody tried, or no pool lends it.
    #[must_use]
    pub fn of(&self, token: &Address) -> Option<Conduct> {
        self.0.get(token).map(|conduct| *conduct)
    }

    pub fn set(&self, token: Address, conduct: Conduct) {
        self.0.insert(token, conduct);
    }

    /// Less of it arrives than is sent.
    #[must_use]
    pub fn has_fee(&self, token: &Address) -> bool {
        self.of(token).is_some_and(|conduct| conduct.has_fee())
    }
}
