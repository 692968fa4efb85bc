//! What a look at a store finds, for `swaptide doctor`. Each store has its own `inspect`, which writes nothing: no file, no
//! collection, no claim.

use std::collections::{BTreeMap, BTreeSet};

use alloy::primitives::B256;

use super::history::StoreError;
use crate::domain::ChainId;

/// A chain that is to be stored, with its genesis where a node has said it.
pub type Wanted = (ChainId, Option<B256>);

/// One thing that was looked at.
#[derive(Debug, Clone)]
pub struct Check {
    pub name: String,
    /// What is so, or why the store cannot be used.
    pub outcome: Result<String, StoreError>,
}

/// All that was looked at.
#[derive(Debug, Clone, Default)]
pub struct Inspection {
    pub checks: Vec<Check>,
    /// Chains that it holds: they go on where they stopped.
    pub chains: BTreeSet<ChainId>,
}

impl Check {
    pub(super) fn new(name: impl Into<String>, outcome: Result<String, StoreError>) -> Self {
        Self { name: name.into(), outcome }
    }
}

/// What follows from the chains that a store has, in the order in which `run` would claim them. `judge` is the store's own word on a
/// chain, given those that this process has claimed before it.
pub(super) fn chains(
    there: &BTreeMap<ChainId, B256>,
    wanted: &[Wanted],
    judge: impl Fn(&BTreeMap<ChainId, B256>, ChainId, B256) -> Result<(), StoreError>,
) -> Vec<Check> {
    let mut claimed = BTreeMap::new();
    let mut checks = Vec::with_capacity(wanted.len());
    for (chain, genesis) in wanted {
        let outcome = match genesis {
            // Without a node the number is all that can be compared.
            None => there.get(chain).map_or_else(|| Ok(()), |held| judge(&claimed, *chain, *held)),
            Some(genesis) => judge(&claimed, *chain, *genesis),
        };
        let said = match (there.contains_key(chain), genesis.is_some()) {
            (true, true) => "is in it, with the node's genesis: it goes on where it stopped",
            (true, false) => "is in it; no node said whether the genesis is the same",
            (false, _) => "is not in it yet: `start_block` counts",
        };
        claimed.insert(*chain, genesis.unwrap_or_default());
        checks.push(Check::new(format!("chain {chain}"), outcome.map(|()| said.to_owned())));
    }
    checks
}
