//! Deploys the contracts, the tokens and the first pools. Everything that happens here happens once, in a fixed order.

use alloy::{
    primitives::{
        Address, U256,
        aliases::{I24, U24},
    },
    sol_types::{SolCall, SolValue},
};

use crate::{
    contracts::{Contract, PositionManager as Nfpm, Token, V2Factory, V2Router, V3Factory, V3Pool, Weth},
    error::{Error, Result},
    parts::Parts,
    pools::{self, DEADLINE_S, DevPool, PoolSpec, Protocol},
    queue::{Tx, TxQueue},
    rng::Rng,
    rpc::Rpc,
    tokens::{self, DevToken},
    v4::{Ground, V4},
};

/// A million dollars, in millionths.
const MILLION_USD: u128 = 1_000_000_000_000;
/// What every account gets of every token: 10 billion dollars. No trading loop can spend that.
const FUNDS_USD: u128 = 10_000 * MILLION_USD;
/// Half widths in ticks of the four bands of every V3 pool, and how many times the pool's size goes into each.
const BANDS: [(i32, u128); 4] = [(887_272, 4), (10_000, 1), (2_000, 1), (600, 1)];

/// What is on the chain after the setup.
#[derive(Debug, Clone)]
pub struct Deployment {
    pub weth: Address,
    pub v2_factory: Address,
    pub v2_router: Address,
    pub v3_factory: Address,
    pub nfpm: Address,
    pub v3_router: Address,
    pub quoter: Address,
    /// `None`: a chain without V4.
    pub v4: Option<V4>,
    /// The first one is WETH.
    pub tokens: Vec<DevToken>,
    /// V2 first. Pools that the trader creates later are in `Trader::pools`.
    pub pools: Vec<DevPool>,
    /// The block from which on everything can be seen: 0.
    pub start_block: u64,
    /// The last block of the setup; a reorg must not go below it.
    pub setup_end_block: u64,
    /// The unlocked accounts; the first one deployed everything and holds the first liquidity.
    pub accounts: Vec<Address>,
}

impl Deployment {
    /// The tokens that are worth one dollar.
    pub fn stablecoins(&self) -> Vec<Address> {
        self.tokens.iter().filter(|t| tokens::STABLE.contains(&t.symbol.as_str())).map(|t| t.address).collect()
    }

    /// The first account.
    pub fn deployer(&self) -> Address {
        self.accounts.first().copied().unwrap_or_default()
    }
}

/// How much of everything.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) seed: u64,
    pub(crate) tokens: usize,
    pub(crate) v2_pools: usize,
    pub(crate) v3_pools: usize,
    pub(crate) v4_pools: usize,
}

pub(crate) async fn deploy(
    rpc: &Rpc,
    parts: &Parts,
    queue: &mut TxQueue,
    accounts: Vec<Address>,
    size: Size,
) -> Result<Deployment> {
    let mut rng = Rng::new(size.seed);
    let mut d = contracts(parts, queue, accounts, size.tokens).await?;
    fund(queue, &d).await?;
    v2_pools(rpc, queue, &mut d, size.v2_pools, &mut rng).await?;
    v3_pools(rpc, queue, &mut d, size.v3_pools, &mut rng).await?;
    if size.v4_pools > 0 {
        let Deployment { ref accounts, ref tokens, weth, v2_factory, v3_factory, nfpm, .. } = d;
        let ground = Ground { accounts, tokens, weth, v2_factory, v3_factory, nfpm };
        d.v4 = Some(V4::deploy(parts, queue, &ground, size.v4_pools, &mut rng).await?);
    }
    approve_pair_tokens(queue, &d).await?;
    d.setup_end_block = queue.mine_all_ok().await?.number;
    Ok(d)
}

async fn contracts(parts: &Parts, queue: &mut TxQueue, accounts: Vec<Address>, tokens: usize) -> Result<Deployment> {
    let from = accounts.first().copied().ok_or_else(|| Error::Usage("the chain needs at least one account".to_owned()))?;
    let weth = queue.deploy(parts, from, Contract::Weth9, &[]).await?;
    let v2_factory = queue.deploy(parts, from, Contract::V2Factory, &(from,).abi_encode_params()).await?;
    let v2_router = queue.deploy(parts, from, Contract::V2Router, &(v2_factory, weth).abi_encode_params()).await?;
    let v3_factory = queue.deploy(parts, from, Contract::V3Factory, &[]).await?;
    // The third argument draws the NFT's picture; nobody asks for it here.
    let nfpm = queue.deploy(parts, from, Contract::PositionManager, &(v3_factory, weth, weth).abi_encode_params()).await?;
    let v3_router = queue.deploy(parts, from, Contract::V3Router, &(v3_factory, weth).abi_encode_params()).await?;
    let quoter = queue.deploy(parts, from, Contract::QuoterV2, &(v3_factory, weth).abi_encode_params()).await?;
    let enable = V3Factory::enableFeeAmountCall { fee: U24::from(100), tickSpacing: I24::ONE };
    queue.call(from, v3_factory, &enable, 200_000).await?;
    let mut list = Vec::with_capacity(tokens);
    for (i, spec) in tokens::specs(tokens.max(2)).into_iter().enumerate() {
        let arguments = (spec.name.clone(), spec.symbol.clone(), U256::from(spec.decimals)).abi_encode_params();
        let address = if i == 0 { weth } else { queue.deploy(parts, from, Contract::Own("DemoToken"), &arguments).await? };
        let tokens::TokenSpec { symbol, name, decimals, price_micro_usd } = spec;
        list.push(DevToken { address, symbol, name, decimals, price_micro_usd });
    }
    queue.mine_all_ok().await?;
    Ok(Deployment {
        weth,
        v2_factory,
        v2_router,
        v3_factory,
        nfpm,
        v3_router,
        quoter,
        v4: None,
        tokens: list,
        pools: Vec::new(),
        start_block: 0,
        setup_end_block: 0,
        accounts,
    })
}

async fn fund(queue: &mut TxQueue, d: &Deployment) -> Result<()> {
    let from = d.deployer();
    for token in &d.tokens {
        let amount = token.amount_raw(FUNDS_USD);
        if token.address != d.weth {
            queue.call(from, token.address, &Token::mintCall { to: d.accounts.clone(), value: amount }, 2_000_000).await?;
        }
        for account in &d.accounts {
            if token.address == d.weth {
                let data = Weth::depositCall {}.abi_encode().into();
                queue.push(Tx { from: *account, to: Some(d.weth), data, gas: 100_000, value: amount }).await?;
            }
            for spender in [d.v2_router, d.v3_router, d.nfpm] {
                queue.call(*account, token.address, &Token::approveCall { spender, value: U256::MAX }, 100_000).await?;
            }
        }
    }
    queue.mine_all_ok().await.map(|_| ())
}

/// The pool's tokens in the order of their addresses, as both protocols want it.
fn pool(d: &Deployment, protocol: Protocol, spec: PoolSpec, usd_micro: u128) -> Option<DevPool> {
    let (a, b) = (d.tokens.get(spec.a)?.clone(), d.tokens.get(spec.b)?.clone());
    let (token0, token1) = if a.address < b.address { (a, b) } else { (b, a) };
    let tick_spacing = if protocol == Protocol::V2 { 0 } else { pools::tick_spacing(spec.fee_pips) };
    Some(DevPool { protocol, address: Address::ZERO, token0, token1, fee_pips: spec.fee_pips, tick_spacing, usd_micro })
}

/// One to four million dollars a side.
fn pool_size(rng: &mut Rng) -> u128 {
    MILLION_USD * u128::from(1 + rng.below(4))
}

async fn v2_pools(rpc: &Rpc, queue: &mut TxQueue, d: &mut Deployment, n: usize, rng: &mut Rng) -> Result<()> {
    let from = d.deployer();
    let mut made = Vec::new();
    for spec in pools::v2_specs(&d.tokens, n) {
        let Some(pool) = pool(d, Protocol::V2, spec, pool_size(rng)) else { continue };
        let add = V2Router::addLiquidityCall {
            tokenA: pool.token0.address,
            tokenB: pool.token1.address,
            amountADesired: pool.token0.amount_raw(pool.usd_micro),
            amountBDesired: pool.token1.amount_raw(pool.usd_micro),
            amountAMin: U256::ZERO,
            amountBMin: U256::ZERO,
            to: from,
            deadline: U256::from(DEADLINE_S),
        };
        queue.call(from, d.v2_router, &add, 4_000_000).await?;
        made.push(pool);
    }
    queue.mine_all_ok().await?;
    let get = |p: &DevPool| (d.v2_factory, V2Factory::getPairCall { tokenA: p.token0.address, tokenB: p.token1.address });
    let addresses = rpc.view_many(&made.iter().map(get).collect::<Vec<_>>()).await?;
    d.pools.extend(made.into_iter().zip(addresses).map(|(pool, address)| DevPool { address, ..pool }));
    Ok(())
}

async fn v3_pools(rpc: &Rpc, queue: &mut TxQueue, d: &mut Deployment, n: usize, rng: &mut Rng) -> Result<()> {
    let from = d.deployer();
    let mut made = Vec::new();
    for spec in pools::v3_specs(&d.tokens, n) {
        let Some(pool) = pool(d, Protocol::V3, spec, pool_size(rng)) else { continue };
        queue.call(from, d.nfpm, &create_call(&pool), 7_000_000).await?;
        made.push(pool);
    }
    queue.mine_all_ok().await?;
    let get = |p: &DevPool| (d.v3_factory, get_pool_call(p));
    let addresses = rpc.view_many(&made.iter().map(get).collect::<Vec<_>>()).await?;
    let slots = rpc.view_many(&addresses.iter().map(|a| (*a, V3Pool::slot0Call {})).collect::<Vec<_>>()).await?;
    for ((pool, address), slot0) in made.into_iter().zip(addresses).zip(slots) {
        for (half, share) in BANDS {
            let range = pools::band(slot0.tick.as_i32(), half, pool.tick_spacing);
            let range = if half == 887_272 { pools::full_range(pool.tick_spacing) } else { range };
            let params = pool.mint_params(range, pool.usd_micro * share, from);
            queue.call(from, d.nfpm, &Nfpm::mintCall { params }, 1_500_000).await?;
        }
        d.pools.push(DevPool { address, ..pool });
    }
    queue.mine_all_ok().await.map(|_| ())
}

/// The first account holds the first liquidity of the V2 pools and must be able to take some out through the router.
async fn approve_pair_tokens(queue: &mut TxQueue, d: &Deployment) -> Result<()> {
    for pool in d.pools.iter().filter(|p| p.protocol == Protocol::V2) {
        let approve = Token::approveCall { spender: d.v2_router, value: U256::MAX };
        queue.call(d.deployer(), pool.address, &approve, 100_000).await?;
    }
    Ok(())
}

/// Creates the pool at its fair price.
pub(crate) fn create_call(pool: &DevPool) -> Nfpm::createAndInitializePoolIfNecessaryCall {
    Nfpm::createAndInitializePoolIfNecessaryCall {
        token0: pool.token0.address,
        token1: pool.token1.address,
        fee: pool.fee(),
        sqrtPriceX96: tokens::fair_sqrt_price_x96(&pool.token0, &pool.token1),
    }
}

pub(crate) fn get_pool_call(pool: &DevPool) -> V3Factory::getPoolCall {
    V3Factory::getPoolCall { tokenA: pool.token0.address, tokenB: pool.token1.address, fee: pool.fee() }
}
