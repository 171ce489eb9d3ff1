//! The audit trail in PostgreSQL's tables.

use deadpool_postgres::{Object, Transaction};
use tokio_postgres::{IsolationLevel, Row};

use super::documents::number;
use super::fault::Fault;
use crate::audit::{AuditFilter, AuditHead, AuditRow, Link, Verifier};
use crate::{AuditEntry, AuditError, StoreError};

/// Rows that are read at a time.
const CHUNK: i64 = 1000;

const HEAD: &str = "SELECT seq, hash FROM squall_audit_head";

/// The single row that remembers the trail's end; somebody may have deleted it.
fn head(row: Option<&Row>) -> Result<AuditHead, StoreError> {
    let gone = || StoreError::DamagedAudit { seq: 0, reason: "its end is not remembered".into() };
    row.map(|row| AuditHead { seq: row.get::<_, i64>(0).cast_unsigned(), hash: row.get(1) }).ok_or_else(gone)
}

/// Adds rows; gives their numbers. Others who want to wait until the transaction ends.
pub(super) async fn append(transaction: &Transaction<'_>, entries: &[&AuditEntry]) -> Result<Vec<u64>, Fault> {
    if entries.is_empty() {
        return Ok(Vec::new());
    }
    let locked = transaction.prepare_cached(&format!("{HEAD} FOR UPDATE")).await?;
    let mut head = head(transaction.query_opt(&locked, &[]).await?.as_ref())?;
    let insert = transaction.prepare_cached("INSERT INTO squall_audit VALUES ($1, $2, $3)").await?;
    let mut seqs = Vec::new();
    for entry in entries {
        let link = Link::after(&head, entry)?;
        transaction.execute(&insert, &[&number(link.seq), &link.hash, &link.entry]).await?;
        seqs.push(link.seq);
        head = link.head();
    }
    let remember = transaction.prepare_cached("UPDATE squall_audit_head SET seq = $1, hash = $2").await?;
    transaction.execute(&remember, &[&number(head.seq), &head.hash]).await?;
    Ok(seqs)
}

fn link(row: &Row) -> Link {
    Link { seq: row.get::<_, i64>(0).cast_unsigned(), hash: row.get(1), entry: row.get(2) }
}

pub(super) async fn list(client: &Object, after: Option<u64>, limit: usize, filter: &AuditFilter) -> Result<Vec<AuditRow>, Fault> {
    let (order, beyond) = if filter.descending { ("DESC", "<") } else { ("ASC", ">") };
    let sql =
        format!("SELECT seq, hash, entry FROM squall_audit WHERE $1::bigint IS NULL OR seq {beyond} $1 ORDER BY seq {order} LIMIT {CHUNK}");
    let statement = client.prepare_cached(&sql).await?;
    let (mut rows, mut after) = (Vec::new(), after.map(number));
    // Filtered here, on what was hashed: other columns could be made to hide a row.
    while rows.len() < limit {
        let found = client.query(&statement, &[&after]).await?;
        let Some(last) = found.last() else { break };
        after = Some(last.get(0));
        for row in &found {
            let row = link(row).row()?;
            if rows.len() < limit && filter.passes(&row.entry) {
                rows.push(row);
            }
        }
    }
    Ok(rows)
}

pub(super) async fn verify(client: &mut Object, kept: Option<&AuditHead>) -> Result<AuditHead, Fault<AuditError>> {
    // Rows and head as they were at one time.
    let builder = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true);
    let transaction = builder.start().await?;
    let stored = head(transaction.query_opt(HEAD, &[]).await?.as_ref())?;
    let mut verifier = Verifier::new(kept);
    let sql = format!("SELECT seq, hash, entry FROM squall_audit WHERE seq > $1 ORDER BY seq LIMIT {CHUNK}");
    let statement = transaction.prepare_cached(&sql).await?;
    let mut last = i64::MIN;
    loop {
        let found = transaction.query(&statement, &[&last]).await?;
        let Some(end) = found.last() else { break };
        last = end.get(0);
        found.iter().try_for_each(|row| verifier.row(&link(row))).map_err(Fault::Own)?;
    }
    verifier.end(&stored).map_err(Fault::Own)
}
