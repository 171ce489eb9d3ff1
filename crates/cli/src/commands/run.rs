//! `squall run`

mod remote;

use std::path::PathBuf;
use std::process::ExitCode;

use squall_engine::Control;
use squall_model::Verdict;
use tokio::sync::mpsc;

use crate::context::{CliError, Context, Output, Style};
use crate::live;
use crate::runner::{Finished, Options, Prepared, run as carry_out};

/// Run an experiment: verify, inject, observe, revert, judge
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  squall run examples/first.yaml
  squall run library:process-pause --set process=payments --report out.html
  squall run experiment.yaml --output json > result.json
  squall run experiment.yaml --server https://squall.example    on hosts with an agent

Exit codes: 0 held, 1 deviated, 2 wrong manifest, 3 unsteady (nothing touched), 4 aborted,
5 inconclusive, 6 failed (something may need `squall recover`), 7 refused (nothing touched)

Ctrl-C reverts everything and then ends; a second Ctrl-C ends at once, and the watchdog reverts.")]
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
    /// Write a report when the run is over; the ending says the format: .html, .md, .json, .xml (JUnit)
    #[arg(long, value_name = "FILE")]
    report: Vec<PathBuf>,
    /// Have a server run it, on hosts with an agent; sign in first with `squall login`
    #[arg(long, value_name = "URL", conflicts_with_all = ["policy", "report"])]
    server: Option<String>,
    /// With a server: the host that probes are asked from
    #[arg(long, value_name = "HOST", requires = "server")]
    from: Option<String>,
    /// Lines instead of the live view
    #[arg(long)]
    plain: bool,
    /// For people or for scripts
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    output: Output,
    /// For tests of crash safety: die by SIGKILL right after so many events are in the journal
    #[arg(long, hide = true, value_name = "N")]
    halt_after_event: Option<u64>,
}

/// Runs it.
pub fn run(args: Args, cx: &Context) -> anyhow::Result<ExitCode> {
    let formats = args.report.iter().map(|path| super::report::format_of(path)).collect::<anyhow::Result<Vec<_>>>()?;
    let prepared = Prepared::read(&args.manifest, &args.set)?;
    let mode = if args.output == Output::Json || cx.quiet { live::Mode::Silent } else { live::Mode::choose(cx, args.plain) };
    if let Some(url) = &args.server {
        return remote::run(&args, url, &prepared, mode, cx);
    }
    let collector = crate::telemetry::collector()?;
    let options = Options { seed: args.seed, policies: args.policy.clone(), halt_after: args.halt_after_event };
    let Some(finished) = carry_out_here(cx, &prepared, &options, mode)? else {
        cx.note("left while things were still being put back: the watchdog finishes that now; `squall recover` checks");
        return Ok(ExitCode::from(Verdict::Aborted.exit_code()));
    };
    for (path, format) in args.report.iter().zip(formats) {
        super::report::write(cx, &finished.run, format, path)?;
        cx.note(format!("report: {}", path.display()));
    }
    if let Some(collector) = &collector {
        crate::telemetry::send(collector, &finished.run, cx)?;
    }
    if args.output == Output::Json {
        cx.json(&super::show::summary(cx, &finished.run)?)?;
    } else {
        conclude(cx, &finished, args.report.is_empty())?;
    }
    Ok(ExitCode::from(finished.outcome.verdict.exit_code()))
}

/// Runs an experiment on this thread, with Ctrl-C understood. Nothing comes back if it was pressed twice.
pub fn carry_out_here(cx: &Context, prepared: &Prepared, options: &Options, mode: live::Mode) -> anyhow::Result<Option<Finished>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    let finished = local.block_on(&runtime, async {
        let (left, mut leave) = mpsc::unbounded_channel();
        let show = |run, states, control: mpsc::UnboundedSender<Control>| {
            tokio::task::spawn_local(interrupts(control.clone(), left.clone()));
            live::show(mode, cx.colour, run, states, control, left.clone())
        };
        tokio::select! {
            finished = carry_out(cx, prepared, options, show) => finished.map(Some),
            Some(()) = leave.recv() => Ok(None),
        }
    });
    // Tasks that hang must not keep the process: whatever they hold open is reverted by the watchdog when it ends.
    runtime.shutdown_background();
    finished
}

/// Ctrl-C once stops and reverts; twice leaves.
async fn interrupts(control: mpsc::UnboundedSender<Control>, leave: mpsc::UnboundedSender<()>) {
    if tokio::signal::ctrl_c().await.is_ok() {
        let _ = control.send(Control::Stop("Ctrl-C".into()));
    }
    if tokio::signal::ctrl_c().await.is_ok() {
        let _ = leave.send(());
    }
}

/// The last lines: the verdict, why, and what to do next.
pub fn conclude(cx: &Context, finished: &Finished, offer_report: bool) -> anyhow::Result<()> {
    let outcome = &finished.outcome;
    let style = match outcome.verdict {
        Verdict::Held => Style::Green,
        Verdict::Deviated | Verdict::Failed => Style::Red,
        Verdict::Unsteady | Verdict::Aborted | Verdict::Inconclusive => Style::Yellow,
    };
    cx.result(format!("{}: {}", cx.style(style, outcome.verdict.name()), outcome.reason))?;
    if offer_report {
        cx.note(format!("evidence: squall show {run}   report: squall report {run}", run = finished.run));
    }
    Ok(())
}

/// What a second Ctrl-C or a closed terminal comes to.
pub fn interrupted(message: &str) -> CliError {
    CliError { message: message.into(), hint: None, code: Verdict::Aborted.exit_code() }
}
