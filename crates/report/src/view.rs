//! A report as texts and tables, before it is HTML or Markdown: both show exactly this.

use squall_model::{Dimension, TrafficSummary};

use crate::events::{by_whom, verdict_mark};
use crate::format::{count, list, moment, number, span};
use crate::model::{ArmReport, ComparisonReport, InjectionReport, Mark, ProbeReport, Report, Stage};

/// Text for "there is none".
const NONE: &str = "–";

/// Everything that is shown, as text.
pub(crate) struct View {
    pub(crate) experiment: String,
    pub(crate) outcome: &'static str,
    pub(crate) mark: Mark,
    pub(crate) headline: String,
    pub(crate) reason: String,
    pub(crate) statement: String,
    pub(crate) learned: Vec<String>,
    pub(crate) facts: Vec<(&'static str, String)>,
    pub(crate) probes: Vec<ProbeView>,
    pub(crate) comparisons: Vec<ComparisonView>,
    pub(crate) injections: Vec<InjectionView>,
    pub(crate) guards: Vec<Row>,
    pub(crate) rollback: Vec<Row>,
    pub(crate) recovery: Row,
    pub(crate) analysis: Vec<AnalysisView>,
    pub(crate) actions: Vec<String>,
    pub(crate) traffic: Vec<TrafficView>,
    pub(crate) events: Vec<Row>,
    pub(crate) manifest: String,
}

/// A line with how it is meant.
pub(crate) struct Row {
    pub(crate) mark: Mark,
    pub(crate) what: String,
    pub(crate) text: String,
}

/// A probe with its table.
pub(crate) struct ProbeView {
    pub(crate) name: String,
    pub(crate) what: String,
    pub(crate) expectation: String,
    pub(crate) status: &'static str,
    pub(crate) mark: Mark,
    /// Whether the columns of numbers make sense.
    pub(crate) numbers: bool,
    pub(crate) stages: Vec<StageView>,
    pub(crate) times: Vec<(&'static str, String)>,
}

/// One line of a probe's table.
pub(crate) struct StageView {
    pub(crate) stage: &'static str,
    pub(crate) samples: usize,
    pub(crate) unmeasured: usize,
    pub(crate) violated: usize,
    pub(crate) median: String,
    pub(crate) p95: String,
    pub(crate) min: String,
    pub(crate) max: String,
}

/// A comparison with its table.
pub(crate) struct ComparisonView {
    pub(crate) name: String,
    pub(crate) what: String,
    pub(crate) expectation: String,
    pub(crate) step: String,
    pub(crate) status: &'static str,
    pub(crate) mark: Mark,
    pub(crate) worse: bool,
    /// Whether the columns of numbers make sense.
    pub(crate) numbers: bool,
    pub(crate) difference: String,
    pub(crate) margin: String,
    pub(crate) arms: [ArmView; 2],
}

/// One line of a comparison's table.
pub(crate) struct ArmView {
    pub(crate) arm: &'static str,
    pub(crate) targets: String,
    pub(crate) count: usize,
    pub(crate) answers: u32,
    pub(crate) bad: u32,
    pub(crate) share: String,
    pub(crate) median: String,
    pub(crate) p95: String,
    pub(crate) max: String,
}

/// A fault on a target.
pub(crate) struct InjectionView {
    pub(crate) number: u32,
    pub(crate) step: String,
    pub(crate) fault: String,
    pub(crate) summary: String,
    pub(crate) arguments: String,
    pub(crate) target: String,
    pub(crate) when: String,
    pub(crate) verified: Row,
    pub(crate) reverted: Row,
    pub(crate) undone: String,
}

/// What did not go as expected.
pub(crate) struct AnalysisView {
    pub(crate) metric: String,
    pub(crate) expected: String,
    pub(crate) actual: String,
    pub(crate) happened: Vec<String>,
}

/// What the load generator saw.
pub(crate) struct TrafficView {
    pub(crate) name: String,
    pub(crate) cells: [String; 9],
    pub(crate) errors: String,
}

impl View {
    pub(crate) fn new(report: &Report) -> Self {
        Self {
            experiment: report.experiment.clone(),
            outcome: report.outcome(),
            mark: report.verdict.map_or(Mark::Unsure, verdict_mark),
            headline: report.headline.clone(),
            reason: report.reason.clone(),
            statement: report.statement.clone(),
            learned: report.learned.clone(),
            facts: facts(report),
            probes: report.probes.iter().map(probe).collect(),
            comparisons: report.comparisons.iter().map(comparison).collect(),
            injections: report.injections.iter().map(injection).collect(),
            guards: guards(report),
            rollback: rollback(report),
            recovery: recovery(report),
            analysis: report
                .analysis
                .iter()
                .map(|a| AnalysisView {
                    metric: a.metric.clone(),
                    expected: a.expected.clone(),
                    actual: a.actual.clone(),
                    happened: a.happened.clone(),
                })
                .collect(),
            actions: report.actions.iter().map(|a| a.action.clone()).collect(),
            traffic: report.traffic.iter().map(traffic).collect(),
            events: report.events.iter().map(|e| Row { mark: e.mark, what: moment(e.at), text: e.text.clone() }).collect(),
            manifest: report.manifest.trim_end().to_owned(),
        }
    }
}

fn facts(report: &Report) -> Vec<(&'static str, String)> {
    let facts = &report.facts;
    let mut out = vec![
        ("Experiment", report.experiment.clone()),
        ("Run", facts.run.to_string()),
        ("When", when(&facts.started)),
        ("Duration", span(facts.duration)),
        ("Host", facts.host.clone()),
        ("Started by", facts.user.clone()),
        ("Seed", facts.seed.to_string()),
        ("Squall", facts.squall.clone()),
    ];
    if !report.labels.is_empty() {
        let labels: Vec<String> = report.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        out.push(("Labels", labels.join(", ")));
    }
    out
}

/// A moment for people; as it is where it cannot be read.
fn when(wall: &str) -> String {
    wall.parse::<jiff::Timestamp>().map_or_else(|_| wall.to_owned(), |at| at.strftime("%-d %B %Y, %H:%M:%S UTC").to_string())
}

fn probe(probe: &ProbeReport) -> ProbeView {
    let stage = |name: &'static str, stage: &Stage| {
        let cell =
            |pick: fn(&crate::Numbers) -> f64| stage.numbers.as_ref().map_or_else(|| NONE.to_owned(), |n| number(pick(n), probe.dimension));
        StageView {
            stage: name,
            samples: stage.samples,
            unmeasured: stage.unmeasured,
            violated: stage.violated,
            median: cell(|n| n.median),
            p95: cell(|n| n.p95),
            min: cell(|n| n.min),
            max: cell(|n| n.max),
        }
    };
    let time = |time: Option<u64>| time.map_or_else(|| NONE.to_owned(), span);
    let mut times = Vec::new();
    if !probe.expectation.is_empty() {
        times.push(("First violation", probe.first_violation.map_or_else(|| NONE.to_owned(), moment)));
        times.push(("Longest violation", time(probe.longest_violation)));
        times.push(("Time to detect", time(probe.time_to_detect)));
        times.push(("Time to recover", time(probe.time_to_recover)));
    }
    ProbeView {
        name: probe.name.clone(),
        what: probe.what.clone(),
        expectation: probe.expectation.clone(),
        status: probe.status.name(),
        mark: probe.status.mark(),
        numbers: probe.dimension != Dimension::Text,
        stages: vec![stage("Before", &probe.before), stage("During", &probe.during), stage("After", &probe.after)],
        times,
    }
}

fn comparison(comparison: &ComparisonReport) -> ComparisonView {
    let arm = |name: &'static str, arm: &ArmReport| {
        let cell = |pick: fn(&crate::Numbers) -> f64| {
            arm.numbers.as_ref().map_or_else(|| NONE.to_owned(), |n| number(pick(n), comparison.dimension))
        };
        let share = (arm.answers > 0).then(|| f64::from(arm.bad) / f64::from(arm.answers));
        ArmView {
            arm: name,
            targets: list(&arm.targets, 10),
            count: arm.targets.len(),
            answers: arm.answers,
            bad: arm.bad,
            share: share.map_or_else(|| NONE.to_owned(), |share| number(share, Dimension::Ratio)),
            median: cell(|n| n.median),
            p95: cell(|n| n.p95),
            max: cell(|n| n.max),
        }
    };
    let arms = [arm("Under the fault", &comparison.experiment), arm("Control group", &comparison.control)];
    ComparisonView {
        name: comparison.name.clone(),
        what: comparison.what.clone(),
        expectation: comparison.expectation.clone(),
        step: comparison.step.clone(),
        status: comparison.status.name(),
        mark: comparison.status.mark(),
        worse: comparison.worse.is_some(),
        numbers: comparison.experiment.numbers.is_some() || comparison.control.numbers.is_some(),
        difference: difference(comparison),
        margin: if comparison.margin > 0.0 { format!("up to {} points", points(comparison.margin)) } else { "none".into() },
        arms,
    }
}

/// A share as points of a hundred.
fn points(share: f64) -> String {
    number(share, Dimension::Ratio).trim_end_matches('%').to_owned()
}

/// By how much the share of bad answers was larger, in words.
fn difference(comparison: &ComparisonReport) -> String {
    let [low, high] = comparison.difference;
    if comparison.experiment.answers == 0 || comparison.control.answers == 0 {
        return NONE.to_owned();
    }
    // To the point outwards, so that nothing is promised that was not shown.
    let (low, high) = ((low * 100.0).floor(), (high * 100.0).ceil());
    format!("{low:+.0} to {high:+.0} points ({} confidence)", number(comparison.confidence, Dimension::Ratio))
}

fn injection(injection: &InjectionReport) -> InjectionView {
    let verified = match (injection.verified, &injection.evidence, &injection.error) {
        _ if injection.left_out => Row {
            mark: Mark::Unsure,
            what: "left out, as enough other targets were in force".into(),
            text: injection.error.clone().or_else(|| injection.evidence.clone()).unwrap_or_default(),
        },
        (Some(true), evidence, _) => Row { mark: Mark::Good, what: "in force".into(), text: evidence.clone().unwrap_or_default() },
        (Some(false), evidence, _) => Row { mark: Mark::Bad, what: "no effect".into(), text: evidence.clone().unwrap_or_default() },
        (None, _, Some(error)) if injection.in_force.is_none() => Row { mark: Mark::Bad, what: "not in force".into(), text: error.clone() },
        _ => Row { mark: Mark::Unsure, what: "not verified".into(), text: String::new() },
    };
    let reverted = match (injection.reverted, injection.by, injection.stuck) {
        (Some(at), Some(by), _) => Row {
            mark: Mark::Good,
            what: format!("reverted at {}{}", moment(at), by_whom(by)),
            text: injection.how.clone().unwrap_or_default(),
        },
        (None, Some(by), _) => Row {
            mark: Mark::Good,
            what: format!("reverted{} when the run was gone", by_whom(by)),
            text: injection.how.clone().unwrap_or_default(),
        },
        (_, _, true) => Row { mark: Mark::Bad, what: "not reverted".into(), text: injection.error.clone().unwrap_or_default() },
        _ if injection.in_force.is_none() => Row { mark: Mark::Step, what: "nothing to revert".into(), text: String::new() },
        _ => Row { mark: Mark::Unsure, what: "no revert in the journal".into(), text: String::new() },
    };
    let when = match (injection.in_force, injection.reverted) {
        (Some(from), Some(to)) => format!("{} to {} ({})", moment(from), moment(to), span(to.saturating_sub(from))),
        (Some(from), None) => format!("from {}", moment(from)),
        (None, _) => format!("begun at {}", moment(injection.begun)),
    };
    InjectionView {
        number: injection.injection.0,
        step: injection.step.clone(),
        fault: injection.fault.clone(),
        summary: injection.summary.clone(),
        arguments: injection.arguments.clone(),
        target: injection.target.clone(),
        when,
        verified,
        reverted,
        undone: injection.undone.clone(),
    }
}

fn guards(report: &Report) -> Vec<Row> {
    let row = |guard: &crate::GuardReport| Row {
        mark: if guard.tripped { Mark::Bad } else { Mark::Good },
        what: format!("{}: abort at {}", guard.probe, guard.condition),
        text: match (guard.tripped, guard.at) {
            (true, Some(at)) => format!("stopped the run at {}: {}", moment(at), guard.why.as_deref().unwrap_or_default()),
            _ => "did not trip".into(),
        },
    };
    report.guards.iter().map(row).collect()
}

fn rollback(report: &Report) -> Vec<Row> {
    let row = |action: &crate::RollbackReport| Row {
        mark: match (action.ran, &action.error) {
            (true, None) => Mark::Good,
            (_, Some(_)) => Mark::Bad,
            (false, None) => Mark::Step,
        },
        what: action.name.clone(),
        text: action.error.clone().unwrap_or_else(|| if action.ran { "done".into() } else { "did not run".into() }),
    };
    report.rollback.iter().map(row).collect()
}

fn recovery(report: &Report) -> Row {
    let within = span(report.recovery.within);
    let (mark, text) = match (report.recovery.recovered, report.recovery.took) {
        (Some(true), Some(took)) => (Mark::Good, format!("steady again after {} (allowed: {within})", span(took))),
        (Some(true), None) => (Mark::Good, "steady again".into()),
        (Some(false), _) => (Mark::Bad, format!("not steady within {within}")),
        (None, _) => (Mark::Step, "not looked at".into()),
    };
    Row { mark, what: "Recovery".into(), text }
}

fn traffic(traffic: &TrafficSummary) -> TrafficView {
    let time = |seconds: f64| number(seconds, Dimension::Time);
    let latency = &traffic.latency;
    let share = if traffic.requests == 0 { 0.0 } else { traffic.failed as f64 / traffic.requests as f64 };
    let errors: Vec<String> = traffic.errors.iter().map(|(class, n)| format!("{class}: {n}")).collect();
    TrafficView {
        name: traffic.name.clone(),
        cells: [
            traffic.requests.to_string(),
            number(traffic.rate, Dimension::Rate),
            format!("{} ({})", traffic.failed, number(share, Dimension::Ratio)),
            time(latency.p50),
            time(latency.p90),
            time(latency.p95),
            time(latency.p99),
            time(latency.p999),
            time(latency.max),
        ],
        errors: errors.join(", "),
    }
}

impl ProbeView {
    /// How many samples it rests on, in words.
    pub(crate) fn samples(&self) -> String {
        count(self.stages.iter().map(|stage| stage.samples).sum(), "sample")
    }
}
