//! One client connection of HTTP/1, exchange by exchange.

use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio_util::io::poll_read_buf;

use super::head::{self, Chunked, First, Framing, Head, Malformed};
use super::plan::{Asked, Plan};
use crate::events::Happened;
use crate::relay::Relay;
use crate::server::Connection;
use crate::socket::End;
use crate::time;

/// Bytes that one read takes at most.
const READ: usize = 64 << 10;
/// The largest body of a request that is read to be matched or changed.
pub(super) const BODY: usize = 8 << 20;

/// Connects to the upstream.
pub(crate) trait Connect {
    type Stream: End;
    /// The upstream, or a record of why not.
    async fn connect(&self) -> Option<Self::Stream>;
}

/// How an exchange ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Another request may come.
    Request,
    /// The connection is closed.
    Close,
    /// Bytes in both directions from now on.
    Tunnel,
}

/// The end of a connection in the middle of something.
#[derive(Debug)]
pub(super) enum Broken {
    Io(io::Error),
    Malformed(Malformed),
    /// A peer left in the middle.
    Left(&'static str),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Malformed> for Broken {
    fn from(error: Malformed) -> Self {
        Self::Malformed(error)
    }
}

/// Follows a body to its end.
#[derive(Debug)]
pub(super) enum Body {
    Left(u64),
    Chunked(Chunked),
    UntilClose,
}

impl Body {
    pub(super) fn new(framing: Framing) -> Self {
        match framing {
            Framing::Length(length) => Self::Left(length),
            Framing::Chunked => Self::Chunked(Chunked::default()),
            Framing::UntilClose | Framing::Tunnel => Self::UntilClose,
        }
    }

    pub(super) fn is_done(&self) -> bool {
        match self {
            Self::Left(left) => *left == 0,
            Self::Chunked(chunked) => chunked.is_done(),
            Self::UntilClose => false,
        }
    }

    /// How many of these bytes belong to it; `data` gets them without their framing.
    pub(super) fn follow(&mut self, bytes: &[u8], mut data: impl FnMut(&[u8])) -> Result<usize, Malformed> {
        match self {
            Self::Left(left) => {
                let count = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= count as u64;
                if count > 0 {
                    data(&bytes[..count]);
                }
                Ok(count)
            }
            Self::Chunked(chunked) => chunked.follow(bytes, data),
            Self::UntilClose => {
                data(bytes);
                Ok(bytes.len())
            }
        }
    }
}

pub(super) struct Session<C, K: Connect> {
    pub(super) connection: Rc<Connection>,
    pub(super) client: C,
    pub(super) upstream: Option<K::Stream>,
    connect: K,
    address: Option<IpAddr>,
    /// Read and not yet used.
    pub(super) from_client: BytesMut,
    pub(super) from_upstream: BytesMut,
    /// The part of the request's body that is still to be read, and what of it is still to be written.
    pub(super) uploading: Option<Body>,
    pub(super) upload: Bytes,
    /// The upstream does not take the rest of the request.
    pub(super) upload_broken: bool,
    pub(super) requests: u64,
}

/// Serves HTTP/1 until the client or the upstream is done.
pub(crate) async fn serve<C: End, K: Connect>(connection: Rc<Connection>, client: C, address: Option<IpAddr>, connect: K, first: BytesMut) {
    let mut session = Session {
        connection,
        client,
        upstream: None,
        connect,
        address,
        from_client: first,
        from_upstream: BytesMut::new(),
        uploading: None,
        upload: Bytes::new(),
        upload_broken: false,
        requests: 0,
    };
    match session.run().await {
        Ok(true) => {
            let Session { connection, client, upstream: Some(upstream), .. } = session else { return };
            Relay::over_toxed(connection, client, upstream).await;
        }
        Ok(false) => session.close().await,
        Err(Broken::Malformed(malformed)) => session.refuse(malformed).await,
        Err(Broken::Io(error)) => session.connection.because(error.to_string()),
        Err(Broken::Left(who)) => session.connection.because(who),
    }
}

impl<C: End, K: Connect> Session<C, K> {
    /// Whether it has become a tunnel.
    async fn run(&mut self) -> Result<bool, Broken> {
        while let Some(head) = self.read_request().await? {
            self.requests += 1;
            let next = match self.decide(&head).await? {
                None => self.pass(&head).await?,
                Some(plan) => self.carry_out(&head, plan).await?,
            };
            match next {
                Next::Request => {}
                Next::Close => return Ok(false),
                Next::Tunnel => {
                    self.flush_tunnel().await?;
                    return Ok(true);
                }
            }
            // A connection that waits holds no buffer.
            if self.from_client.is_empty() {
                self.from_client = BytesMut::new();
            }
            if self.from_upstream.is_empty() {
                self.from_upstream = BytesMut::new();
            }
        }
        Ok(false)
    }

    /// The head of the next request; `None` when the client is done.
    async fn read_request(&mut self) -> Result<Option<Head>, Broken> {
        let mut searched = 0;
        loop {
            // An empty line before a request is passed over (RFC 9112, section 2.2).
            while self.from_client.starts_with(b"\r\n") {
                self.from_client.advance(2);
            }
            if !self.from_client.is_empty() {
                if let Some(head) = head::request(&self.from_client, searched)? {
                    return Ok(Some(head));
                }
                searched = self.from_client.len();
            }
            if self.read_client_or_upstream_end().await? == 0 {
                return if self.from_client.is_empty() { Ok(None) } else { Err(Broken::Left("the client left in the middle of a head")) };
            }
        }
    }

    /// Reads from the client. An upstream that closes, or speaks without being asked, ends the connection.
    async fn read_client_or_upstream_end(&mut self) -> Result<usize, Broken> {
        poll_fn(|cx| {
            if let Some(upstream) = &mut self.upstream {
                match poll_read(upstream, cx, &mut self.from_upstream) {
                    Poll::Pending => {}
                    Poll::Ready(Ok(0)) => return Poll::Ready(Ok(0)),
                    Poll::Ready(Ok(_)) => return Poll::Ready(Err(Broken::Left("the upstream spoke without being asked"))),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                }
            }
            poll_read(&mut self.client, cx, &mut self.from_client).map_err(Broken::Io)
        })
        .await
    }

    /// Asks the rules.
    async fn decide(&mut self, head: &Head) -> Result<Option<Plan>, Broken> {
        let layers = self.connection.shared().layers();
        let Some(rules) = &layers.http else { return Ok(None) };
        let json = if rules.reads_body { self.peek_json(head).await? } else { None };
        let bytes = &self.from_client[..];
        let First::Request { method, target } = &head.first else { return Ok(None) };
        // The host of a target in absolute form wins (RFC 9112, section 3.2.2).
        let absolute = head::authority(&bytes[target.clone()]);
        let host = absolute.or_else(|| head.field(bytes, "host")).unwrap_or_default().rsplit_once_port();
        let field = |name: &str| head.field(bytes, name);
        let (method, target) = (&bytes[method.clone()], head::origin_form(&bytes[target.clone()]));
        let asked = Asked { method, target, host, field: &field, client: self.address, body: json.as_ref() };
        let (connection, request) = (&self.connection, self.requests);
        Ok(rules.decide(&asked, time::now(), |decided| {
            let what = || format!("{} {}", String::from_utf8_lossy(method), String::from_utf8_lossy(asked.path()));
            connection.record_with(|| Happened::Decided {
                request,
                what: what(),
                key: decided.key,
                attempt: decided.attempt,
                rule: decided.rule,
                fault: decided.fault,
                control: decided.control,
            });
        }))
    }

    /// The JSON of a request's body, which stays where it is. `None` where it is none, or too long, or announced and not sent.
    async fn peek_json(&mut self, head: &Head) -> Result<Option<serde_json::Value>, Broken> {
        let json =
            head.field(&self.from_client, "content-type").is_some_and(|kind| kind.to_ascii_lowercase().windows(4).any(|w| w == b"json"));
        if !json || head.framing == Framing::Length(0) || head.field(&self.from_client, "expect").is_some() {
            return Ok(None);
        }
        let (mut body, mut used, mut data) = (Body::new(head.framing), head.size, Vec::new());
        loop {
            used += body.follow(&self.from_client[used..], |piece| data.extend_from_slice(piece))?;
            if body.is_done() {
                return Ok(serde_json::from_slice(&data).ok());
            }
            if data.len() > BODY || self.read_client_or_upstream_end().await? == 0 {
                return Ok(None);
            }
        }
    }

    /// Passes the exchange on as it is.
    async fn pass(&mut self, head: &Head) -> Result<Next, Broken> {
        if self.upstream.is_none() && !self.open().await {
            return Ok(Next::Close);
        }
        let method = self.method(head);
        self.begin_upload(head, None)?;
        self.write_upload().await?;
        let response = self.read_final_response(&method).await?;
        self.pass_response(&response).await?;
        if response.framing == Framing::Tunnel {
            return Ok(Next::Tunnel);
        }
        let keep = head.keep_alive && response.keep_alive && self.finish_upload().await?;
        Ok(if keep { Next::Request } else { Next::Close })
    }

    pub(super) fn method(&self, head: &Head) -> Vec<u8> {
        match &head.first {
            First::Request { method, .. } => self.from_client[method.clone()].to_vec(),
            First::Response { .. } => Vec::new(),
        }
    }

    /// Connects. Whether there is an upstream.
    pub(super) async fn open(&mut self) -> bool {
        self.from_upstream.clear();
        self.upstream = self.connect.connect().await;
        self.upstream.is_some()
    }

    /// Reads from the upstream. Zero is its end.
    pub(super) async fn read_upstream(&mut self) -> Result<usize, Broken> {
        poll_fn(|cx| {
            self.poll_upload_beside(cx)?;
            match &mut self.upstream {
                Some(upstream) => poll_read(upstream, cx, &mut self.from_upstream).map_err(Broken::Io),
                None => Poll::Ready(Ok(0)),
            }
        })
        .await
    }

    /// The head of the response that ends the exchange. Interim ones (RFC 9110, section 15.2) are passed on as they come.
    pub(super) async fn read_final_response(&mut self, method: &[u8]) -> Result<Head, Broken> {
        loop {
            let response = self.read_response(method).await?;
            if !(100..200).contains(&response.status()) || response.framing == Framing::Tunnel {
                return Ok(response);
            }
            let interim = self.from_upstream.split_to(response.size).freeze();
            self.write_client(interim).await?;
        }
    }

    /// The head of the upstream's next response.
    async fn read_response(&mut self, method: &[u8]) -> Result<Head, Broken> {
        let mut searched = 0;
        loop {
            if !self.from_upstream.is_empty() {
                if let Some(head) = head::response(&self.from_upstream, searched, method)? {
                    return Ok(head);
                }
                searched = self.from_upstream.len();
            }
            if self.read_upstream().await? == 0 {
                return Err(Broken::Left("the upstream closed without a response"));
            }
        }
    }

    async fn pass_response(&mut self, head: &Head) -> Result<(), Broken> {
        let mut body = Body::new(head.framing);
        if head.framing == Framing::Tunnel {
            let bytes = self.from_upstream.split_to(head.size).freeze();
            return self.write_client(bytes).await;
        }
        let inside = body.follow(&self.from_upstream[head.size..], |_| {})?;
        let bytes = self.from_upstream.split_to(head.size + inside).freeze();
        self.write_client(bytes).await?;
        while !body.is_done() {
            if self.from_upstream.is_empty() && self.read_upstream().await? == 0 {
                return match body {
                    Body::UntilClose => Ok(()),
                    _ => Err(Broken::Left("the upstream left in the middle of a response")),
                };
            }
            let count = body.follow(&self.from_upstream, |_| {})?;
            let bytes = self.from_upstream.split_to(count).freeze();
            self.write_client(bytes).await?;
        }
        Ok(())
    }

    /// Writes all of it to the client.
    pub(super) async fn write_client(&mut self, mut bytes: Bytes) -> Result<(), Broken> {
        poll_fn(|cx| {
            self.poll_upload_beside(cx)?;
            while !bytes.is_empty() {
                let count = ready!(Pin::new(&mut self.client).poll_write(cx, &bytes))?;
                if count == 0 {
                    return Poll::Ready(Err(Broken::Left("the client takes no more")));
                }
                bytes.advance(count);
            }
            Pin::new(&mut self.client).poll_flush(cx).map_err(Broken::Io)
        })
        .await
    }

    /// What was read beyond the last head belongs to the tunnel.
    async fn flush_tunnel(&mut self) -> Result<(), Broken> {
        let bytes = self.from_upstream.split().freeze();
        self.write_client(bytes).await?;
        // All that is to come of the request are bytes of the tunnel by now, too.
        self.uploading = None;
        let rest = self.from_client.split().freeze();
        self.upload = if self.upload.is_empty() { rest } else { [&self.upload[..], &rest[..]].concat().into() };
        self.write_whole_upload().await
    }

    /// Says that the request is refused, and closes.
    async fn refuse(&mut self, malformed: Malformed) {
        self.connection.because(malformed.to_string());
        if self.uploading.is_some() || !self.upload.is_empty() || !self.from_upstream.is_empty() {
            // In the middle of an exchange there is no place for an answer.
            return;
        }
        let body = format!("{malformed}\n");
        let answer = format!(
            "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        // A client that left needs no answer.
        let _ = self.write_client(answer.into()).await;
        self.close().await;
    }

    /// Closes in order: what was sent last arrives also where the client still sends.
    async fn close(&mut self) {
        let _ = poll_fn(|cx| Pin::new(&mut self.client).poll_shutdown(cx)).await;
        let deadline = time::now() + std::time::Duration::from_millis(500);
        let mut sleep = time::sleep_until(deadline);
        poll_fn(|cx| {
            loop {
                self.from_client.clear();
                match poll_read(&mut self.client, cx, &mut self.from_client) {
                    Poll::Ready(Ok(1..)) => {}
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => return Pin::new(&mut sleep).poll(cx).map(drop),
                }
            }
        })
        .await;
    }
}

pub(super) fn poll_read<E: End>(end: &mut E, cx: &mut Context<'_>, buffer: &mut BytesMut) -> Poll<io::Result<usize>> {
    // Small at first: most messages are. A buffer that was filled grows.
    let spare = if buffer.capacity() == 0 { 4096 } else { (buffer.capacity() * 2).clamp(4096, READ) };
    if buffer.capacity() - buffer.len() < 1024 {
        buffer.reserve(spare);
    }
    poll_read_buf(Pin::new(end), cx, buffer)
}

trait WithoutPort {
    fn rsplit_once_port(&self) -> &[u8];
}

impl WithoutPort for [u8] {
    fn rsplit_once_port(&self) -> &[u8] {
        match self.iter().rposition(|byte| *byte == b':') {
            // Not within an IPv6 address.
            Some(at) if !self[at..].contains(&b']') => &self[..at],
            _ => self,
        }
    }
}
