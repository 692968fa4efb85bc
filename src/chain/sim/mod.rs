//! A chain from a seed, for tests: it forks, skips, repeats and delays heads, forgets orphans as a node does, and now and then
//! does not answer. Whatever it does, a seed does it again.

mod pair;
mod ticked;
mod world;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use alloy::{
    consensus::constants::EMPTY_RECEIPTS,
    primitives::{Address, B256, Bytes},
};
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::BoxStream};
use tokio::sync::broadcast;

use super::{BlockTag, Call, CallOutcome, ChainError, ChainSource, HeadEvent, RangeLogs};
use crate::domain::{
    ChainId,
    block::{BlockRef, Header},
    event::RawLog,
    record::Enrichment,
};

pub use ticked::MANAGER;
use world::World;
pub use world::{SimRng, V2_FACTORY, V3_FACTORY};

/// Heads that may wait to be heard.
const HEADS_CAPACITY: usize = 1_024;
const BLOCK_SECONDS: u64 = 12;
const GENESIS_TIME: u64 = 1_700_000_000;

/// How bad the node is, in percent.
#[derive(Debug, Clone, Copy)]
pub struct Weather {
    /// A request fails.
    pub outage: u64,
    /// The head stream breaks and says so: the heads of the step are lost.
    pub cut: u64,
    /// A new head is not announced.
    pub silent_head: u64,
    /// A head is announced twice, or an old one once more.
    pub repeated_head: u64,
    /// A step replaces some of the newest blocks.
    pub fork: u64,
    pub fork_depth_max: u64,
    /// A step announces all of its blocks' heads in reverse.
    pub shuffled: u64,
    /// A log is malformed, or comes from something that only looks like a pool.
    pub poison: u64,
    /// Blocks that one range may have, as providers limit them; 0: no limit.
    pub range_blocks_max: u64,
}

impl Weather {
    /// Nothing goes wrong.
    pub const CALM: Self = Self {
        outage: 0,
        cut: 0,
        silent_head: 0,
        repeated_head: 0,
        fork: 0,
        fork_depth_max: 0,
        shuffled: 0,
        poison: 0,
        range_blocks_max: 0,
    };
    pub const STORM: Self = Self {
        outage: 3,
        cut: 5,
        silent_head: 15,
        repeated_head: 15,
        fork: 20,
        fork_depth_max: 6,
        shuffled: 10,
        poison: 4,
        range_blocks_max: 7,
    };
}

#[derive(Debug, Clone)]
struct Block {
    header: Header,
    logs: Vec<RawLog>,
    /// The world after the block.
    world: Arc<World>,
}

struct Chain {
    rng: SimRng,
    weather: Weather,
    /// The canonical chain, by number from 0. Orphans are forgotten, as a node does.
    blocks: Vec<Block>,
    /// Grows with every block ever made, so that a block mined again has another hash.
    salt: u64,
}

/// Cheap to clone; all clones are the same chain.
#[derive(Clone)]
pub struct Sim {
    chain: Arc<Mutex<Chain>>,
    heads: broadcast::Sender<HeadEvent>,
}

impl Sim {
    /// A chain with its genesis block and two factories.
    #[must_use]
    pub fn new(seed: u64, weather: Weather) -> Self {
        let world = Arc::new(World::default());
        let genesis = block(None, Vec::new(), world, seed);
        let chain = Chain { rng: SimRng::new(seed), weather, blocks: vec![genesis], salt: seed };
        Self { chain: Arc::new(Mutex::new(chain)), heads: broadcast::channel(HEADS_CAPACITY).0 }
    }

    fn lock(&self) -> MutexGuard<'_, Chain> {
        self.chain.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on the node behaves like this.
    pub fn set_weather(&self, weather: Weather) {
        self.lock().weather = weather;
    }

    /// Mines a block or two, perhaps after taking some back, and announces what it likes of it.
    pub fn step(&self) {
        let mut chain = self.lock();
        let weather = chain.weather;
        let mut mine = 1u64;
        if chain.rng.percent(weather.fork) {
            let room = u64::try_from(chain.blocks.len().saturating_sub(1)).unwrap_or(0);
            let depth = chain.rng.below(weather.fork_depth_max.max(1)).saturating_add(1).min(room);
            let keep = chain.blocks.len().saturating_sub(usize::try_from(depth).unwrap_or(0));
            chain.blocks.truncate(keep);
            mine = depth.saturating_add(chain.rng.below(2));
        }
        let mut announced = Vec::new();
        for _ in 0..mine.max(1) {
            let header = chain.mine();
            if !chain.rng.percent(weather.silent_head) {
                announced.push(header);
            }
        }
        if chain.rng.percent(weather.shuffled) {
            announced.reverse();
        }
        if chain.rng.percent(weather.repeated_head) {
            announced.extend(announced.last().cloned());
        }
        let cut = chain.rng.percent(weather.cut);
        drop(chain);
        if cut {
            let _ = self.heads.send(HeadEvent::Down { reason: "the simulated node hung up".to_owned() });
            return;
        }
        for header in announced {
            self.say(header);
        }
    }

    /// Announces the newest block.
    pub fn announce(&self) {
        let head = self.lock().blocks.last().map(|b| b.header.clone());
        if let Some(head) = head {
            self.say(head);
        }
    }

    fn say(&self, header: Header) {
        // Nobody listens before the tree is up: then the head is found by asking.
        let _ = self.heads.send(HeadEvent::Head(header));
    }

    /// The canonical chain with its logs: what the oracle replays.
    #[must_use]
    pub fn canonical(&self) -> Vec<(Header, Vec<RawLog>)> {
        self.lock().blocks.iter().map(|b| (b.header.clone(), b.logs.clone())).collect()
    }

    #[must_use]
    pub fn head(&self) -> Header {
        let chain = self.lock();
        chain.blocks.last().map_or_else(|| block(None, Vec::new(), Arc::new(World::default()), 0).header, |b| b.header.clone())
    }

    /// A request may fail, and takes a little time either way.
    fn answer<T: Send + 'static>(
        &self,
        answer: impl FnOnce(&Chain) -> Result<T, ChainError>,
    ) -> BoxFuture<'static, Result<T, ChainError>> {
        let mut chain = self.lock();
        let outage = chain.weather.outage;
        let result = if chain.rng.percent(outage) {
            Err(ChainError::Unavailable("the simulated node does not answer".to_owned()))
        } else {
            answer(&chain)
        };
        let pause = Duration::from_millis(chain.rng.below(20));
        drop(chain);
        async move {
            tokio::time::sleep(pause).await;
            result
        }
        .boxed()
    }
}

impl Chain {
    fn mine(&mut self) -> Header {
        self.salt = self.salt.wrapping_add(1);
        let (parent, mut world) = match self.blocks.last() {
            Some(parent) => (Some(parent.header.clone()), parent.world.as_ref().clone()),
            None => (None, World::default()),
        };
        let logs = world.block(&mut self.rng, self.weather.poison);
        let block = block(parent.as_ref(), logs, Arc::new(world), self.salt);
        let header = block.header.clone();
        self.blocks.push(block);
        header
    }

    fn by_hash(&self, hash: &B256) -> Option<&Block> {
        self.blocks.iter().rev().find(|b| b.header.block.hash == *hash)
    }

    fn by_number(&self, number: u64) -> Option<&Block> {
        usize::try_from(number).ok().and_then(|n| self.blocks.get(n))
    }
}

/// Seconds since the block before. Now and then half an hour, or the best part of a day, so that hours and days end; on each branch at
/// another time.
fn pause(number: u64, salt: u64) -> u64 {
    let seconds = match number {
        n if n.is_multiple_of(97) => 70_000,
        n if n.is_multiple_of(13) => 1_800,
        _ => BLOCK_SECONDS,
    };
    seconds.saturating_add(salt & 7)
}

fn block(parent: Option<&Header>, logs: Vec<RawLog>, world: Arc<World>, salt: u64) -> Block {
    let number = parent.map_or(0, |p| p.block.number.saturating_add(1));
    let parent_hash = parent.map_or(B256::ZERO, |p| p.block.hash);
    let mut preimage = parent_hash.to_vec();
    preimage.extend_from_slice(&salt.to_be_bytes());
    let block = crate::domain::block::BlockRef {
        number,
        hash: alloy::primitives::keccak256(preimage),
        parent_hash,
        timestamp: parent.map_or(GENESIS_TIME, |p| p.block.timestamp.saturating_add(pause(number, salt))),
    };
    let header = Header {
        block,
        logs_bloom: Box::new(super::verify::bloom(&logs)),
        receipts_root: logs.is_empty().then_some(EMPTY_RECEIPTS),
        base_fee_wei: None,
    };
    Block { header, logs, world }
}

impl ChainSource for Sim {
    fn chain_id(&self) -> BoxFuture<'_, Result<ChainId, ChainError>> {
        self.answer(|_| Ok(1_337))
    }

    fn heads(&self) -> BoxStream<'static, HeadEvent> {
        let lagged = HeadEvent::Down { reason: "heads were missed".to_owned() };
        tokio_stream::wrappers::BroadcastStream::new(self.heads.subscribe())
            .map(move |event| event.unwrap_or_else(|_| lagged.clone()))
            .boxed()
    }

    fn header(&self, tag: BlockTag) -> BoxFuture<'_, Result<Option<Header>, ChainError>> {
        self.answer(move |chain| {
            let found = match tag {
                BlockTag::Latest => chain.blocks.last(),
                BlockTag::Number(number) => chain.by_number(number),
                BlockTag::Hash(hash) => chain.by_hash(&hash),
                BlockTag::Finalized | BlockTag::Safe => chain.blocks.first(),
            };
            Ok(found.map(|b| b.header.clone()))
        })
    }

    fn block_logs(&self, header: &Header) -> BoxFuture<'_, Result<Vec<RawLog>, ChainError>> {
        let hash = header.block.hash;
        self.answer(move |chain| chain.by_hash(&hash).map(|b| b.logs.clone()).ok_or(ChainError::UnknownBlock(hash)))
    }

    fn range_logs(&self, from: u64, to: u64, topic0: &[B256], of: &[Address]) -> BoxFuture<'_, Result<RangeLogs, ChainError>> {
        let (topics, of) = (topic0.to_vec(), of.to_vec());
        self.answer(move |chain| {
            let (blocks, most) = (to.saturating_sub(from).saturating_add(1), chain.weather.range_blocks_max);
            if most > 0 && blocks > most {
                return Err(ChainError::RangeTooLarge(format!("{blocks} blocks, {most} at most")));
            }
            let wanted = |log: &&RawLog| {
                log.topics.first().is_some_and(|t| topics.contains(t)) && (of.is_empty() || of.contains(&log.address))
            };
            let mut blocks = BTreeMap::new();
            for number in from..=to {
                let block = chain.by_number(number).ok_or_else(|| ChainError::RangeTooLarge("beyond the head".to_owned()))?;
                let logs: Vec<RawLog> = block.logs.iter().filter(wanted).cloned().collect();
                if !logs.is_empty() {
                    // Logs say nothing of parents; only of the last one its header is asked for.
                    let parent_hash = if number == to { block.header.block.parent_hash } else { B256::ZERO };
                    blocks.insert(number, (BlockRef { parent_hash, ..block.header.block }, logs));
                }
            }
            let end = chain
                .by_number(to)
                .map(|b| b.header.block)
                .ok_or_else(|| ChainError::RangeTooLarge("beyond the head".to_owned()))?;
            Ok(RangeLogs { blocks: blocks.into_values().collect(), end })
        })
    }

    fn call_batch(&self, _: B256, calls: Vec<Call>, _: usize) -> BoxFuture<'_, Result<Vec<CallOutcome>, ChainError>> {
        // Tokens of this chain say nothing of themselves: they are flagged, not guessed.
        self.answer(move |_| Ok(vec![CallOutcome::Failed; calls.len()]))
    }

    fn receipts(&self, block: B256, transactions: Vec<B256>) -> BoxFuture<'_, Result<Vec<(B256, Enrichment)>, ChainError>> {
        self.answer(move |chain| {
            chain.by_hash(&block).ok_or(ChainError::UnknownBlock(block))?;
            Ok(transactions.into_iter().map(|hash| (hash, enrichment(&block, &hash))).collect())
        })
    }

    fn code(&self, _: Address) -> BoxFuture<'_, Result<Bytes, ChainError>> {
        self.answer(|_| Ok(Bytes::from_static(&[0xfe])))
    }
}

/// What a receipt of this chain says: it follows from the block and the transaction, so that a test can tell.
#[must_use]
pub fn enrichment(block: &B256, transaction: &B256) -> Enrichment {
    let word = alloy::primitives::keccak256([block.as_slice(), transaction.as_slice()].concat());
    let gas_used = u64::from(word.0[0]).saturating_add(21_000);
    Enrichment { origin: Address::from_word(word), gas_used, gas_price_wei: alloy::primitives::U256::from(word.0[1]) }
}
