//! Uniswap V4 on the chain: the PoolManager with its position manager, the Universal Router that trades on it, and its pools. One of them
//! has a hook that sets the fee of every swap.

use alloy::{
    primitives::{
        Address, B256, Bytes, U160, U256,
        aliases::{I24, U24, U48},
        keccak256,
    },
    sol,
    sol_types::{SolCall, SolValue},
};

use crate::{
    contracts::{Contract, Permit2, Token, UniversalRouter, V4Manager, V4Positions, V4State},
    error::{Error, Result},
    parts::Parts,
    pools::{self, DEADLINE_S},
    queue::{Tx, TxQueue},
    rng::Rng,
    rpc::Rpc,
    tokens::{self, DevToken},
};

sol! {
    /// What a pool is; its id is the hash of it.
    #[derive(Debug, PartialEq, Eq)]
    struct PoolKey {
        address currency0;
        address currency1;
        uint24 fee;
        int24 tickSpacing;
        address hooks;
    }

    #[derive(Debug)]
    struct ExactInputSingleParams {
        PoolKey poolKey;
        bool zeroForOne;
        uint128 amountIn;
        uint128 amountOutMinimum;
        bytes hookData;
    }

    #[derive(Debug)]
    struct RouterParameters {
        address permit2;
        address weth9;
        address v2Factory;
        address v3Factory;
        bytes32 pairInitCodeHash;
        bytes32 poolInitCodeHash;
        address v4PoolManager;
        address v3NFTPositionManager;
        address v4PositionManager;
        address spokePool;
    }
}

/// In place of a fee: the hook says it (`LPFeeLibrary.DYNAMIC_FEE_FLAG`).
pub const DYNAMIC_FEE: u32 = 0x80_0000;
/// `Hooks.BEFORE_SWAP_FLAG`, and all bits that mean anything.
const BEFORE_SWAP: u16 = 1 << 7;
const ALL_FLAGS: u16 = (1 << 14) - 1;
/// The deterministic deployer that every development node has.
const CREATE2_DEPLOYER: Address = alloy::primitives::address!("4e59b44847b379578588920cA78FbF26c0B4956C");

/// Numbers of the position manager's and the router's actions, and of the Universal Router's command (`Actions.sol`, `Commands.sol`).
mod action {
    pub(super) const DECREASE_LIQUIDITY: u8 = 0x01;
    pub(super) const MINT_POSITION: u8 = 0x02;
    pub(super) const SWAP_EXACT_IN_SINGLE: u8 = 0x06;
    pub(super) const SETTLE_ALL: u8 = 0x0c;
    pub(super) const SETTLE_PAIR: u8 = 0x0d;
    pub(super) const TAKE_ALL: u8 = 0x0f;
    pub(super) const TAKE_PAIR: u8 = 0x11;
    pub(super) const SWEEP: u8 = 0x14;
    pub(super) const V4_SWAP: u8 = 0x10;
}

mod gas {
    pub(super) const SWAP: u64 = 2_000_000;
    pub(super) const LIQUIDITY: u64 = 1_500_000;
}

/// A pool that exists on the chain.
#[derive(Debug, Clone, PartialEq)]
pub struct V4Pool {
    pub id: B256,
    pub key: PoolKey,
    /// The zero address: native currency.
    pub token0: DevToken,
    pub token1: DevToken,
    /// What was put into it at first, on each side, in millionths of a dollar.
    pub usd_micro: u128,
}

impl PoolKey {
    /// What every contract's own form of it is made from.
    pub fn parts(&self) -> (Address, Address, U24, I24, Address) {
        (self.currency0, self.currency1, self.fee, self.tickSpacing, self.hooks)
    }
}

impl V4Pool {
    /// Its hook says what each swap pays.
    pub fn is_hooked(&self) -> bool {
        !self.key.hooks.is_zero()
    }

    fn liquidity(&self, usd_micro: u128) -> u128 {
        let product = self.token0.amount_raw(usd_micro) * self.token1.amount_raw(usd_micro);
        product.root(2).to()
    }

    fn value(&self, token: &DevToken, amount: U256) -> U256 {
        if token.address.is_zero() { amount } else { U256::ZERO }
    }
}

/// What of V4 is on the chain after the setup.
#[derive(Debug, Clone)]
pub struct V4 {
    pub manager: Address,
    pub positions: Address,
    pub quoter: Address,
    pub state_view: Address,
    pub router: Address,
    pub permit2: Address,
    pub pools: Vec<V4Pool>,
}

/// What V4 stands on.
pub(crate) struct Ground<'a> {
    pub(crate) accounts: &'a [Address],
    pub(crate) tokens: &'a [DevToken],
    pub(crate) weth: Address,
    pub(crate) v2_factory: Address,
    pub(crate) v3_factory: Address,
    pub(crate) nfpm: Address,
}

/// Native currency, as a token.
fn native(weth: &DevToken) -> DevToken {
    DevToken { address: Address::ZERO, symbol: "ETH".to_owned(), name: "Ether".to_owned(), ..weth.clone() }
}

/// Symbols, fee, tick spacing, whether it has the hook: a smaller chain has a prefix of these.
const POOLS: [(&str, &str, u32, i32, bool); 4] = [
    ("ETH", "USDC", 500, 10, false),
    ("WETH", "USDC", 3_000, 60, false),
    ("ETH", "USDC", DYNAMIC_FEE, 60, true),
    ("USDC", "USDT", 100, 1, false),
];

impl V4 {
    pub(crate) async fn deploy(parts: &Parts, queue: &mut TxQueue, on: &Ground<'_>, pools: usize, rng: &mut Rng) -> Result<Self> {
        let from = on.accounts.first().copied().ok_or_else(|| Error::Usage("the chain needs at least one account".to_owned()))?;
        let manager = queue.deploy(parts, from, Contract::V4Manager, &(from,).abi_encode_params()).await?;
        let permit2 = queue.deploy(parts, from, Contract::Permit2, &[]).await?;
        // The third argument is the gas that a subscriber may use, the fourth draws the NFT's picture: nobody asks for either.
        let arguments = (manager, permit2, U256::from(300_000), on.weth, on.weth).abi_encode_params();
        let positions = queue.deploy(parts, from, Contract::V4Positions, &arguments).await?;
        let quoter = queue.deploy(parts, from, Contract::V4Quoter, &(manager,).abi_encode_params()).await?;
        let state_view = queue.deploy(parts, from, Contract::V4StateView, &(manager,).abi_encode_params()).await?;
        let parameters = RouterParameters {
            permit2,
            weth9: on.weth,
            v2Factory: on.v2_factory,
            v3Factory: on.v3_factory,
            pairInitCodeHash: keccak256(Contract::V2Pair.creation_code(parts)?),
            poolInitCodeHash: keccak256(Contract::V3Pool.creation_code(parts)?),
            v4PoolManager: manager,
            v3NFTPositionManager: on.nfpm,
            v4PositionManager: positions,
            // No bridge here.
            spokePool: Address::ZERO,
        };
        let router = queue.deploy(parts, from, Contract::UniversalRouter, &(parameters,).abi_encode_params()).await?;
        let hook = deploy_hook(parts, queue, from).await?;
        queue.mine_all_ok().await?;
        let mut v4 = Self { manager, positions, quoter, state_view, router, permit2, pools: Vec::new() };
        v4.approve(queue, on).await?;
        v4.create(queue, on, from, hook, pools, rng).await?;
        Ok(v4)
    }

    /// Everybody lets the router and the position manager spend, by way of Permit2.
    async fn approve(&self, queue: &mut TxQueue, on: &Ground<'_>) -> Result<()> {
        for account in on.accounts {
            for token in on.tokens {
                let all = Token::approveCall { spender: self.permit2, value: U256::MAX };
                queue.call(*account, token.address, &all, 100_000).await?;
                for spender in [self.router, self.positions] {
                    let (amount, expiration) = (U160::MAX, U48::MAX);
                    let approve = Permit2::approveCall { token: token.address, spender, amount, expiration };
                    queue.call(*account, self.permit2, &approve, 100_000).await?;
                }
            }
        }
        queue.mine_all_ok().await.map(|_| ())
    }

    async fn create(
        &mut self,
        queue: &mut TxQueue,
        on: &Ground<'_>,
        from: Address,
        hook: Address,
        pools: usize,
        rng: &mut Rng,
    ) -> Result<()> {
        let weth = on.tokens.first().ok_or_else(|| Error::Usage("the chain needs a token".to_owned()))?;
        let token = |symbol: &str| match symbol {
            "ETH" => Some(native(weth)),
            symbol => on.tokens.iter().find(|token| token.symbol == symbol).cloned(),
        };
        for (a, b, fee, spacing, hooked) in POOLS.into_iter().take(pools) {
            let (Some(a), Some(b)) = (token(a), token(b)) else { continue };
            let (token0, token1) = if a.address < b.address { (a, b) } else { (b, a) };
            let key = PoolKey {
                currency0: token0.address,
                currency1: token1.address,
                fee: U24::from(fee),
                tickSpacing: tick(spacing),
                hooks: if hooked { hook } else { Address::ZERO },
            };
            let price = tokens::fair_sqrt_price_x96(&token0, &token1);
            let initialize = V4Manager::initializeCall { key: key.parts().into(), sqrtPriceX96: price };
            queue.call(from, self.manager, &initialize, 1_000_000).await?;
            let usd_micro = 1_000_000_000_000 * u128::from(1 + rng.below(4));
            self.pools.push(V4Pool { id: keccak256(key.abi_encode()), key, token0, token1, usd_micro });
        }
        queue.mine_all_ok().await?;
        for pool in self.pools.clone() {
            let spacing = pool.key.tickSpacing.as_i32();
            let here = tick_near(tokens::fair_sqrt_price_x96(&pool.token0, &pool.token1));
            for (half, share) in [(887_272, 4), (10_000, 1), (2_000, 1), (600, 1)] {
                let range = if half == 887_272 { pools::full_range(spacing) } else { pools::band(here, half, spacing) };
                queue.push(self.mint(&pool, range, pool.usd_micro * share, from)).await?;
            }
        }
        queue.mine_all_ok().await.map(|_| ())
    }

    /// A position of the position manager, between two ticks of the pool's grid, of as much liquidity as so many dollars on each side have
    /// over all prices.
    pub fn mint(&self, pool: &V4Pool, (lower, upper): (i32, i32), usd_micro: u128, owner: Address) -> Tx {
        let most0 = pool.token0.amount_raw(usd_micro * 4);
        let value = pool.value(&pool.token0, most0);
        let mint = (
            pool.key.clone(),
            tick(lower),
            tick(upper),
            U256::from(pool.liquidity(usd_micro)),
            u128::MAX,
            u128::MAX,
            owner,
            Bytes::new(),
        );
        let settle = (pool.key.currency0, pool.key.currency1).abi_encode_params();
        // What of the native currency was too much comes back.
        let sweep = (Address::ZERO, owner).abi_encode_params();
        let plan = [(action::MINT_POSITION, mint.abi_encode_params()), (action::SETTLE_PAIR, settle), (action::SWEEP, sweep)];
        self.liquidity_tx(owner, &plan, value)
    }

    /// Takes liquidity out of a position; all fees come with it. 0: the fees alone.
    pub fn decrease(&self, pool: &V4Pool, token_id: u64, liquidity: u128, owner: Address) -> Tx {
        let decrease = (U256::from(token_id), U256::from(liquidity), 0_u128, 0_u128, Bytes::new()).abi_encode_params();
        let take = (pool.key.currency0, pool.key.currency1, owner).abi_encode_params();
        self.liquidity_tx(owner, &[(action::DECREASE_LIQUIDITY, decrease), (action::TAKE_PAIR, take)], U256::ZERO)
    }

    fn liquidity_tx(&self, from: Address, plan: &[(u8, Vec<u8>)], value: U256) -> Tx {
        let call = V4Positions::modifyLiquiditiesCall { unlockData: planned(plan).into(), deadline: U256::from(DEADLINE_S) };
        Tx { from, to: Some(self.positions), data: call.abi_encode().into(), gas: gas::LIQUIDITY, value }
    }

    /// An exact-input swap through the Universal Router.
    pub fn swap(&self, pool: &V4Pool, zero_for_one: bool, amount_in: u128, from: Address) -> Tx {
        let (token_in, token_out) = if zero_for_one { (&pool.token0, &pool.token1) } else { (&pool.token1, &pool.token0) };
        let swap = ExactInputSingleParams {
            poolKey: pool.key.clone(),
            zeroForOne: zero_for_one,
            amountIn: amount_in,
            amountOutMinimum: 0,
            hookData: Bytes::new(),
        };
        let plan = [
            (action::SWAP_EXACT_IN_SINGLE, (swap,).abi_encode_params()),
            (action::SETTLE_ALL, (token_in.address, U256::MAX).abi_encode_params()),
            (action::TAKE_ALL, (token_out.address, U256::ZERO).abi_encode_params()),
        ];
        let call = UniversalRouter::executeCall {
            commands: Bytes::from_static(&[action::V4_SWAP]),
            inputs: vec![planned(&plan).into()],
            deadline: U256::from(DEADLINE_S),
        };
        let value = pool.value(token_in, U256::from(amount_in));
        Tx { from, to: Some(self.router), data: call.abi_encode().into(), gas: gas::SWAP, value }
    }

    /// Price and tick of a pool.
    ///
    /// # Errors
    /// When the node is gone.
    pub async fn slot0(&self, rpc: &Rpc, pool: &V4Pool) -> Result<(U160, i32)> {
        let slot0 = rpc.view(self.state_view, &V4State::getSlot0Call { poolId: pool.id }).await?;
        Ok((slot0.sqrtPriceX96, slot0.tick.as_i32()))
    }
}

/// Actions and their parameters, as every contract of v4-periphery takes them.
fn planned(plan: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let actions: Bytes = plan.iter().map(|(action, _)| *action).collect::<Vec<u8>>().into();
    let parameters: Vec<Bytes> = plan.iter().map(|(_, parameters)| parameters.clone().into()).collect();
    (actions, parameters).abi_encode_params()
}

/// The hook at an address whose bits say that it is called before swaps, and for nothing else.
async fn deploy_hook(parts: &Parts, queue: &mut TxQueue, from: Address) -> Result<Address> {
    let code = Contract::Own("DemoHook").creation_code(parts)?;
    let hash = keccak256(&code);
    let flags = |address: &Address| {
        let [.., high, low] = address.into_array();
        u16::from_be_bytes([high, low]) & ALL_FLAGS
    };
    let salts = (0_u64..).map(|salt| B256::from(U256::from(salt)));
    let found = salts.map(|salt| (salt, CREATE2_DEPLOYER.create2(salt, hash))).find(|(_, at)| flags(at) == BEFORE_SWAP);
    let (salt, address) = found.ok_or_else(|| Error::Usage("no address for the hook".to_owned()))?;
    let data = [salt.as_slice(), &code].concat().into();
    queue.push(Tx { from, to: Some(CREATE2_DEPLOYER), data, gas: 3_000_000, value: U256::ZERO }).await?;
    Ok(address)
}

/// The tick of a price, nearly: bands are wide.
fn tick_near(sqrt_price_x96: U160) -> i32 {
    let bits = f64::from(sqrt_price_x96).log2() - 96.0;
    (bits * 2.0 / 1.0001_f64.log2()) as i32
}

pub(crate) fn tick(value: i32) -> I24 {
    I24::try_from(value).unwrap_or_default()
}
