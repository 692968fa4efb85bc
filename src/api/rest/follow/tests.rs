//! The moment between a head and its announcement.

use super::*;
use crate::{
    domain::{reconcile::ChainUpdate, record::BlockRecord},
    store::{Commit, sqlite::SqliteHistory},
};

/// A commit shows its head before it announces its epoch; a stream may begin in between.
#[tokio::test]
async fn what_a_stream_began_with_is_not_said_again_when_it_is_announced() {
    let live = Arc::new(Live::new(1, "local", 2, Duration::from_secs(15)));
    let mine = |number: u8| {
        let block = BlockRef {
            number: number.into(),
            hash: B256::repeat_byte(number + 1),
            parent_hash: B256::repeat_byte(number),
            timestamp: 0,
        };
        let record = BlockRecord::new(1, block, Vec::new());
        let update = ChainUpdate { extend: vec![block], ..ChainUpdate::default() };
        live.commit(Commit { update, head: Some(block), extended: vec![Arc::new(record)], at_head: true, ..Commit::default() })
    };
    let before = mine(0);
    let folder = tempfile::tempdir().unwrap();
    let history = Arc::new(SqliteHistory::open(&folder.path().join("none.sqlite")).unwrap());
    let feeds = vec![Feed::new(1, Topic::Blocks)];
    let mut stream = Follow::new(Reader::new([live.clone()], history), live.clone(), feeds, None, Turns::new(1));
    let (announce, epochs) = watch::channel(before);
    stream.epochs = epochs;
    // It saw the next epoch's head, of which nothing was published yet.
    let frames = vec![live.topics.subscribe(Topic::Blocks)];
    let begun = Listening { frames, waiting: VecDeque::new(), epoch: before + 1 };
    assert!(stream.hear(begun).0.is_empty());
    announce.send_replace(mine(1));
    let listening = stream.listening.take().unwrap();
    assert!(stream.hear(listening).0.is_empty(), "it was part of what the stream began with");
    announce.send_replace(mine(2));
    let listening = stream.listening.take().unwrap();
    assert_eq!(stream.hear(listening).0.len(), 1);
}
