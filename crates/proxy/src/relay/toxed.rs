//! A stream whose proxy may get toxics later: direct while there are none, behind a relay of its own from the first one on.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

use super::Relay;
use crate::server::Connection;
use crate::socket::{End, Socket};
use crate::toxic::Direction;

/// Bytes between the relay and whoever speaks HTTP or TLS.
const BETWEEN: usize = 64 << 10;

/// A client's socket, for those who read meaning from its bytes.
pub(crate) struct Toxed {
    connection: Rc<Connection>,
    inner: Inner,
    registered: bool,
}

enum Inner {
    Direct(Socket),
    Behind(DuplexStream),
    /// Only while one becomes the other.
    Changing,
}

impl Toxed {
    pub(crate) fn new(connection: Rc<Connection>, socket: Socket) -> Self {
        Self { connection, inner: Inner::Direct(socket), registered: false }
    }

    fn follow(&mut self, waker: &Waker) {
        if !self.registered {
            self.registered = true;
            self.connection.wake_on_change(waker);
        }
        if matches!(self.inner, Inner::Direct(_)) && self.connection.has_toxics() {
            let (near, far) = tokio::io::duplex(BETWEEN);
            if let Inner::Direct(socket) = std::mem::replace(&mut self.inner, Inner::Changing) {
                self.connection.spawn(Relay::new(self.connection.clone(), socket, far));
            }
            self.inner = Inner::Behind(near);
        }
    }
}

impl End for Toxed {
    fn reset_on_close(&self) {
        match &self.inner {
            Inner::Direct(socket) => socket.reset_on_close(),
            // The relay passes on how its other end goes.
            Inner::Behind(_) | Inner::Changing => self.connection.reset_behind(),
        }
    }
}

impl AsyncRead for Toxed {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.follow(cx.waker());
        match &mut this.inner {
            Inner::Direct(socket) => {
                let before = buf.filled().len();
                let result = Pin::new(socket).poll_read(cx, buf);
                // The other side of this proxy takes what is read here, in its own form.
                let count = buf.filled().len() - before;
                this.connection.received(Direction::Upstream, count);
                this.connection.sent(Direction::Upstream, count);
                result
            }
            Inner::Behind(stream) => Pin::new(stream).poll_read(cx, buf),
            Inner::Changing => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Toxed {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.follow(cx.waker());
        match &mut this.inner {
            Inner::Direct(socket) => {
                let result = Pin::new(socket).poll_write(cx, buf);
                if let Poll::Ready(Ok(count)) = result {
                    this.connection.received(Direction::Downstream, count);
                    this.connection.sent(Direction::Downstream, count);
                }
                result
            }
            Inner::Behind(stream) => Pin::new(stream).poll_write(cx, buf),
            Inner::Changing => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().inner {
            Inner::Direct(socket) => Pin::new(socket).poll_flush(cx),
            Inner::Behind(stream) => Pin::new(stream).poll_flush(cx),
            Inner::Changing => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().inner {
            Inner::Direct(socket) => Pin::new(socket).poll_shutdown(cx),
            Inner::Behind(stream) => Pin::new(stream).poll_shutdown(cx),
            Inner::Changing => Poll::Ready(Ok(())),
        }
    }
}
