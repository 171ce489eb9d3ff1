//! Runs kept in memory, for tests of what stands on a store. Forgets everything when dropped.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Mutex, MutexGuard, PoisonError};

use squall_model::{Event, Record, RunId, Started};

use crate::summary::check_order;
use crate::{Filter, RunStore, RunSummary, StoreError};

#[derive(Debug)]
struct Kept {
    started: Started,
    labels: BTreeMap<String, String>,
    records: Vec<Record>,
}

/// Runs kept in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    runs: Mutex<BTreeMap<RunId, Kept>>,
}

impl MemoryStore {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<RunId, Kept>> {
        // A panic elsewhere cannot leave half a batch: batches are added by one `extend`.
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RunStore for MemoryStore {
    fn begin(&self, started: &Started, labels: &BTreeMap<String, String>) -> Result<(), StoreError> {
        match self.lock().entry(started.run.clone()) {
            Entry::Occupied(_) => Err(StoreError::Begun(started.run.clone())),
            Entry::Vacant(place) => {
                place.insert(Kept { started: started.clone(), labels: labels.clone(), records: Vec::new() });
                Ok(())
            }
        }
    }

    fn append(&self, run: &RunId, records: &[Record], _sync: bool) -> Result<(), StoreError> {
        let mut runs = self.lock();
        check_order(run, runs.get(run).map_or(0, |kept| kept.records.len() as u64), records)?;
        if let Some(kept) = runs.get_mut(run) {
            kept.records.extend_from_slice(records);
        } else if let Some(Record { event: Event::Started(started), .. }) = records.first() {
            let kept = Kept { started: (**started).clone(), labels: BTreeMap::new(), records: records.to_vec() };
            runs.insert(run.clone(), kept);
        }
        Ok(())
    }

    fn records(&self, run: &RunId) -> Result<Vec<Record>, StoreError> {
        self.records_from(run, 0)
    }

    fn records_from(&self, run: &RunId, seq: u64) -> Result<Vec<Record>, StoreError> {
        let runs = self.lock();
        let kept = runs.get(run).ok_or_else(|| StoreError::UnknownRun(run.clone()))?;
        Ok(kept.records.iter().filter(|record| record.seq >= seq).cloned().collect())
    }

    fn runs(&self, filter: &Filter) -> Result<Vec<RunSummary>, StoreError> {
        let runs = self.lock();
        let summaries = runs.values().rev().map(summarize).filter(|summary| filter.passes(summary));
        Ok(summaries.take(filter.limit.unwrap_or(usize::MAX)).collect())
    }

    fn summary(&self, run: &RunId) -> Result<RunSummary, StoreError> {
        self.lock().get(run).map(summarize).ok_or_else(|| StoreError::UnknownRun(run.clone()))
    }

    fn with_prefix(&self, prefix: &str, limit: usize) -> Result<Vec<RunId>, StoreError> {
        Ok(self.lock().keys().rev().filter(|run| run.as_str().starts_with(prefix)).take(limit).cloned().collect())
    }
}

fn summarize(Kept { started, labels, records }: &Kept) -> RunSummary {
    let ended = records.iter().rev().find_map(|record| match &record.event {
        Event::Ended { verdict, reason } => Some((*verdict, reason.clone())),
        _ => None,
    });
    let (verdict, reason) = ended.unzip();
    RunSummary {
        run: started.run.clone(),
        experiment: started.experiment.clone(),
        started: started.wall.clone(),
        host: started.host.clone(),
        user: started.user.clone(),
        labels: labels.clone(),
        verdict,
        reason,
        lasted_us: records.last().map_or(0, |record| record.at),
        events: records.len() as u64,
        damaged: None,
    }
}
