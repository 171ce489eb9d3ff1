//! TLS, made ready when the first `https://` address asks for it and not before: loading the system's certificates takes
//! tens of milliseconds and some MiB, which plain HTTP must not pay.

use std::collections::HashMap;
use std::io::BufReader;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Endpoint, WireError};

/// Whose certificates are believed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) enum Trust {
    /// Those that the system's authorities signed.
    #[default]
    System,
    /// Those that an authority in this PEM file signed.
    Authority(PathBuf),
    /// Anybody's.
    Anyone,
}

/// Configurations made so far, one for each kind of trust and protocol.
#[derive(Debug, Default)]
pub(crate) struct TlsConfigs(Mutex<HashMap<(Trust, bool), Arc<ClientConfig>>>);

impl TlsConfigs {
    /// A TLS session over the connection. With `http2` only that is offered (ALPN `h2`), and it is an error if the other
    /// side does not take it.
    pub(crate) async fn handshake(
        &self,
        stream: TcpStream,
        endpoint: &Endpoint,
        trust: &Trust,
        http2: bool,
    ) -> Result<TlsStream<TcpStream>, WireError> {
        let wrong = |reason: String| WireError::Tls { host: endpoint.address(), reason };
        let config = self.config(trust, http2).map_err(wrong)?;
        let name = ServerName::try_from(endpoint.host.clone()).map_err(|e| wrong(e.to_string()))?;
        let session = TlsConnector::from(config).connect(name, stream).await.map_err(|e| wrong(e.to_string()))?;
        if http2 && session.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err(wrong("the server does not speak HTTP/2 (ALPN `h2`)".into()));
        }
        Ok(session)
    }

    fn config(&self, trust: &Trust, http2: bool) -> Result<Arc<ClientConfig>, String> {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (trust.clone(), http2);
        if let Some(config) = made.get(&key) {
            return Ok(config.clone());
        }
        let config = Arc::new(build(trust, http2)?);
        made.insert(key, config.clone());
        Ok(config)
    }
}

fn build(trust: &Trust, http2: bool) -> Result<ClientConfig, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().map_err(|e| e.to_string())?;
    let mut config = match trust {
        Trust::Anyone => builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider))).with_no_client_auth(),
        Trust::System | Trust::Authority(_) => builder.with_root_certificates(roots(trust)?).with_no_client_auth(),
    };
    config.alpn_protocols = vec![if http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    Ok(config)
}

/// The authorities that are believed; none for [`Trust::Anyone`], who needs none.
pub(crate) fn roots(trust: &Trust) -> Result<RootCertStore, String> {
    match trust {
        Trust::System => system_roots(),
        Trust::Authority(path) => roots_of(path),
        Trust::Anyone => Ok(RootCertStore::empty()),
    }
}

fn system_roots() -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (good, _) = roots.add_parsable_certificates(found.certs);
    if good == 0 {
        let why = found.errors.first().map_or_else(|| "none are installed".to_owned(), ToString::to_string);
        return Err(format!(
            "no certificate authorities of the system ({why}); install `ca-certificates` or name a file with `tls: {{ ca: … }}`"
        ));
    }
    Ok(roots)
}

fn roots_of(path: &std::path::Path) -> Result<RootCertStore, String> {
    let file = std::fs::File::open(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_reader_iter(BufReader::new(file)) {
        let certificate = certificate.map_err(|e| format!("{} is not PEM: {e:?}", path.display()))?;
        roots.add(certificate).map_err(|e| format!("a certificate in {}: {e}", path.display()))?;
    }
    if roots.is_empty() { Err(format!("{} holds no certificate in PEM", path.display())) } else { Ok(roots) }
}

/// Believes any certificate, for `tls: { insecure: true }`. The signatures of the handshake are still checked, so that the
/// other side holds the key of the certificate that it shows.
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
