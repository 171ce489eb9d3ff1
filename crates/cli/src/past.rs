//! Runs that have been: the journal, with what the undo ledgers know of those that did not end by themselves.

use std::path::Path;
use std::sync::Arc;

use serde::Serialize;
use squall_engine::{Program, Registry};
use squall_model::{Event, Record, RevertedBy, RunId, Verdict};
use squall_report::Report;
use squall_store::{Filter, RunStore, RunSummary, Store, StoreError};
use squall_undo::{Ledger, LedgerView, StateDir, engine_alive};

use crate::context::{CliError, Context};
use crate::registry::registry;

/// The runs of one state directory.
pub struct Past {
    state: StateDir,
    store: Store,
    registry: Arc<Registry>,
}

/// Where a run is, or how it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// It came to a verdict.
    Ended(Verdict),
    /// Its process is alive.
    Running,
    /// Its process is gone, without a verdict.
    Interrupted,
}

/// A run in a list.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// From the journal.
    #[serde(flatten)]
    pub summary: RunSummary,
    /// `running`, `interrupted`, or the verdict.
    pub standing: &'static str,
    /// Of one that was interrupted: what became of what it had broken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aftermath: Option<String>,
}

impl Past {
    /// Opens the journal.
    pub fn open(cx: &Context) -> anyhow::Result<Self> {
        let state = cx.state_dir()?;
        let store = Store::open(&state.path().join(Store::FILE)).map_err(told)?;
        Ok(Self { state, store, registry: registry() })
    }

    /// The run that the user means.
    pub fn resolve(&self, text: &str) -> anyhow::Result<RunId> {
        Ok(self.store.resolve(text).map_err(told)?)
    }

    /// Every record of a run.
    pub fn records(&self, run: &RunId) -> anyhow::Result<Vec<Record>> {
        Ok(self.store.records(run).map_err(told)?)
    }

    /// Runs that pass, the newest first; `standing` looks at the processes too.
    pub fn entries(&self, filter: &Filter, passes: impl Fn(Standing) -> bool) -> anyhow::Result<Vec<Entry>> {
        let most = filter.limit.unwrap_or(usize::MAX);
        let all = Filter { limit: None, ..filter.clone() };
        let mut entries = Vec::new();
        for summary in self.store.runs(&all).map_err(told)? {
            let (standing, aftermath) = self.standing(&summary.run, summary.verdict)?;
            if passes(standing) {
                entries.push(Entry { summary, standing: standing.name(), aftermath });
            }
            if entries.len() >= most {
                break;
            }
        }
        Ok(entries)
    }

    /// The report of a run, with what its ledger adds.
    pub fn report(&self, run: &RunId) -> anyhow::Result<(Report, Vec<Record>)> {
        let records = self.records(run)?;
        let hint = || Some(format!("`squall show {run} --events --output json` shows its journal as it is"));
        let Some(Event::Started(started)) = records.first().map(|record| &record.event) else {
            return Err(CliError::failed(format!("run {run} was interrupted before its first event"), None).into());
        };
        let program = squall_model::parse_experiment(&started.manifest)
            .map_err(|found| found.first().map(|d| d.message.clone()).unwrap_or_default())
            .and_then(|(experiment, _)| Program::compile(&experiment, &self.registry).map_err(|e| e.to_string()))
            .map_err(|why| {
                CliError::failed(
                    format!("the manifest of run {run} (squall {}) means nothing to this squall: {why}", started.squall),
                    hint(),
                )
            })?;
        let mut report = squall_report::build(&Arc::new(program), &self.registry, &records)
            .ok_or_else(|| CliError::failed(format!("run {run} has no start"), hint()))?;
        if report.verdict.is_none() {
            let (standing, aftermath) = self.standing(run, None)?;
            report.reason = match (standing, aftermath) {
                (Standing::Running, _) => format!("under way; {}", report.reason),
                (_, Some(aftermath)) => format!("interrupted: {}; {aftermath}", report.reason),
                (_, None) => format!("interrupted: {}", report.reason),
            };
            for entry in self.ledger(run).iter().flat_map(|view| &view.entries) {
                if let Some(done) = entry.reverted.as_ref().or(entry.early.as_ref()) {
                    report.reverted_by_others(entry.armed.injection, done.by, &done.how);
                }
            }
        }
        Ok((report, records))
    }

    /// A ledger that is gone or cannot be read says nothing; `squall recover` is who complains about one.
    fn ledger(&self, run: &RunId) -> Option<LedgerView> {
        let path = self.state.ledger(run);
        if path.exists() { Ledger::read(&path).ok() } else { None }
    }

    fn standing(&self, run: &RunId, verdict: Option<Verdict>) -> anyhow::Result<(Standing, Option<String>)> {
        if let Some(verdict) = verdict {
            return Ok((Standing::Ended(verdict), None));
        }
        let Some(view) = self.ledger(run) else { return Ok((Standing::Interrupted, None)) };
        if engine_alive(&view)? && view.closed.is_none() {
            return Ok((Standing::Running, None));
        }
        Ok((Standing::Interrupted, Some(aftermath(&view))))
    }
}

impl Standing {
    /// In one word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ended(verdict) => verdict.name(),
            Self::Running => "running",
            Self::Interrupted => "interrupted",
        }
    }
}

/// What became of what an interrupted run had broken.
fn aftermath(view: &LedgerView) -> String {
    let open = view.open().count();
    if open > 0 {
        return format!("{open} of {} still to be put back: `squall recover`", view.entries.len());
    }
    let by = |wanted: RevertedBy| view.entries.iter().filter(|e| e.reverted.as_ref().is_some_and(|done| done.by == wanted)).count();
    let told = [
        (RevertedBy::Watchdog, "by its watchdog"),
        (RevertedBy::Recover, "by `squall recover`"),
        (RevertedBy::Stop, "by `squall stop`"),
        (RevertedBy::Engine, "by itself"),
    ];
    let parts: Vec<String> = told
        .iter()
        .filter_map(|(who, words)| Some((by(*who), words)).filter(|(n, _)| *n > 0))
        .map(|(n, words)| format!("{n} {words}"))
        .collect();
    if parts.is_empty() { "nothing had been touched".into() } else { format!("put back: {}", parts.join(", ")) }
}

/// A store's error with its next step.
pub fn told(error: StoreError) -> CliError {
    let hint = error.hint();
    match error {
        StoreError::NoSuchRun(_) | StoreError::Ambiguous { .. } | StoreError::NoRuns => CliError::usage(error.to_string(), hint),
        other => CliError::failed(other.to_string(), hint),
    }
}

/// Writes a file that somebody asked for.
pub fn write_file(path: &Path, text: &str) -> anyhow::Result<()> {
    let hint = "give another place with -o, or `-` for standard output".to_owned();
    Ok(std::fs::write(path, text).map_err(|e| CliError::failed(format!("{} cannot be written: {e}", path.display()), hint))?)
}
