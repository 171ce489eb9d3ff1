//! `tls.expired`

use rustls::sign::CertifiedKey;
use schemars::JsonSchema;
use serde::Deserialize;
use squall_model::Time;

use super::TlsFault;
use crate::tls::authority::{Authority, AuthorityError, DAY, at, make, server_params};
use crate::tls::plan::{Issue, Plan, Request};
use crate::tls::wall;

pub(super) struct Expired {
    ago: i64,
}

/// The settings of `tls.expired`.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Args {
    /// How long ago it expired.
    #[serde(default = "a_day")]
    ago: Time,
}

const fn a_day() -> Time {
    Time::from_secs(86_400)
}

impl TlsFault for Expired {
    type Args = Args;
    const NAME: &'static str = "tls.expired";
    const SUMMARY: &'static str = "The certificate has expired";
    const EXAMPLE: &'static str = "{ fault: tls.expired, with: { ago: 1h }, percent: 10% }";

    fn plan(args: Args, _: &Authority) -> Result<Plan, String> {
        Ok(Plan::certificate(Self { ago: super::seconds(args.ago)? }))
    }
}

impl Issue for Expired {
    fn issue(&self, authority: &Authority, request: &Request) -> Result<CertifiedKey, AuthorityError> {
        let mut params = server_params(&request.names)?;
        let end = wall() - self.ago;
        (params.not_before, params.not_after) = (at(end - 90 * DAY), at(end));
        let leaf = params.signed_by(authority.leaf_key(), authority.issuer()).map_err(|e| make(&request.names.join(", "), &e))?;
        Ok(authority.certified(vec![leaf.into()]))
    }
}
