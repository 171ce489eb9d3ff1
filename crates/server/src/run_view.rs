//! A run as a page shows it, while it goes on and after: its report as it stands, its steps and guards, and samples in columns.
//!
//! Whoever looks at the same run shares one [`Built`] view: the journal is read once, and what is new of it is added. A live run is looked
//! at anew at most every [`LEAST`], and so seldom that it costs no more than a tenth of a core.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use squall_api::Problem;
use squall_engine::{NodeKind, NodePhase, Program, Registry, State};
use squall_model::{Bound, Event, Record, RunId, Value};
use squall_report::{Point, Report};
use utoipa::ToSchema;

use crate::{ApiError, App};

/// The shortest time between two views of a live run.
const LEAST: Duration = Duration::from_millis(250);
/// Runs whose views are kept; the one that was looked at longest ago goes first.
const KEPT: usize = 12;
/// Records that are read at a time.
const BATCH: usize = 2000;

/// A run as a page shows it. Times are microseconds since its start.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunView {
    /// Events that it is made of.
    pub events: u64,
    /// Where the run is: `plan`, `steady`, `inject`, `observe`, `revert`, `recover`, `verdict`.
    pub phase: String,
    /// The server that drives it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// How long faults stay in force on a host that hears nothing of the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease: Option<String>,
    /// What started it, such as `schedule nightly`; absent where a person did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// The longest time that the method takes if nothing hangs.
    pub longest: u64,
    /// Its report as it stands, without samples.
    pub report: Report,
    /// The steps of its method, in the order of the manifest.
    pub steps: Vec<RunStep>,
    /// How far each guard is from aborting it, in the order of the manifest.
    pub guards: Vec<GuardDistance>,
    /// It waits for a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
}

/// A step of a method.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunStep {
    /// Its name, unique within the run.
    pub name: String,
    /// `sequence`, `parallel`, `wait`, `suspend` or `fault`.
    pub kind: String,
    /// The kind of fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// How deep it is within other steps, from 0.
    pub depth: usize,
    /// `idle`, `delayed`, `running`, `suspended`, `pausing`, `done` or `skipped`.
    #[schema(value_type = String)]
    pub phase: NodePhase,
    /// How often it was begun.
    pub round: u32,
}

/// How far a guard is from aborting its run.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GuardDistance {
    /// Index of its probe.
    pub probe: usize,
    /// The probe's last value, where it is a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// The probe could not be measured the last time.
    pub blind: bool,
    /// The thresholds that are numbers.
    pub thresholds: Vec<f64>,
    /// It aborts where the value is `above` or `below` its threshold, `within` two of them, or `other` (texts, single values).
    pub side: String,
    /// How long its condition has to be met.
    pub persist: u64,
    /// Since when it is met.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub met_since: Option<u64>,
}

/// A run that waits for a person.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Waiting {
    /// The step.
    pub step: String,
    /// What to look at.
    pub message: String,
    /// When it began to wait.
    pub since: u64,
    /// The longest time that it waits.
    pub timeout: u64,
    /// What happens then: `abort` or `continue`.
    #[schema(value_type = String)]
    pub on_timeout: squall_model::SuspendTimeout,
}

/// New samples of some probes, in columns.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunSamples {
    /// One for each probe that has some.
    pub probes: Vec<SampleColumns>,
}

/// Samples of one probe: the columns are of one length.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SampleColumns {
    /// Index of the probe.
    pub probe: usize,
    /// Which sample of the probe the first of these is.
    pub from: usize,
    /// When each was asked, in microseconds since the run's start.
    pub at: Vec<u64>,
    /// The answer, in its dimension's base unit; null for texts, and where it could not be measured.
    pub value: Vec<Option<f64>>,
    /// 0 as expected, 1 not as expected, 2 could not be measured.
    pub state: Vec<u8>,
    /// Answers that are texts, and why something could not be measured.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub said: Vec<Said>,
}

/// A text of one sample.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Said {
    /// Place in the columns.
    pub index: usize,
    /// The text.
    pub text: String,
}

/// A view of a run at some event.
#[derive(Debug)]
pub(crate) struct Built {
    /// Without samples.
    pub view: RunView,
    /// The samples of each probe.
    pub samples: Vec<Vec<Point>>,
    /// There will be no other.
    pub over: bool,
}

/// At most `most` of the samples that somebody who has `have` of each probe does not have; `have` is moved on. None where they have all.
pub(crate) fn part(samples: &[Vec<Point>], have: &mut Vec<usize>, most: usize) -> Option<RunSamples> {
    have.resize(samples.len(), 0);
    let (mut room, mut probes) = (most, Vec::new());
    for (probe, (all, have)) in samples.iter().zip(have.iter_mut()).enumerate() {
        let new = all.get(*have..).unwrap_or_default();
        let new = &new[..new.len().min(room)];
        if new.is_empty() {
            continue;
        }
        probes.push(columns(probe, *have, new));
        *have += new.len();
        room -= new.len();
    }
    (!probes.is_empty()).then_some(RunSamples { probes })
}

fn columns(probe: usize, from: usize, points: &[Point]) -> SampleColumns {
    let number = |point: &Point| if let Some(Value::Number(number)) = point.value { Some(number) } else { None };
    let state = |point: &Point| if point.value.is_none() { 2 } else { u8::from(point.violated) };
    let said = |(index, point): (usize, &Point)| {
        let text = match &point.value {
            Some(Value::Text(text)) => Some(text),
            _ => point.error.as_ref(),
        };
        text.map(|text| Said { index, text: text.clone() })
    };
    SampleColumns {
        probe,
        from,
        at: points.iter().map(|point| point.at).collect(),
        value: points.iter().map(number).collect(),
        state: points.iter().map(state).collect(),
        said: points.iter().enumerate().filter_map(said).collect(),
    }
}

/// What is known of a run that somebody looks at.
#[derive(Default)]
struct Followed {
    program: Option<Arc<Program>>,
    extra: serde_json::Value,
    records: Vec<Record>,
    built: Option<Arc<Built>>,
    /// When it was built, on the server's clock, and how long that took.
    at: Duration,
    took: Duration,
}

type Shared = Arc<tokio::sync::Mutex<Followed>>;

/// Views of the runs that somebody looks at. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Views(Arc<Mutex<HashMap<RunId, (u64, Shared)>>>);

impl Views {
    fn followed(&self, run: &RunId) -> Shared {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = all.values().map(|(turn, _)| *turn).max().unwrap_or_default() + 1;
        if !all.contains_key(run) && all.len() >= KEPT {
            let oldest = all.iter().min_by_key(|(_, (turn, _))| *turn).map(|(run, _)| run.clone());
            oldest.and_then(|oldest| all.remove(&oldest));
        }
        let (used, shared) = all.entry(run.clone()).or_default();
        *used = turn;
        shared.clone()
    }

    /// The run as it stands, or as it stood a moment ago. The run is known to exist.
    pub async fn see(&self, app: &App, run: &RunId) -> Result<Arc<Built>, ApiError> {
        let shared = self.followed(run);
        let mut followed = shared.lock().await;
        let now = app.runs.clock().now();
        if let Some(built) = &followed.built
            && (built.over || now < followed.at + LEAST.max(followed.took * 10))
        {
            return Ok(built.clone());
        }
        let fresh = followed.read(app, run).await?;
        if let (Some(built), false) = (&followed.built, fresh) {
            return Ok(built.clone());
        }
        followed.build(app).await
    }
}

impl Followed {
    /// Reads what is new of the journal; whether something was.
    async fn read(&mut self, app: &App, run: &RunId) -> Result<bool, ApiError> {
        let before = self.records.len();
        loop {
            let next = self.records.last().map_or(0, |record| record.seq + 1);
            let more = app.db.records_from(run, next, BATCH).await?;
            let whole = more.len() < BATCH;
            self.records.extend(more);
            if whole {
                break;
            }
        }
        let not_begun = || Problem::unavailable(format!("run {run} has not begun")).hint("try again in a moment");
        if self.program.is_none() {
            let Some(Event::Started(started)) = self.records.first().map(|record| &record.event) else { return Err(not_begun().into()) };
            let registry = app.runs.registry();
            let experiment = crate::runs::check(&started.manifest, registry)?;
            self.program = Some(Arc::new(Program::compile(&experiment, registry).map_err(|e| Problem::invalid(e.to_string()))?));
            self.extra = app.db.run(run).await.map(|stored| stored.extra).unwrap_or_default();
        }
        Ok(self.records.len() > before)
    }

    async fn build(&mut self, app: &App) -> Result<Arc<Built>, ApiError> {
        let Some(program) = self.program.clone() else { return Err(Problem::internal("a run without a program").into()) };
        let (registry, extra, records) = (app.runs.registry().clone(), self.extra.clone(), std::mem::take(&mut self.records));
        let began = app.runs.clock().now();
        // Long for a long journal: not on a thread that answers others.
        let work = move || {
            let built = built(&program, &registry, &extra, &records);
            (records, built)
        };
        let (records, built) = tokio::task::spawn_blocking(work).await.map_err(|e| Problem::internal(e.to_string()))?;
        self.records = records;
        let built = Arc::new(built.ok_or_else(|| Problem::unavailable("the run has not begun").hint("try again in a moment"))?);
        self.at = app.runs.clock().now();
        self.took = self.at.saturating_sub(began);
        self.built = Some(built.clone());
        if built.over {
            // Nobody will add to it.
            self.records = Vec::new();
        }
        Ok(built)
    }
}

fn built(program: &Arc<Program>, registry: &Registry, extra: &serde_json::Value, records: &[Record]) -> Option<Built> {
    let state = State::replay(program.clone(), records);
    let mut report = squall_report::build(program, registry, records)?;
    let samples = report.probes.iter_mut().map(|probe| std::mem::take(&mut probe.samples)).collect();
    let text = |name: &str| extra[name].as_str().map(str::to_owned);
    let view = RunView {
        events: state.events,
        phase: state.phase.name().to_owned(),
        server: text("server"),
        lease: text("lease"),
        cause: cause(&extra["cause"]),
        longest: micros(program.longest()),
        steps: steps(&state),
        guards: guards(&state),
        waiting: waiting(&state),
        report,
    };
    Some(Built { over: state.verdict.is_some(), view, samples })
}

/// `{"schedule": "nightly"}` as `schedule nightly`.
fn cause(cause: &serde_json::Value) -> Option<String> {
    let parts = cause.as_object()?.iter().filter_map(|(name, value)| Some(format!("{name} {}", value.as_str()?)));
    Some(parts.collect::<Vec<_>>().join(", ")).filter(|text| !text.is_empty())
}

fn micros(time: squall_model::Time) -> u64 {
    u64::try_from(time.std().as_micros()).unwrap_or(u64::MAX)
}

fn steps(state: &State) -> Vec<RunStep> {
    let nodes = &state.program.nodes;
    let depth = |index: usize| std::iter::successors(nodes[index].parent, |parent| nodes[*parent].parent).count();
    // Node 0 is the method itself.
    let inner = nodes.iter().zip(&state.nodes).enumerate().skip(1);
    inner
        .map(|(index, (node, now))| {
            let (kind, fault) = match &node.kind {
                NodeKind::Sequence(_) => ("sequence", None),
                NodeKind::Parallel(_) => ("parallel", None),
                NodeKind::Wait(_) => ("wait", None),
                NodeKind::Suspend { .. } => ("suspend", None),
                NodeKind::Fault(fault) => ("fault", Some(fault.fault.clone())),
            };
            RunStep {
                name: node.name.clone(),
                kind: kind.to_owned(),
                fault,
                depth: depth(index).saturating_sub(1),
                phase: now.phase,
                round: now.round,
            }
        })
        .collect()
}

fn guards(state: &State) -> Vec<GuardDistance> {
    let one = |(spec, now): (&squall_engine::GuardSpec, &squall_engine::GuardState)| {
        let last = state.probes[spec.probe].last.as_ref();
        let value = last.and_then(|last| if let Some(Value::Number(number)) = last.value { Some(number) } else { None });
        let side = match &spec.bound {
            Bound::Gt(_) | Bound::Ge(_) => "above",
            Bound::Lt(_) | Bound::Le(_) => "below",
            Bound::Between(..) => "within",
            Bound::OneOf(_) | Bound::Ne(_) | Bound::Matches(_) => "other",
        };
        GuardDistance {
            probe: spec.probe,
            value,
            blind: last.is_some_and(|last| last.value.is_none()),
            thresholds: spec.bound.thresholds(),
            side: side.to_owned(),
            persist: micros(spec.persist),
            met_since: now.met_since,
        }
    };
    state.program.guards.iter().zip(&state.guards).map(one).collect()
}

fn waiting(state: &State) -> Option<Waiting> {
    if state.verdict.is_some() {
        return None;
    }
    state.program.nodes.iter().zip(&state.nodes).find_map(|(node, now)| match &node.kind {
        NodeKind::Suspend { message, timeout, on_timeout } if now.phase == NodePhase::Suspended => Some(Waiting {
            step: node.name.clone(),
            message: message.clone(),
            since: now.begun,
            timeout: micros(*timeout),
            on_timeout: *on_timeout,
        }),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(at: u64, value: Option<Value>, violated: bool) -> Point {
        let error = value.is_none().then(|| "timeout".to_owned());
        Point { at, value, error, violated }
    }

    #[test]
    fn samples_come_in_parts_without_a_hole_or_a_double() {
        let numbers = |n: u64| (0..n).map(|at| point(at, Some(Value::Number(at as f64)), at == 1)).collect::<Vec<_>>();
        let samples = vec![numbers(7), Vec::new(), numbers(4)];
        let (mut have, mut seen) = (Vec::new(), vec![Vec::new(); 3]);
        while let Some(part) = part(&samples, &mut have, 3) {
            assert!(part.probes.iter().map(|columns| columns.at.len()).sum::<usize>() <= 3);
            for columns in part.probes {
                assert_eq!(columns.from, seen[columns.probe].len());
                assert_eq!([columns.value.len(), columns.state.len()], [columns.at.len(); 2]);
                seen[columns.probe].extend(columns.at);
            }
        }
        assert_eq!(seen, [(0..7).collect::<Vec<u64>>(), vec![], (0..4).collect()]);
        assert_eq!(have, [7, 0, 4]);
    }

    #[test]
    fn texts_and_errors_are_said_beside_the_numbers() {
        let points = [point(0, Some(Value::Text("up".into())), false), point(5, None, false), point(9, Some(Value::Number(2.0)), true)];
        let columns = columns(4, 10, &points);
        assert_eq!((columns.value, columns.state), (vec![None, None, Some(2.0)], vec![0, 2, 1]));
        let said: Vec<(usize, &str)> = columns.said.iter().map(|said| (said.index, said.text.as_str())).collect();
        assert_eq!(said, [(0, "up"), (1, "timeout")]);
    }

    #[test]
    fn what_started_a_run_is_said_in_words() {
        assert_eq!(cause(&serde_json::json!({ "schedule": "nightly" })).as_deref(), Some("schedule nightly"));
        assert_eq!(cause(&serde_json::Value::Null), None);
    }
}
