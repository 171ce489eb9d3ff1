//! Signing in by way of an `OpenID` Connect provider: the authorization code flow with PKCE (`OpenID` Connect Core 1.0, 3.1; RFC 7636).
//!
//! [`Flow`] is what the browser keeps between the two steps, in a cookie that no script can read: the state, nonce and PKCE
//! verifier. Nothing is written into the database for somebody who has only clicked on a link.

mod claims;
mod config;
mod discovery;
mod flow;
mod refusal;

use std::sync::Arc;

use squall_api::session::LoginProvider;

pub(crate) use claims::Person;
pub use config::{ProviderConfig, RoleRule};
pub(crate) use discovery::Provider;
pub(crate) use flow::Flow;
pub(crate) use refusal::{Refusal, Why};

use super::AuthConfigError;

/// The providers that are configured.
pub(crate) struct Providers(Vec<Arc<Provider>>);

impl Providers {
    pub fn new(configs: &[ProviderConfig], url: &str) -> Result<Self, AuthConfigError> {
        let mut known: Vec<Arc<Provider>> = Vec::new();
        for (index, config) in configs.iter().enumerate() {
            let error = |message: String| AuthConfigError { place: format!("oidc[{index}]"), message };
            if known.iter().any(|other| other.config.name == config.name) {
                return Err(error(format!("there are two providers `{}`", config.name)));
            }
            known.push(Arc::new(Provider::new(config.clone(), url).map_err(error)?));
        }
        Ok(Self(known))
    }

    pub fn get(&self, name: &str) -> Option<Arc<Provider>> {
        self.0.iter().find(|provider| provider.config.name == name).cloned()
    }

    /// As the login page shows them.
    pub fn shown(&self) -> Vec<LoginProvider> {
        let shown = |provider: &Arc<Provider>| {
            let config = &provider.config;
            let display = config.display.clone().unwrap_or_else(|| config.name.clone());
            LoginProvider { name: config.name.clone(), display, start: format!("/api/v1/session/oidc/{}/start", config.name) }
        };
        self.0.iter().map(shown).collect()
    }
}

/// Why somebody could not sign in by a provider.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OidcError {
    /// The provider cannot be used.
    #[error("the provider cannot be used: {0}")]
    Provider(String),
    /// What it said cannot be believed.
    #[error("the provider's answer cannot be believed: {0}")]
    Unbelievable(String),
    /// They did not want to, or it did not let them: `access_denied` (RFC 6749, 4.1.2.1).
    #[error("the sign-in was declined at the provider")]
    Declined,
    /// It did something else than to say who it is.
    #[error("the provider did not let them in: {0}")]
    Denied(String),
    /// The browser did not begin here, or took too long.
    #[error("the login was not begun in this browser, or too long ago")]
    NotBegun,
}
