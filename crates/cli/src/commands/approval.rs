//! `squall approval`

use std::process::ExitCode;

use clap::Subcommand;
use squall_api::approvals::{Approval, NewApproval, NewDecision};
use squall_api::client::{Client, escape};
use squall_api::runs::NewRun;
use squall_report::clean;

use crate::context::{Context, Output};
use crate::remote::{Server, block_on, failed};
use crate::runner::Prepared;

/// Ask others to approve a run, approve one, refuse one
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  squall approval ask failover.yaml --why 'the drill of Thursday' --lasts 8h
  squall approval list --state pending
  squall approval show 0b1f…-0001                  the manifest that would run
  squall approval approve 0b1f…-0001 --comment 'after lunch, please'

Which runs need it is said by the rules of the server's policies. An approval is good for this manifest alone;
nobody approves what they asked for or start themselves.")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Ask for an approval; its id is the only thing on standard output
    Ask(Ask),
    /// List approvals, the newest first
    List(List),
    /// Show an approval with the manifest that it is good for
    Show(Show),
    /// Approve a run
    Approve(Decide),
    /// Refuse to approve a run
    Refuse(Decide),
    /// Withdraw a request
    Withdraw(Withdraw),
}

#[derive(Debug, clap::Args)]
struct Ask {
    #[command(flatten)]
    server: Server,
    /// A manifest, `-` for standard input, or library:NAME
    manifest: String,
    /// Fill in a parameter of the manifest
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// The host that probes are asked from
    #[arg(long, value_name = "HOST")]
    from: Option<String>,
    /// What it is for, to those who are asked
    #[arg(long, value_name = "TEXT")]
    why: String,
    /// How long it is good for, from 1m to 30d [default: 24h]
    #[arg(long, value_name = "TIME")]
    lasts: Option<String>,
}

#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    server: Server,
    /// Only pending, approved, refused or expired ones
    #[arg(long)]
    state: Option<String>,
    /// For people or for scripts
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

#[derive(Debug, clap::Args)]
struct Show {
    #[command(flatten)]
    server: Server,
    /// Its id
    id: String,
    /// For people or for scripts
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

#[derive(Debug, clap::Args)]
struct Decide {
    #[command(flatten)]
    server: Server,
    /// Its id
    id: String,
    /// In your words
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,
}

#[derive(Debug, clap::Args)]
struct Withdraw {
    #[command(flatten)]
    server: Server,
    /// Its id
    id: String,
}

/// Does it.
pub fn run(args: Args, cx: &Context) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Ask(args) => {
            let prepared = Prepared::read(&args.manifest, &args.set)?;
            let run = NewRun { manifest: Some(prepared.text), from: args.from, ..NewRun::default() };
            let new = NewApproval { run, why: args.why, lasts: args.lasts };
            block_on(ask(args.server.client()?, &new, cx))?;
        }
        Command::List(args) => block_on(list(args.server.client()?, &args, cx))?,
        Command::Show(args) => block_on(show(args.server.client()?, &args, cx))?,
        Command::Approve(args) => block_on(decide(args.server.client()?, &args, "approve", cx))?,
        Command::Refuse(args) => block_on(decide(args.server.client()?, &args, "refuse", cx))?,
        Command::Withdraw(args) => {
            let client = args.server.client()?;
            block_on(async { client.delete(&path(&args.id)).await.map_err(failed) })?;
            cx.say(format!("withdrew {}", args.id))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn path(id: &str) -> String {
    format!("approvals/{}", escape(id))
}

async fn ask(client: Client, new: &NewApproval, cx: &Context) -> anyhow::Result<()> {
    let approval: Approval = client.post("approvals", new).await.map_err(failed)?;
    for rule in &approval.rules {
        let people = if rule.wanted == 1 { "1 approval".to_owned() } else { format!("{} approvals", rule.wanted) };
        cx.note(clean(&format!("rule `{}` of policy {} wants {people}", rule.rule, rule.policy)));
    }
    cx.note(format!("good until {}", approval.until.strftime("%Y-%m-%d %H:%M UTC")));
    cx.result(approval.id)
}

/// One line for an approval.
fn line(approval: &Approval) -> anyhow::Result<String> {
    let state = serde_json::to_value(approval.state)?;
    let wanted = approval.rules.iter().map(|rule| rule.wanted).max().unwrap_or_default();
    let yes = approval.decisions.iter().filter(|decision| decision.approve).count();
    let until = approval.until.strftime("%Y-%m-%d %H:%M UTC");
    let state = state.as_str().unwrap_or_default();
    let (id, experiment, by, why) = (&approval.id, &approval.experiment, &approval.by, &approval.why);
    Ok(clean(&format!("{id}  {state:<8} {yes} of {wanted}  {experiment}  by {by}  until {until}  {why}")))
}

async fn list(client: Client, args: &List, cx: &Context) -> anyhow::Result<()> {
    let query = args.state.as_ref().map(|state| format!("?state={}", escape(state))).unwrap_or_default();
    let approvals = client.pages::<Approval>(&format!("approvals{query}"), 200).all().await.map_err(failed)?;
    if args.output == Output::Json {
        return cx.json(&approvals);
    }
    if approvals.is_empty() {
        return cx.say("nobody has asked for an approval; `squall approval ask` does");
    }
    for approval in &approvals {
        cx.result(line(approval)?)?;
    }
    Ok(())
}

async fn show(client: Client, args: &Show, cx: &Context) -> anyhow::Result<()> {
    let approval: Approval = client.get(&path(&args.id)).await.map_err(failed)?;
    if args.output == Output::Json {
        return cx.json(&approval);
    }
    cx.result(line(&approval)?)?;
    for decision in &approval.decisions {
        let word = if decision.approve { "approved" } else { "refused" };
        let comment = decision.comment.as_ref().map(|comment| format!(": {comment}")).unwrap_or_default();
        cx.result(clean(&format!("{word} by {} at {}{comment}", decision.by, decision.at.strftime("%Y-%m-%d %H:%M UTC"))))?;
    }
    cx.result("")?;
    for line in approval.manifest.lines() {
        cx.result(clean(line))?;
    }
    Ok(())
}

async fn decide(client: Client, args: &Decide, what: &str, cx: &Context) -> anyhow::Result<()> {
    let decision = NewDecision { comment: args.comment.clone() };
    let approval: Approval = client.post(&format!("{}/{what}", path(&args.id)), &decision).await.map_err(failed)?;
    cx.say(line(&approval)?)
}
