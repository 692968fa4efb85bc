use std::{sync::Arc, time::Duration};

use super::{BATCH_ROWS, FINAL_BATCH_ROWS, may_be_canonical, split};
use crate::{
    domain::{block::BlockRef, record::BlockRecord},
    store::{
        Head, Live,
        conformance::make::{CHAIN, Rng},
    },
};

/// A chain of blocks with so many rows each.
fn chain(rows: &[u64]) -> Vec<Arc<BlockRecord>> {
    let mut rng = Rng(7);
    let mut parent = BlockRef { number: 99, hash: rng.hash(), parent_hash: rng.hash(), timestamp: 1 };
    let mut next = |rows: &u64| {
        let record = rng.record(&parent, *rows);
        parent = record.block;
        Arc::new(record)
    };
    rows.iter().map(&mut next).collect()
}

fn numbers(records: &[Arc<BlockRecord>]) -> Vec<u64> {
    records.iter().map(|r| r.block.number).collect()
}

#[test]
fn what_is_new_is_durable_before_what_only_gains_something_and_nothing_final_shares_a_batch_with_what_is_not() {
    let blocks = chain(&[4_000, 4_000, 1, 1, 4_000, 4_000, 4_000, 1]);
    // Stored: 100 to 103; of these 100 and 101 gained something. Final: up to 104.
    let parts = split(blocks[4..].to_vec(), blocks[..2].iter().cloned(), 104, FINAL_BATCH_ROWS);
    let told: Vec<(Vec<u64>, Option<u64>)> = parts.iter().map(|(r, head)| (numbers(r), head.map(|b| b.number))).collect();
    assert_eq!(
        told,
        [
            (vec![104], Some(104)),
            // 8,001 rows: another 4,000 do not fit.
            (vec![105, 106, 107], Some(107)),
            (vec![100, 101], None),
        ]
    );
    // At the head everything is one transaction, and its head is the new block.
    let small = chain(&[2, 3, 4]);
    let parts = split(small[2..].to_vec(), small[..2].iter().cloned(), 0, FINAL_BATCH_ROWS);
    assert_eq!(parts.len(), 1);
    assert_eq!((numbers(&parts[0].0), parts[0].1), (vec![100, 101, 102], Some(small[2].block)));
    // Final rows are no part of the transaction: their batch may be large.
    assert_eq!(split(blocks.clone(), std::iter::empty(), u64::MAX, FINAL_BATCH_ROWS).len(), 1);
    assert_eq!(split(blocks, std::iter::empty(), u64::MAX, BATCH_ROWS).len(), 3, "unless flips come with them");
}

#[test]
fn a_block_that_was_taken_back_since_it_was_mended_is_not_written_as_canonical() {
    let blocks = chain(&[1, 1, 1]);
    let live = Live::new(CHAIN, "test", 2, Duration::from_secs(15));
    let head = Head { window: Arc::new(blocks[1..].to_vec()), window_floor: 101, ..(*live.head()).clone() };
    assert!(may_be_canonical(&head, &blocks[1]));
    assert!(may_be_canonical(&head, &blocks[0]), "memory let go of it when it was final");
    let mut orphan = (*blocks[2]).clone();
    orphan.block.hash = blocks[0].block.hash;
    assert!(!may_be_canonical(&head, &orphan));
}
