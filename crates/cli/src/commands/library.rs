//! `squall library`

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;

use crate::context::{CliError, Context, Output, Style};
use crate::library::{Entry, entries, find, load, parameters};

/// Ready experiments: list, show, and copy with your own values
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  squall library list
  squall library list --tag memory
  squall library show process-pause
  squall run library:process-pause --set process=nginx --set port=80 --set url=http://127.0.0.1/
  squall library new process-pause --set process=nginx -o pause-nginx.yaml")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the experiments, or those that a search finds
    List(List),
    /// Tell what an experiment does, what can be set, and its manifest
    Show(Show),
    /// Write an experiment to a file of your own, with its parameters filled in
    New(New),
}

#[derive(Debug, clap::Args)]
struct List {
    /// Words that are looked for in names, descriptions and tags
    search: Vec<String>,
    /// Only those with this tag
    #[arg(long)]
    tag: Vec<String>,
    /// For people or for scripts
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

#[derive(Debug, clap::Args)]
struct Show {
    /// The experiment
    name: String,
    /// For people or for scripts
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

#[derive(Debug, clap::Args)]
struct New {
    /// The experiment
    name: String,
    /// Fill in a parameter
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Where to; standard output where absent. A file that is there already is left alone
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write over a file that is there already
    #[arg(long)]
    force: bool,
}

/// Does it.
pub fn run(args: Args, cx: &Context) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::List(list) => run_list(&list, cx)?,
        Command::Show(show) => run_show(&show, cx)?,
        Command::New(new) => run_new(&new, cx)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn run_list(list: &List, cx: &Context) -> anyhow::Result<()> {
    let search = list.search.join(" ");
    let wanted =
        |entry: &Entry| entry.matches(&search) && list.tag.iter().all(|tag| entry.tags.iter().any(|t| t.eq_ignore_ascii_case(tag)));
    let found: Vec<Entry> = entries().into_iter().filter(wanted).collect();
    if list.output == Output::Json {
        return cx.json(&found);
    }
    if found.is_empty() {
        let hint = "`squall library list` without a search has them all".to_owned();
        return Err(CliError::usage("no experiment in the library is like that", hint).into());
    }
    let width = found.iter().map(|entry| entry.name.len()).max().unwrap_or(0);
    for entry in &found {
        let name = cx.style(Style::Bold, format!("{:width$}", entry.name));
        cx.result(format!("{name}  {}  {}", entry.description, cx.style(Style::Dim, format!("[{}]", entry.tags.join(", ")))))?;
    }
    cx.note("run one: squall run library:NAME --set PARAMETER=VALUE   what can be set: squall library show NAME");
    Ok(())
}

fn run_show(show: &Show, cx: &Context) -> anyhow::Result<()> {
    let entry = find(&show.name)?;
    if show.output == Output::Json {
        let mut json = serde_json::to_value(&entry)?;
        json["manifest"] = entry.text.into();
        return cx.json(&json);
    }
    cx.say(format!("{}: {}", cx.style(Style::Bold, &entry.name), entry.description))?;
    cx.say(format!("tags: {}", entry.tags.join(", ")))?;
    cx.say("\nparameters:")?;
    let width = entry.parameters.iter().map(|p| p.name.len()).max().unwrap_or(0);
    for parameter in &entry.parameters {
        let default = parameter.default.as_deref().map(|d| format!(" (default {d})")).unwrap_or_default();
        cx.say(format!("  {:width$}  {}{}", parameter.name, parameter.meaning, cx.style(Style::Dim, default)))?;
    }
    cx.say("\nmanifest:\n")?;
    cx.result(entry.text.trim_end())
}

fn run_new(new: &New, cx: &Context) -> anyhow::Result<()> {
    let text = load(&new.name, &parameters(&new.set)?)?;
    let Some(path) = &new.output else { return cx.result(text.trim_end()) };
    let mut options = std::fs::File::options();
    if new.force {
        options.write(true).create(true).truncate(true);
    } else {
        options.write(true).create_new(true);
    }
    let written = options.open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| {
        let there = error.kind() == std::io::ErrorKind::AlreadyExists;
        let hint = if there { "give another name, or --force to write over it" } else { "give a path that can be written with -o" };
        CliError::usage(format!("{} cannot be written: {error}", path.display()), hint.to_owned())
    })?;
    cx.note(format!("look at it: squall plan {path}   run it: squall run {path}", path = path.display()));
    Ok(())
}
