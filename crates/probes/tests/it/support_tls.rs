//! An HTTPS server that speaks HTTP/2 and HTTP/1.1 as asked.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertifiedKey, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

pub(crate) async fn start(signed: &CertifiedKey<KeyPair>) -> SocketAddr {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signed.signing_key.serialize_der()));
    let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().expect("versions").with_no_client_auth();
    let mut config = builder.with_single_cert(vec![signed.cert.der().clone()], key).expect("a certificate");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // A client that does not believe the certificate ends the handshake.
                let Ok(stream) = acceptor.accept(stream).await else { return };
                serve(TokioIo::new(stream)).await;
            });
        }
    });
    address
}

/// Cleartext, HTTP/1.1 or HTTP/2 with prior knowledge.
pub(crate) async fn start_plain() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(TokioIo::new(stream)));
        }
    });
    address
}

async fn serve<S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static>(stream: S) {
    let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| async move {
        Ok::<_, std::convert::Infallible>(hyper::Response::new(Full::new(Bytes::from(format!("{:?}", request.version())))))
    });
    // A client that goes away is no failure of the test.
    let _ = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new()).serve_connection(stream, service).await;
}
