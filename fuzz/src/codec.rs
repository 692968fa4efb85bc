//! Any bytes where the store's own should be: an error or a value, and a value that is written again is read back the same.

use alloy::primitives::{Address, B256};
use swaptide::{
    domain::{event::RawLog, market::Closed},
    store::codec::{
        decode_after, decode_body, decode_candles, decode_gauge, decode_image, decode_log, decode_market, decode_origin,
        decode_periods, decode_told, encode_after, encode_body, encode_closed, encode_gauge, encode_image, encode_log,
        encode_market, encode_origin, encode_told,
    },
};

/// Of the block that images and markets are of.
const TIMESTAMP: u64 = 1_700_000_000;

/// Which of them, and the bytes; events and what comes after them are behind the log that they refer to.
pub fn codec(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else { return };
    match kind % 10 {
        0 => again(bytes, decode_log, |(topics, data)| encode_log(topics, data)),
        1 => of_log(bytes, |raw, bytes| {
            again(bytes, |bytes| decode_body(bytes, &raw.topics, &raw.data), |body| encode_body(body, raw));
        }),
        2 => of_log(bytes, |raw, bytes| {
            again(bytes, |bytes| decode_after(bytes, &raw.topics, &raw.data), |after| encode_after(after, raw));
        }),
        3 => {
            let (after, gauge) = bytes.split_at(bytes.len().min(99).min(bytes.first().map_or(0, |len| usize::from(*len))));
            if let Ok(after) = decode_after(after.get(1..).unwrap_or_default(), &[], &[]) {
                again(gauge, |bytes| decode_gauge(bytes, &after), encode_gauge);
            }
        }
        4 => again(bytes, |bytes| decode_image(bytes, TIMESTAMP), encode_image),
        5 => again(bytes, decode_origin, encode_origin),
        6 => again(bytes, decode_told, encode_told),
        7 => again(bytes, decode_candles, |candles| encode_closed(&Closed::Candles(candles.clone()))),
        8 => again(bytes, decode_periods, |periods| encode_closed(&Closed::Periods(periods.clone()))),
        _ => market(bytes),
    }
}

fn again<T: PartialEq + std::fmt::Debug, E: std::fmt::Debug>(
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Result<T, E>,
    encode: impl Fn(&T) -> Vec<u8>,
) {
    let Ok(value) = decode(bytes) else { return };
    let again = decode(&encode(&value)).expect("what was just written");
    assert_eq!(again, value);
}

/// The length of a log, the log, the rest.
fn of_log(bytes: &[u8], then: impl FnOnce(&RawLog, &[u8])) {
    let Some((length, rest)) = bytes.split_first() else { return };
    let Some((log, rest)) = rest.split_at_checked(usize::from(*length)) else { return };
    let Ok((topics, data)) = decode_log(log) else { return };
    then(&RawLog { address: Address::ZERO, topics, data, tx_hash: B256::ZERO, tx_index: 0, log_index: 0 }, rest);
}

/// What memory has of a market beside what is kept follows from that, and from when it is read.
fn market(bytes: &[u8]) {
    let Ok(Some(market)) = decode_market(bytes, TIMESTAMP) else { return };
    let kept = encode_market(&market);
    let again = decode_market(&kept, TIMESTAMP).expect("what was just written").expect("of the newest version");
    assert_eq!(again.kept(), market.kept());
    assert_eq!(encode_market(&again), kept);
    let _ = again.weight();
}
