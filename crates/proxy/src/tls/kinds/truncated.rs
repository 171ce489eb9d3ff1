//! `tls.truncated`

use schemars::JsonSchema;
use serde::Deserialize;
use squall_model::Bytes;

use super::TlsFault;
use crate::body::Cut;
use crate::tls::authority::Authority;
use crate::tls::plan::{Plan, Terms, Truncate};

pub(super) struct Truncated;

/// The settings of `tls.truncated`.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Args {
    /// After so many bytes towards the client, counted inside TLS. (An end before that lacks `close_notify` all the same.)
    #[serde(default)]
    bytes: Bytes,
    /// How the connection under it ends.
    #[serde(default = "close")]
    how: Cut,
}

const fn close() -> Cut {
    Cut::Close
}

impl TlsFault for Truncated {
    type Args = Args;
    const NAME: &'static str = "tls.truncated";
    const SUMMARY: &'static str = "The connection ends without `close_notify`, as if somebody had cut it";
    const EXAMPLE: &'static str = "{ fault: tls.truncated, with: { bytes: 2KiB } }";

    fn plan(args: Args, _: &Authority) -> Result<Plan, String> {
        let truncate = Truncate { bytes: args.bytes.0, cut: args.how };
        Ok(Plan::terms(Terms { truncate: Some(truncate), ..Terms::default() }))
    }
}
