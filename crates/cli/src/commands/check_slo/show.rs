//! The result for people, scripts and CI.

use squall_model::{Quantity, TrafficSummary, Verdict};

use super::{Checked, Level};
use crate::context::{Context, Style};

fn limit(level: Level) -> String {
    format!("{} {}", if level.at_most { "≤" } else { "≥" }, level.limit)
}

fn actual(check: &Checked) -> String {
    match &check.actual {
        Ok(value) => Quantity::new(*value, check.level.limit.dimension).to_string(),
        Err(_) => "-".into(),
    }
}

const fn state(verdict: Verdict) -> (&'static str, Style) {
    match verdict {
        Verdict::Held => ("ok", Style::Green),
        Verdict::Deviated => ("breached", Style::Red),
        _ => ("could not measure", Style::Yellow),
    }
}

pub(super) fn table(cx: &Context, verdict: Verdict, checks: &[Checked], traffic: Option<&TrafficSummary>) -> anyhow::Result<()> {
    if let Some(traffic) = traffic {
        let errors: Vec<String> = traffic.errors.iter().map(|(class, count)| format!("{count} {class}")).collect();
        let errors = if errors.is_empty() { String::new() } else { format!(" ({})", errors.join(", ")) };
        cx.say(format!("{} requests at {:.1}/s, {} failed{errors}", traffic.requests, traffic.rate, traffic.failed))?;
        cx.say("")?;
    }
    cx.result(cx.style(Style::Dim, format!("{:<16}{:>12}{:>14}   result", "measure", "limit", "actual")))?;
    for check in checks {
        let (word, style) = state(check.verdict());
        let why = check.actual.as_ref().err().map_or_else(String::new, |reason| format!(": {reason}"));
        let row = format!("{:<16}{:>12}{:>14}   ", check.level.subject.name(), limit(check.level), actual(check));
        cx.result(format!("{row}{}{why}", cx.style(style, word)))?;
    }
    cx.say("")?;
    let (_, style) = state(verdict);
    cx.say(cx.style(style, verdict.name()))
}

pub(super) fn json(verdict: Verdict, checks: &[Checked], traffic: Option<&TrafficSummary>) -> serde_json::Value {
    let checks: Vec<serde_json::Value> = checks
        .iter()
        .map(|check| {
            serde_json::json!({
                "measure": check.level.subject.name(),
                "comparison": if check.level.at_most { "le" } else { "ge" },
                "dimension": check.level.limit.dimension,
                "limit": check.level.limit.value,
                "actual": check.actual.as_ref().ok(),
                "result": state(check.verdict()).0,
                "reason": check.actual.as_ref().err(),
            })
        })
        .collect();
    serde_json::json!({ "verdict": verdict, "checks": checks, "traffic": traffic })
}

/// JUnit XML as CI systems read it: a breach is a failure, what could not be measured is an error.
pub(super) fn junit(checks: &[Checked]) -> String {
    let count = |verdict| checks.iter().filter(|check| check.verdict() == verdict).count();
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    xml.push_str(&format!(
        "<testsuite name=\"squall check-slo\" tests=\"{}\" failures=\"{}\" errors=\"{}\">\n",
        checks.len(),
        count(Verdict::Deviated),
        count(Verdict::Inconclusive)
    ));
    for check in checks {
        let name = escape(&format!("{} {}", check.level.subject.name(), limit(check.level)));
        xml.push_str(&format!("  <testcase classname=\"check-slo\" name=\"{name}\""));
        match (&check.actual, check.verdict()) {
            (Err(reason), _) => xml.push_str(&format!("><error message=\"could not measure: {}\"/></testcase>\n", escape(reason))),
            (Ok(_), Verdict::Held) => xml.push_str("/>\n"),
            (Ok(_), _) => xml.push_str(&format!("><failure message=\"was {}\"/></testcase>\n", escape(&actual(check)))),
        }
    }
    xml.push_str("</testsuite>\n");
    xml
}

fn escape(text: &str) -> String {
    let legal = text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t'));
    legal.collect::<String>().replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
