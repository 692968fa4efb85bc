use proptest::prelude::*;

use super::*;

fn mint(tick_lower: i32, tick_upper: i32, amount: u128) -> EventBody {
    let (sender, owner) = (Address::ZERO, Address::ZERO);
    EventBody::V3Mint { sender, owner, tick_lower, tick_upper, amount, amount0: U256::ZERO, amount1: U256::ZERO }
}

fn burn(tick_lower: i32, tick_upper: i32, amount: u128) -> EventBody {
    EventBody::V3Burn { owner: Address::ZERO, tick_lower, tick_upper, amount, amount0: U256::ZERO, amount1: U256::ZERO }
}

fn pool_at(tick: i32) -> PoolState {
    let mut state = PoolState::new(Protocol::UniswapV3);
    state.apply(&EventBody::V3Initialize { sqrt_price_x96: U256::from(1u128 << 96), tick }).unwrap();
    state
}

fn v3(state: &PoolState) -> &V3State {
    let PoolState::V3(v3) = state else { panic!("a V3 pool") };
    v3
}

/// `UniswapV3Pool._modifyPosition`: below `tickLower`, at or above `tickUpper`, the in-range liquidity does not change.
#[test]
fn the_lower_tick_is_in_range_and_the_upper_is_not() {
    for (tick, in_range) in [(-61, 0), (-60, 7), (-59, 7), (59, 7), (60, 0), (61, 0)] {
        let mut state = pool_at(tick);
        state.apply(&mint(-60, 60, 7)).unwrap();
        assert_eq!(v3(&state).liquidity, in_range, "minted at tick {tick}");
        state.apply(&burn(-60, 60, 7)).unwrap();
        assert_eq!(state, pool_at(tick), "burnt at tick {tick}");
    }
}

#[test]
fn the_lower_tick_gains_what_the_upper_loses_and_gross_only_grows() {
    let mut state = pool_at(0);
    state.apply(&mint(-60, 60, 7)).unwrap();
    state.apply(&mint(60, 120, 5)).unwrap();
    let tick = |liquidity_gross, liquidity_net| Tick { liquidity_gross, liquidity_net };
    let expected = BTreeMap::from([(-60, tick(7, 7)), (60, tick(12, -2)), (120, tick(5, -5))]);
    assert_eq!(*v3(&state).ticks, expected);
    state.apply(&burn(60, 120, 5)).unwrap();
    assert_eq!(*v3(&state).ticks, BTreeMap::from([(-60, tick(7, 7)), (60, tick(7, -7))]), "an empty tick is gone");
}

#[test]
fn an_event_that_does_not_fit_changes_nothing_and_is_told_apart() {
    let mut state = pool_at(0);
    state.apply(&mint(-60, 60, 7)).unwrap();
    let before = state.clone();
    let too_much = state.apply(&burn(-60, 60, 8)).unwrap_err();
    assert!(too_much.is_drift(), "{too_much}");
    let foreign = state.apply(&EventBody::V2Sync { reserve0: 1, reserve1: 1 }).unwrap_err();
    assert!(!foreign.is_drift(), "{foreign}");
    assert_eq!(state, before);
    state.apply(&burn(-60, 60, 0)).unwrap();
    assert_eq!(state, before, "burn(0) only collects fees");
}

#[test]
fn a_version_that_a_reader_holds_does_not_move() {
    let mut state = pool_at(0);
    state.apply(&mint(-60, 60, 7)).unwrap();
    let held = state.clone();
    state.apply(&mint(-60, 60, 1)).unwrap();
    assert_eq!(v3(&held).ticks.get(&-60).map(|t| t.liquidity_gross), Some(7));
}

proptest! {
    /// At every tick: what the positions that contain it add up to; and the in-range liquidity is the one at the pool's own tick.
    #[test]
    fn ranges_are_the_sum_of_the_positions(now in -25_i32..25, drawn in proptest::collection::vec((-20_i32..20, 1_i32..20, 1_u128..1_000, any::<bool>()), 0..12)) {
        let mut state = pool_at(now);
        let mut positions = Vec::new();
        for (lower, width, amount, stays) in drawn {
            state.apply(&mint(lower, lower + width, amount)).unwrap();
            if stays {
                positions.push((lower, lower + width, amount));
            } else {
                state.apply(&burn(lower, lower + width, amount)).unwrap();
            }
        }
        let ranges: Vec<TickRange> = v3(&state).ranges().collect();
        for tick in -45..45 {
            let naive: u128 = positions.iter().filter(|(lower, upper, _)| (*lower..*upper).contains(&tick)).map(|(.., amount)| amount).sum();
            let of: Vec<u128> = ranges.iter().filter(|range| (range.lower..range.upper).contains(&tick)).map(|range| range.liquidity).collect();
            prop_assert_eq!(of, if naive == 0 { Vec::new() } else { vec![naive] }, "tick {}", tick);
            if tick == now {
                prop_assert_eq!(v3(&state).liquidity, naive);
            }
        }
    }
}
