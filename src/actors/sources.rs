//! Sources: what is watched, each with a cursor of its own. A source is a factory with everything it creates, or one listed pool.
//!
//! A source is *joined* while it is followed with the head. One that was added to the configuration later is *late*: it is read
//! back alone ([`super::late`]) and joins when it has caught up. What the store keeps of each is the next block to read, under
//! its name while it is joined and under another one while it is late; 0 where it is not.

use std::sync::{PoisonError, RwLock};

use crate::{
    chain::registry::DexSpec,
    domain::pool::{PoolId, PoolMeta},
};

/// What is followed with the head. `Ingest` changes it, whoever reads the chain again needs it.
#[derive(Debug, Default)]
pub struct Joined(RwLock<Vec<DexSpec>>);

impl Joined {
    #[must_use]
    pub fn get(&self) -> Vec<DexSpec> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set(&self, joined: Vec<DexSpec>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = joined;
    }

    pub(super) fn add(&self, spec: DexSpec) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).push(spec);
    }
}

/// What a source's cursor is kept under while it is joined. Not the dex's name: that may be changed.
pub(super) fn name(spec: &DexSpec) -> String {
    let name = match spec.pools.as_slice() {
        [] => format!("dex:{:#x}", spec.factory),
        pools => {
            let pools: Vec<String> = pools.iter().map(PoolId::to_string).collect();
            format!("pool:{:#x}:{}", spec.factory, pools.join(":"))
        }
    };
    // Read without the manager, it is another source: what a position is follows from all of its past.
    match spec.position_manager {
        Some(manager) => format!("{name}+{manager:#x}"),
        // As is a pair without those who hold it.
        None if spec.lp_tokens => format!("{name}+lp"),
        None => name,
    }
}

/// And while it is late.
pub(super) fn late_name(name: &str) -> String {
    format!("late:{name}")
}

/// Whether a pool is watched because of this source.
pub fn covers(spec: &DexSpec, meta: &PoolMeta) -> bool {
    let listed = spec.pools.is_empty() || spec.pools.contains(&meta.id);
    listed && spec.factory == meta.factory && spec.protocol == meta.protocol
}

/// Whether one of these sources follows who holds the pair.
pub(super) fn follows_shares(specs: &[DexSpec], meta: &PoolMeta) -> bool {
    specs.iter().any(|spec| spec.lp_tokens && covers(spec, meta))
}

/// A source that is to be read back alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LateSource {
    pub(super) spec: DexSpec,
    /// The next block to read; `None`: nothing was read yet.
    pub(super) next_block: Option<u64>,
}

/// What a restart makes of configuration and store.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Sorted {
    pub(super) joined: Vec<DexSpec>,
    pub(super) late: Vec<LateSource>,
    /// Cursors to be stored before anything is followed: of sources that were taken out of the configuration. When they come
    /// back they are late, from where they were left.
    pub(super) left: Vec<(String, u64)>,
}

/// Those of the configured sources whose events are stored with the head.
#[must_use]
pub fn followed(configured: &[DexSpec], stored: &[(String, u64)]) -> Vec<DexSpec> {
    sort(configured, stored).joined
}

pub(super) fn sort(configured: &[DexSpec], stored: &[(String, u64)]) -> Sorted {
    let cursor = |wanted: &str| stored.iter().find(|(name, next)| name == wanted && *next > 0).map(|(_, next)| *next);
    let mut sorted = Sorted::default();
    for spec in configured {
        let name = name(spec);
        match cursor(&name) {
            Some(_) => sorted.joined.push(spec.clone()),
            None => sorted.late.push(LateSource { spec: spec.clone(), next_block: cursor(&late_name(&name)) }),
        }
    }
    // There are others: of late sources, of the enrichment.
    let is_followed = |stored: &str| stored.starts_with("dex:") || stored.starts_with("pool:");
    let is_configured = |stored: &str| configured.iter().any(|spec| name(spec) == stored);
    let left = stored.iter().filter(|(stored, next)| *next > 0 && is_followed(stored) && !is_configured(stored));
    for (name, next) in left {
        // What it missed is enriched when it has come back and caught up, and what was still to be done of the time before.
        let mark = super::enrich::mark(name);
        let from = cursor(&mark).map_or(*next, |earlier| earlier.min(*next));
        sorted.left.extend([(late_name(name), *next), (name.clone(), 0), (mark, from)]);
    }
    sorted
}

#[cfg(test)]
mod tests {
    use alloy::primitives::Address;

    use super::*;
    use crate::domain::pool::Protocol;

    fn dex(factory: u8, pool: Option<u8>) -> DexSpec {
        DexSpec {
            name: "dex".to_owned(),
            protocol: Protocol::UniswapV2,
            factory: Address::repeat_byte(factory),
            fee_pips: 3_000,
            pools: pool.map(|byte| PoolId::Address(Address::repeat_byte(byte))).into_iter().collect(),
            older_pools: false,
            position_manager: None,
            lp_tokens: false,
        }
    }

    fn cursors(all: &[(&str, u64)]) -> Vec<(String, u64)> {
        all.iter().map(|(name, next)| ((*name).to_owned(), *next)).collect()
    }

    #[test]
    fn a_source_that_the_store_does_not_follow_is_late_and_one_that_was_left_comes_back_from_where_it_was() {
        let (one, two, pool) = (dex(1, None), dex(2, None), dex(3, Some(7)));
        let names = [&one, &two, &pool].map(name);
        assert_eq!(names[2], format!("pool:0x{}:0x{}", "03".repeat(20), "07".repeat(20)));

        // The first start after `two` was added.
        let stored = cursors(&[(&names[0], 500)]);
        let sorted = sort(&[one.clone(), two.clone()], &stored);
        assert_eq!(sorted.joined, std::slice::from_ref(&one));
        assert_eq!(sorted.late, [LateSource { spec: two.clone(), next_block: None }]);
        assert_eq!(sorted.left, []);

        // Half read back.
        let late = late_name(&names[1]);
        let stored = cursors(&[(&names[0], 500), (&late, 77)]);
        assert_eq!(sort(&[one.clone(), two.clone()], &stored).late, [LateSource { spec: two.clone(), next_block: Some(77) }]);

        // Joined, then taken out.
        let stored = cursors(&[(&names[0], 500), (&late, 0), (&names[1], 500)]);
        assert_eq!(sort(&[one.clone(), two.clone()], &stored).joined, [one.clone(), two.clone()]);
        let sorted = sort(std::slice::from_ref(&one), &stored);
        assert_eq!((sorted.joined, sorted.late), (vec![one.clone()], vec![]));
        assert_eq!(sorted.left, cursors(&[(&late, 500), (&names[1], 0), (&super::super::enrich::mark(&names[1]), 500)]));

        // And put back.
        let stored = cursors(&[(&names[0], 900), (&late, 500), (&names[1], 0)]);
        assert_eq!(sort(&[one, two.clone()], &stored).late, [LateSource { spec: two, next_block: Some(500) }]);
        assert_eq!(sort(std::slice::from_ref(&pool), &stored).late, [LateSource { spec: pool, next_block: None }]);
    }
}
