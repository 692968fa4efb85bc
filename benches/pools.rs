//! What many pools cost: memory per idle pool at 10,000, and one block that touches 1,000 of them.
//! `cargo bench --bench pools [-- POOLS TOUCHED BLOCKS]`.
//!
//! The tree, the store and memory are the real ones; the chain is made up here, because a real node would be most of the figure.
//! The block's ceiling is decoding its logs and nothing else, in the same run.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    reason = "a bench prints, and ends with a panic where it cannot go on"
)]

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use alloy::{
    consensus::constants::EMPTY_RECEIPTS,
    primitives::{Address, B256, Bytes, LogData, U256, aliases::U112, keccak256},
    sol_types::SolEvent,
};
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::BoxStream};
use swaptide::{
    actors::{Deps, Finality, Plan, StartBlock, tree::ChainTree},
    chain::{BlockTag, Call, CallOutcome, ChainError, ChainSource, HeadEvent, RangeLogs, decode, registry::DexSpec, verify},
    domain::{
        block::{BlockRef, Header},
        event::RawLog,
        pool::Protocol,
        record::Enrichment,
    },
    store::{History, Live, lease::Lease, sqlite::SqliteHistory},
    telemetry::{Board, Metrics},
};
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;

alloy::sol! {
    event PairCreated(address indexed token0, address indexed token1, address pair, uint256 pairCount);
    event Sync(uint112 reserve0, uint112 reserve1);
    event Swap(address indexed sender, uint256 amount0In, uint256 amount1In, uint256 amount0Out, uint256 amount1Out, address indexed to);
}

const FACTORY: Address = Address::repeat_byte(0xfa);
const PER_BLOCK: usize = 100;

type Mined = (Header, Vec<RawLog>);

/// A chain of blocks that were made beforehand.
#[derive(Clone)]
struct Crowd {
    blocks: Arc<Mutex<Vec<Mined>>>,
    heads: broadcast::Sender<HeadEvent>,
}

fn pool(index: usize) -> Address {
    Address::from_word(keccak256(index.to_be_bytes()))
}

impl Crowd {
    fn mine(&self, logs: Vec<(Address, LogData)>) -> Header {
        let mut blocks = self.blocks.lock().unwrap();
        let number = blocks.len() as u64;
        let parent_hash = blocks.last().map_or(B256::ZERO, |(h, _)| h.block.hash);
        let block = BlockRef { number, hash: keccak256(number.to_be_bytes()), parent_hash, timestamp: 1_700_000_000 + number };
        let logs: Vec<RawLog> = logs
            .into_iter()
            .enumerate()
            .map(|(i, (address, data))| RawLog {
                address,
                topics: data.topics().to_vec(),
                data: data.data,
                tx_hash: keccak256((i / 2).to_be_bytes()),
                tx_index: (i / 2) as u64,
                log_index: i as u64,
            })
            .collect();
        let header = Header {
            block,
            logs_bloom: Box::new(verify::bloom(&logs)),
            receipts_root: logs.is_empty().then_some(EMPTY_RECEIPTS),
            base_fee_wei: None,
        };
        blocks.push((header.clone(), logs));
        header
    }

    fn find(&self, wanted: impl Fn(&Header) -> bool) -> Option<Mined> {
        self.blocks.lock().unwrap().iter().rev().find(|(h, _)| wanted(h)).cloned()
    }
}

impl ChainSource for Crowd {
    fn chain_id(&self) -> BoxFuture<'_, Result<u64, ChainError>> {
        async { Ok(1) }.boxed()
    }

    fn heads(&self) -> BoxStream<'static, HeadEvent> {
        tokio_stream::wrappers::BroadcastStream::new(self.heads.subscribe()).filter_map(async |h| h.ok()).boxed()
    }

    fn header(&self, tag: BlockTag) -> BoxFuture<'_, Result<Option<Header>, ChainError>> {
        let found = self.find(|h| match tag {
            BlockTag::Number(n) => h.block.number == n,
            BlockTag::Hash(hash) => h.block.hash == hash,
            _ => true,
        });
        async move { Ok(found.map(|(h, _)| h)) }.boxed()
    }

    fn block_logs(&self, header: &Header) -> BoxFuture<'_, Result<Vec<RawLog>, ChainError>> {
        let hash = header.block.hash;
        let logs = self.find(|h| h.block.hash == hash).map(|(_, logs)| logs).ok_or(ChainError::UnknownBlock(hash));
        async move { logs }.boxed()
    }

    fn range_logs(&self, from: u64, to: u64, _: &[B256], _: &[Address]) -> BoxFuture<'_, Result<RangeLogs, ChainError>> {
        let blocks: Vec<_> = self.blocks.lock().unwrap()[from as usize..=to as usize].to_vec();
        let end = blocks.last().unwrap().0.block;
        async move { Ok(RangeLogs { blocks: blocks.into_iter().map(|(h, logs)| (h.block, logs)).collect(), end }) }.boxed()
    }

    fn call_batch(&self, _: B256, calls: Vec<Call>, _: usize) -> BoxFuture<'_, Result<Vec<CallOutcome>, ChainError>> {
        async move { Ok(vec![CallOutcome::Failed; calls.len()]) }.boxed()
    }

    fn receipts(&self, _: B256, _: Vec<B256>) -> BoxFuture<'_, Result<Vec<(B256, Enrichment)>, ChainError>> {
        async { Ok(Vec::new()) }.boxed()
    }

    fn code(&self, _: Address) -> BoxFuture<'_, Result<Bytes, ChainError>> {
        async { Ok(Bytes::new()) }.boxed()
    }
}

fn sync(reserve: u64) -> LogData {
    Sync { reserve0: U112::from(reserve), reserve1: U112::from(reserve + 1) }.encode_log_data()
}

fn touch(pools: usize, touched: usize, salt: usize) -> Vec<(Address, LogData)> {
    let swap = Swap {
        sender: FACTORY,
        amount0In: U256::from(5),
        amount1In: U256::ZERO,
        amount0Out: U256::ZERO,
        amount1Out: U256::from(4),
        to: FACTORY,
    };
    (0..touched)
        .flat_map(|i| {
            let pool = pool((i * 7 + salt) % pools);
            [(pool, sync(salt as u64 + 1)), (pool, swap.encode_log_data())]
        })
        .collect()
}

fn resident_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap().trim().trim_end_matches(" kB").parse().unwrap()
}

fn main() {
    let numbers: Vec<usize> = std::env::args().filter_map(|a| a.parse().ok()).collect();
    let (pools, touched, rounds) =
        (*numbers.first().unwrap_or(&10_000), *numbers.get(1).unwrap_or(&1_000), *numbers.get(2).unwrap_or(&100));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, bench(pools, touched, rounds));
}

async fn bench(pools: usize, touched: usize, rounds: usize) {
    let crowd = Crowd { blocks: Arc::default(), heads: broadcast::channel(64).0 };
    crowd.mine(Vec::new());
    for first in (0..pools).step_by(PER_BLOCK) {
        let logs = (first..(first + PER_BLOCK).min(pools)).flat_map(|i| {
            let token = |n: usize| Address::from_word(keccak256([n as u8, 1]));
            let (token0, token1, pair) = (token(i % 50), token(i % 50 + 50), pool(i));
            let created = PairCreated { token0, token1, pair, pairCount: U256::from(i) };
            [(FACTORY, created.encode_log_data()), (pair, sync(1_000))]
        });
        crowd.mine(logs.collect());
    }
    (0..40).for_each(|_| drop(crowd.mine(Vec::new())));

    let folder = tempfile::tempdir().unwrap();
    let history = SqliteHistory::open(&folder.path().join("bench.db")).unwrap();
    history.claim(1, B256::ZERO).await.unwrap();
    let history: Arc<dyn History> = Arc::new(history);
    let live = Arc::new(Live::new(1, "bench", 2, Duration::from_secs(15)));
    let before_kb = resident_kb();
    let dex = DexSpec {
        name: "v2".into(),
        protocol: Protocol::UniswapV2,
        factory: FACTORY,
        fee_pips: 3_000,
        pools: Vec::new(),
        older_pools: false,
        position_manager: None,
        lp_tokens: false,
    };
    let tree = ChainTree::start(Arc::new(Deps {
        chain: 1,
        source: Arc::new(crowd.clone()),
        live: live.clone(),
        history: history.clone(),
        metrics: Metrics::new().unwrap(),
        board: Board::default(),
        plan: Plan {
            start: StartBlock::Number(0),
            finality: Finality::Depth(8),
            dexes: vec![dex],
            orphan_retention_s: 86_400,
            journal_rows_max: 200_000,
            enrichment: false,
            token_probe: None,
            progress_bar: false,
        },
        joined: Default::default(),
        lease: Lease::new(Some(history.take_fence("bench").await.unwrap())),
        fatal: mpsc::channel(1).0,
        stop: CancellationToken::new(),
        now_unix_ms: || 0,
    }));
    let mut durable = live.watch_durable();
    let head = crowd.find(|_| true).unwrap().0.block.number;
    durable.wait_for(|n| *n >= head).await.unwrap();
    let idle_kb = resident_kb() - before_kb;
    println!(
        "{} pools: {:.2} kB of resident memory each, actors, state and index together",
        live.pin().pools().len(),
        idle_kb as f64 / pools as f64
    );

    let (mut whole, mut decoding) = (Vec::new(), Vec::new());
    for salt in 0..rounds {
        let logs = touch(pools, touched, salt);
        let header = crowd.mine(logs);
        let raw = crowd.find(|_| true).unwrap().1;
        let mut epochs = live.watch_epoch();
        let started = Instant::now();
        crowd.heads.send(HeadEvent::Head(header.clone())).unwrap();
        while live.head().block.unwrap().hash != header.block.hash {
            epochs.changed().await.unwrap();
        }
        whole.push(started.elapsed());
        let started = Instant::now();
        for log in &raw {
            std::hint::black_box(decode::decode(log));
        }
        decoding.push(started.elapsed());
    }
    whole.sort();
    decoding.sort();
    let (half, most) = (rounds / 2, rounds * 99 / 100);
    println!(
        "a block that touches {touched} pools ({} events): head to commit p50 {:.2} ms, p99 {:.2} ms; decoding alone {:.2} ms, ratio {:.0}",
        touched * 2,
        whole[half].as_secs_f64() * 1e3,
        whole[most.min(rounds - 1)].as_secs_f64() * 1e3,
        decoding[half].as_secs_f64() * 1e3,
        whole[half].as_secs_f64() / decoding[half].as_secs_f64()
    );
    assert!(tree.stop().await);
}
