//! As much of HTTP as the services need: a server that counts and times every request, and a client.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::metrics::Metrics;
use crate::timing;

/// The largest request body that is read, in bytes.
const BODY_LIMIT: usize = 64 * 1024;

/// A request, read whole.
pub struct Call {
    /// The method.
    pub method: Method,
    /// The path, without a query.
    pub path: String,
    /// The body; null where it is no JSON.
    pub json: Value,
}

/// An answer.
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The body.
    pub json: Value,
    /// Sent instead of the body, one line each, as a stream (`application/x-ndjson`).
    pub lines: Option<Vec<Value>>,
}

impl Reply {
    /// 200 with a body.
    pub fn ok(json: Value) -> Self {
        Self { status: StatusCode::OK, json, lines: None }
    }

    /// 200 with a stream of lines.
    pub fn stream(lines: Vec<Value>) -> Self {
        Self { status: StatusCode::OK, json: Value::Null, lines: Some(lines) }
    }

    /// Any status, with the reason in the body.
    pub fn error(status: StatusCode, why: &str) -> Self {
        Self { status, json: json!({ "error": why }), lines: None }
    }

    /// There is no such route.
    pub fn not_found() -> Self {
        Self::error(StatusCode::NOT_FOUND, "there is no such page")
    }
}

/// What a service does.
pub trait App: Send + Sync + 'static {
    /// Answers one request.
    fn answer(&self, call: Call) -> impl Future<Output = Reply> + Send;
}

/// Serves until the process ends.
pub async fn serve(listener: TcpListener, app: impl App) {
    let (app, metrics) = (Arc::new(app), Arc::new(Metrics::default()));
    loop {
        // An error here concerns one connection, or the process is out of descriptors: the others go on.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let (app, metrics) = (app.clone(), metrics.clone());
        tokio::spawn(async move {
            let service = service_fn(move |request| respond(app.clone(), metrics.clone(), request));
            // A caller that goes away ends the connection, not the service.
            let _ =
                hyper::server::conn::http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// Ends the count of a request also when its caller goes away, which drops the future.
struct Counted<'a> {
    metrics: &'a Metrics,
    began: Duration,
    status: Option<u16>,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.metrics.end(self.status, timing::now().saturating_sub(self.began));
    }
}

async fn respond(app: Arc<impl App>, metrics: Arc<Metrics>, request: Request<Incoming>) -> Result<Response<ReplyBody>, Infallible> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    match path.as_str() {
        "/healthz" => return Ok(plain("application/json", "{\"status\":\"ok\"}\n".into())),
        "/metrics" => return Ok(plain("text/plain; version=0.0.4", metrics.text())),
        _ => {}
    }
    metrics.begin();
    let mut counted = Counted { metrics: &metrics, began: timing::now(), status: None };
    let reply = match Limited::new(body, BODY_LIMIT).collect().await {
        Ok(body) => {
            let json = serde_json::from_slice(&body.to_bytes()).unwrap_or(Value::Null);
            app.answer(Call { method: parts.method, path, json }).await
        }
        Err(_) => Reply::error(StatusCode::BAD_REQUEST, "the body could not be read"),
    };
    counted.status = Some(reply.status.as_u16());
    let mut response = match reply.lines {
        None => plain("application/json", format!("{}\n", reply.json)),
        Some(lines) => {
            let lines: Vec<Bytes> = lines.into_iter().map(|line| format!("{line}\n").into()).collect();
            with_type("application/x-ndjson", ReplyBody::Lines(lines.into_iter()))
        }
    };
    *response.status_mut() = reply.status;
    Ok(response)
}

/// What is sent: whole with its length, or line by line without (chunked, RFC 9112).
enum ReplyBody {
    Whole(Full<Bytes>),
    Lines(std::vec::IntoIter<Bytes>),
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(body) => Pin::new(body).poll_frame(cx),
            Self::Lines(lines) => Poll::Ready(lines.next().map(|line| Ok(Frame::data(line)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_end_stream(),
            Self::Lines(lines) => lines.len() == 0,
        }
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Lines(_) => hyper::body::SizeHint::default(),
        }
    }
}

fn plain(content_type: &'static str, body: String) -> Response<ReplyBody> {
    with_type(content_type, ReplyBody::Whole(Full::new(body.into())))
}

fn with_type(content_type: &'static str, body: ReplyBody) -> Response<ReplyBody> {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    response
}

/// Another service, called over kept connections.
pub struct Upstream {
    address: SocketAddr,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Upstream {
    /// The service at that address.
    pub fn new(address: SocketAddr) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self { address, client: Client::builder(TokioExecutor::new()).build(connector) }
    }

    /// One call, without any limit on its time. An error is words for the caller's answer.
    pub async fn call(&self, method: Method, path: &str, json: &Value) -> Result<Reply, String> {
        let body = if json.is_null() { Full::default() } else { Full::new(Bytes::from(json.to_string())) };
        let request =
            Request::builder().method(method).uri(format!("http://{}{path}", self.address)).body(body).map_err(|e| e.to_string())?;
        let response = self.client.request(request).await.map_err(|e| e.to_string())?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(|e| e.to_string())?.to_bytes();
        Ok(Reply { status, json: serde_json::from_slice(&body).unwrap_or(Value::Null), lines: None })
    }

    /// One `GET` whose answer comes line by line.
    pub async fn stream(&self, path: &str) -> Result<Lines, String> {
        let request = Request::get(format!("http://{}{path}", self.address)).body(Full::default()).map_err(|e| e.to_string())?;
        let response = self.client.request(request).await.map_err(|e| e.to_string())?;
        if !response.status().is_success() {
            return Err(format!("it answered {}", response.status()));
        }
        Ok(Lines { body: response.into_body(), read: Vec::new() })
    }

    /// The same, given up after a time.
    pub async fn call_within(&self, limit: Duration, method: Method, path: &str, json: &Value) -> Result<Reply, String> {
        match tokio::time::timeout(limit, self.call(method, path, json)).await {
            Ok(result) => result,
            Err(_) => Err(format!("no answer within {} ms", limit.as_millis())),
        }
    }
}

/// An answer that comes line by line.
pub struct Lines {
    body: Incoming,
    read: Vec<u8>,
}

impl Lines {
    /// The next line, an error where the stream broke, or its end.
    pub async fn next(&mut self) -> Option<Result<Value, String>> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).map_err(|e| e.to_string()));
            }
            match self.body.frame().await? {
                Ok(frame) => self.read.extend(frame.into_data().unwrap_or_default()),
                Err(error) => return Some(Err(error.to_string())),
            }
        }
    }
}
