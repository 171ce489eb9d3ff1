//! A client whose proxy may get toxics later: direct while there are none, behind a relay of its own from the first one on.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

use super::{Relay, Way};
use crate::server::Connection;
use crate::socket::{End, Socket};
use crate::toxic::Direction;

/// A client's socket, for those who read meaning from its bytes.
pub(crate) struct Toxed {
    connection: Rc<Connection>,
    way: Way,
    registered: bool,
}

impl Toxed {
    pub(crate) fn new(connection: Rc<Connection>, socket: Socket) -> Self {
        Self { connection, way: Way::Direct(socket), registered: false }
    }

    /// A client that a relay stands before already, which follows the toxics.
    pub(crate) fn behind(connection: Rc<Connection>, relay: DuplexStream) -> Self {
        Self { connection, way: Way::Behind(relay), registered: true }
    }

    fn follow(&mut self, waker: &Waker) {
        if !self.registered {
            self.registered = true;
            self.connection.wake_on_change(waker);
        }
        if matches!(self.way, Way::Direct(_))
            && self.connection.has_toxics()
            && let Some((socket, far)) = self.way.put_behind()
        {
            self.connection.spawn(Relay::new(self.connection.clone(), socket, far));
        }
    }

    /// The other side of this proxy takes what passes here, in its own form. Behind a relay, that one counts.
    fn count(&self, direction: Direction, bytes: usize) {
        if matches!(self.way, Way::Direct(_)) {
            self.connection.received(direction, bytes);
            self.connection.sent(direction, bytes);
        }
    }
}

impl End for Toxed {
    fn reset_on_close(&self) {
        match &self.way {
            Way::Direct(socket) => socket.reset_on_close(),
            // The relay passes on how its other end goes.
            Way::Behind(_) | Way::Changing => self.connection.reset_behind(),
        }
    }

    fn is_gone(&self) -> bool {
        self.way.is_gone()
    }
}

impl AsyncRead for Toxed {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.follow(cx.waker());
        let before = buf.filled().len();
        let result = Pin::new(&mut this.way).poll_read(cx, buf);
        this.count(Direction::Upstream, buf.filled().len() - before);
        result
    }
}

impl AsyncWrite for Toxed {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.follow(cx.waker());
        let result = Pin::new(&mut this.way).poll_write(cx, buf);
        if let Poll::Ready(Ok(count)) = result {
            this.count(Direction::Downstream, count);
        }
        result
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().way).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().way).poll_shutdown(cx)
    }
}
