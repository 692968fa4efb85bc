use alloy::{
    consensus::constants::EMPTY_RECEIPTS,
    primitives::{Address, Bytes, Log, logs_bloom},
};
use proptest::prelude::*;

use super::*;

fn raw(index: u64) -> RawLog {
    RawLog {
        address: Address::repeat_byte(u8::try_from(index % 7).unwrap()),
        topics: (0..index % 5).map(|n| B256::repeat_byte(u8::try_from(n).unwrap())).collect(),
        data: Bytes::new(),
        tx_hash: B256::repeat_byte(3),
        tx_index: index / 3,
        log_index: index,
    }
}

fn placed(block: u64, index: u64) -> PlacedLog {
    PlacedLog { block_number: block, block_hash: hash(block), block_timestamp: Some(block * 12), removed: false, log: raw(index) }
}

fn hash(block: u64) -> B256 {
    B256::from(alloy::primitives::U256::from(block + 1_000))
}

fn end(number: u64) -> BlockRef {
    BlockRef { number, hash: hash(number), parent_hash: hash(number - 1), timestamp: number * 12 }
}

fn header(number: u64, logs: &[PlacedLog]) -> Header {
    let logs: Vec<RawLog> = logs.iter().map(|p| p.log.clone()).collect();
    Header {
        block: end(number),
        logs_bloom: Box::new(bloom(&logs)),
        receipts_root: logs.is_empty().then_some(EMPTY_RECEIPTS),
        base_fee_wei: None,
    }
}

proptest! {
    #[test]
    fn the_bloom_is_the_one_that_alloy_computes(indexes in prop::collection::vec(any::<u64>(), 0..40)) {
        let logs: Vec<RawLog> = indexes.into_iter().map(raw).collect();
        let theirs: Vec<Log> =
            logs.iter().map(|l| Log::new_unchecked(l.address, l.topics.clone(), l.data.clone())).collect();
        prop_assert_eq!(bloom(&logs), logs_bloom(&theirs));
    }
}

#[test]
fn the_bloom_of_a_whole_mainnet_block_needs_every_one_of_its_logs() {
    let logs: Vec<PlacedLog> = (0..60).map(|n| placed(7, n)).collect();
    let header = header(7, &logs);
    assert_eq!(block(&header, logs.clone()).unwrap().len(), 60);
    // Every address and topic here also occurs in another log, except where only one log has it.
    let unique = PlacedLog { log: RawLog { address: Address::repeat_byte(0xaa), ..raw(60) }, ..placed(7, 60) };
    let mut with = logs.clone();
    with.push(unique);
    let full = super::tests::header(7, &with);
    assert_eq!(block(&full, logs), Err(Unproven::Bloom { logs: 60 }));
}

#[test]
fn order_and_exact_repeats_are_mended_and_everything_else_is_refused() {
    let logs: Vec<PlacedLog> = (0..6).map(|n| placed(7, n)).collect();
    let header = header(7, &logs);
    let mut shuffled: Vec<PlacedLog> = logs.iter().rev().cloned().collect();
    shuffled.push(logs[2].clone());
    let mended: Vec<u64> = block(&header, shuffled).unwrap().iter().map(|l| l.log_index).collect();
    assert_eq!(mended, [0, 1, 2, 3, 4, 5]);

    let change = |at: usize, change: &dyn Fn(&mut PlacedLog)| {
        let mut logs = logs.clone();
        change(&mut logs[at]);
        block(&header, logs)
    };
    assert_eq!(change(3, &|l| l.block_hash = B256::ZERO), Err(Unproven::OtherBlock { log_index: 3 }));
    assert_eq!(change(3, &|l| l.block_number = 8), Err(Unproven::OtherBlock { log_index: 3 }));
    assert_eq!(change(3, &|l| l.removed = true), Err(Unproven::Removed { log_index: 3 }));
    assert_eq!(change(3, &|l| l.log.log_index = 4), Err(Unproven::Twice { log_index: 4 }));
    assert_eq!(block(&header, Vec::new()), Err(Unproven::Bloom { logs: 0 }));
}

#[test]
fn a_range_is_grouped_by_block_in_chain_order() {
    let logs = vec![placed(5, 0), placed(5, 3), placed(5, 3), placed(8, 1), placed(9, 0)];
    let blocks = range(5, &end(9), logs).unwrap();
    let found: Vec<(u64, Vec<u64>)> = blocks.iter().map(|b| (b.number, b.logs.iter().map(|l| l.log_index).collect())).collect();
    assert_eq!(found, [(5, vec![0, 3]), (8, vec![1]), (9, vec![0])]);
    assert_eq!(blocks[1].timestamp, Some(96));
    assert_eq!(range(5, &end(9), Vec::new()), Ok(Vec::new()));
}

#[test]
fn a_range_that_contradicts_itself_or_its_end_is_refused() {
    let other_hash = |p: PlacedLog| PlacedLog { block_hash: B256::ZERO, ..p };
    let cases = [
        (vec![placed(4, 0)], Unproven::OutOfRange { number: 4 }),
        (vec![placed(10, 0)], Unproven::OutOfRange { number: 10 }),
        (vec![placed(6, 1), placed(6, 0)], Unproven::Order { number: 6 }),
        (vec![placed(7, 1), placed(6, 0)], Unproven::Order { number: 6 }),
        (vec![placed(6, 0), other_hash(placed(6, 1))], Unproven::TwoHashes { number: 6 }),
        (vec![other_hash(placed(9, 0))], Unproven::EndHash { number: 9 }),
        (vec![PlacedLog { removed: true, ..placed(6, 2) }], Unproven::Removed { log_index: 2 }),
        (vec![placed(6, 0), PlacedLog { block_timestamp: None, ..placed(6, 1) }], Unproven::TwoTimestamps { number: 6 }),
    ];
    for (logs, expected) in cases {
        assert_eq!(range(5, &end(9), logs), Err(expected));
    }
}

#[test]
fn a_gap_in_the_numbers_is_seen_where_the_bloom_does_not_see_it() {
    // The same contract says the same thing three times.
    let same = |index: u64| PlacedLog { log: RawLog { log_index: index, ..raw(0) }, ..placed(7, index) };
    let logs: Vec<PlacedLog> = (0..3).map(same).collect();
    let header = header(7, &logs);
    assert_eq!(block(&header, vec![logs[0].clone(), logs[2].clone()]), Err(Unproven::Gap { missing: 1 }));
    assert_eq!(block(&header, logs[1..].to_vec()), Err(Unproven::Gap { missing: 0 }));
    // Of the last ones only the root of the receipts knows.
    assert_eq!(block(&header, logs[..2].to_vec()).map(|logs| logs.len()), Ok(2));
}

/// A receipt with the logs of these numbers.
fn receipt(kind: u8, indexes: std::ops::Range<u64>) -> BlockReceipt {
    let logs: Vec<PlacedLog> = indexes.clone().map(|index| placed(7, index)).collect();
    let bloom = bloom(&logs.iter().map(|placed| placed.log.clone()).collect::<Vec<_>>());
    let deposit = if kind == DEPOSIT { vec![indexes.end, 1] } else { Vec::new() };
    BlockReceipt { kind, outcome: Eip658Value::Eip658(true), gas_used: 21_000 * (indexes.end + 1), bloom, logs, deposit }
}

/// What alloy makes of them.
fn root_of(receipts: &[BlockReceipt]) -> B256 {
    let envelope = |receipt: &BlockReceipt| {
        let logs = receipt
            .logs
            .iter()
            .map(|placed| Log::new_unchecked(placed.log.address, placed.log.topics.clone(), placed.log.data.clone()));
        let receipt_of = Receipt { status: receipt.outcome, cumulative_gas_used: receipt.gas_used, logs: logs.collect() };
        ReceiptEnvelope::from_typed(TxType::try_from(receipt.kind).unwrap(), receipt_of.with_bloom())
    };
    alloy::consensus::proofs::calculate_receipt_root(&receipts.iter().map(envelope).collect::<Vec<_>>())
}

#[test]
fn the_root_of_the_receipts_misses_nothing() {
    let all: Vec<BlockReceipt> = (0..20).map(|n| receipt(u8::try_from(n % 5).unwrap(), n * 3..n * 3 + 3)).collect();
    let header = Header { receipts_root: Some(root_of(&all)), ..header(7, &[]) };
    let logs = receipts(&header, all.clone()).unwrap();
    assert_eq!(logs.iter().map(|log| log.log_index).collect::<Vec<_>>(), (0..60).collect::<Vec<_>>());

    let change = |change: &dyn Fn(&mut Vec<BlockReceipt>)| {
        let mut all = all.clone();
        change(&mut all);
        receipts(&header, all)
    };
    let wrong = |receipts: usize| Err(Unproven::Root { receipts });
    assert_eq!(change(&|all| drop(all.pop())), wrong(19));
    assert_eq!(change(&|all| drop(all[19].logs.pop())), wrong(20), "the last log");
    assert_eq!(change(&|all| all.swap(3, 4)), wrong(20));
    assert_eq!(change(&|all| all[7].kind = 3), wrong(20));
    assert_eq!(change(&|all| all[7].gas_used += 1), wrong(20));
    assert_eq!(change(&|all| all[7].outcome = Eip658Value::Eip658(false)), wrong(20));
    assert_eq!(change(&|all| all[7].outcome = Eip658Value::PostState(B256::ZERO)), wrong(20));
    assert_eq!(change(&|all| all[7].bloom = Bloom::ZERO), wrong(20));
    assert_eq!(change(&|all| all[7].logs[1].log.data = Bytes::from_static(b"x")), wrong(20));
    assert_eq!(change(&|all| all[7].logs[1].log.topics.push(B256::ZERO)), wrong(20));
    assert_eq!(change(&|all| all[7].kind = 99), Err(Unproven::ReceiptKind { kind: 99 }));
    // A number is not in the proof; it has to follow from it.
    assert_eq!(change(&|all| all[7].logs[1].log.log_index += 1), Err(Unproven::Gap { missing: 22 }));
    let silent = Header { receipts_root: None, ..header.clone() };
    assert_eq!(receipts(&silent, all), Err(Unproven::NoRoot));
    assert_eq!(receipts(&Header { receipts_root: Some(EMPTY_RECEIPTS), ..header }, Vec::new()), Ok(Vec::new()));
}

#[test]
fn a_deposit_of_the_op_stack_has_two_fields_more() {
    let (plain, deposit) = (encoded(&receipt(2, 0..2)).unwrap(), encoded(&receipt(DEPOSIT, 0..2)).unwrap());
    assert_eq!((plain[0], deposit[0]), (2, 0x7e));
    let fields = |mut bytes: &[u8]| {
        let list = ListHeader::decode(&mut bytes).unwrap();
        assert!(list.list && list.payload_length == bytes.len());
        bytes.to_vec()
    };
    // Nonce and version, as the specification of deposits puts them after the logs: 2 and 1 are bytes of their own in RLP.
    assert_eq!(fields(&deposit[1..]), [fields(&plain[1..]), vec![2, 1]].concat());
}
