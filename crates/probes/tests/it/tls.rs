//! The `tls` probe, against servers with certificates in every state.

use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use serde_json::{Value as Json, json};
use squall_model::Value;
use time::{Duration, OffsetDateTime};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::support::{complaints, error, number, once};

type Issuer = CertifiedIssuer<'static, KeyPair>;

/// An authority with its file.
struct Authority {
    issuer: Issuer,
    directory: tempfile::TempDir,
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key")
}

fn in_days(days: i64) -> OffsetDateTime {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime).tv_sec;
    OffsetDateTime::from_unix_timestamp(now).expect("now") + Duration::days(days)
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = key();
        // Each has a name of its own, as real ones have.
        params.distinguished_name.push(rcgen::DnType::CommonName, format!("{:x?}", &key.public_key_raw()[1..9]));
        let issuer = Issuer::self_signed(params, key).expect("an authority");
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("ca.pem"), issuer.pem()).expect("a file");
        Self { issuer, directory }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A certificate for `localhost` from a month ago, changed like this.
    fn sign(&self, change: impl FnOnce(&mut CertificateParams)) -> (Vec<CertificateDer<'static>>, KeyPair) {
        let (params, key) = (leaf(change), key());
        (vec![params.signed_by(&key, &self.issuer).expect("a certificate").into()], key)
    }

    fn args(&self, address: &str, measure: &str) -> Json {
        json!({ "address": address, "serverName": "localhost", "ca": self.file("ca.pem"), "measure": measure })
    }

    async fn problem(&self, address: &str) -> String {
        let valid = number("tls", self.args(address, "valid")).await;
        match once("tls", self.args(address, "problem")).await {
            Ok(Value::Text(problem)) if (problem == "none") == (valid > 0.5) => problem,
            other => panic!("valid is {valid}, and the problem {other:?}"),
        }
    }
}

fn leaf(change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let mut params = CertificateParams::new(["localhost".to_owned()]).expect("names");
    (params.not_before, params.not_after) = (in_days(-30), in_days(30));
    change(&mut params);
    params
}

type Versions = &'static [&'static rustls::SupportedProtocolVersion];

/// A server that shows this.
async fn show((chain, key): (Vec<CertificateDer<'static>>, KeyPair), versions: Versions) -> String {
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_protocol_versions(versions).expect("versions").with_no_client_auth();
    let acceptor = TlsAcceptor::from(Arc::new(builder.with_single_cert(chain, key).expect("a certificate")));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A client that has seen enough leaves.
            tokio::spawn(acceptor.accept(stream));
        }
    });
    address
}

const BOTH: Versions = &[&TLS13, &TLS12];
const OLD: Versions = &[&TLS12];

#[tokio::test]
async fn a_good_certificate_is_valid_and_its_days_are_counted() {
    let authority = Authority::new();
    let mut shown = authority.sign(|_| {});
    // Another one of the chain ends earlier.
    shown.0.extend(authority.sign(|params| params.not_after = in_days(3)).0);
    let address = show(shown, BOTH).await;
    assert_eq!(authority.problem(&address).await, "none");
    assert_eq!(once("tls", authority.args(&address, "daysLeft")).await, Ok(Value::Number(29.0)));
    let left = number("tls", authority.args(&address, "timeLeft")).await;
    assert!((29.9 * 86_400.0..=30.0 * 86_400.0).contains(&left), "{left}");
    let first = number("tls", authority.args(&address, "chainTimeLeft")).await;
    assert!((2.9 * 86_400.0..=3.0 * 86_400.0).contains(&first), "{first}");
    let handshake = number("tls", authority.args(&address, "handshake")).await;
    assert!(handshake > 0.0 && handshake < 5.0, "{handshake}");
    assert_eq!(once("tls", authority.args(&address, "version")).await, Ok(Value::Number(1.3)));
    let old = show(authority.sign(|_| {}), OLD).await;
    assert_eq!(once("tls", authority.args(&old, "version")).await, Ok(Value::Number(1.2)));
}

#[tokio::test]
async fn what_is_wrong_with_a_certificate_is_told() {
    let authority = Authority::new();
    let expired = show(authority.sign(|params| params.not_after = in_days(-2)), BOTH).await;
    assert_eq!(authority.problem(&expired).await, "expired");
    assert_eq!(once("tls", authority.args(&expired, "daysLeft")).await, Ok(Value::Number(-3.0)));
    let early = show(authority.sign(|params| params.not_before = in_days(2)), BOTH).await;
    assert_eq!(authority.problem(&early).await, "notYetValid");
    let other = |params: &mut CertificateParams| *params = CertificateParams::new(["other".to_owned()]).expect("names");
    assert_eq!(authority.problem(&show(authority.sign(other), BOTH).await).await, "wrongHost");
    assert_eq!(authority.problem(&show(Authority::new().sign(|_| {}), BOTH).await).await, "unknownIssuer");
    let own = key();
    let certificate = leaf(|_| {}).self_signed(&own).expect("a certificate").into();
    assert_eq!(authority.problem(&show((vec![certificate], own), BOTH).await).await, "selfSigned");
}

#[tokio::test]
async fn revocation_is_seen_with_a_list_and_not_without() {
    let authority = Authority::new();
    let serial = SerialNumber::from_slice(&[0x41, 7]);
    let address = show(authority.sign(|params| params.serial_number = Some(serial.clone())), BOTH).await;
    let revoked = RevokedCertParams { serial_number: serial, revocation_time: in_days(-1), reason_code: None, invalidity_date: None };
    let list = rcgen::CertificateRevocationListParams {
        this_update: in_days(-1),
        next_update: in_days(1),
        crl_number: SerialNumber::from_slice(&[1]),
        issuing_distribution_point: None,
        revoked_certs: vec![revoked],
        key_identifier_method: rcgen::KeyIdMethod::Sha256,
    };
    let list = list.signed_by(&authority.issuer).expect("a list").pem().expect("PEM");
    std::fs::write(authority.file("crl.pem"), list).expect("a file");
    assert_eq!(authority.problem(&address).await, "none");
    let mut args = authority.args(&address, "problem");
    args["crl"] = json!(authority.file("crl.pem"));
    assert_eq!(once("tls", args).await, Ok(Value::Text("revoked".into())));
}

#[tokio::test]
async fn a_server_without_tls_is_not_valid_and_one_that_is_not_there_is_not_measured() {
    let authority = Authority::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let plain = std::thread::spawn(move || {
        use std::io::Write;
        for _ in 0..3 {
            let (mut stream, _) = listener.accept().expect("a client");
            stream.write_all(b"220 not TLS\r\n").expect("a client");
        }
    });
    assert_eq!(authority.problem(&address).await, "handshake");
    assert!(error("tls", authority.args(&address, "daysLeft")).await.contains("TLS with"));
    plain.join().expect("three clients came");
    assert!(error("tls", authority.args(&address, "valid")).await.contains("connection refused"));
}

#[test]
fn addresses_and_names_are_checked() {
    for address in ["localhost", ":443", "https://a:443"] {
        assert!(complaints("tls", &json!({ "address": address })).contains("write it like"), "{address}");
    }
    assert!(complaints("tls", &json!({ "address": "a b:443" })).contains("serverName"));
    assert!(complaints("tls", &json!({ "address": "a:443", "serverName": "a b" })).contains("serverName"));
    assert_eq!(complaints("tls", &json!({ "address": "[::1]:8443", "serverName": "localhost" })), "");
}
