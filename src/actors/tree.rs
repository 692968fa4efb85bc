//! Starts the actors of a chain, and stops them in order: no new heads, finish the block, flush.

use std::{cell::RefCell, rc::Rc, sync::Arc, time::Duration};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    Deps,
    enrich::Enrich,
    ingest::Ingest,
    persist::Persist,
    probe::Probe,
    supervise::{Restart, Spec, supervise},
    table::Table,
};

/// How long a stop waits for the block under way and the flush: under Kubernetes' grace of 30 s.
const STOP_MAX: Duration = Duration::from_secs(20);

/// The running actors of one chain.
pub struct ChainTree {
    deps: Arc<Deps>,
    flush: CancellationToken,
    ingest_done: watch::Receiver<bool>,
    persist_done: watch::Receiver<bool>,
    // Held so that the actors live: an actor whose address nobody holds ends.
    _ingest: actix::Addr<Ingest>,
    _persist: actix::Addr<Persist>,
    _enrich: Option<actix::Addr<Enrich>>,
    _probe: Option<actix::Addr<Probe>>,
    _table: Rc<RefCell<Table>>,
}

impl ChainTree {
    /// Must run on the `LocalSet` that is to own the actors.
    #[must_use]
    pub fn start(deps: Arc<Deps>) -> Self {
        let flush = CancellationToken::new();
        let (ingest_tx, ingest_done) = watch::channel(false);
        let (persist_tx, persist_done) = watch::channel(false);
        let table = Rc::<RefCell<Table>>::default();
        let ingest = Ingest::new(deps.clone(), table.clone(), ingest_tx);
        let ingest = supervise(spec(&deps, "ingest"), |_| ingest);
        let persist = Persist::new(deps.clone(), flush.clone(), persist_tx);
        let persist = supervise(spec(&deps, "persist"), |_| persist);
        // Without these two rows lack what they lack, and quotes a warning: everything else goes on.
        let spare = |kind| Spec { on_give_up: Box::new(|_| ()), ..spec(&deps, kind) };
        let enrich = deps.plan.enrichment.then(|| {
            let enrich = Enrich::new(deps.clone());
            supervise(spare("enrich"), |_| enrich)
        });
        let probe = deps.plan.token_probe.map(|every| {
            let probe = Probe::new(deps.clone(), every);
            supervise(spare("probe"), |_| probe)
        });
        let (_ingest, _persist, _enrich, _probe, _table) = (ingest, persist, enrich, probe, table);
        Self { deps, flush, ingest_done, persist_done, _ingest, _persist, _enrich, _probe, _table }
    }

    #[cfg(test)]
    pub(super) fn pool_address(&self, id: &crate::domain::pool::PoolId) -> Option<actix::Addr<super::pool::Pool>> {
        self._table.borrow().entries.get(id).map(|e| e.address.clone())
    }

    /// Ends the actors in order. `false`: something did not end in time.
    pub async fn stop(mut self) -> bool {
        self.deps.stop.cancel();
        let stopping = async {
            let ingest = self.ingest_done.wait_for(|done| *done).await.is_ok();
            self.flush.cancel();
            let persist = self.persist_done.wait_for(|done| *done).await.is_ok();
            ingest && persist
        };
        tokio::time::timeout(STOP_MAX, stopping).await.unwrap_or(false)
    }
}

/// Both end the process when they are given up: without them nothing is true or nothing is kept.
fn spec(deps: &Arc<Deps>, kind: &'static str) -> Spec {
    let giving_up = deps.clone();
    Spec {
        kind,
        name: format!("{kind}/{}", deps.chain),
        restart: Restart::Transient,
        board: deps.board.clone(),
        metrics: deps.metrics.clone(),
        on_give_up: Box::new(move |cause| giving_up.fail(format!("{kind} of chain {} kept failing ({cause})", giving_up.chain))),
    }
}
