//! How many instructions a quote takes, counted by valgrind: what no noise of the machine moves. More than ten per cent above what is
//! recorded here is a regression; where there is no valgrind, that is said and nothing is counted.
//!
//! `cargo test --release --test instructions -- --nocapture` prints the table of docs/benchmarks.md.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    reason = "a test that cannot go on says so by a panic"
)]

use std::{collections::BTreeMap, fs, hint::black_box, path::Path, process::Command};

use alloy::primitives::U256;
use swaptide::domain::{
    pool::{V2State, V3State, exchange::Order, step::Amount},
    route::{Venue, Venues},
    split::Limits,
};

#[path = "../benches/quote/pools.rs"]
mod pools;

use pools::{TERMS, crossing, market, of_ticks, orders, pair, token};

/// Instructions of a call, as tests are built, and in the release.
const RECORDED: [(&str, u64, u64); 6] = [
    ("pair_in", 10_099, 431),
    ("one_step", 62_830, 4_033),
    ("twenty_ticks", 1_146_713, 71_418),
    // Maps with seeds of their own: these move by half a per cent.
    ("graph", 8_675_000, 916_000),
    ("best_way", 17_180_000, 1_259_000),
    ("best_plan", 51_077_000, 4_132_000),
];
/// Per cent of what is recorded.
const LIMIT: u64 = 110;

#[inline(never)]
fn pair_in(pool: &V2State, amount: U256) {
    black_box(pool.exchange(3_000, true, Amount::In(amount)).unwrap());
}

#[inline(never)]
fn one_step(pool: &V3State, order: Order) {
    black_box(pool.exchange(TERMS, order).unwrap());
}

#[inline(never)]
fn twenty_ticks(pool: &V3State, order: Order) {
    // Not the same function as the one above, whatever the linker thinks.
    assert_eq!(black_box(pool.exchange(TERMS, order).unwrap()).crossed, 20);
}

#[inline(never)]
fn graph<'a>(pools: &[Venue<'a>]) -> Venues<'a> {
    black_box(Venues::new(pools.iter().copied()))
}

#[inline(never)]
fn best_way(all: &Venues<'_>) {
    black_box(all.best(token(40), token(300), Amount::In(U256::from(1_u64 << 60)), 3).unwrap());
}

#[inline(never)]
fn best_plan(all: &Venues<'_>) {
    let limits = Limits { hops: 3, legs: 4 };
    black_box(all.plan((token(40), token(300)), Amount::In(U256::ONE << 82), limits, |_| U256::ZERO).unwrap());
}

/// What is run under valgrind.
#[test]
fn quotes() {
    let pair = pair();
    (0..50_u64).for_each(|n| pair_in(&pair, black_box(U256::from(1_311_768_465_173_141_112 + n))));
    let pool = of_ticks();
    crossing(&pool, 0).into_iter().for_each(|order| one_step(&pool, black_box(order)));
    crossing(&pool, 20).into_iter().for_each(|order| twenty_ticks(&pool, black_box(order)));
    assert!(orders(&pool).take(100).any(|order| pool.exchange(TERMS, order).unwrap().crossed > 0));
    let pools = market();
    let venues: Vec<_> = pools.iter().map(|(meta, state)| Venue { meta, state }).collect();
    let all = graph(&venues);
    best_way(&all);
    best_plan(&graph(&venues));
}

#[test]
fn a_quote_takes_no_more_instructions_than_it_did() {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return println!("the figures are of Linux on x86-64: nothing is counted");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("counts");
    let mut valgrind = Command::new("valgrind");
    valgrind.arg("--tool=callgrind").arg("--compress-strings=no").arg(format!("--callgrind-out-file={}", file.display()));
    valgrind.arg(std::env::current_exe().unwrap()).args(["--exact", "quotes"]);
    let Ok(ran) = valgrind.output() else { return println!("there is no valgrind here: nothing is counted") };
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));

    let counted = counts(&file);
    for (name, tests, release) in RECORDED {
        let (found, recorded) = (counted[name], if cfg!(debug_assertions) { tests } else { release });
        println!("{name:<14}{found:>12} instructions, {recorded} recorded");
    }
    println!("{:<14}{:>12} instructions", "a tick", (counted["twenty_ticks"] - counted["one_step"]) / 20);
    for (name, tests, release) in RECORDED {
        let (found, recorded) = (counted[name], if cfg!(debug_assertions) { tests } else { release });
        assert!(found * 100 <= recorded * LIMIT, "{name}: {found} instructions, {recorded} are recorded");
    }
}

/// Of each function of this file: instructions of a call, with all that it calls. The format is callgrind's: `cfn=` names who is called,
/// the line after `calls=` has what that cost in all.
fn counts(file: &Path) -> BTreeMap<String, u64> {
    let text = fs::read_to_string(file).unwrap();
    let mut all: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let (mut name, mut lines) = ("", text.lines());
    while let Some(line) = lines.next() {
        if let Some(called) = line.strip_prefix("cfn=") {
            name = called;
        } else if let Some(calls) = line.strip_prefix("calls=") {
            let first = |text: &str| text.split(' ').next().unwrap().parse::<u64>().unwrap();
            let cost: u64 = lines.next().unwrap().rsplit(' ').next().unwrap().parse().unwrap();
            if let Some(name) = name.strip_prefix("instructions::") {
                let (times, sum) = all.entry(name.to_owned()).or_default();
                (*times, *sum) = (*times + first(calls), *sum + cost);
            }
        }
    }
    all.into_iter().map(|(name, (calls, cost))| (name, cost / calls)).collect()
}
