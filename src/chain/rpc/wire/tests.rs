use alloy::rpc::types::Log;

use super::*;

const LOG: &str = r#"{
    "address":"0xd13040d4fe917ee704158cfcb3338dcd2838b245",
    "topics":["0x98636036cb66a9c19a37435efc1e90142190214e8abeb821bdba3f2990dd4c95"],
    "data":"0x0000000000000000000000000000000000000000003d409fc4ca983d2e3df335",
    "blockHash":"0xfc49f94161e2cdef8339c0b430868d64ee1f5d0bd8b8b6e45a25487958d68b25",
    "blockNumber":"0x17513fcf","blockTimestamp":"0x65",
    "transactionHash":"0x8f91d60156ea7a34a6bf1d411852f3ef2ad255ec84e493c9e902e4a1ff4a46af",
    "transactionIndex":"0x3","logIndex":"0x4","removed":false,"somethingElse":{"a":[1]}}"#;

#[test]
fn a_log_reads_as_alloy_reads_it() {
    let ours: PlacedLog = serde_json::from_str(LOG).unwrap();
    let theirs: Log = serde_json::from_str(LOG).unwrap();
    assert_eq!(ours.log.address, theirs.address());
    assert_eq!(ours.log.topics, theirs.topics());
    assert_eq!(ours.log.data, theirs.inner.data.data);
    assert_eq!(Some(ours.block_number), theirs.block_number);
    assert_eq!(Some(ours.block_hash), theirs.block_hash);
    assert_eq!(ours.block_timestamp, theirs.block_timestamp);
    assert_eq!(Some(ours.log.tx_hash), theirs.transaction_hash);
    assert_eq!(Some(ours.log.tx_index), theirs.transaction_index);
    assert_eq!(Some(ours.log.log_index), theirs.log_index);
    assert_eq!(ours.removed, theirs.removed);
}

#[test]
fn a_log_without_a_time_is_fine_and_one_that_is_not_mined_or_damaged_is_not() {
    let without = LOG.replace(r#""blockTimestamp":"0x65","#, "");
    assert_eq!(serde_json::from_str::<PlacedLog>(&without).unwrap().block_timestamp, None);
    for (from, to) in [
        (r#""blockNumber":"0x17513fcf""#, r#""blockNumber":null"#),
        (r#""logIndex":"0x4""#, r#""logIndex":"4""#),
        (r#""logIndex":"0x4""#, r#""logIndex":"0x10000000000000000""#),
        (r#""data":"0x00"#, r#""data":"0x0"#),
        (r#""address":"0xd1"#, r#""address":"0x"#),
    ] {
        let damaged = LOG.replace(from, to);
        assert_ne!(damaged, LOG);
        assert!(serde_json::from_str::<PlacedLog>(&damaged).is_err(), "{to}");
    }
    let topic = format!("\"{}\"", B256::ZERO);
    let five = LOG.replace(r#""topics":["#, &format!(r#""topics":[{}"#, format!("{topic},").repeat(4)));
    assert!(serde_json::from_str::<PlacedLog>(&five).is_err());
}

#[test]
fn results_nulls_errors_and_nonsense_are_told_apart() {
    let answer = |body: &str| response::<Quantity>(body.as_bytes());
    assert_eq!(answer(r#"{"jsonrpc":"2.0","id":1,"result":"0x10"}"#), Ok(Some(Quantity(16))));
    assert_eq!(answer(r#"{"result":7,"error":null}"#), Ok(Some(Quantity(7))));
    assert_eq!(answer(r#"{"jsonrpc":"2.0","id":1,"result":null}"#), Ok(None));
    assert_eq!(answer(r#"{"id":1,"error":{"code":-32000,"message":"unknown block"}}"#), Err(Failure::UnknownBlock));
    for nonsense in ["", "{}", "[]", "<html>", r#"{"result":"x"}"#, r#"{"result":[]}"#] {
        assert!(matches!(answer(nonsense), Err(Failure::BadAnswer(_))), "{nonsense}");
    }
}
