//! Keeps the lease of a store that several instances share, or waits for it.

use std::{sync::Arc, time::Duration};

use tokio::time::MissedTickBehavior;

use crate::{
    store::{
        Freshness, History, Live, StoreError,
        lease::{LEASE, Lease, Leased, Owner},
    },
    telemetry::Metrics,
};

/// How often the holder says that it is there, and the others look whether it does. A fifth of the lease.
const EVERY: Duration = Duration::from_secs(1);
/// So often its time has to be over before it is taken: its holder may have been kept from the store like everybody else, and is first.
const LOOKS: u32 = 1;
/// An instance that is not at the head asks more rarely: one that is goes first, also where it was given back.
const UNFIT_ASK_EVERY: u32 = 5;
/// For a store that does not answer at the end.
const RELEASE_MAX: Duration = Duration::from_secs(2);

/// Until it is dropped. A store that is not shared is ours from the beginning.
pub(super) async fn keep(history: Arc<dyn History>, lease: Lease, lives: Vec<Arc<Live>>, metrics: Metrics) {
    let owner = Owner::here();
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut fences = lease.watch();
    // The term of a holder whose time is over, and how often it was when we looked.
    let mut over: Option<(u64, u32)> = None;
    let mut ticks_unfit = 0_u32;
    loop {
        let fence = *fences.borrow_and_update();
        metrics.store_writer.set(i64::from(fence.is_some()));
        tokio::select! {
            _ = ticks.tick() => {}
            _ = fences.changed() => continue,
        }
        if !history.is_shared() {
            continue;
        }
        over = match fence {
            Some(fence) => {
                renew(history.as_ref(), &lease, fence).await;
                None
            }
            None => {
                ticks_unfit = if lives.iter().all(is_fit) { 0 } else { ticks_unfit.saturating_add(1) };
                if !ticks_unfit.is_multiple_of(UNFIT_ASK_EVERY) {
                    continue;
                }
                let seen = over.filter(|(_, looks)| *looks >= LOOKS).map(|(term, _)| term);
                let term = take(history.as_ref(), &lease, &owner, seen).await;
                term.map(|term| {
                    (term, over.filter(|(before, _)| *before == term).map_or(1, |(_, looks)| looks.saturating_add(1)))
                })
            }
        };
    }
}

fn is_fit(live: &Arc<Live>) -> bool {
    live.head().current && live.pin().freshness() == Freshness::Live
}

async fn renew(history: &dyn History, lease: &Lease, fence: u64) {
    match history.renew(fence).await {
        Ok(()) => {}
        Err(StoreError::Fenced { .. }) => {
            if lease.lose(fence) {
                tracing::warn!("another instance took the lease of the store, which was over: this one follows");
            }
        }
        // Whoever writes hears of it, too, and says so.
        Err(error) => tracing::debug!(%error, "the lease could not be renewed now"),
    }
}

/// Gives the term of a holder whose time is over.
async fn take(history: &dyn History, lease: &Lease, owner: &Owner, over: Option<u64>) -> Option<u64> {
    match history.lease(owner, over).await {
        Ok(Leased::Ours(fence)) => {
            tracing::info!(fence, "this instance writes to the store now");
            lease.take(fence);
            None
        }
        Ok(Leased::Theirs { term, over, .. }) => over.then_some(term),
        Err(error) => {
            tracing::debug!(%error, "whose the lease is cannot be seen now");
            None
        }
    }
}

/// At the end, after the last write: whoever follows need not wait.
pub(super) async fn release(history: &dyn History, lease: &Lease) {
    let Some(fence) = lease.fence() else { return };
    match tokio::time::timeout(RELEASE_MAX, history.release(fence)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::info!(%error, "the lease could not be given back: it ends after {} s", LEASE.as_secs()),
        Err(_) => tracing::info!("the lease could not be given back in time: it ends after {} s", LEASE.as_secs()),
    }
}
