//! Signing in.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::users::Role;

/// A name and a password.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Login {
    /// The user's name.
    pub user: String,
    /// Their password.
    #[schema(format = Password)]
    pub password: String,
}

/// A new password of one's own.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PasswordChange {
    /// The present password.
    #[schema(format = Password)]
    pub current: String,
    /// The new one, of at least 12 characters.
    #[schema(format = Password)]
    pub new: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("user", &self.user).field("password", &"[redacted]").finish()
    }
}

impl std::fmt::Debug for PasswordChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PasswordChange([redacted])")
    }
}

/// Who is signed in.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Whoami {
    /// The user's name.
    pub user: String,
    /// What they may do, with this credential.
    pub roles: BTreeSet<Role>,
    /// How: `session` or `token`.
    pub via: String,
    /// The session's or the token's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Of a session: what a request that changes something carries as `X-Squall-Csrf`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csrf: Option<String>,
    /// Nothing may be done before the password was changed.
    pub must_change: bool,
    /// When the session or token ends at the latest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ends: Option<Timestamp>,
}

impl std::fmt::Debug for Whoami {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let csrf = self.csrf.as_ref().map(|_| "[redacted]");
        f.debug_struct("Whoami")
            .field("user", &self.user)
            .field("roles", &self.roles)
            .field("via", &self.via)
            .field("csrf", &csrf)
            .finish_non_exhaustive()
    }
}

/// A session: a browser, or a command line, that is signed in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Session {
    /// Its id. Not what is in the cookie.
    pub id: String,
    /// Whose it is.
    pub user: String,
    /// When they signed in.
    #[schema(value_type = String, format = DateTime)]
    pub started: Timestamp,
    /// When it was used last, to the minute.
    #[schema(value_type = String, format = DateTime)]
    pub seen: Timestamp,
    /// When it ends if it is not used.
    #[schema(value_type = String, format = DateTime)]
    pub ends: Timestamp,
    /// Where from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// What the browser says of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// `password`, or the provider.
    pub by: String,
    /// It is the one that asks.
    pub current: bool,
}

/// A provider that people can sign in by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LoginProvider {
    /// Its name.
    pub name: String,
    /// For people.
    pub display: String,
    /// Where the browser goes to begin.
    pub start: String,
}
