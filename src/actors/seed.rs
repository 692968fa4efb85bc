//! Pools that are older than the first block that is read: their state is asked of their contracts at the block before it, by
//! hash. From there on events follow it, as for every other pool.
//!
//! Everything is written to the store at once, pool by pool, because a restart rebuilds every pool from a snapshot and rows. A
//! seeding that is cut off half-way begins anew; what it wrote has the same keys again.

use std::sync::Arc;

use alloy::primitives::Address;

use super::{
    Deps,
    commit::fetch_tokens,
    ranges::{Ranges, Wanted},
};
use crate::{
    chain::{
        ChainError,
        contract_state::{self, Answer},
        decode, older,
        registry::{DexSpec, Registry},
    },
    domain::{
        block::BlockRef,
        image::{Held, PoolImage},
        market::Market,
        pool::{PoolMeta, Protocol, fees::Fees, swap::Terms},
        record::{BlockRecord, PoolSnapshot, rows},
        token::TokenMeta,
    },
    store::{StoreError, history::WriteBatch},
    telemetry::progress::Progress,
};

/// Pools that are read and written at once: bounds the memory of a seeding.
const POOLS_AT_ONCE: usize = 256;

/// What was found, at the block before the first that is read.
#[derive(Default)]
pub(super) struct Seeded {
    pub(super) pools: Vec<(Arc<PoolMeta>, PoolImage)>,
    pub(super) tokens: Vec<Arc<TokenMeta>>,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum SeedError {
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Reads the pools of these sources that exist at `anchor`, and stores them. `done` is written with the last of them, so that a
/// store which has it has all of them; it is written even if there are none.
pub(super) async fn seed(deps: &Arc<Deps>, specs: &[DexSpec], anchor: BlockRef, done: WriteBatch) -> Result<Seeded, SeedError> {
    let mut known: Vec<Arc<PoolMeta>> = Vec::new();
    let mut listed: Vec<Arc<PoolMeta>> = Vec::new();
    for spec in specs.iter().filter(|_| anchor.number > 0) {
        // Nobody but the log that created it says what a V4 pool is.
        if spec.older_pools || (spec.protocol == Protocol::UniswapV4 && !spec.pools.is_empty()) {
            known.extend(created_before(deps, spec, anchor).await?);
        }
        listed.extend(older::listed(deps.source.as_ref(), deps.chain, spec, anchor).await?.into_iter().map(Arc::new));
    }
    let mut seeded = Seeded::default();
    for metas in known.chunks(POOLS_AT_ONCE) {
        let batch = read(deps, metas, anchor, &mut seeded).await?;
        deps.history.write(batch).await?;
    }
    let last = read(deps, &listed, anchor, &mut seeded).await?;
    let WriteBatch { records, snapshots, tokens, .. } = last;
    deps.history.write(WriteBatch { records, snapshots, tokens, ..done }).await?;
    if !seeded.pools.is_empty() {
        tracing::info!(
            chain = deps.chain,
            pools = seeded.pools.len(),
            block = anchor.number,
            "older pools are read from their contracts"
        );
    }
    Ok(seeded)
}

/// Every pool that the factory created up to `anchor`, from its own logs. Those are stored, too.
async fn created_before(deps: &Arc<Deps>, spec: &DexSpec, anchor: BlockRef) -> Result<Vec<Arc<PoolMeta>>, SeedError> {
    let topics = decode::creation_topics(spec.protocol);
    let wanted = Wanted { topics: topics.into(), addresses: [spec.factory].into(), managers: [].into() };
    let mut ranges = Ranges::new(deps.source.clone(), wanted, 0, anchor.number).sparse();
    let name = format!("{}: pools of {}", deps.live.chain_name, spec.name);
    let mut progress = Progress::start(&name, 0, anchor.number, deps.plan.progress_bar);
    let mut registry = Registry::new(vec![spec.clone()]);
    let mut metas = Vec::new();
    while let Some(fetched) = ranges.next().await {
        let fetched = fetched?;
        let mut found = 0_usize;
        let mut records = Vec::new();
        for (block, logs) in fetched.logs.blocks {
            let selected = registry.select(deps.chain, block, logs);
            found = found.saturating_add(selected.created.len());
            metas.extend(selected.created);
            let rows = rows(&selected.events, &[]);
            // That the pool exists is stored with its state, never before.
            records.push(Arc::new(BlockRecord::new(deps.chain, block, rows)));
        }
        if !records.is_empty() {
            deps.history.write(WriteBatch { records, ..batch(deps, anchor) }).await?;
        }
        progress.advance(fetched.blocks, found);
    }
    progress.finish();
    Ok(metas)
}

/// State and tokens of these pools. What does not answer as its protocol does is left out, and said.
async fn read(deps: &Arc<Deps>, metas: &[Arc<PoolMeta>], anchor: BlockRef, seeded: &mut Seeded) -> Result<WriteBatch, SeedError> {
    if metas.is_empty() {
        return Ok(batch(deps, anchor));
    }
    let answers = contract_state::read(deps.source.as_ref(), anchor.hash, metas).await?;
    let mut found: Vec<(Arc<PoolMeta>, PoolImage)> = Vec::with_capacity(metas.len());
    let held = contract_state::balances(deps.source.as_ref(), anchor.hash, metas).await?;
    for ((meta, (_, answer)), held) in metas.iter().zip(answers).zip(held) {
        let held = held.map_or(Held::Unknown, |(amount0, amount1)| Held::Amounts(amount0, amount1));
        match answer {
            Ok(Answer { state, books }) => {
                let fees = Terms::of(meta).zip(books).map(|(terms, books)| Fees::seeded(terms, books));
                let image = PoolImage::seeded(state, held, fees, &anchor);
                let origin = Some(Box::new(image.origin(anchor)));
                found.push((Arc::new(PoolMeta { origin, ..meta.as_ref().clone() }), image));
            }
            Err(reason) => {
                tracing::warn!(pool = %meta.id, %reason, "not served: its contract does not answer as its protocol does")
            }
        }
    }
    let mut wanted: Vec<Address> = found.iter().flat_map(|(meta, _)| [meta.token0, meta.token1]).collect();
    wanted.sort_unstable();
    wanted.dedup();
    wanted.retain(|token| deps.live.token(token).is_none() && !seeded.tokens.iter().any(|t| t.address == *token));
    // What does not answer now is asked for again once the head is followed.
    let tokens: Vec<Arc<TokenMeta>> = fetch_tokens(deps.clone(), anchor, wanted).await.into_iter().map(Arc::new).collect();
    let created = found.iter().map(|(meta, _)| meta.clone()).collect();
    let snapshot = |(meta, image): &(Arc<PoolMeta>, PoolImage)| PoolSnapshot {
        chain: deps.chain,
        pool: meta.id,
        block: anchor,
        image: image.clone(),
        market: Some(Arc::new(Market::seeded(&image.origin(anchor)))),
    };
    let snapshots = found.iter().map(snapshot).collect();
    let records = vec![Arc::new(BlockRecord { created, ..BlockRecord::new(deps.chain, anchor, Vec::new()) })];
    seeded.tokens.extend(tokens.iter().cloned());
    seeded.pools.extend(found);
    Ok(WriteBatch { records, snapshots, tokens, ..batch(deps, anchor) })
}

/// Nothing yet, of what is final.
pub(super) fn batch(deps: &Deps, anchor: BlockRef) -> WriteBatch {
    WriteBatch {
        chain: deps.chain,
        // 0 is nobody's: the store refuses it.
        fence: deps.lease.fence().unwrap_or(0),
        finalized_number: anchor.number,
        now: deps.now_unix_s(),
        ..WriteBatch::default()
    }
}
