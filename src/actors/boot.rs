//! A start: from the start block, or from what the store holds, to a running tree, through the same fold that follows the chain.

use std::{cell::RefCell, collections::HashMap, rc::Rc, sync::Arc, time::Duration};

use alloy::primitives::B256;

use super::{
    Deps, Finality, StartBlock,
    books::{self, Books},
    follow::{Follower, Halt},
    markets::Trading,
    mend,
    pool::{Applied, fold},
    seed::{self, SeedError, Seeded},
    sources,
    table::{Known, Table},
};
use crate::{
    chain::{BlockTag, ChainError, ChainSource, registry::Registry, tokens},
    domain::{
        block::{BlockRef, Header},
        book::Book,
        dollars::Routes,
        image::PoolImage,
        market::Market,
        pool::{PoolId, PoolMeta},
        reconcile::Reconciler,
        record::{DecodedBlock, EventAt, unfold},
        token::TokenMeta,
    },
    store::{
        Commit, StoreError,
        history::{Boot, PoolReplay, WriteBatch},
    },
};

/// Blocks that are folded at once where nothing of before them is kept: bounds the memory of a restart.
const SETTLED_AT_ONCE: usize = 64;
/// Pools whose rows are read from the store at once: bounds the memory of a restart.
const REPLAY_POOLS: usize = 256;
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// Nobody else writes, and it still does not fit together.
const READ_AGAIN_MAX: u32 = 5;

impl Follower {
    /// From the store, or from the start block where the store is empty.
    pub(super) async fn boot(deps: Arc<Deps>, table: Rc<RefCell<Table>>) -> Result<Self, Halt> {
        let mut leases = deps.lease.watch();
        let (mut again, mut pause) = (0_u32, RETRY_FIRST);
        loop {
            let boot = insist(&deps, async || Ok(deps.history.boot(deps.chain).await?)).await?;
            let fence = *leases.borrow_and_update();
            match boot.head {
                Some(head) => {
                    let restored = Restored::of(&deps, &table, boot, head).await?;
                    // Somebody may write meanwhile, and we may not know yet that it is not us.
                    let still_so = async || Ok(deps.history.block(deps.chain, head.hash).await?.is_some_and(|(_, ours)| ours));
                    if let Some(Restored { commit, registry, reconciler }) = restored
                        && insist(&deps, still_so).await?
                    {
                        deps.lease.read_with(fence.filter(|fence| deps.lease.fence() == Some(*fence)));
                        deps.live.restore(commit, head.number, reconciler.anchor().number.saturating_add(1));
                        return Ok(Self::new(deps, table, registry, reconciler));
                    }
                    tracing::info!(head = head.number, "the store moved on while it was read: it is read again");
                    *table.borrow_mut() = Table::default();
                    again = again.saturating_add(1);
                    if again >= READ_AGAIN_MAX && fence.is_some() && fence == deps.lease.fence() {
                        return Err(Halt::Fatal(format!(
                            "chain {}: what is stored does not fit together: a snapshot is newer than the head {}. Please report it; a new \
                             database is filled from the chain",
                            deps.chain, head.number
                        )));
                    }
                    tokio::time::sleep(pause).await;
                    pause = pause.saturating_mul(2).min(RETRY_MAX);
                }
                None if fence.is_some() => match Self::first(deps.clone(), table.clone()).await {
                    // Somebody else fills it: from what is stored, then.
                    Err(Halt::Fenced) => *table.borrow_mut() = Table::default(),
                    outcome => return outcome,
                },
                None => {
                    tracing::info!("the store is empty, and another instance fills it: waiting for its first block");
                    // Woken by the lease, or to look again.
                    drop(tokio::time::timeout(RETRY_MAX, leases.changed()).await);
                }
            }
        }
    }

    /// The very first start: the block before the first that is read, with the pools that are older.
    async fn first(deps: Arc<Deps>, table: Rc<RefCell<Table>>) -> Result<Self, Halt> {
        let fence = deps.lease.fence();
        let unborn = || ChainError::Unavailable("the start block is not there yet".to_owned());
        let header = insist(&deps, async || Ok(ask_anchor(&deps).await?.ok_or_else(unborn)?)).await?;
        let anchor = header.block;
        insist(&deps, async || learn_stablecoins(&deps).await).await?;
        deps.joined.set(deps.plan.dexes.clone());
        let cursors: Vec<(String, u64)> =
            deps.plan.dexes.iter().map(|spec| (sources::name(spec), anchor.number.saturating_add(1))).collect();
        let mut seeded = Seeded::default();
        if anchor.number > 0 && deps.plan.dexes.iter().any(|spec| spec.older_pools || !spec.pools.is_empty()) {
            let done = WriteBatch { head: Some(anchor), sources: cursors.clone(), ..seed::batch(&deps, anchor) };
            seeded = insist(&deps, async || seed::seed(&deps, &deps.plan.dexes, anchor, done.clone()).await).await?;
        }
        let mut registry = Registry::new(deps.plan.dexes.clone());
        table.borrow_mut().books = Books::new(Book::default(), cursors.iter().map(|(name, _)| name.clone()).collect());
        for (meta, image) in seeded.pools {
            registry.insert(meta.clone());
            table.borrow_mut().start(&deps, &meta, Some(Known::new(image, anchor)));
        }
        let commit = Commit {
            views: views(&table),
            tokens: seeded.tokens,
            head: Some(anchor),
            finalized_number: anchor.number,
            ..Commit::default()
        };
        if deps.lease.fence() != fence {
            return Err(Halt::Fenced);
        }
        deps.lease.read_with(fence);
        deps.live.restore(commit, anchor.number, anchor.number.saturating_add(1));
        deps.live.add_side(crate::store::view::Snapshots::default(), cursors);
        Ok(Self::new(deps, table, registry, Reconciler::new(anchor)))
    }

    /// After a panic of `Ingest`: everything that was committed is in `Live`; what was not is forgotten.
    pub(super) fn resume(deps: Arc<Deps>, table: Rc<RefCell<Table>>) -> Option<Self> {
        let head = deps.live.head();
        let tip = head.block?;
        table.borrow_mut().resync(&deps);
        let mut registry = Registry::new(deps.joined.get());
        let mut metas: Vec<Arc<PoolMeta>> = table.borrow().entries.values().map(|e| e.meta.clone()).collect();
        metas.sort_by_key(|m| (m.created.block.number, m.created.log_index));
        metas.into_iter().for_each(|meta| registry.insert(meta));
        table.borrow().tell_tokens(&mut registry);
        let linked: Vec<BlockRef> = head.window.iter().map(|r| r.block).collect();
        let reconciler = link(&linked, head.finalized_number, tip);
        Some(Self::new(deps, table, registry, reconciler))
    }
}

/// What the store holds, folded: the state after its head.
struct Restored {
    commit: Commit,
    registry: Registry,
    reconciler: Reconciler,
}

impl Restored {
    /// `None`: somebody wrote while it was read, and it does not fit together.
    async fn of(deps: &Arc<Deps>, table: &Rc<RefCell<Table>>, mut boot: Boot, head: BlockRef) -> Result<Option<Self>, Halt> {
        let sources::Sorted { joined, left, .. } = sources::sort(&deps.plan.dexes, &boot.sources);
        if !left.is_empty() {
            let batch = WriteBatch { sources: left, ..seed::batch(deps, BlockRef { number: boot.finalized_number, ..head }) };
            insist(deps, async || Ok(deps.keep(batch.clone()).await?)).await?;
        }
        boot.pools = unique(boot.pools).filter(|meta| joined.iter().any(|spec| sources::covers(spec, meta))).collect();
        tracing::info!(head = head.number, pools = boot.pools.len(), "resuming from the store");
        let mut registry = Registry::new(joined.clone());
        deps.joined.set(joined);
        let reconciler = reconciler(&boot, head);
        for meta in &boot.pools {
            registry.insert(Arc::new(meta.clone()));
        }
        // What is made of stored rows has prices, too.
        let tokens: Vec<Arc<TokenMeta>> = std::mem::take(&mut boot.tokens).into_iter().map(Arc::new).collect();
        deps.live.learn_decimals(&tokens);
        if !restore_pools(deps, table, &boot, head, &reconciler).await? {
            return Ok(None);
        }
        let metas = table.borrow().entries.iter().map(|(id, entry)| (*id, entry.meta.clone())).collect();
        let books = insist(deps, async || Ok(books::restore(deps, &metas, &boot, reconciler.anchor()).await?)).await?;
        let Some(books) = books else { return Ok(None) };
        let book = Arc::new(books.book.clone());
        table.borrow_mut().books = books;
        table.borrow().tell_tokens(&mut registry);
        let floor = reconciler.anchor().number.saturating_add(1);
        let commit = Commit {
            extended: boot.window.into_iter().filter(|r| r.block.number >= floor).map(Arc::new).collect(),
            views: views(table),
            tokens,
            book: Some(book),
            head: Some(head),
            finalized_number: reconciler.anchor().number,
            ..Commit::default()
        };
        Ok(Some(Self { commit, registry, reconciler }))
    }
}

/// How many raw units of each stablecoin are a dollar, before the first swap is valued. What says nothing is left out, with a word.
async fn learn_stablecoins(deps: &Deps) -> Result<(), SeedError> {
    let wanted = deps.live.with_routes(Routes::unknown);
    if wanted.is_empty() {
        return Ok(());
    }
    let unborn = || ChainError::Unavailable("the node has no block yet".to_owned());
    let latest = deps.source.header(BlockTag::Latest).await?.ok_or_else(unborn)?;
    let found = tokens::fetch(deps.source.as_ref(), deps.chain, latest.block, &wanted).await?;
    let found: Vec<Arc<TokenMeta>> = found.into_iter().map(Arc::new).collect();
    deps.live.learn_decimals(&found);
    for token in deps.live.with_routes(Routes::unknown) {
        tracing::warn!(chain = deps.chain, %token, "prices nothing: `stablecoins` names it, and it does not say its decimals");
    }
    Ok(())
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

fn reconciler(boot: &Boot, head: BlockRef) -> Reconciler {
    let blocks: Vec<BlockRef> = boot.window.iter().map(|r| r.block).collect();
    link(&blocks, boot.finalized_number, head)
}

/// Snapshot and rows of every pool through the fold; the blocks of the window leave their pre-images. `false`: a snapshot is newer than
/// what was final when the head was read.
async fn restore_pools(
    deps: &Arc<Deps>,
    table: &Rc<RefCell<Table>>,
    boot: &Boot,
    head: BlockRef,
    reconciler: &Reconciler,
) -> Result<bool, Halt> {
    let anchor = reconciler.anchor();
    for pools in boot.pools.chunks(REPLAY_POOLS) {
        let replays = insist(deps, async || Ok(deps.history.replay(deps.chain, pools.to_vec()).await?)).await?;
        for (meta, mut replay) in pools.iter().zip(replays) {
            if replay.snapshot.as_ref().is_some_and(|snapshot| snapshot.block.number > anchor.number) {
                return Ok(false);
            }
            replay.rows.retain(|row| row.block.number <= head.number);
            let meta = Arc::new(meta.clone());
            let mended = async || {
                let mut replay = replay.clone();
                mend::mend(deps, &meta, &mut replay).await?;
                Ok(replay)
            };
            let shares = sources::follows_shares(&deps.joined.get(), &meta);
            let replayed = replayed(&meta, shares, insist(deps, mended).await?, anchor.number, |_| true);
            let Traded { trading, before } = replayed.trading(meta.fee_pips, |block| block.number > anchor.number);
            let Replayed { image, updated, blocks, applied, .. } = replayed;
            let mut table = table.borrow_mut();
            table.start(deps, &meta, Some(Known { image, trading, updated }));
            for (block, market) in before {
                table.remember_market(block, meta.id, &market);
            }
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
    Ok(true)
}

/// A pool as its snapshot and its rows make it.
pub(super) struct Replayed {
    pub(super) image: PoolImage,
    /// The newest block whose events are in `state`.
    pub(super) updated: BlockRef,
    blocks: Vec<DecodedBlock>,
    applied: Applied,
    /// Its trading at the snapshot.
    market: Arc<Market>,
    rows: Vec<EventAt>,
}

/// What a pool has traded.
pub(super) struct Traded {
    pub(super) trading: Trading,
    /// Before each of the blocks that can still be taken back.
    pub(super) before: Vec<(B256, Arc<Market>)>,
}

impl Replayed {
    /// Its trading: as of the snapshot, then row by row.
    pub(super) fn trading(&self, fee_pips: u32, can_be_taken_back: impl Fn(&BlockRef) -> bool) -> Traded {
        let mut trading = Trading::new(self.market.clone());
        let mut before: Vec<(B256, Arc<Market>)> = Vec::new();
        for event in &self.rows {
            let block = &event.block;
            if can_be_taken_back(block) && before.last().is_none_or(|(hash, _)| *hash != block.hash) {
                before.push((block.hash, trading.market.clone()));
            }
            trading.take(block.timestamp, &event.row, fee_pips);
        }
        Traded { trading, before }
    }
}

/// Folds what the store has of a pool; rows of blocks that `counts` denies are left out.
///
/// Blocks up to `settled` cannot be taken back: nothing is kept of what was before them, however many there are. Where the pair's own token
/// is not followed now (`follows_shares`), what is stored of it is of another time.
pub(super) fn replayed(
    meta: &PoolMeta,
    follows_shares: bool,
    replay: PoolReplay,
    settled: u64,
    counts: impl Fn(&BlockRef) -> bool,
) -> Replayed {
    let since = replay.snapshot.as_ref().map_or(meta.created.block, |s| s.block);
    // Without a snapshot nothing was traded before the rows.
    let (base, market) = match replay.snapshot {
        Some(snapshot) => (snapshot.image, snapshot.market.unwrap_or_else(Market::none)),
        None => (PoolImage::new(meta), Market::none()),
    };
    let rows: Vec<EventAt> = replay.rows.into_iter().filter(|row| counts(&row.block)).collect();
    let mut blocks = group(rows.iter());
    let updated = blocks.last().map_or(since, |b| b.block);
    let all = |blocks: &[DecodedBlock]| -> Vec<(usize, usize)> {
        blocks.iter().enumerate().flat_map(|(b, block)| (0..block.events.len()).map(move |e| (b, e))).collect()
    };
    let rest = blocks.split_off(blocks.partition_point(|b| b.block.number <= settled));
    let (mut base, mut misfits) = (base.with_shares(follows_shares), Vec::new());
    for some in blocks.chunks(SETTLED_AT_ONCE) {
        let applied = fold(0, base, some, &all(some));
        misfits.extend(applied.misfits);
        base = applied.image;
    }
    let blocks = rest;
    let mut applied = fold(0, base, &blocks, &all(&blocks));
    applied.misfits.extend(misfits);
    Replayed { image: applied.image.clone(), updated, blocks, applied, market, rows }
}

/// Each pool once: one that was read from its contract at two starts has two places in the store.
pub(super) fn unique(pools: Vec<PoolMeta>) -> impl Iterator<Item = PoolMeta> {
    let mut seen: HashMap<PoolId, usize> = HashMap::new();
    let mut all: Vec<PoolMeta> = Vec::new();
    for meta in pools {
        match seen.get(&meta.id).and_then(|at| all.get_mut(*at)) {
            // Rows are whole from the later one on.
            Some(known) => known.origin = meta.origin.or(known.origin.take()),
            None => {
                seen.insert(meta.id, all.len());
                all.push(meta);
            }
        }
    }
    all.into_iter()
}

fn views(table: &Rc<RefCell<Table>>) -> Vec<(PoolId, Option<Arc<crate::store::PoolView>>)> {
    table.borrow().entries.iter().map(|(id, entry)| (*id, Some(entry.view()))).collect()
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

/// The block before the first that is read: final by decree. `None`: the node is not there yet.
pub(super) async fn ask_anchor(deps: &Deps) -> Result<Option<Header>, ChainError> {
    anchor(deps.source.as_ref(), deps.plan.start, deps.plan.finality).await
}

/// The block whose state older pools are read from: the one before the first that is read. `None`: the node has no such block yet.
///
/// # Errors
/// Where the node cannot answer.
pub async fn anchor(source: &dyn ChainSource, start: StartBlock, finality: Finality) -> Result<Option<Header>, ChainError> {
    let Some(latest) = source.header(BlockTag::Latest).await? else { return Ok(None) };
    let start = match start {
        StartBlock::Number(number) => number,
        StartBlock::Latest { minus } => latest.block.number.saturating_sub(minus),
    };
    if start > latest.block.number.saturating_add(1) {
        return Ok(None);
    }
    // What is final by decree must be final: a start near the head begins a little earlier instead.
    let last_final = match finality {
        Finality::Depth(depth) => latest.block.number.saturating_sub(depth),
        Finality::Tag => source.header(BlockTag::Finalized).await?.map_or(0, |h| h.block.number),
    };
    source.header(BlockTag::Number(start.saturating_sub(1).min(last_final))).await
}

/// Tries again, with back-off, what the node or the store cannot do now; what only an operator can mend ends it.
async fn insist<T>(deps: &Deps, work: impl AsyncFn() -> Result<T, SeedError>) -> Result<T, Halt> {
    let mut pause = RETRY_FIRST;
    loop {
        let reason = match work().await {
            Ok(done) => return Ok(done),
            Err(SeedError::Store(StoreError::Unavailable(reason))) => format!("the store cannot be used: {reason}"),
            Err(SeedError::Store(StoreError::Fenced { ours, .. })) if deps.fenced(ours) => return Err(Halt::Fenced),
            Err(SeedError::Store(error)) => return Err(Halt::Fatal(format!("the store could not be read: {error}"))),
            Err(SeedError::Chain(error @ ChainError::Refused(_))) => {
                return Err(Halt::Fatal(format!(
                    "chain {}: {error}. Pools older than `start_block` are read from their contracts at the block before it: a node \
                     that keeps no state that old cannot say it. Add an archive endpoint to `rpc`, or start nearer to the head, as \
                     with start_block = \"latest\"",
                    deps.chain
                )));
            }
            Err(SeedError::Chain(error)) => error.to_string(),
        };
        let retry_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        tracing::warn!(chain = deps.chain, %reason, retry_ms, "the start is tried again");
        tokio::time::sleep(pause).await;
        pause = pause.saturating_mul(2).min(RETRY_MAX);
    }
}
