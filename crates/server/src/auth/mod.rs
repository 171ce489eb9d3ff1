//! Who is asking, what they may do, and the record of what they did.
//!
//! - [`authenticate`] is a layer around the whole API: it finds the [`Caller`] by a session's cookie or an API token, and lets
//!   nothing else through but what [`is_public`] names. What it refuses, and what a route refuses with 403, is audited.
//! - [`Viewer`], [`Operator`], [`Approver`], [`Admin`]: extractors, the first argument of each route.
//! - [`audit`] makes the row of the trail that goes into the same [`Batch`](squall_store::Batch) as the change.
//! - [`prepare`] makes the first admin.
//!
//! ## Decisions
//! - **Cross-site requests.** A session's cookie is `SameSite=Strict`; a request that changes something must also carry the
//!   session's CSRF token in `X-Squall-Csrf`. The token is the SHA-256 of the cookie's secret with a label: bound to the session,
//!   kept nowhere, and known to no other site or subdomain, even one that can set cookies here. A check of `Origin` alone would
//!   depend on what reverse proxies do to `Host`. Requests with an API token need none: no browser adds one by itself.
//! - **Fixation.** A login always makes a new secret and ends the session that came with it; so does a change of the password.
//! - **The first admin** has a random password in a file that only the server's user can read, and must change it. An open
//!   set-up page, even on loopback, would belong to whoever is first: any local user, or anybody behind a local proxy.
//! - **Lockout and rate limits** are kept in memory, for each server.

mod address;
mod audit;
mod authenticate;
mod bootstrap;
mod caller;
mod config;
mod headers;
mod limits;
pub mod oidc;
mod password;
pub(crate) mod records;
pub(crate) mod secrets;
pub(crate) mod session;
pub(crate) mod token;
pub(crate) mod user;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use ipnet::IpNet;
use squall_engine::Clock;

pub use audit::{Outcome, audit};
pub use authenticate::{CSRF_HEADER, ClientAddress, authenticate, is_public};
pub use bootstrap::{FIRST_ADMIN, prepare};
pub use caller::{Admin, Approver, Caller, Operator, Via, Viewer};
pub use config::AuthConfig;
pub use headers::secure;
pub use session::{PLAIN_SESSION_COOKIE, SESSION_COOKIE};
pub use squall_api::users::Role;

pub(crate) use address::counted;
pub(crate) use audit::record;
pub(crate) use authenticate::{same_origin, too_many};
pub(crate) use bootstrap::forget;
pub(crate) use password::check_new;

/// Everything that signing in needs, besides the database. Cheap to clone.
#[derive(Clone)]
pub struct Auth(Arc<Inner>);

pub(crate) struct Inner {
    pub config: AuthConfig,
    pub clock: Arc<dyn Clock>,
    /// The server's URL as browsers see it, without a slash at its end.
    pub url: String,
    pub passwords: password::Passwords,
    pub anonymous: limits::Anonymous,
    pub failures: limits::Failures,
    pub trusted: Vec<IpNet>,
    pub oidc: oidc::Providers,
    /// The file with the first admin's password, until it was changed.
    pub first_password: OnceLock<PathBuf>,
}

/// Why a configuration cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct AuthConfigError {
    /// Where, as `trustedProxies[0]`.
    pub place: String,
    /// What is wrong.
    pub message: String,
}

impl Auth {
    /// From the configuration, and the server's URL as browsers see it: with `https`, cookies are sent over TLS alone.
    pub fn new(config: AuthConfig, url: &str, clock: Arc<dyn Clock>) -> Result<Self, AuthConfigError> {
        let error = |place: String, message: String| AuthConfigError { place, message };
        let mut trusted = Vec::new();
        for (index, network) in config.trusted_proxies.iter().enumerate() {
            let parsed = network.parse::<IpNet>().or_else(|_| network.parse::<std::net::IpAddr>().map(IpNet::from));
            trusted.push(parsed.map_err(|e| error(format!("trustedProxies[{index}]"), e.to_string()))?);
        }
        if !(8..=128).contains(&config.password_length) {
            return Err(error("passwordLength".into(), "it is outside 8 to 128".into()));
        }
        let url = url.trim_end_matches('/').to_owned();
        let oidc = oidc::Providers::new(&config.oidc, &url)?;
        Ok(Self(Arc::new(Inner {
            passwords: password::Passwords::new(config.password_checks),
            anonymous: limits::Anonymous::new(config.anonymous_per_second, config.anonymous_burst),
            failures: limits::Failures::default(),
            first_password: OnceLock::new(),
            trusted,
            oidc,
            clock,
            url,
            config,
        })))
    }

    /// Whether browsers talk to the server over TLS.
    pub fn over_tls(&self) -> bool {
        self.0.url.starts_with("https://")
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.0
    }
}
