//! `squall whoami`

use std::process::ExitCode;

use squall_api::session::Whoami;

use crate::context::{Context, Output};
use crate::remote::{Server, block_on, failed};

/// Say who is signed in at a server, and what they may do
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    server: Server,
    /// For people or for scripts
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

/// Asks.
pub fn run(args: Args, cx: &Context) -> anyhow::Result<ExitCode> {
    let client = args.server.client()?;
    let whoami: Whoami = block_on(async { client.get("session").await.map_err(failed) })?;
    if args.output == Output::Json {
        cx.json(&whoami)?;
        return Ok(ExitCode::SUCCESS);
    }
    let roles = whoami.roles.iter().map(|role| role.name()).collect::<Vec<_>>().join(", ");
    cx.result(format!("{} at {}: {}", whoami.user, client.server(), if roles.is_empty() { "no role" } else { &roles }))?;
    if let Some(ends) = whoami.ends {
        cx.say(format!("until {}", ends.strftime("%Y-%m-%d %H:%M UTC")))?;
    }
    Ok(ExitCode::SUCCESS)
}
