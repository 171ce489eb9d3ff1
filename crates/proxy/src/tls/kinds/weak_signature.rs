//! `tls.weakSignature`

use rcgen::{CertifiedIssuer, KeyPair};
use rustls::sign::CertifiedKey;
use schemars::JsonSchema;
use serde::Deserialize;

use super::TlsFault;
use crate::tls::authority::{Authority, AuthorityError, DAY, authority_params, make, server_params};
use crate::tls::plan::{Issue, Plan, Request};
use crate::tls::weak;

pub(super) struct WeakSignature {
    intermediate: CertifiedIssuer<'static, KeyPair>,
}

/// `tls.weakSignature` has no settings.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Args {}

impl TlsFault for WeakSignature {
    type Args = Args;
    const NAME: &'static str = "tls.weakSignature";
    const SUMMARY: &'static str = "The certificate is signed with SHA-1";
    const EXAMPLE: &'static str = "{ fault: tls.weakSignature }";

    fn plan(_: Args, authority: &Authority) -> Result<Plan, String> {
        // Clients do not look at how a root that they trust is signed, but at everything below it.
        let mut params = authority_params("Squall intermediate with RSA", 90 * DAY);
        params.use_authority_key_identifier_extension = true;
        let intermediate = CertifiedIssuer::signed_by(params, weak::rsa_key()?, authority.issuer()).map_err(|e| e.to_string())?;
        Ok(Plan::certificate(Self { intermediate }))
    }
}

impl Issue for WeakSignature {
    fn issue(&self, authority: &Authority, request: &Request) -> Result<CertifiedKey, AuthorityError> {
        let name = request.names.join(", ");
        let leaf = server_params(&request.names)?.signed_by(authority.leaf_key(), &self.intermediate).map_err(|e| make(&name, &e))?;
        let leaf = weak::with_sha1(leaf.der(), self.intermediate.key()).map_err(|e| make(&name, &e))?;
        Ok(authority.certified(vec![leaf, self.intermediate.der().clone()]))
    }
}
