//! Opening a file: it is looked at before anything may touch it, and made only when a chain claims it.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};

use alloy::primitives::B256;
use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior};

use super::{
    error::{Result, not_a_database},
    schema::{self, Kind},
};
use crate::{domain::ChainId, store::history::StoreError};

/// How long a write waits for a writer of another process (a backup, a `sqlite3` shell) before it is told to try again.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// 16 MiB: the inner pages of the indexes that a write touches at random places.
const WRITER_CACHE_KIB: i32 = 16 * 1024;
/// 2 MiB for each reader: the operating system's cache has the rest.
const READER_CACHE_KIB: i32 = 2 * 1024;
/// 16 MiB of log before it is moved into the file: fewer, larger moves than SQLite's 4 MiB.
const CHECKPOINT_PAGES: i32 = 4_096;
/// The log is cut back to this after a large transaction.
const LOG_MAX_BYTES: i64 = 64 * 1024 * 1024;
/// More than there are different statements.
const STATEMENTS: usize = 64;

/// What is at the path, found out without touching it.
pub(super) enum Found {
    /// No file, or an empty one: a claim fills it.
    Nothing,
    Ours(Claims),
    /// A creation was cut short; only SQLite can tell what is true, by writing.
    Interrupted,
}

/// Chains of a database, with their genesis.
pub(super) type Claims = BTreeMap<ChainId, B256>;

/// Looks at the path without writing a byte.
pub(super) fn look(path: &Path) -> Result<Found> {
    let shown = path.display();
    let refuse = |text: String| Err(StoreError::Unavailable(text).into());
    let meta = match std::fs::metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
                Some(folder) if !folder.is_dir() => refuse(format!(
                    "the folder `{}` does not exist: create it, or name another file in [store] url",
                    folder.display()
                )),
                _ => Ok(Found::Nothing),
            };
        }
        Err(error) => return refuse(format!("`{shown}` cannot be looked at ({error}): name another file in [store] url")),
    };
    if !meta.is_file() {
        return refuse(format!("`{shown}` is no file: name a file in [store] url"));
    }
    let has = |suffix: &str| std::fs::metadata(beside(path, suffix)).is_ok_and(|m| m.len() > 0);
    if was_created(path) {
        return Ok(Found::Interrupted);
    }
    if meta.len() == 0 {
        return Ok(Found::Nothing);
    }
    let mut magic = [0_u8; 16];
    match File::open(path).and_then(|mut file| file.read_exact(&mut magic)) {
        Ok(()) if magic == *b"SQLite format 3\0" => {}
        Err(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => {
            return refuse(format!("`{shown}` cannot be read ({error}): give this user the right to read and write it"));
        }
        _ => return Err(not_a_database(&shown.to_string()).into()),
    }
    // Without a log nothing else holds it, and `immutable` keeps SQLite from creating one.
    let conn = if has("-wal") { reader(path)? } else { immutable(path)? };
    match schema::check(&conn, &shown.to_string())? {
        Kind::Empty => Ok(Found::Nothing),
        Kind::Ours => Ok(Found::Ours(claims(&conn)?)),
    }
}

/// Whether a rollback journal says that the file was being made from nothing. We use such a journal only then; one that says
/// otherwise is another program's.
fn was_created(path: &Path) -> bool {
    const MAGIC: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
    let mut head = [0_u8; 20];
    let read = File::open(beside(path, "-journal")).and_then(|mut file| file.read_exact(&mut head));
    // Magic, record count, nonce, and the size before in pages: sqlite.org/fileformat.html, section 3.
    read.is_ok() && head.starts_with(&MAGIC) && head.ends_with(&[0; 4])
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn immutable(path: &Path) -> Result<Connection> {
    let Some(text) = path.to_str() else {
        let text = format!("`{}` is not UTF-8: name another file in [store] url", path.display());
        return Err(StoreError::Unavailable(text).into());
    };
    let mut uri = String::from(if cfg!(windows) && path.is_absolute() { "file:///" } else { "file:" });
    for byte in text.bytes() {
        match byte {
            b'\\' if cfg!(windows) => uri.push('/'),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' | b':' => uri.push(char::from(byte)),
            _ => uri.push_str(&format!("%{byte:02x}")),
        }
    }
    uri.push_str("?immutable=1");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Ok(Connection::open_with_flags(uri, flags)?)
}

/// A connection that sees what is committed, and can write nothing.
pub(super) fn reader(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(BUSY_TIMEOUT)?;
    conn.pragma_update(None, "cache_size", READER_CACHE_KIB.saturating_neg())?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(conn)
}

/// Creates the database where there is none, brings its schema up to date and enters the chain, all or nothing.
///
/// This happens before the switch to a write-ahead log, so that from the first moment the file itself says whose it is.
pub(super) fn writer(path: &Path, chain: ChainId, genesis: B256) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(BUSY_TIMEOUT)?;
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    schema::check(&tx, &path.display().to_string())?;
    schema::migrate(&tx)?;
    enter(&tx, path, &Claims::new(), chain, genesis)?;
    tx.commit()?;
    conn.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    conn.pragma_update(None, "synchronous", "normal")?;
    conn.pragma_update(None, "cache_size", WRITER_CACHE_KIB.saturating_neg())?;
    conn.pragma_update_and_check(None, "wal_autocheckpoint", CHECKPOINT_PAGES, |_| Ok(()))?;
    conn.pragma_update_and_check(None, "journal_size_limit", LOG_MAX_BYTES, |_| Ok(()))?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(conn)
}

/// Enters a chain, unless the database is somebody else's. `ours` are the chains that this process has claimed already.
pub(super) fn enter(conn: &Connection, path: &Path, ours: &Claims, chain: ChainId, genesis: B256) -> Result<()> {
    let there = claims(conn)?;
    judge(path, &there, ours, chain, genesis)?;
    if !there.contains_key(&chain) {
        conn.execute("INSERT INTO chains (chain_id, genesis) VALUES (?1, ?2)", (chain.cast_signed(), genesis.as_slice()))?;
    }
    Ok(())
}

/// A chain may join a database only beside chains that this process serves too: otherwise somebody changed the chain and forgot
/// the file.
pub(super) fn judge(path: &Path, there: &Claims, ours: &Claims, chain: ChainId, genesis: B256) -> Result<()> {
    let path = path.display();
    let text = match there.get(&chain) {
        Some(held) if *held == genesis => return Ok(()),
        Some(held) => format!(
            "`{path}` was filled from another chain {chain}: its genesis is {held}, the node's is {genesis} (a restarted test chain?). \
             Move the file away, or name another one in [store] url"
        ),
        None => match there.keys().find(|id| !ours.contains_key(id)) {
            None => return Ok(()),
            Some(other) => {
                format!("`{path}` belongs to chain {other}, and chain {chain} is asked for: name another file in [store] url")
            }
        },
    };
    Err(StoreError::Foreign(text).into())
}

fn claims(conn: &Connection) -> Result<Claims> {
    let mut statement = conn.prepare("SELECT chain_id, genesis FROM chains")?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get::<_, [u8; 32]>(1)?.into())))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// `chains.key` of a claimed chain.
pub(super) fn chain_key(conn: &Connection, chain: ChainId) -> Result<i64> {
    let key = conn
        .prepare_cached("SELECT key FROM chains WHERE chain_id = ?1")?
        .query_row([chain.cast_signed()], |row| row.get(0))
        .optional()?;
    key.ok_or_else(|| StoreError::Unavailable(format!("chain {chain} has not claimed this database")).into())
}
