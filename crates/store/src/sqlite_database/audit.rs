//! The audit trail in SQLite's tables.

use rusqlite::{Connection, Row, params};

use crate::audit::{AuditFilter, AuditHead, AuditRow, Link, Verifier};
use crate::sqlite::{Fault, as_i64};
use crate::{AuditEntry, AuditError, StoreError};

fn head(connection: &Connection) -> rusqlite::Result<AuditHead> {
    let mut statement = connection.prepare_cached("SELECT audit_seq, audit_hash FROM counters")?;
    statement.query_row([], |row| Ok(AuditHead { seq: row.get::<_, i64>(0)?.cast_unsigned(), hash: row.get(1)? }))
}

/// Adds a row, within a transaction of the caller's; gives its number.
pub(super) fn append(connection: &Connection, entry: &AuditEntry) -> Result<u64, Fault> {
    let Link { seq, hash, entry } = Link::after(&head(connection)?, entry)?;
    connection.prepare_cached("INSERT INTO audit VALUES (?1, ?2, ?3)")?.execute(params![as_i64(seq), hash, entry])?;
    connection.prepare_cached("UPDATE counters SET audit_seq = ?1, audit_hash = ?2")?.execute(params![as_i64(seq), hash])?;
    Ok(seq)
}

fn link(row: &Row<'_>) -> rusqlite::Result<Link> {
    Ok(Link { seq: row.get::<_, i64>(0)?.cast_unsigned(), hash: row.get(1)?, entry: row.get(2)? })
}

pub(super) fn list(connection: &Connection, after: Option<u64>, limit: usize, filter: &AuditFilter) -> Result<Vec<AuditRow>, Fault> {
    let (order, beyond) = if filter.descending { ("DESC", "<") } else { ("ASC", ">") };
    let sql = format!("SELECT seq, hash, entry FROM audit WHERE ?1 IS NULL OR seq {beyond} ?1 ORDER BY seq {order}");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut found = statement.query([after.map(as_i64)])?;
    let mut rows = Vec::new();
    // Filtered here, on what was hashed: other columns could be made to hide a row.
    while rows.len() < limit {
        let Some(row) = found.next()? else { break };
        let row = link(row)?.row()?;
        if filter.passes(&row.entry) {
            rows.push(row);
        }
    }
    Ok(rows)
}

pub(super) fn verify(connection: &Connection, kept: Option<&AuditHead>) -> Result<AuditHead, Fault<AuditError>> {
    // Rows and head as they were at one time.
    let transaction = connection.unchecked_transaction()?;
    let stored = head(&transaction)?;
    let mut verifier = Verifier::new(kept);
    let mut statement = transaction.prepare("SELECT seq, hash, entry FROM audit ORDER BY seq")?;
    let mut found = statement.query([])?;
    while let Some(row) = found.next()? {
        let link = link(row).map_err(|e| StoreError::DamagedAudit { seq: 0, reason: e.to_string() })?;
        verifier.row(&link).map_err(Fault::Own)?;
    }
    verifier.end(&stored).map_err(Fault::Own)
}
