//! One question to the store for each level of a query: what its fields ask for at the same time is asked for together.
//!
//! A field that needs a page joins the request's open batch. The first to join waits until a turn of the runtime brings nobody
//! new; then the batch closes, is asked for, and all of them go on at once, so that the next level meets again. The engine's own
//! loader waits a millisecond by the clock instead, on a thread and a task of its own.
//!
//! What is absent: a cache (two levels that ask for the same ask twice; within a level it is asked for once), and a task: a batch
//! goes on as long as one of its fields is waited for, and ends with the request.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_graphql::Context;
use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use tokio::task::yield_now;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    core::core,
    error::{ApiError, Code},
    event::At,
};
use crate::store::{Pin, ReadError, Reader, query::EventQuery};

/// In the order of the batch.
type Answers = Arc<Vec<Result<Vec<At>, ApiError>>>;

struct Batch {
    asked: Vec<(Arc<Pin>, EventQuery)>,
    /// By epoch: the same page of the same state is asked for once. A query names its chain.
    places: HashMap<(u64, EventQuery), usize>,
    /// Fields that joined, those that ask for the same included.
    joined: usize,
    answers: Shared<BoxFuture<'static, Answers>>,
}

/// Lives in the request's data. In a subscription it serves frame after frame.
#[derive(Default)]
pub(super) struct Loader {
    open: Arc<Mutex<Option<Batch>>>,
}

/// A page of events, of the pin that is given.
pub(super) async fn page(ctx: &Context<'_>, pin: &Arc<Pin>, query: EventQuery) -> Result<Vec<At>, ApiError> {
    let reader = &core(ctx)?.reader;
    match ctx.data_opt::<Loader>() {
        Some(loader) => loader.load(reader, pin, query).await,
        None => Loader::default().load(reader, pin, query).await,
    }
}

fn relock(open: &Mutex<Option<Batch>>) -> MutexGuard<'_, Option<Batch>> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Loader {
    async fn load(&self, reader: &Reader, pin: &Arc<Pin>, query: EventQuery) -> Result<Vec<At>, ApiError> {
        let (at, answers, first) = self.join(reader, pin, query);
        if let Some(close) = first {
            let mut joined = 0;
            while joined != self.joined() {
                joined = self.joined();
                yield_now().await;
            }
            // Also where this field is given up while it waits: the others must not wait for ever.
            drop(close);
        }
        let lost = || Err(ApiError::new(Code::UpstreamDown, "this part of the query was not answered: try again"));
        answers.await.get(at).cloned().unwrap_or_else(lost)
    }

    fn joined(&self) -> usize {
        relock(&self.open).as_ref().map_or(0, |batch| batch.joined)
    }

    /// Where the answer will be, and for the first what closes the batch.
    fn join(
        &self,
        reader: &Reader,
        pin: &Arc<Pin>,
        query: EventQuery,
    ) -> (usize, Shared<BoxFuture<'static, Answers>>, Option<DropGuard>) {
        let mut open = relock(&self.open);
        let mut first = None;
        let batch = open.get_or_insert_with(|| {
            let close = CancellationToken::new();
            first = Some(close.clone().drop_guard());
            Batch { asked: Vec::new(), places: HashMap::new(), joined: 0, answers: self.answers(reader, close) }
        });
        batch.joined = batch.joined.saturating_add(1);
        let Batch { asked, places, .. } = batch;
        let at = *places.entry((pin.head().epoch, query)).or_insert_with(|| {
            asked.push((pin.clone(), query));
            asked.len().saturating_sub(1)
        });
        (at, batch.answers.clone(), first)
    }

    /// Takes the open batch when it is closed, and asks for it.
    fn answers(&self, reader: &Reader, closed: CancellationToken) -> Shared<BoxFuture<'static, Answers>> {
        // The batch holds this future: a strong hold on the batch would keep both, with their pins, for ever.
        let open = Arc::downgrade(&self.open);
        let reader = reader.clone();
        let answers = async move {
            closed.cancelled().await;
            let batch = open.upgrade().and_then(|open| relock(&open).take());
            answer(&reader, batch.map(|batch| batch.asked).unwrap_or_default()).await
        };
        answers.boxed().shared()
    }
}

async fn answer(reader: &Reader, asked: Vec<(Arc<Pin>, EventQuery)>) -> Answers {
    let pages: Vec<(&Pin, EventQuery)> = asked.iter().map(|(pin, query)| (pin.as_ref(), *query)).collect();
    // A store that fails is logged once, not once for each field.
    let mut failed: Option<ApiError> = None;
    let mut told = |error: ReadError| match error {
        ReadError::Store(error) => failed.get_or_insert_with(|| error.into()).clone(),
        error => error.into(),
    };
    let found = reader.pages(&pages).await.into_iter().zip(&asked);
    let answers = found.map(|(page, (pin, _))| match page {
        Ok(page) => Ok(page.events.into_iter().map(|event| At::new(pin, event)).collect()),
        Err(error) => Err(told(error)),
    });
    Arc::new(answers.collect())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use alloy::primitives::B256;
    use futures_util::poll;

    use super::*;
    use crate::{
        domain::{block::BlockRef, event::EventKind, record::BlockRecord},
        store::{
            Commit, Live,
            query::{Fields, Narrow},
            sqlite::SqliteHistory,
        },
    };

    #[tokio::test(start_paused = true)]
    async fn a_field_that_is_given_up_keeps_no_other_waiting() {
        let live = Arc::new(Live::new(1, "local", 2, Duration::from_secs(15)));
        let block = BlockRef { number: 0, hash: B256::ZERO, parent_hash: B256::ZERO, timestamp: 0 };
        let record = BlockRecord::new(1, block, Vec::new());
        live.commit(Commit { head: Some(record.block), extended: vec![Arc::new(record)], ..Commit::default() });
        let folder = tempfile::tempdir().unwrap();
        // Never asked: the window reaches down to the first block.
        let history = Arc::new(SqliteHistory::open(&folder.path().join("none.sqlite")).unwrap());
        let (pin, reader, loader) = (Arc::new(live.pin()), Reader::new([live], history), Loader::default());
        let query = |limit| EventQuery {
            chain: 1,
            kind: EventKind::Swap,
            narrow: Narrow::All,
            after: None,
            before: None,
            time_from: None,
            time_to: None,
            newest_first: true,
            fields: Fields::ALL,
            limit,
        };
        let mut first = Box::pin(loader.load(&reader, &pin, query(1)));
        let mut others: Vec<_> = (1..4).map(|limit| Box::pin(loader.load(&reader, &pin, query(limit)))).collect();
        assert!(poll!(&mut first).is_pending());
        for other in &mut others {
            assert!(poll!(other).is_pending());
        }
        drop(first);
        for other in others {
            let page = tokio::time::timeout(Duration::from_secs(1), other).await;
            assert!(page.unwrap().is_ok_and(|events| events.is_empty()));
        }
        assert!(relock(&loader.open).is_none());
        // And one that nobody waits for any more leaves nothing behind.
        let mut alone = Box::pin(loader.load(&reader, &pin, query(1)));
        assert!(poll!(&mut alone).is_pending());
        drop(alone);
        drop(loader);
        assert_eq!(Arc::strong_count(&pin), 1);
    }
}
