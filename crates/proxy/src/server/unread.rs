//! An upstream whose proxy may get HTTP rules later: the relay has its socket while there are none. From the first request on
//! that comes when there are some, a session of HTTP has it, and the relay has the session.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::Connection;
use super::worker::Upstream;
use crate::events::Happened;
use crate::http;
use crate::relay::{Toxed, Way};
use crate::socket::{End, Socket};
use crate::toxic::Direction;

/// The upstream of a connection of which nobody has read anything.
pub(super) struct Unread {
    connection: Rc<Connection>,
    client: Option<IpAddr>,
    way: Way,
    /// Which way the last bytes went that came past here.
    last: Direction,
    told: bool,
}

impl Unread {
    pub(super) fn new(connection: Rc<Connection>, client: Option<IpAddr>, upstream: Socket) -> Self {
        // Before the first byte it is the client's turn, as it is after a response.
        Self { connection, client, way: Way::Direct(upstream), last: Direction::Downstream, told: false }
    }

    /// Looks whether a request begins with these bytes, and if so lets HTTP have the upstream.
    fn follow(&mut self, bytes: &[u8]) {
        if self.told || self.last == Direction::Upstream {
            return;
        }
        if !http::begins_request(bytes) {
            self.told = true;
            self.connection.record(Happened::Unread);
            return;
        }
        if let Some((upstream, far)) = self.way.put_behind() {
            let connection = self.connection.clone();
            let client = Toxed::behind(connection.clone(), far);
            let upstream = Upstream::ready(connection.clone(), upstream);
            self.connection.spawn(http::serve(connection, client, self.client, upstream));
        }
    }
}

impl End for Unread {
    fn socket(&self) -> Option<&Socket> {
        // What the kernel moves by itself cannot be looked at.
        self.way.socket().filter(|_| self.told || !self.connection.shared().reads_http())
    }

    fn reset_on_close(&self) {
        self.way.reset_on_close();
    }
}

impl AsyncRead for Unread {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let result = Pin::new(&mut this.way).poll_read(cx, buf);
        if buf.filled().len() > before {
            this.last = Direction::Downstream;
        }
        result
    }
}

impl AsyncWrite for Unread {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.connection.shared().reads_http() {
            this.follow(buf);
        }
        let result = Pin::new(&mut this.way).poll_write(cx, buf);
        if matches!(result, Poll::Ready(Ok(1..))) {
            this.last = Direction::Upstream;
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
