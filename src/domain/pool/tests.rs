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
