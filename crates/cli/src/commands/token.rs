//! `squall token`

use std::process::ExitCode;

use clap::Subcommand;
use squall_api::client::{Client, escape};
use squall_api::tokens::{CreatedToken, NewToken, Token};
use squall_api::users::Role;
use squall_report::clean;

use crate::context::{Context, Output};
use crate::remote::{Server, block_on, failed};

/// Make, list and revoke API tokens of a server
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  squall token create ci --role operator --resource runs --lasts 30d > token
  squall token list
  squall token revoke 3f9ac01b77de")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a token; its secret is the only thing on standard output, and is shown this once
    Create(Create),
    /// List tokens, without their secrets
    List(List),
    /// Revoke a token
    Revoke(Revoke),
}

#[derive(Debug, clap::Args)]
struct Create {
    #[command(flatten)]
    server: Server,
    /// What it is for
    name: String,
    /// What it may do: viewer, operator, approver, admin [default: all that its owner may]
    #[arg(long, value_name = "ROLE")]
    role: Vec<Role>,
    /// What it is good for, by the first part of the API's paths, such as `runs` [default: everything]
    #[arg(long, value_name = "RESOURCE")]
    resource: Vec<String>,
    /// How long it is good for, or `never` [default: 90d, or as long as the login that makes it]
    #[arg(long, value_name = "TIME")]
    lasts: Option<String>,
    /// Whose it is: for admins, who make tokens for programs [default: your own]
    #[arg(long, value_name = "NAME")]
    owner: Option<String>,
    /// For people or for scripts
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    server: Server,
    /// Whose: for admins [default: your own]
    #[arg(long, value_name = "NAME")]
    owner: Option<String>,
    /// Everybody's: for admins
    #[arg(long, conflicts_with = "owner")]
    all: bool,
    /// For people or for scripts
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

#[derive(Debug, clap::Args)]
struct Revoke {
    #[command(flatten)]
    server: Server,
    /// Its id: the part of the token between `sqt_` and the next `_`
    id: String,
}

/// Does it.
pub fn run(args: Args, cx: &Context) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Create(args) => block_on(create(args.server.client()?, &args, cx))?,
        Command::List(args) => block_on(list(args.server.client()?, &args, cx))?,
        Command::Revoke(args) => {
            let client = args.server.client()?;
            block_on(async { client.delete(&format!("tokens/{}", escape(&args.id))).await.map_err(failed) })?;
            cx.say(format!("revoked {}", args.id))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn create(client: Client, args: &Create, cx: &Context) -> anyhow::Result<()> {
    let new = NewToken {
        name: args.name.clone(),
        roles: (!args.role.is_empty()).then(|| args.role.iter().copied().collect()),
        resources: (!args.resource.is_empty()).then(|| args.resource.iter().cloned().collect()),
        lasts: args.lasts.clone(),
        owner: args.owner.clone(),
    };
    let created: CreatedToken = client.post("tokens", &new).await.map_err(failed)?;
    if args.output == Output::Json {
        return cx.json(&created);
    }
    let until = created.token.expires.map_or("never ends".to_owned(), |at| format!("ends {}", at.strftime("%Y-%m-%d %H:%M UTC")));
    cx.note(format!("token {} of `{}`, {until}", created.token.id, created.token.owner));
    cx.result(created.secret)
}

async fn list(client: Client, args: &List, cx: &Context) -> anyhow::Result<()> {
    let path = match &args.owner {
        Some(owner) => format!("tokens?owner={}", escape(owner)),
        None if args.all => "tokens?all=true".to_owned(),
        None => "tokens".to_owned(),
    };
    let tokens = client.pages::<Token>(&path, 200).all().await.map_err(failed)?;
    if args.output == Output::Json {
        return cx.json(&tokens);
    }
    for token in tokens {
        let roles = token.roles.iter().map(|role| role.name()).collect::<Vec<_>>().join(",");
        let until = token.expires.map_or("never".to_owned(), |at| at.strftime("%Y-%m-%d").to_string());
        let used = token.used.map_or("never used".to_owned(), |at| format!("used {}", at.strftime("%Y-%m-%d %H:%M")));
        let resources = token.resources.map(|some| format!("  {}", some.into_iter().collect::<Vec<_>>().join(","))).unwrap_or_default();
        cx.result(format!("{}  {:<16} {:<24} {roles}{resources}  until {until}  {used}", token.id, token.owner, clean(&token.name)))?;
    }
    Ok(())
}
