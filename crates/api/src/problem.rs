//! Errors of the API (RFC 9457).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An error, as `application/problem+json` (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, thiserror::Error)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[error("{}{}", detail.as_deref().unwrap_or(title), hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default())]
pub struct Problem {
    /// What kind of problem: a URI reference such as `/problems/not-found`, the same for every problem of the kind.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Each single thing that is wrong with the request, where there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
}

/// One thing that is wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FieldError {
    /// Where: a path such as `spec.method[0].with.delay`, or `line 3, column 5` of a text.
    pub place: String,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Problem {
    /// The media type.
    pub const MEDIA_TYPE: &str = "application/problem+json";

    /// A problem of a kind: its slug (`not-found`), title and status.
    pub fn new(slug: &str, title: &str, status: u16) -> Self {
        let (kind, title) = (format!("/problems/{slug}"), title.to_owned());
        Self { kind, title, status, detail: None, hint: None, errors: Vec::new() }
    }

    /// What is wrong this time.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The request cannot be understood.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new("bad-request", "The request cannot be understood", 400).detail(detail)
    }

    /// Nobody is signed in.
    pub fn unauthenticated(detail: impl Into<String>) -> Self {
        Self::new("unauthenticated", "Sign in first", 401).detail(detail)
    }

    /// Whoever is signed in may not do this.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new("forbidden", "Not allowed", 403).detail(detail)
    }

    /// There is no such thing.
    pub fn not_found(what: &str, id: &str) -> Self {
        Self::new("not-found", "There is no such thing", 404).detail(format!("there is no {what} `{id}`"))
    }

    /// It is in the way of something else, or somebody was faster.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new("conflict", "It cannot be so now", 409).detail(detail)
    }

    /// The body is well formed, and cannot be meant.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new("invalid", "The content cannot be used", 422).detail(detail)
    }

    /// A policy, a window or the stop stands against it.
    pub fn refused(detail: impl Into<String>) -> Self {
        Self::new("refused", "A rule stands against it", 422).detail(detail)
    }

    /// The server itself failed.
    pub fn internal(detail: impl Into<String>) -> Self {
        Self::new("internal", "The server failed", 500).detail(detail)
    }

    /// It cannot be done just now.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new("unavailable", "It cannot be done just now", 503).detail(detail)
    }
}
