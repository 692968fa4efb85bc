//! The whole tree on a simulated chain and a paused clock. The oracle replays the final canonical chain into fresh cores, and
//! everything must be equal: memory, store, and what a subscriber folded together.
//!
//! `SWAPTIDE_SIM_SEEDS=2000 cargo test --test sim` runs more seeds; `SWAPTIDE_SIM_SEED=7` runs one. A seed that fails is
//! printed, and added to `tests/sim-seeds.txt`, which every run begins with.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test that cannot go on says so by a panic"
)]

#[path = "sim/book.rs"]
mod book;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use alloy::primitives::{Address, B256};
use book::BookOracle;
use swaptide::{
    actors::{Deps, Finality, Plan, StartBlock, tree::ChainTree},
    chain::{
        registry::{DexSpec, Registry},
        sim::{MANAGER, Sim, SimRng, V2_FACTORY, V3_FACTORY, Weather, enrichment},
    },
    domain::{
        block::BlockRef,
        dollars::{Anchors, Routes, Usd},
        event::EventKind,
        image::PoolImage,
        market::{Kept, Market},
        pool::{PoolId, PoolMeta, PoolState, Protocol, StateAfter},
        record::{EventAt, PoolSnapshot, rows},
    },
    store::{
        History, Live, PoolStatus, Reader, StoreError,
        between::Between,
        lease::Lease,
        query::{EventQuery, Fields, Narrow, Place},
        sqlite::SqliteHistory,
        topics::{FrameData, FrameKind, Topic},
    },
    telemetry::{Board, Metrics},
};
use tokio::{sync::mpsc, task::LocalSet};
use tokio_util::sync::CancellationToken;

const CHAIN: u64 = 1_337;
const FINALITY_BLOCKS: u64 = 12;
const SEEDS_DEFAULT: u64 = 200;

#[test]
fn whatever_the_chain_does_memory_store_and_subscribers_end_equal_to_it() {
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sim-seeds.txt");
    let known = std::fs::read_to_string(kept).unwrap_or_default();
    let regressions = known.lines().filter_map(|line| line.trim().parse::<u64>().ok());
    let seeds: Vec<u64> = match number("SWAPTIDE_SIM_SEED") {
        Some(seed) => vec![seed],
        None => regressions.chain(0..number("SWAPTIDE_SIM_SEEDS").unwrap_or(SEEDS_DEFAULT)).collect(),
    };
    let next = Mutex::new(seeds.into_iter());
    let totals = Mutex::new(Totals::default());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let Some(seed) = next.lock().unwrap().next() else { return };
                    match std::panic::catch_unwind(|| run_seed(seed)) {
                        Ok(story) => totals.lock().unwrap().add(&story),
                        Err(panic) => {
                            keep(kept, seed);
                            // The others need not go on.
                            next.lock().unwrap().by_ref().for_each(drop);
                            std::panic::resume_unwind(panic);
                        }
                    }
                }
            });
        }
    });
    let totals = totals.into_inner().unwrap();
    println!("{totals:?}");
    // A simulation in which nothing happens proves nothing.
    if totals.seeds > 20 {
        assert!(
            totals.reorgs > totals.seeds
                && totals.restarts > 0
                && totals.whole > 0
                && totals.valued > totals.seeds
                && totals.priced > totals.seeds
                && totals.added > 0
                && totals.events > 100 * totals.seeds,
            "{totals:?}"
        );
    }
}

/// A seed that failed once is run first ever after.
fn keep(file: &str, seed: u64) {
    eprintln!("seed {seed} failed; repeat it with SWAPTIDE_SIM_SEED={seed} cargo test --test sim");
    let known = std::fs::read_to_string(file).unwrap_or_default();
    if !known.lines().any(|line| line.trim() == seed.to_string()) {
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(file).unwrap();
        writeln!(file, "{seed}").unwrap();
    }
}

#[derive(Debug, Default)]
struct Story {
    reorgs: u64,
    restarts: u64,
    /// Dexes that came back at the end.
    added: u64,
    events: u64,
    /// Every dex was followed all the time.
    whole: u64,
    valued: u64,
    /// Token trades with a price that were compared.
    priced: u64,
}

#[derive(Debug, Default)]
struct Totals {
    seeds: u64,
    reorgs: u64,
    restarts: u64,
    added: u64,
    events: u64,
    whole: u64,
    /// Rows that were compared in dollars.
    valued: u64,
    priced: u64,
}

impl Totals {
    fn add(&mut self, story: &Story) {
        self.seeds += 1;
        self.reorgs += story.reorgs;
        self.restarts += story.restarts;
        self.added += story.added;
        self.events += story.events;
        self.whole += story.whole;
        self.valued += story.valued;
        self.priced += story.priced;
    }
}

fn run_seed(seed: u64) -> Story {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    LocalSet::new().block_on(&runtime, simulate(seed))
}

async fn simulate(seed: u64) -> Story {
    let mut rng = SimRng::new(seed ^ 0x5eed_5eed);
    let mut story = Story::default();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sim.db");
    let sim = Sim::new(seed, Weather::CALM);
    // Some history before anybody looks, sometimes enough for ranges.
    for _ in 0..rng.below(60) {
        sim.step();
    }
    sim.set_weather(Weather::STORM);
    // Now and then a dex is left out, or comes back.
    let watched = |rng: &mut SimRng| match rng.below(6) {
        0 => dexes().into_iter().take(1).collect(),
        1 => dexes().into_iter().skip(1).collect(),
        _ => dexes(),
    };
    let mut engine = Engine::start(&sim, &file, rng.next_u64(), watched(&mut rng)).await;
    let mut whole = engine.watched == dexes().len();
    for _ in 0..60 {
        sim.step();
        tokio::time::sleep(Duration::from_millis(rng.below(400))).await;
        if rng.percent(3) {
            story.reorgs += engine.reorgs();
            engine.stop().await;
            for _ in 0..rng.below(40) {
                // While it is away the chain goes on, but never below what it calls final.
                sim.set_weather(Weather { fork: 0, ..Weather::STORM });
                sim.step();
            }
            sim.set_weather(Weather::STORM);
            engine = Engine::start(&sim, &file, rng.next_u64(), watched(&mut rng)).await;
            whole &= engine.watched == dexes().len();
            story.restarts += 1;
        }
    }
    if engine.watched < dexes().len() {
        story.reorgs += engine.reorgs();
        engine.stop().await;
        engine = Engine::start(&sim, &file, rng.next_u64(), dexes()).await;
        story.added += 1;
    }
    sim.set_weather(Weather::CALM);
    engine.joined(&sim).await;
    sim.step();
    engine.settle(&sim).await;
    story.reorgs += engine.reorgs();
    engine.enriched().await;
    let (events, valued, priced) = check(&sim, &engine, whole).await;
    (story.events, story.valued) = (story.events + events, story.valued + valued);
    story.priced += priced;
    story.whole += u64::from(whole);
    engine.stop().await;
    // What a cold start makes of the store is the same again.
    let engine = Engine::start(&sim, &file, 0, dexes()).await;
    engine.settle(&sim).await;
    engine.enriched().await;
    check(&sim, &engine, whole).await;
    if !whole {
        oracle(&sim).book.check_counts(&engine.live.pin().head().book);
    }
    engine.stop().await;
    if whole {
        // And so is what a version makes of it that is newer than the one that wrote it.
        let old = rusqlite::Connection::open(&file).unwrap();
        let older = "UPDATE blocks SET told = NULL; UPDATE heads SET book_hour = NULL; DELETE FROM books; UPDATE snapshots SET market = NULL";
        old.execute_batch(older).unwrap();
        drop(old);
        let engine = Engine::start(&sim, &file, 0, dexes()).await;
        engine.settle(&sim).await;
        check(&sim, &engine, whole).await;
        engine.stop().await;
    }
    story
}

struct Engine {
    live: Arc<Live>,
    history: Arc<dyn History>,
    metrics: Metrics,
    tree: ChainTree,
    folded: Arc<Mutex<Vec<String>>>,
    deps: Arc<Deps>,
    /// How many dexes.
    watched: usize,
    /// Some of them are read back while it runs.
    waits_for_some: bool,
    fatal: mpsc::Receiver<String>,
}

impl Engine {
    async fn start(sim: &Sim, file: &Path, seed: u64, dexes: Vec<DexSpec>) -> Self {
        let watched = dexes.len();
        let sqlite = SqliteHistory::open(file).unwrap();
        sqlite.claim(CHAIN, B256::repeat_byte(1)).await.unwrap();
        let boot = sqlite.boot(CHAIN).await.unwrap();
        let followed = boot.sources.iter().filter(|(name, next)| name.starts_with("dex:") && *next > 0).count();
        let waits_for_some = boot.head.is_some() && followed < watched;
        let history = flaky(Arc::new(sqlite), seed);
        let fence = history.take_fence("sim").await.unwrap();
        let live = Live::new(CHAIN, "sim", 2, Duration::from_secs(15));
        live.price_with(anchors());
        let live = Arc::new(live);
        let metrics = Metrics::new().unwrap();
        let (fatal_tx, fatal) = mpsc::channel(1);
        let deps = Arc::new(Deps {
            chain: CHAIN,
            source: Arc::new(sim.clone()),
            live: live.clone(),
            history: history.clone(),
            metrics: metrics.clone(),
            board: Board::default(),
            plan: Plan {
                start: StartBlock::Number(0),
                finality: Finality::Depth(FINALITY_BLOCKS),
                dexes,
                orphan_retention_s: 86_400,
                journal_rows_max: 200_000,
                enrichment: true,
                token_probe: None,
                progress_bar: false,
            },
            joined: Default::default(),
            lease: Lease::new(Some(fence)),
            fatal: fatal_tx,
            stop: CancellationToken::new(),
            now_unix_ms: || 1_700_000_000_000,
        });
        let folded = Arc::new(Mutex::new(Vec::new()));
        tokio::task::spawn_local(fold_swaps(live.clone(), folded.clone()));
        tokio::task::yield_now().await;
        Self { live, history, metrics, tree: ChainTree::start(deps.clone()), folded, deps, watched, waits_for_some, fatal }
    }

    async fn stop(self) {
        assert!(self.tree.stop().await, "the tree stops in time");
    }

    fn reorgs(&self) -> u64 {
        self.metrics.reorgs_total.with_label_values(&[&CHAIN.to_string()]).get()
    }

    /// Until everything that was added has caught up.
    async fn joined(&self, sim: &Sim) {
        let joined = async {
            let mut epochs = self.live.watch_epoch();
            while self.deps.joined.get().len() < self.watched {
                sim.announce();
                tokio::select! { _ = epochs.changed() => {}, () = tokio::time::sleep(Duration::from_secs(1)) => {} }
            }
        };
        let outcome = tokio::time::timeout(Duration::from_secs(3_600), joined).await;
        assert!(outcome.is_ok(), "only {:?} joined", self.deps.joined.get());
    }

    /// Until every row knows who signed it.
    async fn enriched(&self) {
        let filled = async {
            loop {
                let head = self.live.head();
                let here = head.window.iter().all(|r| r.rows.iter().all(|row| row.enrichment.is_some()));
                let there = self.history.unenriched(CHAIN, 0, head.window_floor.saturating_sub(1)).await.unwrap();
                if here && there.blocks.is_empty() {
                    return;
                }
                // Nothing announces it: rows are enriched between two epochs.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let filled = tokio::time::timeout(Duration::from_secs(3_600), filled).await;
        let head = self.live.head();
        let here: Vec<u64> =
            head.window.iter().filter(|r| r.rows.iter().any(|row| row.enrichment.is_none())).map(|r| r.block.number).collect();
        let there = self.history.unenriched(CHAIN, 0, head.window_floor.saturating_sub(1)).await.unwrap();
        let there: Vec<u64> = there.blocks.iter().map(|(block, _)| block.number).collect();
        let sources = self.history.boot(CHAIN).await.unwrap().sources;
        assert!(
            filled.is_ok(),
            "every row is enriched; in memory not {here:?}, in the store not {there:?}; window from {}, final {}, {sources:?}",
            head.window_floor,
            head.finalized_number
        );
    }

    /// Until memory and store are at the chain's head.
    async fn settle(&self, sim: &Sim) {
        sim.announce();
        let head = sim.head().block;
        let arrived = async {
            let (mut epochs, mut durable) = (self.live.watch_epoch(), self.live.watch_durable());
            loop {
                let here = self.live.head().block;
                if here.is_some_and(|b| b.hash == head.hash) && *durable.borrow_and_update() == head.number {
                    return;
                }
                tokio::select! { _ = epochs.changed() => {}, _ = durable.changed() => {} }
            }
        };
        let outcome = tokio::time::timeout(Duration::from_secs(600), arrived).await;
        let (here, durable) = (self.live.head().block.map(|b| (b.number, b.hash)), *self.live.watch_durable().borrow());
        assert!(
            outcome.is_ok(),
            "never reached {:?}: at {here:?}, durable {durable}, fatal waiting: {}",
            (head.number, head.hash),
            !self.fatal.is_empty()
        );
    }
}

/// A subscriber: takes every frame, and refuses one that does not fit what it has.
async fn fold_swaps(live: Arc<Live>, folded: Arc<Mutex<Vec<String>>>) {
    let mut frames = live.topics.subscribe(Topic::Swaps);
    while let Ok(frame) = frames.recv().await {
        let FrameData::Swaps(swaps) = &frame.data else { panic!("another topic's frame") };
        let mut folded = folded.lock().unwrap();
        match frame.kind {
            FrameKind::Update => folded.extend(swaps.iter().map(id)),
            FrameKind::Retract => {
                for swap in swaps {
                    // What was there before it subscribed, or before its source joined, cannot be taken from its list.
                    if folded.last() == Some(&id(swap)) {
                        folded.pop();
                    } else {
                        assert!(!folded.contains(&id(swap)), "a retract takes back the newest first");
                    }
                }
            }
            kind => panic!("{kind:?} on a topic of events"),
        }
    }
}

fn id(event: &EventAt) -> String {
    format!("{}:{}", event.block.hash, event.row.log_index())
}

/// A dollar is one raw unit; nearly every pool is deep enough.
fn anchors() -> Anchors {
    Anchors {
        stablecoins: [(Address::repeat_byte(0x80), Some(0))].into(),
        wrapped_native: Some(Address::repeat_byte(0x88)),
        min_depth: Usd::whole(100),
    }
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

/// What the canonical chain comes to, folded by nobody but the pure functions.
#[derive(Default)]
struct Oracle {
    pools: BTreeMap<PoolId, (Arc<PoolMeta>, PoolImage)>,
    markets: BTreeMap<PoolId, Market>,
    book: BookOracle,
    rows: Vec<Expected>,
    logs: u64,
    /// Emitted something that nobody can read.
    unread: BTreeSet<PoolId>,
}

#[derive(Debug, Clone, PartialEq)]
struct Expected {
    kind: EventKind,
    block: (u64, B256),
    log_index: u64,
    sync: Option<u64>,
    after: Option<StateAfter>,
    usd: Option<Usd>,
}

fn oracle(sim: &Sim) -> Oracle {
    let mut registry = Registry::new(dexes());
    let mut oracle = Oracle::default();
    let mut routes = Routes::new(anchors());
    for (header, logs) in sim.canonical() {
        let block: BlockRef = header.block;
        let selected = registry.select(CHAIN, block, logs);
        if !selected.events.is_empty() {
            oracle.book.before(&block, &oracle.pools, &routes);
        }
        for meta in &selected.created {
            routes.add(meta);
            oracle.pools.insert(meta.id, (meta.clone(), PoolImage::new(meta)));
            oracle.markets.insert(meta.id, Market::default());
        }
        let mut after = Vec::new();
        for event in &selected.events {
            let (_, image) = oracle.pools.get_mut(&event.pool).unwrap();
            image.apply(&event.body).unwrap();
            if event.body.kind() == EventKind::Undecodable {
                oracle.unread.insert(event.pool);
            }
            let stateful =
                !matches!(event.body.kind(), EventKind::PoolCreated | EventKind::Undecodable) && !event.body.is_of_owners();
            after.push(stateful.then(|| image.state.after()));
        }
        let touched: BTreeSet<PoolId> = selected.events.iter().map(|event| event.pool).collect();
        let moved = |id: &PoolId| selected.events.iter().zip(&after).any(|(event, after)| event.pool == *id && after.is_some());
        touched.iter().for_each(|id| oracle.pools.get_mut(id).unwrap().1.end_block(&block, moved(id)));
        let prices = routes.at(block.timestamp, |id| oracle.pools.get(id).map(|(_, image)| image.gauge));
        oracle.logs += selected.events.len() as u64;
        let mut of_block = rows(&selected.events, &after);
        for row in &mut of_block {
            row.usd = prices.worth(&oracle.pools[&row.event.pool].0, row);
            let meta = &oracle.pools[&row.event.pool].0;
            oracle.markets.get_mut(&row.event.pool).unwrap().take(block.timestamp, row, meta.fee_pips);
            oracle.book.take(&block, meta, row, |token| prices.price(token));
        }
        oracle.rows.extend(of_block.iter().map(|row| Expected {
            kind: row.kind(),
            block: (block.number, block.hash),
            log_index: row.log_index(),
            sync: row.sync_log_index,
            after: row.after,
            usd: row.usd,
        }));
    }
    oracle
}

/// `whole`: every source was followed from the beginning. Otherwise some rows are from a time when their pools were not seen, and say
/// other dollars, or none.
async fn check(sim: &Sim, engine: &Engine, whole: bool) -> (u64, u64, u64) {
    let mut oracle = oracle(sim);
    if !whole {
        oracle.rows.iter_mut().for_each(|row| row.usd = None);
    }
    let pin = engine.live.pin();
    let ours: BTreeMap<PoolId, PoolImage> = pin.pools().iter().map(|v| (v.meta.id, v.image.clone())).collect();
    assert!(pin.pools().iter().all(|v| v.status == PoolStatus::Live), "every pool is live");
    for (id, (_, image)) in &oracle.pools {
        assert_eq!(ours.get(id), Some(image), "{id} in memory");
        assert_eq!(image.fees.is_some(), matches!(image.state, PoolState::V3(_)), "{id}: its swaps go the contract's way");
        let whole = matches!(image.state, PoolState::V2(_)) && !oracle.unread.contains(id);
        assert_eq!(image.shares.is_some(), whole, "{id}: its token says what a pair's does");
    }
    assert_eq!(ours.len(), oracle.pools.len(), "pools in memory");
    for view in pin.pools() {
        let (ours, theirs) = (view.market.kept(), oracle.markets[&view.meta.id].kept());
        let comparable = |kept: Kept| if whole { kept } else { without_dollars(kept) };
        assert_eq!(comparable(ours), comparable(theirs), "what {} traded", view.meta.id);
    }

    let mut priced = 0;
    if whole {
        oracle.book.check(&pin.head().book);
        priced = oracle.book.priced();
    }

    let reader = Reader::new([engine.live.clone()], engine.history.clone());
    for kind in EventKind::ALL {
        let expected: Vec<&Expected> = oracle.rows.iter().filter(|row| row.kind == kind).collect();
        let mut oldest_first = all_events(&reader, &pin, kind, false).await;
        let mut newest_first = all_events(&reader, &pin, kind, true).await;
        newest_first.reverse();
        if !whole {
            oldest_first.iter_mut().chain(&mut newest_first).for_each(|row| row.usd = None);
        }
        same(&expected, &oldest_first, &format!("{kind:?} oldest first"), &pin);
        same(&expected, &newest_first, &format!("{kind:?} newest first"), &pin);
    }
    let mut canonical = engine.history.log_counts(CHAIN).await.unwrap().1;
    for _ in 0..100 {
        if canonical >= oracle.logs {
            break;
        }
        // What a joined source brought is written in the parts after the head's; nothing announces them.
        tokio::time::sleep(Duration::from_millis(100)).await;
        canonical = engine.history.log_counts(CHAIN).await.unwrap().1;
    }
    assert_eq!(canonical, oracle.logs, "every canonical log is stored exactly once");

    let folded = engine.folded.lock().unwrap().clone();
    let swaps: Vec<String> = oracle
        .rows
        .iter()
        .filter(|row| row.kind == EventKind::Swap)
        .map(|row| format!("{}:{}", row.block.1, row.log_index))
        .collect();
    // A source that joined while it listened brought a past that it was not told of.
    let mut told = folded.iter().peekable();
    let end = swaps.iter().skip_while(|swap| Some(*swap) != folded.first());
    let untold = end.filter(|swap| told.next_if(|next| next == swap).is_none()).count();
    assert!(told.next().is_none(), "a subscriber has the chain's swaps in their order: {} of {}", folded.len(), swaps.len());
    assert!(untold == 0 || engine.waits_for_some, "a subscriber has the end of the chain: {untold} are missing");
    (oracle.rows.len() as u64, oracle.rows.iter().filter(|row| row.usd.is_some()).count() as u64, priced)
}

fn without_dollars(mut kept: Kept) -> Kept {
    let periods = kept.periods.iter_mut().flat_map(|series| series.closed.iter_mut().chain(&mut series.open));
    periods.for_each(|period| (period.usd, period.unvalued, period.fees) = (0, 0, 0));
    let candles = kept.series.iter_mut().flat_map(|series| series.closed.iter_mut().chain(&mut series.open));
    let sides = candles.flat_map(|candle| [&mut candle.buys, &mut candle.sells]).chain(&mut kept.totals);
    sides.for_each(|side| (side.usd, side.unvalued) = (0, 0));
    kept
}

fn same(expected: &[&Expected], found: &[Expected], what: &str, pin: &swaptide::store::Pin) {
    let first = expected.iter().zip(found).position(|(e, f)| *e != f);
    let at = first.unwrap_or(expected.len().min(found.len()));
    assert!(
        first.is_none() && expected.len() == found.len(),
        "{what}: {} expected, {} found, first difference at {at}:\n expected {:?}\n found {:?}\n window from {}, finalized {}",
        expected.len(),
        found.len(),
        expected.get(at),
        found.get(at),
        pin.head().window_floor,
        pin.head().finalized_number,
    );
}

/// In pages of a size that does not fit anything.
async fn all_events(reader: &Reader, pin: &swaptide::store::Pin, kind: EventKind, newest_first: bool) -> Vec<Expected> {
    let mut all = Vec::new();
    let mut from: Option<Place> = None;
    loop {
        let query = EventQuery {
            chain: CHAIN,
            kind,
            narrow: Narrow::All,
            after: from.filter(|_| !newest_first),
            before: from.filter(|_| newest_first),
            time_from: None,
            time_to: None,
            newest_first,
            fields: Fields::ALL,
            limit: 17,
        };
        let page = reader.events(pin, query).await.unwrap().events;
        let Some(last) = page.last() else { return all };
        from = Some(Place { block_number: last.block.number, log_index: last.row.log_index() });
        for e in &page {
            let receipt = enrichment(&e.block.hash, &e.row.event.raw.tx_hash);
            assert_eq!(e.row.enrichment, Some(receipt), "block {} log {}", e.block.number, e.row.log_index());
        }
        all.extend(page.iter().map(|e| Expected {
            kind,
            block: (e.block.number, e.block.hash),
            log_index: e.row.log_index(),
            sync: e.row.sync_log_index,
            after: e.row.after,
            usd: e.row.usd,
        }));
    }
}

/// A store that is slow, fails, and sometimes fails only after it has written.
fn flaky(inner: Arc<dyn History>, seed: u64) -> Arc<dyn History> {
    let rng = Mutex::new(SimRng::new(seed));
    Arc::new(Between::new(inner, move |inner, batch| {
        let mut rng = rng.lock().unwrap();
        let (pause, refuse, lose) = (Duration::from_millis(rng.below(300)), rng.percent(10), rng.percent(5));
        drop(rng);
        Box::pin(async move {
            tokio::time::sleep(pause).await;
            let snapshots: &[PoolSnapshot] = &batch.snapshots;
            assert!(snapshots.iter().all(|s| s.block.number <= batch.finalized_number), "snapshots are of final blocks");
            if refuse {
                return Err(StoreError::Unavailable("it fails now and then".to_owned()));
            }
            inner.write(batch).await?;
            if lose {
                return Err(StoreError::Unavailable("written, but the answer was lost".to_owned()));
            }
            Ok(())
        })
    }))
}
