//! Talking to a server: which one, with which credential, and what `squall login` remembers.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use squall_api::client::{Client, ClientError, Credential};

use crate::context::{CliError, exit};

/// Which server, and who asks it.
#[derive(Debug, Clone, Default, clap::Args)]
#[expect(clippy::struct_field_names, reason = "`--server` is what the option is called everywhere")]
pub struct Server {
    /// URL of the server [default: the one of `squall login`]
    #[arg(long, value_name = "URL", env = "SQUALL_SERVER", hide_env_values = true)]
    pub server: Option<String>,
    /// A file with an API token; `SQUALL_TOKEN` holds one itself [default: the one of `squall login`]
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// A file with certificates (PEM) of authorities to trust, in place of the system's
    #[arg(long, value_name = "FILE", env = "SQUALL_AUTHORITY", hide_env_values = true)]
    pub authority: Option<PathBuf>,
}

/// What `squall login` remembers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Logins {
    /// The server that was signed in to last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    /// By the server's URL.
    #[serde(default)]
    pub servers: BTreeMap<String, SavedLogin>,
}

/// A login at one server.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SavedLogin {
    /// Who.
    pub user: String,
    /// The API token that was made for this.
    pub token: String,
    /// Its id, to revoke it.
    pub token_id: String,
    /// Certificates to trust, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<String>,
}

impl std::fmt::Debug for SavedLogin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SavedLogin").field("user", &self.user).field("token_id", &self.token_id).finish_non_exhaustive()
    }
}

impl Logins {
    /// Where they are kept: `SQUALL_LOGINS`, or `squall/logins.json` in the user's configuration directory.
    pub fn path() -> anyhow::Result<PathBuf> {
        if let Some(path) = std::env::var_os("SQUALL_LOGINS").filter(|path| !path.is_empty()) {
            return Ok(path.into());
        }
        let set = |name: &str| std::env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from);
        let directory = set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")));
        let hint = "set HOME, or SQUALL_LOGINS to a file".to_owned();
        Ok(directory.ok_or_else(|| CliError::usage("there is no place for logins", hint))?.join("squall/logins.json"))
    }

    /// Those that are kept.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(CliError::failed(format!("{}: {error}", path.display()), None).into()),
        };
        let hint = || Some(format!("sign in anew: rm {}; squall login", path.display()));
        serde_json::from_slice(&text).map_err(|e| CliError::failed(format!("{}: {e}", path.display()), hint()).into())
    }

    /// Keeps them: readable by nobody else from the first moment on, and never half written.
    pub fn save(&self, path: &Path) -> anyhow::Result<()> {
        let failed = |e: io::Error| CliError::failed(format!("{}: {e}", path.display()), None);
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory).map_err(failed)?;
        }
        let part = path.with_extension(format!("{}.part", std::process::id()));
        let _ = std::fs::remove_file(&part);
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part).map_err(failed)?;
        file.write_all(&serde_json::to_vec_pretty(self)?).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        std::fs::rename(&part, path).map_err(failed)?;
        Ok(())
    }
}

impl Server {
    /// A client with a credential.
    pub fn client(&self) -> anyhow::Result<Client> {
        let logins = Logins::load(&Logins::path()?)?;
        let url = self.url(&logins)?;
        let saved = logins.servers.get(&url);
        let client = Client::new(&url, self.pem(saved)?.as_deref()).map_err(failed)?;
        let token = match self.token()? {
            Some(token) => token,
            None => saved.map(|saved| saved.token.clone()).ok_or_else(|| {
                let hint = format!("squall login --server {url}, or an API token in SQUALL_TOKEN or --token-file");
                CliError::usage(format!("nobody is signed in at {url}"), hint)
            })?,
        };
        Ok(client.with(Credential::Token(token)))
    }

    /// The server's URL, as logins are kept under it.
    pub fn url(&self, logins: &Logins) -> anyhow::Result<String> {
        let url = self.server.clone().or_else(|| logins.current.clone());
        let hint = "give its URL with --server or SQUALL_SERVER, or sign in with `squall login --server URL`".to_owned();
        let url = url.ok_or_else(|| CliError::usage("there is no server to ask", hint))?;
        Ok(Client::new(&url, None).map_err(failed)?.server().to_owned())
    }

    /// The certificates to trust.
    pub fn pem(&self, saved: Option<&SavedLogin>) -> anyhow::Result<Option<Vec<u8>>> {
        match &self.authority {
            Some(path) => Ok(Some(std::fs::read(path).map_err(|e| CliError::usage(format!("{}: {e}", path.display()), None))?)),
            None => Ok(saved.and_then(|saved| saved.authority.clone()).map(String::into_bytes)),
        }
    }

    fn token(&self) -> anyhow::Result<Option<String>> {
        let text = match &self.token_file {
            Some(path) => Some(std::fs::read_to_string(path).map_err(|e| CliError::usage(format!("{}: {e}", path.display()), None))?),
            None => std::env::var("SQUALL_TOKEN").ok(),
        };
        Ok(text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()))
    }
}

/// Labels of a host, as `NAME=VALUE`. The last of several with one name counts.
pub fn labels(given: &[String]) -> anyhow::Result<BTreeMap<String, String>> {
    let label = |text: &String| match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(CliError::usage(format!("`--label {text}` is no label"), "write `NAME=VALUE`".to_owned()).into()),
    };
    given.iter().map(label).collect()
}

/// Runs what asks a server.
pub fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future)
}

/// A client's error as the command line tells it: what the server refuses has the exit code of refusals.
pub fn failed(error: ClientError) -> anyhow::Error {
    let mut told = CliError::failed(error.to_string(), None);
    match error {
        ClientError::Problem(problem) => {
            told.message = problem.detail.clone().unwrap_or_else(|| problem.title.clone());
            for field in &problem.errors {
                told.message.push_str(&format!("\n  {}: {}", field.place, field.message));
            }
            told.hint = match problem.status {
                401 => Some("squall login".to_owned()),
                _ => problem.hint,
            };
            told.code = if matches!(problem.status, 401 | 403 | 409 | 422 | 429) { exit::REFUSED } else { exit::FAILED };
        }
        ClientError::Usage(_) => told.code = exit::USAGE,
        ClientError::Unreachable { .. } | ClientError::Odd { .. } => {}
    }
    told.into()
}

/// A password: from the terminal without showing it, or a line of standard input where that is none.
pub fn password(prompt: &str) -> anyhow::Result<String> {
    use io::{BufRead as _, IsTerminal as _};
    use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
    let input = io::stdin();
    let hidden = input.is_terminal();
    let shown = if hidden { Some(tcgetattr(&input)?) } else { None };
    if let Some(shown) = &shown {
        write!(io::stderr(), "{prompt}: ")?;
        let mut quiet = shown.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&input, OptionalActions::Flush, &quiet)?;
    }
    let mut line = String::new();
    let read = input.lock().read_line(&mut line);
    if let Some(shown) = &shown {
        tcsetattr(&input, OptionalActions::Flush, shown)?;
        writeln!(io::stderr())?;
    }
    read?;
    let password = line.trim_end_matches(['\r', '\n']).to_owned();
    if password.is_empty() {
        return Err(CliError::usage("there is no password", "type it, or give it as a line on standard input".to_owned()).into());
    }
    Ok(password)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_a_name_and_a_value() {
        assert_eq!(labels(&["zone=a".into(), "note=".into()]).expect("good").len(), 2);
        assert!(labels(&["zone".into()]).is_err() && labels(&["=a".into()]).is_err());
    }
}
