//! The auditor that comes along: every so often all pools are compared with their contracts, at one block.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::time::MissedTickBehavior;

use crate::{
    audit::{Report, StateAt, compare_state},
    chain::{ChainError, ChainSource},
    domain::pool::PoolId,
    store::Live,
    telemetry::Metrics,
};

/// A reorg may take the block while it is compared; then a newer state is.
const TRIES: u32 = 3;
/// Drifts of one audit that are logged one by one.
const TOLD_MAX: usize = 20;

/// Until it is dropped. What it asks counts towards the endpoints' limits, and waits for them.
pub(super) async fn keep(chains: Vec<(Arc<Live>, Arc<dyn ChainSource>)>, every: Duration, metrics: Metrics) {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first is at once.
    ticks.tick().await;
    let mut known: Vec<BTreeSet<PoolId>> = vec![BTreeSet::new(); chains.len()];
    loop {
        ticks.tick().await;
        for ((live, source), known) in chains.iter().zip(&mut known) {
            if !live.head().at_head {
                continue;
            }
            match audit(live, source.as_ref()).await {
                Ok(Some(report)) => tell(live, &report, known, &metrics),
                Ok(None) => {}
                // The newest audit that was one keeps its word, and its block says how old that is.
                Err(error) => tracing::warn!(chain = live.chain, %error, "the contracts could not be asked for an audit"),
            }
        }
    }
}

async fn audit(live: &Arc<Live>, source: &dyn ChainSource) -> Result<Option<Report>, ChainError> {
    let mut tries = 0_u32;
    loop {
        // The pin is given back before anybody is asked.
        let Some(state) = StateAt::of(&live.pin()) else { return Ok(None) };
        tries = tries.saturating_add(1);
        match compare_state(source, &state).await {
            Err(_) if tries < TRIES => {}
            outcome => return outcome.map(Some),
        }
    }
}

/// A pool that was wrong before is not told of again.
fn tell(live: &Live, report: &Report, known: &mut BTreeSet<PoolId>, metrics: &Metrics) {
    let label = live.chain.to_string();
    let wrong: BTreeSet<PoolId> = report.drifts.iter().map(|drift| drift.pool).collect();
    metrics.audit_drift.with_label_values(&[&label]).set(i64::try_from(wrong.len()).unwrap_or(i64::MAX));
    metrics.audit_block.with_label_values(&[&label]).set(i64::try_from(report.block_number).unwrap_or(i64::MAX));
    let (block, pools) = (report.block_number, report.compared);
    tracing::info!(chain = live.chain, block, pools, wrong = wrong.len(), not_compared = report.skipped.len(), "audited");
    let new = report.drifts.iter().filter(|drift| !known.contains(&drift.pool));
    for (pool, drift) in new.flat_map(|pool| pool.drifts.iter().map(|drift| (pool.pool, drift))).take(TOLD_MAX) {
        let (field, ours, contract) = (&drift.field, &drift.ours, &drift.chain);
        tracing::error!(chain = live.chain, block, %pool, field, ours, contract, "DRIFT: a pool differs from its contract");
    }
    *known = wrong;
}
