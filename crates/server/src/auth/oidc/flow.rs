//! Between the click and the way back.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::discovery::{Metadata, Provider, encode};
use crate::ApiError;
use crate::auth::secrets;

/// What the browser keeps until it comes back.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Flow {
    pub provider: String,
    pub state: String,
    pub nonce: String,
    /// PKCE's `code_verifier`.
    pub verifier: String,
    /// Where to go then.
    pub next: String,
    /// The session that the login was begun with, by its id: it ends with the login. The way back comes from another site, so that its
    /// cookie does not come along.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<String>,
    pub begun: Timestamp,
}

impl Flow {
    /// How long it may take to sign in at the provider.
    pub const LASTS: SignedDuration = SignedDuration::from_secs(600);

    /// Begins one.
    pub fn begin(provider: &str, next: Option<&str>, ends: Option<String>, now: Timestamp) -> Result<Self, ApiError> {
        Ok(Self {
            provider: provider.to_owned(),
            state: secrets::secret()?,
            nonce: secrets::secret()?,
            verifier: secrets::secret()?,
            next: local(next).to_owned(),
            ends,
            begun: now,
        })
    }

    /// Where the browser is sent.
    pub fn url(&self, provider: &Provider, metadata: &Metadata) -> String {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, self.verifier.as_bytes());
        let challenge = URL_SAFE_NO_PAD.encode(digest.as_ref());
        let mut scope = "openid".to_owned();
        provider.config.scopes.iter().filter(|scope| *scope != "openid").for_each(|more| scope.push_str(&format!(" {more}")));
        let parameters = [
            ("response_type", "code"),
            ("client_id", &provider.config.client_id),
            ("redirect_uri", &provider.redirect),
            ("scope", &scope),
            ("state", &self.state),
            ("nonce", &self.nonce),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        let query = parameters.map(|(key, value)| format!("{key}={}", encode(value))).join("&");
        let endpoint = &metadata.authorization_endpoint;
        format!("{endpoint}{}{query}", if endpoint.contains('?') { '&' } else { '?' })
    }

    /// As a cookie's value.
    pub fn sealed(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    /// From a cookie's value, if it is for this provider and not too old.
    pub fn open(sealed: &str, provider: &str, now: Timestamp) -> Option<Self> {
        let flow: Self = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(sealed).ok()?).ok()?;
        let age = now.duration_since(flow.begun);
        let good = flow.provider == provider && age <= Self::LASTS && age >= -Self::LASTS && is_local(&flow.next);
        good.then_some(flow)
    }
}

/// Where to go: the place if it is here, else `/`.
pub(super) fn local(next: Option<&str>) -> &str {
    next.filter(|next| is_local(next)).unwrap_or("/")
}

/// Whether a place is a path of this server, for every browser's idea of a path.
fn is_local(next: &str) -> bool {
    next.len() <= 1000
        && next.starts_with('/')
        && !next.starts_with("//")
        && next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_comes_back_within_its_time_for_its_provider_alone() {
        let now = Timestamp::UNIX_EPOCH;
        let flow = Flow::begin("corp", Some("/runs/1?x=y"), None, now).expect("begun");
        let sealed = flow.sealed();
        assert_eq!(Flow::open(&sealed, "corp", now).expect("open").next, "/runs/1?x=y");
        assert!(Flow::open(&sealed, "other", now).is_none());
        assert!(Flow::open(&sealed, "corp", now + SignedDuration::from_secs(601)).is_none());
        assert!(Flow::open("nonsense", "corp", now).is_none());
    }

    #[test]
    fn nobody_is_sent_to_another_server_afterwards() {
        for bad in ["https://evil.example", "//evil.example", "/\\evil.example", "/a\r\nSet-Cookie: x=y", "evil", "", "/ a", "/ä"] {
            assert_eq!(Flow::begin("corp", Some(bad), None, Timestamp::UNIX_EPOCH).expect("begun").next, "/", "{bad}");
        }
    }
}
