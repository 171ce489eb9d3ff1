//! The first bytes of a connection: a ClientHello, or something else.

use std::io;

use bytes::{Bytes, BytesMut};
use rustls::server::{Accepted, Acceptor};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The type of a record that holds a handshake message.
const HANDSHAKE: u8 = 22;
/// The first read takes in every usual ClientHello whole.
const ROOM: usize = 4096;

/// What came first.
pub(crate) enum First {
    /// A ClientHello.
    Hello(Box<Hello>),
    /// Something that is not TLS.
    Other(Bytes),
    /// Nothing: the client left, after so many bytes of a ClientHello.
    Left(Bytes),
}

/// A ClientHello, as it was read and as it was sent.
pub(crate) struct Hello {
    pub(crate) accepted: Accepted,
    /// All bytes that were read.
    pub(crate) bytes: Bytes,
    /// Those of them that follow the ClientHello.
    pub(crate) rest: Bytes,
    pub(crate) server_name: Option<String>,
    /// The protocols that the client would have, best first.
    pub(crate) alpn: Vec<Vec<u8>>,
}

/// Reads until it is known what the client wants.
pub(crate) async fn read<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> io::Result<First> {
    let mut bytes = BytesMut::with_capacity(ROOM);
    let mut fed = 0;
    let mut acceptor = Acceptor::default();
    loop {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(First::Left(bytes.freeze()));
        }
        if bytes[0] != HANDSHAKE {
            return Ok(First::Other(bytes.freeze()));
        }
        while fed < bytes.len() {
            fed += acceptor.read_tls(&mut &bytes[fed..])?;
            match acceptor.accept() {
                Ok(Some(accepted)) => return Ok(First::Hello(Box::new(understood(accepted, bytes, fed)))),
                Ok(None) => {}
                Err((error, mut alert)) => {
                    let mut record = Vec::new();
                    alert.write_all(&mut record)?;
                    stream.write_all(&record).await?;
                    return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                }
            }
        }
    }
}

fn understood(accepted: Accepted, bytes: BytesMut, fed: usize) -> Hello {
    let (server_name, alpn) = {
        let hello = accepted.client_hello();
        let alpn = hello.alpn().map(|names| names.map(<[u8]>::to_vec).collect()).unwrap_or_default();
        (hello.server_name().map(str::to_ascii_lowercase), alpn)
    };
    let bytes = bytes.freeze();
    Hello { accepted, rest: bytes.slice(fed..), bytes, server_name, alpn }
}
