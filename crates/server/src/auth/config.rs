//! What the server's configuration says about signing in.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use squall_model::Time;

use super::oidc::ProviderConfig;

/// Who may sign in, how, and for how long.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AuthConfig {
    /// A session ends when it was not used for so long. `12h` by default.
    pub session_idle: Time,
    /// A session ends after so long, however much it is used. `7d` by default.
    pub session_lasts: Time,
    /// Fewest characters of a password: 8 to 128, 12 by default.
    pub password_length: u8,
    /// How many passwords are checked at the same time. Each takes 19 MiB and about 30 ms of a core. 2 by default.
    pub password_checks: u8,
    /// Requests a second that one address may make without a valid credential; what is above gets 429. 20 by default.
    pub anonymous_per_second: u32,
    /// How many of them at once. 200 by default.
    pub anonymous_burst: u32,
    /// Networks of the reverse proxies whose `X-Forwarded-For` is believed, such as `10.0.0.0/8`. None by default.
    pub trusted_proxies: Vec<String>,
    /// `OpenID` Connect providers that people may sign in by.
    pub oidc: Vec<ProviderConfig>,
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            session_idle: Time::from_secs(12 * 3600),
            session_lasts: Time::from_secs(7 * 24 * 3600),
            password_length: 12,
            password_checks: 2,
            anonymous_per_second: 20,
            anonymous_burst: 200,
            trusted_proxies: Vec::new(),
            oidc: Vec::new(),
        }
    }
}
