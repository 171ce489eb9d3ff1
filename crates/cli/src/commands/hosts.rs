//! `squall hosts`

use std::process::ExitCode;

use clap::Subcommand;
use squall_api::client::{Client, escape};
use squall_api::hosts::{Host, JoinToken, NewJoinToken};
use squall_report::clean;

use crate::context::{Context, Output};
use crate::remote::{Server, block_on, failed, labels};

/// List a server's hosts, add one, forget one
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  squall hosts list
  squall hosts add                          prints the line for the new host
  squall hosts add --uses 20 --lasts 2h --label zone=a
  squall hosts forget web-1")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List hosts, with what they are and whether they are linked
    List(List),
    /// Make a token that hosts join with; the line for the new host is the only thing on standard output
    Add(Add),
    /// Forget a host; its certificate is good for nothing any more
    Forget(Forget),
}

#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    server: Server,
    /// For people or for scripts
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

#[derive(Debug, clap::Args)]
struct Add {
    #[command(flatten)]
    server: Server,
    /// How many hosts may join with it
    #[arg(long, default_value = "1")]
    uses: u32,
    /// How long it is good for
    #[arg(long, value_name = "TIME", default_value = "1h")]
    lasts: String,
    /// A label of every host that joins with it
    #[arg(long, value_name = "NAME=VALUE")]
    label: Vec<String>,
}

#[derive(Debug, clap::Args)]
struct Forget {
    #[command(flatten)]
    server: Server,
    /// Its name
    host: String,
}

/// Does it.
pub fn run(args: Args, cx: &Context) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::List(args) => block_on(list(args.server.client()?, &args, cx))?,
        Command::Add(args) => block_on(add(args.server.client()?, &args, cx))?,
        Command::Forget(args) => {
            let client = args.server.client()?;
            block_on(async { client.delete(&format!("hosts/{}", escape(&args.host))).await.map_err(failed) })?;
            cx.say(format!("forgot {}", args.host))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(client: Client, args: &List, cx: &Context) -> anyhow::Result<()> {
    let hosts = client.pages::<Host>("hosts", 200).all().await.map_err(failed)?;
    if args.output == Output::Json {
        return cx.json(&hosts);
    }
    if hosts.is_empty() {
        return cx.say("no host has joined; `squall hosts add` gives the line that joins one");
    }
    for host in hosts {
        let labels: Vec<String> = host.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let state = match (&host.blocked, host.connected) {
            (Some(by), true) => format!("blocked by {by}"),
            (_, true) => "linked".to_owned(),
            (_, false) => format!("not linked since {}", host.seen.strftime("%Y-%m-%d %H:%M UTC")),
        };
        let in_force = if host.in_force > 0 { format!(", {} in force", host.in_force) } else { String::new() };
        cx.result(clean(&format!("{}  {state}{in_force}  {}  Linux {}", host.name, labels.join(" "), host.kernel)))?;
    }
    Ok(())
}

async fn add(client: Client, args: &Add, cx: &Context) -> anyhow::Result<()> {
    let labels = labels(&args.label)?;
    let new = NewJoinToken { uses: Some(args.uses), lasts: Some(args.lasts.clone()), labels };
    let token: JoinToken = client.post("hosts/tokens", &new).await.map_err(failed)?;
    cx.note(format!("on the new host, until {}:", token.expires.strftime("%Y-%m-%d %H:%M UTC")));
    cx.result(token.command)
}
