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

/// What follows from the chains that a store has. A start claims those first that are there already, so they stand beside each of the
/// others. `judge` is the store's own word on a chain, given those.
pub(super) fn chains(
    there: &BTreeMap<ChainId, B256>,
    wanted: &[Wanted],
    judge: impl Fn(&BTreeMap<ChainId, B256>, ChainId, B256) -> Result<(), StoreError>,
) -> Vec<Check> {
    let claimed: BTreeMap<ChainId, B256> = there
        .iter()
        .filter(|(id, _)| wanted.iter().any(|(chain, _)| chain == *id))
        .map(|(id, genesis)| (*id, *genesis))
        .collect();
    let mut checks = Vec::with_capacity(wanted.len());
    for (chain, genesis) in wanted {
        let outcome = match genesis {
            // Without a node the number is all that can be compared.
            None => judge(&claimed, *chain, there.get(chain).copied().unwrap_or_default()),
            Some(genesis) => judge(&claimed, *chain, *genesis),
        };
        let said = match (there.contains_key(chain), genesis.is_some()) {
            (true, true) => "is in it, with the node's genesis: it goes on where it stopped",
            (true, false) => "is in it; no node said whether the genesis is the same",
            (false, _) => "is not in it yet: `start_block` counts",
        };
        checks.push(Check::new(format!("chain {chain}"), outcome.map(|()| said.to_owned())));
    }
    checks
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, path::Path};

    use alloy::primitives::B256;

    use super::{Inspection, Wanted};
    use crate::store::{History as _, sqlite};

    /// Whether each chain of a configuration may use a file that these chains have filled.
    async fn allowed(there: &[u64], wanted: &[Wanted]) -> Vec<bool> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("swaptide.db");
        let history = sqlite::SqliteHistory::open(&file).unwrap();
        for chain in there {
            history.claim(*chain, genesis(*chain)).await.unwrap();
        }
        drop(history);
        let Inspection { checks, .. } = sqlite::inspect(Path::new(&file), wanted).await;
        let chains: BTreeMap<&str, bool> = checks.iter().map(|check| (check.name.as_str(), check.outcome.is_ok())).collect();
        wanted.iter().map(|(chain, _)| chains[format!("chain {chain}").as_str()]).collect()
    }

    fn genesis(chain: u64) -> B256 {
        B256::with_last_byte(u8::try_from(chain).unwrap())
    }

    #[tokio::test]
    async fn a_look_says_what_a_claim_would() {
        let known = |chain: u64| (chain, Some(genesis(chain)));
        assert_eq!(allowed(&[], &[known(1), known(2)]).await, [true, true]);
        assert_eq!(allowed(&[1], &[known(1)]).await, [true]);
        assert_eq!(allowed(&[1], &[known(2), known(1)]).await, [true, true], "a new one may stand first");
        assert_eq!(allowed(&[1], &[known(2)]).await, [false], "it is somebody else's");
        assert_eq!(allowed(&[1], &[(1, Some(genesis(9)))]).await, [false], "another genesis");
        assert_eq!(allowed(&[1], &[(1, None)]).await, [true], "no node said otherwise");
        assert_eq!(allowed(&[1], &[(2, None)]).await, [false]);
    }
}
