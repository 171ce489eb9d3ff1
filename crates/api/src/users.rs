//! Users and what they may do.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What somebody may do. `admin` includes all others; `operator` and `approver` each include `viewer`, and neither includes the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// Sees everything but secrets, users and the audit trail; changes nothing but their own password, sessions and tokens.
    Viewer,
    /// Runs, schedules and stops experiments; looks after hosts.
    Operator,
    /// Approves what a policy wants to have approved.
    Approver,
    /// Looks after users, policies, notifications and the server itself.
    Admin,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Operator, Self::Approver, Self::Admin];

    /// As in the API: `viewer`, `operator`, `approver`, `admin`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Approver => "approver",
            Self::Admin => "admin",
        }
    }

    /// Whether whoever has this role may do what the other role is needed for.
    pub fn includes(self, other: Self) -> bool {
        self == other || self == Self::Admin || other == Self::Viewer
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Role {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|role| role.name() == text);
        known.ok_or_else(|| format!("there is no role `{text}`; the roles are viewer, operator, approver and admin"))
    }
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct User {
    /// Unique, and never changed.
    pub name: String,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display: Option<String>,
    /// Where they can be written to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// What they may do.
    pub roles: BTreeSet<Role>,
    /// May not sign in, and none of their tokens is good.
    pub disabled: bool,
    /// Signs in with a password. Without one: by way of a provider, or, as a program, by tokens alone.
    pub password: bool,
    /// Has to choose a new password before anything else.
    pub must_change: bool,
    /// The OIDC provider that they sign in by; it also decides their roles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Since when they exist.
    #[schema(value_type = String, format = DateTime)]
    pub created: Timestamp,
}

/// A new user.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewUser {
    /// 1 to 64 of `a-z`, `0-9`, `.`, `_`, `@`, `-`, the first a letter or a digit.
    #[schema(pattern = r"^[a-z0-9][a-z0-9._@-]{0,63}$")]
    pub name: String,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display: Option<String>,
    /// Where they can be written to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// What they may do; by default only see.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub roles: BTreeSet<Role>,
    /// Their first password, to be changed at the first login. Without: a user for programs, who has tokens alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = Password)]
    pub password: Option<String>,
}

/// What is to be changed of a user. What is absent stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UserChange {
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display: Option<String>,
    /// Where they can be written to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// What they may do, all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles: Option<BTreeSet<Role>>,
    /// May not sign in. Ends their sessions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
}

/// A password that an admin sets for somebody, who has to change it at the next login. Ends their sessions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewPassword {
    /// At least 12 characters.
    #[schema(format = Password)]
    pub password: String,
}
