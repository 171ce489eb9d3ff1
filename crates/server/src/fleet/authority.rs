//! The server's own certificate authority: what agents trust, and what their certificates are signed by.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ServerConfig, WebPkiClientVerifier};
use serde::{Deserialize, Serialize};
use squall_api::link::SERVER_NAME;
use squall_store::{Batch, CommitError, Database, Write};

use super::FleetError;

/// The kind of document that holds the authority, and its id.
const KIND: &str = "authority";
const ID: &str = "agents";
/// How long the authority is good for.
const LIFE: Duration = Duration::from_hours(24 * 365 * 20);
/// How long a server's own certificate is good for; it is made anew at each start, and when two thirds of this are over.
pub(super) const SERVER_LIFE: Duration = Duration::from_hours(24 * 90);
/// Certificates begin so much before they are made, but not more than they last: clocks differ.
const BACK_DATED: Duration = Duration::from_hours(24);

/// As it is kept. Whoever can read the database can be this server: both are one secret.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Stored {
    certificate: String,
    key: String,
}

/// A certificate authority with its key.
pub(super) struct Authority {
    /// PEM.
    pub certificate: String,
    der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate that was issued to an agent.
pub(super) struct Issued {
    /// PEM.
    pub certificate: String,
    /// Its serial number in hexadecimal.
    pub serial: String,
    /// When it ends.
    pub expires: Timestamp,
    /// SHA-256 of its public key, in hexadecimal.
    pub key: String,
}

/// Whose a certificate is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Peer {
    pub name: String,
    pub serial: String,
}

impl Authority {
    /// The one of the database, made if there is none; several servers that start at once agree on one.
    pub async fn load(db: &dyn Database, now: Timestamp) -> Result<Self, FleetError> {
        loop {
            if let Some(document) = db.get(KIND, ID).await? {
                let stored: Stored = document.decode()?;
                return Self::read(stored);
            }
            let body = serde_json::to_value(make(now)?).map_err(|e| FleetError::Authority(e.to_string()))?;
            let create = Write::Create { kind: KIND.into(), id: ID.into(), body };
            match db.commit(Batch::new(vec![create])).await {
                Ok(_) | Err(CommitError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn read(stored: Stored) -> Result<Self, FleetError> {
        let key = KeyPair::from_pem(&stored.key).map_err(failed)?;
        let issuer = Issuer::from_ca_cert_pem(&stored.certificate, key).map_err(failed)?;
        let der = CertificateDer::from_pem_slice(stored.certificate.as_bytes()).map_err(|e| FleetError::Authority(e.to_string()))?;
        Ok(Self { certificate: stored.certificate, der, issuer })
    }

    /// SHA-256 of the certificate, in hexadecimal.
    pub fn fingerprint(&self) -> String {
        sha256(&self.der)
    }

    /// A certificate for an agent's key, as a name.
    pub fn issue(&self, name: &str, csr: &str, now: Timestamp, life: Duration) -> Result<Issued, FleetError> {
        let mut request = CertificateSigningRequestParams::from_pem(csr).map_err(failed)?;
        // Nothing of what it asks for is taken over but the key.
        let (mut params, serial) = params(name, now, life)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        request.params = params;
        let key = sha256(rcgen::PublicKeyData::der_bytes(&request.public_key));
        let certificate = request.signed_by(&self.issuer).map_err(failed)?;
        Ok(Issued { certificate: certificate.pem(), serial, expires: later(now, life), key })
    }

    /// What this server shows to agents, and how it looks at theirs. With a certificate of somebody else's authority (chain and key, PEM),
    /// it shows that one.
    pub fn tls(&self, names: &[String], own: Option<&(String, String)>, now: Timestamp) -> Result<Arc<ServerConfig>, FleetError> {
        let (chain, key) = match own {
            Some((chain, key)) => {
                let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<Vec<_>, _>>();
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes());
                (chain.map_err(|e| FleetError::Authority(e.to_string()))?, key.map_err(|e| FleetError::Authority(e.to_string()))?)
            }
            None => self.leaf(names, now)?,
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).map_err(|e| FleetError::Authority(e.to_string()))?;
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).allow_unauthenticated().build();
        let wrong = |e: rustls::Error| FleetError::Authority(e.to_string());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(wrong)?
            .with_client_cert_verifier(clients.map_err(|e| FleetError::Authority(e.to_string()))?)
            .with_single_cert(chain, key)
            .map_err(wrong)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        // Links last: nothing is gained by resuming, and a ticket for each would be kept.
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }

    /// A certificate of this server, with the authority behind it: who has its fingerprint alone can check it.
    fn leaf(&self, names: &[String], now: Timestamp) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), FleetError> {
        let key = KeyPair::generate().map_err(failed)?;
        let (mut params, _) = params(SERVER_NAME, now, SERVER_LIFE)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        for name in std::iter::once(SERVER_NAME).chain(names.iter().map(String::as_str)) {
            params.subject_alt_names.push(match name.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(name.try_into().map_err(failed)?),
            });
        }
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Ok((vec![certificate.der().clone(), self.der.clone()], key))
    }
}

fn make(now: Timestamp) -> Result<Stored, FleetError> {
    let key = KeyPair::generate().map_err(failed)?;
    let (mut params, _) = params("Squall agents", now, LIFE)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key).map_err(failed)?;
    Ok(Stored { certificate: certificate.pem(), key: key.serialize_pem() })
}

fn params(name: &str, now: Timestamp, life: Duration) -> Result<(CertificateParams, String), FleetError> {
    let serial = random::<16>()?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    params.not_before = date(now.checked_sub(BACK_DATED.min(life)).unwrap_or(Timestamp::UNIX_EPOCH))?;
    params.not_after = date(later(now, life))?;
    // Positive, as RFC 5280 asks.
    let mut number = serial;
    number[0] &= 0x7f;
    number[0] |= 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&number));
    Ok((params, hex(&number)))
}

fn date(at: Timestamp) -> Result<time::OffsetDateTime, FleetError> {
    time::OffsetDateTime::from_unix_timestamp(at.as_second()).map_err(|e| FleetError::Authority(e.to_string()))
}

/// So much later, or as late as can be told.
pub(super) fn later(now: Timestamp, by: Duration) -> Timestamp {
    now.checked_add(by).unwrap_or(Timestamp::MAX)
}

fn failed(error: rcgen::Error) -> FleetError {
    FleetError::Authority(error.to_string())
}

/// Whose a certificate is that TLS has checked already.
pub(super) fn peer(certificate: &CertificateDer<'_>) -> Option<Peer> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let name = certificate.subject().iter_common_name().next()?.as_str().ok()?.to_owned();
    Some(Peer { name, serial: hex(certificate.raw_serial()) })
}

/// Bytes that nobody can guess.
pub(super) fn random<const N: usize>() -> Result<[u8; N], FleetError> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| FleetError::Authority("the kernel gives no random numbers".into()))?;
    Ok(bytes)
}

pub(super) fn sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use squall_store::MemoryDatabase;

    use super::*;

    #[tokio::test]
    async fn the_authority_stays_the_same_and_signs_only_the_key_of_a_request() {
        let db = MemoryDatabase::new(Arc::new(squall_testkit::FakeClock::default()));
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().expect("a time");
        let first = Authority::load(&db, now).await.expect("made");
        let again = Authority::load(&db, now).await.expect("read");
        assert_eq!(first.fingerprint(), again.fingerprint());
        let key = KeyPair::generate().expect("a key");
        let mut wish = CertificateParams::new(vec!["squall-server".to_owned()]).expect("names");
        wish.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        wish.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let csr = wish.serialize_request(&key).expect("a request").pem().expect("PEM");
        let issued = again.issue("web-1", &csr, now, Duration::from_hours(24)).expect("issued");
        let der = CertificateDer::from_pem_slice(issued.certificate.as_bytes()).expect("PEM");
        assert_eq!(peer(&der), Some(Peer { name: "web-1".into(), serial: issued.serial.clone() }));
        let (_, read) = x509_parser::parse_x509_certificate(&der).expect("a certificate");
        assert!(!read.is_ca() && read.subject_alternative_name().expect("readable").is_none());
        let usage = read.extended_key_usage().expect("readable").expect("there");
        assert!(usage.value.client_auth && !usage.value.server_auth);
    }
}
