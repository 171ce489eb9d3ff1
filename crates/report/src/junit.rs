//! The report as JUnit XML: one suite a run, one case for each promise that the run checked. Attributes and order of
//! elements fit both schemas in use, Jenkins' and the one of Ant (`windyroad/JUnit-Schema`).

use askama::Template;
use squall_model::Verdict;

use crate::format::{moment, span};
use crate::model::{ComparisonStatus, ProbeStatus, Report};

#[derive(Template)]
#[template(path = "junit.xml")]
struct Suite {
    name: String,
    run: String,
    host: String,
    timestamp: String,
    time: String,
    properties: Vec<(&'static str, String)>,
    cases: Vec<Case>,
    out: String,
}

struct Case {
    class: String,
    name: String,
    time: String,
    end: End,
}

enum End {
    Passed,
    Failure(String, String),
    Error(String, String),
    Skipped(String),
}

/// Writes the suite.
pub(crate) fn suite(report: &Report) -> Result<String, askama::Error> {
    let mut cases = probes(report);
    cases.extend(comparisons(report));
    cases.extend(guards(report));
    cases.extend(injections(report));
    cases.push(recovery(report));
    cases.push(whole(report));
    let facts = &report.facts;
    let started: String = facts.started.chars().take(19).collect();
    let suite = Suite {
        name: xml(&report.experiment),
        run: facts.run.to_string(),
        host: xml(&facts.host),
        // Both schemas want a local time without a zone; the property has it in full.
        timestamp: if started.len() == 19 && started.is_ascii() && started.as_bytes()[10] == b'T' {
            started
        } else {
            "1970-01-01T00:00:00".into()
        },
        time: seconds(facts.duration),
        properties: vec![
            ("run", facts.run.to_string()),
            ("verdict", report.outcome().to_owned()),
            ("reason", xml(&report.reason)),
            ("started", xml(&facts.started)),
            ("user", xml(&facts.user)),
            ("seed", facts.seed.to_string()),
            ("squall", xml(&facts.squall)),
        ],
        cases,
        out: xml(&report.events.iter().map(|e| format!("{:>8}  {} {}\n", moment(e.at), e.mark.sign(), e.text)).collect::<String>()),
    };
    Ok(suite.render()? + "\n")
}

/// Without the characters that XML 1.0 has no way to write.
fn xml(text: &str) -> String {
    let allowed = |c: &char| matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
    text.chars().filter(allowed).collect()
}

fn seconds(micros: u64) -> String {
    format!("{}.{:03}", micros / 1_000_000, micros / 1000 % 1000)
}

fn case(report: &Report, group: &str, name: &str, micros: u64, end: End) -> Case {
    Case { class: xml(&format!("{}.{group}", report.experiment)), name: xml(name), time: seconds(micros), end }
}

fn untested(report: &Report) -> End {
    End::Skipped(if report.verdict == Some(Verdict::Unsteady) {
        "not steady before, so nothing was touched".into()
    } else {
        "nothing was injected".into()
    })
}

fn probes(report: &Report) -> Vec<Case> {
    let judged = report.probes.iter().filter(|probe| !probe.expectation.is_empty());
    judged
        .map(|probe| {
            let took = probe.samples.iter().map(|s| s.at).max().unwrap_or(0).saturating_sub(probe.samples.first().map_or(0, |s| s.at));
            let unsteady = report.verdict == Some(Verdict::Unsteady);
            let end = match probe.status {
                _ if unsteady => untested(report),
                ProbeStatus::Held | ProbeStatus::Watched => End::Passed,
                ProbeStatus::Violated => End::Failure(
                    xml(&format!("expected {}, was {}", probe.expectation, probe.worst.as_deref().unwrap_or("otherwise"))),
                    details(report, &probe.name),
                ),
                ProbeStatus::Unmeasured => End::Error("could not be measured".into(), details(report, &probe.name)),
                ProbeStatus::Unsteady | ProbeStatus::Untested => untested(report),
            };
            case(report, "probes", &format!("{} {}", probe.name, probe.expectation), took, end)
        })
        .collect()
}

fn details(report: &Report, metric: &str) -> String {
    let found = report.analysis.iter().filter(|a| a.metric == metric).flat_map(|a| a.happened.iter().map(String::as_str));
    xml(&found.collect::<Vec<_>>().join("\n"))
}

fn comparisons(report: &Report) -> Vec<Case> {
    let one = |comparison: &crate::ComparisonReport| {
        let end = match comparison.status {
            ComparisonStatus::Worse => End::Failure(xml(&comparison.summary), details(report, &comparison.name)),
            ComparisonStatus::NotWorse | ComparisonStatus::Undecided => End::Passed,
            ComparisonStatus::Unmeasured => End::Error("says nothing".into(), xml(&comparison.summary)),
            ComparisonStatus::Untested => untested(report),
        };
        case(report, "comparisons", &format!("{} no worse than the control group", comparison.name), 0, end)
    };
    report.comparisons.iter().map(one).collect()
}

fn guards(report: &Report) -> Vec<Case> {
    let one = |guard: &crate::GuardReport| {
        let end = match (&guard.why, guard.tripped, report.injections.is_empty()) {
            (why, true, _) => End::Failure(xml(why.as_deref().unwrap_or("tripped")), String::new()),
            (_, false, true) => untested(report),
            _ => End::Passed,
        };
        case(report, "guards", &format!("{} never {}", guard.probe, guard.condition), 0, end)
    };
    report.guards.iter().map(one).collect()
}

fn injections(report: &Report) -> Vec<Case> {
    let one = |injection: &crate::InjectionReport| {
        let (from, to) = injection.window(report.facts.duration);
        let why = || xml(injection.error.as_deref().or(injection.evidence.as_deref()).unwrap_or_default());
        let end = if injection.stuck {
            End::Error("could not be reverted".into(), why())
        } else if injection.left_out {
            End::Skipped(format!("left out, as enough other targets were in force: {}", why()))
        } else if injection.in_force.is_none() {
            End::Error("could not be put in force".into(), why())
        } else {
            match injection.verified {
                Some(true) => End::Passed,
                Some(false) => End::Error("had no effect".into(), why()),
                None => End::Error("ended before its effect could be verified".into(), why()),
            }
        };
        case(
            report,
            "injections",
            &format!("{} on {} is in force and reverted", injection.step, injection.target),
            to.saturating_sub(from),
            end,
        )
    };
    report.injections.iter().map(one).collect()
}

fn recovery(report: &Report) -> Case {
    let end = match report.recovery.recovered {
        Some(true) => End::Passed,
        Some(false) if report.verdict == Some(Verdict::Inconclusive) => End::Error("could not be measured".into(), xml(&report.reason)),
        Some(false) => End::Failure(format!("not steady within {}", span(report.recovery.within)), String::new()),
        None if report.injections.is_empty() => untested(report),
        None => End::Skipped("not looked at".into()),
    };
    case(report, "recovery", &format!("steady again within {}", span(report.recovery.within)), report.recovery.took.unwrap_or(0), end)
}

/// The run as a whole, so that one that could not say anything does not look like one in which nothing was wrong.
fn whole(report: &Report) -> Case {
    let why = || xml(&report.reason);
    let end = match report.verdict {
        Some(Verdict::Held | Verdict::Deviated) => End::Passed,
        Some(Verdict::Aborted) => End::Failure(why(), String::new()),
        Some(verdict @ (Verdict::Unsteady | Verdict::Inconclusive | Verdict::Failed)) => {
            End::Error(format!("{verdict}: {}", why()), String::new())
        }
        None => End::Error("the run has no end".into(), why()),
    };
    case(report, "run", "comes to a verdict", report.facts.duration, end)
}

impl Suite {
    fn failures(&self) -> usize {
        self.cases.iter().filter(|case| matches!(case.end, End::Failure(..))).count()
    }

    fn errors(&self) -> usize {
        self.cases.iter().filter(|case| matches!(case.end, End::Error(..))).count()
    }

    fn skipped(&self) -> usize {
        self.cases.iter().filter(|case| matches!(case.end, End::Skipped(..))).count()
    }
}
