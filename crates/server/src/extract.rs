//! Bodies and queries whose errors are problems with a place.

use axum::extract::{FromRequest, FromRequestParts, OptionalFromRequest, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use squall_api::{Problem, problem::FieldError};

use crate::ApiError;

/// A JSON body, of a request or a response.
#[derive(Debug, Clone, Copy)]
pub struct Json<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        if !is_json(request.headers()) {
            let problem = Problem::new("media-type", "The content is of another type", 415);
            return Err(problem.detail("the body has to be JSON").hint("send `Content-Type: application/json`").into());
        }
        let bytes = axum::body::Bytes::from_request(request, state).await.map_err(|e| {
            let status = e.status().as_u16();
            Problem::new("bad-body", "The body cannot be read", status).detail(e.body_text())
        })?;
        decode(&bytes)
    }
}

impl<S: Send + Sync, T: DeserializeOwned> OptionalFromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Option<Self>, ApiError> {
        if request.headers().get(header::CONTENT_TYPE).is_none() && request.headers().get(header::CONTENT_LENGTH).is_none_or(|n| n == "0") {
            return Ok(None);
        }
        <Self as FromRequest<S>>::from_request(request, state).await.map(Some)
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let essence = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).and_then(|v| v.split(';').next()).unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<Json<T>, ApiError> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let decoded = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let (place, inner) = (error.path().to_string(), error.into_inner());
        let field = FieldError { place, message: inner.to_string(), hint: None };
        if inner.is_data() {
            Problem { errors: vec![field], ..Problem::invalid("a field of the body cannot be used") }
        } else {
            Problem { errors: vec![field], ..Problem::bad_request("the body is not JSON") }
        }
    })?;
    reader.end().map_err(|e| Problem::bad_request(format!("something follows the JSON document: {e}")))?;
    Ok(Json(decoded))
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

/// A query string.
#[derive(Debug, Clone, Copy)]
pub struct Query<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let axum::extract::Query(query) = axum::extract::Query::from_request_parts(parts, state)
            .await
            .map_err(|e| Problem::bad_request(format!("the query: {}", e.body_text())))?;
        Ok(Self(query))
    }
}
