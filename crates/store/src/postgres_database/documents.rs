//! Documents, and what is written with them, in PostgreSQL's tables.
//!
//! Transactions are at `READ COMMITTED`: every write is one statement that names what it expects, and waits for whoever changes
//! the same row. Locks are taken in one order by all: the lease (shared), the documents (for batches of several by the order
//! of their buckets), the end of the audit trail. So there are no deadlocks; should there be one, the batch is tried again.

use deadpool_postgres::{Object, Transaction};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::fault::Fault;
use super::{audit, leases, listen, query_opt};
use crate::{Batch, Change, CommitError, Committed, Document, List, StoreError, Write};

const COLUMNS: &str = "kind, id, version, created_us, updated_us, body";

const NOW: &str = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint";

/// Starts a transaction.
pub(super) async fn begin(client: &mut Object, sync: bool) -> Result<Transaction<'_>, tokio_postgres::Error> {
    let transaction = client.transaction().await?;
    if !sync {
        // Otherwise as the server is set: somebody may want its standbys to have it too.
        transaction.batch_execute("SET LOCAL synchronous_commit = off").await?;
    }
    Ok(transaction)
}

/// Tells everyone who listens, once it is committed.
pub(super) async fn notify(
    transaction: &Transaction<'_>,
    channel: &str,
    changes: impl Iterator<Item = Change>,
) -> Result<(), tokio_postgres::Error> {
    let payloads: Vec<String> = changes.filter_map(listen::payload).collect();
    if !payloads.is_empty() {
        let sql = "SELECT pg_notify($1, payload) FROM unnest($2::text[]) WITH ORDINALITY AS p (payload, n) ORDER BY n";
        let statement = transaction.prepare_cached(sql).await?;
        transaction.query(&statement, &[&channel, &payloads]).await?;
    }
    Ok(())
}

pub(super) async fn commit(client: &mut Object, batch: &Batch, channel: &str) -> Result<Committed, Fault<CommitError>> {
    let transaction = begin(client, batch.sync).await?;
    leases::check(&transaction, batch.fence.as_ref()).await?;
    lock(&transaction, batch).await?;
    let mut versions = vec![0; batch.writes.len()];
    for (index, write) in batch.writes.iter().enumerate() {
        if let Some((kind, id)) = write.key() {
            versions[index] = apply(&transaction, index, write, kind, id).await?;
        }
    }
    // Last, because this lock makes all others wait who have something to tell.
    let entries = batch.writes.iter().enumerate().filter_map(|(index, write)| match write {
        Write::Audit(entry) => Some((index, entry)),
        _ => None,
    });
    let (places, entries): (Vec<usize>, Vec<_>) = entries.unzip();
    for (index, seq) in places.into_iter().zip(audit::append(&transaction, &entries).await?) {
        versions[index] = seq;
    }
    notify(&transaction, channel, batch.changes()).await?;
    transaction.commit().await.map_err(Fault::<CommitError>::Commit)?;
    Ok(Committed { versions })
}

/// How many locks all documents share: fewer than the server has room for.
const BUCKETS: u32 = 256;

/// Batches of several documents lock them in one order, also those that do not exist yet.
async fn lock(transaction: &Transaction<'_>, batch: &Batch) -> Result<(), Fault<CommitError>> {
    let mut buckets: Vec<i32> = batch.writes.iter().filter_map(Write::key).map(|(kind, id)| bucket(kind, id)).collect();
    if buckets.len() > 1 {
        buckets.sort_unstable();
        buckets.dedup();
        let sql = "SELECT pg_advisory_xact_lock($1, bucket) FROM unnest($2::int4[]) WITH ORDINALITY AS b (bucket, n) ORDER BY n";
        let statement = transaction.prepare_cached(sql).await?;
        transaction.query(&statement, &[&0x7371_6c6c_i32, &buckets]).await?;
    }
    Ok(())
}

/// FNV-1a: the same in every server.
fn bucket(kind: &str, id: &str) -> i32 {
    let bytes = kind.bytes().chain([0]).chain(id.bytes());
    let hash = bytes.fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    (hash % BUCKETS).cast_signed()
}

async fn apply(transaction: &Transaction<'_>, index: usize, write: &Write, kind: &str, id: &str) -> Result<u64, Fault<CommitError>> {
    let changed = match write {
        Write::Create { body, .. } => {
            let sql = format!(
                "INSERT INTO squall_documents SELECT $1, $2, nextval('squall_counter'), now, now, $3 FROM (SELECT {NOW} AS now) AS n \
                 ON CONFLICT DO NOTHING RETURNING version"
            );
            query_opt(transaction, &sql, &[&kind, &id, &body.to_string()]).await?
        }
        Write::Replace { version, body, .. } => {
            let sql = format!(
                "UPDATE squall_documents SET version = nextval('squall_counter'), updated_us = {NOW}, body = $3 \
                 WHERE kind = $1 AND id = $2 AND version = $4 RETURNING version"
            );
            query_opt(transaction, &sql, &[&kind, &id, &body.to_string(), &number(*version)]).await?
        }
        Write::Put { body, .. } => {
            // The version is taken when the row is locked: one that was taken before might be older than what it replaces.
            let sql = format!(
                "INSERT INTO squall_documents AS d SELECT $1, $2, nextval('squall_counter'), now, now, $3 FROM (SELECT {NOW} AS now) AS n \
                 ON CONFLICT (kind, id) DO UPDATE SET version = nextval('squall_counter'), updated_us = {NOW}, body = $3 \
                 RETURNING version"
            );
            query_opt(transaction, &sql, &[&kind, &id, &body.to_string()]).await?
        }
        Write::Delete { version, .. } => {
            let sql = "DELETE FROM squall_documents WHERE kind = $1 AND id = $2 AND ($3::bigint IS NULL OR version = $3) RETURNING version";
            query_opt(transaction, sql, &[&kind, &id, &version.map(number)]).await?
        }
        Write::Audit(_) => None,
    };
    if let Some(row) = changed {
        return Ok(row.get::<_, i64>(0).cast_unsigned());
    }
    let there = query_opt(transaction, "SELECT 1 FROM squall_documents WHERE kind = $1 AND id = $2", &[&kind, &id]).await?;
    let (kind, id) = (kind.to_owned(), id.to_owned());
    // A creation finds nothing to do only if there is one, though it may be gone by now.
    let conflict = there.is_some() || matches!(write, Write::Create { .. });
    Err(if conflict { CommitError::Conflict { index, kind, id } } else { CommitError::NotFound { index, kind, id } }.into())
}

/// PostgreSQL's integers are signed; nothing here reaches the upper half.
pub(super) fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) async fn get(client: &Object, kind: &str, id: &str) -> Result<Option<Document>, Fault> {
    let statement = client.prepare_cached(&format!("SELECT {COLUMNS} FROM squall_documents WHERE kind = $1 AND id = $2")).await?;
    let found = client.query_opt(&statement, &[&kind, &id]).await?;
    Ok(found.as_ref().map(document).transpose()?)
}

pub(super) async fn list(client: &Object, kind: &str, list: &List) -> Result<Vec<Document>, Fault> {
    let (order, beyond) = if list.descending { ("DESC", "<") } else { ("ASC", ">") };
    // Texts sort by their bytes, so those with a prefix stand together.
    let sql = format!(
        "SELECT {COLUMNS} FROM squall_documents WHERE kind = $1 AND id >= $2 AND ($3::text IS NULL OR id < $3) \
         AND ($4::text IS NULL OR id {beyond} $4) ORDER BY id {order} LIMIT $5"
    );
    let statement = client.prepare_cached(&sql).await?;
    let limit = list.limit.map(|limit| number(limit as u64));
    // No id has a NUL, and PostgreSQL has no word for one: the ids beyond such a text are those beyond what stands before it (and
    // backwards, that one too).
    let after = list.after.as_deref().map(|after| match after.split_once('\0') {
        Some((start, _)) if list.descending => format!("{start}\u{1}"),
        Some((start, _)) => start.to_owned(),
        None => after.to_owned(),
    });
    let parameters: [&(dyn ToSql + Sync); 5] = [&kind, &list.prefix, &list.end(), &after, &limit];
    let found = client.query(&statement, &parameters).await?;
    Ok(found.iter().map(document).collect::<Result<_, _>>()?)
}

pub(super) async fn count(client: &Object, kind: &str, prefix: &str) -> Result<u64, Fault> {
    let sql = "SELECT count(*) FROM squall_documents WHERE kind = $1 AND id >= $2 AND ($3::text IS NULL OR id < $3)";
    let statement = client.prepare_cached(sql).await?;
    let row = client.query_one(&statement, &[&kind, &prefix, &List::prefix(prefix).end()]).await?;
    Ok(row.get::<_, i64>(0).cast_unsigned())
}

fn document(row: &Row) -> Result<Document, StoreError> {
    Document::from_row(row.get(0), row.get(1), [row.get(2), row.get(3), row.get(4)], row.get(5))
}
