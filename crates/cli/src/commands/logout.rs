//! `squall logout`

use std::process::ExitCode;

use squall_api::client::{Client, Credential};

use crate::context::{CliError, Context};
use crate::remote::{Logins, Server, block_on, failed};

/// Sign out at a server
///
/// Revokes the token that `squall login` keeps, and forgets it.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    server: Server,
}

/// Signs out.
pub fn run(args: Args, cx: &Context) -> anyhow::Result<ExitCode> {
    let path = Logins::path()?;
    let mut logins = Logins::load(&path)?;
    let url = args.server.url(&logins)?;
    let Some(saved) = logins.servers.remove(&url) else {
        return Err(CliError::usage(format!("nobody is signed in at {url}"), None).into());
    };
    let client = Client::new(&url, args.server.pem(Some(&saved))?.as_deref()).map_err(failed)?.with(Credential::Token(saved.token));
    let revoked = block_on(async { Ok(client.delete(&format!("tokens/{}", saved.token_id)).await) })?;
    if let Err(error) = revoked
        && !matches!(error.status(), Some(401 | 404))
    {
        // Kept, so that it can be tried again: a token that is forgotten and good is worse than one that is known.
        return Err(failed(error));
    }
    if logins.current.as_deref() == Some(url.as_str()) {
        logins.current = None;
    }
    logins.save(&path)?;
    cx.say(format!("signed out at {url}"))?;
    Ok(ExitCode::SUCCESS)
}
