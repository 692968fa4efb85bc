//! Books at a start: as they were kept, and the records since. What was never kept, or is of other sources, is made of all rows that are
//! stored: no node is asked.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use alloy::primitives::U256;

use super::{
    super::{Deps, seed, sources},
    Books,
};
use crate::{
    domain::{
        block::BlockRef,
        book::{Book, Closing, Told},
        dollars::{Gauge, Routes},
        image::{Held, Mark, Origin},
        pool::{PoolId, PoolMeta, StateAfter},
        record::{BlockRecord, EventRow},
    },
    store::{
        StoreError,
        history::{Boot, WriteBatch},
    },
};

/// Blocks of one page; fewer in tests, so that there are several.
const PAGE: usize = if cfg!(test) { 7 } else { 1_000 };

pub(in crate::actors) type Metas = HashMap<PoolId, Arc<PoolMeta>>;

/// A record without what it tells of several pools: an older version wrote it, or it was read back alone.
struct Untold;

/// Pools are started by now: prices need to know them. `None`: what is stored is newer than the anchor, because somebody wrote meanwhile.
pub(in crate::actors) async fn restore(
    deps: &Deps,
    metas: &Metas,
    boot: &Boot,
    anchor: BlockRef,
) -> Result<Option<Books>, StoreError> {
    let sources: BTreeSet<String> = deps.joined.get().iter().map(sources::name).collect();
    let kept = deps.history.book(deps.chain).await?;
    // Where there is none yet, and somebody else writes, it waits in memory like all that is new.
    let is_new = kept.is_none() && deps.lease.fence().is_none();
    if kept.as_ref().is_some_and(|kept| kept.block.number > anchor.number) {
        return Ok(None);
    }
    if let Some(kept) = kept.filter(|kept| kept.sources == sources) {
        let book = Book::restored(kept.hour, kept.markets);
        let mut books = Books::new(book, sources.clone());
        let continued = resume(deps, metas, &mut books, kept.block.number, anchor).await?;
        if continued.is_ok() && window(metas, &mut books, boot, anchor).is_ok() {
            return Ok(Some(books));
        }
        tracing::info!("what was told of tokens is not of all that is followed now");
    }
    let mut teller = Teller::new(metas);
    let mut books = derive(deps, &mut teller, sources, anchor, is_new).await?;
    for record in boot.window.iter().filter(|record| record.block.number > anchor.number) {
        let told = deps.live.with_routes(|routes| teller.tell(routes, &books.book, record.clone()));
        // What is stored of it says less.
        if told.told != record.told {
            books.mark_partial();
        }
        books.fold(&told, &of_rows(metas, &told), true);
    }
    Ok(Some(books))
}

fn of_rows<'a>(metas: &'a Metas, record: &BlockRecord) -> Vec<Option<&'a PoolMeta>> {
    record.rows.iter().map(|row| metas.get(&row.event.pool).map(Arc::as_ref)).collect()
}

fn is_untold(metas: &Metas, book: &Book, record: &BlockRecord) -> bool {
    if !record.rows.iter().any(|row| metas.contains_key(&row.event.pool)) {
        return false;
    }
    let Some(told) = &record.told else { return true };
    book.due(record.block.timestamp).is_some_and(|due| !due.is_in(told.closing.as_ref()))
}

/// Records after the kept book, up to the anchor.
async fn resume(
    deps: &Deps,
    metas: &Metas,
    books: &mut Books,
    kept: u64,
    anchor: BlockRef,
) -> Result<Result<(), Untold>, StoreError> {
    let mut pages = Pages { deps, next: kept.saturating_add(1), to: anchor.number };
    while let Some(records) = pages.next().await? {
        for record in records {
            if is_untold(metas, &books.book, &record) {
                return Ok(Err(Untold));
            }
            books.fold(&record, &of_rows(metas, &record), false);
        }
    }
    Ok(Ok(()))
}

/// Those that can be taken back.
fn window(metas: &Metas, books: &mut Books, boot: &Boot, anchor: BlockRef) -> Result<(), Untold> {
    for record in boot.window.iter().filter(|record| record.block.number > anchor.number) {
        if is_untold(metas, &books.book, record) {
            return Err(Untold);
        }
        books.fold(record, &of_rows(metas, record), true);
    }
    Ok(())
}

/// Out of all stored rows up to the anchor. Chunks are stored as they come, and the book at the end; none of it where `is_new`.
async fn derive(
    deps: &Deps,
    teller: &mut Teller<'_>,
    sources: BTreeSet<String>,
    anchor: BlockRef,
    is_new: bool,
) -> Result<Books, StoreError> {
    if !is_new {
        deps.keep(WriteBatch { forget_book: true, ..seed::batch(deps, anchor) }).await?;
    }
    let mut books = Books::new(Book::default(), sources);
    let mut pages = Pages { deps, next: 0, to: anchor.number };
    let mut told = false;
    while let Some(records) = pages.next().await? {
        if !std::mem::replace(&mut told, true) {
            tracing::info!(to = anchor.number, "what tokens and factories traded is made of the events that are stored");
        }
        let before = books.book.clone();
        deps.live.with_routes(|routes| {
            for record in records {
                let record = teller.tell(routes, &books.book, record);
                books.fold(&record, &of_rows(teller.metas, &record), false);
            }
        });
        if is_new {
            continue;
        }
        let candles = books.chunks(&before);
        if !candles.is_empty() {
            deps.keep(WriteBatch { candles, ..seed::batch(deps, anchor) }).await?;
            books.forget_given();
        }
    }
    if told && !is_new {
        for part in books.all(anchor) {
            deps.keep(WriteBatch { book: Some(part), ..seed::batch(deps, anchor) }).await?;
        }
    }
    Ok(books)
}

/// Everything that is due, as it was told where that was of the same hour.
fn completed(mut new: Closing, told: Option<&Closing>) -> Closing {
    let Some(told) = told.filter(|told| told.at == new.at) else { return new };
    for end in &mut new.tokens {
        if let Ok(at) = told.tokens.binary_search_by_key(&end.token, |end| end.token) {
            *end = told.tokens.get(at).copied().unwrap_or(*end);
        }
    }
    for (factory, locked) in &mut new.factories {
        let known = told.factories.iter().find(|(known, _)| known == factory);
        *locked = known.map_or(*locked, |(_, locked)| *locked);
    }
    new
}

/// Records in the order of the chain.
struct Pages<'a> {
    deps: &'a Deps,
    next: u64,
    to: u64,
}

impl Pages<'_> {
    async fn next(&mut self) -> Result<Option<Vec<BlockRecord>>, StoreError> {
        if self.next > self.to {
            return Ok(None);
        }
        let mut records = self.deps.history.records(self.deps.chain, self.next, PAGE).await?;
        let is_last = records.len() < PAGE;
        records.retain(|record| record.block.number <= self.to);
        let after = |last: &BlockRecord| last.block.number.saturating_add(1);
        self.next = records.last().filter(|_| !is_last).map_or(u64::MAX, after);
        Ok(Some(records))
    }
}

/// Pools as far as stored rows say, to tell what records do not.
struct Teller<'a> {
    metas: &'a Metas,
    marks: HashMap<PoolId, (Gauge, Held, Option<StateAfter>)>,
    /// Of older pools, the latest first.
    origins: Vec<(&'a PoolId, &'a Origin)>,
}

impl<'a> Teller<'a> {
    fn new(metas: &'a Metas) -> Self {
        let mut origins: Vec<(&PoolId, &Origin)> =
            metas.iter().filter_map(|(id, meta)| Some((id, meta.origin.as_deref()?))).collect();
        // The last one is taken first.
        origins.sort_unstable_by_key(|(id, origin)| std::cmp::Reverse((origin.block.number, *id)));
        Self { metas, marks: HashMap::new(), origins }
    }

    /// Those that are older than what is read of them stand as their contracts said, from the block on at which they were asked: not
    /// before, and whatever rows said until then.
    fn ask_contracts(&mut self, is_over: impl Fn(&BlockRef) -> bool) {
        while let Some((id, origin)) = self.origins.pop_if(|(_, origin)| is_over(&origin.block)) {
            self.marks.insert(*id, (origin.gauge, origin.held, Some(origin.after)));
        }
    }

    /// The record with what it tells; the pools are as of its end then. What was told stays, the rest is worked out: of a time before a
    /// source was added, its tokens.
    fn tell(&mut self, routes: &Routes, book: &Book, mut record: BlockRecord) -> BlockRecord {
        if record.rows.is_empty() {
            return record;
        }
        let now = record.block.timestamp;
        let due = book.due(now);
        self.ask_contracts(|block| {
            due.as_ref().is_none_or(|due| block.timestamp <= due.at) && block.number < record.block.number
        });
        let closing = due.map(|due| {
            let pools = self.metas.iter().filter_map(|(id, meta)| Some((meta.as_ref(), self.mark(id)?)));
            Closing::new(&due, &routes.at(due.at, |id| self.mark(id).map(|mark| mark.gauge)), pools)
        });
        self.ask_contracts(|block| block.number < record.block.number);
        record.rows.iter().for_each(|row| self.take(row));
        let metas = of_rows(self.metas, &record);
        if metas.iter().all(Option::is_none) {
            return record;
        }
        let prices = routes.at(now, |id| self.mark(id).map(|mark| mark.gauge));
        let mut told = Told::new(metas.into_iter().flatten(), &prices, closing);
        if let Some(said) = &record.told {
            told.prices.retain(|(token, _)| said.price(token).is_none());
            told.prices.extend(&said.prices);
            told.prices.sort_unstable_by_key(|(token, _)| *token);
            told.closing = told.closing.map(|new| completed(new, said.closing.as_ref()));
        }
        record.told = Some(Arc::new(told));
        record
    }

    fn mark(&self, id: &PoolId) -> Option<Mark> {
        let (gauge, held, after) = self.marks.get(id)?;
        let locked = match after {
            Some(StateAfter::V2 { reserve0, reserve1 }) => Some((U256::from(*reserve0), U256::from(*reserve1))),
            _ => held.amounts(),
        };
        Some(Mark { gauge: *gauge, locked })
    }

    fn take(&mut self, row: &EventRow) {
        let Some(meta) = self.metas.get(&row.event.pool) else { return };
        // What a pool held that is older than what is read is not among the rows.
        let held = if meta.creation().is_some() { Held::Nothing } else { Held::Unknown };
        let (gauge, held, after) = self.marks.entry(row.event.pool).or_insert((Gauge::default(), held, None));
        held.follow(after.is_some(), row);
        *gauge = row.gauge.as_deref().copied().unwrap_or(*gauge);
        *after = row.after.or(*after);
    }
}
