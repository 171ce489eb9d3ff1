//! `tls.selfSigned`

use rustls::sign::CertifiedKey;
use schemars::JsonSchema;
use serde::Deserialize;

use super::TlsFault;
use crate::tls::authority::{Authority, AuthorityError, make, server_params};
use crate::tls::plan::{Issue, Plan, Request};

pub(super) struct SelfSigned;

/// `tls.selfSigned` has no settings.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Args {}

impl TlsFault for SelfSigned {
    type Args = Args;
    const NAME: &'static str = "tls.selfSigned";
    const SUMMARY: &'static str = "The certificate is signed by itself";
    const EXAMPLE: &'static str = "{ fault: tls.selfSigned, match: { host: \"*.internal\" } }";

    fn plan(_: Args, _: &Authority) -> Result<Plan, String> {
        Ok(Plan::certificate(Self))
    }
}

impl Issue for SelfSigned {
    fn issue(&self, authority: &Authority, request: &Request) -> Result<CertifiedKey, AuthorityError> {
        let mut params = server_params(&request.names)?;
        params.use_authority_key_identifier_extension = false;
        let leaf = params.self_signed(authority.leaf_key()).map_err(|e| make(&request.names.join(", "), &e))?;
        Ok(authority.certified(vec![leaf.into()]))
    }
}
