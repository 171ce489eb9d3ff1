//! What holds for the answers of every route: they are described, and errors are problems whoever makes them.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use squall_api::Problem;
use utoipa::openapi::path::{HttpMethod, Operation};
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, ResponseBuilder};

use crate::ApiError;

/// Describes what any route can answer besides its own: every operation that needs a credential can be refused for the lack of
/// it, and so on. What a route says itself stays.
pub(super) fn describe(api: &mut OpenApi) {
    for item in api.paths.paths.values_mut() {
        let operations = [
            (HttpMethod::Get, &mut item.get),
            (HttpMethod::Put, &mut item.put),
            (HttpMethod::Post, &mut item.post),
            (HttpMethod::Delete, &mut item.delete),
            (HttpMethod::Patch, &mut item.patch),
        ];
        for (method, operation) in operations {
            if let Some(operation) = operation {
                name(operation);
                complete(&method, operation);
            }
        }
    }
}

/// Ids of operations are unique in a description (`OpenAPI` 3.1, 4.8.10), and the names of functions are not: `list` of the tag `runs` is
/// `runs_list`. Clients that are made from the description have them as names.
fn name(operation: &mut Operation) {
    let tag = operation.tags.as_ref().and_then(|tags| tags.first());
    if let (Some(tag), Some(id)) = (tag, &operation.operation_id) {
        operation.operation_id = Some(format!("{tag}_{id}"));
    }
}

fn complete(method: &HttpMethod, operation: &mut Operation) {
    // `security(())` is how a route says that it needs none.
    let public = operation.security.as_ref().is_some_and(|security| !security.is_empty());
    let mut answers =
        vec![("429", "Too many requests, without a valid credential or of another kind"), ("503", "The database cannot be used just now")];
    if !public {
        answers.push(("401", "No credential, or none that is valid"));
        answers.push(("403", "The credential is not good for this"));
    }
    if *method != HttpMethod::Get {
        answers.push(("403", "The credential is not good for this, or the CSRF token is missing"));
        // A `PUT` or `DELETE` without a body can still come with a broken one.
        answers.push(("409", "Somebody was faster, or it is in the way of something else"));
    }
    if operation.parameters.as_ref().is_some_and(|parameters| !parameters.is_empty()) || operation.request_body.is_some() {
        answers.push(("400", "The request cannot be understood"));
    }
    if operation.request_body.is_some() {
        answers.push(("413", "The body is too large"));
        answers.push(("415", "The body is of another type"));
    }
    if answers.iter().any(|(status, _)| matches!(*status, "400" | "409")) {
        answers.push(("422", "A parameter, a header or the content cannot be used"));
    }
    for (status, description) in answers {
        operation.responses.responses.entry(status.to_owned()).or_insert_with(|| {
            let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
            ResponseBuilder::new().description(description).content(Problem::MEDIA_TYPE, content).build().into()
        });
    }
}

/// A layer that turns errors which are not problems (an unknown path, a method that a path does not have, a path that cannot be
/// decoded) into problems.
pub(super) async fn as_problems(request: Request, next: Next) -> Response {
    let api = request.uri().path().starts_with("/api/");
    let response = next.run(request).await;
    let status = response.status();
    let kind = response.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    if !api || !(status.is_client_error() || status.is_server_error()) || kind == Some(Problem::MEDIA_TYPE.as_bytes()) {
        return response;
    }
    let problem = match status {
        StatusCode::NOT_FOUND => Problem::new("not-found", "There is no such thing", 404).detail("there is no such path"),
        StatusCode::METHOD_NOT_ALLOWED => Problem::new("method", "Not with this method", 405).detail("the path does not have this method"),
        StatusCode::BAD_REQUEST => Problem::bad_request("the request cannot be understood"),
        other if other.is_client_error() => {
            Problem::new("request", other.canonical_reason().unwrap_or("The request cannot be done"), other.as_u16())
        }
        other => {
            tracing::error!(status = other.as_u16(), "a route failed");
            Problem::new("internal", "The server failed", other.as_u16())
        }
    };
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    let (problem, body) = ApiError::from(problem).into_response().into_parts();
    for name in [header::CONTENT_TYPE, header::WWW_AUTHENTICATE] {
        if let Some(value) = problem.headers.get(&name) {
            parts.headers.insert(name, value.clone());
        }
    }
    Response::from_parts(parts, Body::new(body))
}
