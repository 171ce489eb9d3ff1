//! How a host comes in: one-time tokens, certificates, and the end of both.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use squall_api::hosts::{JoinToken, NewJoinToken};
use squall_api::link::{Join, Joined, Refusal, Renew};
use squall_model::Time;
use squall_store::{Batch, CommitError, Write};

use super::authority::{Issued, hex, later, random, sha256};
use super::host::{HOST, HostDocument, SEEN, is_host_name};
use super::{Fleet, FleetError, FleetEvent};

/// The kind of the documents of tokens; the id is the SHA-256 of the secret, which is kept nowhere.
const TOKEN: &str = "join-token";
/// How long a token is good for, unless it is said.
const LASTS: Time = Time::from_secs(3600);
/// What every token begins with.
pub(super) const TOKEN_PREFIX: &str = "sqj";

/// What is remembered of a token.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TokenDocument {
    expires: Timestamp,
    uses: u32,
    labels: std::collections::BTreeMap<String, String>,
    /// Who has joined with it: one whose answer was lost may ask again.
    joined: Vec<String>,
}

/// An agent does not get what it asked for: the HTTP status, and why.
pub(super) type Denied = (u16, Refusal);

pub(super) fn deny(status: u16, message: impl Into<String>, hint: impl Into<Option<String>>) -> Denied {
    (status, Refusal { message: message.into(), hint: hint.into() })
}

fn broken(error: FleetError) -> Denied {
    tracing::error!(%error, "an agent could not be served");
    deny(503, "the server cannot do this just now", Some("the agent tries again; the server's log says more".to_owned()))
}

const NEW_TOKEN: &str = "make a new token with `squall hosts add`";

impl Fleet {
    /// Makes a token for agents to join with.
    pub async fn join_token(&self, new: NewJoinToken) -> Result<JoinToken, FleetError> {
        let lasts = new.lasts.as_deref().map_or(Ok(LASTS), str::parse::<Time>);
        let lasts = lasts.map_err(|e| FleetError::Invalid(format!("`lasts`: {e}")))?;
        let uses = new.uses.unwrap_or(1);
        if uses == 0 || lasts.std().is_zero() {
            return Err(FleetError::Invalid("a token needs at least one use, and some time".into()));
        }
        let secret = hex(&random::<20>()?);
        let expires = later(self.wall(), lasts.std());
        let document = TokenDocument { expires, uses, labels: new.labels, joined: Vec::new() };
        let body = serde_json::to_value(document).map_err(|e| FleetError::Invalid(e.to_string()))?;
        let create = Write::Create { kind: TOKEN.into(), id: sha256(secret.as_bytes()), body };
        self.0.db.commit(Batch::new(vec![create])).await?;
        let token = format!("{TOKEN_PREFIX}_{secret}_{}", self.0.authority.fingerprint());
        let url = self.0.config.urls.first().map_or("https://SERVER:7443", String::as_str);
        Ok(JoinToken { command: format!("squall agent --server {url} --join {token}"), token, expires })
    }

    /// Makes the server forget a host: its certificates are good for nothing any more, and its name is free.
    pub async fn forget(&self, host: &str) -> Result<(), FleetError> {
        let delete = |kind: &str| Write::Delete { kind: kind.into(), id: host.to_owned(), version: None };
        match self.0.db.commit(Batch::new(vec![delete(HOST)])).await {
            Ok(_) => {}
            Err(CommitError::NotFound { .. }) => return Err(FleetError::Unknown(host.to_owned())),
            Err(error) => return Err(error.into()),
        }
        // It may never have been written.
        let _ = self.0.db.commit(Batch::new(vec![delete(SEEN)])).await;
        self.drop_host(host);
        Ok(())
    }

    /// `POST /agent/v1/join`
    pub(super) async fn join(&self, join: Join) -> Result<Joined, Denied> {
        if !is_host_name(&join.name) {
            let hint = "use up to 64 of a-z, 0-9, `-`, `_` and `.`, a letter or digit first; `--name` says it";
            return Err(deny(422, format!("`{}` cannot be the name of a host", join.name.escape_default()), Some(hint.to_owned())));
        }
        let secret = join.token.strip_prefix(TOKEN_PREFIX).and_then(|rest| rest.strip_prefix('_')).and_then(|rest| rest.split('_').next());
        let id = sha256(secret.unwrap_or_default().as_bytes());
        let now = self.wall();
        let life = self.0.config.certificate_life;
        let issued = self.0.authority.issue(&join.name, &join.csr, now, life);
        let issued = issued.map_err(|e| deny(422, format!("the certificate request cannot be used: {e}"), None))?;
        let _one = self.0.joining.lock().await;
        // Another agent may join by another server with the same token at the same time: then once more, with what it left.
        for _ in 0..16 {
            if self.try_join(&join.name, &id, &issued, now).await? {
                tracing::info!(host = join.name, "a host has joined");
                self.load_host(&join.name).await.map_err(broken)?;
                self.tell(FleetEvent::Joined { host: join.name.clone() });
                return Ok(self.joined(issued));
            }
        }
        Err(deny(503, "too many join with this token at the same time", Some("try again".to_owned())))
    }

    /// Whether it was done; if not, something was changed meanwhile.
    async fn try_join(&self, name: &str, token: &str, issued: &Issued, now: Timestamp) -> Result<bool, Denied> {
        let db = &self.0.db;
        let invalid = || deny(403, "the token is not known here, or is used up or over", Some(NEW_TOKEN.to_owned()));
        let document = db.get(TOKEN, token).await.map_err(|e| broken(e.into()))?.ok_or_else(invalid)?;
        let mut left: TokenDocument = document.decode().map_err(|e| broken(e.into()))?;
        if left.expires <= now {
            return Err(invalid());
        }
        let known = db.get(HOST, name).await.map_err(|e| broken(e.into()))?;
        let host = if let Some(known) = known {
            let mut host: HostDocument = known.decode().map_err(|e| broken(e.into()))?;
            if host.key != issued.key || !left.joined.iter().any(|joined| joined == name) {
                let hint = "join under another name (`--name`), or forget that host first (`squall hosts forget`)";
                return Err(deny(409, format!("a host named `{name}` has joined already"), Some(hint.to_owned())));
            }
            host.serials.insert(issued.serial.clone(), issued.expires);
            Write::Replace { kind: HOST.into(), id: name.into(), version: known.version, body: body(&host)? }
        } else {
            left.uses = left.uses.checked_sub(1).ok_or_else(invalid)?;
            left.joined.push(name.to_owned());
            let host = HostDocument {
                joined: now,
                labels: left.labels.clone(),
                serials: [(issued.serial.clone(), issued.expires)].into(),
                key: issued.key.clone(),
                squall: String::new(),
                report: None,
            };
            Write::Create { kind: HOST.into(), id: name.into(), body: body(&host)? }
        };
        let token = Write::Replace { kind: TOKEN.into(), id: token.into(), version: document.version, body: body(&left)? };
        match db.commit(Batch::new(vec![host, token])).await {
            Ok(_) => Ok(true),
            Err(CommitError::Conflict { .. } | CommitError::NotFound { .. }) => Ok(false),
            Err(error) => Err(broken(error.into())),
        }
    }

    /// `POST /agent/v1/certificate`: the certificate that it asks with stays good for a day, should the answer be lost.
    pub(super) async fn renew(&self, host: &str, renew: Renew) -> Result<Joined, Denied> {
        let now = self.wall();
        let issued = self.0.authority.issue(host, &renew.csr, now, self.0.config.certificate_life);
        let issued = issued.map_err(|e| deny(422, format!("the certificate request cannot be used: {e}"), None))?;
        let overlap = later(now, Duration::from_hours(24));
        let change = |document: &mut HostDocument| {
            document.serials.retain(|_, expires| *expires > now);
            document.serials.values_mut().for_each(|expires| *expires = (*expires).min(overlap));
            document.serials.insert(issued.serial.clone(), issued.expires);
            document.key.clone_from(&issued.key);
            true
        };
        self.change_host(host, change).await.map_err(broken)?;
        Ok(self.joined(issued))
    }

    fn joined(&self, issued: Issued) -> Joined {
        Joined { certificate: issued.certificate, authority: self.0.authority.certificate.clone(), servers: self.servers() }
    }
}

fn body(value: &impl Serialize) -> Result<serde_json::Value, Denied> {
    serde_json::to_value(value).map_err(|e| broken(FleetError::Invalid(e.to_string())))
}
