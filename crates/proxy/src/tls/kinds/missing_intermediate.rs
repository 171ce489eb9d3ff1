//! `tls.missingIntermediate`

use rcgen::{CertifiedIssuer, KeyPair};
use rustls::sign::CertifiedKey;
use schemars::JsonSchema;
use serde::Deserialize;

use super::TlsFault;
use crate::tls::authority::{Authority, AuthorityError, DAY, authority_params, make, server_params};
use crate::tls::plan::{Issue, Plan, Request};

pub(super) struct MissingIntermediate {
    intermediate: CertifiedIssuer<'static, KeyPair>,
}

/// `tls.missingIntermediate` has no settings.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Args {}

impl TlsFault for MissingIntermediate {
    type Args = Args;
    const NAME: &'static str = "tls.missingIntermediate";
    const SUMMARY: &'static str = "The server does not send the certificate between its own and the authority's";
    const EXAMPLE: &'static str = "{ fault: tls.missingIntermediate }";

    fn plan(_: Args, authority: &Authority) -> Result<Plan, String> {
        let mut params = authority_params("Squall intermediate that is not sent", 90 * DAY);
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().map_err(|e| e.to_string())?;
        let intermediate = CertifiedIssuer::signed_by(params, key, authority.issuer()).map_err(|e| e.to_string())?;
        Ok(Plan::certificate(Self { intermediate }))
    }
}

impl Issue for MissingIntermediate {
    fn issue(&self, authority: &Authority, request: &Request) -> Result<CertifiedKey, AuthorityError> {
        let params = server_params(&request.names)?;
        let leaf = params.signed_by(authority.leaf_key(), &self.intermediate).map_err(|e| make(&request.names.join(", "), &e))?;
        Ok(authority.certified(vec![leaf.into()]))
    }
}
