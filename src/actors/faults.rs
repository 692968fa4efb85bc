//! Faults that tests plant in pool actors.

use std::{cell::RefCell, collections::HashMap};

use crate::domain::pool::PoolId;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Handler,
    Started,
    /// Planted at the zero address: between the barrier and the commit.
    Ingest,
}

thread_local! {
    // How many times each is still to happen; actors of a test run on its thread.
    static PLANTED: RefCell<HashMap<(PoolId, u8), u32>> = RefCell::default();
}

pub(crate) fn plant(pool: PoolId, fault: Fault, times: u32) {
    PLANTED.with_borrow_mut(|planted| planted.insert((pool, fault as u8), times));
}

fn strike(pool: &PoolId, fault: Fault) -> bool {
    PLANTED.with_borrow_mut(|planted| match planted.get_mut(&(*pool, fault as u8)) {
        Some(left) if *left > 0 => {
            *left -= 1;
            true
        }
        _ => false,
    })
}

pub(super) fn on_started(pool: &PoolId) {
    assert!(!strike(pool, Fault::Started), "boom in started");
}

pub(super) fn on_apply(pool: &PoolId) {
    assert!(!strike(pool, Fault::Handler), "boom in the handler");
}

pub(super) fn on_commit() {
    assert!(!strike(&PoolId::Address(alloy::primitives::Address::ZERO), Fault::Ingest), "boom in ingest");
}
