//! The block barrier: every touched pool acknowledges its part of an update before anything is published.
//!
//! At most one message per pool is under way, so this is also the backpressure. A pool that is closed or too slow is left
//! behind and healed later; the block goes on without it.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};

use super::{
    pool::{Applied, Apply, OutOfStep},
    table::Table,
};
use crate::domain::{block::BlockRef, image::PoolImage, pool::PoolId, record::DecodedBlock};

/// Deadline of a barrier: 2 s and 1 ms per event.
const DEADLINE_BASE: Duration = Duration::from_secs(2);
const DEADLINE_PER_EVENT: Duration = Duration::from_millis(1);

/// What one chain update asks of the pools.
pub(super) struct Job {
    /// Newest first.
    pub(super) reverted: Vec<BlockRef>,
    /// Oldest first.
    pub(super) blocks: Arc<[DecodedBlock]>,
    /// Pools that `blocks` create: they start anew, whatever was at their address on the branch that was taken back.
    pub(super) created: HashSet<PoolId>,
}

/// What came back. `None`: the pool did not answer in time or is being restarted.
pub(super) struct Outcome {
    pub(super) picks: Vec<(usize, usize)>,
    /// The image that the pool has to start from because blocks were taken back.
    pub(super) base: Option<PoolImage>,
    pub(super) applied: Option<Applied>,
}

/// Sends each touched pool its part and awaits all replies. Pools that are already left behind are not asked; they come back
/// with `applied: None`.
pub(super) async fn run(table: &Rc<RefCell<Table>>, job: &Job) -> HashMap<PoolId, Outcome> {
    let mut outcomes = parts(&table.borrow(), job);
    let deadline = deadline(job);
    let mut replies = FuturesUnordered::new();
    for (id, outcome) in &outcomes {
        let message = |base| Message { id: *id, base, blocks: job.blocks.clone(), picks: outcome.picks.clone() };
        if let Some(send) = send(table, message(outcome.base.clone()), false) {
            replies.push(send);
        }
    }
    let all = async {
        while let Some((id, reply)) = replies.next().await {
            let applied = match reply {
                Reply::Applied(applied) => Some(applied),
                Reply::Closed => None,
                Reply::OutOfStep(message) => {
                    // It was restarted, or missed a message: the same once more, from the state that we committed.
                    if let Some(again) = send(table, message, true) {
                        replies.push(again);
                    }
                    continue;
                }
            };
            if let Some(outcome) = outcomes.get_mut(&id) {
                outcome.applied = applied;
            }
        }
    };
    // Past the deadline the rest is left behind; a late reply carries an old seq and nobody is there to read it.
    let _ = tokio::time::timeout(deadline, all).await;
    outcomes
}

pub(super) struct Message {
    pub(super) id: PoolId,
    pub(super) base: Option<PoolImage>,
    pub(super) blocks: Arc<[DecodedBlock]>,
    pub(super) picks: Vec<(usize, usize)>,
}

pub(super) enum Reply {
    Applied(Applied),
    OutOfStep(Message),
    Closed,
}

/// One message to one pool. `None` where the pool is left behind (unless it is being healed: then `base` is given).
pub(super) fn send(
    table: &Rc<RefCell<Table>>,
    message: Message,
    from_committed: bool,
) -> Option<futures_util::future::LocalBoxFuture<'static, (PoolId, Reply)>> {
    let mut table = table.borrow_mut();
    let entry = table.entries.get_mut(&message.id)?;
    if entry.faulted || (entry.held_at.is_some() && !from_committed) {
        return None;
    }
    entry.seq = entry.seq.saturating_add(1);
    let seq = entry.seq;
    let base = match &message.base {
        Some(base) => Some(base.clone()),
        None if from_committed => Some(entry.image.clone()),
        None => None,
    };
    let apply = Apply { seq, base, blocks: message.blocks.clone(), picks: message.picks.clone() };
    let request = entry.address.send(apply);
    let id = message.id;
    Some(Box::pin(async move {
        let reply = match request.await {
            Ok(Ok(applied)) if applied.seq == seq => Reply::Applied(applied),
            Ok(Err(OutOfStep)) if !from_committed => Reply::OutOfStep(message),
            Ok(_) | Err(_) => Reply::Closed,
        };
        (id, reply)
    }))
}

/// Which pools the job touches, and with what.
fn parts(table: &Table, job: &Job) -> HashMap<PoolId, Outcome> {
    let mut bases = table.bases(&job.reverted);
    bases.retain(|id, _| !job.created.contains(id));
    let mut picks: HashMap<PoolId, Vec<(usize, usize)>> = HashMap::new();
    for (b, block) in job.blocks.iter().enumerate() {
        for (e, event) in block.events.iter().enumerate() {
            picks.entry(event.pool).or_default().push((b, e));
        }
    }
    let touched: HashSet<PoolId> = bases.keys().chain(picks.keys()).copied().collect();
    touched
        .into_iter()
        .filter(|id| table.entries.contains_key(id))
        .map(|id| {
            let outcome = Outcome { picks: picks.remove(&id).unwrap_or_default(), base: bases.remove(&id), applied: None };
            (id, outcome)
        })
        .collect()
}

fn deadline(job: &Job) -> Duration {
    let events = job.blocks.iter().map(|b| b.events.len()).sum::<usize>();
    DEADLINE_BASE.saturating_add(DEADLINE_PER_EVENT.saturating_mul(u32::try_from(events).unwrap_or(u32::MAX)))
}
