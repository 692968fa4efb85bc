//! The best way through a few pools: it is one, and what it says of each pool is what the pool says.

use alloy::primitives::Address;
use swaptide::domain::{
    pool::step::Amount,
    route::{HOPS_MAX, Hop, NoRoute, Route, Venue, Venues},
};

use super::{
    input::Input,
    pools::{self, Pool},
};

const TOKENS: usize = 5;
const POOLS_MAX: usize = 6;

/// What is asked, then pools, each behind its two tokens.
pub fn route(data: &[u8]) {
    let input = &mut Input::new(data);
    let token = |input: &mut Input<'_>| input.below(TOKENS);
    let named = |token: usize| Address::repeat_byte(u8::try_from(token).expect("a few") + 1);
    let (from, to, amount, hops_max) = (named(token(input)), named(token(input)), pools::amount(input), input.below(7));
    let mut pools: Vec<Pool> = Vec::new();
    for number in 0..input.below(POOLS_MAX + 1) {
        let (a, b) = (token(input), token(input));
        // Factories refuse a token with itself.
        let (a, b) = if a == b { (0, 1) } else { (a.min(b), a.max(b)) };
        pools.push(pools::pool(input, u8::try_from(number).expect("a few"), [named(a), named(b)]));
    }
    let venues: Vec<Venue<'_>> = pools.iter().map(|pool| Venue { meta: &pool.meta, state: &pool.state }).collect();
    let found = Venues::new(venues.iter().copied()).best(from, to, amount, hops_max);
    match &found {
        Ok(route) => is_a_way(route, from, to, amount, hops_max, &venues),
        Err(NoRoute::None | NoRoute::TooMuch) => {}
    }
    is_the_best_of_single_pools(&found, from, to, amount, hops_max, &venues);
}

fn is_a_way(route: &Route, from: Address, to: Address, amount: Amount, hops_max: usize, venues: &[Venue<'_>]) {
    let hops = &route.hops;
    assert!((1..=hops_max.min(HOPS_MAX)).contains(&hops.len()));
    assert_eq!((hops[0].token_in, hops[hops.len() - 1].token_out), (from, to));
    match amount {
        Amount::In(asked) => assert_eq!(route.amount_in(), asked),
        Amount::Out(asked) => assert_eq!(route.amount_out(), asked),
    }
    for pair in hops.windows(2) {
        assert_eq!((pair[0].token_out, pair[0].amount_out), (pair[1].token_in, pair[1].amount_in));
    }
    for (at, hop) in hops.iter().enumerate() {
        let venue = venues.iter().find(|venue| venue.meta.id == hop.pool).expect("a pool that was given");
        let asked = match amount {
            Amount::In(_) => Amount::In(hop.amount_in),
            Amount::Out(_) => Amount::Out(hop.amount_out),
        };
        assert_eq!(venue.swap(&hop.token_in, asked), Ok(*hop));
        assert!(!hops[..at].iter().any(|before| before.token_in == hop.token_out), "no token is visited twice");
    }
}

fn is_the_best_of_single_pools(
    found: &Result<Route, NoRoute>,
    from: Address,
    to: Address,
    amount: Amount,
    hops_max: usize,
    venues: &[Venue<'_>],
) {
    if hops_max == 0 || from == to {
        assert!(found.is_err());
        return;
    }
    let joins = |venue: &&Venue<'_>| {
        let (token0, token1) = (venue.meta.token0, venue.meta.token1);
        (token0, token1) == (from, to) || (token0, token1) == (to, from)
    };
    let gives = |hop: &Hop| match amount {
        Amount::In(_) => !hop.amount_out.is_zero(),
        Amount::Out(_) => !hop.amount_in.is_zero(),
    };
    for hop in venues.iter().filter(joins).filter_map(|venue| venue.swap(&from, amount).ok()).filter(gives) {
        let route = found.as_ref().expect("a single pool would do");
        match amount {
            Amount::In(_) => assert!(route.amount_out() >= hop.amount_out),
            Amount::Out(_) => assert!(route.amount_in() <= hop.amount_in),
        }
    }
}
