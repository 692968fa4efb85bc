//! How each action is made. Sizes are 0.001 % to 0.5 % of a pool; directions lean against the net flow, so that prices walk but
//! do not run away. Minimum amounts are zero: on a local chain there is nobody to be protected from, and nothing reverts.

use alloy::{
    primitives::{Address, U160, U256, aliases::U24},
    sol_types::SolCall,
};

use crate::{
    contracts::{PositionManager as Nfpm, V2Router, V3Pool, V3Router, V4Positions},
    deploy::create_call,
    error::{Error, Result},
    pools::{self, DEADLINE_S, DevPool, Protocol},
    trader::{Position, Trader, V4Position},
    v4::{V4, V4Pool},
};

/// Gas limits, well above what each action can need.
mod gas {
    pub(super) const V2_SWAP: u64 = 400_000;
    pub(super) const V2_TWO_HOP: u64 = 600_000;
    pub(super) const V2_LIQUIDITY: u64 = 600_000;
    pub(super) const V3_SWAP: u64 = 2_000_000;
    pub(super) const V3_LIQUIDITY: u64 = 1_500_000;
    pub(super) const V3_CREATE: u64 = 9_000_000;
}

/// The actions that tests ask for one by one.
impl Trader {
    /// A V2 swap of `amount_in_raw`; `zero_for_one` sells token0.
    ///
    /// # Errors
    /// When there is no such V2 pool, or the node is gone.
    pub async fn swap_v2(&mut self, pool: usize, zero_for_one: bool, amount_in_raw: U256) -> Result<()> {
        let from = self.deployment.deployer();
        let p = self.pool(pool, Protocol::V2)?;
        let path = in_order(p.token0.address, p.token1.address, zero_for_one);
        self.push_v2_swap(from, path, amount_in_raw, gas::V2_SWAP).await
    }

    /// A V3 exact-input swap of `amount_in_raw`.
    ///
    /// # Errors
    /// When there is no such V3 pool, or the node is gone.
    pub async fn swap_v3(&mut self, pool: usize, zero_for_one: bool, amount_in_raw: U256) -> Result<()> {
        let from = self.deployment.deployer();
        let p = self.pool(pool, Protocol::V3)?;
        self.push_v3_swap(from, &p, zero_for_one, amount_in_raw, U160::ZERO).await
    }

    /// A V3 swap that ends at exactly this price; `sqrt_price_limit_x96` must lie in the direction of the swap, and
    /// `amount_in_max_raw` must suffice.
    ///
    /// # Errors
    /// When there is no such V3 pool, or the node is gone.
    pub async fn swap_v3_to(
        &mut self,
        pool: usize,
        zero_for_one: bool,
        amount_in_max_raw: U256,
        sqrt_price_limit_x96: U160,
    ) -> Result<()> {
        let from = self.deployment.deployer();
        let p = self.pool(pool, Protocol::V3)?;
        self.push_v3_swap(from, &p, zero_for_one, amount_in_max_raw, sqrt_price_limit_x96).await
    }

    /// Adds liquidity worth `usd_micro` millionths of a dollar on each side to a V2 pool.
    ///
    /// # Errors
    /// When there is no such V2 pool, or the node is gone.
    pub async fn add_v2(&mut self, pool: usize, usd_micro: u128) -> Result<()> {
        let from = self.deployment.deployer();
        let p = self.pool(pool, Protocol::V2)?;
        self.push_v2_add(from, &p, usd_micro).await
    }

    /// Takes out `thousandths` of a V2 pool's first liquidity.
    ///
    /// # Errors
    /// When there is no such V2 pool, or the node is gone.
    pub async fn remove_v2(&mut self, pool: usize, thousandths: u64) -> Result<()> {
        let p = self.pool(pool, Protocol::V2)?;
        let unit = self.removable.get(&p.address).copied().unwrap_or_default();
        self.push_v2_remove(&p, unit * U256::from(thousandths)).await
    }

    /// Mints a V3 position between two ticks on the pool's grid. Returns the id it will have.
    ///
    /// # Errors
    /// When there is no such V3 pool, or the node is gone.
    pub async fn mint_v3(&mut self, pool: usize, ticks: (i32, i32), usd_micro: u128) -> Result<u64> {
        let from = self.deployment.deployer();
        let p = self.pool(pool, Protocol::V3)?;
        self.push_v3_mint(from, &p, ticks, usd_micro).await
    }

    /// Takes out `permille` of a position's liquidity and collects everything it is owed, in one transaction.
    ///
    /// # Errors
    /// When the position does not exist, or the node is gone.
    pub async fn burn_v3(&mut self, owner: Address, position_id: u64, permille: u64) -> Result<()> {
        let id = U256::from(position_id);
        let position = self.rpc.view(self.deployment.nfpm, &Nfpm::positionsCall { tokenId: id }).await?;
        let liquidity = position.liquidity / 1000 * u128::from(permille.min(1000));
        let mut calls = Vec::with_capacity(2);
        if liquidity > 0 {
            let params = Nfpm::DecreaseLiquidityParams {
                tokenId: id,
                liquidity,
                amount0Min: U256::ZERO,
                amount1Min: U256::ZERO,
                deadline: U256::from(DEADLINE_S),
            };
            calls.push(Nfpm::decreaseLiquidityCall { params }.abi_encode().into());
        }
        let params = Nfpm::CollectParams { tokenId: id, recipient: owner, amount0Max: u128::MAX, amount1Max: u128::MAX };
        // A position without anything owed cannot be collected from; with liquidity taken out there is always something.
        if liquidity > 0 || position.tokensOwed0 > 0 || position.tokensOwed1 > 0 {
            calls.push(Nfpm::collectCall { params }.abi_encode().into());
        }
        self.counts.v3_burns += 1;
        self.queue.call(owner, self.deployment.nfpm, &Nfpm::multicallCall { data: calls }, gas::V3_LIQUIDITY).await
    }

    /// Creates, initialises and fills a V3 pool in ONE transaction: its first events come before anybody could have known it.
    /// Returns `false` when every pair already has one. The pool is in `pools()` once the block is mined.
    ///
    /// # Errors
    /// When the node is gone.
    pub async fn create_pool_v3(&mut self) -> Result<bool> {
        let from = self.deployment.deployer();
        let Some(pool) = self.next_new_pool() else { return Ok(false) };
        self.push_new_pool(from, pool).await.map(|()| true)
    }
}

/// The random ones.
impl Trader {
    pub(crate) async fn random_swap_v2(&mut self, pool: usize) -> Result<()> {
        let (from, p) = (self.account()?, self.pool(pool, Protocol::V2)?);
        let (zero_for_one, amount) = self.lean(&p);
        self.push_v2_swap(from, in_order(p.token0.address, p.token1.address, zero_for_one), amount, gas::V2_SWAP).await?;
        self.counts.v2_swaps += 1;
        Ok(())
    }

    pub(crate) async fn random_swap_v3(&mut self, pool: usize) -> Result<()> {
        let (from, p) = (self.account()?, self.pool(pool, Protocol::V3)?);
        let (zero_for_one, amount) = self.lean(&p);
        self.push_v3_swap(from, &p, zero_for_one, amount, U160::ZERO).await?;
        self.counts.v3_swaps += 1;
        Ok(())
    }

    pub(crate) async fn random_two_hop_v2(&mut self, pool: usize) -> Result<()> {
        let (from, p) = (self.account()?, self.pool(pool, Protocol::V2)?);
        let (a, b) = (p.token0.address, p.token1.address);
        // The second leg: another V2 pool that shares token1 or, when none does, token0.
        let leg = |shared: Address| {
            let other = |q: &DevPool| if q.token0.address == shared { q.token1.address } else { q.token0.address };
            let holds = |q: &&DevPool| q.token0.address == shared || q.token1.address == shared;
            self.pools.iter().filter(|q| q.protocol == Protocol::V2 && q.address != p.address).find(holds).map(other)
        };
        let (first, path) = match (leg(b), leg(a)) {
            (Some(c), _) => (&p.token0, vec![a, b, c]),
            (None, Some(c)) => (&p.token1, vec![b, a, c]),
            (None, None) => return self.random_swap_v2(pool).await,
        };
        let amount = first.amount_raw(self.size_usd_micro(&p) / 10);
        self.push_v2_swap(from, path, amount, gas::V2_TWO_HOP).await?;
        self.counts.v2_two_hop_swaps += 1;
        Ok(())
    }

    pub(crate) async fn random_add_v2(&mut self, pool: usize) -> Result<()> {
        let p = self.pool(pool, Protocol::V2)?;
        let (from, usd) = (self.account()?, self.size_usd_micro(&p));
        self.push_v2_add(from, &p, usd).await
    }

    pub(crate) async fn random_remove_v2(&mut self, pool: usize) -> Result<()> {
        let p = self.pool(pool, Protocol::V2)?;
        let unit = self.removable.get(&p.address).copied().unwrap_or_default();
        let liquidity = unit * U256::from(1 + self.rng.below(50)) / U256::from(100);
        self.push_v2_remove(&p, liquidity).await
    }

    pub(crate) async fn random_mint_v3(&mut self, pool: usize) -> Result<()> {
        let (from, p) = (self.account()?, self.pool(pool, Protocol::V3)?);
        let slot0 = self.rpc.view(p.address, &V3Pool::slot0Call {}).await?;
        let half = (1 + self.rng.below(20)) as i32 * p.tick_spacing * 5;
        let usd = self.size_usd_micro(&p) * 5;
        self.push_v3_mint(from, &p, pools::band(slot0.tick.as_i32(), half, p.tick_spacing), usd).await.map(|_| ())
    }

    /// Takes a part out of a position that the loop has minted before; mints one when there is none to take from.
    pub(crate) async fn random_burn_v3(&mut self, pool: usize) -> Result<()> {
        let free: Vec<usize> = self.positions.iter().enumerate().filter(|(_, p)| !p.used).map(|(i, _)| i).collect();
        let Some(position) = self.rng.pick(&free).and_then(|i| self.positions.get_mut(*i)) else {
            return self.random_mint_v3(pool).await;
        };
        position.used = true;
        let Position { id, owner, .. } = *position;
        let permille = 100 + self.rng.below(500);
        self.burn_v3(owner, id, permille).await
    }

    pub(crate) async fn random_new_pool_v3(&mut self, pool: usize) -> Result<()> {
        let created = self.pools.len() - self.deployment.pools.len() + self.created.len();
        match self.next_new_pool().filter(|_| created < self.max_new_pools) {
            Some(new) => {
                let from = self.account()?;
                self.push_new_pool(from, new).await
            }
            None => self.random_swap_v3(pool).await,
        }
    }
}

/// Those of V4.
impl Trader {
    pub(crate) async fn random_v4(&mut self, pools: usize) -> Result<()> {
        let from = self.account()?;
        let index = self.rng.below(pools as u64) as usize;
        match self.rng.below(100) {
            0..8 => self.random_mint_v4(index, from).await,
            8..14 => self.random_decrease_v4(index, from).await,
            _ => self.random_swap_v4(index, from).await,
        }
    }

    async fn random_swap_v4(&mut self, index: usize, from: Address) -> Result<()> {
        let (v4, pool) = self.v4_pool(index)?;
        let usd = self.size_of(pool.usd_micro);
        // Native currency and its wrapped form price the same pools: the net flow of all of them leans back together.
        let zero_for_one = self.rng.below(2) == 0;
        let token_in = if zero_for_one { &pool.token0 } else { &pool.token1 };
        let amount = token_in.amount_raw(usd).saturating_to();
        self.queue.push(v4.swap(&pool, zero_for_one, amount, from)).await?;
        self.counts.v4_swaps += 1;
        Ok(())
    }

    async fn random_mint_v4(&mut self, index: usize, from: Address) -> Result<()> {
        let (v4, pool) = self.v4_pool(index)?;
        let (_, tick) = v4.slot0(&self.rpc, &pool).await?;
        let spacing = pool.key.tickSpacing.as_i32();
        let half = (1 + self.rng.below(20)) as i32 * spacing * 5;
        let usd = self.size_of(pool.usd_micro) * 5;
        self.queue.push(v4.mint(&pool, pools::band(tick, half, spacing), usd, from)).await?;
        self.v4_minted.push(V4Position { id: self.next_v4_id, pool: index, owner: from, used: false });
        self.next_v4_id += 1;
        self.counts.v4_mints += 1;
        Ok(())
    }

    /// A part of a position that the loop has minted, or its fees alone; mints one when there is none to take from.
    async fn random_decrease_v4(&mut self, index: usize, from: Address) -> Result<()> {
        let free: Vec<usize> = self.v4_positions.iter().enumerate().filter(|(_, p)| !p.used).map(|(i, _)| i).collect();
        let Some(position) = self.rng.pick(&free).and_then(|i| self.v4_positions.get_mut(*i)) else {
            return self.random_mint_v4(index, from).await;
        };
        position.used = true;
        let V4Position { id, pool, owner, .. } = *position;
        let (v4, pool) = self.v4_pool(pool)?;
        let held = self.rpc.view(v4.positions, &V4Positions::getPositionLiquidityCall { tokenId: U256::from(id) }).await?;
        // All of it now and then: the token stays, with nothing behind it, and cannot be touched again.
        let parts = self.rng.below(11) as u128;
        if held == 0 {
            return self.random_mint_v4(index, from).await;
        }
        self.queue.push(v4.decrease(&pool, id, held / 10 * parts, owner)).await?;
        self.counts.v4_burns += 1;
        Ok(())
    }

    fn v4_pool(&self, index: usize) -> Result<(V4, V4Pool)> {
        let v4 = self.deployment.v4.clone();
        let pool = v4.as_ref().and_then(|v4| v4.pools.get(index)).cloned();
        v4.zip(pool).ok_or_else(|| Error::Usage(format!("V4 pool {index} does not exist")))
    }

    /// As of the other protocols.
    fn size_of(&mut self, usd_micro: u128) -> u128 {
        let mantissa = 1_000 + u128::from(self.rng.below(1_000));
        (usd_micro / 100_000 * mantissa / 1_000) << self.rng.below(8)
    }
}

/// What both share.
impl Trader {
    fn pool(&self, index: usize, protocol: Protocol) -> Result<DevPool> {
        let pool = self.pools.get(index).filter(|p| p.protocol == protocol).cloned();
        pool.ok_or_else(|| Error::Usage(format!("pool {index} does not exist or is not a {protocol:?} pool")))
    }

    fn account(&mut self) -> Result<Address> {
        self.rng.pick(&self.deployment.accounts).copied().ok_or_else(|| Error::Usage("no accounts".to_owned()))
    }

    /// Roughly log-uniform from 0.001 % to 0.5 % of the pool, without a logarithm.
    fn size_usd_micro(&mut self, pool: &DevPool) -> u128 {
        self.size_of(pool.usd_micro)
    }

    /// A direction against the net flow, and an amount in.
    fn lean(&mut self, pool: &DevPool) -> (bool, U256) {
        let usd = self.size_usd_micro(pool);
        let signed = i128::try_from(usd).unwrap_or_default();
        let size = i128::try_from(pool.usd_micro).unwrap_or(i128::MAX).max(1);
        let net = self.net_usd_micro.entry(pool.address).or_default();
        let bias = (*net * 5_000 / size).clamp(-400, 400);
        let zero_for_one = i128::from(self.rng.below(1_000)) < 500 - bias;
        *net += if zero_for_one { signed } else { -signed };
        let token_in = if zero_for_one { &pool.token0 } else { &pool.token1 };
        (zero_for_one, token_in.amount_raw(usd))
    }

    /// The first pair and fee tier without a V3 pool, counted from the back so that it is not one of the well-known ones.
    fn next_new_pool(&self) -> Option<DevPool> {
        let template = self.pools.iter().find(|p| p.protocol == Protocol::V3)?;
        let taken = |a: Address, b: Address, fee: u32| {
            let known = self.pools.iter().chain(&self.created);
            known.filter(|p| p.protocol == Protocol::V3).any(|p| p.has_pair(a, b) && p.fee_pips == fee)
        };
        let tokens = &self.deployment.tokens;
        for (i, a) in tokens.iter().enumerate().rev() {
            for b in tokens.iter().take(i) {
                let (token0, token1) = if a.address < b.address { (a, b) } else { (b, a) };
                for fee_pips in pools::FEES {
                    if !taken(token0.address, token1.address, fee_pips) {
                        let (token0, token1) = (token0.clone(), token1.clone());
                        let tick_spacing = pools::tick_spacing(fee_pips);
                        return Some(DevPool {
                            address: Address::ZERO,
                            token0,
                            token1,
                            fee_pips,
                            tick_spacing,
                            ..template.clone()
                        });
                    }
                }
            }
        }
        None
    }

    async fn push_new_pool(&mut self, from: Address, pool: DevPool) -> Result<()> {
        let create = create_call(&pool).abi_encode().into();
        let params = pool.mint_params(pools::full_range(pool.tick_spacing), pool.usd_micro * 4, from);
        let mint = Nfpm::mintCall { params }.abi_encode().into();
        self.queue.call(from, self.deployment.nfpm, &Nfpm::multicallCall { data: vec![create, mint] }, gas::V3_CREATE).await?;
        self.next_position_id += 1;
        self.created.push(pool);
        self.counts.v3_pools_created += 1;
        Ok(())
    }

    async fn push_v2_swap(&mut self, from: Address, path: Vec<Address>, amount_in: U256, gas: u64) -> Result<()> {
        let swap = V2Router::swapExactTokensForTokensCall {
            amountIn: amount_in,
            amountOutMin: U256::ZERO,
            path,
            to: from,
            deadline: U256::from(DEADLINE_S),
        };
        self.queue.call(from, self.deployment.v2_router, &swap, gas).await
    }

    /// A price limit of zero: none.
    async fn push_v3_swap(
        &mut self,
        from: Address,
        pool: &DevPool,
        zero_for_one: bool,
        amount_in: U256,
        sqrt_price_limit_x96: U160,
    ) -> Result<()> {
        let (token_in, token_out) = if zero_for_one { (&pool.token0, &pool.token1) } else { (&pool.token1, &pool.token0) };
        let params = V3Router::ExactInputSingleParams {
            tokenIn: token_in.address,
            tokenOut: token_out.address,
            fee: U24::from(pool.fee_pips),
            recipient: from,
            deadline: U256::from(DEADLINE_S),
            amountIn: amount_in,
            amountOutMinimum: U256::ZERO,
            sqrtPriceLimitX96: sqrt_price_limit_x96,
        };
        self.queue.call(from, self.deployment.v3_router, &V3Router::exactInputSingleCall { params }, gas::V3_SWAP).await
    }

    async fn push_v2_add(&mut self, from: Address, pool: &DevPool, usd_micro: u128) -> Result<()> {
        let add = V2Router::addLiquidityCall {
            tokenA: pool.token0.address,
            tokenB: pool.token1.address,
            amountADesired: pool.token0.amount_raw(usd_micro),
            amountBDesired: pool.token1.amount_raw(usd_micro),
            amountAMin: U256::ZERO,
            amountBMin: U256::ZERO,
            to: self.deployment.deployer(),
            deadline: U256::from(DEADLINE_S),
        };
        self.counts.v2_adds += 1;
        self.queue.call(from, self.deployment.v2_router, &add, gas::V2_LIQUIDITY).await
    }

    async fn push_v2_remove(&mut self, pool: &DevPool, liquidity: U256) -> Result<()> {
        let from = self.deployment.deployer();
        let remove = V2Router::removeLiquidityCall {
            tokenA: pool.token0.address,
            tokenB: pool.token1.address,
            liquidity,
            amountAMin: U256::ZERO,
            amountBMin: U256::ZERO,
            to: from,
            deadline: U256::from(DEADLINE_S),
        };
        self.counts.v2_removes += 1;
        self.queue.call(from, self.deployment.v2_router, &remove, gas::V2_LIQUIDITY).await
    }

    async fn push_v3_mint(&mut self, from: Address, pool: &DevPool, ticks: (i32, i32), usd_micro: u128) -> Result<u64> {
        let params = pool.mint_params(ticks, usd_micro, from);
        self.queue.call(from, self.deployment.nfpm, &Nfpm::mintCall { params }, gas::V3_LIQUIDITY).await?;
        let id = self.next_position_id;
        self.next_position_id += 1;
        self.minted.push(Position { id, owner: from, used: false });
        self.counts.v3_mints += 1;
        Ok(id)
    }
}

fn in_order(token0: Address, token1: Address, zero_for_one: bool) -> Vec<Address> {
    if zero_for_one { vec![token0, token1] } else { vec![token1, token0] }
}
