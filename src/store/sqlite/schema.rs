//! The schema and its versions. What a file says of itself is in its header: `application_id` and `user_version`.

use rusqlite::{Connection, Transaction};

use super::error::Result;
use crate::store::history::StoreError;

/// "Swpt": tells our files from those of other programs.
pub(super) const APPLICATION_ID: i32 = 0x5377_7074;

/// Entry n brings version n to n + 1. Never change one that was released: add another.
const MIGRATIONS: [&str; 5] = [
    include_str!("schema.sql"),
    include_str!("schema_2.sql"),
    include_str!("schema_3.sql"),
    include_str!("schema_4.sql"),
    include_str!("schema_5.sql"),
];

/// What a database says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing in it yet.
    Empty,
    Ours,
}

/// Refuses what is not ours, or newer than us.
pub(super) fn check(conn: &Connection, path: &str) -> Result<Kind> {
    let pragma = |name: &str| conn.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let (application_id, version) = (pragma("application_id")?, pragma("user_version")?);
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if application_id == 0 && version == 0 && tables == 0 {
        return Ok(Kind::Empty);
    }
    if application_id != APPLICATION_ID {
        let text = format!("`{path}` is the SQLite database of another program: name another file in [store] url");
        return Err(StoreError::Foreign(text).into());
    }
    let known = MIGRATIONS.len();
    if usize::try_from(version).map_or(true, |v| v > known) {
        let text = format!(
            "`{path}` was written by a newer swaptide (schema {version}, this one knows {known}): use that version, or name another file in [store] url"
        );
        return Err(StoreError::Foreign(text).into());
    }
    Ok(Kind::Ours)
}

/// Brings the schema up to date, within the transaction that asks for it.
pub(super) fn migrate(tx: &Transaction<'_>) -> Result<()> {
    let version: i32 = tx.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let done = usize::try_from(version).unwrap_or(0);
    if done == MIGRATIONS.len() {
        return Ok(());
    }
    for step in MIGRATIONS.iter().skip(done) {
        tx.execute_batch(step)?;
    }
    tx.pragma_update(None, "application_id", APPLICATION_ID)?;
    tx.pragma_update(None, "user_version", i32::try_from(MIGRATIONS.len()).unwrap_or(i32::MAX))?;
    Ok(())
}
