//! Versions of documents in requests and answers: `ETag` and `If-Match` (RFC 9110, 8.8.3 and 13.1.1).

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use squall_api::Problem;
use squall_store::{Document, Write};

use crate::{ApiError, Json};

/// The version that a change was made from. `None`: any that is there.
pub(crate) fn expected(headers: &HeaderMap) -> Result<Option<u64>, ApiError> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    let version = text.trim_matches('"').parse().map_err(|_| Problem::bad_request("`If-Match` is not an `ETag` of this resource"))?;
    Ok(Some(version))
}

/// What a `PUT` writes: a new document, or new content for the one that is there, which has to be of the version in `If-Match`, if
/// there is one.
pub(crate) fn put(headers: &HeaderMap, was: Option<&Document>, kind: &str, id: &str, body: serde_json::Value) -> Result<Write, ApiError> {
    let (expected, given) = (expected(headers)?, headers.contains_key(header::IF_MATCH));
    let (kind, id) = (kind.to_owned(), id.to_owned());
    match (expected, was) {
        (Some(version), _) => Ok(Write::Replace { kind, id, version, body }),
        (None, Some(was)) => Ok(Write::Replace { kind, id, version: was.version, body }),
        (None, None) if given => Err(Problem::not_found(&kind, &id).into()),
        (None, None) => Ok(Write::Create { kind, id, body }),
    }
}

/// A body with the version of what it shows.
pub(crate) fn tagged(status: StatusCode, version: u64, body: impl Serialize) -> Response {
    let mut response = (status, Json(body)).into_response();
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{version}\"")) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// A text as the id of a document. One that no document can have is nobody's, and the database need not be asked with it.
pub(crate) fn key<'a>(what: &str, id: &'a str) -> Result<&'a str, ApiError> {
    let good = (1..=400).contains(&id.len()) && !id.contains('\0');
    if good { Ok(id) } else { Err(Problem::not_found(what, &id.escape_default().to_string().chars().take(64).collect::<String>()).into()) }
}
