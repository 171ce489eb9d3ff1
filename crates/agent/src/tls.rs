//! Whom the agent trusts.

use std::sync::Arc;

use aws_lc_rs::digest;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use squall_api::link::SERVER_NAME;

use crate::join::Identity;

/// How the agent knows that a server is its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Trust {
    /// By the authority whose fingerprint is in the token: nobody else's certificate is good.
    #[default]
    Pinned,
    /// By the authorities that the system trusts, and the name in the URL.
    System,
}

/// What is wrong with certificates or keys.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TlsError(pub String);

fn wrong(error: impl std::fmt::Display) -> TlsError {
    TlsError(error.to_string())
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// For the call that joins: before there is a certificate.
pub(crate) fn to_join(trust: Trust, fingerprint: &str) -> Result<Arc<ClientConfig>, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[&rustls::version::TLS13]).map_err(wrong)?;
    let config = match trust {
        Trust::Pinned => {
            let verifier = Pinned { fingerprint: fingerprint.to_owned(), provider: provider() };
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth()
        }
        Trust::System => builder.with_root_certificates(system_roots()?).with_no_client_auth(),
    };
    Ok(Arc::new(http2(config)))
}

/// For everything after it.
pub(crate) fn joined(trust: Trust, identity: &Identity) -> Result<Arc<ClientConfig>, TlsError> {
    let roots = match trust {
        Trust::Pinned => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(identity.authority.as_bytes()).map_err(wrong)?).map_err(wrong)?;
            roots
        }
        Trust::System => system_roots()?,
    };
    let chain = vec![CertificateDer::from_pem_slice(identity.certificate.as_bytes()).map_err(wrong)?];
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).map_err(wrong)?;
    let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[&rustls::version::TLS13]).map_err(wrong)?;
    let config = builder.with_root_certificates(roots).with_client_auth_cert(chain, key).map_err(wrong)?;
    Ok(Arc::new(http2(config)))
}

fn http2(mut config: ClientConfig) -> ClientConfig {
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    config
}

fn system_roots() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let why = found.errors.first().map_or_else(|| "there are none".to_owned(), ToString::to_string);
        return Err(TlsError(format!("the system's certificate authorities cannot be read: {why}")));
    }
    Ok(roots)
}

/// The name that a server's certificate must have.
pub(crate) fn server_name(trust: Trust, host: &str) -> Result<ServerName<'static>, TlsError> {
    let name = match trust {
        Trust::Pinned => SERVER_NAME,
        Trust::System => host,
    };
    ServerName::try_from(name.to_owned()).map_err(wrong)
}

/// What an error of the handshake means, in words.
pub(crate) fn explain(trust: Trust, url: &str, error: &std::io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match (inner, trust) {
        (Some(Error::General(message)), _) => message.clone(),
        (Some(Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature)), Trust::Pinned) => {
            format!(
                "{url} is another server: its certificate is not of the authority that this agent has joined; give the URL of the agent's own server, or join this one with a token of it"
            )
        }
        (Some(Error::InvalidCertificate(why)), _) => format!("the certificate of {url} is not good: {why}"),
        _ => format!("no TLS with {url}: {error}"),
    }
}

/// Trusts the one authority that has this fingerprint, which the server has to send along.
#[derive(Debug)]
struct Pinned {
    fingerprint: String,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let fingerprint = |der: &CertificateDer<'_>| {
            digest::digest(&digest::SHA256, der).as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        let Some(authority) = intermediates.iter().find(|der| fingerprint(der) == self.fingerprint) else {
            let shown = intermediates.last().map_or_else(|| "none".to_owned(), fingerprint);
            return Err(Error::General(format!(
                "this is another server than the token's: the token is of the authority {}, the server's is {shown}",
                self.fingerprint
            )));
        };
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), self.provider.clone()).build();
        let verifier = verifier.map_err(|error| Error::General(error.to_string()))?;
        let name = ServerName::try_from(SERVER_NAME).map_err(|error| Error::General(error.to_string()))?;
        verifier.verify_server_cert(end_entity, &[], &name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken here".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
