//! The server's database in memory, for tests of what stands on it. Forgets everything when dropped.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value as Json;
use squall_engine::{BoxFuture, Clock};
use squall_model::{Record, RunId};
use tokio::sync::broadcast;

use crate::audit::{AuditError, AuditFilter, AuditHead, AuditRow, Link, Verifier};
use crate::database::check_key;
use crate::summary::check_order;
use crate::{
    Batch, BeginRun, Change, Changes, CommitError, Committed, Database, Document, Fence, Filter, Lease, LeaseError, List, MemoryStore,
    RunStore, StoreError, StoredRun, Write,
};

/// The server's database in memory.
pub struct MemoryDatabase {
    state: Mutex<State>,
    runs: MemoryStore,
    changes: broadcast::Sender<Change>,
    clock: Arc<dyn Clock>,
}

#[derive(Default)]
struct State {
    documents: BTreeMap<(String, String), Document>,
    leases: BTreeMap<String, Held>,
    audit: Vec<Link>,
    extras: BTreeMap<RunId, Json>,
    /// The last version or token given.
    counter: u64,
}

struct Held {
    holder: String,
    token: u64,
    until: Duration,
}

/// What a write replaced, to put it back.
type Before = ((String, String), Option<Document>);

impl MemoryDatabase {
    /// An empty one, whose leases and times go by this clock.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { state: Mutex::default(), runs: MemoryStore::new(), changes: broadcast::Sender::new(Changes::BUFFER), clock }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, change: Change) {
        // Nobody listens: nobody needs to know.
        let _ = self.changes.send(change);
    }

    fn commit_now(&self, batch: &Batch) -> Result<Committed, CommitError> {
        batch.check()?;
        let now = wall(self.clock.as_ref());
        let mut state = self.state();
        state.check_fence(batch.fence.as_ref())?;
        let (mut before, rows) = (Vec::new(), state.audit.len());
        let applied = batch.writes.iter().enumerate().map(|(index, write)| state.apply(index, write, now, &mut before)).collect();
        match applied {
            Ok(versions) => {
                // Told with the lock held: in the order of the commits.
                batch.changes().for_each(|change| self.tell(change));
                Ok(Committed { versions })
            }
            Err(error) => {
                state.audit.truncate(rows);
                for (key, document) in before.into_iter().rev() {
                    match document {
                        Some(document) => state.documents.insert(key, document),
                        None => state.documents.remove(&key),
                    };
                }
                Err(error)
            }
        }
    }

    fn begin_now(&self, run: BeginRun) -> Result<(), CommitError> {
        let mut state = self.state();
        state.check_fence(run.fence.as_ref())?;
        check_order(&run.started.run, 0, &run.records)?;
        RunStore::begin(&self.runs, &run.started, &run.labels)?;
        RunStore::append(&self.runs, &run.started.run, &run.records, false)?;
        let id = run.started.run;
        state.extras.insert(id.clone(), run.extra);
        self.tell(Change::Run(id));
        Ok(())
    }

    fn append_now(&self, run: &RunId, records: &[Record], fence: Option<&Fence>) -> Result<(), CommitError> {
        let state = self.state();
        state.check_fence(fence)?;
        RunStore::append(&self.runs, run, records, false)?;
        if !records.is_empty() {
            self.tell(Change::Run(run.clone()));
        }
        Ok(())
    }

    fn acquire_now(&self, name: &str, holder: &str, ttl: Duration) -> Result<Option<Fence>, StoreError> {
        check_key(name)?;
        check_key(holder)?;
        let now = self.clock.now();
        let mut state = self.state();
        if state.leases.get(name).is_some_and(|held| held.until > now && held.holder != holder) {
            return Ok(None);
        }
        let token = state.next();
        state.leases.insert(name.to_owned(), Held { holder: holder.to_owned(), token, until: now.saturating_add(ttl) });
        Ok(Some(Fence { name: name.to_owned(), token }))
    }

    fn renew_now(&self, fence: &Fence, ttl: Duration) -> Result<(), LeaseError> {
        let until = self.clock.now().saturating_add(ttl);
        match self.state().leases.get_mut(&fence.name).filter(|held| held.token == fence.token) {
            Some(held) => {
                held.until = until;
                Ok(())
            }
            None => Err(LeaseError::Lost(fence.clone())),
        }
    }

    fn audit_verify_now(&self, kept: Option<&AuditHead>) -> Result<AuditHead, AuditError> {
        let state = self.state();
        let mut verifier = Verifier::new(kept);
        state.audit.iter().try_for_each(|link| verifier.row(link))?;
        verifier.end(&state.head())
    }
}

impl State {
    fn next(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    fn head(&self) -> AuditHead {
        self.audit.last().map(Link::head).unwrap_or_default()
    }

    fn check_fence(&self, fence: Option<&Fence>) -> Result<(), CommitError> {
        match fence {
            Some(fence) if self.leases.get(&fence.name).is_none_or(|held| held.token != fence.token) => {
                Err(CommitError::Fenced(fence.clone()))
            }
            _ => Ok(()),
        }
    }

    fn apply(&mut self, index: usize, write: &Write, now: Timestamp, before: &mut Vec<Before>) -> Result<u64, CommitError> {
        let (kind, id, body) = match write {
            Write::Audit(entry) => {
                let link = Link::after(&self.head(), entry)?;
                let seq = link.seq;
                self.audit.push(link);
                return Ok(seq);
            }
            Write::Create { kind, id, body } | Write::Replace { kind, id, body, .. } | Write::Put { kind, id, body } => {
                (kind, id, Some(body))
            }
            Write::Delete { kind, id, .. } => (kind, id, None),
        };
        let key = (kind.clone(), id.clone());
        let old = self.documents.get(&key);
        let conflict = || Err(CommitError::Conflict { index, kind: kind.clone(), id: id.clone() });
        match (write, old) {
            (Write::Create { .. }, Some(_)) => return conflict(),
            (Write::Replace { .. } | Write::Delete { .. }, None) => {
                return Err(CommitError::NotFound { index, kind: kind.clone(), id: id.clone() });
            }
            (Write::Replace { version, .. } | Write::Delete { version: Some(version), .. }, Some(old)) if old.version != *version => {
                return conflict();
            }
            _ => {}
        }
        let deleted = old.map_or(0, |old| old.version);
        let created = old.map_or(now, |old| old.created);
        let version = self.next();
        let replaced = match body {
            Some(body) => {
                let document = Document { kind: kind.clone(), id: id.clone(), version, created, updated: now, body: body.clone() };
                self.documents.insert(key.clone(), document)
            }
            None => self.documents.remove(&key),
        };
        before.push((key, replaced));
        Ok(if body.is_some() { version } else { deleted })
    }

    fn list(&self, kind: &str, list: &List) -> Vec<Document> {
        let from = (kind.to_owned(), list.prefix.clone());
        let range = self.documents.range((Bound::Included(from), Bound::Unbounded));
        let matching = range.map(|(_, document)| document).take_while(|d| d.kind == kind && d.id.starts_with(&list.prefix));
        let limit = list.limit.unwrap_or(usize::MAX);
        let after = list.after.as_deref();
        if list.descending {
            let matching: Vec<_> = matching.take_while(|d| after.is_none_or(|after| d.id.as_str() < after)).collect();
            matching.into_iter().rev().take(limit).cloned().collect()
        } else {
            matching.filter(|d| after.is_none_or(|after| d.id.as_str() > after)).take(limit).cloned().collect()
        }
    }

    fn audit(&self, after: Option<u64>, limit: usize, filter: &AuditFilter) -> Result<Vec<AuditRow>, StoreError> {
        let rows = self.audit.iter().cloned().map(Link::row);
        let passes = |row: &Result<AuditRow, StoreError>| row.as_ref().map_or(true, |row| filter.passes(&row.entry));
        if filter.descending {
            rows.rev()
                .skip_while(|row| row.as_ref().is_ok_and(|row| after.is_some_and(|after| row.seq >= after)))
                .filter(passes)
                .take(limit)
                .collect()
        } else {
            rows.skip(after.map_or(0, |after| usize::try_from(after).unwrap_or(usize::MAX))).filter(passes).take(limit).collect()
        }
    }

    fn stored(&self, summary: crate::RunSummary) -> StoredRun {
        StoredRun { extra: self.extras.get(&summary.run).cloned().unwrap_or_default(), summary }
    }
}

/// The clock's wall time, to the microsecond.
pub(crate) fn wall(clock: &dyn Clock) -> Timestamp {
    // A clock that shows no time would be a fault of the program; documents are not lost for it.
    let now: Timestamp = clock.wall().parse().unwrap_or_default();
    Timestamp::from_microsecond(now.as_microsecond()).unwrap_or_default()
}

/// The work is done when the future is first polled: there is nothing to wait for.
fn ready<'a, T: Send + 'a>(work: impl FnOnce() -> T + Send + 'a) -> BoxFuture<'a, T> {
    Box::pin(async move { work() })
}

impl Database for MemoryDatabase {
    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Committed, CommitError>> {
        ready(move || self.commit_now(&batch))
    }

    fn get<'a>(&'a self, kind: &'a str, id: &'a str) -> BoxFuture<'a, Result<Option<Document>, StoreError>> {
        ready(move || Ok(self.state().documents.get(&(kind.to_owned(), id.to_owned())).cloned()))
    }

    fn list<'a>(&'a self, kind: &'a str, list: &'a List) -> BoxFuture<'a, Result<Vec<Document>, StoreError>> {
        ready(move || Ok(self.state().list(kind, list)))
    }

    fn count<'a>(&'a self, kind: &'a str, prefix: &'a str) -> BoxFuture<'a, Result<u64, StoreError>> {
        ready(move || Ok(self.state().list(kind, &List::prefix(prefix)).len() as u64))
    }

    fn watch(&self) -> Changes {
        Changes(self.changes.subscribe())
    }

    fn acquire<'a>(&'a self, name: &'a str, holder: &'a str, ttl: Duration) -> BoxFuture<'a, Result<Option<Fence>, StoreError>> {
        ready(move || self.acquire_now(name, holder, ttl))
    }

    fn renew<'a>(&'a self, fence: &'a Fence, ttl: Duration) -> BoxFuture<'a, Result<(), LeaseError>> {
        ready(move || self.renew_now(fence, ttl))
    }

    fn release<'a>(&'a self, fence: &'a Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        ready(move || {
            let mut state = self.state();
            if state.leases.get(&fence.name).is_some_and(|held| held.token == fence.token) {
                state.leases.remove(&fence.name);
            }
            Ok(())
        })
    }

    fn leases<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<Lease>, StoreError>> {
        ready(move || {
            let (now, state) = (self.clock.now(), self.state());
            let leases = state.leases.iter().filter(|(name, _)| name.starts_with(prefix)).map(|(name, held)| Lease {
                name: name.clone(),
                holder: held.holder.clone(),
                token: held.token,
                left: held.until.saturating_sub(now),
            });
            Ok(leases.collect())
        })
    }

    fn audit<'a>(&'a self, after: Option<u64>, limit: usize, filter: &'a AuditFilter) -> BoxFuture<'a, Result<Vec<AuditRow>, StoreError>> {
        ready(move || self.state().audit(after, limit, filter))
    }

    fn audit_verify<'a>(&'a self, kept: Option<&'a AuditHead>) -> BoxFuture<'a, Result<AuditHead, AuditError>> {
        ready(move || self.audit_verify_now(kept))
    }

    fn begin(&self, run: BeginRun) -> BoxFuture<'_, Result<(), CommitError>> {
        ready(move || self.begin_now(run))
    }

    fn append<'a>(
        &'a self,
        run: &'a RunId,
        records: &'a [Record],
        _sync: bool,
        fence: Option<&'a Fence>,
    ) -> BoxFuture<'a, Result<(), CommitError>> {
        ready(move || self.append_now(run, records, fence))
    }

    fn records_from<'a>(&'a self, run: &'a RunId, seq: u64, limit: usize) -> BoxFuture<'a, Result<Vec<Record>, StoreError>> {
        ready(move || {
            let mut records = RunStore::records_from(&self.runs, run, seq)?;
            records.truncate(limit);
            Ok(records)
        })
    }

    fn runs<'a>(&'a self, filter: &'a Filter, before: Option<&'a RunId>) -> BoxFuture<'a, Result<Vec<StoredRun>, StoreError>> {
        ready(move || {
            let summaries = RunStore::runs(&self.runs, &Filter { limit: None, ..filter.clone() })?;
            let older = summaries.into_iter().filter(|summary| before.is_none_or(|before| summary.run < *before));
            let state = self.state();
            Ok(older.take(filter.limit.unwrap_or(usize::MAX)).map(|summary| state.stored(summary)).collect())
        })
    }

    fn run<'a>(&'a self, run: &'a RunId) -> BoxFuture<'a, Result<StoredRun, StoreError>> {
        ready(move || RunStore::summary(&self.runs, run).map(|summary| self.state().stored(summary)))
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        ready(|| Ok(()))
    }
}
