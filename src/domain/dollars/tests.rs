use alloy::primitives::B256;
use proptest::prelude::*;

use super::*;
use crate::domain::{
    block::BlockRef,
    image::{Held, PoolImage},
    pool::{CreatedAt, PoolState, Protocol, Tick, V2State, V3State},
};

const USDC: Address = Address::repeat_byte(0x10);
const DAI: Address = Address::repeat_byte(0x90);
const WETH: Address = Address::repeat_byte(0x50);
const TOKEN: Address = Address::repeat_byte(0x60);
const OTHER: Address = Address::repeat_byte(0x70);
const DAY: u64 = 86_400;
const NOWHERE: BlockRef = BlockRef { number: 0, hash: B256::ZERO, parent_hash: B256::ZERO, timestamp: 0 };
const UNIT: u128 = 10_u128.pow(18);

fn meta(n: u8, token0: Address, token1: Address, protocol: Protocol) -> PoolMeta {
    PoolMeta {
        chain: 1,
        id: PoolId::Address(Address::repeat_byte(n)),
        protocol,
        dex: "a".to_owned(),
        factory: Address::ZERO,
        token0,
        token1,
        fee_pips: 3_000,
        tick_spacing: None,
        created: CreatedAt { block: NOWHERE, tx_hash: Some(B256::ZERO), log_index: 0 },
        hooks: None,
        origin: None,
    }
}

/// A chain of pools, each with its image; time stands at `now`.
struct World {
    routes: Routes,
    pools: HashMap<PoolId, PoolImage>,
    now: u64,
}

impl World {
    fn new() -> Self {
        let anchors = Anchors {
            stablecoins: [(USDC, Some(6)), (DAI, Some(18))].into(),
            wrapped_native: Some(WETH),
            min_depth: Usd::whole(100),
        };
        Self { routes: Routes::new(anchors), pools: HashMap::new(), now: 1_700_000_000 }
    }

    fn pair(&mut self, n: u8, token0: Address, token1: Address, reserves: (u128, u128)) -> PoolId {
        self.pool(n, token0, token1, PoolState::V2(V2State { reserve0: reserves.0, reserve1: reserves.1 }))
    }

    fn pool(&mut self, n: u8, token0: Address, token1: Address, state: PoolState) -> PoolId {
        let meta = meta(n, token0, token1, Protocol::UniswapV2);
        self.routes.add(&meta);
        let mut image = PoolImage { state, gauge: Gauge::default(), held: Held::default(), fees: None, shares: None };
        image.end_block(&self.block(), true);
        self.pools.insert(meta.id, image);
        meta.id
    }

    fn block(&self) -> BlockRef {
        BlockRef { timestamp: self.now, ..NOWHERE }
    }

    fn wait(&mut self, seconds: u64) {
        self.now += seconds;
    }

    /// Somebody trades against a pair until its price of token0 is `times` what it was, at constant product, for a block.
    fn pump(&mut self, pool: PoolId, times: u128) {
        let root = times.isqrt();
        self.change(pool, |pair| (pair.reserve0, pair.reserve1) = (pair.reserve0 / root, pair.reserve1 * root));
    }

    fn change(&mut self, pool: PoolId, change: impl Fn(&mut V2State)) {
        let block = self.block();
        let image = self.pools.get_mut(&pool).unwrap();
        let PoolState::V2(pair) = &mut image.state else { panic!("a pair") };
        change(pair);
        image.end_block(&block, true);
    }

    fn add_liquidity(&mut self, pool: PoolId, times: u128) {
        self.change(pool, |pair| (pair.reserve0, pair.reserve1) = (pair.reserve0 * times, pair.reserve1 * times));
    }

    fn take_liquidity(&mut self, pool: PoolId, times: u128) {
        self.change(pool, |pair| (pair.reserve0, pair.reserve1) = (pair.reserve0 / times, pair.reserve1 / times));
    }

    fn pump_back(&mut self, pool: PoolId, times: u128) {
        let root = times.isqrt();
        self.change(pool, |pair| (pair.reserve0, pair.reserve1) = (pair.reserve0 * root, pair.reserve1 / root));
    }

    fn priced(&self, token: &Address) -> Option<Priced> {
        self.routes.at(self.now, |id| self.pools.get(id).map(|image| image.gauge)).priced(token)
    }

    /// Dollars for one whole token of 18 decimals.
    fn price(&self, token: &Address) -> Option<f64> {
        Some(self.priced(token)?.price.decimal(18)?.parse().unwrap())
    }
}

fn close(a: f64, b: f64) -> bool {
    (a / b - 1.0).abs() < 1e-9
}

/// WETH at 2,000 dollars by a deep pair, TOKEN at 0.5 by deep pairs with both.
fn market() -> (World, PoolId, PoolId) {
    let mut world = World::new();
    world.pair(1, USDC, WETH, (20_000_000_000_000, 10_000 * UNIT));
    let with_native = world.pair(2, WETH, TOKEN, (1_000 * UNIT, 4_000_000 * UNIT));
    let with_dollars = world.pair(3, TOKEN, DAI, (1_000_000 * UNIT, 500_000 * UNIT));
    world.wait(DAY);
    (world, with_native, with_dollars)
}

#[test]
fn prices_come_over_stablecoins_and_the_native_token() {
    let (world, ..) = market();
    assert_eq!(world.priced(&USDC).unwrap().price.decimal(6).unwrap(), "1");
    assert_eq!(world.price(&WETH).unwrap(), 2_000.0);
    assert!(close(world.price(&TOKEN).unwrap(), 0.5));
    let says = world.priced(&TOKEN).unwrap().says;
    assert_eq!(says.len(), 2);
    assert!(says.iter().all(|say| !say.is_thin));
    assert_eq!(world.price(&OTHER), None, "no pool: no price");
}

/// Only where nothing better is deep enough, and never back and forth.
#[test]
fn a_token_without_an_anchor_is_priced_over_one_that_has() {
    let (mut world, ..) = market();
    world.pair(4, TOKEN, OTHER, (1_000_000 * UNIT, 10_000 * UNIT));
    assert_eq!(world.price(&OTHER), None, "it was not there a moment ago");
    world.wait(DAY);
    assert!(close(world.price(&OTHER).unwrap(), 50.0));
    let thin = world.pair(5, USDC, OTHER, (1_000_000, UNIT));
    world.wait(DAY);
    assert!(close(world.price(&OTHER).unwrap(), 50.0), "a pair of one dollar does not hijack it");
    world.add_liquidity(thin, 1_000_000);
    world.wait(100 * DAY);
    assert!((world.price(&OTHER).unwrap() - 1.0).abs() < 1e-9, "a deep one with dollars is the better route");
}

/// Whoever makes a token owns all of it: paired with dust of another one it looks like all the money in the world.
#[test]
fn a_token_of_the_attackers_own_making_buys_no_weight() {
    let (mut world, ..) = market();
    let before = world.price(&TOKEN).unwrap();
    world.pair(10, USDC, OTHER, (50_000_000_000, 50_000 * UNIT));
    for n in 11..31 {
        world.pair(n, TOKEN, OTHER, (1_000 * UNIT, 1_000_000_000_000 * UNIT));
    }
    world.wait(100 * DAY);
    assert!(close(world.price(&OTHER).unwrap(), 1.0), "a dollar, by what little there is");
    let after = world.priced(&TOKEN).unwrap();
    assert_eq!(after.says.len(), 22, "they are shown");
    let honest = after.says.iter().map(|say| say.price).nth(1).unwrap();
    assert!(close(world.price(&TOKEN).unwrap(), before), "{:?}", world.price(&TOKEN));
    let weight = |bought: bool| {
        let theirs = |say: &&Say| (say.price > honest) == bought;
        after.says.iter().filter(theirs).map(|say| say.weight).sum::<u128>()
    };
    assert!(weight(true) < weight(false) / 10, "{} of {}", weight(true), weight(false));
}

/// A pool with dollars is not better than all pools without because it is with dollars.
#[test]
fn a_little_direct_liquidity_does_not_outvote_a_lot_over_one_token() {
    let (mut world, ..) = market();
    world.pair(4, TOKEN, OTHER, (1_000_000 * UNIT, 10_000 * UNIT));
    world.pair(5, USDC, OTHER, (50_000_000_000, 100 * UNIT));
    world.wait(100 * DAY);
    assert!(close(world.price(&OTHER).unwrap(), 50.0), "{:?}", world.price(&OTHER));
}

/// The issue's own words: moving a thin pool does not move a price by one per cent.
#[test]
fn moving_a_thin_pool_moves_nothing() {
    let (mut world, ..) = market();
    let thin = world.pair(6, TOKEN, USDC, (100_000 * UNIT, 50_000_000_000));
    world.wait(DAY);
    let before = world.price(&TOKEN).unwrap();
    for times in [4, 10_000, 1_000_000] {
        world.pump(thin, times);
        for seconds in [0, 12, 600, DAY] {
            world.wait(seconds);
            let after = world.price(&TOKEN).unwrap();
            assert!((after / before - 1.0).abs() < 0.01, "pumped {times} times, {seconds} s later: {after} after {before}");
        }
    }
}

/// A loan that makes the thin pool the deepest of all, for some blocks.
#[test]
fn what_is_lent_for_a_block_buys_no_weight() {
    let (mut world, ..) = market();
    let thin = world.pair(6, TOKEN, USDC, (100_000 * UNIT, 50_000_000_000));
    world.wait(DAY);
    let before = world.price(&TOKEN).unwrap();
    for times in [4, 10_000] {
        world.add_liquidity(thin, 1_000);
        world.pump(thin, times);
        for _ in 0..5 {
            let after = world.price(&TOKEN).unwrap();
            assert!((after / before - 1.0).abs() < 0.01, "{after} after {before}");
            world.wait(12);
        }
        world.pump_back(thin, times);
        world.take_liquidity(thin, 1_000);
        world.wait(DAY);
    }
}

/// A pool that was made a moment ago with all the money in the world.
#[test]
fn a_new_pool_has_no_say_at_once() {
    let (mut world, ..) = market();
    let before = world.price(&TOKEN).unwrap();
    world.pair(7, TOKEN, USDC, (1_000_000 * UNIT, 1_000_000_000_000_000));
    for _ in 0..3 {
        assert_eq!(world.price(&TOKEN).unwrap(), before);
        world.wait(12);
    }
}

/// Liquidity that is one tick wide looks endless where it is, and takes nothing to leave.
#[test]
fn a_needle_of_liquidity_is_not_deep() {
    let tick = |gross: u128, net: i128| Tick { liquidity_gross: gross, liquidity_net: net };
    let pool = |ticks: &[(i32, Tick)], liquidity: u128| {
        let ticks = ticks.iter().copied().collect::<BTreeMap<_, _>>().into();
        PoolState::V3(V3State { sqrt_price_x96: X96, tick: 0, liquidity, ticks, ..V3State::default() })
    };
    let l = 10_i128.pow(24);
    let wide = pool(&[(-1_000, tick(l.unsigned_abs(), l)), (1_000, tick(l.unsigned_abs(), -l))], l.unsigned_abs());
    let needle = pool(&[(0, tick(l.unsigned_abs(), l)), (1, tick(l.unsigned_abs(), -l))], l.unsigned_abs());
    let half = pool(&[(-1_000, tick(l.unsigned_abs(), l)), (1, tick(l.unsigned_abs(), -l))], l.unsigned_abs());
    let depth = |state: &PoolState| Gauge::seeded(state, 0).depth;
    let all = |depth| Depth { token0: depth, token1: depth, both: depth };
    assert_eq!(depth(&wide), all(l.unsigned_abs() / 200));
    assert_eq!(depth(&needle), all(0), "nothing below the price");
    assert_eq!(depth(&half), all(l.unsigned_abs() / 100 / 200), "the side that has less");
    // The same pool in twenty thousand pieces: what is not looked at does not count.
    let many: Vec<(i32, Tick)> = (-100..=100).filter(|i| *i != 0).map(|i| (i, tick(1, 0))).collect();
    assert!(depth(&pool(&many, l.unsigned_abs())).both < l.unsigned_abs() / 200);
}

#[test]
fn a_stablecoin_that_never_said_its_decimals_prices_nothing() {
    let mut routes = Routes::new(Anchors { stablecoins: [(USDC, None)].into(), ..Anchors::default() });
    let price = |routes: &Routes| routes.at(0, |_| None).price(&USDC).and_then(|price| price.decimal(6));
    assert_eq!((price(&routes), routes.unknown()), (None, vec![USDC]));
    routes.learn_decimals(&USDC, 6);
    routes.learn_decimals(&USDC, 18);
    assert_eq!((price(&routes).unwrap().as_str(), routes.unknown().len()), ("1", 0));
}

#[test]
fn amounts_are_valued_by_the_side_that_is_nearer_to_a_dollar() {
    let (world, ..) = market();
    let prices = world.routes.at(world.now, |id| world.pools.get(id).map(|image| image.gauge));
    let signed = |raw: i128| I256::try_from(raw).unwrap();
    let pool = meta(2, WETH, TOKEN, Protocol::UniswapV2);
    let unit = i128::try_from(UNIT).unwrap();
    // One WETH for anything at all is 2,000 dollars.
    assert_eq!(prices.swapped(&pool, (signed(unit), signed(-7))), Some(Usd::whole(2_000)));
    assert_eq!(
        prices.swapped(&meta(9, OTHER, TOKEN, Protocol::UniswapV2), (signed(1), signed(-2 * unit))).unwrap().to_string(),
        "1"
    );
    assert_eq!(prices.swapped(&meta(9, OTHER, Address::repeat_byte(0x99), Protocol::UniswapV2), (signed(1), signed(-2))), None);
    // Native currency costs what its wrapped form does.
    let native = meta(9, Address::ZERO, OTHER, Protocol::UniswapV4);
    assert_eq!(prices.swapped(&native, (signed(unit), signed(-7))), Some(Usd::whole(2_000)));
    assert_eq!(prices.price(&Address::ZERO), prices.price(&WETH));
    assert_eq!(prices.both(&pool, (U256::from(UNIT), U256::ZERO)), Some(Usd::whole(2_000)));
    assert_eq!(
        prices.both(&meta(9, OTHER, WETH, Protocol::UniswapV2), (U256::ONE, U256::from(UNIT))),
        None,
        "half a value is none"
    );
    // Beyond what a dollar amount can be.
    assert_eq!(prices.swapped(&pool, (I256::MAX, signed(-7))), prices.price(&TOKEN).unwrap().value(U256::from(7)));
    assert_eq!(
        (Usd(1).to_string(), Usd(1_500_000).to_string(), usd_text(0)),
        ("0.000001".to_owned(), "1.5".to_owned(), "0".to_owned())
    );
}

/// 1 token0 = price token1, exactly, in rational arithmetic of 1,024 bits.
fn naive_across(known: U256, which: Which, price: RawPrice) -> U256 {
    type Wide = alloy::primitives::Uint<1024, 16>;
    let (num, den) = match price {
        RawPrice::Reserves { reserve0, reserve1 } => (Wide::from(reserve1), Wide::from(reserve0)),
        RawPrice::Root(root) => (Wide::from(root) * Wide::from(root), Wide::from(1) << 192),
        RawPrice::Dollars(_) | RawPrice::Unknown => unreachable!("no pool says such"),
    };
    let (num, den) = if which == Which::Token1 { (num, den) } else { (den, num) };
    U256::checked_from_limbs_slice((Wide::from(known) * num / den).as_limbs()).unwrap_or(U256::MAX)
}

proptest! {
    /// Within a unit of the last place at each of its two divisions.
    #[test]
    fn crossing_a_pool_is_the_exact_product(
        known in 1_u128..,
        (a, b) in (1_u128..1 << 112, 1_u128..1 << 112),
        root in 4_295_128_739_u128..,
        token1 in any::<bool>(),
    ) {
        let which = if token1 { Which::Token1 } else { Which::Token0 };
        let known = U256::from(known) << 40;
        let pair = RawPrice::Reserves { reserve0: a, reserve1: b };
        let found = Dollars(known).across(which, pair).map_or(U256::ZERO, |price| price.0);
        prop_assert_eq!(found, naive_across(known, which, pair));
        let pool = RawPrice::Root(U256::from(root) << 8);
        if let Some(found) = Dollars(known).across(which, pool) {
            let exact = naive_across(known, which, pool);
            // Two divisions round down: the first error is carried through the second.
            let carried = ratio(U256::from(2), if token1 { U256::from(root) << 8 } else { X96 }, if token1 { X96 } else { U256::from(root) << 8 }).unwrap();
            prop_assert!(found.0 <= exact && exact - found.0 <= carried + U256::from(2), "{} {}", found.0, exact);
        }
    }

    /// The median by its definition, one unit of weight after the other.
    #[test]
    fn the_median_is_what_half_of_the_weight_is_at_or_below(drawn in proptest::collection::vec((1_u64..20, 0_u64..30, any::<bool>()), 0..8)) {
        let mut says: Vec<Say> = drawn.iter().enumerate().map(|(n, (price, weight, is_thin))| Say {
            pool: PoolId::Address(Address::repeat_byte(u8::try_from(n).unwrap())),
            price: Dollars(U256::from(*price)),
            depth: Usd(0),
            weight: u128::from(*weight),
            is_thin: *is_thin || *weight == 0,
        }).collect();
        says.sort_unstable_by_key(|say| (say.price, say.pool));
        let spread: Vec<Dollars> =
            says.iter().filter(|say| !say.is_thin).flat_map(|say| (0..say.weight).map(|_| say.price)).collect();
        let naive = (!spread.is_empty()).then(|| spread[(spread.len() - 1) / 2]);
        prop_assert_eq!(median(&says), naive);
    }
}
