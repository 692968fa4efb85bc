//! The pure core, by criterion: decoding a log, folding it into a pool, finding a reorg. `cargo bench --bench core`.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "criterion makes the functions; a bench may print and panic"
)]

mod quote;

use std::{
    collections::{HashMap, VecDeque},
    hint::black_box,
    sync::Arc,
};

use alloy::{
    primitives::{Address, B256, Bytes, I256, U256, keccak256},
    sol_types::SolValue,
};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use swaptide::{
    chain::{
        decode::{self, Decoded},
        sim::{Sim, Weather},
    },
    domain::{
        block::BlockRef,
        dollars::{Anchors, Gauge, Routes, Usd},
        event::{EventBody, RawLog},
        image::{Held, PoolImage},
        market::{Market, RawPrice, Trade, Window},
        pool::{CreatedAt, PoolId, PoolMeta, PoolState, Protocol, Tick, V2State, V3State, fees::Fees, swap::Terms},
        reconcile::{Advice, Reconciler},
    },
};

fn swap_v3() -> RawLog {
    let topic = "0xc42079f94a6350d7e6235f29174924f928cc2ac818eb64fed8004e115fbcca67".parse().unwrap();
    let data = (U256::from(1_000), U256::from(2_000), U256::from(1u128 << 96), U256::from(77), U256::from(3));
    RawLog {
        address: Address::ZERO,
        topics: vec![topic, B256::ZERO, B256::ZERO],
        data: Bytes::from(data.abi_encode_params()),
        tx_hash: B256::ZERO,
        tx_index: 0,
        log_index: 0,
    }
}

/// A pool with its fees and positions, over a swap that stays between two ticks, and over one that crosses ten.
fn books(c: &mut Criterion) {
    let terms = Terms { fee_pips: 3_000, tick_spacing: 60 };
    let state = PoolState::V3(V3State { sqrt_price_x96: U256::ONE << 96, ..V3State::default() });
    let held = Held::default();
    let mut image = PoolImage { state, gauge: Gauge::default(), held, fees: Some(Arc::new(Fees::new(terms))), shares: None };
    for n in 1..=50 {
        let (owner, amount) = (Address::with_last_byte(n), 1_u128 << 70);
        let (tick_lower, tick_upper) = (-60 * i32::from(n), 60 * i32::from(n));
        let (amount0, amount1) = (U256::from(amount), U256::from(amount));
        let mint = EventBody::V3Mint { sender: owner, owner, tick_lower, tick_upper, amount, amount0, amount1 };
        image.apply(&mint).unwrap();
    }
    for (name, tick) in [("a V3 swap with its fees", 30), ("a V3 swap over ten ticks with its fees", 615)] {
        let swap = image.state.v3().and_then(|state| state.swap_to(terms, tick)).unwrap();
        c.bench_function(name, |b| {
            b.iter_batched(|| image.clone(), |mut image| image.apply(black_box(&swap)), BatchSize::SmallInput)
        });
        let mut after = image.clone();
        after.apply(&swap).unwrap();
        assert!(after.fees.is_some(), "it went the contract's way");
    }
}

fn core(c: &mut Criterion) {
    let raw = swap_v3();
    assert!(matches!(decode::decode(&raw), Decoded::Event(EventBody::V3Swap { .. })));
    c.bench_function("decode a V3 swap", |b| b.iter(|| decode::decode(black_box(&raw))));

    let ticks = (0..1_000).map(|i| (i * 60, Tick { liquidity_gross: 1, liquidity_net: 1 })).collect();
    let state = PoolState::V3(V3State { ticks: Arc::new(ticks), ..V3State::default() });
    let Decoded::Event(swap) = decode::decode(&raw) else { unreachable!() };
    let mint = EventBody::V3Mint {
        sender: Address::ZERO,
        owner: Address::ZERO,
        tick_lower: 60,
        tick_upper: 120,
        amount: 5,
        amount0: U256::ZERO,
        amount1: U256::ZERO,
    };
    for (name, event) in [("fold a V3 swap", &swap), ("fold a V3 mint into 1,000 ticks that readers hold", &mint)] {
        c.bench_function(name, |b| {
            b.iter_batched(|| state.clone(), |mut state| state.apply(black_box(event)), BatchSize::SmallInput)
        });
    }

    books(c);

    let sim = Sim::new(1, Weather::CALM);
    (0..100).for_each(|_| sim.step());
    let headers: Vec<_> = sim.canonical().into_iter().map(|(h, _)| h).collect();
    c.bench_function("recompute the bloom of a block", |b| {
        let (_, logs) = sim.canonical().into_iter().max_by_key(|(_, logs)| logs.len()).unwrap();
        b.iter(|| swaptide::chain::verify::bloom(black_box(&logs)))
    });
    let blocks: Vec<BlockRef> = headers.iter().map(|h| h.block).collect();
    let mut machine = Reconciler::new(blocks[0]);
    for block in &blocks[1..64] {
        let Advice::Update(update) = machine.head(*block) else { unreachable!() };
        let _ = machine.accept(update, 64);
    }
    let tip = machine.tip();
    let sibling = BlockRef { hash: keccak256(tip.hash), ..tip };
    c.bench_function("follow a sibling of the tip in a window of 64", |b| {
        b.iter_batched(|| machine.clone(), |mut machine| machine.head(black_box(sibling)), BatchSize::SmallInput)
    });
}

/// A busy pool: a swap every 3 s for two days, by 2,000 addresses.
fn swaps() -> Vec<Trade> {
    let swap = |i: u64| {
        let amount = I256::try_from(1 + i % 977).unwrap();
        let (amount0, amount1) = if i.is_multiple_of(2) { (-amount, amount) } else { (amount, -amount) };
        let price = RawPrice::Root(U256::from((1_u128 << 96) + u128::from(i * 7_919 % 10_007)));
        let trader = Address::from_word(keccak256((i * 31 % 2_000).to_be_bytes()));
        Trade { timestamp: 1_700_000_000 + 3 * i, price, amount0, amount1, usd: Some(Usd(i)), trader }
    };
    (0..57_600).map(swap).collect()
}

fn market(c: &mut Criterion) {
    let swaps = swaps();
    let mut group = c.benchmark_group("market");
    group.sample_size(10).throughput(Throughput::Elements(swaps.len() as u64));
    group.bench_function("candles of all intervals and windows, swap by swap (bar 1 us each)", |b| {
        b.iter(|| {
            let mut market = Market::default();
            swaps.iter().for_each(|swap| market.trade(black_box(swap)));
            market
        });
    });
    // As the undo window does: the version before each block stays.
    group.bench_function("the same, with the versions of the last 64 blocks kept", |b| {
        b.iter(|| {
            let mut market = Market::default();
            let mut versions = VecDeque::new();
            for block in swaps.chunks(4) {
                versions.push_back(market.clone());
                block.iter().for_each(|swap| market.trade(black_box(swap)));
                if versions.len() > 64 {
                    versions.pop_front();
                }
            }
            (market, versions)
        });
    });
    group.throughput(Throughput::Elements(1));
    let mut full = Market::default();
    swaps.iter().for_each(|swap| full.trade(swap));
    let now = swaps.last().unwrap().timestamp;
    group.bench_function("statistics of 24 hours", |b| b.iter(|| full.window(Window::H24, black_box(now))));
    group.finish();
}

/// A thousand tokens with a pool against the native token and one against a dollar each, and twenty pools between those two.
fn dollars(c: &mut Criterion) {
    const TOKENS: u64 = 1_000;
    let address = |n: u64| Address::from_word(keccak256(n.to_be_bytes()));
    let (native, dollar) = (address(1), address(2));
    let anchors = Anchors { stablecoins: [(dollar, Some(6))].into(), wrapped_native: Some(native), min_depth: Usd::whole(100) };
    let mut routes = Routes::new(anchors);
    let mut gauges: HashMap<PoolId, Gauge> = HashMap::new();
    let block = BlockRef { number: 1, hash: B256::ZERO, parent_hash: B256::ZERO, timestamp: 1_700_000_000 };
    let mut pool = |a: Address, b: Address, n: u64| {
        let id = PoolId::Address(address(10_000 + n));
        let created = CreatedAt { block, tx_hash: None, log_index: 0 };
        let (token0, token1) = (a.min(b), a.max(b));
        let (dex, factory) = (String::new(), Address::ZERO);
        let protocol = Protocol::UniswapV2;
        routes.add(&PoolMeta {
            chain: 1,
            id,
            protocol,
            dex,
            factory,
            token0,
            token1,
            fee_pips: 3_000,
            tick_spacing: None,
            created,
            hooks: None,
            origin: None,
        });
        let reserve = 10_u128.pow(24) + u128::from(n) * 10_u128.pow(21);
        gauges.insert(id, Gauge::seeded(&PoolState::V2(V2State { reserve0: reserve, reserve1: reserve }), block.timestamp));
    };
    (0..20).for_each(|n| pool(native, dollar, n));
    (0..TOKENS).for_each(|n| {
        [native, dollar].into_iter().enumerate().for_each(|(i, at)| pool(address(100 + n), at, 100 + 2 * n + i as u64))
    });
    c.bench_function("dollar prices of 1,000 tokens at a block (bar 5 ms)", |b| {
        b.iter(|| {
            let prices = routes.at(black_box(block.timestamp + 12), |id| gauges.get(id).copied());
            (0..TOKENS).filter(|n| prices.price(&address(100 + n)).is_some()).count()
        });
    });
}

criterion_group!(benches, core, market, dollars, quote::bench::quotes);
criterion_main!(benches);
