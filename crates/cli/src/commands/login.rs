//! `squall login`

use std::process::ExitCode;

use squall_api::client::{Client, Credential};
use squall_api::session::{Login, PasswordChange, Whoami};
use squall_api::tokens::{CreatedToken, NewToken};

use crate::context::Context;
use crate::remote::{Logins, SavedLogin, Server, block_on, failed, password};

/// Sign in at a server
///
/// Asks for the password, or reads it as a line of standard input, and keeps an API token of its own in
/// `squall/logins.json` in the configuration directory, readable by nobody else. A first password has to be changed: the new
/// one is asked for too. Who signs in by a provider makes a token in the console and gives it with --with-token.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  squall login --server https://squall.example --user ada
  squall login --server https://squall.example --with-token < token")]
pub struct Args {
    #[command(flatten)]
    server: Server,
    /// Who
    #[arg(long, value_name = "NAME", default_value = "admin")]
    user: String,
    /// Read an API token, not a password
    #[arg(long, conflicts_with = "user")]
    with_token: bool,
    /// How long the login is good for
    #[arg(long, value_name = "TIME", default_value = "30d", conflicts_with = "with_token")]
    lasts: String,
}

/// Signs in.
pub fn run(args: Args, cx: &Context) -> anyhow::Result<ExitCode> {
    let path = Logins::path()?;
    let mut logins = Logins::load(&path)?;
    let url = args.server.url(&logins)?;
    let authority = args.server.pem(logins.servers.get(&url))?;
    let client = Client::new(&url, authority.as_deref()).map_err(failed)?;
    let (user, token, token_id) = if args.with_token {
        let token = password("API token")?;
        let whoami: Whoami = block_on(async { client.with(Credential::Token(token.clone())).get("session").await.map_err(failed) })?;
        (whoami.user, token, whoami.id.unwrap_or_default())
    } else {
        let created = block_on(with_password(client, &args, cx))?;
        (created.token.owner, created.secret, created.token.id)
    };
    let authority = authority.map(String::from_utf8).transpose()?;
    cx.say(format!("signed in at {url} as `{user}`"))?;
    logins.servers.insert(url.clone(), SavedLogin { user, token, token_id, authority });
    logins.current = Some(url);
    logins.save(&path)?;
    Ok(ExitCode::SUCCESS)
}

async fn with_password(client: Client, args: &Args, cx: &Context) -> anyhow::Result<CreatedToken> {
    let present = password(&format!("Password of `{}`", args.user))?;
    let login = Login { user: args.user.clone(), password: present.clone() };
    let (mut client, whoami) = client.login(&login).await.map_err(failed)?;
    if whoami.must_change {
        cx.note("the password has to be changed");
        let change = PasswordChange { current: present, new: password("New password")? };
        let _: Whoami = client.put("session/password", &change).await.map_err(failed)?;
        let login = Login { user: args.user.clone(), password: change.new };
        client = client.login(&login).await.map_err(failed)?.0;
    }
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let new = NewToken { name: format!("squall login on {host}"), lasts: Some(args.lasts.clone()), ..NewToken::default() };
    let created = client.post("tokens", &new).await.map_err(failed)?;
    client.delete("session").await.map_err(failed)?;
    Ok(created)
}
