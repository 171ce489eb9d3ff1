//! The console: the files that `web/` is built into, as part of the binary.
//!
//! They are public; what they show is not, as it comes by the API. Files whose names hold a hash of their content may be kept for ever by
//! browsers; the page itself is asked for each time, by its `ETag`. Each comes compressed to whoever takes that, compressed once at build.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rust_embed::{EmbeddedFile, RustEmbed};
use squall_api::Problem;

use crate::ApiError;
use crate::auth::secrets::hex;

#[derive(RustEmbed)]
#[folder = "../../web/dist"]
struct Files;

/// The page that every path of the console is.
const PAGE: &str = "index.html";
/// Where files are whose names hold a hash of their content.
const HASHED: &str = "assets/";
/// How files are compressed, the best first, with the ending of the compressed file.
const ENCODINGS: [(&str, &str); 2] = [("br", ".br"), ("gzip", ".gz")];

/// Answers whatever no route does: a file of the console, the page for any other path that could be one of the console's, or 404.
pub(crate) async fn answer(request: Request) -> Response {
    let path = request.uri().path().trim_start_matches('/');
    let first = path.split('/').next().unwrap_or_default();
    if ["api", "agent", "metrics", "faults"].contains(&first.to_ascii_lowercase().as_str()) {
        return StatusCode::NOT_FOUND.into_response();
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return ApiError::from(Problem::new("method", "Not with this method", 405).detail("the console is only read")).into_response();
    }
    match file(path, request.headers()) {
        Some(response) => response,
        // A file that is gone: the page in its place would be taken for a script.
        None if path.starts_with(HASHED) => ApiError::from(Problem::not_found("file", path)).into_response(),
        None => file(PAGE, request.headers()).unwrap_or_else(|| {
            let problem = Problem::unavailable("this server was built without the console").hint("use the API or the command line");
            ApiError::from(problem).into_response()
        }),
    }
}

/// A file in the best form that the request takes.
fn file(path: &str, request: &HeaderMap) -> Option<Response> {
    if ENCODINGS.iter().any(|(_, ending)| path.ends_with(ending)) {
        return None;
    }
    let plain = Files::get(path)?;
    let accepted = request.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let compressed = ENCODINGS
        .iter()
        .filter(|(encoding, _)| takes(accepted, encoding))
        .find_map(|(encoding, ending)| Files::get(&format!("{path}{ending}")).map(|file| (*encoding, file)));
    let (encoding, file) = match compressed {
        Some((encoding, file)) => (Some(encoding), file),
        None => (None, plain),
    };
    let tag = tag(&file);
    let mut headers = HeaderMap::new();
    let cache = if path.starts_with(HASHED) { "public, max-age=31536000, immutable" } else { "no-cache" };
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    headers.insert(header::ETAG, HeaderValue::from_str(&tag).ok()?);
    if request.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok()).is_some_and(|known| names(known, &tag)) {
        return Some((StatusCode::NOT_MODIFIED, headers).into_response());
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind(path)));
    if let Some(encoding) = encoding {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    Some((headers, Body::from(file.data.into_owned())).into_response())
}

/// Whether an `Accept-Encoding` (RFC 9110, 12.5.3) lets an encoding be sent. A weight of zero forbids it.
fn takes(accepted: &str, encoding: &str) -> bool {
    accepted.split(',').any(|part| {
        let mut part = part.split(';');
        let named = part.next().is_some_and(|name| name.trim().eq_ignore_ascii_case(encoding));
        let weight = part.find_map(|parameter| parameter.trim().strip_prefix("q=")?.parse::<f32>().ok());
        named && weight.is_none_or(|weight| weight > 0.0)
    })
}

/// Of the bytes that are sent: each encoding has its own.
fn tag(file: &EmbeddedFile) -> String {
    format!("\"{}\"", hex(&file.metadata.sha256_hash()[..16]))
}

/// Whether an `If-None-Match` names the tag.
fn names(known: &str, tag: &str) -> bool {
    known.split(',').any(|one| one.trim() == "*" || one.trim().trim_start_matches("W/") == tag)
}

fn kind(path: &str) -> &'static str {
    match path.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" => "application/json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "webmanifest" => "application/manifest+json",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(path: &str, headers: &[(&str, &str)]) -> Response {
        let mut request = Request::builder().uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(request.body(Body::empty()).expect("a request")).await
    }

    fn header<'a>(response: &'a Response, name: &str) -> &'a str {
        response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// A script that is large enough to be worth compressing.
    fn script() -> String {
        let found = Files::iter().find(|name| name.starts_with(HASHED) && name.ends_with(".js.br"));
        format!("/{}", found.expect("the console is built").trim_end_matches(".br"))
    }

    #[tokio::test]
    async fn every_path_of_the_console_is_its_page_and_is_asked_for_anew() {
        for path in ["/", "/runs", "/runs/some-run", "/experiments/a.b/edit"] {
            let page = ask(path, &[]).await;
            assert_eq!((page.status(), header(&page, "content-type")), (StatusCode::OK, "text/html; charset=utf-8"), "{path}");
            assert_eq!(header(&page, "cache-control"), "no-cache");
            let known = ask(path, &[("if-none-match", header(&page, "etag"))]).await;
            assert_eq!(known.status(), StatusCode::NOT_MODIFIED);
        }
    }

    #[tokio::test]
    async fn files_come_as_the_browser_takes_them_and_may_be_kept() {
        let script = script();
        let mut tags = std::collections::BTreeSet::new();
        for (accepted, sent) in [("gzip, deflate, br", "br"), ("gzip", "gzip"), ("br;q=0, gzip;q=0.5", "gzip"), ("identity", ""), ("", "")]
        {
            let file = ask(&script, &[("accept-encoding", accepted)]).await;
            assert_eq!((header(&file, "content-encoding"), header(&file, "vary")), (sent, "accept-encoding"), "{accepted}");
            assert_eq!(header(&file, "content-type"), "text/javascript; charset=utf-8");
            assert!(header(&file, "cache-control").contains("immutable"));
            tags.insert(header(&file, "etag").to_owned());
        }
        assert_eq!(tags.len(), 3, "an ETag is of one encoding");
    }

    #[tokio::test]
    async fn what_is_not_there_is_not_taken_for_something_else() {
        let gone = ask("/assets/gone-12345678.js", &[]).await;
        assert_eq!((gone.status(), header(&gone, "content-type")), (StatusCode::NOT_FOUND, "application/problem+json"));
        for path in ["/api/v1/nothing", "/api", "/agent/v1/link", "/metrics", "/API/v1/runs"] {
            assert_eq!(ask(path, &[]).await.status(), StatusCode::NOT_FOUND, "{path}");
        }
        let post = Request::builder().method(Method::POST).uri("/runs").body(Body::empty()).expect("a request");
        assert_eq!(answer(post).await.status(), StatusCode::METHOD_NOT_ALLOWED);
    }
}
