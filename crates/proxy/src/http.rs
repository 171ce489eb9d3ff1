//! HTTP between a client and its upstream: HTTP/1.1 read strictly, passed on byte for byte, and broken where a rule says so;
//! HTTP/2 stream by stream.
//!
//! ```text
//! client ── head ──▶ rules decide ──┬─ nothing: the same bytes, body by its framing ──▶ upstream
//!                                   └─ a plan: delay, answer, edit, cut …
//! ```
//!
//! Each client connection has an upstream connection of its own, opened with its first request that goes there. A message
//! that two readers could take for two different things is answered with 400 and passed on to nobody.

pub(crate) mod attempts;
pub(crate) mod fault;
pub(crate) mod head;
pub(crate) mod plan;
mod planned;
pub(crate) mod rules;
mod session;
mod two;
mod upload;

pub use fault::KINDS;
pub use head::Malformed;
#[cfg(test)]
pub(crate) use plan::Asked;
pub(crate) use planned::through;
pub use rules::Arms;
pub(crate) use rules::RuleSet;
pub(crate) use session::{Connect, serve as serve_one};
pub(crate) use two::serve as serve_two;

use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;

use bytes::BytesMut;

use crate::server::Connection;
use crate::socket::End;
use crate::tls::Replayed;

/// Whether these bytes, at a time when it is the client's turn, are the beginning of a request, or of a connection of HTTP/2.
pub(crate) fn begins_request(bytes: &[u8]) -> bool {
    head::begins(bytes) || two::PREFACE.starts_with(&bytes[..bytes.len().min(two::PREFACE.len())])
}

/// Serves HTTP of the version that the client speaks.
pub(crate) async fn serve<C, K>(connection: Rc<Connection>, mut client: C, address: Option<IpAddr>, connect: K)
where
    C: End + 'static,
    K: Connect + 'static,
    K::Stream: 'static,
{
    // HTTP/2 begins with words that no request of HTTP/1 has, and HTTP/1 shows at its first byte, or a few later.
    let mut first = BytesMut::new();
    while two::PREFACE.starts_with(&first) && first.len() < two::PREFACE.len() {
        match std::future::poll_fn(|cx| tokio_util::io::poll_read_buf(Pin::new(&mut client), cx, &mut first)).await {
            Ok(1..) => {}
            Ok(0) => break,
            Err(error) => return connection.because(error.to_string()),
        }
    }
    if first.starts_with(two::PREFACE) {
        Box::pin(two::serve(connection, Replayed::new(first.freeze(), client), address, connect)).await;
    } else {
        session::serve(connection, client, address, connect, first).await;
    }
}
