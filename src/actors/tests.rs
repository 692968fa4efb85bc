//! Actors under fire: every kind of panic, on a simulated chain and a paused clock.

use std::{
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use alloy::primitives::{Address, B256};
use tokio::{sync::mpsc, task::LocalSet, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    Deps, Finality, Plan, StartBlock,
    faults::{self, Fault},
    mend::mend,
    pool::{Boom, actor_name},
    tree::ChainTree,
};
use crate::{
    chain::{
        registry::{DexSpec, Registry},
        sim::{MANAGER, Sim, V2_FACTORY, V3_FACTORY, Weather},
    },
    domain::{
        event::EventKind,
        image::{Held, PoolImage},
        pool::{PoolId, PoolState, Protocol},
        record::PoolSnapshot,
    },
    store::{
        History, Live, PoolStatus, between::switched, history::PoolReplay, lease::Lease, query::EventQuery, sqlite::SqliteHistory,
    },
    telemetry::{ActorState, Board, Metrics},
};

const CHAIN: u64 = 1_337;

struct Rig {
    sim: Sim,
    live: Arc<Live>,
    board: Board,
    metrics: Metrics,
    tree: ChainTree,
    deps: Arc<Deps>,
    fatal: mpsc::Receiver<String>,
    _folder: tempfile::TempDir,
}

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

async fn history(file: &Path) -> Arc<dyn History> {
    let history = SqliteHistory::open(file).unwrap();
    history.claim(CHAIN, B256::repeat_byte(1)).await.unwrap();
    Arc::new(history)
}

impl Rig {
    /// A chain with some pools, followed to its head.
    async fn new(seed: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = history(&folder.path().join("rig.db")).await;
        Self::over(seed, folder, store, 200_000).await
    }

    async fn over(seed: u64, folder: tempfile::TempDir, history: Arc<dyn History>, journal_rows_max: usize) -> Self {
        let sim = Sim::new(seed, Weather::CALM);
        (0..30).for_each(|_| sim.step());
        let fence = history.take_fence("rig").await.unwrap();
        let live = Arc::new(Live::new(CHAIN, "sim", 2, Duration::from_secs(15)));
        let (board, metrics) = (Board::default(), Metrics::new().unwrap());
        let (fatal_tx, fatal) = mpsc::channel(1);
        let deps = Deps {
            chain: CHAIN,
            source: Arc::new(sim.clone()),
            live: live.clone(),
            history,
            metrics: metrics.clone(),
            board: board.clone(),
            plan: Plan {
                start: StartBlock::Number(0),
                finality: Finality::Depth(12),
                dexes: dexes(),
                orphan_retention_s: 60,
                journal_rows_max,
                enrichment: true,
                token_probe: None,
                progress_bar: false,
            },
            joined: Default::default(),
            lease: Lease::new(Some(fence)),
            fatal: fatal_tx,
            stop: CancellationToken::new(),
            now_unix_ms: || 1_700_000_000_000,
        };
        let deps = Arc::new(deps);
        let rig = Self { sim, live, board, metrics, tree: ChainTree::start(deps.clone()), deps, fatal, _folder: folder };
        rig.at_head().await;
        rig
    }

    /// Until the newest block is committed.
    async fn at_head(&self) {
        let head = self.sim.head().block.hash;
        self.wait_for(|live| live.head().block.is_some_and(|b| b.hash == head)).await;
    }

    async fn wait_for(&self, done: impl Fn(&Arc<Live>) -> bool) {
        let mut epochs = self.live.watch_epoch();
        let waiting = async {
            while !done(&self.live) {
                epochs.changed().await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(120), waiting).await.expect("it happens");
    }

    /// Mines until the pool has an event in a block, and waits for that block.
    async fn touch(&self, id: PoolId) {
        let PoolId::Address(address) = id else { panic!("pools of the simulator have addresses") };
        loop {
            self.sim.step();
            let touched = self.sim.canonical().last().unwrap().1.iter().any(|log| log.address == address);
            self.at_head().await;
            if touched {
                return;
            }
        }
    }

    fn first_pool(&self) -> PoolId {
        let mut ids: Vec<PoolId> = self.live.pin().pools().iter().map(|v| v.meta.id).collect();
        ids.sort();
        ids[0]
    }

    fn status(&self, id: &PoolId) -> PoolStatus {
        self.live.pin().pool(id).unwrap().status
    }

    fn restarts(&self) -> u64 {
        self.metrics.actor_restarts_total.with_label_values(&["pool"]).get()
    }

    fn assert_equal_to_chain(&self, except: Option<PoolId>) {
        let expected = replay(&self.sim);
        let pin = self.live.pin();
        assert_eq!(pin.head().block.unwrap().hash, self.sim.head().block.hash);
        for (id, state) in expected.into_iter().filter(|(id, _)| Some(*id) != except) {
            let view = pin.pool(&id).unwrap();
            assert_eq!(view.image.state, state, "{id}");
            assert_eq!(view.status, PoolStatus::Live, "{id}");
        }
    }
}

fn replay(sim: &Sim) -> Vec<(PoolId, PoolState)> {
    let mut registry = Registry::new(dexes());
    let mut states: std::collections::BTreeMap<PoolId, PoolState> = std::collections::BTreeMap::new();
    for (header, logs) in sim.canonical() {
        let selected = registry.select(CHAIN, header.block, logs);
        states.extend(selected.created.iter().map(|m| (m.id, PoolState::new(m.protocol))));
        for event in selected.events {
            states.get_mut(&event.pool).unwrap().apply(&event.body).unwrap();
        }
    }
    states.into_iter().collect()
}

fn on_paused_clock(test: impl AsyncFnOnce()) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    LocalSet::new().block_on(&runtime, test());
}

/// One panic of the pool; afterwards it has been restarted, is equal to the chain within a second, and nobody else noticed.
async fn survives(rig: &Rig, id: PoolId, strike: impl AsyncFnOnce()) {
    let (before, restarts) = (rig.tree.pool_address(&id).expect("it has an address"), rig.restarts());
    strike().await;
    rig.touch(id).await;
    let committed = Instant::now();
    rig.wait_for(|live| live.pin().pool(&id).is_some_and(|v| v.status == PoolStatus::Live)).await;
    assert!(committed.elapsed() <= Duration::from_secs(1), "true again within a second, not {:?}", committed.elapsed());
    rig.assert_equal_to_chain(None);
    assert!(rig.restarts() > restarts, "swaptide_actor_restarts_total moved");
    assert!(rig.tree.pool_address(&id).expect("it still has one") == before, "the same address");
}

#[test]
fn a_panic_in_a_handler_costs_one_pool_a_moment() {
    on_paused_clock(async || {
        let rig = Rig::new(1).await;
        let id = rig.first_pool();
        survives(&rig, id, async || faults::plant(id, Fault::Handler, 1)).await;
    });
}

#[test]
fn a_panic_in_a_spawned_future_costs_one_pool_a_moment() {
    on_paused_clock(async || {
        let rig = Rig::new(2).await;
        let id = rig.first_pool();
        survives(&rig, id, async || rig.tree.pool_address(&id).unwrap().send(Boom::Spawned).await.unwrap()).await;
    });
}

#[test]
fn a_panic_in_a_timer_costs_one_pool_a_moment() {
    on_paused_clock(async || {
        let rig = Rig::new(3).await;
        let id = rig.first_pool();
        survives(&rig, id, async || {
            rig.tree.pool_address(&id).unwrap().send(Boom::Timer).await.unwrap();
            tokio::time::advance(Duration::from_millis(2)).await;
        })
        .await;
    });
}

#[test]
fn a_panic_in_started_costs_one_pool_a_moment() {
    on_paused_clock(async || {
        let rig = Rig::new(4).await;
        let id = rig.first_pool();
        survives(&rig, id, async || {
            // The restart after the first panic panics as well, twice.
            faults::plant(id, Fault::Started, 2);
            assert!(rig.tree.pool_address(&id).unwrap().send(Boom::Handler).await.is_err(), "the sender sees the mailbox closed");
        })
        .await;
    });
}

#[test]
fn a_pool_that_misses_blocks_gets_all_of_them_back_also_over_a_reorg() {
    on_paused_clock(async || {
        for seed in 10..20 {
            let rig = Rig::new(seed).await;
            let id = rig.first_pool();
            faults::plant(id, Fault::Handler, 3);
            rig.touch(id).await;
            rig.sim.set_weather(Weather { fork: 60, fork_depth_max: 4, ..Weather::CALM });
            for _ in 0..6 {
                rig.sim.step();
                rig.at_head().await;
            }
            rig.wait_for(|live| live.pin().pools().iter().all(|v| v.status == PoolStatus::Live)).await;
            rig.assert_equal_to_chain(None);
        }
    });
}

#[test]
fn a_pool_in_a_crash_loop_is_quarantined_and_the_others_go_on() {
    on_paused_clock(async || {
        let mut rig = Rig::new(5).await;
        let id = rig.first_pool();
        faults::plant(id, Fault::Handler, u32::MAX);
        rig.touch(id).await;
        assert_eq!(rig.status(&id), PoolStatus::Rebuilding, "left behind, and it says so");
        rig.wait_for(|live| live.pin().pool(&id).is_some_and(|v| v.status == PoolStatus::Faulted)).await;
        let meta = rig.live.pin().pool(&id).unwrap().meta.clone();
        assert_eq!(rig.board.get(&actor_name(&meta)).unwrap().state, ActorState::Quarantined);
        for _ in 0..5 {
            rig.touch(id).await;
        }
        rig.assert_equal_to_chain(Some(id));
        assert!(rig.fatal.try_recv().is_err(), "a pool does not end the process");
    });
}

/// Its trades are known although its state is not: none is left of a block that was taken back.
#[test]
fn what_pools_traded_is_the_chains_through_reorgs_also_of_one_that_is_given_up() {
    on_paused_clock(async || {
        for seed in 50..56 {
            let rig = Rig::new(seed).await;
            let id = rig.first_pool();
            faults::plant(id, Fault::Handler, u32::MAX);
            rig.touch(id).await;
            rig.wait_for(|live| live.pin().pool(&id).is_some_and(|v| v.status == PoolStatus::Faulted)).await;
            rig.sim.set_weather(Weather { fork: 70, fork_depth_max: 4, ..Weather::CALM });
            for _ in 0..12 {
                rig.sim.step();
                rig.at_head().await;
                let pin = rig.live.pin();
                for (id, swaps) in swaps(&rig.sim) {
                    let view = pin.pool(&id).unwrap();
                    let (buys, sells) = view.market.totals();
                    assert_eq!(buys.trades + sells.trades, swaps, "seed {seed}: {id}, {:?}", view.status);
                }
            }
        }
    });
}

/// How many swaps of each pool the chain has.
fn swaps(sim: &Sim) -> std::collections::BTreeMap<PoolId, u32> {
    let mut registry = Registry::new(dexes());
    let mut swaps = std::collections::BTreeMap::new();
    for (header, logs) in sim.canonical() {
        let selected = registry.select(CHAIN, header.block, logs);
        for event in selected.events {
            *swaps.entry(event.pool).or_default() += u32::from(event.body.kind() == EventKind::Swap);
        }
    }
    swaps
}

#[test]
fn ingest_in_a_crash_loop_ends_the_process() {
    on_paused_clock(async || {
        let mut rig = Rig::new(6).await;
        faults::plant(PoolId::Address(Address::ZERO), Fault::Ingest, u32::MAX);
        let stepping = async {
            loop {
                rig.sim.step();
                tokio::time::advance(Duration::from_millis(100)).await;
            }
        };
        let reason = tokio::select! { reason = rig.fatal.recv() => reason.unwrap(), () = stepping => unreachable!() };
        assert!(reason.contains("ingest") && reason.contains("boom"), "{reason}");
    });
}

#[test]
fn a_panic_of_ingest_loses_nothing() {
    on_paused_clock(async || {
        for seed in 30..40 {
            let rig = Rig::new(seed).await;
            rig.sim.set_weather(Weather { fork: 30, fork_depth_max: 5, ..Weather::CALM });
            for _ in 0..3 {
                faults::plant(PoolId::Address(Address::ZERO), Fault::Ingest, 1);
                rig.sim.step();
                rig.at_head().await;
                rig.assert_equal_to_chain(None);
            }
            assert!(rig.metrics.actor_restarts_total.with_label_values(&["ingest"]).get() >= 1);
        }
    });
}

#[test]
fn a_store_that_was_away_longer_than_memory_reaches_gets_everything_back_from_the_chain() {
    on_paused_clock(async || {
        for seed in 50..56 {
            let folder = tempfile::tempdir().unwrap();
            let inner = history(&folder.path().join("rig.db")).await;
            let (store, off) = switched(inner);
            let rig = Rig::over(seed, folder, store.clone(), 10).await;
            rig.sim.set_weather(Weather { fork: 20, fork_depth_max: 5, ..Weather::CALM });
            for _ in 0..5 {
                rig.sim.step();
                rig.at_head().await;
            }
            off.store(true, Ordering::Release);
            for _ in 0..90 {
                rig.sim.step();
                rig.at_head().await;
            }
            let head = rig.live.head();
            let rows: usize = head.window.iter().filter(|r| r.block.number < head.finalized_number).map(|r| r.rows.len()).sum();
            assert!(rows <= 10, "memory is bounded: {rows} final rows");
            assert!(*rig.live.watch_durable().borrow() + 1 < head.window_floor, "blocks are neither here nor there");
            let reader = crate::store::Reader::new([rig.live.clone()], store.clone());
            let all = EventQuery {
                chain: CHAIN,
                kind: crate::domain::event::EventKind::Swap,
                narrow: crate::store::query::Narrow::All,
                after: None,
                before: None,
                time_from: None,
                time_to: None,
                newest_first: false,
                fields: crate::store::query::Fields::ALL,
                limit: 1_000,
            };
            let refused = reader.events(&rig.live.pin(), all).await;
            assert!(matches!(refused, Err(crate::store::ReadError::CatchingUp { .. })), "a gap is said, not hidden");

            off.store(false, Ordering::Release);
            rig.sim.step();
            let head = rig.sim.head().block;
            let mut durable = rig.live.watch_durable();
            let stored = tokio::time::timeout(Duration::from_secs(300), async {
                rig.at_head().await;
                durable.wait_for(|n| *n == head.number).await.unwrap();
            });
            stored.await.expect("the store catches up");
            rig.assert_equal_to_chain(None);
            let mut registry = Registry::new(dexes());
            let watched: usize =
                rig.sim.canonical().into_iter().map(|(h, logs)| registry.select(CHAIN, h.block, logs).events.len()).sum();
            assert_eq!(store.log_counts(CHAIN).await.unwrap().1, watched as u64, "every log exactly once");
            let events = reader.events(&rig.live.pin(), all).await.unwrap().events;
            assert!(events.iter().all(|e| e.row.after.is_some()), "with the state after each");
        }
    });
}

/// A snapshot of a version that kept nothing but states: what it lacks is what the rows say, to the bit.
#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn what_an_older_version_did_not_keep_is_made_of_the_rows() {
    LocalSet::new()
        .run_until(async {
            let rig = Rig::new(41).await;
            (0..300).for_each(|_| rig.sim.step());
            rig.at_head().await;
            let head = rig.live.head().block.unwrap();
            let mut durable = rig.live.watch_durable();
            durable.wait_for(|number| *number >= head.number).await.unwrap();
            let mut ticks = 0;
            for view in rig.live.pin().pools() {
                let image = PoolImage { held: Held::Unknown, fees: None, ..view.image.clone() };
                let snapshot = PoolSnapshot { chain: CHAIN, pool: view.meta.id, block: head, image, market: None };
                let mut replay = PoolReplay { snapshot: Some(snapshot), rows: Vec::new() };
                mend(&rig.deps, &view.meta, &mut replay).await.unwrap();
                let mended = replay.snapshot.unwrap();
                assert_eq!(mended.market.unwrap().kept(), view.market.kept(), "{}", view.meta.id);
                if matches!(view.image.state, PoolState::V3(_)) {
                    assert_eq!(mended.image, view.image, "{}", view.meta.id);
                    ticks += view.image.fees.as_ref().unwrap().outside.size();
                }
            }
            assert!(ticks > 10, "{ticks} ticks");
        })
        .await;
}
