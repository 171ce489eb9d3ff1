//! `squall gameday`

mod show;
mod steps;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use squall_api::client::escape;
use squall_api::gamedays::{Changed, DaySummary, DayView};
use squall_gameday::{ActionState, Marked, PlanDocument, Priority};

use crate::context::{Context, Output};
use crate::remote::{Server, block_on, failed};
use crate::saved::{self, File, Listing, minute, word};

/// Plan and hold game days on a server
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  squall gameday plan rehearsal.yaml            its id is the only thing on standard output
  squall gameday start ID
  squall gameday scenario start ID 0            scenarios count from 0
  squall gameday mark ID 0 detected             the server's time, and the first who says it
  squall gameday note ID 'the dashboard is red' --scenario 0
  squall gameday follow ID                      live, for everybody
  squall gameday end ID
  squall gameday report ID > report.md")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Plan a game day from a file
    Plan(Plan),
    /// List game days, the newest first
    List(Listing),
    /// Show a game day: its scenarios, times and action items
    Show(Show),
    /// Start a game day
    Start(One),
    /// Start a scenario, or leave it out
    #[command(subcommand)]
    Scenario(Scenario),
    /// Say that somebody has noticed, or that the service is well again
    Mark(Mark),
    /// Note something
    Note(Note),
    /// Say what people and systems did in a scenario
    Actual(Actual),
    /// Write down a lesson
    Lesson(Words),
    /// Add an action item, or change one
    #[command(subcommand)]
    Action(Action),
    /// Follow a game day live, from its first entry on
    Follow(Show),
    /// End a game day
    End(One),
    /// Call a game day off; its run is stopped, and what it did is put back
    Cancel(Reasoned),
    /// Print the report of a game day, also before it is over
    Report(Report),
    /// Remove a game day that was never started
    Rm(One),
}

/// Scenarios.
#[derive(Debug, Subcommand)]
pub enum Scenario {
    /// Start a scenario's run
    Start(InScenario),
    /// Leave a scenario out
    Skip(Skip),
}

/// Action items.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Add an action item
    Add(AddAction),
    /// Change an action item: what is not given stays
    Set(SetAction),
}

#[derive(Debug, clap::Args)]
struct Plan {
    #[command(flatten)]
    server: Server,
    /// The file; `-` for standard input
    file: String,
    /// Change the plan of this game day, which has not started
    #[arg(long, value_name = "ID")]
    replace: Option<String>,
}

/// One game day.
#[derive(Debug, clap::Args)]
pub struct One {
    #[command(flatten)]
    server: Server,
    /// Its id
    id: String,
}

/// One game day, to be shown.
#[derive(Debug, clap::Args)]
pub struct Show {
    #[command(flatten)]
    server: Server,
    /// Its id
    id: String,
    /// For people or for scripts
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

/// A scenario.
#[derive(Debug, clap::Args)]
pub struct InScenario {
    #[command(flatten)]
    server: Server,
    /// The game day's id
    id: String,
    /// Which scenario, from 0
    scenario: usize,
}

/// A scenario that is left out.
#[derive(Debug, clap::Args)]
pub struct Skip {
    #[command(flatten)]
    of: InScenario,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// A mark.
#[derive(Debug, clap::Args)]
pub struct Mark {
    #[command(flatten)]
    of: InScenario,
    /// detected or resolved
    #[arg(value_name = "MARK", value_parser = word::<Marked>)]
    what: Marked,
    /// It was a mistake
    #[arg(long)]
    undo: bool,
}

/// A note.
#[derive(Debug, clap::Args)]
pub struct Note {
    #[command(flatten)]
    server: Server,
    /// The game day's id
    id: String,
    /// The note
    text: String,
    /// The scenario that it is about, from 0
    #[arg(long, value_name = "NUMBER")]
    scenario: Option<usize>,
}

/// What people and systems did.
#[derive(Debug, clap::Args)]
pub struct Actual {
    #[command(flatten)]
    of: InScenario,
    /// In words
    text: String,
}

/// Words.
#[derive(Debug, clap::Args)]
pub struct Words {
    #[command(flatten)]
    server: Server,
    /// The game day's id
    id: String,
    /// In words
    text: String,
}

/// A game day that is called off.
#[derive(Debug, clap::Args)]
pub struct Reasoned {
    #[command(flatten)]
    server: Server,
    /// The game day's id
    id: String,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// A new action item.
#[derive(Debug, clap::Args)]
pub struct AddAction {
    #[command(flatten)]
    server: Server,
    /// The game day's id
    id: String,
    /// What is to be done
    text: String,
    #[command(flatten)]
    item: Item,
}

/// A change of an action item.
#[derive(Debug, clap::Args)]
pub struct SetAction {
    #[command(flatten)]
    server: Server,
    /// The game day's id
    id: String,
    /// Number of the action item
    action: u32,
    /// What is to be done
    #[arg(long, value_name = "TEXT")]
    text: Option<String>,
    #[command(flatten)]
    item: Item,
}

/// What an action item says. Findings have the same.
#[derive(Debug, clap::Args)]
pub struct Item {
    /// Who does it
    #[arg(long, value_name = "NAME")]
    pub owner: Option<String>,
    /// How soon: P0, P1 or P2 [default of a new one: P1]
    #[arg(long, value_parser = word::<Priority>)]
    pub priority: Option<Priority>,
    /// By when, such as 2026-12-01
    #[arg(long, value_name = "DAY")]
    pub due: Option<jiff::civil::Date>,
    /// todo, doing, done or dropped
    #[arg(long, value_parser = word::<ActionState>)]
    pub state: Option<ActionState>,
}

/// A report.
#[derive(Debug, clap::Args)]
pub struct Report {
    #[command(flatten)]
    server: Server,
    /// The game day's id
    id: String,
    /// md, html or json
    #[arg(long, value_name = "FORMAT", default_value = "md", value_parser = ["md", "html", "json"])]
    format: String,
    /// Write it into this file, in place of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub use show::actions;

/// Does it.
pub fn run(args: Args, cx: &Context) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Plan(args) => plan(&args, cx)?,
        Command::List(args) => list(&args, cx)?,
        Command::Show(args) => show::show(&args, cx)?,
        Command::Start(args) => steps::begin(&args, cx)?,
        Command::Scenario(args) => steps::scenario(&args, cx)?,
        Command::Mark(args) => steps::mark(&args, cx)?,
        Command::Note(args) => steps::note(&args, cx)?,
        Command::Actual(args) => steps::actual(&args, cx)?,
        Command::Lesson(args) => steps::lesson(&args, cx)?,
        Command::Action(args) => steps::action(&args, cx)?,
        Command::Follow(args) => show::follow(&args, cx)?,
        Command::End(args) => steps::end(&args, cx)?,
        Command::Cancel(args) => steps::cancel(&args, cx)?,
        Command::Report(args) => show::report(&args, cx)?,
        Command::Rm(args) => {
            let client = args.server.client()?;
            block_on(async { client.delete(&at(&args.id)).await.map_err(failed) })?;
            cx.say(format!("removed game day {}", args.id))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Where a game day is in the API.
fn at(id: &str) -> String {
    format!("gamedays/{}", escape(id))
}

fn plan(args: &Plan, cx: &Context) -> anyhow::Result<()> {
    let plan = File::read(&args.file, "GameDay")?.decode::<PlanDocument>()?.spec;
    let client = args.server.client()?;
    let id = block_on(async {
        match &args.replace {
            Some(id) => client.put::<Changed>(&at(id), &plan).await.map(|changed| changed.view.id),
            None => client.post::<DayView>("gamedays", &plan).await.map(|view| view.id),
        }
        .map_err(failed)
    })?;
    cx.note(format!("planned `{}`; `squall gameday start {id}` starts it", plan.title));
    cx.result(id)
}

fn list(args: &Listing, cx: &Context) -> anyhow::Result<()> {
    let client = args.server.client()?;
    let days = block_on(saved::all::<DaySummary>(&client, "gamedays"))?;
    saved::list(cx, args.output, &days, "no game days; `squall gameday plan FILE` plans one", |day| {
        let when = match (day.started, day.starts) {
            (Some(started), _) => minute(started),
            (None, Some(starts)) => format!("for {}", minute(starts)),
            (None, None) => String::new(),
        };
        vec![day.id.clone(), day.state.name().to_owned(), when, format!("{} scenarios", day.scenarios), day.title.clone()]
    })
}
