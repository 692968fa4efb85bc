//! What a swap pays out of a V4 pool's state, against V4Quoter and the PoolManager itself, at the same block.

use alloy::{
    primitives::{
        Address, B256, Bytes, I256, U160, U256,
        aliases::{I24, U24},
        keccak256,
    },
    sol_types::{SolCall, SolValue},
};
use swaptide::domain::pool::{
    PoolState,
    exchange::{NoSwap, Order, TickSwap},
    math::{MAX_SQRT_RATIO, MAX_TICK, MIN_SQRT_RATIO, sqrt_ratio_at_tick},
    step::Amount,
    trade::Swap,
};
use swaptide_demo::{
    Contract, Devnet,
    contracts::{Token, V4Manager, V4Probe, V4Quoter},
    v4::PoolKey,
};

use super::{
    dollars::v4_meta,
    quotes::{Rng, call, limit, states, wanted},
    v4::{Direct, all_the_way, config},
};

/// Two tokens of our own, that the purse has enough of.
async fn new_tokens(devnet: &mut Devnet, direct: &Direct) -> [Address; 2] {
    let mut both = Vec::new();
    for name in ["One", "Two"] {
        let arguments = (name.to_owned(), name.to_owned(), U256::from(18)).abi_encode_params();
        let token = devnet.deploy(Contract::Own("DemoToken"), &arguments).await.unwrap();
        let mint = Token::mintCall { to: vec![direct.address], value: U256::MAX >> 2 };
        devnet.push_tx(token, mint.abi_encode().into(), 300_000).await.unwrap();
        both.push(token);
    }
    devnet.mine_all_ok().await.unwrap();
    both.sort_unstable();
    [both[0], both[1]]
}

/// A pool of any fee and spacing at a price, with positions around it and far away, some of them of very much.
async fn odd_pool(devnet: &mut Devnet, rng: &mut Rng, direct: &mut Direct, fee: u32, spacing: i32, start: i32) -> PoolKey {
    let tokens = new_tokens(devnet, direct).await;
    let tick = |tick: i32| I24::try_from(tick).unwrap();
    let key = PoolKey {
        currency0: tokens[0],
        currency1: tokens[1],
        fee: U24::from(fee),
        tickSpacing: tick(spacing),
        hooks: Address::ZERO,
    };
    let price = sqrt_ratio_at_tick(start).unwrap() + U256::from(rng.below(1_000));
    let price = U160::from(price.clamp(MIN_SQRT_RATIO, MAX_SQRT_RATIO - U256::ONE));
    let initialize = V4Manager::initializeCall { key: key.parts().into(), sqrtPriceX96: price };
    devnet.push_tx(direct.v4.manager, initialize.abi_encode().into(), 1_000_000).await.unwrap();
    devnet.mine_all_ok().await.unwrap();
    let mut pool = direct.pool(0).clone();
    (pool.id, pool.key) = (keccak256(key.abi_encode()), key.clone());
    direct.v4.pools.push(pool);
    let index = direct.v4.pools.len() - 1;
    if rng.below(2) == 0 {
        let part = |rng: &mut Rng| u32::try_from(rng.below(1_001)).unwrap();
        let fee = part(rng) | part(rng) << 12;
        direct.set_protocol_fee(devnet, index, fee).await;
    }
    for n in 0..10_u64 {
        let (lower, upper) = rng.range(n, start / spacing, MAX_TICK / spacing);
        let liquidity: u128 = rng.amount(if n < 8 { 80 } else { 104 }).to();
        let call = direct.modify(index, (lower * spacing, upper * spacing), i128::try_from(liquidity).unwrap(), 0);
        devnet.push_tx(direct.address, call.into(), 2_000_000).await.unwrap();
    }
    // Some take more than there is, and revert.
    devnet.mine().await.unwrap();
    key
}

/// What V4Quoter says: of an input what comes out, of an output what it takes. All of it or nothing.
pub(super) async fn quoter(devnet: &Devnet, at: B256, key: &PoolKey, order: &Order) -> Option<U256> {
    let quoter = devnet.deployment.v4.as_ref().unwrap().quoter;
    let params = |amount: U256| V4Quoter::QuoteExactSingleParams {
        poolKey: key.parts().into(),
        zeroForOne: order.down,
        exactAmount: amount.to(),
        hookData: Bytes::new(),
    };
    match order.amount {
        Amount::In(amount) => {
            let data = V4Quoter::quoteExactInputSingleCall { params: params(amount) }.abi_encode();
            let answer = call(devnet, at, quoter, data).await?;
            Some(V4Quoter::quoteExactInputSingleCall::abi_decode_returns(&answer).unwrap().amountOut)
        }
        Amount::Out(amount) => {
            let data = V4Quoter::quoteExactOutputSingleCall { params: params(amount) }.abi_encode();
            let answer = call(devnet, at, quoter, data).await?;
            Some(V4Quoter::quoteExactOutputSingleCall::abi_decode_returns(&answer).unwrap().amountIn)
        }
    }
}

/// What the PoolManager itself does: what comes in and goes out, price, tick and liquidity afterwards.
type Done = (U256, U256, U256, i32, u128);

async fn probe(devnet: &Devnet, at: B256, probe: Address, key: &PoolKey, order: &Order) -> Option<Done> {
    let amount = match order.amount {
        Amount::In(amount) => I256::try_from(amount).unwrap().wrapping_neg(),
        Amount::Out(amount) => I256::try_from(amount).unwrap(),
    };
    let limit = order.limit.map_or_else(|| all_the_way(order.down), U160::from);
    let params = V4Probe::SwapParams { zeroForOne: order.down, amountSpecified: amount, sqrtPriceLimitX96: limit };
    let data = V4Probe::probeCall { key: key.parts().into(), params }.abi_encode();
    let answer = call(devnet, at, probe, data).await?;
    let seen = V4Probe::probeCall::abi_decode_returns(&answer).unwrap();
    let both = seen.delta.into_raw();
    let [high, low] = [both >> 128_usize, both].map(|side: U256| side.wrapping_to::<u128>().cast_signed());
    let (paid, got) = if order.down { (high, low) } else { (low, high) };
    assert!(paid <= 0 && got >= 0, "{paid} {got}");
    let slot0 = U256::from_be_bytes(seen.slot0.0);
    let tick = (slot0 >> 160_usize).wrapping_to::<u32>().wrapping_shl(8).cast_signed() >> 8;
    let liquidity = U256::from_be_bytes(seen.liquidity.0).to();
    Some((U256::from(paid.unsigned_abs()), U256::from(got.unsigned_abs()), slot0 << 96 >> 96, tick, liquidity))
}

#[tokio::test(flavor = "multi_thread")]
async fn pools_pay_what_v4_quoter_says_and_are_left_as_the_pool_manager_leaves_them() {
    let mut devnet = Devnet::start(config(93)).await.unwrap();
    devnet.fill(6, 20).await.unwrap();
    let mut rng = Rng(13);
    let mut direct = Direct::deploy(&mut devnet).await;
    let prober = devnet.deploy(Contract::Own("V4Probe"), &(direct.v4.manager,).abi_encode_params()).await.unwrap();
    direct.set_protocol_fee(&mut devnet, 0, 1_000 | 250 << 12).await;
    let mut keys: Vec<PoolKey> = direct.v4.pools.iter().map(|pool| pool.key.clone()).collect();
    // From the lowest price to the highest, of fees from nothing to everything, of spacings from one tick to the most.
    for (fee, spacing, start) in [
        (0, 1, -887_271),
        (1, 60, -800_000),
        (500, 10, -400_000),
        (1_000_000, 60, -5),
        (999_999, 200, 0),
        (3_000, 60, 61),
        (10_000, 32_767, 400_000),
        (250_000, 7, 800_000),
        (100, 1, 887_270),
    ] {
        keys.push(odd_pool(&mut devnet, &mut rng, &mut direct, fee, spacing, start).await);
    }
    let at = devnet.head().await.unwrap().hash;
    let metas: Vec<_> = keys.iter().map(|key| v4_meta(&devnet, direct.v4.manager, key)).collect();
    let pools = states(&devnet, &metas, at).await;
    let (mut paid, mut refused, mut crossed, mut quoted, mut hooked) = (0, 0, 0, 0, 0);
    for _ in 0..wanted() {
        let index = usize::try_from(rng.below(pools.len() as u64)).unwrap();
        let (key, (meta, state)) = (&keys[index], &pools[index]);
        let PoolState::V4(pool) = state else { panic!("a pool of V4") };
        let down = rng.below(2) == 0;
        let bits = if rng.below(10) == 0 { 255 } else { 110 };
        let amount = rng.amount(bits);
        let fits = amount.bit_len() <= 127;
        let amount = if rng.below(2) == 0 { Amount::In(amount) } else { Amount::Out(amount) };
        let limit = (rng.below(4) == 0).then(|| limit(&mut rng, pool, down));
        let order = Order { down, amount, limit };
        let what = format!("{} at {} (tick {}), fee {}, {order:?}", meta.id, pool.sqrt_price_x96, pool.tick, meta.fee_pips);
        let ours = match state.swap(meta, order) {
            Ok(Swap::Ticks(swap)) => Ok(swap),
            Ok(Swap::Pair(_)) => panic!("{what}: no pair"),
            Err(NoSwap::Hooked) => {
                assert!(!key.hooks.is_zero(), "{what}");
                hooked += 1;
                continue;
            }
            Err(error) => Err(error),
        };
        assert!(key.hooks.is_zero(), "{what}: a hook decides that");
        let done = |swap: &TickSwap| (swap.amount_in, swap.amount_out, swap.sqrt_price_x96, swap.tick(), swap.liquidity);
        let theirs = probe(&devnet, at, prober, key, &order).await;
        assert_eq!(ours.as_ref().ok().map(done), theirs, "{what}: {ours:?}");
        if limit.is_none() && fits {
            let whole = ours.as_ref().ok().filter(|swap| swap.left.is_zero());
            let moved = whole.map(|swap| if matches!(amount, Amount::In(_)) { swap.amount_out } else { swap.amount_in });
            assert_eq!(moved, quoter(&devnet, at, key, &order).await, "{what}: {ours:?}");
            quoted += 1;
        }
        match ours {
            Ok(swap) => (paid, crossed) = (paid + 1, crossed + swap.crossed),
            Err(_) => refused += 1,
        }
    }
    println!(
        "v4: {paid} swaps equal, {refused} refused by both, {crossed} ticks crossed, {quoted} asked of V4Quoter, {hooked} left to hooks"
    );
    assert!(paid > wanted() / 3 && refused > 0 && quoted > wanted() / 3 && hooked > 0, "{paid} {refused} {quoted} {hooked}");
    assert!(u64::from(crossed) > wanted() / 2, "{crossed}");
}
