//! A source that was added to the configuration after the store was filled: it is read back alone while the rest stays live, and
//! joins when only what memory holds is missing.
//!
//! The task here reads and stores what lies below the window; [`join`] does the rest within one commit, so that readers see the source's
//! pools from one epoch to the next, with all of their past. Until then they are not served.

mod join;

use std::{sync::Arc, time::Duration};

use tokio::{sync::mpsc, task::JoinSet};

use super::{
    Deps,
    boot::{Traded, ask_anchor, replayed},
    commit::fetch_tokens,
    folder::Folder,
    mend,
    ranges::Ranges,
    seed::{self, SeedError, seed},
    sources,
    table::{Due, Known},
};
use crate::{
    chain::{
        BlockTag, ChainError,
        registry::{DexSpec, Registry},
    },
    domain::{
        block::BlockRef,
        event::RawLog,
        image::PoolImage,
        pool::{PoolId, PoolMeta},
        record::PoolSnapshot,
        token::TokenMeta,
    },
    store::{
        StoreError,
        history::{PoolReplay, WriteBatch},
        live::WindowHold,
    },
    telemetry::progress::Progress,
};

/// So close to the window it joins.
const JOIN_GAP_BLOCKS: u64 = 64;
const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_MAX: Duration = Duration::from_secs(60);

/// A source that has caught up to `at`.
pub(super) struct Ready {
    spec: DexSpec,
    folder: Folder,
    at: BlockRef,
    tokens: Vec<Arc<TokenMeta>>,
    /// The window stays as deep as it was when the last settled block below it was written: what is missing is all in there.
    hold: Option<WindowHold>,
}

/// The late sources of a chain. Dropping it ends their tasks.
pub(super) struct Late {
    ready: mpsc::Receiver<Ready>,
    sender: mpsc::Sender<Ready>,
    tasks: JoinSet<()>,
    /// One that could not join yet.
    waiting: Option<Ready>,
}

impl Late {
    /// Starts reading back every configured source that has not joined.
    pub(super) fn start(deps: &Arc<Deps>) -> Self {
        let joined = deps.joined.get();
        let late = deps.plan.dexes.iter().filter(|spec| !joined.contains(spec));
        let (tx, ready) = mpsc::channel(1);
        let mut tasks = JoinSet::new();
        for spec in late {
            tasks.spawn(catch_up(deps.clone(), spec.clone(), tx.clone()));
        }
        Self { ready, sender: tx, tasks, waiting: None }
    }

    /// The window was cut above where it is, or the head jumped: it reads on alone.
    fn again(&mut self, deps: &Arc<Deps>, ready: Ready) {
        self.tasks.spawn(go_on(deps.clone(), ready, self.sender.clone()));
    }

    /// The next source that wants to join; waits for ever where there is none.
    pub(super) async fn next(&mut self) -> Ready {
        if let Some(ready) = self.waiting.take() {
            return ready;
        }
        match self.ready.recv().await {
            Some(ready) => ready,
            None => std::future::pending().await,
        }
    }
}

async fn catch_up(deps: Arc<Deps>, spec: DexSpec, ready: mpsc::Sender<Ready>) {
    let mut pause = RETRY_FIRST;
    loop {
        match read_back(&deps, &spec).await {
            Ok(source) => {
                // Closed: the process is stopping.
                let _ = ready.send(source).await;
                return;
            }
            Err(error) => {
                let retry_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
                tracing::warn!(dex = spec.name, %error, retry_ms, "an added source could not be read back; it is tried again");
                tokio::time::sleep(pause).await;
                pause = pause.saturating_mul(2).min(RETRY_MAX);
            }
        }
    }
}

async fn go_on(deps: Arc<Deps>, mut source: Ready, ready: mpsc::Sender<Ready>) {
    source.hold = None;
    let spec = source.spec.clone();
    // Where memory is full the window moves with every block.
    tokio::time::sleep(RETRY_FIRST).await;
    match read_on(&deps, source).await {
        // Closed: the process is stopping.
        Ok(source) => drop(ready.send(source).await),
        // What was folded and what is stored may be two things now.
        Err(error) => {
            tracing::warn!(dex = spec.name, %error, "an added source could not be read on; it is read from the store again");
            catch_up(deps, spec, ready).await;
        }
    }
}

/// From where the store has it to just below the window.
async fn read_back(deps: &Arc<Deps>, spec: &DexSpec) -> Result<Ready, SeedError> {
    // Before the head is reached the node has other things to do.
    below_window(deps).await;
    // What is read back is written as it comes: by whoever writes.
    deps.lease.begun().await;
    read_on(deps, begin(deps, spec).await?).await
}

async fn read_on(deps: &Arc<Deps>, mut ready: Ready) -> Result<Ready, SeedError> {
    let mut below = below_window(deps).await;
    let from = ready.at.number.saturating_add(1);
    let name = format!("{}: {}", deps.live.chain_name, ready.spec.name);
    let mut progress = Progress::start(&name, from, below.max(from), false);
    while ready.at.number.saturating_add(JOIN_GAP_BLOCKS) < below {
        ready.read_to(deps, below, &mut progress).await?;
        below = below_window(deps).await;
    }
    // The last few with the window held still: what is below it is in the store before anybody sees that the source has joined.
    let hold = deps.live.hold_window();
    ready.read_to(deps, hold.floor.saturating_sub(1), &mut progress).await?;
    ready.hold = Some(hold);
    progress.finish();
    Ok(ready)
}

/// The highest block that readers take from the store. Waits until the head is reached: while it is not, the window moves on.
async fn below_window(deps: &Deps) -> u64 {
    let mut epochs = deps.live.watch_epoch();
    loop {
        let head = deps.live.head();
        if head.at_head && head.current && head.window_floor != u64::MAX {
            return head.window_floor.saturating_sub(1).min(head.finalized_number);
        }
        if epochs.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Where the store left it, or at the start block with what is older.
async fn begin(deps: &Arc<Deps>, spec: &DexSpec) -> Result<Ready, SeedError> {
    let boot = deps.history.boot(deps.chain).await?;
    let late_name = sources::late_name(&sources::name(spec));
    let mut folder = Folder::new(deps.chain, Registry::new(vec![spec.clone()]));
    let cursor = boot.sources.iter().find(|(name, next)| *name == late_name && *next > 0).map(|(_, next)| *next);
    let metas: Vec<_> = super::boot::unique(boot.pools).filter(|meta| sources::covers(spec, meta)).collect();
    let known: Vec<PoolId> = metas.iter().map(|meta| meta.id).collect();
    let stored = match cursor {
        Some(next) => stored(deps, spec, metas, next).await?.map(|pools| (next, pools)),
        None => None,
    };
    let Some((next, pools)) = stored else {
        let header = ask_anchor(deps).await?.ok_or_else(|| ChainError::Unavailable("the start block is not there yet".into()))?;
        let anchor = header.block;
        tracing::info!(dex = spec.name, from = anchor.number.saturating_add(1), "a source was added: it is read back alone");
        let from = anchor.number.saturating_add(1);
        let mark = super::enrich::mark(&sources::name(spec));
        // What was kept of them is of another reading: without a position manager, or of rows that are not all there.
        let forget = WriteBatch { forget_snapshots: known, ..seed::batch(deps, anchor) };
        deps.history.write(forget).await?;
        let done = WriteBatch { sources: vec![(late_name, from), (mark, from)], ..seed::batch(deps, anchor) };
        let seeded = seed(deps, std::slice::from_ref(spec), anchor, done).await?;
        for (meta, image) in &seeded.pools {
            folder.insert(meta, Known::new(image.clone(), anchor));
        }
        return Ok(Ready { spec: spec.clone(), folder, at: anchor, tokens: seeded.tokens, hold: None });
    };
    tracing::info!(dex = spec.name, from = next, "a source that was added is read on from where it was left");
    let at = deps.source.header(BlockTag::Number(next.saturating_sub(1))).await?;
    let at = at.ok_or_else(|| ChainError::Unavailable(format!("the node does not know block {}", next.saturating_sub(1))))?.block;
    for (meta, replay) in pools {
        // Above its cursor there may be rows of a time when it was followed, and not all of them.
        let meta = Arc::new(meta);
        let replayed = replayed(&meta, spec.lp_tokens, replay, u64::MAX, |block| block.number < next);
        let Traded { trading, .. } = replayed.trading(meta.fee_pips, |_| false);
        folder.insert(&meta, Known { image: replayed.image, trading, updated: replayed.updated });
    }
    Ok(Ready { spec: spec.clone(), folder, at, tokens: Vec::new(), hold: None })
}

/// What is stored of a source's pools. `None` where a snapshot is of a time when they were followed, above its cursor: whoever folded
/// on from there would count twice what lies between; and where one is of a time when nobody followed who holds the pair.
async fn stored(
    deps: &Arc<Deps>,
    spec: &DexSpec,
    metas: Vec<PoolMeta>,
    next: u64,
) -> Result<Option<Vec<(PoolMeta, PoolReplay)>>, StoreError> {
    let mut pools = Vec::with_capacity(metas.len());
    for meta in metas {
        let mut replay = deps.history.replay(deps.chain, vec![meta.clone()]).await?.into_iter().next().unwrap_or_default();
        let has_shares = |image: &PoolImage| image.shares.is_some() || meta.origin.is_some() || !spec.lp_tokens;
        if replay.snapshot.as_ref().is_some_and(|snapshot| snapshot.block.number >= next || !has_shares(&snapshot.image)) {
            return Ok(None);
        }
        mend::mend(deps, &meta, &mut replay).await?;
        pools.push((meta, replay));
    }
    Ok(Some(pools))
}

impl Ready {
    /// Reads, folds and stores the settled blocks up to `last`.
    async fn read_to(&mut self, deps: &Arc<Deps>, last: u64, progress: &mut Progress) -> Result<(), SeedError> {
        let (dexes, registry) = (std::slice::from_ref(&self.spec), &self.folder.registry);
        let mut ranges = Ranges::of(deps.source.clone(), dexes, registry, self.at.number.saturating_add(1), last);
        while let Some(fetched) = ranges.next().await {
            let fetched = fetched?.follows(&self.at)?;
            let (blocks, end) = (fetched.blocks, fetched.logs.end);
            let batch = self.take(deps, fetched.logs.blocks, end).await;
            let events = batch.records.iter().map(|r| r.rows.len()).sum();
            deps.history.write(batch).await?;
            progress.advance(blocks, events);
        }
        Ok(())
    }

    /// Folds settled blocks; what is to be stored of them.
    async fn take(&mut self, deps: &Arc<Deps>, blocks: Vec<(BlockRef, Vec<RawLog>)>, end: BlockRef) -> WriteBatch {
        let mut records = Vec::with_capacity(blocks.len());
        for (block, logs) in blocks {
            let folded = self.folder.block(block, logs);
            if !folded.record.rows.is_empty() {
                records.push(Arc::new(folded.record));
            }
        }
        let mut wanted: Vec<_> = records.iter().flat_map(|r| &r.created).flat_map(|m| [m.token0, m.token1]).collect();
        wanted.sort_unstable();
        wanted.dedup();
        wanted.retain(|token| deps.live.token(token).is_none() && !self.tokens.iter().any(|t| t.address == *token));
        let tokens: Vec<Arc<TokenMeta>> = fetch_tokens(deps.clone(), end, wanted).await.into_iter().map(Arc::new).collect();
        self.tokens.extend(tokens.iter().cloned());
        let (mut snapshots, mut candles) = (Vec::new(), Vec::new());
        for (id, pool) in
            self.folder.pools.iter_mut().filter(|(_, pool)| Due::Often.holds(pool.events_since_snapshot, || pool.weight()))
        {
            pool.events_since_snapshot = 0;
            // The batch with what was given before was written, or this would have begun anew.
            pool.trading.forget_given();
            let market = pool.trading.market.clone();
            candles.extend(pool.trading.give(*id, &market));
            snapshots.push(PoolSnapshot {
                chain: deps.chain,
                pool: *id,
                block: end,
                image: pool.image.clone(),
                market: Some(market),
            });
        }
        self.at = end;
        let cursor = (sources::late_name(&sources::name(&self.spec)), end.number.saturating_add(1));
        WriteBatch { records, snapshots, candles, tokens, sources: vec![cursor], ..seed::batch(deps, end) }
    }
}
