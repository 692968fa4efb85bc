//! A chain that stands still: four tokens, a pair, and pools of V3 and V4 with a little liquidity; and a store in which nothing is.

use std::{sync::Arc, time::Duration};

use alloy::primitives::{Address, B256, U256, address};
use axum::Router;
use futures_util::future::{BoxFuture, FutureExt as _, ready};
use swaptide::{
    api::{AccessRules, ApiState, DocumentRules, RequestLimit, SocketLimits, public_router},
    domain::{
        ChainId,
        block::BlockRef,
        event::EventBody,
        image::PoolImage,
        market::{Candle, Period},
        pool::{CreatedAt, PoolMeta, Protocol, math::sqrt_ratio_at_tick},
        reconcile::ChainUpdate,
        record::{BlockRecord, BookSnapshot, EventAt},
        token::TokenMeta,
    },
    store::{
        Commit, DataSource, History, Live, PoolStatus, PoolView, Reader, StoreError,
        history::{Boot, PoolReplay, SeriesRange, Unenriched, WriteBatch},
        query::{EventQuery, Moment},
    },
    telemetry::{Board, Metrics},
};
use tokio::{runtime::Runtime, sync::watch};
use tokio_util::sync::CancellationToken;

use super::pools::{CHAIN, block};

/// The last one is in no pool.
pub(super) const TOKENS: [Address; 5] = [
    address!("00000000000000000000000000000000000000a0"),
    address!("00000000000000000000000000000000000000b0"),
    address!("00000000000000000000000000000000000000c0"),
    address!("00000000000000000000000000000000000000d0"),
    address!("00000000000000000000000000000000000000e0"),
];
const NUMBER: u64 = 7;
const TIMESTAMP: u64 = 1_700_000_000;

/// The routes over it, once for each thread, and where they run: the clock is paused, so deadlines take no time.
pub(super) fn in_it<T>(then: impl FnOnce(&Runtime, &Router) -> T) -> T {
    std::thread_local! {
        static HERE: (Runtime, Router) = {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
            let runtime = runtime.expect("a runtime");
            let router = runtime.block_on(async { router() });
            (runtime, router)
        };
    }
    HERE.with(|(runtime, router)| then(runtime, router))
}

fn router() -> Router {
    let live = Arc::new(Live::new(CHAIN, "local", 2, Duration::from_secs(15)));
    let at = block(NUMBER, TIMESTAMP);
    live.commit(Commit {
        update: ChainUpdate { extend: vec![at], ..ChainUpdate::default() },
        extended: vec![Arc::new(BlockRecord::new(CHAIN, at, Vec::new()))],
        views: pools(at).into_iter().map(|view| (view.meta.id, Some(Arc::new(view)))).collect(),
        tokens: TOKENS.iter().take(4).map(|token| Arc::new(said(*token, at))).collect(),
        head: Some(at),
        at_head: true,
        ..Commit::default()
    });
    // Or the store would be behind, and all that is older not there.
    live.set_durable(at.number, at.hash, live.head().reverts);
    let (ready, draining) = (watch::channel(true).1, CancellationToken::new());
    public_router(Arc::new(ApiState {
        reader: Reader::new([live], Arc::new(Nothing)),
        metrics: Metrics::new().expect("metrics"),
        board: Board::default(),
        origins: Vec::new(),
        request_limit: RequestLimit::default(),
        streams_per_address: 0,
        sockets: SocketLimits::default(),
        access: AccessRules::default(),
        documents: DocumentRules::default(),
        ready,
        draining,
        version: "0",
        now_unix_ms: || TIMESTAMP * 1_000,
    }))
}

fn said(token: Address, as_of: BlockRef) -> TokenMeta {
    TokenMeta {
        chain: CHAIN,
        address: token,
        name: Some("Token".to_owned()),
        symbol: Some("TKN".to_owned()),
        // One of them does not say.
        decimals: (token != TOKENS[3]).then_some(18),
        total_supply: Some(U256::from(10_u64.pow(18))),
        flags: Vec::new(),
        as_of,
    }
}

fn pools(at: BlockRef) -> Vec<PoolView> {
    let reserves = |reserve0, reserve1| vec![EventBody::V2Sync { reserve0, reserve1 }];
    let sqrt_price_x96 = sqrt_ratio_at_tick(0).expect("a tick");
    let [token0, token1, token2, token3, _] = TOKENS;
    let (sender, salt, liquidity) = (Address::ZERO, B256::ZERO, 10_u128.pow(20));
    let mint = |tick_lower, tick_upper| {
        let (owner, amount, amount0, amount1) = (sender, liquidity, U256::from(liquidity), U256::from(liquidity));
        EventBody::V3Mint { sender, owner, tick_lower, tick_upper, amount, amount0, amount1 }
    };
    let v3 = vec![EventBody::V3Initialize { sqrt_price_x96, tick: 0 }, mint(-887_220, 887_220), mint(-600, 1_200)];
    let v4 = vec![
        EventBody::V4Initialize {
            token0,
            token1: token2,
            fee_pips: 3_000,
            tick_spacing: 60,
            hooks: Address::ZERO,
            sqrt_price_x96,
            tick: 0,
        },
        EventBody::V4ModifyLiquidity {
            sender,
            tick_lower: -6_000,
            tick_upper: 6_000,
            liquidity_delta: liquidity.cast_signed(),
            salt,
        },
    ];
    vec![
        view(at, Protocol::UniswapV2, [token0, token1], &reserves(10_u128.pow(24), 3 * 10_u128.pow(24))),
        view(at, Protocol::UniswapV2, [token2, token3], &reserves(10_u128.pow(20), 7)),
        view(at, Protocol::UniswapV3, [token1, token2], &v3),
        view(at, Protocol::UniswapV4, [token0, token2], &v4),
    ]
}

fn view(at: BlockRef, protocol: Protocol, [token0, token1]: [Address; 2], events: &[EventBody]) -> PoolView {
    // Named by its tokens.
    let id = Address::from_word(B256::from(U256::from_be_slice(token0.as_slice()) << 8 | U256::from_be_slice(token1.as_slice())));
    let meta = PoolMeta {
        chain: CHAIN,
        id: id.into(),
        protocol,
        dex: "local".to_owned(),
        factory: Address::repeat_byte(0xfa),
        token0,
        token1,
        fee_pips: 3_000,
        tick_spacing: (protocol != Protocol::UniswapV2).then_some(60),
        hooks: None,
        created: CreatedAt { block: at, tx_hash: Some(B256::ZERO), log_index: 0 },
        origin: None,
    };
    let mut image = PoolImage::new(&meta);
    events.iter().for_each(|event| image.apply(event).expect("an event of its own"));
    image.end_block(&at, true);
    PoolView { meta: Arc::new(meta), image, market: Arc::default(), status: PoolStatus::Live, held_at: None, updated: at }
}

/// A store that was claimed, and nothing came.
struct Nothing;

type Answer<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

fn nothing<'a, T: Default + Send + 'a>() -> Answer<'a, T> {
    ready(Ok(T::default())).boxed()
}

impl History for Nothing {
    fn source(&self) -> DataSource {
        DataSource::Sqlite
    }
    fn claim(&self, _: ChainId, _: B256) -> Answer<'_, ()> {
        nothing()
    }
    fn take_fence(&self, _: &str) -> Answer<'_, u64> {
        nothing()
    }
    fn boot(&self, _: ChainId) -> Answer<'_, Boot> {
        nothing()
    }
    fn book(&self, _: ChainId) -> Answer<'_, Option<BookSnapshot>> {
        nothing()
    }
    fn replay(&self, _: ChainId, pools: Vec<PoolMeta>) -> Answer<'_, Vec<PoolReplay>> {
        ready(Ok(pools.iter().map(|_| PoolReplay::default()).collect())).boxed()
    }
    fn write(&self, _: WriteBatch) -> Answer<'_, ()> {
        nothing()
    }
    fn events(&self, _: EventQuery) -> Answer<'_, Vec<EventAt>> {
        nothing()
    }
    fn pages(&self, queries: Vec<EventQuery>) -> Answer<'_, Vec<Vec<EventAt>>> {
        ready(Ok(queries.iter().map(|_| Vec::new()).collect())).boxed()
    }
    fn count(&self, _: EventQuery, _: u64) -> Answer<'_, u64> {
        nothing()
    }
    fn unenriched(&self, _: ChainId, _: u64, _: u64) -> Answer<'_, Unenriched> {
        nothing()
    }
    fn block(&self, _: ChainId, _: B256) -> Answer<'_, Option<(BlockRef, bool)>> {
        nothing()
    }
    fn record(&self, _: ChainId, _: B256) -> Answer<'_, Option<BlockRecord>> {
        nothing()
    }
    fn block_at(&self, _: ChainId, _: Moment) -> Answer<'_, Option<BlockRef>> {
        nothing()
    }
    fn candles(&self, _: SeriesRange) -> Answer<'_, Vec<Candle>> {
        nothing()
    }
    fn periods(&self, _: SeriesRange) -> Answer<'_, Vec<Period>> {
        nothing()
    }
    fn records(&self, _: ChainId, _: u64, _: usize) -> Answer<'_, Vec<BlockRecord>> {
        nothing()
    }
    fn log_counts(&self, _: ChainId) -> Answer<'_, (u64, u64)> {
        nothing()
    }
}
