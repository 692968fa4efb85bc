//! Rows 10 to 12: the store changes its primary every few seconds, is killed, answers late or never, has no room. The live side does not
//! wait for it, and afterwards nothing is missing.
//!
//! `SWAPTIDE_ELECTIONS=60 cargo nextest run --test it stores::` takes the office away more often.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use serde_json::json;
use swaptide_demo::{Devnet, DevnetConfig, Mongod, ReplicaSet};

use super::{
    engine::{Engine, Setup},
    fault::{
        oracle::Oracle,
        wire::{Fault, Wire},
    },
    follow::{stored_logs as rows_of_sqlite, watched_logs},
    mongo::{durable, stored_logs},
    resume::Follower,
};

async fn metric(engine: &Engine, name: &str) -> u64 {
    let metrics = String::from_utf8(engine.admin.get("/metrics").await.unwrap().body).unwrap();
    let line = metrics.lines().find(|line| line.starts_with(&format!("{name}{{"))).unwrap_or_else(|| panic!("no {name}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

/// The store and whoever follows have everything, too.
async fn agrees(devnet: &Devnet, engine: &Engine, follower: &mut Follower) {
    let oracle = Oracle::of(devnet).await;
    oracle.agrees(devnet, engine).await;
    follower.until(engine, &oracle.head.1.to_string()).await;
    follower.is_the_truth(engine).await;
    durable(engine, devnet).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_primary_changes_every_few_seconds_nothing_is_lost() {
    let elections = std::env::var("SWAPTIDE_ELECTIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(6_u64);
    let folder = tempfile::tempdir().unwrap();
    let mut set = ReplicaSet::start().await.unwrap();
    let mut devnet = Devnet::start(DevnetConfig { seed: 91, ..DevnetConfig::default() }).await.unwrap();
    devnet.fill(10, 6).await.unwrap();
    let uri = set.uri("swaptide");
    let setup = Setup { store_url: Some(uri.clone()), ..Setup::of(&devnet, folder.path()) };
    let engine = Engine::start(&setup, folder.path()).await;
    let mut follower = Follower::default();
    agrees(&devnet, &engine, &mut follower).await;
    let (mut longest_behind, began) = (0, Instant::now());
    for election in 0..elections {
        let killed = if election % 3 == 2 {
            let primary = set.primary().await.unwrap();
            set.kill(primary).unwrap();
            Some(primary)
        } else {
            set.step_down().await.unwrap();
            None
        };
        for block in 0..4 {
            devnet.fill(1, 8).await.unwrap();
            // Whatever the members are busy with.
            engine.at_head(&devnet).await;
            longest_behind = longest_behind.max(metric(&engine, "swaptide_persist_backlog_blocks").await);
            if block == 2 && election % 2 == 1 {
                devnet.reorg_keeping(2, 650).await.unwrap();
            }
        }
        if let Some(killed) = killed {
            set.resume(killed).await.unwrap();
        }
        set.primary().await.unwrap();
    }
    agrees(&devnet, &engine, &mut follower).await;
    assert_eq!(stored_logs(&uri, &devnet).await, watched_logs(&devnet).await);
    assert!(engine.terminate().await.success());
    println!(
        "{elections} elections in {:.0} s; the store was {longest_behind} blocks behind at most",
        began.elapsed().as_secs_f64()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_answers_late_or_never_holds_nobody_up_and_catches_up() {
    let folder = tempfile::tempdir().unwrap();
    let mongod = Mongod::start().await.unwrap();
    let direct = mongod.uri("swaptide");
    let host = direct.trim_start_matches("mongodb://").split('/').next().unwrap();
    let wire = Wire::to(host).await;
    let mut devnet = Devnet::start(DevnetConfig { seed: 92, ..DevnetConfig::default() }).await.unwrap();
    devnet.fill(40, 6).await.unwrap();
    // Two connections for everything: readers and the writer wait for each other, too.
    let url = format!("mongodb://{}/swaptide?directConnection=true&maxPoolSize=2", wire.host);
    let setup = Setup { store_url: Some(url), extra_chain: "finality = 8".to_owned(), ..Setup::of(&devnet, folder.path()) };
    let engine = Engine::start(&setup, folder.path()).await;
    let mut follower = Follower::default();
    agrees(&devnet, &engine, &mut follower).await;
    for fault in [Fault::Slow(Duration::from_secs(2)), Fault::Silent, Fault::Deaf] {
        wire.set(fault);
        // More than there are connections ask for what only the store has.
        let old = "{ swaps(first: 100, orderDirection: asc) { nodes { id } } }";
        let asked = futures_util::future::join_all((0..12).map(|_| engine.raw_query(old, json!({}))));
        let (answers, ()) = tokio::join!(tokio::time::timeout(Duration::from_secs(90), asked), async {
            for block in 0..6 {
                devnet.fill(1, 8).await.unwrap();
                engine.at_head(&devnet).await;
                if block == 3 {
                    devnet.reorg_keeping(2, 650).await.unwrap();
                    devnet.fill(1, 8).await.unwrap();
                    engine.at_head(&devnet).await;
                }
            }
            assert!(metric(&engine, "swaptide_persist_backlog_blocks").await > 0, "{fault:?} is felt");
            wire.set(Fault::None);
        });
        for answer in answers.expect("each is answered") {
            let found = answer["data"]["swaps"]["nodes"].as_array().is_some_and(|nodes| nodes.len() == 100);
            let refused = answer["errors"][0]["extensions"]["code"].as_str();
            assert!(found || refused == Some("UPSTREAM_DOWN"), "{fault:?}: {answer}");
        }
        agrees(&devnet, &engine, &mut follower).await;
    }
    assert_eq!(stored_logs(&direct, &devnet).await, watched_logs(&devnet).await);
    assert!(engine.terminate().await.success());
}

/// Away for so long that memory has to let go of what is not stored.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_longer_than_the_journal_reaches_has_everything_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let mut mongod = Mongod::start().await.unwrap();
    let mut devnet = Devnet::start(DevnetConfig { seed: 93, ..DevnetConfig::default() }).await.unwrap();
    devnet.fill(10, 6).await.unwrap();
    let uri = mongod.uri("swaptide");
    let mut setup =
        Setup { store_url: Some(uri.clone()), extra_chain: "finality = 4".to_owned(), ..Setup::of(&devnet, folder.path()) };
    setup.extra_store = "journal_rows = 1000\n".to_owned();
    let engine = Engine::start(&setup, folder.path()).await;
    let mut follower = Follower::default();
    agrees(&devnet, &engine, &mut follower).await;
    mongod.kill();
    while metric(&engine, "swaptide_journal_rows").await < 800 {
        devnet.fill(2, 20).await.unwrap();
        engine.at_head(&devnet).await;
    }
    println!("{}", engine.says(|line| line.contains("the journal is almost full")).await);
    for _ in 0..10 {
        devnet.fill(2, 20).await.unwrap();
        engine.at_head(&devnet).await;
    }
    println!("{}", engine.says(|line| line.contains("memory let go of blocks that are not stored")).await);
    let bound = metric(&engine, "swaptide_journal_rows").await;
    assert!(bound <= 1_100, "{bound}");
    devnet.reorg_keeping(3, 650).await.unwrap();
    devnet.fill(1, 20).await.unwrap();
    engine.at_head(&devnet).await;

    mongod.resume().await.unwrap();
    durable(&engine, &devnet).await;
    devnet.fill(1, 8).await.unwrap();
    println!("{}", engine.says(|line| line.contains("the journal has room again")).await);
    agrees(&devnet, &engine, &mut follower).await;
    assert_eq!(stored_logs(&uri, &devnet).await, watched_logs(&devnet).await);
    assert!(engine.terminate().await.success());
}

/// A file system of its own that is full when we say so.
struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    /// `None`, with a word: this user may not mount one.
    fn new(megabytes: u32) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "tmpfs"]).arg(folder.path()).output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self { folder }),
            Ok(output) => {
                println!("no disk of our own here, so none is filled: {}", String::from_utf8_lossy(&output.stderr));
                None
            }
            Err(error) => {
                println!("no disk of our own here, so none is filled: {error}");
                None
            }
        }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }

    /// Not a byte is left.
    fn fill(&self) {
        let filled = Command::new("sh").args(["-c", "cat /dev/zero >> \"$0\""]).arg(self.ballast()).output().unwrap();
        assert!(String::from_utf8_lossy(&filled.stderr).contains("No space left"), "{filled:?}");
    }

    fn make_room(&self) {
        std::fs::remove_file(self.ballast()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["-l"]).arg(self.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_sqlite_waits_for_room_and_loses_nothing() {
    let Some(disk) = SmallDisk::new(64) else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut devnet = Devnet::start(DevnetConfig { seed: 94, ..DevnetConfig::default() }).await.unwrap();
    devnet.fill(20, 6).await.unwrap();
    let setup = Setup { database: disk.path().join("swaptide.db"), ..Setup::of(&devnet, folder.path()) };
    let mut follower = Follower::default();
    let mut engine = Engine::start(&setup, folder.path()).await;
    agrees(&devnet, &engine, &mut follower).await;
    for round in 0..3 {
        disk.fill();
        while metric(&engine, "swaptide_persist_errors_total").await == 0 {
            devnet.fill(1, 20).await.unwrap();
            engine.at_head(&devnet).await;
        }
        println!("{}", engine.says(|line| line.contains("full disk: make room")).await);
        devnet.fill(1, 20).await.unwrap();
        devnet.reorg_keeping(2, 650).await.unwrap();
        devnet.fill(2, 8).await.unwrap();
        engine.at_head(&devnet).await;
        if round == 1 {
            // Killed with a full disk: what is on it is whole, and it says what is wrong.
            engine.kill().await;
            disk.make_room();
            engine = Engine::start(&setup, folder.path()).await;
        } else {
            disk.make_room();
        }
        agrees(&devnet, &engine, &mut follower).await;
        assert_eq!(rows_of_sqlite(&setup.database, &devnet).await, watched_logs(&devnet).await);
        engine.kill().await;
        engine = Engine::start(&setup, folder.path()).await;
    }
    agrees(&devnet, &engine, &mut follower).await;
    assert!(engine.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_mongodb_ends_and_what_comes_meanwhile_is_stored_later() {
    let Some(disk) = SmallDisk::new(512) else { return };
    let folder = tempfile::tempdir().unwrap();
    let data = disk.path().join("data");
    let mut mongod = Mongod::over(&data).await.unwrap();
    let uri = mongod.uri("swaptide");
    let mut devnet = Devnet::start(DevnetConfig { seed: 95, ..DevnetConfig::default() }).await.unwrap();
    devnet.fill(20, 6).await.unwrap();
    let setup = Setup { store_url: Some(uri.clone()), ..Setup::of(&devnet, folder.path()) };
    let engine = Engine::start(&setup, folder.path()).await;
    let mut follower = Follower::default();
    agrees(&devnet, &engine, &mut follower).await;
    disk.fill();
    while metric(&engine, "swaptide_persist_errors_total").await == 0 {
        devnet.fill(1, 20).await.unwrap();
        engine.at_head(&devnet).await;
    }
    println!("{}", engine.says(|line| line.contains("the store is tried again")).await);
    devnet.fill(1, 20).await.unwrap();
    devnet.reorg_keeping(2, 650).await.unwrap();
    devnet.fill(2, 8).await.unwrap();
    engine.at_head(&devnet).await;
    // It aborts when its journal cannot grow; whoever makes room starts it again.
    mongod.kill();
    disk.make_room();
    mongod.resume().await.unwrap();
    agrees(&devnet, &engine, &mut follower).await;
    assert_eq!(stored_logs(&uri, &devnet).await, watched_logs(&devnet).await);
    assert!(engine.terminate().await.success());
    drop(mongod);
}
