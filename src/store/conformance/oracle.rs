//! A store that is too simple to be wrong: a list, searched from end to end.

use std::{collections::BTreeMap, sync::Arc};

use alloy::primitives::{Address, B256};

use super::make::CHAIN;
use crate::{
    domain::{
        block::BlockRef,
        market::Market,
        pool::{PoolId, PoolMeta},
        record::{BlockRecord, BookSnapshot, EventAt, EventRow, PoolSnapshot},
        token::TokenMeta,
    },
    store::{
        history::{Boot, History, PoolReplay, WriteBatch},
        query::{EventQuery, Narrow, Place},
    },
};

#[derive(Default)]
pub(crate) struct Oracle {
    blocks: Vec<Stored>,
    head: Option<BlockRef>,
    finalized_number: u64,
    tokens: BTreeMap<Address, TokenMeta>,
    sources: BTreeMap<String, u64>,
    snapshots: Vec<PoolSnapshot>,
    book: Option<BookSnapshot>,
}

struct Stored {
    record: BlockRecord,
    orphaned_at: Option<u64>,
}

/// As a store gives it back: candles of seconds are not kept.
pub(crate) fn kept(snapshot: PoolSnapshot) -> PoolSnapshot {
    let at = snapshot.block.timestamp;
    let market = snapshot.market.map(|market| Arc::new(Market::restored(market.kept(), at)));
    PoolSnapshot { market, ..snapshot }
}

impl Oracle {
    pub(crate) fn write(&mut self, batch: &WriteBatch) {
        for block in &mut self.blocks {
            if batch.revert.contains(&block.record.block.hash) && block.orphaned_at.is_none() {
                block.orphaned_at = Some(batch.now);
            }
        }
        for record in &batch.records {
            let stored = self.canonical(&record.block, batch.now);
            for row in &record.rows {
                match stored.rows.iter_mut().find(|r| r.log_index() == row.log_index()) {
                    Some(known) => {
                        known.after = known.after.or(row.after);
                        known.usd = known.usd.or(row.usd);
                        known.gauge = known.gauge.take().or(row.gauge.clone());
                        known.enrichment = known.enrichment.or(row.enrichment);
                    }
                    None => stored.rows.push(row.clone()),
                }
            }
            stored.rows.sort_by_key(EventRow::log_index);
            stored.told = stored.told.take().or(record.told.clone());
            for meta in &record.created {
                stored.created.retain(|m| m.id != meta.id);
                stored.created.push(meta.clone());
            }
        }
        for token in &batch.tokens {
            self.tokens.insert(token.address, (**token).clone());
        }
        self.snapshots.retain(|snapshot| !batch.forget_snapshots.contains(&snapshot.pool));
        self.snapshots.extend(batch.snapshots.iter().cloned());
        if batch.forget_book {
            self.book = None;
        }
        if let Some(newer) = &batch.book {
            let mut book = newer.clone();
            for (of, market) in self.book.take().into_iter().flat_map(|older| older.markets) {
                book.markets.entry(of).or_insert(market);
            }
            self.book = Some(book);
        }
        if let Some(head) = batch.head {
            self.canonical(&head, batch.now);
            self.head = Some(head);
        }
        self.finalized_number = self.finalized_number.max(batch.finalized_number);
        self.sources.extend(batch.sources.iter().cloned());
        for enriched in &batch.enriched {
            let block = self.blocks.iter_mut().filter(|b| b.record.block.hash == enriched.block.hash);
            for row in block.flat_map(|b| &mut b.record.rows) {
                let found = enriched.transactions.iter().find(|(hash, _)| *hash == row.event.raw.tx_hash);
                row.enrichment = row.enrichment.or(found.map(|(_, enrichment)| *enrichment));
            }
        }
        if let Some(purge) = batch.purge_orphans {
            self.blocks.retain(|b| {
                b.record.block.number > purge.final_number || b.orphaned_at.is_none_or(|at| at >= purge.orphaned_before)
            });
        }
    }

    fn canonical(&mut self, block: &BlockRef, now: u64) -> &mut BlockRecord {
        for other in &mut self.blocks {
            let same = other.record.block.hash == block.hash;
            if same {
                other.orphaned_at = None;
            } else if other.record.block.number == block.number {
                other.orphaned_at = other.orphaned_at.or(Some(now));
            }
        }
        let at = self.blocks.iter().position(|b| b.record.block.hash == block.hash).unwrap_or_else(|| {
            let record = BlockRecord::new(CHAIN, *block, Vec::new());
            self.blocks.push(Stored { record, orphaned_at: None });
            self.blocks.len() - 1
        });
        &mut self.blocks[at].record
    }

    /// Ascending.
    fn chain(&self) -> Vec<&BlockRecord> {
        let mut chain: Vec<_> = self.blocks.iter().filter(|b| b.orphaned_at.is_none()).map(|b| &b.record).collect();
        chain.sort_by_key(|r| r.block.number);
        chain
    }

    pub(crate) fn canonical_blocks(&self) -> Vec<BlockRecord> {
        self.chain().into_iter().cloned().collect()
    }

    pub(crate) fn pools(&self) -> Vec<PoolMeta> {
        let mut pools: Vec<PoolMeta> = self.chain().iter().flat_map(|r| r.created.iter().map(|m| (**m).clone())).collect();
        pools.sort_by_key(|p| (p.created.block.number, p.created.log_index));
        pools
    }

    pub(crate) fn all(&self) -> Vec<BlockRecord> {
        self.blocks.iter().map(|b| b.record.clone()).collect()
    }

    pub(crate) fn boot(&self) -> Boot {
        Boot {
            head: self.head,
            finalized_number: self.finalized_number,
            pools: self.pools(),
            tokens: self.tokens.values().cloned().collect(),
            sources: self.sources.clone().into_iter().collect(),
            window: self.chain().into_iter().filter(|r| r.block.number >= self.finalized_number).cloned().collect(),
        }
    }

    fn book(&self) -> Option<BookSnapshot> {
        let mut book = self.book.clone()?;
        let at = book.block.timestamp;
        book.markets.values_mut().for_each(|market| *market = Arc::new(Market::restored(market.kept(), at)));
        Some(book)
    }

    /// Without what blocks created.
    fn records(&self, from: u64, limit: usize) -> Vec<BlockRecord> {
        let from = self.chain().into_iter().filter(|record| record.block.number >= from);
        from.take(limit).map(|record| BlockRecord { created: Vec::new(), ..record.clone() }).collect()
    }

    fn all_events(&self) -> impl Iterator<Item = EventAt> + '_ {
        self.chain().into_iter().flat_map(|record| {
            record.rows.iter().map(|row| EventAt { chain: CHAIN, block: record.block, row: row.clone(), canonical: true })
        })
    }

    pub(crate) fn replay(&self, pool: &PoolId) -> PoolReplay {
        let canonical = |s: &&PoolSnapshot| self.chain().iter().any(|r| r.block.hash == s.block.hash);
        let newest = self.snapshots.iter().filter(|s| s.pool == *pool).filter(canonical).max_by_key(|s| s.block.number);
        let from = newest.map_or(0, |s| s.block.number + 1);
        let rows = self.all_events().filter(|e| e.row.event.pool == *pool && e.block.number >= from).collect();
        PoolReplay { snapshot: newest.cloned(), rows }
    }

    pub(crate) fn events(&self, query: &EventQuery) -> Vec<EventAt> {
        let tokens: BTreeMap<PoolId, (Address, Address)> =
            self.pools().into_iter().map(|p| (p.id, (p.token0, p.token1))).collect();
        let matches = |e: &EventAt| {
            let place = Place { block_number: e.block.number, log_index: e.row.log_index() };
            let narrow = match query.narrow {
                Narrow::All => true,
                Narrow::Pool(pool) => e.row.event.pool == pool,
                Narrow::Token(token) => tokens.get(&e.row.event.pool).is_some_and(|(a, b)| *a == token || *b == token),
                Narrow::Origin(origin) => e.row.enrichment.is_some_and(|n| n.origin == origin),
                Narrow::Transaction(hash) => e.row.event.raw.tx_hash == hash,
            };
            narrow
                && e.row.kind() == query.kind
                && query.after.is_none_or(|after| place > after)
                && query.before.is_none_or(|before| place < before)
                && query.time_from.is_none_or(|from| e.block.timestamp >= from)
                && query.time_to.is_none_or(|to| e.block.timestamp < to)
        };
        let mut events: Vec<EventAt> = self.all_events().filter(matches).collect();
        if query.newest_first {
            events.reverse();
        }
        events.truncate(query.limit);
        events
    }

    fn log_counts(&self) -> (u64, u64) {
        let logs = |r: &BlockRecord| r.rows.iter().map(|row| row.log_count() as u64).sum::<u64>();
        (self.blocks.iter().map(|b| logs(&b.record)).sum(), self.chain().into_iter().map(logs).sum())
    }

    /// The store and this list know the same.
    pub(crate) async fn check(&self, store: &Arc<dyn History>) {
        check_boot(&store.boot(CHAIN).await.unwrap(), &self.boot());
        assert_eq!(store.book(CHAIN).await.unwrap(), self.book(), "book");
        assert_eq!(store.log_counts(CHAIN).await.unwrap(), self.log_counts(), "log counts");
        for block in &self.blocks {
            let found = store.block(CHAIN, block.record.block.hash).await.unwrap();
            assert_eq!(found, Some((block.record.block, block.orphaned_at.is_none())));
            let found = store.record(CHAIN, block.record.block.hash).await.unwrap();
            assert_eq!(found, Some(BlockRecord { created: Vec::new(), told: None, ..block.record.clone() }), "a record");
        }
        for (from, limit) in [(0, 3), (2, 2), (4, 100)] {
            assert_eq!(store.records(CHAIN, from, limit).await.unwrap(), self.records(from, limit), "records from {from}");
        }
        assert_eq!(store.block(CHAIN, B256::ZERO).await.unwrap(), None);
        assert_eq!(store.record(CHAIN, B256::ZERO).await.unwrap(), None);
    }

    pub(crate) async fn check_replay(&self, store: &Arc<dyn History>) {
        let pools = self.pools();
        let replays = store.replay(CHAIN, pools.clone()).await.unwrap();
        assert_eq!(replays.len(), pools.len());
        for (pool, replay) in pools.iter().zip(replays) {
            let expected = self.replay(&pool.id);
            assert_eq!(replay.snapshot, expected.snapshot.map(kept), "snapshot of {}", pool.id);
            assert_eq!(replay.rows, expected.rows, "rows of {}", pool.id);
        }
    }

    pub(crate) async fn check_query(&self, store: &Arc<dyn History>, query: EventQuery) {
        assert_eq!(store.events(query).await.unwrap(), self.events(&query), "{query:?}");
        let everything = self.events(&EventQuery { limit: usize::MAX, ..query }).len() as u64;
        for cap in [3, 1_000_000] {
            assert_eq!(store.count(query, cap).await.unwrap(), everything.min(cap), "count up to {cap} of {query:?}");
        }
    }
}

pub(crate) fn check_boot(boot: &Boot, expected: &Boot) {
    assert_eq!(boot.head, expected.head, "head");
    assert_eq!(boot.finalized_number, expected.finalized_number, "finalized");
    assert_eq!(boot.pools, expected.pools, "pools");
    let sorted = |boot: &Boot| {
        let (mut tokens, mut sources) = (boot.tokens.clone(), boot.sources.clone());
        tokens.sort_by_key(|t| t.address);
        sources.sort();
        (tokens, sources)
    };
    assert_eq!(sorted(boot), sorted(expected), "tokens and sources");
    assert_eq!(boot.window, expected.window, "window");
}
