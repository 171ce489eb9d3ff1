//! Streams around TLS: one whose first bytes were read already, one that stops in the middle of a handshake, one that ends
//! without saying so.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::plan::{Then, Truncate};
use crate::body::Cut;
use crate::socket::{End, Socket};
use crate::time::{Sleep, sleep};

/// A stream whose first bytes were read already, and come first again.
#[derive(Debug)]
pub struct Replayed<S> {
    first: Bytes,
    stream: S,
}

impl<S> Replayed<S> {
    pub(crate) fn new(first: Bytes, stream: S) -> Self {
        Self { first, stream }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Replayed<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let count = self.first.len().min(buf.remaining());
        buf.put_slice(&self.first[..count]);
        self.first.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Replayed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl<S: End> End for Replayed<S> {
    fn socket(&self) -> Option<&Socket> {
        if self.first.is_empty() { self.stream.socket() } else { None }
    }

    fn reset_on_close(&self) {
        self.stream.reset_on_close();
    }

    fn is_gone(&self) -> bool {
        self.stream.is_gone()
    }
}

impl End for tokio::net::TcpStream {
    fn reset_on_close(&self) {
        // A socket that is gone already cannot be reset, and need not.
        let _ = socket2::SockRef::from(self).set_linger(Some(Duration::ZERO));
    }
}

/// What a server's handshake is written to: stops after the ServerHello where it is told to.
pub(crate) struct Wire<S> {
    stream: S,
    /// What was read while nothing was to be written, and more that came with the ClientHello.
    read: Bytes,
    gate: Gate,
}

enum Gate {
    /// Everything passes.
    Open,
    /// The next record is the ServerHello's.
    Waiting(Then),
    /// The ServerHello goes out, and what its record held after it comes later.
    Split { now: Bytes, later: Bytes, then: Then },
    /// Nothing passes.
    Shut { until: Option<Sleep>, later: Bytes },
    /// The rest of the split record goes out.
    Rest(Bytes),
}

/// The alert with which rustls answers a client without a certificate, in clear and so in TLS 1.2, which does not have it
/// (RFC 8446, section 4.4.2.4, does). What servers of TLS 1.2 say is below (RFC 5246, section 7.4.6).
const CERTIFICATE_REQUIRED: &[u8] = &[21, 3, 3, 0, 2, 2, 116];
const HANDSHAKE_FAILURE: &[u8] = &[21, 3, 3, 0, 2, 2, 40];

/// Why a handshake did not go on.
pub(crate) const CUT: &str = "the fault ended it";

impl<S> Wire<S> {
    pub(crate) fn new(stream: S, read: Bytes, after_server_hello: Option<Then>) -> Self {
        Self { stream, read, gate: after_server_hello.map_or(Gate::Open, Gate::Waiting) }
    }

    pub(crate) fn into_stream(self) -> S {
        self.stream
    }
}

/// The record of a ServerHello alone, and the record of what came after it in the same one (TLS 1.2 puts its whole flight in
/// one record, which may be cut anywhere: RFC 5246, section 6.2.1).
fn split_server_hello(record: &[u8]) -> (Bytes, Bytes) {
    let whole = || (Bytes::copy_from_slice(record), Bytes::new());
    let (Some(header), Some(body)) = (record.get(..5), record.get(5..)) else { return whole() };
    let Some(length) = body.get(1..4).map(|b| 4 + (usize::from(b[0]) << 16 | usize::from(b[1]) << 8 | usize::from(b[2]))) else {
        return whole();
    };
    // What follows in this write, if anything, is whole records.
    let in_record = usize::from(header[3]) << 8 | usize::from(header[4]);
    if header[0] != 22 || length > in_record || in_record > body.len() {
        return whole();
    }
    let (hello, rest) = body.split_at(length);
    let with_header = |part: &[u8]| {
        let length = u16::try_from(part.len()).unwrap_or(u16::MAX).to_be_bytes();
        [&header[..3], &length, part].concat()
    };
    let (same, next) = rest.split_at(in_record - length);
    let mut later = if same.is_empty() { Vec::new() } else { with_header(same) };
    later.extend_from_slice(next);
    (with_header(hello).into(), later.into())
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    fn poll_out(stream: &mut S, bytes: &mut Bytes, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !bytes.is_empty() {
            let count = ready!(Pin::new(&mut *stream).poll_write(cx, bytes))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            bytes.advance(count);
        }
        Poll::Ready(Ok(()))
    }

    /// Whether the client has left, while there is nothing to say to it.
    fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let mut buffer = [0; 4096];
        let mut buffer = ReadBuf::new(&mut buffer);
        match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => Poll::Ready(error),
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => Poll::Ready(io::ErrorKind::UnexpectedEof.into()),
            Poll::Ready(Ok(())) => {
                self.read = [&self.read, buffer.filled()].concat().into();
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    /// Goes on until everything may pass.
    fn poll_gate(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match &mut self.gate {
                Gate::Open | Gate::Waiting(_) => return Poll::Ready(Ok(())),
                Gate::Split { now, later, then } => {
                    ready!(Self::poll_out(&mut self.stream, now, cx))?;
                    ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
                    self.gate = match then {
                        Then::Wait(time) => Gate::Shut { until: time.map(sleep), later: std::mem::take(later) },
                        Then::End(_) => return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, CUT))),
                    };
                }
                Gate::Shut { until, later } => {
                    if let Some(until) = until
                        && let Poll::Ready(result) = Pin::new(until).poll(cx)
                    {
                        result?;
                        self.gate = Gate::Rest(std::mem::take(later));
                        continue;
                    }
                    return self.poll_left(cx).map(Err);
                }
                Gate::Rest(later) => {
                    ready!(Self::poll_out(&mut self.stream, later, cx))?;
                    self.gate = Gate::Open;
                }
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Wire<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.read.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let count = self.read.len().min(buf.remaining());
        buf.put_slice(&self.read[..count]);
        self.read.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_gate(cx))?;
        if let Gate::Waiting(then) = self.gate {
            // A write here is one whole record, as rustls keeps them. An alert in its place is not stopped.
            if buf.first() == Some(&22) {
                let (now, later) = split_server_hello(buf);
                self.gate = Gate::Split { now, later, then };
                return Poll::Ready(Ok(buf.len()));
            }
        }
        let buf = if buf == CERTIFICATE_REQUIRED { HANDSHAKE_FAILURE } else { buf };
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_gate(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// What is inside a client's TLS connection that ends here.
pub struct Terminated<S> {
    tls: Box<tokio_rustls::server::TlsStream<Wire<S>>>,
    truncate: Option<Truncating>,
}

struct Truncating {
    left: u64,
    cut: Cut,
    done: bool,
}

impl<S: End> Terminated<S> {
    pub(crate) fn new(tls: tokio_rustls::server::TlsStream<Wire<S>>, truncate: Option<Truncate>) -> Self {
        let truncate = truncate.map(|t| Truncating { left: t.bytes, cut: t.cut, done: false });
        Self { tls: Box::new(tls), truncate }
    }

    /// Ends the connection under the session, which has said all that it was to say.
    fn poll_cut(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(truncate) = &mut self.truncate else { return Poll::Ready(Ok(())) };
        if !truncate.done {
            ready!(Pin::new(&mut *self.tls).poll_flush(cx))?;
            let wire = self.tls.get_mut().0;
            match truncate.cut {
                Cut::Reset => wire.stream.reset_on_close(),
                Cut::Close => ready!(Pin::new(wire).poll_shutdown(cx))?,
            }
            truncate.done = true;
        }
        Poll::Ready(Ok(()))
    }

    fn is_over(&self) -> bool {
        self.truncate.as_ref().is_some_and(|t| t.left == 0)
    }
}

fn truncated() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "tls.truncated")
}

impl<S: End> AsyncRead for Terminated<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.truncate.as_ref().is_some_and(|t| t.done) {
            return Poll::Ready(Err(truncated()));
        }
        Pin::new(&mut *self.tls).poll_read(cx, buf)
    }
}

impl<S: End> AsyncWrite for Terminated<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_over() {
            ready!(self.poll_cut(cx))?;
            return Poll::Ready(Err(truncated()));
        }
        let room = self.truncate.as_ref().map_or(buf.len(), |t| usize::try_from(t.left).unwrap_or(usize::MAX).min(buf.len()));
        let count = ready!(Pin::new(&mut *self.tls).poll_write(cx, &buf[..room]))?;
        if let Some(truncate) = &mut self.truncate {
            truncate.left -= count as u64;
            if truncate.left == 0 {
                // At once, where it can be done at once: nothing more may ever come to be written.
                if let Poll::Ready(Err(error)) = self.poll_cut(cx) {
                    return Poll::Ready(Err(error));
                }
            }
        }
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_over() {
            return self.poll_cut(cx);
        }
        Pin::new(&mut *self.tls).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.truncate.is_some() {
            return self.poll_cut(cx);
        }
        Pin::new(&mut *self.tls).poll_shutdown(cx)
    }
}

impl<S: End> End for Terminated<S> {
    fn reset_on_close(&self) {
        self.tls.get_ref().0.stream.reset_on_close();
    }

    fn is_gone(&self) -> bool {
        self.tls.get_ref().0.stream.is_gone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_hello_is_cut_out_of_the_record_that_holds_a_whole_flight() {
        let hello = [2, 0, 0, 3, 7, 7, 7];
        let flight = [&[22, 3, 3, 0, 12][..], &hello, &[11, 0, 0, 1, 9], &[20, 3, 3, 0, 1, 1]].concat();
        let (now, later) = split_server_hello(&flight);
        assert_eq!(now, [&[22, 3, 3, 0, 7][..], &hello].concat());
        assert_eq!(later, [22, 3, 3, 0, 5, 11, 0, 0, 1, 9, 20, 3, 3, 0, 1, 1][..]);
        let alone = [&[22, 3, 3, 0, 7][..], &hello].concat();
        assert_eq!(split_server_hello(&alone), (alone.clone().into(), Bytes::new()));
        for broken in [&[][..], &[22, 3], &[22, 3, 3, 0, 9, 2], &[22, 3, 3, 0, 4, 2, 0, 1, 0]] {
            assert_eq!(split_server_hello(broken).0, broken);
        }
    }
}
