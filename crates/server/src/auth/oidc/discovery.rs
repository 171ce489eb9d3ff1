//! What a provider can do, and the keys that it signs with.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jsonwebtoken::jwk::{Jwk, JwkSet, PublicKeyUse};
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use squall_engine::Clock;
use squall_notify::SecretRef;

use super::{OidcError, ProviderConfig};

/// How long what was learnt of a provider is believed.
const FRESH: Duration = Duration::from_hours(1);
/// How soon the keys are asked for again because of a token that is signed with an unknown one.
const SOON: Duration = Duration::from_secs(30);
/// Longest answer of a provider, in bytes.
const LONGEST: usize = 1 << 20;

/// A provider: its configuration, and what was learnt of it.
pub(crate) struct Provider {
    pub config: ProviderConfig,
    /// Where it sends the browser back to.
    pub redirect: String,
    http: Client,
    metadata: Cached<Metadata>,
    keys: Cached<JwkSet>,
}

type Cached<T> = Mutex<Option<(Duration, Arc<T>)>>;

/// `OpenID` Connect Discovery 1.0, 3: the part that is used.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Metadata {
    pub issuer: String,
    pub authorization_endpoint: String,
    pub token_endpoint: String,
    pub jwks_uri: String,
    #[serde(default)]
    pub token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

impl Provider {
    pub fn new(config: ProviderConfig, url: &str) -> Result<Self, String> {
        let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if config.name.is_empty() || config.name.len() > 64 || !config.name.bytes().all(word) {
            return Err(format!("`{}` is no name for a provider: 1 to 64 of `a-z`, `0-9`, `-`", config.name));
        }
        check_url(&config.issuer, "issuer")?;
        if config.roles.is_empty() {
            return Err("`roles` is empty: nobody could sign in".into());
        }
        if let Some(rule) = config.roles.iter().find(|rule| rule.claim.is_some() != rule.value.is_some()) {
            return Err(format!("`claim` and `value` belong together, in the rule for {:?}", rule.roles));
        }
        let mut http = Client::builder().redirect(Policy::none()).timeout(Duration::from_secs(10)).user_agent("squall");
        if let Some(path) = &config.authority {
            let pem = std::fs::read(path).map_err(|e| format!("`authority` {} cannot be read: {e}", path.display()))?;
            http = http
                .tls_certs_only(reqwest::Certificate::from_pem_bundle(&pem).map_err(|e| format!("`authority` {}: {e}", path.display()))?);
        }
        let redirect = format!("{url}/api/v1/session/oidc/{}/callback", config.name);
        Ok(Self { http: http.build().map_err(|e| e.to_string())?, redirect, config, metadata: Cached::default(), keys: Cached::default() })
    }

    /// Where its endpoints are.
    pub async fn metadata(&self, clock: &dyn Clock) -> Result<Arc<Metadata>, OidcError> {
        if let Some(known) = fresh(&self.metadata, clock.now(), FRESH) {
            return Ok(known);
        }
        let url = format!("{}/.well-known/openid-configuration", self.config.issuer.trim_end_matches('/'));
        let metadata: Metadata = self.ask(self.http.get(&url), &url).await?;
        // Discovery 1.0, 4.3: exactly the one that was asked.
        if metadata.issuer != self.config.issuer {
            return Err(OidcError::Provider(format!("it says that its issuer is `{}`, not `{}`", metadata.issuer, self.config.issuer)));
        }
        for (url, what) in [
            (&metadata.authorization_endpoint, "authorization_endpoint"),
            (&metadata.token_endpoint, "token_endpoint"),
            (&metadata.jwks_uri, "jwks_uri"),
        ] {
            check_url(url, what).map_err(OidcError::Provider)?;
        }
        Ok(keep(&self.metadata, clock.now(), metadata))
    }

    /// The key with this id; without an id, the only one there is. Keys are asked for anew where none is found: providers change them.
    pub async fn key(&self, clock: &dyn Clock, id: Option<&str>) -> Result<Jwk, OidcError> {
        if let Some(found) = fresh(&self.keys, clock.now(), FRESH).and_then(|keys| find(&keys, id)) {
            return Ok(found);
        }
        if fresh(&self.keys, clock.now(), SOON).is_none() {
            let metadata = self.metadata(clock).await?;
            let keys: JwkSet = self.ask(self.http.get(&metadata.jwks_uri), &metadata.jwks_uri).await?;
            if let Some(found) = find(&keep(&self.keys, clock.now(), keys), id) {
                return Ok(found);
            }
        }
        Err(OidcError::Unbelievable("it is signed with a key that the provider does not have".into()))
    }

    /// The ID token for a code.
    pub async fn redeem(&self, clock: &dyn Clock, code: &str, verifier: &str) -> Result<String, OidcError> {
        #[derive(Deserialize)]
        struct Tokens {
            id_token: Option<String>,
        }
        let metadata = self.metadata(clock).await?;
        let mut form =
            vec![("grant_type", "authorization_code"), ("code", code), ("redirect_uri", &self.redirect), ("code_verifier", verifier)];
        let mut request = self.http.post(&metadata.token_endpoint);
        let secret = self.config.client_secret.as_ref().map(read).transpose()?;
        match &secret {
            None => form.push(("client_id", &self.config.client_id)),
            // Core 1.0, 9: `client_secret_basic` unless the provider says otherwise.
            Some(secret)
                if metadata.token_endpoint_auth_methods_supported.as_ref().is_none_or(|m| m.iter().any(|m| m == "client_secret_basic")) =>
            {
                // RFC 6749, 2.3.1: both are form-encoded first.
                request = request.basic_auth(encode(&self.config.client_id), Some(encode(secret)));
            }
            Some(secret) => form.extend([("client_id", self.config.client_id.as_str()), ("client_secret", secret)]),
        }
        let body = form.iter().map(|(key, value)| format!("{key}={}", encode(value))).collect::<Vec<_>>().join("&");
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(body);
        let tokens: Tokens = self.ask(request, &metadata.token_endpoint).await?;
        tokens.id_token.ok_or_else(|| OidcError::Unbelievable("there is no ID token in it".into()))
    }

    async fn ask<T: DeserializeOwned>(&self, request: reqwest::RequestBuilder, url: &str) -> Result<T, OidcError> {
        let failed = |e: reqwest::Error| OidcError::Provider(format!("{url} does not answer: {}", root(&e)));
        let mut response = request.header("accept", "application/json").send().await.map_err(failed)?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            body.extend_from_slice(&chunk);
            if body.len() > LONGEST {
                return Err(OidcError::Provider(format!("{url} answers more than {LONGEST} bytes")));
            }
        }
        if status.is_client_error() {
            // `error` of RFC 6749, 5.2, and not all of it: a description may repeat what was sent.
            let error = serde_json::from_slice::<serde_json::Value>(&body)
                .ok()
                .and_then(|v| v["error"].as_str().map(|e| e.chars().take(80).collect::<String>()));
            return Err(OidcError::Denied(format!("{url} answers {status}: {}", error.unwrap_or_default())));
        }
        if !status.is_success() {
            return Err(OidcError::Provider(format!("{url} answers {status}")));
        }
        serde_json::from_slice(&body).map_err(|e| OidcError::Provider(format!("{url} answers what is not expected: {e}")))
    }
}

fn root(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

fn check_url(text: &str, what: &str) -> Result<(), String> {
    let url = Url::parse(text).map_err(|e| format!("`{what}` `{text}`: {e}"))?;
    let local = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    if url.scheme() == "https" || (url.scheme() == "http" && local) {
        return Ok(());
    }
    Err(format!("`{what}` `{text}` is not `https`: whoever is in between could be anybody"))
}

/// The secret. It stands in the server's own configuration, so it may be anywhere that the server can read.
fn read(secret: &SecretRef) -> Result<String, OidcError> {
    let text = match secret {
        SecretRef::Env(name) => std::env::var(name).map_err(|e| e.to_string()),
        SecretRef::File(path) => std::fs::read_to_string(path).map_err(|e| e.to_string()),
    };
    let text = text.map_err(|e| OidcError::Provider(format!("the client secret, {secret}, cannot be read: {e}")))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// `application/x-www-form-urlencoded`, strictly: everything but RFC 3986's unreserved characters is escaped.
pub(crate) fn encode(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(escape).collect()
}

fn fresh<T>(cached: &Cached<T>, now: Duration, within: Duration) -> Option<Arc<T>> {
    let cached = cached.lock().unwrap_or_else(PoisonError::into_inner);
    cached.as_ref().filter(|(at, _)| now.saturating_sub(*at) < within).map(|(_, known)| known.clone())
}

fn keep<T>(cached: &Cached<T>, now: Duration, learnt: T) -> Arc<T> {
    let learnt = Arc::new(learnt);
    *cached.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, learnt.clone()));
    learnt
}

fn find(keys: &JwkSet, id: Option<&str>) -> Option<Jwk> {
    let mut signing = keys.keys.iter().filter(|key| !matches!(key.common.public_key_use, Some(PublicKeyUse::Encryption)));
    match id {
        Some(id) => signing.find(|key| key.common.key_id.as_deref() == Some(id)).cloned(),
        None => signing.next().filter(|_| signing.next().is_none()).cloned(),
    }
}
