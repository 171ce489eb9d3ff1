//! Leases in PostgreSQL's tables. Time is the database's.

use std::time::Duration;

use deadpool_postgres::{Object, Transaction};

use super::documents::{begin, number};
use super::fault::Fault;
use super::query_opt;
use crate::{CommitError, Fence, Lease, LeaseError, List};

/// Refuses what is fenced off, and keeps the lease from being taken until the transaction ends. `KEY SHARE` stands in the way of
/// `FOR UPDATE` (taking, giving back) but not of an update (renewing), so neither holders wait for each other nor renewals for them.
pub(super) async fn check(transaction: &Transaction<'_>, fence: Option<&Fence>) -> Result<(), Fault<CommitError>> {
    let Some(fence) = fence else { return Ok(()) };
    let sql = "SELECT 1 FROM squall_leases WHERE name = $1 AND token = $2 FOR KEY SHARE";
    let held = if fence.name.contains('\0') { None } else { query_opt(transaction, sql, &[&fence.name, &number(fence.token)]).await? };
    if held.is_some() { Ok(()) } else { Err(CommitError::Fenced(fence.clone()).into()) }
}

pub(super) async fn acquire(client: &mut Object, name: &str, holder: &str, ttl: Duration) -> Result<Option<Fence>, Fault> {
    let transaction = begin(client, true).await?;
    // Waits for those who write under the lease as it stands.
    query_opt(&transaction, "SELECT 1 FROM squall_leases WHERE name = $1 FOR UPDATE", &[&name]).await?;
    let sql = "INSERT INTO squall_leases AS l \
        VALUES ($1, $2, nextval('squall_counter'), clock_timestamp() + make_interval(secs => $3)) \
        ON CONFLICT (name) DO UPDATE \
        SET holder = $2, token = nextval('squall_counter'), until = clock_timestamp() + make_interval(secs => $3) \
        WHERE l.holder = $2 OR l.until <= clock_timestamp() RETURNING token";
    let taken = query_opt(&transaction, sql, &[&name, &holder, &seconds(ttl)]).await?;
    transaction.commit().await.map_err(Fault::Commit)?;
    Ok(taken.map(|row| Fence { name: name.to_owned(), token: row.get::<_, i64>(0).cast_unsigned() }))
}

/// At most a century: PostgreSQL's times end.
fn seconds(ttl: Duration) -> f64 {
    ttl.as_secs_f64().min(3.2e9)
}

pub(super) async fn renew(client: &Object, fence: &Fence, ttl: Duration) -> Result<(), Fault<LeaseError>> {
    let sql = "UPDATE squall_leases SET until = clock_timestamp() + make_interval(secs => $3) WHERE name = $1 AND token = $2";
    let statement = client.prepare_cached(sql).await?;
    let renewed = client.execute(&statement, &[&fence.name, &number(fence.token), &seconds(ttl)]).await.map_err(Fault::Commit)?;
    if renewed > 0 { Ok(()) } else { Err(Fault::Own(LeaseError::Lost(fence.clone()))) }
}

pub(super) async fn release(client: &Object, fence: &Fence) -> Result<(), Fault> {
    // A deletion waits for those who write under the lease.
    let statement = client.prepare_cached("DELETE FROM squall_leases WHERE name = $1 AND token = $2").await?;
    client.execute(&statement, &[&fence.name, &number(fence.token)]).await.map_err(Fault::Commit)?;
    Ok(())
}

pub(super) async fn list(client: &Object, prefix: &str) -> Result<Vec<Lease>, Fault> {
    let sql = "SELECT name, holder, token, greatest(extract(epoch FROM until - clock_timestamp()), 0)::float8 FROM squall_leases \
        WHERE name >= $1 AND ($2::text IS NULL OR name < $2) ORDER BY name";
    let statement = client.prepare_cached(sql).await?;
    let found = client.query(&statement, &[&prefix, &List::prefix(prefix).end()]).await?;
    let lease = |row: &tokio_postgres::Row| Lease {
        name: row.get(0),
        holder: row.get(1),
        token: row.get::<_, i64>(2).cast_unsigned(),
        left: Duration::try_from_secs_f64(row.get(3)).unwrap_or_default(),
    };
    Ok(found.iter().map(lease).collect())
}
