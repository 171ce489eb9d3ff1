//! `squall schedule`

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;
use squall_api::schedules::{Firing, NewSchedule, NextTime, SavedSchedule};

use crate::context::{Context, Output};
use crate::remote::{Server, block_on, failed};
use crate::saved::{self, Apply, File, Listing, Named, Saved, Show, minute};

const SCHEDULES: Saved = Saved { path: "schedules", kind: "Schedule", field: "schedule", what: "schedule" };

/// Look after a server's schedules: experiments that run by themselves
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  squall schedule apply nightly.yaml
  squall schedule next nightly --count 5
  squall schedule next --file nightly.yaml      of one that is not saved
  squall schedule trigger nightly               now, beside its times
  squall schedule history nightly               what became of its times, and why")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List schedules, with their next time
    List(Listing),
    /// Save schedules from files
    Apply(Apply),
    /// Print a schedule
    Show(Show),
    /// Pause a schedule: its times are skipped until it is resumed
    Pause(Named),
    /// Resume a schedule
    Resume(Named),
    /// Run a schedule now; the run is the only thing on standard output
    Trigger(Named),
    /// List the next times of a schedule
    Next(Next),
    /// List what became of the times of a schedule, the newest first
    History(Show),
    /// Remove a schedule with its history
    Rm(Named),
}

#[derive(Debug, clap::Args)]
struct Next {
    #[command(flatten)]
    server: Server,
    /// Its name
    #[arg(required_unless_present = "file")]
    name: Option<String>,
    /// In place of a name: a file with a schedule that is not saved
    #[arg(long, value_name = "FILE", conflicts_with = "name")]
    file: Option<String>,
    /// How many
    #[arg(long, default_value = "10", value_parser = clap::value_parser!(u32).range(1..=500))]
    count: u32,
    /// For people or for scripts
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

/// Does it.
pub fn run(args: Args, cx: &Context) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::List(args) => list(&args, cx)?,
        Command::Apply(args) => SCHEDULES.apply(&args, cx)?,
        Command::Show(args) => SCHEDULES.show(&args, cx)?,
        Command::Pause(args) => set(&args, "pause", "paused", cx)?,
        Command::Resume(args) => set(&args, "resume", "resumed", cx)?,
        Command::Trigger(args) => trigger(&args, cx)?,
        Command::Next(args) => next(&args, cx)?,
        Command::History(args) => SCHEDULES.history(&args, cx)?,
        Command::Rm(args) => SCHEDULES.remove(&args, cx)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn ahead(schedule: &SavedSchedule) -> String {
    match schedule.next {
        _ if schedule.paused => "paused".to_owned(),
        Some(next) => minute(next),
        None => "over".to_owned(),
    }
}

fn list(args: &Listing, cx: &Context) -> anyhow::Result<()> {
    let client = args.server.client()?;
    let schedules = block_on(saved::all::<SavedSchedule>(&client, "schedules"))?;
    saved::list(cx, args.output, &schedules, "no schedules; `squall schedule apply FILE` saves one", |one| {
        vec![one.name.clone(), ahead(one), one.experiment.clone(), one.cron.clone(), one.time_zone.clone()]
    })
}

fn set(args: &Named, action: &str, done: &str, cx: &Context) -> anyhow::Result<()> {
    let client = args.server.client()?;
    let path = format!("{}/{action}", SCHEDULES.at(&args.name));
    let schedule: SavedSchedule = block_on(async { client.post(&path, &json!({})).await.map_err(failed) })?;
    let next = if schedule.paused { String::new() } else { format!("; next: {}", ahead(&schedule)) };
    cx.say(format!("{done} schedule `{}`{next}", args.name))
}

fn trigger(args: &Named, cx: &Context) -> anyhow::Result<()> {
    let client = args.server.client()?;
    let path = format!("{}/trigger", SCHEDULES.at(&args.name));
    let firing: Firing = block_on(async { client.post(&path, &json!({})).await.map_err(failed) })?;
    cx.note("it begins within seconds, unless something stands against it: `squall schedule history` says");
    cx.result(firing.run.map(|run| run.to_string()).unwrap_or(firing.id))
}

fn next(args: &Next, cx: &Context) -> anyhow::Result<()> {
    let file = args.file.as_deref().map(|source| File::read(source, SCHEDULES.kind)).transpose()?;
    let client = args.server.client()?;
    let times: Vec<NextTime> = block_on(async {
        let asked = match (&file, &args.name) {
            (Some(file), _) => {
                let new = NewSchedule { schedule: file.text().to_owned() };
                client.post(&format!("schedules/preview?count={}", args.count), &new).await
            }
            (None, name) => client.get(&format!("{}/next?count={}", SCHEDULES.at(name.as_deref().unwrap_or_default()), args.count)).await,
        };
        asked.map_err(failed)
    })?;
    saved::list(cx, args.output, &times, "it does not come again", |time| {
        let skipped = time.skipped.as_ref().map(|why| format!("skipped: {why}")).unwrap_or_default();
        vec![time.due.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(), skipped]
    })
}
