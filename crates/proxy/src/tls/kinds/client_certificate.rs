//! `tls.clientCertificate`

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::TlsFault;
use crate::tls::authority::Authority;
use crate::tls::plan::{self, Plan, Terms};

pub(super) struct ClientCertificate;

/// The settings of `tls.clientCertificate`.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Args {
    /// Which certificates of clients are good enough.
    #[serde(default)]
    accept: Accept,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
enum Accept {
    /// None: who shows one is refused with `unknown_ca`, who shows none with `certificate_required` (TLS 1.3) or
    /// `handshake_failure` (TLS 1.2).
    #[default]
    None,
    /// Anybody's: only who shows none is refused.
    Any,
}

impl TlsFault for ClientCertificate {
    type Args = Args;
    const NAME: &'static str = "tls.clientCertificate";
    const SUMMARY: &'static str = "The server demands a certificate of the client, and is not content with it";
    const EXAMPLE: &'static str = "{ fault: tls.clientCertificate, with: { accept: any } }";

    fn plan(args: Args, _: &Authority) -> Result<Plan, String> {
        let demand = plan::ClientCertificate { accept_any: args.accept == Accept::Any };
        Ok(Plan::terms(Terms { client_certificate: Some(demand), ..Terms::default() }))
    }
}
