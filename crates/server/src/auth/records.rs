//! What the database keeps of users, sessions and tokens. The API shows other types, without what is secret.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use squall_api::users::{Role, User};
use squall_store::Document;

/// Kind of a user's document. Its id is the name.
pub(crate) const USER: &str = "user";
/// Kind of a session's document. Its id is the SHA-256 of the cookie's secret, in hex.
pub(crate) const SESSION: &str = "session";
/// Kind of the document that says which user somebody at a provider is. Its id is `<provider>/<SHA-256 of sub>`.
pub(crate) const LINK: &str = "oidc-user";
/// Kind of a token's document. Its id is the token's, which is no secret.
pub(crate) const TOKEN: &str = "token";

/// A user as kept.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct UserRecord {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    #[serde(default)]
    pub roles: BTreeSet<Role>,
    #[serde(default)]
    pub disabled: bool,
    /// In the PHC string format, `$argon2id$…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    #[serde(default)]
    pub must_change: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<External>,
}

/// Who a user is at a provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct External {
    pub provider: String,
    /// `sub`: the one claim that is never given to somebody else.
    pub subject: String,
}

impl UserRecord {
    /// As the API shows it.
    pub fn shown(self, document: &Document) -> User {
        User {
            name: document.id.clone(),
            display: self.display,
            email: self.email,
            roles: self.roles,
            disabled: self.disabled,
            password: self.password.is_some(),
            must_change: self.must_change,
            provider: self.external.map(|external| external.provider),
            created: document.created,
        }
    }
}

/// Which user somebody at a provider is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct LinkRecord {
    pub user: String,
}

/// A session as kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct SessionRecord {
    pub user: String,
    /// When the user's document was made: a session or token is not good for a later user of the same name.
    pub user_since: Timestamp,
    pub started: Timestamp,
    /// When it was used last; written once a minute at most.
    pub seen: Timestamp,
    pub address: Option<String>,
    pub agent: Option<String>,
    /// `password`, or the name of the provider.
    pub by: String,
}

/// A token as kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct TokenRecord {
    pub owner: String,
    /// When the owner's document was made.
    pub owner_since: Timestamp,
    pub created: Timestamp,
    pub name: String,
    pub roles: BTreeSet<Role>,
    /// First parts of paths after `/api/v1/`, as `runs`; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub families: Option<BTreeSet<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// SHA-256 of the secret, in hex. A secret of 256 random bits needs no slow hash: there is nothing to guess.
    pub hash: String,
    pub created_by: String,
    /// Written every ten minutes at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_from: Option<String>,
}
