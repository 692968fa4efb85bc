//! Proves the numbers: every pool's state against what its contract answers at the same block hash.
//!
//! What is stored: [`compare_rows`]. One function for the tests, the demo's exit code and `swaptide audit`.

mod rows;

use std::sync::Arc;

use alloy::primitives::{B256, U256};
use serde::{Deserialize, Serialize};

use crate::{
    chain::{ChainError, ChainSource, contract_state},
    domain::{
        ChainId,
        block::BlockRef,
        compare::{Drift, compare, compare_books, compare_position},
        pool::{
            PoolId, PoolMeta, PoolState, Protocol,
            fees::{Books, Position, PositionKey, Token},
        },
    },
    store::{Pin, PoolStatus},
};

pub use rows::{RowDrift, RowReport, RowsError, compare_rows};

/// Our whole state at one block.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StateAt {
    pub chain_id: ChainId,
    pub block: BlockRef,
    pub pools: Vec<PoolAt>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PoolAt {
    pub meta: PoolMeta,
    /// `LIVE`, `REBUILDING`, `FAULTED`; only the first claims to equal the chain.
    pub status: String,
    pub state: PoolState,
    /// `None`: a pair, or a pool that keeps other books than v3-core does.
    #[serde(default)]
    pub books: Option<Books>,
    /// Those that are known; of a pool that is older than what was read there are none.
    #[serde(default)]
    pub positions: Vec<(PositionKey, Position)>,
    /// Position managers' tokens.
    #[serde(default)]
    pub tokens: Vec<(U256, Token)>,
}

/// What an audit found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub chain_id: ChainId,
    pub block_number: u64,
    pub block_hash: B256,
    /// Pools compared with their contract.
    pub compared: usize,
    /// Initialised ticks among them.
    pub ticks: usize,
    /// Their positions, as far as they are known …
    pub positions: usize,
    /// … and tokens that stand for them.
    pub tokens: usize,
    /// Pools that do not claim to be current, and pools whose contract did not answer.
    pub skipped: Vec<String>,
    pub drifts: Vec<PoolDrift>,
}

#[derive(Debug, Clone, Serialize)]
pub struct PoolDrift {
    pub pool: PoolId,
    pub drifts: Vec<Drift>,
}

impl Report {
    /// Every pool was compared and none differs.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.drifts.is_empty() && self.skipped.is_empty()
    }
}

impl StateAt {
    /// The pinned epoch. `None` before the first block.
    #[must_use]
    pub fn of(pin: &Pin) -> Option<Self> {
        let block = pin.head().block?;
        let mut pools: Vec<PoolAt> = pin
            .pools()
            .into_iter()
            .map(|view| PoolAt {
                meta: view.meta.as_ref().clone(),
                status: match view.status {
                    PoolStatus::Live => "LIVE",
                    PoolStatus::Rebuilding => "REBUILDING",
                    PoolStatus::Faulted => "FAULTED",
                }
                .to_owned(),
                state: view.image.state.clone(),
                books: view.image.fees.as_ref().map(|fees| fees.books()),
                positions: view.image.positions().collect(),
                tokens: view.image.tokens().collect(),
            })
            .collect();
        pools.sort_by_key(|p| p.meta.id);
        Some(Self { chain_id: pin.chain(), block, pools })
    }
}

/// Asks every contract at the state's block.
///
/// # Errors
/// Where the node cannot answer for that block (a reorg took it, or its state is pruned): take a newer state and ask again.
pub async fn compare_state(source: &dyn ChainSource, state: &StateAt) -> Result<Report, ChainError> {
    let metas: Vec<Arc<PoolMeta>> = state.pools.iter().map(|p| Arc::new(p.meta.clone())).collect();
    let answers = contract_state::read(source, state.block.hash, &metas).await?;
    let mut report = Report {
        chain_id: state.chain_id,
        block_number: state.block.number,
        block_hash: state.block.hash,
        compared: 0,
        ticks: 0,
        positions: 0,
        tokens: 0,
        skipped: Vec::new(),
        drifts: Vec::new(),
    };
    for (ours, (id, answer)) in state.pools.iter().zip(answers) {
        let meta = &ours.meta;
        match answer {
            _ if ours.status != "LIVE" => report.skipped.push(format!("{id}: {}", ours.status)),
            Err(reason) => report.skipped.push(format!("{id}: {reason}")),
            Ok(theirs) => {
                report.compared = report.compared.saturating_add(1);
                if let Some(v3) = theirs.state.v3() {
                    report.ticks = report.ticks.saturating_add(v3.ticks.len());
                }
                let mut drifts = compare(&ours.state, &theirs.state);
                if let Some((ours, theirs)) = ours.books.as_ref().zip(theirs.books) {
                    // What the protocol takes V4 keeps by token, of all its pools together.
                    let of_v4 = meta.protocol == Protocol::UniswapV4;
                    let protocol = if of_v4 { ours.protocol } else { theirs.protocol };
                    drifts.extend(compare_books(ours, &Books { protocol, ..theirs }));
                }
                report.positions = report.positions.saturating_add(ours.positions.len());
                drifts.extend(compare_positions(source, state.block.hash, ours).await?);
                report.tokens = report.tokens.saturating_add(ours.tokens.len());
                drifts.extend(compare_tokens(source, state.block.hash, ours).await?);
                if !drifts.is_empty() {
                    report.drifts.push(PoolDrift { pool: id, drifts });
                }
            }
        }
    }
    Ok(report)
}

async fn compare_positions(source: &dyn ChainSource, at: B256, pool: &PoolAt) -> Result<Vec<Drift>, ChainError> {
    let keys: Vec<PositionKey> = pool.positions.iter().map(|(key, _)| *key).collect();
    let answers = contract_state::positions(source, at, &pool.meta, &keys).await?;
    let mut drifts = Vec::new();
    for ((key, ours), theirs) in pool.positions.iter().zip(answers) {
        let name = format!("{:#x}:{}:{}", key.owner, key.tick_lower, key.tick_upper);
        match theirs {
            Ok(theirs) => drifts.extend(compare_position(&name, (key.owner, ours), (key.owner, &theirs))),
            Err(reason) => {
                drifts.push(Drift { field: format!("position[{name}]"), ours: format!("{ours:?}"), chain: reason });
            }
        }
    }
    Ok(drifts)
}

/// The manager itself says whose a token is and what is behind it. Of one that was burnt it says nothing.
async fn compare_tokens(source: &dyn ChainSource, at: B256, pool: &PoolAt) -> Result<Vec<Drift>, ChainError> {
    let answers = contract_state::tokens(source, at, &pool.meta, &pool.tokens).await?;
    let mut drifts = Vec::new();
    for ((token_id, ours), theirs) in pool.tokens.iter().zip(answers) {
        let name = format!("{:#x}#{token_id}", ours.manager);
        match theirs {
            Ok((owner, theirs)) => drifts.extend(compare_position(&name, (ours.owner, &ours.position), (owner, &theirs))),
            Err(_) if ours.owner.is_zero() => {}
            Err(reason) => {
                drifts.push(Drift { field: format!("position[{name}]"), ours: format!("{ours:?}"), chain: reason });
            }
        }
    }
    Ok(drifts)
}
