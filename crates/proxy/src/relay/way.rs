//! A socket, until something is put between it and its relay.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

use crate::socket::{End, Socket};

/// Bytes between a relay and whoever reads meaning from them.
const BETWEEN: usize = 64 << 10;

/// Straight to a socket, or to whoever took it over.
pub(crate) enum Way {
    Direct(Socket),
    Behind(DuplexStream),
    /// Only while one becomes the other.
    Changing,
}

impl Way {
    /// The socket, and the stream over which its bytes are to be had by this side from now on.
    pub(crate) fn put_behind(&mut self) -> Option<(Socket, DuplexStream)> {
        match std::mem::replace(self, Self::Changing) {
            Self::Direct(socket) => {
                let (near, far) = tokio::io::duplex(BETWEEN);
                *self = Self::Behind(near);
                Some((socket, far))
            }
            other => {
                *self = other;
                None
            }
        }
    }
}

impl End for Way {
    fn socket(&self) -> Option<&Socket> {
        match self {
            Self::Direct(socket) => Some(socket),
            Self::Behind(_) | Self::Changing => None,
        }
    }

    fn reset_on_close(&self) {
        if let Self::Direct(socket) = self {
            socket.reset_on_close();
        }
    }

    fn is_gone(&self) -> bool {
        match self {
            Self::Direct(socket) => socket.is_gone(),
            Self::Behind(_) | Self::Changing => false,
        }
    }
}

impl AsyncRead for Way {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Direct(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Behind(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Changing => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Way {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Direct(socket) => Pin::new(socket).poll_write(cx, buf),
            Self::Behind(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Changing => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Direct(socket) => Pin::new(socket).poll_flush(cx),
            Self::Behind(stream) => Pin::new(stream).poll_flush(cx),
            Self::Changing => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Direct(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Behind(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Changing => Poll::Ready(Ok(())),
        }
    }
}
