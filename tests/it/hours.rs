//! Hours, days and token candles of the running engine, against the node's own logs and the tokens' own contracts at their ends.

use std::collections::{BTreeMap, BTreeSet};

use alloy::primitives::{Address, B256, Bytes, I256, U256, utils::format_units};
use serde_json::{Value, json};
use swaptide::chain::{BlockTag, ChainSource, contract_state};
use swaptide_demo::{DevToken, Devnet, DevnetConfig};

use super::{
    dollars::{Oracle, close, meta, pass, priced},
    engine::{Engine, Setup},
    state,
};

const SWAP_V2: &str = "0xd78ad95fa46c994b6551d0da85fc275fe613ce37657fb8d5e3d130840159d822";
const SWAP_V3: &str = "0xc42079f94a6350d7e6235f29174924f928cc2ac818eb64fed8004e115fbcca67";
/// What is no event of its own: reserves, and a pair's shares as a token.
const OTHERS: [&str; 3] = [
    "0x1c411e9a96e071241c2f21f7726b17ae89e3cab4c78be50e062b03a9fffbbad1",
    "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef",
    "0x8c5be1e5ebec7d5bd14f71427d1e84f3dd0314c0f7b2291e5b200ac8c7c3b925",
];
/// An event of a pool, as the node has it.
struct Happened {
    time: u64,
    pool: usize,
    swap: Option<Swap>,
}

struct Swap {
    amounts: [I256; 2],
    usd: Option<f64>,
    /// Of both tokens, at the end of its block.
    prices: [Option<f64>; 2],
}

/// How everything stood when the last block of an hour with events was over.
struct End {
    oracle: Oracle,
    /// Of each pool.
    balances: Vec<[U256; 2]>,
}

struct World {
    events: Vec<Happened>,
    /// By the hour.
    ends: BTreeMap<u64, End>,
    now: u64,
}

fn float(raw: U256, decimals: u8) -> f64 {
    format_units(raw, decimals).unwrap().parse().unwrap()
}

/// A pool's log: of a swap, what it moved.
type Said = (usize, Option<[I256; 2]>);

async fn world(devnet: &Devnet) -> World {
    let source = state::source(devnet);
    let mut oracle = Oracle::new(devnet);
    let metas: Vec<_> = oracle.pools.iter().map(|pool| meta(devnet, pool)).collect();
    let of = |a: &Address| oracle.pools.iter().position(|pool| pool.address == *a);
    let addresses: Vec<String> = oracle.pools.iter().map(|pool| pool.address.to_string()).collect();
    let filter = json!([{ "fromBlock": "0x0", "toBlock": "latest", "address": addresses }]);
    let mut blocks: BTreeMap<u64, Vec<Said>> = BTreeMap::new();
    for log in devnet.rpc_call("eth_getLogs", filter).await.unwrap().as_array().unwrap() {
        let number = u64::from_str_radix(&log["blockNumber"].as_str().unwrap()[2..], 16).unwrap();
        let data: Bytes = log["data"].as_str().unwrap().parse().unwrap();
        let word = |i: usize| U256::from_be_slice(&data[32 * i..32 * (i + 1)]);
        let signed = |i: usize| I256::from_raw(word(i));
        let topic = log["topics"][0].as_str().unwrap();
        let pool = of(&log["address"].as_str().unwrap().parse().unwrap());
        let (Some(pool), false) = (pool, OTHERS.contains(&topic)) else { continue };
        let swap = match topic {
            SWAP_V2 => Some([signed(0) - signed(2), signed(1) - signed(3)]),
            SWAP_V3 => Some([signed(0), signed(1)]),
            _ => None,
        };
        blocks.entry(number).or_default().push((pool, swap));
    }
    let mut world = World { events: Vec::new(), ends: BTreeMap::new(), now: devnet.head().await.unwrap().timestamp_s };
    let mut last: BTreeMap<u64, B256> = BTreeMap::new();
    for (number, of_block) in blocks {
        let block = source.header(BlockTag::Number(number)).await.unwrap().unwrap().block;
        let time = block.timestamp;
        let touched: BTreeSet<usize> = of_block.iter().map(|(pool, _)| *pool).collect();
        let some: Vec<_> = touched.iter().map(|pool| metas[*pool].clone()).collect();
        oracle.advance(&source, &block, &some).await;
        for (at, swap) in of_block {
            let pool = &oracle.pools[at];
            let swap = swap.map(|amounts| {
                let decimals = [pool.token0.decimals, pool.token1.decimals];
                let whole = [0, 1].map(|i| float(amounts[i].unsigned_abs(), decimals[i]));
                let prices = [pool.token0.address, pool.token1.address].map(|token| oracle.price(token, time, true));
                Swap { amounts, usd: oracle.value(pool, whole, time), prices }
            });
            world.events.push(Happened { time, pool: at, swap });
        }
        last.insert(time / 3_600, block.hash);
        world.ends.insert(time / 3_600, End { oracle: oracle.clone(), balances: Vec::new() });
    }
    for (hour, end) in &mut world.ends {
        let balances = contract_state::balances(&source, last[hour], &metas).await.unwrap();
        end.balances = balances.into_iter().map(|both| both.map_or([U256::ZERO; 2], |(a, b)| [a, b])).collect();
    }
    world
}

/// What a stretch of time came to.
struct Expected {
    start: u64,
    events: Vec<usize>,
    /// The hour in it that had events last, and when everything is valued.
    hour: u64,
    at: u64,
}

impl World {
    fn stretches(&self, seconds: u64, concerns: impl Fn(usize) -> bool) -> Vec<Expected> {
        let mut all: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        for (i, event) in self.events.iter().enumerate().filter(|(_, event)| concerns(event.pool)) {
            all.entry(event.time / seconds * seconds).or_default().push(i);
        }
        let stretch = |(start, events): (u64, Vec<usize>)| {
            let (hour, _) = self.ends.range(..(start + seconds).div_ceil(3_600)).next_back().unwrap();
            Expected { start, events, hour: *hour, at: (hour * 3_600 + 3_599).min(self.now) }
        };
        all.into_iter().map(stretch).collect()
    }

    fn swaps<'a>(&'a self, of: &'a Expected) -> impl Iterator<Item = (usize, &'a Swap)> {
        of.events.iter().filter_map(|i| Some((self.events[*i].pool, self.events[*i].swap.as_ref()?)))
    }

    /// What every stretch says, whoever it is of; `locked`: how many dollars, or none.
    fn check(&self, ours: &Value, of: &Expected, what: &str, locked: Option<f64>) {
        let oracle = &self.ends[&of.hour].oracle;
        let swaps: Vec<_> = self.swaps(of).collect();
        assert_eq!(ours["txCount"], json!(of.events.len()), "{what}");
        assert_eq!(ours["swapCount"], json!(swaps.len()), "{what}");
        let usd = swaps.iter().map(|(_, swap)| swap.usd).sum::<Option<f64>>();
        close(&ours["volumeUSD"], usd, &format!("{what}: volume"));
        let fee = |pool: usize| f64::from(oracle.pools[pool].fee_pips) / 1e6;
        let fees = swaps.iter().map(|(pool, swap)| Some(swap.usd? * fee(*pool))).sum::<Option<f64>>();
        close(&ours["feesUSD"], fees, &format!("{what}: fees"));
        close(&ours["totalValueLockedUSD"], locked, &format!("{what}: locked"));
    }

    /// Dollars in a pool.
    fn locked(&self, of: &Expected, pool: usize) -> Option<f64> {
        let End { oracle, balances } = &self.ends[&of.hour];
        let tokens = [&oracle.pools[pool].token0, &oracle.pools[pool].token1];
        let side = |i: usize| match float(balances[pool][i], tokens[i].decimals) {
            0.0 => Some(0.0),
            whole => Some(whole * oracle.price(tokens[i].address, of.at, true)?),
        };
        Some(side(0)? + side(1)?)
    }
}

fn whole(raw: U256, decimals: u8) -> Value {
    let text = format_units(raw, decimals).unwrap();
    json!(text.trim_end_matches('0').trim_end_matches('.'))
}

async fn list(engine: &Engine, query: &str, of: &str, fields: &str) -> Vec<Value> {
    let query_text = format!("{{ {query}({of}, first: 1000, orderDirection: asc) {{ nodes {{ start closed {fields} }} }} }}");
    engine.query(&query_text, json!({})).await[query]["nodes"].as_array().unwrap().clone()
}

/// Gives how many closed stretches were compared.
async fn compare(engine: &Engine, devnet: &Devnet) -> usize {
    engine.at_head(devnet).await;
    let world = world(devnet).await;
    let d = &devnet.deployment;
    let pools = devnet.trader.pools().to_vec();
    let common = "txCount swapCount volumeUSD feesUSD totalValueLockedUSD";
    let mut closed = 0;
    for (seconds, length) in [(3_600, "Hour"), (86_400, "Day")] {
        let mut count = |ours: &Value, of: &Expected| {
            let is_closed = of.start + seconds <= world.now;
            assert_eq!(ours["closed"], json!(is_closed));
            closed += usize::from(is_closed);
        };
        for (at, pool) in pools.iter().enumerate() {
            let fields = format!("{common} volumeToken0 volumeToken1 totalValueLockedToken0 totalValueLockedToken1");
            let ours = list(engine, &format!("pool{length}Datas"), &format!("pool: \"{:#x}\"", pool.address), &fields).await;
            let expected = world.stretches(seconds, |of| of == at);
            assert_eq!(ours.len(), expected.len(), "{:#x}", pool.address);
            for (ours, of) in ours.iter().zip(&expected) {
                let what = format!("{length} {} of {:#x}", of.start, pool.address);
                assert_eq!(ours["start"], json!(of.start), "{what}");
                world.check(ours, of, &what, world.locked(of, at));
                for (i, token) in [&pool.token0, &pool.token1].into_iter().enumerate() {
                    let volume = world.swaps(of).map(|(_, swap)| swap.amounts[i].unsigned_abs()).sum::<U256>();
                    assert_eq!(ours[format!("volumeToken{i}")], whole(volume, token.decimals), "{what}");
                    let held = world.ends[&of.hour].balances[at][i];
                    assert_eq!(ours[format!("totalValueLockedToken{i}")], whole(held, token.decimals), "{what}");
                }
                count(ours, of);
            }
        }
        for token in &d.tokens {
            let side = |pool: usize| {
                [pools[pool].token0.address, pools[pool].token1.address].iter().position(|address| *address == token.address)
            };
            let fields = format!("{common} volume totalValueLocked priceUSD open high low close");
            let ours = list(engine, &format!("token{length}Datas"), &format!("token: \"{}\"", token.address), &fields).await;
            let expected = world.stretches(seconds, |pool| side(pool).is_some());
            assert_eq!(ours.len(), expected.len(), "{}", token.symbol);
            let mut before = None;
            for (ours, of) in ours.iter().zip(&expected) {
                let what = format!("{length} {} of {}", of.start, token.symbol);
                assert_eq!(ours["start"], json!(of.start), "{what}");
                let End { oracle, balances } = &world.ends[&of.hour];
                let locked: U256 = (0..pools.len()).filter_map(|pool| Some(balances[pool][side(pool)?])).sum();
                let price = oracle.price(token.address, of.at, true);
                let locked_usd = if locked.is_zero() { Some(0.0) } else { price.map(|p| p * float(locked, token.decimals)) };
                world.check(ours, of, &what, locked_usd);
                assert_eq!(ours["totalValueLocked"], whole(locked, token.decimals), "{what}");
                close(&ours["priceUSD"], price, &format!("{what}: price"));
                let volume = world.swaps(of).map(|(pool, swap)| swap.amounts[side(pool).unwrap()].unsigned_abs()).sum::<U256>();
                assert_eq!(ours["volume"], whole(volume, token.decimals), "{what}");
                before = prices(ours, &world, of, (before, side), &what);
                count(ours, of);
            }
            // One of them no pool trades.
            if !expected.is_empty() {
                candles(engine, &world, token, side).await;
            }
        }
        for (factory, protocol) in [(d.v2_factory, swaptide_demo::Protocol::V2), (d.v3_factory, swaptide_demo::Protocol::V3)] {
            let mine = |pool: usize| pools[pool].protocol == protocol;
            let ours = list(engine, &format!("protocol{length}Datas"), &format!("factory: \"{factory}\""), common).await;
            let expected = world.stretches(seconds, mine);
            assert_eq!(ours.len(), expected.len(), "{factory}");
            for (ours, of) in ours.iter().zip(&expected) {
                // Pools whose tokens both have a price.
                let locked: f64 = (0..pools.len()).filter(|pool| mine(*pool)).filter_map(|pool| world.locked(of, pool)).sum();
                world.check(ours, of, &format!("{length} {} of {factory}", of.start), Some(locked));
                count(ours, of);
            }
        }
    }
    closed
}

/// Open, high, low and close of a token, in dollars; `before` is the close of the one before. Gives its own.
fn prices(
    ours: &Value,
    world: &World,
    of: &Expected,
    (before, side): (Option<f64>, impl Fn(usize) -> Option<usize>),
    what: &str,
) -> Option<f64> {
    let told: Vec<f64> = world.swaps(of).filter_map(|(pool, swap)| swap.prices[side(pool).unwrap()]).collect();
    let open = before.or(told.first().copied());
    let all = || told.iter().copied().chain(open);
    let closing = told.last().copied().or(open);
    close(&ours["open"], open, &format!("{what}: open"));
    close(&ours["high"], all().reduce(f64::max), &format!("{what}: high"));
    close(&ours["low"], all().reduce(f64::min), &format!("{what}: low"));
    close(&ours["close"], closing, &format!("{what}: close"));
    closing
}

async fn candles(engine: &Engine, world: &World, token: &DevToken, side: impl Fn(usize) -> Option<usize> + Copy) {
    for (interval, seconds) in [("M1", 60), ("M15", 900), ("W1", 604_800)] {
        let query = format!(
            "{{ token(id: \"{}\") {{ candles(interval: {interval}, first: 1000) {{ start open high low close volumeToken0 buys sells }} }} }}",
            token.address
        );
        let ours = engine.query(&query, json!({})).await["token"]["candles"].as_array().unwrap().clone();
        let mut expected = world.stretches(seconds, |pool| side(pool).is_some());
        // Weeks begin on Mondays, and this is less than one of them: all that there is.
        if seconds == 604_800 {
            let events = expected.drain(..).flat_map(|of| of.events).collect();
            expected.push(Expected { start: 0, events, hour: 0, at: 0 });
        }
        expected.retain(|of| world.swaps(of).next().is_some());
        let first = (world.now / seconds * seconds).saturating_sub(999 * seconds);
        let mut before = None;
        let mut ours = ours.iter();
        for of in expected {
            let what = format!("{interval} {} of {}", of.start, token.symbol);
            if seconds < 604_800 && of.start < first {
                before = world.swaps(&of).filter_map(|(pool, swap)| swap.prices[side(pool).unwrap()]).last().or(before);
                continue;
            }
            let ours = ours.next().unwrap_or_else(|| panic!("{what} is missing"));
            let bought = world.swaps(&of).filter(|(pool, swap)| swap.amounts[side(*pool).unwrap()].is_negative()).count();
            let all = world.swaps(&of).count();
            assert_eq!((&ours["buys"], &ours["sells"]), (&json!(bought), &json!(all - bought)), "{what}");
            let volume = world.swaps(&of).map(|(pool, swap)| swap.amounts[side(pool).unwrap()].unsigned_abs()).sum::<U256>();
            assert_eq!(ours["volumeToken0"], whole(volume, token.decimals), "{what}");
            before = prices(ours, world, &of, (before, side), &what);
        }
        assert!(ours.next().is_none(), "no more of {}", token.symbol);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hours_and_days_equal_the_nodes_logs_and_the_tokens_balances_through_reorgs_and_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut devnet = Devnet::start(DevnetConfig { seed: 83, ..DevnetConfig::default() }).await.unwrap();
    let setup: Setup = priced(&devnet, folder.path());
    devnet.fill(6, 8).await.unwrap();
    pass(&devnet, 5_000).await;
    devnet.fill(3, 8).await.unwrap();
    // What is read in ranges, and what is followed block by block, say the same.
    let engine = Engine::start(&setup, folder.path()).await;
    for depth in 1..4 {
        for seconds in [40, 3_000, 700] {
            pass(&devnet, seconds).await;
            devnet.trader.push_random(8).await.unwrap();
            devnet.mine().await.unwrap();
        }
        // An hour in which nothing happens; over the end of another a reorg.
        pass(&devnet, 7_300).await;
        devnet.mine().await.unwrap();
        devnet.trader.push_random(6).await.unwrap();
        devnet.mine().await.unwrap();
        devnet.reorg_keeping(depth, 600).await.unwrap();
    }
    let closed = compare(&engine, &devnet).await;
    assert!(closed > 60, "{closed}");
    assert!(engine.terminate().await.success());
    let engine = Engine::start(&setup, folder.path()).await;
    pass(&devnet, 90_000).await;
    devnet.trader.push_random(10).await.unwrap();
    devnet.mine().await.unwrap();
    let again = compare(&engine, &devnet).await;
    assert!(again > closed, "a day is over: {again} after {closed}");
    assert!(engine.terminate().await.success());
}

/// What the contracts said before the first block that is read is kept with the pools: whoever makes the book again needs it.
#[tokio::test(flavor = "multi_thread")]
async fn what_older_pools_hold_is_in_the_hours_of_their_tokens_and_exchanges_also_when_the_book_is_made_again() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let mut devnet = Devnet::start(DevnetConfig { seed: 97, v4_pools: 2, ..DevnetConfig::default() }).await.unwrap();
    devnet.fill(40, 8).await.unwrap();
    let replayed = priced(&devnet, folders[0].path());
    let mut late = Setup { extra_dex: "older_pools = true".to_owned(), ..priced(&devnet, folders[1].path()) };
    late.extra_chain += "\nstart_block = \"latest-12\"";
    let whole = Engine::start(&replayed, folders[0].path()).await;
    let engine = Engine::start(&late, folders[1].path()).await;
    engine.at_head(&devnet).await;
    let first = devnet.head().await.unwrap().timestamp_s;
    for seconds in [40, 3_700, 3_000, 5_000] {
        pass(&devnet, seconds).await;
        // Not all pools trade: what the others hold is nowhere among the rows.
        devnet.trader.push_random(3).await.unwrap();
        devnet.mine().await.unwrap();
    }
    let d = devnet.deployment.clone();
    let hours = async |engine: &Engine| -> Vec<Value> {
        engine.at_head(&devnet).await;
        let mut all = Vec::new();
        for token in &d.tokens {
            let fields = "txCount totalValueLocked totalValueLockedUSD priceUSD";
            all.push(json!(list(engine, "tokenHourDatas", &format!("token: \"{}\"", token.address), fields).await));
        }
        for factory in [d.v2_factory, d.v3_factory] {
            let of = format!("factory: \"{factory}\"");
            all.push(json!(list(engine, "protocolHourDatas", &of, "txCount totalValueLockedUSD").await));
        }
        all
    };
    let held = |hours: &[Value]| -> Vec<Vec<(u64, Value)>> {
        let of_token = |hours: &Value| {
            let hours =
                hours.as_array().unwrap().iter().map(|hour| (hour["start"].as_u64().unwrap(), hour["totalValueLocked"].clone()));
            hours.filter(|(start, _)| *start > first).collect()
        };
        hours.iter().take(d.tokens.len()).map(of_token).collect()
    };
    let told = hours(&engine).await;
    assert_eq!(held(&told), held(&hours(&whole).await), "as whoever read it all says");
    let known = held(&told).into_iter().flatten().filter(|(_, held)| held.is_string()).count();
    assert!(known > 6, "{known} hours of tokens");
    whole.terminate().await;
    engine.terminate().await;

    let old = rusqlite::Connection::open(&late.database).unwrap();
    let older =
        "UPDATE blocks SET told = NULL; UPDATE heads SET book_hour = NULL; DELETE FROM books; UPDATE snapshots SET market = NULL";
    old.execute_batch(older).unwrap();
    drop(old);
    let engine = Engine::start(&late, folders[1].path()).await;
    engine.at_head(&devnet).await;
    assert!(engine.log().contains("is made of the events that are stored"), "{}", engine.log());
    assert_eq!(hours(&engine).await, told);
    engine.terminate().await;
}

/// A source that is added later is read from a later block on. What its pools are there is not what they were before.
#[tokio::test(flavor = "multi_thread")]
async fn pools_of_a_source_that_is_added_later_are_in_no_hour_before_the_block_that_they_are_read_from() {
    let folder = tempfile::tempdir().unwrap();
    let mut devnet = Devnet::start(DevnetConfig { seed: 98, v4_pools: 2, ..DevnetConfig::default() }).await.unwrap();
    devnet.fill(30, 8).await.unwrap();
    let mut first = Setup { extra_dex: "older_pools = true".to_owned(), ..priced(&devnet, folder.path()) };
    first.extra_chain += "\nstart_block = \"latest-10\"";
    let both = first.clone();
    first.dexes.truncate(1);
    let engine = Engine::start(&first, folder.path()).await;
    let hour = async |devnet: &mut Devnet| {
        for seconds in [40, 1_800, 1_800] {
            pass(devnet, seconds).await;
            devnet.trader.push_random(6).await.unwrap();
            devnet.mine().await.unwrap();
        }
    };
    for _ in 0..3 {
        hour(&mut devnet).await;
    }
    let d = devnet.deployment.clone();
    let hours = async |engine: &Engine| -> Vec<Vec<Value>> {
        engine.at_head(&devnet).await;
        let mut all = Vec::new();
        for token in &d.tokens {
            let fields = "totalValueLocked priceUSD open high low close";
            all.push(list(engine, "tokenHourDatas", &format!("token: \"{}\"", token.address), fields).await);
        }
        all
    };
    let alone = hours(&engine).await;
    engine.terminate().await;
    devnet.fill(14, 2).await.unwrap();
    let added_at = devnet.head().await.unwrap().timestamp_s;
    let engine = Engine::start(&both, folder.path()).await;
    engine.says(|line| line.contains("has caught up, and is followed from now on")).await;
    engine.at_head(&devnet).await;
    engine.terminate().await;

    // The next start makes the book again, of both, and of rows alone.
    let old = rusqlite::Connection::open(&both.database).unwrap();
    old.execute_batch("UPDATE blocks SET told = NULL; UPDATE heads SET book_hour = NULL; DELETE FROM books").unwrap();
    drop(old);
    let engine = Engine::start(&both, folder.path()).await;
    engine.at_head(&devnet).await;
    assert!(engine.log().contains("is made of the events that are stored"), "{}", engine.log());
    engine.at_head(&devnet).await;
    let mut compared = 0;
    for (token, alone) in d.tokens.iter().zip(&alone) {
        let query = format!("token: \"{}\"", token.address);
        let ours = list(&engine, "tokenHourDatas", &query, "totalValueLocked priceUSD open high low close").await;
        for (before, after) in alone.iter().zip(&ours).filter(|(before, _)| before["closed"] == json!(true)) {
            assert!(before["start"].as_u64().unwrap() + 3_600 < added_at);
            assert_eq!(before, after, "{}", token.symbol);
            compared += 1;
        }
    }
    assert!(compared > 5, "{compared}");
    state::compare(&engine, &devnet).await;
}
