//! What is particular to a file: how it is opened, refused, filled up, cut short. The rest is the conformance suite.

use std::{collections::BTreeMap, fs};

use rusqlite::Connection;
use tempfile::TempDir;

use super::*;
use crate::{
    domain::event::EventKind,
    store::conformance::{
        Database, World, all, history_conformance,
        make::{CHAIN, GENESIS, genesis},
    },
};

history_conformance!(fresh, 48);

const NAME: &str = "swap tide?#1.db";

async fn fresh() -> Database {
    in_folder(tempfile::tempdir().unwrap())
}

fn in_folder(folder: TempDir) -> Database {
    let open = move || Arc::new(SqliteHistory::open(&folder.path().join(NAME)).unwrap()) as Arc<dyn History>;
    Database { open: Box::new(move || Box::pin(std::future::ready(open()))) }
}

/// Every file of a folder, with what is in it. The shared-memory file is no data: SQLite makes it from the log.
fn files(folder: &TempDir) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().path());
    let named = entries.map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap()));
    named.filter(|(name, _)| !name.ends_with("-shm")).collect()
}

fn claim(store: &SqliteHistory, chain: ChainId, genesis: B256) -> Result<(), StoreError> {
    store.shared.claim(chain, genesis).map_err(|failure| failure.at(&store.shared.path))
}

async fn filled(folder: &TempDir) -> (World, SqliteHistory) {
    let path = folder.path().join(NAME);
    let open = move || Arc::new(SqliteHistory::open(&path).unwrap()) as Arc<dyn History>;
    let database = Database { open: Box::new(move || Box::pin(std::future::ready(open()))) };
    let mut world = World::new(&database).await;
    let records = world.grow(&genesis(), 20, 10);
    let batch = WriteBatch { head: records.last().map(|r| r.block), records, ..world.batch() };
    world.write(&batch).await;
    let own = SqliteHistory::open(&folder.path().join(NAME)).unwrap();
    claim(&own, CHAIN, GENESIS).unwrap();
    (world, own)
}

fn more(world: &mut World, count: usize) -> WriteBatch {
    let head = world.oracle.boot().head.unwrap();
    let records = world.grow(&head, count, 10);
    WriteBatch { head: records.last().map(|r| r.block), records, ..world.batch() }
}

#[test]
fn a_missing_file_is_created_by_the_claim_and_not_before() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteHistory::open(&folder.path().join(NAME)).unwrap();
    assert!(files(&folder).is_empty());
    claim(&store, CHAIN, GENESIS).unwrap();
    assert!(files(&folder).contains_key(NAME));
}

#[tokio::test]
async fn an_unclaimed_database_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteHistory::open(&folder.path().join(NAME)).unwrap();
    assert!(matches!(store.boot(CHAIN).await, Err(StoreError::Unavailable(_))));
    claim(&store, CHAIN, GENESIS).unwrap();
    assert!(matches!(store.boot(1).await, Err(StoreError::Unavailable(_))), "another chain");
}

#[test]
fn what_cannot_become_our_database_is_refused_in_one_line_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("text"), "dear diary, today I learned about databases").unwrap();
    fs::write(at("short"), "hi").unwrap();
    fs::create_dir(at("folder")).unwrap();
    fs::write(at("folder/x"), "").unwrap();
    Connection::open(at("theirs")).unwrap().execute_batch("CREATE TABLE t (x); PRAGMA user_version = 7").unwrap();
    let newer = SqliteHistory::open(&at("newer")).unwrap();
    claim(&newer, CHAIN, GENESIS).unwrap();
    drop(newer);
    Connection::open(at("newer")).unwrap().execute_batch("PRAGMA user_version = 99").unwrap();
    fs::rename(at("folder"), at("dir")).unwrap();
    let before: Vec<_> = ["text", "short", "theirs", "newer"].map(|name| fs::read(at(name)).unwrap()).into();
    let count = fs::read_dir(folder.path()).unwrap().count();
    for (name, says) in [
        ("text", "no SQLite database"),
        ("short", "no SQLite database"),
        ("theirs", "another program"),
        ("newer", "newer swaptide (schema 99"),
        ("dir", "is no file"),
        ("nowhere/x", "does not exist: create it"),
        ("text/x", "[store] url"),
    ] {
        let error = SqliteHistory::open(&at(name)).err().unwrap().to_string();
        assert!(error.contains(says) && error.contains(name.split('/').next().unwrap()), "{name}: {error}");
        assert!(!error.contains('\n') && error.contains("[store] url"), "{error}");
    }
    let after: Vec<_> = ["text", "short", "theirs", "newer"].map(|name| fs::read(at(name)).unwrap()).into();
    assert_eq!(before, after);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), count, "no file beside them");
}

#[test]
fn an_empty_file_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(NAME), "").unwrap();
    claim(&SqliteHistory::open(&folder.path().join(NAME)).unwrap(), CHAIN, GENESIS).unwrap();
}

#[tokio::test]
async fn a_database_of_another_chain_is_left_byte_for_byte() {
    for open_meanwhile in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let held = filled(&folder).await;
        let held = open_meanwhile.then_some(held);
        let before = files(&folder);
        assert_eq!(before.contains_key(&format!("{NAME}-wal")), open_meanwhile);
        for (chain, genesis) in [(1, GENESIS), (CHAIN, B256::ZERO)] {
            let store = SqliteHistory::open(&folder.path().join(NAME)).unwrap();
            assert!(matches!(claim(&store, chain, genesis), Err(StoreError::Foreign(_))));
            drop(store);
            assert_eq!(files(&folder), before);
        }
        drop(held);
    }
}

#[test]
fn a_chain_may_join_the_chains_that_the_process_serves() {
    let folder = tempfile::tempdir().unwrap();
    let open = || SqliteHistory::open(&folder.path().join(NAME)).unwrap();
    let store = open();
    for chain in [1, 10, 1] {
        claim(&store, chain, GENESIS).unwrap();
    }
    assert!(matches!(claim(&store, 10, B256::ZERO), Err(StoreError::Foreign(_))));
    assert!(matches!(claim(&open(), 137, GENESIS), Err(StoreError::Foreign(_))));
    claim(&open(), 10, GENESIS).unwrap();
}

#[tokio::test]
async fn a_full_disk_is_unavailable_and_a_later_write_works() {
    let folder = tempfile::tempdir().unwrap();
    let (mut world, own) = filled(&folder).await;
    let connections = own.shared.connections().unwrap();
    let pages = |limit: i64| {
        connections.with_writer(|w| w.conn.pragma_update_and_check(None, "max_page_count", limit, |_| Ok(())).unwrap());
    };
    let batch = more(&mut world, 40);
    for (refuse, allow) in [(1, 1 << 30)] {
        pages(refuse);
        let error = own.write(batch.clone()).await.unwrap_err();
        assert!(matches!(&error, StoreError::Unavailable(text) if text.contains("full disk")), "{error}");
        world.oracle.check(&world.store).await;
        pages(allow);
    }
    own.write(batch.clone()).await.unwrap();
    world.oracle.write(&batch);
    world.oracle.check(&world.store).await;
    world.oracle.check_replay(&world.store).await;
}

#[tokio::test]
async fn a_read_only_or_held_database_is_unavailable_and_a_later_write_works() {
    let folder = tempfile::tempdir().unwrap();
    let (mut world, own) = filled(&folder).await;
    let connections = own.shared.connections().unwrap();
    let batch = more(&mut world, 2);
    let query_only = |on: bool| connections.with_writer(|w| w.conn.pragma_update(None, "query_only", on).unwrap());
    query_only(true);
    let error = own.write(batch.clone()).await.unwrap_err();
    assert!(matches!(&error, StoreError::Unavailable(text) if text.contains("cannot be written")), "{error}");
    query_only(false);

    connections.with_writer(|w| w.conn.busy_timeout(std::time::Duration::ZERO).unwrap());
    let other = Connection::open(folder.path().join(NAME)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = own.write(batch.clone()).await.unwrap_err();
    assert!(matches!(&error, StoreError::Unavailable(text) if text.contains("another process")), "{error}");
    other.execute_batch("ROLLBACK").unwrap();

    world.oracle.check(&world.store).await;
    own.write(batch.clone()).await.unwrap();
    world.oracle.write(&batch);
    world.oracle.check(&world.store).await;
}

#[tokio::test]
async fn killed_in_the_middle_of_a_write_it_holds_what_was_there_before() {
    let folder = tempfile::tempdir().unwrap();
    let (mut world, own) = filled(&folder).await;
    let batch = more(&mut world, 60);
    let wreck = tempfile::tempdir().unwrap();
    let log = |folder: &TempDir| fs::metadata(folder.path().join(format!("{NAME}-wal"))).unwrap().len();
    let before = log(&folder);
    own.shared.connections().unwrap().with_writer(|writer| {
        // So small that half of the transaction is on disk before it ends.
        writer.conn.pragma_update(None, "cache_size", 10).unwrap();
        let tx = writer.conn.transaction().unwrap();
        write::apply(&tx, &mut Memory::default(), &batch).unwrap();
        for name in [NAME.to_owned(), format!("{NAME}-wal")] {
            fs::copy(folder.path().join(&name), wreck.path().join(&name)).unwrap();
        }
    });
    assert!(log(&wreck) > before, "the copy holds a part of the transaction");
    let store: Arc<dyn History> = Arc::new(SqliteHistory::open(&wreck.path().join(NAME)).unwrap());
    store.claim(CHAIN, GENESIS).await.unwrap();
    world.oracle.check(&store).await;
    // And goes on from there.
    let fence = store.take_fence("after the crash").await.unwrap();
    store.write(WriteBatch { fence, ..batch.clone() }).await.unwrap();
    world.oracle.write(&batch);
    world.oracle.check(&store).await;
}

#[tokio::test]
async fn a_creation_that_was_cut_short_is_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(NAME);
    {
        let wreck = tempfile::tempdir().unwrap();
        let mut conn = Connection::open(wreck.path().join(NAME)).unwrap();
        conn.pragma_update(None, "cache_size", 1).unwrap();
        let tx = conn.transaction().unwrap();
        schema::migrate(&tx).unwrap();
        for name in [NAME.to_owned(), format!("{NAME}-journal")] {
            fs::copy(wreck.path().join(&name), folder.path().join(&name)).unwrap();
        }
    }
    let store = SqliteHistory::open(&path).unwrap();
    claim(&store, CHAIN, GENESIS).unwrap();
    assert!(store.boot(CHAIN).await.unwrap().head.is_none());
}

#[test]
fn another_program_in_the_middle_of_a_write_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut conn = Connection::open(folder.path().join(NAME)).unwrap();
    conn.execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (zeroblob(50000))").unwrap();
    conn.pragma_update(None, "cache_size", 1).unwrap();
    let tx = conn.transaction().unwrap();
    tx.execute("UPDATE t SET x = zeroblob(60000)", []).unwrap();
    let before = files(&folder);
    assert!(before.contains_key(&format!("{NAME}-journal")));
    let error = SqliteHistory::open(&folder.path().join(NAME)).err().unwrap();
    assert!(matches!(&error, StoreError::Foreign(_) | StoreError::Corrupt(_)), "{error}");
    assert_eq!(files(&folder), before);
}

#[tokio::test]
async fn a_writer_that_is_no_longer_awaited_leaves_a_whole_batch_or_none() {
    let folder = tempfile::tempdir().unwrap();
    let (mut world, own) = filled(&folder).await;
    let batch = more(&mut world, 30);
    // Polled once, then dropped: the transaction is on its own thread by then.
    assert!(futures_util::FutureExt::now_or_never(own.write(batch.clone())).is_none());
    own.write(batch.clone()).await.unwrap();
    world.oracle.write(&batch);
    world.oracle.check(&world.store).await;
}

#[tokio::test]
async fn a_panic_while_reading_or_writing_costs_no_connection() {
    let folder = tempfile::tempdir().unwrap();
    let (mut world, own) = filled(&folder).await;
    let connections = own.shared.connections().unwrap();
    for _ in 0..5 {
        let read = connections.clone().read::<()>(|_| panic!("a bug")).await;
        assert!(matches!(read, Err(StoreError::Unavailable(_))));
        let write = connections
            .clone()
            .write::<()>(|tx, _| {
                tx.execute("DELETE FROM events", []).unwrap();
                panic!("a bug")
            })
            .await;
        assert!(matches!(write, Err(StoreError::Unavailable(_))));
    }
    world.oracle.check(&world.store).await;
    let batch = more(&mut world, 1);
    own.write(batch.clone()).await.unwrap();
    world.oracle.write(&batch);
    world.oracle.check(&world.store).await;
}

#[tokio::test]
async fn a_damaged_row_is_corrupt_and_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    let (_, own) = filled(&folder).await;
    let connections = own.shared.connections().unwrap();
    connections.with_writer(|w| w.conn.execute("UPDATE events SET body = x'ff'", []).unwrap());
    assert!(matches!(own.events(all(EventKind::Swap)).await, Err(StoreError::Corrupt(_))));
}

#[test]
fn every_query_has_its_index_and_sorts_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteHistory::open(&folder.path().join(NAME)).unwrap();
    claim(&store, CHAIN, GENESIS).unwrap();
    let conn = Connection::open(folder.path().join(NAME)).unwrap();
    for sql in query::statements().into_iter().chain(read::statements()) {
        let mut statement = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let nulls = rusqlite::params_from_iter(vec![rusqlite::types::Null; statement.parameter_count()]);
        let plan: Vec<String> = statement.query_map(nulls, |row| row.get(3)).unwrap().collect::<Result<_, _>>().unwrap();
        assert!(!plan.is_empty());
        for step in &plan {
            let subquery = step.starts_with("CO-ROUTINE") || step.starts_with("SCAN (subquery");
            assert!(step.starts_with("SEARCH") || subquery, "{sql}\n{plan:#?}");
        }
        let counts = sql.starts_with("SELECT count(*) FROM (");
        if counts && sql.contains("INDEXED BY") && !sql.contains("events_tx") {
            assert!(plan.iter().any(|step| step.contains("COVERING INDEX")), "{sql}\n{plan:#?}");
        }
    }
}
