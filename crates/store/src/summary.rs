//! What a store of runs can be asked.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use squall_model::{Event, Record, RunId, Started, Verdict};

use crate::StoreError;

/// A place that remembers runs. `Store` and `MemoryStore` pass the same tests.
pub trait RunStore: Send + Sync {
    /// Makes a run known, with the labels of its manifest. Its records follow, `Started` first.
    fn begin(&self, started: &Started, labels: &BTreeMap<String, String>) -> Result<(), StoreError>;

    /// Adds records to a run, all or none of them. They must follow on what is there (`seq` without gaps), and the first
    /// of all must be `Started`. One that was not begun is made known by it, without labels.
    ///
    /// With `sync` they, and all that were added before, are on disk when this returns: they survive a power cut. Without
    /// it they survive the end of this process, however sudden, but not that of the machine.
    fn append(&self, run: &RunId, records: &[Record], sync: bool) -> Result<(), StoreError>;

    /// Every record of a run, in order.
    fn records(&self, run: &RunId) -> Result<Vec<Record>, StoreError>;

    /// The records from `seq` on, for following a run that goes on.
    fn records_from(&self, run: &RunId, seq: u64) -> Result<Vec<Record>, StoreError>;

    /// Runs that pass the filter, the newest first.
    fn runs(&self, filter: &Filter) -> Result<Vec<RunSummary>, StoreError>;

    /// The summary of one run.
    fn summary(&self, run: &RunId) -> Result<RunSummary, StoreError>;

    /// The runs whose ids start with the text, the newest first, at most `limit` of them.
    fn with_prefix(&self, prefix: &str, limit: usize) -> Result<Vec<RunId>, StoreError>;

    /// The run that a user means: an id, the start of one that no other shares, or `latest`.
    fn resolve(&self, text: &str) -> Result<RunId, StoreError> {
        if text == "latest" {
            return self.with_prefix("", 1)?.pop().ok_or(StoreError::NoRuns);
        }
        let mut matches = if text.is_empty() { Vec::new() } else { self.with_prefix(text, 100)? };
        match matches.len() {
            0 => Err(StoreError::NoSuchRun(text.to_owned())),
            1 => Ok(matches.remove(0)),
            _ => Err(StoreError::Ambiguous { prefix: text.to_owned(), matches }),
        }
    }

    /// The newest run.
    fn latest(&self) -> Result<Option<RunId>, StoreError> {
        Ok(self.with_prefix("", 1)?.pop())
    }
}

/// Which runs to list. Every part that is set must match.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Part of the experiment's name.
    pub name: Option<String>,
    /// The verdict.
    pub verdict: Option<Verdict>,
    /// Only runs without an end: those under way and those that were interrupted.
    pub unfinished: bool,
    /// A label, and its value.
    pub labels: BTreeMap<String, String>,
    /// At most so many.
    pub limit: Option<usize>,
}

/// One run in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunSummary {
    /// The run.
    pub run: RunId,
    /// `metadata.name` of its manifest.
    pub experiment: String,
    /// Wall clock at its start, RFC 3339 in UTC.
    pub started: String,
    /// Name of the host.
    pub host: String,
    /// Who started it.
    pub user: String,
    /// `metadata.labels` of its manifest.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// How it ended. Absent while it is under way, and for ever if it was interrupted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// Why it ended so, in one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Microseconds from its start to its last event.
    pub lasted_us: u64,
    /// How many events it has.
    pub events: u64,
    /// What of this summary could not be read, because its rows are damaged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damaged: Option<String>,
}

impl Filter {
    /// Whether the run passes, `limit` aside.
    pub fn passes(&self, run: &RunSummary) -> bool {
        self.name.as_deref().is_none_or(|name| run.experiment.contains(name))
            && self.verdict.is_none_or(|verdict| run.verdict == Some(verdict))
            && !(self.unfinished && run.verdict.is_some())
            && self.labels.iter().all(|(key, value)| run.labels.get(key) == Some(value))
    }
}

/// Whether a batch may follow on `known` records of a run: numbers without gaps, and `Started` first and only first.
pub(crate) fn check_order(run: &RunId, known: u64, records: &[Record]) -> Result<(), StoreError> {
    for (expected, record) in (known..).zip(records) {
        match &record.event {
            Event::Started(started) if expected > 0 || started.run != *run => return Err(StoreError::Begun(started.run.clone())),
            Event::Started(_) => {}
            _ if expected == 0 => return Err(StoreError::UnknownRun(run.clone())),
            _ => {}
        }
        if record.seq != expected {
            return Err(StoreError::OutOfOrder { run: run.clone(), expected, found: record.seq });
        }
    }
    Ok(())
}
