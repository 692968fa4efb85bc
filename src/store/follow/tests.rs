//! Who waits, and what waiting costs.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use alloy::primitives::B256;
use tokio::sync::Semaphore;

use super::{Follow, Interest, turns::Turns};
use crate::{
    domain::{block::BlockRef, cursor::Cursor},
    store::{Commit, Live, Reader, sqlite::SqliteHistory},
};

fn block(number: u64) -> BlockRef {
    BlockRef { number, hash: B256::with_last_byte(7), parent_hash: B256::ZERO, timestamp: number }
}

#[tokio::test]
async fn whoever_waits_for_its_chain_pays_nothing_and_holds_no_turn() {
    let folder = tempfile::tempdir().unwrap();
    let history = Arc::new(SqliteHistory::open(&folder.path().join("follow.db")).unwrap());
    for (what, head) in [("a chain without a block", None), ("a chain that is behind the cursor", Some(block(5)))] {
        let live = Arc::new(Live::new(1, "test", 1, Duration::from_secs(60)));
        if head.is_some() {
            live.commit(Commit { head, at_head: true, ..Commit::default() });
        }
        let (all, asked) = (Turns::new(1), Arc::new(AtomicU32::new(0)));
        let counted = asked.clone();
        let pace = move || {
            counted.fetch_add(1, Ordering::Relaxed);
            Ok(())
        };
        let turns = all.of(Arc::new(Semaphore::new(1)), Arc::new(pace));
        let cursor = Cursor {
            chain: 1,
            block_number: 9,
            block_hash: B256::with_last_byte(9),
            next_log_index: Cursor::BLOCK_END,
            finalized_number: 0,
        };
        let reader = Reader::new([live.clone()], history.clone());
        let mut follow = Follow::new(reader, live, Interest::Blocks, Some(cursor), turns);
        let waits = follow.next();
        tokio::select! {
            news = waits => panic!("{what}: {news:?}"),
            _ = tokio::time::timeout(Duration::from_millis(100), std::future::pending::<()>()) => {}
        }
        assert_eq!(asked.load(Ordering::Relaxed), 0, "{what}");
        assert!(futures_util::FutureExt::now_or_never(all.take()).is_some(), "{what}");
    }
}
