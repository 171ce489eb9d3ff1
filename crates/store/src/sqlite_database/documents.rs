//! Documents, and what is written with them, in SQLite's tables.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{audit, leases};
use crate::sqlite::{Fault, as_i64};
use crate::{Batch, CommitError, Committed, Document, List, StoreError, Write};

const COLUMNS: &str = "kind, id, version, created_us, updated_us, body";

/// The next version or token.
pub(super) fn next(connection: &Connection) -> rusqlite::Result<i64> {
    connection.prepare_cached("UPDATE counters SET last = last + 1 RETURNING last")?.query_row([], |row| row.get(0))
}

/// All of a batch, within a transaction of the caller's, who takes it back when this fails.
pub(super) fn commit(connection: &Connection, batch: &Batch, now: Timestamp) -> Result<Committed, Fault<CommitError>> {
    leases::check(connection, batch.fence.as_ref())?;
    let versions = batch.writes.iter().enumerate().map(|(index, write)| apply(connection, index, write, now.as_microsecond()));
    Ok(Committed { versions: versions.collect::<Result<_, _>>()? })
}

fn apply(connection: &Connection, index: usize, write: &Write, now: i64) -> Result<u64, Fault<CommitError>> {
    let version = match write {
        Write::Audit(entry) => return Ok(audit::append(connection, entry)?),
        Write::Create { kind, id, body } => {
            let version = next(connection)?;
            let sql = "INSERT INTO documents VALUES (?1, ?2, ?3, ?4, ?4, ?5) ON CONFLICT DO NOTHING";
            let created = connection.prepare_cached(sql)?.execute(params![kind, id, version, now, body.to_string()])?;
            (created > 0).then_some(version)
        }
        Write::Replace { kind, id, version: expected, body } => {
            let version = next(connection)?;
            let sql = "UPDATE documents SET version = ?3, updated_us = ?4, body = ?5 WHERE kind = ?1 AND id = ?2 AND version = ?6";
            let expected = as_i64(*expected);
            let replaced = connection.prepare_cached(sql)?.execute(params![kind, id, version, now, body.to_string(), expected])?;
            (replaced > 0).then_some(version)
        }
        Write::Put { kind, id, body } => {
            let version = next(connection)?;
            let sql = "INSERT INTO documents VALUES (?1, ?2, ?3, ?4, ?4, ?5) ON CONFLICT DO UPDATE \
                SET version = excluded.version, updated_us = excluded.updated_us, body = excluded.body";
            connection.prepare_cached(sql)?.execute(params![kind, id, version, now, body.to_string()])?;
            Some(version)
        }
        Write::Delete { kind, id, version } => {
            let sql = "DELETE FROM documents WHERE kind = ?1 AND id = ?2 AND (?3 IS NULL OR version = ?3) RETURNING version";
            let version = version.map(as_i64);
            connection.prepare_cached(sql)?.query_row(params![kind, id, version], |row| row.get(0)).optional()?
        }
    };
    match version {
        Some(version) => Ok(u64::try_from(version).unwrap_or(0)),
        None => Err(refusal(connection, index, write)?.into()),
    }
}

/// Why a write found nothing to do.
fn refusal(connection: &Connection, index: usize, write: &Write) -> rusqlite::Result<CommitError> {
    let (kind, id) = write.key().unwrap_or_default();
    let there = connection.prepare_cached("SELECT 1 FROM documents WHERE kind = ?1 AND id = ?2")?.exists([kind, id])?;
    let (kind, id) = (kind.to_owned(), id.to_owned());
    Ok(if there { CommitError::Conflict { index, kind, id } } else { CommitError::NotFound { index, kind, id } })
}

pub(super) fn get(connection: &Connection, kind: &str, id: &str) -> Result<Option<Document>, Fault> {
    let sql = format!("SELECT {COLUMNS} FROM documents WHERE kind = ?1 AND id = ?2");
    let found = connection.prepare_cached(&sql)?.query_row([kind, id], document).optional()?;
    Ok(found.transpose()?)
}

pub(super) fn list(connection: &Connection, kind: &str, list: &List) -> Result<Vec<Document>, Fault> {
    let (order, beyond) = if list.descending { ("DESC", "<") } else { ("ASC", ">") };
    // Texts sort by their bytes, so those with a prefix stand together.
    let sql = format!(
        "SELECT {COLUMNS} FROM documents WHERE kind = ?1 AND id >= ?2 AND (?3 IS NULL OR id < ?3) AND (?4 IS NULL OR id {beyond} ?4) \
         ORDER BY id {order} LIMIT ?5"
    );
    let limit = as_i64(list.limit.unwrap_or(usize::MAX) as u64);
    let mut statement = connection.prepare_cached(&sql)?;
    let found = statement.query_map(params![kind, list.prefix, list.end(), list.after, limit], document)?;
    found.map(|document| Ok(document??)).collect()
}

pub(super) fn count(connection: &Connection, kind: &str, prefix: &str) -> Result<u64, Fault> {
    let sql = "SELECT count(*) FROM documents WHERE kind = ?1 AND id >= ?2 AND (?3 IS NULL OR id < ?3)";
    let end = List::prefix(prefix).end();
    let count: i64 = connection.prepare_cached(sql)?.query_row(params![kind, prefix, end], |row| row.get(0))?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// One document; `Ok(Err(_))` is a row that is there but makes no sense.
fn document(row: &Row<'_>) -> rusqlite::Result<Result<Document, StoreError>> {
    let (kind, id, body): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(5)?);
    Ok(Document::from_row(kind, id, [row.get(2)?, row.get(3)?, row.get(4)?], &body))
}
