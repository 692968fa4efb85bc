use alloy::primitives::Bytes;

use super::*;

fn block(number: u64) -> BlockRef {
    BlockRef { number, hash: B256::from(U256::from(number)), parent_hash: B256::ZERO, timestamp: number }
}

fn n(value: u64) -> U256 {
    U256::from(value)
}

const POOL: Address = Address::repeat_byte(7);
const OTHER: Address = Address::repeat_byte(8);

fn transfer(from: Address, to: Address, value: u64) -> RawLog {
    RawLog {
        address: Address::repeat_byte(1),
        topics: vec![TRANSFER, from.into_word(), to.into_word()],
        data: Bytes::from(n(value).to_be_bytes::<32>()),
        tx_hash: B256::ZERO,
        tx_index: 0,
        log_index: 0,
    }
}

fn seen(number: u64, held: u64) -> Seen {
    Seen { at: block(number), held: n(held), surplus: None }
}

#[test]
fn a_pool_that_holds_less_than_it_booked_is_enough() {
    let mut watch = Watch::default();
    watch.saw(block(1), n(100), Some(n(100)));
    assert!(!watch.rebases);
    watch.saw(block(2), n(99), Some(n(100)));
    assert!(watch.rebases && watch.open.is_none());
    watch.saw(block(3), n(100), Some(n(100)));
    watch.forget();
    assert!(watch.rebases, "once seen it stays");
}

#[test]
fn what_is_odd_is_counted_and_what_was_there_before_is_not_odd() {
    let mut watch = Watch::default();
    watch.saw(block(1), n(150), Some(n(100)));
    watch.saw(block(2), n(260), Some(n(210)));
    assert_eq!(watch.open, None, "the same surplus as before");
    watch.saw(block(3), n(240), Some(n(210)));
    assert_eq!(watch.open, None, "some of it was fetched");
    watch.saw(block(4), n(241), Some(n(210)));
    let open = watch.open.unwrap();
    assert_eq!((open.0.at.number, open.1.at.number), (3, 4), "it grew");
    watch.saw(block(5), n(251), Some(n(210)));
    assert_eq!(watch.open.unwrap(), open, "one after the other");

    let mut watch = Watch::default();
    watch.synced();
    watch.saw(block(1), n(100), Some(n(100)));
    watch.saw(block(2), n(100), Some(n(100)));
    assert_eq!(watch.open, None, "before it was looked at");
    watch.synced();
    watch.saw(block(3), n(110), Some(n(110)));
    assert_eq!(watch.open.map(|(first, last)| (first.at.number, last.at.number)), Some((2, 3)), "the pair took it in");
    watch.forget();
    watch.saw(block(4), n(500), None);
    watch.saw(block(5), n(900), None);
    assert_eq!((watch.open, watch.rebases), (None, false), "a pool that has booked nothing says nothing");
}

#[test]
fn transfers_explain_a_balance_or_they_do_not() {
    let (first, last) = (seen(1, 100), seen(2, 160));
    let explained = |logs: &[RawLog]| explained(&first, &last, POOL, logs.iter());
    let (into, out) = (transfer(OTHER, POOL, 80), transfer(POOL, OTHER, 20));
    assert!(explained(&[into.clone(), out.clone()]) && explained(&[out.clone(), into.clone()]), "in any order");
    assert!(explained(&[into.clone(), transfer(POOL, POOL, 5), transfer(OTHER, OTHER, 9), out.clone()]));
    assert!(!explained(std::slice::from_ref(&into)) && !explained(&[]));
    let unindexed = RawLog { topics: vec![TRANSFER], ..into };
    assert!(explained(&[unindexed]), "who cannot be read is not blamed");
}
