//! `tls.notYetValid`

use rustls::sign::CertifiedKey;
use schemars::JsonSchema;
use serde::Deserialize;
use squall_model::Time;

use super::TlsFault;
use crate::tls::authority::{Authority, AuthorityError, DAY, at, make, server_params};
use crate::tls::plan::{Issue, Plan, Request};
use crate::tls::wall;

pub(super) struct NotYetValid {
    ahead: i64,
}

/// The settings of `tls.notYetValid`.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Args {
    /// How long until it begins to be valid.
    #[serde(default = "a_day", rename = "in")]
    ahead: Time,
}

const fn a_day() -> Time {
    Time::from_secs(86_400)
}

impl TlsFault for NotYetValid {
    type Args = Args;
    const NAME: &'static str = "tls.notYetValid";
    const SUMMARY: &'static str = "The certificate is not valid yet, as with a clock that is behind";
    const EXAMPLE: &'static str = "{ fault: tls.notYetValid, with: { in: 2h } }";

    fn plan(args: Args, _: &Authority) -> Result<Plan, String> {
        let ahead = super::seconds(args.ahead)?;
        if ahead == 0 { Err("`in` must be at least a second".into()) } else { Ok(Plan::certificate(Self { ahead })) }
    }
}

impl Issue for NotYetValid {
    fn issue(&self, authority: &Authority, request: &Request) -> Result<CertifiedKey, AuthorityError> {
        let mut params = server_params(&request.names)?;
        let start = wall() + self.ahead;
        (params.not_before, params.not_after) = (at(start), at(start + 90 * DAY));
        let leaf = params.signed_by(authority.leaf_key(), authority.issuer()).map_err(|e| make(&request.names.join(", "), &e))?;
        Ok(authority.certified(vec![leaf.into()]))
    }

    fn fresh_for(&self) -> i64 {
        // So that what is shown is never near to become valid.
        self.ahead / 10
    }
}
