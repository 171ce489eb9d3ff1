//! Runs kept in memory, for tests of what stands on a store. Forgets everything when dropped.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use squall_model::{Event, Record, RunId};

use crate::summary::check_order;
use crate::{Filter, RunStore, RunSummary, StoreError};

/// Runs kept in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    runs: Mutex<BTreeMap<RunId, Vec<Record>>>,
}

impl MemoryStore {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<RunId, Vec<Record>>> {
        // A panic elsewhere cannot leave half a batch: batches are added by one `extend`.
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RunStore for MemoryStore {
    fn append(&self, run: &RunId, records: &[Record], _sync: bool) -> Result<(), StoreError> {
        let mut runs = self.lock();
        let expected = runs.get(run).map(|known| known.len() as u64);
        match (expected, records.first().map(|record| &record.event)) {
            (None, Some(Event::Started(started))) if started.run == *run => {}
            (None, _) => return Err(StoreError::UnknownRun(run.clone())),
            (Some(_), Some(Event::Started(_))) => return Err(StoreError::Begun(run.clone())),
            (Some(_), _) => {}
        }
        check_order(run, expected.unwrap_or(0), records)?;
        runs.entry(run.clone()).or_default().extend_from_slice(records);
        Ok(())
    }

    fn records(&self, run: &RunId) -> Result<Vec<Record>, StoreError> {
        self.records_from(run, 0)
    }

    fn records_from(&self, run: &RunId, seq: u64) -> Result<Vec<Record>, StoreError> {
        let runs = self.lock();
        let records = runs.get(run).ok_or_else(|| StoreError::UnknownRun(run.clone()))?;
        Ok(records.iter().filter(|record| record.seq >= seq).cloned().collect())
    }

    fn runs(&self, filter: &Filter) -> Result<Vec<RunSummary>, StoreError> {
        let runs = self.lock();
        let summaries = runs.iter().rev().filter_map(|(run, records)| summarize(run, records));
        Ok(summaries.filter(|summary| filter.passes(summary)).take(filter.limit.unwrap_or(usize::MAX)).collect())
    }

    fn summary(&self, run: &RunId) -> Result<RunSummary, StoreError> {
        let runs = self.lock();
        runs.get(run).and_then(|records| summarize(run, records)).ok_or_else(|| StoreError::UnknownRun(run.clone()))
    }

    fn with_prefix(&self, prefix: &str, limit: usize) -> Result<Vec<RunId>, StoreError> {
        Ok(self.lock().keys().rev().filter(|run| run.as_str().starts_with(prefix)).take(limit).cloned().collect())
    }
}

fn summarize(run: &RunId, records: &[Record]) -> Option<RunSummary> {
    let Some(Event::Started(started)) = records.first().map(|record| &record.event) else { return None };
    let ended = records.iter().rev().find_map(|record| match &record.event {
        Event::Ended { verdict, reason } => Some((*verdict, reason.clone())),
        _ => None,
    });
    let (verdict, reason) = ended.unzip();
    Some(RunSummary {
        run: run.clone(),
        experiment: started.experiment.clone(),
        started: started.wall.clone(),
        host: started.host.clone(),
        user: started.user.clone(),
        labels: started.labels.clone(),
        verdict,
        reason,
        lasted_us: records.last().map_or(0, |record| record.at),
        events: records.len() as u64,
        damaged: None,
    })
}
