//! One writer and a few readers on one file. Every use runs on a blocking thread; nobody holds a lock while waiting.
//!
//! A turn is taken by a semaphore (in order of asking; who waits holds only its own request), a connection by a mutex that is
//! held for a push or a pop. Work goes through `spawn_blocking` rather than a thread of our own, because the paused clock of
//! tests stands still while such work runs.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::Semaphore;

use super::{
    error::{Failure, Result},
    open,
};
use crate::{domain::market::Subject, store::history::StoreError};

/// Three readers: two cores stay busy while one waits for the disk.
const READERS: usize = 3;

/// The writing connection, and what it remembers between writes.
pub(super) struct Writer {
    pub(super) conn: Connection,
    pub(super) memory: Memory,
}

#[derive(Default)]
pub(super) struct Memory {
    /// `pools.key` by (chain key, subject).
    pub(super) keys: HashMap<(i64, Subject), i64>,
}

pub(super) struct Connections {
    path: PathBuf,
    // Before `writer`: the last one to close moves the log into the file, and a reader cannot.
    readers: Mutex<Vec<Connection>>,
    writer: Mutex<Writer>,
    reader_turns: Arc<Semaphore>,
    writer_turn: Arc<Semaphore>,
}

fn relock<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whoever panicked dropped its transaction on the way, which takes it back.
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs on a thread that may block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::result::Result<T, StoreError> + Send + 'static,
) -> std::result::Result<T, StoreError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(StoreError::Unavailable(format!("a database task did not end: {error}"))))
}

/// A reader that goes back when it is dropped, also by a panic.
struct Lease<'a> {
    home: &'a Connections,
    conn: Option<Connection>,
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if let Some(conn) = self.conn.take() {
            relock(&self.home.readers).push(conn);
        }
    }
}

impl Connections {
    pub(super) fn new(path: &Path, writer: Writer) -> Self {
        Self {
            path: path.to_owned(),
            readers: Mutex::new(Vec::with_capacity(READERS)),
            writer: Mutex::new(writer),
            reader_turns: Arc::new(Semaphore::new(READERS)),
            writer_turn: Arc::new(Semaphore::new(1)),
        }
    }

    fn lease(&self) -> Result<Lease<'_>> {
        let idle = relock(&self.readers).pop();
        let conn = match idle {
            Some(conn) => conn,
            None => open::reader(&self.path)?,
        };
        Ok(Lease { home: self, conn: Some(conn) })
    }

    /// Everything `work` reads is of one moment.
    pub(super) async fn read<T: Send + 'static>(
        self: Arc<Self>,
        work: impl FnOnce(&Transaction<'_>) -> Result<T> + Send + 'static,
    ) -> std::result::Result<T, StoreError> {
        let turn = self.reader_turns.clone().acquire_owned().await.map_err(|_| closed())?;
        blocking(move || {
            let _turn = turn;
            self.read_now(work).map_err(|failure| failure.at(&self.path))
        })
        .await
    }

    fn read_now<T>(&self, work: impl FnOnce(&Transaction<'_>) -> Result<T>) -> Result<T> {
        let mut lease = self.lease()?;
        let conn = lease.conn.as_mut().ok_or_else(|| Failure::Store(closed()))?;
        let tx = conn.transaction_with_behavior(TransactionBehavior::Deferred)?;
        work(&tx)
    }

    /// Everything `work` writes becomes visible at once, or nothing does.
    pub(super) async fn write<T: Send + 'static>(
        self: Arc<Self>,
        work: impl FnOnce(&Transaction<'_>, &mut Memory) -> Result<T> + Send + 'static,
    ) -> std::result::Result<T, StoreError> {
        let turn = self.writer_turn.clone().acquire_owned().await.map_err(|_| closed())?;
        blocking(move || {
            let _turn = turn;
            self.write_now(work).map_err(|failure| failure.at(&self.path))
        })
        .await
    }

    pub(super) fn write_now<T>(&self, work: impl FnOnce(&Transaction<'_>, &mut Memory) -> Result<T>) -> Result<T> {
        let mut writer = relock(&self.writer);
        let Writer { conn, memory } = &mut *writer;
        // Only what was committed is remembered; a failed write leaves the default, and everything is looked up again.
        let mut known = std::mem::take(memory);
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let value = work(&tx, &mut known)?;
        tx.commit()?;
        *memory = known;
        Ok(value)
    }

    #[cfg(test)]
    pub(super) fn with_writer<T>(&self, work: impl FnOnce(&mut Writer) -> T) -> T {
        work(&mut relock(&self.writer))
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable("the database is being closed".to_owned())
}
