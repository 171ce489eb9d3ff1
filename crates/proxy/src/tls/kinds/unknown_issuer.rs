//! `tls.unknownIssuer`

use rcgen::{CertifiedIssuer, KeyPair};
use rustls::sign::CertifiedKey;
use schemars::JsonSchema;
use serde::Deserialize;

use super::TlsFault;
use crate::tls::authority::{Authority, AuthorityError, DAY, authority_params, make, server_params};
use crate::tls::plan::{Issue, Plan, Request};

type Made = CertifiedIssuer<'static, KeyPair>;

pub(super) struct UnknownIssuer {
    root: Made,
    intermediate: Made,
    show_root: bool,
}

/// The settings of `tls.unknownIssuer`.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Args {
    /// Whether the server shows the unknown root too, as badly configured servers and intercepting proxies do. Clients then
    /// tell of a self-signed certificate in the chain.
    #[serde(default)]
    show_root: bool,
}

impl TlsFault for UnknownIssuer {
    type Args = Args;
    const NAME: &'static str = "tls.unknownIssuer";
    const SUMMARY: &'static str = "The certificate is signed by an authority that nobody knows";
    const EXAMPLE: &'static str = "{ fault: tls.unknownIssuer }";

    fn plan(args: Args, _: &Authority) -> Result<Plan, String> {
        let key = || KeyPair::generate().map_err(|e| e.to_string());
        let root = Made::self_signed(authority_params("Unknown root", 365 * DAY), key()?).map_err(|e| e.to_string())?;
        let mut params = authority_params("Unknown intermediate", 90 * DAY);
        params.use_authority_key_identifier_extension = true;
        let intermediate = Made::signed_by(params, key()?, &root).map_err(|e| e.to_string())?;
        Ok(Plan::certificate(Self { root, intermediate, show_root: args.show_root }))
    }
}

impl Issue for UnknownIssuer {
    fn issue(&self, authority: &Authority, request: &Request) -> Result<CertifiedKey, AuthorityError> {
        let params = server_params(&request.names)?;
        let leaf = params.signed_by(authority.leaf_key(), &self.intermediate).map_err(|e| make(&request.names.join(", "), &e))?;
        let mut chain = vec![leaf.into(), self.intermediate.der().clone()];
        if self.show_root {
            chain.push(self.root.der().clone());
        }
        Ok(authority.certified(chain))
    }
}
