//! Journals of runs in PostgreSQL's tables.

use std::collections::BTreeMap;

use deadpool_postgres::{Object, Transaction};
use serde_json::Value as Json;
use squall_model::{Event, Record, RunId, Started};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::documents::{begin as begin_transaction, notify, number};
use super::fault::Fault;
use super::{leases, query_opt};
use crate::rows::{self, RunRow};
use crate::summary::check_order;
use crate::{BeginRun, Change, CommitError, Fence, Filter, StoreError, StoredRun};

/// Runs that are read at a time.
const CHUNK: usize = 200;

/// Columns of one run, its last event's number and time, and the body of its last `ended`.
const RUN: &str = "id, experiment, started, host, by_user, labels, \
    (SELECT max(seq) FROM squall_events e WHERE e.run = r.id), \
    (SELECT at_us FROM squall_events e WHERE e.run = r.id ORDER BY seq DESC LIMIT 1), \
    (SELECT body FROM squall_events e WHERE e.run = r.id AND e.kind = 'ended' ORDER BY seq DESC LIMIT 1), \
    extra";

async fn insert_run(
    transaction: &Transaction<'_>,
    started: &Started,
    labels: &BTreeMap<String, String>,
    extra: &Json,
) -> Result<(), Fault<CommitError>> {
    let labels = serde_json::to_string(labels).map_err(|e| StoreError::Encode { seq: 0, reason: e.to_string() })?;
    let extra = (!extra.is_null()).then(|| extra.to_string());
    let sql = "INSERT INTO squall_runs VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING";
    let statement = transaction.prepare_cached(sql).await?;
    let id = started.run.as_str();
    let values: [&(dyn ToSql + Sync); 7] = [&id, &started.experiment, &started.wall, &started.host, &started.user, &labels, &extra];
    if transaction.execute(&statement, &values).await? == 0 {
        return Err(StoreError::Begun(started.run.clone()).into());
    }
    Ok(())
}

pub(super) async fn begin(client: &mut Object, run: &BeginRun, channel: &str) -> Result<(), Fault<CommitError>> {
    let transaction = begin_transaction(client, true).await?;
    leases::check(&transaction, run.fence.as_ref()).await?;
    check_order(&run.started.run, 0, &run.records)?;
    insert_run(&transaction, &run.started, &run.labels, &run.extra).await?;
    insert(&transaction, &run.started.run, &run.records).await?;
    notify(&transaction, channel, [Change::Run(run.started.run.clone())].into_iter()).await?;
    transaction.commit().await.map_err(Fault::Commit)
}

pub(super) async fn append(
    client: &mut Object,
    run: &RunId,
    records: &[Record],
    sync: bool,
    fence: Option<&Fence>,
    channel: &str,
) -> Result<(), Fault<CommitError>> {
    let transaction = begin_transaction(client, sync).await?;
    leases::check(&transaction, fence).await?;
    if records.is_empty() {
        if sync {
            // A commit of nothing does not wait for the log; one that has written something covers all that was before it.
            transaction.batch_execute("SELECT nextval('squall_counter'), pg_logical_emit_message(true, 'squall', 'sync')").await?;
        }
        return transaction.commit().await.map_err(Fault::Commit);
    }
    // Two statements: the second must see what whoever had the lock before has added.
    let locked = query_opt(&transaction, "SELECT 1 FROM squall_runs WHERE id = $1 FOR NO KEY UPDATE", &[&run.as_str()]).await?;
    let last = query_opt(&transaction, "SELECT max(seq) FROM squall_events WHERE run = $1", &[&run.as_str()]).await?;
    let known = last.and_then(|row| row.get::<_, Option<i64>>(0)).map_or(0, |last| last.cast_unsigned() + 1);
    check_order(run, known, records)?;
    match (locked, &records[0].event) {
        (Some(_), _) => {}
        (None, Event::Started(started)) => insert_run(&transaction, started, &BTreeMap::new(), &Json::Null).await?,
        (None, _) => return Err(StoreError::UnknownRun(run.clone()).into()),
    }
    insert(&transaction, run, records).await?;
    notify(&transaction, channel, [Change::Run(run.clone())].into_iter()).await?;
    transaction.commit().await.map_err(Fault::Commit)
}

async fn insert(transaction: &Transaction<'_>, run: &RunId, records: &[Record]) -> Result<(), Fault<CommitError>> {
    let encoded = records
        .iter()
        .map(|record| serde_json::to_string(&record.event).map_err(|e| StoreError::Encode { seq: record.seq, reason: e.to_string() }));
    let bodies: Vec<String> = encoded.collect::<Result<_, _>>()?;
    let kinds: Vec<&str> = bodies.iter().map(|body| rows::kind(body)).collect();
    let seqs: Vec<i64> = records.iter().map(|record| number(record.seq)).collect();
    let times: Vec<i64> = records.iter().map(|record| number(record.at)).collect();
    let sql = "INSERT INTO squall_events SELECT $1, * FROM unnest($2::bigint[], $3::bigint[], $4::text[], $5::text[])";
    let statement = transaction.prepare_cached(sql).await?;
    transaction.execute(&statement, &[&run.as_str(), &seqs, &times, &kinds, &bodies]).await?;
    Ok(())
}

pub(super) async fn records_from(client: &Object, run: &RunId, seq: u64, limit: usize) -> Result<Vec<Record>, Fault> {
    let sql = "SELECT seq, at_us, body FROM squall_events WHERE run = $1 AND seq >= $2 ORDER BY seq LIMIT $3";
    let statement = client.prepare_cached(sql).await?;
    let found = client.query(&statement, &[&run.as_str(), &number(seq), &number(limit as u64)]).await?;
    if found.is_empty() {
        let known = client.prepare_cached("SELECT 1 FROM squall_runs WHERE id = $1").await?;
        if client.query_opt(&known, &[&run.as_str()]).await?.is_none() {
            return Err(StoreError::UnknownRun(run.clone()).into());
        }
    }
    let records = found.iter().map(|row| rows::record(run, row.get(0), row.get(1), row.get(2)));
    Ok(rows::without_gaps(run, seq, records)?)
}

fn run_row(row: &Row) -> Option<StoredRun> {
    rows::stored_run(RunRow {
        id: row.get(0),
        experiment: row.get(1),
        started: row.get(2),
        host: row.get(3),
        user: row.get(4),
        labels: row.get(5),
        last: row.get(6),
        lasted: row.get(7),
        ended: row.get(8),
        extra: row.get(9),
    })
}

pub(super) async fn runs(client: &Object, filter: &Filter, before: Option<&RunId>) -> Result<Vec<StoredRun>, Fault> {
    let sql = format!("SELECT {RUN} FROM squall_runs r WHERE $1::text IS NULL OR id < $1 ORDER BY id DESC LIMIT {CHUNK}");
    let statement = client.prepare_cached(&sql).await?;
    let (mut runs, mut before) = (Vec::new(), before.map(ToString::to_string));
    let limit = filter.limit.unwrap_or(usize::MAX);
    // Filtered here, not in SQL: verdict and labels are JSON, and one damaged row must not fail the others.
    while runs.len() < limit {
        let found = client.query(&statement, &[&before]).await?;
        let Some(last) = found.last() else { break };
        before = Some(last.get(0));
        runs.extend(found.iter().filter_map(run_row).filter(|run| filter.passes(&run.summary)));
    }
    runs.truncate(limit);
    Ok(runs)
}

pub(super) async fn run(client: &Object, run: &RunId) -> Result<StoredRun, Fault> {
    let statement = client.prepare_cached(&format!("SELECT {RUN} FROM squall_runs r WHERE id = $1")).await?;
    let found = client.query_opt(&statement, &[&run.as_str()]).await?;
    Ok(found.as_ref().and_then(run_row).ok_or_else(|| StoreError::UnknownRun(run.clone()))?)
}
