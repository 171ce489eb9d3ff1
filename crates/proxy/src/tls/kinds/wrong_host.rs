//! `tls.wrongHost`

use rustls::sign::CertifiedKey;
use schemars::JsonSchema;
use serde::Deserialize;

use super::TlsFault;
use crate::tls::authority::{Authority, AuthorityError, make, server_params};
use crate::tls::plan::{Issue, Plan, Request};

pub(super) struct WrongHost {
    names: Vec<String>,
}

/// The settings of `tls.wrongHost`.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Args {
    /// The name (or address) that the certificate is for.
    #[serde(default = "another")]
    name: String,
}

fn another() -> String {
    "wrong.host.invalid".into()
}

impl TlsFault for WrongHost {
    type Args = Args;
    const NAME: &'static str = "tls.wrongHost";
    const SUMMARY: &'static str = "The certificate is for another host";
    const EXAMPLE: &'static str = "{ fault: tls.wrongHost, with: { name: staging.example.com } }";

    fn plan(args: Args, _: &Authority) -> Result<Plan, String> {
        let names = vec![args.name];
        server_params(&names).map_err(|e| format!("`name`: {e}"))?;
        Ok(Plan::certificate(Self { names }))
    }
}

impl Issue for WrongHost {
    fn issue(&self, authority: &Authority, _: &Request) -> Result<CertifiedKey, AuthorityError> {
        let params = server_params(&self.names)?;
        let leaf = params.signed_by(authority.leaf_key(), authority.issuer()).map_err(|e| make(&self.names[0], &e))?;
        Ok(authority.certified(vec![leaf.into()]))
    }
}
