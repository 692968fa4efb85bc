//! `cargo bench --bench core -- quotes`: swaps of an amount, ours and the crate `uniswap_v3_math`'s over the same ticks, and the best way.

use std::{hint::black_box, time::Instant};

use alloy::primitives::U256;
use criterion::{Criterion, Throughput};
use swaptide::domain::{
    pool::{V3State, exchange::Order, step::Amount},
    route::{Venue, Venues},
    split::Limits,
};

use super::{
    peer::{Peer, Swapped},
    pools::{TERMS, crossing, market, of_ticks, orders, pair, token},
    random::random_market,
};

/// Ticks that a swap crosses.
const CROSSED: [u32; 4] = [0, 1, 5, 20];

pub(crate) fn quotes(c: &mut Criterion) {
    let mut group = c.benchmark_group("quotes");
    let pair = pair();
    let amount = U256::from(1_311_768_465_173_141_112_u64);
    for (name, amount) in [("exact input", Amount::In(amount)), ("exact output", Amount::Out(amount))] {
        group.bench_function(format!("a pair, {name} (bar 50 ns)"), |b| {
            b.iter(|| black_box(&pair).exchange(3_000, true, black_box(amount)).unwrap());
        });
    }

    let pool = of_ticks();
    let peer = Peer::of(&pool);
    same(&pool, &peer);
    for ticks in CROSSED {
        let orders = crossing(&pool, ticks);
        group.throughput(Throughput::Elements(orders.len() as u64));
        let bar = if ticks == 0 { " (bar 1.5 M/s)" } else { "" };
        group.bench_function(format!("50 swaps that cross {ticks} ticks{bar}"), |b| b.iter(|| ours(&pool, &orders)));
        group.bench_function(format!("the same {ticks} by uniswap_v3_math"), |b| b.iter(|| theirs(&peer, &orders)));
    }
    group.throughput(Throughput::Elements(1));

    let pools = market();
    let venues = || Venues::new(pools.iter().map(|(meta, state)| Venue { meta, state }));
    group.bench_function("the graph of 1,000 pools", |b| b.iter(|| black_box(venues())));
    let all = venues();
    for hops in [2, 3, 4] {
        group.bench_function(format!("the best way over 1,000 pools, {hops} hops"), |b| {
            b.iter(|| all.best(token(40), token(300), Amount::In(U256::from(1_u64 << 60)), hops).unwrap());
        });
    }
    for hops in [2, 3, 4] {
        // A part in 4,000 of a pool, in 60, and half of one: so much that one way alone is a bad one.
        for bits in [76, 82, 87] {
            let name = format!("the best plan of 4 ways over 1,000 pools, {hops} hops, 2^{bits} (bar 2 ms)");
            let amount = Amount::In(U256::ONE << bits);
            let plan = || venues().plan((token(40), token(300)), amount, Limits { hops, legs: 4 }, |_| U256::ZERO).unwrap();
            println!("{name}: {} ways, {} hops", plan().legs.len(), plan().legs.iter().map(|leg| leg.hops.len()).sum::<usize>());
            group.bench_function(name, |b| b.iter(&plan));
        }
    }
    group.finish();
    spread();
    ratios(&pool, &peer);
}

/// Plans of many swaps over two random markets of 1,000 pools: graph included, in microseconds.
fn spread() {
    const ASKED: usize = 100;
    for tokens in [60, 200] {
        let pools = random_market(tokens);
        for (hops, bits) in [2, 3, 4].into_iter().flat_map(|hops| [70, 78, 82, 86].map(|bits| (hops, bits))) {
            let mut took: Vec<_> = (0..ASKED as u64)
                .filter_map(|n| {
                    let (from, to) = (n % tokens, (7 * n + 1 + n / tokens) % tokens);
                    let amount = Amount::In((U256::from(2 * n + 1) << bits) / U256::from(ASKED));
                    let began = Instant::now();
                    let all = Venues::new(pools.iter().map(|(meta, state)| Venue { meta, state }));
                    let plan = all.plan((token(from), token(to)), amount, Limits { hops, legs: 4 }, |_| U256::ZERO);
                    plan.ok().map(|_| began.elapsed().as_micros())
                })
                .collect();
            took.sort_unstable();
            let at = |percent: usize| took.get(took.len() * percent / 100).copied().unwrap_or_default();
            let (half, most, all) = (at(50), at(90), took.len());
            println!(
                "plans over 1,000 pools of {tokens} tokens, {hops} hops, about 2^{bits}: {half} us, p90 {most} us ({all} of {ASKED} have a way)"
            );
        }
    }
}

fn ours(pool: &V3State, orders: &[Order]) {
    for order in orders {
        black_box(black_box(pool).exchange(TERMS, black_box(*order)).unwrap());
    }
}

fn theirs(peer: &Peer, orders: &[Order]) {
    for order in orders {
        let Amount::In(amount) = order.amount else { unreachable!() };
        black_box(black_box(peer).exact_input(black_box(order.down), black_box(amount)));
    }
}

/// Nothing is timed that does not give the same, in everything. (QuoterV2's word on ours: `tests/it/quotes.rs`.)
fn same(pool: &V3State, peer: &Peer) {
    let mut crossed = 0;
    for order in orders(pool).take(2_000) {
        let Amount::In(amount) = order.amount else { unreachable!() };
        let swap = pool.exchange(TERMS, order).unwrap();
        let (sqrt_price_x96, tick, liquidity) = (swap.sqrt_price_x96, swap.tick(), swap.liquidity);
        let ours = Swapped { amount_in: swap.amount_in, amount_out: swap.amount_out, sqrt_price_x96, tick, liquidity };
        assert_eq!(ours, peer.exact_input(order.down, amount), "{order:?}");
        crossed += swap.crossed;
    }
    assert!(crossed > 500, "{crossed}");
}

/// One after the other, a millisecond each: what else runs on the machine hits both.
fn ratios(pool: &V3State, peer: &Peer) {
    for ticks in CROSSED {
        let orders = crossing(pool, ticks);
        let time = |run: &dyn Fn()| {
            let began = Instant::now();
            (0..20).for_each(|_| run());
            began.elapsed().as_secs_f64() / (20 * orders.len()) as f64
        };
        let mut rounds: Vec<(f64, f64)> =
            (0..200).map(|_| (time(&|| ours(pool, &orders)), time(&|| theirs(peer, &orders)))).collect();
        rounds.sort_by(|a, b| (a.1 / a.0).total_cmp(&(b.1 / b.0)));
        let ratio = |permille: usize| rounds[rounds.len() * permille / 1_000].1 / rounds[rounds.len() * permille / 1_000].0;
        let best = rounds.iter().map(|(ours, _)| *ours).fold(f64::INFINITY, f64::min);
        println!(
            "{ticks} ticks crossed: {:.2} times as fast as uniswap_v3_math (p10 {:.2}, p90 {:.2}), {:.2} M/s at best",
            ratio(500),
            ratio(100),
            ratio(900),
            1e-6 / best
        );
    }
}
