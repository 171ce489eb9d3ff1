//! Who is asking, and the extractors that say what they must be.
//!
//! A route takes [`Viewer`], [`Operator`], [`Approver`] or [`Admin`] as its first argument: the request is refused before
//! anything of it is looked at.

use std::collections::BTreeSet;
use std::net::IpAddr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use squall_api::Problem;
use squall_api::users::Role;

use crate::ApiError;

/// Who is asking. Stored in the request's extensions by [`authenticate`](super::authenticate).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The user's name.
    pub name: String,
    /// What they may do, with this credential.
    pub roles: BTreeSet<Role>,
    /// How they proved who they are.
    pub via: Via,
    /// Where from, as far as it is known.
    pub address: Option<IpAddr>,
}

/// How a caller proved who they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Via {
    /// By a session's cookie.
    Session {
        /// Its id; not the secret in the cookie.
        id: String,
    },
    /// By an API token.
    Token {
        /// Its id; not the secret.
        id: String,
    },
    /// Not over the network: the server itself, as for a schedule.
    Local,
}

impl Caller {
    /// The server itself, or a part of it, as `schedule/nightly`, with these roles.
    pub fn local(name: impl Into<String>, roles: impl IntoIterator<Item = Role>) -> Self {
        Self { name: name.into(), roles: roles.into_iter().collect(), via: Via::Local, address: None }
    }

    /// Whether one of the roles includes this one.
    pub fn may(&self, role: Role) -> bool {
        self.roles.iter().any(|has| has.includes(role))
    }

    /// Refuses whoever does not have the role.
    pub fn need(&self, role: Role) -> Result<(), ApiError> {
        if self.may(role) {
            return Ok(());
        }
        let roles = self.roles.iter().map(|role| role.name()).collect::<Vec<_>>().join(", ");
        let problem =
            Problem::forbidden(format!("`{}` is {}, and this needs {role}", self.name, if roles.is_empty() { "nothing" } else { &roles }));
        Err(problem.hint("ask an admin for the role, or use a token that has it").into())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let caller = parts.extensions.get::<Self>().cloned();
        caller.ok_or_else(|| Problem::unauthenticated("nobody is signed in").into())
    }
}

macro_rules! extractors {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone)]
            pub struct $name(pub Caller);

            impl<S: Send + Sync> FromRequestParts<S> for $name {
                type Rejection = ApiError;

                async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
                    let caller = Caller::from_request_parts(parts, state).await?;
                    caller.need(Role::$name)?;
                    Ok(Self(caller))
                }
            }
        )*
    };
}

extractors! {
    /// Somebody who may see.
    Viewer,
    /// Somebody who may run, schedule and stop experiments.
    Operator,
    /// Somebody who may approve.
    Approver,
    /// Somebody who looks after users, policies and the server.
    Admin,
}
