//! What the configuration says about a provider.

use std::collections::BTreeSet;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use squall_api::users::Role;
use squall_notify::SecretRef;

/// An `OpenID` Connect provider that people may sign in by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProviderConfig {
    /// Its name in URLs: `a-z`, `0-9`, `-`. The redirect URL to register with it is `<url>/api/v1/session/oidc/<name>/callback`.
    pub name: String,
    /// What the login page calls it; by default its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display: Option<String>,
    /// Its issuer URL; what it can do is read from `<issuer>/.well-known/openid-configuration`.
    pub issuer: String,
    /// The client id that it gave to this server.
    pub client_id: String,
    /// The client secret, as `{ env: NAME }` or `{ file: PATH }`. Without: a public client, which PKCE protects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<SecretRef>,
    /// Scopes to ask for, besides `openid`. `profile` and `email` by default.
    #[serde(default = "default_scopes")]
    pub scopes: Vec<String>,
    /// The claim that a new user is named by. `preferred_username` by default. Users are known by `sub` afterwards, which is
    /// never given to somebody else.
    #[serde(default = "default_user_claim")]
    pub user_claim: String,
    /// Which claims make which roles; all that match count. Somebody without any role may not sign in.
    pub roles: Vec<RoleRule>,
    /// A file with certificates (PEM) of authorities to trust for it, in place of the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<PathBuf>,
}

/// Which claim makes which roles.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RoleRule {
    /// The claim, as `groups` or `realm_access.roles`. Without: everybody whom the provider knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<String>,
    /// What it must be, or what must be among its items.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The roles.
    #[schemars(with = "Vec<String>")]
    pub roles: BTreeSet<Role>,
}

fn default_scopes() -> Vec<String> {
    vec!["profile".to_owned(), "email".to_owned()]
}

fn default_user_claim() -> String {
    "preferred_username".to_owned()
}
