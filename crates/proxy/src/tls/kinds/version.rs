//! `tls.version`

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::TlsFault;
use crate::body::Cut;
use crate::tls::authority::Authority;
use crate::tls::plan::{Answer, Plan, Terms, Versions};
use crate::tls::random;

pub(super) struct Version;

/// The settings of `tls.version`.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Args {
    /// The only version that the server speaks. With 1.0 and 1.1 it answers as such a server does, with a ServerHello of
    /// that version; a client that would take it sees the connection closed. (For a server that refuses with an alert:
    /// `tls.handshakeFailure` with `alert: protocolVersion`.)
    #[serde(default)]
    only: Only,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
enum Only {
    /// TLS 1.0 (RFC 2246)
    #[serde(rename = "1.0")]
    Tls10,
    /// TLS 1.1 (RFC 4346)
    #[serde(rename = "1.1")]
    #[default]
    Tls11,
    /// TLS 1.2 (RFC 5246)
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3 (RFC 8446)
    #[serde(rename = "1.3")]
    Tls13,
}

impl TlsFault for Version {
    type Args = Args;
    const NAME: &'static str = "tls.version";
    const SUMMARY: &'static str = "The server speaks only one version of TLS, such as the outdated 1.1";
    const EXAMPLE: &'static str = "{ fault: tls.version, with: { only: \"1.1\" } }";

    fn plan(args: Args, _: &Authority) -> Result<Plan, String> {
        let only = |versions| Plan::terms(Terms { versions, ..Terms::default() });
        Ok(match args.only {
            Only::Tls10 => Plan::Answer(Answer { bytes: server_hello(1), cut: Cut::Close }),
            Only::Tls11 => Plan::Answer(Answer { bytes: server_hello(2), cut: Cut::Close }),
            Only::Tls12 => only(Versions::Tls12),
            Only::Tls13 => only(Versions::Tls13),
        })
    }
}

/// What a server of TLS 1.`minor - 1` says (RFC 2246, section 7.4.1.3). Clients look at the version before anything else.
fn server_hello(minor: u8) -> Vec<u8> {
    let mut body = vec![3, minor];
    body.extend(random::<32>());
    // No session, TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, no compression; and that renegotiation is safe (RFC 5746).
    body.extend([0, 0xc0, 0x13, 0, 0, 5, 0xff, 1, 0, 1, 0]);
    let length = |bytes: usize| u8::try_from(bytes).unwrap_or(u8::MAX);
    let mut record = vec![22, 3, minor, 0, length(body.len() + 4), 2, 0, 0, length(body.len())];
    record.append(&mut body);
    record
}
