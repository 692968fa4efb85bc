//! The endless stream of seeded actions: what a person would see on a busy exchange, and nothing that reverts.
//!
//! Which action comes next is decided here; how each one is made is in `actions`.

use std::collections::HashMap;

use alloy::primitives::{Address, U256};

use crate::{
    contracts::{PositionManager as Nfpm, V2Pair, V4Positions},
    deploy::Deployment,
    error::{Error, Result},
    pools::{DevPool, Protocol},
    queue::{Mined, TxQueue},
    rng::Rng,
    rpc::Rpc,
};

/// What the trader did so far, by kind (orphaned ones included).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ActionCounts {
    pub v2_swaps: u64,
    pub v2_two_hop_swaps: u64,
    pub v2_adds: u64,
    pub v2_removes: u64,
    pub v3_swaps: u64,
    pub v3_mints: u64,
    pub v3_burns: u64,
    pub v3_pools_created: u64,
    pub v4_swaps: u64,
    pub v4_mints: u64,
    pub v4_burns: u64,
}

/// A V4 position that the loop has minted and that is on the chain.
#[derive(Debug, Clone, Copy)]
pub(crate) struct V4Position {
    pub(crate) id: u64,
    /// Which pool of the deployment.
    pub(crate) pool: usize,
    pub(crate) owner: Address,
    pub(crate) used: bool,
}

/// A V3 position of one of our accounts that is on the chain.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Position {
    pub(crate) id: u64,
    pub(crate) owner: Address,
    /// Never decrease a position twice in one block: the second amount would be a guess.
    pub(crate) used: bool,
}

/// Pushes actions into the next block. Random ones repeat with the seed; single ones are for tests.
#[derive(Debug)]
pub struct Trader {
    pub(crate) rpc: Rpc,
    pub(crate) queue: TxQueue,
    pub(crate) deployment: Deployment,
    pub(crate) rng: Rng,
    pub(crate) pools: Vec<DevPool>,
    pub(crate) created: Vec<DevPool>,
    pub(crate) max_new_pools: usize,
    /// Net flow into each pool in millionths of a dollar: positive when token0 came in.
    pub(crate) net_usd_micro: HashMap<Address, i128>,
    pub(crate) positions: Vec<Position>,
    pub(crate) minted: Vec<Position>,
    pub(crate) next_position_id: u64,
    pub(crate) v4_positions: Vec<V4Position>,
    pub(crate) v4_minted: Vec<V4Position>,
    pub(crate) next_v4_id: u64,
    /// A thousandth of the first liquidity of each V2 pool, in pair tokens.
    pub(crate) removable: HashMap<Address, U256>,
    pub(crate) counts: ActionCounts,
}

/// So many of 1,000 actions are of V4 where there is such.
const V4_PERMILLE: u64 = 250;
/// 256 positions: enough to pick from; the older ones stay in their pools.
const MAX_POSITIONS: usize = 256;

impl Trader {
    pub(crate) async fn new(rpc: Rpc, queue: TxQueue, deployment: Deployment, seed: u64, max_new_pools: usize) -> Result<Self> {
        let v2: Vec<&DevPool> = deployment.pools.iter().filter(|p| p.protocol == Protocol::V2).collect();
        let supplies = rpc.view_many(&v2.iter().map(|p| (p.address, V2Pair::totalSupplyCall {})).collect::<Vec<_>>()).await?;
        let removable = v2.iter().zip(supplies).map(|(p, supply)| (p.address, supply / U256::from(1000))).collect();
        let mut trader = Self {
            rpc,
            queue,
            rng: Rng::new(seed ^ 0x5eed),
            pools: deployment.pools.clone(),
            deployment,
            max_new_pools,
            removable,
            created: Vec::new(),
            net_usd_micro: HashMap::new(),
            positions: Vec::new(),
            minted: Vec::new(),
            next_position_id: 1,
            v4_positions: Vec::new(),
            v4_minted: Vec::new(),
            next_v4_id: 1,
            counts: ActionCounts::default(),
        };
        trader.next_position_id = trader.positions_on_chain(None).await? + 1;
        trader.next_v4_id = trader.next_v4_id_on_chain(None).await?;
        Ok(trader)
    }

    /// Every pool that is on the chain: those of the setup, then those that were created since.
    pub fn pools(&self) -> &[DevPool] {
        &self.pools
    }

    /// How many pools are on the chain, of all protocols.
    pub fn pool_count(&self) -> usize {
        self.pools.len() + self.deployment.v4.as_ref().map_or(0, |v4| v4.pools.len())
    }

    /// What was done so far.
    pub fn counts(&self) -> ActionCounts {
        self.counts
    }

    /// How many transactions wait for the next block.
    pub fn pending(&self) -> usize {
        self.queue.len()
    }

    /// The queue itself, for transactions of a test's own.
    pub fn queue_mut(&mut self) -> &mut TxQueue {
        &mut self.queue
    }

    /// Pushes `n` random actions, one transaction each.
    ///
    /// # Errors
    /// When the node is gone or there is no pool.
    pub async fn push_random(&mut self, n: usize) -> Result<()> {
        if self.pools.is_empty() {
            return Err(Error::Usage("there is no pool to trade in".to_owned()));
        }
        for _ in 0..n {
            self.push_one().await?;
        }
        Ok(())
    }

    async fn push_one(&mut self) -> Result<()> {
        let v4_pools = self.deployment.v4.as_ref().map_or(0, |v4| v4.pools.len());
        if v4_pools > 0 && self.rng.below(1000) < V4_PERMILLE {
            return self.random_v4(v4_pools).await;
        }
        let v2 = self.indices(Protocol::V2);
        let v3 = self.indices(Protocol::V3);
        let dice = self.rng.below(1000);
        match (self.rng.pick(&v2).copied(), self.rng.pick(&v3).copied()) {
            (Some(pool), _) if dice < 430 => self.random_swap_v2(pool).await,
            (_, Some(pool)) if dice < 830 => self.random_swap_v3(pool).await,
            (Some(pool), _) if (830..880).contains(&dice) => self.random_two_hop_v2(pool).await,
            (Some(pool), _) if (880..905).contains(&dice) => self.random_add_v2(pool).await,
            (Some(pool), _) if (905..920).contains(&dice) => self.random_remove_v2(pool).await,
            (_, Some(pool)) if (920..965).contains(&dice) => self.random_mint_v3(pool).await,
            (_, Some(pool)) if (965..995).contains(&dice) => self.random_burn_v3(pool).await,
            (_, Some(pool)) if dice >= 995 => self.random_new_pool_v3(pool).await,
            // A chain of only one protocol: swap.
            (Some(pool), _) => self.random_swap_v2(pool).await,
            (None, Some(pool)) => self.random_swap_v3(pool).await,
            (None, None) => Ok(()),
        }
    }

    fn indices(&self, protocol: Protocol) -> Vec<usize> {
        self.pools.iter().enumerate().filter(|(_, p)| p.protocol == protocol).map(|(i, _)| i).collect()
    }

    /// Sends everything that waits as one block.
    pub(crate) async fn mine(&mut self) -> Result<Mined> {
        let mined = self.queue.mine().await?;
        for pool in std::mem::take(&mut self.created) {
            self.adopt(pool).await?;
        }
        for position in &mut self.positions {
            position.used = false;
        }
        self.positions.append(&mut self.minted);
        self.v4_positions.iter_mut().for_each(|position| position.used = false);
        self.v4_positions.append(&mut self.v4_minted);
        let excess = self.v4_positions.len().saturating_sub(MAX_POSITIONS);
        self.v4_positions.drain(..excess);
        let excess = self.positions.len().saturating_sub(MAX_POSITIONS);
        self.positions.drain(..excess);
        Ok(mined)
    }

    /// A pool that was created in the block that was just mined.
    async fn adopt(&mut self, pool: DevPool) -> Result<()> {
        let address = self.rpc.view(self.deployment.v3_factory, &crate::deploy::get_pool_call(&pool)).await?;
        if !address.is_zero() {
            self.pools.push(DevPool { address, ..pool });
        }
        Ok(())
    }

    /// After a reorg: forgets what is no longer on the chain. `ancestor` is the last block that stayed.
    pub(crate) async fn after_reorg(&mut self, ancestor: u64) -> Result<()> {
        self.queue.reload_nonces().await?;
        self.created.clear();
        self.minted.clear();
        self.v4_minted.clear();
        let next = self.next_v4_id_on_chain(Some(ancestor)).await?;
        self.v4_positions.retain(|position| position.id < next);
        self.next_v4_id = self.next_v4_id_on_chain(None).await?;
        let kept = self.positions_on_chain(Some(ancestor)).await?;
        self.positions.retain(|p| p.id <= kept);
        self.next_position_id = self.positions_on_chain(None).await? + 1;
        let newer = self.pools.split_off(self.deployment.pools.len().min(self.pools.len()));
        for pool in newer {
            self.adopt(pool).await?;
        }
        Ok(())
    }

    /// The id that the next V4 position has after a block.
    async fn next_v4_id_on_chain(&self, block: Option<u64>) -> Result<u64> {
        let Some(v4) = &self.deployment.v4 else { return Ok(1) };
        let block = block.map_or_else(|| "latest".to_owned(), |number| format!("{number:#x}"));
        let next = self.rpc.view_at(v4.positions, &V4Positions::nextTokenIdCall {}, block.into()).await?;
        Ok(u64::try_from(next).unwrap_or(u64::MAX))
    }

    /// How many position NFTs exist at a block; nobody burns any here, so it is also the highest id.
    async fn positions_on_chain(&self, block: Option<u64>) -> Result<u64> {
        let block = block.map_or_else(|| "latest".to_owned(), |number| format!("{number:#x}"));
        let supply = self.rpc.view_at(self.deployment.nfpm, &Nfpm::totalSupplyCall {}, block.into()).await?;
        Ok(u64::try_from(supply).unwrap_or(u64::MAX))
    }
}
