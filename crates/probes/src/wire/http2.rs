//! HTTP/2 with a few shared connections: by ALPN over TLS, with prior knowledge in clear text.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ::http::Request;
use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::http1::read_body;
use super::{Answer, BodyUse, Endpoint, Resolver, TlsConfigs, Trust, WireError, open_tcp};

/// Requests on one connection before another is opened: the least that servers should allow (RFC 9113, section 6.5.2).
const STREAMS: usize = 100;

/// Connections to one origin, each with many requests at a time.
#[derive(Debug)]
pub(crate) struct Http2Pool {
    endpoint: Endpoint,
    trust: Trust,
    tls: Arc<TlsConfigs>,
    resolver: Arc<Resolver>,
    open: Mutex<Vec<Connection>>,
    /// One connection is made at a time: those who wait may share it.
    connecting: tokio::sync::Mutex<()>,
}

#[derive(Debug, Clone)]
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    streams: Arc<AtomicUsize>,
}

/// Counts one request under way, until dropped.
struct Stream(Arc<AtomicUsize>);

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Http2Pool {
    /// For the origin of `endpoint`.
    pub(crate) fn new(endpoint: Endpoint, trust: Trust, tls: Arc<TlsConfigs>, resolver: Arc<Resolver>) -> Self {
        Self { endpoint, trust, tls, resolver, open: Mutex::default(), connecting: tokio::sync::Mutex::default() }
    }

    /// Sends what `make` gives and reads the answer to its end. Sent again, once, under the same rule as for HTTP/1.1.
    pub(crate) async fn exchange(
        &self,
        idempotent: bool,
        body: BodyUse,
        make: impl Fn() -> Request<Full<Bytes>>,
    ) -> Result<Answer, WireError> {
        let (mut sender, stream, reused) = self.sender().await?;
        let error = match sender.try_send_request(make()).await {
            Ok(response) => return read(response, body).await,
            Err(mut error) => {
                let unsent = error.take_message().is_some();
                let error = WireError::from_hyper(&error.into_error());
                if !(reused && (unsent || idempotent && matches!(error, WireError::Reset | WireError::Closed))) {
                    return Err(error);
                }
                error
            }
        };
        drop((stream, error));
        let (mut sender, _stream, _) = self.sender().await?;
        match sender.try_send_request(make()).await {
            Ok(response) => read(response, body).await,
            Err(error) => Err(WireError::from_hyper(&error.into_error())),
        }
    }

    /// A connection with room, and whether it had been used before.
    async fn sender(&self) -> Result<(SendRequest<Full<Bytes>>, Stream, bool), WireError> {
        if let Some((sender, stream)) = self.with_room() {
            return Ok((sender, stream, true));
        }
        let _turn = self.connecting.lock().await;
        if let Some((sender, stream)) = self.with_room() {
            return Ok((sender, stream, true));
        }
        let connection = Connection { sender: self.connect().await?, streams: Arc::new(AtomicUsize::new(1)) };
        self.lock().push(connection.clone());
        Ok((connection.sender, Stream(connection.streams), false))
    }

    fn with_room(&self) -> Option<(SendRequest<Full<Bytes>>, Stream)> {
        let mut open = self.lock();
        open.retain(|connection| !connection.sender.is_closed());
        let connection = open.iter().find(|connection| connection.streams.load(Ordering::Relaxed) < STREAMS)?;
        connection.streams.fetch_add(1, Ordering::Relaxed);
        Some((connection.sender.clone(), Stream(connection.streams.clone())))
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, WireError> {
        let stream = open_tcp(&self.resolver, &self.endpoint.host, self.endpoint.port).await?;
        let wrong = |e: hyper::Error| WireError::from_hyper(&e);
        if self.endpoint.https {
            let stream = self.tls.handshake(stream, &self.endpoint, &self.trust, true).await?;
            let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.map_err(wrong)?;
            // An error of the connection reaches whoever waits for an answer on it.
            tokio::spawn(async move { drop(connection.await) });
            Ok(sender)
        } else {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.map_err(wrong)?;
            tokio::spawn(async move { drop(connection.await) });
            Ok(sender)
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn read(response: hyper::Response<hyper::body::Incoming>, wanted: BodyUse) -> Result<Answer, WireError> {
    let (head, incoming) = response.into_parts();
    let body = read_body(incoming, wanted).await?;
    Ok(Answer { head, body })
}
