use alloy::primitives::Address;
use serde_json::Value;

use super::*;
use crate::domain::{
    pool::{PoolState, Protocol, math::sqrt_ratio_at_tick},
    test_support::case_file,
};

/// A pool with its books, moved as an actor moves them.
struct Pool {
    state: PoolState,
    fees: Fees,
}

impl Pool {
    fn new(terms: Terms, sqrt_price_x96: U256, tick: i32) -> Self {
        let mut pool = Self { state: PoolState::new(Protocol::UniswapV3), fees: Fees::new(terms) };
        pool.apply(&EventBody::V3Initialize { sqrt_price_x96, tick });
        pool
    }

    /// At a price of 1, a fee of 0.3 % and ticks 60 apart.
    fn at_one() -> Self {
        Self::new(Terms { fee_pips: 3_000, tick_spacing: 60 }, U256::ONE << 96, 0)
    }

    fn try_apply(&mut self, event: &EventBody) -> Option<()> {
        let PoolState::V3(before) = self.state.clone() else { unreachable!() };
        self.state.apply(event).unwrap();
        self.fees.apply(&before, event)
    }

    fn apply(&mut self, event: &EventBody) {
        self.try_apply(event).unwrap_or_else(|| panic!("{event:?} does not fit"));
    }

    fn v3(&self) -> &V3State {
        let PoolState::V3(state) = &self.state else { unreachable!() };
        state
    }

    fn position(&self, owner: u8, lower: i32, upper: i32) -> Option<Position> {
        self.fees.positions.as_ref().unwrap().get(&key(owner, lower, upper)).copied()
    }

    /// Swaps up to a price, as a trader with a price limit and all the money in the world.
    fn swap_to(&mut self, tick: i32) {
        let event = self.v3().swap_to(self.fees.terms, tick).unwrap();
        self.apply(&event);
    }
}

fn key(owner: u8, tick_lower: i32, tick_upper: i32) -> PositionKey {
    PositionKey::new(Address::repeat_byte(owner), tick_lower, tick_upper)
}

fn mint(owner: u8, tick_lower: i32, tick_upper: i32, amount: u128) -> EventBody {
    let owner = Address::repeat_byte(owner);
    EventBody::V3Mint { sender: owner, owner, tick_lower, tick_upper, amount, amount0: U256::ZERO, amount1: U256::ZERO }
}

fn burn(owner: u8, tick_lower: i32, tick_upper: i32, amount: u128, freed: Both<u64>) -> EventBody {
    let [amount0, amount1] = freed.map(U256::from);
    EventBody::V3Burn { owner: Address::repeat_byte(owner), tick_lower, tick_upper, amount, amount0, amount1 }
}

fn collect(owner: u8, tick_lower: i32, tick_upper: i32, amounts: Both<u128>) -> EventBody {
    let ([amount0, amount1], owner) = (amounts, Address::repeat_byte(owner));
    EventBody::V3Collect { owner, recipient: owner, tick_lower, tick_upper, amount0, amount1 }
}

fn number<T: std::str::FromStr>(value: &Value) -> T
where
    T::Err: std::fmt::Debug,
{
    value.as_str().unwrap().parse().unwrap()
}

fn small(value: &Value) -> i32 {
    i32::try_from(value.as_i64().unwrap()).unwrap()
}

/// The snapshot of v3-core's own tests: how much the fees of a unit of liquidity grew with each swap.
#[test]
fn fees_grow_with_a_swap_as_the_contracts_do() {
    let Some(file) = case_file("swap_v3/pool_swaps.json") else { return };
    let mut checked = 0;
    for of in file["pools"].as_array().unwrap() {
        let terms = Terms { fee_pips: u32::try_from(small(&of["fee"])).unwrap(), tick_spacing: small(&of["tickSpacing"]) };
        for case in of["swaps"].as_array().unwrap() {
            let expect = &case["expect"];
            let Some(growth0) = expect.get("feeGrowthGlobal0X128Delta") else { continue };
            let mut pool = Pool::new(terms, number(&of["startingSqrtPriceX96"]), small(&expect["tickBefore"]));
            for position in of["positions"].as_array().unwrap() {
                let (lower, upper) = (small(&position["tickLower"]), small(&position["tickUpper"]));
                pool.apply(&mint(1, lower, upper, number(&position["liquidity"])));
            }
            pool.apply(&EventBody::V3Swap {
                sender: Address::ZERO,
                recipient: Address::ZERO,
                amount0: number(&expect["amount0Delta"]),
                amount1: number(&expect["amount1Delta"]),
                sqrt_price_x96: number(&case["derived"]["sqrtPriceX96After"]),
                liquidity: number(&case["derived"]["liquidityAfter"]),
                tick: small(&expect["tickAfter"]),
            });
            let expected = [number::<U256>(growth0), number(&expect["feeGrowthGlobal1X128Delta"])];
            assert_eq!(pool.fees.growth, expected, "{}: {}", of["description"], case["description"]);
            checked += 1;
        }
    }
    assert!(checked >= 50, "{checked} cases");
}

#[test]
fn fees_go_to_the_liquidity_that_the_price_passed_through() {
    let mut pool = Pool::at_one();
    pool.apply(&mint(1, -600, 600, 1 << 70));
    pool.apply(&mint(2, -600, 0, 1 << 70));
    pool.apply(&mint(3, 60, 600, 1 << 70));
    pool.swap_to(500);
    let earned = |pool: &Pool, owner, lower, upper| {
        let (key, position) = (key(owner, lower, upper), pool.position(owner, lower, upper).unwrap());
        pool.fees.uncollected(pool.v3().tick, &key, &position)
    };
    assert_eq!(earned(&pool, 2, -600, 0), [0, 0], "all below");
    let ([zero0, all], [_, high]) = (earned(&pool, 1, -600, 600), earned(&pool, 3, 60, 600));
    assert!(zero0 == 0 && all > high && high > 0, "{all} {high}");
    // Every unit that was paid is somebody's, but for the rounding of each step and position.
    let lost = pool.fees.paid[1] - U256::from(all + high);
    assert!(lost < U256::from(10), "{lost}");
    // The way back pays in token0, to the one below from the price of 1 on.
    pool.swap_to(-300);
    assert!(earned(&pool, 2, -600, 0)[0] > 0);
    assert_eq!(earned(&pool, 2, -600, 0)[1], 0);
    assert_eq!(earned(&pool, 3, 60, 600)[1], high, "what was earned stays");
}

#[test]
fn the_protocol_takes_its_part_of_each_token_first() {
    let mut pool = Pool::at_one();
    pool.apply(&mint(1, -600, 600, 1 << 70));
    let set = |to0, to1| EventBody::V3SetFeeProtocol {
        fee_protocol0_old: 0,
        fee_protocol1_old: 0,
        fee_protocol0_new: to0,
        fee_protocol1_new: to1,
    };
    pool.apply(&set(0, 4));
    pool.swap_to(300);
    assert_eq!(U256::from(pool.fees.protocol[1]), pool.fees.paid[1] / U256::from(4));
    pool.swap_to(0);
    assert_eq!(pool.fees.protocol[0], 0, "of token0 it takes nothing");
    let taken = pool.fees.protocol;
    let gone = |amount1| EventBody::V3CollectProtocol { sender: Address::ZERO, recipient: Address::ZERO, amount0: 0, amount1 };
    pool.apply(&gone(taken[1] - 1));
    assert_eq!(pool.fees.protocol, [0, 1]);
    assert_eq!(pool.try_apply(&gone(2)), None, "more than there is");
}

#[test]
fn what_is_collected_is_principal_first_and_fees_then() {
    let mut pool = Pool::at_one();
    pool.apply(&mint(1, -600, 600, 1 << 70));
    pool.swap_to(300);
    let now = pool.position(1, -600, 600).unwrap();
    let [_, fees] = pool.fees.uncollected(pool.v3().tick, &key(1, -600, 600), &now);
    pool.apply(&burn(1, -600, 600, 1 << 69, [0, 1_000]));
    let position = pool.position(1, -600, 600).unwrap();
    assert_eq!((position.liquidity, position.owed, position.principal), (1 << 69, [0, fees + 1_000], [0, 1_000]));
    pool.apply(&collect(1, -600, 600, [0, 900]));
    assert_eq!(pool.fees.collected, [U256::ZERO; 2], "it is his own money");
    pool.apply(&collect(1, -600, 600, [0, 100 + fees / 2]));
    assert_eq!(pool.fees.collected, [U256::ZERO, U256::from(fees / 2)]);
    // All of it, and the position is forgotten.
    pool.apply(&burn(1, -600, 600, 1 << 69, [0, 7]));
    pool.apply(&collect(1, -600, 600, [0, fees - fees / 2 + 7]));
    assert_eq!(pool.fees.collected, [U256::ZERO, U256::from(fees)]);
    assert_eq!(pool.position(1, -600, 600), None);
    assert!(pool.fees.outside.is_empty(), "its ticks are gone, too");
}

#[test]
fn a_flash_pays_the_liquidity_in_range() {
    let mut pool = Pool::at_one();
    pool.apply(&mint(1, -600, 600, 1 << 70));
    pool.apply(&mint(1, 600, 660, 1 << 70));
    let zero = U256::ZERO;
    let (sender, recipient) = (Address::ZERO, Address::ZERO);
    pool.apply(&EventBody::V3Flash { sender, recipient, amount0: zero, amount1: zero, paid0: U256::from(1_000), paid1: zero });
    let position = pool.position(1, -600, 600).unwrap();
    assert_eq!(pool.fees.uncollected(0, &key(1, -600, 600), &position), [1_000, 0]);
    let outside = pool.position(1, 600, 660).unwrap();
    assert_eq!(pool.fees.uncollected(0, &key(1, 600, 660), &outside), [0; 2]);
}

/// What a contract of v3-core never does is not followed: nothing is claimed from then on.
#[test]
fn a_swap_that_the_contract_cannot_have_done_is_refused() {
    let mut fair = Pool::at_one();
    fair.apply(&mint(1, -600, 600, 1 << 70));
    let to = sqrt_ratio_at_tick(700).unwrap();
    let EventBody::V3Swap { amount1, liquidity, .. } = fair.v3().swap_to(fair.fees.terms, 700).unwrap() else { unreachable!() };
    assert_eq!(liquidity, 0, "beyond all liquidity");
    let swap = |amount1, liquidity, tick| EventBody::V3Swap {
        sender: Address::ZERO,
        recipient: Address::ZERO,
        amount0: -I256::ONE,
        amount1,
        sqrt_price_x96: to,
        liquidity,
        tick,
    };
    for (bad, why) in [
        (swap(I256::ONE, 0, 700), "it paid less than the way costs"),
        (swap(amount1, 1, 700), "there is other liquidity at its end"),
        (swap(-I256::ONE, 0, 700), "nothing came in"),
        (swap(amount1, 0, 900_000), "beyond the last tick"),
        (swap(amount1, 0, i32::MIN), "beyond the first tick"),
    ] {
        let mut pool = Pool { state: fair.state.clone(), fees: fair.fees.clone() };
        assert_eq!(pool.try_apply(&bad), None, "{why}");
    }
}

/// What a manager says of a position that is not in this pool spoils that token, and nothing of the pool.
#[test]
fn a_word_that_does_not_fit_costs_the_token_and_not_the_pools_books() {
    let mut pool = Pool::at_one();
    let said = |token_id: u64, liquidity| EventBody::V3IncreaseLiquidity {
        token_id: U256::from(token_id),
        liquidity,
        amount0: U256::ONE,
        amount1: U256::ONE,
    };
    let made = |token_id: u64| EventBody::V3TransferPosition {
        from: Address::ZERO,
        to: Address::repeat_byte(5),
        token_id: U256::from(token_id),
    };
    for (token_id, lower) in [(1, -600), (2, -540)] {
        pool.apply(&mint(9, lower, 600, 1 << 70));
        pool.apply(&made(token_id));
        pool.apply(&said(token_id, 1 << 70));
    }
    assert_eq!(pool.fees.tokens.size(), 2);
    // The position that was touched last is the second one's.
    pool.apply(&said(1, 7));
    assert_eq!(pool.fees.tokens.keys().collect::<Vec<_>>(), [&U256::from(2)]);
    let takes =
        EventBody::V3DecreaseLiquidity { token_id: U256::from(2), liquidity: 1 << 71, amount0: U256::ZERO, amount1: U256::ZERO };
    pool.apply(&takes);
    assert!(pool.fees.tokens.is_empty(), "more than it had");
    pool.swap_to(300);
    assert_eq!(pool.fees.positions.as_ref().unwrap().size(), 2);
    // Of one that is older than what was read nothing is known, and nothing is claimed.
    pool.apply(&mint(9, -600, 600, 1));
    pool.apply(&said(3, 1));
    assert!(pool.fees.tokens.is_empty());
}
