//! `tls.weakKey`

use rustls::sign::CertifiedKey;
use schemars::JsonSchema;
use serde::Deserialize;

use super::TlsFault;
use crate::tls::authority::{Authority, AuthorityError, make, server_params};
use crate::tls::plan::{Issue, Plan, Request};
use crate::tls::weak;

pub(super) struct WeakKey {
    key: weak::WeakKey,
}

/// The settings of `tls.weakKey`.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Args {
    /// The length of the RSA key, from 768 to 1536. OpenSSL refuses 1024 at its security level 2 (Debian's and Python's
    /// default), and 768 at level 1 too (Node's default).
    #[serde(default = "usual")]
    #[schemars(range(min = 768, max = 1536))]
    bits: usize,
}

const fn usual() -> usize {
    1024
}

impl TlsFault for WeakKey {
    type Args = Args;
    const NAME: &'static str = "tls.weakKey";
    const SUMMARY: &'static str = "The certificate's key is too short: RSA with 1024 bits";
    const EXAMPLE: &'static str = "{ fault: tls.weakKey, with: { bits: 768 } }";

    fn plan(args: Args, _: &Authority) -> Result<Plan, String> {
        if !(768..=1536).contains(&args.bits) {
            return Err("`bits` must be from 768 to 1536".into());
        }
        Ok(Plan::certificate(Self { key: weak::WeakKey::generate(args.bits)? }))
    }
}

impl Issue for WeakKey {
    fn issue(&self, authority: &Authority, request: &Request) -> Result<CertifiedKey, AuthorityError> {
        let params = server_params(&request.names)?;
        let leaf = params.signed_by(&self.key, authority.issuer()).map_err(|e| make(&request.names.join(", "), &e))?;
        Ok(CertifiedKey::new(vec![leaf.into()], self.key.signing_key()))
    }
}
