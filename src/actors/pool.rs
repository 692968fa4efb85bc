//! One actor per pool: it owns the state and folds events into it.
//!
//! What is absent: the store, the node and undo. Pre-images go up with every reply and come back down as `base` when blocks are
//! taken back. A restarted pool knows nothing, says so to the next message, and gets the last acknowledged state with it.

use std::sync::Arc;

use actix::{Actor, Context, Handler, Message, Supervised};

use crate::domain::{
    event::EventBody,
    image::{Mark, PoolImage},
    pool::{ApplyError, PoolId, PoolMeta, StateAfter},
    record::DecodedBlock,
};

/// Moves the pool over its part of one chain update.
///
/// At most one is under way per pool: `Ingest` awaits the reply. `seq` grows by one per message; a pool that sees a gap, or has
/// no state, says [`OutOfStep`] and is sent the same with a `base`.
#[derive(Debug, Message)]
#[rtype(result = "Result<Applied, OutOfStep>")]
pub struct Apply {
    pub seq: u64,
    /// The state to start from; given when blocks were taken back or the pool missed some.
    pub base: Option<PoolImage>,
    pub blocks: Arc<[DecodedBlock]>,
    /// This pool's events as (index of block, index of event), in chain order.
    pub picks: Vec<(usize, usize)>,
}

/// The pool after an [`Apply`].
#[derive(Debug)]
pub struct Applied {
    pub seq: u64,
    pub image: PoolImage,
    /// The state after each pick; `None` where the event left no state (uninitialised) or did not fit.
    pub after: Vec<Option<StateAfter>>,
    /// Before each block that has picks: (index of block, image).
    pub pre_images: Vec<(usize, PoolImage)>,
    /// What others want to know of it at the end of each of these blocks.
    pub marks: Vec<(usize, Mark)>,
    /// Events that did not fit the state: the pool is not what its factory promised.
    pub misfits: Vec<(usize, usize, ApplyError)>,
}

/// The pool missed a message or was restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfStep;

pub struct Pool {
    meta: Arc<PoolMeta>,
    core: Option<Core>,
}

/// Everything a panic may leave half-changed; replaced as a whole.
struct Core {
    image: PoolImage,
    /// `None` before the first message.
    last_seq: Option<u64>,
}

impl Pool {
    /// A pool in the state it was created with, or was restored to.
    #[must_use]
    pub fn new(meta: Arc<PoolMeta>, image: PoolImage) -> Self {
        Self { meta, core: Some(Core { image, last_seq: None }) }
    }
}

impl Actor for Pool {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Context<Self>) {
        #[cfg(test)]
        super::faults::on_started(&self.meta.id);
        tracing::debug!(pool = %self.meta.id, synced = self.core.is_some(), "started");
    }
}

impl Supervised for Pool {
    fn restarting(&mut self, _: &mut Context<Self>) {
        // Not the last committed state: a reply may have left before its commit. The sender knows, and gives a base.
        self.core = None;
    }
}

impl Handler<Apply> for Pool {
    type Result = Result<Applied, OutOfStep>;

    fn handle(&mut self, message: Apply, _: &mut Context<Self>) -> Self::Result {
        #[cfg(test)]
        super::faults::on_apply(&self.meta.id);
        let in_step = |core: &Core| core.last_seq.is_none_or(|last| last.checked_add(1) == Some(message.seq));
        let start = match (message.base, &self.core) {
            (Some(base), _) => base,
            (None, Some(core)) if in_step(core) => core.image.clone(),
            (None, _) => return Err(OutOfStep),
        };
        let applied = fold(message.seq, start, &message.blocks, &message.picks);
        self.core = Some(Core { image: applied.image.clone(), last_seq: Some(message.seq) });
        Ok(applied)
    }
}

/// The whole of a pool's work, as a pure function.
#[must_use]
pub fn fold(seq: u64, mut image: PoolImage, blocks: &[DecodedBlock], picks: &[(usize, usize)]) -> Applied {
    let mut after = Vec::with_capacity(picks.len());
    let (mut pre_images, mut marks, mut misfits) = (Vec::new(), Vec::new(), Vec::new());
    for of_block in picks.chunk_by(|a, b| a.0 == b.0) {
        let Some((at, block)) = of_block.first().and_then(|(at, _)| Some((*at, blocks.get(*at)?))) else {
            after.extend(of_block.iter().map(|_| None));
            continue;
        };
        pre_images.push((at, image.clone()));
        let of_before = after.len();
        for &(_, index) in of_block {
            let Some(event) = block.events.get(index) else {
                after.push(None);
                continue;
            };
            match image.apply(&event.body) {
                Ok(()) => after.push(stateful(&event.body).then(|| image.state.after())),
                Err(error) => {
                    misfits.push((at, index, error));
                    after.push(None);
                }
            }
        }
        let moved = after.iter().skip(of_before).any(Option::is_some);
        image.end_block(&block.block, moved);
        marks.push((at, image.mark()));
    }
    Applied { seq, image, after, pre_images, marks, misfits }
}

fn stateful(body: &EventBody) -> bool {
    // A V4 pool is created with its price.
    let moves =
        !matches!(body, EventBody::V2PairCreated { .. } | EventBody::V3PoolCreated { .. } | EventBody::Undecodable { .. });
    moves && !body.is_of_owners()
}

/// `pool/1/0x…`, the actor's name on the board.
#[must_use]
pub fn actor_name(meta: &PoolMeta) -> String {
    format!("pool/{}/{}", meta.chain, meta.id)
}

/// For tests that need to reach one pool.
#[cfg(test)]
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) enum Boom {
    Handler,
    Spawned,
    Timer,
}

#[cfg(test)]
impl Handler<Boom> for Pool {
    type Result = ();

    fn handle(&mut self, message: Boom, ctx: &mut Context<Self>) {
        use actix::{AsyncContext as _, WrapFuture as _};
        match message {
            Boom::Handler => panic!("boom in a handler"),
            Boom::Spawned => {
                ctx.spawn(async { panic!("boom in a spawned future") }.into_actor(self));
            }
            Boom::Timer => {
                ctx.run_later(std::time::Duration::from_millis(1), |_, _| panic!("boom in a timer"));
            }
        }
    }
}

/// The id, for logs.
#[must_use]
pub fn short(id: &PoolId) -> String {
    id.to_string().chars().take(10).collect()
}
