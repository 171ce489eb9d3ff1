//! The way from any older format of the tables, or from none, to the present one.

use deadpool_postgres::Object;

use super::fault::Fault;
use crate::StoreError;

/// How to get from each version to the next; the first makes the tables.
const MIGRATIONS: [&str; 1] = [include_str!("../schema/postgres-0001.sql")];

/// Of two servers that are started at the same time one waits here ("sqll").
const LOCK: i64 = 0x7371_6c6c;

pub(super) async fn migrate(client: &mut Object, place: &str) -> Result<(), Fault> {
    let transaction = client.transaction().await?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await?;
    let table = "CREATE TABLE IF NOT EXISTS squall_migrations (version integer PRIMARY KEY, applied timestamptz NOT NULL DEFAULT now())";
    // It says so each time otherwise.
    transaction.batch_execute(&format!("SET LOCAL client_min_messages = warning; {table}")).await?;
    let found: Option<i32> = transaction.query_one("SELECT max(version) FROM squall_migrations", &[]).await?.get(0);
    let found = usize::try_from(found.unwrap_or(0)).unwrap_or(0);
    if found > MIGRATIONS.len() {
        return Err(StoreError::NewerServer { place: place.to_owned(), found, known: MIGRATIONS.len() }.into());
    }
    for (version, migration) in (1_i32..).zip(MIGRATIONS).skip(found) {
        transaction.batch_execute(migration).await?;
        transaction.execute("INSERT INTO squall_migrations (version) VALUES ($1)", &[&version]).await?;
    }
    transaction.commit().await.map_err(Fault::Commit)
}
