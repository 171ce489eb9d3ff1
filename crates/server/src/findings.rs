//! Findings in the database. A finding's id is the fingerprint of its weakness, so that two runs that find the same at once open
//! one; every change is made from the version that was read.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::json;
use squall_api::Problem;
use squall_api::findings::FindingView;
use squall_gameday::{Analysis, Deviation, Finding, FindingError, FindingState, FindingStep, Observation, Observed};
use squall_model::Verdict;
use squall_notify::{EventKind, Notice};
use squall_report::{ComparisonStatus, ProbeStatus};
use squall_store::{Batch, CommitError, Document, List, StoreError, Write};

use crate::auth::{Caller, Outcome, audit};
use crate::error::fields;
use crate::follow::{self, About};
use crate::versions::key;
use crate::{ApiError, App};

/// Kind of the documents of findings.
const FINDING: &str = "finding";
/// What a weakness is called that no probe showed while the fault was in force: the system did not recover.
const RECOVERY: &str = "recovery";
/// How often a change is made anew when somebody else was faster.
const TRIES: usize = 50;

/// A finding, and its version.
pub(crate) struct Known {
    pub id: String,
    pub version: u64,
    pub updated: Timestamp,
    pub finding: Finding,
}

impl Known {
    fn of(document: &Document) -> Result<Self, StoreError> {
        Ok(Self { id: document.id.clone(), version: document.version, updated: document.updated, finding: document.decode()? })
    }

    /// As the API shows it.
    pub(crate) fn view(self, now: Timestamp) -> FindingView {
        let overdue = self.finding.overdue(now.to_zoned(TimeZone::UTC).date());
        FindingView { id: self.id, version: self.version, updated: self.updated, overdue, finding: self.finding }
    }
}

/// One finding.
pub(crate) async fn get(app: &App, id: &str) -> Result<Known, ApiError> {
    let document = app.db.get(FINDING, key("finding", id)?).await?.ok_or_else(|| Problem::not_found("finding", id))?;
    Ok(Known::of(&document)?)
}

/// Every finding.
pub(crate) async fn all(app: &App) -> Result<Vec<Known>, ApiError> {
    let documents = app.db.list(FINDING, &List::default()).await?;
    documents.iter().map(Known::of).collect::<Result<_, _>>().map_err(ApiError::from)
}

fn refused(error: FindingError) -> ApiError {
    match error {
        FindingError::State { .. } => Problem::conflict(error.to_string()).into(),
        FindingError::NoAction(_) => Problem { detail: Some(error.to_string()), ..Problem::not_found("", "") }.into(),
        FindingError::Words(mistakes) => {
            fields("the finding cannot be said so", mistakes.into_iter().map(|m| (m.path, m.message, m.hint))).into()
        }
    }
}

/// Makes a change that somebody asked for. With a version, only of that one; without, of whatever is there.
pub(crate) async fn change(app: &App, caller: &Caller, id: &str, version: Option<u64>, step: FindingStep) -> Result<Known, ApiError> {
    for _ in 0..TRIES {
        let mut known = get(app, id).await?;
        if version.is_some_and(|version| version != known.version) {
            let hint = "read it again, and repeat the change";
            return Err(Problem::conflict(format!("the finding `{id}` was changed meanwhile")).hint(hint).into());
        }
        let (now, before) = (app.wall.now(), known.finding.clone());
        known.finding.apply(step.clone(), &caller.name, now).map_err(refused)?;
        if known.finding == before {
            return Ok(known);
        }
        let detail = json!({ "from": before.state, "to": known.finding.state });
        let row = audit(app, caller, "finding.change", &format!("finding/{id}"), Outcome::Ok, detail);
        match replace(app, &known, vec![row]).await {
            Ok(version) => {
                (known.version, known.updated) = (version, now);
                if known.finding.state != before.state {
                    let by = Some(caller.name.as_str());
                    app.notifications.tell_of(app, &known, by, now);
                }
                return Ok(known);
            }
            // Somebody was faster: from what it is now.
            Err(CommitError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Problem::conflict("too many change it at once").hint("try again").into())
}

async fn replace(app: &App, known: &Known, mut more: Vec<Write>) -> Result<u64, CommitError> {
    let body = serde_json::to_value(&known.finding).unwrap_or_default();
    more.insert(0, Write::Replace { kind: FINDING.into(), id: known.id.clone(), version: known.version, body });
    let committed = app.db.commit(Batch::new(more)).await?;
    Ok(committed.versions.first().copied().unwrap_or_default())
}

/// Takes in a run that is over.
pub(crate) async fn observe(app: &App, about: &About, verdict: Verdict, ended: Timestamp) -> Result<(), ApiError> {
    if !matches!(verdict, Verdict::Held | Verdict::Deviated) {
        return Ok(());
    }
    let Some(seen) = observation(app, about, verdict, ended).await? else { return Ok(()) };
    let mut known = Vec::new();
    for id in seen.candidates() {
        if let Some(document) = app.db.get(FINDING, &id).await? {
            known.push(Known::of(&document)?);
        }
    }
    if verdict == Verdict::Deviated {
        match known.into_iter().next() {
            Some(first) => take_in(app, first, &seen).await?,
            None => open(app, about, &seen).await?,
        }
        return Ok(());
    }
    for one in known {
        take_in(app, one, &seen).await?;
    }
    Ok(())
}

async fn open(app: &App, about: &About, seen: &Observation) -> Result<(), ApiError> {
    let Some(id) = seen.candidates().into_iter().next() else { return Ok(()) };
    let finding = Finding::open(seen);
    let body = serde_json::to_value(&finding).unwrap_or_default();
    match app.db.commit(Batch::new([Write::Create { kind: FINDING.into(), id: id.clone(), body }])).await {
        Ok(committed) => {
            let version = committed.versions.first().copied().unwrap_or_default();
            let known = Known { id, version, updated: seen.ended, finding };
            follow::write(app, &notice(app, &known, EventKind::FindingOpened, None, seen.ended, Some(about))).await
        }
        // Another run has just found the same.
        Err(CommitError::Conflict { .. }) => take_in(app, get(app, &id).await?, seen).await,
        Err(error) => Err(error.into()),
    }
}

async fn take_in(app: &App, mut known: Known, seen: &Observation) -> Result<(), ApiError> {
    for _ in 0..TRIES {
        let observed = known.finding.observe(seen);
        if observed == Observed::Nothing {
            return Ok(());
        }
        match replace(app, &known, Vec::new()).await {
            Ok(_) => {
                let event = match observed {
                    Observed::Opened | Observed::Reopened => EventKind::FindingOpened,
                    Observed::Verified => EventKind::FindingClosed,
                    Observed::Noted | Observed::Nothing => return Ok(()),
                };
                return follow::write(app, &notice(app, &known, event, None, seen.ended, None)).await;
            }
            Err(CommitError::Conflict { .. }) => known = get(app, &known.id).await?,
            Err(error) => return Err(error.into()),
        }
    }
    Err(Problem::unavailable("a finding is changed by too many at once").into())
}

impl crate::notifications::Notifications {
    /// Tells what became of a finding.
    fn tell_of(&self, app: &App, known: &Known, by: Option<&str>, at: Timestamp) {
        let event = match known.finding.state {
            FindingState::Open => EventKind::FindingOpened,
            FindingState::Acknowledged => EventKind::FindingAcknowledged,
            FindingState::Verified | FindingState::Wontfix => EventKind::FindingClosed,
            // Nobody needs to know before a run has shown it.
            FindingState::Fixed => return,
        };
        self.tell(notice(app, known, event, by, at, None));
    }
}

/// The subject is the run that opened it last: that is the alert that `PagerDuty` acknowledges and resolves.
fn notice(app: &App, known: &Known, event: EventKind, by: Option<&str>, at: Timestamp, about: Option<&About>) -> Notice {
    let finding = &known.finding;
    let runs = |run: &str| finding.runs.iter().any(|known| known.run == run);
    let opener = finding.history.iter().rev().find(|change| change.to == FindingState::Open && runs(&change.by));
    let run = opener.map(|change| change.by.clone()).or_else(|| finding.found_by().map(str::to_owned)).unwrap_or_default();
    let id = format!("finding:{}/{}/{}", known.id, event.name(), finding.since);
    let mut notice = Notice::new(id, event, at, run.clone());
    // After all that the run itself has to tell.
    notice.sequence = u64::MAX / 2 + finding.history.len() as u64;
    (notice.run, notice.experiment, notice.finding) = (Some(run), Some(finding.experiment.clone()), Some(finding.title.clone()));
    notice.by = by.map(str::to_owned);
    notice.reason = finding.history.last().and_then(|change| change.reason.clone());
    if let Some(about) = about {
        (notice.labels, notice.hosts) = (about.labels.clone(), about.hosts.iter().cloned().collect());
    } else if let Some(service) = &finding.service {
        notice.labels.insert("service".into(), service.clone());
    }
    notice.url = Some(app.notifications.link(&format!("/findings/{}", known.id)));
    notice
}

async fn observation(app: &App, about: &About, verdict: Verdict, ended: Timestamp) -> Result<Option<Observation>, ApiError> {
    let (program, records) = app.runs.evidence(&about.run).await?;
    let Some(report) = squall_report::build(&program, app.runs.registry(), &records) else { return Ok(None) };
    let judged = report.probes.iter().filter(|probe| !matches!(probe.status, ProbeStatus::Watched | ProbeStatus::Untested));
    let mut probes: std::collections::BTreeSet<String> = judged.map(|probe| probe.name.clone()).collect();
    let decided = |status| !matches!(status, ComparisonStatus::Unmeasured | ComparisonStatus::Untested);
    probes.extend(report.comparisons.iter().filter(|c| decided(c.status)).map(|c| c.name.clone()));
    probes.insert(RECOVERY.into());
    let mut deviations: Vec<Deviation> = report
        .probes
        .iter()
        .filter(|probe| probe.status == ProbeStatus::Violated)
        .map(|probe| {
            let told = report.analysis.iter().find(|analysis| analysis.metric == probe.name);
            let analysis = Analysis {
                metric: probe.name.clone(),
                expected: told.map_or_else(|| probe.expectation.clone(), |told| told.expected.clone()),
                actual: told.map_or_else(|| probe.worst.clone().unwrap_or_default(), |told| told.actual.clone()),
                likely_cause: causes(&report, probe.first_violation)
                    .into_iter()
                    .chain(told.into_iter().flat_map(|told| told.happened.clone()))
                    .collect(),
            };
            Deviation { probe: probe.name.clone(), analysis }
        })
        .collect();
    deviations.extend(report.comparisons.iter().filter(|c| c.status == ComparisonStatus::Worse).map(|comparison| {
        let told = report.analysis.iter().find(|analysis| analysis.metric == comparison.name);
        let analysis = Analysis {
            metric: comparison.name.clone(),
            expected: told.map(|told| told.expected.clone()).unwrap_or_default(),
            actual: told.map(|told| told.actual.clone()).unwrap_or_default(),
            likely_cause: causes(&report, comparison.worse),
        };
        Deviation { probe: comparison.name.clone(), analysis }
    }));
    if deviations.is_empty() && verdict == Verdict::Deviated {
        let within = Duration::from_micros(report.recovery.within);
        let analysis = Analysis {
            metric: RECOVERY.into(),
            expected: format!("within {}", squall_model::Time::from(within)),
            actual: report.reason.clone(),
            likely_cause: causes(&report, None),
        };
        deviations.push(Deviation { probe: RECOVERY.into(), analysis });
    }
    Ok(Some(Observation {
        run: about.run.to_string(),
        experiment: about.experiment.clone(),
        began: about.began,
        ended,
        verdict,
        probes,
        deviations,
        service: about.labels.get("service").cloned(),
        runbook: about.labels.get("runbook").cloned(),
        game_day: about.cause["gameDay"].as_str().map(str::to_owned),
    }))
}

/// The faults that were in force at a moment of the run, or at any.
fn causes(report: &squall_report::Report, at: Option<u64>) -> Vec<String> {
    let in_force = report.injections.iter().filter(|injection| {
        let (from, to) = injection.window(u64::MAX);
        injection.in_force.is_some() && at.is_none_or(|at| (from..=to).contains(&at))
    });
    in_force.map(|injection| format!("{} on {}: {}", injection.fault, injection.target, injection.summary)).collect()
}
