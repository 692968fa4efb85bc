//! What a swap pays, out of a pool's state, against the contracts that would pay it: Router02 and QuoterV2 on the node, at the same block.
//!
//! `SWAPTIDE_QUOTES=10000` asks for so many of each protocol.

use std::sync::Arc;

use alloy::{
    primitives::{Address, B256, Bytes, U160, U256, aliases::I24, aliases::U24},
    sol,
    sol_types::{SolCall, SolValue},
};
use serde_json::json;
use swaptide::{
    chain::{contract_state, contract_state::Answer},
    domain::{
        block::BlockRef,
        pool::{
            CreatedAt, PoolMeta, PoolState, Protocol, V3State,
            exchange::{NoSwap, Order, TickSwap, ticks_between},
            math::{MAX_SQRT_RATIO, MAX_TICK, MIN_SQRT_RATIO, sqrt_ratio_at_tick, tick_at_sqrt_ratio},
            step::Amount,
            swap::Terms,
        },
    },
};
use swaptide_demo::{Devnet, DevnetConfig, contracts::Contract};

use super::{dollars::meta, state};

sol! {
    interface Quoter {
        struct In { address tokenIn; address tokenOut; uint256 amountIn; uint24 fee; uint160 limit; }
        struct Out { address tokenIn; address tokenOut; uint256 amount; uint24 fee; uint160 limit; }
        function quoteExactInputSingle(In params) external returns (uint256 amountOut, uint160 after, uint32 crossed, uint256 gas);
        function quoteExactOutputSingle(Out params) external returns (uint256 amountIn, uint160 after, uint32 crossed, uint256 gas);
    }
    interface Router {
        function getAmountsOut(uint256 amountIn, address[] path) external view returns (uint256[] amounts);
        function getAmountsIn(uint256 amountOut, address[] path) external view returns (uint256[] amounts);
    }
    interface Token {
        function mint(address[] to, uint256 value) external;
        function approve(address spender, uint256 value) external returns (bool);
    }
    interface Positions {
        struct Mint {
            address token0; address token1; uint24 fee; int24 tickLower; int24 tickUpper; uint256 amount0Desired; uint256 amount1Desired;
            uint256 amount0Min; uint256 amount1Min; address recipient; uint256 deadline;
        }
        function createAndInitializePoolIfNecessary(address token0, address token1, uint24 fee, uint160 price) external returns (address pool);
        function mint(Mint params) external returns (uint256 tokenId, uint128 liquidity, uint256 amount0, uint256 amount1);
    }
    interface Factory {
        function getPool(address tokenA, address tokenB, uint24 fee) external view returns (address pool);
    }
}

/// SplitMix64.
pub(super) struct Rng(pub(super) u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// The n-th of ten ranges, in steps of the spacing: everywhere, some near `at`, the rest anywhere.
    pub(super) fn range(&mut self, n: u64, at: i32, edge: i32) -> (i32, i32) {
        match n {
            0 => (-edge, edge),
            1..6 => {
                let wide = i32::try_from(1 + self.below(60)).unwrap();
                let lower = (at - i32::try_from(self.below(60)).unwrap()).clamp(-edge, edge - 1);
                (lower, (lower + wide).min(edge))
            }
            _ => {
                let mut place = || i32::try_from(self.below(u64::try_from(2 * edge).unwrap())).unwrap() - edge;
                let (a, b) = (place(), place());
                (a.min(b), a.max(b).max(a.min(b) + 1))
            }
        }
    }

    /// Of every size up to so many bits.
    pub(super) fn amount(&mut self, bits: u64) -> U256 {
        let all = U256::from_limbs([self.next(), self.next(), self.next(), self.next()]);
        (all >> usize::try_from(256 - 1 - self.below(bits)).unwrap()).max(U256::ONE)
    }
}

pub(super) fn wanted() -> u64 {
    std::env::var("SWAPTIDE_QUOTES").ok().and_then(|text| text.parse().ok()).unwrap_or(600)
}

/// What a call answers at a block; `None`: it reverts.
pub(super) async fn call(devnet: &Devnet, at: B256, to: Address, data: Vec<u8>) -> Option<Bytes> {
    let call = json!([{ "to": to, "data": Bytes::from(data), "gas": "0x5f5e1000" }, { "blockHash": at }]);
    match devnet.rpc_call("eth_call", call).await {
        Ok(answer) => Some(answer.as_str().unwrap().parse().unwrap()),
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains("revert") || text.contains("EVM error"), "{text}");
            None
        }
    }
}

pub(super) async fn states(devnet: &Devnet, metas: &[Arc<PoolMeta>], at: B256) -> Vec<(Arc<PoolMeta>, PoolState)> {
    let answers = contract_state::read(&state::source(devnet), at, metas).await.unwrap();
    let of = |meta: &Arc<PoolMeta>| {
        let (_, answer) = answers.iter().find(|(id, _)| *id == meta.id).unwrap();
        let Answer { state, .. } = answer.clone().unwrap();
        (meta.clone(), state)
    };
    metas.iter().map(of).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn pairs_pay_what_router02_says() {
    let mut devnet = Devnet::start(DevnetConfig { seed: 91, ..DevnetConfig::default() }).await.unwrap();
    devnet.fill(6, 20).await.unwrap();
    let at = devnet.head().await.unwrap().hash;
    let pools = devnet.trader.pools().to_vec();
    let pairs = pools.iter().filter(|pool| pool.protocol == swaptide_demo::Protocol::V2);
    let metas: Vec<_> = pairs.map(|pool| meta(&devnet, pool)).collect();
    let pairs = states(&devnet, &metas, at).await;
    let mut rng = Rng(7);
    let (mut paid, mut refused) = (0, 0);
    for _ in 0..wanted() {
        let (meta, state) = &pairs[usize::try_from(rng.below(pairs.len() as u64)).unwrap()];
        let PoolState::V2(pair) = state else { panic!("a pair") };
        let (down, is_in) = (rng.below(2) == 0, rng.below(2) == 0);
        let path = if down { vec![meta.token0, meta.token1] } else { vec![meta.token1, meta.token0] };
        let bits = if rng.below(10) == 0 { 130 } else { 90 };
        let amount = rng.amount(bits);
        let router = devnet.deployment.v2_router;
        let theirs = if is_in {
            let data = Router::getAmountsOutCall { amountIn: amount, path }.abi_encode();
            call(&devnet, at, router, data).await.map(|b| Router::getAmountsOutCall::abi_decode_returns(&b).unwrap()[1])
        } else {
            let data = Router::getAmountsInCall { amountOut: amount, path }.abi_encode();
            call(&devnet, at, router, data).await.map(|b| Router::getAmountsInCall::abi_decode_returns(&b).unwrap()[0])
        };
        let ours = pair.exchange(meta.fee_pips, down, if is_in { Amount::In(amount) } else { Amount::Out(amount) });
        let what = format!("{} {pair:?}, down {down}, in {is_in}, {amount}", meta.id);
        match ours {
            Ok(swap) => {
                assert_eq!(Some(if is_in { swap.amount_out } else { swap.amount_in }), theirs, "{what}");
                paid += 1;
            }
            // The router does not look at the bounds of the pair's reserves: a swap of it would revert.
            Err(NoSwap::Overflow) => {
                let reserve = U256::from(if down { pair.reserve0 } else { pair.reserve1 });
                let paid = if is_in { amount } else { theirs.unwrap() };
                assert!((reserve + paid).bit_len() > 112, "{what}");
                refused += 1;
            }
            Err(_) => {
                assert_eq!(theirs, None, "{what}");
                refused += 1;
            }
        }
    }
    println!("router02: {paid} swaps equal, {refused} refused by both");
    assert!(paid > wanted() / 2 && refused > 0, "{paid} {refused}");
}

/// Two tokens of our own, with a pool at a price and positions around it and far away.
async fn odd_pool(devnet: &mut Devnet, rng: &mut Rng, tokens: [Address; 2], fee: u32, start: i32) -> Arc<PoolMeta> {
    let (d, spacing) = (
        devnet.deployment.clone(),
        match fee {
            500 => 10,
            3_000 => 60,
            _ => 200,
        },
    );
    let price = sqrt_ratio_at_tick(start).unwrap() + U256::from(rng.below(1_000));
    let price = price.clamp(MIN_SQRT_RATIO, MAX_SQRT_RATIO - U256::ONE);
    let create = Positions::createAndInitializePoolIfNecessaryCall {
        token0: tokens[0],
        token1: tokens[1],
        fee: U24::from(fee),
        price: U160::from(price),
    };
    devnet.push_tx(d.nfpm, create.abi_encode().into(), 6_000_000).await.unwrap();
    devnet.mine_all_ok().await.unwrap();
    for n in 0..10_u64 {
        let (lower, upper) = rng.range(n, start / spacing, MAX_TICK / spacing);
        let params = Positions::Mint {
            token0: tokens[0],
            token1: tokens[1],
            fee: U24::from(fee),
            tickLower: I24::try_from(lower * spacing).unwrap(),
            tickUpper: I24::try_from(upper * spacing).unwrap(),
            amount0Desired: rng.amount(100),
            amount1Desired: rng.amount(100),
            amount0Min: U256::ZERO,
            amount1Min: U256::ZERO,
            recipient: d.deployer(),
            deadline: U256::MAX,
        };
        devnet.push_tx(d.nfpm, Positions::mintCall { params }.abi_encode().into(), 2_000_000).await.unwrap();
    }
    // Some positions come to no liquidity, and revert.
    devnet.mine().await.unwrap();
    let get = Factory::getPoolCall { tokenA: tokens[0], tokenB: tokens[1], fee: U24::from(fee) };
    let at = devnet.head().await.unwrap().hash;
    let pool = call(devnet, at, d.v3_factory, get.abi_encode()).await.unwrap();
    let block = BlockRef { number: 0, hash: B256::ZERO, parent_hash: B256::ZERO, timestamp: 0 };
    Arc::new(PoolMeta {
        chain: devnet.chain_id,
        id: Factory::getPoolCall::abi_decode_returns(&pool).unwrap().into(),
        protocol: Protocol::UniswapV3,
        dex: String::new(),
        factory: d.v3_factory,
        token0: tokens[0],
        token1: tokens[1],
        fee_pips: fee,
        tick_spacing: Some(spacing),
        created: CreatedAt { block, tx_hash: None, log_index: 0 },
        hooks: None,
        origin: None,
    })
}

async fn new_tokens(devnet: &mut Devnet) -> [Address; 2] {
    let mut both = Vec::new();
    for name in ["One", "Two"] {
        let arguments = (name.to_owned(), name.to_owned(), U256::from(18)).abi_encode_params();
        let token = devnet.deploy(Contract::Own("DemoToken"), &arguments).await.unwrap();
        let d = devnet.deployment.clone();
        let mint = Token::mintCall { to: vec![d.deployer()], value: U256::MAX >> 8 };
        devnet.push_tx(token, mint.abi_encode().into(), 300_000).await.unwrap();
        let approve = Token::approveCall { spender: d.nfpm, value: U256::MAX };
        devnet.push_tx(token, approve.abi_encode().into(), 300_000).await.unwrap();
        both.push(token);
    }
    devnet.mine_all_ok().await.unwrap();
    both.sort_unstable();
    [both[0], both[1]]
}

/// What QuoterV2 says: the amount, the price after, and its count of ticks.
pub(super) type Said = (U256, U256, u32);

pub(super) async fn quoter(devnet: &Devnet, at: B256, meta: &PoolMeta, order: &Order) -> Option<Said> {
    let (token_in, token_out) = if order.down { (meta.token0, meta.token1) } else { (meta.token1, meta.token0) };
    let (fee, limit) = (U24::from(meta.fee_pips), U160::from(order.limit.unwrap_or_default()));
    match order.amount {
        Amount::In(amount) => {
            let params = Quoter::In { tokenIn: token_in, tokenOut: token_out, amountIn: amount, fee, limit };
            let data = Quoter::quoteExactInputSingleCall { params }.abi_encode();
            let answer = call(devnet, at, devnet.deployment.quoter, data).await?;
            let said = Quoter::quoteExactInputSingleCall::abi_decode_returns(&answer).unwrap();
            Some((said.amountOut, U256::from(said.after), said.crossed))
        }
        Amount::Out(amount) => {
            let params = Quoter::Out { tokenIn: token_in, tokenOut: token_out, amount, fee, limit };
            let data = Quoter::quoteExactOutputSingleCall { params }.abi_encode();
            let answer = call(devnet, at, devnet.deployment.quoter, data).await?;
            let said = Quoter::quoteExactOutputSingleCall::abi_decode_returns(&answer).unwrap();
            Some((said.amountIn, U256::from(said.after), said.crossed))
        }
    }
}

/// A limit on the right side of the price, near it or anywhere; now and then on the wrong one.
pub(super) fn limit(rng: &mut Rng, pool: &V3State, down: bool) -> U256 {
    let far = if rng.below(2) == 0 { 300 } else { 600_000 };
    let by = i32::try_from(rng.below(far)).unwrap();
    let towards = if down == (rng.below(12) > 0) { -by } else { by };
    let tick = (pool.tick + towards).clamp(-MAX_TICK, MAX_TICK);
    (sqrt_ratio_at_tick(tick).unwrap() + U256::from(rng.below(99))).max(U256::ONE)
}

#[tokio::test(flavor = "multi_thread")]
async fn pools_with_ticks_pay_what_quoter_v2_says() {
    let mut devnet = Devnet::start(DevnetConfig { seed: 92, ..DevnetConfig::default() }).await.unwrap();
    devnet.fill(6, 20).await.unwrap();
    let mut rng = Rng(11);
    let pools = devnet.trader.pools().to_vec();
    let of_demo = pools.iter().filter(|pool| pool.protocol == swaptide_demo::Protocol::V3);
    let mut metas: Vec<_> = of_demo.map(|pool| meta(&devnet, pool)).collect();
    // From the lowest price to the highest, of every fee.
    for start in [-887_271, -800_000, -400_000, -5, 0, 61, 400_000, 800_000, 887_270] {
        let tokens = new_tokens(&mut devnet).await;
        let fee = [500, 3_000, 10_000][usize::try_from(rng.below(3)).unwrap()];
        metas.push(odd_pool(&mut devnet, &mut rng, tokens, fee, start).await);
    }
    let at = devnet.head().await.unwrap().hash;
    let pools = states(&devnet, &metas, at).await;
    let (mut paid, mut refused, mut crossed) = (0, 0, 0);
    for _ in 0..wanted() {
        let (meta, state) = &pools[usize::try_from(rng.below(pools.len() as u64)).unwrap()];
        let PoolState::V3(pool) = state else { panic!("a pool with ticks") };
        let down = rng.below(2) == 0;
        let bits = if rng.below(10) == 0 { 255 } else { 110 };
        let amount = rng.amount(bits);
        let amount = if rng.below(2) == 0 { Amount::In(amount) } else { Amount::Out(amount) };
        let limit = (rng.below(4) == 0).then(|| limit(&mut rng, pool, down));
        let order = Order { down, amount, limit };
        let theirs = quoter(&devnet, at, meta, &order).await;
        let terms = Terms::of(meta).unwrap();
        let ours = pool.exchange(terms, order);
        let what = format!("{} at {} (tick {}), fee {}, {order:?}", meta.id, pool.sqrt_price_x96, pool.tick, meta.fee_pips);
        // Without a limit an output has to be there in full.
        let all = |left: &U256| limit.is_some() || left.is_zero() || matches!(amount, Amount::In(_));
        // Where nothing moves the pool has no objection, and whoever is called back has.
        let moves = |swap: &&TickSwap| !swap.amount_in.is_zero() || !swap.amount_out.is_zero();
        let Some(swap) = ours.as_ref().ok().filter(|swap| all(&swap.left)).filter(moves) else {
            assert_eq!(theirs, None, "{what}: {ours:?}");
            refused += 1;
            continue;
        };
        let said = theirs.unwrap_or_else(|| panic!("{what}: the quoter reverts, we say {swap:?}"));
        let moved = if matches!(amount, Amount::In(_)) { swap.amount_out } else { swap.amount_in };
        let ticks = ticks_between(&pool.ticks, terms.tick_spacing, pool.tick, swap.tick()).unwrap();
        assert_eq!((moved, swap.sqrt_price_x96, ticks), said, "{what}");
        assert_eq!(
            tick_at_sqrt_ratio(swap.sqrt_price_x96).map(|tick| (0..=1).contains(&(tick - swap.tick()))),
            Some(true),
            "{what}"
        );
        paid += 1;
        crossed += swap.crossed;
    }
    println!("quoter v2: {paid} swaps equal, {refused} refused by both, {crossed} ticks crossed");
    assert!(paid > wanted() / 3 && refused > 0 && u64::from(crossed) > wanted() / 2, "{paid} {refused} {crossed}");
}
