//! Row 9: reorgs of every depth, at the head, in a backfill, while it is down, twice in a row and back again; and one that is too deep.

use std::time::Duration;

use swaptide_demo::{Devnet, DevnetConfig};

use super::{
    engine::{self, Engine, PATIENCE, Setup},
    fault::{oracle::Oracle, wire::Wire},
    resume::Follower,
};

struct Chain {
    devnet: Devnet,
    setup: Setup,
    folder: tempfile::TempDir,
    follower: Follower,
}

impl Chain {
    /// With so many blocks of history, of which so many can be taken back.
    async fn new(seed: u64, blocks: u64, finality: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut devnet = Devnet::start(DevnetConfig { seed, ..DevnetConfig::default() }).await.unwrap();
        devnet.fill(blocks, 3).await.unwrap();
        let setup = Setup { extra_chain: format!("finality = {finality}"), ..Setup::of(&devnet, folder.path()) };
        Self { devnet, setup, folder, follower: Follower::default() }
    }

    async fn engine(&self) -> Engine {
        Engine::start(&self.setup, self.folder.path()).await
    }

    /// So many blocks are replaced by as many others, with most of what was in them, and one more comes.
    async fn reorg(&mut self, depth: u64) {
        self.devnet.reorg_keeping(depth, 650).await.unwrap();
        self.devnet.fill(1, 3).await.unwrap();
    }

    /// History, live state and whoever follows have what is true.
    async fn agrees(&mut self, engine: &Engine) {
        let oracle = Oracle::of(&self.devnet).await;
        oracle.agrees(&self.devnet, engine).await;
        self.follower.until(engine, &oracle.head.1.to_string()).await;
        self.follower.is_the_truth(engine).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_head_reorgs_of_every_depth_are_followed_and_told() {
    let mut chain = Chain::new(81, 270, 256).await;
    let engine = chain.engine().await;
    chain.agrees(&engine).await;
    for depth in [1, 2, 7, 64, 250] {
        chain.reorg(depth).await;
        chain.agrees(&engine).await;
        // Twice in a row, the second before the first is told to the end.
        chain.devnet.reorg_keeping(depth, 300).await.unwrap();
        chain.reorg(depth).await;
        chain.agrees(&engine).await;
        // Nothing comes after it: what was before is all there is.
        chain.devnet.fill(depth.min(5), 6).await.unwrap();
        engine.at_head(&chain.devnet).await;
        chain.devnet.reorg(depth.min(5)).await.unwrap();
        chain.agrees(&engine).await;
    }
    assert!(engine.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_backfill_and_while_it_is_down_reorgs_change_nothing_of_what_is_true_afterwards() {
    let mut chain = Chain::new(82, 300, 64).await;
    for depth in [1, 7, 60] {
        // It reads history while that is replaced, and is killed in the middle of it.
        let config = chain.setup.clone();
        let killed = engine::killed_after(&config, chain.folder.path(), Duration::from_millis(300));
        let ((), ()) = tokio::join!(killed, async {
            let _ = chain.devnet.reorg_keeping(depth, 650).await.unwrap();
        });
        // While it is down.
        chain.reorg(depth).await;
        let engine = chain.engine().await;
        // And while it catches up.
        chain.reorg(depth).await;
        chain.agrees(&engine).await;
        engine.kill().await;
        chain.reorg(depth).await;
    }
    let engine = chain.engine().await;
    chain.agrees(&engine).await;
    assert!(engine.terminate().await.success());
}

/// What it was told of by its store alone is undone like what it saw.
#[tokio::test(flavor = "multi_thread")]
async fn blocks_from_before_a_start_are_taken_back_after_it() {
    let mut chain = Chain::new(85, 120, 64).await;
    for depth in [1, 7, 50] {
        let engine = chain.engine().await;
        engine.at_head(&chain.devnet).await;
        assert!(engine.terminate().await.success());
        let engine = chain.engine().await;
        engine.at_head(&chain.devnet).await;
        // Nothing comes in their place that would tell a pool's state.
        chain.devnet.reorg(depth).await.unwrap();
        chain.agrees(&engine).await;
        chain.devnet.fill(3, 6).await.unwrap();
        chain.agrees(&engine).await;
        engine.kill().await;
        chain.devnet.fill(depth, 4).await.unwrap();
    }
}

/// A, then B, then A again: two nodes with the same past, and a wire that leads to one of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_branch_that_comes_back_is_the_truth_again() {
    // The same seed makes the same blocks, to the hash.
    let (mut a, mut b) = (Chain::new(83, 20, 64).await, Chain::new(83, 20, 64).await);
    assert_eq!(a.devnet.head().await.unwrap().hash, b.devnet.head().await.unwrap().hash);
    let host = |devnet: &Devnet| devnet.http_url.trim_start_matches("http://").to_owned();
    let wire = Wire::to(&host(&a.devnet)).await;
    a.setup.rpc = vec![format!("ws://{}", wire.host), format!("http://{}", wire.host)];
    let engine = a.engine().await;
    for _ in 0..3 {
        a.devnet.fill(5, 3).await.unwrap();
        a.agrees(&engine).await;
        b.devnet.fill(6, 2).await.unwrap();
        wire.point(&host(&b.devnet));
        let oracle = Oracle::of(&b.devnet).await;
        oracle.agrees(&b.devnet, &engine).await;
        a.follower.until(&engine, &oracle.head.1.to_string()).await;
        // Back, with no more than it had, and then more.
        wire.point(&host(&a.devnet));
        a.agrees(&engine).await;
        a.devnet.fill(2, 3).await.unwrap();
        a.agrees(&engine).await;
        b.devnet.fill(1, 3).await.unwrap();
    }
    assert!(engine.terminate().await.success());
}

/// Deeper than it can undo: it stops and says so, and what it has stays what it was.
#[tokio::test(flavor = "multi_thread")]
async fn a_reorg_that_is_too_deep_stops_it_with_a_word() {
    let mut chain = Chain::new(84, 60, 8).await;
    let engine = chain.engine().await;
    chain.agrees(&engine).await;
    chain.devnet.reorg(20).await.unwrap();
    chain.devnet.fill(2, 3).await.unwrap();
    let line = engine.says(|line| line.contains("deeper than `finality` lets us undo")).await;
    println!("{line}");
    let ended = tokio::time::timeout(PATIENCE, engine.ended()).await.expect("it ends by itself");
    assert_eq!(ended.code(), Some(1));
    // Nor does it go on with the wrong branch when it is started again.
    let (mut child, _) = engine::begun(&chain.setup, chain.folder.path());
    let status = tokio::task::spawn_blocking(move || child.wait().unwrap());
    assert_eq!(tokio::time::timeout(PATIENCE, status).await.expect("it ends by itself").unwrap().code(), Some(1));
    // The documented way: a new database.
    std::fs::remove_file(&chain.setup.database).unwrap();
    for more in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{more}", chain.setup.database.display()));
    }
    let engine = chain.engine().await;
    chain.follower = Follower::default();
    chain.agrees(&engine).await;
    assert!(engine.terminate().await.success());
}
