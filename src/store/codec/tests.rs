use alloy::primitives::{Address, I256};
use proptest::prelude::*;

use super::*;
use crate::{domain::market::Closed, store::conformance::make::Rng};

proptest! {
    #[test]
    fn a_row_comes_back_exactly(seed in any::<u64>(), variant in 0..20_u64) {
        let mut rng = Rng(seed);
        let body = rng.body(variant);
        let raw = rng.raw(&body, Address::ZERO, 0, B256::ZERO, 0);
        let after = rng.after(&body);
        let (topics, data) = decode_log(&encode_log(&raw.topics, &raw.data)).unwrap();
        prop_assert_eq!((&topics, &data), (&raw.topics, &raw.data));
        prop_assert_eq!(decode_body(&encode_body(&body, &raw), &topics, &data).unwrap(), body);
        prop_assert_eq!(decode_after(&encode_after(&after, &raw), &topics, &data).unwrap(), after);
    }

    #[test]
    fn an_image_comes_back_exactly(seed in any::<u64>()) {
        let image = Rng(seed).image();
        prop_assert_eq!(decode_image(&encode_image(&image), 7).unwrap(), image);
    }

    /// What version 1 wrote was a state without a gauge: it is taken to have been so.
    #[test]
    fn a_state_of_the_first_version_is_read(seed in any::<u64>()) {
        let state = Rng(seed).state();
        let mut writer = Writer::new(Words::NONE, 1);
        super::state(&mut writer, &state);
        let gauge = Gauge::seeded(&state, 7);
        prop_assert_eq!(decode_image(&writer.out, 7).unwrap(), PoolImage { state, gauge, held: Held::Unknown, fees: None, shares: None });
    }

    #[test]
    fn damaged_bytes_are_an_error_and_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..80), tag in 0..24_u8) {
        let tagged = [&[tag], bytes.as_slice()].concat();
        for bytes in [&bytes, &tagged] {
            let (_, _) = (decode_log(bytes), decode_image(bytes, 0));
            let (_, _) = (decode_body(bytes, &[B256::ZERO], &[1; 70]), decode_after(bytes, &[], &[]));
        }
    }

    #[test]
    fn sortable_bytes_compare_like_the_numbers(a in any::<[u8; 32]>(), b in any::<[u8; 32]>()) {
        let (a, b) = (I256::from_be_bytes(a), I256::from_be_bytes(b));
        prop_assert_eq!(sortable(&a).cmp(&sortable(&b)), a.cmp(&b));
        prop_assert_eq!(sortable(&I256::MIN), [0; 32]);
        prop_assert_eq!(sortable(&I256::MAX), [0xff; 32]);
    }
}

#[test]
fn a_swap_that_its_log_spells_out_takes_a_byte_for_each_field() {
    let mut rng = Rng(3);
    let body = rng.body(7);
    let raw = rng.raw(&body, Address::ZERO, 0, B256::ZERO, 0);
    assert_eq!(encode_body(&body, &raw).len(), 8);
    assert_eq!(encode_after(&rng.after(&body), &raw).len(), 4);
}

#[test]
fn every_value_cut_short_or_prolonged_is_refused() {
    let mut rng = Rng(4);
    // Of the 15th the rest is a text.
    for variant in (0..=20).filter(|variant| *variant != 15) {
        let body = rng.body(variant);
        let raw = rng.raw(&body, Address::ZERO, 0, B256::ZERO, 0);
        let bytes = encode_body(&body, &raw);
        assert!(decode_body(&bytes[..bytes.len() - 1], &raw.topics, &raw.data).is_err(), "{body:?}");
        assert!(decode_body(&[bytes.as_slice(), &[0]].concat(), &raw.topics, &raw.data).is_err(), "{body:?}");
    }
    // More words than there are bytes: nothing is allocated for them.
    assert!(decode_log(&[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]).is_err());
}

/// Trades; prices of every kind.
fn market(rng: &mut Rng, trades: u64) -> crate::domain::market::Market {
    use crate::domain::{
        dollars::Usd,
        market::{Market, RawPrice, Trade},
    };
    let (mut market, mut timestamp) = (Market::default(), 1_700_000_000);
    let is_pair = rng.chance(50);
    for _ in 0..trades {
        timestamp += rng.below(400) * rng.below(400);
        let price = match is_pair {
            true => RawPrice::Reserves { reserve0: rng.u128(), reserve1: rng.u128() },
            false => RawPrice::Root(rng.uint(160)),
        };
        let amount = |rng: &mut Rng| I256::from_raw(rng.uint(200)) * if rng.chance(50) { I256::ONE } else { I256::MINUS_ONE };
        let usd = rng.chance(80).then(|| Usd(rng.next()));
        let trader = Address::with_last_byte(u8::try_from(rng.below(9)).unwrap());
        market.trade(&Trade { timestamp, price, amount0: amount(rng), amount1: amount(rng), usd, trader });
    }
    market
}

proptest! {
    #[test]
    fn a_market_and_its_chunks_come_back_exactly(seed in any::<u64>(), trades in 0_u64..300) {
        let mut rng = Rng(seed);
        for market in [market(&mut rng, trades), rng.pool_market(), rng.token_market()] {
            prop_assert_eq!(decode_market(&encode_market(&market), 0).unwrap().unwrap().kept(), market.kept());
            let kept = market.kept();
            for series in kept.series {
                let bytes = encode_closed(&Closed::Candles(series.closed.clone()));
                prop_assert_eq!(decode_candles(&bytes).unwrap(), series.closed);
            }
            for series in kept.periods {
                let bytes = encode_closed(&Closed::Periods(series.closed.clone()));
                prop_assert_eq!(decode_periods(&bytes).unwrap(), series.closed);
            }
        }
    }

    #[test]
    fn what_a_block_tells_comes_back_exactly(seed in any::<u64>()) {
        let told = Rng(seed).told();
        let bytes = encode_told(&told);
        prop_assert_eq!(decode_told(&bytes).unwrap(), told);
        for cut in 0..bytes.len() {
            let _ = decode_told(&bytes[..cut]);
        }
    }

    #[test]
    fn damaged_markets_are_an_error_and_no_panic(seed in any::<u64>(), at in any::<u16>(), to in any::<u8>()) {
        let mut rng = Rng(seed);
        let mut bytes = encode_market(&if rng.chance(50) { market(&mut rng, 20) } else { rng.pool_market() });
        let at = usize::from(at) % bytes.len();
        bytes[at] = to;
        let _ = decode_market(&bytes, 0);
        let _ = decode_candles(&bytes);
        let _ = decode_periods(&bytes);
        let _ = decode_market(&bytes[..at], 0);
    }
}

#[test]
fn every_number_of_64_bits_comes_back_and_no_longer_one() {
    let around = (0..64).flat_map(|bit| [(1_u64 << bit) - 1, 1 << bit, (1 << bit) + 1]);
    for value in around.chain([u64::MAX - 1, u64::MAX]) {
        let mut bytes = Vec::new();
        parts::varint(&mut bytes, value);
        let mut parser = Parser { rest: &bytes, words: Words::NONE };
        assert_eq!(parser.varint().unwrap(), value);
        parser.end().unwrap();
    }
    for wrong in [[0xff; 9].iter().copied().chain([2]).collect(), vec![0x80; 11], vec![0xff; 9]] {
        assert!(Parser { rest: &wrong, words: Words::NONE }.varint().is_err(), "{wrong:x?}");
    }
}
