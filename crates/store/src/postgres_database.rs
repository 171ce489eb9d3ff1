//! The server's database in PostgreSQL: several servers, one state.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Object, Pool, Transaction};
use squall_engine::{BoxFuture, Clock};
use squall_model::{Record, RunId};
use tokio::sync::{broadcast, oneshot};
use tokio::task::JoinHandle;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row};

use self::connect::Address;
use self::fault::Fault;
use crate::audit::{AuditError, AuditFilter, AuditHead, AuditRow};
use crate::database::check_key;
use crate::{
    Batch, BeginRun, Change, Changes, CommitError, Committed, Database, Document, Fence, Filter, Lease, LeaseError, List, StoreError,
    StoredRun,
};

mod audit;
mod connect;
mod documents;
mod fault;
mod journal;
mod leases;
mod listen;
mod migrate;

/// How often something is tried again that collided with another, or found its connection cut.
const TRIES: u32 = 5;

/// Does something on a connection of the pool, again if that may help; ends in the store's words.
macro_rules! on_connection {
    ($self:ident, |$client:pat_param| $work:expr) => {
        Box::pin(async move {
            let mut tries = 1;
            loop {
                let outcome = match $self.pool.get().await {
                    Ok($client) => $work.await,
                    Err(error) => Err(Fault::Pool(pool_words(&error))),
                };
                match outcome {
                    Err(fault) if tries < TRIES && fault.passes() => tries += 1,
                    outcome => break outcome.map_err(|fault| fault.told(&$self.place)),
                }
            }
        })
    };
}

/// The server's database in PostgreSQL.
pub struct PostgresDatabase {
    pool: Pool,
    place: String,
    channel: String,
    changes: broadcast::Sender<Change>,
    listener: JoinHandle<()>,
}

impl PostgresDatabase {
    /// Connects, makes the tables or brings older ones up to date, and starts to listen. The address is as `psql` takes it, with
    /// `sslmode` and `sslrootcert`; a server that is spoken to by TLS has to prove its name. Tables are made in the first schema of the
    /// user's search path. The clock only paces attempts to connect again.
    pub async fn connect(url: &str, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let address = Address::parse(url)?;
        let (pool, place) = (address.pool()?, address.place.clone());
        let mut client = pool.get().await.map_err(|e| StoreError::Unreachable { place: place.clone(), reason: pool_words(&e) })?;
        let told = |fault: Fault| fault.told(&place);
        migrate::migrate(&mut client, &place).await.map_err(told)?;
        let channel = channel(&client).await.map_err(told)?;
        drop(client);
        let changes = broadcast::Sender::new(Changes::BUFFER);
        let (ready, listens) = oneshot::channel();
        let listener = tokio::spawn(listen::listen(address, channel.clone(), changes.clone(), clock, ready));
        match listens.await {
            Ok(Ok(())) => Ok(Self { pool, place, channel, changes, listener }),
            Ok(Err(error)) => Err(told(Fault::Before(error))),
            Err(_) => Err(StoreError::Unreachable { place, reason: "the connection that listens ended".into() }),
        }
    }
}

impl Drop for PostgresDatabase {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

/// Of this schema alone: one database may hold the states of several squalls.
async fn channel(client: &Object) -> Result<String, Fault> {
    let oid: i64 = client.query_one("SELECT oid::bigint FROM pg_namespace WHERE nspname = current_schema()", &[]).await?.get(0);
    Ok(format!("squall_{oid}"))
}

fn pool_words(error: &deadpool_postgres::PoolError) -> String {
    match error {
        deadpool_postgres::PoolError::Backend(error) => fault::words(error),
        other => other.to_string(),
    }
}

async fn query_opt(transaction: &Transaction<'_>, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Option<Row>, Error> {
    let statement = transaction.prepare_cached(sql).await?;
    transaction.query_opt(&statement, values).await
}

impl Database for PostgresDatabase {
    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Committed, CommitError>> {
        on_connection!(self, |mut client| async {
            batch.check()?;
            documents::commit(&mut client, &batch, &self.channel).await
        })
    }

    fn get<'a>(&'a self, kind: &'a str, id: &'a str) -> BoxFuture<'a, Result<Option<Document>, StoreError>> {
        if kind.contains('\0') || id.contains('\0') {
            return Box::pin(async { Ok(None) });
        }
        on_connection!(self, |client| documents::get(&client, kind, id))
    }

    fn list<'a>(&'a self, kind: &'a str, list: &'a List) -> BoxFuture<'a, Result<Vec<Document>, StoreError>> {
        if kind.contains('\0') || list.prefix.contains('\0') {
            return Box::pin(async { Ok(Vec::new()) });
        }
        on_connection!(self, |client| documents::list(&client, kind, list))
    }

    fn count<'a>(&'a self, kind: &'a str, prefix: &'a str) -> BoxFuture<'a, Result<u64, StoreError>> {
        if kind.contains('\0') || prefix.contains('\0') {
            return Box::pin(async { Ok(0) });
        }
        on_connection!(self, |client| documents::count(&client, kind, prefix))
    }

    fn watch(&self) -> Changes {
        Changes(self.changes.subscribe())
    }

    fn acquire<'a>(&'a self, name: &'a str, holder: &'a str, ttl: Duration) -> BoxFuture<'a, Result<Option<Fence>, StoreError>> {
        on_connection!(self, |mut client| async {
            check_key(name)?;
            check_key(holder)?;
            leases::acquire(&mut client, name, holder, ttl).await
        })
    }

    fn renew<'a>(&'a self, fence: &'a Fence, ttl: Duration) -> BoxFuture<'a, Result<(), LeaseError>> {
        on_connection!(self, |client| leases::renew(&client, fence, ttl))
    }

    fn release<'a>(&'a self, fence: &'a Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        on_connection!(self, |client| leases::release(&client, fence))
    }

    fn leases<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<Lease>, StoreError>> {
        on_connection!(self, |client| leases::list(&client, prefix))
    }

    fn audit<'a>(&'a self, after: Option<u64>, limit: usize, filter: &'a AuditFilter) -> BoxFuture<'a, Result<Vec<AuditRow>, StoreError>> {
        on_connection!(self, |client| audit::list(&client, after, limit, filter))
    }

    fn audit_verify<'a>(&'a self, kept: Option<&'a AuditHead>) -> BoxFuture<'a, Result<AuditHead, AuditError>> {
        on_connection!(self, |mut client| audit::verify(&mut client, kept))
    }

    fn begin(&self, run: BeginRun) -> BoxFuture<'_, Result<(), CommitError>> {
        on_connection!(self, |mut client| journal::begin(&mut client, &run, &self.channel))
    }

    fn append<'a>(
        &'a self,
        run: &'a RunId,
        records: &'a [Record],
        sync: bool,
        fence: Option<&'a Fence>,
    ) -> BoxFuture<'a, Result<(), CommitError>> {
        on_connection!(self, |mut client| journal::append(&mut client, run, records, sync, fence, &self.channel))
    }

    fn records_from<'a>(&'a self, run: &'a RunId, seq: u64, limit: usize) -> BoxFuture<'a, Result<Vec<Record>, StoreError>> {
        on_connection!(self, |client| journal::records_from(&client, run, seq, limit))
    }

    fn runs<'a>(&'a self, filter: &'a Filter, before: Option<&'a RunId>) -> BoxFuture<'a, Result<Vec<StoredRun>, StoreError>> {
        on_connection!(self, |client| journal::runs(&client, filter, before))
    }

    fn run<'a>(&'a self, run: &'a RunId) -> BoxFuture<'a, Result<StoredRun, StoreError>> {
        on_connection!(self, |client| journal::run(&client, run))
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        on_connection!(self, |client| async { client.simple_query("SELECT 1").await.map(drop).map_err(Fault::Before) })
    }
}
