//! One HTTP/2 connection to a server.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use serde::Serialize;
use serde::de::DeserializeOwned;
use squall_api::link::{Refusal, SESSION_HEADER};
use squall_engine::Clock;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::tls::{Trust, explain, server_name};

/// How long connecting, and any single request, may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest answer.
const LONGEST: usize = 1024 * 1024;

/// Why a server was not reached, or did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The URL cannot be used.
    #[error("`{url}` is not the URL of a server: {why}; write it as `https://HOST:PORT`")]
    Url {
        /// The URL.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// There is no connection, or none that can be trusted.
    #[error("{0}")]
    Connect(String),
    /// It broke.
    #[error("the connection to the server broke: {0}")]
    Broken(String),
    /// The server said no.
    #[error("the server refuses this agent ({status}): {refusal}")]
    Refused {
        /// The HTTP status.
        status: StatusCode,
        /// Why.
        refusal: Refusal,
    },
}

/// A connection; it ends when this is dropped.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
    clock: Arc<dyn Clock>,
    authority: String,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

fn host_and_port(url: &str) -> Result<(String, u16), HttpError> {
    let wrong = |why: String| HttpError::Url { url: url.to_owned(), why };
    let uri: Uri = url.parse().map_err(|e: http::uri::InvalidUri| wrong(e.to_string()))?;
    if uri.scheme_str() != Some("https") {
        return Err(wrong("it does not begin with `https://`".into()));
    }
    let host = uri.host().ok_or_else(|| wrong("it names no host".into()))?;
    Ok((host.trim_matches(['[', ']']).to_owned(), uri.port_u16().unwrap_or(443)))
}

impl Connection {
    /// Connects. A server that cannot be trusted is told nothing.
    pub async fn open(url: &str, trust: Trust, tls: Arc<ClientConfig>, clock: Arc<dyn Clock>) -> Result<Self, HttpError> {
        let (host, port) = host_and_port(url)?;
        let name = server_name(trust, &host).map_err(|e| HttpError::Connect(e.to_string()))?;
        let until = clock.now() + PATIENCE;
        let opening = async {
            let stream = TcpStream::connect((host.as_str(), port)).await;
            let stream = stream.map_err(|e| HttpError::Connect(format!("{url} cannot be reached: {e}")))?;
            // Answers are small and must not wait for each other.
            let _ = stream.set_nodelay(true);
            let stream = tokio_rustls::TlsConnector::from(tls).connect(name, stream).await;
            let stream = stream.map_err(|e| HttpError::Connect(explain(trust, url, &e)))?;
            hyper::client::conn::http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .initial_stream_window_size(256 * 1024)
                .initial_connection_window_size(256 * 1024)
                .handshake(TokioIo::new(stream))
                .await
                .map_err(|e| HttpError::Connect(format!("{url} does not speak HTTP/2: {e}")))
        };
        let (sender, connection) = tokio::select! {
            opened = opening => opened?,
            () = clock.sleep_until(until) => return Err(HttpError::Connect(format!("{url} does not answer"))),
        };
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the connection to a server ended");
            }
        });
        Ok(Self { sender, driver, clock, authority: format!("{}:{port}", if host.contains(':') { format!("[{host}]") } else { host }) })
    }

    /// Sends a request, and waits for the head of the answer. An answer that is no success is an error.
    pub async fn send(&self, method: Method, path: &str, session: &str, body: Vec<u8>) -> Result<Response<Incoming>, HttpError> {
        let mut request = Request::builder().method(method).uri(format!("https://{}{path}", self.authority));
        if !session.is_empty() {
            request = request.header(SESSION_HEADER, session);
        }
        let request = request.body(Full::new(Bytes::from(body))).map_err(|e| HttpError::Broken(e.to_string()))?;
        let mut sender = self.sender.clone();
        let until = self.clock.now() + PATIENCE;
        let answer = async {
            sender.ready().await?;
            sender.send_request(request).await
        };
        let response = tokio::select! {
            response = answer => response.map_err(|e| HttpError::Broken(e.to_string()))?,
            () = self.clock.sleep_until(until) => return Err(HttpError::Broken("no answer in time".into())),
        };
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let text = self.read(response).await?;
        let said = || Refusal { message: String::from_utf8_lossy(&text).into_owned(), hint: None };
        Err(HttpError::Refused { status, refusal: serde_json::from_slice(&text).unwrap_or_else(|_| said()) })
    }

    /// Sends a value, and reads one.
    pub async fn exchange<T: DeserializeOwned>(&self, path: &str, value: &impl Serialize) -> Result<T, HttpError> {
        let body = serde_json::to_vec(value).map_err(|e| HttpError::Broken(e.to_string()))?;
        let response = self.send(Method::POST, path, "", body).await?;
        let text = self.read(response).await?;
        serde_json::from_slice(&text).map_err(|e| HttpError::Broken(format!("the answer cannot be read: {e}")))
    }

    async fn read(&self, response: Response<Incoming>) -> Result<Bytes, HttpError> {
        let read = Limited::new(response.into_body(), LONGEST).collect();
        tokio::select! {
            read = read => read.map(http_body_util::Collected::to_bytes).map_err(|e| HttpError::Broken(e.to_string())),
            () = self.clock.sleep_until(self.clock.now() + PATIENCE) => Err(HttpError::Broken("the answer does not end".into())),
        }
    }
}
