//! A chain with two pools, mined block by block, and a history that is a list.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use alloy::primitives::{Address, B256, Bytes, I256, U256, address};
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::list::ListHistory;
use crate::{
    api::{
        ApiState,
        gql::{ApiSchema, Core, Engine},
    },
    domain::{
        ChainId,
        block::BlockRef,
        book::{Book, Closing, Told},
        dollars::{Anchors, Gauge, Usd},
        event::{Event, EventBody, EventKind, RawLog},
        feed::Rules,
        image::PoolImage,
        market::Market,
        pool::{CreatedAt, PoolId, PoolMeta, Protocol},
        reconcile::ChainUpdate,
        record::{BlockRecord, EventRow, rows, set_gauges},
        token::{TokenFlag, TokenMeta},
    },
    store::{
        Commit, History, Live, PoolStatus, PoolView, Reader,
        prices::{PairSpec, Prices, SourceSpec},
    },
    telemetry::{Board, Metrics},
};

pub(super) const CHAIN: ChainId = 31_337;
/// What the wall clock says.
pub(super) const NOW_MS: u64 = 1_700_000_100_000;
pub(super) const USDC: Address = address!("00000000000000000000000000000000000000a0");
pub(super) const WETH: Address = address!("00000000000000000000000000000000000000e0");
pub(super) const ODD: Address = address!("00000000000000000000000000000000000000f0");
pub(super) const PAIR: Address = address!("AaAaAAAaaAaaaaaaaAaAAAAaAAaaaaaAAaaAAA02");
pub(super) const POOL: Address = address!("Bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb03");
pub(super) const ODD_PAIR: Address = address!("CccCCCcCcCcCCccCCccCCCcccccccccccccCCc02");
pub(super) const TRADER: Address = address!("00000000000000000000000000000000000000d1");

type States = BTreeMap<PoolId, (Arc<PoolMeta>, PoolImage, BlockRef, Arc<Market>)>;

/// What gas costs in every block, wei.
pub(super) const BASE_FEE_WEI: u64 = 3_000_000_000;

pub(super) struct World {
    pub(super) live: Arc<Live>,
    pub(super) history: Arc<ListHistory>,
    pub(super) schema: ApiSchema,
    engine: Engine,
    pub(super) state: Arc<ApiState>,
    pub(super) ready: watch::Sender<bool>,
    /// Canonical records with the states after each.
    chain: Vec<(Arc<BlockRecord>, States)>,
    /// After each of them.
    books: Vec<Book>,
    branch: u8,
    /// Seconds that passed beside the blocks'.
    pub(super) idle: u64,
}

/// What happens in a block.
pub(super) enum Step {
    Create(PoolMeta),
    Log(Address, EventBody),
}

pub(super) fn v2_swap(amount0_in: u64, amount1_out: u64, reserve0: u128, reserve1: u128) -> Vec<Step> {
    vec![
        Step::Log(PAIR, EventBody::V2Sync { reserve0, reserve1 }),
        Step::Log(
            PAIR,
            EventBody::V2Swap {
                sender: TRADER,
                to: TRADER,
                amount0_in: U256::from(amount0_in),
                amount1_in: U256::ZERO,
                amount0_out: U256::ZERO,
                amount1_out: U256::from(amount1_out),
            },
        ),
    ]
}

pub(super) fn v3_swap(root_shift: usize) -> Vec<Step> {
    vec![Step::Log(
        POOL,
        EventBody::V3Swap {
            sender: TRADER,
            recipient: TRADER,
            amount0: I256::try_from(-2_000_000i64).unwrap(),
            amount1: I256::try_from(1_000_000_000_000_000_000i64).unwrap(),
            sqrt_price_x96: U256::ONE << root_shift,
            liquidity: 1000,
            tick: 12,
        },
    )]
}

pub(super) fn v3_mint(lower: i32, upper: i32, amount: u128) -> Vec<Step> {
    vec![Step::Log(
        POOL,
        EventBody::V3Mint {
            sender: TRADER,
            owner: TRADER,
            tick_lower: lower,
            tick_upper: upper,
            amount,
            amount0: U256::from(5_000_000u64),
            amount1: U256::from(10u64.pow(18)),
        },
    )]
}

pub(super) fn initialize(root_shift: usize, tick: i32) -> Vec<Step> {
    vec![Step::Log(POOL, EventBody::V3Initialize { sqrt_price_x96: U256::ONE << root_shift, tick })]
}

pub(super) fn pool_meta(address: Address, protocol: Protocol, token0: Address, token1: Address) -> PoolMeta {
    let v3 = protocol == Protocol::UniswapV3;
    PoolMeta {
        chain: CHAIN,
        id: address.into(),
        protocol,
        dex: if v3 { "uniswap-v3" } else { "uniswap-v2" }.to_owned(),
        factory: Address::repeat_byte(0xfa),
        token0,
        token1,
        fee_pips: if v3 { 500 } else { 3000 },
        tick_spacing: v3.then_some(10),
        created: CreatedAt { block: block_ref(1, 0, 0), tx_hash: Some(B256::ZERO), log_index: u64::from(address.0[19]) },
        hooks: None,
        origin: None,
    }
}

pub(super) fn block_ref(number: u64, branch: u8, parent_branch: u8) -> BlockRef {
    let hash = |number: u64, branch: u8| B256::from(U256::from(number * 256 + u64::from(branch) + 1));
    BlockRef {
        number,
        hash: hash(number, branch),
        parent_hash: if number == 0 { B256::ZERO } else { hash(number - 1, parent_branch) },
        timestamp: 1_700_000_000 + number * 12,
    }
}

/// ETH/USD of two sources, bound to WETH.
fn eth_usd() -> PairSpec {
    let source = |name: &str| SourceSpec { name: name.to_owned(), stale_after_ms: 30_000 };
    PairSpec {
        name: "ETH/USD".to_owned(),
        rules: Rules { min_sources: 1, max_deviation_bps: 200, halt_after_ms: 300_000 },
        sources: vec![source("binance"), source("coinbase")],
        tokens: vec![(CHAIN, WETH)],
    }
}

impl World {
    /// Block 0 is empty; block 1 creates the three pools.
    pub(super) fn new() -> Self {
        let live = Arc::new(Live::new(CHAIN, "local", 2, Duration::from_secs(15)));
        Self::over(vec![live])
    }

    /// With another wall clock.
    pub(super) fn with_clock(now_unix_ms: fn() -> u64) -> Self {
        let live = Arc::new(Live::new(CHAIN, "local", 2, Duration::from_secs(15)));
        let history = Arc::new(ListHistory::default());
        Self::at(vec![live], history.clone(), history, now_unix_ms)
    }

    /// No feed is bound to anything: USDC is a dollar, WETH the native token, and pools say the rest.
    pub(super) fn priced() -> Self {
        let live = Live::new(CHAIN, "local", 2, Duration::from_secs(15));
        live.price_with(Anchors {
            stablecoins: [(USDC, Some(6))].into(),
            wrapped_native: Some(WETH),
            min_depth: Usd::whole(100),
        });
        let history = Arc::new(ListHistory::default());
        Self::with_feeds(vec![Arc::new(live)], history.clone(), history, || NOW_MS, Vec::new())
    }

    pub(super) fn over(chains: Vec<Arc<Live>>) -> Self {
        let history = Arc::new(ListHistory::default());
        Self::reading(chains, history.clone(), history)
    }

    /// What is older than the window is read from `store`.
    pub(super) fn reading(chains: Vec<Arc<Live>>, store: Arc<dyn History>, history: Arc<ListHistory>) -> Self {
        Self::at(chains, store, history, || NOW_MS)
    }

    fn at(chains: Vec<Arc<Live>>, store: Arc<dyn History>, history: Arc<ListHistory>, now_unix_ms: fn() -> u64) -> Self {
        Self::with_feeds(chains, store, history, now_unix_ms, vec![eth_usd()])
    }

    fn with_feeds(
        chains: Vec<Arc<Live>>,
        store: Arc<dyn History>,
        history: Arc<ListHistory>,
        now_unix_ms: fn() -> u64,
        feeds: Vec<PairSpec>,
    ) -> Self {
        let live = chains[0].clone();
        let reader = Reader::new(chains, store).with_prices(Arc::new(Prices::new(feeds)));
        let metrics = Metrics::new().unwrap();
        let (ready, ready_rx) = watch::channel(false);
        let core = Core {
            reader: reader.clone(),
            metrics: metrics.clone(),
            version: "0.0.0-test",
            now_unix_ms,
            turns: crate::api::gql::turns(),
        };
        let state = ApiState {
            reader,
            metrics,
            board: Board::default(),
            origins: vec!["http://localhost:*".to_owned()],
            request_limit: crate::api::RequestLimit::default(),
            streams_per_address: 0,
            sockets: crate::api::SocketLimits::default(),
            access: crate::api::AccessRules::default(),
            documents: crate::api::DocumentRules::default(),
            ready: ready_rx,
            draining: CancellationToken::new(),
            version: "0.0.0-test",
            now_unix_ms,
        };
        let engine = Engine::new(core, &crate::api::DocumentRules::default());
        let (schema, state) = (engine.guarded().clone(), Arc::new(state));
        let mut world =
            Self { live, history, schema, engine, state, ready, chain: Vec::new(), books: Vec::new(), branch: 0, idle: 0 };
        world.mine(Vec::new());
        world.mine(vec![
            Step::Create(pool_meta(PAIR, Protocol::UniswapV2, USDC, WETH)),
            Step::Create(pool_meta(POOL, Protocol::UniswapV3, USDC, WETH)),
            Step::Create(pool_meta(ODD_PAIR, Protocol::UniswapV2, WETH, ODD)),
        ]);
        world
    }

    pub(super) fn tip(&self) -> BlockRef {
        self.chain.last().unwrap().0.block
    }

    /// Blocks without events, until everything so far is in the store only.
    pub(super) fn bury(&mut self) {
        drop(self.live.take_side());
        self.live.wrote_side();
        for _ in 0..70 {
            let tip = self.mine(Vec::new());
            self.live.set_durable(tip.number, tip.hash, self.live.head().reverts);
        }
        assert!(self.live.head().window.iter().all(|record| record.rows.is_empty()));
        self.history.batches.lock().unwrap().clear();
    }

    pub(super) fn records(&self) -> Vec<Arc<BlockRecord>> {
        self.chain.iter().map(|(record, _)| record.clone()).collect()
    }

    pub(super) fn mine(&mut self, steps: Vec<Step>) -> BlockRef {
        self.reorg(0, vec![steps])
    }

    /// Takes back `depth` blocks and goes on with others, in one commit.
    pub(super) fn reorg(&mut self, depth: usize, blocks: Vec<Vec<Step>>) -> BlockRef {
        let mut commit = Commit { at_head: true, ..Commit::default() };
        let before = self.chain.last().map(|(_, states)| states.clone()).unwrap_or_default();
        for _ in 0..depth {
            let (record, _) = self.chain.pop().unwrap();
            self.books.pop();
            commit.update.revert.push(record.block);
            commit.reverted.push(record);
        }
        if depth > 0 {
            self.branch += 1;
        }
        for steps in blocks {
            let (record, states) = self.next(steps);
            let mut book = self.books.last().cloned().unwrap_or_default();
            let metas: Vec<_> =
                record.rows.iter().map(|row| states.get(&row.event.pool).map(|(meta, ..)| meta.as_ref())).collect();
            book.fold(&record, &metas);
            self.books.push(book);
            commit.update.extend.push(record.block);
            commit.extended.push(record.clone());
            self.chain.push((record, states));
        }
        let after = self.chain.last().unwrap().1.clone();
        for (id, (meta, image, updated, market)) in &after {
            if before.get(id).map(|(_, s, u, ..)| (s, u)) != Some((image, updated)) {
                let view = PoolView {
                    meta: meta.clone(),
                    image: image.clone(),
                    market: market.clone(),
                    status: PoolStatus::Live,
                    held_at: None,
                    updated: *updated,
                };
                commit.views.push((*id, Some(Arc::new(view))));
            }
        }
        commit.views.extend(before.keys().filter(|id| !after.contains_key(id)).map(|id| (*id, None)));
        if self.tip().number == 1 {
            commit.tokens = tokens(self.tip());
        }
        commit.book = self.books.last().cloned().map(Arc::new);
        commit.head = Some(self.tip());
        commit.base_fee_wei = Some(BASE_FEE_WEI);
        commit.finalized_number = self.tip().number.saturating_sub(64);
        commit.update = ChainUpdate { finalize: None, ..commit.update };
        self.history.set(self.chain.iter().map(|(record, _)| record.clone()));
        self.live.commit(commit);
        self.tip()
    }

    fn next(&self, steps: Vec<Step>) -> (Arc<BlockRecord>, States) {
        let (number, parent) = self.chain.last().map_or((0, B256::ZERO), |(r, _)| (r.block.number + 1, r.block.hash));
        let block = block_ref(number, self.branch, 0);
        let block = BlockRef { parent_hash: parent, timestamp: block.timestamp + self.idle, ..block };
        let stood: States = self.chain.last().map(|(_, s)| s.clone()).unwrap_or_default();
        let mut states = self.chain.last().map(|(_, s)| s.clone()).unwrap_or_default();
        let (mut events, mut after, mut created) = (Vec::new(), Vec::new(), Vec::new());
        for (i, step) in steps.into_iter().enumerate() {
            match step {
                Step::Create(meta) => {
                    let created_at = CreatedAt { block, ..meta.created };
                    let meta = Arc::new(PoolMeta { created: created_at, ..meta });
                    self.live.learn_pool(&meta);
                    states.insert(meta.id, (meta.clone(), PoolImage::new(&meta), block, Arc::default()));
                    created.push(meta);
                }
                Step::Log(pool, body) => {
                    let (_, image, updated, _) = states.get_mut(&pool.into()).unwrap();
                    image.apply(&body).unwrap();
                    // As it was for long: what is here is believed at once.
                    image.gauge = Gauge::seeded(&image.state, block.timestamp);
                    *updated = block;
                    after.push(Some(image.state.after()));
                    let raw = RawLog {
                        address: pool,
                        topics: Vec::new(),
                        data: Bytes::new(),
                        tx_hash: B256::from(U256::from(number * 1000 + i as u64 / 2)),
                        tx_index: 0,
                        log_index: i as u64,
                    };
                    events.push(Event { pool: pool.into(), body, raw });
                }
            }
        }
        let mut rows = rows(&events, &after);
        // Every swap moved a dollar and a half.
        let swaps = rows.iter_mut().filter(|row| row.kind() == EventKind::Swap);
        swaps.for_each(|row| row.usd = Some(Usd(1_500_000)));
        set_gauges(&mut rows, |id| states.get(id).map(|(_, image, ..)| image.gauge));
        for row in &rows {
            if let Some((meta, .., market)) = states.get_mut(&row.event.pool) {
                Arc::make_mut(market).take(block.timestamp, row, meta.fee_pips);
            }
        }
        let told = self.tell(&block, &rows, &stood, &states);
        (Arc::new(BlockRecord { created, told, ..BlockRecord::new(CHAIN, block, rows) }), states)
    }

    fn tell(&self, block: &BlockRef, rows: &[EventRow], stood: &States, states: &States) -> Option<Arc<Told>> {
        let gauges = |states: &States| {
            let gauges: BTreeMap<PoolId, Gauge> = states.iter().map(|(id, (_, image, ..))| (*id, image.gauge)).collect();
            move |id: &PoolId| gauges.get(id).copied()
        };
        let due = self.books.last().and_then(|book| book.due(block.timestamp));
        let meta = |row: &EventRow| states.get(&row.event.pool).map(|(meta, ..)| meta.as_ref());
        self.live.with_routes(|routes| {
            let closing = due.map(|due| {
                let marks = stood.values().map(|(meta, image, ..)| (meta.as_ref(), image.mark()));
                Closing::new(&due, &routes.at(due.at, gauges(stood)), marks)
            });
            let told = Told::new(rows.iter().filter_map(meta), &routes.at(block.timestamp, gauges(states)), closing);
            (!rows.is_empty()).then(|| Arc::new(told))
        })
    }

    /// Runs a query and gives the whole response as JSON. A document that is known is answered no differently.
    pub(super) async fn ask(&self, query: &str) -> Value {
        let answer = serde_json::to_value(self.schema.execute(query).await).unwrap();
        // Of several mistakes the engine may name another one each time.
        let comparable = |mut answer: Value| {
            answer["errors"].as_array_mut().into_iter().flatten().for_each(|error| *error = error["extensions"]["code"].take());
            answer
        };
        for _ in 0..2 {
            let again = self.engine.execute(query.into()).await.response;
            assert_eq!(comparable(serde_json::to_value(again).unwrap()), comparable(answer.clone()), "{query}");
        }
        answer
    }

    /// Runs a query that must succeed and gives its data.
    pub(super) async fn data(&self, query: &str) -> Value {
        let response = self.ask(query).await;
        assert_eq!(response.get("errors"), None, "{query}: {response:#}");
        response["data"].clone()
    }

    /// Runs a query once, as HTTP does: under guard the first time, straight from then on. For those who count what it asks for.
    pub(super) async fn once(&self, query: &str) -> Value {
        let response = self.engine.execute(query.into()).await.response;
        assert!(response.errors.is_empty(), "{query}: {:?}", response.errors);
        serde_json::to_value(response).unwrap()["data"].take()
    }

    /// Runs a query that must fail and gives the code and message of its first error.
    pub(super) async fn refused(&self, query: &str) -> (String, String) {
        let response = self.ask(query).await;
        let error = &response["errors"][0];
        assert!(error.is_object(), "{query}: {response:#}");
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        (text(&error["extensions"]["code"]), text(&error["message"]))
    }
}

fn tokens(as_of: BlockRef) -> Vec<Arc<TokenMeta>> {
    let token = |address, symbol: &str, decimals, flags| {
        Arc::new(TokenMeta {
            chain: CHAIN,
            address,
            name: Some(format!("{symbol} token")),
            symbol: Some(symbol.to_owned()),
            decimals,
            total_supply: Some(U256::from(10u64.pow(15))),
            flags,
            as_of,
        })
    };
    vec![
        token(USDC, "USDC", Some(6), Vec::new()),
        token(WETH, "WETH", Some(18), Vec::new()),
        token(ODD, "ODD", None, vec![TokenFlag::DecimalsMissing]),
    ]
}
