//! HTTP on a Unix socket and on loopback TCP.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{ConnectInfo, DefaultBodyLimit, Query, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::{HeaderValue, StatusCode, header};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use squall_api::Problem;
use squall_api::problem::FieldError;
use squall_engine::RegistryUndoer;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;

use super::access::{Access, Peer, token};
use super::{FaultOrder, LocalApi};

/// An order is some hundred bytes.
const LARGEST_BODY: usize = 64 * 1024;

/// The local API could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// Neither a socket nor an address.
    #[error("the local API has neither a socket nor a TCP address")]
    Nowhere,
    /// An address that other hosts can reach.
    #[error("{0} is not a loopback address; the local API is for this host alone: use 127.0.0.1 or [::1]")]
    NotLoopback(SocketAddr),
    /// TCP without a token.
    #[error("TCP needs a token file: everybody on this host can reach it")]
    NoToken,
    /// Somebody listens there.
    #[error("{0} is in use by another agent")]
    InUse(PathBuf),
    /// A file or a listener.
    #[error("{what}: {source}")]
    Io {
        /// What was to be made or read.
        what: String,
        /// Why not.
        source: io::Error,
    },
    /// Something is still in force.
    #[error("not everything could be put back: {0}; `squall recover` tries again")]
    Outstanding(String),
}

/// Where it listens, and who may ask there.
struct Doors {
    unix: Option<UnixListener>,
    tcp: Option<TcpListener>,
    access: Access,
}

/// Puts back what dead runs left behind, serves until `stop` is done, then puts everything back. `ready` is called once it listens, with the TCP address if there is one.
pub async fn serve(
    api: Arc<LocalApi>,
    ready: impl FnOnce(Option<SocketAddr>),
    stop: impl Future<Output = ()> + Send,
) -> Result<(), LocalError> {
    let Doors { unix, tcp, access } = open(&api).await?;
    let ground = &api.config().ground;
    let recovered = squall_undo::recover(&ground.state, &RegistryUndoer(ground.registry.clone())).await;
    recovered.map_err(|source| LocalError::Io { what: "what earlier runs left behind cannot be looked at".into(), source })?;
    let address = tcp.as_ref().and_then(|listener| listener.local_addr().ok());
    let app = router(api.clone(), access).into_make_service_with_connect_info::<Peer>();
    let (end, ending) = watch::channel(false);
    let ended = |mut ending: watch::Receiver<bool>| async move {
        // The sender is gone only when all of this is.
        let _ = ending.wait_for(|end| *end).await;
    };
    let on_unix = async {
        match unix {
            Some(listener) => axum::serve(listener, app.clone()).with_graceful_shutdown(ended(ending.clone())).await,
            None => Ok(()),
        }
    };
    let on_tcp = async {
        match tcp {
            Some(listener) => axum::serve(listener, app.clone()).with_graceful_shutdown(ended(ending.clone())).await,
            None => Ok(()),
        }
    };
    ready(address);
    let served = async { tokio::try_join!(on_unix, on_tcp) };
    let served = tokio::select! {
        () = stop => Ok(()),
        served = served => served.map(drop),
        () = api.keep() => Ok(()),
    };
    end.send_replace(true);
    let stopped = api.close().await;
    if let Some(path) = &api.config().socket {
        // The next agent replaces one that is left.
        let _ = std::fs::remove_file(path);
    }
    if !stopped.failed.is_empty() {
        return Err(LocalError::Outstanding(stopped.failed.join("; ")));
    }
    served.map_err(|source| LocalError::Io { what: "the local API".into(), source })
}

async fn open(api: &LocalApi) -> Result<Doors, LocalError> {
    let config = api.config();
    if config.socket.is_none() && config.tcp.is_none() {
        return Err(LocalError::Nowhere);
    }
    let own = rustix::process::geteuid().as_raw();
    let mut access = Access { users: [vec![0, own], config.users.clone()].concat(), token: None };
    let mut tcp = None;
    if let Some(address) = config.tcp {
        if !address.ip().is_loopback() {
            return Err(LocalError::NotLoopback(address));
        }
        let file = config.token_file.as_ref().ok_or(LocalError::NoToken)?;
        let failed = |source| LocalError::Io { what: format!("the token file {}", file.display()), source };
        access.token = Some(token(file).map_err(failed)?);
        let listener = TcpListener::bind(address).await;
        tcp = Some(listener.map_err(|source| LocalError::Io { what: format!("cannot listen on {address}"), source })?);
    }
    let unix = match &config.socket {
        Some(path) => Some(listen(path, !config.users.is_empty()).await?),
        None => None,
    };
    Ok(Doors { unix, tcp, access })
}

/// Listens on a Unix socket; one that nobody listens on any more is replaced.
async fn listen(path: &Path, for_others: bool) -> Result<UnixListener, LocalError> {
    let failed = |source| LocalError::Io { what: format!("cannot listen on {}", path.display()), source };
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(failed)?;
    }
    match tokio::net::UnixStream::connect(path).await {
        Ok(_) => return Err(LocalError::InUse(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path).map_err(failed)?,
        Err(_) => {}
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    // Who may ask is decided for each connection, by what the kernel says; this keeps others from connecting at all.
    let mode = if for_others { 0o666 } else { 0o600 };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(failed)?;
    Ok(listener)
}

fn router(api: Arc<LocalApi>, access: Access) -> Router {
    let nowhere = || async { answer(&Problem::not_found("path", "here").hint("there are `/faults` and `/metrics`")) };
    let no_method = || async {
        let problem = Problem::new("method-not-allowed", "No such method here", 405).hint("`/faults` takes POST, GET and DELETE");
        let mut response = answer(&problem);
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, POST, DELETE"));
        response
    };
    Router::new()
        .route("/faults", get(list).post(set).delete(clear))
        .route("/metrics", get(metrics))
        .fallback(nowhere)
        .method_not_allowed_fallback(no_method)
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .layer(middleware::from_fn_with_state(access, admit))
        .with_state(api)
}

async fn admit(State(access): State<Access>, ConnectInfo(peer): ConnectInfo<Peer>, request: Request, next: Next) -> Response {
    match access.check(peer, request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => {
            let mut response = answer(&problem);
            if problem.status == 401 {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            response
        }
    }
}

async fn set(State(api): State<Arc<LocalApi>>, body: Result<Bytes, BytesRejection>) -> Response {
    let order = body.map_err(|rejection| {
        let status = rejection.status().as_u16();
        Problem::new("bad-request", "The request cannot be understood", status).detail(rejection.body_text())
    });
    let order = match order.and_then(|body| read(&body)) {
        Ok(order) => order,
        Err(problem) => return answer(&problem),
    };
    // In a task of its own: somebody who hangs up does not leave half of it.
    let task = tokio::spawn(async move { api.set(&order).await });
    match task.await {
        Ok(Ok(active)) => (StatusCode::CREATED, Json(active)).into_response(),
        Ok(Err(problem)) => answer(&problem),
        Err(_) => answer(&Problem::internal("the agent failed on this; whatever was set is reverted by its time box")),
    }
}

fn read(body: &[u8]) -> Result<FaultOrder, Problem> {
    let json: Value = serde_json::from_slice(body).map_err(|error| {
        let example = r#"send JSON, such as {"target": "checkout", "latencyMs": 200, "duration": "30s"}"#;
        Problem::bad_request(format!("the body is not JSON: {error}")).hint(example)
    })?;
    let decoded = squall_model::decode::<FaultOrder>(&json, "the body");
    match decoded.value {
        Some(order) if decoded.problems.is_empty() => Ok(order),
        _ => {
            let mut problem = Problem::invalid("the faults cannot be set as they are written");
            let field = |p: squall_model::Problem| FieldError { place: p.path.to_string(), message: p.message, hint: p.hint };
            problem.errors = decoded.problems.into_iter().map(field).collect();
            Err(problem)
        }
    }
}

/// What follows `?`.
type Asked = Result<Query<BTreeMap<String, String>>, QueryRejection>;

async fn list(State(api): State<Arc<LocalApi>>, query: Asked) -> Response {
    match target_of(&query) {
        Ok(target) => {
            let mut items = api.list().await;
            items.retain(|item| target.is_none_or(|target| item.target == target));
            Json(json!({ "items": items })).into_response()
        }
        Err(problem) => answer(&problem),
    }
}

/// What is in force by this API, for Prometheus (`OpenMetrics` 1.0).
async fn metrics(State(api): State<Arc<LocalApi>>) -> Response {
    let (in_force, stuck) = (Family::<Vec<(&str, String)>, Gauge>::default(), Gauge::<i64>::default());
    for fault in api.list().await {
        if fault.status == "stuck" {
            stuck.inc();
        }
        for effect in fault.effects {
            in_force.get_or_create(&vec![("target", fault.target.clone()), ("fault", effect.kind)]).inc();
        }
    }
    let mut registry = Registry::default();
    registry.register("squall_local_faults_in_force", "Faults that are set through the local API", in_force);
    registry.register("squall_local_faults_stuck", "Targets on which something could not be put back yet", stuck);
    let mut text = String::new();
    match encode(&mut text, &registry) {
        Ok(()) => ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response(),
        Err(_) => answer(&Problem::internal("the metrics cannot be written")),
    }
}

async fn clear(State(api): State<Arc<LocalApi>>, query: Asked) -> Response {
    let target = match target_of(&query) {
        Ok(target) => target.map(str::to_owned),
        Err(problem) => return answer(&problem),
    };
    let task = tokio::spawn(async move {
        let Some(target) = target else {
            let stopped = api.stop_all().await;
            let done = json!({ "status": "cleared", "reverted": stopped.reverted });
            return if stopped.failed.is_empty() { Ok(done) } else { Err(stopped.failed.join("; ")) };
        };
        // Ended already is as good.
        let reverted = api.clear(&target).await.unwrap_or_else(|| Ok(Vec::new()))?;
        Ok(json!({ "status": "removed", "target": target, "reverted": reverted }))
    });
    match task.await {
        Ok(Ok(done)) => Json(done).into_response(),
        Ok(Err(failed)) => {
            let hint = "it is tried again each second; `GET /faults` shows what is left";
            answer(&Problem::internal(format!("not everything could be put back: {failed}")).hint(hint))
        }
        Err(_) => answer(&Problem::internal("the agent failed on this; the watchdog reverts at the end of the time box")),
    }
}

/// The one thing that a query can say.
fn target_of(query: &Asked) -> Result<Option<&str>, Problem> {
    let query = query.as_ref().map_err(|rejection| Problem::bad_request(rejection.body_text()))?;
    match query.keys().find(|key| *key != "target") {
        Some(key) => Err(Problem::bad_request(format!("`{key}` is not known in the query")).hint("there is `?target=`")),
        None => Ok(query.get("target").map(String::as_str)),
    }
}

fn answer(problem: &Problem) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(header::CONTENT_TYPE, Problem::MEDIA_TYPE)], Json(problem)).into_response()
}
