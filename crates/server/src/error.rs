//! Errors as problems.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use squall_api::{Problem, problem::FieldError};
use squall_model::{Diagnostic, Diagnostics};
use squall_store::{CommitError, StoreError};

use crate::fleet::FleetError;

/// Why a request was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError(pub Box<Problem>);

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> Self {
        Self(Box::new(problem))
    }
}

/// What is wrong with a text, as a problem with places.
pub(crate) fn unusable(what: &str, found: &Diagnostics) -> Problem {
    let error = |d: &Diagnostic| FieldError {
        place: format!("line {}, column {}", d.line, d.column),
        message: d.message.clone(),
        hint: d.hint.clone(),
    };
    Problem { errors: found.iter().map(error).collect(), ..Problem::invalid(format!("{what} cannot be used")) }
}

/// What is wrong with fields (place, message, hint), as a problem.
pub(crate) fn fields(what: &str, mistakes: impl IntoIterator<Item = (String, String, String)>) -> Problem {
    let error = |(place, message, hint)| FieldError { place, message, hint: Some(hint) };
    Problem { errors: mistakes.into_iter().map(error).collect(), ..Problem::invalid(what) }
}

/// A document as the store keeps it.
pub(crate) fn json_of(value: &impl serde::Serialize) -> Result<serde_json::Value, ApiError> {
    serde_json::to_value(value).map_err(|error| Problem::internal(error.to_string()).into())
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        if let StoreError::BadKey { .. } = &error {
            return Problem::bad_request(error.to_string()).hint("no name is like this").into();
        }
        tracing::error!(%error, "the database cannot be used");
        Problem::unavailable("the database cannot be used just now").hint("try again; the server's log says more").into()
    }
}

impl From<CommitError> for ApiError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Conflict { kind, id, .. } => {
                Problem::conflict(format!("the {kind} `{id}` was changed meanwhile, or exists already"))
                    .hint("read it again, and repeat the change")
                    .into()
            }
            CommitError::NotFound { kind, id, .. } => Problem::not_found(&kind, &id).into(),
            CommitError::Fenced(_) => Problem::unavailable("another server has taken over").hint("try again").into(),
            CommitError::Store(error) => error.into(),
        }
    }
}

impl From<FleetError> for ApiError {
    fn from(error: FleetError) -> Self {
        match error {
            FleetError::Store(error) => error.into(),
            FleetError::Commit(error) => error.into(),
            FleetError::Unknown(host) => Problem::not_found("host", &host).into(),
            FleetError::Invalid(why) => Problem::invalid(why).into(),
            FleetError::Authority(_) | FleetError::Listen(_) => {
                tracing::error!(%error, "hosts cannot be looked after");
                Problem::internal("hosts cannot be looked after").hint("the server's log says more").into()
            }
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self.0).unwrap_or_default();
        let mut response = (status, body).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(Problem::MEDIA_TYPE));
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
