//! `squall server`

mod kinds;
mod start;

use std::path::PathBuf;
use std::process::ExitCode;

use squall_server::ServerConfig;

use crate::context::{CliError, Context};

/// Run the server of a team: API, console, agents, schedules
///
/// Nothing else is needed: state is kept in a file, and hosts join with one line each. The first start makes an admin, whose password it
/// writes into a file that only its user can read.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  squall server                                      API on 127.0.0.1:7440, agents on 127.0.0.1:7443
  squall server --listen 0.0.0.0:7440 --agents 0.0.0.0:7443 --agents-url https://squall.example:7443
  squall server init > /etc/squall/server.yaml       a commented configuration
  squall server --config /etc/squall/server.yaml --database postgres://squall@db/squall

Exit codes: 0 stopped by a signal, 2 wrong usage or configuration, 6 failed")]
pub struct Args {
    /// What else than to serve
    #[command(subcommand)]
    action: Option<Action>,
    /// The configuration; options here win over it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the API and the console listen
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// Where people and programs reach it, if not there
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Where agents' links are listened for
    #[arg(long, value_name = "ADDRESS:PORT")]
    agents: Option<String>,
    /// Where agents reach it, if not there
    #[arg(long, value_name = "URL")]
    agents_url: Option<String>,
    /// `sqlite`, or `postgres://…` for several servers
    #[arg(long, value_name = "URL", env = "SQUALL_DATABASE", hide_env_values = true)]
    database: Option<String>,
    /// The server's name among those that share a database
    #[arg(long)]
    name: Option<String>,
}

/// What else than to serve.
#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Print a commented configuration
    Init,
    /// Print the API's description (`OpenAPI`)
    Openapi,
}

/// Serves.
pub fn run(args: Args, cx: &Context) -> anyhow::Result<ExitCode> {
    match args.action {
        Some(Action::Init) => cx.result(squall_server::CONFIG_EXAMPLE.trim_end())?,
        Some(Action::Openapi) => cx.json(&squall_server::openapi())?,
        None => start::serve(configured(args)?, cx)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The file, with what the command line says in its place.
fn configured(args: Args) -> anyhow::Result<ServerConfig> {
    let mut config = match &args.config {
        None => ServerConfig::default(),
        Some(path) => {
            let shown = path.display().to_string();
            let text = std::fs::read_to_string(path).map_err(|e| CliError::usage(format!("{shown} cannot be read: {e}"), None))?;
            squall_model::parse_settings(&text).map_err(|found| crate::diagnostics::error(&shown, &text, found))?
        }
    };
    let set = |to: &mut String, from: Option<String>| *to = from.unwrap_or_else(|| std::mem::take(to));
    set(&mut config.listen, args.listen);
    set(&mut config.agents, args.agents);
    set(&mut config.database, args.database);
    config.url = args.url.or(config.url);
    config.agents_url = args.agents_url.or(config.agents_url);
    config.name = args.name.or(config.name);
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commented_configuration_is_the_default_one() {
        for nothing in ["", "\n# all as it comes\n", "{}"] {
            squall_model::parse_settings::<ServerConfig>(nothing).expect("everything may be left out");
        }
        let read: ServerConfig = squall_model::parse_settings(squall_server::CONFIG_EXAMPLE).expect("it can be read");
        assert_eq!(read, ServerConfig::default());
    }
}
