//! `squall history`

use std::process::ExitCode;

use clap::ValueEnum;
use squall_model::Verdict;
use squall_report::{clean, clip, span};
use squall_store::Filter;

use crate::context::{CliError, Context, Output, Style};
use crate::past::{Entry, Past, Standing};

/// List the runs, the newest first
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  squall history
  squall history --name checkout --verdict deviated
  squall history --verdict interrupted         runs that were killed, and who put things back
  squall history --label team=checkout --limit 0 --output json")]
pub struct Args {
    /// Only experiments with this in their name
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// Only runs that ended so, that are running, or that were interrupted
    #[arg(long)]
    verdict: Option<Wanted>,
    /// Only experiments with this label
    #[arg(long, value_name = "KEY=VALUE")]
    label: Vec<String>,
    /// At most so many; 0 for all
    #[arg(long, default_value_t = 20)]
    limit: usize,
    /// For people or for scripts
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

/// What `--verdict` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Wanted {
    Held,
    Deviated,
    Unsteady,
    Aborted,
    Inconclusive,
    Failed,
    Running,
    Interrupted,
}

impl Wanted {
    fn is(self, standing: Standing) -> bool {
        let verdict = match self {
            Self::Held => Verdict::Held,
            Self::Deviated => Verdict::Deviated,
            Self::Unsteady => Verdict::Unsteady,
            Self::Aborted => Verdict::Aborted,
            Self::Inconclusive => Verdict::Inconclusive,
            Self::Failed => Verdict::Failed,
            Self::Running => return standing == Standing::Running,
            Self::Interrupted => return standing == Standing::Interrupted,
        };
        standing == Standing::Ended(verdict)
    }
}

/// Lists them.
pub fn run(args: Args, cx: &Context) -> anyhow::Result<ExitCode> {
    let mut filter = Filter { name: args.name.clone(), limit: (args.limit > 0).then_some(args.limit), ..Filter::default() };
    for label in &args.label {
        let (key, value) = label
            .split_once('=')
            .ok_or_else(|| CliError::usage(format!("`{label}` is not a label"), "write it like `--label team=checkout`".to_owned()))?;
        filter.labels.insert(key.trim().to_owned(), value.trim().to_owned());
    }
    let past = Past::open(cx)?;
    let entries = past.entries(&filter, |standing| args.verdict.is_none_or(|wanted| wanted.is(standing)))?;
    if args.output == Output::Json {
        cx.json(&entries)?;
    } else if entries.is_empty() {
        let filtered = args.name.is_some() || args.verdict.is_some() || !args.label.is_empty();
        cx.say(if filtered { "no run matches" } else { "there are no runs yet; `squall demo` makes two" })?;
    } else {
        table(cx, &entries)?;
        if filter.limit == Some(entries.len()) {
            cx.note(format!("the newest {}; --limit 0 shows all", entries.len()));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn table(cx: &Context, entries: &[Entry]) -> anyhow::Result<()> {
    let wide = entries.iter().map(|e| clean(&e.summary.experiment).chars().count()).max().unwrap_or(0).clamp(10, 32);
    let head = format!("{:<13}  {:<19}  {:<wide$}  {:<12}  {:>7}  WHY", "RUN", "STARTED (UTC)", "EXPERIMENT", "VERDICT", "LASTED");
    cx.say(cx.style(Style::Dim, head))?;
    let room = columns(cx).map(|columns| columns.saturating_sub(13 + 2 + 19 + 2 + wide + 2 + 12 + 2 + 7 + 2));
    for entry in entries {
        let run = &entry.summary;
        let started: String = clean(&run.started).replace('T', " ").chars().take(19).collect();
        let experiment = format!("{:<wide$}", clip(&clean(&run.experiment), wide));
        let why = [run.reason.as_deref(), entry.aftermath.as_deref(), run.damaged.as_deref()]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join("; ");
        let why = room.filter(|room| *room >= 20).map_or_else(|| clean(&why), |room| clip(&clean(&why), room));
        let verdict = cx.style(colour(entry.standing), format!("{:<12}", entry.standing));
        let line = format!(
            "{}  {started:<19}  {experiment}  {verdict}  {:>7}  {why}",
            cx.style(Style::Cyan, run.run.as_str()),
            span(run.lasted_us)
        );
        cx.result(line.trim_end())?;
    }
    Ok(())
}

/// How wide the terminal is, if standard output is one.
fn columns(cx: &Context) -> Option<usize> {
    if cx.terminal { crossterm::terminal::size().ok().map(|(columns, _)| usize::from(columns)) } else { None }
}

/// The colour of a standing; the word beside it says the same.
pub fn colour(standing: &str) -> Style {
    match standing {
        "held" => Style::Green,
        "deviated" | "failed" => Style::Red,
        "running" => Style::Cyan,
        _ => Style::Yellow,
    }
}
