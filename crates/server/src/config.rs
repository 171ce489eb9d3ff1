//! The server's configuration file.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::auth::AuthConfig;
use crate::notifications::NotificationsConfig;

/// What `squall server --config` reads. Everything has a default that works on one machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ServerConfig {
    /// The server's name among those that share a database; the host's name by default.
    pub name: Option<String>,
    /// Where the API and the console listen.
    pub listen: String,
    /// Where people and programs reach the API, if that is not `http://` and `listen`: the address of a reverse proxy, or a name.
    pub url: Option<String>,
    /// Where agents' links are listened for. Always TLS, by an authority of the server's own.
    pub agents: String,
    /// Where agents reach it, if that is not `https://` and `agents`.
    pub agents_url: Option<String>,
    /// A certificate for that listener in place of one by the server's own authority: agents then join with `--ca system`.
    pub agents_tls: Option<TlsFiles>,
    /// `sqlite`, in the state directory, or `postgres://user@host/database` for several servers.
    pub database: String,
    /// A certificate for the API and the console.
    pub tls: Option<TlsFiles>,
    /// Who may sign in, how, and for how long.
    pub auth: AuthConfig,
    /// What notifications may reach and read.
    pub notifications: NotificationsConfig,
}

/// A certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TlsFiles {
    /// The chain, PEM.
    pub certificate: std::path::PathBuf,
    /// The key, PEM.
    pub key: std::path::PathBuf,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            name: None,
            listen: "127.0.0.1:7440".to_owned(),
            url: None,
            agents: "127.0.0.1:7443".to_owned(),
            agents_url: None,
            agents_tls: None,
            database: "sqlite".to_owned(),
            tls: None,
            auth: AuthConfig::default(),
            notifications: NotificationsConfig::default(),
        }
    }
}

impl ServerConfig {
    /// Where browsers and programs reach the API.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        self.url.clone().unwrap_or_else(|| format!("{scheme}://{}", self.listen))
    }

    /// Where agents reach the server.
    pub fn agents_url(&self) -> String {
        self.agents_url.clone().unwrap_or_else(|| format!("https://{}", self.agents))
    }
}

/// What `squall server init` writes: every setting, as it is by default.
pub const EXAMPLE: &str = include_str!("config.yaml");
