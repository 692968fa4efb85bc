//! Recorded prices beside the chain's file, in one of their own. It is made with the first price.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::future::BoxFuture;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, TransactionBehavior, params};

use super::{
    connections::blocking,
    error::{Result, corrupt},
    open::BUSY_TIMEOUT,
};
use crate::store::{
    history::StoreError,
    keep::{Keep, RecordedPrice, Written},
};

/// "Swpk".
const APPLICATION_ID: i32 = 0x5377_706b;
const VERSION: i32 = 1;
const SCHEMA: &str = "CREATE TABLE prices (
    pair TEXT NOT NULL,
    minute INTEGER NOT NULL,
    -- JSON: value, status, updated_ms, sources.
    price TEXT NOT NULL,
    PRIMARY KEY (pair, minute)
) STRICT, WITHOUT ROWID";

/// Share it as `Arc<dyn Keep>`.
pub struct SqliteKeep {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    connection: Mutex<Option<Connection>>,
}

impl SqliteKeep {
    /// Beside `swaptide.db` lies `swaptide.keep.db`. Touches nothing.
    #[must_use]
    pub fn beside(path: &Path) -> Self {
        Self { shared: Arc::new(Shared { path: path.with_extension("keep.db"), connection: Mutex::default() }) }
    }
}

impl Shared {
    /// On a thread that may block. `create`: where there is no file one is made; otherwise the answer is `None`.
    fn with<T>(
        &self,
        create: bool,
        work: impl FnOnce(&mut Connection) -> Result<T>,
    ) -> std::result::Result<Option<T>, StoreError> {
        let mut slot = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.is_none() && !create && !self.path.exists() {
            return Ok(None);
        }
        let done = (|| {
            let mut conn = match slot.take() {
                Some(conn) => conn,
                None => open(&self.path)?,
            };
            let value = work(&mut conn)?;
            // One that failed is opened again.
            *slot = Some(conn);
            Ok(value)
        })();
        done.map(Some).map_err(|failure: super::error::Failure| failure.at(&self.path))
    }
}

fn open(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(BUSY_TIMEOUT)?;
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let pragma = |name: &str| tx.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let (application_id, version) = (pragma("application_id")?, pragma("user_version")?);
    let tables: i64 = tx.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    match (application_id, version, tables) {
        (0, 0, 0) => {
            tx.execute_batch(SCHEMA)?;
            tx.pragma_update(None, "application_id", APPLICATION_ID)?;
            tx.pragma_update(None, "user_version", VERSION)?;
        }
        (APPLICATION_ID, 1..=VERSION, _) => {}
        _ => {
            let text = format!("`{}` holds no prices of ours, or those of a newer swaptide: move it away", path.display());
            return Err(StoreError::Foreign(text).into());
        }
    }
    tx.commit()?;
    conn.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    // Nobody can tell it again.
    conn.pragma_update(None, "synchronous", "full")?;
    Ok(conn)
}

impl Keep for SqliteKeep {
    fn record(&self, prices: Vec<RecordedPrice>) -> BoxFuture<'_, std::result::Result<(), StoreError>> {
        let shared = self.shared.clone();
        let write = move |conn: &mut Connection| {
            let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
            {
                let mut insert =
                    tx.prepare_cached("INSERT INTO prices (pair, minute, price) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING")?;
                for price in &prices {
                    let written = serde_json::to_string(&Written::of(price)).map_err(|e| corrupt(e.to_string()))?;
                    insert.execute(params![price.pair, price.minute.cast_signed(), written])?;
                }
            }
            tx.commit()?;
            Ok(())
        };
        Box::pin(async move { blocking(move || shared.with(true, write)).await.map(|_| ()) })
    }

    fn price(&self, pair: &str, from: u64, to: u64) -> BoxFuture<'_, std::result::Result<Option<RecordedPrice>, StoreError>> {
        let (shared, pair) = (self.shared.clone(), pair.to_owned());
        let read = move |conn: &mut Connection| {
            let mut newest = conn.prepare_cached(
                "SELECT minute, price FROM prices WHERE pair = ?1 AND minute BETWEEN ?2 AND ?3 ORDER BY minute DESC LIMIT 1",
            )?;
            let bound = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
            let found: Option<(i64, String)> =
                newest.query_row(params![pair, bound(from), bound(to)], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
            let Some((minute, text)) = found else { return Ok(None) };
            let written: Written = serde_json::from_str(&text).map_err(|e| corrupt(format!("a recorded price: {e}")))?;
            let price = written.read(&pair, minute.cast_unsigned());
            price.map(Some).ok_or_else(|| corrupt("a recorded price that no version of ours wrote"))
        };
        Box::pin(async move { blocking(move || shared.with(false, read)).await.map(Option::flatten) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::keep::conformance;

    #[tokio::test]
    async fn what_was_recorded_is_found_again_and_survives_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("swaptide.db");
        let keep = SqliteKeep::beside(&database);
        assert_eq!(keep.price("ETH/USD", 0, 1_000).await.unwrap(), None);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is made by looking");
        conformance::what_was_recorded_is_found_again(&keep).await;
        drop(keep);
        assert!(folder.path().join("swaptide.keep.db").is_file());
        let again = SqliteKeep::beside(&database);
        let found = again.price("ETH/USD", 0, 1_000).await.unwrap();
        assert_eq!(found, Some(conformance::price("ETH/USD", 600, "1900")));
    }

    #[tokio::test]
    async fn a_file_of_somebody_else_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("swaptide.keep.db");
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
        let keep = SqliteKeep::beside(&folder.path().join("swaptide.db"));
        let refused = keep.record(vec![conformance::price("ETH/USD", 60, "1")]).await.unwrap_err();
        assert!(matches!(refused, StoreError::Foreign(_)), "{refused}");
        assert!(keep.price("ETH/USD", 0, 100).await.is_err());
        let tables: i64 =
            Connection::open(&path).unwrap().query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).unwrap();
        assert_eq!(tables, 1);
    }
}
