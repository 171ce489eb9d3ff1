//! Opening the database: permissions, settings, and the way from any older format to the present one.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use crate::StoreError;
use crate::sqlite::Fault;

/// Version of the database's tables (`PRAGMA user_version`). A newer one is refused, an older one is brought up to date.
pub const SCHEMA_VERSION: u32 = 2;

/// How to get from each version to the next; the first makes the tables.
const MIGRATIONS: [&str; SCHEMA_VERSION as usize] = [include_str!("schema/0001.sql"), include_str!("schema/0002.sql")];

/// `PRAGMA application_id`: "Sqll". Tells a journal from any other SQLite database.
const APPLICATION_ID: i32 = 0x5371_6c6c;

/// How long one process waits for another one's write. Writes take milliseconds; a checkpoint on a slow disk takes longer.
const BUSY: Duration = Duration::from_secs(10);

/// Opens or makes the database and sees that it has the present format.
pub(crate) fn open(path: &Path) -> Result<Connection, StoreError> {
    let unopened = |reason: String| StoreError::Open { path: path.to_owned(), reason };
    // SQLite gives `-wal` and `-shm` the mode of the database, so the mode is set here, once, before it has content.
    OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path).map_err(|e| unopened(e.to_string()))?;
    // No mutex inside SQLite: the connection stands behind one of ours.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(|e| unopened(e.to_string()))?;
    prepare(&mut connection, path).map_err(|e| e.told(path))?;
    Ok(connection)
}

fn prepare(connection: &mut Connection, path: &Path) -> Result<(), Fault> {
    connection.busy_timeout(BUSY)?;
    // The small cache keeps the smallest run small; the journal is written once and rarely read back.
    connection.execute_batch("PRAGMA cache_size = -256; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON;")?;
    // `INSERT OR REPLACE` deletes without asking triggers unless they are recursive.
    connection.execute_batch("PRAGMA recursive_triggers = ON;")?;
    // Closing would copy the log into the database with two fsyncs and unlink it, at the end of every small command.
    // `Store::drop` does that when the log has grown; until then the next opening reads it in less than a millisecond.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    let found = version(connection)?;
    check(connection, path, found)?;
    if found < SCHEMA_VERSION {
        switch_to_wal(connection)?;
        migrate(connection, path)?;
    }
    Ok(())
}

fn version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

fn check(connection: &Connection, path: &Path, found: u32) -> Result<(), Fault> {
    if found > SCHEMA_VERSION {
        return Err(Fault::Own(StoreError::Newer { path: path.to_owned(), found, known: SCHEMA_VERSION }));
    }
    let application: i32 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let tables: i64 = if found == 0 { connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))? } else { 0 };
    // A database without tables is one that was just made; one with tables has to be ours.
    if (found > 0 || tables > 0) && application != APPLICATION_ID {
        return Err(Fault::Own(StoreError::Foreign { path: path.to_owned() }));
    }
    Ok(())
}

/// Kept in the database once set. Two processes that make the same database at the same time collide here in a way that
/// the busy timeout does not cover (SQLite reports a lock upgrade as busy at once), so it is tried again.
fn switch_to_wal(connection: &Connection) -> rusqlite::Result<()> {
    let pause = Duration::from_millis(5);
    let tries = BUSY.as_millis() / pause.as_millis();
    for last in (0..tries).rev().map(|left| left == 0) {
        match connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get::<_, String>(0)) {
            Err(error) if !last && error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) => std::thread::sleep(pause),
            other => return other.map(drop),
        }
    }
    Ok(())
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), Fault> {
    // Immediate: of two processes the second waits here, and then finds the work done.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found = version(&transaction)?;
    check(&transaction, path, found)?;
    for migration in MIGRATIONS.iter().skip(found as usize) {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    transaction.commit()?;
    Ok(())
}
