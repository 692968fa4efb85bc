use std::{collections::BTreeMap, sync::Arc};

use alloy::primitives::I256;

use super::*;
use crate::domain::{
    block::BlockRef,
    pool::{
        CreatedAt, PoolId, PoolMeta, PoolState, Protocol, Tick, V2State, V3State, exchange::Order, math::sqrt_ratio_at_tick,
        trade::trade,
    },
    route::Venue,
};

type Pools = Vec<(PoolMeta, PoolState)>;

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

fn token(n: u64) -> Address {
    Address::repeat_byte(u8::try_from(n).unwrap() + 1)
}

/// A pool of either kind, of some million units at a price near 1, its liquidity in one range or in several.
fn pool(rng: &mut Rng, at: u8, a: u64, b: u64) -> (PoolMeta, PoolState) {
    let block = BlockRef { number: 1, hash: Default::default(), parent_hash: Default::default(), timestamp: 1 };
    let size = 1_000_000_000_000_u128 << rng.below(9);
    let protocol = [Protocol::UniswapV2, Protocol::UniswapV3, Protocol::UniswapV4][usize::try_from(rng.below(3)).unwrap()];
    let state = match protocol {
        Protocol::UniswapV2 => PoolState::V2(V2State { reserve0: size, reserve1: size / 100 * u128::from(95 + rng.below(11)) }),
        _ => {
            let tick = i32::try_from(rng.below(1_000)).unwrap() - 500;
            let edges = [
                (-887_220, 1, size),
                (tick.div_euclid(60) * 60 - 600, 0, size * 3),
                (tick.div_euclid(60) * 60 + 660, 0, 0),
                (887_220, 0, 0),
            ];
            let (near, far) = (edges[1].2, edges[0].2);
            let net = |at: usize| match at {
                0 => i128::try_from(far).unwrap(),
                1 => i128::try_from(near).unwrap(),
                2 => -i128::try_from(near).unwrap(),
                _ => -i128::try_from(far).unwrap(),
            };
            let ticks: BTreeMap<i32, Tick> = edges
                .iter()
                .enumerate()
                .map(|(at, (tick, ..))| (*tick, Tick { liquidity_gross: net(at).unsigned_abs(), liquidity_net: net(at) }))
                .collect();
            let sqrt_price_x96 = sqrt_ratio_at_tick(tick).unwrap();
            let ticked = V3State { sqrt_price_x96, tick, liquidity: near + far, ticks: Arc::new(ticks), ..V3State::default() };
            if protocol == Protocol::UniswapV3 { PoolState::V3(ticked) } else { PoolState::V4(ticked) }
        }
    };
    let meta = PoolMeta {
        chain: 1,
        id: PoolId::Address(Address::with_last_byte(at)),
        protocol,
        dex: String::new(),
        factory: Address::ZERO,
        token0: token(a.min(b)),
        token1: token(a.max(b)),
        fee_pips: [500, 3_000, 10_000][usize::try_from(rng.below(3)).unwrap()],
        tick_spacing: (protocol != Protocol::UniswapV2).then_some(60),
        hooks: None,
        created: CreatedAt { block, tx_hash: None, log_index: 0 },
        origin: None,
    };
    (meta, state)
}

/// Up to 8 pools of up to 5 tokens.
fn graph(rng: &mut Rng) -> Pools {
    let tokens = 2 + rng.below(4);
    let count = u8::try_from(2 + rng.below(7)).unwrap();
    (0..count)
        .map(|at| {
            let a = rng.below(tokens);
            let b = (a + 1 + rng.below(tokens - 1)) % tokens;
            pool(rng, at, a, b)
        })
        .collect()
}

fn venues(pools: &Pools) -> Venues<'_> {
    Venues::new(pools.iter().map(|(meta, state)| Venue { meta, state }))
}

/// Every way there is.
fn all_paths(venues: &Venues<'_>, (from, to): (Address, Address), hops: usize) -> Vec<Path> {
    let Some((from, to)) = venues.place(&from).zip(venues.place(&to)) else { return Vec::new() };
    let mut paths = Vec::new();
    let far = venues.distances(to, hops);
    assert!(venues.walk((to, &far), hops, &mut vec![from], &mut Vec::new(), &mut paths), "more ways than a small graph has");
    paths
}

/// What the amount comes to over every set of ways that share no pool, in all shares of 20 parts, and over every two ways that share one;
/// and dealt out part by part.
fn brute(task: &Task<'_>, legs: usize) -> Option<I256> {
    let part = |n: u64| {
        let (known, parts) = (task.known(), U256::from(PARTS));
        if n == PARTS { known } else { known / parts * U256::from(n) }
    };
    // What each way alone is worth for so many parts; the rest of a division goes to whoever has the most parts.
    let alone: Vec<Vec<Option<I256>>> =
        (0..task.paths.len()).map(|path| (0..=PARTS).map(|n| task.net(&[(path, part(n))])).collect()).collect();
    let mut best = alone.iter().filter_map(|of| of[usize::try_from(PARTS).unwrap()]).max();
    let share = |a: usize, b: usize| task.paths[a].iter().any(|at| task.paths[b].contains(at));
    // Sets without a shared pool: by how much is given away so far.
    fn sets(
        alone: &[Vec<Option<I256>>],
        share: &dyn Fn(usize, usize) -> bool,
        from: usize,
        chosen: &mut Vec<usize>,
        table: &[Option<I256>],
        legs: usize,
        best: &mut Option<I256>,
    ) {
        let whole = table[table.len() - 1];
        *best = (*best).max(whole);
        if legs == 0 {
            return;
        }
        for next in from..alone.len() {
            if chosen.iter().any(|other| share(*other, next)) {
                continue;
            }
            let mut wider = vec![None; table.len()];
            for (given, so_far) in table.iter().enumerate() {
                for more in 1..table.len() - given {
                    let sum = so_far.zip(alone[next][more]).map(|(a, b)| a + b);
                    wider[given + more] = wider[given + more].max(sum);
                }
            }
            chosen.push(next);
            sets(alone, share, next + 1, chosen, &wider, legs - 1, best);
            chosen.pop();
        }
    }
    let mut nothing = vec![None; usize::try_from(PARTS).unwrap() + 1];
    nothing[0] = Some(I256::ZERO);
    // 20 parts that are rounded down leave a rest of some wei: the amount is a multiple of 20 here.
    assert!((task.known() % U256::from(PARTS)).is_zero());
    sets(&alone, &share, 0, &mut Vec::new(), &nothing, legs, &mut best);
    for a in 0..task.paths.len() {
        for b in (0..task.paths.len()).filter(|b| *b != a && legs > 1 && share(a, *b)) {
            for n in 1..PARTS {
                best = best.max(task.net(&[(a, part(n)), (b, task.known() - part(n))]));
            }
        }
    }
    if let Some(dealt) = task.deal(&(0..task.paths.len()).collect::<Vec<_>>()).filter(|dealt| dealt.len() <= legs) {
        best = best.max(task.net(&dealt));
    }
    best
}

#[expect(clippy::disallowed_methods, reason = "how many graphs a test looks at")]
fn graphs() -> u64 {
    std::env::var("SWAPTIDE_GRAPHS").ok().and_then(|text| text.parse().ok()).unwrap_or(500)
}

#[test]
fn no_plan_is_worse_than_brute_force_by_more_than_a_basis_point() {
    let (mut split, mut better, mut none, mut worse) = (0, 0, 0, Vec::new());
    for seed in 0..graphs() {
        let mut rng = Rng(seed);
        let pools = graph(&mut rng);
        let venues = venues(&pools);
        let known = U256::from((1 + rng.below(1 << 20)) << rng.below(24)) * U256::from(PARTS);
        let amount = if rng.below(2) == 0 { Amount::In(known) } else { Amount::Out(known) };
        let (hops, legs) = (usize::try_from(1 + rng.below(4)).unwrap(), usize::try_from(1 + rng.below(4)).unwrap());
        // Nothing, or about as much as a split is worth.
        let gas = U256::from([0, 0, 1_000, 1_000_000][usize::try_from(rng.below(4)).unwrap()]);
        let cost = move |route: &Route| gas * U256::from(route.hops.len() + 1);
        let (from, to) = (token(0), token(1));
        let task = Task::new(&venues, (from, to), amount, &cost, all_paths(&venues, (from, to), hops));
        let brute = brute(&task, legs);
        let plan = venues.plan((from, to), amount, Limits { hops, legs }, cost);
        let Ok(plan) = plan else {
            assert_eq!(brute, None, "seed {seed}: {plan:?}");
            none += 1;
            continue;
        };
        let brute = brute.unwrap_or_else(|| panic!("seed {seed}: {plan:?}"));
        let given = if task.is_in() { plan.amount_in() } else { plan.amount_out() };
        assert_eq!(given, known, "seed {seed}");
        assert!(plan.legs.len() <= legs && plan.legs.iter().all(|leg| leg.hops.len() <= hops), "seed {seed}");
        let costs = plan.legs.iter().fold(U256::ZERO, |sum, leg| sum + cost(leg));
        let signed = |amount: U256| I256::try_from(amount).unwrap();
        let net =
            if task.is_in() { signed(plan.amount_out()) - signed(costs) } else { -(signed(plan.amount_in()) + signed(costs)) };
        // A basis point of what moves.
        let moves = if task.is_in() { plan.amount_out() } else { plan.amount_in() };
        if net + signed(moves / U256::from(10_000)) < brute {
            worse.push(format!(
                "seed {seed}, {legs} ways of {hops} hops: {net} but {brute}, by {}",
                (brute - net) * signed(U256::from(10_000)) / signed(moves)
            ));
        }
        split += usize::from(plan.legs.len() > 1);
        better += usize::from(net > brute);
    }
    assert!(worse.is_empty(), "so many basis points worse:\n{}", worse.join("\n"));
    println!("{split} plans of several ways, {better} better than brute force, {none} without any");
    assert!(graphs() < 100 || (split > 80 && better > 40), "{split} {better}");
}

/// What a router would do with it, swap after swap.
#[test]
fn ways_that_share_a_pool_are_paid_one_after_the_other() {
    let mut shared = 0;
    for seed in 0..200 {
        let mut rng = Rng(seed);
        let pools = graph(&mut rng);
        let amount = Amount::In(U256::from(1_000_000_000_000_u64));
        let (from, to) = (token(0), token(1));
        let Ok(plan) = venues(&pools).plan((from, to), amount, Limits { hops: 4, legs: 4 }, |_| U256::ZERO) else { continue };
        let mut states: BTreeMap<PoolId, PoolState> = pools.iter().map(|(meta, state)| (meta.id, state.clone())).collect();
        let mut used = BTreeMap::new();
        for hop in plan.legs.iter().flat_map(|leg| &leg.hops) {
            let (meta, _) = pools.iter().find(|(meta, _)| meta.id == hop.pool).unwrap();
            let order = Order { down: hop.token_in == meta.token0, amount: Amount::In(hop.amount_in), limit: None };
            let done = trade(meta, &states[&hop.pool], order).unwrap();
            assert_eq!(done.amount_out, hop.amount_out, "seed {seed}");
            states.insert(hop.pool, done.after);
            *used.entry(hop.pool).or_insert(0) += 1;
        }
        shared += usize::from(used.values().any(|times| *times > 1));
    }
    assert!(shared > 0);
}

/// Pools of many sizes around three tokens that everything trades with.
fn market(rng: &mut Rng, pools: u64) -> Pools {
    let mut all = Vec::new();
    for n in 0..pools {
        let (a, b) = if n < 3 { (n, (n + 1) % 3) } else { (n % 3, 3 + n / 3) };
        let (mut meta, state) = pool(rng, 0, 0, 1);
        meta.id = PoolId::Address(Address::left_padding_from(&n.to_be_bytes()));
        let token = |n: u64| Address::left_padding_from(&(n + 1).to_be_bytes());
        (meta.token0, meta.token1) = (token(a.min(b)), token(a.max(b)));
        all.push((meta, state));
    }
    all
}

/// More hops, or more ways, may be used or left: over many pools the search still finds what it finds without them, to a few basis points.
#[test]
fn more_freedom_is_not_worse_over_many_pools() {
    let mut rng = Rng(99);
    let pools = market(&mut rng, 300);
    let venues = venues(&pools);
    let token = |n: u64| Address::left_padding_from(&(n + 1).to_be_bytes());
    let (mut asked, mut longer) = (0, 0);
    while asked < 20 {
        let (a, b) = (3 + rng.below(90), 3 + rng.below(90));
        if a == b {
            continue;
        }
        asked += 1;
        let amount = Amount::In(U256::from(1_u64 << (33 + rng.below(9))));
        let out = |hops: usize, legs: usize| {
            let plan = venues.plan((token(a), token(b)), amount, Limits { hops, legs }, |_| U256::ZERO);
            plan.map_or(U256::ZERO, |plan| plan.amount_out())
        };
        let [one, short, all] = [(4, 1), (2, 4), (4, 4)].map(|(hops, legs)| out(hops, legs));
        let nearly = |out: U256| out - out / U256::from(2_000);
        assert!(all >= one && all >= nearly(short), "{a} {b} {amount:?}: {one} {short} {all}");
        longer += usize::from(all > short + short / U256::from(200));
    }
    // Long ways are left out where they add nothing, and only there.
    assert!(longer > 15, "{longer} of 20");
}

/// What pays a little less, and costs a hop less, is in the choice, however many others pay more.
#[test]
fn a_short_way_that_costs_less_is_not_overlooked() {
    let deep = |at: u64, a: u64, b: u64, fee_pips: u32| {
        let (mut meta, _) = pool(&mut Rng(at), 0, 0, 1);
        let token = |n: u64| Address::left_padding_from(&(n + 1).to_be_bytes());
        (meta.token0, meta.token1, meta.fee_pips) = (token(a.min(b)), token(a.max(b)), fee_pips);
        (meta.id, meta.protocol) = (PoolId::Address(Address::left_padding_from(&at.to_be_bytes())), Protocol::UniswapV2);
        (meta, PoolState::V2(V2State { reserve0: 1 << 100, reserve1: 1 << 100 }))
    };
    let ways = (0..60).flat_map(|n| [deep(2 * n + 1, 0, n + 2, 500), deep(2 * n + 2, n + 2, 1, 500)]);
    let pools: Pools = std::iter::once(deep(0, 0, 1, 10_000)).chain(ways).collect();
    let venues = venues(&pools);
    let token = |n: u64| Address::left_padding_from(&(n + 1).to_be_bytes());
    let cost = |route: &Route| U256::from(50_000 * route.hops.len());
    for (legs, amount) in
        [(1, Amount::In(U256::from(1_000_000))), (4, Amount::In(U256::from(1_000_000))), (1, Amount::Out(U256::from(900_000)))]
    {
        let plan = venues.plan((token(0), token(1)), amount, Limits { hops: 3, legs }, cost).unwrap();
        assert_eq!(plan.legs.iter().map(|leg| leg.hops.len()).collect::<Vec<_>>(), [1], "{amount:?}: {plan:?}");
        let free = venues.plan((token(0), token(1)), amount, Limits { hops: 3, legs: 1 }, |_| U256::ZERO).unwrap();
        assert_eq!(free.legs[0].hops.len(), 2, "{amount:?}");
    }
}
