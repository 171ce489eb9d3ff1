//! Sockets of both families, and what a relay needs of either end: reads, writes, and for bulk the descriptor itself.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// One end of a relay.
pub trait End: AsyncRead + AsyncWrite + Unpin {
    /// The socket whose bytes are the bytes of this end, where there is one: the kernel may then move them by itself.
    fn socket(&self) -> Option<&Socket> {
        None
    }

    /// From now on, closing this end resets the connection (RST) where it can.
    fn reset_on_close(&self) {}

    /// Whether the peer is known to be gone for good, and not only to have finished sending. To be asked again and again.
    fn is_gone(&self) -> bool {
        false
    }
}

impl End for DuplexStream {}

/// Once a peer has finished sending, how often its host is asked whether it is still there.
const ASK: Duration = Duration::from_secs(5);

/// A TCP or a Unix stream socket.
#[derive(Debug)]
pub enum Socket {
    /// TCP, over IPv4 or IPv6.
    Tcp(TcpStream),
    /// Unix.
    Unix(UnixStream),
}

impl Socket {
    /// Waits until it can be read from.
    pub(crate) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_read_ready(cx),
            Self::Unix(stream) => stream.poll_read_ready(cx),
        }
    }

    /// Waits until it can be written to.
    pub(crate) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_write_ready(cx),
            Self::Unix(stream) => stream.poll_write_ready(cx),
        }
    }

    /// Runs an operation on the descriptor; `WouldBlock` makes it wait for readiness again.
    pub(crate) fn try_io<T>(&self, interest: Interest, operation: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        match self {
            Self::Tcp(stream) => stream.try_io(interest, operation),
            Self::Unix(stream) => stream.try_io(interest, operation),
        }
    }

    /// The address of this side; none for a Unix socket.
    pub(crate) fn local(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    /// Throws away what was received and not read, as far as it is here: closing a socket with unread bytes resets the
    /// connection, and the peer may then lose what was sent to it last.
    pub(crate) fn discard_received(&self) {
        let mut buffer = [0; 16 << 10];
        for _ in 0..64 {
            let read = match self {
                Self::Tcp(stream) => stream.try_read(&mut buffer),
                Self::Unix(stream) => stream.try_read(&mut buffer),
            };
            if !matches!(read, Ok(1..)) {
                return;
            }
        }
    }
}

impl End for Socket {
    fn socket(&self) -> Option<&Socket> {
        Some(self)
    }

    fn reset_on_close(&self) {
        if let Self::Tcp(stream) = self {
            // A socket that is gone already cannot be reset, and need not.
            let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
    }

    /// A reset shows at once, and so does a Unix socket that was closed.
    ///
    /// A TCP socket that was closed in order cannot be told from one that has only finished sending: both send FIN and nothing
    /// more. But the host of a closed one forgets it after a while (Linux: `tcp_fin_timeout`, 60 s) and answers a keep-alive
    /// (RFC 9293, section 3.8.4) with a reset from then on.
    fn is_gone(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, poll};
        let mut look = [PollFd::new(self, PollFlags::RDHUP)];
        let zero = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
        if poll(&mut look, Some(&zero)).is_err() {
            // Another look will tell.
            return false;
        }
        let seen = look[0].revents();
        if let Self::Tcp(stream) = self
            && seen.contains(PollFlags::RDHUP)
        {
            let socket = socket2::SockRef::from(stream);
            if !socket.keepalive().unwrap_or(true) {
                // Without it the wait goes on to its end, as for a peer that is there.
                let _ = socket.set_tcp_keepalive(&socket2::TcpKeepalive::new().with_time(ASK).with_interval(ASK));
            }
        }
        seen.intersects(PollFlags::HUP | PollFlags::ERR)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
