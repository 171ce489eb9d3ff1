//! Journals of runs in SQLite's tables, for [`Store`](super::Store) and for the server's database.

use std::collections::BTreeMap;

use rusqlite::{Connection, ErrorCode, OptionalExtension, params};
use serde_json::Value as Json;
use squall_model::{Event, Record, RunId, Started};

use super::{Fault, as_i64};
use crate::summary::check_order;
use crate::{Filter, StoreError, StoredRun, rows};

/// Makes a run known; gives its number.
pub(crate) fn insert_run(
    connection: &Connection,
    started: &Started,
    labels: &BTreeMap<String, String>,
    extra: &Json,
) -> Result<i64, Fault> {
    let labels = serde_json::to_string(labels).map_err(|e| StoreError::Encode { seq: 0, reason: e.to_string() })?;
    let extra = (!extra.is_null()).then(|| extra.to_string());
    let inserted = connection
        .prepare_cached("INSERT INTO runs (id, experiment, started, host, user, labels, extra) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?
        .execute(params![started.run.as_str(), started.experiment, started.wall, started.host, started.user, labels, extra]);
    match inserted {
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
            Err(StoreError::Begun(started.run.clone()).into())
        }
        Err(error) => Err(error.into()),
        Ok(_) => Ok(connection.last_insert_rowid()),
    }
}

/// Adds records to a run, within a transaction of the caller's.
pub(crate) fn insert(connection: &Connection, run: &RunId, records: &[Record]) -> Result<(), Fault> {
    let found: Option<(i64, i64)> = connection
        .prepare_cached("SELECT n, coalesce((SELECT max(seq) + 1 FROM events WHERE run = n), 0) FROM runs WHERE id = ?1")?
        .query_row([run.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    check_order(run, found.and_then(|(_, known)| u64::try_from(known).ok()).unwrap_or(0), records)?;
    let n = match (found, records.first().map(|record| &record.event)) {
        (Some((n, _)), _) => n,
        (None, Some(Event::Started(started))) => insert_run(connection, started, &BTreeMap::new(), &Json::Null)?,
        (None, _) => return Err(StoreError::UnknownRun(run.clone()).into()),
    };
    let mut statement = connection.prepare_cached("INSERT INTO events (run, seq, at_us, kind, body) VALUES (?1, ?2, ?3, ?4, ?5)")?;
    for record in records {
        let body = serde_json::to_string(&record.event).map_err(|e| StoreError::Encode { seq: record.seq, reason: e.to_string() })?;
        statement.execute(params![n, as_i64(record.seq), as_i64(record.at), rows::kind(&body), body])?;
    }
    Ok(())
}

/// At most so many records from `seq` on. One that is missing in between is an error.
pub(crate) fn records_from(connection: &Connection, run: &RunId, seq: u64, limit: usize) -> Result<Vec<Record>, Fault> {
    let n: Option<i64> =
        connection.prepare_cached("SELECT n FROM runs WHERE id = ?1")?.query_row([run.as_str()], |row| row.get(0)).optional()?;
    let n = n.ok_or_else(|| StoreError::UnknownRun(run.clone()))?;
    let sql = format!("SELECT {} FROM events WHERE run = ?1 AND seq >= ?2 ORDER BY seq LIMIT ?3", rows::EVENT);
    let mut statement = connection.prepare_cached(&sql)?;
    let found = statement.query_map(params![n, as_i64(seq), as_i64(limit as u64)], |row| rows::event(run, row))?;
    // Read to the end before it is judged: SQLite's own errors come first.
    let records = found.collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(rows::without_gaps(run, seq, records.into_iter())?)
}

/// Runs that pass the filter, the newest first; with `before`, only older ones.
pub(crate) fn runs(connection: &Connection, filter: &Filter, before: Option<&RunId>) -> Result<Vec<StoredRun>, Fault> {
    let sql = format!("SELECT {} FROM runs r WHERE ?1 IS NULL OR id < ?1 ORDER BY id DESC", rows::RUN);
    let mut statement = connection.prepare_cached(&sql)?;
    let mut found = statement.query([before.map(RunId::as_str)])?;
    let mut runs = Vec::new();
    // Filtered here, not in SQL: verdict and labels are JSON, and one damaged row must not fail the others.
    while runs.len() < filter.limit.unwrap_or(usize::MAX) {
        let Some(row) = found.next()? else { break };
        runs.extend(rows::run(row)?.filter(|run| filter.passes(&run.summary)));
    }
    Ok(runs)
}

/// One run.
pub(crate) fn run(connection: &Connection, run: &RunId) -> Result<StoredRun, Fault> {
    let sql = format!("SELECT {} FROM runs r WHERE id = ?1", rows::RUN);
    let found = connection.prepare_cached(&sql)?.query_row([run.as_str()], rows::run).optional()?;
    Ok(found.flatten().ok_or_else(|| StoreError::UnknownRun(run.clone()))?)
}
