//! Listening for the API.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use squall_engine::Clock;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use crate::TlsFiles;

/// Connections at the same time; the next ones wait in the backlog.
const CONNECTIONS: usize = 10_000;
/// How long a client may take for the head of a request, and for a handshake.
const PATIENCE: Duration = Duration::from_secs(15);
/// The longest head of a request, in bytes.
const HEAD: usize = 32 * 1024;
/// How long no connection is taken after one could not be: there are no descriptors left.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// Chain and key, PEM, of the setting of this name.
fn read(files: &TlsFiles, setting: &str) -> Result<(String, String), String> {
    let read = |path: &std::path::Path, what: &str| {
        std::fs::read_to_string(path).map_err(|e| format!("{setting}.{what}: {} cannot be read: {e}", path.display()))
    };
    Ok((read(&files.certificate, "certificate")?, read(&files.key, "key")?))
}

/// The certificate for the listener of agents, from its files: chain and key, PEM.
pub fn agents_certificate(files: &TlsFiles) -> Result<(String, String), String> {
    read(files, "agentsTls")
}

/// The configuration of TLS for the API, from its files.
pub fn api_tls(files: &TlsFiles) -> Result<Arc<rustls::ServerConfig>, String> {
    let (chain, key) = read(files, "tls")?;
    let chain =
        CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<Vec<_>, _>>().map_err(|e| format!("tls.certificate: {e}"))?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|e| format!("tls.key: {e}"))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(|e| e.to_string())?;
    let mut config = config.with_no_client_auth().with_single_cert(chain, key).map_err(|e| format!("tls: {e}"))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Answers requests until the listener is gone; over TLS if there is a configuration for it.
pub async fn serve(listener: TcpListener, tls: Option<Arc<rustls::ServerConfig>>, router: Router, clock: Arc<dyn Clock>) {
    let acceptor = tls.map(TlsAcceptor::from);
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, from)) => {
                let (acceptor, router) = (acceptor.clone(), router.clone());
                tokio::spawn(async move {
                    connection(stream, from, acceptor, router).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be taken");
                clock.sleep_until(clock.now() + AFTER_FAILURE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, from: SocketAddr, acceptor: Option<TlsAcceptor>, router: Router) {
    let _ = stream.set_nodelay(true);
    let router = router.layer(axum::Extension(ConnectInfo(from)));
    let Some(acceptor) = acceptor else { return http(stream, router).await };
    match tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => http(stream, router).await,
        Ok(Err(error)) => tracing::debug!(%from, %error, "no handshake"),
        Err(_) => tracing::debug!(%from, "the handshake took too long"),
    }
}

async fn http<S>(stream: S, router: Router)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(PATIENCE).max_buf_size(HEAD);
    builder.http2().timer(TokioTimer::new()).max_header_list_size(32 * 1024).keep_alive_interval(Some(PATIENCE));
    // A client that goes away in the middle is none of the server's concern.
    if let Err(error) = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)).await {
        tracing::debug!(%error, "a connection ended early");
    }
}
