//! A chain in memory: a block of one swap as often as wanted.

use std::{path::Path, sync::Arc, time::Duration};

use alloy::primitives::{Address, B256, Bytes, U256, address};
use swaptide::{
    api::{AccessRules, ApiState, DocumentRules, RequestLimit, SocketLimits},
    domain::{
        block::BlockRef,
        event::{Event, EventBody, RawLog},
        image::PoolImage,
        pool::{CreatedAt, PoolMeta, Protocol},
        reconcile::ChainUpdate,
        record::{BlockRecord, EventRow},
    },
    store::{Commit, History, Live, PoolStatus, PoolView, Reader, sqlite::SqliteHistory},
    telemetry::{Board, Metrics},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub(super) const CHAIN: u64 = 31_337;
pub(super) const POOL: Address = address!("00000000000000000000000000000000000a00b0");
const FINALITY: u64 = 64;

pub(super) struct Chain {
    live: Arc<Live>,
    tip: BlockRef,
    meta: Arc<PoolMeta>,
}

fn block(number: u64) -> BlockRef {
    let hash = |n: u64| B256::from(U256::from(n.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    BlockRef { number, hash: hash(number), parent_hash: hash(number.saturating_sub(1)), timestamp: 1_700_000_000 + number }
}

impl Chain {
    pub(super) fn new() -> Self {
        let live = Arc::new(Live::new(CHAIN, "bench", 2, Duration::from_secs(3_600)));
        let tip = block(1);
        let meta = Arc::new(PoolMeta {
            chain: CHAIN,
            id: POOL.into(),
            protocol: Protocol::UniswapV2,
            dex: "bench".to_owned(),
            factory: Address::repeat_byte(0xfa),
            token0: Address::repeat_byte(0xa0),
            token1: Address::repeat_byte(0xb0),
            fee_pips: 3_000,
            tick_spacing: None,
            hooks: None,
            created: CreatedAt { block: tip, tx_hash: Some(B256::ZERO), log_index: 0 },
            origin: None,
        });
        live.learn_pool(&meta);
        let mut new = Self { live, tip, meta };
        new.commit(Vec::new(), 1);
        new
    }

    /// The file is read by nobody: memory has all that is asked for.
    pub(super) fn state(&self, database: &Path) -> Arc<ApiState> {
        let history: Arc<dyn History> = Arc::new(SqliteHistory::open(database).expect("a new database"));
        Arc::new(ApiState {
            reader: Reader::new([self.live.clone()], history),
            metrics: Metrics::new().expect("metrics"),
            board: Board::default(),
            origins: Vec::new(),
            request_limit: RequestLimit::default(),
            streams_per_address: 0,
            sockets: SocketLimits { connections: 20_000, connections_per_address: 0, ..SocketLimits::default() },
            access: AccessRules::default(),
            documents: DocumentRules::default(),
            ready: watch::channel(true).1,
            draining: CancellationToken::new(),
            version: "bench",
            now_unix_ms: || 1_700_000_000_000,
        })
    }

    /// A block of so many swaps of this amount.
    pub(super) fn swap(&mut self, amount: u64, swaps: usize) {
        let number = self.tip.number + 1;
        self.tip = block(number);
        self.live.arrivals.heard(self.tip.hash, amount.checked_div(1_000_000).unwrap_or(0));
        let row = |log_index: usize| {
            let body = EventBody::V2Swap {
                sender: POOL,
                to: POOL,
                amount0_in: U256::from(amount),
                amount1_in: U256::ZERO,
                amount0_out: U256::ZERO,
                amount1_out: U256::from(1_000_000_007_u64),
            };
            let raw = RawLog {
                address: POOL,
                topics: Vec::new(),
                data: Bytes::new(),
                tx_hash: self.tip.hash,
                tx_index: 0,
                log_index: log_index as u64,
            };
            let event = Event { pool: POOL.into(), body, raw };
            EventRow { event, sync_log_index: None, after: None, usd: None, gauge: None, enrichment: None }
        };
        let rows = (0..swaps).map(row).collect();
        self.commit(rows, amount);
    }

    fn commit(&mut self, rows: Vec<EventRow>, reserve: u64) {
        let mut image = PoolImage::new(&self.meta);
        let synced = EventBody::V2Sync { reserve0: u128::from(reserve), reserve1: 1_000_000_007 };
        image.apply(&synced).expect("an event of its own");
        image.end_block(&self.tip, true);
        let view = PoolView {
            meta: self.meta.clone(),
            image,
            market: Arc::default(),
            status: PoolStatus::Live,
            held_at: None,
            updated: self.tip,
        };
        self.live.commit(Commit {
            update: ChainUpdate { extend: vec![self.tip], ..ChainUpdate::default() },
            extended: vec![Arc::new(BlockRecord::new(CHAIN, self.tip, rows))],
            views: vec![(self.meta.id, Some(Arc::new(view)))],
            head: Some(self.tip),
            finalized_number: self.tip.number.saturating_sub(FINALITY),
            at_head: true,
            ..Commit::default()
        });
        // As if it were stored: memory lets go of what is final.
        self.live.set_durable(self.tip.number, self.tip.hash, self.live.head().reverts);
    }
}
