//! A restart: from what the store holds to a running tree, through the same fold that follows the chain.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use super::{
    Deps, Finality, StartBlock,
    follow::{Follower, Halt},
    pool::fold,
    table::Table,
};
use crate::{
    chain::{
        BlockTag, ChainError,
        registry::{DexSpec, Registry},
    },
    domain::{
        block::{BlockRef, Header},
        pool::{PoolMeta, PoolState},
        reconcile::Reconciler,
        record::{DecodedBlock, EventAt, unfold},
    },
    store::{Commit, StoreError, history::Boot},
};

/// Pools whose rows are read from the store at once: bounds the memory of a restart.
const REPLAY_POOLS: usize = 256;

impl Follower {
    /// From the store, or from the start block where the store is empty.
    pub(super) async fn boot(deps: Arc<Deps>, table: Rc<RefCell<Table>>) -> Result<Self, Halt> {
        let boot = deps.history.boot(deps.chain).await.map_err(|e| stored(&e))?;
        let mut registry = Registry::new(deps.plan.dexes.clone());
        let Some(head) = boot.head else {
            let anchor = start_anchor(&deps).await?;
            deps.live.restore(
                Commit { head: Some(anchor), finalized_number: anchor.number, ..Commit::default() },
                anchor.number,
                anchor.number.saturating_add(1),
            );
            let follower = Self::new(deps, table, registry, Reconciler::new(anchor));
            follower.deps.live.add_side(Vec::new(), follower.sources(anchor.number));
            return Ok(follower);
        };
        known_sources(&deps, &boot)?;
        tracing::info!(head = head.number, pools = boot.pools.len(), "resuming from the store");
        let reconciler = reconciler(&boot, head);
        for meta in &boot.pools {
            registry.insert(Arc::new(meta.clone()));
        }
        restore_pools(&deps, &table, &boot, &reconciler).await?;
        let views = {
            let table = table.borrow();
            table.entries.iter().map(|(id, entry)| (*id, Some(entry.view()))).collect()
        };
        let floor = reconciler.anchor().number.saturating_add(1);
        let commit = Commit {
            extended: boot.window.into_iter().filter(|r| r.block.number >= floor).map(Arc::new).collect(),
            views,
            tokens: boot.tokens.into_iter().map(Arc::new).collect(),
            head: Some(head),
            finalized_number: reconciler.anchor().number,
            ..Commit::default()
        };
        deps.live.restore(commit, head.number, floor);
        Ok(Self::new(deps, table, registry, reconciler))
    }

    /// After a panic of `Ingest`: everything that was committed is in `Live`; what was not is forgotten.
    pub(super) fn resume(deps: Arc<Deps>, table: Rc<RefCell<Table>>) -> Option<Self> {
        let head = deps.live.head();
        let tip = head.block?;
        table.borrow_mut().resync(&deps);
        let mut registry = Registry::new(deps.plan.dexes.clone());
        let mut metas: Vec<Arc<PoolMeta>> = table.borrow().entries.values().map(|e| e.meta.clone()).collect();
        metas.sort_by_key(|m| (m.created.block.number, m.created.log_index));
        metas.into_iter().for_each(|meta| registry.insert(meta));
        let linked: Vec<BlockRef> = head.window.iter().map(|r| r.block).collect();
        let reconciler = link(&linked, head.finalized_number, tip);
        Some(Self::new(deps, table, registry, reconciler))
    }
}

/// The newest stretch of blocks that is linked by parent hash, as the undo window.
fn link(blocks: &[BlockRef], finalized_number: u64, tip: BlockRef) -> Reconciler {
    let mut run: Vec<BlockRef> = vec![tip];
    for block in blocks.iter().rev().skip_while(|b| b.hash != tip.hash).skip(1) {
        if run.last().is_none_or(|child| child.parent_hash != block.hash) {
            break;
        }
        run.push(*block);
        if block.number <= finalized_number {
            break;
        }
    }
    run.reverse();
    let mut linked = run.into_iter();
    let mut reconciler = Reconciler::new(linked.next().unwrap_or(tip));
    for block in linked {
        if reconciler.head(block) != crate::domain::reconcile::Advice::Known {
            let update = crate::domain::reconcile::ChainUpdate { extend: vec![block], ..Default::default() };
            // The run is linked, so each block fits.
            let _ = reconciler.accept(update, u64::MAX);
        }
    }
    reconciler
}

/// A factory that was added after the store was filled has a past that nobody read: better to say so than to serve half of it.
fn known_sources(deps: &Deps, boot: &Boot) -> Result<(), Halt> {
    for dex in &deps.plan.dexes {
        let name = source_name(dex);
        if !boot.sources.iter().any(|(known, _)| *known == name) {
            return Err(Halt::Fatal(format!(
                "dex \"{}\" was added to the configuration after this database was filled, and this version cannot read its past alone: \
                 start on a new database, or take it out again",
                dex.name
            )));
        }
    }
    Ok(())
}

/// What a factory's cursor is kept under.
pub(super) fn source_name(dex: &DexSpec) -> String {
    format!("dex:{}:{:#x}", dex.name, dex.factory)
}

fn reconciler(boot: &Boot, head: BlockRef) -> Reconciler {
    let blocks: Vec<BlockRef> = boot.window.iter().map(|r| r.block).collect();
    link(&blocks, boot.finalized_number, head)
}

/// Snapshot and rows of every pool through the fold; the blocks of the window leave their pre-images.
async fn restore_pools(deps: &Arc<Deps>, table: &Rc<RefCell<Table>>, boot: &Boot, reconciler: &Reconciler) -> Result<(), Halt> {
    let anchor = reconciler.anchor();
    for pools in boot.pools.chunks(REPLAY_POOLS) {
        let replays = deps.history.replay(deps.chain, pools.to_vec()).await.map_err(|e| stored(&e))?;
        for (meta, replay) in pools.iter().zip(replays) {
            let blocks = group(replay.rows.iter());
            let picks: Vec<(usize, usize)> =
                blocks.iter().enumerate().flat_map(|(b, block)| (0..block.events.len()).map(move |e| (b, e))).collect();
            let since = replay.snapshot.as_ref().map_or(meta.created.block, |s| s.block);
            let base = replay.snapshot.map_or_else(|| PoolState::new(meta.protocol), |s| s.state);
            let applied = fold(0, base, &blocks, &picks);
            let updated = blocks.last().map_or(since, |b| b.block);
            let mut table = table.borrow_mut();
            table.start(deps, &Arc::new(meta.clone()), Some((applied.state.clone(), updated)));
            if applied.misfits.iter().any(|(_, _, error)| error.is_drift()) {
                tracing::error!(pool = %meta.id, "FAULTED: its stored events do not fit its state");
                table.fault(&meta.id, updated);
            }
            for (b, pre_image) in applied.pre_images {
                if let Some(block) = blocks.get(b).filter(|b| b.block.number > anchor.number) {
                    table.remember_undo(block.block.hash, meta.id, pre_image);
                }
            }
        }
    }
    Ok(())
}

/// Rows in chain order back into blocks of events.
pub(super) fn group<'a>(rows: impl Iterator<Item = &'a EventAt>) -> Vec<DecodedBlock> {
    let mut blocks: Vec<DecodedBlock> = Vec::new();
    for at in rows {
        match blocks.last_mut() {
            Some(last) if last.block.hash == at.block.hash => last.events.extend(unfold(&at.row)),
            _ => blocks.push(DecodedBlock { block: at.block, events: unfold(&at.row).collect() }),
        }
    }
    blocks
}

/// The block before the first that is read: final by decree.
async fn start_anchor(deps: &Deps) -> Result<BlockRef, Halt> {
    loop {
        match ask_anchor(deps).await {
            Ok(Some(header)) => return Ok(header.block),
            Ok(None) => {
                return Err(Halt::Fatal(format!(
                    "`start_block` of chain {} lies above the newest block of the node: choose a lower one, or \"latest\"",
                    deps.chain
                )));
            }
            Err(error) if deps.stop.is_cancelled() => {
                tracing::warn!(%error, "stopped before the start block was known");
                return Err(Halt::Stopped);
            }
            Err(error) => {
                tracing::warn!(%error, "asking for the start block again");
                tokio::time::sleep(super::ingest::RETRY_FIRST).await;
            }
        }
    }
}

async fn ask_anchor(deps: &Deps) -> Result<Option<Header>, ChainError> {
    let Some(latest) = deps.source.header(BlockTag::Latest).await? else { return Ok(None) };
    let start = match deps.plan.start {
        StartBlock::Number(number) => number,
        StartBlock::Latest { minus } => latest.block.number.saturating_sub(minus),
    };
    if start > latest.block.number.saturating_add(1) {
        return Ok(None);
    }
    // What is final by decree must be final: a start near the head begins a little earlier instead.
    let last_final = match deps.plan.finality {
        Finality::Depth(depth) => latest.block.number.saturating_sub(depth),
        Finality::Tag => deps.source.header(BlockTag::Finalized).await?.map_or(0, |h| h.block.number),
    };
    deps.source.header(BlockTag::Number(start.saturating_sub(1).min(last_final))).await
}

fn stored(error: &StoreError) -> Halt {
    Halt::Fatal(format!("the store could not be read: {error}"))
}
