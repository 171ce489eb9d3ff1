//! `squall show`

use std::process::ExitCode;

use squall_model::RunId;
use squall_report::{Mark, ProbeReport, Report, clean, moment, span};

use super::history::colour;
use crate::context::{Context, Output, Style};
use crate::past::Past;

/// Show one run: its verdict, the evidence, and what happened
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  squall show latest
  squall show r1hf7 --events             what happened, line by line
  squall show latest --output json")]
pub struct Args {
    /// The run: its id, the beginning of it, or `latest`
    #[arg(default_value = "latest")]
    run: String,
    /// What happened, line by line; with --output json, every record of the journal as it is
    #[arg(long)]
    events: bool,
    /// For people or for scripts
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

/// Shows it.
pub fn run(args: Args, cx: &Context) -> anyhow::Result<ExitCode> {
    let past = Past::open(cx)?;
    let run = past.resolve(&args.run)?;
    if args.output == Output::Json {
        cx.json(&json(&past, &run, args.events)?)?;
    } else {
        text(cx, &past.report(&run)?.0, args.events)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A run as one JSON document: its report without the samples.
pub fn summary(cx: &Context, run: &RunId) -> anyhow::Result<serde_json::Value> {
    json(&Past::open(cx)?, run, false)
}

fn json(past: &Past, run: &RunId, events: bool) -> anyhow::Result<serde_json::Value> {
    let (mut value, records) = match past.report(run) {
        Ok((mut report, records)) => {
            // What a script wants to know is in the numbers; `squall report --format json` has every sample.
            report.probes.iter_mut().for_each(|probe| probe.samples.clear());
            (serde_json::to_value(report)?, records)
        }
        // A journal that this squall cannot judge can still be shown as it is.
        Err(_) if events => (serde_json::json!({ "facts": { "run": run } }), past.records(run)?),
        Err(error) => return Err(error),
    };
    value["run"] = run.as_str().into();
    if events {
        value["events"] = serde_json::to_value(records)?;
    }
    Ok(value)
}

fn text(cx: &Context, report: &Report, events: bool) -> anyhow::Result<()> {
    let facts = &report.facts;
    let outcome = report.outcome();
    cx.result(format!("{}  {}", cx.style(Style::Bold, clean(&report.headline)), cx.style(colour(outcome), format!("({outcome})"))))?;
    cx.result(clean(&report.reason))?;
    let what = format!("{}, run {}, on {} by {}, seed {}", report.experiment, facts.run, facts.host, facts.user, facts.seed);
    cx.result(cx.style(Style::Dim, format!("{}, {} for {}", clean(&what), clean(&facts.started), span(facts.duration))))?;
    section(cx, "Learned")?;
    for line in &report.learned {
        cx.result(format!("  {}", clean(line)))?;
    }
    probes(cx, &report.probes)?;
    injections(cx, report)?;
    for guard in report.guards.iter().filter(|guard| guard.tripped) {
        cx.result(format!(
            "  {} guard on {}: {}",
            sign(cx, Mark::Bad),
            clean(&guard.probe),
            clean(guard.why.as_deref().unwrap_or_default())
        ))?;
    }
    if events {
        section(cx, "Events")?;
        for event in &report.events {
            cx.result(format!("  {:>9} {} {}", moment(event.at), sign(cx, event.mark), clean(&event.text)))?;
        }
    }
    cx.say(format!("\n{}", cx.style(Style::Dim, format!("charts: squall report {}", facts.run))))
}

fn section(cx: &Context, name: &str) -> anyhow::Result<()> {
    cx.result(format!("\n{}", cx.style(Style::Bold, name)))
}

fn sign(cx: &Context, mark: Mark) -> String {
    let style = match mark {
        Mark::Good => Style::Green,
        Mark::Bad => Style::Red,
        Mark::Unsure | Mark::Fault => Style::Yellow,
        Mark::Step => Style::Dim,
    };
    cx.style(style, mark.sign().to_string())
}

fn probes(cx: &Context, probes: &[ProbeReport]) -> anyhow::Result<()> {
    section(cx, "Probes")?;
    let wide = probes.iter().map(|p| clean(&p.name).chars().count()).max().unwrap_or(0).max(5);
    let expected = probes.iter().map(|p| clean(&p.expectation).chars().count()).max().unwrap_or(0).max(8);
    let head = format!(
        "    {:<wide$}  {:<expected$}  {:>9}  {:>9}  {:>9}  {:>9}  {:>12}  {:>9}  {:>9}  {:>9}",
        "NAME", "EXPECTED", "BEFORE", "DURING", "AFTER", "VIOLATED", "NOT MEASURED", "LONGEST", "DETECTED", "RECOVERED"
    );
    cx.result(cx.style(Style::Dim, head.trim_end()))?;
    for p in probes {
        let stages = [&p.before, &p.during, &p.after];
        let [before, during, after] = stages.map(|stage| match (&stage.numbers, stage.samples) {
            (Some(n), _) => squall_report::value(&squall_model::Value::Number(n.median), p.dimension),
            (None, 0) => "–".to_owned(),
            (None, samples) => format!("{}/{samples} ok", samples - stage.violated - stage.unmeasured),
        });
        let violated: usize = stages.iter().map(|stage| stage.violated).sum();
        let unmeasured: usize = stages.iter().map(|stage| stage.unmeasured).sum();
        let time = |time: Option<u64>| time.map_or_else(|| "–".to_owned(), span);
        let line = format!(
            "{:<wide$}  {:<expected$}  {before:>9}  {during:>9}  {after:>9}  {violated:>9}  {unmeasured:>12}  {:>9}  {:>9}  {:>9}",
            clean(&p.name),
            clean(&p.expectation),
            time(p.longest_violation),
            time(p.time_to_detect),
            time(p.time_to_recover)
        );
        cx.result(format!("  {} {line}", sign(cx, p.status.mark())))?;
    }
    cx.say(cx.style(Style::Dim, "    BEFORE, DURING and AFTER are medians"))
}

fn injections(cx: &Context, report: &Report) -> anyhow::Result<()> {
    section(cx, "Faults")?;
    if report.injections.is_empty() {
        return cx.result("  nothing was injected");
    }
    for i in &report.injections {
        let mark = if i.verified == Some(true) { Mark::Good } else { Mark::Bad };
        let seen = match i.verified {
            Some(true) => "in force",
            Some(false) => "had no effect",
            None if i.in_force.is_some() => "not verified",
            None => "never in force",
        };
        let evidence = i.evidence.as_deref().or(i.error.as_deref()).map(|e| format!(" ({})", clean(e))).unwrap_or_default();
        cx.result(format!("  {} {}: {} on {}: {seen}{evidence}", sign(cx, mark), clean(&i.step), i.fault, clean(&i.target)))?;
        let gone = match (i.reverted, i.by, &i.how) {
            (Some(at), Some(by), how) => format!(
                "{} reverted at {}, by the {}: {}",
                sign(cx, Mark::Good),
                moment(at),
                who(by),
                clean(how.as_deref().unwrap_or_default())
            ),
            (None, Some(by), how) => {
                format!("{} reverted by the {}: {}", sign(cx, Mark::Good), who(by), clean(how.as_deref().unwrap_or_default()))
            }
            _ if i.stuck => format!(
                "{} not reverted: {}; `squall recover` tries again",
                sign(cx, Mark::Bad),
                clean(i.error.as_deref().unwrap_or_default())
            ),
            _ if i.in_force.is_none() => continue,
            _ => format!("{} no revert is known", sign(cx, Mark::Unsure)),
        };
        cx.result(format!("      {gone}"))?;
    }
    Ok(())
}

fn who(by: squall_model::RevertedBy) -> &'static str {
    match by {
        squall_model::RevertedBy::Engine => "run itself",
        squall_model::RevertedBy::Watchdog => "watchdog",
        squall_model::RevertedBy::Recover => "recovery of a later command",
        squall_model::RevertedBy::Stop => "`squall stop`",
        squall_model::RevertedBy::Agent => "the agent",
    }
}
