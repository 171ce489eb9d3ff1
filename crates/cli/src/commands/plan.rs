//! `squall plan`

use std::path::PathBuf;
use std::process::ExitCode;

use squall_engine::Preview;
use squall_model::WhenWorse;

use crate::context::{Context, Output, Style, exit};
use crate::runner::{Ground, Options, Prepared};

/// Show what a run would touch, with which mechanism, and how it is undone; changes nothing
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  squall plan examples/first.yaml
  squall plan experiment.yaml --policy policy.yaml --output json

Exit codes: 0 the run could begin, 2 wrong manifest, 7 it would be refused")]
pub struct Args {
    /// A manifest, `-` for standard input, or library:NAME
    manifest: String,
    /// Fill in a parameter of the manifest
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Decide every random choice by this number
    #[arg(long)]
    seed: Option<u64>,
    /// A policy that applies besides the host's own
    #[arg(long, value_name = "FILE")]
    policy: Vec<PathBuf>,
    /// For people or for scripts
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

/// Makes the plan and prints it.
pub fn run(args: Args, cx: &Context) -> anyhow::Result<ExitCode> {
    let prepared = Prepared::read(&args.manifest, &args.set)?;
    let options = Options { seed: args.seed, policies: args.policy, halt_after: None };
    let ground = Ground::look(cx, &prepared, &options)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let preview = runtime.block_on(ground.preview(&prepared));
    match args.output {
        Output::Json => cx.json(&preview)?,
        Output::Text => print(cx, &prepared, &ground, &preview)?,
    }
    Ok(if preview.refusals().is_empty() { ExitCode::SUCCESS } else { ExitCode::from(exit::REFUSED) })
}

fn print(cx: &Context, prepared: &Prepared, ground: &Ground, preview: &Preview) -> anyhow::Result<()> {
    let spec = &prepared.experiment.spec;
    cx.result(cx.style(Style::Bold, &prepared.experiment.metadata.name))?;
    cx.result(format!("  {}", spec.hypothesis.statement))?;
    cx.result("")?;
    for probe in &prepared.program.probes {
        let expects = if probe.bound.is_some() { format!("expect {}", probe.expectation) } else { "watched only".into() };
        cx.result(format!("  probe   {}: {}, every {}, {expects}", probe.name, probe.what, probe.every))?;
    }
    for traffic in &spec.traffic {
        cx.result(format!("  traffic {}: {} requests", traffic.name, traffic.rate))?;
    }
    cx.result(format!("  steady  {} before anything is touched", spec.steady.duration))?;
    for step in &preview.steps {
        let time = step.duration.map(|t| format!(" for {t}")).unwrap_or_default();
        cx.result("")?;
        cx.result(format!("  {} {}{time}", cx.style(Style::Bold, &step.name), cx.style(Style::Cyan, &step.fault)))?;
        let protected = if step.protected > 0 { format!(", {} more protected", step.protected) } else { String::new() };
        cx.result(format!("    {} of {} matching{protected}", step.targets.len(), step.matched))?;
        for target in &step.targets {
            for change in &target.changes {
                cx.result(format!("    {} {}", cx.style(Style::Yellow, "touches"), change.what))?;
                cx.result(format!("      how:  {}", change.mechanism))?;
                cx.result(format!("      undo: {}", change.undo))?;
            }
        }
        if !step.control.is_empty() {
            cx.result(format!("    left alone, as the control group: {}", step.control.join(", ")))?;
        }
        for refusal in &step.refusals {
            cx.result(format!("    {} {refusal}", cx.style(Style::Red, "refused:")))?;
        }
    }
    cx.result("")?;
    for (guard, spec) in prepared.program.guards.iter().zip(&spec.guards) {
        cx.result(format!("  guard   abort when {} is {}", spec.probe, guard.condition))?;
    }
    for (spec, compare) in prepared.program.comparisons.iter().zip(&spec.compare) {
        let step = &prepared.program.nodes[spec.node].name;
        let then = match compare.when_worse {
            WhenWorse::Abort => "abort when worse",
            WhenWorse::Continue => "go on when worse",
        };
        let margin = if spec.margin > 0.0 { format!(" by more than {} points", compare.margin.0) } else { String::new() };
        cx.result(format!(
            "  compare {}: {} of the targets of {step} and of their control group, every {}, expect {}; {then}{margin}",
            spec.name, spec.what, spec.every, spec.expectation
        ))?;
    }
    for action in spec.rollback.iter().flat_map(|r| &r.actions) {
        cx.result(format!("  rollback {}", action.name))?;
    }
    for policy in ground.policies.names() {
        cx.result(format!("  policy  {policy}"))?;
    }
    if let Some(schedule) = &spec.schedule {
        let next = squall_model::calendar::next(schedule, jiff::Timestamp::now(), 3).unwrap_or_default();
        let times: Vec<String> = next.iter().map(ToString::to_string).collect();
        cx.result(format!("  schedule {}: next {}", schedule.cron, times.join(", ")))?;
    }
    cx.result(format!(
        "  takes up to {} for the method, and up to {} to recover; seed {}",
        preview.longest, spec.recovery.within, ground.seed
    ))?;
    let verdict = if preview.refusals().is_empty() {
        "Nothing was touched. The run could begin."
    } else {
        "Nothing was touched. The run would be refused."
    };
    cx.result(verdict)
}
