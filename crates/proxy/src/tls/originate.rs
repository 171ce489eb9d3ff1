//! TLS towards the upstream.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsConnector;

use super::compile::CompiledTls;
use super::spec::TlsSpec;
use crate::socket::{End, Socket};

/// A connection to the upstream.
pub enum Upstream<S> {
    /// Without TLS.
    Plain(S),
    /// With.
    Tls(Box<tokio_rustls::client::TlsStream<S>>),
}

/// Starts TLS towards the upstream, where the proxy is to speak it, and offers these protocols. `host` is the upstream's own,
/// whose name is asked for where neither the settings nor the client name one. Tells which protocol the upstream took.
pub async fn originate<S: End>(
    stream: S,
    tls: &CompiledTls,
    server_name: Option<&str>,
    host: &str,
    alpn: &[Vec<u8>],
) -> io::Result<(Upstream<S>, Option<Vec<u8>>)> {
    let Some(base) = tls.client() else { return Ok((Upstream::Plain(stream), None)) };
    let wrong = |reason: String| io::Error::new(io::ErrorKind::InvalidData, reason);
    let name = tls.spec().server_name.as_deref().or(server_name).unwrap_or(host);
    let name = ServerName::try_from(if name.is_empty() { "localhost" } else { name }.to_owned())
        .map_err(|_| wrong(format!("`{name}` is no name for TLS")))?;
    let mut config = ClientConfig::clone(base);
    config.alpn_protocols = alpn.to_vec();
    let connected = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    let session = connected.map_err(|e| io::Error::new(e.kind(), format!("the upstream's TLS: {e}")))?;
    let taken = session.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
    Ok((Upstream::Tls(Box::new(session)), taken))
}

/// What to ask of upstreams, by the settings.
pub(crate) fn client_config(spec: &TlsSpec) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().map_err(|e| e.to_string())?;
    let config = match (&spec.ca, spec.verify) {
        (_, false) => builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider))).with_no_client_auth(),
        (Some(path), true) => {
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_file_iter(path).map_err(|e| format!("cannot read {}: {e}", path.display()))? {
                let certificate = certificate.map_err(|e| format!("{} is not PEM: {e}", path.display()))?;
                roots.add(certificate).map_err(|e| format!("a certificate in {}: {e}", path.display()))?;
            }
            if roots.is_empty() {
                return Err(format!("{} holds no certificate in PEM", path.display()));
            }
            builder.with_root_certificates(roots).with_no_client_auth()
        }
        (None, true) => {
            let mut roots = RootCertStore::empty();
            // None at all shows with each handshake, as for any other client on this host.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            builder.with_root_certificates(roots).with_no_client_auth()
        }
    };
    Ok(Arc::new(config))
}

impl<S: End> AsyncRead for Upstream<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl<S: End> AsyncWrite for Upstream<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

impl<S: End> End for Upstream<S> {
    fn socket(&self) -> Option<&Socket> {
        match self {
            Self::Plain(stream) => stream.socket(),
            Self::Tls(_) => None,
        }
    }

    fn reset_on_close(&self) {
        match self {
            Self::Plain(stream) => stream.reset_on_close(),
            Self::Tls(stream) => stream.get_ref().0.reset_on_close(),
        }
    }
}

/// Takes any certificate, for `verify: false`. The signatures of the handshake are still checked.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
