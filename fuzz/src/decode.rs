//! Any log: it is somebody else's, malformed, or an event that the store gives back as it is.

use alloy::primitives::{Address, B256, U256};
use swaptide::{
    chain::decode::{Decoded, decode as decode_log, manager_topics, shares_topics, watched_topics},
    domain::{event::RawLog, pool::math::MAX_SQRT_RATIO},
    store::codec,
};

use super::input::Input;

/// Which topic comes first and how many follow, those, and the data: words, and what is more than words.
pub fn decode(data: &[u8]) {
    let raw = log(&mut Input::new(data));
    let is_watched = raw.topics.first().is_some_and(|topic| watched_topics().contains(topic));
    match decode_log(&raw) {
        Decoded::NotOurs => assert!(!is_watched),
        Decoded::Malformed { reason } => assert!(is_watched && !reason.is_empty()),
        Decoded::Event(body) => {
            assert!(is_watched);
            let bytes = codec::encode_body(&body, &raw);
            // Each field is a word of the log or fits the byte before it and a word.
            assert!(bytes.len() <= 1 + 33 * 8);
            assert_eq!(codec::decode_body(&bytes, &raw.topics, &raw.data), Ok(body.clone()));
            let _ = (body.kind(), body.is_of_owners());
            if let Some((amount0, amount1)) = body.amounts() {
                let _ = (codec::sortable(&amount0), codec::sortable(&amount1));
            }
        }
    }
    let kept = codec::encode_log(&raw.topics, &raw.data);
    assert_eq!(codec::decode_log(&kept), Ok((raw.topics, raw.data)));
}

fn log(input: &mut Input<'_>) -> RawLog {
    let known = [watched_topics(), manager_topics(), shares_topics()].concat();
    let (first, more) = (input.byte(), input.byte());
    let mut topics = Vec::new();
    if first != 0xff {
        // Beyond those that are known: another event's.
        topics.push(known.get(usize::from(first)).copied().unwrap_or_else(|| word(input)));
        topics.extend((0..more % 5).map(|_| word(input)));
    }
    let (words, rest) = (input.byte() % 12, input.byte());
    let mut data: Vec<u8> = (0..words).flat_map(|_| word(input).0).collect();
    // Mostly none.
    data.extend_from_slice(input.take(usize::from(rest.saturating_sub(200))));
    RawLog { address: Address::ZERO, topics, data: data.into(), tx_hash: B256::ZERO, tx_index: 0, log_index: 0 }
}

/// A number, a negative one, or a price.
fn word(input: &mut Input<'_>) -> B256 {
    match input.byte() % 4 {
        0 => U256::ZERO.wrapping_sub(input.u256()).into(),
        1 => (MAX_SQRT_RATIO - U256::ONE).wrapping_shr(input.below(160)).into(),
        _ => input.u256().into(),
    }
}
