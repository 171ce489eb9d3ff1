//! `squall user`

use std::process::ExitCode;

use clap::Subcommand;
use squall_api::client::{Client, escape};
use squall_api::users::{NewPassword, NewUser, Role, User, UserChange};
use squall_report::clean;

use crate::context::{Context, Output};
use crate::remote::{Server, block_on, failed, password};

/// Add, change and remove users of a server
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  squall user add ada --role operator --role approver     asks for a first password
  squall user add ci --program --role operator            no password: signs in with tokens alone
  squall user set ada --disable")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Add a user, who has to change the password that they are given
    Add(Add),
    /// List the users
    List(List),
    /// Change a user's roles, name, address, or whether they may sign in
    Set(Set),
    /// Set a user's password, which they have to change
    Password(Named),
    /// Remove a user with their sessions and tokens
    Remove(Named),
}

#[derive(Debug, clap::Args)]
struct Add {
    #[command(flatten)]
    server: Server,
    /// Who
    name: String,
    /// What they may do: viewer, operator, approver, admin [default: viewer]
    #[arg(long, value_name = "ROLE")]
    role: Vec<Role>,
    /// Their name, for people
    #[arg(long, value_name = "TEXT")]
    display: Option<String>,
    /// Their e-mail address
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,
    /// A program: no password
    #[arg(long)]
    program: bool,
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
struct Set {
    #[command(flatten)]
    server: Server,
    /// Who
    name: String,
    /// What they may do, in place of what they may now
    #[arg(long, value_name = "ROLE")]
    role: Vec<Role>,
    /// Their name, for people
    #[arg(long, value_name = "TEXT")]
    display: Option<String>,
    /// Their e-mail address
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,
    /// They may not sign in, and their sessions end
    #[arg(long)]
    disable: bool,
    /// They may sign in again
    #[arg(long, conflicts_with = "disable")]
    enable: bool,
}

#[derive(Debug, clap::Args)]
struct Named {
    #[command(flatten)]
    server: Server,
    /// Who
    name: String,
}

/// Does it.
pub fn run(args: Args, cx: &Context) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Add(args) => block_on(add(args.server.client()?, args, cx))?,
        Command::List(args) => block_on(list(args.server.client()?, &args, cx))?,
        Command::Set(args) => block_on(set(args.server.client()?, args, cx))?,
        Command::Password(args) => {
            let client = args.server.client()?;
            let new = NewPassword { password: password(&format!("New password of `{}`", args.name))? };
            block_on(async { client.put::<()>(&format!("users/{}/password", escape(&args.name)), &new).await.map_err(failed) })?;
            cx.say(format!("`{}` has to change it at the next login", args.name))?;
        }
        Command::Remove(args) => {
            let client = args.server.client()?;
            block_on(async { client.delete(&format!("users/{}", escape(&args.name))).await.map_err(failed) })?;
            cx.say(format!("removed `{}`", args.name))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn add(client: Client, args: Add, cx: &Context) -> anyhow::Result<()> {
    let password = if args.program { None } else { Some(password(&format!("First password of `{}`", args.name))?) };
    let new = NewUser { name: args.name, display: args.display, email: args.email, roles: args.role.into_iter().collect(), password };
    let user: User = client.post("users", &new).await.map_err(failed)?;
    let hint = if user.password {
        "they have to change the password at the first login"
    } else {
        "make a token for it: squall token create --owner"
    };
    cx.say(format!("added `{}`; {hint}", user.name))
}

async fn list(client: Client, args: &List, cx: &Context) -> anyhow::Result<()> {
    let users = client.pages::<User>("users", 200).all().await.map_err(failed)?;
    if args.output == Output::Json {
        return cx.json(&users);
    }
    for user in users {
        let roles = user.roles.iter().map(|role| role.name()).collect::<Vec<_>>().join(",");
        let by = user.provider.as_deref().unwrap_or(if user.password { "password" } else { "tokens" });
        let state = if user.disabled { "  disabled" } else { "" };
        cx.result(format!("{:<24} {roles:<28} {by:<12} {}{state}", user.name, clean(user.display.as_deref().unwrap_or_default())))?;
    }
    Ok(())
}

async fn set(client: Client, args: Set, cx: &Context) -> anyhow::Result<()> {
    let change = UserChange {
        display: args.display,
        email: args.email,
        roles: (!args.role.is_empty()).then(|| args.role.into_iter().collect()),
        disabled: (args.disable || args.enable).then_some(args.disable),
    };
    let user: User = client.patch(&format!("users/{}", escape(&args.name)), &change).await.map_err(failed)?;
    let roles = user.roles.iter().map(|role| role.name()).collect::<Vec<_>>().join(", ");
    cx.say(format!("`{}`: {roles}{}", user.name, if user.disabled { ", disabled" } else { "" }))
}
