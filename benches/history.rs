//! The history queries on a store with many swaps: `cargo bench --bench history [-- --rows 10000000] [--store sqlite]`.
//!
//! The generator is seeded: so many swaps of so many pools (a few of them busy, most of them quiet), 200 to a block, written in
//! batches as a backfill writes them. Then each query of the API is asked with random arguments, one after the other, and its
//! times are printed. A real mongod runs beside it on the same machine; `--cache-mb` says how much of the data it may keep in memory,
//! and a second one asks everything again after a restart with that cache, which begins cold. `--uri` takes a server that runs
//! already; a database there that is filled is only asked.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::arithmetic_side_effects,
    reason = "a bench prints, and ends with a panic where it cannot go on"
)]

use std::{
    collections::{HashMap, HashSet},
    error::Error,
    sync::Arc,
    time::{Duration, Instant},
};

use alloy::primitives::{Address, B256, Bytes, I256, U256, keccak256};
use mongodb::bson::{Bson, doc};
use swaptide::{
    chain::sim::SimRng,
    domain::{
        block::BlockRef,
        dollars::Usd,
        event::{Event, EventBody, EventKind, RawLog},
        market::{Interval, Market, Subject, Track, Trade},
        pool::{CreatedAt, PoolId, PoolMeta, Protocol, StateAfter},
        record::{BlockRecord, ChunkOf, EventRow},
    },
    store::{
        History,
        history::{SeriesRange, WriteBatch},
        mongo::{MongoConfig, MongoHistory},
        query::{EventQuery, Fields, Narrow, Place},
        sqlite::SqliteHistory,
    },
};
use swaptide_demo::Mongod;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const CHAIN: u64 = 1;
const POOLS: u64 = 1_000;
const TOKENS: u64 = 300;
const SWAPS_PER_BLOCK: u64 = 200;
const BLOCKS_PER_BATCH: u64 = 50;
const BLOCK_SECONDS: u64 = 12;
const GENESIS_TIME: u64 = 1_600_000_000;
/// Half the memory of a server with 8 GB: what mongod takes of one by itself, nearly.
const CACHE_MB: u32 = 4_096;
/// Of each query.
const ASKED: u64 = 2_000;

#[tokio::main]
async fn main() -> Result<()> {
    let (mut rows, mut sqlite, mut uri, mut caches_mb) = (1_000_000_u64, false, None, Vec::new());
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--rows" => rows = words.next().ok_or("--rows needs a number")?.parse()?,
            "--store" => sqlite = words.next().ok_or("--store needs a name")? == "sqlite",
            "--cache-mb" => caches_mb.push(words.next().ok_or("--cache-mb needs a number")?.parse()?),
            "--uri" => uri = Some(words.next().ok_or("--uri needs mongodb://...")?),
            "--bench" => {}
            other => return Err(format!("{other} is unknown: --rows N, --cache-mb N, --uri URI, --store sqlite").into()),
        }
    }
    let mut caches_mb = caches_mb.into_iter();
    let folder = tempfile::tempdir()?;
    let mut mongod = None;
    let history: Arc<dyn History> = if sqlite {
        Arc::new(SqliteHistory::open(&folder.path().join("bench.db"))?)
    } else {
        if uri.is_none() {
            let cache_mb = caches_mb.next().unwrap_or(CACHE_MB);
            println!("mongod with a cache of {cache_mb} MB");
            let server = mongod.insert(Mongod::over_with_cache(folder.path(), cache_mb).await?);
            uri = Some(server.uri("bench"));
        }
        Arc::new(MongoHistory::open(MongoConfig::new(uri.as_deref().unwrap_or_default(), || 0)).await?)
    };
    history.claim(CHAIN, B256::repeat_byte(1)).await?;
    let blocks = match history.boot(CHAIN).await?.head {
        Some(head) => head.number,
        None => fill(history.as_ref(), rows).await?,
    };
    if let Some(uri) = &uri {
        sizes(uri, blocks * SWAPS_PER_BLOCK).await?;
    }
    ask(history.as_ref(), blocks).await?;
    if let Some(server) = &mut mongod {
        for cache_mb in caches_mb {
            server.restart_with_cache(cache_mb).await?;
            println!("\nafter a restart with a cache of {cache_mb} MB");
            ask(history.as_ref(), blocks).await?;
        }
    }
    drop(mongod);
    Ok(())
}

async fn ask(history: &dyn History, blocks: u64) -> Result<()> {
    println!("\n{:<44} {:>9} {:>9} {:>9}", format!("{ASKED} of each, one after the other"), "p50 ms", "p99 ms", "max ms");
    let mut rng = SimRng::new(7);
    for (name, query) in queries() {
        let mut times = Vec::new();
        let mut found = 0;
        for _ in 0..ASKED {
            let asked = query(&mut rng, blocks);
            let began = Instant::now();
            found += history.events(asked).await?.len();
            times.push(began.elapsed());
        }
        say(name, times, found);
    }
    let (mut times, mut found) = (Vec::new(), 0);
    for _ in 0..ASKED {
        let from = GENESIS_TIME + rng.below(blocks) * BLOCK_SECONDS;
        let pool = pool_id(busy(&mut rng));
        let range = SeriesRange {
            chain: CHAIN,
            of: Subject::Pool(pool),
            interval: Interval::M1,
            from,
            to: from + 86_400,
            newest: usize::MAX,
        };
        let began = Instant::now();
        found += history.candles(range).await?.len();
        times.push(began.elapsed());
    }
    say("a pool's minutes of a random day", times, found);
    Ok(())
}

fn say(name: &str, mut times: Vec<Duration>, found: usize) {
    times.sort();
    let ms = |t: Duration| t.as_secs_f64() * 1_000.0;
    let at = |permille: usize| ms(times[(times.len() - 1) * permille / 1_000]);
    println!("{name:<44} {:>9.2} {:>9.2} {:>9.2}   ({} rows each)", at(500), at(990), at(1_000), found as u64 / ASKED);
}

/// What the rows take, in memory and on disk.
async fn sizes(uri: &str, rows: u64) -> Result<()> {
    let client = mongodb::Client::with_uri_str(uri).await?;
    let database = client.default_database().ok_or("the URI names no database")?;
    // What is on disk is what the last checkpoint wrote.
    client.database("admin").run_command(doc! { "fsync": 1 }).await?;
    let stats = database.run_command(doc! { "collStats": "events", "scale": 1_048_576 }).await?;
    let mb = |found: Option<&Bson>| found.and_then(|n| n.as_i64().or(n.as_i32().map(i64::from)).or(n.as_f64().map(|n| n as i64)));
    let of = |name: &str| mb(stats.get(name)).unwrap_or(0);
    println!("\nevents: {} MB of documents ({} bytes each), {} MB on disk", of("size"), of("avgObjSize"), of("storageSize"));
    for (name, size) in stats.get_document("indexSizes")? {
        println!("index {name}: {} MB on disk", mb(Some(size)).unwrap_or(0));
    }
    let disk = of("storageSize") + of("totalIndexSize");
    println!("together {disk} MB on disk, {:.0} MB per million swaps", disk as f64 * 1e6 / rows as f64);
    Ok(())
}

/// Writes everything; gives the number of blocks.
async fn fill(history: &dyn History, rows: u64) -> Result<u64> {
    let fence = history.take_fence("bench").await?;
    let mut rng = SimRng::new(1);
    let blocks = rows.div_ceil(SWAPS_PER_BLOCK);
    let (began, mut last_said) = (Instant::now(), Instant::now());
    let mut markets = HashMap::new();
    let mut number = 1;
    while number <= blocks {
        let to = (number + BLOCKS_PER_BATCH - 1).min(blocks);
        let mut records: Vec<BlockRecord> = (number..=to).map(|n| record(&mut rng, n)).collect();
        if number == 1 {
            records[0].created = (0..POOLS).map(|n| Arc::new(pool(n))).collect();
        }
        let candles = records.iter().flat_map(|record| &record.rows).map(|row| row.event.pool).collect::<HashSet<_>>();
        for record in &records {
            for row in &record.rows {
                if let Some(trade) = Trade::of(record.block.timestamp, row) {
                    let (market, _): &mut (Market, _) = markets.entry(row.event.pool).or_default();
                    market.trade(&trade);
                }
            }
        }
        let candles = candles.into_iter().flat_map(|pool| take_chunks(&mut markets, pool)).collect();
        let head = block(to);
        let records = records.into_iter().map(Arc::new).collect();
        let batch =
            WriteBatch { chain: CHAIN, fence, records, candles, head: Some(head), finalized_number: to, ..WriteBatch::default() };
        history.write(batch).await?;
        number = to + 1;
        if last_said.elapsed() > Duration::from_secs(10) || number > blocks {
            let written = (number - 1) * SWAPS_PER_BLOCK;
            println!("{written} rows, {:.0} rows/s", written as f64 / began.elapsed().as_secs_f64());
            last_said = Instant::now();
        }
    }
    Ok(blocks)
}

/// What the store is given of a pool, each once, and memory forgets.
fn take_chunks(markets: &mut HashMap<PoolId, (Market, HashMap<Track, u64>)>, pool: PoolId) -> Vec<ChunkOf> {
    let Some((market, given)) = markets.get_mut(&pool) else { return Vec::new() };
    let chunks = market.chunks(|track| given.get(&track).copied());
    for chunk in &chunks {
        given.insert(chunk.track(), chunk.span().unwrap_or_default().1);
    }
    for (track, last) in given.iter() {
        market.forget_stored(*track, *last);
    }
    chunks.into_iter().map(|chunk| ChunkOf { of: Subject::Pool(pool), chunk: chunk.into() }).collect()
}

type Make = fn(&mut SimRng, u64) -> EventQuery;

fn queries() -> [(&'static str, Make); 7] {
    [
        ("latest 100 swaps", |_, _| all()),
        ("latest 100 of a pool", |rng, _| EventQuery { narrow: Narrow::Pool(pool_id(busy(rng))), ..all() }),
        ("100 of a pool from a random place", |rng, blocks| EventQuery {
            narrow: Narrow::Pool(pool_id(busy(rng))),
            before: Some(Place { block_number: rng.below(blocks) + 1, log_index: 0 }),
            ..all()
        }),
        ("latest 100 of a token", |rng, _| EventQuery { narrow: Narrow::Token(token(rng.below(TOKENS))), ..all() }),
        ("100 of a token from a random place", |rng, blocks| EventQuery {
            narrow: Narrow::Token(token(rng.below(TOKENS))),
            after: Some(Place { block_number: rng.below(blocks), log_index: 0 }),
            newest_first: false,
            ..all()
        }),
        ("a transaction", |rng, blocks| EventQuery {
            narrow: Narrow::Transaction(tx(rng.below(blocks) + 1, rng.below(SWAPS_PER_BLOCK))),
            ..all()
        }),
        ("a pool in a random hour", |rng, blocks| {
            let from = GENESIS_TIME + rng.below(blocks) * BLOCK_SECONDS;
            EventQuery { narrow: Narrow::Pool(pool_id(busy(rng))), time_from: Some(from), time_to: Some(from + 3_600), ..all() }
        }),
    ]
}

fn all() -> EventQuery {
    EventQuery {
        chain: CHAIN,
        kind: EventKind::Swap,
        narrow: Narrow::All,
        after: None,
        before: None,
        time_from: None,
        time_to: None,
        newest_first: true,
        fields: Fields::default(),
        limit: 100,
    }
}

/// A quarter of all swaps are of 1 pool in 16, and of a quarter of those again.
fn busy(rng: &mut SimRng) -> u64 {
    let mut range = POOLS;
    while range > 4 && rng.percent(25) {
        range /= 16;
    }
    rng.below(range.max(1))
}

fn word(label: u8, n: u64) -> B256 {
    keccak256([&[label], n.to_be_bytes().as_slice()].concat())
}

fn block(number: u64) -> BlockRef {
    let timestamp = GENESIS_TIME + number * BLOCK_SECONDS;
    BlockRef { number, hash: word(b'b', number), parent_hash: word(b'b', number - 1), timestamp }
}

fn tx(number: u64, index: u64) -> B256 {
    word(b't', number * SWAPS_PER_BLOCK + index)
}

fn token(n: u64) -> Address {
    Address::from_word(word(b'k', n))
}

fn pool_id(n: u64) -> PoolId {
    PoolId::Address(Address::from_word(word(b'p', n)))
}

fn pool(n: u64) -> PoolMeta {
    let created = CreatedAt { block: block(1), tx_hash: Some(tx(1, n)), log_index: 1_000 + n };
    PoolMeta {
        chain: CHAIN,
        id: pool_id(n),
        protocol: Protocol::UniswapV3,
        dex: "bench".to_owned(),
        factory: Address::ZERO,
        token0: token(n % TOKENS),
        token1: token((n * 7 + 1) % TOKENS),
        fee_pips: 3_000,
        tick_spacing: Some(60),
        created,
        hooks: None,
        origin: None,
    }
}

fn record(rng: &mut SimRng, number: u64) -> BlockRecord {
    let rows = (0..SWAPS_PER_BLOCK).map(|index| swap(rng, number, index)).collect();
    BlockRecord::new(CHAIN, block(number), rows)
}

/// With the log that a pool would emit.
fn swap(rng: &mut SimRng, number: u64, index: u64) -> EventRow {
    let pool = pool_id(busy(rng));
    let (sender, recipient) = (Address::from_word(word(b's', rng.below(50))), Address::from_word(word(b'r', rng.below(20_000))));
    let mut some = |bits: usize| -> U256 { U256::from(rng.below(u64::MAX)) << bits };
    let (amount0, amount1, sqrt_price_x96) = (some(20), some(8), some(40));
    let (amount0, amount1) = (I256::from_raw(amount0), I256::from_raw(amount1.wrapping_neg()));
    let (liquidity, tick) = (u128::from(rng.below(u64::MAX)), i32::try_from(rng.below(100_000)).unwrap());
    let words = [amount0.into_raw(), amount1.into_raw(), sqrt_price_x96, U256::from(liquidity), U256::from(tick.unsigned_abs())];
    let data: Vec<u8> = words.iter().flat_map(|w| w.to_be_bytes::<32>()).collect();
    let PoolId::Address(address) = pool else { unreachable!("all of them are addresses") };
    let raw = RawLog {
        address,
        topics: vec![word(b'e', 0), sender.into_word(), recipient.into_word()],
        data: Bytes::from(data),
        tx_hash: tx(number, index),
        tx_index: index,
        log_index: index,
    };
    let body = EventBody::V3Swap { sender, recipient, amount0, amount1, sqrt_price_x96, liquidity, tick };
    let after = Some(StateAfter::V3 { sqrt_price_x96, tick, liquidity });
    EventRow {
        event: Event { pool, body, raw },
        sync_log_index: None,
        after,
        usd: Some(Usd(number)),
        gauge: None,
        enrichment: None,
    }
}
