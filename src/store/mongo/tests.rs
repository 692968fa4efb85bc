//! What is particular to MongoDB: plans, migrations, refusals. The rest is the conformance suite, on a real mongod.

mod keep;
mod lease;
mod snapshots;

use std::sync::{
    Weak,
    atomic::{AtomicU32, Ordering},
};

use mongodb::bson::{Bson, Document};
use swaptide_demo::Mongod;
use tokio::sync::mpsc;

use super::*;
use crate::{
    domain::{event::EventKind, record::PoolSnapshot},
    store::{
        conformance::{
            Database, World, all, history_conformance,
            make::{self, CHAIN, GENESIS, genesis, pool, pool_id},
        },
        history::PurgeOrphans,
        query::{Fields, Narrow, Place},
    },
};

history_conformance!(fresh, 12);

/// `MONGODB_URI`, or a mongod that the tests of a process share while any of them runs.
#[derive(Clone)]
pub(crate) struct Server(Option<Arc<Mongod>>);

impl Server {
    pub(crate) async fn start() -> Self {
        static SHARED: tokio::sync::Mutex<Weak<Mongod>> = tokio::sync::Mutex::const_new(Weak::new());
        if given_uri().is_some() {
            return Self(None);
        }
        let mut shared = SHARED.lock().await;
        let mongod = match shared.upgrade() {
            Some(mongod) => mongod,
            None => Arc::new(Mongod::start().await.unwrap()),
        };
        *shared = Arc::downgrade(&mongod);
        Self(Some(mongod))
    }

    /// An empty database.
    pub(crate) fn database(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("swaptide_test_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        match (&self.0, given_uri()) {
            (Some(mongod), _) => mongod.uri(&name),
            (None, Some(uri)) => with_database(&uri, &name),
            (None, None) => unreachable!("one of them is there"),
        }
    }

    /// The suite's view of a database; keeps the server.
    fn suite(&self, uri: String) -> Database {
        let server = self.clone();
        let opened = move || {
            let (uri, server) = (uri.clone(), server.clone());
            Box::pin(async move {
                let history = open(&uri).await;
                drop(server);
                Arc::new(history) as Arc<dyn History>
            }) as BoxFuture<'static, Arc<dyn History>>
        };
        Database { open: Box::new(opened) }
    }
}

#[expect(clippy::disallowed_methods, reason = "where a test's server is, the environment says")]
fn given_uri() -> Option<String> {
    std::env::var("MONGODB_URI").ok().filter(|v| !v.is_empty())
}

/// The URI with another database in its path.
fn with_database(uri: &str, name: &str) -> String {
    let (base, options) = uri.split_once('?').unwrap_or((uri, ""));
    let hosts = base.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
    format!("{hosts}/{name}?{options}")
}

fn config(uri: &str) -> MongoConfig {
    MongoConfig::new(uri, || 1_700_000_000)
}

async fn open(uri: &str) -> MongoHistory {
    MongoHistory::open(config(uri)).await.unwrap()
}

async fn fresh() -> Database {
    let server = Server::start().await;
    server.suite(server.database())
}

/// Every query of the API: narrowed in every way, both orders, with and without bounds and times.
fn queries() -> Vec<EventQuery> {
    let narrows = [
        Narrow::All,
        Narrow::Pool(pool_id(0)),
        Narrow::Token(make::token(1)),
        Narrow::Origin(Address::with_last_byte(1)),
        Narrow::Transaction(B256::repeat_byte(3)),
    ];
    let place = Place { block_number: 7, log_index: 2 };
    let mut queries = Vec::new();
    for narrow in narrows {
        for newest_first in [true, false] {
            for kind in [EventKind::Swap, EventKind::Mint] {
                for (after, before) in [(None, None), (Some(place), None), (None, Some(place))] {
                    queries.push(EventQuery { narrow, kind, newest_first, after, before, limit: 50, ..all(kind) });
                }
            }
        }
    }
    queries
}

fn stages(plan: &Bson, found: &mut Vec<String>) {
    match plan {
        Bson::Document(document) => {
            if let Ok(stage) = document.get_str("stage") {
                found.push(stage.to_owned());
            }
            document.values().for_each(|value| stages(value, found));
        }
        Bson::Array(array) => array.iter().for_each(|value| stages(value, found)),
        _ => {}
    }
}

async fn explained(store: &Store, command: Document) -> Vec<String> {
    let explained = store.database.run_command(doc! { "explain": command, "verbosity": "queryPlanner" }).await.unwrap();
    let mut found = Vec::new();
    stages(explained.get("queryPlanner").unwrap().as_document().unwrap().get("winningPlan").unwrap(), &mut found);
    found
}

#[tokio::test]
async fn every_query_walks_one_index_in_its_order() {
    let server = Server::start().await;
    let uri = server.database();
    let history = open(&uri).await;
    history.claim(CHAIN, GENESIS).await.unwrap();
    let store = &history.store;
    for asked_for in queries() {
        let asked = query::asked(&asked_for, asked_for.after, asked_for.before);
        let find = doc! { "find": schema::EVENTS, "filter": asked.filter, "sort": asked.sort, "limit": 50, "hint": asked.index };
        let stages = explained(store, find).await;
        assert!(stages.iter().any(|s| s == "IXSCAN"), "{asked_for:?}: {stages:?}");
        assert!(!stages.iter().any(|s| s == "COLLSCAN" || s.starts_with("SORT")), "{asked_for:?}: {stages:?}");
    }
    let time = query::first_block_filter(&all(EventKind::Swap), 9);
    let by_time =
        doc! { "find": schema::BLOCKS, "filter": time, "sort": { "timestamp": 1, "_id": 1 }, "limit": 1, "hint": "time" };
    let by_hash =
        doc! { "find": schema::BLOCKS, "filter": { "hash": key::binary(GENESIS.as_slice()), "chain": 1_i64 }, "hint": "hash" };
    let replay = doc! { "find": schema::EVENTS, "filter": read::replay_filter(CHAIN, &pool_id(0), 5, 9), "hint": "pool" };
    let flips = doc! { "find": schema::EVENTS, "filter": key::events_in_blocks(CHAIN, 5, 5) };
    for find in [by_time, by_hash, replay, flips] {
        let stages = explained(store, find.clone()).await;
        assert!(stages.iter().any(|s| s == "IXSCAN"), "{find}: {stages:?}");
        assert!(!stages.iter().any(|s| s == "COLLSCAN" || s == "SORT"), "{find}: {stages:?}");
    }
}

/// A hint reaches the first branch only; the others have to find their index themselves.
#[tokio::test]
async fn every_branch_of_a_command_walks_one_index_in_its_order() {
    let server = Server::start().await;
    let uri = server.database();
    let mut world = World::new(&server.suite(uri.clone())).await;
    let mut records = world.grow(&genesis(), 60, 12);
    let first = Arc::make_mut(&mut records[0]);
    first.created = (0..make::TRADED).map(|n| pool(n, first.block)).collect();
    let batch = WriteBatch { head: records.last().map(|r| r.block), records, ..world.batch() };
    world.write(&batch).await;
    let store = open(&uri).await.store;
    let mut asked = queries();
    // Some that share a branch.
    asked.extend((0..20).map(|n| EventQuery { narrow: Narrow::Transaction(B256::repeat_byte(n)), ..all(EventKind::Burn) }));
    let (pipeline, index) = pages::pipeline_of(&asked).unwrap();
    let command = doc! { "aggregate": schema::EVENTS, "pipeline": pipeline, "hint": index, "cursor": {} };
    let explained = store.database.run_command(doc! { "explain": command, "verbosity": "queryPlanner" }).await.unwrap();
    let explained = Bson::Document(explained);
    let (mut plans, mut rivals) = (Vec::new(), Vec::new());
    every("winningPlan", &explained, &mut plans);
    every("rejectedPlans", &explained, &mut rivals);
    // Those of transactions share one for each kind.
    let alone = asked.iter().filter(|query| !matches!(query.narrow, Narrow::Transaction(_)));
    let mut expected: Vec<&str> = alone.map(|query| query::asked(query, None, None).index).chain(["tx"; 3]).collect();
    let mut walked: Vec<String> = Vec::new();
    for plan in plans {
        let (mut found, text) = (Vec::new(), plan.to_string());
        stages(&plan, &mut found);
        walked.extend(text.split("\"indexName\": \"").nth(1).map(|rest| rest.split('"').next().unwrap().to_owned()));
        assert!(!found.iter().any(|s| s == "COLLSCAN" || s.starts_with("SORT") && s != "SORT_MERGE"), "{text}");
    }
    expected.sort_unstable();
    walked.sort_unstable();
    assert_eq!(walked, expected);
    // And no other index could be taken for it: each would have to sort.
    let rivals: Vec<&Bson> = rivals.iter().flat_map(|plans| plans.as_array().unwrap()).collect();
    assert!(!rivals.is_empty());
    for rival in rivals {
        let mut found = Vec::new();
        stages(rival, &mut found);
        assert!(found.iter().any(|s| s == "SORT"), "{rival}");
    }
}

/// Every value under this name, however deep.
fn every(name: &str, found: &Bson, into: &mut Vec<Bson>) {
    match found {
        Bson::Document(document) => {
            for (key, value) in document {
                if key == name { into.push(value.clone()) } else { every(name, value, into) }
            }
        }
        Bson::Array(array) => array.iter().for_each(|value| every(name, value, into)),
        _ => {}
    }
}

#[tokio::test]
async fn no_collection_has_more_than_four_indexes_beside_its_key() {
    let server = Server::start().await;
    let history = open(&server.database()).await;
    history.claim(CHAIN, GENESIS).await.unwrap();
    for name in history.store.database.list_collection_names().await.unwrap() {
        let indexes = history.store.collection(&name).list_index_names().await.unwrap();
        assert!(indexes.len() <= 5, "{name}: {indexes:?}");
        assert_eq!(indexes.len() - 1, schema::INDEXES.iter().filter(|i| i.collection == name).count(), "{name}: {indexes:?}");
    }
}

#[tokio::test]
async fn replicas_that_start_together_migrate_once_and_all_come_up() {
    let server = Server::start().await;
    let uri = server.database();
    let together = (0..6).map(|_| {
        let uri = uri.clone();
        tokio::spawn(async move { open(&uri).await.claim(CHAIN, GENESIS).await })
    });
    for outcome in futures_util::future::join_all(together).await {
        outcome.unwrap().unwrap();
    }
    let history = open(&uri).await;
    let meta = history.store.meta();
    assert_eq!(meta.find_one(doc! { "_id": "schema" }).await.unwrap().unwrap().get_i32("version").unwrap(), 6);
    assert!(meta.find_one(doc! { "_id": "migration" }).await.unwrap().is_none(), "the lock is given back");
}

#[tokio::test]
async fn a_lock_that_was_left_behind_is_taken_over_when_it_expires() {
    let server = Server::start().await;
    let uri = server.database();
    let history = open(&uri).await;
    let left = doc! { "_id": "migration", "owner": "gone", "until": 1_699_999_999_i64 };
    history.store.meta().insert_one(left).await.unwrap();
    history.claim(CHAIN, GENESIS).await.unwrap();
}

#[tokio::test]
async fn a_first_migration_that_was_cut_off_goes_on() {
    let server = Server::start().await;
    let history = open(&server.database()).await;
    let (database, meta) = (&history.store.database, history.store.meta());
    // The mark, one collection with its first index, and no lock any more.
    meta.insert_one(doc! { "_id": "schema", "application": "swaptide", "version": 0 }).await.unwrap();
    database.create_collection(schema::EVENTS).await.unwrap();
    history.claim(CHAIN, GENESIS).await.unwrap();
    assert_eq!(history.store.collection(schema::EVENTS).list_index_names().await.unwrap().len(), 5);
}

#[tokio::test]
async fn databases_of_others_and_of_newer_versions_are_refused_untouched() {
    let server = Server::start().await;
    for (collection, document, says) in [
        ("users", doc! { "name": "ada" }, "users"),
        (schema::META, doc! { "_id": "schema", "application": "other", "version": 1 }, "another program"),
        (schema::META, doc! { "_id": "schema", "application": "swaptide", "version": 99 }, "newer swaptide"),
    ] {
        let history = open(&server.database()).await;
        let database = &history.store.database;
        database.collection::<Document>(collection).insert_one(document).await.unwrap();
        let refused = history.claim(CHAIN, GENESIS).await.unwrap_err();
        assert!(matches!(&refused, StoreError::Foreign(text) if text.contains(says)), "{refused}");
        assert_eq!(database.list_collection_names().await.unwrap(), [collection]);
        assert_eq!(database.collection::<Document>(collection).count_documents(doc! {}).await.unwrap(), 1);
    }
}

#[tokio::test]
async fn a_server_that_is_away_is_one_line_without_the_password() {
    let uri = "mongodb://ada:s3cret@127.0.0.1:9/x?replicaSet=rs0&serverSelectionTimeoutMS=200&connectTimeoutMS=200";
    let refused = open(uri).await.claim(CHAIN, GENESIS).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Unavailable(text) if text.contains("cannot be reached")), "{refused}");
    for text in [refused.to_string(), MongoHistory::open(config("mongodb://ada:s3cret@")).await.err().unwrap().to_string()] {
        assert!(!text.contains("s3cret") && !text.contains('\n'), "{text}");
    }
}

/// A backfill that was cut short between its rows and its cursor.
#[tokio::test]
async fn rows_that_a_cut_off_backfill_left_are_there_once() {
    let server = Server::start().await;
    let uri = server.database();
    let mut world = World::new(&server.suite(uri.clone())).await;
    let mut records = world.grow(&genesis(), 30, 12);
    let first = Arc::make_mut(&mut records[0]);
    first.created = (0..make::TRADED).map(|n| pool(n, first.block)).collect();
    let head = records.last().map(|r| r.block);
    let batch = WriteBatch { head, finalized_number: 30, records, ..world.batch() };
    // As the first half of the same write does it, with rows that did not know everything yet.
    let mut poor = batch.clone();
    for record in &mut poor.records[..20] {
        Arc::make_mut(record).rows.iter_mut().for_each(|row| (row.after, row.enrichment) = (None, None));
    }
    let cut_off = open(&uri).await.store;
    cut_off.learn(CHAIN, poor.records.iter().flat_map(|r| r.created.iter().map(Arc::as_ref)));
    events::insert_rows(&cut_off, &poor).await.unwrap();
    assert_eq!(world.store.boot(CHAIN).await.unwrap().head, None);
    // And after an earlier batch, as the cursor of a backfill that was under way.
    let early = WriteBatch { head: batch.records.get(4).map(|r| r.block), records: batch.records[..5].to_vec(), ..batch.clone() };
    world.write(&WriteBatch { finalized_number: 5, ..early }).await;
    let pools: Vec<PoolMeta> = batch.records[0].created.iter().map(|m| (**m).clone()).collect();
    for replay in world.store.replay(CHAIN, pools).await.unwrap() {
        assert!(
            replay.rows.iter().all(|e| e.block.number <= 5),
            "what is above the cursor comes again, and must not count twice"
        );
    }
    world.write(&batch).await;
    world.oracle.check(&world.store).await;
    for narrow in [Narrow::All, Narrow::Token(make::token(1)), Narrow::Pool(pool_id(2))] {
        world.oracle.check_query(&world.store, EventQuery { narrow, ..all(EventKind::Swap) }).await;
    }
}

#[tokio::test]
async fn a_page_is_one_command_and_a_batch_at_the_head_a_handful() {
    let server = Server::start().await;
    let uri = server.database();
    let (heard, mut commands) = mpsc::channel(1_000);
    let history = MongoHistory::open(MongoConfig { commands: Some(heard.into()), ..config(&uri) }).await.unwrap();
    history.claim(CHAIN, GENESIS).await.unwrap();
    let fence = history.take_fence("test").await.unwrap();
    let mut rng = make::Rng(1);
    let record = rng.record(&genesis(), 80);
    let batch = WriteBatch {
        chain: CHAIN,
        fence,
        head: Some(record.block),
        records: vec![Arc::new(record)],
        now: 5,
        ..WriteBatch::default()
    };
    let names = |commands: &mut mpsc::Receiver<mongodb::event::command::CommandEvent>| {
        let mut names = Vec::new();
        while let Ok(event) = commands.try_recv() {
            if let mongodb::event::command::CommandEvent::Started(started) = event {
                names.push(started.command_name);
            }
        }
        names
    };
    names(&mut commands);
    history.write(batch).await.unwrap();
    let written = names(&mut commands);
    assert_eq!(written, ["update", "update", "update", "find", "insert", "insert", "commitTransaction"]);
    history.events(EventQuery { limit: 1_001, ..all(EventKind::Swap) }).await.unwrap();
    assert_eq!(names(&mut commands), ["find"]);
    // And reads only what is asked for.
    history.events(EventQuery { fields: Fields::default(), ..all(EventKind::Swap) }).await.unwrap();
    let found = std::iter::from_fn(|| commands.try_recv().ok()).find_map(|event| match event {
        mongodb::event::command::CommandEvent::Started(started) => Some(started.command),
        _ => None,
    });
    let found = found.unwrap();
    let read: Vec<&String> =
        found.get_document("projection").unwrap().iter().filter(|(_, v)| v.as_i32() == Some(1)).map(|(k, _)| k).collect();
    assert!(read.iter().any(|k| *k == "body"), "{read:?}");
    for unread in ["state_after", "origin", "gas_used", "gas_price", "amount0", "tokens", "derive_version"] {
        assert!(!read.iter().any(|k| *k == unread), "{unread} in {read:?}");
    }
    history.count(all(EventKind::Swap), 10_000).await.unwrap();
    assert_eq!(names(&mut commands).len(), 1);
}

#[tokio::test]
async fn a_write_whose_caller_stops_waiting_leaves_no_transaction_open() {
    let server = Server::start().await;
    let history = MongoHistory::open(config(&server.database())).await.unwrap();
    history.claim(CHAIN, GENESIS).await.unwrap();
    let fence = history.take_fence("test").await.unwrap();
    let mut rng = make::Rng(2);
    let mut parent = genesis();
    let mut batch = || {
        let record = rng.record(&parent, 20);
        parent = record.block;
        WriteBatch {
            chain: CHAIN,
            fence,
            head: Some(record.block),
            records: vec![Arc::new(record)],
            now: 5,
            ..WriteBatch::default()
        }
    };
    for step in 0..60 {
        let impatient = std::time::Duration::from_micros(step * 150);
        let _ = tokio::time::timeout(impatient, history.write(batch())).await;
        // MongoDB would end it after a minute.
        let next = tokio::time::timeout(std::time::Duration::from_secs(10), history.write(batch())).await;
        assert!(matches!(next, Ok(Ok(()))), "given up after {impatient:?}: {next:?}");
    }
}
