//! `tls`: whether a server's certificate is good, for how long yet, and how the handshake went.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, ProtocolVersion, SignatureScheme};
use schemars::JsonSchema;
use serde::Deserialize;
use squall_engine::{ArgError, BoxFuture, Clock, Measure, Probe, ProbeCx, ProbeMeta};
use squall_model::{Dimension, Value};
use tokio_rustls::TlsConnector;
use x509_parser::prelude::X509Certificate;

use crate::tcp::split;
use crate::wire::{Client, Trust, open_tcp, roots};

const DAY: f64 = 86_400.0;

/// The kind of probe.
#[derive(Debug)]
pub struct Tls {
    client: Arc<Client>,
}

impl Tls {
    pub(crate) const fn new(client: Arc<Client>) -> Self {
        Self { client }
    }
}

/// Whether a server's certificate is good, for how long yet, and how the handshake went.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Args {
    /// `host:port`; an IPv6 address in brackets.
    pub address: String,
    /// The name that is asked for (SNI) and that the certificate must be for; the host of `address` by default.
    #[serde(default)]
    pub server_name: Option<String>,
    /// Believe what the authorities in this PEM file signed, and nothing else. By default the system's.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// A PEM file with lists of revoked certificates. Without one nobody asks whether a certificate was revoked.
    #[serde(default)]
    pub crl: Option<PathBuf>,
    /// What is measured; `valid` by default.
    #[serde(default)]
    pub measure: TlsMeasure,
}

/// What a `tls` probe measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum TlsMeasure {
    /// 1 if the handshake succeeds with a certificate to be believed, 0 if not; `problem` says why.
    #[default]
    Valid,
    /// What is wrong, as a text: `none`, `expired`, `notYetValid`, `wrongHost`, `unknownIssuer`, `selfSigned`, `revoked`,
    /// `weakSignature`, `badSignature` (also of keys that are too short), `invalid`, or `handshake` where none was completed.
    Problem,
    /// The days until the server's certificate expires, whoever signed it; below 0 if it has.
    DaysLeft,
    /// The time until the server's certificate expires.
    TimeLeft,
    /// The time until the first certificate of those that the server shows expires.
    ChainTimeLeft,
    /// The time that the handshake takes, without that to connect.
    Handshake,
    /// The protocol's version: 1.2 or 1.3.
    Version,
}

impl Probe for Tls {
    type Args = Args;

    const META: ProbeMeta = ProbeMeta {
        name: "tls",
        summary: "Whether a server's certificate is good, for how long yet, and how the handshake went",
        from_anywhere: true,
        example: "\
name: the certificate lasts
tls: { address: \"shop.example.com:443\", measure: daysLeft }
expect: { ge: 14 }
",
    };

    fn check(&self, args: &Args) -> Vec<ArgError> {
        let mut errors = Vec::new();
        match split(&args.address) {
            None => {
                let message = format!("`{}` is not an address", args.address);
                errors.push(ArgError::field("address", message, "write it like `example.com:443` or `[::1]:8443`".to_owned()));
            }
            Some((host, _)) if args.server_name.is_none() && ServerName::try_from(host).is_err() => {
                errors.push(ArgError::field("address", format!("`{host}` is no name for TLS"), "give a `serverName`".to_owned()));
            }
            Some(_) => {}
        }
        if let Some(name) = args.server_name.as_deref().filter(|name| ServerName::try_from(*name).is_err()) {
            errors.push(ArgError::field("serverName", format!("`{name}` is no name for TLS"), "write it like `example.com`".to_owned()));
        }
        errors
    }

    fn dimension(&self, args: &Args) -> Dimension {
        match args.measure {
            TlsMeasure::TimeLeft | TlsMeasure::ChainTimeLeft | TlsMeasure::Handshake => Dimension::Time,
            TlsMeasure::Problem => Dimension::Text,
            TlsMeasure::Valid | TlsMeasure::DaysLeft | TlsMeasure::Version => Dimension::Number,
        }
    }

    fn describe(&self, args: &Args) -> String {
        let what = match args.measure {
            TlsMeasure::Valid => "whether the certificate is good of",
            TlsMeasure::Problem => "what is wrong with the certificate of",
            TlsMeasure::DaysLeft => "days left for the certificate of",
            TlsMeasure::TimeLeft => "time left for the certificate of",
            TlsMeasure::ChainTimeLeft => "time left for the certificates of",
            TlsMeasure::Handshake => "time of the TLS handshake with",
            TlsMeasure::Version => "TLS version of",
        };
        format!("{what} {}", args.address)
    }

    fn open(&self, args: Args, cx: &ProbeCx) -> Result<Box<dyn Measure>, String> {
        let (host, port) = split(&args.address).ok_or_else(|| format!("`{}` is not an address", args.address))?;
        let name = args.server_name.as_deref().unwrap_or(host).to_owned();
        let name = ServerName::try_from(name).map_err(|e| e.to_string())?;
        let host = host.to_owned();
        let (client, clock) = (self.client.clone(), cx.clock.clone());
        Ok(Box::new(Open { client, clock, host, port, name, args, judge: None }))
    }
}

struct Open {
    client: Arc<Client>,
    clock: Arc<dyn Clock>,
    host: String,
    port: u16,
    name: ServerName<'static>,
    args: Args,
    /// Made with the first measurement: loading the system's authorities takes a while.
    judge: Option<Arc<WebPkiServerVerifier>>,
}

/// How a handshake went.
struct Handshake {
    took: Duration,
    /// The version where it was completed, or else why not.
    version: Result<ProtocolVersion, String>,
    seen: Seen,
}

/// What the server showed.
#[derive(Debug, Default)]
struct Seen {
    chain: Vec<CertificateDer<'static>>,
    problem: Option<&'static str>,
}

impl Measure for Open {
    fn measure(&mut self) -> BoxFuture<'_, Result<Value, String>> {
        Box::pin(async move {
            let handshake = self.handshake().await?;
            let number = |value: f64| Ok(Value::Number(value));
            match self.args.measure {
                TlsMeasure::Valid => number(f64::from(u8::from(handshake.problem() == "none"))),
                TlsMeasure::Problem => Ok(Value::Text(handshake.problem().to_owned())),
                TlsMeasure::DaysLeft => number((handshake.time_left(1)? / DAY).floor()),
                TlsMeasure::TimeLeft => number(handshake.time_left(1)?),
                TlsMeasure::ChainTimeLeft => number(handshake.time_left(usize::MAX)?),
                TlsMeasure::Handshake => handshake.version.map(|_| Value::Number(handshake.took.as_secs_f64())),
                TlsMeasure::Version => match handshake.version? {
                    ProtocolVersion::TLSv1_2 => number(1.2),
                    ProtocolVersion::TLSv1_3 => number(1.3),
                    other => Err(format!("the version is {other:?}")),
                },
            }
        })
    }
}

impl Open {
    /// Connects and shakes hands, whatever the certificate. An error says that the server cannot be reached, so that nothing
    /// is known of its certificate.
    async fn handshake(&mut self) -> Result<Handshake, String> {
        let judge = match &self.judge {
            Some(judge) => judge.clone(),
            None => self.judge.insert(judge(&self.args)?).clone(),
        };
        let seen = Arc::new(Mutex::new(Seen::default()));
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(|e| e.to_string())?;
        let look = Arc::new(Look { judge, seen: seen.clone() });
        let mut config = builder.dangerous().with_custom_certificate_verifier(look).with_no_client_auth();
        // A session that is resumed shows no certificate.
        config.resumption = Resumption::disabled();
        let stream = open_tcp(self.client.resolver(), &self.host, self.port).await.map_err(|e| e.to_string())?;
        let start = self.clock.now();
        let session = TlsConnector::from(Arc::new(config)).connect(self.name.clone(), stream).await;
        let took = self.clock.now().saturating_sub(start);
        let failed = || "no version was agreed on".to_owned();
        let version = match session {
            Ok(session) => session.get_ref().1.protocol_version().ok_or_else(failed),
            Err(error) => Err(format!("TLS with {}: {error}", self.args.address)),
        };
        let seen = std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(Handshake { took, version, seen })
    }
}

impl Handshake {
    fn problem(&self) -> &'static str {
        match (self.seen.problem, &self.version) {
            (Some(problem), _) => problem,
            (None, Ok(_)) => "none",
            (None, Err(_)) => "handshake",
        }
    }

    /// Seconds until the first of so many certificates expires, from the server's own on.
    fn time_left(&self, certificates: usize) -> Result<f64, String> {
        let ends =
            self.seen.chain.iter().take(certificates).filter_map(|certificate| Some(parse(certificate)?.validity().not_after.timestamp()));
        match (ends.min(), &self.version) {
            (Some(end), _) => Ok(end as f64 - wall()),
            (None, Err(error)) => Err(error.clone()),
            (None, Ok(_)) => Err("the server's certificate cannot be read".into()),
        }
    }
}

/// Seconds since 1970: certificates are dated by the wall clock.
fn wall() -> f64 {
    let time = clock_gettime(ClockId::Realtime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    x509_parser::parse_x509_certificate(certificate).ok().map(|(_, parsed)| parsed)
}

/// Who decides whether a certificate is good.
fn judge(args: &Args) -> Result<Arc<WebPkiServerVerifier>, String> {
    let roots = roots(&args.ca.clone().map_or(Trust::System, Trust::Authority))?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
    if let Some(path) = &args.crl {
        builder = builder.with_crls(lists(path)?).allow_unknown_revocation_status();
    }
    builder.build().map_err(|e| e.to_string())
}

fn lists(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    let read = CertificateRevocationListDer::pem_file_iter(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    let lists: Vec<_> = read.collect::<Result<_, _>>().map_err(|e| format!("{} is not PEM: {e}", path.display()))?;
    if lists.is_empty() { Err(format!("{} holds no list of revoked certificates in PEM", path.display())) } else { Ok(lists) }
}

/// Looks at what the server shows, notes what a careful client would say to it, and goes on.
#[derive(Debug)]
struct Look {
    judge: Arc<WebPkiServerVerifier>,
    seen: Arc<Mutex<Seen>>,
}

impl Look {
    fn note(&self, problem: &'static str) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).problem.get_or_insert(problem);
    }

    fn signed(&self, result: Result<HandshakeSignatureValid, Error>) -> Result<HandshakeSignatureValid, Error> {
        result.inspect_err(|_| self.note("badSignature"))
    }
}

/// The problem's name among those of [`TlsMeasure::Problem`].
fn problem(error: &Error, leaf: &CertificateDer<'_>) -> &'static str {
    let self_signed = parse(leaf).is_some_and(|leaf| leaf.issuer() == leaf.subject());
    let Error::InvalidCertificate(error) = error else { return "invalid" };
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "notYetValid",
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => "wrongHost",
        CertificateError::Revoked => "revoked",
        CertificateError::BadSignature => "badSignature",
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => "weakSignature",
        _ if self_signed => "selfSigned",
        CertificateError::UnknownIssuer => "unknownIssuer",
        _ => "invalid",
    }
}

impl ServerCertVerifier for Look {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain = std::iter::once(leaf).chain(others).map(|certificate| certificate.clone().into_owned()).collect();
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).chain = chain;
        if let Err(error) = self.judge.verify_server_cert(leaf, others, name, ocsp, now) {
            self.note(problem(&error, leaf));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed(self.judge.verify_tls12_signature(message, certificate, signature))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed(self.judge.verify_tls13_signature(message, certificate, signature))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.judge.supported_verify_schemes()
    }
}
