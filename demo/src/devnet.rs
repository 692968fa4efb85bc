//! The whole local chain: node, contracts, pools, trader.

use std::time::Instant;

use alloy::primitives::{Address, B256, Bytes};
use serde_json::{Value, json};

use crate::{
    anvil::{Anvil, AnvilConfig, Clock},
    contracts::Contract,
    deploy::{self, Deployment},
    error::{Error, Result},
    parts::Parts,
    pools::Protocol,
    queue::{self, Mined, Tx, TxQueue},
    rng::Rng,
    rpc::{Rpc, at},
    trader::Trader,
};

/// How much of a chain.
#[derive(Debug, Clone)]
pub struct DevnetConfig {
    /// Decides everything that is random. With a fixed clock it repeats every block hash.
    pub seed: u64,
    pub chain_id: u64,
    pub tokens: usize,
    pub v2_pools: usize,
    pub v3_pools: usize,
    /// The third has a hook.
    pub v4_pools: usize,
    /// How many V3 pools the trader may create on its own.
    pub max_new_pools: usize,
    pub clock: Clock,
    /// The node's port; `None` takes a free one.
    pub port: Option<u16>,
    /// Further arguments for anvil.
    pub anvil_args: Vec<String>,
}

impl Default for DevnetConfig {
    fn default() -> Self {
        Self {
            seed: 1,
            chain_id: 31_337,
            tokens: 9,
            v2_pools: 5,
            v3_pools: 5,
            v4_pools: 0,
            max_new_pools: 4,
            clock: Clock::default(),
            port: None,
            anvil_args: Vec::new(),
        }
    }
}

impl DevnetConfig {
    /// One V2 pool and two tokens: what most tests need, and quick to set up.
    pub fn tiny() -> Self {
        Self { tokens: 2, v2_pools: 1, v3_pools: 0, v4_pools: 0, max_new_pools: 0, ..Self::default() }
    }
}

/// What a reorg did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reorged {
    /// Blocks that were replaced by as many others.
    pub depth: u64,
    /// The last block that both branches share.
    pub ancestor: u64,
    pub old_head: B256,
    pub new_head: Mined,
    /// Transactions that were in the old blocks.
    pub orphaned_transactions: usize,
}

/// A local chain with real contracts. Dropping it ends the node.
#[derive(Debug)]
pub struct Devnet {
    pub http_url: String,
    pub ws_url: String,
    pub chain_id: u64,
    pub deployment: Deployment,
    pub trader: Trader,
    rng: Rng,
    rpc: Rpc,
    parts: Parts,
    anvil: Anvil,
    clock: Clock,
}

impl Devnet {
    /// Starts the node and deploys everything.
    ///
    /// # Errors
    /// When parts are missing (the text says what to run) or the node does not do what it should.
    pub async fn start(config: DevnetConfig) -> Result<Self> {
        let parts = Parts::find()?;
        let DevnetConfig { seed, chain_id, clock, port, .. } = config;
        let anvil_config = AnvilConfig { chain_id, clock, port, extra_args: config.anvil_args, ..AnvilConfig::default() };
        let anvil = Anvil::start(&parts, &anvil_config).await?;
        let rpc = anvil.rpc();
        let accounts: Vec<Address> = serde_json::from_value(rpc.call("eth_accounts", json!([])).await?)
            .map_err(|e| Error::Answer { method: "eth_accounts".to_owned(), problem: e.to_string() })?;
        let mut queue = TxQueue::new(rpc.clone(), &accounts).await?;
        let size = deploy::Size {
            seed,
            tokens: config.tokens,
            v2_pools: config.v2_pools,
            v3_pools: config.v3_pools,
            v4_pools: config.v4_pools,
        };
        let deployment = deploy::deploy(&rpc, &parts, &mut queue, accounts, size).await?;
        let trader = Trader::new(rpc.clone(), queue, deployment.clone(), seed, config.max_new_pools).await?;
        Ok(Self {
            http_url: format!("http://{}", anvil.host()),
            ws_url: format!("ws://{}", anvil.host()),
            chain_id,
            deployment,
            trader,
            rng: Rng::new(seed ^ 0x4e04_6021),
            clock,
            rpc,
            parts,
            anvil,
        })
    }

    /// The raw JSON-RPC client.
    pub fn rpc(&self) -> &Rpc {
        &self.rpc
    }

    /// One raw JSON-RPC request.
    ///
    /// # Errors
    /// When the node is gone or refuses.
    pub async fn rpc_call(&self, method: &str, params: Value) -> Result<Value> {
        self.rpc.call(method, params).await
    }

    /// The installed parts: contracts, npm clients.
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Whether the node still runs.
    pub fn is_running(&mut self) -> bool {
        self.anvil.is_running()
    }

    /// The head block.
    ///
    /// # Errors
    /// When the node is gone.
    pub async fn head(&self) -> Result<Mined> {
        let now = Instant::now();
        queue::latest(&self.rpc, now, now).await
    }

    /// Mines what the trader has pushed as one block; an empty one when there is nothing.
    ///
    /// # Errors
    /// When the node refuses a transaction or is gone.
    pub async fn mine(&mut self) -> Result<Mined> {
        self.trader.mine().await
    }

    /// Mines and insists that no transaction of the block reverted.
    ///
    /// # Errors
    /// When one did.
    pub async fn mine_all_ok(&mut self) -> Result<Mined> {
        let mined = self.mine().await?;
        queue::assert_all_ok(&self.rpc, mined.number).await?;
        Ok(mined)
    }

    /// Mines `blocks` blocks of `txs_per_block` random actions each: the sized workload of the benches.
    ///
    /// # Errors
    /// When the node is gone.
    pub async fn fill(&mut self, blocks: u64, txs_per_block: usize) -> Result<Mined> {
        for _ in 0..blocks {
            self.trader.push_random(txs_per_block).await?;
            self.mine().await?;
        }
        self.head().await
    }

    /// Replaces the last `depth` blocks by as many empty ones. What waits for the next block is forgotten.
    ///
    /// # Errors
    /// When `depth` is 0 or reaches into the setup, or the node is gone.
    pub async fn reorg(&mut self, depth: u64) -> Result<Reorged> {
        self.reorg_keeping(depth, 0).await
    }

    /// Replaces the last `depth` blocks; about `permille` of 1,000 of their transactions come again in the new ones, as after a
    /// real reorg. (Some of those may revert: they run in another order.)
    ///
    /// # Errors
    /// As `reorg`.
    pub async fn reorg_keeping(&mut self, depth: u64, permille: u64) -> Result<Reorged> {
        let old = self.head().await?;
        let lowest = self.deployment.setup_end_block;
        if depth == 0 || old.number.saturating_sub(depth) < lowest {
            let most = old.number.saturating_sub(lowest);
            return Err(Error::Usage(format!("a reorg of {depth} blocks is not possible here: 1 to {most}")));
        }
        let ancestor = old.number - depth;
        let (kept, orphaned_transactions) = self.replayed(ancestor, depth, permille).await?;
        let asked_at = Instant::now();
        self.rpc.call("anvil_reorg", json!([depth, kept])).await?;
        let mined_at = Instant::now();
        // Nothing of the old branch may come back by itself: the trader decides what is sent.
        self.rpc.call("anvil_dropAllTransactions", json!([])).await?;
        self.trader.after_reorg(ancestor).await?;
        if self.clock == Clock::Real {
            // A reorg moves the node's clock; blocks that people watch must not look old.
            self.rpc.call("evm_setTime", json!([unix_s()])).await?;
        }
        let new_head = queue::latest(&self.rpc, asked_at, mined_at).await?;
        Ok(Reorged { depth, ancestor, old_head: old.hash, new_head, orphaned_transactions })
    }

    /// The transactions that come again, in the form `anvil_reorg` wants: `[request, index of the new block]`.
    async fn replayed(&mut self, ancestor: u64, depth: u64, permille: u64) -> Result<(Vec<Value>, usize)> {
        let numbers: Vec<Value> = (1..=depth).map(|i| json!([format!("{:#x}", ancestor + i), true])).collect();
        let blocks = self.rpc.batch("eth_getBlockByNumber", &numbers).await?;
        let (mut kept, mut seen) = (Vec::new(), 0);
        for (index, block) in blocks.iter().enumerate() {
            for tx in at(block, "/transactions").as_array().into_iter().flatten() {
                seen += 1;
                if self.rng.permille(permille) {
                    // No nonce and no price: the node gives the next nonce, and keeps our order.
                    let mut request = serde_json::Map::new();
                    for (to, from) in [("from", "from"), ("to", "to"), ("data", "input"), ("value", "value"), ("gas", "gas")] {
                        if let Some(value) = tx.get(from).filter(|v| !v.is_null()) {
                            request.insert(to.to_owned(), value.clone());
                        }
                    }
                    kept.push(json!([request, index]));
                }
            }
        }
        Ok((kept, seen))
    }

    /// Pushes the creation of a contract; returns the address it will have once mined.
    ///
    /// # Errors
    /// When the artifact is missing or the node is gone.
    pub async fn push_deploy(&mut self, contract: Contract, arguments: &[u8]) -> Result<Address> {
        let from = self.deployment.deployer();
        self.trader.queue_mut().deploy(&self.parts, from, contract, arguments).await
    }

    /// Creates a contract and mines.
    ///
    /// # Errors
    /// When the artifact is missing, the creation reverts, or the node is gone.
    pub async fn deploy(&mut self, contract: Contract, arguments: &[u8]) -> Result<Address> {
        let address = self.push_deploy(contract, arguments).await?;
        self.mine_all_ok().await?;
        Ok(address)
    }

    /// Creates a contract from raw creation code and mines.
    ///
    /// # Errors
    /// When the creation reverts or the node is gone.
    pub async fn deploy_code(&mut self, creation_code: Bytes) -> Result<Address> {
        let from = self.deployment.deployer();
        let address = self.trader.queue_mut().deploy_code(from, creation_code).await?;
        self.mine_all_ok().await?;
        Ok(address)
    }

    /// Pushes a transaction of the first account.
    ///
    /// # Errors
    /// When the node is gone.
    pub async fn push_tx(&mut self, to: Address, data: Bytes, gas: u64) -> Result<()> {
        let from = self.deployment.deployer();
        let tx = Tx { from, to: Some(to), data, gas, value: Default::default() };
        self.trader.queue_mut().push(tx).await.map(|_| ())
    }

    /// The index in `trader.pools()` of the first pool of a protocol.
    pub fn first_pool(&self, protocol: Protocol) -> Option<usize> {
        self.trader.pools().iter().position(|p| p.protocol == protocol)
    }
}

#[expect(clippy::disallowed_methods, reason = "blocks for people carry the time that people have")]
fn unix_s() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
