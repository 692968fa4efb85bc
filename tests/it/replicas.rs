//! Rows 26 and 27: several instances over one MongoDB. All of them follow and serve; one writes, and another one takes its place.

use std::time::{Duration, Instant};

use swaptide_demo::{Devnet, DevnetConfig, Mongod};

use super::{
    engine::{Engine, PATIENCE, Setup, run},
    fault::{oracle::Oracle, wire::Wire},
    follow::watched_logs,
    mongo::{durable, stored_logs},
    resume::Follower,
};

struct World {
    mongod: Mongod,
    devnet: Devnet,
    setup: Setup,
    folders: Vec<tempfile::TempDir>,
}

impl World {
    async fn new(seed: u64, blocks: u64) -> Self {
        let mongod = Mongod::start().await.unwrap();
        let mut devnet = Devnet::start(DevnetConfig { seed, ..DevnetConfig::default() }).await.unwrap();
        devnet.fill(blocks, 6).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let uri = mongod.uri("swaptide");
        let setup = Setup { store_url: Some(uri), extra_chain: "finality = 16".to_owned(), ..Setup::of(&devnet, folder.path()) };
        Self { mongod, devnet, setup, folders: vec![folder] }
    }

    async fn instance(&mut self) -> Engine {
        self.folders.push(tempfile::tempdir().unwrap());
        Engine::start(&self.setup, self.folders.last().unwrap().path()).await
    }

    /// Blocks with trades, and a reorg of some of them.
    async fn trade(&mut self, blocks: u64) {
        for block in 0..blocks {
            self.devnet.fill(1, 8).await.unwrap();
            if block % 4 == 2 {
                self.devnet.reorg_keeping(2, 650).await.unwrap();
                self.devnet.fill(1, 4).await.unwrap();
            }
        }
    }

    /// What each of them serves is the chain, and so is what is stored.
    async fn agrees(&self, engines: &[&Engine]) {
        let oracle = Oracle::of(&self.devnet).await;
        for engine in engines {
            oracle.agrees(&self.devnet, engine).await;
            durable(engine, &self.devnet).await;
        }
        assert_eq!(stored_logs(&self.mongod.uri("swaptide"), &self.devnet).await, watched_logs(&self.devnet).await);
    }
}

async fn writes(engine: &Engine) -> bool {
    engine.status().await["writes"].as_bool().unwrap()
}

/// Until it writes; how long that took.
async fn takes_over(engine: &Engine) -> Duration {
    let began = Instant::now();
    let writing = async { while !writes(engine).await {} };
    assert!(tokio::time::timeout(PATIENCE, writing).await.is_ok(), "it takes over; it said:\n{}", engine.log());
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_instances_one_writes_and_when_it_is_killed_the_other_does() {
    let mut world = World::new(101, 60).await;
    // Both at once over an empty store.
    world.folders.push(tempfile::tempdir().unwrap());
    world.folders.push(tempfile::tempdir().unwrap());
    let (a, b) =
        tokio::join!(Engine::start(&world.setup, world.folders[1].path()), Engine::start(&world.setup, world.folders[2].path()));
    world.agrees(&[&a, &b]).await;
    let (mut writer, mut other) = if writes(&a).await { (a, b) } else { (b, a) };
    let mut follower = Follower::default();
    for round in 0..4 {
        assert!(writes(&writer).await && !writes(&other).await);
        world.trade(5).await;
        world.agrees(&[&writer, &other]).await;
        // Whoever follows goes from one to the other with its cursor.
        let head = world.devnet.head().await.unwrap().hash.to_string();
        follower.until(if round % 2 == 0 { &other } else { &writer }, &head).await;
        follower.is_the_truth(&other).await;
        // In the middle of blocks.
        let (trading, killed) = tokio::join!(world.trade(6), async {
            tokio::time::timeout(Duration::from_millis(150 * round), std::future::pending::<()>()).await.unwrap_err();
            writer.kill().await;
            takes_over(&other).await
        });
        let () = trading;
        println!("took over {:.1} s after a kill", killed.as_secs_f64());
        world.agrees(&[&other]).await;
        writer = other;
        other = world.instance().await;
        other.at_head(&world.devnet).await;
        assert!(!writes(&other).await, "who comes second follows");
    }
    world.agrees(&[&writer, &other]).await;
    // Nobody who was connected to it noticed.
    assert!(!writer.log().contains("starting over"), "{}", writer.log());
    assert!(other.terminate().await.success());
    assert!(writer.terminate().await.success());
}

/// Stopped for longer than its lease, it knows nothing of that when it goes on: the fence does.
#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_was_stopped_for_long_writes_nothing_more_and_follows() {
    let mut world = World::new(102, 30).await;
    let mut writer = world.instance().await;
    let mut other = world.instance().await;
    world.agrees(&[&writer, &other]).await;
    for _ in 0..2 {
        // Perhaps in the middle of a write.
        world.trade(1).await;
        writer.pause();
        let took = takes_over(&other).await;
        println!("took over {:.1} s after the other one was stopped", took.as_secs_f64());
        // What it still holds to be the chain is none any more.
        world.devnet.reorg_keeping(3, 500).await.unwrap();
        world.trade(6).await;
        other.at_head(&world.devnet).await;
        durable(&other, &world.devnet).await;
        writer.go_on();
        world.trade(3).await;
        writer.says(|line| line.contains("this one follows")).await;
        assert!(!writes(&writer).await && writes(&other).await);
        world.agrees(&[&writer, &other]).await;
        std::mem::swap(&mut writer, &mut other);
    }
    assert!(other.terminate().await.success());
    assert!(writer.terminate().await.success());
}

/// A rolling update: the new one comes, the old one leaves.
#[tokio::test(flavor = "multi_thread")]
async fn in_a_rolling_update_nobody_who_follows_sees_a_gap() {
    let mut world = World::new(103, 30).await;
    let mut old = world.instance().await;
    let mut follower = Follower::default();
    for _ in 0..3 {
        world.trade(3).await;
        let new = world.instance().await;
        new.at_head(&world.devnet).await;
        // Followed to the last moment of the old one, and on at the new one.
        let ((), _, ()) = tokio::join!(world.trade(8), follower.listen(&old, None), async {
            let goes = tokio::time::timeout(Duration::from_millis(400), std::future::pending::<()>()).await;
            goes.unwrap_err();
            old.leave();
        });
        assert!(old.ended().await.success());
        let took = takes_over(&new).await;
        println!("took over {:.1} s after the other one had left", took.as_secs_f64());
        world.agrees(&[&new]).await;
        follower.until(&new, &world.devnet.head().await.unwrap().hash.to_string()).await;
        follower.is_the_truth(&new).await;
        old = new;
    }
    assert!(old.terminate().await.success());
}

/// One of them follows a source that the other one does not: in a rolling update that adds it, or takes it out.
#[tokio::test(flavor = "multi_thread")]
async fn what_one_follows_and_the_other_does_not_is_read_back_and_no_gap_stays() {
    let mut world = World::new(104, 40).await;
    let both = world.setup.clone();
    let only_v2 = Setup { dexes: both.dexes[..1].to_vec(), ..both.clone() };
    // The new configuration writes, the old one follows …
    let new = world.instance().await;
    world.agrees(&[&new]).await;
    world.setup = only_v2;
    let old = world.instance().await;
    old.at_head(&world.devnet).await;
    world.trade(3).await;
    // … and takes over, because the new one stands still.
    new.pause();
    old.says(|line| line.contains("starting over from the store")).await;
    takes_over(&old).await;
    world.trade(4).await;
    old.at_head(&world.devnet).await;
    durable(&old, &world.devnet).await;
    new.go_on();
    // What is stored from now on lacks a source that it follows: it cannot go on from there.
    new.says(|line| line.contains("does not follow a source that this instance follows")).await;
    new.says(|line| line.contains("starting over from the store")).await;
    world.trade(3).await;
    old.kill().await;
    takes_over(&new).await;
    world.trade(2).await;
    new.says(|line| line.contains("an added source has caught up")).await;
    world.trade(1).await;
    world.setup = both;
    world.agrees(&[&new]).await;
    // Beside it one that starts now: what tokens traded it makes of the events, and somebody else has to write that.
    let next = world.instance().await;
    next.at_head(&world.devnet).await;
    world.agrees(&[&new, &next]).await;
    new.kill().await;
    takes_over(&next).await;
    world.trade(3).await;
    world.agrees(&[&next]).await;
    let file = world.folders.last().unwrap().path().join("swaptide.toml");
    let (code, stdout, stderr) = run(&["audit", "--events", "-c", file.to_str().unwrap()]).await;
    assert_eq!(code, 0, "{stdout}\n{stderr}");
    assert!(next.terminate().await.success());
}

/// The writer's node is on a branch of its own, and what is stored is that. Whoever takes over is on the chain.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_writer_stored_of_another_branch_is_taken_back_by_whoever_takes_over() {
    let mut world = World::new(105, 30).await;
    // The same seed makes the same blocks, to the hash.
    let mut aside = Devnet::start(DevnetConfig { seed: 105, ..DevnetConfig::default() }).await.unwrap();
    aside.fill(30, 6).await.unwrap();
    assert_eq!(aside.head().await.unwrap().hash, world.devnet.head().await.unwrap().hash);
    let host = |devnet: &Devnet| devnet.http_url.trim_start_matches("http://").to_owned();
    let wire = Wire::to(&host(&world.devnet)).await;
    let chain = std::mem::replace(&mut world.setup.rpc, vec![format!("ws://{}", wire.host), format!("http://{}", wire.host)]);
    let writer = world.instance().await;
    world.setup.rpc = chain;
    let other = world.instance().await;
    // Both have these, and they are stored.
    world.devnet.fill(5, 8).await.unwrap();
    world.agrees(&[&writer, &other]).await;
    // Then the writer is told of others, one more of them.
    aside.fill(6, 5).await.unwrap();
    wire.point(&host(&aside));
    writer.at_head(&aside).await;
    durable(&writer, &aside).await;
    // The chain goes on for longer than can be undone.
    for _ in 0..6 {
        world.devnet.fill(5, 6).await.unwrap();
        other.at_head(&world.devnet).await;
    }
    assert!(writes(&writer).await && !writes(&other).await);
    writer.kill().await;
    takes_over(&other).await;
    world.devnet.fill(2, 6).await.unwrap();
    durable(&other, &world.devnet).await;
    world.agrees(&[&other]).await;
    assert!(!other.log().contains("starting over"), "{}", other.log());
    // And from the store alone.
    assert!(other.terminate().await.success());
    let again = world.instance().await;
    world.agrees(&[&again]).await;
    assert!(again.terminate().await.success());
}
