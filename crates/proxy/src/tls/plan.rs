//! What a fault does to a connection, before it is carried out.

use std::sync::Arc;
use std::time::Duration;

use rustls::sign::CertifiedKey;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::alert::Alert;
use super::authority::{Authority, AuthorityError, LEAF_LIFE};
use crate::body::Cut;

/// What happens after the ClientHello.
pub(crate) enum Plan {
    /// A handshake on these terms.
    Handshake(Box<Terms>),
    /// These bytes, and the end.
    Answer(Answer),
}

impl Plan {
    /// A handshake with this certificate and nothing else out of the ordinary.
    pub(crate) fn certificate(issue: impl Issue + 'static) -> Self {
        Self::Handshake(Box::new(Terms { certificate: Some(Box::new(issue)), ..Terms::default() }))
    }

    pub(crate) fn terms(terms: Terms) -> Self {
        Self::Handshake(Box::new(terms))
    }

    pub(crate) fn alert(alert: Alert) -> Self {
        Self::Answer(Answer { bytes: alert.record(), cut: Cut::Close })
    }
}

/// Bytes that answer a ClientHello, after which the connection ends.
pub(crate) struct Answer {
    pub(crate) bytes: Vec<u8>,
    pub(crate) cut: Cut,
}

/// How a handshake goes. The default is a good one.
#[derive(Default)]
pub(crate) struct Terms {
    /// The certificate, where it is not a good one.
    pub(crate) certificate: Option<Box<dyn Issue>>,
    pub(crate) alpn: AlpnTerms,
    pub(crate) versions: Versions,
    pub(crate) client_certificate: Option<ClientCertificate>,
    pub(crate) interrupt: Option<Interrupt>,
    pub(crate) truncate: Option<Truncate>,
}

/// Which protocol is agreed on.
#[derive(Default)]
pub(crate) enum AlpnTerms {
    /// One that both sides can have.
    #[default]
    Match,
    /// None, as a server does that does not know ALPN.
    Ignore,
    /// Only this, whatever the client would have.
    Only(Vec<u8>),
}

/// Which protocol versions are agreed to.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Versions {
    #[default]
    Both,
    Tls12,
    Tls13,
}

/// A demand for the client's certificate.
#[derive(Clone, Copy)]
pub(crate) struct ClientCertificate {
    /// Whether one is good enough, whosever it is.
    pub(crate) accept_any: bool,
}

/// Where a handshake is interrupted.
#[derive(Clone, Copy)]
pub(crate) struct Interrupt {
    pub(crate) after: Stage,
    pub(crate) then: Then,
}

/// Points in a handshake, as the server passes them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Stage {
    /// The ClientHello was read; nothing was said.
    #[default]
    ClientHello,
    /// The ServerHello was sent, and nothing after it.
    ServerHello,
}

#[derive(Clone, Copy)]
pub(crate) enum Then {
    /// Nothing is said for this long; for ever without.
    Wait(Option<Duration>),
    End(Cut),
}

/// The connection ends without `close_notify` after so many bytes of what is inside.
#[derive(Clone, Copy)]
pub(crate) struct Truncate {
    pub(crate) bytes: u64,
    pub(crate) cut: Cut,
}

/// A kind of certificate.
pub(crate) trait Issue: Send + Sync {
    fn issue(&self, authority: &Authority, request: &Request) -> Result<CertifiedKey, AuthorityError>;

    /// How long one may be shown before it is made anew, in seconds.
    fn fresh_for(&self) -> i64 {
        LEAF_LIFE / 2
    }
}

/// What a certificate is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Request {
    /// Names and addresses, the first as its common name.
    pub(crate) names: Vec<String>,
    /// `host:port` under which the client reached the proxy, for the addresses inside a certificate.
    pub(crate) reached: Option<String>,
}

/// A certificate made ready, until when it can be used.
#[derive(Clone)]
pub(crate) struct Ready {
    pub(crate) key: Arc<CertifiedKey>,
    /// Seconds since 1970.
    pub(crate) until: i64,
}
