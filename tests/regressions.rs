//! Faults that were found once by attacking the engine, each with the scenario that showed it. All on the simulated chain and a
//! paused clock; the name of a test is the sentence that must hold.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a test that cannot go on says so by a panic"
)]

use alloy::primitives::B256;
use futures_util::future::BoxFuture;
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use swaptide::{
    actors::{
        Deps, Finality, Plan, StartBlock,
        persist::Persist,
        supervise::{Restart, Spec, supervise},
        tree::ChainTree,
    },
    chain::{
        registry::{DexSpec, Registry},
        sim::{MANAGER, Sim, V2_FACTORY, V3_FACTORY, Weather},
    },
    domain::{block::BlockRef, pool::Protocol, reconcile::ChainUpdate, record::BlockRecord},
    store::{
        Commit, History, Live,
        between::{Between, switched},
        lease::Lease,
        sqlite::SqliteHistory,
    },
    telemetry::{Board, Metrics},
};
use tokio::{
    sync::{mpsc, watch},
    task::LocalSet,
};
use tokio_util::sync::CancellationToken;

const CHAIN: u64 = 1_337;

fn dexes() -> Vec<DexSpec> {
    let dex = |name: &str, protocol, factory| DexSpec {
        name: name.to_owned(),
        protocol,
        factory,
        fee_pips: 3_000,
        pools: Vec::new(),
        older_pools: false,
        position_manager: (protocol == Protocol::UniswapV3).then_some(MANAGER),
        lp_tokens: protocol == Protocol::UniswapV2,
    };
    vec![dex("v2", Protocol::UniswapV2, V2_FACTORY), dex("v3", Protocol::UniswapV3, V3_FACTORY)]
}

fn paused(test: impl AsyncFnOnce()) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    LocalSet::new().block_on(&runtime, test());
}

/// A store whose writes wait at a gate.
fn gated(inner: Arc<dyn History>, gate: Arc<tokio::sync::Semaphore>) -> Arc<dyn History> {
    Arc::new(Between::new(inner, move |inner, batch| {
        let gate = gate.clone();
        Box::pin(async move {
            gate.acquire().await.unwrap().forget();
            inner.write(batch).await
        })
    }))
}

/// A store, and the switch that turns its writes off.
async fn store(file: &Path) -> (Arc<dyn History>, Arc<AtomicBool>) {
    let s = SqliteHistory::open(file).unwrap();
    s.claim(CHAIN, B256::repeat_byte(1)).await.unwrap();
    switched(Arc::new(s))
}

async fn deps(sim: &Sim, history: Arc<dyn History>, rows: usize, start: StartBlock) -> (Deps, mpsc::Receiver<String>) {
    let (fatal_tx, fatal) = mpsc::channel(1);
    let fence = history.take_fence("x").await.unwrap();
    (
        Deps {
            chain: CHAIN,
            source: Arc::new(sim.clone()),
            live: Arc::new(Live::new(CHAIN, "sim", 2, Duration::from_secs(15))),
            history,
            metrics: Metrics::new().unwrap(),
            board: Board::default(),
            plan: Plan {
                start,
                finality: Finality::Depth(12),
                dexes: dexes(),
                orphan_retention_s: 60,
                journal_rows_max: rows,
                enrichment: true,
                token_probe: None,
                progress_bar: false,
            },
            joined: Default::default(),
            lease: Lease::new(Some(fence)),
            fatal: fatal_tx,
            stop: CancellationToken::new(),
            now_unix_ms: || 1_700_000_000_000,
        },
        fatal,
    )
}

async fn at_head(live: &Arc<Live>, sim: &Sim) {
    let head = sim.head().block.hash;
    let mut epochs = live.watch_epoch();
    tokio::time::timeout(Duration::from_secs(120), async {
        while live.head().block.is_none_or(|b| b.hash != head) {
            epochs.changed().await.unwrap();
        }
    })
    .await
    .expect("at head");
}

fn watched(sim: &Sim) -> u64 {
    let mut r = Registry::new(dexes());
    sim.canonical().into_iter().map(|(h, l)| r.select(CHAIN, h.block, l).events.len() as u64).sum()
}

/// SIGTERM while the store is catching up after an outage longer than memory.
#[test]
fn stop_during_refill_leaves_no_gap() {
    paused(async || {
        let folder = tempfile::tempdir().unwrap();
        let (s, off) = store(&folder.path().join("a.db")).await;
        let sim = Sim::new(3, Weather::CALM);
        (0..30).for_each(|_| sim.step());
        let (d, _f) = deps(&sim, s.clone(), 10, StartBlock::Number(0)).await;
        let live = d.live.clone();
        let tree = ChainTree::start(Arc::new(d));
        at_head(&live, &sim).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        off.store(true, Ordering::Release);
        for _ in 0..90 {
            sim.step();
            at_head(&live, &sim).await;
        }
        off.store(false, Ordering::Release);
        println!("durable {} floor {}", *live.watch_durable().borrow(), live.head().window_floor);
        println!("stopped in time: {}", tree.stop().await);
        let boot = s.boot(CHAIN).await.unwrap();
        println!("store's head {:?}, chain's head {}", boot.head.map(|b| b.number), sim.head().block.number);
        let (d, _f) = deps(&sim, s.clone(), 200_000, StartBlock::Number(0)).await;
        let live = d.live.clone();
        let tree = ChainTree::start(Arc::new(d));
        sim.step();
        at_head(&live, &sim).await;
        tree.stop().await;
        assert_eq!(s.log_counts(CHAIN).await.unwrap().1, watched(&sim), "every log exactly once");
    });
}

fn blk(n: u64, salt: u8, parent: B256) -> BlockRef {
    let mut h = [salt; 32];
    h[0] = n as u8;
    BlockRef { number: n, hash: B256::from(h), parent_hash: parent, timestamp: n }
}
fn rec(b: BlockRef) -> Arc<BlockRecord> {
    Arc::new(BlockRecord::new(CHAIN, b, Vec::new()))
}

/// A rebuilt pool amends a block; a reorg takes that block before the store took the amendment.
#[test]
fn an_amended_block_that_is_reverted_is_not_made_canonical_again() {
    paused(async || {
        let folder = tempfile::tempdir().unwrap();
        let (s, _) = store(&folder.path().join("a.db")).await;
        let sim = Sim::new(3, Weather::CALM);
        let (d, _f) = deps(&sim, s.clone(), 200_000, StartBlock::Number(0)).await;
        let d = Arc::new(d);
        let live = d.live.clone();
        let anchor = blk(0, 1, B256::ZERO);
        live.restore(Commit { head: Some(anchor), ..Commit::default() }, 0, 1);
        let (tx, _done) = watch::channel(false);
        let persist = Persist::new(d.clone(), CancellationToken::new(), tx);
        let spec = Spec {
            kind: "persist",
            name: "p".into(),
            restart: Restart::Transient,
            board: d.board.clone(),
            metrics: d.metrics.clone(),
            on_give_up: Box::new(|_| ()),
        };
        let _a = supervise(spec, |_| persist);
        let (a, b) = (blk(1, 0xaa, anchor.hash), blk(1, 0xbb, anchor.hash));
        let (a2, b2) = (blk(2, 0xaa, a.hash), blk(2, 0xbb, b.hash));
        let up = |revert: Vec<BlockRef>, extend: Vec<BlockRef>| ChainUpdate { revert, extend, finalize: None };
        live.commit(Commit {
            update: up(vec![], vec![a, a2]),
            extended: vec![rec(a), rec(a2)],
            head: Some(a2),
            at_head: true,
            ..Commit::default()
        });
        let mut durable = live.watch_durable();
        durable.wait_for(|n| *n == 2).await.unwrap();
        // heal, then reorg, while Persist is busy
        live.commit(Commit { amended: vec![rec(a)], head: Some(a2), at_head: true, ..Commit::default() });
        live.commit(Commit {
            update: up(vec![a2, a], vec![b, b2]),
            reverted: vec![rec(a2), rec(a)],
            extended: vec![rec(b), rec(b2)],
            head: Some(b2),
            at_head: true,
            ..Commit::default()
        });
        tokio::time::sleep(Duration::from_secs(10)).await;
        let (sa, sb) = (s.block(CHAIN, a.hash).await.unwrap(), s.block(CHAIN, b.hash).await.unwrap());
        println!("1A {:?}\n1B {:?}", sa.map(|x| x.1), sb.map(|x| x.1));
        assert!(sb.unwrap().1, "1B is canonical");
        assert!(!sa.unwrap().1, "1A is an orphan");
    });
}

/// The node comes back a little older than we are: it lags, nothing was reorganised.
#[test]
fn a_node_that_lags_at_the_start_is_no_deep_reorg() {
    paused(async || {
        let folder = tempfile::tempdir().unwrap();
        let (s, _) = store(&folder.path().join("a.db")).await;
        let sim = Sim::new(3, Weather::CALM);
        (0..60).for_each(|_| sim.step());
        let lag = Sim::new(3, Weather::CALM);
        (0..30).for_each(|_| lag.step());
        assert_eq!(sim.canonical()[25].0.block.hash, lag.canonical()[25].0.block.hash, "a prefix of it");
        let (d, _f) = deps(&sim, s.clone(), 200_000, StartBlock::Number(0)).await;
        let live = d.live.clone();
        let tree = ChainTree::start(Arc::new(d));
        at_head(&live, &sim).await;
        assert!(tree.stop().await);
        let (d, mut fatal) = deps(&lag, s.clone(), 200_000, StartBlock::Number(0)).await;
        let tree = ChainTree::start(Arc::new(d));
        let reason = tokio::time::timeout(Duration::from_secs(30), fatal.recv()).await;
        assert!(reason.is_err(), "{reason:?}");
        tree.stop().await;
    });
}

/// start_block = "latest", then a small reorg.
#[test]
fn a_small_reorg_right_after_a_start_at_latest() {
    paused(async || {
        let folder = tempfile::tempdir().unwrap();
        let (s, _) = store(&folder.path().join("a.db")).await;
        let sim = Sim::new(3, Weather::CALM);
        (0..60).for_each(|_| sim.step());
        let (d, mut fatal) = deps(&sim, s.clone(), 200_000, StartBlock::Latest { minus: 0 }).await;
        let live = d.live.clone();
        let tree = ChainTree::start(Arc::new(d));
        at_head(&live, &sim).await;
        sim.step();
        at_head(&live, &sim).await;
        sim.set_weather(Weather { fork: 100, fork_depth_max: 6, ..Weather::CALM });
        let mut reason = None;
        for _ in 0..6 {
            sim.step();
            reason = tokio::time::timeout(Duration::from_secs(5), fatal.recv()).await.ok();
            if reason.is_some() {
                break;
            }
        }
        assert!(reason.is_none(), "finality is 12 blocks, reorgs at most 6: {reason:?}");
        tree.stop().await;
    });
}

/// Frames of blocks over an outage of the node: does a subscriber see every block?
#[test]
fn blocks_topic_has_no_gap_over_a_catch_up_and_says_it_is_not_live() {
    use swaptide::store::{
        Freshness,
        topics::{FrameData, Topic},
    };
    paused(async || {
        let folder = tempfile::tempdir().unwrap();
        let (s, _) = store(&folder.path().join("a.db")).await;
        let sim = Sim::new(3, Weather::CALM);
        (0..30).for_each(|_| sim.step());
        let (d, _f) = deps(&sim, s.clone(), 200_000, StartBlock::Number(0)).await;
        let live = d.live.clone();
        let tree = ChainTree::start(Arc::new(d));
        at_head(&live, &sim).await;
        let mut frames = live.topics.subscribe(Topic::Blocks);
        let behind = Arc::new(std::sync::Mutex::new(Vec::new()));
        {
            let (live, behind, sim) = (live.clone(), behind.clone(), sim.clone());
            tokio::task::spawn_local(async move {
                let mut epochs = live.watch_epoch();
                while epochs.changed().await.is_ok() {
                    let head = live.head();
                    let lag = sim.head().block.number.saturating_sub(head.block.unwrap().number);
                    if lag > 50 && live.freshness(&head, tokio::time::Instant::now()) == Freshness::Live {
                        behind.lock().unwrap().push(lag);
                    }
                }
            });
        }
        sim.set_weather(Weather { silent_head: 100, ..Weather::CALM });
        (0..200).for_each(|_| sim.step());
        sim.set_weather(Weather::CALM);
        sim.announce();
        at_head(&live, &sim).await;
        let mut numbers = vec![];
        while let Ok(frame) = frames.try_recv() {
            if let FrameData::Blocks(b) = &frame.data {
                numbers.extend(b.iter().map(|b| b.number));
            }
        }
        let gaps: Vec<_> = numbers.windows(2).filter(|w| w[1] != w[0] + 1).map(|w| (w[0], w[1])).collect();
        println!("LIVE while so many blocks behind: {:?}", behind.lock().unwrap());
        println!("gaps in blocks: {gaps:?}");
        assert!(gaps.is_empty() && behind.lock().unwrap().is_empty());
        tree.stop().await;
    });
}

fn fat(b: BlockRef) -> Arc<BlockRecord> {
    use swaptide::domain::{
        event::{Event, EventBody, RawLog},
        record::EventRow,
    };
    let address = alloy::primitives::Address::repeat_byte(7);
    let row = |i: u64| EventRow {
        event: Event {
            pool: address.into(),
            body: EventBody::V2Sync { reserve0: 1, reserve1: u128::from(i) },
            raw: RawLog {
                address,
                topics: vec![B256::repeat_byte(1)],
                data: Default::default(),
                tx_hash: b.hash,
                tx_index: 0,
                log_index: i,
            },
        },
        sync_log_index: None,
        after: None,
        usd: None,
        gauge: None,
        enrichment: None,
    };
    Arc::new(BlockRecord::new(CHAIN, b, (0..6_000).map(row).collect()))
}

/// A backlog of two transactions; the first is held up until its block was reverted and the height became final.
#[test]
fn a_late_batch_does_not_make_the_other_branch_durable() {
    paused(async || {
        let folder = tempfile::tempdir().unwrap();
        let inner = SqliteHistory::open(&folder.path().join("a.db")).unwrap();
        inner.claim(CHAIN, B256::repeat_byte(1)).await.unwrap();
        let gate = Arc::new(tokio::sync::Semaphore::new(1));
        let s = gated(Arc::new(inner), gate.clone());
        let sim = Sim::new(3, Weather::CALM);
        let (d, _f) = deps(&sim, s.clone(), 200_000, StartBlock::Number(0)).await;
        let d = Arc::new(d);
        let live = d.live.clone();
        let anchor = blk(0, 1, B256::ZERO);
        live.restore(Commit { head: Some(anchor), ..Commit::default() }, 0, 1);
        let (tx, _done) = watch::channel(false);
        let persist = Persist::new(d.clone(), CancellationToken::new(), tx);
        let spec = Spec {
            kind: "persist",
            name: "p".into(),
            restart: Restart::Transient,
            board: d.board.clone(),
            metrics: d.metrics.clone(),
            on_give_up: Box::new(|_| ()),
        };
        let _a = supervise(spec, |_| persist);
        let nap = || tokio::time::sleep(Duration::from_secs(1));
        nap().await;
        let a1 = blk(1, 0xaa, anchor.hash);
        let a2 = blk(2, 0xaa, a1.hash);
        let up = |revert: Vec<BlockRef>, extend: Vec<BlockRef>| ChainUpdate { revert, extend, finalize: None };
        live.commit(Commit {
            update: up(vec![], vec![a1, a2]),
            extended: vec![fat(a1), fat(a2)],
            head: Some(a2),
            at_head: true,
            ..Commit::default()
        });
        nap().await; // planned: [1A], [2A]; the store hangs
        let mut chain = vec![];
        let mut parent = anchor.hash;
        for n in 1..=20 {
            let b = blk(n, 0xbb, parent);
            parent = b.hash;
            chain.push(b);
        }
        live.commit(Commit {
            update: up(vec![a2, a1], chain.clone()),
            reverted: vec![fat(a2), fat(a1)],
            extended: chain.iter().map(|b| rec(*b)).collect(),
            head: chain.last().copied(),
            finalized_number: 15,
            at_head: true,
            ..Commit::default()
        });
        gate.add_permits(1); // 1A is written
        nap().await;
        let b21 = blk(21, 0xbb, parent);
        live.commit(Commit {
            update: up(vec![], vec![b21]),
            extended: vec![rec(b21)],
            head: Some(b21),
            finalized_number: 16,
            at_head: true,
            ..Commit::default()
        });
        println!("durable {} floor {}", *live.watch_durable().borrow(), live.head().window_floor);
        gate.add_permits(100);
        nap().await;
        nap().await;
        let canonical = |b: Option<(BlockRef, bool)>| b.map(|x| x.1);
        let (sa, sb) =
            (canonical(s.block(CHAIN, a1.hash).await.unwrap()), canonical(s.block(CHAIN, chain[0].hash).await.unwrap()));
        println!("1A {sa:?} 1B {sb:?}, durable {}", *live.watch_durable().borrow());
        assert_eq!((sa, sb), (Some(false), Some(true)));
    });
}

/// Somebody asks for a pool while the engine catches up: what it folds must end equal.
#[test]
fn a_pool_subscriber_from_before_the_head_misses_nothing() {
    use swaptide::store::topics::{FrameData, Topic};
    for seed in 0..40 {
        paused(async || {
            let folder = tempfile::tempdir().unwrap();
            let (s, _) = store(&folder.path().join("a.db")).await;
            let sim = Sim::new(seed, Weather::CALM);
            (0..300).for_each(|_| sim.step());
            let (d, _f) = deps(&sim, s.clone(), 200_000, StartBlock::Number(0)).await;
            let live = d.live.clone();
            let tree = ChainTree::start(Arc::new(d));
            let mut epochs = live.watch_epoch();
            while live.pin().pools().len() < 3 {
                epochs.changed().await.unwrap();
            }
            println!("subscribed at {:?}, at_head {}", live.head().block.map(|b| b.number), live.head().at_head);
            let mut subs: Vec<_> =
                live.pin().pools().iter().map(|v| (v.meta.id, live.topics.subscribe(Topic::Pool(v.meta.id)))).collect();
            let pin = live.pin();
            let mut mine: std::collections::BTreeMap<_, _> =
                subs.iter().map(|(id, _)| (*id, pin.pool(id).unwrap().image.state.clone())).collect();
            drop(pin);
            at_head(&live, &sim).await;
            tokio::time::sleep(Duration::from_secs(60)).await;
            for (id, rx) in &mut subs {
                while let Ok(frame) = rx.try_recv() {
                    if let FrameData::Pool(v) = &frame.data {
                        mine.insert(*id, v[0].image.state.clone());
                    }
                }
            }
            let wrong = mine.iter().filter(|(id, state)| live.newest(id).unwrap().image.state != **state).count();
            assert_eq!(wrong, 0, "of {} pools so many are stale at the subscriber; seed {seed}", mine.len());
            tree.stop().await;
        });
    }
}

/// We stopped on a block that was replaced; the chain went on for long.
#[test]
fn an_orphaned_tip_and_a_long_absence_is_not_one_giant_commit() {
    paused(async || {
        let folder = tempfile::tempdir().unwrap();
        let (s, _) = store(&folder.path().join("a.db")).await;
        let sim = Sim::new(3, Weather::CALM);
        (0..60).for_each(|_| sim.step());
        let (d, _f) = deps(&sim, s.clone(), 200_000, StartBlock::Number(0)).await;
        let live = d.live.clone();
        let tree = ChainTree::start(Arc::new(d));
        at_head(&live, &sim).await;
        tree.stop().await;
        sim.set_weather(Weather { fork: 100, fork_depth_max: 1, ..Weather::CALM });
        sim.step();
        sim.set_weather(Weather::CALM);
        (0..1_000).for_each(|_| sim.step());
        let (d, _f) = deps(&sim, s.clone(), 200_000, StartBlock::Number(0)).await;
        let live = d.live.clone();
        let biggest = Arc::new(std::sync::atomic::AtomicU64::new(0));
        {
            let (live, biggest) = (live.clone(), biggest.clone());
            tokio::task::spawn_local(async move {
                let mut epochs = live.watch_epoch();
                let mut last = 60;
                while epochs.changed().await.is_ok() {
                    // Blocks with their logs; a range may pass over many that have none.
                    let head = live.head();
                    let added = head.window.iter().filter(|r| r.block.number > last).count() as u64;
                    biggest.fetch_max(added, Ordering::Relaxed);
                    last = head.block.unwrap().number;
                }
            });
        }
        let tree = ChainTree::start(Arc::new(d));
        at_head(&live, &sim).await;
        tokio::task::yield_now().await;
        let biggest = biggest.load(Ordering::Relaxed);
        tree.stop().await;
        assert!(biggest <= 64, "{biggest} blocks in one commit");
    });
}

struct Liar(Sim);
impl swaptide::chain::ChainSource for Liar {
    fn chain_id(&self) -> BoxFuture<'_, Result<u64, swaptide::chain::ChainError>> {
        self.0.chain_id()
    }
    fn heads(&self) -> futures_util::stream::BoxStream<'static, swaptide::chain::HeadEvent> {
        use futures_util::StreamExt;
        let mut fake = self.0.head();
        fake.block.number += 100_000;
        fake.block.hash = B256::repeat_byte(0x66);
        let once = futures_util::stream::once(async move {
            tokio::time::sleep(Duration::from_secs(5)).await;
            swaptide::chain::HeadEvent::Head(fake)
        });
        futures_util::stream::select(once, self.0.heads()).boxed()
    }
    fn header(
        &self,
        t: swaptide::chain::BlockTag,
    ) -> BoxFuture<'_, Result<Option<swaptide::domain::block::Header>, swaptide::chain::ChainError>> {
        self.0.header(t)
    }
    fn block_logs(
        &self,
        h: &swaptide::domain::block::Header,
    ) -> BoxFuture<'_, Result<Vec<swaptide::domain::event::RawLog>, swaptide::chain::ChainError>> {
        self.0.block_logs(h)
    }
    fn range_logs(
        &self,
        f: u64,
        t: u64,
        x: &[B256],
        a: &[alloy::primitives::Address],
    ) -> BoxFuture<'_, Result<swaptide::chain::RangeLogs, swaptide::chain::ChainError>> {
        self.0.range_logs(f, t, x, a)
    }
    fn call_batch(
        &self,
        at: B256,
        c: Vec<swaptide::chain::Call>,
        m: usize,
    ) -> BoxFuture<'_, Result<Vec<swaptide::chain::CallOutcome>, swaptide::chain::ChainError>> {
        self.0.call_batch(at, c, m)
    }
    fn receipts(
        &self,
        block: B256,
        transactions: Vec<B256>,
    ) -> BoxFuture<'_, Result<Vec<(B256, swaptide::domain::record::Enrichment)>, swaptide::chain::ChainError>> {
        self.0.receipts(block, transactions)
    }
    fn code(
        &self,
        a: alloy::primitives::Address,
    ) -> BoxFuture<'_, Result<alloy::primitives::Bytes, swaptide::chain::ChainError>> {
        self.0.code(a)
    }
}

/// One head that does not exist.
#[test]
fn one_absurd_head_does_not_stop_everything() {
    paused(async || {
        let folder = tempfile::tempdir().unwrap();
        let (s, _) = store(&folder.path().join("a.db")).await;
        let sim = Sim::new(3, Weather::CALM);
        (0..60).for_each(|_| sim.step());
        let (mut d, mut _f) = deps(&sim, s.clone(), 200_000, StartBlock::Number(0)).await;
        d.source = Arc::new(Liar(sim.clone()));
        let live = d.live.clone();
        let tree = ChainTree::start(Arc::new(d));
        at_head(&live, &sim).await;
        tokio::time::sleep(Duration::from_secs(10)).await;
        sim.set_weather(Weather { fork: 25, fork_depth_max: 3, ..Weather::CALM });
        for _ in 0..100 {
            sim.step();
            tokio::time::sleep(Duration::from_secs(12)).await;
        }
        sim.set_weather(Weather::CALM);
        for _ in 0..3 {
            sim.step();
            tokio::time::sleep(Duration::from_secs(12)).await;
        }
        println!(
            "stored canonical logs {}, chain has {}; fatal: {:?}; finalized {}",
            s.log_counts(CHAIN).await.unwrap().1,
            watched(&sim),
            _f.try_recv(),
            live.head().finalized_number
        );
        let mut r = Registry::new(dexes());
        let mut orphaned = vec![];
        for (h, l) in sim.canonical().into_iter().filter(|(h, _)| h.block.number <= live.head().finalized_number) {
            if !r.select(CHAIN, h.block, l).events.is_empty() && !s.block(CHAIN, h.block.hash).await.unwrap().is_some_and(|b| b.1)
            {
                orphaned.push(h.block.number);
            }
        }
        println!("final blocks with events that the store does not have as canonical: {orphaned:?}");
        let (ours, theirs) = (live.head().block.unwrap().number, sim.head().block.number);
        tree.stop().await;
        assert_eq!(ours, theirs, "minutes later");
    });
}

#[test]
fn the_tag_says_what_is_final() {
    paused(async || {
        let folder = tempfile::tempdir().unwrap();
        let (s, _) = store(&folder.path().join("a.db")).await;
        let sim = Sim::new(3, Weather::CALM);
        (0..300).for_each(|_| sim.step());
        let (mut d, _f) = deps(&sim, s.clone(), 200_000, StartBlock::Number(0)).await;
        d.plan.finality = Finality::Tag;
        let live = d.live.clone();
        let tree = ChainTree::start(Arc::new(d));
        at_head(&live, &sim).await;
        tree.stop().await;
        assert_eq!(live.head().finalized_number, 0, "the simulated node calls nothing final but block 0");
    });
}

struct NoLogs(Sim, Arc<AtomicBool>);
impl swaptide::chain::ChainSource for NoLogs {
    fn chain_id(&self) -> BoxFuture<'_, Result<u64, swaptide::chain::ChainError>> {
        self.0.chain_id()
    }
    fn heads(&self) -> futures_util::stream::BoxStream<'static, swaptide::chain::HeadEvent> {
        self.0.heads()
    }
    fn header(
        &self,
        t: swaptide::chain::BlockTag,
    ) -> BoxFuture<'_, Result<Option<swaptide::domain::block::Header>, swaptide::chain::ChainError>> {
        self.0.header(t)
    }
    fn block_logs(
        &self,
        h: &swaptide::domain::block::Header,
    ) -> BoxFuture<'_, Result<Vec<swaptide::domain::event::RawLog>, swaptide::chain::ChainError>> {
        if self.1.load(Ordering::Acquire) {
            return Box::pin(async { Err(swaptide::chain::ChainError::Unavailable("no".into())) });
        }
        self.0.block_logs(h)
    }
    fn range_logs(
        &self,
        f: u64,
        t: u64,
        x: &[B256],
        a: &[alloy::primitives::Address],
    ) -> BoxFuture<'_, Result<swaptide::chain::RangeLogs, swaptide::chain::ChainError>> {
        self.0.range_logs(f, t, x, a)
    }
    fn call_batch(
        &self,
        at: B256,
        c: Vec<swaptide::chain::Call>,
        m: usize,
    ) -> BoxFuture<'_, Result<Vec<swaptide::chain::CallOutcome>, swaptide::chain::ChainError>> {
        self.0.call_batch(at, c, m)
    }
    fn receipts(
        &self,
        block: B256,
        transactions: Vec<B256>,
    ) -> BoxFuture<'_, Result<Vec<(B256, swaptide::domain::record::Enrichment)>, swaptide::chain::ChainError>> {
        self.0.receipts(block, transactions)
    }
    fn code(
        &self,
        a: alloy::primitives::Address,
    ) -> BoxFuture<'_, Result<alloy::primitives::Bytes, swaptide::chain::ChainError>> {
        self.0.code(a)
    }
}

#[test]
fn the_stored_head_is_canonical_at_every_moment_of_a_refill() {
    paused(async || {
        let folder = tempfile::tempdir().unwrap();
        let (s, off) = store(&folder.path().join("a.db")).await;
        let sim = Sim::new(3, Weather::CALM);
        (0..30).for_each(|_| sim.step());
        let (mut d, _f) = deps(&sim, s.clone(), 10, StartBlock::Number(0)).await;
        let dumb = Arc::new(AtomicBool::new(false));
        d.source = Arc::new(NoLogs(sim.clone(), dumb.clone()));
        let live = d.live.clone();
        let tree = ChainTree::start(Arc::new(d));
        at_head(&live, &sim).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        off.store(true, Ordering::Release);
        sim.step();
        at_head(&live, &sim).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        sim.set_weather(Weather { fork: 100, fork_depth_max: 1, ..Weather::CALM });
        sim.step();
        at_head(&live, &sim).await;
        sim.set_weather(Weather::CALM);
        for _ in 0..90 {
            sim.step();
            at_head(&live, &sim).await;
        }
        dumb.store(true, Ordering::Release);
        off.store(false, Ordering::Release);
        tokio::time::sleep(Duration::from_secs(60)).await;
        let head = s.boot(CHAIN).await.unwrap().head.unwrap();
        println!("stored head {} {:?}", head.number, s.block(CHAIN, head.hash).await.unwrap().map(|x| x.1));
        // killed here, and started again
        dumb.store(false, Ordering::Release);
        let (d, mut fatal) = deps(&sim, s.clone(), 200_000, StartBlock::Number(0)).await;
        let live2 = d.live.clone();
        let tree2 = ChainTree::start(Arc::new(d));
        let reason = tokio::time::timeout(Duration::from_secs(60), fatal.recv()).await;
        println!("at {:?}", live2.head().block.map(|b| b.number));
        assert!(reason.is_err(), "{reason:?}");
        tree2.stop().await;
        tree.stop().await;
    });
}

/// A token that could not be asked in time, and a restart.
struct Mute(Sim, Arc<AtomicBool>);
impl swaptide::chain::ChainSource for Mute {
    fn chain_id(&self) -> BoxFuture<'_, Result<u64, swaptide::chain::ChainError>> {
        self.0.chain_id()
    }
    fn heads(&self) -> futures_util::stream::BoxStream<'static, swaptide::chain::HeadEvent> {
        self.0.heads()
    }
    fn header(
        &self,
        t: swaptide::chain::BlockTag,
    ) -> BoxFuture<'_, Result<Option<swaptide::domain::block::Header>, swaptide::chain::ChainError>> {
        self.0.header(t)
    }
    fn block_logs(
        &self,
        h: &swaptide::domain::block::Header,
    ) -> BoxFuture<'_, Result<Vec<swaptide::domain::event::RawLog>, swaptide::chain::ChainError>> {
        self.0.block_logs(h)
    }
    fn range_logs(
        &self,
        f: u64,
        t: u64,
        x: &[B256],
        a: &[alloy::primitives::Address],
    ) -> BoxFuture<'_, Result<swaptide::chain::RangeLogs, swaptide::chain::ChainError>> {
        self.0.range_logs(f, t, x, a)
    }
    fn call_batch(
        &self,
        at: B256,
        c: Vec<swaptide::chain::Call>,
        m: usize,
    ) -> BoxFuture<'_, Result<Vec<swaptide::chain::CallOutcome>, swaptide::chain::ChainError>> {
        if self.1.load(Ordering::Acquire) {
            return Box::pin(std::future::pending());
        }
        self.0.call_batch(at, c, m)
    }
    fn receipts(
        &self,
        block: B256,
        transactions: Vec<B256>,
    ) -> BoxFuture<'_, Result<Vec<(B256, swaptide::domain::record::Enrichment)>, swaptide::chain::ChainError>> {
        self.0.receipts(block, transactions)
    }
    fn code(
        &self,
        a: alloy::primitives::Address,
    ) -> BoxFuture<'_, Result<alloy::primitives::Bytes, swaptide::chain::ChainError>> {
        self.0.code(a)
    }
}

#[test]
fn pending_tokens_survive_a_restart_and_do_not_slow_the_head() {
    use swaptide::domain::token::TokenFlag;
    paused(async || {
        let folder = tempfile::tempdir().unwrap();
        let (s, _) = store(&folder.path().join("a.db")).await;
        let sim = Sim::new(3, Weather::CALM);
        (0..30).for_each(|_| sim.step());
        let mute = Arc::new(AtomicBool::new(true));
        let (mut d, _f) = deps(&sim, s.clone(), 200_000, StartBlock::Number(0)).await;
        d.source = Arc::new(Mute(sim.clone(), mute.clone()));
        let live = d.live.clone();
        let tree = ChainTree::start(Arc::new(d));
        at_head(&live, &sim).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let mut slow = vec![];
        for _ in 0..8 {
            sim.step();
            let t = tokio::time::Instant::now();
            at_head(&live, &sim).await;
            slow.push(t.elapsed());
            tokio::time::sleep(Duration::from_millis(1_300)).await;
        }
        println!("head to commit while a token is pending: {slow:?}");
        tree.stop().await;
        mute.store(false, Ordering::Release);
        let (d, _f) = deps(&sim, s.clone(), 200_000, StartBlock::Number(0)).await;
        let live = d.live.clone();
        let tree = ChainTree::start(Arc::new(d));
        at_head(&live, &sim).await;
        tokio::time::sleep(Duration::from_secs(600)).await;
        let pending = live.tokens().iter().filter(|t| t.flags.contains(&TokenFlag::MetadataPending)).count();
        tree.stop().await;
        assert_eq!(pending, 0, "of {}", live.tokens().len());
    });
}
