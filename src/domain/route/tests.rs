use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::domain::{
    block::BlockRef,
    pool::{CreatedAt, Protocol, V2State},
};

fn token(n: u8) -> Address {
    Address::repeat_byte(n + 1)
}

fn pair(at: usize, a: u8, b: u8, reserves: (u128, u128)) -> (PoolMeta, PoolState) {
    let block = BlockRef { number: 1, hash: Default::default(), parent_hash: Default::default(), timestamp: 1 };
    let (token0, token1) = (token(a.min(b)), token(a.max(b)));
    let meta = PoolMeta {
        chain: 1,
        id: Address::with_last_byte(u8::try_from(at).unwrap()).into(),
        protocol: Protocol::UniswapV2,
        dex: String::new(),
        factory: Address::ZERO,
        token0,
        token1,
        fee_pips: 3_000,
        tick_spacing: None,
        created: CreatedAt { block, tx_hash: None, log_index: 0 },
        hooks: None,
        origin: None,
    };
    (meta, PoolState::V2(V2State { reserve0: reserves.0, reserve1: reserves.1 }))
}

fn venues(pools: &[(PoolMeta, PoolState)]) -> Venues<'_> {
    Venues::new(pools.iter().map(|(meta, state)| Venue { meta, state }))
}

/// Every way that visits no token twice.
fn brute(
    pools: &[(PoolMeta, PoolState)],
    (at, end): (Address, Address),
    amount: Amount,
    hops: usize,
    visited: &mut BTreeSet<Address>,
) -> Option<U256> {
    if at == end {
        let (Amount::In(amount) | Amount::Out(amount)) = amount;
        return Some(amount);
    }
    if hops == 0 {
        return None;
    }
    visited.insert(at);
    let mut best: Option<U256> = None;
    for (meta, state) in pools {
        let venue = Venue { meta, state };
        let Some(other) = venue.other(&at).filter(|other| !visited.contains(other)) else { continue };
        let (found, is_in) = match amount {
            Amount::In(_) => (venue.swap(&at, amount).map(|hop| Amount::In(hop.amount_out)), true),
            Amount::Out(_) => (venue.swap(&other, amount).map(|hop| Amount::Out(hop.amount_in)), false),
        };
        let Ok(next) = found else { continue };
        if matches!(next, Amount::In(amount) | Amount::Out(amount) if amount.is_zero()) {
            continue;
        }
        let Some(found) = brute(pools, (other, end), next, hops - 1, visited) else { continue };
        best = Some(best.map_or(found, |best| if is_in { best.max(found) } else { best.min(found) }));
    }
    visited.remove(&at);
    best
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 500 } else { 5_000 }))]

    /// As good as the best of all simple ways, in both directions; and what it says of each hop, that pool says, too.
    #[test]
    fn no_simple_way_is_better(
        edges in proptest::collection::vec((0_u8..6, 0_u8..6, 1_000_u128..1 << 80, 1_000_u128..1 << 80), 1..9),
        amount in 1_u64..1 << 50,
        is_in in any::<bool>(),
        hops in 1_usize..=4,
    ) {
        let edges = edges.into_iter().filter(|(a, b, ..)| a != b).enumerate();
        let pools: Vec<_> = edges.map(|(at, (a, b, r0, r1))| pair(at, a, b, (r0, r1))).collect();
        let (from, to) = (token(0), token(1));
        let amount = if is_in { Amount::In(U256::from(amount)) } else { Amount::Out(U256::from(amount)) };
        let found = venues(&pools).best(from, to, amount, hops);
        let ends = if is_in { (from, to) } else { (to, from) };
        let best = brute(&pools, ends, amount, hops, &mut BTreeSet::new());
        let got = found.as_ref().ok().map(|route| if is_in { route.amount_out() } else { route.amount_in() });
        prop_assert_eq!(got, best);
        let Ok(route) = found else { return Ok(()) };
        prop_assert_eq!((route.hops[0].token_in, route.hops.last().unwrap().token_out), (from, to));
        for (hop, next) in route.hops.iter().zip(&route.hops[1..]) {
            prop_assert_eq!((hop.token_out, hop.amount_out), (next.token_in, next.amount_in));
        }
        for hop in &route.hops {
            let (meta, state) = pools.iter().find(|(meta, _)| meta.id == hop.pool).unwrap();
            let asked = if is_in { Amount::In(hop.amount_in) } else { Amount::Out(hop.amount_out) };
            prop_assert_eq!(Venue { meta, state }.swap(&hop.token_in, asked), Ok(*hop));
        }
    }
}

#[test]
fn why_there_is_no_way_is_told() {
    let pools = [pair(0, 0, 1, (1_000_000, 1_000_000)), pair(1, 1, 2, (1_000, 1_000)), pair(2, 4, 5, (9, 9))];
    let of = |from, to, amount, hops| venues(&pools).best(token(from), token(to), amount, hops).map(|route| route.hops.len());
    let some = Amount::In(U256::from(100));
    assert_eq!(of(0, 1, some, 1), Ok(1));
    assert_eq!((of(0, 2, some, 1), of(0, 2, some, 2)), (Err(NoRoute::None), Ok(2)), "it takes two");
    assert_eq!(of(0, 4, some, 4), Err(NoRoute::None), "another island");
    assert_eq!(of(0, 9, some, 4), Err(NoRoute::None), "nobody trades it");
    assert_eq!(of(0, 0, some, 4), Err(NoRoute::None));
    assert_eq!(of(0, 2, Amount::Out(U256::from(1_000)), 4), Err(NoRoute::TooMuch), "all that there is");
    assert_eq!(of(0, 2, Amount::Out(U256::from(999)), 4), Err(NoRoute::TooMuch), "999 of it cost more than the pool before has");
    assert_eq!(of(0, 2, Amount::Out(U256::from(500)), 4), Ok(2));
}
