//! HTTP/1.1 with kept connections.

use std::sync::{Arc, Mutex, PoisonError};

use ::http::{Method, Request, response};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;

use super::{Endpoint, Resolver, TlsConfigs, Trust, WireError, open_tcp};

/// What is done with the body of an answer. It is always read to its end, so that the connection can be used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyUse {
    /// Thrown away as it comes.
    Discard,
    /// Kept, up to so many bytes; more is an error.
    Collect(usize),
}

/// An answer read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Status and headers.
    pub(crate) head: response::Parts,
    /// The body, where it was asked for.
    pub(crate) body: Bytes,
}

/// Connections to one origin, each with one request at a time. The one used last is used next, so that what a burst has
/// opened can go idle and be closed by the server.
#[derive(Debug)]
pub(crate) struct Http1Pool {
    endpoint: Endpoint,
    trust: Trust,
    tls: Arc<TlsConfigs>,
    resolver: Arc<Resolver>,
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
    keep: usize,
}

impl Http1Pool {
    /// For the origin of `endpoint`, keeping at most `keep` idle connections.
    pub(crate) fn new(endpoint: Endpoint, trust: Trust, tls: Arc<TlsConfigs>, resolver: Arc<Resolver>, keep: usize) -> Self {
        Self { endpoint, trust, tls, resolver, idle: Mutex::new(Vec::new()), keep }
    }

    /// Sends what `make` gives and reads the answer to its end.
    ///
    /// A kept connection may have been closed by the server just then, which says nothing of its health. So a request that
    /// fails on one before any byte of an answer is sent again, once, on a new connection: always when it was never sent,
    /// otherwise only when it is idempotent (RFC 9110, section 9.2.2; RFC 9112, section 9.3.1).
    pub(crate) async fn exchange(
        &self,
        idempotent: bool,
        body: BodyUse,
        make: impl Fn() -> Request<Full<Bytes>>,
    ) -> Result<Answer, WireError> {
        let mut request = make();
        if let Some(mut connection) = self.take_idle().await {
            match connection.try_send_request(request).await {
                Ok(response) => return self.finish(connection, response, body).await,
                Err(mut error) => {
                    let unsent = error.take_message();
                    let error = WireError::from_hyper(&error.into_error());
                    if unsent.is_none() && !(idempotent && matches!(error, WireError::Reset | WireError::Closed)) {
                        return Err(error);
                    }
                    request = unsent.unwrap_or_else(&make);
                }
            }
        }
        let mut connection = self.connect().await?;
        match connection.try_send_request(request).await {
            Ok(response) => self.finish(connection, response, body).await,
            Err(error) => Err(WireError::from_hyper(&error.into_error())),
        }
    }

    async fn take_idle(&self) -> Option<SendRequest<Full<Bytes>>> {
        loop {
            let mut connection = self.lock().pop()?;
            // A connection is put back when the body has ended; its own task may still have to notice that.
            if connection.is_ready() || connection.ready().await.is_ok() {
                return Some(connection);
            }
        }
    }

    async fn finish(
        &self,
        connection: SendRequest<Full<Bytes>>,
        response: hyper::Response<Incoming>,
        wanted: BodyUse,
    ) -> Result<Answer, WireError> {
        let (head, incoming) = response.into_parts();
        let body = read_body(incoming, wanted).await?;
        let mut idle = self.lock();
        if !connection.is_closed() && idle.len() < self.keep {
            idle.push(connection);
        }
        Ok(Answer { head, body })
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, WireError> {
        let stream = open_tcp(&self.resolver, &self.endpoint.host, self.endpoint.port).await?;
        let wrong = |e: hyper::Error| WireError::from_hyper(&e);
        if self.endpoint.https {
            let stream = self.tls.handshake(stream, &self.endpoint, &self.trust, false).await?;
            let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(wrong)?;
            // An error of the connection reaches whoever waits for an answer on it; without one it is of no interest.
            tokio::spawn(async move { drop(connection.await) });
            Ok(sender)
        } else {
            let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(wrong)?;
            tokio::spawn(async move { drop(connection.await) });
            Ok(sender)
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<SendRequest<Full<Bytes>>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a body to its end.
pub(super) async fn read_body(mut incoming: Incoming, wanted: BodyUse) -> Result<Bytes, WireError> {
    let mut kept = BytesMut::new();
    let mut first = None;
    while let Some(frame) = incoming.frame().await {
        let frame = frame.map_err(|e| WireError::from_hyper(&e))?;
        let (BodyUse::Collect(limit), Ok(data)) = (wanted, frame.into_data()) else { continue };
        if first.as_ref().map_or(0, Bytes::len) + kept.len() + data.len() > limit {
            return Err(WireError::TooLarge(limit));
        }
        match &first {
            None => first = Some(data),
            Some(_) => kept.extend_from_slice(&data),
        }
    }
    Ok(match first {
        Some(first) if kept.is_empty() => first,
        Some(first) => [first.as_ref(), kept.as_ref()].concat().into(),
        None => Bytes::new(),
    })
}

/// Whether sending the request twice is the same as sending it once (RFC 9110, section 9.2.2).
pub(crate) fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::PUT | Method::DELETE | Method::OPTIONS | Method::TRACE)
}
