//! The API's event loop: connections, the limits on them, and from a request to an answer and back.

use std::convert::Infallible;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{oneshot, watch};
use tokio_util::task::TaskTracker;

use super::output::Reply;
use super::route::{Called, Route};
use super::{Access, ApiOptions, routes};
use crate::control::Control;
use crate::time;

/// The largest body that is read, in bytes: some hundred thousand proxies.
const BODY_LIMIT: usize = 32 << 20;
/// How long a client may take to send its request.
const READ_PATIENCE: Duration = Duration::from_secs(15);
/// How long an answer may take to make; Toxiproxy gives up after this long too.
const ANSWER_PATIENCE: Duration = Duration::from_secs(25);
/// How long requests that are under way may hold up the end.
const END_PATIENCE: Duration = Duration::from_secs(30);
/// After a failure to accept (no descriptor left), until the next try.
const PAUSE: Duration = Duration::from_millis(50);

struct Server {
    control: Control,
    options: ApiOptions,
}

pub(super) async fn serve(
    control: Control,
    listener: TcpListener,
    options: ApiOptions,
    mut stop: oneshot::Receiver<()>,
    ready: Sender<io::Result<()>>,
) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            let _ = ready.send(Err(error));
            return;
        }
    };
    // Whoever started this waits for it.
    let _ = ready.send(Ok(()));
    let server = Arc::new(Server { control, options });
    let (end, ending) = watch::channel(());
    let open = TaskTracker::new();
    loop {
        tokio::select! {
            _ = &mut stop => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, client)) => {
                    open.spawn(connection(server.clone(), stream, client, ending.clone()));
                }
                // Others go on, and may close something.
                Err(_) => {
                    let _ = time::sleep(PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    drop(end);
    open.close();
    // Who has not been answered by then will not be.
    let _ = tokio::time::timeout(END_PATIENCE, open.wait()).await;
}

async fn connection(server: Arc<Server>, stream: tokio::net::TcpStream, client: SocketAddr, mut ending: watch::Receiver<()>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let server = server.clone();
        async move { Ok::<_, Infallible>(respond(&server, client, request).await) }
    });
    let serving = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(READ_PATIENCE)
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = std::pin::pin!(serving);
    // A client that goes away ends its connection, and nothing else.
    tokio::select! {
        _ = serving.as_mut() => {}
        _ = ending.changed() => {
            serving.as_mut().graceful_shutdown();
            let _ = serving.await;
        }
    }
}

async fn respond(server: &Arc<Server>, client: SocketAddr, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let start = time::now();
    let (head, body) = request.into_parts();
    let user_agent = head.headers.get(header::USER_AGENT).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let user_agent = user_agent.unwrap_or_default();
    let metrics = server.options.proxy_metrics || server.options.runtime_metrics;
    let called = Route::find(&head.method, head.uri.path(), metrics);
    let mut handler = "";
    let reply = match called {
        Called::Nothing => Reply::not_found(),
        Called::WrongMethod => Reply::empty(405),
        // A page in a browser could otherwise reach the API of whoever looks at it.
        Called::Route(_) if user_agent.starts_with("Mozilla/") => Reply::plain(403, "User agent not allowed"),
        Called::Route(route) => {
            handler = route.name();
            match read(body).await {
                Ok(body) => answer(server.clone(), route, head.uri.query().unwrap_or_default().to_owned(), body).await,
                Err(reply) => reply,
            }
        }
    };
    let size = if head.method == Method::HEAD { 0 } else { reply.body.len() };
    if let Some(tell) = &server.options.on_request {
        let (method, url, status) = (head.method.to_string(), head.uri.to_string(), reply.status);
        tell(&Access { client, method, url, user_agent, status, size, duration: time::now() - start, handler });
    }
    finished(reply)
}

/// The whole body, or what its sender is told.
async fn read(body: Incoming) -> Result<Bytes, Reply> {
    let whole = Limited::new(body, BODY_LIMIT).collect();
    match tokio::time::timeout(READ_PATIENCE, whole).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Reply::error(400, "bad request body: http: request body too large")),
        Ok(Err(_)) => Err(Reply::error(400, "bad request body: unexpected EOF")),
        Err(_) => Err(Reply::error(400, "bad request body: i/o timeout")),
    }
}

async fn answer(server: Arc<Server>, route: Route, query: String, body: Bytes) -> Reply {
    let work = tokio::task::spawn_blocking(move || routes::answer(&server.control, &server.options, &route, &query, &body));
    match tokio::time::timeout(ANSWER_PATIENCE, work).await {
        Ok(Ok(reply)) => reply,
        Ok(Err(error)) => Reply::error(500, &format!("the request was not carried out: {error}")),
        Err(_) => Reply::empty(503),
    }
}

fn finished(reply: Reply) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(reply.body)));
    *response.status_mut() = http::StatusCode::from_u16(reply.status).unwrap_or_default();
    let headers = response.headers_mut();
    if let Some(kind) = reply.content_type {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        if kind.starts_with("text/plain; charset") {
            headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
        }
    }
    if let Ok(id) = HeaderValue::from_str(&request_id()) {
        headers.insert("x-toxiproxy-request-id", id);
    }
    response
}

/// Twenty characters of the alphabet that Toxiproxy's have.
fn request_id() -> String {
    // Each of the two is keyed at random.
    let half = || u128::from(RandomState::new().build_hasher().finish());
    let number = half() << 64 | half();
    (0..20).map(|i| char::from(b"0123456789abcdefghijklmnopqrstuv"[(number >> (5 * i)) as usize & 31])).collect()
}
