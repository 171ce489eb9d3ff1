//! `squall monkey`

use std::process::ExitCode;

use clap::Subcommand;
use squall_api::schedules::{ImportedMonkey, MonkeyDay, MonkeyImport, SavedMonkey};
use squall_report::clean;

use crate::context::{CliError, Context, Output};
use crate::remote::{Server, block_on, failed};
use crate::saved::{self, Apply, Listing, Named, Saved, Show, columns};

const MONKEYS: Saved = Saved { path: "monkeys", kind: "Monkey", field: "monkey", what: "monkey" };

/// Look after a server's Chaos Monkeys
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  squall monkey import production chaosmonkey.toml > production.json
  squall monkey apply production.json
  squall monkey today production        its groups, and whether something is ahead: neither when nor whom
  squall monkey history production      what it did, or on the leash would have done")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List monkeys
    List(Listing),
    /// Save monkeys from files
    Apply(Apply),
    /// Read configurations of Netflix's Chaos Monkey; the monkey goes to standard output, and nothing is saved
    Import(Import),
    /// Print a monkey
    Show(Show),
    /// Show a monkey's groups and its day
    Today(Show),
    /// List what a monkey did, the newest first
    History(Show),
    /// Remove a monkey with its history
    Rm(Named),
}

#[derive(Debug, clap::Args)]
struct Import {
    #[command(flatten)]
    server: Server,
    /// What the monkey is to be called
    name: String,
    /// A `chaosmonkey.toml`, applications as Spinnaker keeps them, or a Kubernetes `ConfigMap` with either
    #[arg(required = true, value_name = "FILE")]
    files: Vec<String>,
}

/// Does it.
pub fn run(args: Args, cx: &Context) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::List(args) => list(&args, cx)?,
        Command::Apply(args) => MONKEYS.apply(&args, cx)?,
        Command::Import(args) => import(&args, cx)?,
        Command::Show(args) => MONKEYS.show(&args, cx)?,
        Command::Today(args) => today(&args, cx)?,
        Command::History(args) => MONKEYS.history(&args, cx)?,
        Command::Rm(args) => MONKEYS.remove(&args, cx)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list(args: &Listing, cx: &Context) -> anyhow::Result<()> {
    let client = args.server.client()?;
    let monkeys = block_on(saved::all::<SavedMonkey>(&client, "monkeys"))?;
    saved::list(cx, args.output, &monkeys, "no monkeys; `squall monkey apply FILE` saves one", |monkey| {
        let state = match (monkey.enabled, monkey.leashed) {
            (false, _) => "disabled",
            (true, true) => "on the leash",
            (true, false) => "at large",
        };
        vec![monkey.name.clone(), state.to_owned(), format!("by {}", monkey.by)]
    })
}

fn import(args: &Import, cx: &Context) -> anyhow::Result<()> {
    let read = |path: &String| std::fs::read_to_string(path).map_err(|e| CliError::usage(format!("{path} cannot be read: {e}"), None));
    let files = args.files.iter().map(read).collect::<Result<_, _>>()?;
    let client = args.server.client()?;
    let request = MonkeyImport { name: args.name.clone(), files };
    let imported: ImportedMonkey = block_on(async { client.post("monkeys/import", &request).await.map_err(failed) })?;
    for warning in &imported.warnings {
        let hint = warning.hint.as_ref().map(|hint| format!(" (hint: {hint})")).unwrap_or_default();
        cx.note(clean(&format!("{}:{}: {}: {}{hint}", warning.line, warning.column, warning.path, warning.message)));
    }
    cx.result(imported.monkey)
}

fn today(args: &Show, cx: &Context) -> anyhow::Result<()> {
    let client = args.server.client()?;
    let day: MonkeyDay = block_on(async { client.get(&format!("{}/today", MONKEYS.at(&args.name))).await.map_err(failed) })?;
    if args.output == Output::Json {
        return cx.json(&day);
    }
    if let Some(off) = &day.off {
        cx.result(clean(&format!("nothing today: {off}")))?;
    }
    let rows = day.groups.iter().map(|group| {
        let today = match &group.passed {
            _ if group.ahead => "something is ahead".to_owned(),
            Some(why) => why.clone(),
            None => String::new(),
        };
        let last = group.last_kill.as_ref().map(|day| format!("last {day}")).unwrap_or_default();
        vec![group.group.clone(), format!("{} hosts", group.hosts.len()), last, today]
    });
    columns(rows.collect()).iter().try_for_each(|line| cx.result(line))
}
