//! A client's TLS connection, from its ClientHello on.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, ServerConfig};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::StartHandshake;

use super::authority::AuthorityError;
use super::compile::{CompiledTls, Decision, Rule};
use super::hello::{self, First, Hello};
use super::mint::Good;
use super::originate::{Upstream, originate};
use super::plan::{AlpnTerms, Answer, ClientCertificate, Plan, Request, Stage, Terms, Then, Versions};
use super::responder;
use super::spec::UpstreamTls;
use super::stream::{Replayed, Terminated, Wire};
use crate::body::Cut;
use crate::events::{EventLog, Happened};
use crate::socket::End;
use crate::time::sleep;

/// How long a client may take to close after it was told that the connection is over.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is known of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The proxy's name.
    pub proxy: &'a str,
    /// The connection, counted from 1 in its proxy.
    pub connection: u64,
    /// The client's address; none for a Unix socket.
    pub client: Option<IpAddr>,
    /// Where the client reached the proxy.
    pub local: Option<SocketAddr>,
    /// Where handshakes are recorded.
    pub events: &'a EventLog,
}

/// Why a connection goes no further.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A fault ended it, as it should: `tls.expired`.
    #[error("{0}")]
    Fault(&'static str),
    /// The client left before it had said what it wants.
    #[error("the client left before its ClientHello")]
    Left,
    /// It asked for the list of revoked certificates or for OCSP, and was answered.
    #[error("answered what certificates point to")]
    Answered,
    /// The handshake failed by itself.
    #[error("handshake: {0}")]
    Handshake(io::Error),
    /// The upstream cannot be had.
    #[error("upstream: {0}")]
    Upstream(io::Error),
    /// A certificate could not be made.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
}

/// A connection whose ClientHello was read and decided on.
pub enum Greeted<'a, S> {
    /// To be relayed as it is, from the first byte on.
    PassThrough {
        /// The client, whose first bytes come again.
        client: Replayed<S>,
        /// The name that it asked for, where it spoke TLS and named one.
        server_name: Option<String>,
    },
    /// To be ended here: the handshake waits.
    Handshake(Box<Pending<'a, S>>),
}

/// A connection to be relayed, or what is inside one.
pub enum Accepted<S> {
    /// To be relayed as it is, from the first byte on.
    PassThrough {
        /// The client, whose first bytes come again.
        client: Replayed<S>,
        /// The name that it asked for, where it spoke TLS and named one.
        server_name: Option<String>,
    },
    /// What is inside.
    Terminated {
        /// The client.
        client: Terminated<S>,
        /// The name that it asked for.
        server_name: Option<String>,
        /// The protocol that was agreed on: `h2`, `http/1.1`.
        alpn: Option<Vec<u8>>,
    },
}

/// Both sides of a connection.
pub enum Bridged<C, U> {
    /// To be relayed as they are.
    PassThrough {
        /// The client, whose first bytes come again.
        client: Replayed<C>,
        /// The upstream.
        upstream: U,
        /// The name that the client asked for.
        server_name: Option<String>,
    },
    /// What is inside.
    Terminated {
        /// The client.
        client: Terminated<C>,
        /// The upstream.
        upstream: Upstream<U>,
        /// The name that the client asked for.
        server_name: Option<String>,
        /// The protocol that both sides agreed on: `h2`, `http/1.1`.
        alpn: Option<Vec<u8>>,
    },
}

/// Reads the ClientHello and decides. Faults that answer it with something other than a handshake end the connection here.
pub async fn greet<'a, S: End>(mut stream: S, tls: &'a CompiledTls, facts: &Facts<'a>) -> Result<Greeted<'a, S>, TlsError> {
    let hello = match hello::read(&mut stream).await {
        Ok(First::Hello(hello)) => hello,
        Ok(First::Left(bytes)) if bytes.is_empty() => return Err(TlsError::Left),
        Ok(First::Other(first)) if responder::is_ours(&first) => {
            responder::answer(&mut stream, first, tls.authority()).await?;
            return Err(TlsError::Answered);
        }
        // Whatever it is, the upstream is the one to answer.
        Ok(First::Other(first) | First::Left(first)) => {
            return Ok(Greeted::PassThrough { client: Replayed::new(first, stream), server_name: None });
        }
        Err(error) => {
            record(facts, None, None, Some(error.to_string()));
            end(stream, Cut::Close).await;
            return Err(TlsError::Handshake(error));
        }
    };
    let rule = match tls.decide(facts, hello.server_name.as_deref()) {
        Decision::PassThrough => {
            return Ok(Greeted::PassThrough { client: Replayed::new(hello.bytes, stream), server_name: hello.server_name });
        }
        Decision::Terminate(rule) => rule,
    };
    if let Some(rule) = rule {
        let over = match &rule.plan {
            Plan::Answer(answer) => Some(answer),
            Plan::Handshake(_) => None,
        };
        if let Some(Answer { bytes, cut }) = over {
            record(facts, hello.server_name.as_deref(), Some(rule), None);
            // A client that left does not need the answer.
            let _ = stream.write_all(bytes).await;
            end(stream, *cut).await;
            return Err(TlsError::Fault(rule.fault));
        }
    }
    Ok(Greeted::Handshake(Box::new(Pending { stream, hello, rule, tls, facts: *facts })))
}

/// [`greet`], and the handshake if there is to be one.
pub async fn accept<S: End>(stream: S, tls: &CompiledTls, facts: &Facts<'_>) -> Result<Accepted<S>, TlsError> {
    match greet(stream, tls, facts).await? {
        Greeted::PassThrough { client, server_name } => Ok(Accepted::PassThrough { client, server_name }),
        Greeted::Handshake(pending) => {
            let server_name = pending.server_name().map(str::to_owned);
            let (client, alpn) = pending.finish(None).await?;
            Ok(Accepted::Terminated { client, server_name, alpn })
        }
    }
}

/// Makes both sides of a connection ready. The upstream is asked first where nothing is to be broken, so that the client gets
/// the protocol that the upstream speaks. `host` is the upstream's own.
pub async fn bridge<C: End, U: End>(
    client: C,
    tls: &CompiledTls,
    facts: &Facts<'_>,
    host: &str,
    connect: impl AsyncFnOnce() -> io::Result<U>,
) -> Result<Bridged<C, U>, TlsError> {
    let pending = match greet(client, tls, facts).await? {
        Greeted::PassThrough { client, server_name } => {
            let upstream = connect().await.map_err(TlsError::Upstream)?;
            return Ok(Bridged::PassThrough { client, upstream, server_name });
        }
        Greeted::Handshake(pending) => pending,
    };
    let server_name = pending.server_name().map(str::to_owned);
    let faulty = pending.fault().is_some();
    if !faulty && tls.spec().upstream == UpstreamTls::Tls {
        let offered = pending.acceptable();
        let stream = connect().await.map_err(TlsError::Upstream)?;
        let (upstream, taken) = originate(stream, tls, server_name.as_deref(), host, &offered).await.map_err(TlsError::Upstream)?;
        let (client, alpn) = pending.finish(Some(taken.as_deref())).await?;
        return Ok(Bridged::Terminated { client, upstream, server_name, alpn });
    }
    let (client, alpn) = pending.finish(None).await?;
    let stream = connect().await.map_err(TlsError::Upstream)?;
    let offered: Vec<Vec<u8>> = alpn.iter().cloned().collect();
    let (upstream, _) = originate(stream, tls, server_name.as_deref(), host, &offered).await.map_err(TlsError::Upstream)?;
    Ok(Bridged::Terminated { client, upstream, server_name, alpn })
}

/// A client that waits for the handshake.
pub struct Pending<'a, S> {
    stream: S,
    hello: Box<Hello>,
    rule: Option<&'a Rule>,
    tls: &'a CompiledTls,
    facts: Facts<'a>,
}

impl<S: End> Pending<'_, S> {
    /// The name that the client asked for.
    pub fn server_name(&self) -> Option<&str> {
        self.hello.server_name.as_deref()
    }

    /// The fault that it will be shown.
    pub fn fault(&self) -> Option<&'static str> {
        self.rule.map(|rule| rule.fault)
    }

    /// The protocols that the client would have and the settings let it have, best first.
    pub fn acceptable(&self) -> Vec<Vec<u8>> {
        let spec = self.tls.spec();
        let allowed: Vec<&[u8]> = match (spec.alpn.is_empty(), spec.upstream) {
            (false, _) => spec.alpn.iter().map(String::as_bytes).collect(),
            (true, UpstreamTls::Plain) => vec![b"http/1.1"],
            (true, UpstreamTls::Tls) => return self.hello.alpn.clone(),
        };
        allowed.into_iter().filter(|name| self.hello.alpn.iter().any(|offered| offered == name)).map(<[u8]>::to_vec).collect()
    }

    /// Carries out the handshake. `upstream` is the protocol that the upstream took, where it was asked before.
    pub async fn finish(self, upstream: Option<Option<&[u8]>>) -> Result<(Terminated<S>, Option<Vec<u8>>), TlsError> {
        let good = Terms::default();
        let terms = match self.rule.map(|rule| &rule.plan) {
            Some(Plan::Handshake(terms)) => terms,
            _ => &good,
        };
        let alpn = match (&terms.alpn, upstream) {
            (AlpnTerms::Ignore, _) => Vec::new(),
            (AlpnTerms::Only(name), _) => vec![name.clone()],
            (AlpnTerms::Match, Some(taken)) => taken.iter().map(|name| name.to_vec()).collect(),
            (AlpnTerms::Match, None) => self.acceptable(),
        };
        let key = self.certificate(terms)?;
        let config = server_config(terms, key, alpn, self.rule.is_some())
            .map_err(|error| TlsError::Handshake(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
        let Self { mut stream, hello, rule, facts, .. } = self;
        let fault = rule.map(|rule| rule.fault);
        let Hello { accepted, rest, server_name: name, .. } = *hello;
        let mut after_server_hello = None;
        if let Some(interrupt) = terms.interrupt {
            match (interrupt.after, interrupt.then) {
                (Stage::ServerHello, then) => after_server_hello = Some(then),
                (Stage::ClientHello, Then::End(cut)) => {
                    record(&facts, name.as_deref(), rule, None);
                    end(stream, cut).await;
                    return Err(TlsError::Fault(fault.unwrap_or_default()));
                }
                (Stage::ClientHello, Then::Wait(time)) => {
                    if let Err(error) = silence(&mut stream, time).await {
                        record(&facts, name.as_deref(), rule, Some(error.to_string()));
                        return Err(fault.map_or(TlsError::Left, TlsError::Fault));
                    }
                }
            }
        }
        let wire = Wire::new(stream, rest, after_server_hello);
        let started = StartHandshake::from_parts(accepted, wire).into_stream(Arc::new(config));
        match started.into_fallible().await {
            Ok(session) => {
                record(&facts, name.as_deref(), rule, None);
                let alpn = session.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
                Ok((Terminated::new(session, terms.truncate), alpn))
            }
            Err((error, wire)) => {
                record(&facts, name.as_deref(), rule, Some(error.to_string()));
                let cut = match after_server_hello {
                    Some(Then::End(cut)) => cut,
                    _ => Cut::Close,
                };
                end(wire.into_stream(), cut).await;
                Err(fault.map_or(TlsError::Handshake(error), TlsError::Fault))
            }
        }
    }

    fn certificate(&self, terms: &Terms) -> Result<Arc<CertifiedKey>, AuthorityError> {
        let local = self.facts.local.map(|address| (address.ip().to_canonical(), address.port()));
        let names = match (&self.hello.server_name, local) {
            (Some(name), _) => vec![name.clone()],
            // Whoever names no server asked for an address.
            (None, Some((ip, _))) if ip.is_loopback() => vec![ip.to_string(), "localhost".into()],
            (None, Some((ip, _))) => vec![ip.to_string()],
            (None, None) => vec!["localhost".into()],
        };
        let reached = local.map(|(ip, port)| SocketAddr::new(ip, port).to_string());
        let request = Request { names, reached: if terms.certificate.is_some() { reached } else { None } };
        match (&terms.certificate, self.rule) {
            (Some(issue), Some(rule)) => rule.minted.get(issue.as_ref(), self.tls.authority(), &request),
            _ => self.tls.good.get(&Good, self.tls.authority(), &request),
        }
    }
}

fn server_config(terms: &Terms, key: Arc<CertifiedKey>, alpn: Vec<Vec<u8>>, faulty: bool) -> Result<ServerConfig, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let versions: &[&rustls::SupportedProtocolVersion] = match terms.versions {
        Versions::Both => &[&TLS13, &TLS12],
        Versions::Tls12 => &[&TLS12],
        Versions::Tls13 => &[&TLS13],
    };
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions)?;
    let builder = match terms.client_certificate {
        Some(demand) => builder.with_client_cert_verifier(Arc::new(Demand { demand, provider })),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    config.alpn_protocols = alpn;
    if faulty {
        // A client that resumed a session would not look at the certificate again.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(config)
}

fn record(facts: &Facts<'_>, server_name: Option<&str>, rule: Option<&Rule>, error: Option<String>) {
    if facts.events.keeps() {
        let server_name = server_name.map(str::to_owned);
        let (rule, fault) = rule.map(|rule| (rule.name.clone(), rule.fault.to_owned())).unzip();
        let what = Happened::Handshake { server_name, rule, fault, error };
        facts.events.record(facts.proxy, facts.connection, what);
    }
}

/// Says nothing for this long, or until the client leaves.
async fn silence<S: End>(stream: &mut S, time: Option<Duration>) -> io::Result<()> {
    let mut buffer = [0; 1024];
    let left = async {
        // After its ClientHello a client has nothing to say before it is answered. (Early data is never offered to it.)
        match stream.read(&mut buffer).await {
            Ok(0) => io::ErrorKind::UnexpectedEof.into(),
            Ok(_) => io::Error::new(io::ErrorKind::InvalidData, "the client spoke out of turn"),
            Err(error) => error,
        }
    };
    match time {
        None => Err(left.await),
        Some(time) => tokio::select! {
            slept = sleep(time) => slept,
            error = left => Err(error),
        },
    }
}

/// Ends the connection. After a FIN what the client still says is read, or its closing would take back what it was told.
async fn end<S: End>(mut stream: S, cut: Cut) {
    if cut == Cut::Reset {
        stream.reset_on_close();
        return;
    }
    if stream.shutdown().await.is_err() {
        return;
    }
    let mut buffer = [0; 1024];
    let drained = async { while matches!(stream.read(&mut buffer).await, Ok(1..)) {} };
    tokio::select! {
        () = drained => {}
        _ = sleep(PATIENCE) => {}
    }
}

/// Demands a certificate of the client.
struct Demand {
    demand: ClientCertificate,
    provider: Arc<CryptoProvider>,
}

impl fmt::Debug for Demand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Demand").finish_non_exhaustive()
    }
}

impl ClientCertVerifier for Demand {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        if self.demand.accept_any {
            Ok(ClientCertVerified::assertion())
        } else {
            Err(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
