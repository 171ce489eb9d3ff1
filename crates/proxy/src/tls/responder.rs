//! What a certificate says may be asked over plain HTTP: the list of revoked certificates, and OCSP (RFC 6960, appendix A).

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::authority::{Authority, AuthorityError};
use super::ocsp::{self, Status};

/// Where the list of revoked certificates is.
pub(crate) const LIST: &str = "/.squall/revoked.crl";
/// Where OCSP is answered.
pub(crate) const OCSP: &str = "/.squall/ocsp";
/// A request for either is never longer.
const LIMIT: usize = 16 << 10;

/// Whether these first bytes of a connection ask for one of ours.
pub(crate) fn is_ours(first: &[u8]) -> bool {
    let ours = |prefix: String| first.starts_with(prefix.as_bytes());
    ours(format!("GET {LIST} ")) || ours(format!("POST {OCSP} "))
}

/// Answers one request, and ends.
pub(crate) async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    first: Bytes,
    authority: &Arc<Authority>,
) -> Result<(), AuthorityError> {
    let Some(request) = read(stream, first).await else { return Ok(()) };
    let (kind, body) = match request {
        Request::List => ("application/pkix-crl", authority.revocation_list(&[])?),
        Request::Ocsp(body) => match ocsp::asked(&body) {
            Some((id, serial)) => {
                let status = if authority.is_revoked(serial) { Status::Revoked } else { Status::Good };
                ("application/ocsp-response", ocsp::response(authority, id, status)?)
            }
            // malformedRequest (1)
            None => ("application/ocsp-response", vec![0x30, 3, 0x0a, 1, 1]),
        },
    };
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    // A client that left does not need the answer.
    let _ = stream.write_all(&[head.as_bytes(), &body].concat()).await;
    let _ = stream.shutdown().await;
    Ok(())
}

enum Request {
    List,
    Ocsp(Bytes),
}

async fn read<S: AsyncRead + Unpin>(stream: &mut S, first: Bytes) -> Option<Request> {
    let mut bytes = BytesMut::from(&first[..]);
    let mut needed = None;
    loop {
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            if bytes.starts_with(b"GET") {
                return Some(Request::List);
            }
            let body = end + 4;
            if needed.is_none() {
                let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
                let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
                needed = Some(length? + body);
            }
            if let Some(needed) = needed.filter(|needed| *needed <= bytes.len()) {
                return Some(Request::Ocsp(bytes.freeze().slice(body..needed)));
            }
        }
        if bytes.len() > LIMIT || !matches!(stream.read_buf(&mut bytes).await, Ok(1..)) {
            return None;
        }
    }
}
