//! Why somebody could not sign in by a provider: a problem for programs, and a word for browsers, which go back to the console with it.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use squall_api::Problem;
use squall_store::{CommitError, StoreError};

use super::{OidcError, flow};
use crate::ApiError;

/// Why, as a word. The console has the sentences, so that no address can put its own there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// They did not want to, or the provider did not let them.
    Declined,
    /// The browser did not begin here, or took too long.
    NotBegun,
    /// The provider does not vouch for them, or not so that it can be believed.
    NotBelieved,
    /// There is no such provider, or it does not work.
    Unusable,
    /// None of their claims has a role.
    NoRole,
    /// The provider gives no name that a user may have.
    NoName,
    /// The name is another user's.
    NameTaken,
    /// The user is disabled.
    Disabled,
    /// The server itself failed.
    Failed,
}

impl Why {
    fn word(self) -> &'static str {
        match self {
            Self::Declined => "declined",
            Self::NotBegun => "not-begun",
            Self::NotBelieved => "not-believed",
            Self::Unusable => "unusable",
            Self::NoRole => "no-role",
            Self::NoName => "no-name",
            Self::NameTaken => "name-taken",
            Self::Disabled => "disabled",
            Self::Failed => "failed",
        }
    }
}

/// A login that led nowhere.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub why: Why,
    pub error: ApiError,
}

impl Refusal {
    pub fn new(why: Why, problem: Problem) -> Self {
        Self { why, error: problem.into() }
    }

    /// For whoever asks for a page, the way back to where the login began; for others, the problem.
    pub fn answer(self, headers: &HeaderMap, next: Option<&str>) -> Response {
        let pages = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).any(|text| text.contains("text/html"));
        if !pages {
            return self.error.into_response();
        }
        let page = flow::local(next).split('#').next().unwrap_or("/");
        let to = format!("{page}{}refused={}", if page.contains('?') { '&' } else { '?' }, self.why.word());
        let to = HeaderValue::from_str(&to).unwrap_or(HeaderValue::from_static("/"));
        (StatusCode::SEE_OTHER, [(header::LOCATION, to)]).into_response()
    }
}

impl From<OidcError> for Refusal {
    fn from(error: OidcError) -> Self {
        match error {
            OidcError::Provider(_) => {
                let problem = Problem::unavailable("the provider cannot be used just now").hint("the server's log says more");
                Self::new(Why::Unusable, problem)
            }
            OidcError::NotBegun => {
                let problem = Problem::unauthenticated(error.to_string()).hint("begin again at the login page");
                Self::new(Why::NotBegun, problem)
            }
            OidcError::Declined => {
                let problem = Problem::unauthenticated(error.to_string()).hint("begin again, or ask whoever looks after the provider");
                Self::new(Why::Declined, problem)
            }
            OidcError::Unbelievable(_) | OidcError::Denied(_) => {
                let problem =
                    Problem::unauthenticated("the provider did not vouch for you").hint("begin again; the server's log says more");
                Self::new(Why::NotBelieved, problem)
            }
        }
    }
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self { why: Why::Failed, error }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        ApiError::from(error).into()
    }
}

impl From<CommitError> for Refusal {
    fn from(error: CommitError) -> Self {
        ApiError::from(error).into()
    }
}
