//! One [`WriteBatch`] within one transaction, in the order of its fields.

use std::{collections::HashMap, sync::Arc};

use alloy::primitives::B256;
use rusqlite::{CachedStatement, OptionalExtension, Transaction, params};

use super::{
    book,
    connections::Memory,
    error::{Result, corrupt},
    open, read,
    row::{self, int},
};
use crate::{
    domain::{
        block::BlockRef,
        market::Subject,
        pool::{PoolId, PoolMeta},
        record::{BlockRecord, DERIVE_VERSION, EventRow, PoolSnapshot},
    },
    store::{
        codec,
        history::{EnrichedBlock, PurgeOrphans, StoreError, WriteBatch},
    },
};

/// Of each pool: the one that a restart takes, and the one before it.
const SNAPSHOTS_KEPT: i64 = 2;

pub(super) fn take_fence(tx: &Transaction<'_>, owner: &str) -> Result<u64> {
    let token: i64 = tx.query_row("UPDATE fence SET token = token + 1, owner = ?1 RETURNING token", [owner], |row| row.get(0))?;
    Ok(token.cast_unsigned())
}

pub(super) fn apply(tx: &Transaction<'_>, memory: &mut Memory, batch: &WriteBatch) -> Result<()> {
    let held: i64 = tx.prepare_cached("SELECT token FROM fence")?.query_row([], |row| row.get(0))?;
    let held = held.cast_unsigned();
    if held != batch.fence {
        return Err(StoreError::Fenced { ours: batch.fence, held }.into());
    }
    let chain = open::chain_key(tx, batch.chain)?;
    let mut writing = Writing { tx, memory, chain, now: int(batch.now)?, touched: HashMap::new() };
    for hash in &batch.revert {
        writing.revert(hash)?;
    }
    writing.records(&batch.records)?;
    for token in &batch.tokens {
        let meta = serde_json::to_string(&**token).map_err(|error| corrupt(format!("a token cannot be kept: {error}")))?;
        tx.prepare_cached(
            "INSERT INTO tokens (chain, address, meta) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET meta = excluded.meta",
        )?
        .execute(params![chain, token.address.as_slice(), meta])?;
    }
    for pool in &batch.forget_snapshots {
        let key = writing.pool(pool)?;
        writing.sql("DELETE FROM snapshots WHERE pool = ?1")?.execute([key])?;
    }
    for snapshot in &batch.snapshots {
        writing.snapshot(snapshot)?;
    }
    if batch.forget_book {
        book::forget(tx, chain)?;
    }
    for chunk in &batch.candles {
        let of = writing.key(chunk.of)?;
        book::write_chunk(tx, of, chunk)?;
    }
    writing.head(batch)?;
    if let Some(book) = &batch.book {
        book::write(tx, chain, book)?;
    }
    for (name, next_block) in &batch.sources {
        tx.prepare_cached(
            "INSERT INTO sources (chain, name, next_block) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET next_block = excluded.next_block",
        )?
        .execute(params![chain, name, int(*next_block)?])?;
    }
    for enriched in &batch.enriched {
        writing.enrich(enriched)?;
    }
    if let Some(purge) = batch.purge_orphans {
        writing.purge(purge)?;
    }
    writing.touch_pools()
}

struct Writing<'a, 'tx> {
    tx: &'a Transaction<'tx>,
    memory: &'a mut Memory,
    chain: i64,
    now: i64,
    /// First and last block with an event of a pool, in this batch.
    touched: HashMap<i64, (i64, i64)>,
}

impl Writing<'_, '_> {
    fn sql(&self, text: &str) -> Result<CachedStatement<'_>> {
        Ok(self.tx.prepare_cached(text)?)
    }

    /// A block that was never stored has nothing to take back.
    fn revert(&self, hash: &B256) -> Result<()> {
        let found = self
            .sql("SELECT number, fork FROM blocks WHERE chain = ?1 AND hash = ?2 AND canonical = 1")?
            .query_row(params![self.chain, hash.as_slice()], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        match found {
            Some((number, fork)) => self.flip(number, fork, false),
            None => Ok(()),
        }
    }

    fn flip(&self, number: i64, fork: i64, canonical: bool) -> Result<()> {
        let orphaned_at = (!canonical).then_some(self.now);
        self.sql("UPDATE blocks SET canonical = ?4, orphaned_at = ?5 WHERE chain = ?1 AND number = ?2 AND fork = ?3")?
            .execute(params![self.chain, number, fork, canonical, orphaned_at])?;
        for text in [
            "UPDATE events SET canonical = ?4 WHERE chain = ?1 AND number = ?2 AND fork = ?3",
            "UPDATE pools_created SET canonical = ?4 WHERE chain = ?1 AND number = ?2 AND fork = ?3",
        ] {
            self.sql(text)?.execute(params![self.chain, number, fork, canonical])?;
        }
        Ok(())
    }

    fn records(&mut self, records: &[Arc<BlockRecord>]) -> Result<()> {
        for record in records {
            let (number, fork) = self.block(&record.block, true)?;
            if let Some(told) = &record.told {
                self.sql("UPDATE blocks SET told = ?4 WHERE chain = ?1 AND number = ?2 AND fork = ?3 AND told IS NULL")?
                    .execute(params![self.chain, number, fork, codec::encode_told(told)])?;
            }
            for meta in &record.created {
                self.created(record, meta, fork)?;
            }
            for row in &record.rows {
                self.row(number, fork, row)?;
            }
        }
        Ok(())
    }

    /// Where a block is stored. One that is said to be canonical takes the place of every other of its height; one that is only
    /// mentioned changes nothing that is known.
    fn block(&self, block: &BlockRef, said_canonical: bool) -> Result<(i64, i64)> {
        let number = int(block.number)?;
        let (mut found, mut rivals, mut next_fork) = (None, Vec::new(), 0_i64);
        {
            let mut siblings =
                self.sql("SELECT fork, canonical, hash, parent_hash FROM blocks WHERE chain = ?1 AND number = ?2")?;
            let mut rows = siblings.query(params![self.chain, number])?;
            while let Some(row) = rows.next()? {
                let (fork, canonical): (i64, bool) = (row.get(0)?, row.get(1)?);
                next_fork = next_fork.max(fork.saturating_add(1));
                if row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)? == block.hash.as_slice() {
                    let parent: B256 = row.get::<_, [u8; 32]>(3)?.into();
                    found = Some((fork, canonical, parent.is_zero()));
                } else if canonical {
                    rivals.push(fork);
                }
            }
        }
        if said_canonical {
            for rival in &rivals {
                self.flip(number, *rival, false)?;
            }
        }
        let Some((fork, canonical, parentless)) = found else {
            let canonical = said_canonical || rivals.is_empty();
            let orphaned_at = (!canonical).then_some(self.now);
            self.sql(
                "INSERT INTO blocks (chain, number, fork, canonical, timestamp, orphaned_at, hash, parent_hash)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?
            .execute(params![
                self.chain,
                number,
                next_fork,
                canonical,
                int(block.timestamp)?,
                orphaned_at,
                block.hash.as_slice(),
                block.parent_hash.as_slice()
            ])?;
            return Ok((number, next_fork));
        };
        if said_canonical && !canonical {
            self.flip(number, fork, true)?;
        }
        if parentless && !block.parent_hash.is_zero() {
            self.sql("UPDATE blocks SET parent_hash = ?4 WHERE chain = ?1 AND number = ?2 AND fork = ?3")?.execute(params![
                self.chain,
                number,
                fork,
                block.parent_hash.as_slice()
            ])?;
        }
        Ok((number, fork))
    }

    fn pool(&mut self, id: &PoolId) -> Result<i64> {
        self.key(Subject::Pool(*id))
    }

    /// Whatever has candles has a key.
    fn key(&mut self, of: Subject) -> Result<i64> {
        if let Some(key) = self.memory.keys.get(&(self.chain, of)) {
            return Ok(*key);
        }
        let id = of.bytes();
        let key = match read::key(self.tx, self.chain, &id)? {
            Some(key) => key,
            None => self.sql("INSERT INTO pools (chain, id) VALUES (?1, ?2)")?.insert(params![self.chain, id])?,
        };
        self.memory.keys.insert((self.chain, of), key);
        Ok(key)
    }

    fn created(&mut self, record: &BlockRecord, meta: &PoolMeta, record_fork: i64) -> Result<()> {
        // A pool that the configuration names may be older than everything that is followed.
        let fork =
            if meta.created.block.hash == record.block.hash { record_fork } else { self.block(&meta.created.block, false)?.1 };
        let pool = self.pool(&meta.id)?;
        // The configuration may call the dex otherwise by now, and know its fee better.
        self.sql(
            "INSERT INTO pools_created
               (chain, number, log_index, fork, pool, canonical, protocol, fee_pips, tick_spacing, dex, factory, token0, token1, tx_hash,
                origin, hooks)
             SELECT ?1, ?2, ?3, ?4, ?5, canonical, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15 FROM blocks
             WHERE chain = ?1 AND number = ?2 AND fork = ?4
             ON CONFLICT DO UPDATE SET dex = excluded.dex, fee_pips = excluded.fee_pips,
               origin = coalesce(excluded.origin, origin)",
        )?
        .execute(params![
            self.chain,
            int(meta.created.block.number)?,
            int(meta.created.log_index)?,
            fork,
            pool,
            row::protocol_code(meta.protocol),
            meta.fee_pips,
            meta.tick_spacing,
            meta.dex,
            meta.factory.as_slice(),
            meta.token0.as_slice(),
            meta.token1.as_slice(),
            meta.created.tx_hash.as_ref().map_or(&[][..], |hash| hash.as_slice()),
            meta.origin.as_deref().map(codec::encode_origin),
            meta.hooks.as_ref().map(|hooks| hooks.as_slice())
        ])?;
        Ok(())
    }

    fn row(&mut self, number: i64, fork: i64, row: &EventRow) -> Result<()> {
        let pool = self.pool(&row.event.pool)?;
        let raw = &row.event.raw;
        let amounts = row.amounts().map(|(a, b)| (codec::sortable(&a), codec::sortable(&b)));
        let emitted_elsewhere = row.event.pool.as_slice() != raw.address.as_slice();
        let enrichment = row.enrichment.as_ref();
        self.sql(
            "INSERT INTO events
               (chain, number, log_index, fork, kind, canonical, pool, tx_index, sync_log_index, derive_version, tx_hash, address,
                amount0, amount1, log, body, state_after, origin, gas_used, gas_price, usd, gauge)
             VALUES (?1, ?2, ?3, ?4, ?5, 1, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21)
             ON CONFLICT DO UPDATE SET
               state_after = coalesce(state_after, excluded.state_after), origin = coalesce(origin, excluded.origin),
               gas_used = coalesce(gas_used, excluded.gas_used), gas_price = coalesce(gas_price, excluded.gas_price),
               usd = coalesce(usd, excluded.usd), gauge = coalesce(gauge, excluded.gauge)
             WHERE (state_after IS NULL AND excluded.state_after IS NOT NULL) OR (origin IS NULL AND excluded.origin IS NOT NULL)
               OR (usd IS NULL AND excluded.usd IS NOT NULL) OR (gauge IS NULL AND excluded.gauge IS NOT NULL)",
        )?
        .execute(params![
            self.chain,
            number,
            int(raw.log_index)?,
            fork,
            row.kind() as u8,
            pool,
            int(raw.tx_index)?,
            row.sync_log_index.map(int).transpose()?,
            DERIVE_VERSION,
            raw.tx_hash.as_slice(),
            emitted_elsewhere.then_some(raw.address.as_slice()),
            amounts.as_ref().map(|(amount0, _)| amount0.as_slice()),
            amounts.as_ref().map(|(_, amount1)| amount1.as_slice()),
            codec::encode_log(&raw.topics, &raw.data),
            codec::encode_body(&row.event.body, raw),
            row.after.as_ref().map(|after| codec::encode_after(after, raw)),
            enrichment.map(|e| e.origin.as_slice()),
            enrichment.map(|e| e.gas_used.cast_signed()),
            enrichment.map(|e| e.gas_price_wei.to_be_bytes::<32>()),
            row.usd.map(|usd| usd.0.cast_signed()),
            row.gauge.as_deref().map(codec::encode_gauge),
        ])?;
        let touched = self.touched.entry(pool).or_insert((number, number));
        *touched = (touched.0.min(number), touched.1.max(number));
        Ok(())
    }

    fn snapshot(&mut self, snapshot: &PoolSnapshot) -> Result<()> {
        let (number, fork) = self.block(&snapshot.block, false)?;
        let pool = self.pool(&snapshot.pool)?;
        self.sql(
            "INSERT INTO snapshots (chain, pool, number, fork, state, market) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT DO UPDATE SET state = excluded.state, market = excluded.market",
        )?
        .execute(params![
            self.chain,
            pool,
            number,
            fork,
            codec::encode_image(&snapshot.image),
            snapshot.market.as_deref().map(codec::encode_market)
        ])?;
        self.sql(
            "DELETE FROM snapshots WHERE pool = ?1 AND number <
               (SELECT number FROM snapshots WHERE pool = ?1 ORDER BY number DESC LIMIT 1 OFFSET ?2)",
        )?
        .execute(params![pool, SNAPSHOTS_KEPT.saturating_sub(1)])?;
        Ok(())
    }

    /// The head is a block like any other, also when no record came with it. What is final stays final.
    fn head(&self, batch: &WriteBatch) -> Result<()> {
        let finalized = int(batch.finalized_number)?;
        self.sql(
            "INSERT INTO heads (chain, finalized_number) VALUES (?1, ?2)
             ON CONFLICT DO UPDATE SET finalized_number = max(finalized_number, excluded.finalized_number)",
        )?
        .execute(params![self.chain, finalized])?;
        let Some(head) = batch.head else { return Ok(()) };
        self.block(&head, true)?;
        self.sql("UPDATE heads SET number = ?2, hash = ?3, parent_hash = ?4, timestamp = ?5 WHERE chain = ?1")?.execute(
            params![self.chain, int(head.number)?, head.hash.as_slice(), head.parent_hash.as_slice(), int(head.timestamp)?],
        )?;
        Ok(())
    }

    /// Rows of a block that is not stored any more have nothing to gain.
    fn enrich(&self, enriched: &EnrichedBlock) -> Result<()> {
        let mut update = self.sql(
            "UPDATE events SET origin = ?5, gas_used = ?6, gas_price = ?7
             WHERE chain = ?1 AND number = ?2 AND tx_hash = ?4 AND origin IS NULL
               AND fork = (SELECT fork FROM blocks WHERE chain = ?1 AND hash = ?3)",
        )?;
        for (tx_hash, enrichment) in &enriched.transactions {
            update.execute(params![
                self.chain,
                int(enriched.block.number)?,
                enriched.block.hash.as_slice(),
                tx_hash.as_slice(),
                enrichment.origin.as_slice(),
                enrichment.gas_used.cast_signed(),
                enrichment.gas_price_wei.to_be_bytes::<32>(),
            ])?;
        }
        Ok(())
    }

    fn purge(&self, purge: PurgeOrphans) -> Result<()> {
        let orphans: Vec<(i64, i64)> = self
            .sql(
                "SELECT number, fork FROM blocks INDEXED BY blocks_orphaned
                 WHERE chain = ?1 AND canonical = 0 AND number <= ?2 AND orphaned_at < ?3",
            )?
            .query_map(params![self.chain, row::bound(purge.final_number), row::bound(purge.orphaned_before)], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?
            .collect::<rusqlite::Result<_>>()?;
        for (number, fork) in orphans {
            for text in [
                "DELETE FROM events WHERE chain = ?1 AND number = ?2 AND fork = ?3",
                "DELETE FROM pools_created WHERE chain = ?1 AND number = ?2 AND fork = ?3",
                "DELETE FROM snapshots WHERE chain = ?1 AND number = ?2 AND fork = ?3",
                "DELETE FROM blocks WHERE chain = ?1 AND number = ?2 AND fork = ?3",
            ] {
                self.sql(text)?.execute(params![self.chain, number, fork])?;
            }
        }
        Ok(())
    }

    /// Lets a token's query leave out pools that were quiet in the stretch it looks at.
    fn touch_pools(self) -> Result<()> {
        let mut statement = self.tx.prepare_cached(
            "UPDATE pools SET first_number = min(coalesce(first_number, ?2), ?2), last_number = max(coalesce(last_number, ?3), ?3)
             WHERE key = ?1 AND (first_number IS NULL OR first_number > ?2 OR last_number < ?3)",
        )?;
        for (pool, (first, last)) in &self.touched {
            statement.execute(params![pool, first, last])?;
        }
        Ok(())
    }
}
