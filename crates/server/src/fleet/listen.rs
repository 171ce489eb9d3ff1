//! The listener of agents: TLS, HTTP/2, and which request is for what.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full, Limited};
use hyper::body::{Body, Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use squall_api::link::SESSION_HEADER;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;

use super::authority::{Peer, peer};
use super::host::HostEntry;
use super::join::{Denied, deny};
use super::{Fleet, FleetError};

/// Strangers (connections that have not shown a good certificate) at the same time.
const STRANGERS: usize = 512;
/// How long a stranger may take for all that it wants.
const STRANGER_PATIENCE: Duration = Duration::from_secs(20);
/// How long a body may take.
const BODY_PATIENCE: Duration = Duration::from_secs(30);
/// The longest body of a stranger, and of an agent.
const LONGEST: (usize, usize) = (64 * 1024, 8 * 1024 * 1024);
/// A pause after the listener failed, as it does when there are no descriptors left.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

type Answered = Response<Either<Full<Bytes>, Link>>;

impl Fleet {
    /// Lets agents in, until the listener is gone.
    pub async fn serve(&self, listener: TcpListener) -> Result<(), FleetError> {
        let strangers = Arc::new(Semaphore::new(STRANGERS));
        loop {
            // Where too many strangers are at the door, the next has to wait in the backlog.
            let Ok(permit) = strangers.clone().acquire_owned().await else { return Ok(()) };
            match listener.accept().await {
                Ok((stream, from)) => {
                    let fleet = self.clone();
                    tokio::spawn(async move { fleet.connection(stream, from, permit).await });
                }
                Err(error) => {
                    tracing::warn!(%error, "an agent could not be let in");
                    self.0.config.clock.sleep_until(self.now() + AFTER_FAILURE).await;
                }
            }
        }
    }

    async fn connection(self, stream: TcpStream, from: SocketAddr, stranger: tokio::sync::OwnedSemaphorePermit) {
        let clock = self.0.config.clock.clone();
        let end = clock.now() + STRANGER_PATIENCE;
        // Commands are small and must not wait for each other.
        let _ = stream.set_nodelay(true);
        let acceptor = TlsAcceptor::from(self.0.tls.read().unwrap_or_else(PoisonError::into_inner).0.clone());
        let stream = tokio::select! {
            stream = acceptor.accept(stream) => stream,
            () = clock.sleep_until(end) => return,
        };
        let stream = match stream {
            Ok(stream) => stream,
            Err(error) => return tracing::debug!(%from, %error, "no TLS with an agent"),
        };
        let who = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()).and_then(peer);
        let known = who.as_ref().is_some_and(|who| self.admit(who).is_ok());
        let (fleet, who) = (self, Arc::new(who));
        let service = hyper::service::service_fn(move |request| {
            let (fleet, who) = (fleet.clone(), who.clone());
            async move { Ok::<_, Infallible>(fleet.answer(who.as_ref().as_ref(), request).await) }
        });
        let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(64 * 1024)
            .initial_connection_window_size(64 * 1024)
            .max_concurrent_streams(16)
            .max_header_list_size(8 * 1024)
            .max_send_buf_size(16 * 1024)
            .serve_connection(TokioIo::new(stream), service);
        if known {
            drop(stranger);
            if let Err(error) = connection.await {
                tracing::debug!(%from, %error, "the connection of an agent ended");
            }
        } else {
            tokio::select! {
                _ = connection => {}
                () = clock.sleep_until(end) => {}
            }
        }
    }

    /// The host that a certificate is of, if it is good for anything.
    fn admit(&self, who: &Peer) -> Result<Arc<HostEntry>, Denied> {
        let hint = "join again: `squall agent --join TOKEN`";
        let host = self.entry(&who.name).ok_or_else(|| deny(401, format!("host `{}` was forgotten", who.name), Some(hint.to_owned())))?;
        let good = host.state().document.serials.get(&who.serial).is_some_and(|expires| *expires > self.wall());
        if good { Ok(host) } else { Err(deny(401, "this certificate is no longer good", Some(hint.to_owned()))) }
    }

    async fn answer(&self, who: Option<&Peer>, request: Request<Incoming>) -> Answered {
        match self.route(who, request).await {
            Ok(response) => response,
            Err((status, refusal)) => json(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), &refusal),
        }
    }

    async fn route(&self, who: Option<&Peer>, request: Request<Incoming>) -> Result<Answered, Denied> {
        let (parts, body) = request.into_parts();
        let session = || parts.headers.get(SESSION_HEADER).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let host = || who.ok_or_else(|| deny(401, "show a certificate", None)).and_then(|who| self.admit(who));
        match (&parts.method, parts.uri.path()) {
            (&Method::POST, "/agent/v1/join") => {
                let join = decode(&self.read(body, LONGEST.0).await?)?;
                Ok(json(StatusCode::OK, &self.join(join).await?))
            }
            (&Method::POST, "/agent/v1/hello") => {
                let host = host()?;
                let hello = decode(&self.read(body, LONGEST.1).await?)?;
                Ok(json(StatusCode::OK, &self.hello(&host, hello).await?))
            }
            (&Method::GET, "/agent/v1/link") => {
                let (host, session) = (host()?, session());
                let frames = self.link(&host, session)?;
                let link = Link { frames, host, session: session.to_owned(), fleet: self.clone() };
                let mut response = Response::new(Either::Right(link));
                response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
                Ok(response)
            }
            (&Method::POST, "/agent/v1/messages") => {
                let host = host()?;
                let body = self.read(body, LONGEST.1).await?;
                self.messages(&host, session(), &body).await?;
                let mut response = Response::new(Either::Left(Full::default()));
                *response.status_mut() = StatusCode::NO_CONTENT;
                Ok(response)
            }
            (&Method::POST, "/agent/v1/certificate") => {
                let host = host()?;
                let renew = decode(&self.read(body, LONGEST.0).await?)?;
                Ok(json(StatusCode::OK, &self.renew(&host.name, renew).await?))
            }
            _ => Err(deny(404, "there is nothing here for agents", None)),
        }
    }

    async fn read(&self, body: Incoming, longest: usize) -> Result<Bytes, Denied> {
        let clock = &self.0.config.clock;
        let read = Limited::new(body, longest).collect();
        tokio::select! {
            read = read => read.map(http_body_util::Collected::to_bytes).map_err(|e| deny(400, format!("the body cannot be read: {e}"), None)),
            () = clock.sleep_until(clock.now() + BODY_PATIENCE) => Err(deny(408, "the body did not come", None)),
        }
    }
}

fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, Denied> {
    serde_json::from_slice(body).map_err(|e| deny(400, format!("the body cannot be read: {e}"), None))
}

fn json(status: StatusCode, value: &impl Serialize) -> Answered {
    let body = serde_json::to_vec(value).unwrap_or_default();
    let mut response = Response::new(Either::Left(Full::new(Bytes::from(body))));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// What an agent is sent, until its session or its connection ends.
pub(super) struct Link {
    frames: mpsc::UnboundedReceiver<Bytes>,
    host: Arc<HostEntry>,
    session: String,
    fleet: Fleet,
}

impl Body for Link {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.frames.poll_recv(cx).map(|frame| frame.map(|frame| Ok(Frame::data(frame))))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.fleet.lost(&self.host, Some(&self.session));
    }
}
