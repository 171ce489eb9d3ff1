//! As much of HTTP as the services need: a server that counts and times every request, and a client.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
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
}

impl Reply {
    /// 200 with a body.
    pub fn ok(json: Value) -> Self {
        Self { status: StatusCode::OK, json }
    }

    /// Any status, with the reason in the body.
    pub fn error(status: StatusCode, why: &str) -> Self {
        Self { status, json: json!({ "error": why }) }
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

async fn respond(app: Arc<impl App>, metrics: Arc<Metrics>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
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
    let mut response = plain("application/json", format!("{}\n", reply.json));
    *response.status_mut() = reply.status;
    Ok(response)
}

fn plain(content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
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
        Ok(Reply { status, json: serde_json::from_slice(&body).unwrap_or(Value::Null) })
    }

    /// The same, given up after a time.
    pub async fn call_within(&self, limit: Duration, method: Method, path: &str, json: &Value) -> Result<Reply, String> {
        match tokio::time::timeout(limit, self.call(method, path, json)).await {
            Ok(result) => result,
            Err(_) => Err(format!("no answer within {} ms", limit.as_millis())),
        }
    }
}
