//! `squall finding`

mod verify;

use std::process::ExitCode;

use clap::Subcommand;
use serde::Serialize;
use serde_json::json;
use squall_api::client::escape;
use squall_api::findings::{FindingPatch, FindingView, MaybeReason};
use squall_api::gamedays::Reason;
use squall_gameday::Priority;
use squall_report::clean;

use super::gameday::{Item, actions};
use crate::context::{Context, Output, Style};
use crate::remote::{Server, block_on, failed};
use crate::saved::{self, Show, minute, query, word};

/// Look after findings: weaknesses that runs on a server have shown
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  squall finding list --state open,acknowledged --service checkout
  squall finding acknowledge ID
  squall finding action add ID 'shorter timeout' --owner ada --priority P0 --due 2026-12-01
  squall finding fix ID --reason 'the timeout is 200 ms now'
  squall finding verify ID                 runs its experiment again: held, and it is verified

Nobody says that a finding is verified: a run shows it.")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List findings; with words to search for, the best first
    List(List),
    /// Show a finding: what was expected and measured, action items, runs
    Show(Show),
    /// Say a finding better: what is not given stays
    Update(Update),
    /// Take a finding on
    Acknowledge(One),
    /// Say that a finding is fixed; a later run that holds verifies it
    Fix(Fix),
    /// Leave a finding as it is
    Wontfix(Reasoned),
    /// Say that a finding is not over
    Reopen(Reasoned),
    /// Add an action item, or change one
    #[command(subcommand)]
    Action(Action),
    /// Run the experiment of a fixed finding again, and show what that says; the exit code is the verdict's
    Verify(verify::Args),
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Add an action item
    Add(AddAction),
    /// Change an action item: what is not given stays
    Set(SetAction),
}

#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    server: Server,
    /// Words that must all be there, as starts of words; in quotes, one after another
    #[arg(long, value_name = "WORDS")]
    search: Option<String>,
    /// Only of these states, separated by commas: open, acknowledged, fixed, verified, wontfix
    #[arg(long, value_name = "STATES")]
    state: Option<String>,
    /// Only with all of these tags, separated by commas
    #[arg(long, value_name = "TAGS")]
    tag: Option<String>,
    /// Only about this service
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Only of this experiment
    #[arg(long, value_name = "NAME")]
    experiment: Option<String>,
    /// Only where this person has something to do
    #[arg(long, value_name = "NAME")]
    owner: Option<String>,
    /// Only with something of this priority to do: P0, P1 or P2
    #[arg(long, value_parser = word::<Priority>)]
    priority: Option<Priority>,
    /// Only with something that should have been done by now
    #[arg(long)]
    overdue: bool,
    /// For people or for scripts
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

#[derive(Debug, clap::Args)]
struct One {
    #[command(flatten)]
    server: Server,
    /// Its id
    id: String,
}

#[derive(Debug, clap::Args)]
struct Fix {
    #[command(flatten)]
    server: Server,
    /// Its id
    id: String,
    /// How
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Debug, clap::Args)]
struct Reasoned {
    #[command(flatten)]
    server: Server,
    /// Its id
    id: String,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

#[derive(Debug, clap::Args)]
struct Update {
    #[command(flatten)]
    server: Server,
    /// Its id
    id: String,
    /// In a few words
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
    /// The service; empty: none
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Where it says what to do; empty: nowhere
    #[arg(long, value_name = "URL")]
    runbook: Option<String>,
    /// Tags in place of those that it has; once empty: none
    #[arg(long, value_name = "TAG")]
    tag: Vec<String>,
    /// What people think of it
    #[arg(long, value_name = "TEXT")]
    notes: Option<String>,
}

#[derive(Debug, clap::Args)]
struct AddAction {
    #[command(flatten)]
    server: Server,
    /// The finding's id
    id: String,
    /// What is to be done
    text: String,
    #[command(flatten)]
    item: Item,
}

#[derive(Debug, clap::Args)]
struct SetAction {
    #[command(flatten)]
    server: Server,
    /// The finding's id
    id: String,
    /// Number of the action item
    action: u32,
    /// What is to be done
    #[arg(long, value_name = "TEXT")]
    text: Option<String>,
    #[command(flatten)]
    item: Item,
}

/// Does it.
pub fn run(args: Args, cx: &Context) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::List(args) => list(&args, cx)?,
        Command::Show(args) => show(&args, cx)?,
        Command::Update(args) => update(args, cx)?,
        Command::Acknowledge(args) => step(&args.server, &args.id, "acknowledge", &json!({}), cx)?,
        Command::Fix(args) => step(&args.server, &args.id, "fix", &MaybeReason { reason: args.reason }, cx)?,
        Command::Wontfix(args) => step(&args.server, &args.id, "wontfix", &Reason { reason: args.reason }, cx)?,
        Command::Reopen(args) => step(&args.server, &args.id, "reopen", &Reason { reason: args.reason }, cx)?,
        Command::Action(args) => action(&args, cx)?,
        Command::Verify(args) => return verify::run(&args, cx),
    }
    Ok(ExitCode::SUCCESS)
}

/// Where a finding is in the API.
fn at(id: &str) -> String {
    format!("findings/{}", escape(id))
}

fn list(args: &List, cx: &Context) -> anyhow::Result<()> {
    let path = query(&[
        ("search", args.search.as_deref()),
        ("state", args.state.as_deref()),
        ("tag", args.tag.as_deref()),
        ("service", args.service.as_deref()),
        ("experiment", args.experiment.as_deref()),
        ("owner", args.owner.as_deref()),
        ("priority", args.priority.map(Priority::name)),
        ("overdue", args.overdue.then_some("true")),
    ]);
    let client = args.server.client()?;
    let findings = block_on(saved::all::<FindingView>(&client, &format!("findings{path}")))?;
    saved::list(cx, args.output, &findings, "no findings", |view| {
        let finding = &view.finding;
        let priority = finding.priority().map(|priority| priority.name().to_owned()).unwrap_or_default();
        let overdue = if view.overdue { "overdue".to_owned() } else { String::new() };
        let service = finding.service.clone().unwrap_or_default();
        vec![view.id.clone(), finding.state.name().to_owned(), priority, overdue, service, finding.title.clone()]
    })
}

fn show(args: &Show, cx: &Context) -> anyhow::Result<()> {
    let client = args.server.client()?;
    let view: FindingView = block_on(async { client.get(&at(&args.name)).await.map_err(failed) })?;
    if args.output == Output::Json { cx.json(&view) } else { tell(&view, cx) }
}

/// A finding, for people.
fn tell(view: &FindingView, cx: &Context) -> anyhow::Result<()> {
    let finding = &view.finding;
    let since = minute(finding.since);
    cx.result(cx.style(Style::Bold, clean(&format!("{} ({} since {since})", finding.title, finding.state.name()))))?;
    let line = |name: &str, value: &str| {
        if value.is_empty() { Ok(()) } else { cx.result(clean(&format!("{name}: {}", value.replace('\n', " ")))) }
    };
    line("experiment", &finding.experiment)?;
    line("service", finding.service.as_deref().unwrap_or_default())?;
    line("runbook", finding.runbook.as_deref().unwrap_or_default())?;
    line("tags", &finding.tags.iter().cloned().collect::<Vec<_>>().join(", "))?;
    for analysis in &finding.analysis {
        line(&analysis.metric, &format!("{}, expected {}", analysis.actual, analysis.expected))?;
        analysis.likely_cause.iter().try_for_each(|cause| line("  just before", cause))?;
    }
    line("notes", &finding.notes)?;
    actions(&finding.actions).iter().try_for_each(|line| cx.result(line))?;
    let runs = finding.runs.iter().map(|run| vec![format!("run {}", run.run), minute(run.at), run.verdict.name().to_owned()]);
    saved::columns(runs.collect()).iter().try_for_each(|line| cx.result(line))
}

fn said(view: &FindingView, cx: &Context) -> anyhow::Result<()> {
    cx.say(clean(&format!("{} is {}: {}", view.id, view.finding.state.name(), view.finding.title)))
}

fn step(server: &Server, id: &str, what: &str, body: &impl Serialize, cx: &Context) -> anyhow::Result<()> {
    let client = server.client()?;
    said(&block_on(async { client.post(&format!("{}/{what}", at(id)), body).await.map_err(failed) })?, cx)
}

fn update(args: Update, cx: &Context) -> anyhow::Result<()> {
    let client = args.server.client()?;
    let tags = (!args.tag.is_empty()).then(|| args.tag.into_iter().filter(|tag| !tag.is_empty()).collect());
    let patch = FindingPatch { title: args.title, service: args.service, runbook: args.runbook, tags, notes: args.notes };
    said(&block_on(async { client.patch(&at(&args.id), &patch).await.map_err(failed) })?, cx)
}

fn action(args: &Action, cx: &Context) -> anyhow::Result<()> {
    let view: FindingView = match args {
        Action::Add(args) => {
            let (client, item) = (args.server.client()?, args.item.item(args.text.clone()));
            block_on(async { client.post(&format!("{}/actions", at(&args.id)), &item).await.map_err(failed) })?
        }
        Action::Set(args) => {
            let client = args.server.client()?;
            block_on(async {
                let view: FindingView = client.get(&at(&args.id)).await.map_err(failed)?;
                let item = args.item.changed(&view.finding.actions, args.action, args.text.clone())?;
                client.put(&format!("{}/actions/{}", at(&args.id), args.action), &item).await.map_err(failed)
            })?
        }
    };
    actions(&view.finding.actions).iter().try_for_each(|line| cx.say(line))
}
