//! Who the agent is: the token that it joins with, its key and certificate, and their renewal.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};
use squall_api::link::{Join, Joined, Renew};
use squall_engine::Clock;

use crate::http::{Connection, HttpError};
use crate::tls::{TlsError, Trust, to_join};

/// What every token begins with.
const PREFIX: &str = "sqj_";

/// An agent has not joined, or cannot be who it was.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// Not a token.
    #[error("`--join` takes a token as the server gave it: `sqj_`, a secret, `_` and a fingerprint; make one with `squall hosts add`")]
    Token,
    /// It has not joined, and was given no token.
    #[error("this host has not joined a server: {0} holds no identity; give a token with `--join`")]
    NotJoined(PathBuf),
    /// It has joined under another name.
    #[error("this host has joined as `{is}`, and not as `{wanted}`; leave `--name` out, or remove {directory} and join again")]
    OtherName {
        /// Its name.
        is: String,
        /// The name that was given now.
        wanted: String,
        /// Where the identity is.
        directory: PathBuf,
    },
    /// The identity cannot be read or written.
    #[error("the agent's identity in {path}: {source}")]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A key or certificate is not good.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The server.
    #[error(transparent)]
    Http(#[from] HttpError),
}

/// Who the agent is. Kept with mode 0600: whoever can read it can be this agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Identity {
    /// The name that it has joined under.
    pub name: String,
    /// Its key, PEM.
    pub(crate) key: String,
    /// Its certificate, PEM.
    pub(crate) certificate: String,
    /// The server's authority, PEM.
    pub(crate) authority: String,
    /// URLs of all servers.
    pub servers: Vec<String>,
}

/// The parts of a token: all of it goes to the server, and what it has to prove stays here.
fn fingerprint(token: &str) -> Result<&str, JoinError> {
    let (secret, fingerprint) = token.trim().strip_prefix(PREFIX).and_then(|rest| rest.split_once('_')).ok_or(JoinError::Token)?;
    let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if secret.len() >= 16 && hex(secret) && fingerprint.len() == 64 && hex(fingerprint) { Ok(fingerprint) } else { Err(JoinError::Token) }
}

fn request(name: &str, key: &KeyPair) -> Result<String, JoinError> {
    let wrong = |error: rcgen::Error| TlsError(error.to_string());
    let mut params = CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    Ok(params.serialize_request(key).and_then(|request| request.pem()).map_err(wrong)?)
}

/// The file of the identity.
fn file(directory: &Path) -> PathBuf {
    directory.join("identity.json")
}

/// The file of a key with which joining was tried: a try whose answer was lost is repeated with the same.
fn trial(directory: &Path) -> PathBuf {
    directory.join("joining.pem")
}

impl Identity {
    /// The one of before, if there is one.
    pub fn load(directory: &Path) -> Result<Option<Self>, JoinError> {
        let path = file(directory);
        let failed = |source| JoinError::Io { path: path.clone(), source };
        match std::fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|error| failed(error.into())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    /// Joins a server: shows the token, and only to the server that it is of.
    pub async fn join(
        directory: &Path,
        server: &str,
        token: &str,
        name: &str,
        trust: Trust,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, JoinError> {
        let fingerprint = fingerprint(token)?;
        let key = match std::fs::read_to_string(trial(directory)).ok().and_then(|pem| KeyPair::from_pem(&pem).ok()) {
            Some(key) => key,
            None => KeyPair::generate().map_err(|error| TlsError(error.to_string()))?,
        };
        write(&trial(directory), key.serialize_pem().as_bytes())?;
        let connection = Connection::open(server, trust, to_join(trust, fingerprint)?, clock).await?;
        let join = Join { token: token.trim().to_owned(), name: name.to_owned(), csr: request(name, &key)? };
        let joined: Joined = connection.exchange("/agent/v1/join", &join).await?;
        let mut identity = Self {
            name: name.to_owned(),
            key: key.serialize_pem(),
            certificate: joined.certificate,
            authority: joined.authority,
            servers: joined.servers,
        };
        if !identity.servers.iter().any(|url| url == server) {
            identity.servers.insert(0, server.to_owned());
        }
        identity.save(directory)?;
        // It is in the identity now.
        let _ = std::fs::remove_file(trial(directory));
        Ok(identity)
    }

    /// Writes it down, whole or not at all.
    pub(crate) fn save(&self, directory: &Path) -> Result<(), JoinError> {
        let text = serde_json::to_vec_pretty(self).map_err(|error| JoinError::Io { path: file(directory), source: error.into() })?;
        write(&file(directory), &text)
    }

    /// When two thirds of its certificate's life are over.
    pub(crate) fn renew_at(&self) -> Result<Timestamp, TlsError> {
        let wrong = |what: &str| TlsError(format!("the agent's certificate cannot be read: {what}"));
        let der = CertificateDer::from_pem_slice(self.certificate.as_bytes()).map_err(|error| wrong(&error.to_string()))?;
        let (_, certificate) = x509_parser::parse_x509_certificate(&der).map_err(|error| wrong(&error.to_string()))?;
        let (from, to) = (certificate.validity().not_before.timestamp(), certificate.validity().not_after.timestamp());
        Timestamp::from_second(from + (to - from) / 3 * 2).map_err(|error| wrong(&error.to_string()))
    }

    /// Asks for a new certificate, with a new key.
    pub(crate) async fn renew(&self, connection: &Connection) -> Result<Self, JoinError> {
        let key = KeyPair::generate().map_err(|error| TlsError(error.to_string()))?;
        let renew = Renew { csr: request(&self.name, &key)? };
        let joined: Joined = connection.exchange("/agent/v1/certificate", &renew).await?;
        Ok(Self {
            name: self.name.clone(),
            key: key.serialize_pem(),
            certificate: joined.certificate,
            authority: joined.authority,
            servers: self.servers.clone(),
        })
    }
}

/// Writes a file that only its owner can read, whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> Result<(), JoinError> {
    let failed = |source| JoinError::Io { path: path.to_owned(), source };
    let directory = path.parent().unwrap_or(Path::new("/"));
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
    let draft = path.with_extension("new");
    // One of before may have another mode.
    let _ = std::fs::remove_file(&draft);
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)?;
    std::fs::rename(&draft, path).and_then(|()| std::fs::File::open(directory)?.sync_all()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_was_cut_or_changed_in_form_is_refused_at_once() {
        let good = format!("sqj_{}_{}", "ab".repeat(20), "0f".repeat(32));
        assert_eq!(fingerprint(&good).expect("good"), "0f".repeat(32));
        for bad in ["", "sqj_", &good[..good.len() - 1], &good.replace("sqj", "sqk"), &good.replace("0f", "zz")] {
            assert!(matches!(fingerprint(bad), Err(JoinError::Token)), "{bad}");
        }
    }
}
